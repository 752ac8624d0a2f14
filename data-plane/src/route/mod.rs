//! Where a call goes: everything that may answer it, in the order to be tried.
//!
//! Always holds: no candidate is one that the caller may not use, whichever name led to
//! it; a policy leads to models and never to another policy, so that none goes in circles.

mod draw;

use std::sync::Arc;

use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::OrganizationId,
    snapshot::{Policy, Target},
};

pub use self::draw::Dice;
use crate::{
    ask::Ask,
    authenticate::Caller,
    catalog::{Candidate, Model, Snapshot, allows},
    nearest::nearest,
};

/// A call is tried at so many places at most.
const MOST_CANDIDATES: usize = 16;

/// A call and the places that may answer it.
#[derive(Debug)]
pub struct Plan {
    pub caller: Caller,
    pub ask: Ask,
    /// At least one.
    pub candidates: Vec<Candidate>,
    pub reason: Reason,
}

/// Why the first candidate is the first.
#[derive(Clone, Debug)]
pub enum Reason {
    /// It serves the model that was asked for.
    Asked,
    /// The name that was asked for is a policy's.
    Policy(Arc<Policy>),
}

impl Reason {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Policy(_) => "policy",
        }
    }

    pub fn policy(&self) -> Option<&Policy> {
        match self {
            Self::Asked => None,
            Self::Policy(policy) => Some(policy),
        }
    }
}

/// Prices are those of that moment.
pub fn route(
    snapshot: &Snapshot,
    caller: Caller,
    ask: Ask,
    now_ms: i64,
    dice: &mut dyn Dice,
) -> Result<Plan, NoRoute> {
    let mut candidates = Vec::new();
    let first = reach(snapshot, &caller, &ask.model, dice, &mut candidates);
    for name in &ask.fallbacks {
        // What cannot be had is passed over: it is a fallback.
        let _ = reach(snapshot, &caller, name, dice, &mut candidates);
    }
    let reason = match first {
        Ok(reason) => reason,
        Err(why) if candidates.is_empty() => return Err(why),
        Err(_) => Reason::Asked,
    };
    keep_the_first(&mut candidates);
    for it in &mut candidates {
        it.price = snapshot.price(caller.organization(), &it.model, now_ms).cloned();
    }
    Ok(Plan { caller, ask, candidates, reason })
}

/// Leaves so many as may be tried, in their order: of every model its first secret, before
/// the second of any, so that however many secrets one provider has, the others are reached.
fn keep_the_first(candidates: &mut Vec<Candidate>) {
    if candidates.len() <= MOST_CANDIDATES {
        return;
    }
    let mut ranks: Vec<(usize, usize)> = Vec::with_capacity(candidates.len());
    for (at, it) in candidates.iter().enumerate() {
        // Those of one model stand together.
        let before = at.checked_sub(1).and_then(|at| candidates.get(at));
        let is_next = before.is_some_and(|before| Arc::ptr_eq(&before.model, &it.model));
        let nth = ranks.last().filter(|_| is_next).map_or(0, |(nth, _)| nth + 1);
        ranks.push((nth, at));
    }
    ranks.sort_unstable();
    let kept: Vec<_> = ranks.into_iter().take(MOST_CANDIDATES).map(|(_, at)| at).collect();
    let mut at = 0..;
    candidates.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
}

/// Appends everything that may answer calls for `name`, and says why.
fn reach(
    snapshot: &Snapshot,
    caller: &Caller,
    name: &str,
    dice: &mut dyn Dice,
    candidates: &mut Vec<Candidate>,
) -> Result<Reason, NoRoute> {
    let Some(policy) = snapshot.policy(caller.organization(), name) else {
        let models = find(snapshot, caller, name)?;
        models.into_iter().for_each(|it| with_credentials(it, dice, candidates));
        return Ok(Reason::Asked);
    };
    led_to(snapshot, caller, policy)?;
    for tier in &policy.tiers {
        let order = draw::order(&tier.targets, |it| it.weight, dice);
        for target in usable(caller, policy, order) {
            at(snapshot, caller.organization(), target)
                .for_each(|it| with_credentials(it, dice, candidates));
        }
    }
    Ok(Reason::Policy(policy.clone()))
}

/// Where a policy's target is served.
fn at<'a>(
    snapshot: &'a Snapshot,
    organization: OrganizationId,
    target: &'a Target,
) -> impl Iterator<Item = &'a Arc<Model>> {
    let provider = target.provider.as_ref();
    snapshot
        .serving(organization, &target.model)
        .filter(move |it| provider.is_none_or(|provider| *provider == it.upstream.provider))
}

/// A model with each of its upstream's secrets, none twice.
fn with_credentials(model: &Arc<Model>, dice: &mut dyn Dice, candidates: &mut Vec<Candidate>) {
    let is_there = |it: &Candidate| Arc::ptr_eq(&it.model, model);
    if candidates.iter().any(is_there) {
        return;
    }
    for credential in draw::order(&model.upstream.credentials, |it| it.weight, dice) {
        candidates.push(Candidate::new(model.clone(), credential.clone(), None));
    }
}

fn unknown(snapshot: &Snapshot, caller: &Caller, name: &str) -> NoRoute {
    let organization = caller.organization();
    if snapshot.is_disabled(organization, name) && allows(&caller.key, name) {
        return NoRoute::Disabled { name: shown(name) };
    }
    let models = snapshot.models(organization).map(|it| it.name.as_str());
    let policies = snapshot.policies(organization).map(|it| it.name.as_str());
    let usable = models.chain(policies).filter(|it| allows(&caller.key, it));
    let meant = nearest(name, usable);
    NoRoute::Unknown { name: shown(name), meant: meant.map(str::to_owned) }
}

/// Where the model called `name` is served, if the caller may use it: one place at least.
pub fn find<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    name: &str,
) -> Result<Vec<&'a Arc<Model>>, NoRoute> {
    let models: Vec<_> = snapshot.serving(caller.organization(), name).collect();
    if models.is_empty() {
        Err(unknown(snapshot, caller, name))
    } else if allows(&caller.key, name) {
        Ok(models)
    } else {
        Err(NoRoute::NotAllowed { name: name.to_owned() })
    }
}

/// The models to which `policy` may lead the caller: one at least.
pub fn led_to<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    policy: &'a Policy,
) -> Result<Vec<&'a Arc<Model>>, NoRoute> {
    let targets = policy.tiers.iter().flat_map(|it| usable(caller, policy, &it.targets));
    let models: Vec<_> = targets.flat_map(|it| at(snapshot, caller.organization(), it)).collect();
    match models.is_empty() {
        false => Ok(models),
        true if allows(&caller.key, &policy.name) => {
            Err(NoRoute::Nowhere { name: policy.name.clone() })
        }
        true => Err(NoRoute::NotAllowed { name: policy.name.clone() }),
    }
}

/// A key that lists the policy may go wherever it leads; another only to what it lists.
fn usable<'a>(
    caller: &Caller,
    policy: &Policy,
    targets: impl IntoIterator<Item = &'a Target>,
) -> impl Iterator<Item = &'a Target> {
    let is_named = allows(&caller.key, &policy.name);
    targets.into_iter().filter(move |it| is_named || allows(&caller.key, &it.model))
}

/// As much of a name as an error message has room for.
fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("No model {name:?}.{}", did_you_mean(meant.as_deref()))]
    Unknown { name: String, meant: Option<String> },
    #[error(
        "Your organization has disabled the model {name:?}. GET /v1/models lists those there are."
    )]
    Disabled { name: String },
    #[error("Your key may not use the model {name:?}. GET /v1/models lists those that it may.")]
    NotAllowed { name: String },
    #[error("No model that {name:?} leads to is served at present. Ask an admin to look at it.")]
    Nowhere { name: String },
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(" GET /v1/models lists those there are.".to_owned(), |it| {
        format!(" Did you mean {it:?}?")
    })
}

impl Classified for NoRoute {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::Disabled { .. } => Kind::NotFound,
            Self::NotAllowed { .. } => Kind::Forbidden,
            Self::Nowhere { .. } => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } | Self::Disabled { .. } => code::MODEL_NOT_FOUND,
            Self::NotAllowed { .. } => code::MODEL_NOT_ALLOWED,
            Self::Nowhere { .. } => code::NO_ELIGIBLE_MODEL,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        vec![Problem { field: "model", message: self.to_string() }]
    }
}

#[cfg(test)]
mod tests;
