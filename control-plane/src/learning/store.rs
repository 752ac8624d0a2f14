//! Every statement on feedback, and on what was learned from it.

use shared::{
    ids::{ApiKeyId, OrganizationId, ProjectId, RequestId},
    snapshot,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Exploring, Kept, Sources, State, savings::Scores, signals::Seen, worths::Spending};
use crate::requests;

/// Makes us the only one who takes from the stream until the transaction ends.
pub(super) async fn claim(conn: &mut PgConnection, stream: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS "is_ours!""#,
        stream,
    )
    .fetch_one(conn)
    .await
}

/// Adds it, or replaces what was said before. Says how many are new, which is one or none.
pub(super) async fn put(
    conn: &mut PgConnection,
    organization: OrganizationId,
    it: &Kept,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO feedback AS f (organization_id, id, project_id, request_id, model, task,
                                    features, per_mille, source, said_by, created_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
          WHERE NOT EXISTS (SELECT FROM feedback WHERE organization_id = $1 AND id = $2)
         ON CONFLICT (organization_id, request_id, model, source, said_by)
                     WHERE request_id IS NOT NULL
         DO UPDATE SET task = excluded.task, features = excluded.features,
                       per_mille = excluded.per_mille, created_at = excluded.created_at,
                       arrival = nextval('feedback_arrivals')
          WHERE f.created_at <= excluded.created_at",
        organization as OrganizationId,
        it.id.uuid(),
        it.project as ProjectId,
        it.request.map(RequestId::uuid),
        it.model,
        it.task,
        it.features,
        i16::try_from(it.per_mille).unwrap_or(i16::MAX),
        it.source.name(),
        it.said_by,
        it.at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// That there is so much more to learn from.
pub(super) async fn note_fresh(
    conn: &mut PgConnection,
    organization: OrganizationId,
    new: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO learned AS l (organization_id, fresh) VALUES ($1, $2)
         ON CONFLICT (organization_id)
         DO UPDATE SET fresh = least(l.fresh + excluded.fresh, 1000000)",
        organization as OrganizationId,
        i32::try_from(new).unwrap_or(i32::MAX).min(1_000_000),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose log is to be looked through for what nobody said, and from when on.
pub(super) async fn signals_due(
    conn: &mut PgConnection,
) -> Result<Vec<(OrganizationId, OffsetDateTime)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId", since AS "since!"
             FROM app.signals_due()"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.since)).collect())
}

/// The latest calls of a time that were answered, of whose prompts it is known what they are like,
/// in the order in which they began.
pub(super) async fn seen(
    conn: &mut PgConnection,
    organization: OrganizationId,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Result<Vec<Seen>, sqlx::Error> {
    let mut rows = sqlx::query_as!(
        Seen,
        r#"
        SELECT request_id AS "request!: RequestId", project_id AS "project!: ProjectId",
               key_id AS "key!: ApiKeyId", model AS "model!", decision ->> 'task' AS task,
               decision ->> 'features' AS "features!",
               coalesce((decision -> 'inputs' -> 'input')::bigint, 0) AS "input!",
               coalesce((decision -> 'inputs' -> 'turns')::integer, 0) AS "turns!",
               decision -> 'inputs' ->> 'session' AS session,
               coalesce((decision -> 'inputs' -> 'spoilt_before')::boolean, false)
                   AS "spoilt_before!",
               (event ->> 'started_at')::timestamptz AS "started_at!", total_ms AS "total_ms!"
          FROM (SELECT request_id, project_id, key_id, model, total_ms, event,
                       (event -> 'decision')::jsonb AS decision
                  FROM request_events
                 WHERE organization_id = $1 AND request_id >= $2 AND request_id < $3
                   AND outcome = 'success' AND model IS NOT NULL
                 ORDER BY request_id DESC LIMIT 20000) AS latest
         WHERE decision ->> 'features' IS NOT NULL
         ORDER BY request_id DESC
        "#,
        organization as OrganizationId,
        requests::first_at(from) as RequestId,
        requests::first_at(until) as RequestId,
    )
    .fetch_all(conn)
    .await?;
    rows.reverse();
    Ok(rows)
}

/// That the log was looked through.
pub(super) async fn noticed(
    conn: &mut PgConnection,
    organization: OrganizationId,
    until: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO learned AS l (organization_id, signals_until) VALUES ($1, $2)
         ON CONFLICT (organization_id)
         DO UPDATE SET signals_until = greatest(l.signals_until, excluded.signals_until)",
        organization as OrganizationId,
        until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How much is kept of what each source said.
pub(super) async fn sources(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Sources, sqlx::Error> {
    sqlx::query_as!(
        Sources,
        r#"
        SELECT count(*) FILTER (WHERE source = 'api') AS "api!",
               count(*) FILTER (WHERE source = 'page') AS "page!",
               count(*) FILTER (WHERE source = 'asked_again') AS "asked_again!",
               count(*) FILTER (WHERE source = 'tool_failed') AS "tool_failed!"
          FROM feedback WHERE organization_id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Who said what of a model's answer to a request.
pub(super) async fn said_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
    request: RequestId,
    model: &str,
) -> Result<Vec<(Uuid, u16)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT said_by, per_mille FROM feedback
          WHERE organization_id = $1 AND request_id = $2 AND model = $3
            AND source NOT IN ('asked_again', 'tool_failed')
          ORDER BY created_at DESC LIMIT 1000",
        organization as OrganizationId,
        request.uuid(),
        model,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.said_by, u16::try_from(it.per_mille).unwrap_or(0))).collect())
}

/// A request, as far as it matters for what is said of it.
pub(super) struct Judged {
    pub project: ProjectId,
    /// Who answered, if anybody did.
    pub model: Option<String>,
    pub task: Option<String>,
    pub features: Option<String>,
}

pub(super) async fn request(
    conn: &mut PgConnection,
    organization: OrganizationId,
    request: RequestId,
) -> Result<Option<Judged>, sqlx::Error> {
    sqlx::query_as!(
        Judged,
        r#"
        SELECT project_id AS "project: ProjectId", model,
               event -> 'decision' ->> 'task' AS task,
               event -> 'decision' ->> 'features' AS features
          FROM request_events WHERE organization_id = $1 AND request_id = $2
        "#,
        organization as OrganizationId,
        request.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Whose it is to learn.
pub(super) async fn due(conn: &mut PgConnection) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT organization_id AS "organization!: OrganizationId" FROM app.learning_due()"#
    )
    .fetch_all(conn)
    .await
}

/// Forgets all but the newest, and of what nobody said all but fewer.
pub(super) async fn trim(
    conn: &mut PgConnection,
    organization: OrganizationId,
    (most, most_signals): (i64, i64),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM feedback
          WHERE organization_id = $1 AND source IN ('asked_again', 'tool_failed')
            AND arrival <= (SELECT arrival FROM feedback
                             WHERE organization_id = $1 AND source IN ('asked_again', 'tool_failed')
                             ORDER BY arrival DESC OFFSET $2 LIMIT 1)",
        organization as OrganizationId,
        most_signals,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM feedback
          WHERE organization_id = $1
            AND arrival <= (SELECT arrival FROM feedback WHERE organization_id = $1
                             ORDER BY arrival DESC OFFSET $2 LIMIT 1)",
        organization as OrganizationId,
        most,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An outcome that something can be learned from.
pub(super) struct Outcome {
    pub model: String,
    pub task: String,
    pub features: Vec<u8>,
    pub per_mille: i16,
    /// By somebody.
    pub is_said: bool,
}

/// In the order in which they came. What somebody said of a request leaves nothing to what nobody
/// did.
pub(super) async fn outcomes(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Outcome>, sqlx::Error> {
    sqlx::query_as!(
        Outcome,
        r#"
        SELECT model, task AS "task!", features AS "features!", per_mille,
               source NOT IN ('asked_again', 'tool_failed') AS "is_said!"
          FROM feedback f
         WHERE organization_id = $1 AND task IS NOT NULL AND features IS NOT NULL
           AND NOT (source IN ('asked_again', 'tool_failed') AND EXISTS (
                    SELECT FROM feedback s
                     WHERE s.organization_id = $1 AND s.request_id = f.request_id
                       AND s.model = f.model AND s.source NOT IN ('asked_again', 'tool_failed')))
         ORDER BY arrival
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

/// How good the answers to requests from `since` on were, by those who said something.
pub(super) async fn judged(
    conn: &mut PgConnection,
    organization: OrganizationId,
    since: RequestId,
) -> Result<Scores, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT request_id AS "request!: RequestId", model,
               avg(per_mille)::float8 AS "per_mille!"
          FROM feedback
         WHERE organization_id = $1 AND request_id >= $2 AND source NOT IN ('asked_again', 'tool_failed')
         GROUP BY request_id, model
        "#,
        organization as OrganizationId,
        since as RequestId,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| ((it.request, it.model.into()), it.per_mille)).collect())
}

/// How many calls are explored, and what is compared with what.
pub(super) async fn explore(
    conn: &mut PgConnection,
    organization: OrganizationId,
    it: &Exploring,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO learned (organization_id, explore_per_mille, baseline) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id)
         DO UPDATE SET explore_per_mille = excluded.explore_per_mille,
                       baseline = excluded.baseline",
        organization as OrganizationId,
        i16::try_from(it.per_mille).unwrap_or(0),
        it.baseline,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn state(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<State>, sqlx::Error> {
    sqlx::query_as!(
        State,
        r#"
        SELECT is_on, fresh, version, tables, labels, learned_at, explore_per_mille, baseline,
               worths AS "worths!: Json<Vec<Spending>>"
          FROM learned WHERE organization_id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// Whose calls are to tell what a dollar is spent for.
pub(super) async fn worths_due(
    conn: &mut PgConnection,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT organization_id AS "organization!: OrganizationId" FROM app.worths_due()"#
    )
    .fetch_all(conn)
    .await
}

/// That calls were asked, and what they told where that is new.
pub(super) async fn set_worths(
    conn: &mut PgConnection,
    organization: OrganizationId,
    new: Option<&Vec<Spending>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO learned AS l (organization_id, worths, worths_at)
         VALUES ($1, coalesce($2::jsonb, '[]'), now())
         ON CONFLICT (organization_id)
         DO UPDATE SET worths = coalesce($2::jsonb, l.worths), worths_at = now()",
        organization as OrganizationId,
        new.map(Json) as Option<Json<&Vec<Spending>>>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What somebody learned from what they saw.
pub(super) struct Lessons {
    pub version: Option<String>,
    pub tables: Option<Vec<u8>>,
    pub labels: i32,
}

/// Keeps it, unless somebody else was faster since `before`.
pub(super) async fn learned(
    conn: &mut PgConnection,
    organization: OrganizationId,
    before: &State,
    now: &Lessons,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE learned
            SET version = $4, tables = $5, labels = $6, learned_at = now(),
                fresh = greatest(fresh - $3, 0)
          WHERE organization_id = $1 AND learned_at IS NOT DISTINCT FROM $2",
        organization as OrganizationId,
        before.learned_at,
        before.fresh,
        now.version,
        now.tables,
        now.labels,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn switch(
    conn: &mut PgConnection,
    organization: OrganizationId,
    is_on: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO learned (organization_id, is_on) VALUES ($1, $2)
         ON CONFLICT (organization_id) DO UPDATE SET is_on = excluded.is_on",
        organization as OrganizationId,
        is_on,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever it is: for the snapshot.
pub(super) async fn published(
    conn: &mut PgConnection,
    only: Option<&[OrganizationId]>,
) -> Result<Vec<snapshot::Learned>, sqlx::Error> {
    let only: Option<Vec<Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    let rows = sqlx::query!(
        r#"
        SELECT organization_id AS "organization!: OrganizationId", version AS "version!",
               tables AS "tables!"
          FROM app.snapshot_learned($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let learned = rows.into_iter().map(|it| snapshot::Learned {
        organization: it.organization,
        version: it.version,
        tables: it.tables,
    });
    Ok(learned.collect())
}
