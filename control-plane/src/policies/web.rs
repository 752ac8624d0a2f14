//! The pages of routing policies.

mod diff;
mod editing;
mod form;
mod publishing;
mod sentences;
mod simulating;

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::PolicyId,
    snapshot::{Choice, Document, StagedBy, Tier},
};

use self::{
    publishing::DraftView,
    sentences::{sentence, share},
};
use super::{
    Known, Policy, PolicyError, archive, commit, draft_of, known, restore, roll_back, versions,
};
use crate::{
    access::{Doors, Grant, Permission, may},
    web::{Failure, Form, Frame, Moment, Nothing, Page, Section, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/policies", list);
    editing::doors(doors);
    doors.get("/orgs/{org}/policies/{policy}", show);
    doors.post("/orgs/{org}/policies/{policy}/roll-back", go_back);
    publishing::doors(doors);
    simulating::doors(doors);
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
    choices: Vec<ChoiceView>,
    draft: Option<DraftView>,
    versions: Vec<VersionLine>,
    /// Whether a model has the policy's name, which callers then no longer reach by it.
    hides_model: bool,
    may_change: bool,
}

impl PolicyPage {
    /// What the version says that some of the calls get.
    fn staged_sentence(&self) -> String {
        self.line.policy.staged.as_ref().map(|it| sentence(&it.document)).unwrap_or_default()
    }

    fn staged_of(&self) -> &'static str {
        match self.line.policy.staged.as_ref().map(|it| it.by) {
            Some(StagedBy::Calls) => "calls",
            Some(StagedBy::Keys) | None => "keys",
        }
    }
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
        Self { sentence: sentence(&policy.document), policy, changed }
    }
}

struct VersionLine {
    version: i32,
    sentence: String,
    note: String,
    by: String,
    created: Moment,
    is_current: bool,
    is_staged: bool,
}

/// What is chosen for some calls, or for all that are left.
struct ChoiceView {
    /// Empty for what is chosen otherwise.
    name: String,
    /// For which calls, in words, and as it is written.
    condition: String,
    when: String,
    strategy: &'static str,
    sentence: String,
    is_weighted: bool,
    constraints: Vec<String>,
    tiers: Vec<TierView>,
}

impl ChoiceView {
    fn all_of(document: &Document, known: &Known) -> Vec<Self> {
        let rules = document.rules.iter().map(|it| Self {
            name: it.name.clone(),
            condition: sentences::condition(&it.when),
            when: it.when.clone(),
            ..Self::of(&it.choose, known)
        });
        rules.chain([Self::of(&document.otherwise, known)]).collect()
    }

    fn of(choice: &Choice, known: &Known) -> Self {
        Self {
            name: String::new(),
            condition: String::new(),
            when: String::new(),
            strategy: choice.strategy.name(),
            sentence: sentences::choice(choice),
            is_weighted: choice.strategy == shared::snapshot::Strategy::Weighted,
            constraints: sentences::constraints(&choice.constraints),
            tiers: choice.tiers.iter().map(|it| TierView::of(it, known)).collect(),
        }
    }
}

struct TierView {
    targets: Vec<TargetView>,
}

impl TierView {
    fn of(tier: &Tier, known: &Known) -> Self {
        let target = |it: &shared::snapshot::Target| TargetView {
            model: it.model.clone(),
            provider: it.provider.clone().unwrap_or_default(),
            weight: it.weight,
            share: share(it.weight, &tier.targets),
            is_served: known.is_served(it),
        };
        Self { targets: tier.targets.iter().map(target).collect() }
    }
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

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Page<PolicyPage>, Failure> {
    let mut work = grant.begin().await?;
    let policy = super::find(&mut work, policy_in(&path.1)?).await?;
    let versions = versions(&mut work, policy.id).await?;
    let known = known(&mut work).await?;
    let may_change = !policy.is_platforms && grant.may(Permission::ManagePolicies);
    let draft = match may_change && !policy.is_archived() {
        true => draft_of(&mut work, policy.id).await?,
        false => None,
    };
    let draft = match draft {
        Some(draft) => Some(DraftView::of(&mut work, &policy, draft, grant.zone()).await?),
        None => None,
    };
    let zone = grant.zone();
    let version = |it: super::Version| VersionLine {
        is_current: it.version == policy.version,
        is_staged: policy.staged.as_ref().is_some_and(|stage| stage.version == it.version),
        version: it.version,
        sentence: sentence(&it.document),
        note: it.note,
        by: it.created_by.unwrap_or_else(|| "Turnpike or a service".to_owned()),
        created: Moment::new(it.created_at, zone),
    };
    Ok(Page(PolicyPage {
        frame: grant.frame(Section::Policies),
        choices: ChoiceView::all_of(&policy.document, &known),
        draft,
        versions: versions.into_iter().map(version).collect(),
        hides_model: known.is_model(&policy.name),
        may_change,
        line: Line::of(policy, zone),
    }))
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

/// An id that is none of ours is a policy that nobody has.
pub(super) fn policy_in(text: &str) -> Result<PolicyId, PolicyError> {
    text.parse().map_err(|_| PolicyError::NotFound)
}

fn back<P>(grant: &Grant<P>, policy: PolicyId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/policies/{policy}")), notice)
}
