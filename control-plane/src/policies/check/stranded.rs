//! Which keys a document would leave without a model.

use std::fmt;

use serde::Serialize;
use shared::{
    ids::ApiKeyId,
    snapshot::{Choice, Document},
};

use super::Known;
use crate::keys::Restricted;

/// A key whose calls would have nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StrandedKey {
    pub key: ApiKeyId,
    pub name: String,
    pub project: String,
    /// The rule whose calls those are; none for what is chosen otherwise, or for all of them.
    pub rule: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stranded(pub Vec<StrandedKey>);

/// A policy as callers see it: a name, and where it leads.
#[derive(Clone, Copy)]
pub struct Led<'a> {
    pub name: &'a str,
    pub document: &'a Document,
}

/// The keys that `before` led somewhere and for which `after` has a choice of nothing. A key that
/// lists the policy goes wherever that leads, and another only to what it lists.
pub fn stranded(keys: &[Restricted], before: Led<'_>, after: Led<'_>, known: &Known) -> Stranded {
    let mut all = Vec::new();
    for key in keys {
        let had_all =
            choices(before.document).all(|(_, choice)| may_go(key, before.name, choice, known));
        if !had_all {
            continue;
        }
        let lost =
            choices(after.document).find(|(_, choice)| !may_go(key, after.name, choice, known));
        if let Some((rule, _)) = lost {
            all.push(StrandedKey {
                key: key.id,
                name: key.name.clone(),
                project: key.project.clone(),
                rule: rule.map(str::to_owned),
            });
        }
    }
    Stranded(all)
}

fn choices(document: &Document) -> impl Iterator<Item = (Option<&str>, &Choice)> {
    let rules = document.rules.iter().map(|it| (Some(it.name.as_str()), &it.choose));
    rules.chain([(None, &document.otherwise)])
}

fn may_go(key: &Restricted, policy: &str, choice: &Choice, known: &Known) -> bool {
    key.models.iter().any(|it| it == policy)
        || known.eligible(choice).iter().any(|it| key.models.contains(&it.model.name))
}

impl Stranded {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn projects(&self) -> Vec<&str> {
        let mut projects: Vec<_> = self.0.iter().map(|it| it.project.as_str()).collect();
        projects.sort_unstable();
        projects.dedup();
        projects
    }
}

const MOST_TOLD: usize = 5;

impl fmt::Display for Stranded {
    /// `2 keys of the projects "a" and "b" would have no model left: ci, web`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |all: Vec<&str>| {
            let told: Vec<_> = all.iter().take(MOST_TOLD).map(|it| format!("{it:?}")).collect();
            told.join(", ")
        };
        let names = self.0.iter().map(|it| it.name.as_str()).collect();
        let projects = self.projects();
        let (key, project) = (
            if self.0.len() == 1 { "key" } else { "keys" },
            if projects.len() == 1 { "project" } else { "projects" },
        );
        write!(
            f,
            "{} {key} of the {project} {} would have no model left: {}",
            self.0.len(),
            quoted(projects),
            quoted(names),
        )
    }
}
