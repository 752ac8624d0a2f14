//! The way to the control plane: one stream, of which the end is known.

use std::time::Duration;

use redis::{cmd, pipe};
use shared::{
    feedback::{FIELD, Feedback, MOST_WAITING},
    wire::Pool,
};
use tokio::time::timeout;
use tracing::warn;

use super::NotFeedback;

/// Redis answers in a millisecond or is away.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Post {
    redis: Pool,
    stream: String,
}

impl Post {
    pub fn new(redis: Pool, stream: String) -> Self {
        Self { redis, stream }
    }

    /// All of it or, as far as the caller is told, none: what is sent again counts once more only
    /// where it is about a prompt and no request.
    pub async fn send(&self, all: &[Feedback]) -> Result<(), NotFeedback> {
        match timeout(PATIENCE, self.adds(all)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(NotFeedback::Full),
            Ok(Err(error)) => {
                warn!(%error, "feedback was not taken");
                Err(NotFeedback::Away)
            }
            Err(_) => Err(NotFeedback::Away),
        }
    }

    /// Unless too much waits there.
    async fn adds(&self, all: &[Feedback]) -> Result<bool, crate::catalog::feed::FeedError> {
        let mut connection = self.redis.get().await?;
        let waiting: usize = cmd("XLEN").arg(&self.stream).query_async(&mut connection).await?;
        if waiting + all.len() > MOST_WAITING {
            return Ok(false);
        }
        let mut adding = pipe();
        for it in all {
            adding.cmd("XADD").arg(&self.stream).arg("*").arg(FIELD).arg(it.encode()).ignore();
        }
        let () = adding.query_async(&mut connection).await?;
        Ok(true)
    }
}
