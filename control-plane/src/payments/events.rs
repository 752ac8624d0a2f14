//! What the provider tells: kept once, handled in any order, and asked for where it was missed.
//!
//! An event says only that it is worth looking. What it is about is asked for, and noted as it is
//! then, which twice or late comes to the same.

use shared::ids::{InvoiceId, OrganizationId};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use super::{
    PaymentError, Rail, begin, collect::apply, look_at_card, provider::Event, refunds, store,
    take_up_choice,
};
use crate::platform::Platform;

/// How many are handled in one go.
const DUE: i64 = 200;
/// What is listed late is read all the same.
const OVERLAP: Duration = Duration::minutes(15);
/// How far back the first sweep goes, and how long the provider lists what happened.
const FIRST: Duration = Duration::days(1);
const LISTED: Duration = Duration::days(30);
/// More pages than a month's events of a platform that we were away from for long.
const MOST_PAGES: usize = 1_000;

/// The kinds that are about what we keep. Others are taken and left alone.
const HEEDED: [&str; 7] = [
    "invoice.",
    "checkout.session.",
    "payment_method.",
    "customer.",
    "credit_note.",
    "setup_intent.",
    "refund.",
];

pub(super) fn is_heeded(kind: &str) -> bool {
    HEEDED.iter().any(|it| kind.starts_with(it))
}

/// Handles what was told. Any number may run at once.
pub async fn handle_due(platform: &Platform, now: OffsetDateTime) -> Result<(), PaymentError> {
    let Some(rail) = &platform.payments else { return Ok(()) };
    handle(rail, &platform.db, now).await
}

pub(super) async fn handle(
    rail: &Rail,
    db: &PgPool,
    now: OffsetDateTime,
) -> Result<(), PaymentError> {
    let due = {
        let mut conn = db.acquire().await?;
        store::due_events(&mut conn, now, DUE).await?
    };
    for event in due {
        let handled = handle_one(rail, db, &event, now).await;
        let mut conn = db.acquire().await?;
        match handled {
            Ok(()) => store::event_handled(&mut conn, &event.id, now).await?,
            Err(error) => {
                warn!(event.id = %event.id, "an event of payments is not handled: {error}");
                store::event_failed(&mut conn, &event.id, &error.to_string(), now).await?;
            }
        }
    }
    Ok(())
}

async fn handle_one(
    rail: &Rail,
    db: &PgPool,
    event: &Event,
    now: OffsetDateTime,
) -> Result<(), PaymentError> {
    if !is_heeded(&event.kind) {
        return Ok(());
    }
    let owners = {
        let mut conn = db.acquire().await?;
        store::owners(&mut conn, &event.refs).await?
    };
    for (organization, invoice) in owners {
        match invoice {
            Some(invoice) if event.kind.starts_with("refund.") => {
                refunds::look(rail, db, organization, invoice, &event.refs).await?;
            }
            Some(invoice) => look_at_invoice(rail, db, organization, invoice).await?,
            None if event.kind == "checkout.session.completed" => {
                let session = event.refs.first().map(String::as_str).unwrap_or_default();
                take_up_choice(rail, db, organization, session, now).await?;
            }
            None => look_at_card(rail, db, organization, now).await?,
        }
    }
    Ok(())
}

/// Notes how an invoice is at the provider now.
pub(super) async fn look_at_invoice(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), PaymentError> {
    let remote = {
        let mut work = begin(db, organization).await?;
        store::find(&mut work, organization, invoice).await?.and_then(|it| it.remote)
    };
    let Some(remote) = remote else { return Ok(()) };
    // One that was thrown away is noted by whoever did it.
    let Some(found) = rail.provider.invoice(&remote).await? else { return Ok(()) };
    let mut work = begin(db, organization).await?;
    apply(&mut work, invoice, &found).await?;
    Ok(work.commit().await?)
}

/// Reads the provider's own list of what happened, for what no webhook told.
pub async fn sweep(platform: &Platform, now: OffsetDateTime) -> Result<(), PaymentError> {
    let Some(rail) = &platform.payments else { return Ok(()) };
    let missed = sweep_all(rail, &platform.db, now).await?;
    if missed > 0 {
        info!("{missed} events of payments were told by no webhook");
        platform.nudges.payment_events.notify_one();
    }
    Ok(())
}

/// Says how many were not known.
pub(super) async fn sweep_all(
    rail: &Rail,
    db: &PgPool,
    now: OffsetDateTime,
) -> Result<usize, PaymentError> {
    let since = {
        let mut conn = db.acquire().await?;
        store::swept_until(&mut conn).await?.map_or(now - FIRST, |it| it - OVERLAP)
    };
    let since = since.max(now - LISTED);
    let (mut after, mut missed): (Option<String>, _) = (None, 0);
    for _ in 0..MOST_PAGES {
        let (events, has_more) = rail.provider.events(since, after.as_deref()).await?;
        let mut conn = db.acquire().await?;
        for event in &events {
            let is_new = store::insert_event(&mut conn, event, "sweep", now).await?;
            missed += usize::from(is_new);
        }
        after = events.last().map(|it| it.id.clone());
        if !has_more || after.is_none() {
            break;
        }
    }
    // Only when all of it was read: what failed half-way is read again.
    let mut conn = db.acquire().await?;
    store::set_swept(&mut conn, now).await?;
    store::forget_events(&mut conn, now - LISTED - LISTED).await?;
    Ok(missed)
}
