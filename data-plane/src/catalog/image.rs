//! An image in one text, which nobody signed: for tests, and for who tries a proxy
//! without a control plane.

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    ids::{ApiKeyId, BudgetId, OrganizationId, PolicyId, PriceBookId, ProjectId, UpstreamId},
    snapshot::{Change, Entity, RecordId},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Opener, Snapshot};

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
    #[serde(borrow, default)]
    budgets: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    books: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    revoked: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    learned: Vec<&'a RawValue>,
}

/// What of a record says which it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    id: Option<&'a str>,
    organization: Option<&'a str>,
}

impl<'a> Image<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn build(&self, opener: &Opener) -> Snapshot {
        let lists = [
            (Entity::Upstream, &self.upstreams),
            (Entity::Policy, &self.policies),
            (Entity::Organization, &self.tenants),
            (Entity::Project, &self.projects),
            (Entity::Budget, &self.budgets),
            (Entity::PriceBook, &self.books),
            (Entity::Revoked, &self.revoked),
            (Entity::Learned, &self.learned),
            (Entity::Key, &self.keys),
        ];
        let changes = lists.into_iter().flat_map(|(entity, records)| {
            records.iter().enumerate().map(move |(at, raw)| {
                // A record without an id of its own gets one, to be complained about by.
                let id = id_of(entity, raw.get()).unwrap_or(Uuid::from_u128(at as u128));
                Change { id: RecordId { entity, id }, content: Some(raw.get()) }
            })
        });
        let changes: Vec<_> = changes.collect();
        Snapshot::of_image(self.revision, self.taken_at, &changes, opener)
    }
}

fn id_of(entity: Entity, record: &str) -> Option<Uuid> {
    let Named { id, organization } = serde_json::from_str(record).ok()?;
    match entity {
        Entity::Upstream => id?.parse().ok().map(UpstreamId::uuid),
        Entity::Policy => id?.parse().ok().map(PolicyId::uuid),
        Entity::Organization | Entity::Learned => {
            organization?.parse().ok().map(OrganizationId::uuid)
        }
        Entity::Project => id?.parse().ok().map(ProjectId::uuid),
        Entity::Budget => id?.parse().ok().map(BudgetId::uuid),
        Entity::PriceBook => id?.parse().ok().map(PriceBookId::uuid),
        Entity::Key | Entity::Revoked => id?.parse().ok().map(ApiKeyId::uuid),
        Entity::Unknown(_) => None,
    }
}
