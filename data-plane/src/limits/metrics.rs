//! What is counted of limits.

use std::collections::HashMap;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

use super::{
    State,
    charge::{Level, What},
};

pub struct LimitMetrics {
    pub shared: IntGauge,
    pub proxies: IntGauge,
    pub redis_failures: IntCounter,
    /// How often Redis was asked, each time of one call or several.
    pub questions: IntCounter,
    /// Refusals that were repeated without asking.
    pub repeated: IntCounter,
    pub settlements_lost: IntCounter,
    admitted_shared: IntCounter,
    admitted_local: IntCounter,
    refusals: HashMap<(Level, What), IntCounter>,
}

impl LimitMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let admitted = IntCounterVec::new(
            Opts::new("turnpike_limits_admitted_total", "Limited calls let through, by whom."),
            &["by"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new("turnpike_limits_refused_total", "Calls refused, by the limit reached."),
            &["level", "what"],
        )?;
        let pairs = Level::ALL.into_iter().flat_map(|it| What::ALL.map(|what| (it, what)));
        let refusals = pairs.map(|(level, what)| {
            let counter = refused.get_metric_with_label_values(&[level.name(), what.name()])?;
            Ok(((level, what), counter))
        });
        let metrics = Self {
            shared: IntGauge::new(
                "turnpike_limits_shared",
                "1 while limits hold over all proxies, 0 while each gives out its share.",
            )?,
            proxies: IntGauge::new("turnpike_limits_proxies", "Proxies last seen alive.")?,
            redis_failures: IntCounter::new(
                "turnpike_limits_redis_failures_total",
                "Questions about limits that Redis did not answer.",
            )?,
            questions: IntCounter::new(
                "turnpike_limits_questions_total",
                "Questions about limits and budgets put to Redis, each of one call or several.",
            )?,
            repeated: IntCounter::new(
                "turnpike_limits_repeated_total",
                "Refusals by limits and budgets repeated without asking Redis again.",
            )?,
            settlements_lost: IntCounter::new(
                "turnpike_limits_settlements_lost_total",
                "Ends of calls that Redis was not told: their estimates stay charged.",
            )?,
            admitted_shared: admitted.get_metric_with_label_values(&[State::Shared.name()])?,
            admitted_local: admitted.get_metric_with_label_values(&[State::Local.name()])?,
            refusals: refusals.collect::<Result<_, prometheus::Error>>()?,
        };
        let all: [Box<dyn Collector>; 8] = [
            Box::new(metrics.shared.clone()),
            Box::new(metrics.proxies.clone()),
            Box::new(metrics.redis_failures.clone()),
            Box::new(metrics.questions.clone()),
            Box::new(metrics.repeated.clone()),
            Box::new(metrics.settlements_lost.clone()),
            Box::new(admitted),
            Box::new(refused),
        ];
        for it in all {
            registry.register(it)?;
        }
        Ok(metrics)
    }

    pub fn admitted(&self, by: State) {
        self.admissions(by).inc();
    }

    pub(super) fn admissions(&self, by: State) -> &IntCounter {
        match by {
            State::Shared => &self.admitted_shared,
            State::Local => &self.admitted_local,
        }
    }

    pub fn refused(&self, level: Level, what: What) {
        if let Some(counter) = self.refusals.get(&(level, what)) {
            counter.inc();
        }
    }
}
