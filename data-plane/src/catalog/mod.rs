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
    ids::OrganizationId,
    keys::KeyHash,
    seal::Sealer,
    snapshot::{self as published, Key},
};
use time::OffsetDateTime;
use tokio::sync::watch;

pub use self::{
    image::Quarantined,
    upstreams::{Model, Upstream},
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

    /// Where calls of `organization` for the model `name` go: its own upstreams first.
    pub fn model(&self, organization: OrganizationId, name: &str) -> Option<&Arc<Model>> {
        pick(self.models.get(name)?, organization)
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
