//! Everything at one revision, and how it becomes the next one, record by record.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use shared::{
    ids::{ApiKeyId, OrganizationId, PolicyId, PriceBookId, ProjectId, UpstreamId},
    keys::KeyHash,
    money::PinnedPrice,
    snapshot::{
        Budget, Change, Digest, Entity, Genuine, Goal, Key, Learned as PublishedLearned, Limits,
        Policy as PublishedPolicy, PriceBook, Project, RecordId, Revoked, Routing, Secret, SetSum,
        Tenant as PublishedTenant, Upstream as Published, Worth, unpack,
    },
};
use time::OffsetDateTime;
use tracing::warn;

use super::{
    KnownSecret, Learned, Model, Opener, Policy, Rejected,
    closed::{Closed, Whose},
    owned::Owned,
    prices::Book,
    shards::Shards,
    tenant::Tenant,
    upstreams::{self, Unusable},
};

/// Everything at one revision. A copy shares all that a change leaves alone.
#[derive(Clone)]
pub struct Snapshot {
    pub revision: i64,
    pub taken_at: OffsetDateTime,
    /// The first so many records that are left out.
    pub quarantined: Vec<Quarantined>,
    /// What the next delta follows.
    pub(super) chain: Digest,
    /// What the records were said to add up to,
    said: SetSum,
    /// and what those that we took do.
    sum: SetSum,
    held: Shards<RecordId, Held>,
    keys: Shards<KeyHash, KnownSecret>,
    owned: Shards<OrganizationId, Arc<Owned>>,
    platform: Arc<Owned>,
    tenants: Shards<OrganizationId, Tenant>,
    projects: Shards<ProjectId, Arc<Project>>,
    budgets: Shards<OrganizationId, Arc<[Arc<Budget>]>>,
    books: Arc<HashMap<PriceBookId, Arc<Book>>>,
    /// Of each organization 700 KB at most.
    learned: Shards<OrganizationId, Arc<Learned>>,
    closed: Closed,
    /// What was revoked not long ago. Nothing here opens anything.
    revoked: Shards<KeyHash, Arc<Revoked>>,
    /// Secrets that opened something and were stopped by the fast lane, and the revision
    /// that will have seen why.
    stopped: Arc<HashMap<KeyHash, i64>>,
}

/// A record that is left out, and why. Neither holds anything secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub record: String,
    pub reason: String,
    id: RecordId,
}

/// Why a secret that we know opens nothing.
#[derive(Clone, Copy, Debug)]
pub enum Shut<'a> {
    Revoked(&'a Revoked),
    /// The fast lane stopped it. Why will be in a revision that we have not got yet.
    Stopped(&'a Key),
}

/// So many are listed. What is wrong with the thousandth is wrong with the first.
const MOST_LISTED: usize = 1_000;

/// That we have a record, and what we made of it.
#[derive(Clone)]
struct Held {
    sum: SetSum,
    made: Made,
}

/// What a record became, as far as it takes to undo it.
#[derive(Clone, Default)]
enum Made {
    /// It could not be read, or is of a kind that we do not know.
    #[default]
    Nothing,
    /// It could not be read, nor could one before it, so that somebody is not served.
    Closing(Whose),
    /// An organization's own upstream that cannot be called, nor could one before it, so that its
    /// models are not served to it.
    Shut(OrganizationId),
    Key(Arc<Key>),
    Upstream(Option<OrganizationId>),
    Policy(Option<OrganizationId>),
    Organization,
    Project,
    Budget(OrganizationId),
    Book,
    Learned,
    Revoked(Arc<Revoked>),
}

impl Snapshot {
    /// Before there was anything.
    pub(super) fn empty() -> Self {
        Self {
            revision: 0,
            taken_at: OffsetDateTime::UNIX_EPOCH,
            quarantined: Vec::new(),
            chain: Digest::NOTHING,
            said: SetSum::default(),
            sum: SetSum::default(),
            held: Shards::default(),
            keys: Shards::default(),
            owned: Shards::default(),
            platform: Arc::default(),
            tenants: Shards::default(),
            projects: Shards::default(),
            budgets: Shards::default(),
            books: Arc::default(),
            learned: Shards::default(),
            closed: Closed::default(),
            revoked: Shards::default(),
            stopped: Arc::default(),
        }
    }

    pub fn secret(&self, hash: &KeyHash) -> Option<&KnownSecret> {
        if self.stopped.contains_key(hash) {
            return None;
        }
        self.keys.get(hash)
    }

    /// Why a secret opens nothing, as far as we know. Only who has the secret can ask.
    pub fn why_shut(&self, hash: &KeyHash) -> Option<Shut<'_>> {
        let revoked = self.revoked.get(hash).map(|it| Shut::Revoked(it));
        let stopped = || self.keys.get(hash).filter(|_| self.stopped.contains_key(hash));
        revoked.or_else(|| stopped().map(|it| Shut::Stopped(&it.key)))
    }

    /// Whether a record is left out without which we do not know what the key's calls may do.
    pub fn bars(&self, key: &Key) -> bool {
        self.closed.bars(key)
    }

    /// Where the model `name` is served to `organization`: its own upstreams first, and
    /// none of the platform's that it has disabled.
    pub fn serving(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> impl Iterator<Item = &Arc<Model>> {
        let owned = self.owned.get(&organization);
        let own = owned.map_or(&[][..], |it| it.models_called(name));
        let platforms = match owned.is_some_and(|it| it.is_shut(name)) {
            true => &[][..],
            false => self.platform.models_called(name),
        };
        let tenant = self.tenants.get(&organization);
        let wanted = move |it: &&Arc<Model>| tenant.is_none_or(|tenant| tenant.wants(it));
        own.iter().chain(platforms.iter().filter(wanted))
    }

    /// Whether `organization` has an upstream of its own for the model `name`, which cannot be
    /// called: others are not asked instead.
    pub fn is_shut(&self, organization: OrganizationId, name: &str) -> bool {
        self.owned.get(&organization).is_some_and(|it| it.is_shut(name))
            && self.serving(organization, name).next().is_none()
    }

    /// Whether the platform serves the model `name`, and `organization` has disabled it.
    pub fn is_disabled(&self, organization: OrganizationId, name: &str) -> bool {
        !self.platform.models_called(name).is_empty()
            && !self.is_shut(organization, name)
            && self.serving(organization, name).next().is_none()
    }

    /// Where `name` leads for `organization`: its own policy, or the platform's.
    pub fn policy(&self, organization: OrganizationId, name: &str) -> Option<&Arc<Policy>> {
        let own = self.owned.get(&organization).and_then(|it| it.policy(name));
        own.or_else(|| self.platform.policy(name))
    }

    /// The same by its id, whatever it is called.
    pub fn policy_of(&self, organization: OrganizationId, id: PolicyId) -> Option<&Arc<Policy>> {
        let own = self.owned.get(&organization).and_then(|it| it.policy_of(id));
        own.or_else(|| self.platform.policy_of(id))
    }

    /// Every policy that `organization` can ask for, each name once, in order.
    pub fn policies(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Policy>> {
        let mut policies: BTreeMap<_, _> = self.platform.policies().collect();
        policies.extend(self.owned.get(&organization).into_iter().flat_map(|it| it.policies()));
        policies.into_values()
    }

    /// What holds for all of an organization.
    pub fn organization_limits(&self, organization: OrganizationId) -> Limits {
        self.tenants.get(&organization).map(|it| it.limits).unwrap_or_default()
    }

    /// How its calls are routed that do not say so, if anybody said.
    pub fn organization_routing(&self, organization: OrganizationId) -> Option<&Routing> {
        self.tenants.get(&organization)?.routing.as_deref()
    }

    /// How many of a thousand calls that policies compare models for go to one drawn by chance.
    pub fn explore_per_mille(&self, organization: OrganizationId) -> u16 {
        self.tenants.get(&organization).map_or(0, |it| it.explore_per_mille)
    }

    /// What a policy spends a dollar for, so that the organization's calls come to `goal` together.
    pub fn worth_of_a_dollar(
        &self,
        organization: OrganizationId,
        (policy, goal): (PolicyId, Goal),
    ) -> Option<u64> {
        let worths = &self.tenants.get(&organization)?.worths;
        worths.iter().find(|it| (it.policy, it.goal) == (policy, goal))?.of_a_dollar
    }

    pub fn project_limits(&self, project: ProjectId) -> Limits {
        self.projects.get(&project).map(|it| it.limits).unwrap_or_default()
    }

    /// What matters of a project beside its id, if anything does.
    pub fn project(&self, project: ProjectId) -> Option<&Project> {
        self.projects.get(&project).map(Arc::as_ref)
    }

    /// What an organization's feedback taught, if anything.
    pub fn learned(&self, organization: OrganizationId) -> Option<&Arc<Learned>> {
        self.learned.get(&organization)
    }

    /// Every budget of an organization, on whatever it is.
    pub fn budgets(&self, organization: OrganizationId) -> &[Arc<Budget>] {
        self.budgets.get(&organization).map_or(&[], |it| it)
    }

    /// What `organization` pays for a model at a moment: what the first of its books says that
    /// says so, or what the platform does. A book that is not here may have promised less, and so
    /// the model is unpriced.
    pub fn price<'a>(
        &'a self,
        organization: OrganizationId,
        model: &'a Model,
        now_ms: i64,
    ) -> Option<&'a Arc<PinnedPrice>> {
        let tenant =
            self.tenants.get(&organization).filter(|_| model.upstream.organization.is_none());
        let held = tenant.map_or(&[][..], |it| &it.books).iter().filter(|it| it.is_held(now_ms));
        for held in held {
            let said = self.books.get(&held.book)?.price(model.upstream.id, &model.name, now_ms);
            if said.is_some() {
                return said;
            }
        }
        model.prices.at(now_ms)
    }

    /// Every model that `organization` can call, each name once, in order.
    pub fn models(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Model>> {
        let tenant = self.tenants.get(&organization);
        let wants = |it: &Model| tenant.is_none_or(|tenant| tenant.wants(it));
        let owned = self.owned.get(&organization);
        let is_shut = |name: &str| owned.is_some_and(|it| it.is_shut(name));
        let platforms = self.platform.models(wants).filter(|it| !is_shut(it.0));
        let mut models: BTreeMap<_, _> = platforms.collect();
        models.extend(owned.into_iter().flat_map(|it| it.models(|_| true)));
        models.into_values()
    }

    /// Every place that serves a model to `organization`: its own, then the platform's.
    pub fn places(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Model>> {
        let tenant = self.tenants.get(&organization);
        let owned = self.owned.get(&organization);
        let is_there = move |name: &str, it: &Model| {
            let is_wanted = tenant.is_none_or(|tenant| tenant.wants(it));
            is_wanted && !owned.is_some_and(|owned| owned.is_shut(name))
        };
        let platforms = self.platform.places().filter(move |(name, it)| is_there(name, it));
        let own = owned.into_iter().flat_map(|it| it.places());
        own.chain(platforms).map(|(_, it)| it)
    }

    /// How many records we hold, and secrets that open something.
    pub fn size(&self) -> (usize, usize) {
        (self.held.len(), self.keys.len())
    }

    /// Whether what we hold is what was published. Looks at every record.
    pub(super) fn adds_up(&self) -> bool {
        let sum = self.held.values().fold(SetSum::default(), |sum, it| sum.with(it.sum));
        sum == self.said && sum == self.sum
    }

    /// The sum of all that we hold: the same on every proxy that serves this revision.
    pub fn sum(&self) -> SetSum {
        self.sum
    }

    /// Everything of a full image.
    pub(super) fn build(full: &Genuine, opener: &Opener) -> Result<Self, Rejected> {
        let mut snapshot = Self::empty();
        snapshot.take_all(full, opener)?;
        Ok(snapshot)
    }

    /// The revision after this one.
    pub(super) fn followed_by(&self, delta: &Genuine, opener: &Opener) -> Result<Self, Rejected> {
        let (expected, came) = (self.revision + 1, delta.head.revision);
        if came != expected {
            return Err(Rejected::Gap { expected, came });
        }
        if delta.head.chain != self.chain {
            return Err(Rejected::OtherChain { revision: came });
        }
        let mut next = self.clone();
        next.take_all(delta, opener)?;
        Ok(next)
    }

    fn take_all(&mut self, from: &Genuine, opener: &Opener) -> Result<(), Rejected> {
        let (head, mut bad) = (&from.head, 0);
        unpack(&from.signed.body, |change| match change {
            Ok(change) => self.take(change, opener),
            Err(_) => bad += 1,
        })?;
        // A line that is no record was not summed up by its writer either: it is damage.
        if bad > 0 || self.sum != head.sum {
            return Err(Rejected::Sum { revision: head.revision });
        }
        self.revision = head.revision;
        self.said = head.sum;
        self.chain = head.chain_end();
        let at = i128::from(head.published_at) * 1_000;
        self.taken_at = OffsetDateTime::from_unix_timestamp_nanos(at).unwrap_or(self.taken_at);
        self.resume();
        Ok(())
    }

    /// Records as they were published, to decide by: nothing in it can be called.
    pub fn deciding(revision: i64, records: &[(RecordId, String)]) -> Self {
        let changes: Vec<_> = records.iter().map(|(id, it)| Change::put(*id, it)).collect();
        Self::of_image(revision, OffsetDateTime::UNIX_EPOCH, &changes, &Opener::deciding())
    }

    /// The same where an organization's policies spend a dollar for that instead, or as well.
    pub fn spending(mut self, organization: OrganizationId, worths: &[Worth]) -> Self {
        let mut tenant = self.tenants.get(&organization).cloned().unwrap_or_default();
        tenant.worths = worths.iter().chain(&*tenant.worths).copied().collect();
        self.tenants.insert(organization, tenant);
        self
    }

    /// A key, whatever its secret is.
    pub fn key(&self, id: ApiKeyId) -> Option<&Arc<Key>> {
        let held = self.held.get(&RecordId { entity: Entity::Key, id: id.uuid() })?;
        if let Made::Key(key) = &held.made { Some(key) } else { None }
    }

    /// What an image without a signature says.
    pub(super) fn of_image(
        revision: i64,
        taken_at: OffsetDateTime,
        changes: &[Change<'_>],
        opener: &Opener,
    ) -> Self {
        let mut snapshot = Self::empty();
        for change in changes {
            snapshot.take(*change, opener);
        }
        snapshot.said = snapshot.sum;
        Self { revision, taken_at, ..snapshot }
    }

    fn take(&mut self, change: Change<'_>, opener: &Opener) {
        let Change { id, content } = change;
        let before = self.held.get(&id).cloned();
        let (was, made) = before.map_or_else(Default::default, |it| (it.sum, it.made));
        let sum = SetSum::of(change);
        self.sum = self.sum.without(was).with(sum);
        if !self.quarantined.is_empty() {
            self.quarantined.retain(|it| it.id != id);
        }
        match content {
            None => {
                self.undo(id, &made);
                self.held.remove(&id);
            }
            Some(content) => {
                let made = self.make(id, content, made, opener);
                self.held.insert(id, Held { sum, made });
            }
        }
    }

    /// Makes of a record what is served. One that is wrong leaves what was made of the
    /// good one before it, and where there was none, closes those whose it is.
    fn make(&mut self, id: RecordId, content: &str, mut before: Made, opener: &Opener) -> Made {
        if let Made::Closing(_) | Made::Shut(_) = before {
            self.undo(id, &before);
            before = Made::Nothing;
        }
        let made = match id.entity {
            Entity::Key => self.make_key(id, content, &before),
            Entity::Upstream => self.make_upstream(id, content, &before, opener),
            Entity::Policy => self.make_policy(id, content, &before),
            Entity::Organization => read::<PublishedTenant>(content).and_then(|it| {
                is_its_own(id, it.organization.uuid())?;
                self.tenants.insert(it.organization, Tenant::of(it));
                Ok(Made::Organization)
            }),
            Entity::Project => read::<Project>(content).and_then(|it| {
                is_its_own(id, it.id.uuid())?;
                self.projects.insert(it.id, Arc::new(it));
                Ok(Made::Project)
            }),
            Entity::Budget => read::<Budget>(content).and_then(|it| {
                is_its_own(id, it.id.uuid())?;
                self.undo(id, &before);
                let organization = it.organization;
                self.change_budgets(organization, |all| all.push(Arc::new(it)));
                Ok(Made::Budget(organization))
            }),
            Entity::PriceBook => read::<PriceBook>(content).and_then(|it| {
                is_its_own(id, it.id.uuid())?;
                Arc::make_mut(&mut self.books).insert(it.id, Arc::new(Book::of(it)));
                Ok(Made::Book)
            }),
            Entity::Revoked => self.make_revoked(id, content, &before),
            Entity::Learned => read::<PublishedLearned>(content).and_then(|it| {
                is_its_own(id, it.organization.uuid())?;
                self.learned.insert(it.organization, Arc::new(Learned::open(it)?));
                Ok(Made::Learned)
            }),
            Entity::Unknown(_) => Ok(Made::Nothing),
        };
        made.unwrap_or_else(|why| {
            self.quarantine(id, format!("{} {}", id.entity.name(), id.id.simple()), &why);
            match (before, Whose::of(id, content)) {
                (Made::Nothing, Some(whose)) => {
                    self.closed.close(whose);
                    Made::Closing(whose)
                }
                (before, _) => before,
            }
        })
    }

    /// All secrets of a key or none: half a key would be a riddle.
    fn make_key(&mut self, id: RecordId, content: &str, before: &Made) -> Result<Made, Unusable> {
        let key: Key = read(content)?;
        is_its_own(id, key.id.uuid())?;
        let secrets = key.secrets.iter().map(|it| Ok((hash(&it.hash)?, it.valid_until)));
        let secrets: Vec<_> = secrets.collect::<Result<_, Unusable>>()?;
        let is_anothers = |hash| self.keys.get(hash).is_some_and(|it| it.key.id != key.id);
        if secrets.iter().any(|(hash, _)| is_anothers(hash)) {
            return Err(Unusable::SharedSecret);
        }
        self.undo(id, before);
        let key = Arc::new(key);
        for (hash, valid_until) in secrets {
            self.keys.insert(hash, KnownSecret { key: key.clone(), valid_until });
        }
        Ok(Made::Key(key))
    }

    fn make_revoked(
        &mut self,
        id: RecordId,
        content: &str,
        before: &Made,
    ) -> Result<Made, Unusable> {
        let revoked: Revoked = read(content)?;
        is_its_own(id, revoked.id.uuid())?;
        let hashes: Vec<_> =
            revoked.hashes.iter().map(|it| hash(&it.0)).collect::<Result<_, Unusable>>()?;
        self.undo(id, before);
        let revoked = Arc::new(revoked);
        for hash in hashes {
            self.revoked.insert(hash, revoked.clone());
        }
        Ok(Made::Revoked(revoked))
    }

    fn make_upstream(
        &mut self,
        id: RecordId,
        content: &str,
        before: &Made,
        opener: &Opener,
    ) -> Result<Made, Unusable> {
        let published: Published = read(content)?;
        is_its_own(id, published.id.uuid())?;
        let (upstream, owner) = (published.id, published.organization);
        let names = published.models.iter().map(|it| it.name.clone()).collect();
        let opened = upstreams::open(published, opener);
        if let (Err(why), Some(organization)) = (&opened, owner) {
            self.quarantine(id, format!("{} {}", id.entity.name(), id.id.simple()), why);
            let is_good = matches!(before, Made::Upstream(it) if *it == owner);
            if !is_good {
                self.undo(id, before);
            }
            self.change_owned(owner, |it| it.shut(upstream, names));
            return Ok(if is_good { before.clone() } else { Made::Shut(organization) });
        }
        let (models, unusable) = opened?;
        self.undo(id, before);
        self.change_owned(owner, |it| {
            it.put_models(models);
            if owner.is_some() {
                it.shut(upstream, names);
            }
        });
        for (name, why) in unusable {
            self.quarantine(id, format!("upstream {name}"), &why);
        }
        Ok(Made::Upstream(owner))
    }

    fn make_policy(
        &mut self,
        id: RecordId,
        content: &str,
        before: &Made,
    ) -> Result<Made, Unusable> {
        let policy: PublishedPolicy = read(content)?;
        is_its_own(id, policy.id.uuid())?;
        let policy = Policy::open(policy)?;
        let owner = policy.organization;
        self.undo(id, before);
        self.change_owned(owner, |it| it.put_policy(Arc::new(policy)));
        Ok(Made::Policy(owner))
    }

    /// Takes away what was made of a record.
    fn undo(&mut self, id: RecordId, made: &Made) {
        match made {
            Made::Nothing => (),
            Made::Closing(whose) => self.closed.open(*whose),
            Made::Key(key) => {
                for hash in key.secrets.iter().filter_map(|it| hash(&it.hash).ok()) {
                    self.keys.remove(&hash);
                }
            }
            Made::Upstream(owner) => {
                self.change_owned(*owner, |it| it.drop_upstream(UpstreamId::from_uuid(id.id)));
            }
            Made::Shut(owner) => {
                self.change_owned(Some(*owner), |it| {
                    it.drop_upstream(UpstreamId::from_uuid(id.id))
                });
            }
            Made::Policy(owner) => {
                self.change_owned(*owner, |it| it.drop_policy(PolicyId::from_uuid(id.id)));
            }
            Made::Revoked(revoked) => {
                for hash in revoked.hashes.iter().filter_map(|it| hash(&it.0).ok()) {
                    self.revoked.remove(&hash);
                }
            }
            Made::Organization => self.tenants.remove(&OrganizationId::from_uuid(id.id)),
            Made::Project => self.projects.remove(&ProjectId::from_uuid(id.id)),
            Made::Book => {
                Arc::make_mut(&mut self.books).remove(&PriceBookId::from_uuid(id.id));
            }
            Made::Learned => self.learned.remove(&OrganizationId::from_uuid(id.id)),
            Made::Budget(owner) => {
                self.change_budgets(*owner, |all| all.retain(|it| it.id.uuid() != id.id));
            }
        }
    }

    /// Keeps of `before` what was made of good records that are bad in this one, as who followed
    /// every change does: an image cannot know what they were.
    pub(super) fn keeping(mut self, before: &Self) -> Self {
        let is_bad = |id: RecordId, it: &Held| match it.made {
            Made::Nothing => !matches!(id.entity, Entity::Unknown(_)),
            Made::Closing(_) | Made::Shut(_) => true,
            Made::Key(_)
            | Made::Upstream(_)
            | Made::Policy(_)
            | Made::Organization
            | Made::Project
            | Made::Budget(_)
            | Made::Book
            | Made::Learned
            | Made::Revoked(_) => false,
        };
        let bad = self.held.iter().filter(|(id, it)| is_bad(**id, it));
        let bad: Vec<_> = bad.map(|(id, it)| (*id, it.clone())).collect();
        for (id, Held { sum, made }) in bad {
            let Some(good) = before.held.get(&id).map(|it| &it.made) else { continue };
            if let Some(kept) = self.keep(id, &made, good, before) {
                self.held.insert(id, Held { sum, made: kept });
            }
        }
        self
    }

    /// Puts what was made of a good record in the place of what a bad one has come to.
    fn keep(&mut self, id: RecordId, bad: &Made, good: &Made, before: &Self) -> Option<Made> {
        let upstream = UpstreamId::from_uuid(id.id);
        match good {
            Made::Nothing | Made::Closing(_) | Made::Shut(_) => return None,
            Made::Key(key) => {
                let known = |it: &Secret| Some((hash(&it.hash).ok()?, it.valid_until));
                let secrets: Vec<_> = key.secrets.iter().filter_map(known).collect();
                if secrets.iter().any(|(hash, _)| self.keys.get(hash).is_some()) {
                    return None;
                }
                for (hash, valid_until) in secrets {
                    self.keys.insert(hash, KnownSecret { key: key.clone(), valid_until });
                }
            }
            Made::Revoked(revoked) => {
                for hash in revoked.hashes.iter().filter_map(|it| hash(&it.0).ok()) {
                    self.revoked.insert(hash, revoked.clone());
                }
            }
            Made::Upstream(owner) => {
                let models = before.owned_by(*owner)?.models_at(upstream);
                let shut = self.owned_by(*owner).map(|it| it.shut_at(upstream));
                self.undo(id, bad);
                self.change_owned(*owner, |it| {
                    it.put_models(models);
                    it.shut(upstream, shut.unwrap_or_default());
                });
                return Some(good.clone());
            }
            Made::Policy(owner) => {
                let policy = before.owned_by(*owner)?.policy_of(PolicyId::from_uuid(id.id))?;
                self.change_owned(*owner, |it| it.put_policy(policy.clone()));
            }
            Made::Organization => {
                let organization = OrganizationId::from_uuid(id.id);
                self.tenants.insert(organization, before.tenants.get(&organization)?.clone());
            }
            Made::Project => {
                let project = ProjectId::from_uuid(id.id);
                self.projects.insert(project, before.projects.get(&project)?.clone());
            }
            Made::Book => {
                let book = PriceBookId::from_uuid(id.id);
                let kept = before.books.get(&book)?.clone();
                Arc::make_mut(&mut self.books).insert(book, kept);
            }
            Made::Learned => {
                let organization = OrganizationId::from_uuid(id.id);
                self.learned.insert(organization, before.learned(organization)?.clone());
            }
            Made::Budget(owner) => {
                let budget = before.budgets(*owner).iter().find(|it| it.id.uuid() == id.id)?;
                self.change_budgets(*owner, |all| all.push(budget.clone()));
            }
        }
        self.undo(id, bad);
        Some(good.clone())
    }

    fn owned_by(&self, owner: Option<OrganizationId>) -> Option<&Owned> {
        match owner {
            Some(owner) => self.owned.get(&owner).map(Arc::as_ref),
            None => Some(&self.platform),
        }
    }

    fn change_owned(&mut self, owner: Option<OrganizationId>, change: impl FnOnce(&mut Owned)) {
        let Some(owner) = owner else {
            change(Arc::make_mut(&mut self.platform));
            return;
        };
        let is_left = self.owned.entry(owner).is_some_and(|it| {
            let owned = Arc::make_mut(it);
            change(owned);
            !owned.is_empty()
        });
        if !is_left {
            self.owned.remove(&owner);
        }
    }

    fn change_budgets(
        &mut self,
        owner: OrganizationId,
        change: impl FnOnce(&mut Vec<Arc<Budget>>),
    ) {
        let mut budgets = self.budgets.get(&owner).map_or_else(Vec::new, |it| it.to_vec());
        change(&mut budgets);
        if budgets.is_empty() {
            self.budgets.remove(&owner);
        } else {
            self.budgets.insert(owner, budgets.into());
        }
    }

    fn quarantine(&mut self, id: RecordId, record: String, why: &Unusable) {
        if self.quarantined.len() < MOST_LISTED {
            let reason = why.to_string();
            warn!(record, reason, "left out {record}: {reason}");
            self.quarantined.push(Quarantined { record, reason, id });
        }
    }

    /// Refuses secrets until a revision says what became of them.
    pub(crate) fn stopping(&self, secrets: &[(KeyHash, i64)]) -> Self {
        let mut next = self.clone();
        let mut stopped = HashMap::clone(&next.stopped);
        for (hash, until) in secrets.iter().filter(|it| it.1 > self.revision) {
            let there = stopped.entry(*hash).or_insert(*until);
            *there = (*there).max(*until);
        }
        next.stopped = Arc::new(stopped);
        next
    }

    /// Goes on refusing what the snapshot before this one refused.
    pub(super) fn stopping_as(self, before: &Self) -> Self {
        let stopped: Vec<_> = before.stopped.iter().map(|(hash, until)| (*hash, *until)).collect();
        if stopped.is_empty() { self } else { self.stopping(&stopped) }
    }

    /// Lets a revision have its word about what it has seen.
    fn resume(&mut self) {
        if !self.stopped.is_empty() {
            let open = self.stopped.iter().filter(|it| *it.1 > self.revision);
            self.stopped = Arc::new(open.map(|(hash, until)| (*hash, *until)).collect());
        }
    }
}

fn read<T: DeserializeOwned>(content: &str) -> Result<T, Unusable> {
    serde_json::from_str(content).map_err(Unusable::Unreadable)
}

fn is_its_own(record: RecordId, said: uuid::Uuid) -> Result<(), Unusable> {
    if record.id == said { Ok(()) } else { Err(Unusable::OtherId) }
}

fn hash(bytes: &[u8]) -> Result<KeyHash, Unusable> {
    bytes.try_into().map(KeyHash).map_err(|_| Unusable::BadHash)
}

impl From<io::Error> for Rejected {
    fn from(error: io::Error) -> Self {
        Self::Body(error.kind())
    }
}
