//! Paying, as people see it.

use actix_web::http::{Method, StatusCode};

use super::*;

#[sqlx::test(migrations = "../migrations")]
async fn a_card_is_added_and_an_invoice_paid_by_clicking(root: PgPool) {
    let till = Till::new(root).await;
    till.set_now(OffsetDateTime::now_utc());
    let invoice = till.plant("2026-01", 500).await;
    let billing = till.fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/invoices/{invoice}");
    // Nothing is said of payments before the provider has it; then it can be paid there.
    assert!(!billing.get(&path).await.body.contains("id=\"payment\""));
    sqlx::query("UPDATE invoices SET sent_at = now()").execute(&till.fixture.root).await.unwrap();
    till.collect().await;
    billing.get(&path).await.says(StatusCode::OK, "Payment page");
    let refused = billing.post(&format!("{path}/pay"), &[]).await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER);
    assert_eq!(till.fake.charges(), []);
    // To the provider's page and back.
    billing.get("/orgs/ours/billing").await.says(StatusCode::OK, "Add a card");
    let leaving = billing.post("/orgs/ours/billing/card", &[]).await;
    leaving.says(StatusCode::OK, "https://pay.test/checkout/cs_");
    let session = till.fake.all("cs_").pop().unwrap()["id"].as_str().unwrap().to_owned();
    let chosen = till.fake.choose(&session, "4242 4242 4242 4242").unwrap();
    let back = chosen["success_url"].as_str().unwrap();
    let back = back.strip_prefix("http://127.0.0.1:7400").unwrap();
    let home = billing.get(back).await;
    assert_eq!(home.location.as_deref(), Some("/orgs/ours/billing"), "{}", home.body);
    billing.get("/orgs/ours/billing").await.says(StatusCode::OK, "Visa ending in 4242");
    let portal = billing.post("/orgs/ours/billing/portal", &[]).await;
    portal.says(StatusCode::OK, "https://pay.test/portal/bps_");
    // Who only sees invoices sees how it is paid, and pays nothing.
    let viewer = till.fixture.browser(Role::Viewer).await;
    let pressed = viewer.post(&format!("{path}/pay"), &[]).await;
    assert_eq!(pressed.status, StatusCode::FORBIDDEN);
    billing.get(&path).await.says(StatusCode::OK, "Pay now");
    let paid = billing.post(&format!("{path}/pay"), &[]).await;
    assert_eq!(paid.status, StatusCode::SEE_OTHER, "{}", paid.body);
    let page = billing.get(&path).await;
    page.says(StatusCode::OK, "Paid: Card");
    assert!(!page.body.contains("Pay now"));
    assert_eq!(till.fake.charges().len(), 1);
    // Programs see the same.
    let token = till.fixture.token(Role::Billing, false).await;
    let api = format!("/orgs/ours/invoices/{invoice}/payment");
    let told = till.fixture.api(Some(&token), Method::GET, &api, None).await.json();
    assert_eq!(told["stage"], "paid");
    assert_eq!(told["attempts"][0]["outcome"], "done");
    let again = till.fixture.api(Some(&token), Method::POST, &api, None).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_declined_card_says_why(root: PgPool) {
    let till = Till::new(root).await;
    till.set_now(OffsetDateTime::now_utc());
    till.add_card(till.ours(), "4000 0000 0000 9995").await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let billing = till.fixture.browser(Role::Billing).await;
    let page = billing.get(&format!("/orgs/ours/invoices/{invoice}")).await;
    page.says(StatusCode::OK, "Your card has insufficient funds.");
    page.says(StatusCode::OK, "It is charged again");
}

#[sqlx::test(migrations = "../migrations")]
async fn operators_see_what_is_stuck_and_have_it_tried_again(root: PgPool) {
    let till = Till::new(root).await;
    till.set_now(OffsetDateTime::now_utc());
    till.fake.be_faulty(1, 1_000, 0);
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let root = &till.fixture.root;
    let staff = till.fixture.browser(Role::Owner).await;
    sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
        .bind(till.fixture.ours.person(Role::Owner))
        .execute(root)
        .await
        .unwrap();
    let number = till.invoice(invoice).await.number;
    staff.get("/operator/payments").await.says(StatusCode::OK, &number);
    till.fake.be_faulty(1, 0, 0);
    let retry = format!("/operator/payments/{}/{invoice}/retry", till.ours());
    assert_eq!(staff.post(&retry, &[]).await.status, StatusCode::SEE_OTHER);
    let mut turns = 0;
    while till.collection(invoice).await.stage != Stage::Open {
        turns += 1;
        assert!(turns < 5, "{:?}", till.collection(invoice).await);
        assert_eq!(staff.post(&retry, &[]).await.status, StatusCode::SEE_OTHER);
    }
    staff.get("/operator/payments").await.says(StatusCode::OK, "Nothing is stuck");
}
