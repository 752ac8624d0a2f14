//! How long an answer of Redis is waited for. What tells that Redis stands still is that
//! nobody is answered; who stands in a line that moves is not given up, nor does it tell anything
//! when we were the ones that stood still.

use std::{
    future::Future,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::RedisResult;
use tokio::time::{Instant, timeout_at};

/// How long somebody stands in line at most, however well it moves.
pub const LONGEST: Duration = Duration::from_secs(1);

/// Who looks so late was kept from looking, and does not know that there was no answer: it is read
/// on the same thread.
const LATE: Duration = Duration::from_millis(10);

pub struct Patience {
    /// How long it is waited while nobody is answered,
    still: Duration,
    /// and in all.
    longest: Duration,
    began: Instant,
    /// When anybody was answered last, in microseconds from the beginning.
    answered: AtomicU64,
}

impl Patience {
    /// Of a Redis that answers one after the other.
    pub fn in_line(still: Duration) -> Self {
        Self { longest: LONGEST.max(still), ..Self::with_each(still) }
    }

    /// Of several: that one answers says nothing of the others.
    pub fn with_each(still: Duration) -> Self {
        Self { still, longest: still, began: Instant::now(), answered: AtomicU64::new(0) }
    }

    /// How long the connection itself has to wait.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The answer, unless Redis stands still.
    pub async fn wait<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        self.wait_since(Instant::now(), answer).await
    }

    /// The same, of a question that waited to be put.
    pub async fn wait_since<T>(
        &self,
        asked: Instant,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let mut until = self.until(asked);
        let mut answer = std::pin::pin!(answer);
        loop {
            if let Ok(answer) = timeout_at(until, &mut answer).await {
                self.note();
                return answer;
            }
            let now = Instant::now();
            let moved = if now > until + LATE { now } else { self.last_answer() };
            let longer = (moved + self.still).min(asked + self.longest);
            if longer <= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            until = longer;
        }
    }

    /// Whether somebody who began to wait then need not begin to ask any more.
    pub fn is_over(&self, asked: Instant) -> bool {
        Instant::now() >= self.until(asked)
    }

    /// How long it is waited as things are.
    fn until(&self, asked: Instant) -> Instant {
        (asked.max(self.last_answer()) + self.still).min(asked + self.longest)
    }

    fn note(&self) {
        let passed = self.began.elapsed().as_micros();
        self.answered.fetch_max(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last_answer(&self) -> Instant {
        self.began + Duration::from_micros(self.answered.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::{
        join,
        time::{advance, sleep},
    };

    use super::*;

    const STILL: Duration = Duration::from_millis(100);

    /// An answer that comes after so many milliseconds.
    async fn after(ms: u64) -> RedisResult<u64> {
        sleep(Duration::from_millis(ms)).await;
        Ok(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_redis_that_stands_still_is_given_up_soon() {
        let patience = Patience::in_line(STILL);
        patience.wait(ready(Ok(()))).await.unwrap();
        let asked = Instant::now();
        assert!(patience.wait(pending::<RedisResult<()>>()).await.unwrap_err().is_timeout());
        assert_eq!(asked.elapsed(), STILL);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_in_a_line_that_moves_is_answered() {
        let patience = Patience::in_line(STILL);
        let (first, second, third) =
            join!(patience.wait(after(90)), patience.wait(after(180)), patience.wait(after(270)));
        assert_eq!((first.unwrap(), second.unwrap(), third.unwrap()), (90, 180, 270));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_up_as_long_after_the_last_answer_as_after_the_question() {
        let patience = Patience::in_line(STILL);
        let asked = Instant::now();
        let (_, never) =
            join!(patience.wait(after(90)), patience.wait(pending::<RedisResult<()>>()));
        assert!(never.is_err());
        assert_eq!(asked.elapsed(), STILL + Duration::from_millis(90));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stood_still_themselves_wait_once_more() {
        let (patience, stall) = (Patience::in_line(STILL), STILL * 5 / 2);
        let (answer, ()) = join!(patience.wait(after(300)), advance(stall));
        assert_eq!(answer.unwrap(), 300);
        let patience = Patience::in_line(STILL);
        let asked = Instant::now();
        let (never, ()) = join!(patience.wait(pending::<RedisResult<()>>()), advance(stall));
        assert!(never.is_err());
        assert_eq!(asked.elapsed(), stall + STILL);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_to_ask_has_waited() {
        let patience = Patience::in_line(STILL);
        let asked = Instant::now();
        advance(STILL / 2).await;
        assert!(!patience.is_over(asked));
        assert!(patience.wait_since(asked, pending::<RedisResult<()>>()).await.is_err());
        assert_eq!(asked.elapsed(), STILL);
        assert!(patience.is_over(asked));
        // Not where others were answered meanwhile.
        patience.wait(ready(Ok(()))).await.unwrap();
        assert!(!patience.is_over(asked));
        assert!(patience.wait_since(asked, pending::<RedisResult<()>>()).await.is_err());
        assert_eq!(asked.elapsed(), 2 * STILL);
        advance(LONGEST).await;
        assert!(patience.is_over(asked));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_however_well_others_are_answered() {
        let patience = Patience::in_line(STILL);
        let asked = Instant::now();
        let others = async {
            while asked.elapsed() < LONGEST * 2 {
                patience.wait(after(50)).await.unwrap();
            }
        };
        let never = async {
            assert!(patience.wait(pending::<RedisResult<()>>()).await.is_err());
            assert_eq!(asked.elapsed(), LONGEST);
        };
        join!(others, never);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_each_has_to_answer_by_itself() {
        let patience = Patience::with_each(STILL);
        let (first, second) = join!(patience.wait(after(90)), patience.wait(after(150)));
        assert!(first.is_ok() && second.is_err());
    }
}
