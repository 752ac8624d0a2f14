//! What is counted of budgets and of the meter.

use prometheus::{IntCounter, IntGauge, Registry};

#[derive(Clone)]
pub struct MeterMetrics {
    /// Calls told of and not yet counted by Redis.
    pub unsettled: IntGauge,
    pub settled: IntCounter,
    /// Upstreams that said that a call used more than is possible.
    pub usage_clamped: IntCounter,
    /// Calls that used something that has no price.
    pub usage_unpriced: IntCounter,
    /// Calls that cost more than was held for them.
    pub overruns: IntCounter,
    /// Answers that are heard out because their callers have left,
    pub hearing: IntGauge,
    /// those that were,
    pub heard_out: IntCounter,
    /// and those that were not, and cost as much as they may have come to.
    pub not_heard: IntCounter,
    /// Times that we said again what we hold, since the store had lost it.
    pub registered: IntCounter,
    /// 1 while calls are refused, since the journal has no room to write them down.
    pub journal_full: IntGauge,
    /// Calls that were refused for that.
    pub unwritten: IntCounter,
}

impl MeterMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            unsettled: gauge(
                "turnpike_unsettled_calls",
                "Calls that ended and are not counted yet.",
            )?,
            hearing: gauge(
                "turnpike_answers_being_heard_out",
                "Answers of providers whose callers have left.",
            )?,
            heard_out: counter(
                "turnpike_answers_heard_out_total",
                "Answers heard to their end after their callers had left.",
            )?,
            not_heard: counter(
                "turnpike_answers_not_heard_total",
                "Answers that could not be heard out, and cost as much as they may have come to.",
            )?,
            settled: counter("turnpike_settled_calls_total", "Calls counted and told of.")?,
            usage_clamped: counter(
                "turnpike_usage_clamped_total",
                "Calls whose provider said that more was used than is possible. Should be 0.",
            )?,
            usage_unpriced: counter(
                "turnpike_usage_unpriced_total",
                "Calls that used something that their model has no price for. Should be 0.",
            )?,
            overruns: counter(
                "turnpike_budget_overruns_total",
                "Calls that cost more than was held for them. Should be 0.",
            )?,
            registered: counter(
                "turnpike_holds_registered_total",
                "Holds said again to a store that had lost them.",
            )?,
            journal_full: gauge(
                "turnpike_journal_full",
                "1 while calls are refused, since they cannot be written down.",
            )?,
            unwritten: counter(
                "turnpike_journal_refusals_total",
                "Calls refused, since they could not be written down.",
            )?,
        })
    }
}
