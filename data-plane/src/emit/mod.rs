//! Telling the control plane of each call, beside the road.
//!
//! A call that leaves puts its event into a queue in memory, which never waits: the
//! queue is bounded, and when it is full the newest event is dropped and counted. A task
//! carries what waits to Redis Streams every [`PERIOD`], many at once. What could not be
//! carried is kept and tried again; draining carries the rest. What a killed process had
//! not carried yet is lost.

mod client;
mod story;
mod tags;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_redis::Pool;
use redis::pipe;
use shared::{
    counters::{Places, Shard},
    event::{Event, FIELD},
    ids::ProxyId,
    tasks::Supervisor,
};
use tokio::{sync::Notify, time::sleep};

pub use self::story::Story;
use crate::{catalog::feed::FeedError, metrics::EventMetrics};

/// Short enough that people who watch see a call within a second.
const PERIOD: Duration = Duration::from_millis(100);
/// How long to leave Redis alone when it failed us.
const REST: Duration = Duration::from_secs(2);
/// The most events that wait here.
const MOST_WAITING: usize = 16_384;
/// How many events are sent at once.
const AT_ONCE: usize = 256;
/// About as many events wait in each stream at most; then the oldest go. It bounds what
/// Redis keeps while no control plane reads.
const MOST_IN_STREAM: usize = 50_000;

/// Handed on by its pointer, so that the road copies no more than that.
type Told = Box<Event>;

/// Takes events from the road and carries them to Redis.
pub struct Emitter {
    proxy: ProxyId,
    waiting: Mutex<Vec<Told>>,
    most: usize,
    metrics: EventMetrics,
}

impl Emitter {
    pub fn new(metrics: EventMetrics) -> Self {
        Self::holding(MOST_WAITING, metrics)
    }

    fn holding(most: usize, metrics: EventMetrics) -> Self {
        Self { proxy: ProxyId::generate(), waiting: Mutex::default(), most, metrics }
    }

    /// Puts an event into the queue, or drops it where there is no room.
    fn emit(&self, event: Told) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < self.most {
            waiting.push(event);
        } else {
            drop(waiting);
            self.metrics.dropped(1);
        }
    }

    pub fn start(self: Arc<Self>, supervisor: &Supervisor, redis: Pool, place: Places) {
        let unasked = Arc::<Notify>::default();
        supervisor.every("tell of calls", PERIOD, unasked, move || {
            let (emitter, redis, place) = (self.clone(), redis.clone(), place.clone());
            async move {
                let carried = emitter.carry(&redis, &place).await;
                if carried.is_err() {
                    sleep(REST).await;
                }
                carried
            }
        });
    }

    /// Carries what waits to the streams at `place`. What could not be carried is kept.
    pub async fn carry(&self, redis: &Pool, place: &Places) -> Result<(), FeedError> {
        let mut batch = self.take();
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(AT_ONCE));
            if let Err(error) = send(redis, place, &batch).await {
                batch.extend(rest);
                self.put_back(batch);
                return Err(error);
            }
            self.metrics.carried(batch.len());
            batch = rest;
        }
        Ok(())
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Before what has come since, of which the newest go where there is no room for all.
    fn put_back(&self, older: Vec<Told>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = std::mem::replace(&mut *waiting, older);
        waiting.extend(newer);
        let excess = waiting.len().saturating_sub(self.most);
        waiting.truncate(self.most);
        drop(waiting);
        self.metrics.dropped(excess);
    }
}

async fn send(redis: &Pool, place: &Places, events: &[Told]) -> Result<(), FeedError> {
    let mut pipeline = pipe();
    for event in events {
        let stream = place.events(Shard::of(event.organization));
        let add = pipeline.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(MOST_IN_STREAM);
        add.arg("*").arg(FIELD).arg(event.encode()).ignore();
    }
    let mut connection = redis.get().await?;
    let () = pipeline.query_async(&mut connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
