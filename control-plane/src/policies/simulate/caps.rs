//! Which of the calls hard caps would have refused, had another version led them: each budget's
//! window is gone through by the hour, with what was spent in it and, for the calls at hand, what
//! they would have come to instead. From the hour in which the cap is passed until the window ends
//! all of them are taken as refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use data_plane::{
    budgets::{Bearing, bearings},
    catalog::Snapshot,
};
use shared::{
    counters::Amounts,
    ids::BudgetId,
    money::{Money, Span},
    snapshot::Budget,
};
use time::OffsetDateTime;

use super::{Call, Side};
use crate::{access::Work, budgets};

/// How many calls caps would have refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub before: u32,
    pub after: u32,
    /// The budgets that would have refused some, by name.
    pub by: BTreeSet<String>,
}

/// A budget's window, and which of the calls are in it.
struct Window {
    budget: Arc<Budget>,
    span: Span,
    calls: Vec<Counted>,
}

/// A call as a budget counts it, in nano-dollars.
struct Counted {
    number: usize,
    hour: OffsetDateTime,
    spent: i64,
    before: i64,
    after: i64,
}

pub(super) async fn refused(
    work: &mut Work,
    snapshot: &Snapshot,
    calls: &[Call],
) -> Result<Refused, sqlx::Error> {
    let (mut before, mut after, mut by) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for window in windows(snapshot, calls).into_values() {
        let hours = budgets::hours(work, &window.budget, window.span).await?;
        before.extend(window.refuses(&hours, |it| it.before));
        let refused = window.refuses(&hours, |it| it.after);
        if !refused.is_empty() {
            by.insert(window.budget.name.clone());
        }
        after.extend(refused);
    }
    let count = |it: BTreeSet<usize>| u32::try_from(it.len()).unwrap_or(u32::MAX);
    Ok(Refused { before: count(before), after: count(after), by })
}

/// Of the hard budgets with a cap in money, by when they begin.
fn windows(snapshot: &Snapshot, calls: &[Call]) -> BTreeMap<(BudgetId, i64), Window> {
    let mut windows = BTreeMap::new();
    for (number, call) in calls.iter().enumerate() {
        let at = call.event.billed_at_ms;
        let Some(key) = snapshot.key(call.event.key) else { continue };
        for bearing in bearings(snapshot, key, at) {
            let budget = bearing.budget.clone();
            if !budget.is_hard || budget.caps.money.is_none() {
                continue;
            }
            let span = budget.period.span_at(&budget.zone, at);
            let window = windows.entry((budget.id, span.start_ms)).or_insert_with(|| Window {
                budget,
                span,
                calls: Vec::new(),
            });
            window.calls.push(Counted::of(number, call, &bearing));
        }
    }
    windows
}

impl Counted {
    fn of(number: usize, call: &Call, bearing: &Bearing) -> Self {
        let share = |it: Money| {
            bearing.amounts_of(Amounts { money: it.nanos(), ..Amounts::default() }).money
        };
        // What nobody knows better is what it was.
        let of = |side: &Side| match side.outcome.places.is_empty() {
            true => 0,
            false => share(side.cost.unwrap_or(call.event.cost)),
        };
        let at = i128::from(call.event.billed_at_ms) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(at);
        let hour = at.unwrap_or(OffsetDateTime::UNIX_EPOCH).truncate_to_hour();
        let spent = share(call.event.cost);
        Self { number, hour, spent, before: of(&call.before), after: of(&call.after) }
    }
}

impl Window {
    /// The calls that the cap refuses, had each come to what `of` says.
    fn refuses(
        &self,
        hours: &[(OffsetDateTime, Amounts)],
        of: fn(&Counted) -> i64,
    ) -> BTreeSet<usize> {
        let mut by_hour: BTreeMap<OffsetDateTime, i128> = BTreeMap::new();
        for (hour, amounts) in hours {
            *by_hour.entry(*hour).or_default() += i128::from(amounts.money);
        }
        for it in &self.calls {
            *by_hour.entry(it.hour).or_default() += i128::from(of(it)) - i128::from(it.spent);
        }
        let cap = self.budget.caps.money.map_or(i128::MAX, |it| i128::from(it.nanos()));
        let mut spent = 0_i128;
        let passed = by_hour.into_iter().find(|(_, amount)| {
            spent += amount;
            spent > cap
        });
        let Some((passed, _)) = passed else { return BTreeSet::new() };
        self.calls.iter().filter(|it| it.hour >= passed).map(|it| it.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        ids::OrganizationId,
        money::{Period, Zone},
        snapshot::{BudgetScope, Caps},
    };
    use time::{Duration, macros::datetime};

    use super::*;

    const START: OffsetDateTime = datetime!(2026-11-01 00:00 UTC);

    fn counted(number: usize, hour: i64, spent: i64, after: i64) -> Counted {
        Counted { number, hour: START + Duration::hours(hour), spent, before: spent, after }
    }

    /// A window of 100 nano-dollars, of which others spent 50 in its first hour.
    #[track_caller]
    fn check(calls: Vec<Counted>, expected: &[usize]) {
        let all: i64 = calls.iter().map(|it| it.spent).sum();
        let budget = Budget {
            id: BudgetId::generate(),
            organization: OrganizationId::generate(),
            name: "a".into(),
            scope: BudgetScope::Organization,
            period: Period::Month,
            zone: "UTC".parse::<Zone>().unwrap(),
            caps: Caps { money: Some(Money::from_nanos(100)), ..Caps::default() },
            raise: None,
            is_hard: true,
            thresholds: Default::default(),
            on_tight: Default::default(),
            on_redis_loss: Default::default(),
            version: 1,
            raised_by: String::new(),
        };
        let window = Window { budget: Arc::new(budget), span: Span::ALWAYS, calls };
        // What was spent of the calls themselves is a part of it.
        let money = |money| Amounts { money, ..Amounts::default() };
        let hours = [(START, money(50)), (START + Duration::hours(5), money(all))];
        let hours: Vec<_> = hours
            .into_iter()
            .map(|(hour, amounts)| match window.calls.first() {
                Some(first) if hour != START => (first.hour, amounts),
                _ => (hour, amounts),
            })
            .collect();
        assert!(window.refuses(&hours, |it| it.before).is_empty());
        let refused: Vec<_> = window.refuses(&hours, |it| it.after).into_iter().collect();
        assert_eq!(refused, expected);
    }

    #[test]
    fn what_is_dearer_is_refused_from_the_hour_on_in_which_the_cap_is_passed() {
        check(vec![counted(0, 1, 10, 50)], &[]);
        check(vec![counted(0, 1, 10, 51)], &[0]);
        check(vec![counted(0, 1, 20, 40), counted(1, 1, 0, 20)], &[0, 1]);
        check(vec![counted(7, 1, 10, 5)], &[]);
    }

    #[test]
    fn what_others_spend_later_leaves_less_for_it() {
        let early = counted(0, 1, 10, 49);
        let late = counted(1, 9, 0, 2);
        check(vec![early, late], &[1]);
    }
}
