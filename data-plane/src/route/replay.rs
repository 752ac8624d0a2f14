//! Decides again what was decided before, of what was kept of it: by the same code, without a
//! call. What the same policy decides is then what it decided; what another would have decided is
//! what it says here.
//!
//! Always holds: the same call, kept, with the same records, has the same outcome. What was not
//! kept is never made up: a decision that asks for it says that it did.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use routing_engine::{Features, Judged, Language, Offer, Task, router};
use shared::{
    event::{self, Event, Pulse},
    ids::{OrganizationId, PolicyId, RequestId, UpstreamId},
    money::Money,
    snapshot::{Goal, Key, Worth},
    usage::Usage,
};
use tokio::time::Instant;

use super::{
    Asked, Breaking, By, Decision, Health, Kept, NoRoute, Remembering, Session, Sight, What, Why,
    decide, decision, whole,
};
use crate::{
    ask::{Ask, Form, Needs, Outline, Wishes},
    authenticate::Caller,
    catalog::{Model, Snapshot},
};

/// Chance for a call: the same whenever it is decided.
pub fn dice(request: RequestId) -> fastrand::Rng {
    let (high, low) = request.uuid().as_u64_pair();
    fastrand::Rng::with_seed(high.rotate_left(32) ^ low)
}

/// What tokens would have come to at a place, by an upstream and what callers call the model, at the
/// price of then. Nothing where it is not there any more, or has no price.
pub fn cost_at(
    snapshot: &Snapshot,
    organization: OrganizationId,
    at: (UpstreamId, &str),
    usage: &Usage,
    at_ms: i64,
) -> Option<Money> {
    let model = serving(snapshot, organization, at)?;
    cost_of(snapshot, organization, model, (usage, at_ms))
}

fn serving<'a>(
    snapshot: &'a Snapshot,
    organization: OrganizationId,
    (upstream, model): (UpstreamId, &str),
) -> Option<&'a Arc<Model>> {
    snapshot.serving(organization, model).find(|it| it.upstream.id == upstream)
}

fn cost_of(
    snapshot: &Snapshot,
    organization: OrganizationId,
    model: &Arc<Model>,
    (usage, at_ms): (&Usage, i64),
) -> Option<Money> {
    let price = snapshot.price(organization, model, at_ms)?;
    Some(price.price.cost(usage, None).to_money())
}

/// A place, by its upstream and what callers call the model.
type Place = (UpstreamId, String);

/// What a call saw of a place.
#[derive(Clone, Copy, Debug)]
struct Seen {
    quality: Option<f32>,
    pulse: Option<Pulse>,
    rests: bool,
}

/// A call that was decided before.
#[derive(Debug)]
pub struct Past {
    request: RequestId,
    caller: Caller,
    outline: Outline,
    wishes: Wishes,
    tags: BTreeMap<String, String>,
    inputs: event::Inputs,
    /// What its prompt is like, as far as that was kept.
    features: Option<Features>,
    usage: Usage,
    places: HashMap<Place, Seen>,
    /// Whether somebody asked for what was not kept.
    lacks: AtomicBool,
}

/// Why a call cannot be decided again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    #[error("no policy decided it, or what it decided by was not kept")]
    NotKept,
    #[error("what it might have cost at most decided, and is not kept")]
    CostDecided,
    #[error("what is kept of it cannot be read")]
    Unreadable,
}

/// How places did lately, of those that a call did not look at.
#[derive(Debug, Default)]
pub struct Lately(HashMap<Place, Pulse>);

/// What a call comes to at a place, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    pub quality: Option<f32>,
    pub cost: Option<Money>,
    pub latency_ms: Option<u32>,
}

/// Who was compared for a call, and for which policy's goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    pub policy: PolicyId,
    pub name: String,
    pub goal: Goal,
    /// What they cost is in nano-dollars.
    pub offers: Vec<Offer>,
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// In the order in which they are asked; none where nobody can answer.
    pub places: Vec<Placed>,
    /// Those that cannot, and why, as they are told.
    pub excluded: Vec<(String, Option<String>, &'static str)>,
    pub rule: Option<String>,
    pub version: Option<u32>,
    pub not_evaluated: u32,
    /// Something was asked for that was not kept, and taken for nothing.
    pub lacks: bool,
}

/// A place in its order, and what was expected of it where that was known.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub upstream: UpstreamId,
    pub model: String,
    pub provider: String,
    /// It comes last, since too many calls fail there.
    pub rests: bool,
    pub quality_ppm: Option<u32>,
    pub cost: Option<Money>,
    pub latency_ms: Option<u32>,
}

impl Past {
    pub fn of(event: &Event, key: Arc<Key>) -> Result<Self, Unplayable> {
        let decision = event.decision.as_ref().ok_or(Unplayable::NotKept)?;
        let inputs = decision.inputs.as_deref().ok_or(Unplayable::NotKept)?.clone();
        let features = decision.features.as_deref().map(features).transpose()?;
        let wishes = inputs.wishes.as_deref().map(serde_json::from_str).transpose();
        let wishes: Wishes = wishes.map_err(|_| Unplayable::Unreadable)?.unwrap_or_default();
        if wishes.most_cost.is_some() {
            return Err(Unplayable::CostDecided);
        }
        let outline = Outline {
            form: Form::named(&event.endpoint).ok_or(Unplayable::Unreadable)?,
            model: event.asked.clone(),
            fallbacks: inputs.fallbacks.clone(),
            is_streaming: event.stream,
            wants_usage: false,
            output_cap: inputs.output_cap,
            choices: inputs.choices,
            contexts: inputs.contexts,
            service_tier: None,
            is_base64: false,
            asked_at: 0,
        };
        let known = |it: &event::Weighed| {
            let quality = it.quality_ppm.and_then(|it| i32::try_from(it).ok()).map(whole);
            let rests = it.why.as_deref() == Some(Why::LeftAlone.name());
            Some(((it.upstream?, it.model.clone()), Seen { quality, pulse: it.pulse, rests }))
        };
        Ok(Self {
            request: event.request,
            caller: Caller { key },
            outline,
            wishes,
            tags: event.tags.clone(),
            usage: event.usage,
            places: decision.candidates.iter().filter_map(known).collect(),
            inputs,
            features,
            lacks: AtomicBool::new(false),
        })
    }

    pub fn organization(&self) -> OrganizationId {
        self.caller.organization()
    }

    pub fn inputs(&self) -> &event::Inputs {
        &self.inputs
    }

    /// Forgets what a dollar was spent for: another policy has another.
    pub fn forget_worths(&mut self) {
        self.inputs.worths.clear();
    }

    /// Decides it by what `snapshot` says.
    pub fn again(&self, snapshot: &Snapshot, lately: &Lately) -> Outcome {
        let mut outcome = match self.decide(snapshot, lately) {
            Ok(decision) => Outcome::of(&decision),
            Err(why) => Outcome::nowhere(&why),
        };
        outcome.lacks = self.lacks.load(Ordering::Relaxed);
        outcome
    }

    /// Whose quality is weighed against whose cost where `snapshot` decides, if anybody's is, so that
    /// all calls come to a goal together.
    pub fn weighed(&self, snapshot: &Snapshot, lately: &Lately) -> Option<Weighed> {
        let decision = self.decide(snapshot, lately).ok()?;
        let led = decision.reason.policy()?;
        let By::Auto(toward) = led.by? else { return None };
        let goal = By::together(led.strategy, toward.goal)?;
        let (policy, name) = (led.policy.id, led.policy.name.clone());
        Some(Weighed { policy, name, goal, offers: decision.weighed })
    }

    fn decide(&self, snapshot: &Snapshot, lately: &Lately) -> Result<Decision, NoRoute> {
        self.lacks.store(false, Ordering::Relaxed);
        let used = || self.kept(self.inputs.budget_used_percent, 0);
        let health = Remembered { past: self, lately };
        let now_ms = self.inputs.at_ms;
        let (live, breakers, sessions) = (&health, self, self);
        let sight =
            Sight { snapshot, live, breakers, sessions, now_ms, budget_used_percent: &used };
        decide(sight, &self.caller, self, &mut dice(self.request)).map(|it| it.1)
    }

    /// What the call would have come to at a place that it is led to: with the tokens that it had,
    /// at the price of then.
    pub fn expects(&self, snapshot: &Snapshot, at: &Placed, lately: &Lately) -> Expected {
        let organization = self.organization();
        let Some(model) = serving(snapshot, organization, (at.upstream, &at.model)) else {
            return Expected::default();
        };
        let judged = self.turn().map(|it| it.0);
        let learned = snapshot.learned(organization).map(|it| &it.tables);
        let expected =
            |judged: Judged| router().quality(&judged, &model.name, &model.standing, learned);
        let pulse = Remembered { past: self, lately }.pulse(model, Instant::now());
        Expected {
            quality: self.expected(model).or_else(|| judged.map(expected)),
            cost: cost_of(snapshot, organization, model, (&self.usage, self.inputs.at_ms)),
            latency_ms: pulse.expected_ms(self.usage.output),
        }
    }

    /// What the user's last turn was like, where that was kept.
    fn turn(&self) -> Option<(Judged, u64)> {
        let it = self.inputs.turn.as_ref()?;
        let (task, language) = (Task::named(&it.task)?, Language::from_code(&it.language)?);
        let told = Judged::told(task, language, whole(it.ease));
        let features = self.features.clone().unwrap_or_else(|| told.features.clone());
        Some((Judged { features, ..told }, it.tokens))
    }

    fn place(&self, model: &Model) -> Option<&Seen> {
        self.places.get(&(model.upstream.id, model.name.clone()))
    }

    fn kept<T>(&self, it: Option<T>, otherwise: T) -> T {
        it.unwrap_or_else(|| {
            self.lacks.store(true, Ordering::Relaxed);
            otherwise
        })
    }
}

impl Asked for Past {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    fn input(&self) -> u64 {
        self.inputs.input
    }

    fn needs(&self) -> Needs {
        Needs::of_bits(self.inputs.needs)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.kept(self.inputs.metadata.clone(), BTreeMap::new())
    }

    fn user(&self) -> String {
        self.kept(self.inputs.user.clone(), String::new())
    }

    fn judged(&self, _: &Needs) -> (Judged, u64) {
        let nothing = (Judged::told(Task::Chat, Language::ENGLISH, 0.0), self.inputs.input);
        self.kept(self.turn(), nothing)
    }

    fn names_a_model(&self) -> bool {
        !self.inputs.is_nameless
    }

    fn session(&self, _: &Key) -> Option<u128> {
        let kept = self.kept(self.inputs.session.clone(), String::new());
        u128::from_str_radix(&kept, 16).ok()
    }

    fn body(&self) -> Option<&Ask> {
        None
    }

    fn explore_per_mille(&self) -> Option<u16> {
        Some(self.inputs.explore_per_mille)
    }

    fn weighs(&self) -> bool {
        true
    }

    fn worth(&self, policy: PolicyId, goal: Goal) -> Option<Worth> {
        let mut kept = self.inputs.worths.iter();
        kept.find(|it| (it.policy, it.goal) == (policy, goal)).copied()
    }

    fn expected(&self, model: &Model) -> Option<f32> {
        self.place(model)?.quality
    }
}

fn features(text: &str) -> Result<Features, Unplayable> {
    let bytes = BASE64.decode(text).map_err(|_| Unplayable::Unreadable)?;
    Features::decode(&bytes).map_err(|_| Unplayable::Unreadable)
}

impl Breaking for Past {
    fn rests(&self, model: &Model, _: Instant) -> bool {
        self.place(model).is_some_and(|it| it.rests)
    }
}

impl Remembering for Past {
    fn kept(&self, session: Session) -> Option<Kept> {
        let told = self.inputs.kept.get(&session.name())?;
        Some(Kept::recalled(told, Instant::now()))
    }
}

/// How places did as the call remembers it, and others.
struct Remembered<'a> {
    past: &'a Past,
    lately: &'a Lately,
}

impl Health for Remembered<'_> {
    fn pulse(&self, model: &Model, _: Instant) -> Pulse {
        let known = self.past.place(model).and_then(|it| it.pulse);
        let lately = || self.lately.0.get(&(model.upstream.id, model.name.clone())).copied();
        known.or_else(lately).unwrap_or_default()
    }
}

impl Lately {
    /// What a call saw, for those that come after it.
    pub fn note(&mut self, past: &Past) {
        let seen = past.places.iter().filter_map(|(place, it)| Some((place.clone(), it.pulse?)));
        self.0.extend(seen);
    }
}

impl Outcome {
    pub(super) fn of(decision: &Decision) -> Self {
        let (mut places, mut excluded) = (Vec::new(), Vec::new());
        for it in &decision.considered {
            match &it.what {
                What::Place(model) if it.may_answer() => places.push(Placed {
                    rests: it.why.is_some(),
                    upstream: model.upstream.id,
                    model: model.name.clone(),
                    provider: model.upstream.provider.clone(),
                    quality_ppm: it.known.quality.map(decision::ppm),
                    cost: it.known.call_cost.map(decision::money),
                    latency_ms: it.known.expected_ms,
                }),
                What::Place(_) | What::Target { .. } => excluded.push((
                    it.model().to_owned(),
                    it.provider().map(str::to_owned),
                    it.why.map_or("", Why::name),
                )),
            }
        }
        let led = decision.reason.policy();
        Self {
            places,
            excluded,
            rule: led.and_then(|it| it.rule.clone()),
            version: led.map(|it| it.version),
            not_evaluated: decision.not_evaluated,
            lacks: false,
        }
    }

    fn nowhere(why: &NoRoute) -> Self {
        let excluded = match why {
            NoRoute::Nowhere { excluded, .. } => excluded
                .iter()
                .map(|it| (it.model.clone(), it.provider.clone(), it.why.name()))
                .collect(),
            NoRoute::Unknown { .. }
            | NoRoute::Disabled { .. }
            | NoRoute::Shut { .. }
            | NoRoute::NotAllowed { .. }
            | NoRoute::NoPolicy { .. }
            | NoRoute::NoModel
            | NoRoute::NotToBeKept { .. } => Vec::new(),
        };
        let (places, rule, version) = (Vec::new(), None, None);
        Self { places, excluded, rule, version, not_evaluated: 0, lacks: false }
    }

    /// Whether they ask the same in the same order, and leave out the same for the same reasons.
    pub fn is_that_of(&self, kept: &event::Decision) -> bool {
        let said = kept.candidates.iter().map(|it| {
            (it.model.as_str(), it.provider.as_deref(), it.why.as_deref().unwrap_or_default())
        });
        let asked = self.places.iter().map(|it| {
            let why = if it.rests { Why::LeftAlone.name() } else { "" };
            (it.model.as_str(), Some(it.provider.as_str()), why)
        });
        let left_out = self.excluded.iter().map(|it| (it.0.as_str(), it.1.as_deref(), it.2));
        // Of a decision among very many the last were not kept.
        let told = kept.candidates.len();
        self.rule == kept.rule && asked.chain(left_out).take(told).eq(said)
    }
}
