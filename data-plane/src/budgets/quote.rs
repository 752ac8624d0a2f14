//! What a call would cost, told without making it: from the same code that lets calls
//! through.

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    counters::{Amounts, Counter},
    money::Money,
    snapshot::Caps,
    usage::Usage,
};

use super::{Bearing, Weight, meter::Meter, refusal::what, weight::not_priced};
use crate::{
    ask::Ask,
    catalog::Candidate,
    limits::{Kind, Standing},
};

/// What the call would cost at one place. Dollars have nine decimals.
#[derive(Serialize)]
struct Quoted {
    model: String,
    provider: String,
    /// Why it could not be used where a hard budget has to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_usable: Option<&'static str>,
    price: Option<Value>,
    most_input_tokens: u64,
    most_output_tokens: u64,
    worst_case_usd: Option<String>,
    expected_usd: Option<String>,
}

/// Nothing is held for it.
pub async fn quote(meter: &Meter, ask: &Ask, to: &[Candidate], bearings: &[Bearing]) -> Vec<u8> {
    let marks = ask.marks();
    let weights: Vec<_> = to.iter().map(|it| Weight::of(ask, &marks, it)).collect();
    let usable = to.iter().zip(&weights).filter(|(it, _)| it.price.is_some());
    let worst = usable.map(|(_, it)| it.cost).max();
    let expected = to.first().and_then(|it| expected(ask, it));
    let mut whole = Amounts { requests: 1, ..Amounts::default() };
    for weight in &weights {
        let amounts = weight.amounts();
        whole.money = whole.money.max(amounts.money);
        whole.tokens = whole.tokens.max(amounts.tokens);
    }
    let candidates: Vec<_> = to
        .iter()
        .zip(&weights)
        .map(|(it, weight)| Quoted {
            model: it.model.name.clone(),
            provider: it.model.upstream.provider.clone(),
            not_usable: not_priced(&marks, weight, it),
            price: it.price.as_ref().and_then(|it| serde_json::to_value(&**it).ok()),
            most_input_tokens: weight.bound.input_tokens,
            most_output_tokens: weight.bound.output_tokens(),
            worst_case_usd: it.price.as_ref().map(|_| weight.cost.exact()),
            expected_usd: expected_of(ask, it),
        })
        .collect();
    let mut budgets = Vec::with_capacity(bearings.len());
    let (mut binds, mut least) = (None, i128::MAX);
    for bearing in bearings {
        let standing = standing(meter, bearing).await;
        let wanted = bearing.amounts_of(whole);
        if bearing.budget.is_hard
            && let Some(standing) = &standing
        {
            for kind in Kind::ALL {
                let Some(room) = standing.room(kind) else { continue };
                // How often the call fits in, in hundredths.
                let fits = i128::from(room) * 100 / i128::from(kind.of(wanted).max(1));
                if fits < least {
                    (binds, least) = (Some((bearing.budget.id, kind, room)), fits);
                }
            }
        }
        budgets.push(told(bearing, standing.as_ref(), wanted));
    }
    let quote = json!({
        "object": "quote",
        "model": ask.model,
        "worst_case_usd": worst.map(Money::exact),
        "expected_usd": expected.map(Money::exact),
        "candidates": candidates,
        "budgets": budgets,
        "binds": binds.map(|(budget, kind, room)| json!({
            "budget": budget, "counts": what(kind), "room": room,
            "is_enough": least >= 100,
        })),
    });
    serde_json::to_vec(&quote).unwrap_or_default()
}

/// `None` where Redis does not say.
async fn standing(meter: &Meter, bearing: &Bearing) -> Option<Standing> {
    let (budget, counters) = (&bearing.budget, meter.limiter.counters());
    let shard = shared::counters::Shard::of(budget.organization);
    let kept: Vec<u8> = meter.limiter.ask(&counters.budget(shard, budget.id)).await?;
    let (counter, now_ms) = (Counter::read(&kept), meter.clock().now_ms());
    let edges = meter.edges(budget);
    let [_, from_ms, until_ms, _] = edges.0;
    let window = counter.at(now_ms);
    let raise = budget.raise.filter(|it| now_ms < it.until_ms);
    let caps: Caps = raise.map_or(budget.caps, |it| it.caps);
    Some(Standing {
        from_ms: window.map_or(from_ms, |it| it.from_ms),
        until_ms: window.map_or(until_ms, |it| it.until_ms),
        caps: Amounts {
            money: caps.money.map_or(-1, |it| it.nanos()),
            requests: caps.requests.unwrap_or(-1),
            tokens: caps.tokens.unwrap_or(-1),
        },
        spent: window.map_or_else(Amounts::default, |it| it.spent),
        held: window.map_or_else(Amounts::default, |it| it.held),
    })
}

fn told(bearing: &Bearing, standing: Option<&Standing>, wanted: Amounts) -> Value {
    let budget = &bearing.budget;
    let room = |kind| standing.and_then(|it| it.room(kind));
    json!({
        "budget": budget.id,
        "name": budget.name,
        "scope": budget.scope,
        "period": budget.period,
        "is_hard": budget.is_hard,
        "share_basis_points": bearing.share,
        "would_hold": wanted,
        "room": { "money": room(Kind::Money), "requests": room(Kind::Requests),
                  "tokens": room(Kind::Tokens) },
    })
}

fn expected(ask: &Ask, at: &Candidate) -> Option<Money> {
    let usage = Usage {
        input: ask.estimated_input(),
        output: ask.estimated_output(Some(at.model.max_output_tokens.into())),
        ..Usage::default()
    };
    let price = at.price.as_ref()?;
    Some(price.price.cost(&usage, None).to_money())
}

fn expected_of(ask: &Ask, at: &Candidate) -> Option<String> {
    expected(ask, at).map(Money::exact)
}
