//! From a month that is over to what became of its invoices.

use actix_web::http::StatusCode;
use shared::{ids::OrganizationId, usage::Usage};
use time::macros::date;

use super::*;
use crate::{
    access::{Actor, Origin, Role},
    billing::Grouping,
    testing::books::{Books, last_month},
};

const WHY: &str = "it is a test";

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|it| it.code()).unwrap_or_default().into_owned()
}

async fn balance(work: &mut Work, account: Account) -> i128 {
    let all = ledger::balances(work).await.unwrap();
    all.into_iter().find(|it| it.0 == account).unwrap().1
}

/// Every equality of the ledger and of invoices holds.
pub(super) async fn sound(books: &Books) {
    let mut conn = books.fixture.db.acquire().await.unwrap();
    assert!(ledger::broken(&mut conn, date!(2000 - 01 - 01)).await.unwrap().is_empty());
    let apart: Vec<_> = sums(&mut conn, date!(2000 - 01 - 01))
        .await
        .unwrap()
        .into_iter()
        .filter(|it| it.ours != it.theirs)
        .collect();
    assert!(apart.is_empty(), "{apart:?}");
    let mut day = last_month().first();
    while day <= OffsetDateTime::now_utc().date() {
        assert!(ledger::differing_charges(&mut conn, day).await.unwrap().is_empty());
        assert!(ledger::differing_accruals(&mut conn, day).await.unwrap().is_empty());
        day = day.next_day().unwrap();
    }
}

async fn group(books: &Books, grouping: Grouping) {
    let mut work = books.fixture.work(Role::Owner).await;
    let settings = Settings { grouping, ..Settings::default() };
    billing::change_settings(&mut work, settings).await.unwrap();
    work.commit().await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_month_is_invoiced_to_the_nano_whichever_way_it_is_grouped(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let events = books.used(month, 120).await;
    let owed = books.owed(&events);
    for (grouping, count) in
        [(Grouping::Organization, 1), (Grouping::Project, 3), (Grouping::CostCenter, 3)]
    {
        group(&books, grouping).await;
        let mut work = books.fixture.work(Role::Owner).await;
        let written = close(&mut work, month, WHY, "us").await.unwrap();
        assert_eq!(written.len(), count, "{grouping:?}");
        let (mut usage, mut total) = (0, Cents::ZERO);
        for invoice in written {
            let document = told(&mut work, invoice).await.unwrap().document;
            usage += document.usage_nano.nanos();
            total = total + document.total;
        }
        assert_eq!(usage, owed, "{grouping:?}");
        assert_eq!(total, Cents::of_nanos(owed.into()), "{grouping:?}");
        assert_eq!(balance(&mut work, Account::Accrued).await, 0);
        assert_eq!(balance(&mut work, Account::Receivable).await, total.nanos());
        work.commit().await.unwrap();
        sound(&books).await;
        // Once: and it can be taken back while nobody has paid.
        let mut work = books.fixture.work(Role::Owner).await;
        let again = close(&mut work, month, WHY, "us").await.unwrap_err();
        assert!(matches!(again, InvoiceError::Closed(_)), "{again}");
        drop(work);
        let mut work = books.fixture.work(Role::Owner).await;
        void(&mut work, month).await.unwrap();
        assert_eq!(balance(&mut work, Account::Accrued).await, owed.into());
        assert_eq!(balance(&mut work, Account::Receivable).await, 0);
        work.commit().await.unwrap();
        sound(&books).await;
    }
    let last = books.number("SELECT last FROM invoice_numbers").await;
    assert_eq!((last, books.number("SELECT count(*) FROM invoices").await), (7, 7));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_comes_late_is_on_the_next_months_invoice(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 30).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let invoice = close(&mut work, month, WHY, "us").await.unwrap()[0];
    work.commit().await.unwrap();
    let mut work = books.fixture.work(Role::Owner).await;
    let before = told(&mut work, invoice).await.unwrap().document;
    drop(work);
    let usage = Usage { input: 800_000, output: 10, ..Usage::default() };
    let late = books.call(1, month.starts_at(), usage);
    books.meter(std::slice::from_ref(&late)).await;
    assert_eq!(books.charge().await, 1);
    let mut work = books.fixture.work(Role::Owner).await;
    assert_eq!(told(&mut work, invoice).await.unwrap().document, before);
    let next = drafts(&mut work, month.next()).await.unwrap().remove(0).document;
    assert_eq!(next.usage_nano, late.cost);
    assert!(next.sections[0].lines.iter().all(|it| it.late_of == Some(month)));
    drop(work);
    sound(&books).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_month_whose_books_do_not_agree_is_parked_and_an_unusual_one_asks(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 30).await;
    books.used(month.previous(), 2).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let asked = close(&mut work, month, " ", "us").await.unwrap_err();
    let InvoiceError::Unusual(what) = asked else { panic!("{asked}") };
    assert!(what.iter().any(|it| it.contains("five times")), "{what:?}");
    let early = close(&mut work, month.next(), WHY, "us").await.unwrap_err();
    assert!(matches!(early, InvoiceError::NotOver(_)), "{early}");
    drop(work);
    for (planted, back) in [
        (
            "UPDATE usage_hours SET cost_nano = cost_nano + 1
              WHERE (organization_id, hour, key_id, model, project_id)
                    = (SELECT organization_id, hour, key_id, model, project_id FROM usage_hours
                        ORDER BY hour DESC, project_id LIMIT 1)",
            "UPDATE usage_hours SET cost_nano = cost_nano - 1
              WHERE (organization_id, hour, key_id, model, project_id)
                    = (SELECT organization_id, hour, key_id, model, project_id FROM usage_hours
                        ORDER BY hour DESC, project_id LIMIT 1)",
        ),
        (
            "UPDATE charges SET cost_nano = cost_nano + 1 WHERE (posting_id, place) =
                (SELECT posting_id, place FROM charges ORDER BY hour DESC, place LIMIT 1)",
            "UPDATE charges SET cost_nano = cost_nano - 1 WHERE (posting_id, place) =
                (SELECT posting_id, place FROM charges ORDER BY hour DESC, place LIMIT 1)",
        ),
    ] {
        sqlx::query(planted).execute(&books.fixture.root).await.unwrap();
        let mut work = books.fixture.work(Role::Owner).await;
        let parked = close(&mut work, month, WHY, "us").await.unwrap_err();
        let InvoiceError::Parked(what) = parked else { panic!("{parked}") };
        assert!(what.iter().any(|it| it.contains("do not agree")), "{what:?}");
        drop(work);
        sqlx::query(back).execute(&books.fixture.root).await.unwrap();
    }
    let mut work = books.fixture.work(Role::Owner).await;
    close(&mut work, month, WHY, "us").await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn numbers_have_no_gaps_whoever_fails(root: PgPool) {
    let books = Books::new(root).await;
    let db = &books.fixture.db;
    let mut organizations = Vec::new();
    for at in 0..50 {
        let id = OrganizationId::generate();
        sqlx::query("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $2)")
            .bind(id)
            .bind(format!("org-{at}"))
            .execute(&books.fixture.root)
            .await
            .unwrap();
        sqlx::query("INSERT INTO billing_terms VALUES ($1, 30, 0, 1000, '', 0, false, false)")
            .bind(id)
            .execute(&books.fixture.root)
            .await
            .unwrap();
        organizations.push(id);
    }
    let month = last_month();
    let closing = organizations.iter().enumerate().map(async |(at, organization)| {
        loop {
            let origin = Origin::internal();
            let work = Work::begin(db, *organization, Actor::System, origin).await;
            // More want to than there are connections.
            let Ok(mut work) = work else { continue };
            let written = close(&mut work, month, WHY, "us").await.unwrap();
            assert_eq!(written.len(), 1);
            // Some fail after everything was written, and are not tried again.
            if at % 3 == 1 {
                drop(work);
            } else {
                work.commit().await.unwrap();
            }
            return;
        }
    });
    futures::future::join_all(closing).await;
    let numbers: Vec<String> = sqlx::query_scalar("SELECT number FROM invoices ORDER BY 1")
        .fetch_all(&books.fixture.root)
        .await
        .unwrap();
    let year = OffsetDateTime::now_utc().year();
    let expected: Vec<_> = (1..=33).map(|it| format!("TP-{year}-{it:06}")).collect();
    assert_eq!(numbers, expected);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_issued_is_changed_by_nobody_and_seen_by_its_own(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 9).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let invoice = close(&mut work, month, WHY, "us").await.unwrap()[0];
    let payment = NewPayment {
        amount: Cents::from_cents(1),
        method: Method::BankTransfer,
        reference: String::new(),
        received_on: date!(2026 - 01 - 01),
        once: "a".to_owned(),
    };
    pay(&mut work, invoice, &payment, "us").await.unwrap();
    work.commit().await.unwrap();
    // Not even by whom nothing else binds.
    for futile in [
        "UPDATE invoices SET total_cents = total_cents + 1",
        "UPDATE invoices SET document = document || ' '",
        "UPDATE invoices SET number = 'TP-2026-000099'",
        "DELETE FROM invoices",
        "TRUNCATE invoices CASCADE",
    ] {
        let refused = sqlx::query(futile).execute(&books.fixture.root).await.unwrap_err();
        assert_eq!(code(&refused), "TP013", "{futile}");
    }
    let fixture = &books.fixture;
    for question in [
        "SELECT count(*) FROM invoices",
        "SELECT count(*) FROM invoice_payments",
        "SELECT count(*) FROM closed_months",
    ] {
        let count = async |mut work: Work| -> i64 {
            sqlx::query_scalar(question).fetch_one(&mut *work).await.unwrap()
        };
        assert_eq!(count(fixture.work(Role::Owner).await).await, 1, "{question}");
        let theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
        assert_eq!(count(theirs).await, 0, "{question}");
    }
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(matches!(find(&mut work, invoice).await, Err(InvoiceError::NotFound)));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invoice_is_paid_in_parts_and_taken_back_up_to_what_it_is(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 300).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let terms = Terms { tax_name: "VAT".to_owned(), tax_basis_points: 2_000, ..Terms::default() };
    billing::change_terms(&mut work, terms).await.unwrap();
    let invoice = close(&mut work, month, WHY, "us").await.unwrap()[0];
    let total = find(&mut work, invoice).await.unwrap().total;
    let payment = |cents: i64, once: &str| NewPayment {
        amount: Cents::from_cents(cents),
        method: Method::BankTransfer,
        reference: "wire".to_owned(),
        received_on: date!(2026 - 01 - 01),
        once: once.to_owned(),
    };
    pay(&mut work, invoice, &payment(10, "a"), "us").await.unwrap();
    pay(&mut work, invoice, &payment(10, "a"), "us").await.unwrap();
    let found = find(&mut work, invoice).await.unwrap();
    assert_eq!((found.paid.cents(), found.state(found.due_on)), (10, State::Open));
    assert_eq!(found.state(found.due_on.next_day().unwrap()), State::Overdue);
    let open = found.open();
    work.commit().await.unwrap();
    // More than is owed is not taken.
    let mut work = books.fixture.work(Role::Owner).await;
    let more = pay(&mut work, invoice, &payment(open.cents() + 1, "b"), "us").await.unwrap_err();
    assert!(!more.problems().is_empty(), "{more}");
    drop(work);
    // A note takes off what is to be paid; the rest, which was paid, becomes a credit.
    let mut work = books.fixture.work(Role::Owner).await;
    take_back(&mut work, invoice, Cents::from_cents(5), "a mistake").await.unwrap();
    pay(&mut work, invoice, &payment(open.cents() - 5, "c"), "us").await.unwrap();
    let found = find(&mut work, invoice).await.unwrap();
    assert_eq!((found.open(), found.state(found.due_on)), (Cents::ZERO, State::Paid));
    let rest = total - Cents::from_cents(5);
    let note = take_back(&mut work, invoice, rest, "all of it").await.unwrap();
    let told = told(&mut work, note).await.unwrap().document;
    assert_eq!(told.net + told.tax.amount, rest);
    assert_eq!(told.refers_to, Some(found.number.clone()));
    let credits = credits::list(&mut work).await.unwrap();
    assert_eq!(credits.iter().map(|it| it.left).sum::<Cents>(), rest);
    assert_eq!(balance(&mut work, Account::Receivable).await, 0);
    assert_eq!(balance(&mut work, Account::Wallet).await, -rest.nanos());
    work.commit().await.unwrap();
    let mut work = books.fixture.work(Role::Owner).await;
    let beyond = take_back(&mut work, invoice, Cents::from_cents(1), "more").await.unwrap_err();
    assert!(!beyond.problems().is_empty(), "{beyond}");
    let settled = void(&mut work, month).await.unwrap_err();
    assert!(matches!(settled, InvoiceError::Settled(_)), "{settled}");
    drop(work);
    sound(&books).await;
    let numbers: Vec<String> =
        sqlx::query_scalar("SELECT number FROM invoices WHERE kind = 'credit_note' ORDER BY 1")
            .fetch_all(&books.fixture.root)
            .await
            .unwrap();
    let year = OffsetDateTime::now_utc().year();
    assert_eq!(numbers, [format!("TP-CN-{year}-000001"), format!("TP-CN-{year}-000002")]);
    // The database refuses too, whoever asks.
    let planted = sqlx::query(
        "INSERT INTO invoices (organization_id, id, number, kind, month, scope, title, refers_to,
                               total_cents, due_cents, posting_id, due_on, document, details, hash)
         SELECT organization_id, gen_random_uuid(), 'X', 'credit_note', month, scope, title, id, 1,
                0, posting_id, due_on, document, details, hash FROM invoices WHERE kind = 'invoice'",
    );
    assert_eq!(code(&planted.execute(&books.fixture.root).await.unwrap_err()), "TP014");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_given_up_may_be_paid_or_taken_back_nevertheless(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 300).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let invoice = close(&mut work, month, WHY, "us").await.unwrap()[0];
    let due = find(&mut work, invoice).await.unwrap().due;
    let unsaid = write_off(&mut work, invoice, " ").await.unwrap_err();
    assert!(!unsaid.problems().is_empty(), "{unsaid}");
    assert_eq!(write_off(&mut work, invoice, "they are bankrupt").await.unwrap(), due);
    let found = find(&mut work, invoice).await.unwrap();
    let long_after = found.due_on + time::Duration::days(99);
    assert_eq!((found.open(), found.state(long_after)), (Cents::ZERO, State::Uncollectible));
    assert_eq!(balance(&mut work, Account::Receivable).await, 0);
    assert_eq!(balance(&mut work, Account::BadDebt).await, due.nanos());
    let again = write_off(&mut work, invoice, "again").await.unwrap_err();
    assert!(matches!(again, InvoiceError::NothingToPay), "{again}");
    let settled = void(&mut work, month).await.unwrap_err();
    assert!(matches!(settled, InvoiceError::Settled(_)), "{settled}");
    // Some of it comes, and the rest is taken back: nothing is owed, and nobody has a credit.
    let payment = NewPayment {
        amount: Cents::from_cents(3),
        method: Method::Other,
        reference: String::new(),
        received_on: date!(2026 - 01 - 01),
        once: "a".to_owned(),
    };
    pay(&mut work, invoice, &payment, "us").await.unwrap();
    let rest = due - Cents::from_cents(3);
    assert_eq!(balance(&mut work, Account::BadDebt).await, rest.nanos());
    take_back(&mut work, invoice, rest, "a mistake").await.unwrap();
    let found = find(&mut work, invoice).await.unwrap();
    assert_eq!((found.unpaid(), found.state(long_after)), (Cents::ZERO, State::Paid));
    for account in [Account::Receivable, Account::BadDebt, Account::Wallet] {
        assert_eq!(balance(&mut work, account).await, 0, "{account:?}");
    }
    work.commit().await.unwrap();
    sound(&books).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn credits_pay_first_and_come_back_when_the_invoice_is_void(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 300).await;
    let mut work = books.fixture.work(Role::Owner).await;
    for (kind, cents, once) in [(CreditKind::Paid, 100_000, "a"), (CreditKind::Promotional, 7, "b")]
    {
        let new = NewCredit {
            kind,
            name: once.to_owned(),
            priority: if kind == CreditKind::Paid { 50 } else { 1 },
            amount: Cents::from_cents(cents),
            effective_on: month.first(),
            expires_on: None,
            reference: String::new(),
        };
        credits::grant(&mut work, &new, once).await.unwrap();
    }
    let invoice = close(&mut work, month, WHY, "us").await.unwrap()[0];
    let found = find(&mut work, invoice).await.unwrap();
    assert_eq!((found.due, found.state(found.due_on)), (Cents::ZERO, State::Paid));
    let left: Cents = credits::list(&mut work).await.unwrap().iter().map(|it| it.left).sum();
    assert_eq!(left, Cents::from_cents(100_007) - found.total);
    assert_eq!(balance(&mut work, Account::Promotions).await, 0);
    work.commit().await.unwrap();
    sound(&books).await;
    let mut work = books.fixture.work(Role::Owner).await;
    void(&mut work, month).await.unwrap();
    let left: Cents = credits::list(&mut work).await.unwrap().iter().map(|it| it.left).sum();
    assert_eq!(left, Cents::from_cents(100_007));
    work.commit().await.unwrap();
    sound(&books).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_operator_closes_sends_and_marks_paid(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 30).await;
    let fixture = &books.fixture;
    let person = fixture.ours.person(Role::Viewer);
    sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
        .bind(person)
        .execute(&fixture.root)
        .await
        .unwrap();
    let staff = fixture.browser(Role::Viewer).await;
    let all = format!("/operator/billing?month={month}");
    staff.get(&all).await.says(StatusCode::OK, "ours");
    let here = format!("/operator/billing/{}", books.organization());
    let month = month.to_string();
    // On the first two days of a month it is unusual, for something may come late.
    let closed =
        staff.post(&format!("{here}/close"), &[("month", &month), ("approval", WHY)]).await;
    assert_eq!(closed.status, StatusCode::SEE_OTHER, "{}", closed.body);
    let page = staff.get(&format!("{here}?month={month}")).await;
    page.says(StatusCode::OK, "Record a payment");
    let mut work = fixture.work(Role::Owner).await;
    let invoice = of_month(&mut work, month.parse().unwrap()).await.unwrap().remove(0);
    drop(work);
    assert!(invoice.sent_at.is_some());
    let at = format!("{here}/invoices/{}", invoice.id);
    let amount = invoice.open().exact();
    let form = [
        ("amount", amount.as_str()),
        ("method", "bank_transfer"),
        ("received_on", "2026-11-20"),
        ("once", "x"),
    ];
    let paid = staff.post(&format!("{at}/payments"), &form).await;
    assert_eq!(paid.status, StatusCode::SEE_OTHER, "{}", paid.body);
    staff.get(&format!("{here}?month={month}")).await.says(StatusCode::OK, "Paid");
    let again = staff.post(&format!("{at}/payments"), &[("amount", "1")]).await;
    again.says(StatusCode::UNPROCESSABLE_ENTITY, "choose how it came");
    let ledger = staff.get(&format!("/operator/ledger/{}", books.organization())).await;
    ledger.says(StatusCode::OK, "receivable");
    let granted = [
        ("kind", "promotional"),
        ("name", "Welcome"),
        ("amount", "25"),
        ("priority", "1"),
        ("effective_on", "2026-11-01"),
        ("once", "y"),
    ];
    let done = staff.post(&format!("{here}/credits"), &granted).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    let billing = fixture.browser(Role::Billing).await;
    billing.get("/orgs/ours/billing").await.says(StatusCode::OK, "Welcome");
    let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM mail_outbox")
        .fetch_one(&fixture.root)
        .await
        .unwrap();
    assert_eq!(letters, 2, "owner and billing member");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_as_usual_is_closed_and_sent_by_itself_once(root: PgPool) {
    let mut books = Books::new(root).await;
    // The latest that waited for two days, whichever day it is.
    let month = Month::at(OffsetDateTime::now_utc() - GRACE).previous();
    books.used(month, 30).await;
    // Another one used nothing that is billed: that is unusual.
    let theirs = books.fixture.theirs.id;
    let mut odd = books.call(0, month.starts_at(), Usage { input: 9, ..Usage::default() });
    (odd.organization, odd.cost) = (theirs, shared::money::Money::ZERO);
    odd.lines[0].cost = shared::money::Pico::ZERO;
    books.meter(std::slice::from_ref(&odd)).await;
    let platform = &books.fixture.platform;
    let (first, second) = tokio::join!(close_due(platform), close_due(platform));
    first.and(second).unwrap();
    close_due(platform).await.unwrap();
    let told = "SELECT count(*) FROM invoices WHERE sent_at IS NOT NULL";
    assert_eq!(books.number(told).await, 1);
    assert_eq!(books.number("SELECT count(*) FROM mail_outbox").await, 2, "once each");
    assert_eq!(books.number("SELECT count(*) FROM closed_months").await, 1);
    let mut work = books.fixture.work(Role::Owner).await;
    assert_eq!(of_month(&mut work, month).await.unwrap().len(), 1);
    drop(work);
    sound(&books).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_bears_what_was_invoiced_is_not_changed_afterwards(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 9).await;
    let mut work = books.fixture.work(Role::Owner).await;
    close(&mut work, month, WHY, "us").await.unwrap();
    work.commit().await.unwrap();
    let plan = |day: Date| {
        let all = crate::cost_centers::BasisPoints::WHOLE;
        crate::cost_centers::splits::Plan::new(day.into(), &[(books.centers[0], all)]).unwrap()
    };
    for day in [month.first(), month.last()] {
        let mut work = books.fixture.work(Role::Owner).await;
        let refused =
            crate::cost_centers::splits::replace(&mut work, books.projects[2], &plan(day)).await;
        assert!(refused.unwrap_err().to_string().contains("closed"), "{day}");
    }
    let mut work = books.fixture.work(Role::Owner).await;
    crate::cost_centers::splits::replace(&mut work, books.projects[2], &plan(month.end()))
        .await
        .unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn one_nano_planted_anywhere_is_named(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    books.used(month, 9).await;
    let mut work = books.fixture.work(Role::Owner).await;
    close(&mut work, month, WHY, "us").await.unwrap();
    work.commit().await.unwrap();
    sound(&books).await;
    let mut conn = books.fixture.db.acquire().await.unwrap();
    let mut apart = async || {
        let mut all = ledger::broken(&mut conn, date!(2000 - 01 - 01)).await.unwrap();
        all.extend(
            sums(&mut conn, date!(2000 - 01 - 01))
                .await
                .unwrap()
                .into_iter()
                .filter(|it| it.ours != it.theirs),
        );
        let mut day = month.first();
        while day < month.end() {
            all.extend(ledger::differing_charges(&mut conn, day).await.unwrap());
            all.extend(ledger::differing_accruals(&mut conn, day).await.unwrap());
            day = day.next_day().unwrap();
        }
        all.into_iter().map(|it| it.row_key).collect::<Vec<_>>()
    };
    for plant in [
        "UPDATE charges SET cost_nano = cost_nano + $1
          WHERE place = 1 AND posting_id =
                (SELECT posting_id FROM charges WHERE NOT is_own ORDER BY hour LIMIT 1)",
        "UPDATE ledger_entries SET amount = amount + $1
          WHERE place = 1 AND posting_id =
                (SELECT posting_id FROM charges WHERE NOT is_own ORDER BY hour LIMIT 1)",
    ] {
        for change in [1_i64, -1] {
            let done = sqlx::query(plant).bind(change).execute(&books.fixture.root).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{plant}");
            assert_eq!(apart().await.is_empty(), change == -1, "{plant}");
        }
    }
    // An entry that is gone.
    sqlx::query("DELETE FROM ledger_entries WHERE account = 'rounding'")
        .execute(&books.fixture.root)
        .await
        .unwrap();
    assert!(apart().await.iter().any(|it| it.contains("posting=")));
}
