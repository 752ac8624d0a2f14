//! What budgets are on, as forms say it, and what can be chosen.

use shared::snapshot::BudgetScope;

use super::BudgetError;
use crate::access::{Grant, Permission, Work};

/// As forms and addresses say it: `project:prj_…`, or `organization`.
pub fn written(scope: BudgetScope) -> String {
    match scope {
        BudgetScope::Organization => "organization".to_owned(),
        BudgetScope::Team(id) => format!("team:{id}"),
        BudgetScope::Project(id) => format!("project:{id}"),
        BudgetScope::Key(id) => format!("key:{id}"),
        BudgetScope::CostCenter(id) => format!("cost_center:{id}"),
    }
}

/// As [`written`] writes it.
pub fn read(text: &str) -> Option<BudgetScope> {
    if text == "organization" {
        return Some(BudgetScope::Organization);
    }
    let (kind, id) = text.split_once(':')?;
    match kind {
        "team" => id.parse().ok().map(BudgetScope::Team),
        "project" => id.parse().ok().map(BudgetScope::Project),
        "key" => id.parse().ok().map(BudgetScope::Key),
        "cost_center" => id.parse().ok().map(BudgetScope::CostCenter),
        _ => None,
    }
}

/// What kind of thing it is, in words.
pub const fn title(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Organization => "Organization",
        BudgetScope::Team(_) => "Team",
        BudgetScope::Project(_) => "Project",
        BudgetScope::Key(_) => "API key",
        BudgetScope::CostCenter(_) => "Cost center",
    }
}

/// Where the thing is shown, within the organization.
pub fn place(scope: BudgetScope) -> Option<String> {
    match scope {
        BudgetScope::Organization => None,
        BudgetScope::Team(id) => Some(format!("/teams/{id}")),
        BudgetScope::Project(id) => Some(format!("/projects/{id}")),
        BudgetScope::Key(id) => Some(format!("/keys/{id}")),
        BudgetScope::CostCenter(id) => Some(format!("/cost-centers/{id}")),
    }
}

/// Refuses what is not the organization's.
pub(super) async fn check(work: &mut Work, scope: BudgetScope) -> Result<(), BudgetError> {
    let organization = work.organization;
    let exists = super::store::exists(work, organization, scope).await?;
    if exists { Ok(()) } else { Err(BudgetError::NoScope) }
}

/// What can be chosen, with its name: of things of one kind.
pub struct Group {
    pub title: &'static str,
    pub choices: Vec<(String, String)>,
}

/// Everything that a budget can be on and that whoever asks may see: of each kind the first
/// two hundred.
pub(super) async fn choices<P>(
    grant: &Grant<P>,
    work: &mut Work,
) -> Result<Vec<Group>, BudgetError> {
    let part = |scope: BudgetScope, name: &str| (written(scope), name.to_owned());
    let everything = (written(BudgetScope::Organization), grant.membership.name.clone());
    let mut groups = vec![Group { title: "Organization", choices: vec![everything] }];
    let organization = work.organization;
    let all = super::store::scopes(work, organization).await?;
    for (title, wanted) in [
        ("Teams", "team"),
        ("Projects", "project"),
        ("API keys", "key"),
        ("Cost centers", "cost_center"),
    ] {
        if wanted == "key" && !grant.may(Permission::ViewKeys) {
            continue;
        }
        let of_kind = all.iter().filter(|(scope, _)| scope.name() == wanted);
        let choices: Vec<_> = of_kind.map(|(scope, name)| part(*scope, name)).collect();
        if !choices.is_empty() {
            groups.push(Group { title, choices });
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use shared::ids::{ApiKeyId, CostCenterId, ProjectId, TeamId};

    use super::*;

    #[test]
    fn a_scope_survives_a_form() {
        for scope in [
            BudgetScope::Organization,
            BudgetScope::Team(TeamId::generate()),
            BudgetScope::Project(ProjectId::generate()),
            BudgetScope::Key(ApiKeyId::generate()),
            BudgetScope::CostCenter(CostCenterId::generate()),
        ] {
            assert_eq!(read(&written(scope)), Some(scope));
        }
        let project = ProjectId::generate();
        assert_eq!(read(&format!("team:{project}")), None);
        assert_eq!(read(""), None);
    }
}
