//! Processes of which everything is counted and in the database, and whose journals are removed.
//!
//! A store that went back to a time before may wait for them, to hear what they hold. They hold
//! nothing any more, and whoever took their journals over is the last that knows.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shared::counters::{Epoch, Looked, Shard, State};

use crate::limits::Limiter;

/// For how long they are spoken for: longer than any store waits.
const SPOKEN_FOR: Duration = Duration::from_secs(15 * 60);
/// After how many looks each shard was looked at: none of it is urgent.
const TURNS: u64 = 5;

#[derive(Default)]
pub(super) struct Gone(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    epochs: Vec<(Epoch, Instant)>,
    turn: u64,
}

impl Gone {
    pub fn add(&self, epoch: Epoch) {
        self.kept().epochs.push((epoch, Instant::now()));
    }

    /// Looks at some of the shards, whether one of them waits.
    pub async fn look(&self, limiter: &Limiter) {
        let (turn, epochs) = self.next();
        let in_turn = |it: &Shard| u64::from(it.number()) % TURNS == turn % TURNS;
        for epoch in epochs {
            for shard in Shard::all().filter(in_turn) {
                if speak_for(limiter, shard, epoch).await.is_none() {
                    return;
                }
            }
        }
    }

    fn next(&self) -> (u64, Vec<Epoch>) {
        let mut kept = self.kept();
        kept.epochs.retain(|(_, since)| since.elapsed() < SPOKEN_FOR);
        kept.turn += 1;
        (kept.turn, kept.epochs.iter().map(|it| it.0).collect())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that all is said, where that is waited for. Nothing where Redis does not answer.
async fn speak_for(limiter: &Limiter, shard: Shard, epoch: Epoch) -> Option<()> {
    let mut is_awaited = redis::cmd("HEXISTS");
    is_awaited.arg(limiter.counters().places.awaited(shard)).arg(epoch.to_string());
    if !limiter.ask::<bool>(&is_awaited).await? {
        return Some(());
    }
    let counters = limiter.counters();
    let looked = counters.look((shard, epoch), false, None);
    let looked = Looked::read(limiter.ask(&looked).await?)?;
    if looked.state == State::Learning {
        let said = counters.look((shard, epoch), false, Some(looked.incarnation));
        Looked::read(limiter.ask(&said).await?)?;
    }
    Some(())
}
