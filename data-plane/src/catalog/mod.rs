//! What we serve: keys, models and upstreams, in memory, as the control plane last
//! published them.
//!
//! Always holds: readers never wait; the revision never goes back; an image that cannot
//! be read, or an older one, leaves the present one in place; a record that is wrong is
//! left out, and the others serve. No part of a request asks a store.

pub mod feed;
mod image;
mod upstreams;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use shared::{
    ids::{OrganizationId, ProjectId},
    keys::KeyHash,
    seal::Sealer,
    snapshot::{self as published, Key, Limits, Policy},
};
use time::OffsetDateTime;
use tokio::sync::watch;

pub use self::{
    image::Quarantined,
    upstreams::{Candidate, Credential, Model, Upstream},
};
use crate::egress::Egress;

/// The present snapshot, and the only way to a newer one.
pub struct Catalog {
    present: ArcSwapOption<Snapshot>,
    /// Held while an image is compared with the present one and replaces it.
    replacing: Mutex<()>,
    revisions: watch::Sender<i64>,
    opener: Opener,
}

/// What it takes to turn a published upstream into one that can be called.
pub struct Opener {
    pub sealer: Sealer,
    pub egress: Egress,
}

/// Everything at one revision.
pub struct Snapshot {
    pub revision: i64,
    pub taken_at: OffsetDateTime,
    pub quarantined: Vec<Quarantined>,
    keys: HashMap<KeyHash, KnownSecret>,
    /// By name; several upstreams, of several owners, may serve models of one name.
    models: BTreeMap<String, Vec<Arc<Model>>>,
    /// By name; each owner has one of a name.
    policies: BTreeMap<String, Vec<Arc<Policy>>>,
    tenants: HashMap<OrganizationId, Limits>,
    projects: HashMap<ProjectId, Limits>,
}

/// A secret of a key: the key's present one, or for a while the one before it.
pub struct KnownSecret {
    pub key: Arc<Key>,
    pub valid_until: Option<OffsetDateTime>,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Taken { revision: i64 },
    Known,
}

#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error("the image cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the image has revision {offered}, older than our {present}")]
    Older { offered: i64, present: i64 },
}

impl Catalog {
    pub fn new(opener: Opener) -> Self {
        Self {
            present: ArcSwapOption::empty(),
            replacing: Mutex::default(),
            revisions: watch::Sender::new(0),
            opener,
        }
    }

    /// The present snapshot; `None` until the first one came.
    pub fn present(&self) -> arc_swap::Guard<Option<Arc<Snapshot>>> {
        self.present.load()
    }

    /// Replaces the snapshot by a newer image.
    pub fn offer(&self, image: &[u8]) -> Result<Offered, Rejected> {
        let image = image::Image::parse(image)?;
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = self.present().as_ref() {
            let (offered, present) = (image.revision, present.revision);
            match offered.cmp(&present) {
                std::cmp::Ordering::Less => return Err(Rejected::Older { offered, present }),
                std::cmp::Ordering::Equal => return Ok(Offered::Known),
                std::cmp::Ordering::Greater => (),
            }
        }
        let revision = image.revision;
        self.present.store(Some(Arc::new(image.build(&self.opener))));
        self.revisions.send_replace(revision);
        Ok(Offered::Taken { revision })
    }

    /// Waits until we serve `revision` or a later one.
    pub async fn reaches(&self, revision: i64) {
        let mut revisions = self.revisions.subscribe();
        let reached = revisions.wait_for(|it| *it >= revision).await;
        reached.map(drop).expect("the sender lives as long as we do");
    }
}

impl Snapshot {
    pub fn secret(&self, hash: &KeyHash) -> Option<&KnownSecret> {
        self.keys.get(hash)
    }

    /// Where the model `name` is served to `organization`: its own upstreams first.
    pub fn serving(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> impl Iterator<Item = &Arc<Model>> {
        let all = self.models.get(name).map_or(&[][..], Vec::as_slice);
        let of = move |own: bool| {
            let is_of = move |it: &&Arc<Model>| {
                it.upstream.organization.is_some() == own && it.upstream.serves(organization)
            };
            all.iter().filter(is_of)
        };
        of(true).chain(of(false))
    }

    /// Where `name` leads for `organization`: its own policy, or the platform's.
    pub fn policy(&self, organization: OrganizationId, name: &str) -> Option<&Arc<Policy>> {
        let policies = self.policies.get(name)?;
        let serving =
            policies.iter().filter(|it| it.organization.is_none_or(|it| it == organization));
        serving.min_by_key(|it| it.organization.is_none())
    }

    /// Every policy that `organization` can ask for, each name once, in order.
    pub fn policies(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.keys().filter_map(move |name| self.policy(organization, name))
    }

    /// What holds for all of an organization.
    pub fn organization_limits(&self, organization: OrganizationId) -> Limits {
        self.tenants.get(&organization).copied().unwrap_or_default()
    }

    pub fn project_limits(&self, project: ProjectId) -> Limits {
        self.projects.get(&project).copied().unwrap_or_default()
    }

    /// Every model that `organization` can call, each name once, in order.
    pub fn models(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values().filter_map(move |it| pick(it, organization))
    }
}

/// `false` sorts first, so what is the organization's own wins over the platform's.
fn pick(models: &[Arc<Model>], organization: OrganizationId) -> Option<&Arc<Model>> {
    models
        .iter()
        .filter(|it| it.upstream.serves(organization))
        .min_by_key(|it| it.upstream.organization.is_none())
}

/// Whether `key` may use the model called `name`.
pub fn allows(key: &published::Key, name: &str) -> bool {
    key.allowed_models.as_ref().is_none_or(|it| it.iter().any(|allowed| allowed == name))
}

#[cfg(test)]
pub mod tests;
