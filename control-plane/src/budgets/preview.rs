//! What caps would have refused, had they been in force since the beginning of last month.
//!
//! Each window is gone through in the order in which calls were let through, with what they
//! came to. From the first call that no longer fits until the window ends, all are taken as
//! refused. Of what would still have been left, that is less than what the first one refused
//! cost. A call under way holds the most that it can cost, which nobody wrote down: so the
//! caps may refuse some calls a little sooner than is said here.

use std::{iter, ops::Range};

use serde::Serialize;
use shared::{
    counters::Amounts,
    money::{Money, Period, Span, Zone},
    snapshot::{BudgetScope, Caps},
};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::{BudgetError, SaidAmounts, scope, spent::instants};
use crate::{access::Work, usage};

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    pub scope: BudgetScope,
    pub period: Period,
    pub zone: Zone,
    pub caps: Caps,
}

/// One window, and what caps would have refused of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: OffsetDateTime,
    /// The present one ends later.
    pub until: OffsetDateTime,
    pub spent: Amounts,
    /// When the first call would have been refused.
    pub since: Option<OffsetDateTime>,
    pub refused: Amounts,
}

/// Windows from the one that last month begins in to the present one.
#[derive(Clone, Debug)]
pub struct Preview {
    pub from: OffsetDateTime,
    pub windows: Vec<Window>,
    pub spent: Amounts,
    pub refused: Amounts,
}

impl Preview {
    /// The windows in which something would have been refused.
    pub fn touched(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(|it| it.since.is_some())
    }
}

/// Looks back at a moment.
pub async fn look_back(
    work: &mut Work,
    question: &Question,
    now: OffsetDateTime,
) -> Result<Preview, BudgetError> {
    scope::check(work, question.scope).await?;
    let (organization, spans) = (work.organization, spans(question, now));
    let hours = usage::by_hour(work, organization, question.scope, &spans).await?;
    let mut windows = Vec::new();
    for (span, hours) in spans.into_iter().zip(hours) {
        windows.push(replay(work, question, span, &hours).await?);
    }
    let sum = |of: fn(&Window) -> Amounts| {
        windows.iter().fold(Amounts::default(), |sum, it| sum.plus(of(it)))
    };
    let (spent, refused) = (sum(|it| it.spent), sum(|it| it.refused));
    let from = windows.first().map_or(now, |it| it.from);
    Ok(Preview { from, windows, spent, refused })
}

/// The windows of the budget since last month began. One that never renews begins then.
fn spans(question: &Question, now: OffsetDateTime) -> Vec<Range<OffsetDateTime>> {
    let now_ms = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    let span_at = |period: Period, ms| period.span_at(&question.zone, ms);
    let this_month = span_at(Period::Month, now_ms);
    let last_month = span_at(Period::Month, this_month.start_ms - 1);
    let first = match question.period {
        Period::Total => Span { start_ms: last_month.start_ms, ..Span::ALWAYS },
        period @ (Period::Day | Period::Week | Period::Month) => {
            span_at(period, last_month.start_ms)
        }
    };
    let next = |it: &Span| (it.end_ms <= now_ms).then(|| span_at(question.period, it.end_ms));
    iter::successors(Some(first), next)
        .map(|it| instants(Span { end_ms: it.end_ms.min(now_ms), ..it }))
        .collect()
}

async fn replay(
    work: &mut Work,
    question: &Question,
    span: Range<OffsetDateTime>,
    hours: &[(OffsetDateTime, Amounts)],
) -> Result<Window, BudgetError> {
    let mut window = Window {
        from: span.start,
        until: span.end,
        spent: Amounts::default(),
        since: None,
        refused: Amounts::default(),
    };
    for (hour, amounts) in hours.iter().copied() {
        let after = window.spent.plus(amounts);
        if window.since.is_some() {
            window.refused = window.refused.plus(amounts);
        } else if is_beyond(question.caps, after) {
            let calls = hour.max(span.start)..(hour + Duration::HOUR).min(span.end);
            let room = left(question.caps, window.spent);
            let organization = work.organization;
            (window.since, window.refused) =
                usage::beyond(work, organization, question.scope, calls, room).await?;
        }
        window.spent = after;
    }
    Ok(window)
}

fn is_beyond(caps: Caps, amounts: Amounts) -> bool {
    let Caps { money, requests, tokens } = caps;
    money.is_some_and(|it| amounts.money > it.nanos())
        || requests.is_some_and(|it| amounts.requests > it)
        || tokens.is_some_and(|it| amounts.tokens > it)
}

/// Of caps that were not reached yet.
fn left(caps: Caps, spent: Amounts) -> Caps {
    Caps {
        money: caps.money.map(|it| Money::from_nanos(it.nanos() - spent.money)),
        requests: caps.requests.map(|it| it - spent.requests),
        tokens: caps.tokens.map(|it| it - spent.tokens),
    }
}

/// What caps would have refused since the beginning of last month. Each window is gone through
/// in the order of its calls, with what they cost: from the first that no longer fits until the
/// window ends, all are taken as refused.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetPreview)]
pub struct SaidPreview {
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    from: OffsetDateTime,
    spent: SaidAmounts,
    refused: SaidAmounts,
    /// The earliest first; the last one is not over.
    windows: Vec<SaidWindow>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BudgetPreviewWindow)]
struct SaidWindow {
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    until: OffsetDateTime,
    spent: SaidAmounts,
    /// When the first call would have been refused. Null where none would.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    refused_since: Option<OffsetDateTime>,
    refused: SaidAmounts,
}

impl From<Preview> for SaidPreview {
    fn from(it: Preview) -> Self {
        let window = |it: Window| SaidWindow {
            from: it.from,
            until: it.until,
            spent: it.spent.into(),
            refused_since: it.since,
            refused: it.refused.into(),
        };
        Self {
            from: it.from,
            spent: it.spent.into(),
            refused: it.refused.into(),
            windows: it.windows.into_iter().map(window).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn check(period: Period, count: usize, first: OffsetDateTime, second: Option<OffsetDateTime>) {
        let question = Question {
            scope: BudgetScope::Organization,
            period,
            zone: "Europe/Berlin".parse().unwrap(),
            caps: Caps::default(),
        };
        let now = datetime!(2026-11-28 12:00 UTC);
        let spans = spans(&question, now);
        assert_eq!((spans.len(), spans[0].start), (count, first), "{period:?}");
        assert_eq!(spans.last().map(|it| it.end), Some(now));
        assert_eq!(spans.get(1).map(|it| it.start), second, "{period:?}");
        assert!(spans.windows(2).all(|it| it[0].end == it[1].start));
    }

    #[test]
    fn it_looks_back_at_whole_windows_from_last_month_on() {
        let october = datetime!(2026-09-30 22:00 UTC);
        let monday = datetime!(2026-09-27 22:00 UTC);
        check(Period::Month, 2, october, Some(datetime!(2026-10-31 23:00 UTC)));
        check(Period::Week, 9, monday, Some(datetime!(2026-10-04 22:00 UTC)));
        check(Period::Day, 59, october, Some(datetime!(2026-10-01 22:00 UTC)));
        check(Period::Total, 1, october, None);
    }
}
