//! The forms on a policy's page that bring a draft into force, and what it would change.

use actix_web::{HttpResponse, web::Path};
use serde::Deserialize;
use shared::{failure::Classified, snapshot::StagedBy};

use super::{back, diff, policy_in, sentences::sentence};
use crate::{
    access::{Doors, Grant, Work, may},
    policies::{
        How, Policy, PolicyError, Publication, SavedDraft, StrandedKey, Stranding, commit, discard,
        finish, publish, raise, stranding, withdraw,
    },
    web::{Failure, Form, Moment, Nothing},
};

pub(super) fn doors(doors: &mut Doors) {
    doors.post("/orgs/{org}/policies/{policy}/publish", bring_into_force);
    doors.post("/orgs/{org}/policies/{policy}/draft/discard", throw_away);
    doors.post("/orgs/{org}/policies/{policy}/stage", change_stage);
}

/// A draft as the page shows it, beside what is in force.
pub(super) struct DraftView {
    pub name: String,
    pub sentence: String,
    pub note: String,
    pub by: String,
    pub saved: Moment,
    /// Whether another version came into force since it was begun.
    pub is_outdated: bool,
    pub is_renamed: bool,
    pub lines: Vec<diff::Line>,
    pub stranded: Vec<StrandedKey>,
}

impl DraftView {
    pub async fn of(
        work: &mut Work,
        policy: &Policy,
        draft: SavedDraft,
        zone: &str,
    ) -> Result<Self, PolicyError> {
        let stranded = stranding(work, policy, &draft.name.parse()?, &draft.document).await?;
        Ok(Self {
            is_outdated: draft.based_on != policy.version,
            is_renamed: draft.name != policy.name,
            sentence: sentence(&draft.document),
            lines: diff::diff(&policy.document, &draft.document),
            stranded: stranded.0,
            by: draft.saved_by.unwrap_or_else(|| "a service".to_owned()),
            saved: Moment::new(draft.saved_at, zone),
            name: draft.name,
            note: draft.note,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct PublishForm {
    note: String,
    /// Empty for all calls.
    percent: String,
    by: String,
    nevertheless: bool,
}

impl PublishForm {
    fn publication(&self) -> Result<Publication, PolicyError> {
        let by = if self.by == "calls" { StagedBy::Calls } else { StagedBy::Keys };
        let how = match self.percent.trim() {
            "" | "100" => How::AtOnce,
            percent => How::Staged(percent.parse().map_err(|_| PolicyError::Percent)?, by),
        };
        let note: String =
            self.note.trim().chars().filter(|it| !it.is_control()).take(200).collect();
        let stranding = if self.nevertheless { Stranding::Allow } else { Stranding::Refuse };
        Ok(Publication { note: Some(note).filter(|it| !it.is_empty()), how, stranding })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageForm {
    #[serde(default)]
    percent: String,
}

async fn bring_into_force(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<PublishForm>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let publication = form.publication()?;
    let mut work = grant.begin().await?;
    match publish(&mut work, policy, &publication).await {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(back(&grant, policy, "Published: calls follow it within a second"))
        }
        // The page says why, and has the box to tick.
        Err(error @ (PolicyError::Strands(_) | PolicyError::Outdated)) => {
            Ok(back(&grant, policy, &format!("Not published: {error}")))
        }
        Err(error) if !error.problems().is_empty() => {
            Ok(back(&grant, policy, &format!("Not published: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

async fn throw_away(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    discard(&mut work, policy).await?;
    work.commit().await?;
    Ok(back(&grant, policy, "Draft discarded"))
}

async fn change_stage(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<StageForm>,
) -> Result<HttpResponse, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    let notice = match form.percent.trim() {
        "0" => {
            withdraw(&mut work, policy).await?;
            "Withdrawn: all calls follow the version before".to_owned()
        }
        "100" => {
            finish(&mut work, policy).await?;
            "All calls follow it".to_owned()
        }
        typed => {
            let percent = typed.parse().map_err(|_| PolicyError::Percent)?;
            raise(&mut work, policy, percent).await?;
            format!("{percent} percent follow it")
        }
    };
    commit(&grant, work).await?;
    Ok(back(&grant, policy, &notice))
}
