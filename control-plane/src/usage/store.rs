//! Every statement on usage.

use std::ops::Range;

use shared::{
    counters::{Amounts, Epoch, Shard},
    event::UsageSource,
    ids::{CostCenterId, OrganizationId},
    money::Money,
    snapshot::BudgetScope,
};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};

use super::{
    Watermark,
    query::{DayRow, Group, Slice, Total, UsageQuery},
    told::Told,
};

/// Makes room for the usage of those days.
pub async fn make_days(
    conn: &mut PgConnection,
    first: Date,
    last: Date,
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT app.make_usage_days($1, $2)", first, last).fetch_one(conn).await?;
    Ok(())
}

pub(super) async fn add(conn: &mut PgConnection, told: &[Told<'_>]) -> Result<i64, sqlx::Error> {
    fn each<T>(told: &[Told<'_>], of: impl Fn(&Told<'_>) -> T) -> Vec<T> {
        told.iter().map(of).collect()
    }
    sqlx::query_scalar!(
        r#"SELECT app.add_usage($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
               AS "new!""#,
        &each(told, |it| it.billed_at),
        &each(told, |it| it.event.request.uuid()),
        &each(told, |it| bits(it.settlement.epoch)),
        &each(told, |it| i16::from(it.shard.number())),
        &each(told, |it| i64::try_from(it.settlement.number).unwrap_or(i64::MAX)),
        &each(told, |it| it.event.organization.uuid()),
        &each(told, |it| it.event.project.uuid()),
        &each(told, |it| it.event.key.uuid()),
        &each(told, |it| it.event.cost.nanos()),
        &each(told, |it| it.cost.picos()),
        &each(told, |it| it.lines.clone()),
        &each(told, |it| it.counted.clone()),
        &each(told, |it| it.event.outcome.name().to_owned()),
        &each(told, |it| i16::try_from(it.event.status).unwrap_or(i16::MAX)),
        &each(told, |it| source(it.event.usage_source).to_owned()),
    )
    .fetch_one(conn)
    .await
}

/// As JSON has it, too.
const fn source(of: UsageSource) -> &'static str {
    match of {
        UsageSource::Upstream => "upstream",
        UsageSource::Estimated => "estimated",
        UsageSource::Interrupted => "interrupted",
        UsageSource::None => "none",
    }
}

/// PostgreSQL has no unsigned numbers: the same bits.
const fn bits(epoch: Epoch) -> i64 {
    epoch.0.cast_signed()
}

pub(super) async fn advance(
    conn: &mut PgConnection,
    processes: &[(Shard, Epoch)],
) -> Result<Vec<Watermark>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT shard AS "shard!", epoch AS "epoch!", last AS "last!", highest AS "highest!"
             FROM app.advance_watermarks($1, $2)"#,
        &processes.iter().map(|it| i16::from(it.0.number())).collect::<Vec<_>>(),
        &processes.iter().map(|it| bits(it.1)).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    let marks = rows.into_iter().map(|row| Watermark {
        shard: Shard::from(u8::try_from(row.shard).unwrap_or_default()),
        epoch: Epoch(row.epoch.cast_unsigned()),
        last: row.last.unsigned_abs(),
        highest: row.highest.unsigned_abs(),
    });
    Ok(marks.collect())
}

/// Whole hours from what is summed up, and the rest of the span from the events.
pub(super) async fn spent(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
    span: Range<OffsetDateTime>,
) -> Result<Amounts, sqlx::Error> {
    let of = |kind: &str| match scope {
        BudgetScope::Team(id) if kind == "team" => Some(id.uuid()),
        BudgetScope::Project(id) if kind == "project" => Some(id.uuid()),
        BudgetScope::Key(id) if kind == "key" => Some(id.uuid()),
        BudgetScope::Organization
        | BudgetScope::Team(_)
        | BudgetScope::Project(_)
        | BudgetScope::Key(_)
        | BudgetScope::CostCenter(_) => None,
    };
    sqlx::query_as!(
        Amounts,
        r#"
        WITH hours AS (
            SELECT date_trunc('hour', $5::timestamptz + interval '1 hour - 1 microsecond', 'UTC')
                       AS first,
                   date_trunc('hour', $6::timestamptz, 'UTC') AS last
        ), parts AS (
            SELECT h.cost_nano, h.calls,
                   h.input + h.cached_input + h.cache_write + h.cache_write_1h + h.output
                     + h.reasoning + h.audio_input + h.cached_audio_input + h.audio_output
                     + h.image_output_tokens AS tokens
              FROM usage_hours h, hours
             WHERE h.organization_id = $1 AND h.hour >= hours.first AND h.hour < hours.last
               AND ($2::uuid IS NULL OR h.team_id = $2)
               AND ($3::uuid IS NULL OR h.project_id = $3)
               AND ($4::uuid IS NULL OR h.key_id = $4)
            UNION ALL
            SELECT e.cost_nano, 1,
                   (SELECT coalesce(sum(
                        coalesce(input, 0) + coalesce(cached_input, 0) + coalesce(cache_write, 0)
                        + coalesce(cache_write_1h, 0) + coalesce(output, 0)
                        + coalesce(reasoning, 0) + coalesce(audio_input, 0)
                        + coalesce(cached_audio_input, 0) + coalesce(audio_output, 0)
                        + coalesce(image_output_tokens, 0)), 0) FROM app.usage_lines(e.lines))
              FROM usage_events e, hours
             WHERE e.organization_id = $1
               AND e.billed_at >= $5 AND e.billed_at < $6
               AND NOT (e.billed_at >= hours.first AND e.billed_at < hours.last)
               AND ($2::uuid IS NULL OR e.team_id = $2)
               AND ($3::uuid IS NULL OR e.project_id = $3)
               AND ($4::uuid IS NULL OR e.key_id = $4)
        )
        SELECT coalesce(sum(cost_nano), 0)::bigint AS "money!",
               coalesce(sum(calls), 0)::bigint AS "requests!",
               coalesce(sum(tokens), 0)::bigint AS "tokens!"
          FROM parts
        "#,
        organization as OrganizationId,
        of("team"),
        of("project"),
        of("key"),
        span.start,
        span.end,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn spent_by_cost_center(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
    span: Range<OffsetDateTime>,
) -> Result<Amounts, sqlx::Error> {
    sqlx::query_as!(
        Amounts,
        r#"
        WITH shares AS (
            SELECT s.project_id, s.effective_from,
                   lead(s.effective_from) OVER (PARTITION BY s.project_id
                                                ORDER BY s.effective_from) AS until,
                   (SELECT h.basis_points FROM project_split_shares h
                     WHERE (h.organization_id, h.project_id, h.effective_from, h.cost_center_id)
                         = (s.organization_id, s.project_id, s.effective_from, $2)) AS points
              FROM project_splits s WHERE s.organization_id = $1
        ), parts AS (
            SELECT s.points, e.cost_nano,
                   (SELECT coalesce(sum(
                        coalesce(input, 0) + coalesce(cached_input, 0) + coalesce(cache_write, 0)
                        + coalesce(cache_write_1h, 0) + coalesce(output, 0)
                        + coalesce(reasoning, 0) + coalesce(audio_input, 0)
                        + coalesce(cached_audio_input, 0) + coalesce(audio_output, 0)
                        + coalesce(image_output_tokens, 0)), 0)
                      FROM app.usage_lines(e.lines)) AS tokens
              FROM usage_events e
              JOIN organizations o ON o.id = e.organization_id
              JOIN shares s ON s.project_id = e.project_id AND s.points IS NOT NULL
                           AND (e.billed_at AT TIME ZONE o.time_zone)::date >= s.effective_from
                           AND (s.until IS NULL
                                OR (e.billed_at AT TIME ZONE o.time_zone)::date < s.until)
             WHERE e.organization_id = $1 AND e.billed_at >= $3 AND e.billed_at < $4
        )
        SELECT coalesce(sum(ceil(cost_nano * points::numeric / 10000)), 0)::bigint AS "money!",
               coalesce(sum(ceil(points::numeric / 10000)), 0)::bigint AS "requests!",
               coalesce(sum(ceil(tokens * points::numeric / 10000)), 0)::bigint AS "tokens!"
          FROM parts
        "#,
        organization as OrganizationId,
        center as CostCenterId,
        span.start,
        span.end,
    )
    .fetch_one(conn)
    .await
}

/// All that a question asks for, in one row.
pub(super) async fn total(
    conn: &mut PgConnection,
    organization: OrganizationId,
    query: &UsageQuery,
) -> Result<Total, sqlx::Error> {
    let mut totals = slices(conn, organization, query, Group::Nothing, 1).await?;
    Ok(totals.pop().map(|it| it.total).unwrap_or_default())
}

/// What is asked for by what it is grouped by, the dearest first.
pub(super) async fn slices(
    conn: &mut PgConnection,
    organization: OrganizationId,
    query: &UsageQuery,
    group: Group,
    most: i64,
) -> Result<Vec<Slice>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT s.name AS "name!", coalesce(p.name, k.name, t.name) AS title,
               s.calls AS "calls!", s.tokens_in AS "tokens_in!", s.cached AS "cached!",
               s.tokens_out AS "tokens_out!", s.cost_nano AS "cost!: Money"
          FROM (SELECT CASE $8 WHEN 'project' THEN project_id::text WHEN 'key' THEN key_id::text
                               WHEN 'team' THEN coalesce(team_id::text, '')
                               WHEN 'model' THEN model WHEN 'provider' THEN provider
                               WHEN 'source' THEN usage_source ELSE '' END AS name,
                       sum(calls)::bigint AS calls,
                       sum(input + cached_input + cache_write + cache_write_1h + audio_input
                           + cached_audio_input)::bigint AS tokens_in,
                       sum(cached_input + cached_audio_input)::bigint AS cached,
                       sum(output + reasoning + audio_output + image_output_tokens)::bigint
                           AS tokens_out,
                       sum(cost_nano)::bigint AS cost_nano
                  FROM usage_days
                 WHERE organization_id = $1 AND day >= $2 AND day < $3
                   AND ($4::uuid IS NULL OR project_id = $4)
                   AND ($5::uuid IS NULL OR key_id = $5)
                   AND ($6::text IS NULL OR model = $6)
                   AND ($7::text IS NULL OR provider = $7)
                 GROUP BY 1
                 ORDER BY cost_nano DESC, calls DESC, name
                 LIMIT $9) s
          LEFT JOIN projects p ON $8 = 'project' AND p.organization_id = $1 AND p.id::text = s.name
          LEFT JOIN api_keys k ON $8 = 'key' AND k.organization_id = $1 AND k.id::text = s.name
          LEFT JOIN teams t ON $8 = 'team' AND t.organization_id = $1 AND t.id::text = s.name
         ORDER BY s.cost_nano DESC, s.calls DESC, s.name
        "#,
        organization as OrganizationId,
        query.from(),
        query.until(),
        query.project.map(|it| it.uuid()),
        query.key.map(|it| it.uuid()),
        query.model,
        query.provider,
        group.name(),
        most,
    )
    .fetch_all(conn)
    .await?;
    let slices = rows.into_iter().map(|row| Slice {
        name: row.name,
        title: row.title,
        total: Total {
            calls: row.calls,
            tokens_in: row.tokens_in,
            cached: row.cached,
            tokens_out: row.tokens_out,
            cost: row.cost,
        },
    });
    Ok(slices.collect())
}

/// By the day, and by what it is grouped by. Of `only` where there are any, and the rest under
/// no name.
pub(super) async fn by_day(
    conn: &mut PgConnection,
    organization: OrganizationId,
    query: &UsageQuery,
    only: Option<&[String]>,
    most: i64,
) -> Result<Vec<DayRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT (day AT TIME ZONE 'UTC')::date AS "day!",
               CASE WHEN $8::text[] IS NULL OR name = ANY ($8) THEN name END AS name,
               sum(calls)::bigint AS "calls!", sum(tokens_in)::bigint AS "tokens_in!",
               sum(cached)::bigint AS "cached!", sum(tokens_out)::bigint AS "tokens_out!",
               sum(cost_nano)::bigint AS "cost!: Money"
          FROM (SELECT day, calls, cost_nano,
                       CASE $9 WHEN 'project' THEN project_id::text WHEN 'key' THEN key_id::text
                               WHEN 'team' THEN coalesce(team_id::text, '')
                               WHEN 'model' THEN model WHEN 'provider' THEN provider
                               WHEN 'source' THEN usage_source ELSE '' END AS name,
                       input + cached_input + cache_write + cache_write_1h + audio_input
                           + cached_audio_input AS tokens_in,
                       cached_input + cached_audio_input AS cached,
                       output + reasoning + audio_output + image_output_tokens AS tokens_out
                  FROM usage_days
                 WHERE organization_id = $1 AND day >= $2 AND day < $3
                   AND ($4::uuid IS NULL OR project_id = $4)
                   AND ($5::uuid IS NULL OR key_id = $5)
                   AND ($6::text IS NULL OR model = $6)
                   AND ($7::text IS NULL OR provider = $7)) u
         GROUP BY 1, 2
         ORDER BY 1, 7 DESC, 2
         LIMIT $10
        "#,
        organization as OrganizationId,
        query.from(),
        query.until(),
        query.project.map(|it| it.uuid()),
        query.key.map(|it| it.uuid()),
        query.model,
        query.provider,
        only as Option<&[String]>,
        query.group.name(),
        most,
    )
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(|row| DayRow {
        day: row.day,
        name: row.name,
        total: Total {
            calls: row.calls,
            tokens_in: row.tokens_in,
            cached: row.cached,
            tokens_out: row.tokens_out,
            cost: row.cost,
        },
    });
    Ok(rows.collect())
}
