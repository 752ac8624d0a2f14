//! What a call holds of its budgets, and what it has come to so far.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::{
    counters::{Amounts, Counted, Hold, Incarnation, Shard},
    event::{Event, Line, UsageSource},
    ids::{BudgetId, OrganizationId, RequestId},
    money::{Money, Pico, PinnedPrice},
    usage::{MOST_TOKENS, Usage},
};

use super::{Bearing, Weight, meter::Meter};
use crate::{
    ask::Ask,
    catalog::Candidate,
    journal::NotWritten,
    limits::{Decision, Standing},
};

/// How many more tokens have to be delivered to be worth writing down.
const PROGRESS: u64 = 256;

/// A call's: owned by its story, and closed with it, whichever way the call left. Closing
/// counts what was spent and lets go of what was held, once.
pub struct Tab {
    meter: Arc<Meter>,
    call: RequestId,
    shard: Shard,
    bearings: Vec<Bearing>,
    /// By bearing, when the window began that it counts in.
    windows: Vec<i64>,
    /// What all of the call may come to, of which each budget holds its share.
    wanted: Amounts,
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
    /// What the attempts have used for certain that were sent and of which no more is known. It
    /// counts against limits, and is nothing that anybody pays.
    unheard: u64,
    /// Whether anything was sent to a provider.
    was_sent: bool,
    is_intended: bool,
    written: u64,
}

/// That budgets hold what the call may come to, in that store.
#[derive(Clone, Copy)]
struct Held {
    incarnation: Incarnation,
    /// The most money that is held for it.
    money: i64,
}

/// What a call is taken to use where its provider does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    pub input: u64,
    pub output: u64,
    pub choices: u64,
    pub is_streaming: bool,
}

/// The attempt that is under way.
struct Attempt {
    candidate: Candidate,
    /// What its upstream has said.
    status: Option<StatusCode>,
}

/// What is known of an answer that was delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// What its upstream said, if it did.
    pub usage: Option<Usage>,
    /// How many tokens of output went to the client, as far as one sees.
    pub tokens: u64,
    pub is_complete: bool,
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
    pub line: Option<Line>,
    pub price: Option<PinnedPrice>,
    pub bearings: Vec<Borne>,
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
            choices: ask.choices.into(),
            is_streaming: ask.is_streaming,
        };
        Self {
            call,
            shard: Shard::of(organization),
            bearings,
            windows,
            wanted: Amounts::default(),
            was_asked: false,
            held: None,
            allowed: Vec::new(),
            billed_at_ms: meter.clock().now_ms(),
            standings: Vec::new(),
            estimate,
            weights: Vec::new(),
            lines: Vec::new(),
            attempt: None,
            unheard: 0,
            was_sent: false,
            is_intended: false,
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

    /// Redis let the call through.
    pub(super) fn is_let_through(&mut self, decision: &Decision) {
        self.billed_at_ms = i64::try_from(decision.now).unwrap_or(self.billed_at_ms);
        if decision.standings.len() != self.bearings.len() || self.bearings.is_empty() {
            return;
        }
        self.windows = decision.standings.iter().map(|it| it.from_ms).collect();
        self.standings.clone_from(&decision.standings);
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
        let line = first.map(|it| {
            let usage = Usage { input: self.estimate.input, ..Usage::default() };
            self.line(it, usage, UsageSource::Interrupted, None)
        });
        let borne = |(it, window): (&Bearing, &i64)| Borne {
            budget: it.budget.id,
            window: *window,
            share: it.share,
        };
        let intent = Intent {
            event: Event { billed_at_ms: self.billed_at_ms, ..event.clone() },
            line,
            price: first.and_then(|it| it.price.as_deref().cloned()),
            bearings: self.bearings.iter().zip(&self.windows).map(borne).collect(),
        };
        self.meter.intends(self.call, self.shard, &intent)?;
        self.is_intended = true;
        Ok(())
    }

    /// That so much of the answer went to the client, which is written down now and then.
    pub fn progresses(&mut self, delivered: u64) {
        if self.is_intended && delivered >= self.written + PROGRESS {
            self.written = delivered;
            self.meter.progresses(self.call, delivered);
        }
    }

    /// Sees to it that an attempt can be paid for beside what the ones before it cost.
    pub async fn cover(&mut self, next: &Candidate) -> Result<(), NotCovered> {
        let spent = self.cost().nanos();
        if spent == 0 || self.bearings.is_empty() {
            return Ok(());
        }
        let weight = self.weight_of(next).map_or(self.wanted, |it| it.amounts());
        let tokens = i64::try_from(self.usage_of_lines()).unwrap_or(i64::MAX);
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
        let is_held = self.meter.extend(self.shard, held.incarnation, self.call, &holds).await;
        if is_held {
            self.wanted.money = self.wanted.money.saturating_add(more.money);
            self.wanted.tokens = self.wanted.tokens.saturating_add(more.tokens);
            self.held = Some(Held { money: self.wanted.money, ..held });
            let holds = self.holds(self.wanted);
            self.meter.holds(self.shard, held.incarnation, self.call, holds);
        }
        if is_held || !self.is_hard() { Ok(()) } else { Err(NotCovered) }
    }

    /// An attempt begins. What its upstream says goes where this leads.
    pub fn sends(&mut self, to: &Candidate) -> &mut Option<StatusCode> {
        self.was_sent = true;
        &mut self.attempt.insert(Attempt { candidate: to.clone(), status: None }).status
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.attempt.as_ref().and_then(|it| it.status)
    }

    /// The attempt found nobody to send it to.
    pub fn sends_nothing(&mut self) {
        self.attempt = None;
    }

    /// The attempt came to nothing. If its upstream had begun to answer well, it may want to
    /// be paid for it.
    pub fn fails(&mut self) {
        let output = if self.estimate.is_streaming { 0 } else { self.estimate.output };
        self.ends_unheard(output, UsageSource::Estimated);
    }

    fn ends_unheard(&mut self, output: u64, source: UsageSource) {
        let Some(Attempt { candidate, status }) = self.attempt.take() else { return };
        match status {
            Some(status) if status.is_success() => {
                let usage = self.estimated(&candidate, output);
                let line = self.line(&candidate, usage, source, None);
                self.lines.push(line);
            }
            // It said no.
            Some(_) => (),
            None => {
                let input = self.estimated(&candidate, 0).input.max(1);
                self.unheard = self.unheard.max(input);
            }
        }
    }

    /// The answer of the attempt went to the client, as far as it did.
    pub fn delivers(&mut self, delivered: &Delivered) -> (Usage, UsageSource) {
        let Some(Attempt { candidate, .. }) = self.attempt.take() else {
            return (Usage::default(), UsageSource::None);
        };
        let Delivered { usage, tokens, is_complete, service_tier } = delivered;
        let (usage, source) = match usage {
            Some(said) => {
                let said = self.believed(*said, &candidate);
                match is_complete {
                    true => (said, UsageSource::Upstream),
                    // What was said so far may be behind what was delivered.
                    false => (with_output(said, *tokens), UsageSource::Interrupted),
                }
            }
            None if *is_complete => {
                // An answer that is there whole and was not looked into is taken for usual.
                let output = if *tokens > 0 { *tokens } else { self.estimate.output };
                (self.estimated(&candidate, output), UsageSource::Estimated)
            }
            None => (self.estimated(&candidate, *tokens), UsageSource::Interrupted),
        };
        let line = self.line(&candidate, usage, source, service_tier.clone());
        self.lines.push(line);
        (usage, source)
    }

    /// What nobody said, and never more than was held for it.
    fn estimated(&self, to: &Candidate, output: u64) -> Usage {
        let (mut input, mut output) = (self.estimate.input, output);
        if let Some(weight) = self.weight_of(to) {
            input = input.min(weight.bound.input_tokens);
            output = output.min(weight.bound.output_tokens());
        }
        Usage { input, output, ..Usage::default() }
    }

    /// What an upstream says, within what is possible.
    fn believed(&self, said: Usage, at: &Candidate) -> Usage {
        let model = &at.model;
        let context = u64::from(model.context_length) + u64::from(model.max_output_tokens);
        let most = match context.saturating_mul(self.estimate.choices.max(1)) {
            0 => MOST_TOKENS,
            most => most,
        };
        let (usage, was_clamped) = said.clamped(most);
        if was_clamped {
            self.meter.metrics.usage_clamped.inc();
            let provider = &model.upstream.provider;
            tracing::error!(
                request.id = %self.call,
                provider,
                "{provider} said that a call used more than is possible"
            );
        }
        usage
    }

    fn weight_of(&self, to: &Candidate) -> Option<&Weight> {
        let is_it = |it: &Candidate| {
            Arc::ptr_eq(&it.model, &to.model) && it.credential.id == to.credential.id
        };
        self.weights.iter().find(|(it, _)| is_it(it)).map(|(_, weight)| weight)
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
        let unpriced =
            price.is_some_and(|it| !it.price.unpriced(&usage, service_tier.as_deref()).is_empty());
        if unpriced {
            self.meter.metrics.usage_unpriced.inc();
        }
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

    fn usage_of_lines(&self) -> u64 {
        self.lines.iter().fold(0, |sum, it| sum.saturating_add(it.usage.total()))
    }

    /// Counts what the call came to, and tells of it. Answers how many tokens that was, for the
    /// limits on them: a call that was sent and then left by its caller has used its input.
    pub fn close(mut self, mut event: Box<Event>) -> u64 {
        // Somebody went away while it was under way.
        self.ends_unheard(0, UsageSource::Interrupted);
        let cost = self.cost();
        let whole = Amounts {
            money: cost.nanos(),
            requests: self.was_sent.into(),
            tokens: i64::try_from(self.usage_of_lines()).unwrap_or(i64::MAX),
        };
        event.billed_at_ms = self.billed_at_ms;
        event.cost = cost;
        event.counted = self.counted(whole);
        if let Some(held) = self.held.filter(|_| self.is_hard()) {
            let overrun = cost.nanos().saturating_sub(held.money).max(0);
            event.overrun = Money::from_nanos(overrun);
            if overrun > 0 {
                self.meter.metrics.overruns.inc();
            }
        }
        for (budget, amount) in std::mem::take(&mut self.allowed) {
            self.meter.allowances.correct(budget, amount, &event.counted);
        }
        event.lines = std::mem::take(&mut self.lines);
        let asked = |it: &Bearing| it.budget.id;
        let held = match self.was_asked {
            true => self.bearings.iter().map(asked).collect(),
            false => Vec::new(),
        };
        let tokens = u64::try_from(whole.tokens).unwrap_or(u64::MAX).max(self.unheard);
        self.meter.settle(self.shard, event, &held);
        tokens
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
    /// What is told of the call when its process died: what had been delivered is paid for.
    pub fn settled(self, delivered: u64) -> (Box<Event>, Vec<BudgetId>) {
        let Self { mut event, line, price, bearings } = self;
        if let Some(mut line) = line {
            line.usage.output = line.usage.output.max(delivered);
            let cost = price.map_or(Pico::ZERO, |it| it.price.cost(&line.usage, None));
            line.cost = cost;
            (event.usage, event.usage_source) = (line.usage, UsageSource::Interrupted);
            event.lines = vec![line];
        }
        event.cost = cost_of(&event.lines);
        let tokens = i64::try_from(event.usage.total()).unwrap_or(i64::MAX);
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
