use shared::usage::Usage;
use sqlx::PgPool;
use time::macros::date;

use super::*;
use crate::{
    access::Role,
    billing::Month,
    ledger::credits::{CreditKind, NewCredit},
    testing::books::{Books, last_month},
};
use shared::money::Cents;

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|it| it.code()).unwrap_or_default().into_owned()
}

fn usage(input: u64) -> Usage {
    Usage { input, output: 7, ..Usage::default() }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_does_not_balance_is_not_posted(root: PgPool) {
    let books = Books::new(root).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let posting = Posting::new(Reason::Payment, "odd", "odd").debit(Account::Cash, 5);
    post(&mut work, &posting).await.unwrap();
    assert_eq!(code(&work.commit().await.unwrap_err()), "TP010");
    let mut work = books.fixture.work(Role::Owner).await;
    let even = posting.credit(Account::Receivable, 5);
    assert!(post(&mut work, &even).await.unwrap().is_some());
    work.commit().await.unwrap();
    // Said again it is the same.
    let mut work = books.fixture.work(Role::Owner).await;
    assert!(post(&mut work, &even).await.unwrap().is_none());
    work.commit().await.unwrap();
    assert_eq!(books.number("SELECT count(*) FROM ledger_entries").await, 2);
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_reaches_anothers_ledger_and_nobody_changes_ones_own(root: PgPool) {
    let mut books = Books::new(root).await;
    books.used(last_month(), 20).await;
    let mut work = books.fixture.work(Role::Owner).await;
    credits::grant(&mut work, &credit(500), "a").await.unwrap().unwrap();
    work.commit().await.unwrap();
    let fixture = &books.fixture;
    for table in [
        "ledger_postings",
        "ledger_entries",
        "ledger_heads",
        "charges",
        "charged_hours",
        "credit_grants",
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let count = async |mut work: Work| -> i64 {
            sqlx::query_scalar(sqlx::AssertSqlSafe(count.clone()))
                .fetch_one(&mut *work)
                .await
                .unwrap()
        };
        assert!(count(fixture.work(Role::Owner).await).await > 0, "{table}");
        assert_eq!(count(fixture.work_of(&fixture.theirs, Role::Owner).await).await, 0, "{table}");
        if matches!(table, "ledger_heads" | "charged_hours") {
            continue;
        }
        for refused in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET organization_id = organization_id"),
        ] {
            let mut work = fixture.work(Role::Owner).await;
            let done = sqlx::query(sqlx::AssertSqlSafe(refused.clone())).execute(&mut *work).await;
            assert_eq!(code(&done.unwrap_err()), "42501", "{refused}");
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn usage_is_charged_once_to_the_nano_however_often_it_is_told(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let events = books.used(month, 60).await;
    assert_eq!(books.charge().await, 0, "nothing is left");
    // Told again, and something late in an hour that was charged.
    books.meter(&events).await;
    assert_eq!(books.charge().await, 0);
    let late = books.call(1, month.starts_at(), usage(1_234));
    books.meter(std::slice::from_ref(&late)).await;
    assert_eq!(books.charge().await, 1);
    let all: Vec<_> = events.iter().cloned().chain([late]).collect();
    let used: i64 = all.iter().map(|it| it.cost.nanos()).sum();
    assert_eq!(books.number("SELECT sum(cost_nano)::bigint FROM charges").await, used);
    assert_eq!(
        books
            .number("SELECT sum(amount)::bigint FROM ledger_entries WHERE account = 'accrued'")
            .await,
        books.owed(&all),
        "what one's own credential opened is owed to nobody here"
    );
    assert_eq!(books.number("SELECT count(*) FROM charges WHERE unit_price = ''").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn two_that_charge_at_once_charge_once(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let mut events = Vec::new();
    for turn in 0..20 {
        events.push(books.call(0, month.starts_at() + time::Duration::hours(turn), usage(900)));
    }
    books.meter(&events).await;
    futures::future::join_all((0..4).map(|_| books.charge())).await;
    assert_eq!(
        books.number("SELECT sum(cost_nano)::bigint FROM charges").await,
        books.owed(&events)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn an_hour_is_charged_when_it_is_over(root: PgPool) {
    let mut books = Books::new(root).await;
    let now = OffsetDateTime::now_utc();
    let event = books.call(0, now, usage(50));
    books.meter(&[event]).await;
    assert_eq!(books.charge().await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_sealed_day_takes_nothing_more_and_an_edit_of_it_is_found(root: PgPool) {
    let mut books = Books::new(root).await;
    books.used(last_month(), 5).await;
    let root = books.fixture.root.clone();
    // As if it had been posted the day before yesterday, and yesterday.
    for statement in [
        "ALTER TABLE ledger_postings DISABLE TRIGGER USER",
        "UPDATE ledger_postings SET posted_at = posted_at - interval '1 day'",
        "UPDATE ledger_postings SET posted_at = posted_at - interval '1 day'
          WHERE id = (SELECT min(id::text)::uuid FROM ledger_postings)",
        "ALTER TABLE ledger_postings ENABLE TRIGGER USER",
    ] {
        sqlx::query(statement).execute(&root).await.unwrap();
    }
    seal_due(&books.fixture.db).await.unwrap();
    seal_due(&books.fixture.db).await.unwrap();
    assert_eq!(books.number("SELECT count(*) FROM ledger_days").await, 2);
    let mut conn = books.fixture.db.acquire().await.unwrap();
    assert!(broken(&mut conn, date!(2000 - 01 - 01)).await.unwrap().is_empty());
    let entry = "INSERT INTO ledger_entries
                 SELECT organization_id, id, 9, 'cash', 'USD', 1 FROM ledger_postings LIMIT 1";
    let mut work = books.fixture.work(Role::Owner).await;
    let refused = sqlx::query(entry).execute(&mut *work).await.unwrap_err();
    assert_eq!(code(&refused), "TP011");
    drop(work);
    sqlx::query("UPDATE ledger_postings SET about = 'else'").execute(&root).await.unwrap();
    assert_eq!(broken(&mut conn, date!(2000 - 01 - 01)).await.unwrap().len(), 2);
    drop(conn);
    // And nothing is posted into a day that was sealed too soon.
    sqlx::query("UPDATE ledger_heads SET sealed_until = current_date + 1")
        .execute(&root)
        .await
        .unwrap();
    let mut work = books.fixture.work(Role::Owner).await;
    let posting = Posting::new(Reason::Payment, "late", "late");
    let LedgerError::Store(refused) = post(&mut work, &posting).await.unwrap_err() else {
        panic!("it was posted");
    };
    assert_eq!(code(&refused), "TP011");
}

fn credit(cents: i64) -> NewCredit {
    NewCredit {
        kind: CreditKind::Paid,
        name: "Top-up".to_owned(),
        priority: 50,
        amount: Cents::from_cents(cents),
        effective_on: date!(2020 - 01 - 01),
        expires_on: None,
        reference: "wire 1".to_owned(),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn credits_are_used_by_priority_then_expiry_then_age_and_never_beyond(root: PgPool) {
    let books = Books::new(root).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let until = |it| Some(it);
    for (new, once) in [
        (credit(100), "plain"),
        (NewCredit { expires_on: until(date!(2099 - 01 - 01)), ..credit(200) }, "later"),
        (NewCredit { expires_on: until(date!(2098 - 01 - 01)), ..credit(300) }, "sooner"),
        (NewCredit { priority: 1, kind: CreditKind::Promotional, ..credit(400) }, "first"),
        (credit(100), "plain"),
    ] {
        let _ = credits::grant(&mut work, &new, once).await.unwrap();
    }
    let all = credits::list(&mut work).await.unwrap();
    let amounts: Vec<_> = all.iter().map(|it| it.amount.cents()).collect();
    assert_eq!(amounts, [400, 300, 200, 100], "and what is granted twice is granted once");
    let month: Month = "2026-11".parse().unwrap();
    let uses = credits::plan(&mut all.clone(), Cents::from_cents(750), month);
    assert_eq!(uses.iter().map(|it| it.amount.cents()).collect::<Vec<_>>(), [400, 300, 50]);
    // Beyond what it is worth the database refuses.
    let posting = Posting::new(Reason::Invoice, "x", "x");
    let posting = post(&mut work, &posting).await.unwrap().unwrap();
    let beyond = credits::Use { amount: Cents::from_cents(401), ..uses[0].clone() };
    let LedgerError::Store(refused) =
        credits::spend(&mut work, posting, &[beyond]).await.unwrap_err()
    else {
        panic!("it was used");
    };
    assert_eq!(code(&refused), "TP012");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_has_run_out_leaves_the_wallet_when_its_last_month_is_invoiced(root: PgPool) {
    let books = Books::new(root).await;
    let today = OffsetDateTime::now_utc().date();
    let mut work = books.fixture.work(Role::Owner).await;
    let ended = NewCredit { expires_on: Some(today), ..credit(100) };
    credits::grant(&mut work, &ended, "ended").await.unwrap();
    let long_ago = NewCredit {
        expires_on: Some(date!(2020 - 06 - 01)),
        kind: CreditKind::Promotional,
        ..credit(70)
    };
    credits::grant(&mut work, &long_ago, "long ago").await.unwrap();
    work.commit().await.unwrap();
    credits::expire_due(&books.fixture.db).await.unwrap();
    credits::expire_due(&books.fixture.db).await.unwrap();
    let mut work = books.fixture.work(Role::Owner).await;
    let left: Vec<_> =
        credits::list(&mut work).await.unwrap().iter().map(|it| it.left.cents()).collect();
    assert_eq!(left, [0, 100]);
    let balances = balances(&mut work).await.unwrap();
    let of = |account| balances.iter().find(|it| it.0 == account).unwrap().1;
    assert_eq!(of(Account::Wallet), -Cents::from_cents(100).nanos());
    assert_eq!((of(Account::Promotions), of(Account::PromotionExpense)), (0, 0));
    drop(work);
    sqlx::query(
        "INSERT INTO closed_months SELECT $1, date_trunc('month', current_date)::date, now(), '', '{}'::text[], ''",
    )
    .bind(books.organization())
    .execute(&books.fixture.root)
    .await
    .unwrap();
    credits::expire_due(&books.fixture.db).await.unwrap();
    let mut work = books.fixture.work(Role::Owner).await;
    let balances = super::balances(&mut work).await.unwrap();
    let of = |account| balances.iter().find(|it| it.0 == account).unwrap().1;
    assert_eq!(of(Account::Wallet), 0);
    assert_eq!(of(Account::Breakage), -Cents::from_cents(100).nanos());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_paid_in_advance_is_a_budget_that_no_hand_changes(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let events = books.used(month, 30).await;
    let ever: i64 = events.iter().map(|it| it.cost.nanos()).sum();
    let owed = books.owed(&events);
    let mut work = books.fixture.work(Role::Owner).await;
    assert_eq!(prepaid::follow(&mut work).await.unwrap(), None);
    let terms = crate::billing::Terms { prepaid: true, ..Default::default() };
    crate::billing::change_terms(&mut work, terms.clone()).await.unwrap();
    credits::grant(&mut work, &credit(10_000), "a").await.unwrap();
    let budget = prepaid::follow(&mut work).await.unwrap().unwrap();
    let cap = async |work: &mut Work| {
        crate::budgets::find(work, budget).await.unwrap().terms.caps.money.unwrap().nanos()
    };
    // What is left of it is what was paid less what is owed.
    let hundred = 100_000_000_000;
    assert_eq!(cap(&mut work).await - ever, hundred - owed);
    let hand = crate::budgets::archive(&mut work, budget).await.unwrap_err();
    assert!(matches!(hand, BudgetError::FollowsCredits), "{hand}");
    work.commit().await.unwrap();
    // What is used and charged later changes nothing; another top-up does; so does the invoice,
    // by what rounding took.
    let call = books.call(0, month.starts_at(), usage(5_000));
    books.meter(std::slice::from_ref(&call)).await;
    books.charge().await;
    let mut work = books.fixture.work(Role::Owner).await;
    assert_eq!(prepaid::follow(&mut work).await.unwrap(), None);
    credits::grant(&mut work, &credit(5), "b").await.unwrap();
    assert_eq!(prepaid::follow(&mut work).await.unwrap(), Some(budget));
    assert_eq!(cap(&mut work).await - ever, hundred + 50_000_000 - owed);
    crate::invoices::close(&mut work, month, "a test", "us").await.unwrap();
    prepaid::follow(&mut work).await.unwrap();
    let billed = Cents::of_nanos(i128::from(owed + call.cost.nanos())).nanos();
    let left = i128::from(cap(&mut work).await - ever - call.cost.nanos());
    assert_eq!(left, i128::from(hundred) + 50_000_000 - billed);
    // And it goes when that ends.
    crate::billing::change_terms(&mut work, Default::default()).await.unwrap();
    assert_eq!(prepaid::follow(&mut work).await.unwrap(), Some(budget));
    assert!(crate::budgets::find(&mut work, budget).await.unwrap().is_archived());
    work.commit().await.unwrap();
}
