//! What becomes of a version that some of the calls get: more do, all do, or none any more.

use serde_json::json;
use shared::ids::PolicyId;

use super::{Policy, PolicyError, Stage, find_to_change, store};
use crate::{
    access::Work,
    audit::{self, Entry},
};

/// Gives it to so many percent, or to less again.
pub async fn raise(work: &mut Work, policy: PolicyId, percent: u8) -> Result<(), PolicyError> {
    let (before, stage) = staged(work, policy).await?;
    if !(1..=99).contains(&percent) {
        return Err(PolicyError::Percent);
    }
    if stage.percent == percent {
        return Ok(());
    }
    let organization = work.organization;
    let next = Some((stage.version, percent, stage.by));
    store::stage(work, organization, policy, next).await?;
    let entry = Entry::new("policy.stage_changed", policy, before.name)
        .before(json!({ "version": stage.version, "percent": stage.percent }))
        .after(json!({ "version": stage.version, "percent": percent }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Has all calls follow it.
pub async fn finish(work: &mut Work, policy: PolicyId) -> Result<(), PolicyError> {
    let (before, stage) = staged(work, policy).await?;
    let organization = work.organization;
    store::update(work, organization, policy, &before.name.parse()?, stage.version).await?;
    let entry = Entry::new("policy.stage_finished", policy, before.name)
        .before(json!({ "version": before.version, "percent": stage.percent }))
        .after(json!({ "version": stage.version }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Has all calls follow the version before again. The other stays in the list of versions.
pub async fn withdraw(work: &mut Work, policy: PolicyId) -> Result<(), PolicyError> {
    let (before, stage) = staged(work, policy).await?;
    let organization = work.organization;
    store::stage(work, organization, policy, None).await?;
    let entry = Entry::new("policy.stage_withdrawn", policy, before.name)
        .before(json!({ "version": stage.version, "percent": stage.percent }))
        .after(json!({ "version": before.version }));
    audit::record(work, entry).await?;
    Ok(())
}

async fn staged(work: &mut Work, policy: PolicyId) -> Result<(Policy, Stage), PolicyError> {
    let before = find_to_change(work, policy).await?;
    let stage = before.staged.clone().ok_or(PolicyError::NoStage)?;
    Ok((before, stage))
}
