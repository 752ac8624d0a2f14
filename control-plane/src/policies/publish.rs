//! How a document becomes a version: when it is checked, whom it would strand, and for how many
//! calls it holds at first.

use serde_json::{Value, json};
use shared::{
    ids::PolicyId,
    snapshot::{Document, StagedBy},
};

use super::{
    Draft, MOST, Policy, PolicyError, PolicyName, Stranded, check, drafts, everywhere,
    find_to_change, in_use, known, store, versions,
};
use crate::{
    access::Work,
    audit::{self, Entry},
    defaults, keys,
};

/// For whom a new version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    AtOnce,
    /// For so many percent of the calls, or of the keys.
    Staged(u8, StagedBy),
}

/// What is to be done where keys would have no model left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranding {
    Refuse,
    /// Somebody said that it is to be published nevertheless.
    Allow,
}

/// How a draft is to be published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// In the place of the draft's own note, where there is one.
    pub note: Option<String>,
    pub how: How,
    pub stranding: Stranding,
}

/// Makes a policy, whose first version holds at once: nobody can have asked for it before.
pub async fn create(work: &mut Work, draft: &Draft) -> Result<PolicyId, PolicyError> {
    let organization = work.organization;
    if store::count(work, organization).await? >= MOST {
        return Err(PolicyError::TooMany);
    }
    check(work, &draft.document).await?;
    let policy = PolicyId::generate();
    store::insert(work, organization, policy, &draft.name).await?;
    put_version(work, policy, 1, draft).await?;
    let entry = Entry::new("policy.created", policy, &draft.name);
    let after = json!({ "version": 1, "document": draft.document });
    audit::record(work, entry.after(after)).await?;
    Ok(policy)
}

/// Makes the next version, if it differs, and all calls follow it. `expected` is the version that
/// whoever changes it has seen, where they have.
pub async fn change(
    work: &mut Work,
    policy: PolicyId,
    draft: &Draft,
    expected: Option<i32>,
    stranding: Stranding,
) -> Result<(), PolicyError> {
    let before = find_to_change(work, policy).await?;
    if expected.is_some_and(|it| it != before.version) {
        return Err(PolicyError::Outdated);
    }
    put(work, &before, draft, How::AtOnce, stranding).await
}

/// Makes a version of the draft, which is then no more.
pub async fn publish(
    work: &mut Work,
    policy: PolicyId,
    publication: &Publication,
) -> Result<(), PolicyError> {
    let before = find_to_change(work, policy).await?;
    let saved = drafts::draft_of(work, policy).await?.ok_or(PolicyError::NoDraft)?;
    if saved.based_on != before.version {
        return Err(PolicyError::Outdated);
    }
    let note = publication.note.clone().unwrap_or(saved.note);
    let draft = Draft { name: saved.name.parse()?, document: saved.document, note };
    put(work, &before, &draft, publication.how, publication.stranding).await?;
    let organization = work.organization;
    store::drafts::delete(work, organization, policy).await?;
    Ok(())
}

/// Makes a new version that says what an old one said, and all calls follow it.
pub async fn roll_back(work: &mut Work, policy: PolicyId, to: i32) -> Result<(), PolicyError> {
    let all = versions(work, policy).await?;
    let old = all.into_iter().find(|it| it.version == to).ok_or(PolicyError::NoVersion)?;
    let note = format!("Back to version {to}");
    let draft = Draft { name: old.name.parse()?, document: old.document, note };
    // What it led to then may have stranded keys since; to go back is to undo.
    change(work, policy, &draft, None, Stranding::Allow).await
}

/// The keys that a document would leave without a model, of those that have one now.
pub async fn stranding(
    work: &mut Work,
    before: &Policy,
    name: &PolicyName,
    document: &Document,
) -> Result<Stranded, PolicyError> {
    let keys = keys::restricted(work).await?;
    let known = known(work).await?;
    let was = check::Led { name: &before.name, document: &before.document };
    let is = check::Led { name: &name.0, document };
    Ok(check::stranded(&keys, was, is, &known))
}

async fn put(
    work: &mut Work,
    before: &Policy,
    draft: &Draft,
    how: How,
    stranding: Stranding,
) -> Result<(), PolicyError> {
    let is_same = before.name == draft.name.0 && before.document == draft.document;
    if is_same && before.staged.is_none() {
        return Ok(());
    }
    if let How::Staged(percent, _) = how {
        if !(1..=99).contains(&percent) {
            return Err(PolicyError::Percent);
        }
        if before.name != draft.name.0 {
            return Err(PolicyError::StagedName);
        }
    }
    if before.name != draft.name.0 {
        // Defaults lead to it by its name.
        in_use(defaults::going_by(work, before, false).await?)?;
    }
    check(work, &draft.document).await?;
    let stranded = self::stranded(work, before, draft, stranding).await?;
    let (organization, policy) = (work.organization, before.id);
    let version = store::latest(work, organization, policy).await? + 1;
    put_version(work, policy, version, draft).await?;
    let (action, staged) = match how {
        How::AtOnce => {
            store::update(work, organization, policy, &draft.name, version).await?;
            ("policy.changed", None)
        }
        How::Staged(percent, by) => {
            store::stage(work, organization, policy, Some((version, percent, by))).await?;
            ("policy.staged", Some(json!({ "percent": percent, "by": by })))
        }
    };
    let entry = Entry::new(action, policy, &draft.name)
        .before(json!({
            "name": before.name, "version": before.version, "document": before.document,
            "staged_version": before.staged.as_ref().map(|it| it.version),
        }))
        .after(json!({
            "name": draft.name, "version": version, "document": draft.document,
            "note": draft.note, "staged": staged, "stranded_nevertheless": stranded,
        }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Whom it strands, where that is allowed: of one's own keys, or of everybody's.
async fn stranded(
    work: &mut Work,
    before: &Policy,
    draft: &Draft,
    stranding: Stranding,
) -> Result<Value, PolicyError> {
    let Draft { name, document, .. } = draft;
    let (told, refused) = if work.organization == audit::PLATFORM {
        let all = everywhere::stranded(work, before, name, document).await?;
        (json!(all.tenants), (!all.is_empty()).then_some(PolicyError::StrandsTenants(all)))
    } else {
        let all = self::stranding(work, before, name, document).await?;
        (json!(all.0), (!all.is_empty()).then_some(PolicyError::Strands(all)))
    };
    match refused {
        Some(why) if stranding == Stranding::Refuse => Err(why),
        Some(_) | None => Ok(told),
    }
}

/// What is wrong with a document, if anything is.
pub async fn check(work: &mut Work, document: &Document) -> Result<(), PolicyError> {
    let known = known(work).await?;
    check::flaws(document, &known).map_err(PolicyError::Flawed)
}

async fn put_version(
    work: &mut Work,
    policy: PolicyId,
    version: i32,
    draft: &Draft,
) -> Result<(), sqlx::Error> {
    let (organization, by) = (work.organization, work.actor.person());
    store::insert_version(work, organization, policy, version, draft, by).await
}
