//! A month of many calls, told everywhere.

use std::collections::BTreeMap;

use shared::{
    event::Event,
    money::{Pico, Price},
    usage::Usage,
};

use super::{downloads, lifecycle::sound, printing, *};
use crate::{
    access::Role,
    billing::Grouping,
    cost_centers::Day,
    payments::{self, Stage, tests::Till},
    testing::books::{Books, Parts, last_month},
};

/// Of 50,000 calls, how many each organization makes, and how it parts their costs.
const FIRMS: [(i64, Parts, Grouping); 3] = [
    (
        24_000,
        Parts { projects: &["=bot", "review", "search", "batch"], centers: &["ENG", "SUP"] },
        Grouping::Organization,
    ),
    (
        16_000,
        Parts { projects: &["chat", "mail", "voice", "ops"], centers: &["100", "200"] },
        Grouping::Project,
    ),
    (
        10_000,
        Parts { projects: &["one", "two", "three", "four"], centers: &["ALL"] },
        Grouping::CostCenter,
    ),
];
/// As many as an ingester takes at once.
const AT_ONCE: usize = 2_000;
const CREDIT: Cents = Cents::from_cents(1_234);
const REFUND: Cents = Cents::from_cents(777);
const VISA: &str = "4242 4242 4242 4242";

/// An organization, what it called and its invoices.
struct Firm {
    books: Books,
    events: Vec<Event>,
    grouping: Grouping,
    invoices: Vec<InvoiceId>,
}

impl Firm {
    fn owed(&self) -> i64 {
        self.books.owed(&self.events)
    }

    fn all(&self) -> i64 {
        self.events.iter().map(|it| it.cost.nanos()).sum()
    }

    async fn documents(&self) -> Vec<Told> {
        let mut work = self.books.fixture.work(Role::Owner).await;
        let mut all = Vec::new();
        for invoice in &self.invoices {
            all.push(told(&mut work, *invoice).await.unwrap());
        }
        all
    }
}

/// The price that is in force from the middle of the month on.
fn reprice(event: &mut Event, (revision, price): &(i64, Price)) {
    let cost = price.cost(&event.usage, None);
    event.lines[0].price = Some(*revision);
    event.lines[0].cost = Pico::from_picos(cost.picos());
    event.cost = cost.to_money();
}

async fn meter_all(books: &Books, events: &[Event]) {
    for some in events.chunks(AT_ONCE) {
        books.meter(some).await;
    }
    while books.charge().await > 0 {}
}

/// Makes the calls of a month. One in fifty is told when the others were charged already.
async fn call(mut books: Books, calls: i64, grouping: Grouping) -> Firm {
    let month = last_month();
    let dearer = books.put_dearer().await;
    let middle = month.starts_at() + time::Duration::days(14);
    let mut events = books.calls(month, calls);
    let upstream = books.upstream;
    for event in &mut events {
        let is_later = i128::from(event.billed_at_ms) * 1_000_000 >= middle.unix_timestamp_nanos();
        if is_later && event.lines[0].upstream == upstream {
            reprice(event, &dearer);
        }
    }
    let (late, timely): (Vec<_>, Vec<_>) =
        events.iter().cloned().enumerate().partition(|(at, _)| at % 50 == 17);
    for part in [timely, late] {
        let part: Vec<_> = part.into_iter().map(|it| it.1).collect();
        meter_all(&books, &part).await;
    }
    Firm { books, events, grouping, invoices: Vec::new() }
}

/// With a discount, tax, and a credit.
async fn invoice(firm: &mut Firm) {
    let month = last_month();
    let mut work = firm.books.fixture.work(Role::Owner).await;
    let settings = Settings { grouping: firm.grouping, ..Settings::default() };
    billing::change_settings(&mut work, settings).await.unwrap();
    let terms = Terms {
        discount_basis_points: 250,
        tax_name: "VAT".to_owned(),
        tax_basis_points: 1_900,
        ..Terms::default()
    };
    billing::change_terms(&mut work, terms).await.unwrap();
    let welcome = NewCredit {
        kind: CreditKind::Promotional,
        name: "Welcome".to_owned(),
        priority: 1,
        amount: CREDIT,
        effective_on: month.first(),
        expires_on: None,
        reference: String::new(),
    };
    credits::grant(&mut work, &welcome, "welcome").await.unwrap();
    firm.invoices = close(&mut work, month, "it is a test", "us").await.unwrap();
    work.commit().await.unwrap();
}

/// Every part of an invoice, and each of its files, come to what it says.
fn adds_up(told: &Told) {
    let document = &told.document;
    let sections = &document.sections;
    let nanos = document.usage_nano.nanos();
    assert!((document.usage.nanos() - i128::from(nanos)).abs() < 10_000_000, "within a cent");
    assert_eq!(sections.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(), nanos);
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
    assert_eq!(centers.iter().map(|it| it.cost_nano.nanos()).sum::<i64>(), nanos);
    assert_eq!(centers.iter().map(|it| it.amount).sum::<Cents>(), document.usage);
    let lines = files::lines(told);
    assert_eq!(downloads::column(&lines, "cost_usd") - downloads::own(&lines), nanos.into());
    let focus = files::focus(told);
    assert_eq!(downloads::column(&focus, "BilledCost"), document.due.nanos());
    downloads::conforms(&focus, document.due);
    // The contract of the month's second half is dearer than what everybody else pays.
    assert!(downloads::column(&focus, "ListCost") < downloads::column(&focus, "ContractedCost"));
    let simple = files::simple(told);
    assert_eq!(downloads::column(&simple, "amount_usd"), document.due.nanos());
}

/// Each invoice's PDF says what it says.
async fn prints(firm: &Firm, documents: &[Told]) {
    if printing::printer().is_none() {
        return;
    }
    let fixture = &firm.books.fixture;
    let billing = fixture.browser(Role::Billing).await;
    for (invoice, told) in firm.invoices.iter().zip(documents) {
        let slug = fixture.ours.slug;
        let path = format!("/orgs/{slug}/invoices/{invoice}/download?format=pdf");
        printing::says(&billing.get(&path).await.bytes, &told.document);
    }
}

/// What each account came to, in nano-dollars.
async fn ledger_of(books: &Books) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT account, sum(amount)::bigint FROM ledger_entries GROUP BY account")
            .fetch_all(&books.fixture.root)
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// What was used, what is kept of it by the hour and day, what was charged, the ledger, invoices,
/// their sections, lines, cost centers and files, and what the payment provider has of them, are
/// one number, to the nano-dollar and then to the cent, while prices change, calls come late, and
/// a discount, credits, tax and a refund are on top.
#[sqlx::test(migrations = "../migrations")]
async fn fifty_thousand_calls_come_to_one_amount_wherever_they_are_told(root: PgPool) {
    let till = Till::new(root).await;
    let [(calls, parts, grouping), others @ ..] = FIRMS;
    let first = Books::on(till.fixture.clone(), parts).await;
    let mut more = Vec::new();
    let mut books = &first;
    for ((calls, parts, grouping), slug) in others.into_iter().zip(["second", "third"]) {
        more.push((books.beside(slug, parts).await, calls, grouping));
        books = &more.last().unwrap().0;
    }
    let mut firms = vec![call(first, calls, grouping).await];
    for (books, calls, grouping) in more {
        firms.push(call(books, calls, grouping).await);
    }

    let owed: i64 = firms.iter().map(Firm::owed).sum();
    let all: i64 = firms.iter().map(Firm::all).sum();
    let lines = firms.iter().flat_map(|it| &it.events).flat_map(|it| &it.lines);
    let picos: i64 = lines.map(|it| it.cost.picos()).sum();
    let books = &firms[0].books;
    for (told, expected) in [
        ("SELECT count(*) FROM usage_events", 50_000),
        ("SELECT sum(cost_nano)::bigint FROM usage_events", all),
        ("SELECT sum(cost_pico)::bigint FROM usage_events", picos),
        ("SELECT sum(cost_pico)::bigint FROM usage_hours", picos),
        ("SELECT sum(cost_pico)::bigint FROM usage_days", picos),
        ("SELECT sum(cost_nano)::bigint FROM usage_hours", all),
        ("SELECT sum(cost_nano)::bigint FROM usage_days", all),
        ("SELECT sum(cost_nano)::bigint FROM charges", all),
        ("SELECT sum(cost_nano)::bigint FROM charges WHERE NOT is_own", owed),
        ("SELECT sum(amount)::bigint FROM ledger_entries WHERE account = 'accrued'", owed),
        ("SELECT -sum(amount)::bigint FROM ledger_entries WHERE account = 'revenue'", owed),
    ] {
        assert_eq!(books.number(told).await, expected, "{told}");
    }

    let mut due = BTreeMap::new();
    for firm in &mut firms {
        invoice(firm).await;
        let documents = firm.documents().await;
        documents.iter().for_each(adds_up);
        prints(firm, &documents).await;
        let nanos = |of: fn(&Document) -> i64| documents.iter().map(|it| of(&it.document)).sum();
        let used: i64 = nanos(|it| it.usage_nano.nanos());
        let own: i64 = nanos(|it| it.own.iter().map(|it| it.cost_nano.nanos()).sum());
        assert_eq!((used, own), (firm.owed(), firm.all() - firm.owed()));
        let cents = |of: fn(&Document) -> Cents| documents.iter().map(|it| of(&it.document)).sum();
        assert_eq!(cents(|it| it.usage), Cents::of_nanos(firm.owed().into()));
        let (total, left): (Cents, Cents) = (cents(|it| it.total), cents(|it| it.due));
        assert_eq!(left, total - CREDIT);
        due.extend(documents.iter().map(|it| (it.document.number.clone(), it.document.due)));
    }
    let counts: Vec<_> = firms.iter().map(|it| it.invoices.len()).collect();
    // Of the third: what its cost center bears, and what nobody does.
    assert_eq!(counts, [1, 4, 2]);

    // All of them are paid by card, and a part of one is taken back.
    for firm in &firms {
        till.add_card(firm.books.organization(), VISA).await;
    }
    till.set_now(OffsetDateTime::now_utc() + time::Duration::days(90));
    till.collect().await;
    let charged: BTreeMap<_, _> = till
        .fake
        .charges()
        .into_iter()
        .map(|it| (Some(it.number), Cents::from_cents(it.cents)))
        .collect();
    assert_eq!(charged, due, "the payment provider charged each invoice for what is due");
    let (books, invoice) = (&firms[0].books, firms[0].invoices[0]);
    let before = firms[0].documents().await.remove(0).document;
    let mut work = books.fixture.work(Role::Owner).await;
    let taken = payments::take_back(&mut work, invoice, REFUND, "a mistake").await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(taken.returned, REFUND);
    till.collect().await;
    let refunded: i64 = till.fake.refunds().iter().map(|it| it.cents).sum();
    assert_eq!(Cents::from_cents(refunded), REFUND);
    for firm in &firms {
        let mut work = firm.books.fixture.work(Role::Owner).await;
        for invoice in &firm.invoices {
            let ours = find(&mut work, *invoice).await.unwrap();
            assert_eq!(ours.state(ours.due_on), State::Paid, "{ours:?}");
            let standing = payments::standing(&mut work, &ours).await.unwrap().unwrap();
            assert_eq!(standing.collection.stage, Stage::Paid);
        }
    }
    let accounts = ledger_of(books).await;
    let received: Cents = due.values().copied().sum();
    assert_eq!(i128::from(accounts["cash"]), (received - REFUND).nanos());
    for account in ["receivable", "accrued", "promotions", "wallet"] {
        assert_eq!(accounts.get(account).copied().unwrap_or_default(), 0, "{account}");
    }

    // What is told after the month was closed is the next one's, and changes nothing of this one.
    let month = last_month();
    let usage = Usage { input: 4_001, output: 99, ..Usage::default() };
    let books = &mut firms[0].books;
    let latest: Vec<_> = (0..9)
        .map(|at| books.call(at % 3, month.starts_at() + time::Duration::hours(70), usage))
        .collect();
    meter_all(books, &latest).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let next = drafts(&mut work, month.next()).await.unwrap().remove(0).document;
    let of_latest: i64 = latest.iter().map(|it| it.cost.nanos()).sum();
    assert_eq!(next.usage_nano.nanos(), of_latest);
    let late_of = |it: &document::Line| it.late_of == Some(month);
    assert!(next.sections.iter().all(|it| it.lines.iter().all(late_of)));
    assert_eq!(told(&mut work, invoice).await.unwrap().document, before);
    assert_eq!(before.first_day, Day::from(month.first()));
    drop(work);
    sound(books).await;
}
