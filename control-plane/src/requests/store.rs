//! Every statement on the request log.

use futures::TryStreamExt;
use shared::{
    counters::{Places, Shard},
    event::{Event, Exploration, Weighed},
    ids::{OrganizationId, RequestId},
    money::Money,
    usage::Usage,
};
use sqlx::{PgConnection, types::Json};
use time::Date;

use super::{
    Compared, Request,
    filter::{Filter, Which, first_at},
    ingest::{Aside, Told},
};

struct Row {
    event: Json<Event>,
    project_name: Option<String>,
    key_name: Option<String>,
}

impl From<Row> for Request {
    fn from(row: Row) -> Self {
        let Row { event: Json(mut event), project_name, key_name } = row;
        let features = event.decision.as_mut().and_then(|it| it.features.take());
        Self { event, project_name, key_name, features }
    }
}

/// Plans each question by what it asks for: of the filters most are not given.
async fn plan_anew(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS mode")
        .fetch_one(conn)
        .await?;
    Ok(())
}

pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    filter: &Filter,
    after: Option<RequestId>,
    most: i64,
) -> Result<Vec<Request>, sqlx::Error> {
    plan_anew(conn).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT r.event AS "event!: Json<Event>", p.name AS "project_name?", k.name AS "key_name?"
          FROM (SELECT organization_id, request_id, project_id, key_id, event
                  FROM request_events
                 WHERE organization_id = $1
                   AND request_id >= $2
                   AND ($3::uuid IS NULL OR request_id < $3)
                   AND ($4::uuid IS NULL OR project_id = $4)
                   AND ($5::uuid IS NULL OR key_id = $5)
                   AND ($6::text IS NULL OR asked = $6)
                   AND ($7::text IS NULL OR model = $7)
                   AND ($8::text IS NULL OR provider = $8)
                   AND ($9::text IS NULL OR outcome = $9)
                   AND (NOT $10::boolean OR outcome <> 'success')
                   AND ($11::smallint IS NULL OR status = $11)
                   AND ($12::text IS NULL OR (error = $12 AND outcome <> 'success'))
                   AND ($13::bigint IS NULL OR total_ms >= $13)
                 ORDER BY request_id DESC
                 LIMIT $14) r
          LEFT JOIN projects p ON (p.organization_id, p.id) = (r.organization_id, r.project_id)
          LEFT JOIN api_keys k ON (k.organization_id, k.id) = (r.organization_id, r.key_id)
         ORDER BY r.request_id DESC
        "#,
        organization as OrganizationId,
        filter.from as RequestId,
        after.or(filter.to).map(RequestId::uuid),
        filter.project.map(|it| it.uuid()),
        filter.key.map(|it| it.uuid()),
        filter.asked,
        filter.model,
        filter.provider,
        filter.outcome.and_then(only),
        filter.outcome == Some(Which::Unserved),
        filter.status,
        filter.error,
        filter.min_ms,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Request::from).collect())
}

/// The last calls that a policy decided, of the last `of` calls: the latest first.
pub(super) async fn decided_by(
    conn: &mut PgConnection,
    organization: OrganizationId,
    policy: &str,
    (most, of): (i64, i64),
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT event AS "event!: Json<Event>"
          FROM (SELECT request_id, event FROM request_events
                 WHERE organization_id = $1 ORDER BY request_id DESC LIMIT $4) AS latest
         WHERE event -> 'policy' ->> 'name' = $2
         ORDER BY request_id DESC
         LIMIT $3
        "#,
        organization as OrganizationId,
        policy,
        most,
        of,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

pub(super) async fn weighed(
    conn: &mut PgConnection,
    organization: OrganizationId,
    (most, of): (i64, i64),
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"
        SELECT event AS "event!: Json<Event>"
          FROM (SELECT request_id, event FROM request_events
                 WHERE organization_id = $1 ORDER BY request_id DESC LIMIT $3) AS latest
         WHERE event -> 'decision' ->> 'strategy' IN ('auto', 'balanced')
         ORDER BY request_id DESC
         LIMIT $2
        "#,
        organization as OrganizationId,
        most,
        of,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

pub(super) async fn decided_by_platforms(
    conn: &mut PgConnection,
    policy: &str,
    most: i64,
    (organizations, of_each): (i32, i32),
) -> Result<Vec<Event>, sqlx::Error> {
    take_time(conn).await?;
    let rows = sqlx::query_scalar!(
        r#"SELECT event AS "event!: Json<Event>" FROM app.requests_led_by($1, $2, $3, $4)"#,
        policy,
        i32::try_from(most).unwrap_or(i32::MAX),
        organizations,
        of_each,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

/// Of the latest calls since `since`, at most so many, those that were led by comparing models.
pub(super) async fn each_compared(
    conn: &mut PgConnection,
    organization: OrganizationId,
    since: RequestId,
    most: i64,
    each: &mut (dyn FnMut(Compared) + Send),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"
        SELECT request_id AS "request!: RequestId", model AS "served!",
               event -> 'decision' -> 'exploration' AS "exploration: Json<Exploration>",
               coalesce(event -> 'decision' -> 'candidates', '[]')
                   AS "candidates!: Json<Vec<Weighed>>",
               event -> 'usage' AS "usage!: Json<Usage>", (event ->> 'cost')::bigint AS "cost!",
               (event ->> 'billed_at_ms')::bigint AS "at_ms!"
          FROM (SELECT request_id, model, event FROM request_events
                 WHERE organization_id = $1 AND request_id >= $2
                 ORDER BY request_id DESC LIMIT $3) AS latest
         WHERE model IS NOT NULL
           AND event -> 'decision' ->> 'strategy' IN ('auto', 'balanced', 'best')
        "#,
        organization as OrganizationId,
        since as RequestId,
        most,
    )
    .fetch(conn);
    while let Some(row) = rows.try_next().await? {
        each(Compared {
            request: row.request,
            served: row.served,
            exploration: row.exploration.map(|it| it.0),
            candidates: row.candidates.0,
            usage: row.usage.0,
            cost: Money::from_nanos(row.cost),
            at_ms: row.at_ms,
        });
    }
    Ok(())
}

/// How many calls there were since, of which no more than `most` are counted.
pub(super) async fn calls_since(
    conn: &mut PgConnection,
    organization: OrganizationId,
    since: RequestId,
    most: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "calls!"
             FROM (SELECT FROM request_events WHERE organization_id = $1 AND request_id >= $2
                    LIMIT $3) AS latest"#,
        organization as OrganizationId,
        since as RequestId,
        most,
    )
    .fetch_one(conn)
    .await
}

/// Where the log ends at present, in the order in which events came. Looks into the days
/// since `day` and no further; of a day into the whole, for then one step in its index is
/// enough.
pub(super) async fn end(
    conn: &mut PgConnection,
    organization: OrganizationId,
    day: Date,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(max(arrival), 0) AS "end!" FROM request_events
            WHERE organization_id = $1 AND request_id >= $2"#,
        organization as OrganizationId,
        first_at(day.midnight().assume_utc()) as RequestId,
    )
    .fetch_one(conn)
    .await
}

/// Those that came after `since` and not after `end`, the last first.
pub(super) async fn arrived(
    conn: &mut PgConnection,
    organization: OrganizationId,
    filter: &Filter,
    (since, end): (i64, i64),
    most: i64,
) -> Result<Vec<Request>, sqlx::Error> {
    plan_anew(conn).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT r.event AS "event!: Json<Event>", p.name AS "project_name?", k.name AS "key_name?"
          FROM (SELECT organization_id, arrival, project_id, key_id, event
                  FROM request_events
                 WHERE organization_id = $1
                   AND request_id >= $2
                   AND arrival > $3 AND arrival <= $4
                   AND ($5::uuid IS NULL OR project_id = $5)
                   AND ($6::uuid IS NULL OR key_id = $6)
                   AND ($7::text IS NULL OR asked = $7)
                   AND ($8::text IS NULL OR model = $8)
                   AND ($9::text IS NULL OR provider = $9)
                   AND ($10::text IS NULL OR outcome = $10)
                   AND (NOT $11::boolean OR outcome <> 'success')
                   AND ($12::smallint IS NULL OR status = $12)
                   AND ($13::text IS NULL OR (error = $13 AND outcome <> 'success'))
                   AND ($14::bigint IS NULL OR total_ms >= $14)
                 ORDER BY arrival DESC
                 LIMIT $15) r
          LEFT JOIN projects p ON (p.organization_id, p.id) = (r.organization_id, r.project_id)
          LEFT JOIN api_keys k ON (k.organization_id, k.id) = (r.organization_id, r.key_id)
         ORDER BY r.arrival DESC
        "#,
        organization as OrganizationId,
        filter.from as RequestId,
        since,
        end,
        filter.project.map(|it| it.uuid()),
        filter.key.map(|it| it.uuid()),
        filter.asked,
        filter.model,
        filter.provider,
        filter.outcome.and_then(only),
        filter.outcome == Some(Which::Unserved),
        filter.status,
        filter.error,
        filter.min_ms,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Request::from).collect())
}

fn only(which: Which) -> Option<&'static str> {
    match which {
        Which::Only(outcome) => Some(outcome.name()),
        Which::Unserved => None,
    }
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    request: RequestId,
) -> Result<Option<Request>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT r.event AS "event!: Json<Event>", p.name AS "project_name?", k.name AS "key_name?"
          FROM request_events r
          LEFT JOIN projects p ON (p.organization_id, p.id) = (r.organization_id, r.project_id)
          LEFT JOIN api_keys k ON (k.organization_id, k.id) = (r.organization_id, r.key_id)
         WHERE r.organization_id = $1 AND r.request_id = $2
        "#,
        organization as OrganizationId,
        request as RequestId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Request::from))
}

/// Whether there has ever been one, as far as the log goes back.
pub(super) async fn is_empty(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM request_events WHERE organization_id = $1) AS "is!""#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Makes us the only one who takes from some streams until the transaction ends. Leaves out
/// those that somebody else takes from.
pub(super) async fn claim(
    conn: &mut PgConnection,
    places: &Places,
    shards: &[Shard],
) -> Result<Vec<Shard>, sqlx::Error> {
    let streams: Vec<_> = shards.iter().map(|it| places.events(*it)).collect();
    let ours = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended(stream, 0)) AS "is_ours!"
             FROM unnest($1::text[]) WITH ORDINALITY AS s (stream, place) ORDER BY place"#,
        &streams,
    )
    .fetch_all(conn)
    .await?;
    Ok(shards.iter().zip(ours).filter(|(_, is_ours)| *is_ours).map(|(it, _)| *it).collect())
}

/// Lets the statements of this transaction take longer than those that somebody waits for.
pub(super) async fn take_time(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT set_config('statement_timeout', '20s', true) AS timeout")
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Adds those that are not there yet, whosever they are, and says how many those were.
pub(super) async fn add<'a>(
    conn: &mut PgConnection,
    told: impl Iterator<Item = &'a Told>,
) -> Result<i64, sqlx::Error> {
    let told: Vec<_> = told.collect();
    let events = || told.iter().map(|it| &it.event);
    let served = || events().map(|it| it.served.as_ref());
    sqlx::query_scalar!(
        r#"SELECT app.add_requests($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS "new!""#,
        &events().map(|it| it.organization.uuid()).collect::<Vec<_>>(),
        &events().map(|it| it.request.uuid()).collect::<Vec<_>>(),
        &told.iter().map(|it| it.text.clone()).collect::<Vec<_>>(),
        &events().map(|it| it.project.uuid()).collect::<Vec<_>>(),
        &events().map(|it| it.key.uuid()).collect::<Vec<_>>(),
        &events().map(|it| it.asked.clone()).collect::<Vec<_>>(),
        &served().map(|it| it.map(|it| it.model.clone())).collect::<Vec<_>>() as _,
        &served().map(|it| it.map(|it| it.provider.clone())).collect::<Vec<_>>() as _,
        &events().map(|it| it.outcome.name().to_owned()).collect::<Vec<_>>(),
        &events().map(|it| i16::try_from(it.status).unwrap_or(i16::MAX)).collect::<Vec<_>>(),
        &events().map(|it| it.error.as_deref().map(str::to_owned)).collect::<Vec<_>>() as _,
        &events().map(|it| i64::from(it.total_ms)).collect::<Vec<_>>(),
    )
    .fetch_one(conn)
    .await
}

/// Makes room for the requests of those days.
pub(super) async fn make_days(
    conn: &mut PgConnection,
    first: Date,
    last: Date,
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT app.make_request_days($1, $2)", first, last).fetch_one(conn).await?;
    Ok(())
}

/// Forgets the requests of all days before one.
pub(super) async fn drop_days(conn: &mut PgConnection, before: Date) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT app.drop_request_days($1) AS "dropped!""#, before)
        .fetch_one(conn)
        .await
}

/// Puts events aside, whosever they are, unless they are there.
pub(super) async fn put_aside(
    conn: &mut PgConnection,
    aside: &[Aside<'_>],
) -> Result<(), sqlx::Error> {
    let number = |it: &Aside<'_>| Some(it.settlement?.number.cast_signed());
    let epoch = |it: &Aside<'_>| Some(it.settlement?.epoch.0.cast_signed());
    sqlx::query!(
        "SELECT app.put_usage_aside($1, $2, $3, $4, $5, $6)",
        &aside.iter().map(|it| i16::from(it.shard.number())).collect::<Vec<_>>(),
        &aside.iter().map(|it| it.entry.to_owned()).collect::<Vec<_>>(),
        &aside.iter().map(epoch).collect::<Vec<_>>() as &[Option<i64>],
        &aside.iter().map(number).collect::<Vec<_>>() as &[Option<i64>],
        &aside.iter().map(|it| it.event.to_vec()).collect::<Vec<_>>(),
        &aside.iter().map(|it| it.why.clone()).collect::<Vec<_>>(),
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// One that was put aside.
pub(super) struct Kept {
    pub id: i64,
    pub shard: Shard,
    pub event: Vec<u8>,
}

/// The first behind one.
pub(super) async fn aside(conn: &mut PgConnection, behind: i64) -> Result<Vec<Kept>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", shard AS "shard!", event AS "event!"
             FROM app.usage_put_aside($1, 500)"#,
        behind,
    )
    .fetch_all(conn)
    .await?;
    let kept = rows.into_iter().map(|it| Kept {
        id: it.id,
        shard: Shard::from(u8::try_from(it.shard).unwrap_or_default()),
        event: it.event,
    });
    Ok(kept.collect())
}

/// That one is not aside any more.
pub(super) async fn take_back(conn: &mut PgConnection, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT app.take_usage_back($1)", id).fetch_one(conn).await?;
    Ok(())
}
