//! What calls go by that do not say so, and what they have to keep to, as their key, their project
//! or their organization says.

use shared::snapshot::Routing;

use super::{Asked, NoRoute};
use crate::{
    ask::DEFAULT,
    authenticate::Caller,
    catalog::{Policy, Snapshot},
};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Key,
    Project,
    Organization,
}

impl Whose {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Project => "project",
            Self::Organization => "organization",
        }
    }
}

/// The nearest first.
fn levels<'a>(snapshot: &'a Snapshot, caller: &'a Caller) -> [(Whose, Option<&'a Routing>); 3] {
    let key = &caller.key;
    [
        (Whose::Key, Some(&key.routing)),
        (Whose::Project, snapshot.project(key.project).map(|it| &it.routing)),
        (Whose::Organization, snapshot.organization_routing(key.organization)),
    ]
}

/// The name that a call asks for, and whose default it is where the call names none. A policy or
/// a model that is called `default` is what it is.
pub fn asked<'a>(
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    asked: &'a dyn Asked,
) -> Result<(&'a str, Option<Whose>), NoRoute> {
    let organization = caller.organization();
    let is_somebodys = || {
        snapshot.policy(organization, DEFAULT).is_some()
            || snapshot.serving(organization, DEFAULT).next().is_some()
    };
    let model = &asked.outline().model;
    if model != DEFAULT || asked.names_a_model() && is_somebodys() {
        return Ok((model, None));
    }
    let said = levels(snapshot, caller).into_iter().find_map(|(whose, it)| {
        let default = it?.default_model.as_deref()?;
        Some((default, Some(whose)))
    });
    match said {
        Some(said) => Ok(said),
        None if asked.names_a_model() => Ok((model, None)),
        None => Err(NoRoute::NoModel),
    }
}

/// The policies that narrow every call of the caller's, each once. One that is not here may forbid
/// anything, so without it nothing is called.
pub fn demanded<'a>(
    snapshot: &'a Snapshot,
    caller: &'a Caller,
) -> impl Iterator<Item = Result<&'a Policy, NoRoute>> {
    let levels = levels(snapshot, caller);
    let said = levels.map(|(whose, it)| Some((whose, it?.policy?)));
    let is_first = move |at: usize| {
        let before = said.get(..at).unwrap_or_default().iter().flatten();
        let this = said.get(at).copied().flatten();
        !before.into_iter().any(|it| this.is_some_and(|this| this.1 == it.1))
    };
    let each = said.into_iter().enumerate().filter_map(move |(at, it)| it.filter(|_| is_first(at)));
    each.map(move |(whose, id)| {
        let policy = snapshot.policy_of(caller.organization(), id);
        policy.map(AsRef::as_ref).ok_or(NoRoute::NotToBeKept { whose })
    })
}
