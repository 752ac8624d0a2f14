//! Letting a call through: within every limit and every budget, or not at all.

use std::{sync::Arc, time::Duration};

use redis::Cmd;
use shared::{
    counters::{NOT_OPENED, Shard, Terms},
    failure::{Classified, Code, Kind as FailureKind, code},
    ids::RequestId,
    snapshot::{OnRedisLoss, OnTight},
};

use super::{
    BudgetExceeded, Meter, NotCounted, NotPriced, Tab,
    weight::{Weight, not_priced},
};
use crate::{
    ask::Ask,
    catalog::Candidate,
    limits::{
        Asked, Decision, Kind, Let, LimitReached, Limiter, Permit, Question, Standing, Verdict,
        Wanted,
    },
};

/// How often Redis is asked, where something was to be mended first.
const MOST_QUESTIONS: usize = 5;
/// An answer that is shorter is of no use to anybody who did not ask for that.
const LEAST_OUTPUT: u64 = 256;
/// When to come back while nobody counts.
const LOSS: Duration = Duration::from_secs(2);

/// Why a call is not let through.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(transparent)]
    Limit(#[from] LimitReached),
    #[error(transparent)]
    Exceeded(#[from] Box<BudgetExceeded>),
    #[error(transparent)]
    NotPriced(#[from] NotPriced),
    #[error(transparent)]
    NotCounted(#[from] NotCounted),
    #[error("The key was revoked.")]
    Stopped,
}

/// Lets a call through, to those of its candidates that can be afforded. What it holds goes
/// onto its tab.
pub async fn admit(
    limiter: &Arc<Limiter>,
    asked: Asked<'_>,
    (ask, candidates): (&Ask, &mut Vec<Candidate>),
    tab: &mut Tab,
) -> Result<Permit, NotAdmitted> {
    if !tab.bearings().is_empty() || ask.wishes.most_cost.is_some() {
        weigh(ask, candidates, tab)?;
    }
    let (mut is_counted, mut is_allowed) = (true, false);
    let mut refusal = NotCounted { retry_after: LOSS }.into();
    for _ in 0..MOST_QUESTIONS {
        let decision = match question(limiter, asked, tab, is_counted).await? {
            Let::Through(permit, decision) => {
                tab.is_let_through(&decision);
                return Ok(permit);
            }
            Let::Alone(permit) => {
                if !is_allowed {
                    allow(limiter, tab)?;
                }
                return Ok(permit);
            }
            Let::Not(decision) => decision,
        };
        match decision.verdict {
            // Seldom needed, and large: it would make every call's future so.
            Verdict::OldTerms => Box::pin(set_terms(limiter, tab)).await?,
            // The clock is right now.
            Verdict::OtherWindow => (),
            Verdict::Spent(index, kind) => {
                refusal = exceeded(tab, index, kind, &decision);
                if shorten(ask, candidates, tab, &decision.standings).is_none() {
                    tab.holds_nothing();
                    return Err(refusal);
                }
            }
            Verdict::NotCounted => {
                allow(limiter, tab)?;
                (is_counted, is_allowed) = (false, true);
            }
            Verdict::Stopped => return Err(NotAdmitted::Stopped),
            Verdict::Passed | Verdict::Limit(_) => break,
        }
    }
    Err(refusal)
}

/// Lets somebody ask who sends nothing: one more request, within the limits on these.
pub async fn admit_question(meter: &Meter, asked: Asked<'_>) -> Result<Permit, NotAdmitted> {
    let shard = Shard::of(asked.organization);
    let (epoch, call) = (meter.epoch(), RequestId::generate());
    let question = Question { shard, epoch, call, key: asked.key, budgets: &[] };
    match meter.limiter.admit(asked, &question).await? {
        Let::Through(permit, _) | Let::Alone(permit) => Ok(permit),
        Let::Not(_) => Err(NotAdmitted::Stopped),
    }
}

/// What the call may come to at each candidate. Those of which nobody knows are left out
/// where a hard budget on money has to hold.
pub fn weigh(ask: &Ask, candidates: &mut Vec<Candidate>, tab: &mut Tab) -> Result<(), NotPriced> {
    let marks = ask.marks();
    let hard = tab.bearings().iter().find(|it| {
        let raised = it.budget.raise.and_then(|it| it.caps.money);
        it.budget.is_hard && (it.budget.caps.money.is_some() || raised.is_some())
    });
    let mut unpriced = None;
    let mut weights = Vec::with_capacity(candidates.len());
    candidates.retain_mut(|it| {
        let weight = Weight::of(ask, &marks, it);
        if let Some((bearing, why)) = hard.zip(not_priced(ask, &marks, &weight, it)) {
            unpriced.get_or_insert_with(|| NotPriced {
                model: it.model.name.clone(),
                why,
                budget: bearing.budget.name.clone(),
            });
            return false;
        }
        // Where nobody knows how much a model writes, only what has to hold is worth a guess.
        let is_known = ask.output_cap.is_some() || it.model.max_output_tokens > 0;
        if ask.form.writes() && (is_known || tab.is_hard() || ask.wishes.most_cost.is_some()) {
            it.most_output = Some(weight.cap);
        }
        weights.push((it.clone(), weight));
        true
    });
    match unpriced {
        Some(why) if candidates.is_empty() => Err(why),
        Some(_) | None => {
            tab.weighs(weights);
            Ok(())
        }
    }
}

async fn question(
    limiter: &Arc<Limiter>,
    asked: Asked<'_>,
    tab: &mut Tab,
    is_counted: bool,
) -> Result<Let, LimitReached> {
    if is_counted {
        tab.asks();
    }
    let whole = tab.wanted();
    let wanted = |it: &super::Bearing| (it.amounts_of(whole), tab.meter().edges(&it.budget));
    let bearings = tab.bearings().iter().filter(|_| is_counted);
    let all: Vec<_> = bearings.map(|it| (it, wanted(it))).collect();
    let budgets: Vec<_> = all
        .iter()
        .map(|(it, (wanted, edges))| Wanted { budget: &it.budget, wanted: *wanted, edges: *edges })
        .collect();
    let question = Question {
        shard: tab.shard(),
        epoch: tab.meter().epoch(),
        call: tab.call(),
        key: asked.key,
        budgets: &budgets,
    };
    limiter.admit(asked, &question).await
}

/// Tells Redis of caps that it does not know yet. Those of a hard budget are in force only with what
/// was spent before it counted, which the control plane sums up: until then nobody counts.
async fn set_terms(limiter: &Limiter, tab: &Tab) -> Result<(), NotCounted> {
    for it in tab.bearings() {
        let terms = Terms { budget: &it.budget, opening: None };
        let ask: Cmd = limiter.counters().set_terms(tab.shard(), terms);
        let told: Option<i64> = limiter.ask(&ask).await;
        told.filter(|it| *it != NOT_OPENED).ok_or(NotCounted { retry_after: LOSS })?;
    }
    Ok(())
}

/// Without anybody who counts: hard budgets refuse, unless they have an allowance.
fn allow(limiter: &Limiter, tab: &mut Tab) -> Result<(), NotCounted> {
    let (whole, mut taken) = (tab.wanted(), Vec::new());
    let refused = NotCounted { retry_after: LOSS };
    let meter = tab.meter().clone();
    for it in tab.bearings().iter().filter(|it| it.budget.is_hard) {
        let amount = it.amounts_of(whole).money;
        let window = meter.edges(&it.budget).window();
        let is_taken = match it.budget.on_redis_loss {
            OnRedisLoss::Closed => false,
            OnRedisLoss::Bounded { allowance } => {
                let place = (it.budget.id, window);
                meter.allowances.take(place, amount, allowance, limiter.proxies())
            }
        };
        if !is_taken {
            taken.iter().for_each(|(id, it)| meter.allowances.correct(*id, *it, &[]));
            return Err(refused);
        }
        taken.push((it.budget.id, amount));
    }
    taken.into_iter().for_each(|(budget, amount)| tab.is_allowed(budget, amount));
    Ok(())
}

/// Lowers the caps on output to what is left of every budget, where those that have not
/// enough want that. `None` where the call cannot be made shorter in a useful way.
pub(super) fn shorten(
    ask: &Ask,
    candidates: &mut Vec<Candidate>,
    tab: &mut Tab,
    standings: &[Standing],
) -> Option<()> {
    if !ask.form.writes() {
        return None;
    }
    let (mut money, mut tokens) = (i64::MAX, i64::MAX);
    let whole = tab.wanted();
    for (it, standing) in tab.bearings().iter().zip(standings) {
        if !it.budget.is_hard {
            continue;
        }
        let wanted = it.amounts_of(whole);
        let lacks = |kind: Kind| standing.room(kind).is_some_and(|room| kind.of(wanted) > room);
        if lacks(Kind::Requests) {
            return None;
        }
        if (lacks(Kind::Money) || lacks(Kind::Tokens)) && it.budget.on_tight == OnTight::Deny {
            return None;
        }
        let within = |kind| standing.room(kind).map_or(i64::MAX, |room| it.whole_within(room));
        (money, tokens) = (money.min(within(Kind::Money)), tokens.min(within(Kind::Tokens)));
    }
    let marks = ask.marks();
    let old: Vec<_> = tab.weights().to_vec();
    let mut weights = Vec::with_capacity(candidates.len());
    let mut left = Vec::with_capacity(candidates.len());
    for (mut it, weight) in old {
        let Some(cap) = weight.cap_within(money, tokens, &it) else { continue };
        if cap < weight.cap {
            if cap < LEAST_OUTPUT {
                continue;
            }
            (it.most_output, it.is_clamped) = (Some(cap), true);
        }
        let weight = Weight::of(ask, &marks, &it);
        left.push(it.clone());
        weights.push((it, weight));
    }
    if left.is_empty() {
        return None;
    }
    *candidates = left;
    tab.weighs(weights);
    Some(())
}

fn exceeded(tab: &Tab, index: usize, kind: Kind, decision: &Decision) -> NotAdmitted {
    let found = tab.bearings().get(index).zip(decision.standings.get(index));
    let Some((bearing, standing)) = found else {
        return NotCounted { retry_after: LOSS }.into();
    };
    let (budget, standing): (_, Standing) = (bearing.budget.clone(), *standing);
    let wanted = kind.of(bearing.amounts_of(tab.wanted()));
    Box::new(BudgetExceeded { budget, kind, standing, wanted }).into()
}

impl NotAdmitted {
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Limit(it) => it.headers(),
            Self::Exceeded(it) => it.headers(),
            Self::NotCounted(it) => it.headers(),
            Self::NotPriced(_) | Self::Stopped => Vec::new(),
        }
    }
}

impl Classified for NotAdmitted {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Limit(it) => it.kind(),
            Self::Exceeded(it) => it.kind(),
            Self::NotPriced(it) => it.kind(),
            Self::NotCounted(it) => it.kind(),
            Self::Stopped => FailureKind::Unauthenticated,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Limit(it) => it.code(),
            Self::Exceeded(it) => it.code(),
            Self::NotPriced(it) => it.code(),
            Self::NotCounted(it) => it.code(),
            Self::Stopped => code::INVALID_API_KEY,
        }
    }
}
