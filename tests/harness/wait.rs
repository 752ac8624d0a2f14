//! Waiting for what has to come about, and failing where it would hang.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Far beyond what anything takes, even on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(10);

/// Awaits an event.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.expect("it has to come about soon")
}

/// Looks until there is something to see, where no event tells of it.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(GLANCE).await;
        }
    };
    let Ok(seen) = timeout(PATIENCE, looking).await else { panic!("still waiting for {what}") };
    seen
}
