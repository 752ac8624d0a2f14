//! Looks at what Redis has of the budgets, again and again, all of them at one moment.

use redis::RedisResult;
use shared::{
    counters::Counter,
    wire::{Address, Patience, Wire},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

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
    /// The highest cap that it ever had: what a window that is over may have at most.
    highest: i64,
}

pub struct Sampler {
    stop: watch::Sender<bool>,
    task: JoinSet<Samples>,
}

/// Over a connection of its own: Redis may have been away meanwhile.
pub async fn connect(redis: &Address) -> RedisResult<Wire> {
    let patience = std::time::Duration::from_secs(2);
    redis.connect(Patience { connect: patience, answer: patience }).await
}

pub async fn counters(redis: &Address, keys: &[String]) -> RedisResult<Vec<Counter>> {
    look(&mut connect(redis).await?, keys).await
}

async fn look(redis: &mut Wire, keys: &[String]) -> RedisResult<Vec<Counter>> {
    let kept: Vec<Vec<u8>> = redis::cmd("MGET").arg(keys).query_async(redis).await?;
    Ok(kept.iter().map(|it| Counter::read(it)).collect())
}

/// Whether the shard counts, and the budgets, at one moment.
async fn sample(
    redis: &mut Wire,
    incarnation: &str,
    keys: &[String],
) -> RedisResult<(bool, Vec<Counter>)> {
    let mut all = redis::pipe();
    all.atomic().cmd("TIME").cmd("GET").arg(incarnation).cmd("MGET").arg(keys);
    let (time, state, kept): ((i64, i64), Option<String>, Vec<Vec<u8>>) =
        all.query_async(redis).await?;
    let words: Vec<_> = state.iter().flat_map(|it| it.split(' ')).collect();
    let counts = match words[..] {
        [_, "W", _] => true,
        [_, "L", until] => until.parse().is_ok_and(|it: i64| it <= time.0 * 1_000),
        _ => false,
    };
    Ok((counts, kept.iter().map(|it| Counter::read(it)).collect()))
}

impl Sampler {
    pub fn start(redis: Address, incarnation: String, keys: Vec<String>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut samples, mut before) =
                (Samples::default(), vec![Before::default(); keys.len()]);
            let mut connection = None;
            loop {
                let is_last = *stopped.borrow();
                if connection.is_none() {
                    connection = connect(&redis).await.ok();
                }
                let looked = match &mut connection {
                    Some(connection) => sample(connection, &incarnation, &keys).await.ok(),
                    None => None,
                };
                match &looked {
                    // What was let through before it lost something is held again until then.
                    Some((false, _)) => before.fill(Before::default()),
                    Some((true, counters)) => {
                        for (counter, before) in counters.iter().zip(&mut before) {
                            samples.overspend = samples.overspend.max(before.overspend(counter));
                        }
                        samples.count += 1;
                    }
                    // It is away.
                    None => {
                        connection = None;
                        sleep(PAUSE).await;
                    }
                }
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
        let (taken, highest) = (spent.saturating_add(held), self.highest.max(cap));
        if self.cap == 0 {
            // The first look: there is nothing to compare with.
            *self = Self { cap, taken, highest };
            return 0;
        }
        let was_changed = cap != self.cap;
        let most = cap.max(self.taken).max(if was_changed { self.cap } else { 0 });
        *self = Self { cap, taken, highest };
        let before = counter.before.map_or(0, |it| it.spent.money.saturating_add(it.held.money));
        (taken - most).max(before - highest).max(0)
    }
}
