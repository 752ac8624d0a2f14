//! The one timer of an attempt, which is set to one wait after the other.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Setting a timer costs more than looking at the clock. So one that would fire too early
/// is left as it is, and set anew when it has fired: in a stream that flows, once in a
/// while instead of at each piece.
pub struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub fn new(at: Instant) -> Self {
        Self(Box::pin(sleep_until(at)))
    }

    /// What `work` comes to, if it does so before `until`.
    pub async fn limit<F: Future>(&mut self, until: Instant, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_until(until, cx).map(|()| None),
        })
        .await
    }

    pub fn poll_until(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = &mut self.0;
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_fires_when_it_should_whatever_it_was_set_to_before() {
        let start = Instant::now();
        let mut timer = Timer::new(start + Duration::from_secs(10));
        for seconds in [10, 30, 31, 90] {
            let until = start + Duration::from_secs(seconds);
            assert_eq!(timer.limit(until, pending::<()>()).await, None);
            assert_eq!(Instant::now(), until);
        }
        let mut timer = Timer::new(start + Duration::from_secs(1_000));
        let sooner = start + Duration::from_secs(100);
        assert_eq!(timer.limit(sooner, pending::<()>()).await, None);
        assert_eq!(Instant::now(), sooner);
        assert_eq!(timer.limit(start, async { 1 }).await, Some(1), "what is there is never late");
    }
}
