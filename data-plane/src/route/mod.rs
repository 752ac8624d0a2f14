//! Where a call goes: everything that may answer it, in the order to be tried.
//!
//! Always holds: no candidate is one that the caller may not use, that cannot do what the call
//! asks for, or that a policy or the caller excludes, whichever name led to it; a policy leads to
//! models and never to another policy, so that none goes in circles.

mod asked;
mod decision;
mod defaults;
mod draw;
mod eligible;
mod explore;
mod facts;
mod inputs;
mod judging;
mod leads;
mod names;
mod no_route;
mod replay;
mod sessions;
mod staged;
mod strategy;
mod terms;

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc};

use routing_engine::{Offer, Task};
use shared::{
    condition::Condition,
    event,
    ids::{OrganizationId, PolicyId},
    money::PinnedPrice,
    snapshot::{Choice, Constraints, Failed, Rule, Strategy, Target, Worth},
    usage::Usage,
};
use tokio::time::Instant;

pub use self::{
    asked::{Asked, Breaking, Health, Remembering, judged},
    decision::{Considered, Decision, Led, Reason, What, ppm},
    defaults::Whose,
    draw::{Dice, Dry},
    eligible::{Serving, Term, Why, unmet},
    explore::Exploration,
    leads::{find, led_to},
    no_route::{Excluded, NoRoute},
    replay::{Expected, Lately, Outcome, Past, Placed, Unplayable, Weighed, cost_at, dice},
    sessions::{Kept, Session, SessionMetrics, Sessions, Sticks},
    strategy::{By, worth_of_a_dollar},
    terms::Terms,
};
use self::{
    asked::{millionths, whole},
    eligible::Call,
    facts::{Facts, Found},
    judging::Judging,
    leads::{at, not_allowed, usable, why_not},
    names::Name,
    no_route::shown,
    strategy::{Known, Toward},
};
use crate::{
    ask::{Ask, Marks, Sort, Wishes},
    authenticate::Caller,
    budgets::{Weight, not_priced},
    call::Pulse,
    catalog::{Candidate, Model, Policy, Snapshot, Version, allows},
};

/// A call is tried at so many places at most.
const MOST_CANDIDATES: usize = 16;
/// So many that may not answer are remembered.
const MOST_EXCLUDED: usize = 32;

/// A call and the places that may answer it.
#[derive(Debug)]
pub struct Plan {
    pub caller: Caller,
    pub ask: Ask,
    /// At least one.
    pub candidates: Vec<Candidate>,
    pub decision: Arc<Decision>,
    /// How they are tried.
    pub terms: Terms,
    /// The session that is to keep whoever answers, where that has to be remembered.
    pub session: Option<Session>,
}

/// What there is to choose from, and how it does. Prices are those of that moment.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    pub snapshot: &'a Snapshot,
    pub live: &'a dyn Health,
    /// Who is left alone at present: asked after the others.
    pub breakers: &'a dyn Breaking,
    pub sessions: &'a dyn Remembering,
    pub now_ms: i64,
    /// How much is used up of the budget of the call's that is used up most, as far as the proxy
    /// knows. Asked where a condition does.
    pub budget_used_percent: &'a (dyn Fn() -> u64 + Send + Sync),
}

pub fn route(
    sight: Sight<'_>,
    caller: Caller,
    ask: Ask,
    dice: &mut dyn Dice,
) -> Result<Plan, NoRoute> {
    let (candidates, decision, terms, session) = decide(sight, &caller, &ask, dice)?;
    Ok(Plan { caller, ask, candidates, decision: Arc::new(decision), terms, session })
}

fn decide(
    sight: Sight<'_>,
    caller: &Caller,
    asked: &dyn Asked,
    dice: &mut dyn Dice,
) -> Result<(Vec<Candidate>, Decision, Terms, Option<Session>), NoRoute> {
    let mut routing = Routing::begin(sight, caller, asked, dice)?;
    let first = routing.reach(routing.name, true);
    for name in &asked.outline().fallbacks {
        // What cannot be had is passed over: it is a fallback.
        let _ = routing.reach(name, false);
    }
    routing.ends(first)
}

/// A call on its way to a plan.
struct Routing<'a> {
    sight: Sight<'a>,
    caller: &'a Caller,
    asked: &'a dyn Asked,
    call: Call<'a>,
    dice: &'a mut dyn Dice,
    now: Instant,
    marks: OnceCell<Marks>,
    /// What the prompt is like, if somebody had to know.
    judging: Judging<'a>,
    /// And what conditions found out beside.
    found: Found,
    not_evaluated: u32,
    /// What is asked for, also where the call does not say so,
    name: &'a str,
    /// and whose default that is.
    default: Option<Whose>,
    /// Policies that have to lead there as well: the caller's own wish, and what their key, project
    /// and organization demand.
    also: Vec<&'a Choice>,
    terms: Option<Terms>,
    session: Option<Session>,
    sticks: Option<Sticks>,
    /// What was remembered of sessions, by their names.
    kept: BTreeMap<String, event::Kept>,
    /// What the policies that were asked spend a dollar for.
    worths: Vec<Worth>,
    candidates: Vec<Candidate>,
    /// Those that may answer, in the order of the candidates,
    chosen: Vec<Considered>,
    /// then those where too many calls fail at present,
    resting: Vec<Place<'a>>,
    /// if they are to come later than their turn,
    passes_over: bool,
    /// How many of a thousand calls of the organization are explored,
    explore_per_mille: u16,
    /// whether the name that leads on may have been asked for that,
    explores: bool,
    /// and what came of it.
    exploration: Option<Exploration>,
    /// What those that were compared first offered, where somebody asks for that.
    weighed: Vec<Offer>,
    /// and those that may not.
    excluded: Vec<Considered>,
}

/// Where a name leads, before anybody asks who may answer.
struct Lead<'a> {
    reason: Reason,
    strategy: Strategy,
    by: Option<By>,
    constraints: Option<&'a Constraints>,
    tiers: Vec<Vec<Aim<'a>>>,
    terms: Terms,
    session: Option<Session>,
    /// Whether chance may decide instead, for a share of the calls.
    explores: bool,
}

/// A target, and where it is served.
struct Aim<'a> {
    weight: u16,
    places: Vec<&'a Arc<Model>>,
    /// What tells it from others to a session.
    mark: u128,
}

/// A place that may answer.
struct Place<'a> {
    model: &'a Arc<Model>,
    price: Option<&'a Arc<PinnedPrice>>,
    known: Known,
    score: Option<f64>,
}

/// A session, and what is remembered of it.
struct Keeping {
    session: Session,
    kept: Option<Kept>,
    /// Whether any tier leads there.
    is_led: bool,
}

impl Keeping {
    fn of(session: Session, sessions: &dyn Remembering, tiers: &[Vec<Aim<'_>>]) -> Self {
        let kept = sessions.kept(session);
        let all = || tiers.iter().flatten().flat_map(|it| &it.places);
        let is_led = kept.as_ref().is_some_and(|kept| all().any(|it| kept.is_of(it)));
        Self { session, kept, is_led }
    }

    fn kept(&self, now: Instant) -> Option<&Kept> {
        self.kept.as_ref().filter(|it| !it.is_over(now))
    }
}

impl<'a> Routing<'a> {
    fn begin(
        sight: Sight<'a>,
        caller: &'a Caller,
        asked: &'a dyn Asked,
        dice: &'a mut dyn Dice,
    ) -> Result<Self, NoRoute> {
        let call = Call::of(asked);
        let (name, default) = defaults::asked(sight.snapshot, caller, asked)?;
        let task = named(sight.snapshot, caller.organization(), name).task;
        let judging = Judging::of(asked, call.needs.clone(), task);
        let mut routing = Self {
            sight,
            caller,
            asked,
            call,
            dice,
            now: Instant::now(),
            marks: OnceCell::new(),
            judging,
            found: Found::default(),
            not_evaluated: 0,
            name,
            default,
            also: Vec::new(),
            terms: None,
            session: None,
            sticks: None,
            kept: BTreeMap::new(),
            worths: Vec::new(),
            candidates: Vec::new(),
            chosen: Vec::new(),
            resting: Vec::new(),
            passes_over: true,
            explore_per_mille: asked
                .explore_per_mille()
                .unwrap_or_else(|| sight.snapshot.explore_per_mille(caller.organization())),
            explores: false,
            exploration: None,
            weighed: Vec::new(),
            excluded: Vec::new(),
        };
        if let Some(name) = &asked.wishes().policy {
            let policy = sight.snapshot.policy(caller.organization(), name);
            let policy = policy.ok_or_else(|| NoRoute::NoPolicy { name: shown(name) })?;
            routing.keeps_to(policy);
        }
        for demanded in defaults::demanded(sight.snapshot, caller) {
            routing.keeps_to(demanded?);
        }
        Ok(routing)
    }

    fn keeps_to(&mut self, policy: &'a Policy) {
        let version = staged::version(policy, self.caller.key.id, self.dice);
        let (_, choice) = self.choice(version);
        self.also.push(choice);
    }

    /// Takes on everything that may answer calls for `name`, and says why.
    fn reach(&mut self, name: &'a str, is_first: bool) -> Result<Reason, NoRoute> {
        let (snapshot, organization) = (self.sight.snapshot, self.caller.organization());
        let name = named(snapshot, organization, name);
        let lead = match snapshot.policy(organization, name.base) {
            None => self.of_model(&name)?,
            Some(policy) => self.of_policy(policy, &name)?,
        };
        let Lead { reason, strategy, by, constraints, tiers, terms, session, explores } = lead;
        self.explores = explores && is_first;
        let before = self.chosen.len() + self.resting.len();
        // A policy may say that nobody else is asked then.
        let all = self.also.iter().fold(terms.clone(), |all, it| all.within(it));
        self.passes_over = all.falls_back_on(Failed::LeftAlone);
        let keeping = session.map(|it| Keeping::of(it, self.sight.sessions, &tiers));
        if let Some(Keeping { session, kept: Some(kept), .. }) = &keeping {
            self.kept.insert(session.name(), kept.told(self.now));
        }
        for tier in tiers {
            self.take(tier, (strategy, by), constraints, keeping.as_ref());
        }
        if self.chosen.len() + self.resting.len() > before {
            if self.terms.is_none() {
                self.terms = Some(terms);
                // What is drawn for has nothing to be remembered.
                self.session = session.filter(|_| by.is_some());
            }
            return Ok(reason);
        }
        let version = reason.policy().map(|it| it.version);
        Err(NoRoute::Nowhere { name: shown(name.base), version, excluded: Vec::new() })
    }

    fn of_model(&self, name: &Name<'a>) -> Result<Lead<'a>, NoRoute> {
        let places = find(self.sight.snapshot, self.caller, name.base)?;
        let by = name.by.or(self.wished());
        Ok(Lead {
            reason: by.map_or(Reason::Asked, Reason::Compared),
            strategy: Strategy::Priority,
            by,
            constraints: None,
            tiers: vec![vec![Aim { weight: 1, places, mark: 0 }]],
            terms: Terms::default(),
            session: None,
            explores: false,
        })
    }

    fn of_policy(&mut self, policy: &'a Arc<Policy>, name: &Name<'a>) -> Result<Lead<'a>, NoRoute> {
        let version = staged::version(policy, self.caller.key.id, self.dice);
        let (rule, choice) = self.choice(version);
        let session = choice.stick.and_then(|stick| {
            let rule = rule.map(|it| it.name.as_str());
            Some(Session::of(self.session()?, &self.caller.key, (policy.id, rule), stick))
        });
        let mut tiers = Vec::with_capacity(choice.tiers.len().max(1));
        if choice.tiers.is_empty() && choice.strategy.compares() {
            tiers.push(everywhere(self.sight.snapshot, self.caller, policy));
        }
        let mut is_usable = !tiers.is_empty();
        for tier in &choice.tiers {
            let mut aims = Vec::with_capacity(tier.targets.len());
            for target in &tier.targets {
                let organization = self.caller.organization();
                let places: Vec<_> = at(self.sight.snapshot, organization, target).collect();
                let may_use = usable(self.caller, policy, [target]).next().is_some();
                is_usable |= may_use;
                if may_use && !places.is_empty() {
                    let mark = session.map_or(0, |_| sessions::mark(target));
                    aims.push(Aim { weight: target.weight, places, mark });
                } else {
                    let why = why_not(self.sight.snapshot, self.caller, policy, target);
                    let Target { model, provider, .. } = target.clone();
                    self.excludes(What::Target { model, provider }, why);
                }
            }
            tiers.push(aims);
        }
        if !is_usable && !allows(&self.caller.key, &policy.name) {
            return Err(not_allowed(self.sight.snapshot, self.caller, &policy.name));
        }
        let wished = name.by.or(self.wished());
        if wished.is_some() {
            tiers = vec![tiers.into_iter().flatten().collect()];
        }
        let by = wished.or_else(|| By::of(choice.strategy, self.toward(policy.id, choice)));
        let rule = rule.map(|it| it.name.clone());
        let version = version.version;
        let explores = wished.is_none() && by.is_some_and(By::is_explored);
        let (policy_of, strategy, is_explored) = (policy.clone(), choice.strategy, false);
        let led = Led { policy: policy_of, version, strategy, by, rule, is_explored };
        Ok(Lead {
            reason: Reason::Policy(led),
            strategy: choice.strategy,
            by,
            constraints: Some(&choice.constraints),
            tiers,
            terms: Terms::of(policy.id, choice),
            session,
            explores,
        })
    }

    /// What the choice is to come to, and what a dollar is spent for so that it does.
    fn toward(&mut self, policy: PolicyId, choice: &Choice) -> Toward {
        let goal = choice.goal;
        let Some(together) = By::together(choice.strategy, goal) else {
            return Toward { goal, of_a_dollar: None };
        };
        let worth = self.asked.worth(policy, together).unwrap_or_else(|| {
            let of = (policy, together);
            let organization = self.caller.organization();
            let of_a_dollar = self.sight.snapshot.worth_of_a_dollar(organization, of);
            Worth { policy, goal: together, of_a_dollar }
        });
        if !self.worths.contains(&worth) {
            self.worths.push(worth);
        }
        Toward { goal, of_a_dollar: worth.of_a_dollar }
    }

    /// What of a document decides about this call: the first rule that holds. One of which nobody
    /// knows whether it does is passed over.
    fn choice(&mut self, version: Version<'a>) -> (Option<&'a Rule>, &'a Choice) {
        if version.document.rules.is_empty() {
            return (None, &version.document.otherwise);
        }
        let Self { sight, caller, asked, call, judging, found, .. } = &*self;
        let facts = Facts { sight: *sight, caller, asked: *asked, call, judging, found };
        let mut not_evaluated = 0;
        let mut holds = |condition: &Condition| {
            condition.holds(&facts).unwrap_or_else(|_| {
                not_evaluated += 1;
                false
            })
        };
        let held = version.rules().find(|(_, condition)| holds(condition)).map(|it| it.0);
        self.not_evaluated += not_evaluated;
        match held {
            Some(rule) => (Some(rule), &rule.choose),
            None => (None, &version.document.otherwise),
        }
    }

    /// What the caller wishes to be first.
    fn wished(&self) -> Option<By> {
        self.wishes().sort.map(|it| match it {
            Sort::Price => By::Cheapest,
            Sort::Throughput => By::Throughput,
            Sort::Latency => By::Latency,
        })
    }

    /// Those of a tier that may answer, in the order in which they are asked. Those where too many
    /// calls fail come after everybody else.
    fn take(
        &mut self,
        mut tier: Vec<Aim<'a>>,
        (strategy, by): (Strategy, Option<By>),
        constraints: Option<&'a Constraints>,
        keeping: Option<&Keeping>,
    ) {
        if let Some(keeping) = keeping.filter(|_| by.is_none() && strategy == Strategy::Weighted) {
            tier = keeping.session.order(tier, |it| it.mark, |it| it.weight);
        }
        let (mut aims, mut led) = (Vec::with_capacity(tier.len()), Vec::with_capacity(tier.len()));
        for Aim { weight, places, .. } in tier {
            let eligible = places.into_iter().filter_map(|it| self.eligible(it, constraints));
            let eligible: Vec<_> = eligible.collect();
            let (resting, places): (Vec<_>, Vec<_>) =
                eligible.into_iter().partition(|it| self.passes_over && self.rests(it.model));
            led.push(match (places.is_empty(), resting.is_empty()) {
                (false, _) => Sticks::Kept,
                (true, false) => Sticks::LeftAlone,
                (true, true) => Sticks::NotEligible,
            });
            self.resting.extend(resting);
            if !places.is_empty() {
                aims.push((weight, places));
            }
        }
        let mut places: Vec<Place<'a>> = match (by, strategy) {
            (Some(by), _) => self.compared(aims.into_iter().flat_map(|it| it.1).collect(), by),
            (None, Strategy::Weighted) if keeping.is_none() => {
                draw::drawn(aims, |it| it.0, self.dice).into_iter().flat_map(|it| it.1).collect()
            }
            (None, _) => aims.into_iter().flat_map(|it| it.1).collect(),
        };
        if by.is_some() && self.weighed.is_empty() && self.asked.weighs() {
            self.weighed = places.iter().filter_map(|it| it.known.priced()).collect();
        }
        let kept = keeping.filter(|_| by.is_some()).and_then(|it| it.kept(self.now));
        if let Some(at) = kept.and_then(|kept| places.iter().position(|it| kept.is_of(it.model))) {
            places[..=at].rotate_right(1);
        }
        self.prefer(&mut places);
        if self.explores && keeping.is_none() && self.chosen.is_empty() {
            self.explore(&mut places);
        }
        if let Some(keeping) = keeping.filter(|_| self.sticks.is_none()) {
            self.sticks = match by {
                None => led.first().copied(),
                Some(_) => places.first().map(|it| self.sticks(keeping, it, &places)),
            };
        }
        for place in places {
            self.takes(place, keeping.map(|it| it.session));
        }
    }

    /// What becomes of a session that is remembered, where that is the first place of a tier.
    fn sticks(&self, keeping: &Keeping, first: &Place<'a>, tier: &[Place<'a>]) -> Sticks {
        let Some(kept) = &keeping.kept else { return Sticks::New };
        let is_it = |what: &What| matches!(what, What::Place(it) if kept.is_of(it));
        if kept.is_over(self.now) {
            Sticks::Expired
        } else if kept.is_of(first.model) {
            Sticks::Kept
        } else if tier.iter().any(|it| kept.is_of(it.model)) {
            Sticks::Wished
        } else if self.resting.iter().any(|it| kept.is_of(it.model)) {
            Sticks::LeftAlone
        } else if keeping.is_led && !self.excluded.iter().any(|it| is_it(&it.what)) {
            Sticks::Tier
        } else {
            Sticks::NotEligible
        }
    }

    /// Whether nobody gets through to it at present.
    fn rests(&self, model: &Model) -> bool {
        self.sight.breakers.rests(model, self.now)
    }

    /// The place and its price, if it may answer.
    fn eligible(
        &mut self,
        model: &'a Arc<Model>,
        constraints: Option<&'a Constraints>,
    ) -> Option<Place<'a>> {
        let Sight { snapshot, now_ms, .. } = self.sight;
        let price = snapshot.price(self.caller.organization(), model, now_ms);
        let also = self.also.iter().map(|it| &it.constraints);
        let constraints = constraints.into_iter().chain(also);
        let why = self.call.why_not(model, price.map(Arc::as_ref), constraints);
        let why = why.or_else(|| self.is_led_elsewhere(model));
        match why.or_else(|| self.may_cost_more(model, price)) {
            None => Some(Place { model, price, known: Known::default(), score: None }),
            Some(why) => {
                self.excludes(What::Place(model.clone()), why);
                None
            }
        }
    }

    /// Whether a policy does not lead there that has to lead there as well.
    fn is_led_elsewhere(&self, model: &Model) -> Option<Why> {
        let leads = |it: &Target| {
            let provider = it.provider.as_ref();
            it.model == model.name && provider.is_none_or(|it| *it == model.upstream.provider)
        };
        let is_there = |it: &&Choice| it.tiers.iter().flat_map(|it| &it.targets).any(leads);
        let mut named = self.also.iter().filter(|it| !it.tiers.is_empty());
        named.any(|it| !is_there(it)).then_some(Why::Policy(Term::Model))
    }

    /// Whether the call may come to more than the caller allows, or nobody knows to what.
    fn may_cost_more(
        &self,
        model: &Arc<Model>,
        price: Option<&'a Arc<PinnedPrice>>,
    ) -> Option<Why> {
        let most = self.wishes().most_cost?;
        let ask = self.asked.body()?;
        let marks = self.marks.get_or_init(|| ask.marks());
        let credential = model.upstream.credentials.first()?.clone();
        let candidate = Candidate::new(model.clone(), credential, price.cloned());
        let weight = Weight::of(ask, marks, &candidate);
        let is_known = not_priced(ask, marks, &weight, &candidate).is_none();
        (!is_known || weight.cost > most).then_some(Why::Wish(Term::Cost))
    }

    fn excludes(&mut self, what: What, why: Why) {
        let is_same = |it: &Considered| match (&it.what, &what) {
            (What::Place(one), What::Place(other)) => Arc::ptr_eq(one, other),
            (What::Place(_) | What::Target { .. }, _) => false,
        };
        if self.excluded.len() < MOST_EXCLUDED && !self.excluded.iter().any(is_same) {
            let known = Known::default();
            self.excluded.push(Considered { what, why: Some(why), known, score: None });
        }
    }

    fn compared(&self, mut places: Vec<Place<'a>>, by: By) -> Vec<Place<'a>> {
        let known: Vec<_> = places.iter().map(|it| self.known(it.model, it.price, by)).collect();
        let mut left: Vec<_> = places.drain(..).map(Some).collect();
        let mut sorted = Vec::with_capacity(left.len());
        for (at, score) in by.order(&known) {
            let place = left.get_mut(at).and_then(Option::take);
            let known = known.get(at).copied().unwrap_or_default();
            sorted.extend(place.map(|it| Place { known, score, ..it }));
        }
        sorted
    }

    /// What is known of a place for this call.
    fn known(&self, model: &Model, price: Option<&'a Arc<PinnedPrice>>, by: By) -> Known {
        let pulse = self.sight.live.pulse(model, self.now);
        if matches!(by, By::Throughput | By::Latency) {
            return Known { pulse, ..Known::default() };
        }
        let seen = self.judging.seen();
        let output = self.expected_output(model, seen.judged.task);
        let cost = |input| {
            let usage = Usage { input, output, ..Usage::default() };
            let nanos = price.map(|it| it.price.cost(&usage, None).to_money().nanos());
            nanos.and_then(|it| u64::try_from(it).ok())
        };
        let expected = || {
            let router = routing_engine::router();
            let learned = self.sight.snapshot.learned(self.caller.organization());
            let learned = learned.map(|it| &it.tables);
            let quality = router.quality(&seen.judged, &model.name, &model.standing, learned);
            whole(millionths(quality))
        };
        Known {
            quality: Some(self.asked.expected(model).unwrap_or_else(expected)),
            turn_cost: cost(seen.tokens),
            call_cost: cost(self.call.input),
            pulse,
            expected_ms: pulse.expected_ms(output),
        }
    }

    /// How long all choices together are likely to be, in tokens.
    fn expected_output(&self, model: &Model, task: Task) -> u64 {
        let (outline, most) = (self.asked.outline(), Some(u64::from(model.max_output_tokens)));
        let most = most.filter(|it| *it > 0);
        let Some(usual) = routing_engine::router().expected_output(task) else {
            return outline.estimated_output(most);
        };
        let each = outline.cap(most).unwrap_or(u64::MAX).min(usual.into());
        each.saturating_mul(outline.choices.into())
    }

    /// What the caller calls the call's session, unreadable.
    fn session(&self) -> Option<u128> {
        *self.found.session.get_or_init(|| self.asked.session(&self.caller.key))
    }

    fn wishes(&self) -> &'a Wishes {
        self.asked.wishes()
    }

    /// Whom the caller names first, and whoever is as fast as they prefer, before the others.
    fn prefer(&self, places: &mut [Place<'a>]) {
        let wishes = self.wishes();
        if wishes.least_throughput.is_some() || wishes.most_latency.is_some() {
            for it in places.iter_mut() {
                it.known.pulse = self.sight.live.pulse(it.model, self.now);
            }
            places.sort_by_key(|it| self.is_slower_than_preferred(&it.known.pulse));
        }
        if !wishes.order.is_empty() {
            places.sort_by_key(|it| {
                let provider = &it.model.upstream.provider;
                let at = wishes.order.iter().position(|it| it.eq_ignore_ascii_case(provider));
                at.unwrap_or(usize::MAX)
            });
        }
    }

    fn is_slower_than_preferred(&self, pulse: &Pulse) -> bool {
        let wishes = self.wishes();
        let (pace, first) = (pulse.tokens_per_second, pulse.first_ms.or(pulse.total_ms));
        let writes_slower = wishes.least_throughput.zip(pace).is_some_and(|(least, it)| it < least);
        let begins_later = wishes
            .most_latency
            .zip(first)
            .is_some_and(|(most, it)| u128::from(it) > most.as_millis());
        writes_slower || begins_later
    }

    /// A model with each of its upstream's secrets, none twice, and of no more models than are
    /// tried.
    fn takes(&mut self, place: Place<'a>, session: Option<Session>) {
        let Place { model, price, known, score } = place;
        let is_there = |it: &Candidate| Arc::ptr_eq(&it.model, model);
        if self.chosen.len() >= MOST_CANDIDATES || self.candidates.iter().any(is_there) {
            return;
        }
        let all = &model.upstream.credentials;
        let ordered = match session {
            Some(it) => it.order(all.iter().collect(), |it| it.id.uuid().as_u128(), |it| it.weight),
            None => draw::order(all, |it| it.weight, self.dice),
        };
        for credential in ordered {
            let candidate = Candidate::new(model.clone(), credential.clone(), price.cloned());
            self.candidates.push(candidate);
        }
        let what = What::Place(model.clone());
        let why = self.rests(model).then_some(Why::LeftAlone);
        self.chosen.push(Considered { what, why, known, score });
    }

    fn ends(
        mut self,
        first: Result<Reason, NoRoute>,
    ) -> Result<(Vec<Candidate>, Decision, Terms, Option<Session>), NoRoute> {
        let session = self.session;
        for place in std::mem::take(&mut self.resting) {
            self.takes(place, session);
        }
        let mut reason = match first {
            Ok(reason) => reason,
            Err(why) if self.chosen.is_empty() => return Err(self.in_full(why)),
            Err(_) => Reason::Asked,
        };
        if let Reason::Policy(led) = &mut reason {
            led.is_explored = self.exploration.as_ref().is_some_and(Exploration::is_explored);
        }
        self.keep_to_the_first();
        let terms =
            self.also.iter().fold(self.terms.take().unwrap_or_default(), |all, it| all.within(it));
        let default = self.default.map(|it| (it, self.name.to_owned()));
        let name = self.asked.outline().model.clone();
        let inputs = matches!(reason, Reason::Policy(_)).then(|| self.inputs());
        let learned = self.sight.snapshot.learned(self.caller.organization());
        let learned = learned.map(|it| it.version.clone());
        let keeps_nothing = self.wishes().zero_retention;
        let exploration = self.exploration.take();
        let Self {
            mut candidates, chosen, weighed, excluded, judging, not_evaluated, sticks, ..
        } = self;
        keep_the_first(&mut candidates);
        let (task, seen) = judging.ends();
        let considered = chosen.into_iter().chain(excluded).collect();
        let judged = seen.map(|it| it.judged);
        let decision = Decision {
            asked: name,
            default,
            reason,
            task,
            judged,
            sticks,
            exploration,
            considered,
            weighed,
            not_evaluated,
            inputs,
            learned,
            keeps_nothing,
        };
        Ok((candidates, decision, terms, session))
    }

    /// Names everything that any of the names led to.
    fn in_full(self, why: NoRoute) -> NoRoute {
        match why {
            NoRoute::Nowhere { name, version, .. } => {
                let told = self.excluded.iter().take(MOST_CANDIDATES).filter_map(|it| {
                    let provider = it.provider().map(str::to_owned);
                    Some(Excluded { model: it.model().to_owned(), provider, why: it.why? })
                });
                NoRoute::Nowhere { name, version, excluded: told.collect() }
            }
            NoRoute::Unknown { .. }
            | NoRoute::Disabled { .. }
            | NoRoute::Shut { .. }
            | NoRoute::NotAllowed { .. }
            | NoRoute::NoPolicy { .. }
            | NoRoute::NoModel
            | NoRoute::NotToBeKept { .. } => why,
        }
    }

    /// Where the caller wants no fallbacks: the first place, and of those that are named in
    /// `order` the others that serve the same.
    fn keep_to_the_first(&mut self) {
        let wishes = self.wishes();
        let first = self.candidates.first().filter(|_| wishes.no_fallbacks);
        let Some(first) = first.map(|it| it.model.clone()) else { return };
        let stays = |it: &Arc<Model>| match wishes.order.is_empty() {
            true => Arc::ptr_eq(it, &first),
            false => it.name == first.name,
        };
        self.candidates.retain(|it| stays(&it.model));
        self.chosen.retain(|it| matches!(&it.what, What::Place(it) if stays(it)));
    }
}

fn named<'n>(snapshot: &Snapshot, organization: OrganizationId, name: &'n str) -> Name<'n> {
    let is_policy = |it: &str| snapshot.policy(organization, it).is_some();
    let is_known = |it: &str| {
        is_policy(it)
            || snapshot.serving(organization, it).next().is_some()
            || snapshot.is_shut(organization, it)
            || snapshot.is_disabled(organization, it)
    };
    names::read(name, is_known, is_policy)
}

/// Every place that writes, of those that the caller may use.
fn everywhere<'a>(snapshot: &'a Snapshot, caller: &Caller, policy: &Policy) -> Vec<Aim<'a>> {
    let is_named = allows(&caller.key, &policy.name);
    snapshot
        .places(caller.organization())
        .filter(|it| !it.only_reads() && (is_named || allows(&caller.key, &it.name)))
        .map(|it| Aim { weight: 1, places: vec![it], mark: 0 })
        .collect()
}

/// Leaves so many as may be tried, in their order: of every model its first secret, before
/// the second of any, so that however many secrets one provider has, the others are reached.
fn keep_the_first(candidates: &mut Vec<Candidate>) {
    if candidates.len() <= MOST_CANDIDATES {
        return;
    }
    let mut ranks: Vec<(usize, usize)> = Vec::with_capacity(candidates.len());
    for (at, it) in candidates.iter().enumerate() {
        // Those of one model stand together.
        let before = at.checked_sub(1).and_then(|at| candidates.get(at));
        let is_next = before.is_some_and(|before| Arc::ptr_eq(&before.model, &it.model));
        let nth = ranks.last().filter(|_| is_next).map_or(0, |(nth, _)| nth + 1);
        ranks.push((nth, at));
    }
    ranks.sort_unstable();
    let kept: Vec<_> = ranks.into_iter().take(MOST_CANDIDATES).map(|(_, at)| at).collect();
    let mut at = 0..;
    candidates.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
}

#[cfg(test)]
mod tests;
