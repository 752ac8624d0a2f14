//! From the bytes of an image to a snapshot, record by record, so that one bad record
//! costs itself and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::{
    keys::KeyHash,
    snapshot::{Key, Policy, Project, Tenant, Upstream as Published},
};
use time::OffsetDateTime;
use tracing::warn;

use super::{
    KnownSecret, Model, Opener, Snapshot,
    upstreams::{self, Unusable},
};

/// An image whose frame could be read. Its records are still text.
#[derive(Deserialize)]
pub(super) struct Image<'a> {
    pub revision: i64,
    #[serde(with = "time::serde::rfc3339")]
    taken_at: OffsetDateTime,
    #[serde(borrow)]
    upstreams: Vec<&'a RawValue>,
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    policies: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    tenants: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    projects: Vec<&'a RawValue>,
}

/// A record that is left out, and why. Neither holds anything secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub record: String,
    pub reason: String,
}

impl<'a> Image<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn build(self, opener: &Opener) -> Snapshot {
        let mut quarantined = Vec::new();
        let models = self.models(opener, &mut quarantined);
        let keys = self.keys(&mut quarantined);
        let mut policies = BTreeMap::<_, Vec<_>>::new();
        for policy in each::<Policy>("policy", &self.policies, &mut quarantined) {
            policies.entry(policy.name.clone()).or_default().push(Arc::new(policy));
        }
        let tenants = each::<Tenant>("organization", &self.tenants, &mut quarantined);
        let tenants = tenants.into_iter().map(|it| (it.organization, it.limits)).collect();
        let projects = each::<Project>("project", &self.projects, &mut quarantined);
        let projects = projects.into_iter().map(|it| (it.id, it.limits)).collect();
        for Quarantined { record, reason } in &quarantined {
            warn!(revision = self.revision, record, reason, "left out {record}: {reason}");
        }
        let Self { revision, taken_at, .. } = self;
        Snapshot { revision, taken_at, quarantined, keys, models, policies, tenants, projects }
    }

    fn models(
        &self,
        opener: &Opener,
        quarantined: &mut Vec<Quarantined>,
    ) -> BTreeMap<String, Vec<Arc<Model>>> {
        let mut models = BTreeMap::<_, Vec<_>>::new();
        for (at, raw) in self.upstreams.iter().enumerate() {
            let opened = read(raw).and_then(|it: Published| {
                let name = it.id.to_string();
                upstreams::open(it, opener).map_err(|why| (Some(name), why))
            });
            let (opened, unusable) = opened.unwrap_or_else(|(name, why)| {
                let name = name.unwrap_or_else(|| format!("number {at}"));
                (vec![], vec![(format!("upstream {name}"), why)])
            });
            for model in opened {
                models.entry(model.name.clone()).or_default().push(model);
            }
            quarantined.extend(unusable.into_iter().map(Quarantined::from));
        }
        models
    }

    fn keys(&self, quarantined: &mut Vec<Quarantined>) -> HashMap<KeyHash, KnownSecret> {
        let mut keys = HashMap::with_capacity(self.keys.len());
        for (at, raw) in self.keys.iter().enumerate() {
            let added = read(raw).and_then(|it: Key| {
                let name = it.id.to_string();
                add(&mut keys, it).map_err(|why| (Some(name), why))
            });
            if let Err((name, why)) = added {
                let name = name.unwrap_or_else(|| format!("number {at}"));
                quarantined.push(Quarantined::from((format!("key {name}"), why)));
            }
        }
        keys
    }
}

impl From<(String, Unusable)> for Quarantined {
    fn from((record, why): (String, Unusable)) -> Self {
        Self { record, reason: why.to_string() }
    }
}

/// Those of the records that can be read.
fn each<T: DeserializeOwned>(
    what: &str,
    records: &[&RawValue],
    quarantined: &mut Vec<Quarantined>,
) -> Vec<T> {
    let mut read_ones = Vec::with_capacity(records.len());
    for (at, raw) in records.iter().enumerate() {
        match read(raw) {
            Ok(it) => read_ones.push(it),
            Err((_, why)) => quarantined.push((format!("{what} number {at}"), why).into()),
        }
    }
    read_ones
}

fn read<T: DeserializeOwned>(raw: &RawValue) -> Result<T, (Option<String>, Unusable)> {
    serde_json::from_str(raw.get()).map_err(|error| (None, Unusable::Unreadable(error)))
}

/// All secrets of a key or none: half a key would be a riddle.
fn add(keys: &mut HashMap<KeyHash, KnownSecret>, key: Key) -> Result<(), Unusable> {
    let hashes = key.secrets.iter().map(|it| Ok((hash(&it.hash)?, it.valid_until)));
    let hashes: Vec<_> = hashes.collect::<Result<_, Unusable>>()?;
    if hashes.iter().any(|(hash, _)| keys.contains_key(hash)) {
        return Err(Unusable::SharedSecret);
    }
    let key = Arc::new(key);
    for (hash, valid_until) in hashes {
        keys.insert(hash, KnownSecret { key: key.clone(), valid_until });
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> Result<KeyHash, Unusable> {
    bytes.try_into().map(KeyHash).map_err(|_| Unusable::BadHash)
}
