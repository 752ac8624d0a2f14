//! Statements on the models that upstreams serve, and on who does not want them.

use shared::{
    ids::{OrganizationId, UpstreamId},
    snapshot::{Assurances, Model},
};
use sqlx::{PgConnection, types::Json};

use crate::upstreams::{CatalogueModel, DisabledBy, OfferedModel};

pub(in crate::upstreams) async fn models(
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
pub(in crate::upstreams) async fn disable(
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
pub(in crate::upstreams) async fn want(
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
pub(in crate::upstreams) async fn put_model(
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
                                     quantization, enabled, position)
        SELECT nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, m.name,
               m.upstream_name, m.display_name, m.context_length, m.max_output_tokens,
               m.capabilities, m.input, m.output, m.deprecated_on, m.successor,
               m.quantization, $4,
               (SELECT coalesce(max(position), 0) + 1 FROM upstream_models
                 WHERE owner = $1 AND upstream_id = $2)
          FROM jsonb_to_record($3) AS m (
               name text, upstream_name text, display_name text, context_length integer,
               max_output_tokens integer, capabilities text[], input text[], output text[],
               deprecated_on date, successor text, quantization text)
        ON CONFLICT (owner, upstream_id, name) DO UPDATE
           SET upstream_name = excluded.upstream_name, display_name = excluded.display_name,
               context_length = excluded.context_length,
               max_output_tokens = excluded.max_output_tokens,
               capabilities = excluded.capabilities, input = excluded.input,
               output = excluded.output, deprecated_on = excluded.deprecated_on,
               successor = excluded.successor, quantization = excluded.quantization,
               enabled = excluded.enabled
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

/// Says whether it was there.
pub(in crate::upstreams) async fn delete_model(
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

pub(in crate::upstreams) async fn catalogue(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<CatalogueModel>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT u.id AS "provider: UpstreamId", u.name AS provider_name, u.vendor, u.region,
               u.zero_retention, u.no_training, u.organization_id IS NULL AS "is_platforms!",
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
            assurances: Assurances {
                zero_retention: row.zero_retention,
                no_training: row.no_training,
            },
            is_platforms: row.is_platforms,
            offered: OfferedModel { model: row.model.0, enabled: disabled_by.is_none() },
            disabled_by,
        }
    });
    Ok(models.collect())
}

/// The first model that writes, of the organization's own upstreams if there is one.
pub(in crate::upstreams) async fn first_model(
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
