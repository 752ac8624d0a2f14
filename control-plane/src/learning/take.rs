//! From the stream that proxies write into what is kept.
//!
//! What the stream holds was not taken yet. One transaction keeps some of it, and only after it is
//! the rest of these entries removed: who dies in between leaves them to be taken again, and what
//! is there already counts once. What is said of a request that is not in the log waits for it a
//! while, since a call's event may come later than its caller's word.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use prometheus::{IntCounterVec, register_int_counter_vec};
use redis::{RedisError, cmd};
use shared::{
    feedback::{FIELD, Feedback},
    ids::OrganizationId,
    wire::{Connection, PoolError},
};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use tokio::time::{error::Elapsed, timeout};
use tracing::warn;

use super::{Kept, Source, features, keep, store};
use crate::{access, platform::Platform};

const PATIENCE: Duration = Duration::from_secs(2);
/// How many entries are taken at once.
const AT_ONCE: usize = 500;
/// For so long a request may be told of later than what is said of it.
const AWAITED: time::Duration = time::Duration::minutes(10);

static TAKEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "turnpike_feedback_total",
        "What callers said of answers: kept, known already, or refused.",
        &["result"]
    )
    .expect("the metric is registered once")
});

/// An entry of the stream as Redis gives it: its id, then fields and values.
type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

/// Takes all that waits in a stream. Any number may try at once: one does.
pub async fn take(desk: &Platform, stream: &str) -> Result<(), NotTaken> {
    let mut redis = timeout(PATIENCE, desk.redis.get()).await??;
    let mut behind = "-".to_owned();
    loop {
        let mut tx = desk.db.begin().await?;
        if !store::claim(&mut tx, stream).await? {
            return Ok(());
        }
        let entries = read(&mut redis, stream, &behind).await?;
        let Some(last) = entries.last() else { return Ok(()) };
        behind = format!("({}", last.0);
        let is_all = entries.len() < AT_ONCE;
        let done = take_some(&mut tx, entries).await?;
        tx.commit().await?;
        remove(&mut redis, stream, &done).await?;
        if is_all {
            return Ok(());
        }
    }
}

async fn read(redis: &mut Connection, stream: &str, behind: &str) -> Result<Vec<Entry>, NotTaken> {
    let mut range = cmd("XRANGE");
    range.arg(stream).arg(behind).arg("+").arg("COUNT").arg(AT_ONCE);
    Ok(timeout(PATIENCE, range.query_async(redis)).await??)
}

async fn remove(redis: &mut Connection, stream: &str, done: &[String]) -> Result<(), NotTaken> {
    if done.is_empty() {
        return Ok(());
    }
    let mut removal = cmd("XDEL");
    removal.arg(stream).arg(done);
    let () = timeout(PATIENCE, removal.query_async(redis)).await??;
    Ok(())
}

/// Says which entries are done with.
async fn take_some(
    conn: &mut PgConnection,
    entries: Vec<Entry>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut done = Vec::with_capacity(entries.len());
    let mut by_organization: BTreeMap<OrganizationId, Vec<(String, Feedback)>> = BTreeMap::new();
    for (id, fields) in entries {
        let said = fields.iter().find(|(name, _)| name == FIELD.as_bytes());
        match said.and_then(|(_, bytes)| Feedback::decode(bytes).ok()) {
            Some(it) => by_organization.entry(it.organization).or_default().push((id, it)),
            None => {
                warn!(entry = id, "feedback is refused that cannot be read");
                count("refused", 1);
                done.push(id);
            }
        }
    }
    for (organization, said) in by_organization {
        access::scope(conn, Some(organization), None).await?;
        let mut kept = Vec::with_capacity(said.len());
        for (id, it) in said {
            match of_whom(conn, it).await? {
                Judgement::Waits => continue,
                Judgement::Refused => count("refused", 1),
                Judgement::Kept(it) => kept.push(*it),
            }
            done.push(id);
        }
        let all = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let new = keep_or_undo(conn, organization, &kept).await?;
        count("kept", new);
        count("known", all.saturating_sub(new));
    }
    Ok(done)
}

enum Judgement {
    Kept(Box<Kept>),
    /// For its request to be in the log.
    Waits,
    /// It is of a request of another project, or that nobody answered or knows.
    Refused,
}

/// Looks whether the key may speak of the request, and what is known of that.
async fn of_whom(conn: &mut PgConnection, said: Feedback) -> Result<Judgement, sqlx::Error> {
    let Some(request) = said.request else { return Ok(kept(said, None)) };
    match store::request(conn, said.organization, request).await? {
        Some(it) if it.project != said.project => Ok(Judgement::Refused),
        Some(it) => Ok(kept(said, Some(it))),
        None if OffsetDateTime::now_utc() - said.at > AWAITED => Ok(Judgement::Refused),
        None => Ok(Judgement::Waits),
    }
}

fn kept(said: Feedback, request: Option<store::Judged>) -> Judgement {
    let own = said.features.as_deref().and_then(features);
    let (answered, task, theirs) = match request {
        Some(it) => (it.model, it.task, it.features.as_deref().and_then(features)),
        None => (None, None, None),
    };
    let Some(model) = said.model.or(answered) else { return Judgement::Refused };
    // What was sent along counts, with what it was taken for.
    let (task, features) = match own {
        Some(own) => (said.task.map(|it| it.into_owned()), Some(own)),
        None => (task, theirs),
    };
    Judgement::Kept(Box::new(Kept {
        id: said.id,
        project: said.project,
        request: said.request,
        model,
        task,
        features,
        per_mille: said.per_mille,
        source: Source::Api,
        said_by: said.key.uuid(),
        at: said.at,
    }))
}

/// What is said in the name of an organization that is not there any more is nobody's.
async fn keep_or_undo(
    conn: &mut PgConnection,
    organization: OrganizationId,
    kept: &[Kept],
) -> Result<u64, sqlx::Error> {
    let mut within = conn.begin().await?;
    match keep(&mut within, organization, kept).await {
        Ok(new) => {
            within.commit().await?;
            Ok(new)
        }
        Err(error) if is_about_values(&error) => {
            within.rollback().await?;
            warn!(organization.id = %organization, %error, "feedback is refused that the database will not have");
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Class 22: data that a type cannot hold. 23: an organization that is not there.
fn is_about_values(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    code.is_some_and(|it| it.starts_with("22") || it.starts_with("23"))
}

fn count(result: &str, many: u64) {
    TAKEN.with_label_values(&[result]).inc_by(many);
}

#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("the store of feedback failed")]
    Store(#[from] sqlx::Error),
}
