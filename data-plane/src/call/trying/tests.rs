//! Whoever is asked, and how often, whatever there is, is demanded, and fails.

use std::sync::Mutex;

use bytes::Bytes;
use proptest::prelude::*;
use shared::{
    ids::{PolicyId, RequestId},
    keys::{Brand, NewKey},
    money::{Money, PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{
        Assurances, Choice, Constraints, Document, Failed, Fallback, Policy, Retry, Stick, Strategy,
    },
    usage::Usage,
};

use super::*;
use crate::{
    ask::Form,
    authenticate::Caller,
    budgets::{Meter, weigh},
    call::{Reply, tests::calling},
    catalog::tests::{Fixture, key, snapshot},
    providers::{Class, Refusal, Request},
    route::{Plan, Sight, route},
};

const REGIONS: [Option<&str>; 3] = [None, Some("eu"), Some("us")];
const MODELS: [&str; 4] = ["a", "b", "c", "d"];
const CALLS: usize = 12;
/// As `retries` has it.
const SHARE: usize = 5;
const AT_LEAST: usize = 3;

/// Answers at random, and remembers whom it was sent to.
struct Random {
    dice: Mutex<fastrand::Rng>,
    sent: Mutex<Vec<Sent>>,
}

#[derive(Clone)]
struct Sent {
    candidate: Candidate,
    at: Instant,
    ends: Instant,
    fate: Fate,
}

impl Random {
    fn outcome(
        dice: &mut fastrand::Rng,
    ) -> (Duration, Option<StatusCode>, Result<Ended, UpstreamFailure>) {
        let after = Duration::from_millis(dice.u64(0..120));
        let (status, outcome) = match dice.u8(0..9) {
            0..3 => {
                let usage = Some(Usage { input: 5, output: 7, ..Usage::default() });
                let (status, retry_after, body) = (StatusCode::OK, None, Bytes::new());
                let (memory, service_tier) = (None, None);
                let reply = Reply::Whole { status, retry_after, body, memory, usage, service_tier };
                (Some(status), Ok(Ended::Answered(reply)))
            }
            3 => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let (class, retry_after, body) = (Class::RateLimited, None, Bytes::new());
                (Some(status), Ok(Ended::Refused(Refusal { status, class, retry_after, body })))
            }
            4 => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                (Some(status), Err(UpstreamFailure::Server { status, retry_after: None }))
            }
            5 => (None, Err(UpstreamFailure::Truncated)),
            6 => (None, Err(UpstreamFailure::FirstByte)),
            7 => (None, Err(UpstreamFailure::Credential(StatusCode::UNAUTHORIZED))),
            _ => (None, Err(UpstreamFailure::TooLong)),
        };
        (after, status, outcome)
    }
}

impl Sends for Random {
    fn send(&self, candidate: &Candidate, _: Request) -> Asked {
        let (after, status, outcome) = Self::outcome(&mut self.dice.lock().unwrap());
        let at = Instant::now();
        let fate = match &outcome {
            Ok(ended) => ended.fate(status),
            Err(why) => Fate::of_failure(why, status),
        };
        let sent = Sent { candidate: candidate.clone(), at, ends: at + after, fate };
        self.sent.lock().unwrap().push(sent);
        Box::pin(async move {
            sleep(after).await;
            (status, outcome)
        })
    }
}

/// The models of an upstream, its region, what it assures and a price.
type Served = (Vec<&'static str>, usize, [bool; 2], Option<u32>);

#[derive(Clone, Debug)]
struct World {
    places: Vec<Served>,
    demanded: Constraints,
    narrowing: Constraints,
    allowed: Option<Vec<&'static str>>,
    on: Option<Vec<Failed>>,
    attempts: Option<u8>,
    hedges: Option<(u32, u8)>,
    sticks: bool,
    strategy: Strategy,
    most_cost: Option<u32>,
    seed: u64,
}

prop_compose! {
    fn constraints()(
        region in prop::option::weighted(0.3, prop::sample::select(vec!["eu", "us"])),
        zero_retention in prop::bool::weighted(0.2), no_training in prop::bool::weighted(0.2),
        not in prop::option::weighted(0.3, prop::sample::select(MODELS.to_vec())),
        most_input_price in prop::option::weighted(0.3, 1_000_000..4_000_000_u64),
    ) -> Constraints {
        Constraints {
            regions: region.into_iter().map(str::to_owned).collect(),
            not_models: not.into_iter().map(str::to_owned).collect(),
            zero_retention, no_training, most_input_price,
            ..Constraints::default()
        }
    }
}

prop_compose! {
    fn worlds()(
        places in prop::collection::vec((
            prop::sample::subsequence(MODELS.to_vec(), 1..=4), 0..3_usize, any::<[bool; 2]>(),
            prop::option::weighted(0.8, 1..5_u32),
        ), 2..6),
        demanded in constraints(), narrowing in constraints(),
        allowed in prop::option::weighted(0.3, prop::sample::subsequence(MODELS.to_vec(), 1..=4)),
        on in prop::option::weighted(0.5, prop::sample::subsequence(Failed::ALL.map(|it| it.0).to_vec(), 0..=13)),
        attempts in prop::option::weighted(0.5, 1..=16_u8),
        hedges in prop::option::weighted(0.8, (50..80_u32, 10..=20_u8)), sticks: bool,
        strategy in prop::sample::select(vec![Strategy::Cheapest, Strategy::Best, Strategy::Auto]),
        most_cost in prop::option::weighted(0.5, 1..9_u32), seed: u64,
    ) -> World {
        World { places, demanded, narrowing, allowed, on, attempts, hedges, sticks, strategy, most_cost, seed }
    }
}

impl World {
    fn fixture(&self) -> Fixture {
        let mut fixture = Fixture::default();
        for (models, region, [zero_retention, no_training], cost) in &self.places {
            let upstream = fixture.upstream(None, models);
            upstream.region = REGIONS[*region].map(str::to_owned);
            upstream.assurances =
                Assurances { zero_retention: *zero_retention, no_training: *no_training };
            let price = cost.map(|it| UnitPrice::per_million(&it.to_string()).unwrap());
            let price = price.map(|it| Price::flat(Rates::of_text(it, it)).unwrap());
            let price = price.map(|price| PinnedPrice { revision: 1, price });
            upstream.models.iter_mut().for_each(|it| it.price.clone_from(&price));
        }
        let choice = Choice {
            strategy: self.strategy,
            constraints: self.demanded.clone(),
            fallback: self.on.clone().map(|on| Fallback { on }),
            retry: self.attempts.map(|it| Retry { attempts: Some(it), ..Retry::default() }),
            stick: self.sticks.then_some(Stick { minutes: 1 }),
            hedge: self.hedges.map(|(after, most_percent)| Hedge {
                after: After::Milliseconds(after),
                most_percent,
            }),
            ..Choice::default()
        };
        let narrowing = Choice { constraints: self.narrowing.clone(), ..Choice::default() };
        fixture.policies = [("p", choice), ("narrows", narrowing)]
            .map(|(name, otherwise)| Policy {
                id: PolicyId::generate(),
                organization: None,
                name: name.to_owned(),
                version: 1,
                document: Document { rules: vec![], otherwise },
                staged: None,
            })
            .to_vec();
        fixture
    }

    /// Told in other words than where it is decided.
    fn may_be_asked(&self, it: &Candidate) -> bool {
        let at = &it.model.upstream;
        let picos = it.price.as_ref().map(|it| it.price.standard().rates.input.picos() as u64);
        let keeps_to = |demanded: &Constraints| {
            let region = demanded.regions.first().map(String::as_str);
            (region.is_none() || at.region.as_deref() == region)
                && !demanded.not_models.contains(&it.model.name)
                && (at.assurances.zero_retention || !demanded.zero_retention)
                && (at.assurances.no_training || !demanded.no_training)
                && demanded.most_input_price.is_none_or(|most| picos.is_some_and(|it| it <= most))
        };
        keeps_to(&self.demanded)
            && keeps_to(&self.narrowing)
            && self.allowed.as_ref().is_none_or(|all| all.contains(&it.model.name.as_str()))
    }

    /// What was sent for one call.
    async fn call(
        &self,
        calling: &Arc<Calling>,
        fixture: &Fixture,
        key: &Arc<shared::snapshot::Key>,
        dice: &mut fastrand::Rng,
    ) -> Option<Called> {
        let snapshot = snapshot(fixture);
        let most = self.most_cost.map(|it| format!("0.00{it}"));
        let ask =
            Ask::parse(Form::Chat, r#"{"model":"p","max_tokens":100,"user":"u"}"#.into()).unwrap();
        let ask = ask.headed(None, most.as_deref()).unwrap();
        let most = ask.wishes.most_cost;
        let (live, breakers, sessions) = (&calling.live, &calling.breakers, &calling.sessions);
        let used = || 0;
        let sight = Sight {
            snapshot: &snapshot,
            live,
            breakers,
            sessions,
            now_ms: 0,
            budget_used_percent: &used,
        };
        let Plan { caller, ask, mut candidates, terms, session, .. } =
            route(sight, Caller { key: key.clone() }, ask, dice).ok()?;
        let meter = Meter::nowhere();
        let organization = caller.organization();
        let mut tab = Tab::open(&meter, RequestId::generate(), organization, vec![], &ask);
        weigh(&ask, &mut candidates, &mut tab).unwrap();
        let (ask, sender) =
            (Arc::new(ask), Random { dice: Mutex::new(dice.fork()), sent: Mutex::default() });
        let began = Instant::now();
        calling.retries.note_call(began);
        if let Some((policy, hedge)) = terms.hedge {
            calling.hedges.note_call(policy, hedge.most_percent);
        }
        let end = began + Duration::from_secs(60);
        let mut trying = Trying::new((calling, &sender, &terms), &ask, end, &mut tab);
        let (tried, ended) = trying.each(&candidates).await.unwrap();
        let attempts = std::mem::take(&mut trying.attempts);
        drop(trying);
        if let (Some(session), Ended::Answered(_)) = (session, &ended) {
            calling.sessions.keeps(session, &tried.model, Instant::now());
        }
        if let Ended::Answered(Reply::Whole { usage, .. }) = &ended {
            tab.delivers(&Delivered { usage: *usage, is_complete: true, ..Delivered::default() });
        }
        tab.hears_beside(Heard::Lost);
        let sent = sender.sent.into_inner().unwrap();
        Some(Called { began, candidates, attempts, sent, cost: tab.cost(), most, ended })
    }
}

struct Called {
    began: Instant,
    candidates: Vec<Candidate>,
    attempts: Vec<Attempt>,
    sent: Vec<Sent>,
    cost: Money,
    most: Option<Money>,
    ended: Ended,
}

impl Called {
    /// What was sent beyond one attempt at each upstream after another.
    fn extra(&self) -> Vec<Instant> {
        let is_extra = |(at, it): &(usize, &Sent)| {
            let before = self.sent.iter().take(*at);
            before.into_iter().any(|before| {
                let is_under_way = before.ends > it.at;
                let has_failed = before.fate.is_the_upstreams()
                    && before.candidate.model.upstream.id == it.candidate.model.upstream.id;
                is_under_way || has_failed || before.candidate.is_same(&it.candidate)
            })
        };
        self.sent.iter().enumerate().filter(is_extra).map(|(_, it)| it.at).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Nobody is asked who may not be, in whichever attempt and for whichever reason; retries and
    /// second attempts together keep within what retries have; a call is sent no more often than
    /// its policy says, costs no more than its caller allows, and each that was sent is told of.
    #[test]
    fn no_attempt_breaks_a_rule(world in worlds()) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (calling, fixture) = (calling(), world.fixture());
            let start = Instant::now();
            let mut key = key(&NewKey::generate(Brand::Live));
            key.allowed_models = world.allowed.as_ref().map(|it| it.iter().map(|&it| it.to_owned()).collect());
            key.routing.policy = Some(fixture.policies[1].id);
            let (key, mut dice) = (Arc::new(key), fastrand::Rng::with_seed(world.seed));
            let (mut calls, mut extra) = (vec![], vec![]);
            for _ in 0..CALLS {
                let Some(called) = world.call(&calling, &fixture, &key, &mut dice).await else { break };
                for sent in &called.sent {
                    prop_assert!(world.may_be_asked(&sent.candidate), "{:?}", sent.candidate);
                    prop_assert!(called.candidates.iter().any(|it| it.is_same(&sent.candidate)));
                }
                prop_assert!(world.attempts.is_none_or(|most| called.sent.len() <= usize::from(most)));
                prop_assert!(called.most.is_none_or(|most| called.cost <= most), "{}", called.cost);
                let told = called.attempts.iter().filter(|it| it.fate.was_sent()).count();
                prop_assert_eq!(told, called.sent.len());
                let answered = matches!(called.ended, Ended::Answered(_));
                let last = called.attempts.last().map(|it| it.fate);
                prop_assert!(!answered || last == Some(Fate::Answered));
                calls.push(called.began);
                extra.extend(called.extra());
            }
            let second = |it: Instant| (it - start).as_secs();
            for now in &extra {
                let within = |it: &&Instant| second(**it) + 10 > second(*now) && *it <= now;
                let allowed = (calls.iter().filter(within).count() / SHARE).max(AT_LEAST);
                prop_assert!(extra.iter().filter(within).count() <= allowed, "{extra:?}");
            }
            let counted = calling.metrics.retries.get() + calling.metrics.hedges.get();
            prop_assert!(extra.len() as u64 <= counted);
            Ok(())
        })?;
    }
}
