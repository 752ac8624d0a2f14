//! Nobody but the provider tells us anything.

use actix_web::{
    http::StatusCode,
    test::{TestRequest, call_service, init_service},
};
use clap::Parser;

use super::{
    super::{fake_stripe::signature, webhook::is_signed},
    *,
};
use crate::config::Config;

const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid","livemode":false,"data":{"object":{"id":"in_1","customer":"cus_1"}}}"#;

fn at() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

async fn told(till: &Till, header: Option<&str>, body: &str) -> StatusCode {
    let app = init_service(till.fixture.app()).await;
    let mut request = TestRequest::post().uri("/stripe/webhooks").set_payload(body.to_owned());
    if let Some(header) = header {
        request = request.insert_header(("stripe-signature", header));
    }
    call_service(&app, request.to_request()).await.status()
}

#[sqlx::test(migrations = "../migrations")]
async fn forged_old_and_foreign_webhooks_are_refused(root: PgPool) {
    let till = Till::new(root).await;
    let good = signature(&["whsec_new"], at(), BODY);
    let (time, tag) = good.split_once(",v1=").unwrap();
    let forged = [
        String::new(),
        "nonsense".to_owned(),
        time.to_owned(),
        format!("v1={tag}"),
        format!("{time},v0={tag}"),
        format!("{time},v1="),
        format!("{time},v1={}", &tag[..62]),
        format!("{time},v1={}", "0".repeat(64)),
        format!("{time},v1=zz{}", &tag[2..]),
        format!("t={},v1={tag}", at() + 1),
        format!("{time},t={},v1={tag}", at()),
        format!("t=,v1={tag}"),
        format!("t=-1,v1={tag}"),
        signature(&["whsec_other"], at(), BODY),
        signature(&[""], at(), BODY),
        signature(&["whsec_new"], at() - 301, BODY),
        // Far enough ahead for a machine that takes its time.
        signature(&["whsec_new"], at() + 900, BODY),
        signature(&["whsec_new"], at(), &format!("{BODY} ")),
        signature(&["whsec_new"], at(), ""),
    ];
    for header in &forged {
        let status = told(&till, Some(header), BODY).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{header}");
    }
    assert_eq!(told(&till, None, BODY).await, StatusCode::UNPROCESSABLE_ENTITY);
    // Signed, and none of ours: of real money, of another account, or nothing that can be read.
    for body in [
        BODY.replace("false", "true"),
        BODY.replacen('{', r#"{"account":"acct_1","#, 1),
        BODY.replace("evt_1", ""),
        "{".to_owned(),
    ] {
        let status = told(&till, Some(&signature(&["whsec_new"], at(), &body)), &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert_eq!(till.number("SELECT count(*) FROM payment_events").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn either_secret_counts_while_they_are_rolled_and_a_replay_is_taken_once(root: PgPool) {
    let till = Till::new(root).await;
    for secrets in [&["whsec_old"][..], &["whsec_new"], &SECRETS, &["whsec_x", "whsec_new"]] {
        let header = signature(secrets, at() - 200, BODY);
        assert_eq!(told(&till, Some(&header), BODY).await, StatusCode::OK, "{secrets:?}");
    }
    assert_eq!(till.number("SELECT count(*) FROM payment_events").await, 1);
    // What we do not heed is taken, so that it is not told again, and is about nothing.
    let other = BODY.replace("invoice.paid", "radar.early_fraud_warning.created");
    let other = other.replace("evt_1", "evt_2");
    let header = signature(&["whsec_new"], at(), &other);
    assert_eq!(told(&till, Some(&header), &other).await, StatusCode::OK);
    let heeded = "SELECT count(*) FROM payment_events WHERE refs = '{in_1,cus_1}'";
    assert_eq!(till.number(heeded).await, 1);
    till.hear(Manners::default()).await;
    let left = "SELECT count(*) FROM payment_events WHERE handled_at IS NULL";
    assert_eq!(till.number(left).await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn where_nobody_collects_there_is_no_such_door(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let app = init_service(fixture.app()).await;
    let header = ("stripe-signature", signature(&[""], at(), BODY));
    let request = TestRequest::post().uri("/stripe/webhooks").insert_header(header);
    let request = request.set_payload(BODY).to_request();
    assert_eq!(call_service(&app, request).await.status(), StatusCode::NOT_FOUND);
}

#[test]
fn an_empty_secret_signs_nothing() {
    let header = signature(&[""], 100, BODY);
    assert!(!is_signed(&["".into()], &header, BODY.as_bytes(), 100));
    assert!(!is_signed(&[], &header, BODY.as_bytes(), 100));
    let header = signature(&["whsec_a"], 100, BODY);
    assert!(is_signed(&["".into(), "whsec_a".into()], &header, BODY.as_bytes(), 100));
}

#[test]
fn an_empty_or_missing_secret_starts_nothing() {
    let key = || shared::seal::MasterKey::generate().to_base64().expose_secret().to_owned();
    let (master, credential) =
        (format!("--master-key={}", key()), format!("--credential-key={}", key()));
    let usual = [
        "control-plane",
        "--listen=127.0.0.1:0",
        "--database-url=postgres://unused/",
        "--redis-url=redis://127.0.0.1:1/",
        "--public-url=http://127.0.0.1:7400",
        "--data-url=http://127.0.0.1:7401",
        master.as_str(),
        credential.as_str(),
        "--signing-key=unused-key",
    ];
    let snapshot_key = shared::snapshot::Signer::generate().0;
    let snapshot_key = format!("--snapshot-key={}", snapshot_key.expose_secret());
    let starts = |more: &[&str]| {
        let all = usual.iter().copied().chain([snapshot_key.as_str()]).chain(more.iter().copied());
        Config::try_parse_from(all)
    };
    let (key, secret) = ("--stripe-secret-key=sk_test_abc", "--stripe-webhook-secrets=whsec_abc");
    let without = starts(&[]).unwrap();
    assert!(without.stripe.secret_key.is_none());
    let with = starts(&[key, secret]).unwrap();
    assert_eq!(with.stripe.webhook_secrets.len(), 1);
    assert!(!format!("{with:?}").contains("_abc"), "secrets are in no log");
    let two = starts(&[key, "--stripe-webhook-secrets=whsec_abc,whsec_def"]).unwrap();
    assert_eq!(two.stripe.webhook_secrets.len(), 2);
    for bad in [
        &[key][..],
        &[secret],
        &[key, "--stripe-webhook-secrets="],
        &[key, "--stripe-webhook-secrets=whsec_abc,"],
        &["--stripe-secret-key=", secret],
    ] {
        assert!(starts(bad).is_err(), "{bad:?}");
    }
}
