//! What we serve: keys, models and upstreams, in memory, as the control plane last
//! published them.
//!
//! Always holds: readers never wait; the revision never goes back; what cannot be read,
//! is not signed, or does not follow, leaves the present snapshot in place; a record that
//! is wrong is left out, and the others serve, but for those of whom we then do not know what
//! they may do. No part of a request asks a store.

mod closed;
pub mod feed;
mod image;
mod learned;
mod owned;
mod policies;
mod prices;
mod shards;
mod snapshot;
mod tenant;
mod upstreams;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use secrecy::SecretString;
use shared::{
    keys::KeyHash,
    seal::{CannotOpen, Sealer},
    snapshot::{self as published, Genuine, Key},
};
use time::OffsetDateTime;
use tokio::sync::watch;
use url::Url;

pub use self::{
    learned::Learned,
    policies::{Policy, Version},
    prices::Prices,
    snapshot::{Quarantined, Shut, Snapshot},
    upstreams::{Candidate, Credential, Model, Upstream},
};
use crate::egress::{Egress, NotPermitted};

/// The present snapshot, and the only way to a newer one.
pub struct Catalog {
    present: ArcSwapOption<Snapshot>,
    /// Held while an image is compared with the present one and replaces it.
    replacing: Mutex<()>,
    revisions: watch::Sender<i64>,
    opener: Opener,
}

/// What it takes to turn a published upstream into one that can be called, or only decided about.
pub struct Opener(Option<(Sealer, Egress)>);

impl Opener {
    pub const fn new(sealer: Sealer, egress: Egress) -> Self {
        Self(Some((sealer, egress)))
    }

    /// Opens no secret: nothing that it makes can be called.
    pub const fn deciding() -> Self {
        Self(None)
    }

    fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        self.0.as_ref().map_or(Ok(()), |(_, egress)| egress.permits(address))
    }

    fn open(&self, sealed: &[u8], purpose: &str) -> Result<SecretString, CannotOpen> {
        match &self.0 {
            Some((sealer, _)) => sealer.open_text(sealed, purpose),
            None => Ok(SecretString::from("sealed")),
        }
    }
}

/// A secret of a key: the key's present one, or for a while the one before it.
#[derive(Clone)]
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
    #[error("revision {offered} is older than our {present}")]
    Older { offered: i64, present: i64 },
    #[error("revision {came} came where {expected} was to come")]
    Gap { expected: i64, came: i64 },
    #[error("revision {revision} does not follow the one that we have")]
    OtherChain { revision: i64 },
    #[error("the records do not add up to what revision {revision} says")]
    Sum { revision: i64 },
    #[error("its body cannot be read: {0}")]
    Body(io::ErrorKind),
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

    /// Goes on to the next revision.
    pub fn follow(&self, delta: &Genuine) -> Result<(), Rejected> {
        let _replacing = self.replacing();
        let (expected, came) = (1, delta.head.revision);
        let present = self.present().clone().ok_or(Rejected::Gap { expected, came })?;
        self.install(present.followed_by(delta, &self.opener)?);
        Ok(())
    }

    /// Replaces the snapshot by everything at a later revision, and what followed it. One
    /// of the same revision replaces what does not add up any more. Of a record that is bad there
    /// and was good here, the good one stays.
    pub fn replace(&self, full: &Genuine, deltas: &[Genuine]) -> Result<Offered, Rejected> {
        let mut next = Snapshot::build(full, &self.opener)?;
        if let Some(present) = self.present().as_ref() {
            next = next.keeping(present);
        }
        for delta in deltas {
            next = next.followed_by(delta, &self.opener)?;
        }
        let _replacing = self.replacing();
        if let Some(present) = self.present().as_ref() {
            let (offered, present_one) = (next.revision, present.revision);
            if offered < present_one {
                return Err(Rejected::Older { offered, present: present_one });
            }
            if offered == present_one && present.adds_up() {
                return Ok(Offered::Known);
            }
            next = next.stopping_as(present);
        }
        let revision = next.revision;
        self.install(next);
        Ok(Offered::Taken { revision })
    }

    /// Refuses secrets at once, each until a revision that must have seen why.
    pub fn stop(&self, secrets: &[(KeyHash, i64)]) {
        let _replacing = self.replacing();
        if let Some(present) = self.present().as_ref() {
            self.present.store(Some(Arc::new(present.stopping(secrets))));
        }
    }

    /// Replaces the snapshot by a newer image that nobody signed.
    pub fn offer(&self, image: &[u8]) -> Result<Offered, Rejected> {
        let image = image::Image::parse(image)?;
        let _replacing = self.replacing();
        if let Some(present) = self.present().as_ref() {
            let (offered, present) = (image.revision, present.revision);
            match offered.cmp(&present) {
                std::cmp::Ordering::Less => return Err(Rejected::Older { offered, present }),
                std::cmp::Ordering::Equal => return Ok(Offered::Known),
                std::cmp::Ordering::Greater => (),
            }
        }
        let revision = image.revision;
        self.install(image.build(&self.opener));
        Ok(Offered::Taken { revision })
    }

    /// Whether what we hold is what was published.
    pub fn adds_up(&self) -> bool {
        self.present().as_ref().is_none_or(|it| it.adds_up())
    }

    fn replacing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        self.present.store(Some(Arc::new(snapshot)));
        self.revisions.send_replace(revision);
    }

    /// Waits until we serve `revision` or a later one.
    pub async fn reaches(&self, revision: i64) {
        let mut revisions = self.revisions.subscribe();
        let reached = revisions.wait_for(|it| *it >= revision).await;
        reached.map(drop).expect("the sender lives as long as we do");
    }
}

/// Whether `key` may use the model called `name`.
pub fn allows(key: &published::Key, name: &str) -> bool {
    key.allowed_models.as_ref().is_none_or(|it| it.iter().any(|allowed| allowed == name))
}

#[cfg(test)]
pub mod tests;
