//! What limits cost: a call that passes them, and one that does not.

use std::io;

use secrecy::ExposeSecret;
use shared::keys::{Brand, NewKey};

use super::{
    Bench, at_most, calls,
    figures::{Figure, Unit},
    growth_in_percent,
    load::{Load, Meant},
    of_cpu, of_ours,
    open_loop::{Connection, request},
    running::Run,
    tell,
};

impl Bench {
    /// What a call costs that ends at the key, which is well-formed and nobody's, and one
    /// that ends at a limit.
    pub fn refusals(&self) -> io::Result<Vec<Figure>> {
        tell("refusals");
        let nobodys = NewKey::generate(Brand::Live).secret;
        let exhausted = &self.limited.exhausted;
        let ours = self.subjects[2];
        // The one call of this minute.
        let small = calls::small();
        let first = request("/v1/chat/completions", exhausted.expose_secret(), &small.body);
        Connection::open(ours.address)?.call(&first)?.check(false)?;

        let files = self.ready(&[small])?;
        let run = |key, but| {
            let meant = Meant::Refused { but };
            Run {
                subject: ours,
                load: Load { key, meant, seconds: self.half(), ..self.load(&files) },
            }
        };
        // Another call may be due while this goes on.
        let [key, limit] =
            self.take_turns([run(nobodys.expose_secret(), 0), run(exhausted.expose_secret(), 2)])?;
        let figure = |what: &str, costs: Vec<super::running::Cost>| Figure {
            target: of_cpu(15.0, 10.0),
            ..of_ours(
                format!("refusal {what}: CPU"),
                Unit::Microseconds,
                costs.iter().map(|it| it.cpu),
            )
        };
        Ok(vec![figure("of a key", key), figure("by a limit", limit)])
    }

    /// A call whose key, project and organization have limits, beside one that has none.
    pub fn governance(&self) -> io::Result<Vec<Figure>> {
        tell("calls with limits and without");
        let files = self.ready(&[calls::small()])?;
        let free = Load { seconds: self.half(), ..self.load(&files) };
        let governed = Load { key: self.limited.governed.expose_secret(), ..free };
        let subject = self.subjects[2];
        let runs = [free, governed].map(|load| Run { subject, load });
        let costs = self.take_turns(runs)?;
        let [free, governed] =
            costs.each_ref().map(|it| it.iter().map(|it| it.cpu).collect::<Vec<_>>());
        let added = growth_in_percent(&free, &governed);
        let figure = |name: &str, runs| of_ours(name.to_owned(), Unit::Microseconds, runs);
        let [redis_free, redis_governed] =
            costs.map(|it| it.iter().map(|it| it.redis).collect::<Vec<_>>());
        Ok(vec![
            figure("call without limits: CPU", free),
            figure("call with limits on three levels: CPU", governed),
            Figure {
                target: at_most(100.0, 40.0),
                ..of_ours("what limits add to a call's CPU".to_owned(), Unit::Percent, added)
            },
            figure("Redis, call without limits: CPU", redis_free),
            figure("Redis, call with limits: CPU", redis_governed),
        ])
    }
}
