use sqlx::PgPool;

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
    let refusal = |refused, live, ms| Refusal { refused, live, after: Duration::from_millis(ms) };
    assert_eq!(refusal(2, 2, 84).to_string(), "Refused on 2 of 2 proxies after 84 ms");
    assert_eq!(refusal(0, 1, 0).to_string(), "Refused on 0 of 1 proxy");
    assert!(refusal(2, 2, 84).is_complete() && !refusal(1, 2, 84).is_complete());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_that_nothing_stopped_has_no_refusal(root: PgPool) {
    let fixture = Fixture::new(root).await;
    assert_eq!(refusal(&fixture.platform, ApiKeyId::generate()).await, None);
}
