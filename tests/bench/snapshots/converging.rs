//! How long after a change proxies serve it.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{
    fleet::{Fleet, Proxy},
    installation::Installation,
    tell,
};

/// What is changed, one key each time.
#[derive(Clone, Copy)]
pub struct Changes {
    pub count: usize,
    /// When all have the one before where nothing is said; then what counts is when the
    /// last of them has it. Otherwise each proxy counts by itself.
    pub every: Option<Duration>,
    /// How often each proxy is asked what it serves.
    pub step: Duration,
}

pub struct Took {
    pub serving: Percentiles,
    /// Until it was in Redis.
    pub sealing: Percentiles,
}

/// In milliseconds.
pub struct Percentiles {
    pub p50: f64,
    p99: f64,
    slowest: f64,
}

impl Percentiles {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |percent: usize| all[(all.len() * percent / 100).min(all.len() - 1)];
        let ms = |it: Duration| it.as_secs_f64() * 1e3;
        Self { p50: ms(at(50)), p99: ms(at(99)), slowest: ms(at(100)) }
    }
}

impl Took {
    pub fn tell(&self, what: &str, unit: &str) {
        let Percentiles { p50, p99, slowest } = self.serving;
        for (name, figure) in [("p50", p50), ("p99", p99), ("slowest", slowest)] {
            tell(&format!("{what}, {name}, {unit}"), figure);
        }
    }
}

pub async fn converge(at: &Installation, fleet: &Fleet, changes: Changes) -> Took {
    let (mut serving, mut sealing) = (Vec::new(), Vec::new());
    let mut under_way = FuturesUnordered::new();
    for _ in 0..changes.count {
        at.add_key().await;
        let began = Instant::now();
        let revision = at.publisher.publish().await.unwrap().unwrap();
        sealing.push(began.elapsed());
        let serve = fleet.proxies.iter().map(|it| serves(it, revision, began, changes.step));
        match changes.every {
            Some(pause) => {
                under_way.extend(serve);
                // What is under way goes on meanwhile.
                let pause = sleep(pause);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        Some(took) = under_way.next() => serving.push(took),
                    }
                }
            }
            None => {
                let all = futures::future::join_all(serve).await;
                serving.extend(all.into_iter().max());
            }
        }
    }
    serving.extend(under_way.collect::<Vec<_>>().await);
    Took { serving: Percentiles::of(serving), sealing: Percentiles::of(sealing) }
}

async fn serves(proxy: &Proxy, revision: i64, began: Instant, step: Duration) -> Duration {
    while proxy.revision().await.is_none_or(|it| it < revision) {
        assert!(began.elapsed() < Duration::from_secs(60), "a proxy does not get there");
        sleep(step).await;
    }
    began.elapsed()
}
