//! Where a call goes: everything that may answer it, in the order to be tried.
//!
//! Always holds: no candidate is one that the caller may not use, whichever name led to
//! it; a policy leads to models and never to another policy, so that none goes in circles.

mod draw;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{ApiKeyId, OrganizationId},
    snapshot::{Policy, Target},
};

pub use self::draw::Dice;
use crate::{
    ask::Ask,
    authenticate::Caller,
    catalog::{Candidate, Model, Snapshot, allows},
    nearest::{likest, nearest},
};

/// So many models are named that might do instead.
const MOST_ALTERNATIVES: usize = 5;
/// So many candidates are told of in words.
const MOST_TOLD: usize = 5;

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
    for tier in &policy.document.otherwise.tiers {
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
    if snapshot.is_shut(organization, name) && allows(&caller.key, name) {
        return NoRoute::Shut { name: shown(name) };
    }
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
        Err(not_allowed(snapshot, caller, name))
    }
}

/// With what the key may use instead, of which it has a list, or it would be allowed everything.
fn not_allowed(snapshot: &Snapshot, caller: &Caller, name: &str) -> NoRoute {
    let organization = caller.organization();
    let is_there = |it: &&str| match snapshot.policy(organization, it) {
        Some(policy) => led_to(snapshot, caller, policy).is_ok(),
        None => snapshot.serving(organization, it).next().is_some(),
    };
    let listed = caller.key.allowed_models.iter().flatten().map(String::as_str);
    let listed = listed.filter(|it| *it != name).filter(is_there);
    let likest = likest(name, listed, MOST_ALTERNATIVES);
    let alternatives = likest.into_iter().map(str::to_owned).collect();
    NoRoute::NotAllowed { name: shown(name), alternatives, key: caller.key.id }
}

/// The models to which `policy` may lead the caller: one at least.
pub fn led_to<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    policy: &'a Policy,
) -> Result<Vec<&'a Arc<Model>>, NoRoute> {
    let targets =
        policy.document.otherwise.tiers.iter().flat_map(|it| usable(caller, policy, &it.targets));
    let models: Vec<_> = targets.flat_map(|it| at(snapshot, caller.organization(), it)).collect();
    if !models.is_empty() {
        return Ok(models);
    }
    let all = || policy.document.otherwise.tiers.iter().flat_map(|it| &it.targets);
    if usable(caller, policy, all()).next().is_none() && !allows(&caller.key, &policy.name) {
        return Err(not_allowed(snapshot, caller, &policy.name));
    }
    let excluded = all().map(|it| Excluded {
        model: it.model.clone(),
        provider: it.provider.clone(),
        why: why_not(snapshot, caller, policy, it),
    });
    let (name, version) = (policy.name.clone(), policy.version);
    Err(NoRoute::Nowhere { name, version, excluded: excluded.take(MOST_CANDIDATES).collect() })
}

/// Why a policy's target answers nobody.
fn why_not(snapshot: &Snapshot, caller: &Caller, policy: &Policy, target: &Target) -> Why {
    let (organization, model) = (caller.organization(), target.model.as_str());
    if usable(caller, policy, [target]).next().is_none() {
        Why::NotAllowed
    } else if snapshot.is_shut(organization, model) {
        Why::Shut
    } else if snapshot.is_disabled(organization, model) {
        Why::Disabled
    } else if snapshot.serving(organization, model).next().is_some() {
        Why::NotThere
    } else {
        Why::NotServed
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
    #[error(
        "Your organization's own provider of {name:?} cannot be called, and no other is asked \
         instead. Ask an admin of your organization to look at the provider."
    )]
    Shut { name: String },
    #[error("Your key may not use the model {name:?}. {}", instead(alternatives))]
    NotAllowed { name: String, alternatives: Vec<String>, key: ApiKeyId },
    #[error(
        "No model that {name:?} leads to can take the call: {}. Ask an admin of your organization \
         to look at the policy.",
        reasons(excluded)
    )]
    Nowhere { name: String, version: u32, excluded: Vec<Excluded> },
}

/// A model to which a policy leads, and why it is out of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    pub model: String,
    pub provider: Option<String>,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The key may not use it.
    NotAllowed,
    /// Its organization does not want it.
    Disabled,
    /// The organization has a provider of its own for it, which cannot be called.
    Shut,
    /// It is served, but not at the provider that the policy names.
    NotThere,
    NotServed,
}

impl Why {
    const fn about(self) -> &'static str {
        match self {
            Self::NotAllowed => "your key may not use it",
            Self::Disabled => "your organization has disabled it",
            Self::Shut => "your own provider of it cannot be called",
            Self::NotThere => "that provider does not serve it",
            Self::NotServed => "nobody serves it at present",
        }
    }
}

/// `It may use "a", "b" or "c".`
fn instead(alternatives: &[String]) -> String {
    let quoted: Vec<_> = alternatives.iter().map(|it| format!("{it:?}")).collect();
    match quoted.split_last() {
        None => "None that it may use is served at present.".to_owned(),
        Some((only, [])) => format!("It may use {only}."),
        Some((last, others)) if alternatives.len() < MOST_ALTERNATIVES => {
            format!("It may use {} or {last}.", others.join(", "))
        }
        Some(_) => format!("It may use {}: GET /v1/models lists all.", quoted.join(", ")),
    }
}

/// `"a" (nobody serves it at present), "b" at openai (that provider does not serve it)`
fn reasons(excluded: &[Excluded]) -> String {
    let told = |it: &Excluded| {
        let at = it.provider.as_ref().map(|it| format!(" at {it}")).unwrap_or_default();
        format!("{:?}{at} ({})", it.model, it.why.about())
    };
    let mut told: Vec<_> = excluded.iter().take(MOST_TOLD).map(told).collect();
    match excluded.len() {
        0 => told.push("it leads to none".to_owned()),
        all if all > MOST_TOLD => told.push(format!("and {} more", all - MOST_TOLD)),
        _ => (),
    }
    told.join(", ")
}

impl NoRoute {
    /// The key whose list of models is at fault.
    pub fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::NotAllowed { key, .. } => Some(*key),
            Self::Unknown { .. }
            | Self::Disabled { .. }
            | Self::Shut { .. }
            | Self::Nowhere { .. } => None,
        }
    }

    /// The same for programs, where there is more to say.
    pub fn details(&self) -> Option<Value> {
        match self {
            Self::NotAllowed { alternatives, key, .. } => {
                Some(json!({ "alternatives": alternatives, "key": key }))
            }
            Self::Nowhere { name, version, excluded } => {
                Some(json!({ "policy": format!("{name}@{version}"), "candidates": excluded }))
            }
            Self::Unknown { meant, .. } => meant.as_ref().map(|it| json!({ "alternatives": [it] })),
            Self::Disabled { .. } | Self::Shut { .. } => None,
        }
    }
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
            Self::Nowhere { .. } | Self::Shut { .. } => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } | Self::Disabled { .. } => code::MODEL_NOT_FOUND,
            Self::NotAllowed { .. } => code::MODEL_NOT_ALLOWED,
            Self::Nowhere { .. } | Self::Shut { .. } => code::NO_ELIGIBLE_MODEL,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        vec![Problem { field: "model", message: self.to_string() }]
    }
}

#[cfg(test)]
mod tests;
