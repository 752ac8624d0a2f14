//! What a simulation comes to, in numbers that say what they are of.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::{event::Event, ids::RequestId, money::Money};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Call, Decided, Policy, Side, caps::Refused};

/// So many changed decisions are listed, the latest.
const MOST_LISTED: usize = 50;

/// The last calls of a policy, decided by the version in force and by another.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Simulation {
    /// In force: what the other is compared with.
    pub version: i32,
    /// How many calls were decided by both.
    pub calls: u32,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<OffsetDateTime>,
    /// Of the calls that the version in force decided when they were made: how many it decides
    /// as it did then. Others were made with other models, prices or versions of other policies.
    pub reproduced: Reproduced,
    /// Calls that could not be decided again, and why.
    pub left_out: Vec<LeftOut>,
    /// Calls of which the other version asks for what nobody kept, and takes it for nothing.
    pub unknown: u32,
    /// Calls for which a rule of the other version could not be evaluated.
    pub not_evaluated: u32,
    /// Calls whose first model or provider is another.
    pub changed: u32,
    pub before: Sum,
    pub after: Sum,
    /// How many calls each model at each provider would be the first to be asked for.
    pub places: Vec<Place>,
    /// The latest decisions that changed.
    pub changes: Vec<Changed>,
    /// The budgets that would refuse some.
    pub refused_by: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reproduced {
    pub same: u32,
    pub of: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeftOut {
    pub why: String,
    pub calls: u32,
}

/// What one version comes to. Each amount is of the calls of which it is known for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sum {
    /// What the tokens that there were cost at the first model, at the price of then.
    #[schema(value_type = i64)]
    pub cost: Money,
    pub priced: u32,
    /// How good the answers are expected to be, on average, in millionths.
    pub quality_ppm: u32,
    pub judged: u32,
    /// How long answers are expected to take, on average.
    pub latency_ms: u32,
    pub timed: u32,
    /// Calls that nobody may answer.
    pub unanswered: u32,
    /// Calls that hard caps refuse, to the hour.
    pub refused: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Place {
    pub model: String,
    pub provider: String,
    pub before: u32,
    pub after: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changed {
    #[schema(value_type = String)]
    pub request: RequestId,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// A model at a provider. Nothing where nobody may answer.
    pub before: Option<String>,
    pub after: Option<String>,
    /// The rule by which it is decided now, if one holds.
    pub rule: Option<String>,
}

pub(super) fn told(policy: &Policy, decided: Decided, refused: Refused) -> Simulation {
    let Decided { calls, unplayable } = decided;
    let count = |counts: &dyn Fn(&&Call) -> bool| number(calls.iter().filter(counts).count());
    let changes = calls.iter().rev().filter(|it| first(&it.before) != first(&it.after));
    let both = |of: &dyn Fn(&Side) -> Option<u64>| Both::of(&calls, of);
    let cost = both(&|it| it.cost.and_then(|it| u64::try_from(it.nanos()).ok()));
    let quality = both(&|it| it.quality_ppm.map(u64::from));
    let latency = both(&|it| it.latency_ms.map(u64::from));
    let sum = |at: usize, unanswered: u32, refused: u32| Sum {
        cost: Money::from_nanos(i64::try_from(cost.sums[at]).unwrap_or(i64::MAX)),
        priced: cost.calls,
        quality_ppm: quality.mean(at),
        judged: quality.calls,
        latency_ms: latency.mean(at),
        timed: latency.calls,
        unanswered,
        refused,
    };
    Simulation {
        version: policy.version,
        calls: number(calls.len()),
        from: calls.first().map(|it| it.event.started_at),
        until: calls.last().map(|it| it.event.started_at),
        reproduced: Reproduced {
            same: count(&|it| it.is_as_it_was == Some(true)),
            of: count(&|it| it.is_as_it_was.is_some()),
        },
        left_out: unplayable.into_iter().map(|(why, calls)| LeftOut { why, calls }).collect(),
        unknown: count(&|it| it.after.outcome.lacks),
        not_evaluated: count(&|it| it.after.outcome.not_evaluated > 0),
        changed: number(changes.clone().count()),
        before: sum(0, count(&|it| is_unanswered(&it.before)), refused.before),
        after: sum(1, count(&|it| is_unanswered(&it.after)), refused.after),
        places: places(&calls),
        changes: changes.take(MOST_LISTED).map(changed).collect(),
        refused_by: refused.by.into_iter().collect(),
    }
}

/// An amount of both versions, of the calls of which it is known for both.
struct Both {
    sums: [u128; 2],
    calls: u32,
}

impl Both {
    fn of(calls: &[Call], of: &dyn Fn(&Side) -> Option<u64>) -> Self {
        let mut both = Self { sums: [0; 2], calls: 0 };
        for (before, after) in calls.iter().filter_map(|it| of(&it.before).zip(of(&it.after))) {
            both.sums[0] += u128::from(before);
            both.sums[1] += u128::from(after);
            both.calls += 1;
        }
        both
    }

    fn mean(&self, at: usize) -> u32 {
        let mean = self.sums[at].checked_div(self.calls.into()).unwrap_or(0);
        u32::try_from(mean).unwrap_or(u32::MAX)
    }
}

fn is_unanswered(side: &Side) -> bool {
    side.outcome.places.is_empty()
}

/// Who is asked first.
fn first(side: &Side) -> Option<(&str, &str)> {
    side.outcome.places.first().map(|it| (it.model.as_str(), it.provider.as_str()))
}

/// The most asked first.
fn places(calls: &[Call]) -> Vec<Place> {
    let mut counts: BTreeMap<(&str, &str), [u32; 2]> = BTreeMap::new();
    for call in calls {
        for (at, side) in [&call.before, &call.after].into_iter().enumerate() {
            if let Some(place) = first(side) {
                counts.entry(place).or_default()[at] += 1;
            }
        }
    }
    let mut places: Vec<_> = counts
        .into_iter()
        .map(|((model, provider), [before, after])| Place {
            model: model.to_owned(),
            provider: provider.to_owned(),
            before,
            after,
        })
        .collect();
    places.sort_by_key(|it| std::cmp::Reverse((it.after, it.before)));
    places
}

fn changed(call: &Call) -> Changed {
    let Event { request, started_at, .. } = call.event;
    let named = |side| first(side).map(|(model, provider)| format!("{model} at {provider}"));
    Changed {
        request,
        at: started_at,
        before: named(&call.before),
        after: named(&call.after),
        rule: call.after.outcome.rule.clone(),
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
