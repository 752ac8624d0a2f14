//! How long a proxy takes from its start to its first answer.

use std::io;

use secrecy::ExposeSecret;

use super::{
    Bench, at_most, calls,
    figures::{Figure, Unit},
    of_ours,
    proxy::{await_copy, empty},
    tell,
};

/// Nobody listens there.
const NOWHERE: &str = "redis://127.0.0.1:1";

impl Bench {
    /// With all that the installation has, and from the copy on its disk while Redis,
    /// PostgreSQL and the control plane cannot be reached: a proxy is told of no other.
    pub fn starts(&self) -> io::Result<Vec<Figure>> {
        tell("starts");
        let request = self.free_request(&calls::small().body);
        let redis = self.stage.redis_url().expose_secret();
        let place = self.arguments.out.join("copy");
        let took = |redis_url: &str, place| {
            let took = |_| self.proxies.start(redis_url, place)?.answers(&request);
            let took: io::Result<Vec<_>> = (0..self.arguments.repeats).map(took).collect();
            Ok::<_, io::Error>(took?.into_iter().map(|it| it.as_secs_f64()))
        };
        let usual = took(redis, None)?;
        empty(&place)?;
        let mut keeper = self.proxies.start(redis, Some(&place))?;
        keeper.answers(&request)?;
        await_copy(&place)?;
        drop(keeper);
        let alone = took(NOWHERE, Some(&place))?;
        empty(&place)?;
        let figure = |how: &str, took| {
            of_ours(format!("start to the first 200, {how}"), Unit::Seconds, took)
        };
        Ok(vec![
            Figure { target: at_most(0.5, 0.3), ..figure("with all there", usual) },
            Figure { target: at_most(0.2, 0.1), ..figure("from its copy alone", alone) },
        ])
    }
}
