//! What becomes of invoices here and there, and that both hear of it.

use time::macros::date;

use super::*;
use crate::invoices::{self, Method, NewPayment, State};

/// How many of the organization bill, or own it.
const BILLERS: i64 = 2;
const VISA: &str = "4242 4242 4242 4242";

fn payment(cents: i64) -> NewPayment {
    NewPayment {
        amount: Cents::from_cents(cents),
        method: Method::BankTransfer,
        reference: "wire".to_owned(),
        received_on: date!(2026 - 06 - 01),
        once: "wire".to_owned(),
    }
}

async fn remote(till: &Till, invoice: InvoiceId) -> serde_json::Value {
    till.fake.object(&till.collection(invoice).await.remote.unwrap_or_default())
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invoice_is_mirrored_with_our_number_and_paid_with_the_card(root: PgPool) {
    let till = Till::new(root).await;
    let invoice = till.plant("2026-01", 12_345).await;
    till.collect().await;
    // Without a card it waits, and can be paid on its page.
    let it = till.collection(invoice).await;
    assert_eq!((it.stage, it.remaining.cents(), it.failures), (Stage::Open, 12_345, 0));
    let mirrored = remote(&till, invoice).await;
    assert_eq!(mirrored["number"], till.invoice(invoice).await.number);
    assert_eq!((mirrored["total"].as_i64(), &mirrored["status"]), (Some(12_345), &"open".into()));
    assert_eq!(it.hosted_url.as_deref(), mirrored["hosted_invoice_url"].as_str());
    // A card that comes pays what is due.
    till.add_card(till.ours(), VISA).await;
    till.collect().await;
    let ours = till.invoice(invoice).await;
    assert_eq!((ours.state(ours.due_on), ours.paid.cents()), (State::Paid, 12_345));
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
    // Telling it again, in any order, changes nothing.
    till.sweep().await.unwrap();
    till.hear(Manners { is_shuffled: true, ..Manners::default() }).await;
    assert_eq!(till.number("SELECT count(*) FROM invoice_payments").await, 1);
    assert_eq!(till.fake.charges().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_card_is_charged_on_the_day_on_which_an_invoice_is_due_or_when_somebody_says_so(
    root: PgPool,
) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    // It is due on the first of March.
    till.set_now(datetime!(2026-02-27 23:00 UTC));
    let (early, late) = (till.plant("2026-01", 500).await, till.plant("2025-12", 700).await);
    till.collect().await;
    assert_eq!(till.fake.charges(), []);
    let work = till.fixture.work(Role::Owner).await;
    let db = &till.fixture.db;
    let it = pay_now(&till.rail, db, work, early, till.now()).await.unwrap();
    assert_eq!((it.stage, till.fake.charges().len()), (Stage::Paid, 1));
    till.advance(Duration::days(1));
    till.collect().await;
    assert_eq!(till.collection(late).await.stage, Stage::Open);
    till.advance(Duration::hours(2));
    till.collect().await;
    assert_eq!(till.collection(late).await.stage, Stage::Paid);
    let work = till.fixture.work(Role::Owner).await;
    let again = pay_now(&till.rail, db, work, late, till.now()).await.unwrap_err();
    assert!(matches!(again, PaymentError::NothingToPay), "{again}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_declined_card_is_charged_four_times_and_another_one_at_once(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), "4000 0000 0000 0002").await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let it = till.collection(invoice).await;
    assert_eq!((it.tries, it.declined.as_str(), it.failures), (1, "Your card was declined.", 0));
    assert_eq!(it.try_at, Some(till.now() + Duration::days(1)));
    let mut tried = Vec::new();
    for _ in 0..20 {
        till.advance(Duration::days(1));
        till.collect().await;
        tried.push(till.collection(invoice).await.tries);
    }
    assert_eq!(tried[..10], [2, 2, 2, 3, 3, 3, 3, 3, 4, 4]);
    assert_eq!(tried[19], 4);
    let mut work = till.fixture.work(Role::Owner).await;
    let ours = invoices::find(&mut work, invoice).await.unwrap();
    let standing = standing(&mut work, &ours).await.unwrap().unwrap();
    assert_eq!((standing.badge(), standing.charged_at), (("bad", "Declined"), None));
    assert_eq!(standing.attempts.len(), 4);
    // Whoever pays is told each time: two of them bill there.
    let letters = "SELECT count(*) FROM mail_outbox WHERE subject LIKE 'The card was declined%'";
    assert_eq!(till.number(letters).await, 4 * BILLERS);
    assert!(standing.attempts.iter().all(|it| it.outcome == Some(Outcome::Declined)));
    drop(work);
    till.add_card(till.ours(), VISA).await;
    till.collect().await;
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
    assert_eq!(till.fake.charges().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_no_webhook_told_is_found_by_the_sweep(root: PgPool) {
    let till = Till::new(root).await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    till.hear(Manners::default()).await;
    let remote = till.collection(invoice).await.remote.unwrap();
    till.fake.pay_on_page(&remote, VISA).unwrap();
    till.hear(Manners { dropped: 1_000, ..Manners::default() }).await;
    assert_eq!(till.collection(invoice).await.stage, Stage::Open);
    assert_eq!(till.sweep().await.unwrap(), 1);
    till.hear(Manners::default()).await;
    assert_eq!(till.invoice(invoice).await.paid.cents(), 500);
    assert_eq!(till.sweep().await.unwrap(), 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_paid_or_taken_back_here_is_not_charged_there(root: PgPool) {
    let till = Till::new(root).await;
    let (wired, partly, noted) = (
        till.plant("2026-01", 500).await,
        till.plant("2025-12", 700).await,
        till.plant("2025-11", 900).await,
    );
    till.collect().await;
    let mut work = till.fixture.work(Role::Owner).await;
    invoices::pay(&mut work, wired, &payment(500), "us").await.unwrap();
    invoices::pay(&mut work, partly, &payment(300), "us").await.unwrap();
    invoices::take_back(&mut work, noted, Cents::from_cents(100), "a mistake").await.unwrap();
    work.commit().await.unwrap();
    till.add_card(till.ours(), VISA).await;
    till.collect().await;
    let mut cents: Vec<_> = till.fake.charges().iter().map(|it| it.cents).collect();
    cents.sort_unstable();
    assert_eq!(cents, [400, 800]);
    for invoice in [wired, partly, noted] {
        assert_eq!(remote(&till, invoice).await["status"], "paid");
        let ours = till.invoice(invoice).await;
        assert_eq!(ours.state(ours.due_on), State::Paid, "{ours:?}");
        assert_eq!(till.collection(invoice).await.failures, 0);
    }
    assert_eq!(till.number("SELECT count(*) FROM credit_grants").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_void_or_given_up_here_is_so_there_and_may_be_paid_nevertheless(root: PgPool) {
    let till = Till::new(root).await;
    let (void, given_up) = (till.plant("2026-01", 500).await, till.plant("2025-12", 700).await);
    till.collect().await;
    let mut work = till.fixture.work(Role::Owner).await;
    invoices::void(&mut work, "2026-01".parse().unwrap()).await.unwrap();
    invoices::write_off(&mut work, given_up, "they are bankrupt").await.unwrap();
    work.commit().await.unwrap();
    till.add_card(till.ours(), VISA).await;
    till.collect().await;
    assert_eq!(remote(&till, void).await["status"], "void");
    assert_eq!(remote(&till, given_up).await["status"], "uncollectible");
    assert_eq!(till.fake.charges(), []);
    let page = till.collection(given_up).await.remote.unwrap();
    till.fake.pay_on_page(&page, VISA).unwrap();
    till.hear(Manners::default()).await;
    assert_eq!(till.invoice(given_up).await.paid.cents(), 700);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_paid_here_and_there_becomes_a_credit(root: PgPool) {
    let till = Till::new(root).await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let page = till.collection(invoice).await.remote.unwrap();
    till.fake.pay_on_page(&page, VISA).unwrap();
    let mut work = till.fixture.work(Role::Owner).await;
    invoices::pay(&mut work, invoice, &payment(200), "us").await.unwrap();
    work.commit().await.unwrap();
    for _ in 0..2 {
        till.hear(Manners { doubled: 1_000, ..Manners::default() }).await;
        till.sweep().await.unwrap();
    }
    let ours = till.invoice(invoice).await;
    assert_eq!((ours.paid.cents(), ours.open()), (500, Cents::ZERO));
    assert_eq!(till.number("SELECT sum(cents)::bigint FROM credit_grants").await, 200);
    assert_eq!(till.number("SELECT count(*) FROM payment_receipts").await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_does_not_come_to_the_same_is_not_finalized_and_says_so(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let invoice = till.plant("2026-01", 500).await;
    // It has its lines, and then somebody changes them there.
    till.line.dies_before.store(3, Ordering::SeqCst);
    tokio::select! {
        () = till.collect() => panic!("it dies"),
        () = till.line.died.notified() => {}
    }
    let id = till.collection(invoice).await.remote.unwrap();
    till.fake.alter(&id, |it| it["total"] = 5_000.into());
    for _ in 0..5 {
        till.advance(Duration::minutes(16));
        till.collect().await;
    }
    assert_eq!(till.fake.object(&id)["status"], "draft");
    let it = till.collection(invoice).await;
    assert!(
        it.failures > 0 && it.reason.contains("$5.00") && it.reason.contains("$50.00"),
        "{it:?}"
    );
    let mut conn = till.fixture.db.acquire().await.unwrap();
    let stuck = store::stuck(&mut conn).await.unwrap();
    assert_eq!(stuck.iter().map(|it| it.invoice).collect::<Vec<_>>(), [invoice]);
    drop(conn);
    // Put right, it goes on by itself.
    till.fake.alter(&id, |it| it["total"] = 500.into());
    for _ in 0..3 {
        till.advance(Duration::minutes(16));
        till.collect().await;
    }
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_provider_that_is_away_costs_nothing_but_time(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    till.fake.be_faulty(3, 1_000, 0);
    let invoice = till.plant("2026-01", 500).await;
    for _ in 0..20 {
        till.advance(Duration::minutes(16));
        till.collect().await;
    }
    let it = till.collection(invoice).await;
    assert!(it.stage < Stage::Paid && it.failures > 2 && !it.reason.is_empty(), "{it:?}");
    assert_eq!(till.invoice(invoice).await.open().cents(), 500);
    till.fake.be_faulty(3, 0, 0);
    for _ in 0..4 {
        till.advance(Duration::minutes(16));
        till.collect().await;
    }
    let it = till.collection(invoice).await;
    assert_eq!((it.stage, it.failures, it.reason.as_str()), (Stage::Paid, 0, ""));
    assert_eq!(till.fake.charges().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_less_than_cards_are_charged_for_is_paid_by_hand(root: PgPool) {
    let till = Till::new(root).await;
    let invoice = till.plant("2026-01", 49).await;
    till.collect().await;
    let it = till.collection(invoice).await;
    assert_eq!((it.stage, it.remote), (Stage::ByHand, None));
    assert_eq!(till.fake.all("in_").len(), 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stage_only_goes_forward(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let remote = till.collection(invoice).await.remote.unwrap();
    let mut old = till.rail.provider.invoice(&remote).await.unwrap().unwrap();
    old.status = provider::RemoteStatus::Open;
    old.received = Vec::new();
    let mut work = till.fixture.work(Role::Owner).await;
    super::super::collect::apply(&mut work, invoice, &old).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
    let back =
        sqlx::query("UPDATE collections SET stage = 'open'").execute(&till.fixture.root).await;
    let code = back.unwrap_err().as_database_error().and_then(|it| it.code()).unwrap().into_owned();
    assert_eq!(code, "TP020");
    // What is somebody else's invoice there is not noted as ours.
    old.invoice = Some(InvoiceId::generate());
    let mut work = till.fixture.work(Role::Owner).await;
    let other = super::super::collect::apply(&mut work, invoice, &old).await.unwrap_err();
    assert!(matches!(other, PaymentError::NotFound), "{other}");
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenant_reaches_nothing_of_it(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), VISA).await;
    let invoice = till.plant("2026-01", 500).await;
    till.collect().await;
    let fixture = &till.fixture;
    for question in [
        "SELECT count(*) FROM payment_customers",
        "SELECT count(*) FROM collections",
        "SELECT least(count(*), 1) FROM payment_calls",
        "SELECT count(*) FROM payment_receipts",
    ] {
        let count = async |mut work: Work| -> i64 {
            sqlx::query_scalar(question).fetch_one(&mut *work).await.unwrap()
        };
        assert_eq!(count(fixture.work(Role::Owner).await).await, 1, "{question}");
        let theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
        assert_eq!(count(theirs).await, 0, "{question}");
    }
    // A session that is not theirs brings them no card, and costs us none.
    let done: Url = "https://turnpike.test/".parse().unwrap();
    let pages = Pages { cancelled: done.clone(), done };
    let (db, theirs) = (&fixture.db, fixture.theirs.id);
    let page = set_up(&till.rail, db, till.ours(), &pages, till.now()).await.unwrap();
    set_up(&till.rail, db, theirs, &pages, till.now()).await.unwrap();
    let session = page.path_segments().unwrap().next_back().unwrap();
    till.fake.choose(session, VISA).unwrap();
    assert!(!take_up_choice(&till.rail, db, theirs, session, till.now()).await.unwrap());
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert_eq!(customer(&mut work).await.unwrap().unwrap().card(), None);
    let work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    let stolen = pay_now(&till.rail, db, work, invoice, till.now()).await;
    assert!(stolen.is_err());
}
