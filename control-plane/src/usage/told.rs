//! A settled event as the meter keeps it.

use serde::{Deserialize, Serialize};
use shared::{
    counters::Shard,
    event::{self, Event, SettlementId, UsageSource},
    ids::{CredentialId, UpstreamId},
    money::Pico,
    usage::Usage,
};
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) struct Told<'a> {
    pub event: &'a Event,
    pub settlement: SettlementId,
    pub shard: Shard,
    pub billed_at: OffsetDateTime,
    pub cost: Pico,
    pub lines: String,
    pub counted: String,
}

impl<'a> Told<'a> {
    /// Nothing of an event that no proxy settled.
    pub fn of(event: &'a Event) -> Option<Self> {
        let picos = event.lines.iter().map(|it| it.cost.picos()).fold(0, i64::saturating_add);
        Some(Self {
            settlement: event.settlement?,
            shard: Shard::of(event.organization),
            billed_at: billed_at(event)?,
            cost: Pico::from_picos(picos),
            lines: json(&lines(event)),
            counted: json(&counted(event)),
            event,
        })
    }
}

/// When an event is billed, if its time is one.
pub(super) fn billed_at(event: &Event) -> Option<OffsetDateTime> {
    let nanos = i128::from(event.billed_at_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

/// What `app.usage_lines` reads; the rest is for whoever asks why something cost what it did.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<CredentialId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<i64>,
    usage_source: UsageSource,
    /// A call has one line that counts it: the last, which is the one that answered.
    calls: u8,
    #[serde(flatten)]
    usage: Usage,
    cost_pico: i64,
    /// The event's cost is rounded up once. What a line has of it is by how much it brings the
    /// sum of those so far, rounded up, further: all lines together have all of it.
    cost_nano: i64,
}

/// The same, read again.
#[derive(Clone, Debug, Deserialize)]
pub struct MeteredLine {
    #[serde(default)]
    pub provider: String,
    #[serde(default)]
    pub model: String,
    pub upstream: Option<UpstreamId>,
    pub service_tier: Option<String>,
    /// The price's revision.
    pub price: Option<i64>,
    pub usage_source: UsageSource,
    pub calls: u8,
    #[serde(flatten)]
    pub usage: Usage,
    pub cost_nano: i64,
}

/// Which price a line was charged by: of which upstream and model, and its revision.
pub type Pinned = (Option<UpstreamId>, String, Option<i64>);

impl MeteredLine {
    pub fn pinned(&self) -> Pinned {
        (self.upstream, self.model.clone(), self.price)
    }
}

fn lines(event: &Event) -> Vec<Line<'_>> {
    let last = event.lines.len();
    let (mut picos, mut nanos) = (0_i64, 0);
    let line = |(at, line): (usize, &'_ event::Line)| {
        picos = picos.saturating_add(line.cost.picos());
        let before = nanos;
        nanos = Pico::from_picos(picos).to_money().nanos();
        (at, nanos - before)
    };
    let shares: Vec<_> = event.lines.iter().enumerate().map(line).collect();
    if shares.is_empty() {
        return vec![nothing(event)];
    }
    let told = event.lines.iter().zip(shares).map(|(line, (at, cost_nano))| Line {
        provider: Some(&line.provider),
        model: Some(&line.model),
        upstream: Some(line.upstream),
        credential: Some(line.credential),
        service_tier: line.service_tier.as_deref(),
        price: line.price,
        usage_source: line.source,
        calls: u8::from(at + 1 == last),
        usage: line.usage,
        cost_pico: line.cost.picos(),
        cost_nano,
    });
    told.collect()
}

/// Of a call that cost nothing: that there was one, and who was asked last.
fn nothing(event: &Event) -> Line<'_> {
    Line {
        provider: event.served.as_ref().map(|it| it.provider.as_str()),
        model: event.served.as_ref().map(|it| it.model.as_str()),
        upstream: event.served.as_ref().map(|it| it.upstream),
        credential: event.served.as_ref().map(|it| it.credential),
        service_tier: None,
        price: None,
        usage_source: UsageSource::None,
        calls: 1,
        usage: Usage::default(),
        cost_pico: 0,
        cost_nano: 0,
    }
}

/// What `app.usage_counted` reads.
#[derive(Serialize)]
struct Counted {
    budget: Uuid,
    window: i64,
    money: i64,
    requests: i64,
    tokens: i64,
}

fn counted(event: &Event) -> Vec<Counted> {
    let counted = event.counted.iter().map(|it| Counted {
        budget: it.budget.uuid(),
        window: it.window,
        money: it.amounts.money,
        requests: it.amounts.requests,
        tokens: it.amounts.tokens,
    });
    counted.collect()
}

fn json<T: Serialize>(of: &T) -> String {
    serde_json::to_string(of).expect("its keys are texts")
}
