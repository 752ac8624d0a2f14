//! The pages of routing policies.

mod rows;

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{failure::Classified, ids::PolicyId, snapshot::Tier};

use self::rows::{PolicyForm, Row};
use super::{Policy, PolicyError, archive, commit, known, restore, roll_back, versions};
use crate::{
    access::{Doors, Grant, Permission, may},
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Search, Section, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/policies", list);
    doors.get("/orgs/{org}/policies/new", new);
    doors.post("/orgs/{org}/policies", create);
    doors.get("/orgs/{org}/policies/{policy}", show);
    doors.get("/orgs/{org}/policies/{policy}/edit", edit);
    doors.post("/orgs/{org}/policies/{policy}", change);
    doors.post("/orgs/{org}/policies/{policy}/roll-back", go_back);
    doors.post("/orgs/{org}/policies/{policy}/archive", put_away);
    doors.post("/orgs/{org}/policies/{policy}/restore", bring_back);
}

#[derive(Template)]
#[template(path = "policies/list.html")]
struct PoliciesPage {
    frame: Frame,
    ours: Vec<Line>,
    platforms: Vec<Line>,
}

#[derive(Template)]
#[template(path = "policies/show.html")]
struct PolicyPage {
    frame: Frame,
    line: Line,
    tiers: Vec<TierView>,
    versions: Vec<VersionLine>,
    /// Whether a model has the policy's name, which callers then no longer reach by it.
    hides_model: bool,
    may_change: bool,
}

#[derive(Template)]
#[template(path = "policies/form.html")]
struct PolicyFormPage {
    frame: Frame,
    /// None for a new policy.
    policy: Option<Policy>,
    form: PolicyForm,
    rows: Vec<Row>,
    models: Vec<String>,
    providers: Vec<String>,
    problems: Problems,
}

/// A policy as the pages show it.
struct Line {
    policy: Policy,
    sentence: String,
    changed: Moment,
}

impl Line {
    fn of(policy: Policy, zone: &str) -> Self {
        let changed = Moment::new(policy.changed_at, zone);
        Self { sentence: sentence(&policy.tiers), policy, changed }
    }
}

struct VersionLine {
    version: i32,
    sentence: String,
    note: String,
    by: String,
    created: Moment,
    is_current: bool,
}

struct TierView {
    targets: Vec<TargetView>,
}

struct TargetView {
    model: String,
    provider: String,
    weight: u16,
    /// Its share of the tier's calls, in percent.
    share: u32,
    /// Whether anybody serves it at present.
    is_served: bool,
}

/// Where a policy leads, in words: `sim-small 80 %, sim-large 20 %; then sim-slow`.
fn sentence(tiers: &[Tier]) -> String {
    let tier = |tier: &Tier| {
        let targets: Vec<_> = match tier.targets.as_slice() {
            [only] => vec![only.model.clone()],
            several => several
                .iter()
                .map(|it| format!("{} {} %", it.model, share(it.weight, several)))
                .collect(),
        };
        targets.join(", ")
    };
    tiers.iter().map(tier).collect::<Vec<_>>().join("; then ")
}

fn share(weight: u16, targets: &[shared::snapshot::Target]) -> u32 {
    let total: u32 = targets.iter().map(|it| u32::from(it.weight)).sum();
    // To the nearest whole percent.
    (u32::from(weight) * 200 + total).checked_div(total * 2).unwrap_or(0)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuery {
    /// The model that the new policy leads to.
    #[serde(default)]
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBackForm {
    #[serde(default)]
    version: i32,
}

async fn list(grant: Grant<may::ViewCatalogue>) -> Result<Page<PoliciesPage>, Failure> {
    let mut work = grant.begin().await?;
    let all = super::list(&mut work).await?;
    let lines = all.into_iter().map(|it| Line::of(it, grant.zone()));
    let (platforms, ours) = lines.partition(|it| it.policy.is_platforms);
    Ok(Page(PoliciesPage { frame: grant.frame(Section::Policies), ours, platforms }))
}

async fn new(
    grant: Grant<may::ManagePolicies>,
    query: Search<NewQuery>,
) -> Result<Page<PolicyFormPage>, Failure> {
    let form = PolicyForm::leading_to(&query.model);
    Ok(Page(form_page(&grant, None, form, None, Problems::none()).await?))
}

async fn create(
    grant: Grant<may::ManagePolicies>,
    form: Form<PolicyForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = match form.draft() {
        Ok(draft) => Ok(super::create(&mut work, &draft).await),
        Err(problems) => Err(problems),
    };
    match outcome {
        Ok(Ok(policy)) => {
            commit(&grant, work).await?;
            Ok(back(&grant, policy, "Policy created"))
        }
        Ok(Err(error)) => {
            drop(work);
            refused(&grant, None, form.0, error).await
        }
        Err(problems) => {
            drop(work);
            Ok(Page(form_page(&grant, None, form.0, None, problems).await?).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Page<PolicyPage>, Failure> {
    let mut work = grant.begin().await?;
    let policy = super::find(&mut work, policy_in(&path.1)?).await?;
    let versions = versions(&mut work, policy.id).await?;
    let known = known(&mut work).await?;
    let tier = |tier: &Tier| TierView {
        targets: tier
            .targets
            .iter()
            .map(|it| TargetView {
                model: it.model.clone(),
                provider: it.provider.clone().unwrap_or_default(),
                weight: it.weight,
                share: share(it.weight, &tier.targets),
                is_served: known.is_served(it),
            })
            .collect(),
    };
    let zone = grant.zone();
    let version = |it: super::Version| VersionLine {
        is_current: it.version == policy.version,
        version: it.version,
        sentence: sentence(&it.tiers),
        note: it.note,
        by: it.created_by.unwrap_or_else(|| "Turnpike or a service".to_owned()),
        created: Moment::new(it.created_at, zone),
    };
    Ok(Page(PolicyPage {
        frame: grant.frame(Section::Policies),
        tiers: policy.tiers.iter().map(tier).collect(),
        versions: versions.into_iter().map(version).collect(),
        hides_model: known.is_model(&policy.name),
        may_change: !policy.is_platforms && grant.may(Permission::ManagePolicies),
        line: Line::of(policy, zone),
    }))
}

async fn edit(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
) -> Result<Page<PolicyFormPage>, Failure> {
    let mut work = grant.begin().await?;
    let policy = super::find(&mut work, policy_in(&path.1)?).await?;
    drop(work);
    if policy.is_platforms {
        return Err(PolicyError::Platforms.into());
    }
    let form = PolicyForm::of(&policy);
    Ok(Page(form_page(&grant, Some(policy), form, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<PolicyForm>,
) -> Result<HttpResponse, Failure> {
    let id = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    let policy = super::find(&mut work, id).await?;
    let draft = match form.draft() {
        Ok(draft) => draft,
        Err(problems) => {
            drop(work);
            let page = form_page(&grant, Some(policy), form.0, None, problems);
            return Ok(Page(page.await?).again());
        }
    };
    match super::change(&mut work, id, &draft, form.seen()).await {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(back(&grant, id, "Policy saved: calls follow it within a second"))
        }
        Err(error) => {
            drop(work);
            refused(&grant, Some(policy), form.0, error).await
        }
    }
}

async fn go_back(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<RollBackForm>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    roll_back(&mut work, policy, form.version).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, policy, &format!("Back to what version {} said", form.version)))
}

async fn put_away(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, policy, "Policy archived"))
}

async fn bring_back(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    restore(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, policy, "Policy restored"))
}

/// The form again, with each flaw beside the row that has it.
async fn refused<P>(
    grant: &Grant<P>,
    policy: Option<Policy>,
    form: PolicyForm,
    error: PolicyError,
) -> Result<HttpResponse, Failure> {
    let problems = Problems::from(error.problems());
    if problems.is_empty() {
        return Err(error.into());
    }
    let rows =
        if let PolicyError::Flawed(flaws) = &error { Some(form.rows_with(flaws)) } else { None };
    Ok(Page(form_page(grant, policy, form, rows, problems).await?).again())
}

async fn form_page<P>(
    grant: &Grant<P>,
    policy: Option<Policy>,
    form: PolicyForm,
    rows: Option<Vec<Row>>,
    problems: Problems,
) -> Result<PolicyFormPage, Failure> {
    let mut work = grant.begin().await?;
    let known = known(&mut work).await?;
    let distinct = |mut all: Vec<String>| {
        all.sort_unstable();
        all.dedup();
        all
    };
    Ok(PolicyFormPage {
        frame: grant.frame(Section::Policies),
        policy,
        rows: rows.unwrap_or_else(|| form.rows()),
        form,
        models: distinct(known.models.iter().map(|it| it.name.clone()).collect()),
        providers: distinct(known.models.into_iter().map(|it| it.vendor).collect()),
        problems,
    })
}

/// An id that is none of ours is a policy that nobody has.
pub(super) fn policy_in(text: &str) -> Result<PolicyId, PolicyError> {
    text.parse().map_err(|_| PolicyError::NotFound)
}

fn back<P>(grant: &Grant<P>, policy: PolicyId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/policies/{policy}")), notice)
}

#[cfg(test)]
mod tests {
    use shared::snapshot::Target;

    use super::*;

    #[test]
    fn a_policy_is_told_in_a_sentence() {
        let target =
            |model: &str, weight| Target { model: model.to_owned(), provider: None, weight };
        let tier = |targets: Vec<Target>| Tier { targets };
        assert_eq!(sentence(&[tier(vec![target("small", 7)])]), "small");
        let split = tier(vec![target("small", 2), target("large", 1)]);
        assert_eq!(
            sentence(&[split, tier(vec![target("slow", 1)])]),
            "small 67 %, large 33 %; then slow"
        );
        assert_eq!(share(0, &[target("small", 0)]), 0);
    }
}
