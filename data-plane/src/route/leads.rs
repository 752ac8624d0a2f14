//! Which models and policies a name is of, and which of them a key may use.

use std::sync::Arc;

use shared::{ids::OrganizationId, snapshot::Target};

use super::{
    Excluded, MOST_CANDIDATES, NoRoute, Why, everywhere,
    no_route::{MOST_ALTERNATIVES, shown},
};
use crate::{
    authenticate::Caller,
    catalog::{Model, Policy, Snapshot, allows},
    nearest::{likest, nearest},
};

/// Where a policy's target is served.
pub(super) fn at<'a>(
    snapshot: &'a Snapshot,
    organization: OrganizationId,
    target: &'a Target,
) -> impl Iterator<Item = &'a Arc<Model>> {
    let provider = target.provider.as_ref();
    snapshot
        .serving(organization, &target.model)
        .filter(move |it| provider.is_none_or(|provider| *provider == it.upstream.provider))
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
pub(super) fn not_allowed(snapshot: &Snapshot, caller: &Caller, name: &str) -> NoRoute {
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

/// The models to which `policy` may lead the caller, by whichever of its rules: one at least.
pub fn led_to<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    policy: &'a Policy,
) -> Result<Vec<&'a Arc<Model>>, NoRoute> {
    let mut models: Vec<&Arc<Model>> = Vec::new();
    for choice in policy.document.choices() {
        let targets = choice.tiers.iter().flat_map(|it| usable(caller, policy, &it.targets));
        models.extend(targets.flat_map(|it| at(snapshot, caller.organization(), it)));
        if choice.tiers.is_empty() && choice.strategy.compares() {
            let everywhere = everywhere(snapshot, caller, policy);
            models.extend(everywhere.into_iter().flat_map(|it| it.places));
        }
    }
    if !models.is_empty() {
        return Ok(models);
    }
    let all = || policy.document.choices().flat_map(|it| &it.tiers).flat_map(|it| &it.targets);
    if usable(caller, policy, all()).next().is_none() && !allows(&caller.key, &policy.name) {
        return Err(not_allowed(snapshot, caller, &policy.name));
    }
    let excluded = all().map(|it| Excluded {
        model: it.model.clone(),
        provider: it.provider.clone(),
        why: why_not(snapshot, caller, policy, it),
    });
    let (name, version) = (policy.name.clone(), Some(policy.version));
    Err(NoRoute::Nowhere { name, version, excluded: excluded.take(MOST_CANDIDATES).collect() })
}

/// Why a policy's target answers nobody.
pub(super) fn why_not(
    snapshot: &Snapshot,
    caller: &Caller,
    policy: &Policy,
    target: &Target,
) -> Why {
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
pub(super) fn usable<'a>(
    caller: &Caller,
    policy: &Policy,
    targets: impl IntoIterator<Item = &'a Target>,
) -> impl Iterator<Item = &'a Target> {
    let is_named = allows(&caller.key, &policy.name);
    targets.into_iter().filter(move |it| is_named || allows(&caller.key, &it.model))
}
