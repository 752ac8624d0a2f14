//! What a call holds of its budgets, and what it has come to so far.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::{
    counters::{Amounts, Counted, Hold, Incarnation, Shard},
    event::{Event, Line, UsageSource},
    ids::{BudgetId, OrganizationId, RequestId},
    money::{Money, Pico, PinnedPrice},
    snapshot::{Capability, Dialect},
    usage::Usage,
};

use super::{Bearing, Heard, Rest, Weight, hearing::Unheard, meter::Meter, weight::Amount};
use crate::{
    ask::Ask,
    catalog::Candidate,
    journal::NotWritten,
    limits::{Decision, Standing},
};

/// How many more tokens may have been delivered for that to be worth writing down.
const PROGRESS: u64 = 1_024;
/// A usage that was told in between is behind where it says less than a token for so many that
/// may have been delivered.
const BEHIND: u64 = 8;

/// A call's: owned by its story, and closed with it, whichever way the call left. Closing
/// counts what was spent and lets go of what was held, once.
pub struct Tab {
    meter: Arc<Meter>,
    call: RequestId,
    organization: OrganizationId,
    shard: Shard,
    bearings: Vec<Bearing>,
    /// By bearing, when the window began that it counts in.
    windows: Vec<i64>,
    /// What all of the call may come to, of which each budget holds its share.
    wanted: Amounts,
    /// What the caller lets all attempts together cost.
    most_cost: Option<Money>,
    /// Whether budgets were asked to hold something. They may, though we did not hear so.
    was_asked: bool,
    held: Option<Held>,
    /// Of budgets that were not counted: what was taken of their allowances.
    allowed: Vec<(BudgetId, i64)>,
    billed_at_ms: i64,
    /// How the budgets stood when the call was let through.
    standings: Vec<Standing>,
    estimate: Estimate,
    weights: Vec<(Candidate, Weight)>,
    lines: Vec<Line>,
    attempt: Option<Attempt>,
    /// Another that is under way beside it, or is heard out since it was slower.
    beside: Option<Attempt>,
    /// Whether anything was sent to a provider.
    was_sent: bool,
    /// What the journal was told last.
    intended: Option<Intended>,
    written: u64,
}

/// That budgets hold what the call may come to, in that store.
#[derive(Clone, Copy)]
struct Held {
    incarnation: Incarnation,
    /// The most money that is held for it.
    money: i64,
}

/// What is known of a call before it is sent.
#[derive(Clone, Debug, Default)]
pub struct Estimate {
    /// What limits count it as, roughly.
    input: u64,
    output: u64,
    /// What it can be at most.
    amount: Amount,
    is_streaming: bool,
    /// The tier of the vendor's service that it asks for.
    service_tier: Option<String>,
}

/// The attempt that is under way.
struct Attempt {
    candidate: Candidate,
    /// What is still to come of it, when its caller has left.
    rest: Option<Rest>,
}

/// What is known of an answer that was delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// What its upstream said, if it did.
    pub usage: Option<Usage>,
    /// How many tokens of output went to the client at most, as far as one sees,
    pub tokens: u64,
    /// and how many for certain.
    pub at_least: u64,
    pub is_complete: bool,
    /// Whether its upstream may have gone on when we heard no more of it.
    pub goes_on: bool,
    pub service_tier: Option<String>,
}

/// That the next attempt could not be paid for if it were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is left of its budgets does not cover another attempt")]
pub struct NotCovered;

/// What it takes to settle a call whose process died, as the journal keeps it.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    pub event: Event,
    /// What attempts before came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// The one that is sent now, and the most that it may come to.
    pub line: Option<Line>,
    pub price: Option<PinnedPrice>,
    /// Whether its upstream stops and bills no more when we are gone.
    #[serde(default)]
    pub stops_when_cut: bool,
    pub bearings: Vec<Borne>,
    /// Whether Redis had said that its budgets hold it.
    #[serde(default)]
    pub is_held: bool,
}

/// An intent that was written down, and where the call goes by it.
struct Intended {
    intent: Intent,
    to: Candidate,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Borne {
    pub budget: BudgetId,
    pub window: i64,
    pub share: u16,
}

impl Tab {
    pub fn open(
        meter: &Arc<Meter>,
        call: RequestId,
        organization: OrganizationId,
        bearings: Vec<Bearing>,
        ask: &Ask,
    ) -> Self {
        let windows = bearings.iter().map(|it| meter.edges(&it.budget).window()).collect();
        let estimate = Estimate {
            input: ask.estimated_input(),
            output: ask.estimated_output(None),
            amount: Amount::of(ask),
            is_streaming: ask.is_streaming,
            service_tier: ask.service_tier.clone(),
        };
        Self {
            call,
            organization,
            shard: Shard::of(organization),
            bearings,
            windows,
            wanted: Amounts::default(),
            most_cost: ask.wishes.most_cost,
            was_asked: false,
            held: None,
            allowed: Vec::new(),
            billed_at_ms: meter.clock().now_ms(),
            standings: Vec::new(),
            estimate,
            weights: Vec::new(),
            lines: Vec::new(),
            attempt: None,
            beside: None,
            was_sent: false,
            intended: None,
            written: 0,
            meter: meter.clone(),
        }
    }

    pub fn bearings(&self) -> &[Bearing] {
        &self.bearings
    }

    pub fn call(&self) -> RequestId {
        self.call
    }

    pub fn shard(&self) -> Shard {
        self.shard
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn is_hard(&self) -> bool {
        self.bearings.iter().any(|it| it.budget.is_hard)
    }

    /// What the call may come to at each candidate. Asked before budgets are.
    pub(super) fn weighs(&mut self, weights: Vec<(Candidate, Weight)>) {
        let all = weights.iter().map(|(_, it)| it.amounts());
        self.wanted = all.fold(Amounts::default(), |most, it| Amounts {
            money: most.money.max(it.money),
            requests: 1,
            tokens: most.tokens.max(it.tokens),
        });
        self.weights = weights;
    }

    pub(super) fn wanted(&self) -> Amounts {
        self.wanted
    }

    pub(super) fn weights(&self) -> &[(Candidate, Weight)] {
        &self.weights
    }

    /// From here on a hold may be in the store.
    pub(super) fn asks(&mut self) {
        self.was_asked = !self.bearings.is_empty();
    }

    /// Redis holds nothing of the call: it said so, or was not asked.
    pub(super) fn holds_nothing(&mut self) {
        self.was_asked = false;
    }

    /// Redis let the call through.
    pub(super) fn is_let_through(&mut self, decision: &Decision) {
        self.billed_at_ms = i64::try_from(decision.now).unwrap_or(self.billed_at_ms);
        if decision.standings.len() != self.bearings.len() || self.bearings.is_empty() {
            return;
        }
        self.windows = decision.standings.iter().map(|it| it.from_ms).collect();
        self.standings.clone_from(&decision.standings);
        self.meter.hears_of(&self.bearings, &self.standings);
        let incarnation = decision.incarnation;
        self.held = Some(Held { incarnation, money: self.wanted.money });
        self.meter.holds(self.shard, incarnation, self.call, self.holds(self.wanted));
    }

    pub(super) fn is_allowed(&mut self, budget: BudgetId, amount: i64) {
        self.allowed.push((budget, amount));
    }

    fn holds(&self, whole: Amounts) -> Vec<Hold> {
        let each = self.bearings.iter().zip(&self.windows);
        let hold = |(it, window): (&Bearing, &i64)| Hold {
            budget: it.budget.id,
            window: *window,
            amounts: it.amounts_of(whole),
        };
        each.map(hold).collect()
    }

    /// How the hard budget stands of which least money is left.
    pub fn tightest(&self) -> Option<(&Bearing, &Standing)> {
        let each = self.bearings.iter().zip(&self.standings).filter(|(it, _)| it.budget.is_hard);
        let room = |standing: &Standing| standing.room(crate::limits::Kind::Money);
        each.filter(|(_, it)| room(it).is_some()).min_by_key(|(_, it)| room(it))
    }

    /// Writes down that the call is about to be sent: first to that candidate.
    pub fn intends(&mut self, event: &Event, first: Option<&Candidate>) -> Result<(), NotWritten> {
        let Some(to) = first else { return Ok(()) };
        let borne = |(it, window): (&Bearing, &i64)| Borne {
            budget: it.budget.id,
            window: *window,
            share: it.share,
        };
        let intent = Intent {
            event: Event { billed_at_ms: self.billed_at_ms, ..event.clone() },
            lines: Vec::new(),
            line: None,
            price: None,
            stops_when_cut: false,
            bearings: self.bearings.iter().zip(&self.windows).map(borne).collect(),
            is_held: self.held.is_some(),
        };
        self.writes_down(intent, to)
    }

    /// The same before each attempt, where it is another one than was written down last, or
    /// something came to be paid since.
    fn intends_next(&mut self, to: &Candidate) -> Result<(), NotWritten> {
        let Some(Intended { intent, to: before }) = &self.intended else { return Ok(()) };
        let is_same = before.is_same(to);
        if is_same && intent.lines.len() == self.lines.len() && self.beside.is_none() {
            return Ok(());
        }
        match self.intended.take() {
            Some(Intended { intent, .. }) => self.writes_down(intent, to),
            None => Ok(()),
        }
    }

    fn writes_down(&mut self, mut intent: Intent, to: &Candidate) -> Result<(), NotWritten> {
        let tier = self.tier_at(to);
        intent.lines.clone_from(&self.lines);
        // Of those under way one is told of as such, and the other as if it had come to the most.
        let under_way = [&self.attempt, &self.beside].into_iter().flatten();
        let others = under_way.map(|it| &it.candidate).filter(|it| !it.is_same(to));
        let most = |it| self.line(it, self.most(it), UsageSource::Interrupted, self.tier_at(it));
        intent.lines.extend(others.map(most));
        intent.line = Some(self.line(to, self.most(to), UsageSource::Interrupted, tier));
        intent.price = to.price.as_deref().cloned();
        intent.stops_when_cut = self.stops_when_cut(to);
        let written = self.meter.intends(self.call, self.shard, &intent);
        // What the journal has of it stays what it is until something else is written.
        self.intended = Some(Intended { intent, to: to.clone() });
        self.written = 0;
        written
    }

    /// That so much of the answer went to the client, which is written down now and then, where
    /// it is what the call comes to if we die.
    pub fn progresses(&mut self, delivered: u64) {
        let counts = self.intended.as_ref().is_some_and(|it| it.intent.stops_when_cut);
        if counts && delivered >= self.written + PROGRESS {
            self.written = delivered;
            self.meter.progresses(self.call, delivered);
        }
    }

    /// Sees to it that an attempt can be paid for beside what the ones before it cost.
    pub async fn cover(&mut self, next: &Candidate) -> Result<(), NotCovered> {
        let spent = self.cost().nanos();
        if let Some(most) = self.most_cost {
            let next = self.weight_of(next).ok_or(NotCovered)?.cost;
            if Money::from_nanos(spent).saturating_add(next) > most {
                return Err(NotCovered);
            }
        }
        if self.lines.is_empty() || self.bearings.is_empty() {
            return Ok(());
        }
        self.extend(next, spent).await
    }

    /// The same for one that is sent while another is under way. What nobody counts is not sent
    /// twice.
    pub async fn cover_beside(&mut self, next: &Candidate) -> Result<(), NotCovered> {
        let present = self.attempt.as_ref().and_then(|it| self.weight_of(&it.candidate));
        let present = present.map(|it| it.cost).unwrap_or_default();
        let spent = self.cost().saturating_add(present);
        if let Some(most) = self.most_cost {
            let next = self.weight_of(next).ok_or(NotCovered)?.cost;
            if spent.saturating_add(next) > most {
                return Err(NotCovered);
            }
        }
        match (self.bearings.is_empty(), self.held) {
            (true, _) => Ok(()),
            (false, None) => Err(NotCovered),
            (false, Some(_)) => self.extend(next, spent.nanos()).await,
        }
    }

    /// Has budgets hold what the next attempt may come to beside what is spent.
    async fn extend(&mut self, next: &Candidate, spent: i64) -> Result<(), NotCovered> {
        let weight = self.weight_of(next).map_or(self.wanted, |it| it.amounts());
        let present = self.attempt.as_ref().and_then(|it| self.weight_of(&it.candidate));
        let present = present.map_or(0, |it| it.amounts().tokens);
        let tokens = i64::try_from(usage_of(&self.lines)).unwrap_or(i64::MAX);
        let tokens = tokens.saturating_add(present);
        let more = Amounts {
            money: (spent.saturating_add(weight.money) - self.wanted.money).max(0),
            requests: 0,
            tokens: (tokens.saturating_add(weight.tokens) - self.wanted.tokens).max(0),
        };
        if more == Amounts::default() {
            return Ok(());
        }
        let Some(held) = self.held else {
            // Nobody counts: allowances were for one attempt.
            return if self.is_hard() { Err(NotCovered) } else { Ok(()) };
        };
        let holds = self.holds(more);
        // Seldom needed, and large: it would make every call's future so.
        let extends = self.meter.extend(self.shard, held.incarnation, self.call, &holds);
        let is_held = Box::pin(extends).await;
        if is_held {
            self.wanted.money = self.wanted.money.saturating_add(more.money);
            self.wanted.tokens = self.wanted.tokens.saturating_add(more.tokens);
            self.held = Some(Held { money: self.wanted.money, ..held });
            let holds = self.holds(self.wanted);
            self.meter.holds(self.shard, held.incarnation, self.call, holds);
        }
        if is_held || !self.is_hard() { Ok(()) } else { Err(NotCovered) }
    }

    /// An attempt begins, which is written down.
    pub fn sends(&mut self, to: &Candidate) -> Result<(), NotWritten> {
        self.intends_next(to)?;
        self.was_sent = true;
        self.attempt = Some(Attempt { candidate: to.clone(), rest: None });
        Ok(())
    }

    /// Another attempt begins beside the one under way, which is written down.
    pub fn sends_beside(&mut self, to: &Candidate) -> Result<(), NotWritten> {
        // Without an intent of its own there is none to be changed either.
        if let Some(Intended { intent, to: before }) = self.intended.take() {
            let written = self.writes_down(intent, to);
            if let (Err(_), Some(it)) = (&written, &mut self.intended) {
                // The journal has what it had.
                (it.to, it.intent.stops_when_cut) = (before, false);
            }
            written?;
        }
        self.beside = Some(Attempt { candidate: to.clone(), rest: None });
        Ok(())
    }

    /// The one beside takes the place of the other.
    pub fn swaps(&mut self) {
        std::mem::swap(&mut self.attempt, &mut self.beside);
    }

    /// What the one beside came to, of which the client got nothing.
    pub fn hears_beside(&mut self, heard: Heard) {
        if self.beside.is_none() {
            return;
        }
        let before = self.lines.len();
        self.swaps();
        self.hears(heard);
        self.swaps();
        // Who answered stands last, also where the other was heard out later.
        if self.attempt.is_none() && self.lines.len() > before && before > 0 {
            self.lines.swap(before - 1, before);
        }
    }

    /// Nobody waits for the one beside any more: it is heard out at once, while the other's
    /// answer comes.
    pub fn leaves_beside(&mut self, rest: Rest) {
        if let Some(beside) = &mut self.beside {
            let organization = self.organization;
            beside.rest = Some(self.meter.hears_aside(self.call, organization, rest));
        }
    }

    /// Of two that were under way one is left: what is written down is to say so.
    pub fn has_one(&mut self) {
        let left = self.attempt.as_ref().map(|it| it.candidate.clone());
        let Some((Intended { intent, .. }, to)) = self.intended.take().zip(left) else { return };
        if let (Err(_), Some(it)) = (self.writes_down(intent, &to), &mut self.intended) {
            // The journal has both at their most, and what is delivered is not told of.
            it.intent.stops_when_cut = false;
        }
    }

    /// Whether the vendor writes no more and bills no more when it is hung up on before it began.
    pub fn stops_when_cut(&self, at: &Candidate) -> bool {
        let stops = self.estimate.is_streaming && at.model.upstream.speaks().stops_when_cut();
        stops && !thinks(at)
    }

    /// Nobody waits for the attempt any more. What is still to come of it is heard out when the
    /// call is closed.
    pub fn leaves(&mut self, rest: Rest) {
        if let Some(attempt) = &mut self.attempt {
            attempt.rest = Some(rest);
        }
    }

    /// What the attempt came to, of which the client got nothing.
    pub fn hears(&mut self, heard: Heard) {
        if let Heard::Answer(delivered) = &heard {
            self.delivers(delivered);
            return;
        }
        let Some(Attempt { candidate, .. }) = self.attempt.take() else { return };
        let most = self.most(&candidate);
        let usage = match heard {
            Heard::Nothing | Heard::Answer(_) => return,
            Heard::Failure => Usage { output: 0, ..most },
            Heard::Lost => most,
        };
        let tier = self.tier_at(&candidate);
        self.adds(&candidate, usage, UsageSource::Estimated, tier);
    }

    /// The answer of the attempt went to the client, as far as it did.
    pub fn delivers(&mut self, delivered: &Delivered) -> (Usage, UsageSource) {
        let Some(Attempt { candidate, .. }) = self.attempt.take() else {
            return (Usage::default(), UsageSource::None);
        };
        let (usage, source) = self.used(&candidate, delivered);
        let tier = delivered.service_tier.clone().or_else(|| self.tier_at(&candidate));
        self.adds(&candidate, usage, source, tier);
        (usage, source)
    }

    /// What an answer has used, by its upstream's word. Where that is missing, as much as it may
    /// have been: what is held for it, unless one saw less of it.
    fn used(&self, at: &Candidate, delivered: &Delivered) -> (Usage, UsageSource) {
        let Delivered { usage, tokens, at_least, is_complete, goes_on, .. } = delivered;
        let most = self.most(at);
        let seen = |unseen: bool| match unseen {
            true => most.output.max(*at_least),
            false => (*tokens).min(most.output).max(*at_least),
        };
        match usage {
            Some(said) if *is_complete => (self.believed(*said, at), UsageSource::Upstream),
            Some(said) => {
                let said = self.believed(*said, at);
                let is_behind = *goes_on || said.total_output() < tokens / BEHIND;
                let output = if is_behind { seen(*goes_on) } else { 0 };
                (with_output(said, output), UsageSource::Interrupted)
            }
            None if *is_complete => {
                // Nobody looked into an answer that is there whole.
                let output = seen(*tokens == 0 || thinks(at));
                (Usage { output, ..most }, UsageSource::Estimated)
            }
            None => {
                let output = seen(*goes_on || thinks(at));
                (Usage { output, ..most }, UsageSource::Interrupted)
            }
        }
    }

    /// The most that a call can use there: what was held for it, where anything was.
    fn most(&self, at: &Candidate) -> Usage {
        let (input, output) = match self.weight_of(at) {
            Some(Weight { bound, .. }) => (bound.input_tokens, bound.output_tokens()),
            None => self.estimate.amount.at(&at.model),
        };
        Usage { input, output, ..Usage::default() }
    }

    /// The tier of service that a call asks for, where that is passed on.
    fn tier_at(&self, at: &Candidate) -> Option<String> {
        match at.model.upstream.dialect {
            Dialect::OpenAi | Dialect::AzureOpenAi => self.estimate.service_tier.clone(),
            Dialect::Anthropic | Dialect::Gemini => None,
        }
    }

    /// What an upstream says, within what is possible.
    fn believed(&self, said: Usage, at: &Candidate) -> Usage {
        let (usage, was_clamped) = said.clamped(self.estimate.amount.believable_at(&at.model));
        if was_clamped {
            self.meter.metrics.usage_clamped.inc();
            let provider = &at.model.upstream.provider;
            tracing::error!(
                request.id = %self.call,
                provider,
                "{provider} said that a call used more than is possible"
            );
        }
        usage
    }

    fn weight_of(&self, to: &Candidate) -> Option<&Weight> {
        self.weights.iter().find(|(it, _)| it.is_same(to)).map(|(_, weight)| weight)
    }

    fn adds(
        &mut self,
        at: &Candidate,
        usage: Usage,
        source: UsageSource,
        service_tier: Option<String>,
    ) {
        let unpriced = |it: &PinnedPrice| it.price.unpriced(&usage, service_tier.as_deref());
        if at.price.as_ref().is_some_and(|it| !unpriced(it).is_empty()) {
            self.meter.metrics.usage_unpriced.inc();
        }
        let line = self.line(at, usage, source, service_tier);
        self.lines.push(line);
    }

    fn line(
        &self,
        at: &Candidate,
        usage: Usage,
        source: UsageSource,
        service_tier: Option<String>,
    ) -> Line {
        let model = &at.model;
        let price = at.price.as_ref();
        let cost = price.map(|it| it.price.cost(&usage, service_tier.as_deref()));
        Line {
            model: model.name.clone(),
            upstream: model.upstream.id,
            provider: model.upstream.provider.clone(),
            credential: at.credential.id,
            usage,
            source,
            service_tier,
            price: price.map(|it| it.revision),
            cost: cost.unwrap_or_default(),
        }
    }

    /// What the call has come to so far.
    pub fn cost(&self) -> Money {
        cost_of(&self.lines)
    }

    /// The call is over, or its client has left. What it came to is counted and told of, at once
    /// or when the rest of its answer has been heard. Answers how many tokens it was by then, for
    /// the limits on them: a call that was sent and then left by its caller has used its input.
    pub fn close(mut self, event: Box<Event>) -> u64 {
        let (tokens, meter) = (self.tokens_for_limits(), self.meter.clone());
        let rest = |it: &mut Option<Attempt>| it.as_mut().and_then(|it| it.rest.take());
        if let Some(heard) = self.beside.as_mut().and_then(|it| it.rest.as_mut()?.if_heard()) {
            self.hears_beside(heard);
        }
        match (rest(&mut self.attempt), rest(&mut self.beside)) {
            (None, None) => self.settle(event),
            (rest, beside) => meter.hears_out(Unheard::new(self, event, rest, beside)),
        }
        tokens
    }

    /// What nobody counted is taken for usual: a limit is no bill.
    fn tokens_for_limits(&self) -> u64 {
        let (mut counted, mut usual) = (0_u64, 0);
        let Estimate { input, output, .. } = &self.estimate;
        for line in &self.lines {
            match line.source {
                UsageSource::Upstream => counted = counted.saturating_add(line.usage.total()),
                UsageSource::Estimated | UsageSource::Interrupted | UsageSource::None => {
                    usual = line.usage.total().min(input.saturating_add(*output)).max(usual);
                }
            }
        }
        if self.attempt.is_some() {
            usual = usual.max(*input);
        }
        counted.saturating_add(usual)
    }

    /// Counts what the call came to, and tells of it.
    pub(super) fn settle(mut self, mut event: Box<Event>) {
        // It was sent, and nobody knows more.
        self.hears_beside(Heard::Lost);
        self.hears(Heard::Lost);
        let cost = self.cost();
        let whole = Amounts {
            money: cost.nanos(),
            requests: self.was_sent.into(),
            tokens: i64::try_from(usage_of(&self.lines)).unwrap_or(i64::MAX),
        };
        event.billed_at_ms = self.billed_at_ms;
        event.cost = cost;
        event.counted = self.counted(whole);
        if let Some(held) = self.held.filter(|_| self.is_hard()) {
            let overrun = cost.nanos().saturating_sub(held.money).max(0);
            event.overrun = Money::from_nanos(overrun);
            if overrun > 0 {
                self.meter.metrics.overruns.inc();
                tracing::error!(
                    request.id = %self.call,
                    overrun,
                    "a call cost {} nano-dollars more than was held for it", overrun
                );
            }
        }
        for (budget, amount) in std::mem::take(&mut self.allowed) {
            self.meter.allowances.correct(budget, amount, &event.counted);
        }
        event.lines = std::mem::take(&mut self.lines);
        if let Some(last) = event.lines.last().filter(|_| event.usage_source == UsageSource::None) {
            (event.usage, event.usage_source) = (last.usage, last.source);
        }
        let asked = |it: &Bearing| it.budget.id;
        let held = match self.was_asked {
            true => self.bearings.iter().map(asked).collect(),
            false => Vec::new(),
        };
        self.meter.settle(self.shard, event, &held);
    }

    fn counted(&self, whole: Amounts) -> Vec<Counted> {
        let each = self.bearings.iter().zip(&self.windows);
        let counted = each.map(|(it, window)| Counted {
            budget: it.budget.id,
            window: *window,
            amounts: it.amounts_of(whole),
        });
        counted.filter(|it| it.amounts != Amounts::default()).collect()
    }
}

impl Intent {
    /// What is told of the call when its process died: what attempts before had come to, and of
    /// the one under way as much as may have been written, for nobody heard the rest. An upstream
    /// that stopped when we were gone wrote what had been delivered, and what was delivered since
    /// that was written down.
    pub fn settled(self, delivered: u64) -> (Box<Event>, Vec<BudgetId>) {
        let Self { mut event, lines, line, price, stops_when_cut, bearings, is_held: _ } = self;
        event.lines = lines;
        if let Some(mut line) = line {
            let since = delivered.saturating_add(PROGRESS);
            line.usage.output = match line.usage.output {
                // It was written down by a release that did not know, or writes nothing.
                0 => delivered,
                most if stops_when_cut => most.min(since),
                most => most,
            };
            let tier = line.service_tier.as_deref();
            line.cost = price.map_or(Pico::ZERO, |it| it.price.cost(&line.usage, tier));
            (event.usage, event.usage_source) = (line.usage, UsageSource::Interrupted);
            event.lines.push(line);
        }
        event.cost = cost_of(&event.lines);
        let tokens = i64::try_from(usage_of(&event.lines)).unwrap_or(i64::MAX);
        let whole = Amounts { money: event.cost.nanos(), requests: 1, tokens };
        let share = |it: &Borne| super::bearing::share_of(it.share, whole);
        let counted = bearings.iter().map(|it| Counted {
            budget: it.budget,
            window: it.window,
            amounts: share(it),
        });
        event.counted = counted.collect();
        (Box::new(event), bearings.into_iter().map(|it| it.budget).collect())
    }
}

/// Whether it may write what nobody gets to see.
fn thinks(at: &Candidate) -> bool {
    at.model.capabilities.contains(&Capability::Reasoning)
}

fn usage_of(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |sum, it| sum.saturating_add(it.usage.total()))
}

/// With at least so many tokens of output.
fn with_output(usage: Usage, tokens: u64) -> Usage {
    let missing = tokens.saturating_sub(usage.total_output());
    Usage { output: usage.output.saturating_add(missing), ..usage }
}

/// The lines' sum, rounded up once.
fn cost_of(lines: &[Line]) -> Money {
    let sum = lines.iter().fold(0_i64, |sum, it| sum.saturating_add(it.cost.picos()));
    Pico::from_picos(sum).to_money()
}
