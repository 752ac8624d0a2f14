//! Statements on upstreams themselves.

use shared::{
    ids::{CredentialId, OrganizationId, UpstreamId},
    snapshot::Assurances,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::taken;
use crate::upstreams::{
    Connection, DisabledBy, Place, Upstream, UpstreamError, UpstreamName,
    published::{Row as Published, timeouts},
    words,
};

/// An upstream as its row tells it.
struct Row {
    id: UpstreamId,
    is_platforms: bool,
    vendor: String,
    name: String,
    dialect: String,
    base_url: String,
    region: Option<String>,
    first_byte_seconds: Option<i32>,
    idle_seconds: Option<i32>,
    total_seconds: Option<i32>,
    zero_retention: bool,
    no_training: bool,
    enabled: bool,
    is_unwanted: bool,
    models: i64,
    credentials: i64,
    last_result: Option<Connection>,
    last_tested_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    archived_at: Option<OffsetDateTime>,
}

/// The upstream of a row that only we write.
fn upstream(row: Row) -> Result<Upstream, sqlx::Error> {
    let dialect = words::of_name(&words::DIALECTS, &row.dialect);
    let disabled_by = match (row.is_platforms, row.enabled) {
        (true, false) => Some(DisabledBy::Platform),
        (true, true) if row.is_unwanted => Some(DisabledBy::Provider),
        (false, false) => Some(DisabledBy::Provider),
        (_, true) => None,
    };
    Ok(Upstream {
        id: row.id,
        is_platforms: row.is_platforms,
        vendor: row.vendor,
        name: row.name,
        dialect: dialect.ok_or_else(|| sqlx::Error::Decode("an unknown dialect".into()))?,
        base_url: row.base_url,
        region: row.region,
        timeouts: timeouts(row.first_byte_seconds, row.idle_seconds, row.total_seconds),
        assurances: Assurances { zero_retention: row.zero_retention, no_training: row.no_training },
        enabled: disabled_by.is_none(),
        disabled_by,
        models: row.models,
        credentials: row.credentials,
        last_result: row.last_result,
        last_tested_at: row.last_tested_at,
        created_at: row.created_at,
        archived_at: row.archived_at,
    })
}

/// The owner's, then the platform's.
pub(in crate::upstreams) async fn list(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<Upstream>, sqlx::Error> {
    rows(conn, owner, None).await?.into_iter().map(upstream).collect()
}

pub(in crate::upstreams) async fn find(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
) -> Result<Option<Upstream>, sqlx::Error> {
    rows(conn, owner, Some(id)).await?.into_iter().next().map(upstream).transpose()
}

async fn rows(
    conn: &mut PgConnection,
    owner: OrganizationId,
    only: Option<UpstreamId>,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT u.id AS "id: UpstreamId", u.organization_id IS NULL AS "is_platforms!",
               u.vendor, u.name, u.dialect,
               CASE WHEN u.owner = $1 THEN u.base_url ELSE '' END AS "base_url!",
               u.region, u.first_byte_seconds, u.idle_seconds, u.total_seconds,
               u.zero_retention, u.no_training, u.enabled,
               EXISTS (SELECT FROM disabled_models d
                        WHERE d.organization_id = $1 AND d.upstream_id = u.id
                          AND d.model IS NULL) AS "is_unwanted!",
               (SELECT count(*) FROM upstream_models m
                 WHERE (m.owner, m.upstream_id) = (u.owner, u.id) AND m.enabled
                   AND NOT EXISTS (SELECT FROM disabled_models d
                                    WHERE d.organization_id = $1 AND d.upstream_id = u.id
                                      AND d.model = m.name)) AS "models!",
               (SELECT count(*) FROM provider_credentials c
                 WHERE (c.owner, c.upstream_id) = (u.owner, u.id)
                   AND c.enabled) AS "credentials!",
               t.last_result AS "last_result?: Connection",
               t.last_tested_at AS "last_tested_at?", u.created_at, u.archived_at
          FROM upstreams u
          LEFT JOIN LATERAL (
               SELECT c.last_result, c.last_tested_at FROM provider_credentials c
                WHERE (c.owner, c.upstream_id) = (u.owner, u.id)
                  AND c.last_tested_at IS NOT NULL
                ORDER BY c.last_tested_at DESC LIMIT 1) t ON true
         WHERE (u.owner = $1 OR u.organization_id IS NULL AND u.archived_at IS NULL)
           AND ($2::uuid IS NULL OR u.id = $2)
         ORDER BY u.archived_at IS NOT NULL, u.organization_id IS NULL, lower(u.name)
         LIMIT 300
        "#,
        owner as OrganizationId,
        only as Option<UpstreamId>,
    )
    .fetch_all(conn)
    .await
}

/// Whoever else wants to change the upstream waits.
pub(in crate::upstreams) async fn lock(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM upstreams WHERE owner = $1 AND id = $2 FOR UPDATE",
        owner as OrganizationId,
        id as UpstreamId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

pub(in crate::upstreams) async fn count(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM upstreams WHERE owner = $1"#,
        owner as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

pub(in crate::upstreams) async fn named(
    conn: &mut PgConnection,
    owner: OrganizationId,
    name: &UpstreamName,
) -> Result<Option<UpstreamId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: UpstreamId" FROM upstreams WHERE owner = $1 AND name = $2"#,
        owner as OrganizationId,
        name.as_str(),
    )
    .fetch_optional(conn)
    .await
}

/// A day's seconds fit there.
fn column(seconds: Option<u32>) -> Option<i32> {
    seconds.and_then(|it| i32::try_from(it).ok())
}

pub(in crate::upstreams) async fn insert(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    place: &Place,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "INSERT INTO upstreams (organization_id, id, vendor, name, dialect, base_url, region,
                                first_byte_seconds, idle_seconds, total_seconds,
                                zero_retention, no_training)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7,
                 $8, $9, $10, $11, $12)",
        owner as OrganizationId,
        id as UpstreamId,
        place.vendor.as_str(),
        place.name.as_str(),
        words::name_of(&words::DIALECTS, &place.dialect),
        place.base_url.as_str(),
        place.region.as_ref().map(|it| it.as_str()),
        column(place.timeouts.first_byte_seconds),
        column(place.timeouts.idle_seconds),
        column(place.timeouts.total_seconds),
        place.assurances.zero_retention,
        place.assurances.no_training,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(in crate::upstreams) async fn update(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    place: &Place,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "UPDATE upstreams SET vendor = $3, name = $4, dialect = $5, base_url = $6, region = $7,
                first_byte_seconds = $8, idle_seconds = $9, total_seconds = $10,
                zero_retention = $11, no_training = $12
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as UpstreamId,
        place.vendor.as_str(),
        place.name.as_str(),
        words::name_of(&words::DIALECTS, &place.dialect),
        place.base_url.as_str(),
        place.region.as_ref().map(|it| it.as_str()),
        column(place.timeouts.first_byte_seconds),
        column(place.timeouts.idle_seconds),
        column(place.timeouts.total_seconds),
        place.assurances.zero_retention,
        place.assurances.no_training,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(in crate::upstreams) async fn set_enabled(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    enabled: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE upstreams SET enabled = $3 WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as UpstreamId,
        enabled,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(in crate::upstreams) async fn set_archived(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    archived: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE upstreams SET archived_at = CASE WHEN $3 THEN now() END
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as UpstreamId,
        archived,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever they are: for the snapshot.
pub(in crate::upstreams) async fn published(
    conn: &mut PgConnection,
    only: Option<&[UpstreamId]>,
) -> Result<Vec<Published>, sqlx::Error> {
    let only: Option<Vec<uuid::Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    sqlx::query_as!(
        Published,
        r#"
        SELECT id AS "id!: UpstreamId", organization_id AS "organization: OrganizationId",
               vendor AS "vendor!", dialect AS "dialect!", base_url AS "base_url!", region,
               models AS "models!", credentials AS "credentials!: Vec<CredentialId>",
               weights AS "weights!", sealed_secrets AS "sealed_secrets!",
               first_byte_seconds, idle_seconds, total_seconds,
               zero_retention AS "zero_retention!", no_training AS "no_training!"
          FROM app.snapshot_upstreams($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await
}
