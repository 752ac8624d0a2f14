//! What one organization has of its own, or the platform for everybody: models at
//! upstreams, and policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shared::ids::{PolicyId, UpstreamId};

use super::{Model, Policy};

#[derive(Clone, Default)]
pub(super) struct Owned {
    /// By name; several of its upstreams may serve models of one name.
    models: BTreeMap<String, Vec<Arc<Model>>>,
    policies: BTreeMap<String, Arc<Policy>>,
    /// The models that upstreams of its own are to serve and cannot: they are not asked for
    /// elsewhere, since nobody chose that.
    shut: BTreeMap<UpstreamId, BTreeSet<String>>,
}

impl Owned {
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && self.policies.is_empty() && self.shut.is_empty()
    }

    pub fn models_called(&self, name: &str) -> &[Arc<Model>] {
        self.models.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first model of each name that `wants` lets through.
    pub fn models(
        &self,
        wants: impl Fn(&Model) -> bool,
    ) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        self.models
            .iter()
            .filter_map(move |(name, all)| Some((name.as_str(), all.iter().find(|it| wants(it))?)))
    }

    /// Every place of every model, by name.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        let all = self.models.iter();
        all.flat_map(|(name, all)| all.iter().map(move |it| (name.as_str(), it)))
    }

    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    pub fn policies(&self) -> impl Iterator<Item = (&str, &Arc<Policy>)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    pub fn is_shut(&self, name: &str) -> bool {
        self.shut.values().any(|it| it.contains(name))
    }

    /// All that an upstream serves.
    pub fn models_at(&self, id: UpstreamId) -> Vec<Arc<Model>> {
        let all = self.models.values().flatten();
        all.filter(|it| it.upstream.id == id).cloned().collect()
    }

    /// What an upstream is to serve and cannot.
    pub fn shut_at(&self, id: UpstreamId) -> BTreeSet<String> {
        self.shut.get(&id).cloned().unwrap_or_default()
    }

    /// That an upstream is to serve these, of which some it may serve.
    pub fn shut(&mut self, id: UpstreamId, mut names: BTreeSet<String>) {
        names.retain(|it| self.models_called(it).iter().all(|it| it.upstream.id != id));
        match names.is_empty() {
            true => self.shut.remove(&id),
            false => self.shut.insert(id, names),
        };
    }

    pub fn policy_of(&self, id: PolicyId) -> Option<&Arc<Policy>> {
        self.policies.values().find(|it| it.id == id)
    }

    pub fn put_models(&mut self, models: Vec<Arc<Model>>) {
        for model in models {
            let called = self.models.entry(model.name.clone()).or_default();
            called.push(model);
            // The same order on every proxy, whatever came first.
            called.sort_by_key(|it| it.upstream.id);
        }
    }

    pub fn drop_upstream(&mut self, id: UpstreamId) {
        self.models.retain(|_, called| {
            called.retain(|it| it.upstream.id != id);
            !called.is_empty()
        });
        self.shut.remove(&id);
    }

    pub fn put_policy(&mut self, policy: Arc<Policy>) {
        self.policies.insert(policy.name.clone(), policy);
    }

    pub fn drop_policy(&mut self, id: PolicyId) {
        self.policies.retain(|_, it| it.id != id);
    }
}
