//! How models at upstreams have done lately: how long until they begin and until they end, how
//! fast they write, how often they fail, and how many calls are with them. A proxy knows what it
//! has seen itself, and forgets what is old: whoever was slow is tried again some time. Of what it has not asked itself it
//! knows what other proxies told, and it does without where they tell nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
pub use shared::event::Pulse;
use shared::{ids::UpstreamId, pulses};
use tokio::time::Instant;

use crate::catalog::Model;

/// How long a slow answer is held against whoever gave it, while faster ones follow.
const PEAK: Duration = Duration::from_secs(10);
/// What nobody adds to is believed for so long,
const FRESH: Duration = Duration::from_secs(60);
/// and half as much after each time that long.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// Others are told of what was asked within so long.
const TOLD: Duration = Duration::from_secs(300);
/// How much a new one counts in a mean.
const WEIGHT: f64 = 0.1;
/// So many answers are remembered one by one, for what is usual,
const MOST_LATELY: usize = 64;
/// of which fewer than that say nothing.
const LEAST_LATELY: usize = 20;
/// Flows that nothing was seen of for so long are forgotten,
const KEPT: Duration = Duration::from_secs(6 * 3_600);
/// when there are so many more than when that was last done.
const MANY: usize = 4_096;

/// Of all models at all upstreams.
#[derive(Debug)]
pub struct Live {
    flows: RwLock<Flows>,
    /// What other proxies see.
    others: ArcSwap<HashMap<UpstreamId, HashMap<String, Pulse>>>,
    metrics: LiveMetrics,
}

#[derive(Debug, Default)]
struct Flows {
    /// A model's name is found without making a text of it.
    all: HashMap<UpstreamId, HashMap<String, Arc<Flow>>>,
    count: usize,
    /// When to look for what can be forgotten.
    most: usize,
}

/// One model at one upstream.
#[derive(Debug)]
pub struct Flow {
    seen: Mutex<Seen>,
    gauges: Option<Gauges>,
}

#[derive(Debug, Default)]
struct Seen {
    first: Peak,
    total: Peak,
    tokens_per_second: Mean,
    failures: Mean,
    in_flight: u32,
    last: Option<Instant>,
    /// How long streams took to begin, and how long what came whole took.
    begun: Lately,
    whole: Lately,
}

/// The highest of late.
#[derive(Clone, Copy, Debug, Default)]
struct Peak(Option<(f64, Instant)>);

impl Peak {
    fn note(&mut self, value: Duration, now: Instant) {
        let value = value.as_secs_f64() * 1_000.0;
        let next = match self.0 {
            Some((before, at)) if before > value => {
                let kept = (-now.saturating_duration_since(at).div_duration_f64(PEAK)).exp();
                value + (before - value) * kept
            }
            Some(_) | None => value,
        };
        self.0 = Some((next, now));
    }

    fn at(&self, now: Instant) -> Option<u32> {
        let (value, at) = self.0?;
        let old = now.saturating_duration_since(at).saturating_sub(FRESH);
        Some((value * (-old.div_duration_f64(HALF_LIFE)).exp2()) as u32)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean(Option<f64>);

impl Mean {
    fn note(&mut self, value: f64) {
        let before = self.0.unwrap_or(value);
        self.0 = Some(before + (value - before) * WEIGHT);
    }
}

/// The latest of a kind, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Lately {
    all: Vec<u32>,
    next: usize,
}

impl Lately {
    fn note(&mut self, value: Duration) {
        let value = u32::try_from(value.as_millis()).unwrap_or(u32::MAX);
        match self.all.get_mut(self.next) {
            Some(oldest) => *oldest = value,
            None => self.all.push(value),
        }
        self.next = (self.next + 1) % MOST_LATELY;
    }

    /// What nineteen of twenty do not exceed; nothing of too few.
    fn p95(&self) -> Option<Duration> {
        if self.all.len() < LEAST_LATELY {
            return None;
        }
        let mut sorted = self.all.clone();
        let at = (sorted.len() * 19).div_ceil(20) - 1;
        let (_, value, _) = sorted.select_nth_unstable(at);
        Some(Duration::from_millis(u64::from(*value)))
    }
}

/// A call that is with a model. Counted until this is dropped.
#[derive(Debug)]
pub struct Flight {
    flow: Arc<Flow>,
    began: Instant,
    begins: Option<Instant>,
}

impl Flight {
    /// The answer begins.
    pub fn begins(&mut self, now: Instant) {
        self.begins = Some(now);
        self.flow.change(now, |it| {
            it.first.note(now - self.began, now);
            it.begun.note(now - self.began);
        });
    }

    /// All of it is here.
    pub fn ends(&self, tokens: u64, now: Instant) {
        let writing = (now - self.begins.unwrap_or(self.began)).as_secs_f64();
        self.flow.change(now, |it| {
            it.total.note(now - self.began, now);
            if self.begins.is_none() {
                it.whole.note(now - self.began);
            }
            // What came all at once says nothing of how fast it was written.
            if tokens > 1 && writing > 0.001 {
                it.tokens_per_second.note(tokens as f64 / writing);
            }
        });
    }

    pub fn fails(&self, now: Instant) {
        self.flow.judged(false, now);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flow.change(Instant::now(), |it| it.in_flight = it.in_flight.saturating_sub(1));
    }
}

impl Flow {
    pub fn sends(self: &Arc<Self>, now: Instant) -> Flight {
        self.change(now, |it| it.in_flight += 1);
        Flight { flow: self.clone(), began: now, begins: None }
    }

    /// Whether it did what it is there for.
    pub fn judged(&self, is_good: bool, now: Instant) {
        self.change(now, |it| it.failures.note(if is_good { 0.0 } else { 1.0 }));
    }

    /// It did not begin within that time, and nobody waits any longer.
    pub fn is_outrun(&self, after: Duration, is_streaming: bool, now: Instant) {
        self.change(now, |it| match is_streaming {
            true => {
                it.first.note(after, now);
                it.begun.note(after);
            }
            false => it.whole.note(after),
        });
    }

    /// Within what time nineteen of twenty answers began lately, or were there if they do not
    /// stream. Nothing where too few were seen.
    pub fn usual(&self, is_streaming: bool) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if is_streaming { seen.begun.p95() } else { seen.whole.p95() }
    }

    pub fn pulse(&self, now: Instant) -> Pulse {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).pulse(now)
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut seen);
        seen.last = Some(now);
        if let Some(gauges) = &self.gauges {
            gauges.tell(&seen.pulse(now));
        }
    }

    /// When anything was seen of it, and what, where that was not long ago.
    fn lately(&self, now: Instant) -> Option<(Instant, Pulse)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.last.filter(|it| now.saturating_duration_since(*it) <= TOLD)?;
        Some((last, seen.pulse(now)))
    }

    fn is_old(&self, now: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.last.is_none_or(|it| now.saturating_duration_since(it) > KEPT);
        seen.in_flight == 0 && last
    }
}

impl Seen {
    fn pulse(&self, now: Instant) -> Pulse {
        Pulse {
            first_ms: self.first.at(now),
            total_ms: self.total.at(now),
            tokens_per_second: self.tokens_per_second.0.map(|it| it as u32),
            failures_per_mille: self.failures.0.map_or(0, |it| (it * 1_000.0) as u32),
            in_flight: self.in_flight,
        }
    }
}

impl Live {
    pub fn new(metrics: &LiveMetrics) -> Self {
        let flows = RwLock::new(Flows { most: MANY, ..Flows::default() });
        Self { flows, others: ArcSwap::default(), metrics: metrics.clone() }
    }

    /// What was seen of a model, here or elsewhere; nothing at all of one that was never asked.
    pub fn pulse(&self, model: &Model, now: Instant) -> Pulse {
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        let flow = flows.all.get(&model.upstream.id).and_then(|it| it.get(&model.name));
        let own = flow.map_or_else(Pulse::default, |it| it.pulse(now));
        drop(flows);
        let others = self.others.load();
        let others = others.get(&model.upstream.id).and_then(|it| it.get(&model.name));
        others.map_or(own, |others| pulses::beside(own, *others))
    }

    /// What we saw of those that were asked not long ago, the last first.
    pub fn seen(&self, now: Instant) -> Vec<pulses::Flow> {
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        let all = flows.all.iter().flat_map(|(upstream, there)| {
            there.iter().map(move |(model, flow)| (*upstream, model, flow))
        });
        let mut seen: Vec<_> = all
            .filter_map(|(upstream, model, flow)| {
                let (last, pulse) = flow.lately(now)?;
                Some((last, pulses::Flow { upstream, model: model.clone(), pulse }))
            })
            .collect();
        drop(flows);
        seen.sort_unstable_by_key(|(last, _)| std::cmp::Reverse(*last));
        seen.into_iter().take(pulses::MOST).map(|it| it.1).collect()
    }

    /// What all others see, in the place of what they saw before.
    pub fn hears(&self, others: HashMap<pulses::At, Pulse>) {
        let mut heard: HashMap<UpstreamId, HashMap<String, Pulse>> = HashMap::new();
        for ((upstream, model), pulse) in others {
            heard.entry(upstream).or_default().insert(model, pulse);
        }
        self.others.store(heard.into());
    }

    pub fn flow(&self, model: &Model, now: Instant) -> Arc<Flow> {
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        let known = flows.all.get(&model.upstream.id).and_then(|it| it.get(&model.name)).cloned();
        drop(flows);
        known.unwrap_or_else(|| self.begin(model, now))
    }

    fn begin(&self, model: &Model, now: Instant) -> Arc<Flow> {
        let mut flows = self.flows.write().unwrap_or_else(PoisonError::into_inner);
        if flows.count >= flows.most {
            flows.forget(now);
        }
        let there = flows.all.entry(model.upstream.id).or_default();
        if let Some(known) = there.get(&model.name) {
            return known.clone();
        }
        let flow = Arc::new(Flow { seen: Mutex::default(), gauges: self.metrics.of(model) });
        there.insert(model.name.clone(), flow.clone());
        flows.count += 1;
        flow
    }
}

impl Flows {
    fn forget(&mut self, now: Instant) {
        self.all.retain(|_, there| {
            there.retain(|_, it| !it.is_old(now));
            !there.is_empty()
        });
        self.count = self.all.values().map(HashMap::len).sum();
        self.most = self.count + MANY;
    }
}

/// Told of the platform's own upstreams only: what tenants call theirs is for no operator to read.
#[derive(Clone, Debug)]
pub struct LiveMetrics {
    first_ms: IntGaugeVec,
    total_ms: IntGaugeVec,
    tokens_per_second: IntGaugeVec,
    failures: IntGaugeVec,
    in_flight: IntGaugeVec,
}

#[derive(Debug)]
struct Gauges {
    first_ms: IntGauge,
    total_ms: IntGauge,
    tokens_per_second: IntGauge,
    failures: IntGauge,
    in_flight: IntGauge,
}

impl LiveMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name, help| {
            let labels = ["upstream", "provider", "model"];
            let gauges = IntGaugeVec::new(Opts::new(name, help), &labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        Ok(Self {
            first_ms: gauges(
                "turnpike_upstream_first_token_milliseconds",
                "How long answers took to begin lately, the slow ones counting most.",
            )?,
            total_ms: gauges(
                "turnpike_upstream_total_milliseconds",
                "How long whole answers took lately, the slow ones counting most.",
            )?,
            tokens_per_second: gauges(
                "turnpike_upstream_tokens_per_second",
                "How fast answers were written lately.",
            )?,
            failures: gauges(
                "turnpike_upstream_failures_per_mille",
                "How many calls of a thousand failed lately.",
            )?,
            in_flight: gauges("turnpike_upstream_in_flight", "Calls under way there.")?,
        })
    }

    fn of(&self, model: &Model) -> Option<Gauges> {
        if model.upstream.organization.is_some() {
            return None;
        }
        let id = model.upstream.id.to_string();
        let labels = [id.as_str(), model.upstream.provider.as_str(), model.name.as_str()];
        let of = |all: &IntGaugeVec| all.get_metric_with_label_values(&labels).ok();
        Some(Gauges {
            first_ms: of(&self.first_ms)?,
            total_ms: of(&self.total_ms)?,
            tokens_per_second: of(&self.tokens_per_second)?,
            failures: of(&self.failures)?,
            in_flight: of(&self.in_flight)?,
        })
    }
}

impl Gauges {
    fn tell(&self, pulse: &Pulse) {
        let set = |gauge: &IntGauge, value: Option<u32>| {
            if let Some(value) = value {
                gauge.set(value.into());
            }
        };
        set(&self.first_ms, pulse.first_ms);
        set(&self.total_ms, pulse.total_ms);
        set(&self.tokens_per_second, pulse.tokens_per_second);
        set(&self.failures, Some(pulse.failures_per_mille));
        set(&self.in_flight, Some(pulse.in_flight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{Fixture, snapshot};

    fn live() -> Live {
        Live::new(&LiveMetrics::new(&Registry::new()).unwrap())
    }

    fn model() -> Arc<Model> {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["a"]);
        let organization = shared::ids::OrganizationId::generate();
        snapshot(&fixture).serving(organization, "a").next().unwrap().clone()
    }

    const fn ms(it: u64) -> Duration {
        Duration::from_millis(it)
    }

    #[test]
    fn what_was_never_asked_is_not_known() {
        let (live, model, now) = (live(), model(), Instant::now());
        assert_eq!(live.pulse(&model, now), Pulse::default());
        assert_eq!(Pulse::default().expected_ms(100), None);
    }

    #[test]
    fn a_stream_says_when_it_began_and_how_fast_it_was() {
        let (live, model, now) = (live(), model(), Instant::now());
        let mut flight = live.flow(&model, now).sends(now);
        assert_eq!(live.pulse(&model, now).in_flight, 1);
        flight.begins(now + ms(200));
        let end = now + ms(1_200);
        flight.ends(50, end);
        live.flow(&model, end).judged(true, end);
        drop(flight);
        let pulse = live.pulse(&model, end);
        let expected = Pulse {
            first_ms: Some(200),
            total_ms: Some(1_200),
            tokens_per_second: Some(50),
            failures_per_mille: 0,
            in_flight: 0,
        };
        assert_eq!(pulse, expected);
        assert_eq!(pulse.expected_ms(100), Some(2_200));
    }

    #[test]
    fn a_slow_one_counts_at_once_and_is_forgotten_slowly() {
        let (mut peak, now) = (Peak::default(), Instant::now());
        peak.note(ms(100), now);
        peak.note(ms(900), now);
        assert_eq!(peak.at(now), Some(900));
        peak.note(ms(100), now);
        assert_eq!(peak.at(now), Some(900));
        let later = now + 3 * PEAK;
        peak.note(ms(100), later);
        assert_eq!(peak.at(later), Some(139));
        assert_eq!(peak.at(later + FRESH), Some(139));
        assert_eq!(peak.at(later + FRESH + 2 * HALF_LIFE), Some(34));
    }

    #[test]
    fn what_is_usual_is_known_after_twenty_answers() {
        let (live, model, now) = (live(), model(), Instant::now());
        let flow = live.flow(&model, now);
        for took in 1..=19 {
            flow.sends(now).begins(now + ms(took));
        }
        assert_eq!(flow.usual(true), None);
        flow.sends(now).begins(now + ms(1_000));
        assert_eq!((flow.usual(true), flow.usual(false)), (Some(ms(19)), None));
        // What is long ago says nothing any more.
        for took in 0..100 {
            flow.sends(now).begins(now + ms(took));
        }
        assert_eq!(flow.usual(true), Some(ms(96)));
        flow.is_outrun(ms(500), false, now);
        assert_eq!(flow.usual(false), None);
    }

    #[test]
    fn who_fails_is_expected_to_take_longer() {
        let (live, model, now) = (live(), model(), Instant::now());
        let flow = live.flow(&model, now);
        flow.sends(now).ends(0, now + ms(1_000));
        flow.judged(true, now);
        assert_eq!(live.pulse(&model, now).expected_ms(7), Some(1_000));
        for _ in 0..7 {
            flow.sends(now).fails(now);
        }
        let pulse = live.pulse(&model, now);
        assert_eq!((pulse.failures_per_mille, pulse.expected_ms(7)), (521, Some(2_087)));
    }

    #[test]
    fn what_others_saw_is_known_where_we_saw_nothing() {
        let (live, model, now) = (live(), model(), Instant::now());
        let told = Pulse { total_ms: Some(700), in_flight: 4, ..Pulse::default() };
        let others = |pulse| HashMap::from([((model.upstream.id, model.name.clone()), pulse)]);
        live.hears(others(told));
        assert_eq!(live.pulse(&model, now), told);
        let flow = live.flow(&model, now);
        flow.sends(now).ends(0, now + ms(100));
        let pulse = live.pulse(&model, now + ms(100));
        assert_eq!((pulse.total_ms, pulse.in_flight), (Some(100), 4));
        live.hears(HashMap::new());
        assert_eq!(live.pulse(&model, now + ms(100)).in_flight, 0);
    }

    #[test]
    fn what_was_seen_not_long_ago_is_told() {
        let (live, now) = (live(), Instant::now());
        let (early, late) = (model(), model());
        live.flow(&early, now).judged(true, now);
        live.flow(&late, now + ms(1)).judged(false, now + ms(1));
        let told = |at| -> Vec<_> { live.seen(at).into_iter().map(|it| it.upstream).collect() };
        assert_eq!(told(now + ms(2)), [late.upstream.id, early.upstream.id]);
        assert_eq!(told(now + TOLD + ms(1)), [late.upstream.id]);
        assert_eq!(live.seen(now + ms(2))[0].pulse.failures_per_mille, 1_000);
    }

    #[test]
    fn what_nobody_asks_any_more_is_forgotten() {
        let (live, now) = (live(), Instant::now());
        let (gone, there) = (model(), model());
        live.flow(&gone, now).judged(true, now);
        let later = now + KEPT + ms(1);
        live.flow(&there, later).judged(true, later);
        let mut flows = live.flows.write().unwrap();
        flows.forget(later);
        assert_eq!(flows.all.keys().collect::<Vec<_>>(), [&there.upstream.id]);
    }
}
