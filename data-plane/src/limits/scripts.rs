//! The scripts that Redis runs, and how each is asked. A script runs whole or not at all,
//! which is what makes limits exact on any number of proxies.

use std::time::Duration;

use redis::{Cmd, Pipeline};
use shared::{
    counters::{self, ADMISSION, CLOCK, COUNTER, Guarded, Known, Places, packed},
    snapshot::Limits,
    wire::History,
};
use uuid::Uuid;

use super::{
    charge::What,
    gcra::CEILING,
    leases::Leases,
    question::{Asking, Wish},
    rounds::Target,
    settling::{Correction, Settlement},
};

const BUCKET: &str = include_str!("scripts/bucket.lua");
const ADMIT: &str = include_str!("scripts/admit.lua");
const SETTLE: &str = include_str!("scripts/settle.lua");
const RENEW: &str = include_str!("scripts/renew.lua");
const BEAT: &str = include_str!("scripts/beat.lua");

/// How long a call's place is kept for a proxy that says nothing more of it.
pub const PLACE_LIFE: Duration = Duration::from_secs(30);
/// How long a proxy counts as alive after its last beat.
pub const BEAT_LIFE: Duration = Duration::from_secs(5);

/// How many numbers are said of a call, and of each of its budgets and levels.
const OF_CALL: usize = 3;
const OF_WISH: usize = 9;
const OF_CHARGE: usize = 6;

pub struct Scripts {
    admit: Guarded,
    settle: Known,
    renew: Known,
    beat: Known,
    place_life: Duration,
    pub counters: counters::Scripts,
}

impl Scripts {
    pub fn new(places: Places) -> Self {
        Self::with(CLOCK, PLACE_LIFE, places)
    }

    /// Tests bring a clock that they can set, and shorter lives.
    pub(crate) fn with(clock: &str, place_life: Duration, places: Places) -> Self {
        Self {
            admit: Guarded::new(clock, &[COUNTER, ADMISSION, BUCKET, ADMIT]),
            settle: Known::new(clock, &[BUCKET, SETTLE]),
            renew: Known::new(clock, &[RENEW]),
            beat: Known::new(clock, &[BEAT]),
            place_life,
            counters: counters::Scripts::with(clock, places),
        }
    }

    /// See [`counters::Scripts::enter`].
    pub fn enter(&self, history: &History) {
        self.admit.enter(history);
        self.counters.enter(history);
    }

    /// A question that was put by a name of before, by the present one.
    pub fn again(&self, question: &Cmd) -> Option<Cmd> {
        self.admit.again(question).or_else(|| self.counters.again(question))
    }

    /// To be sent once over each new connection, and when Redis has forgotten.
    pub fn load(&self) -> Pipeline {
        let mut load = Pipeline::new();
        self.admit.load(&mut load);
        let all = [&self.settle, &self.renew, &self.beat];
        all.into_iter().for_each(|it| it.load(&mut load));
        // Last what says that all of them are there.
        self.counters.load_into(&mut load);
        load
    }

    /// What several calls ask of a target, in their order.
    pub fn admit(&self, (shard, epoch): Target, calls: &[&Asking]) -> Cmd {
        let (mut budgets, mut buckets, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
        let mut said = Vec::with_capacity(calls.len());
        for it in calls {
            let Asking { has_hard, budgets: wishes, charges, .. } = it;
            let count = OF_CALL + OF_WISH * wishes.len() + OF_CHARGE * charges.len();
            let mut numbers = Vec::with_capacity(count);
            numbers.extend([i64::from(*has_hard), number(wishes.len()), number(charges.len())]);
            for Wish { budget, version, wanted, edges } in wishes {
                let place = number(1 + place_of(&mut budgets, *budget));
                let [money, requests, tokens] = wanted.all();
                numbers.extend([place, *version, money, requests, tokens]);
                numbers.extend(edges.0);
            }
            for it in charges {
                let bucket = it.has_bucket().then(|| 1 + place_of(&mut buckets, &*it.bucket));
                let is_counted = it.limits.concurrent.is_some();
                let calls = is_counted.then(|| 1 + place_of(&mut under_way, &*it.calls));
                numbers.extend([bucket, calls].map(|it| number(it.unwrap_or(0))));
                numbers.extend(What::ALL.map(|what| written(it.limit(what))));
                numbers.push(written(Some(it.tokens)));
            }
            said.push(packed(numbers));
        }
        let names = &self.counters.places;
        let mut ask = self.admit.ask(4 + budgets.len() + buckets.len() + under_way.len());
        ask.arg(names.holds(shard, epoch))
            .arg(names.living(shard))
            .arg(names.stopped_keys(shard))
            .arg(names.incarnation(shard));
        budgets.iter().for_each(|it| _ = ask.arg(names.budget(shard, *it)));
        ask.arg(&buckets).arg(&under_way);
        ask.arg(budgets.len()).arg(buckets.len()).arg(milliseconds(self.place_life));
        for (it, said) in calls.iter().zip(&said) {
            ask.arg(&*it.call.uuid().simple().encode_lower(&mut Uuid::encode_buffer()))
                .arg(&*it.key.uuid().simple().encode_lower(&mut Uuid::encode_buffer()))
                .arg(&it.places)
                .arg(said);
        }
        ask
    }

    /// Settles several calls at once, all of one shard, in their order. `leases` name their places.
    pub fn settle(&self, settlements: &[&Settlement], leases: &Leases) -> Cmd {
        let (mut buckets, mut calls, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut corrections = Vec::new();
        for settlement in settlements {
            for (charge, Correction { tokens, at, .. }, after) in settlement.corrections() {
                let Limits { requests_per_minute, tokens_per_minute, .. } = charge.limits;
                let place = place_of(&mut buckets, &*charge.bucket) + 1;
                let all = [
                    Some(place as u64),
                    requests_per_minute.map(u64::from),
                    tokens_per_minute,
                    Some(charge.tokens),
                    Some((*tokens).min(CEILING)),
                    Some(after.0),
                    Some(*at),
                ];
                corrections.extend(all.map(written));
            }
            let name = leases.name(settlement.lease);
            for it in settlement.places() {
                let place = place_of(&mut calls, &**it);
                names.resize_with(calls.len(), Vec::new);
                names[place].push(name.clone());
            }
        }
        let mut ask = self.settle.ask(buckets.len() + calls.len());
        ask.arg(&buckets).arg(&calls);
        ask.arg(buckets.len()).arg(packed(corrections));
        names.iter().for_each(|it: &Vec<String>| _ = ask.arg(it.len()).arg(it));
        ask
    }

    pub fn renew(&self, calls: &str, names: &[String]) -> Cmd {
        let mut ask = self.renew.ask(1);
        ask.arg(calls).arg(milliseconds(self.place_life)).arg(names);
        ask
    }

    pub fn beat(&self, fleet: &str, proxy: &str) -> Cmd {
        let mut ask = self.beat.ask(1);
        ask.arg(fleet).arg(proxy).arg(milliseconds(BEAT_LIFE));
        ask
    }
}

/// Where that stands, which is put last if it does nowhere.
fn place_of<T: PartialEq>(all: &mut Vec<T>, it: T) -> usize {
    all.iter().rposition(|other| *other == it).unwrap_or_else(|| {
        all.push(it);
        all.len() - 1
    })
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(0)
}

/// As the scripts read a limit.
fn written(limit: Option<u64>) -> i64 {
    limit.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
