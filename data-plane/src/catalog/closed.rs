//! Who is not served, since a record of theirs cannot be read.
//!
//! Without it we would not know what they may do: a limit or a budget that is left out allows
//! everything, and a policy or an upstream of their own leads elsewhere than the platform's. Of an
//! upstream that can be read and not be called we know which models it closes, and close no more:
//! those are in [`Owned`](super::owned::Owned).

use std::{collections::HashMap, sync::Arc};

use shared::{
    ids::{OrganizationId, ProjectId},
    snapshot::{Entity, Key, RecordId},
};

/// Whose calls a bad record stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Organization(OrganizationId),
    Project(ProjectId),
}

/// How many bad records close somebody. Nobody, nearly always.
#[derive(Clone, Default)]
pub(super) struct Closed(Arc<HashMap<Whose, usize>>);

impl Closed {
    pub fn bars(&self, key: &Key) -> bool {
        let bars = |whose| self.0.contains_key(&whose);
        !self.0.is_empty()
            && (bars(Whose::Organization(key.organization)) || bars(Whose::Project(key.project)))
    }

    pub fn close(&mut self, whose: Whose) {
        *Arc::make_mut(&mut self.0).entry(whose).or_default() += 1;
    }

    pub fn open(&mut self, whose: Whose) {
        let all = Arc::make_mut(&mut self.0);
        if let Some(records) = all.get_mut(&whose) {
            *records -= 1;
            if *records == 0 {
                all.remove(&whose);
            }
        }
    }
}

impl Whose {
    /// Whom a record concerns that cannot be read, as far as one can tell: a text that is cut
    /// may still say whose it is. The platform's concern nobody in particular.
    pub fn of(id: RecordId, content: &str) -> Option<Self> {
        match id.entity {
            Entity::Organization => Some(Self::Organization(OrganizationId::from_uuid(id.id))),
            Entity::Project => Some(Self::Project(ProjectId::from_uuid(id.id))),
            Entity::Policy | Entity::Budget | Entity::Upstream => {
                organization_in(content).map(Self::Organization)
            }
            // Without what was learned calls are routed as if nothing had been.
            Entity::Key
            | Entity::PriceBook
            | Entity::Revoked
            | Entity::Learned
            | Entity::Unknown(_) => None,
        }
    }
}

fn organization_in(content: &str) -> Option<OrganizationId> {
    let (_, rest) = content.split_once("\"organization\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split_once('"')?.0.parse().ok()
}
