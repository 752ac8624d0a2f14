//! What is the platform's leads everybody's calls: whom another document of it would leave without
//! a model, and what it would have made of their last calls.
//!
//! Always holds: of organizations operators are told the name, and of what is in them only ids and
//! numbers; nothing is changed there.

use std::fmt;

use serde::Serialize;
use shared::{
    ids::{ApiKeyId, OrganizationId},
    snapshot::Document,
};

use super::{Policy, PolicyError, PolicyName, check, known, store};
use crate::{
    access::{self, Work},
    audit, keys,
};

/// So many organizations with keys that list models are looked at.
const MOST_LOOKED_AT: usize = 500;
/// So many organizations, and keys of each, are named.
const MOST_NAMED: usize = 5;

/// An organization with keys whose calls would have nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StrandedTenant {
    pub organization: OrganizationId,
    pub name: String,
    /// How many projects those keys are of.
    pub projects: usize,
    pub keys: Vec<ApiKeyId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StrandedTenants {
    pub tenants: Vec<StrandedTenant>,
    /// Whether there were more organizations than were looked at.
    pub is_cut: bool,
}

/// Has `work` see the rows of an organization, or the platform's own again.
pub(super) async fn turn(work: &mut Work, organization: OrganizationId) -> Result<(), sqlx::Error> {
    let person = work.actor.person();
    access::scope(work, Some(organization), person).await?;
    work.organization = organization;
    Ok(())
}

/// The keys that a document would leave without a model, of those that have one now: in each
/// organization by the models that are served there.
pub async fn stranded(
    work: &mut Work,
    before: &Policy,
    name: &PolicyName,
    document: &Document,
) -> Result<StrandedTenants, PolicyError> {
    let was = check::Led { name: &before.name, document: &before.document };
    let is = check::Led { name: &name.0, document };
    let led = store::organizations_led(work, &before.name, MOST_LOOKED_AT + 1).await?;
    let is_cut = led.len() > MOST_LOOKED_AT;
    let mut tenants = Vec::new();
    for (organization, name) in led.into_iter().take(MOST_LOOKED_AT) {
        turn(work, organization).await?;
        let keys = keys::restricted(work).await?;
        let lost = check::stranded(&keys, was, is, &known(work).await?);
        if !lost.is_empty() {
            let keys = lost.0.iter().map(|it| it.key).collect();
            let projects = lost.projects().len();
            tenants.push(StrandedTenant { organization, name, projects, keys });
        }
    }
    turn(work, audit::PLATFORM).await?;
    Ok(StrandedTenants { tenants, is_cut })
}

impl StrandedTenants {
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

impl fmt::Display for StrandedTenants {
    /// `3 keys of 2 projects in 2 organizations would have no model left: Acme (key_…, key_…) …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let sum = |of: fn(&StrandedTenant) -> usize| self.tenants.iter().map(of).sum();
        write!(
            f,
            "{} of {} in {} would have no model left: ",
            several(sum(|it| it.keys.len()), "key"),
            several(sum(|it| it.projects), "project"),
            several(self.tenants.len(), "organization"),
        )?;
        let named = self.tenants.iter().take(MOST_NAMED).map(|it| {
            let keys = it.keys.iter().take(MOST_NAMED).map(ToString::to_string);
            let keys: Vec<_> = keys.collect();
            let more = if it.keys.len() > MOST_NAMED { ", …" } else { "" };
            format!("{} ({}{more})", it.name, keys.join(", "))
        });
        f.write_str(&named.collect::<Vec<_>>().join(", "))?;
        if self.tenants.len() > MOST_NAMED {
            f.write_str(", …")?;
        }
        if self.is_cut {
            write!(f, "; {MOST_LOOKED_AT} organizations were looked at, and there are more")?;
        }
        Ok(())
    }
}
