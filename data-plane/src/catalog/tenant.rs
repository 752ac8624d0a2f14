//! What holds for all of an organization, ready to be asked.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use shared::{
    ids::UpstreamId,
    snapshot::{self as published, HeldBook, Limits, MOST_EXPLORED, Routing, Worth},
};

use super::Model;

#[derive(Clone, Default)]
pub(super) struct Tenant {
    pub limits: Limits,
    /// Nothing where it has disabled nothing, as nearly everybody.
    disabled: Option<Arc<HashMap<UpstreamId, Which>>>,
    /// Who says what it pays, in this order.
    pub books: Arc<[HeldBook]>,
    /// Nothing where nothing is said.
    pub routing: Option<Arc<Routing>>,
    pub explore_per_mille: u16,
    pub worths: Arc<[Worth]>,
}

/// Which of an upstream's models are disabled.
enum Which {
    All,
    Called(HashSet<String>),
}

impl Tenant {
    pub fn of(published: published::Tenant) -> Self {
        let mut disabled = HashMap::new();
        for published::Disabled { upstream, model } in published.disabled {
            let there = disabled.entry(upstream).or_insert_with(|| Which::Called(HashSet::new()));
            match (there, model) {
                (Which::Called(names), Some(name)) => {
                    names.insert(name);
                }
                (there, None) => *there = Which::All,
                (Which::All, Some(_)) => (),
            }
        }
        let disabled = (!disabled.is_empty()).then(|| Arc::new(disabled));
        let routing = (!published.routing.is_silent()).then(|| Arc::new(published.routing));
        let explore_per_mille = published.explore_per_mille.min(MOST_EXPLORED);
        let (limits, books) = (published.limits, published.books.into());
        let worths = published.worths.into();
        Self { limits, disabled, books, routing, explore_per_mille, worths }
    }

    /// Whether its calls may go there.
    pub fn wants(&self, model: &Model) -> bool {
        let Some(disabled) = &self.disabled else { return true };
        match disabled.get(&model.upstream.id) {
            None => true,
            Some(Which::All) => false,
            Some(Which::Called(names)) => !names.contains(&model.name),
        }
    }
}
