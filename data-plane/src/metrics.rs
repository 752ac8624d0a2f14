//! What the process counts. Every label is resolved once, at the start.

use std::{collections::HashMap, sync::Arc};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};
use shared::failure::Code;
use time::OffsetDateTime;

use crate::{
    budgets::MeterMetrics, call::CallMetrics, catalog::Snapshot, endpoints::Endpoint,
    limits::LimitMetrics,
};

pub struct Metrics {
    registry: Registry,
    endpoints: Vec<(Endpoint, Outcomes)>,
    in_flight: IntGauge,
    refusals: HashMap<&'static str, IntCounter>,
    pub snapshot: SnapshotMetrics,
    pub limits: Arc<LimitMetrics>,
    pub meter: MeterMetrics,
    pub call: CallMetrics,
    pub rules_not_evaluated: IntCounter,
}

/// How a request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    ClientError,
    ServerError,
    /// A stream that the upstream broke.
    Broken,
    /// The client hung up before the end.
    Gone,
}

struct Outcomes {
    success: IntCounter,
    client_error: IntCounter,
    server_error: IntCounter,
    broken: IntCounter,
    gone: IntCounter,
}

pub struct SnapshotMetrics {
    revision: IntGauge,
    age_seconds: IntGauge,
    quarantined: IntGauge,
    rejected: IntCounter,
    mended: IntCounter,
    redis_up: IntGauge,
}

/// A request under way. Counted once when it is dropped, whichever way it left.
pub struct Passage {
    metrics: Arc<Metrics>,
    endpoint: Endpoint,
    outcome: Option<Outcome>,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("turnpike_requests_total", "Requests, by how they left."),
            &["endpoint", "outcome"],
        )?;
        let refusals = IntCounterVec::new(
            Opts::new("turnpike_refusals_total", "Requests not served, by error code."),
            &["code"],
        )?;
        let endpoints = Endpoint::ALL.map(|it| Ok((it, Outcomes::new(&requests, it)?)));
        Ok(Self {
            endpoints: endpoints.into_iter().collect::<Result<_, prometheus::Error>>()?,
            in_flight: gauge(&registry, "turnpike_requests_in_flight", "Requests under way.")?,
            refusals: Code::ALL
                .iter()
                .map(|it| Ok((it.name, refusals.get_metric_with_label_values(&[it.name])?)))
                .collect::<Result<_, prometheus::Error>>()?,
            snapshot: SnapshotMetrics::new(&registry)?,
            limits: LimitMetrics::new(&registry)?.into(),
            meter: MeterMetrics::new(&registry)?,
            call: CallMetrics::new(&registry)?,
            rules_not_evaluated: {
                let rules = IntCounter::new(
                    "turnpike_rules_not_evaluated_total",
                    "Rules of policies that were passed over, since their condition failed.",
                )?;
                register(&registry, rules.clone())?;
                rules
            },
            registry: {
                register(&registry, requests)?;
                register(&registry, refusals)?;
                registry
            },
        })
    }

    pub fn begin(self: &Arc<Self>, endpoint: Endpoint) -> Passage {
        self.in_flight.inc();
        Passage { metrics: self.clone(), endpoint, outcome: None }
    }

    pub fn refused(&self, code: Code) {
        if let Some(counter) = self.refusals.get(code.name) {
            counter.inc();
        }
    }

    /// Everything, as Prometheus reads it.
    pub fn exposition(&self, snapshot: Option<&Snapshot>, now: OffsetDateTime) -> Vec<u8> {
        self.snapshot.observe(snapshot, now);
        shared::telemetry::exposition(&self.registry)
    }

    fn count(&self, endpoint: Endpoint, outcome: Outcome) {
        if let Some((_, outcomes)) = self.endpoints.iter().find(|(it, _)| *it == endpoint) {
            outcomes.counter(outcome).inc();
        }
    }
}

impl Passage {
    /// The first word counts: a stream that broke also ends.
    pub fn leaves(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let outcome = self.outcome.unwrap_or(Outcome::Gone);
        self.metrics.count(self.endpoint, outcome);
    }
}

impl Outcome {
    pub fn of(status: actix_web::http::StatusCode) -> Self {
        match status.as_u16() {
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Success,
        }
    }
}

impl Outcomes {
    fn new(requests: &IntCounterVec, endpoint: Endpoint) -> Result<Self, prometheus::Error> {
        let of = |outcome| requests.get_metric_with_label_values(&[endpoint.name(), outcome]);
        Ok(Self {
            success: of("2xx")?,
            client_error: of("4xx")?,
            server_error: of("5xx")?,
            broken: of("broken")?,
            gone: of("gone")?,
        })
    }

    fn counter(&self, outcome: Outcome) -> &IntCounter {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::ClientError => &self.client_error,
            Outcome::ServerError => &self.server_error,
            Outcome::Broken => &self.broken,
            Outcome::Gone => &self.gone,
        }
    }
}

impl SnapshotMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rejected = counter(
            registry,
            "turnpike_snapshots_rejected_total",
            "Reasons for which revisions were refused.",
        )?;
        let mended = counter(
            registry,
            "turnpike_snapshots_mended_total",
            "Times that what we held did not add up. Should be 0.",
        )?;
        let gauge = |name, help| gauge(registry, name, help);
        Ok(Self {
            revision: gauge("turnpike_snapshot_revision", "The revision served; 0 for none.")?,
            age_seconds: gauge(
                "turnpike_snapshot_age_seconds",
                "Since the revision was published.",
            )?,
            quarantined: gauge("turnpike_snapshot_quarantined", "Records left out.")?,
            redis_up: gauge("turnpike_redis_up", "Whether Redis answered the last check.")?,
            rejected,
            mended,
        })
    }

    pub fn checked(&self, succeeded: bool) {
        self.redis_up.set(succeeded.into());
    }

    pub fn rejected(&self) {
        self.rejected.inc();
    }

    pub fn mended(&self) {
        self.mended.inc();
    }

    fn observe(&self, snapshot: Option<&Snapshot>, now: OffsetDateTime) {
        let Some(snapshot) = snapshot else { return };
        self.revision.set(snapshot.revision);
        self.age_seconds.set((now - snapshot.taken_at).whole_seconds());
        self.quarantined.set(i64::try_from(snapshot.quarantined.len()).unwrap_or(i64::MAX));
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    register(registry, counter.clone())?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    register(registry, gauge.clone())?;
    Ok(gauge)
}

fn register(registry: &Registry, it: impl Collector + 'static) -> Result<(), prometheus::Error> {
    registry.register(Box::new(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Form;

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let text = String::from_utf8(metrics.exposition(None, OffsetDateTime::UNIX_EPOCH)).unwrap();
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }

    #[test]
    fn a_request_is_counted_once_whichever_way_it_leaves() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut answered = metrics.begin(Endpoint::Ask(Form::Chat));
        let gone = metrics.begin(Endpoint::Ask(Form::Chat));
        check(&metrics, "turnpike_requests_in_flight 2");
        answered.leaves(Outcome::Success);
        drop((answered, gone));
        check(&metrics, "turnpike_requests_in_flight 0");
        check(&metrics, r#"turnpike_requests_total{endpoint="chat",outcome="2xx"} 1"#);
        check(&metrics, r#"turnpike_requests_total{endpoint="chat",outcome="gone"} 1"#);
    }

    #[test]
    fn refusals_are_counted_by_code() {
        let metrics = Metrics::new().unwrap();
        metrics.refused(shared::failure::code::MISSING_API_KEY);
        check(&metrics, r#"turnpike_refusals_total{code="missing_api_key"} 1"#);
    }
}
