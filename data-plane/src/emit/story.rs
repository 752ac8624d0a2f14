//! What is known of a call, gathered on its way and told once.

use std::{sync::Arc, time::Instant};

use shared::{
    counters::Shard,
    event::{Attempt, Event, Outcome, PolicyVersion, Server, UsageSource, Word},
    failure::Code,
    ids::{ApiKeyId, RequestId},
    money::Money,
    usage::Usage,
};
use time::OffsetDateTime;

use super::{Told, client, tags};
use crate::{
    admit::Admitted,
    authenticate::Caller,
    budgets::{Delivered, Meter, Rest, Tab},
    call::{self, Served},
    catalog::Candidate,
    journal::NotWritten,
    limits::LimitStanding,
    metrics,
    route::Decision,
};

/// As much of a model's name as is kept.
const LONGEST_NAME: usize = 200;

/// A call's event in the making, its tab, and its room. It is settled exactly once, when this is
/// dropped, whichever way the call left; one that did not say how it ended is one whose
/// client hung up. A request without a [`Caller`] is nobody's and is not told of.
pub struct Story {
    meter: Arc<Meter>,
    request: RequestId,
    endpoint: &'static str,
    began: Instant,
    started_at: OffsetDateTime,
    has_ended: bool,
    event: Option<Told>,
    decision: Option<Arc<Decision>>,
    /// On the heap, since a story is moved from stage to stage.
    tab: Option<Box<Tab>>,
    admitted: Option<Admitted>,
}

impl Story {
    pub fn begin(meter: &Arc<Meter>, request: RequestId, endpoint: &'static str) -> Self {
        Self {
            meter: meter.clone(),
            request,
            endpoint,
            began: Instant::now(),
            started_at: OffsetDateTime::now_utc(),
            has_ended: false,
            event: None,
            decision: None,
            tab: None,
            admitted: None,
        }
    }

    pub fn request(&self) -> RequestId {
        self.request
    }

    /// Whose call it is: from here on there is something to tell.
    pub fn caller(&mut self, caller: &Caller) {
        self.event = Some(Box::new(Event {
            request: self.request,
            proxy: self.meter.proxy,
            organization: caller.key.organization,
            project: caller.key.project,
            key: caller.key.id,
            endpoint: Word::Borrowed(self.endpoint),
            asked: String::new(),
            policy: None,
            reason: None,
            decision: None,
            served: None,
            attempts: Vec::new(),
            outcome: Outcome::Gone,
            status: 0,
            error: None,
            stream: false,
            usage: Usage::default(),
            usage_source: UsageSource::None,
            started_at: self.started_at,
            first_byte_ms: None,
            total_ms: 0,
            client: None,
            tags: Default::default(),
            settlement: None,
            billed_at_ms: 0,
            lines: Vec::new(),
            cost: Money::ZERO,
            counted: Vec::new(),
            overrun: Money::ZERO,
        }));
    }

    pub fn key(&self) -> Option<ApiKeyId> {
        self.event.as_ref().map(|it| it.key)
    }

    /// What calls, by its `user-agent`, and what it says of the call in `x-turnpike-tags`.
    pub fn client(&mut self, user_agent: Option<&str>, said: Option<&str>) {
        if let Some(event) = &mut self.event {
            event.client = user_agent.map(client::kind);
            event.tags = said.map(tags::tags).unwrap_or_default();
        }
    }

    pub fn asks(&mut self, model: &str) {
        if let Some(event) = &mut self.event {
            event.asked = shown(model);
        }
    }

    /// That the answer is a stream, which has begun well even if its end is never seen.
    pub fn streams(&mut self) {
        if let Some(event) = &mut self.event {
            event.stream = true;
            event.status = 200;
        }
    }

    /// Why the call goes where it goes.
    pub fn routed(&mut self, decision: &Arc<Decision>) {
        if let Some(event) = &mut self.event {
            let reason = &decision.reason;
            event.reason = Some(Word::Borrowed(reason.name()));
            event.policy = reason
                .policy()
                .map(|it| PolicyVersion { name: it.policy.name.clone(), version: it.version });
            event.decision = decision.kept().map(Box::new);
        }
        self.decision = Some(decision.clone());
    }

    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_deref()
    }

    /// Who was asked, one after the other; the last one is who answers, if anybody does.
    pub fn tried(&mut self, served: &Served) {
        let Some(event) = &mut self.event else { return };
        event.attempts = served.attempts.iter().map(told).collect();
        event.served = served.attempts.last().map(|it| {
            let model = &it.candidate.model;
            Server {
                model: model.name.clone(),
                upstream_model: model.upstream_name.clone(),
                upstream: model.upstream.id,
                provider: model.upstream.provider.clone(),
                credential: it.candidate.credential.id,
            }
        });
    }

    /// That the answer begins now.
    pub fn first_byte(&mut self) {
        if let Some(event) = &mut self.event {
            event.first_byte_ms.get_or_insert_with(|| milliseconds(self.began));
        }
    }

    /// Whatever the call holds and comes to goes onto this.
    pub fn opens(&mut self, tab: Tab) -> &mut Tab {
        self.tab.insert(Box::new(tab))
    }

    /// The call is let through. Its seat and its places are its own until this is dropped.
    pub fn admits(&mut self, admitted: Admitted) {
        self.admitted = Some(admitted);
    }

    /// How the caller stands with their limits, as far as the call has come.
    pub fn standing(&self) -> LimitStanding {
        self.admitted.as_ref().map(Admitted::standing).unwrap_or_default()
    }

    pub fn tab(&self) -> Option<&Tab> {
        self.tab.as_deref()
    }

    pub fn tab_mut(&mut self) -> Option<&mut Tab> {
        self.tab.as_deref_mut()
    }

    /// Writes down that the call is about to be sent.
    pub fn intends(&mut self, first: Option<&Candidate>) -> Result<(), NotWritten> {
        match (&self.event, &mut self.tab) {
            (Some(event), Some(tab)) => tab.intends(event, first),
            (_, _) => Ok(()),
        }
    }

    /// What went to the client, and so has to be paid for. What an upstream serves without
    /// saying how much it was is taken for what we estimate.
    pub fn delivers(&mut self, delivered: &Delivered) {
        let Some(tab) = &mut self.tab else { return };
        let (usage, source) = tab.delivers(delivered);
        if let Some(event) = &mut self.event {
            (event.usage, event.usage_source) = (usage, source);
        }
    }

    /// The client has left, and this is still to come of its answer.
    pub fn leaves(&mut self, rest: Rest) {
        if let Some(tab) = &mut self.tab {
            tab.leaves(rest);
        }
    }

    /// What the caller is told that went wrong.
    pub fn fails(&mut self, code: Code) {
        if let Some(event) = &mut self.event {
            event.error = Some(Word::Borrowed(code.name));
        }
    }

    /// How the call leaves. The first word counts: a stream that broke also ends.
    pub fn ends(&mut self, outcome: Outcome, status: u16) {
        let Some(event) = self.event.as_mut().filter(|_| !self.has_ended) else { return };
        event.outcome = outcome;
        event.status = status;
        self.has_ended = true;
    }
}

fn told(attempt: &call::Attempt) -> Attempt {
    let model = &attempt.candidate.model;
    Attempt {
        provider: model.upstream.provider.clone(),
        model: model.name.clone(),
        outcome: Word::Borrowed(attempt.fate.name()),
        status: attempt.status.map(|it| it.as_u16()),
        took_ms: u32::try_from(attempt.took.as_millis()).unwrap_or(u32::MAX),
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if let Some(mut event) = self.event.take() {
            event.total_ms = milliseconds(self.began);
            let tokens = match self.tab.take() {
                Some(tab) => tab.close(event),
                None => {
                    event.billed_at_ms = self.meter.clock().now_ms();
                    self.meter.settle(Shard::of(event.organization), event, &[]);
                    0
                }
            };
            if let Some(admitted) = self.admitted.take() {
                admitted.settle(tokens);
            }
        }
    }
}

impl From<metrics::Outcome> for Outcome {
    fn from(outcome: metrics::Outcome) -> Self {
        match outcome {
            metrics::Outcome::Success => Self::Success,
            metrics::Outcome::ClientError => Self::ClientError,
            metrics::Outcome::ServerError => Self::ServerError,
            metrics::Outcome::Broken => Self::Broken,
            metrics::Outcome::Gone => Self::Gone,
        }
    }
}

fn milliseconds(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX)
}

/// A caller's text as it may be shown and kept.
fn shown(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(LONGEST_NAME).collect()
}
