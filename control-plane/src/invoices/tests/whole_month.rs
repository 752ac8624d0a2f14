//! A month of many calls, told everywhere.

use shared::{
    event::Event,
    money::{Pico, Price},
    usage::Usage,
};
use time::macros::date;

use super::{downloads, lifecycle::sound, printing, *};
use crate::{
    access::Role,
    cost_centers::Day,
    testing::books::{Books, last_month},
};

const CALLS: i64 = 50_000;
/// As many as an ingester takes at once.
const AT_ONCE: usize = 2_000;

/// The price that is in force from the middle of the month on.
fn reprice(event: &mut Event, price: &Price) {
    let cost = price.cost(&event.usage, None);
    event.lines[0].price = Some(2);
    event.lines[0].cost = Pico::from_picos(cost.picos());
    event.cost = cost.to_money();
}

async fn meter_all(books: &Books, events: &[Event]) {
    for some in events.chunks(AT_ONCE) {
        books.meter(some).await;
    }
    while books.charge().await > 0 {}
}

/// What was used, what is kept of it by the hour and day, what was charged, the ledger, the
/// invoice, its sections, lines, cost centers and files are one number, to the nano-dollar, while
/// the price changes, calls come late, and credits, tax and a refund are on top.
#[sqlx::test(migrations = "../migrations")]
async fn fifty_thousand_calls_come_to_one_amount_wherever_they_are_told(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let dearer = books.put_dearer().await;
    let middle = month.starts_at() + time::Duration::days(14);
    let mut events = books.calls(month, CALLS);
    let upstream = books.upstream;
    for event in &mut events {
        let is_later = i128::from(event.billed_at_ms) * 1_000_000 >= middle.unix_timestamp_nanos();
        if is_later && event.lines[0].upstream == upstream {
            reprice(event, &dearer);
        }
    }
    // One in fifty is told when the others were charged already.
    let (late, timely): (Vec<_>, Vec<_>) =
        events.iter().cloned().enumerate().partition(|(at, _)| at % 50 == 17);
    for part in [timely, late] {
        let part: Vec<_> = part.into_iter().map(|it| it.1).collect();
        meter_all(&books, &part).await;
    }
    let owed = books.owed(&events);
    let all: i64 = events.iter().map(|it| it.cost.nanos()).sum();
    for (told, expected) in [
        ("SELECT count(*) FROM usage_events", CALLS),
        ("SELECT sum(cost_nano)::bigint FROM usage_events", all),
        ("SELECT sum(cost_nano)::bigint FROM usage_hours", all),
        ("SELECT sum(cost_nano)::bigint FROM usage_days", all),
        ("SELECT sum(cost_nano)::bigint FROM charges", all),
        ("SELECT sum(cost_nano)::bigint FROM charges WHERE NOT is_own", owed),
        ("SELECT sum(amount)::bigint FROM ledger_entries WHERE account = 'accrued'", owed),
        ("SELECT -sum(amount)::bigint FROM ledger_entries WHERE account = 'revenue'", owed),
    ] {
        assert_eq!(books.number(told).await, expected, "{told}");
    }

    let mut work = books.fixture.work(Role::Owner).await;
    let terms = Terms {
        discount_basis_points: 250,
        tax_name: "VAT".to_owned(),
        tax_basis_points: 1_900,
        ..Terms::default()
    };
    billing::change_terms(&mut work, terms).await.unwrap();
    let credit = Cents::from_cents(1_234);
    let welcome = NewCredit {
        kind: CreditKind::Promotional,
        name: "Welcome".to_owned(),
        priority: 1,
        amount: credit,
        effective_on: month.first(),
        expires_on: None,
        reference: String::new(),
    };
    credits::grant(&mut work, &welcome, "welcome").await.unwrap();
    let invoice = close(&mut work, month, "it is a test", "us").await.unwrap()[0];
    work.commit().await.unwrap();

    let mut work = books.fixture.work(Role::Owner).await;
    let told = told(&mut work, invoice).await.unwrap();
    let document = &told.document;
    assert_eq!(document.usage_nano.nanos(), owed);
    assert_eq!(document.usage, Cents::of_nanos(owed.into()));
    let sections = &document.sections;
    assert_eq!(sections.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(), owed);
    assert_eq!(sections.iter().map(|it| it.amount).sum::<Cents>(), document.usage);
    for section in sections {
        let lines = &section.lines;
        assert_eq!(
            lines.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(),
            section.cost_nano.nanos()
        );
        assert_eq!(lines.iter().map(|it| it.amount).sum::<Cents>(), section.amount);
        let prices = lines.iter().filter(|it| it.class == "output").count();
        assert_eq!(prices, 2, "each price is a line");
    }
    let centers = &document.cost_centers;
    assert_eq!(centers.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(), owed);
    assert_eq!(centers.iter().map(|it| it.amount).sum::<Cents>(), document.usage);
    assert_eq!(document.own.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(), all - owed);
    assert_eq!(document.due, document.total - credit);
    let lines = files::lines(&told);
    assert_eq!(downloads::column(&lines, "cost_usd") - downloads::own(&lines), owed.into());
    let focus = files::focus(&told);
    assert_eq!(downloads::column(&focus, "BilledCost"), document.due.nanos());
    downloads::conforms(&focus, document.due);
    let simple = files::simple(&told);
    assert_eq!(downloads::column(&simple, "amount_usd"), document.due.nanos());
    drop(work);
    if printing::printer().is_some() {
        let path = format!("/orgs/ours/invoices/{invoice}/download?format=pdf");
        let pdf = books.fixture.browser(Role::Billing).await.get(&path).await;
        printing::says(&pdf.bytes, document);
    }

    // Paid, and a part of it taken back.
    let mut work = books.fixture.work(Role::Owner).await;
    let payment = NewPayment {
        amount: document.due,
        method: Method::BankTransfer,
        reference: "wire".to_owned(),
        received_on: date!(2026 - 01 - 01),
        once: "a".to_owned(),
    };
    pay(&mut work, invoice, &payment, "us").await.unwrap();
    take_back(&mut work, invoice, Cents::from_cents(777), "a mistake").await.unwrap();
    work.commit().await.unwrap();

    // What is told after the month was closed is the next one's, and changes nothing of this one.
    let usage = Usage { input: 4_001, output: 99, ..Usage::default() };
    let latest: Vec<_> = (0..9)
        .map(|at| books.call(at % 3, month.starts_at() + time::Duration::hours(70), usage))
        .collect();
    meter_all(&books, &latest).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let next = drafts(&mut work, month.next()).await.unwrap().remove(0).document;
    let of_latest: i64 = latest.iter().map(|it| it.cost.nanos()).sum();
    assert_eq!(next.usage_nano.nanos(), of_latest);
    let late_of = |it: &document::Line| it.late_of == Some(month);
    assert!(next.sections.iter().all(|it| it.lines.iter().all(late_of)));
    assert_eq!(super::told(&mut work, invoice).await.unwrap().document, *document);
    assert_eq!(document.first_day, Day::from(month.first()));
    drop(work);
    sound(&books).await;
}
