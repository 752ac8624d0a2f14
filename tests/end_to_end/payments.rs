//! An invoice is paid, from the page to the provider and back, over the network.

use harness::{
    Settings, Stack, eventually,
    fake_stripe::{Config, FakeStripe},
    stack::PUBLIC_URL,
};
use http::StatusCode;
use shared::ids::InvoiceId;
use sqlx::PgPool;

use crate::site::bill;

const SECRET: &str = "whsec_end_to_end";

#[sqlx::test(migrations = "../migrations")]
async fn a_card_is_added_and_an_invoice_paid_and_webhooks_are_heard(root: PgPool) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let secrets = vec![SECRET.to_owned()];
    let stripe = FakeStripe::start(Config { listen, webhooks: None, secrets, file: None }).unwrap();
    let arguments = vec![
        "--stripe-secret-key=sk_test_end_to_end".to_owned(),
        format!("--stripe-webhook-secrets=whsec_rolled_out,{SECRET}"),
        format!("--stripe-url={}", stripe.url()),
        "--allow-private-upstreams".to_owned(),
    ];
    let settings = Settings { control_plane: arguments, ..Settings::default() };
    let stack = Stack::with(root, settings).await;
    stripe.tell_to(&format!("http://{}/stripe/webhooks", stack.control));
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    bill(&stack, &ada).await;
    let invoice: InvoiceId =
        sqlx::query_scalar("SELECT id FROM invoices").fetch_one(&stack.root).await.unwrap();

    // The provider has it soon, with our number and our total.
    let number: String = eventually("the invoice to be mirrored", || async {
        sqlx::query_scalar(
            "SELECT number FROM invoices JOIN collections ON invoice_id = id WHERE stage = 'open'",
        )
        .fetch_optional(&stack.root)
        .await
        .unwrap()
    })
    .await;
    let mirrored = stripe.fake.all("in_").pop().unwrap();
    assert_eq!(
        (mirrored["number"].as_str(), mirrored["total"].as_i64()),
        (Some(&*number), Some(500))
    );

    // To the page on which cards are typed, and back.
    let billing = ada.path("/billing");
    let leaving = ada.browser.fill(&billing, "/billing/card", &[]).await;
    let page = leaving.page();
    let there = page.links().find(|it| it.starts_with(&stripe.url())).unwrap();
    let session = there.rsplit('/').next().unwrap();
    let chosen = stripe.fake.choose(session, "4242 4242 4242 4242").unwrap();
    let back = chosen["success_url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    let answer = ada.browser.get(back).await;
    assert_eq!(answer.location().as_deref(), Some(billing.as_str()), "{answer:?}");
    assert!(ada.browser.page(&billing).await.words().contains("Visa ending in 4242"));

    let path = ada.path(&format!("/invoices/{invoice}"));
    let answer = ada.browser.fill(&path, "/pay", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let shown = ada.browser.page(&path).await.words();
    assert!(shown.contains("Paid: Card"), "{shown}");
    assert_eq!(stripe.fake.charges().len(), 1);

    eventually("the webhook of the payment to be handled", || async {
        sqlx::query_scalar::<_, i32>(
            "SELECT 1 FROM payment_events
              WHERE kind = 'invoice.paid' AND told_by = 'webhook' AND handled_at IS NOT NULL",
        )
        .fetch_optional(&stack.root)
        .await
        .unwrap()
    })
    .await;
    let paid: i64 = sqlx::query_scalar("SELECT count(*) FROM invoice_payments")
        .fetch_one(&stack.root)
        .await
        .unwrap();
    assert_eq!(paid, 1);
}
