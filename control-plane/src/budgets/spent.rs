//! What was spent before a budget counted.

use shared::{counters::Amounts, money::Span, snapshot::Budget};
use sqlx::PgConnection;

/// What the budget's scope spent in a span by calls that were not counted on the budget, as
/// far as the database knows. Nothing is kept of what calls cost yet.
pub(super) async fn uncounted(
    _: &mut PgConnection,
    _: &Budget,
    _: Span,
) -> Result<Amounts, sqlx::Error> {
    Ok(Amounts::default())
}
