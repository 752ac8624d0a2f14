//! What was spent before a budget counted.

use std::ops::Range;

use shared::{counters::Amounts, money::Span, snapshot::Budget};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};

use crate::usage;

/// What the budget's scope spent in a span by calls that were not counted on the budget, as
/// far as the database knows: calls that end later, or that nobody has told it of yet, are
/// left out.
pub(super) async fn uncounted(
    conn: &mut PgConnection,
    budget: &Budget,
    span: Span,
) -> Result<Amounts, sqlx::Error> {
    usage::uncounted(conn, budget, instants(span), span.start_ms).await
}

/// What a budget's scope spent in a span, by the hour.
pub async fn hours(
    conn: &mut PgConnection,
    budget: &Budget,
    span: Span,
) -> Result<Vec<(OffsetDateTime, Amounts)>, sqlx::Error> {
    let spans = [instants(span)];
    let hours = usage::by_hour(conn, budget.organization, budget.scope, &spans).await?;
    Ok(hours.into_iter().next().unwrap_or_default())
}

/// A span as the database is asked for it. One that never ends does so in the year 9999.
pub(super) fn instants(span: Span) -> Range<OffsetDateTime> {
    let at = |ms| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let last = Date::MAX.midnight().assume_utc();
    at(span.start_ms).unwrap_or(last)..at(span.end_ms).unwrap_or(last)
}
