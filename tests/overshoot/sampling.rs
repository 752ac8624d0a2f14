//! Looks at what Redis has of the budgets, again and again, all of them at one moment.

use redis::RedisResult;
use shared::{counters::Counter, wire::Wire};
use tokio::{sync::watch, task::JoinSet};

#[derive(Clone, Copy, Debug, Default)]
pub struct Samples {
    pub count: u64,
    /// The most that a budget was overspent by, ever.
    pub overspend: i64,
}

/// A budget as it was at the last look.
#[derive(Clone, Copy, Default)]
struct Before {
    cap: i64,
    taken: i64,
}

pub struct Sampler {
    stop: watch::Sender<bool>,
    task: JoinSet<Samples>,
}

/// An error is that Redis is away.
pub async fn counters(redis: &mut Wire, keys: &[String]) -> RedisResult<Vec<Counter>> {
    let kept: Vec<Vec<u8>> = redis::cmd("MGET").arg(keys).query_async(redis).await?;
    Ok(kept.iter().map(|it| Counter::read(it)).collect())
}

impl Sampler {
    pub fn start(mut redis: Wire, keys: Vec<String>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut samples, mut before) =
                (Samples::default(), vec![Before::default(); keys.len()]);
            loop {
                let is_last = *stopped.borrow();
                let counters = counters(&mut redis, &keys).await.unwrap_or_default();
                for (counter, before) in counters.iter().zip(&mut before) {
                    samples.overspend = samples.overspend.max(before.overspend(counter));
                }
                samples.count += u64::from(!counters.is_empty());
                if is_last {
                    return samples;
                }
                tokio::task::yield_now().await;
            }
        });
        Self { stop, task }
    }

    pub async fn stop(self) -> Samples {
        self.stop.send_replace(true);
        self.task.join_all().await.remove(0)
    }
}

impl Before {
    /// By how much more is spent and held than may be. A cap that was lowered below that lets
    /// nothing more through; until it was, the one before it held.
    fn overspend(&mut self, counter: &Counter) -> i64 {
        let Some(window) = counter.window else { return 0 };
        let (spent, held) = (window.spent.money, window.held.money);
        let cap = counter.caps.money.map_or(i64::MAX, |it| it.nanos());
        let was_changed = cap != self.cap && self.cap > 0;
        let most = cap.max(self.taken).max(if was_changed { self.cap } else { 0 });
        let taken = spent.saturating_add(held);
        *self = Self { cap, taken };
        (taken - most).max(0)
    }
}
