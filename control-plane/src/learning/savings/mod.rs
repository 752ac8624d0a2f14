//! What comparing models saves, beside always asking one of them: measured, where chance decided
//! about a share of the calls, and reckoned by prices alone, where it did not.
//!
//! Always holds: what is compared are calls that chance might have parted, by what it was likely to
//! do and what was known before it did; a call counts for whoever was to be asked first, whoever
//! answered in the end. Of few calls nothing is said but how few they are. Nothing here is billed.

mod estimate;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use data_plane::{catalog::Snapshot, route};
use serde::Serialize;
use shared::{event::Exploration, feedback::BEST, ids::UpstreamId, money::Money, usage::Usage};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

pub(super) use self::estimate::Interval;
use self::estimate::{Drawn, Ratio};
use super::{LearningError, state, store};
use crate::{
    access::Work,
    requests::{self, Compared, LOOKED_THROUGH},
    snapshots,
};

/// So many days are looked back on unless somebody says how many,
pub(super) const USUAL_DAYS: u16 = 30;
/// and so many may be: the log holds no more.
pub(super) const MOST_DAYS: u16 = 30;
/// So many calls are looked through while a page is made; of more, only when somebody asks.
const AT_ONCE: i64 = 5_000;
/// So many calls of each side are enough for something to be said of them.
pub(super) const NEEDED: u32 = 50;

/// What comparing models saves beside always asking the baseline.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Savings {
    /// How many days were looked back on.
    pub days: u16,
    /// Whether there were more calls than are looked through: only the latest 50,000 were.
    pub is_cut: bool,
    /// The calls for which a policy compared models,
    pub calls: u32,
    /// and how many of them were explored.
    pub explored: u32,
    /// What it is compared with. Nothing where there is no call.
    pub baseline: Option<Baseline>,
    pub cost: MeasuredCost,
    pub quality: MeasuredQuality,
    pub by_price: ByPrice,
}

/// The model that all calls would have been sent to first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Baseline {
    pub model: String,
    /// Whether the organization chose it. Else it is the one that is expected to answer best.
    pub is_chosen: bool,
}

/// What calls cost, measured on those that chance parted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct MeasuredCost {
    #[serde(flatten)]
    pub counts: Counts,
    /// Nothing where there are not enough calls to say.
    pub result: Option<CostResult>,
}

/// How many calls there are of each side, of those that the baseline could have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Counts {
    /// Led by what was compared,
    pub led: u32,
    /// and drawn to the baseline.
    pub drawn: u32,
    /// How many it takes of each.
    pub needed: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct CostResult {
    /// What a call costs as it is led, in nano-dollars,
    #[schema(value_type = i64)]
    pub per_call: Money,
    /// and what it is estimated to cost at the baseline.
    #[schema(value_type = i64)]
    pub baseline_per_call: Money,
    /// The share that is saved; less than nothing where it costs more.
    pub saved: Interval,
}

/// How good answers are, measured on calls that chance parted and somebody judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct MeasuredQuality {
    #[serde(flatten)]
    pub counts: Counts,
    /// Nothing where there are not enough calls to say.
    pub result: Option<QualityResult>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct QualityResult {
    /// How good the answers are as calls are led, from 0 to 1,
    pub quality: f64,
    /// and those of the baseline.
    pub baseline_quality: f64,
    /// How much better the former are.
    pub difference: Interval,
}

/// The same tokens at the baseline's prices of then: arithmetic, which takes for granted that the
/// baseline would have used as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ByPrice {
    /// Calls that were led by what was compared, which the baseline could have taken at a price that
    /// is known.
    pub calls: u32,
    #[schema(value_type = i64)]
    pub cost: Money,
    #[schema(value_type = i64)]
    pub baseline_cost: Money,
}

impl ByPrice {
    /// The share that is saved, where something would have been paid.
    pub fn saved(&self) -> Option<f64> {
        let (cost, baseline) = (self.cost.nanos() as f64, self.baseline_cost.nanos() as f64);
        (baseline > 0.0).then(|| 1.0 - cost / baseline)
    }
}

impl Counts {
    pub fn is_enough(&self) -> bool {
        self.led.min(self.drawn) >= self.needed
    }
}

/// Since when, for so many days.
fn since(days: u16) -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::days(days.into())
}

/// Whether they can be said without a page having to wait for it.
pub(super) async fn take_no_time(work: &mut Work, days: u16) -> Result<bool, LearningError> {
    Ok(requests::are_at_most(work, since(days), AT_ONCE).await?)
}

pub(super) async fn savings(work: &mut Work, days: u16) -> Result<Savings, LearningError> {
    let organization = work.organization;
    let days = days.clamp(1, MOST_DAYS);
    let since = since(days);
    let chosen = state(work).await?.baseline;
    let mut past = Past::default();
    let looked_through =
        requests::each_compared(work, since, &mut |it| past.calls.extend(past.models.call(it)))
            .await?;
    let judged = store::judged(work, organization, requests::first_at(since)).await?;
    for it in &mut past.calls {
        it.judged = judged.get(&(it.request, it.served.clone())).copied();
    }
    let records = snapshots::of_organization(work, organization, &[]).await?;
    let mut savings = tokio::task::spawn_blocking(move || {
        let prices = Snapshot::deciding(0, &records);
        let cost = |call: &Call, at: UpstreamId, model: &str| {
            route::cost_at(&prices, organization, (at, model), &call.usage, call.at_ms)
        };
        past.savings(chosen, &cost)
    })
    .await?;
    (savings.days, savings.is_cut) = (days, looked_through >= LOOKED_THROUGH);
    Ok(savings)
}

/// What is kept of the calls while they are looked at.
#[derive(Default)]
struct Past {
    models: Models,
    calls: Vec<Call>,
}

/// The names of models, each once.
#[derive(Default)]
struct Models(Vec<Arc<str>>);

struct Call {
    request: shared::ids::RequestId,
    /// Who answered, or was the last to be asked.
    served: Arc<str>,
    exploration: Option<Exploration>,
    /// Who might have answered, the first to be asked first.
    arms: Vec<Arm>,
    usage: Usage,
    cost: Money,
    at_ms: i64,
    /// How good the answer was, in per mille.
    judged: Option<f64>,
}

struct Arm {
    model: Arc<str>,
    upstream: UpstreamId,
    quality_ppm: Option<u32>,
    cost: Option<Money>,
    /// Whether chance might have drawn it.
    is_drawn: bool,
}

impl Models {
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|it| &***it == name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.push(name.clone());
        name
    }

    /// Nothing of a call that was led nowhere.
    fn call(&mut self, it: Compared) -> Option<Call> {
        let arm = |it: shared::event::Weighed| {
            Some(Arm {
                model: self.name(&it.model),
                upstream: it.upstream?,
                quality_ppm: it.quality_ppm,
                cost: it.cost,
                is_drawn: it.propensity_ppm.is_some(),
            })
        };
        let arms: Vec<_> = it.candidates.into_iter().filter_map(arm).collect();
        (!arms.is_empty()).then(|| Call {
            request: it.request,
            served: self.name(&it.served),
            // Where not all that might have been drawn are told of, nobody knows who is missing.
            exploration: it.exploration.filter(|all| {
                usize::from(all.among) == arms.iter().filter(|it| it.is_drawn).count()
            }),
            arms,
            usage: it.usage,
            cost: it.cost,
            at_ms: it.at_ms,
            judged: None,
        })
    }
}

impl Call {
    fn is_explored(&self) -> bool {
        self.exploration.as_ref().is_some_and(|it| it.explored)
    }

    /// Where it is dealt out for `baseline`: whether to it, and one over how likely that was.
    fn part(&self, baseline: &str) -> Option<(bool, f64)> {
        let it = self.exploration.as_ref().filter(|it| it.per_mille > 0)?;
        let arms = self.arms.iter().filter(|it| it.is_drawn && &*it.model == baseline).count();
        let share = f64::from(it.per_mille) / 1_000.0;
        let is_first = self.arms.first().is_some_and(|it| &*it.model == baseline);
        match (arms, it.explored, is_first) {
            (0, _, _) | (_, true, false) => None,
            (_, false, _) => Some((false, 1.0 / (1.0 - share))),
            (arms, true, true) => Some((true, f64::from(it.among) / (share * arms as f64))),
        }
    }

    /// What it was expected to cost at `baseline`, whoever was drawn.
    fn size(&self, baseline: &str) -> Option<f64> {
        let there = self.arms.iter().filter(|it| it.is_drawn && &*it.model == baseline);
        let cost = there.filter_map(|it| it.cost).min()?;
        (cost > Money::ZERO).then(|| cost.nanos() as f64)
    }
}

impl Past {
    fn savings(
        &self,
        chosen: Option<String>,
        cost_at: &dyn Fn(&Call, UpstreamId, &str) -> Option<Money>,
    ) -> Savings {
        let is_chosen = chosen.is_some();
        let baseline = chosen.or_else(|| self.best()).filter(|_| !self.calls.is_empty());
        let model = baseline.clone().unwrap_or_default();
        let explored = self.calls.iter().filter(|it| it.is_explored()).count();
        Savings {
            days: 0,
            is_cut: false,
            calls: number(self.calls.len()),
            explored: number(explored),
            baseline: baseline.map(|model| Baseline { model, is_chosen }),
            cost: self.cost(&model),
            quality: self.quality(&model),
            by_price: self.by_price(&model, cost_at),
        }
    }

    /// The model that is expected to answer best on average, of those that may take at least half as
    /// many calls as any.
    fn best(&self) -> Option<String> {
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (call, arm) in self.calls.iter().flat_map(|it| it.arms.iter().map(move |arm| (it, arm)))
        {
            // One that is served at several places counts once.
            let is_first = call.arms.iter().find(|it| it.model == arm.model);
            let is_first = is_first.is_some_and(|it| std::ptr::eq(it, arm));
            if let Some(ppm) = arm.quality_ppm.filter(|_| is_first) {
                let sum = sums.entry(&arm.model).or_default();
                *sum = (sum.0 + u64::from(ppm), sum.1 + 1);
            }
        }
        let most = sums.values().map(|it| it.1).max()?;
        let usual = sums.into_iter().filter(|(_, (_, calls))| calls * 2 >= most);
        let best = usual.max_by_key(|(_, (sum, calls))| sum * 1_000 / calls);
        best.map(|it| it.0.to_owned())
    }

    /// The calls that were led, and those that were drawn to the baseline.
    fn parted(&self, baseline: &str, of: &dyn Fn(&Call, f64) -> Option<Drawn>) -> [Vec<Drawn>; 2] {
        let mut parts = [Vec::new(), Vec::new()];
        for call in &self.calls {
            let Some((is_baseline, weight)) = call.part(baseline) else { continue };
            parts[usize::from(is_baseline)].extend(of(call, weight));
        }
        parts
    }

    fn cost(&self, baseline: &str) -> MeasuredCost {
        let value = |it: &Call| it.cost.nanos() as f64;
        let plain = |it: &Call, weight| Some(Drawn { weight, value: value(it), size: 1.0 });
        let sized =
            |it: &Call, weight| Some(Drawn { weight, value: value(it), size: it.size(baseline)? });
        let alike = self.parted(baseline, &plain);
        let counts = Counts::of(&alike);
        // How large a call is narrows the interval, where it is known of all.
        let sized = self.parted(baseline, &sized);
        let is_sized = Counts::of(&sized) == counts;
        let result = || {
            let [led, drawn] = if is_sized { &sized } else { &alike };
            let (led, drawn) = (Ratio::of(led)?, Ratio::of(drawn)?);
            let saved = led.saved(&drawn)?;
            let per_call = Ratio::of(&alike[0])?.ratio;
            let times = if led.ratio > 0.0 { drawn.ratio / led.ratio } else { 0.0 };
            let money = |it: f64| Money::from_nanos(it.round() as i64);
            Some(CostResult {
                per_call: money(per_call),
                baseline_per_call: money(per_call * times),
                saved,
            })
        };
        MeasuredCost { counts, result: counts.is_enough().then(result).flatten() }
    }

    fn quality(&self, baseline: &str) -> MeasuredQuality {
        let judged = |it: &Call, weight| {
            Some(Drawn { weight, value: it.judged? / f64::from(BEST), size: 1.0 })
        };
        let parts = self.parted(baseline, &judged);
        let counts = Counts::of(&parts);
        let result = || {
            let [led, drawn] = [Ratio::of(&parts[0])?, Ratio::of(&parts[1])?];
            let difference = led.beyond(&drawn);
            Some(QualityResult { quality: led.ratio, baseline_quality: drawn.ratio, difference })
        };
        MeasuredQuality { counts, result: counts.is_enough().then(result).flatten() }
    }

    fn by_price(
        &self,
        baseline: &str,
        cost_at: &dyn Fn(&Call, UpstreamId, &str) -> Option<Money>,
    ) -> ByPrice {
        let mut sum = ByPrice::default();
        for call in self.calls.iter().filter(|it| !it.is_explored()) {
            let there = call.arms.iter().filter(|it| &*it.model == baseline);
            let Some(at) = there.min_by_key(|it| (it.cost.is_none(), it.cost, it.upstream)) else {
                continue;
            };
            if let Some(cost) = cost_at(call, at.upstream, baseline) {
                sum.calls += 1;
                sum.cost = sum.cost.saturating_add(call.cost);
                sum.baseline_cost = sum.baseline_cost.saturating_add(cost);
            }
        }
        sum
    }
}

impl Counts {
    fn of([led, drawn]: &[Vec<Drawn>; 2]) -> Self {
        Self { led: number(led.len()), drawn: number(drawn.len()), needed: NEEDED }
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// How good answers were, in per mille, by the request and who answered it.
pub(super) type Scores = HashMap<(shared::ids::RequestId, Arc<str>), f64>;

#[cfg(test)]
mod tests;
