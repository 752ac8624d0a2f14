//! The scripts that Redis runs, and how each is asked. A script runs whole or not at all,
//! which is what makes limits exact on any number of proxies.

use std::time::Duration;

use redis::{Cmd, Pipeline};
use shared::{
    counters::{self, CLOCK, Guarded, Known, Places, packed},
    snapshot::Limits,
    wire::History,
};

use super::{
    charge::{Charge, What},
    gcra::CEILING,
    question::Question,
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
            admit: Guarded::new(&[&counters::admission(clock), BUCKET, ADMIT]),
            settle: Known::new(&[clock, BUCKET, SETTLE]),
            renew: Known::new(&[clock, RENEW]),
            beat: Known::new(&[clock, BEAT]),
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

    /// `places` is what the call's places under limits on calls at once are called.
    pub fn admit(&self, charges: &[Charge], places: &str, question: &Question<'_>) -> Cmd {
        let Question { shard, epoch, call, key, budgets } = question;
        let names = &self.counters.places;
        let mut ask = self.admit.ask(4 + budgets.len() + 2 * charges.len());
        ask.arg(names.holds(*shard, *epoch))
            .arg(names.living(*shard))
            .arg(names.stopped_keys(*shard))
            .arg(names.incarnation(*shard));
        budgets.iter().for_each(|it| _ = ask.arg(names.budget(*shard, it.budget.id)));
        charges.iter().for_each(|it| _ = ask.arg(&it.bucket));
        charges.iter().for_each(|it| _ = ask.arg(&it.calls));
        let has_hard = budgets.iter().any(|it| it.budget.is_hard);
        ask.arg(call.uuid().simple().to_string())
            .arg(key.uuid().simple().to_string())
            .arg(budgets.len())
            .arg(u8::from(has_hard))
            .arg(charges.len())
            .arg(places)
            .arg(milliseconds(self.place_life));
        for it in *budgets {
            let [money, requests, tokens] = it.wanted.all();
            let wanted = [it.budget.version, money, requests, tokens];
            ask.arg(packed(wanted.into_iter().chain(it.edges.0)));
        }
        for charge in charges {
            let [requests, tokens, calls] = What::ALL.map(|it| written(charge.limit(it)));
            ask.arg(packed([requests, tokens, calls, written(Some(charge.tokens))]));
        }
        ask
    }

    pub fn settle(&self, settlement: &Settlement, call: &str) -> Cmd {
        let corrections: Vec<_> = settlement.corrections().collect();
        let places: Vec<_> = settlement.places().collect();
        let mut ask = self.settle.ask(corrections.len() + places.len());
        for (charge, ..) in &corrections {
            ask.arg(&charge.bucket);
        }
        for calls in places {
            ask.arg(calls);
        }
        ask.arg(call).arg(corrections.len());
        for (charge, Correction { tokens, at, .. }, after) in corrections {
            let Limits { requests_per_minute, tokens_per_minute, .. } = charge.limits;
            ask.arg(written(requests_per_minute.map(u64::from)))
                .arg(written(tokens_per_minute))
                .arg(charge.tokens)
                .arg((*tokens).min(CEILING))
                .arg(after.0)
                .arg(*at);
        }
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

/// As the scripts read a limit.
fn written(limit: Option<u64>) -> i64 {
    limit.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
