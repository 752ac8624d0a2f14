//! Whatever goes wrong, each invoice is paid exactly once.

use std::collections::BTreeMap;

use super::*;
use crate::billing::Month;

const ORGANIZATIONS: usize = 10;
const EACH: usize = 100;

/// A thousand invoices, while of ten calls three meet a fault, a tenth of the charges are
/// declined, and webhooks come twice, late, in any order or never.
#[sqlx::test(migrations = "../migrations")]
async fn every_fault_over_a_thousand_invoices_and_each_is_paid_once(root: PgPool) {
    let till = Till::new(root).await;
    let owed = plant_many(&till).await;
    till.fake.be_faulty(20_261_128, 300, 100);
    let manners = Manners { dropped: 250, doubled: 150, delayed: 200, is_shuffled: true };
    let (mut turns, mut rescued) = (0, 0);
    while till.number("SELECT count(*) FROM collections WHERE stage = 'paid'").await < 1_000 {
        turns += 1;
        assert!(turns < 600, "not all is paid in the end");
        till.advance(if turns <= 48 { Duration::minutes(5) } else { Duration::hours(1) });
        for _ in 0..ORGANIZATIONS {
            till.collect().await;
        }
        till.hear(manners).await;
        if turns % 12 == 0 || turns > 48 {
            // A sweep that fails is made again an hour later.
            drop(till.sweep().await);
        }
        // Cards that were declined four times wait for a hand.
        rescued += press_pay(&till).await;
    }
    till.fake.be_faulty(1, 0, 0);
    till.advance(Duration::hours(1));
    till.sweep().await.unwrap();
    for _ in 0..ORGANIZATIONS {
        till.collect().await;
        till.hear(Manners::default()).await;
    }
    let mut charged: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for it in till.fake.charges() {
        charged.entry(it.number).or_default().push(it.cents);
    }
    let once: BTreeMap<_, _> = owed.iter().map(|it| (it.0.clone(), vec![*it.1])).collect();
    assert_eq!(charged, once, "each is charged once, for what it comes to");
    let total: i64 = owed.values().sum();
    let calls = till.number("SELECT count(*) FROM payment_calls").await;
    let declined =
        till.number("SELECT count(*) FROM payment_calls WHERE outcome = 'declined'").await;
    let anew = till.number("SELECT count(*) FROM payment_calls WHERE outcome = 'failed'").await;
    println!(
        "1000 invoices paid once: {calls} calls, {declined} declined, {anew} made anew, {rescued} by \
         hand, {turns} turns"
    );
    for (question, expected) in [
        ("SELECT count(*) FROM invoices WHERE paid_at IS NOT NULL", 1_000),
        ("SELECT count(*) FROM invoice_payments", 1_000),
        ("SELECT sum(cents)::bigint FROM invoice_payments", total),
        ("SELECT count(*) FROM payment_receipts", 1_000),
        (
            "SELECT (sum(amount) / 10000000)::bigint FROM ledger_entries WHERE account = 'cash'",
            total,
        ),
        ("SELECT count(*) FROM collections WHERE failures > 0", 0),
        ("SELECT count(*) FROM payment_calls WHERE ended_at IS NULL", 0),
        ("SELECT count(*) FROM credit_grants", 0),
    ] {
        assert_eq!(till.number(question).await, expected, "{question}");
    }
    assert_eq!(till.fake.all("in_").len(), 1_000, "nothing was mirrored twice");
    assert_eq!(till.fake.all("cus_").len(), ORGANIZATIONS);
}

/// By number, what each comes to.
async fn plant_many(till: &Till) -> BTreeMap<String, i64> {
    let mut owed = BTreeMap::new();
    for at in 0..ORGANIZATIONS {
        let organization = OrganizationId::generate();
        sqlx::query("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $2)")
            .bind(organization)
            .bind(format!("org-{at}"))
            .execute(&till.fixture.root)
            .await
            .unwrap();
        till.add_card(organization, "4242 4242 4242 4242").await;
        let mut month: Month = "2017-01".parse().unwrap();
        for turn in 0..EACH {
            let cents = i64::try_from(50 + turn * 997 + at * 13).unwrap();
            let root = &till.fixture.root;
            let id = plant_of(root, organization, month, Cents::from_cents(cents)).await;
            owed.insert(id.to_string(), cents);
            month = month.next();
        }
    }
    owed
}

async fn press_pay(till: &Till) -> usize {
    let given_up: Vec<(OrganizationId, InvoiceId)> = sqlx::query_as(
        "SELECT organization_id, invoice_id FROM collections
          WHERE stage = 'open' AND tries >= 4 AND next_at IS NULL",
    )
    .fetch_all(&till.fixture.root)
    .await
    .unwrap();
    for (organization, invoice) in &given_up {
        let work = begin(&till.fixture.db, *organization).await.unwrap();
        drop(pay_now(&till.rail, &till.fixture.db, work, *invoice, till.now()).await);
    }
    given_up.len()
}

/// The process dies before or after any call, and whoever comes next goes on.
#[sqlx::test(migrations = "../migrations")]
async fn a_process_that_dies_at_any_call_charges_nobody_twice(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), "4242 4242 4242 4242").await;
    let mut month: Month = "2020-01".parse().unwrap();
    let mut count = 0;
    // An invoice takes four calls: one of its own more, and the process lives.
    for at in 1..=5 {
        for dies in [&till.line.dies_before, &till.line.dies_after] {
            let root = &till.fixture.root;
            let invoice = plant_of(root, till.ours(), month, Cents::from_cents(500)).await;
            (month, count) = (month.next(), count + 1);
            dies.store(at, Ordering::SeqCst);
            tokio::select! {
                () = till.collect() => assert_eq!(at, 5, "it died before"),
                () = till.line.died.notified() => assert!(at < 5, "four calls are all"),
            }
            dies.store(0, Ordering::SeqCst);
            till.advance(Duration::minutes(2));
            till.collect().await;
            assert_eq!(till.collection(invoice).await.stage, Stage::Paid, "{at}");
            assert_eq!(till.fake.charges().len(), count);
        }
    }
    assert_eq!(till.number("SELECT count(*) FROM payment_calls WHERE outcome <> 'done'").await, 0);
}

/// Each fault at each call, one at a time.
#[sqlx::test(migrations = "../migrations")]
async fn each_fault_at_each_call_comes_to_one_payment(root: PgPool) {
    use super::super::fake_stripe::Fault;
    let till = Till::new(root).await;
    till.add_card(till.ours(), "4242 4242 4242 4242").await;
    let mut month: Month = "2015-01".parse().unwrap();
    let mut count = 0;
    for fault in Fault::ALL {
        for at in ["draft", "lines", "finalize", "pay"] {
            let root = &till.fixture.root;
            let invoice = plant_of(root, till.ours(), month, Cents::from_cents(500)).await;
            (month, count) = (month.next(), count + 1);
            till.line.fake.meet_at(at, fault);
            for _ in 0..6 {
                till.collect().await;
                till.advance(Duration::minutes(16));
            }
            assert_eq!(till.collection(invoice).await.stage, Stage::Paid, "{fault:?} at {at}");
            assert_eq!(till.fake.charges().len(), count, "{fault:?} at {at}");
        }
    }
    assert_eq!(till.fake.all("in_").len(), count);
}

/// Keys are kept for a day: a call whose end is not known by then is looked up.
#[sqlx::test(migrations = "../migrations")]
async fn a_call_that_is_older_than_its_key_is_looked_up(root: PgPool) {
    let till = Till::new(root).await;
    till.add_card(till.ours(), "4242 4242 4242 4242").await;
    let invoice = till.plant("2026-01", 1_234).await;
    // Paid, and we died before we heard.
    till.line.dies_after.store(4, Ordering::SeqCst);
    tokio::select! {
        () = till.collect() => panic!("it dies"),
        () = till.line.died.notified() => {}
    }
    assert_eq!(till.fake.charges().len(), 1);
    till.advance(Duration::days(3));
    till.collect().await;
    assert_eq!(till.collection(invoice).await.stage, Stage::Paid);
    assert_eq!(till.fake.charges().len(), 1);
    assert_eq!(till.invoice(invoice).await.paid, Cents::from_cents(1_234));
}
