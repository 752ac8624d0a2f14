//! What is counted of calls to upstreams.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::{Fate, LiveMetrics};
use crate::route::SessionMetrics;

#[derive(Clone, Debug)]
pub struct CallMetrics {
    /// In the order of [`Fate::ALL`].
    attempts: Vec<IntCounter>,
    pub(super) retries: IntCounter,
    pub(super) retries_denied: IntCounter,
    pub(super) hedges: IntCounter,
    pub(super) hedges_denied: IntCounter,
    /// Of the second who was asked.
    pub(super) hedges_won: IntCounter,
    pub sessions: SessionMetrics,
    pub(super) breakers_open: IntGauge,
    pub(super) breaker_openings: IntCounter,
    pub(super) live: LiveMetrics,
}

impl CallMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let attempts = IntCounterVec::new(
            Opts::new("turnpike_attempts_total", "Calls to upstreams, by how they ended."),
            &["outcome"],
        )?;
        let of = |it: &Fate| attempts.get_metric_with_label_values(&[it.name()]);
        let resolved = Fate::ALL.iter().map(of).collect::<Result<_, _>>()?;
        registry.register(Box::new(attempts))?;
        let breakers_open =
            IntGauge::new("turnpike_breakers_open", "Sites left alone because they failed.")?;
        registry.register(Box::new(breakers_open.clone()))?;
        Ok(Self {
            live: LiveMetrics::new(registry)?,
            attempts: resolved,
            retries: counter("turnpike_retries_total", "Calls sent once more to a site.")?,
            retries_denied: counter(
                "turnpike_retries_denied_total",
                "Calls not sent once more, since too many were.",
            )?,
            hedges: counter(
                "turnpike_hedges_total",
                "Calls sent to a second site as well, since the first did not begin.",
            )?,
            hedges_denied: counter(
                "turnpike_hedges_denied_total",
                "Calls not sent to a second site, since too many were or nothing covers it.",
            )?,
            hedges_won: counter(
                "turnpike_hedges_won_total",
                "Calls whose second site began to answer first.",
            )?,
            sessions: SessionMetrics::new(registry)?,
            breakers_open,
            breaker_openings: counter(
                "turnpike_breaker_openings_total",
                "How often a site began to be left alone.",
            )?,
        })
    }

    pub(super) fn attempted(&self, fate: Fate) {
        let counted = Fate::ALL.iter().zip(&self.attempts).find(|(it, _)| **it == fate);
        if let Some((_, counter)) = counted {
            counter.inc();
        }
    }
}
