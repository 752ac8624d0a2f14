//! What a call would cost, told without making it: from the same code that lets calls
//! through.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    counters::{Amounts, Counter, Shard, State},
    ids::{OrganizationId, RequestId},
    money::Money,
    snapshot::Caps,
    usage::Usage,
};

use super::{
    Bearing, Tab, Weight,
    admission::{shorten, weigh},
    meter::Meter,
    refusal::what,
    weight::not_priced,
};
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

/// Nothing is held for it. It is weighed, and made shorter, as the call itself would be.
pub async fn quote(
    meter: &Arc<Meter>,
    ask: &Ask,
    mut candidates: Vec<Candidate>,
    (organization, bearings): (OrganizationId, Vec<Bearing>),
) -> Vec<u8> {
    let marks = ask.marks();
    let quoted: Vec<_> = candidates
        .iter()
        .map(|it| {
            let weight = Weight::of(ask, &marks, it);
            Quoted {
                model: it.model.name.clone(),
                provider: it.model.upstream.provider.clone(),
                not_usable: not_priced(ask, &marks, &weight, it),
                price: it.price.as_ref().and_then(|it| serde_json::to_value(&**it).ok()),
                most_input_tokens: weight.bound.input_tokens,
                most_output_tokens: weight.bound.output_tokens(),
                worst_case_usd: it.price.as_ref().map(|_| weight.cost.exact()),
                expected_usd: expected(ask, it).map(Money::exact),
            }
        })
        .collect();
    let mut tab = Tab::open(meter, RequestId::generate(), organization, bearings, ask);
    let is_usable = weigh(ask, &mut candidates, &mut tab).is_ok();
    let expected = candidates.first().filter(|_| is_usable).and_then(|it| expected(ask, it));
    let has_price = candidates.iter().any(|it| it.price.is_some());
    let worst = Some(Money::from_nanos(tab.wanted().money)).filter(|_| is_usable && has_price);
    let standings = standings(meter, organization, tab.bearings()).await;
    let bearings = tab.bearings().iter().enumerate();
    let told: Vec<_> = bearings
        .map(|(at, it)| {
            let standing = standings.as_ref().and_then(|all| all.get(at));
            budget(it, standing, it.amounts_of(tab.wanted()))
        })
        .collect();
    let is_counted = standings.is_some();
    let binds = standings.and_then(|all| binds(ask, &mut candidates, &mut tab, &all));
    let quote = json!({
        "object": "quote",
        "model": ask.model,
        "worst_case_usd": worst.map(Money::exact),
        "expected_usd": expected.map(Money::exact),
        "candidates": quoted,
        "is_counted": is_counted,
        "budgets": told,
        "binds": binds.filter(|_| is_usable),
    });
    serde_json::to_vec(&quote).unwrap_or_default()
}

/// Which hard budget the call would fill most, and whether it would be let through.
fn binds(
    ask: &Ask,
    candidates: &mut Vec<Candidate>,
    tab: &mut Tab,
    standings: &[Standing],
) -> Option<Value> {
    let (mut binds, mut least) = (None, i128::MAX);
    let mut is_enough = true;
    for (bearing, standing) in tab.bearings().iter().zip(standings) {
        let wanted = bearing.amounts_of(tab.wanted());
        for kind in Kind::ALL.into_iter().filter(|_| bearing.budget.is_hard) {
            let Some(room) = standing.room(kind) else { continue };
            is_enough &= kind.of(wanted) <= room;
            // How often the call fits in, in hundredths.
            let fits = i128::from(room) * 100 / i128::from(kind.of(wanted).max(1));
            if fits < least {
                (binds, least) = (Some((bearing.budget.id, kind, room)), fits);
            }
        }
    }
    let (budget, kind, room) = binds?;
    let mut clamped_to = None;
    if !is_enough && shorten(ask, candidates, tab, standings).is_some() {
        is_enough = true;
        clamped_to = candidates.iter().filter(|it| it.is_clamped).find_map(|it| it.most_output);
    }
    let mut told = json!({
        "budget": budget,
        "counts": what(kind),
        "is_enough": is_enough,
        "output_clamped_to": clamped_to,
    });
    match kind {
        Kind::Money => told["room_usd"] = Money::from_nanos(room).exact().into(),
        Kind::Requests | Kind::Tokens => told["room"] = room.into(),
    }
    Some(told)
}

/// All at once. `None` where nobody counts, and no hard budget lets anything through.
async fn standings(
    meter: &Meter,
    organization: OrganizationId,
    bearings: &[Bearing],
) -> Option<Vec<Standing>> {
    if bearings.is_empty() {
        return Some(Vec::new());
    }
    let (shard, places) = (Shard::of(organization), &meter.limiter.counters().places);
    let mut ask = redis::cmd("MGET");
    ask.arg(places.incarnation(shard));
    bearings.iter().for_each(|it| _ = ask.arg(places.budget(shard, it.budget.id)));
    let kept: Vec<Option<Vec<u8>>> = meter.limiter.ask(&ask).await?;
    let mut kept = kept.into_iter().map(Option::unwrap_or_default);
    let state = String::from_utf8(kept.next()?).ok()?;
    let is_warm = State::of_shard(&state, meter.clock().now_ms()) == State::Warm;
    let counted = bearings.iter().zip(kept).map(|(it, kept)| {
        let counter = Counter::read(&kept);
        let is_counted = !it.budget.is_hard || is_warm && counter.is_opened;
        is_counted.then(|| standing(meter, it, &counter))
    });
    counted.collect()
}

fn standing(meter: &Meter, bearing: &Bearing, counter: &Counter) -> Standing {
    let (budget, now_ms) = (&bearing.budget, meter.clock().now_ms());
    let [_, from_ms, until_ms, _] = meter.edges(budget).0;
    let window = counter.at(now_ms);
    let raise = budget.raise.filter(|it| now_ms < it.until_ms);
    let caps: Caps = raise.map_or(budget.caps, |it| it.caps);
    Standing {
        from_ms: window.map_or(from_ms, |it| it.from_ms),
        until_ms: window.map_or(until_ms, |it| it.until_ms),
        caps: Amounts {
            money: caps.money.map_or(-1, |it| it.nanos()),
            requests: caps.requests.unwrap_or(-1),
            tokens: caps.tokens.unwrap_or(-1),
        },
        spent: window.map_or_else(Amounts::default, |it| it.spent),
        held: window.map_or_else(Amounts::default, |it| it.held),
    }
}

fn budget(bearing: &Bearing, standing: Option<&Standing>, wanted: Amounts) -> Value {
    let budget = &bearing.budget;
    let room = |kind| standing.and_then(|it| it.room(kind));
    let usd = |nanos| Money::from_nanos(nanos).exact();
    json!({
        "budget": budget.id,
        "name": budget.name,
        "scope": budget.scope,
        "period": budget.period,
        "is_hard": budget.is_hard,
        "share_basis_points": bearing.share,
        "would_hold": { "usd": usd(wanted.money), "requests": wanted.requests,
                        "tokens": wanted.tokens },
        "room": { "usd": room(Kind::Money).map(usd), "requests": room(Kind::Requests),
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
