//! The records that a snapshot is made of, each of which changes by itself.

use uuid::Uuid;

use super::{
    Budget, Key, Learned, Policy, PriceBook, Project, Revoked, Snapshot, Tenant, Upstream,
};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    Upstream,
    Policy,
    Organization,
    Project,
    Key,
    Budget,
    PriceBook,
    /// A key that opens nothing any more. Proxies older than it carry it as one of the next.
    Revoked,
    /// What an organization's feedback taught.
    Learned,
    /// What a newer control plane publishes and we do not know: the checksum of its name.
    /// We carry it, so that our sum agrees with everybody's, and make nothing of it.
    Unknown(u32),
}

impl Entity {
    const KNOWN: [(Self, &'static str); 9] = [
        (Self::Upstream, "upstream"),
        (Self::Policy, "policy"),
        (Self::Organization, "organization"),
        (Self::Project, "project"),
        (Self::Key, "key"),
        (Self::Budget, "budget"),
        (Self::PriceBook, "price_book"),
        (Self::Revoked, "revoked"),
        (Self::Learned, "learned"),
    ];

    pub fn named(name: &str) -> Self {
        let known = Self::KNOWN.iter().find(|(_, known)| *known == name);
        known.map_or_else(|| Self::Unknown(crc32fast::hash(name.as_bytes())), |(it, _)| *it)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Policy => "policy",
            Self::Organization => "organization",
            Self::Project => "project",
            Self::Key => "key",
            Self::Budget => "budget",
            Self::PriceBook => "price_book",
            Self::Revoked => "revoked",
            Self::Learned => "learned",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What tells entities apart, known to us or not.
    pub fn mark(self) -> u32 {
        match self {
            Self::Unknown(mark) => mark,
            Self::Upstream
            | Self::Policy
            | Self::Organization
            | Self::Project
            | Self::Key
            | Self::Budget
            | Self::PriceBook
            | Self::Revoked
            | Self::Learned => crc32fast::hash(self.name().as_bytes()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub entity: Entity,
    pub id: Uuid,
}

/// A record as it is from now on; gone where it has no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub id: RecordId,
    /// JSON in one line.
    pub content: Option<&'a str>,
}

impl<'a> Change<'a> {
    pub const fn put(id: RecordId, content: &'a str) -> Self {
        Self { id, content: Some(content) }
    }

    pub const fn gone(id: RecordId) -> Self {
        Self { id, content: None }
    }
}

/// A record with its content, by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: RecordId,
    pub content: String,
}

impl Snapshot {
    /// Everything, as records in the order of their ids.
    pub fn records(&self) -> Result<Vec<Record>, serde_json::Error> {
        let mut records = Vec::with_capacity(self.keys.len() + self.projects.len());
        let mut add = |entity, id, content: Result<String, serde_json::Error>| {
            records.push(Record { id: RecordId { entity, id }, content: content? });
            Ok::<_, serde_json::Error>(())
        };
        for it in &self.upstreams {
            add(Entity::Upstream, it.id.uuid(), serde_json::to_string::<Upstream>(it))?;
        }
        for it in &self.policies {
            add(Entity::Policy, it.id.uuid(), serde_json::to_string::<Policy>(it))?;
        }
        for it in &self.tenants {
            add(Entity::Organization, it.organization.uuid(), serde_json::to_string::<Tenant>(it))?;
        }
        for it in &self.projects {
            add(Entity::Project, it.id.uuid(), serde_json::to_string::<Project>(it))?;
        }
        for it in &self.budgets {
            add(Entity::Budget, it.id.uuid(), serde_json::to_string::<Budget>(it))?;
        }
        for it in &self.books {
            add(Entity::PriceBook, it.id.uuid(), serde_json::to_string::<PriceBook>(it))?;
        }
        for it in &self.revoked {
            add(Entity::Revoked, it.id.uuid(), serde_json::to_string::<Revoked>(it))?;
        }
        for it in &self.learned {
            let id = it.organization.uuid();
            add(Entity::Learned, id, serde_json::to_string::<Learned>(it))?;
        }
        for it in &self.keys {
            add(Entity::Key, it.id.uuid(), serde_json::to_string::<Key>(it))?;
        }
        records.sort_unstable_by_key(|it| it.id);
        Ok(records)
    }
}
