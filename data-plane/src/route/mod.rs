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
}

pub fn route(
    snapshot: &Snapshot,
    caller: Caller,
    ask: Ask,
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
    candidates.truncate(MOST_CANDIDATES);
    Ok(Plan { caller, ask, candidates, reason })
}

/// Appends everything that may answer calls for `name`, and says why.
fn reach(
    snapshot: &Snapshot,
    caller: &Caller,
    name: &str,
    dice: &mut dyn Dice,
    candidates: &mut Vec<Candidate>,
) -> Result<Reason, NoRoute> {
    let organization = caller.organization();
    let before = candidates.len();
    let Some(policy) = snapshot.policy(organization, name) else {
        let models: Vec<_> = snapshot.serving(organization, name).collect();
        if models.is_empty() {
            return Err(unknown(snapshot, caller, name));
        }
        if !allows(&caller.key, name) {
            return Err(NoRoute::NotAllowed { name: name.to_owned() });
        }
        models.into_iter().for_each(|it| with_credentials(it, dice, candidates));
        return Ok(Reason::Asked);
    };
    let is_named = allows(&caller.key, name);
    for tier in &policy.tiers {
        let order = draw::order(&tier.targets, |it| it.weight, dice);
        for target in order.into_iter().filter(|it| is_named || allows(&caller.key, &it.model)) {
            at(snapshot, organization, target)
                .for_each(|it| with_credentials(it, dice, candidates));
        }
    }
    match candidates.len() > before {
        true => Ok(Reason::Policy(policy.clone())),
        false if is_named => Err(NoRoute::Nowhere { name: name.to_owned() }),
        false => Err(NoRoute::NotAllowed { name: name.to_owned() }),
    }
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
        candidates.push(Candidate { model: model.clone(), credential: credential.clone() });
    }
}

fn unknown(snapshot: &Snapshot, caller: &Caller, name: &str) -> NoRoute {
    let organization = caller.organization();
    let models = snapshot.models(organization).map(|it| it.name.as_str());
    let policies = snapshot.policies(organization).map(|it| it.name.as_str());
    let usable = models.chain(policies).filter(|it| allows(&caller.key, it));
    let meant = nearest(name, usable);
    NoRoute::Unknown { name: shown(name), meant: meant.map(str::to_owned) }
}

/// The model called `name`, if there is one that the caller may use.
pub fn find<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    name: &str,
) -> Result<&'a Arc<Model>, NoRoute> {
    let Some(model) = snapshot.serving(caller.organization(), name).next() else {
        return Err(unknown(snapshot, caller, name));
    };
    if allows(&caller.key, name) {
        Ok(model)
    } else {
        Err(NoRoute::NotAllowed { name: name.to_owned() })
    }
}

/// As much of a name as an error message has room for.
fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("No model {name:?}.{}", did_you_mean(meant.as_deref()))]
    Unknown { name: String, meant: Option<String> },
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
            Self::Unknown { .. } => Kind::NotFound,
            Self::NotAllowed { .. } => Kind::Forbidden,
            Self::Nowhere { .. } => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => code::MODEL_NOT_FOUND,
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
