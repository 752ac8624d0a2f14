use sqlx::PgPool;

use shared::snapshot::{OpenBreaker, OpenBreakers};

use super::*;
use crate::testing::Fixture;

fn report(revision: i64) -> Report {
    Report {
        revision,
        refuses: None,
        published_at: 1_763_712_000_000_000,
        lag_ms: 12,
        quarantined: 0,
        version: "0.1.0".to_owned(),
        address: "127.0.0.1:7401".to_owned(),
        breakers: OpenBreakers::default(),
    }
}

fn said(ago_ms: i64, report: &Report) -> String {
    format!("{} {}", 1_000_000_000 - ago_ms, serde_json::to_string(report).unwrap())
}

#[test]
fn who_says_nothing_is_not_counted_on_and_then_forgotten() {
    let read = |ago_ms| read("one".to_owned(), &said(ago_ms, &report(7)), 1_000_000_000);
    assert!(read(0).unwrap().is_live());
    assert!(read(14_000).unwrap().is_live());
    assert!(!read(16_000).unwrap().is_live());
    assert!(read(86_500_000).is_none());
}

#[test]
fn what_cannot_be_read_is_not_shown() {
    for text in ["", "12", "12 {}", "x {}", "{} 12"] {
        assert!(read("one".to_owned(), text, 1_000).is_none(), "{text}");
    }
}

#[test]
fn a_proxy_is_behind_by_what_it_lacks() {
    let proxy = read("one".to_owned(), &said(0, &report(7)), 1_000_000_000).unwrap();
    assert_eq!((proxy.is_behind_by(9), proxy.is_behind_by(7), proxy.is_behind_by(3)), (2, 0, 0));
}

#[test]
fn a_refusal_says_how_far_it_has_come() {
    let refusal =
        |refused, live, ms| Refusal { refused, live, after: Some(Duration::from_millis(ms)) };
    assert_eq!(refusal(2, 2, 84).to_string(), "Refused on 2 of 2 proxies after 84 ms");
    assert_eq!(refusal(0, 1, 0).to_string(), "Refused on 0 of 1 proxy");
    let by_revision = Refusal { after: None, ..refusal(2, 2, 0) };
    assert_eq!(by_revision.to_string(), "Refused on 2 of 2 proxies");
    assert!(refusal(2, 2, 84).is_complete() && !refusal(1, 2, 84).is_complete());
}

#[test]
fn what_a_report_of_before_does_not_say_is_nothing() {
    let mut told = serde_json::to_value(report(7)).unwrap();
    told.as_object_mut().unwrap().remove("breakers");
    assert_eq!(serde_json::from_value::<Report>(told).unwrap(), report(7));
}

#[test]
fn a_site_is_left_alone_by_those_that_live() {
    let (one, other) = (CredentialId::generate(), CredentialId::generate());
    let proxy = |ago_ms, breakers: &[(CredentialId, u64, u64)]| {
        let listed = breakers.iter().map(|(credential, open_ms, rest_ms)| OpenBreaker {
            credential: *credential,
            open_ms: *open_ms,
            rest_ms: *rest_ms,
        });
        let breakers = OpenBreakers { count: breakers.len(), listed: listed.collect() };
        let report = Report { breakers, ..report(7) };
        read("one".to_owned(), &said(ago_ms, &report), 1_000_000_000).unwrap()
    };
    let fleet = [
        proxy(2_000, &[(one, 1_000, 9_000), (other, 5_000, 1_000)]),
        proxy(1_000, &[(one, 3_000, 4_000)]),
        proxy(16_000, &[(one, 90_000, 0)]),
    ];
    let told = left_alone(&fleet);
    let milliseconds = Duration::from_millis;
    assert_eq!(
        told,
        [
            LeftAlone {
                credential: other,
                on: 1,
                live: 2,
                open: milliseconds(7_000),
                rest: Duration::ZERO,
            },
            LeftAlone {
                credential: one,
                on: 2,
                live: 2,
                open: milliseconds(4_000),
                rest: milliseconds(3_000),
            },
        ]
    );
    assert_eq!(told[0].to_string(), "Left alone on 1 of 2 proxies");
    assert_eq!(told[0].again(), "The next call tries it");
    assert_eq!(told[1].again(), "Tried again in 3 s");
    assert!(left_alone(&fleet[2..]).is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn where_no_proxy_runs_none_refuses(root: PgPool) {
    let fixture = Fixture::new(root).await;
    assert_eq!(revocation(&fixture.platform, ApiKeyId::generate()).await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn without_a_store_nobody_knows_who_refuses_a_key(root: PgPool) {
    let fixture = Fixture::without_redis(root).await;
    let known = revocation(&fixture.platform, ApiKeyId::generate()).await;
    assert_eq!(known, Some(Revocation::Unknown));
    assert!(known.unwrap().warning().is_some() && !known.unwrap().is_complete());
}
