//! Every statement on the tables of upstreams.
//!
//! An owner is an organization, or the nil one for the platform.

use shared::{
    ids::{CredentialId, OrganizationId, PersonId, UpstreamId},
    money::Price,
    snapshot::Model,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

use super::{
    CatalogueModel, Connection, Credential, DisabledBy, OfferedModel, Place, Served, Upstream,
    UpstreamError, UpstreamName,
    credentials::{Change, Kept, NewCredential},
    prices::Revision,
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
pub(super) async fn list(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<Upstream>, sqlx::Error> {
    rows(conn, owner, None).await?.into_iter().map(upstream).collect()
}

pub(super) async fn find(
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
               u.region, u.first_byte_seconds, u.idle_seconds, u.total_seconds, u.enabled,
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
pub(super) async fn lock(
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

pub(super) async fn count(
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

pub(super) async fn named(
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

pub(super) async fn insert(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    place: &Place,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "INSERT INTO upstreams (organization_id, id, vendor, name, dialect, base_url, region,
                                first_byte_seconds, idle_seconds, total_seconds)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7,
                 $8, $9, $10)",
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
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(super) async fn update(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    place: &Place,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "UPDATE upstreams SET vendor = $3, name = $4, dialect = $5, base_url = $6, region = $7,
                first_byte_seconds = $8, idle_seconds = $9, total_seconds = $10
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
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(super) async fn set_enabled(
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

pub(super) async fn set_archived(
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

pub(super) async fn models(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
) -> Result<Vec<OfferedModel>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT app.offered_model(m, $1) AS "model!: Json<Model>",
               m.enabled AND NOT EXISTS (
                   SELECT FROM disabled_models d
                    WHERE d.organization_id = $1 AND d.upstream_id = m.upstream_id
                      AND d.model = m.name) AS "enabled!"
          FROM upstream_models m
         WHERE (m.owner = $1 OR m.organization_id IS NULL) AND m.upstream_id = $2
         ORDER BY m.position, m.name
         LIMIT 500
        "#,
        owner as OrganizationId,
        id as UpstreamId,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| OfferedModel { model: it.model.0, enabled: it.enabled }).collect())
}

/// Says whether it was wanted before.
pub(super) async fn disable(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: UpstreamId,
    model: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "INSERT INTO disabled_models (organization_id, upstream_id, model) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        id as UpstreamId,
        model,
    )
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// Says whether it was disabled before.
pub(super) async fn want(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: UpstreamId,
    model: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "DELETE FROM disabled_models
          WHERE organization_id = $1 AND upstream_id = $2 AND model IS NOT DISTINCT FROM $3",
        organization as OrganizationId,
        id as UpstreamId,
        model,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// Adds it at the end, or replaces the one of its name where that stands.
pub(super) async fn put_model(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    model: &Model,
    enabled: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO upstream_models (organization_id, upstream_id, name, upstream_name,
                                     display_name, context_length, max_output_tokens,
                                     capabilities, input, output, deprecated_on, successor,
                                     enabled, position)
        SELECT nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, m.name,
               m.upstream_name, m.display_name, m.context_length, m.max_output_tokens,
               m.capabilities, m.input, m.output, m.deprecated_on, m.successor, $4,
               (SELECT coalesce(max(position), 0) + 1 FROM upstream_models
                 WHERE owner = $1 AND upstream_id = $2)
          FROM jsonb_to_record($3) AS m (
               name text, upstream_name text, display_name text, context_length integer,
               max_output_tokens integer, capabilities text[], input text[], output text[],
               deprecated_on date, successor text)
        ON CONFLICT (owner, upstream_id, name) DO UPDATE
           SET upstream_name = excluded.upstream_name, display_name = excluded.display_name,
               context_length = excluded.context_length,
               max_output_tokens = excluded.max_output_tokens,
               capabilities = excluded.capabilities, input = excluded.input,
               output = excluded.output, deprecated_on = excluded.deprecated_on,
               successor = excluded.successor, enabled = excluded.enabled
        "#,
        owner as OrganizationId,
        id as UpstreamId,
        Json(model) as _,
        enabled,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The latest first.
pub(super) async fn prices(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    model: &str,
) -> Result<Vec<Revision>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT r.revision, r.price AS "price: Json<Price>", b.name AS "book?",
               p.email AS "created_by?", r.created_at, r.valid_from
          FROM model_prices r
          LEFT JOIN price_books b ON b.id = r.book_id
          LEFT JOIN people p ON p.id = r.created_by
         WHERE (r.owner = $1 OR r.organization_id IS NULL) AND r.upstream_id = $2 AND r.model = $3
         ORDER BY r.revision DESC
         LIMIT 200
        "#,
        owner as OrganizationId,
        upstream as UpstreamId,
        model,
    )
    .fetch_all(conn)
    .await?;
    let revisions = rows.into_iter().map(|row| Revision {
        revision: row.revision,
        price: row.price.map(|it| it.0),
        book: row.book,
        created_by: row.created_by,
        created_at: row.created_at,
        valid_from: row.valid_from,
    });
    Ok(revisions.collect())
}

/// Says what a model costs from a moment on, or from now on. To be called by whoever keeps others
/// from changing the upstream meanwhile.
pub(super) async fn insert_price(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    model: &str,
    price: Option<&Price>,
    from: Option<OffsetDateTime>,
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO model_prices (organization_id, upstream_id, model, revision, price, valid_from,
                                   created_by)
         SELECT nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3,
                coalesce(max(revision), 0) + 1, $4, coalesce($5, now()), $6
           FROM model_prices WHERE owner = $1 AND upstream_id = $2 AND model = $3",
        owner as OrganizationId,
        upstream as UpstreamId,
        model,
        price.map(Json) as _,
        from,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it was there.
pub(super) async fn delete_model(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "DELETE FROM upstream_models WHERE owner = $1 AND upstream_id = $2 AND name = $3",
        owner as OrganizationId,
        id as UpstreamId,
        name,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// The upstream's, or the one of them that is named.
pub(super) async fn credentials(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: UpstreamId,
    only: Option<CredentialId>,
) -> Result<Vec<Credential>, sqlx::Error> {
    sqlx::query_as!(
        Credential,
        r#"
        SELECT id AS "id: CredentialId", label, hint, weight, enabled,
               last_result AS "last_result: Connection", last_tested_at, created_at
          FROM provider_credentials
         WHERE owner = $1 AND upstream_id = $2 AND ($3::uuid IS NULL OR id = $3)
         ORDER BY created_at, id
         LIMIT 100
        "#,
        owner as OrganizationId,
        id as UpstreamId,
        only as Option<CredentialId>,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn insert_credential(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    id: CredentialId,
    new: &NewCredential,
    kept: &Kept,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "INSERT INTO provider_credentials
                (organization_id, upstream_id, id, label, weight, hint, sealed_secret)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7)",
        owner as OrganizationId,
        upstream as UpstreamId,
        id as CredentialId,
        new.label,
        new.weight,
        kept.hint,
        kept.sealed,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(super) async fn update_credential(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: CredentialId,
    change: &Change,
) -> Result<(), UpstreamError> {
    sqlx::query!(
        "UPDATE provider_credentials
            SET label = coalesce($3, label), weight = coalesce($4, weight),
                enabled = coalesce($5, enabled)
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as CredentialId,
        change.label,
        change.weight,
        change.enabled,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

/// A new secret has not been tried.
pub(super) async fn replace_secret(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: CredentialId,
    kept: &Kept,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE provider_credentials
            SET sealed_secret = $4, hint = $3, last_result = NULL, last_tested_at = NULL
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as CredentialId,
        kept.hint,
        kept.sealed,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn delete_credential(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: CredentialId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM provider_credentials WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as CredentialId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// All of the upstream's. Says how many.
pub(super) async fn drop_credentials(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!(
        "DELETE FROM provider_credentials WHERE owner = $1 AND upstream_id = $2",
        owner as OrganizationId,
        upstream as UpstreamId,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

pub(super) async fn secret(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    id: CredentialId,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT sealed_secret FROM provider_credentials
          WHERE owner = $1 AND upstream_id = $2 AND id = $3",
        owner as OrganizationId,
        upstream as UpstreamId,
        id as CredentialId,
    )
    .fetch_optional(conn)
    .await
}

/// The sealed secret of that label.
pub(super) async fn sealed(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    label: &str,
) -> Result<Option<(CredentialId, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id AS "id: CredentialId", sealed_secret FROM provider_credentials
            WHERE owner = $1 AND upstream_id = $2 AND label = $3"#,
        owner as OrganizationId,
        upstream as UpstreamId,
        label,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|it| (it.id, it.sealed_secret)))
}

/// Counts a try, and says which one of its minute it is.
pub(super) async fn count_trial(
    conn: &mut PgConnection,
    organization: OrganizationId,
    now: OffsetDateTime,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO connection_trials AS t (organization_id, since, made) VALUES ($1, $2, 1)
         ON CONFLICT (organization_id) DO UPDATE
            SET since = CASE WHEN t.since <= $2 - interval '1 minute' THEN $2 ELSE t.since END,
                made  = CASE WHEN t.since <= $2 - interval '1 minute' THEN 1 ELSE t.made + 1 END
         RETURNING made",
        organization as OrganizationId,
        now,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn note_result(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: CredentialId,
    result: Connection,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE provider_credentials SET last_result = $3, last_tested_at = now()
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as CredentialId,
        result as Connection,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn served(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<Served>, sqlx::Error> {
    sqlx::query_as!(
        Served,
        "SELECT DISTINCT m.name, u.vendor
           FROM upstream_models m
           JOIN upstreams u ON (u.owner, u.id) = (m.owner, m.upstream_id)
          WHERE (u.owner = $1 OR u.organization_id IS NULL)
            AND u.enabled AND u.archived_at IS NULL AND m.enabled
            AND NOT EXISTS (SELECT FROM disabled_models d
                             WHERE d.organization_id = $1 AND d.upstream_id = u.id
                               AND (d.model IS NULL OR d.model = m.name))
          ORDER BY m.name, u.vendor
          LIMIT 5000",
        owner as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn catalogue(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<CatalogueModel>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT u.id AS "provider: UpstreamId", u.name AS provider_name, u.vendor, u.region,
               u.organization_id IS NULL AS "is_platforms!",
               app.offered_model(m, $1) AS "model!: Json<Model>", m.enabled,
               EXISTS (SELECT FROM disabled_models d
                        WHERE d.organization_id = $1 AND d.upstream_id = u.id
                          AND d.model IS NULL) AS "is_provider_unwanted!",
               EXISTS (SELECT FROM disabled_models d
                        WHERE d.organization_id = $1 AND d.upstream_id = u.id
                          AND d.model = m.name) AS "is_unwanted!"
          FROM upstream_models m
          JOIN upstreams u ON (u.owner, u.id) = (m.owner, m.upstream_id)
         WHERE (u.owner = $1 OR u.organization_id IS NULL)
           AND u.enabled AND u.archived_at IS NULL
         ORDER BY m.name, u.organization_id IS NULL, u.name
         LIMIT 5000
        "#,
        owner as OrganizationId,
    )
    .fetch_all(conn)
    .await?;
    let models = rows.into_iter().map(|row| {
        let disabled_by = match (row.is_platforms, row.enabled) {
            (true, false) => Some(DisabledBy::Platform),
            (true, true) if row.is_provider_unwanted => Some(DisabledBy::Provider),
            (true, true) if row.is_unwanted => Some(DisabledBy::Model),
            (false, false) => Some(DisabledBy::Model),
            (_, true) => None,
        };
        CatalogueModel {
            provider: row.provider,
            provider_name: row.provider_name,
            vendor: row.vendor,
            region: row.region,
            is_platforms: row.is_platforms,
            offered: OfferedModel { model: row.model.0, enabled: disabled_by.is_none() },
            disabled_by,
        }
    });
    Ok(models.collect())
}

/// The first model that writes, of the organization's own upstreams if there is one.
pub(super) async fn first_model(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT m.name
           FROM upstream_models m
           JOIN upstreams u ON (u.owner, u.id) = (m.owner, m.upstream_id)
          WHERE (u.owner = $1 OR u.organization_id IS NULL)
            AND u.enabled AND u.archived_at IS NULL
            AND m.enabled AND m.max_output_tokens > 0
            AND NOT EXISTS (SELECT FROM disabled_models d
                             WHERE d.organization_id = $1 AND d.upstream_id = u.id
                               AND (d.model IS NULL OR d.model = m.name))
          ORDER BY u.organization_id NULLS LAST, u.created_at, m.position
          LIMIT 1",
        owner as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// Whosever they are: for the snapshot.
pub(super) async fn published(
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
               first_byte_seconds, idle_seconds, total_seconds
          FROM app.snapshot_upstreams($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await
}

fn taken(error: sqlx::Error) -> UpstreamError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("upstreams_name") => UpstreamError::NameTaken,
        Some("provider_credentials_label") => UpstreamError::LabelTaken,
        _ => UpstreamError::Store(error),
    }
}
