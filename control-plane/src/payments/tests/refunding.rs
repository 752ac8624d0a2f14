//! Money goes back to the card it came from, once.

use actix_web::http::StatusCode;
use time::macros::date;

use super::{super::fake_stripe::Fault, *};
use crate::invoices::{self, Method, NewPayment};

const VISA: &str = "4242 4242 4242 4242";

/// An invoice that a card paid.
async fn paid(till: &Till, month: &str, cents: i64) -> InvoiceId {
    let invoice = till.plant(month, cents).await;
    till.collect().await;
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
    invoice
}

async fn take_back_to_card(till: &Till, invoice: InvoiceId, cents: i64) -> Cents {
    let mut work = till.fixture.work(Role::Owner).await;
    let amount = Cents::from_cents(cents);
    let taken = take_back(&mut work, invoice, amount, "a mistake").await.unwrap();
    work.commit().await.unwrap();
    taken.returned
}

async fn refunds(till: &Till, invoice: InvoiceId) -> Vec<Refund> {
    let mut work = till.fixture.work(Role::Owner).await;
    store::refunds(&mut work, till.ours(), invoice).await.unwrap()
}

fn given_back(till: &Till) -> Vec<i64> {
    till.fake.refunds().iter().map(|it| it.cents).collect()
}

/// What an account of ours comes to, in cents.
async fn balance(till: &Till, account: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(amount) / 10000000, 0)::bigint FROM ledger_entries WHERE account = $1",
    )
    .bind(account)
    .fetch_one(&till.fixture.root)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_card_paid_goes_back_to_it_once_and_no_more_than_that(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let invoice = paid(&till, "2026-01", 12_345).await;
    let cash = balance(&till, "cash").await;
    assert_eq!(take_back_to_card(&till, invoice, 2_000).await.cents(), 2_000);
    assert_eq!(balance(&till, "cash").await, cash - 2_000);
    assert_eq!(refunds(&till, invoice).await[0].state, RefundState::Asked);
    for _ in 0..3 {
        till.collect().await;
        till.hear(Manners { doubled: 1_000, is_shuffled: true, ..Manners::default() }).await;
        till.sweep().await.unwrap();
    }
    assert_eq!(given_back(&till), [2_000]);
    let made = &refunds(&till, invoice).await[0];
    assert_eq!((made.state, made.amount.cents()), (RefundState::Made, 2_000));
    // What is left of it goes back too, and nothing beyond that.
    assert_eq!(take_back_to_card(&till, invoice, 10_345).await.cents(), 10_345);
    let mut work = till.fixture.work(Role::Owner).await;
    let beyond = take_back(&mut work, invoice, Cents::from_cents(1), "more").await;
    assert!(matches!(beyond, Err(PaymentError::Invoice(InvoiceError::Refused(_)))));
    drop(work);
    till.collect().await;
    assert_eq!(given_back(&till), [2_000, 10_345]);
    assert_eq!(balance(&till, "cash").await, cash - 12_345);
    assert_eq!(till.number("SELECT count(*) FROM credit_grants").await, 0);
    let it = till.collection(invoice).await;
    assert_eq!((it.stage, it.failures), (Stage::Paid, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_paid_by_hand_or_not_yet_goes_back_to_no_card(root: PgPool) {
    let till = Till::new(root).await;
    let (wired, open) = (till.plant("2026-01", 500).await, till.plant("2025-12", 700).await);
    till.collect().await;
    let mut work = till.fixture.work(Role::Owner).await;
    let payment = NewPayment {
        amount: Cents::from_cents(500),
        method: Method::BankTransfer,
        reference: "wire".to_owned(),
        received_on: date!(2026 - 06 - 01),
        once: "wire".to_owned(),
    };
    invoices::pay(&mut work, wired, &payment, "us").await.unwrap();
    work.commit().await.unwrap();
    till.collect().await;
    assert_eq!(take_back_to_card(&till, wired, 200).await, Cents::ZERO);
    assert_eq!(take_back_to_card(&till, open, 300).await, Cents::ZERO);
    till.collect().await;
    assert_eq!(given_back(&till), [0; 0]);
    assert_eq!(till.number("SELECT sum(cents)::bigint FROM credit_grants").await, 200);
    assert_eq!(till.invoice(open).await.open().cents(), 400);
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_goes_wrong_it_is_given_back_once(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let invoice = paid(&till, "2026-01", 10_000).await;
    let mut expected = Vec::new();
    for fault in Fault::ALL {
        take_back_to_card(&till, invoice, 100).await;
        expected.push(100);
        till.fake.meet_at("refund", fault);
        for _ in 0..4 {
            till.collect().await;
            till.advance(Duration::minutes(16));
        }
        assert_eq!(given_back(&till), expected, "{fault:?}");
    }
    for dies in [&till.line.dies_before, &till.line.dies_after] {
        take_back_to_card(&till, invoice, 100).await;
        expected.push(100);
        dies.store(1, Ordering::SeqCst);
        tokio::select! {
            () = till.collect() => panic!("it dies"),
            () = till.line.died.notified() => {}
        }
        // Longer than keys are kept: it is looked up.
        till.advance(Duration::days(2));
        till.collect().await;
        till.collect().await;
        assert_eq!(given_back(&till), expected);
    }
    assert!(refunds(&till, invoice).await.iter().all(|it| it.state == RefundState::Made));
    assert_eq!(till.collection(invoice).await.failures, 0);
    assert_eq!(till.number("SELECT count(*) FROM credit_grants").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_the_provider_or_the_bank_does_not_take_becomes_a_credit_once(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let (refused, returned) =
        (paid(&till, "2026-01", 500).await, paid(&till, "2025-12", 700).await);
    let cash = balance(&till, "cash").await;
    // Somebody gave it back there, by hand.
    let remote = till.collection(refused).await.remote.unwrap();
    till.fake.alter(&remote, |it| it["refunded"] = 500.into());
    take_back_to_card(&till, refused, 500).await;
    take_back_to_card(&till, returned, 300).await;
    till.collect().await;
    assert_eq!(given_back(&till), [300]);
    let it = &refunds(&till, refused).await[0];
    assert_eq!((it.state, it.about.is_empty()), (RefundState::Failed, false));
    assert_eq!(till.collection(refused).await.failures, 0);
    // Days later the card's bank sends it back.
    let made = refunds(&till, returned).await[0].remote.clone().unwrap();
    till.fake.refuse_refund(&made);
    for _ in 0..2 {
        till.hear(Manners { doubled: 1_000, is_shuffled: true, ..Manners::default() }).await;
        till.sweep().await.unwrap();
        till.collect().await;
    }
    let it = &refunds(&till, returned).await[0];
    assert_eq!((it.state, it.about.as_str()), (RefundState::Failed, "lost or stolen card"));
    assert_eq!(till.number("SELECT sum(cents)::bigint FROM credit_grants").await, 800);
    assert_eq!(till.number("SELECT count(*) FROM credit_grants").await, 2);
    assert_eq!(balance(&till, "cash").await, cash);
    assert_eq!(balance(&till, "wallet").await, -800);
    let again = sqlx::query("UPDATE payment_refunds SET state = 'made'");
    let again = again.execute(&till.fixture.root).await.unwrap_err();
    let code = again.as_database_error().and_then(|it| it.code()).unwrap().into_owned();
    assert_eq!(code, "TP020");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_operator_gives_back_and_the_customer_sees_it(root: PgPool) {
    let till = Till::new(root).await;
    till.set_now(OffsetDateTime::now_utc());
    till.add_card(till.ours(), VISA).await;
    let invoice = paid(&till, "2026-01", 500).await;
    let staff = till.fixture.browser(Role::Owner).await;
    sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
        .bind(till.fixture.ours.person(Role::Owner))
        .execute(&till.fixture.root)
        .await
        .unwrap();
    let page = format!("/operator/billing/{}", till.ours());
    let shown = staff.get(&format!("{page}?month=2026-01")).await;
    shown.says(StatusCode::OK, "$5.00 at most");
    let form = [("amount", "2.00"), ("reason", "a mistake"), ("to_card", "true")];
    let done = staff.post(&format!("{page}/invoices/{invoice}/credit-notes"), &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    till.collect().await;
    assert_eq!(given_back(&till), [200]);
    let billing = till.fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/invoices/{invoice}");
    billing.get(&path).await.says(StatusCode::OK, "Given back to the card");
    let note = refunds(&till, invoice).await[0].note;
    let shown = billing.get(&format!("/orgs/ours/invoices/{note}")).await;
    shown.says(StatusCode::OK, "Of it, given back to the card");
    let token = till.fixture.token(Role::Billing, false).await;
    let api = format!("/orgs/ours/invoices/{invoice}/payment");
    let get = actix_web::http::Method::GET;
    let told = till.fixture.api(Some(&token), get, &api, None).await.json();
    assert_eq!(
        (&told["refunds"][0]["state"], &told["refunds"][0]["amount"]),
        (&"made".into(), &"2.00".into())
    );
    // Nobody else's.
    let theirs = till.fixture.work_of(&till.fixture.theirs, Role::Owner).await;
    let mut theirs = theirs;
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM payment_refunds")
        .fetch_one(&mut *theirs)
        .await
        .unwrap();
    assert_eq!(seen, 0);
}
