//! The scripts, step by step, against the same rules written down in Rust.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::{
    super::{
        decision::{self, decide},
        local::Bucket,
        settling::Correction,
    },
    *,
};

#[derive(Clone, Debug)]
enum Step {
    /// Calls ask together, each with limits as they are just then.
    Ask(Vec<Call>),
    /// Of the calls under way, that one ends.
    End {
        which: usize,
        tokens: u64,
    },
    Pass(u64),
    /// The clock of another Redis, after a failover.
    GoBack(u64),
}

/// Of one of two keys of one of two projects of one of two organizations. It may be the one
/// before it once more.
#[derive(Clone, Debug)]
struct Call {
    organization: usize,
    key: usize,
    project: usize,
    limits: [usize; 3],
    tokens: u64,
    is_again: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let whose = (prop_oneof![4 => Just(0usize), 1 => Just(1)], 0..2usize, 0..2usize);
    let limits = [0..6usize, 0..6usize, 0..6usize];
    let tokens = prop_oneof![0..2_000u64, any::<u64>()];
    let is_again = prop_oneof![7 => Just(false), 1 => Just(true)];
    (whose, limits, tokens, is_again).prop_map(
        |((organization, key, project), limits, tokens, is_again)| Call {
            organization,
            key,
            project,
            limits,
            tokens,
            is_again,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let calls = prop_oneof![1..2usize, 2..9usize]
        .prop_flat_map(|count| prop::collection::vec(call(), count));
    let step = prop_oneof![
        6 => calls.prop_map(Step::Ask),
        3 => (any::<usize>(), prop_oneof![0..2_000u64, any::<u64>()])
            .prop_map(|(which, tokens)| Step::End { which, tokens }),
        3 => prop_oneof![0..2_000u64, 0..100_000u64].prop_map(Step::Pass),
        1 => (0..50_000u64).prop_map(Step::GoBack),
    ];
    prop::collection::vec(step, 1..40)
}

/// What is all in Redis, in Rust.
#[derive(Default)]
struct Model {
    now: u64,
    buckets: HashMap<String, Bucket>,
    /// When each call's place is over.
    calls: HashMap<String, HashMap<String, u64>>,
}

impl Model {
    fn admit(&mut self, charges: &[Charge], call: &str) -> Decision {
        let levels: Vec<_> = charges.iter().map(|it| self.level(it)).collect();
        let decision = decide(charges, levels, self.now);
        if decision.is_passed() {
            for (charge, level) in charges.iter().zip(&decision.levels) {
                self.keep(charge, level);
                if charge.limits.concurrent.is_some() {
                    let until = self.now + PLACE_LIFE.as_millis() as u64;
                    let calls = self.calls.entry(charge.calls.clone()).or_default();
                    calls.insert(call.to_owned(), until);
                }
            }
        }
        decision
    }

    fn settle(&mut self, settlement: &Settlement, call: &str) {
        for (charge, correction, after) in settlement.corrections() {
            let level = self.bucket(charge).at(self.now, charge);
            self.keep(charge, &level.corrected(charge, correction, after, self.now));
        }
        for calls in settlement.places() {
            self.calls.entry(calls.clone()).or_default().remove(call);
        }
    }

    fn level(&mut self, charge: &Charge) -> decision::Level {
        let mut under_way = 0;
        if charge.limits.concurrent.is_some() {
            let calls = self.calls.entry(charge.calls.clone()).or_default();
            calls.retain(|_, until| *until > self.now);
            under_way = calls.len() as u64;
        }
        if !charge.has_bucket() {
            return decision::Level { under_way, ..decision::Level::default() };
        }
        decision::Level { under_way, ..self.bucket(charge).at(self.now, charge) }
    }

    fn bucket(&self, charge: &Charge) -> Bucket {
        self.buckets.get(&charge.bucket).copied().unwrap_or_default()
    }

    fn keep(&mut self, charge: &Charge, level: &decision::Level) {
        if charge.has_bucket() {
            self.buckets.insert(charge.bucket.clone(), Bucket::new(level, charge, self.now));
        }
    }
}

/// Some that are often reached, one that never is, and one beyond what there is.
pub(super) fn limits(number: usize) -> Limits {
    match number {
        0 => NONE,
        1 => requests(3),
        2 => tokens(1_000),
        3 => concurrent(2),
        4 => Limits {
            requests_per_minute: Some(7),
            tokens_per_minute: Some(2_500),
            concurrent: Some(4),
        },
        _ => Limits {
            requests_per_minute: Some(u32::MAX),
            tokens_per_minute: Some(u64::MAX),
            concurrent: Some(0),
        },
    }
}

/// Another organization of the same shard.
pub(super) fn neighbour(of: OrganizationId) -> OrganizationId {
    let is_near = |it: &OrganizationId| Shard::of(*it) == Shard::of(of);
    std::iter::repeat_with(OrganizationId::generate).find(is_near).unwrap()
}

async fn check(mut fixture: Fixture, proxy: &Arc<Limiter>, steps: Vec<Step>) {
    fixture.organization = neighbour(fixture.organization);
    let organizations = [fixture.organization, neighbour(fixture.organization)];
    let (keys, projects) =
        ([(); 2].map(|()| ApiKeyId::generate()), [(); 2].map(|()| ProjectId::generate()));
    let mut model = Model { now: fixture.now().await, ..Model::default() };
    let mut under_way = vec![];
    for step in steps {
        match step {
            Step::Ask(calls) => {
                let mut asked: Vec<(Vec<Charge>, Option<Lease>)> = vec![];
                for it in calls {
                    let before = asked.last().filter(|_| it.is_again).cloned();
                    asked.extend(before.or_else(|| {
                        let [one, two, three] = it.limits.map(limits);
                        let limits = Three { key: one, project: two, organization: three };
                        fixture.organization = organizations[it.organization];
                        (fixture.key, fixture.project) = (keys[it.key], projects[it.project]);
                        let charges = fixture.asked(&limits, it.tokens).charges();
                        let lease = proxy.leases.next(&charges);
                        (!charges.is_empty()).then_some((charges, lease))
                    }));
                }
                let questions = proxy.metrics.questions.get();
                let decisions =
                    futures::future::join_all(asked.iter().map(|(charges, lease)| {
                        decided(proxy, fixture.organization, charges, *lease)
                    }));
                let decisions = decisions.await;
                let was_asked = u64::from(!asked.is_empty());
                assert_eq!(proxy.metrics.questions.get(), questions + was_asked);
                for ((charges, lease), decision) in asked.into_iter().zip(decisions) {
                    let decision = decision.unwrap();
                    assert_eq!(decision, model.admit(&charges, &proxy.leases.name(lease)));
                    let is_there =
                        under_way.iter().any(|(_, it, _)| lease.is_some() && *it == lease);
                    if decision.is_passed() && !is_there {
                        under_way.push((charges, lease, decision));
                    }
                }
            }
            Step::End { which, tokens } => {
                if under_way.is_empty() {
                    continue;
                }
                let (charges, lease, decision) = under_way.swap_remove(which % under_way.len());
                let after = decision.levels.iter().map(|it| it.tokens).collect();
                let tokens = tokens.min(gcra::CEILING);
                let correction = Some(Correction { tokens, at: decision.now, after });
                let is_urgent = false;
                let settlement = Settlement { charges, lease, correction, is_urgent };
                model.settle(&settlement, &proxy.leases.name(lease));
                proxy.settling.put(settlement, &proxy.metrics);
                proxy.leave().await;
            }
            Step::Pass(milliseconds) => {
                model.now += milliseconds;
                fixture.set_clock(model.now).await;
            }
            Step::GoBack(milliseconds) => {
                model.now -= milliseconds;
                fixture.set_clock(model.now).await;
            }
        }
    }
    assert_eq!(proxy.metrics.redis_failures.get(), 0);
    assert_eq!(proxy.metrics.settlements_lost.get(), 0);
    for organization in organizations {
        fixture.organization = organization;
        let kept = fixture.kept().await;
        if !kept.is_empty() {
            let () = fixture.redis.del(kept).await.unwrap();
        }
    }
}

#[test]
fn the_scripts_do_what_the_rules_say() {
    // On one thread, where all that is asked in a step is asked together.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let proxy = runtime.block_on(fixture.proxy());
    proptest!(ProptestConfig::with_cases(128), |(steps in steps())| {
        runtime.block_on(check(fixture.clone(), &proxy, steps));
    });
}
