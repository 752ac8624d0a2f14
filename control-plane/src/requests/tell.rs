//! What proxies ask about calls, for keys of the projects that these were made for: they have no
//! database, and callers would know what became of their calls.
//!
//! Always holds: whoever asks is told of requests of their own project, and of others as of what
//! never was; a question is answered once, by one of the control planes. One that is lost with us
//! is asked again by whoever needs it.

use std::time::Duration;

use actix_web::web::Data;
use futures::{StreamExt, stream};
use redis::{RedisError, cmd};
use serde::Serialize;
use serde_json::value::to_raw_value;
use shared::{
    generations::{LASTS_SECONDS, Question, Reply},
    ids::RequestId,
    wire::{Address, Patience, PoolError, Wire},
};
use tokio::time::{error::Elapsed, timeout};
use tracing::warn;

use super::{Request, store};
use crate::{access, platform::Platform};

/// How long we wait for a question before we look whether we are to stop.
const WAIT_SECONDS: u64 = 1;
/// A connection of its own, which nobody else waits for while it waits.
pub(super) const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(2), answer: Duration::from_secs(WAIT_SECONDS + 2) };
/// Whoever asks waits for two seconds.
const SOON: Duration = Duration::from_secs(1);
/// How many questions are taken with one that came, and looked up at once.
const TAKEN: usize = 15;
const AT_ONCE: usize = 4;

/// One call as its caller is told of it.
#[derive(Debug, Serialize)]
struct Generation {
    object: &'static str,
    id: RequestId,
    /// Exactly, as the head of its answer has it.
    cost_usd: String,
    #[serde(flatten)]
    request: Request,
}

impl Generation {
    fn of(request: Request) -> Self {
        let (id, cost_usd) = (request.event.request, request.event.cost.exact());
        Self { object: "generation", id, cost_usd, request }
    }
}

/// Answers what is asked in one list.
pub struct Teller {
    desk: Data<Platform>,
    redis: Address,
    list: String,
}

impl Teller {
    pub fn new(desk: Data<Platform>, redis: Address, list: &str) -> Self {
        Self { desk, redis, list: list.to_owned() }
    }

    /// Goes on until we are to stop, or Redis fails.
    pub async fn run(&self) -> Result<(), NotAnswered> {
        let mut waiting = self.redis.connect(PATIENCE).await?;
        while !self.desk.is_draining() {
            self.answer_next(&mut waiting).await?;
        }
        Ok(())
    }

    /// Answers what is asked now, or comes within a second.
    pub(super) async fn answer_next(&self, waiting: &mut Wire) -> Result<(), NotAnswered> {
        let questions = self.take(waiting).await?;
        let answers = stream::iter(questions);
        answers.for_each_concurrent(AT_ONCE, |it| async move { self.answer(&it).await }).await;
        Ok(())
    }

    async fn take(&self, waiting: &mut Wire) -> Result<Vec<Vec<u8>>, NotAnswered> {
        let mut pop = cmd("BLPOP");
        pop.arg(&self.list).arg(WAIT_SECONDS);
        let first: Option<(String, Vec<u8>)> = pop.query_async(waiting).await?;
        let Some((_, first)) = first else { return Ok(Vec::new()) };
        let mut pop = cmd("LPOP");
        pop.arg(&self.list).arg(TAKEN);
        let rest: Option<Vec<Vec<u8>>> = pop.query_async(waiting).await?;
        Ok([first].into_iter().chain(rest.into_iter().flatten()).collect())
    }

    async fn answer(&self, asked: &[u8]) {
        let Ok(question) = Question::decode(asked) else {
            warn!("a question about a call is passed over that cannot be read");
            return;
        };
        let found = async { timeout(SOON, self.find(&question)).await? };
        let reply = found.await.unwrap_or_else(|error| {
            warn!(request.id = %question.request, %error, "a call could not be looked up");
            Reply::Away
        });
        if let Err(error) = self.put(&question, &reply).await {
            warn!(request.id = %question.request, %error, "an answer about a call was not taken");
        }
    }

    async fn find(&self, question: &Question) -> Result<Reply, NotAnswered> {
        let Question { organization, project, request, .. } = *question;
        let mut tx = self.desk.db.begin().await?;
        access::scope(&mut tx, Some(organization), None).await?;
        let found = store::find(&mut tx, organization, request).await?;
        match found.filter(|it| it.event.project == project) {
            Some(it) => Ok(Reply::Found(to_raw_value(&Generation::of(it))?)),
            None => Ok(Reply::NotFound),
        }
    }

    async fn put(&self, question: &Question, reply: &Reply) -> Result<(), NotAnswered> {
        let mut redis = timeout(SOON, self.desk.redis.get()).await??;
        let mut put = cmd("SET");
        put.arg(question.place(&self.list)).arg(reply.encode()).arg("EX").arg(LASTS_SECONDS);
        let () = timeout(SOON, put.query_async(&mut redis)).await??;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    #[error("a store did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    #[error("the request log failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error("a request cannot be written as JSON: {0}")]
    Written(#[from] serde_json::Error),
}
