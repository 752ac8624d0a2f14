//! Every statement on usage.

use std::ops::Range;

use futures::TryStreamExt;
use shared::{
    counters::{Amounts, Epoch, Shard},
    event::UsageSource,
    ids::{ApiKeyId, BudgetId, OrganizationId, ProjectId},
    money::Money,
    snapshot::{BudgetScope, Caps},
};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};

use super::{
    UsageError, Watermark,
    query::{DayRow, Group, Slice, Total, UsageQuery},
    told::{MeteredLine, Pinned, Told},
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

pub(super) async fn pinned_prices(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
) -> Result<Vec<Pinned>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT DISTINCT l.upstream AS "upstream?: String", coalesce(l.model, '') AS "model!",
               l.price AS "price?: i64"
          FROM usage_events e,
               jsonb_to_recordset(e.lines) AS l (upstream text, model text, price bigint)
         WHERE e.organization_id = $1 AND e.billed_at >= $2
           AND e.billed_at < $2 + interval '1 hour'
        "#,
        organization as OrganizationId,
        hour,
    )
    .fetch_all(conn)
    .await?;
    let pinned = rows
        .into_iter()
        .map(|row| (row.upstream.and_then(|it: String| it.parse().ok()), row.model, row.price));
    Ok(pinned.collect())
}

/// As they come, for an hour may have millions.
pub(super) async fn each_line(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
    mut each: impl FnMut(ProjectId, ApiKeyId, MeteredLine),
) -> Result<(), UsageError> {
    let mut rows = sqlx::query!(
        r#"
        SELECT e.project_id AS "project: ProjectId", e.key_id AS "key: ApiKeyId",
               l.line::text AS "line!"
          FROM usage_events e, jsonb_array_elements(e.lines) AS l (line)
         WHERE e.organization_id = $1 AND e.billed_at >= $2
           AND e.billed_at < $2 + interval '1 hour'
        "#,
        organization as OrganizationId,
        hour,
    )
    .fetch(conn);
    while let Some(row) = rows.try_next().await? {
        each(row.project, row.key, serde_json::from_str(&row.line)?);
    }
    Ok(())
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

/// By the hour, the earliest first, of each span.
pub(super) async fn by_hour(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
    spans: &[Range<OffsetDateTime>],
) -> Result<Vec<Vec<(OffsetDateTime, Amounts)>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT s.place AS "place!", h.hour AS "hour!", h.money AS "money!",
               h.requests AS "requests!", h.tokens AS "tokens!"
          FROM unnest($4::timestamptz[], $5::timestamptz[])
                   WITH ORDINALITY AS s (first, until, place),
               app.scope_hours($1, $2, $3, s.first, s.until) h
         ORDER BY 1, 2
        "#,
        organization as OrganizationId,
        scope.name(),
        scope.id(),
        &spans.iter().map(|it| it.start).collect::<Vec<_>>(),
        &spans.iter().map(|it| it.end).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    let mut hours = vec![Vec::new(); spans.len()];
    for it in rows {
        let amounts = Amounts { money: it.money, requests: it.requests, tokens: it.tokens };
        let place = usize::try_from(it.place - 1).unwrap_or_default();
        if let Some(of_span) = hours.get_mut(place) {
            of_span.push((it.hour, amounts));
        }
    }
    Ok(hours)
}

/// What a scope spent in a span, less what a budget was told of it. One statement, so that no
/// call is on one side only.
pub(super) async fn uncounted(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
    scope: BudgetScope,
    (span, window): (Range<OffsetDateTime>, i64),
) -> Result<Amounts, sqlx::Error> {
    sqlx::query_as!(
        Amounts,
        r#"
        SELECT greatest(s.money - c.money, 0)::bigint AS "money!",
               greatest(s.requests - c.requests, 0)::bigint AS "requests!",
               greatest(s.tokens - c.tokens, 0)::bigint AS "tokens!"
          FROM (SELECT coalesce(sum(money), 0) AS money, coalesce(sum(requests), 0) AS requests,
                       coalesce(sum(tokens), 0) AS tokens
                  FROM app.scope_hours($1, $3, $4, $5, $6)) s,
               (SELECT coalesce(sum(money), 0) AS money, coalesce(sum(requests), 0) AS requests,
                       coalesce(sum(tokens), 0) AS tokens
                  FROM budget_windows
                 WHERE organization_id = $1 AND budget_id = $2 AND "window" = $7) c
        "#,
        organization as OrganizationId,
        budget as BudgetId,
        scope.name(),
        scope.id(),
        span.start,
        span.end,
        window,
    )
    .fetch_one(conn)
    .await
}

/// Of the calls in a span, in their order, those from the first on that goes beyond `room`.
pub(super) async fn beyond(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
    span: Range<OffsetDateTime>,
    room: Caps,
) -> Result<(Option<OffsetDateTime>, Amounts), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT min(billed_at) AS since, coalesce(sum(money), 0)::bigint AS "money!",
               coalesce(sum(requests), 0)::bigint AS "requests!",
               coalesce(sum(tokens), 0)::bigint AS "tokens!"
          FROM (SELECT c.*, sum(c.money) OVER sofar AS all_money,
                       sum(c.requests) OVER sofar AS all_requests,
                       sum(c.tokens) OVER sofar AS all_tokens
                  FROM app.scope_calls($1, $2, $3, $4, $5) c
                WINDOW sofar AS (ORDER BY c.billed_at, c.request_id
                                 ROWS UNBOUNDED PRECEDING)) s
         WHERE all_money > $6::bigint OR all_requests > $7::bigint OR all_tokens > $8::bigint
        "#,
        organization as OrganizationId,
        scope.name(),
        scope.id(),
        span.start,
        span.end,
        room.money as Option<Money>,
        room.requests,
        room.tokens,
    )
    .fetch_one(conn)
    .await?;
    let beyond = Amounts { money: row.money, requests: row.requests, tokens: row.tokens };
    Ok((row.since, beyond))
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
