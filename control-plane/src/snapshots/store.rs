//! Every statement on what snapshots are made of.

use std::collections::HashMap;

use ipnet::IpNet;
use shared::{
    ids::{ApiKeyId, OrganizationId, PolicyId, ProjectId},
    snapshot::{Entity, Key, Limits, RecordId, Revoked, RevokedBy, Routing, Secret, SecretHash},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The records of an organization and of the platform that there is a bounded number of.
pub(super) async fn ids_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<RecordId>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT 'upstream' AS "entity!", id AS "id!" FROM upstreams
         WHERE organization_id = $1 OR organization_id IS NULL
         UNION ALL
        SELECT 'policy', id FROM policies WHERE organization_id = $1 OR organization_id IS NULL
         UNION ALL
        SELECT 'project', id FROM projects WHERE organization_id = $1
         UNION ALL
        SELECT 'budget', id FROM budgets WHERE organization_id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await?;
    let record = |entity: &str, id| RecordId { entity: Entity::named(entity), id };
    Ok(rows.into_iter().map(|row| record(&row.entity, row.id)).collect())
}

/// Every organization's keys that open something, or those of them that are wanted.
pub(super) async fn keys(
    conn: &mut PgConnection,
    wanted: Option<&[Uuid]>,
) -> Result<Vec<Key>, sqlx::Error> {
    if wanted.is_some_and(<[Uuid]>::is_empty) {
        return Ok(Vec::new());
    }
    let mut routing = key_defaults(conn, wanted).await?;
    let rows = sqlx::query!(
        r#"
        SELECT organization_id AS "organization!: OrganizationId", id AS "id!: ApiKeyId",
               project_id AS "project!: ProjectId", scopes AS "scopes!", allowed_models,
               allowed_addresses AS "allowed_addresses!: Vec<IpNet>", expires_at,
               requests_per_minute, tokens_per_minute, concurrent_requests,
               hashes AS "hashes!", valid_untils AS "valid_untils!: Vec<Option<OffsetDateTime>>"
          FROM app.snapshot_keys($1)
        "#,
        wanted,
    )
    .fetch_all(conn)
    .await?;
    let keys = rows.into_iter().map(|row| Key {
        id: row.id,
        organization: row.organization,
        project: row.project,
        secrets: row
            .hashes
            .into_iter()
            .zip(row.valid_untils)
            .map(|(hash, valid_until)| Secret { hash, valid_until })
            .collect(),
        // A scope that this version does not know opens nothing.
        scopes: row.scopes.iter().filter_map(|it| it.parse().ok()).collect(),
        allowed_models: row.allowed_models,
        allowed_addresses: row.allowed_addresses,
        expires_at: row.expires_at,
        limits: Limits {
            requests_per_minute: row.requests_per_minute.and_then(|it| it.try_into().ok()),
            tokens_per_minute: row.tokens_per_minute.and_then(|it| it.try_into().ok()),
            concurrent: row.concurrent_requests.and_then(|it| it.try_into().ok()),
        },
        routing: routing.remove(&row.id).unwrap_or_default(),
    });
    Ok(keys.collect())
}

/// Of the keys that say any.
async fn key_defaults(
    conn: &mut PgConnection,
    wanted: Option<&[Uuid]>,
) -> Result<HashMap<ApiKeyId, Routing>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT key_id AS "key!: ApiKeyId", default_model, policy_id AS "policy: PolicyId"
          FROM app.snapshot_key_defaults($1)
        "#,
        wanted,
    )
    .fetch_all(conn)
    .await?;
    let routing = |default_model, policy| Routing { default_model, policy };
    Ok(rows.into_iter().map(|it| (it.key, routing(it.default_model, it.policy))).collect())
}

/// Keys that were revoked of late, a bounded number of them, or those that are wanted.
pub(super) async fn revoked(
    conn: &mut PgConnection,
    wanted: Option<&[Uuid]>,
) -> Result<Vec<Revoked>, sqlx::Error> {
    if wanted.is_some_and(<[Uuid]>::is_empty) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!: ApiKeyId", revoked_at AS "revoked_at!", revoked_by AS "revoked_by!",
               hashes AS "hashes!"
          FROM app.snapshot_revoked($1)
        "#,
        wanted,
    )
    .fetch_all(conn)
    .await?;
    let revoked = rows.into_iter().map(|row| Revoked {
        id: row.id,
        hashes: row.hashes.into_iter().map(SecretHash).collect(),
        at: row.revoked_at.unix_timestamp(),
        by: match row.revoked_by.as_str() {
            "owner" => RevokedBy::Owner,
            "member" => RevokedBy::Member,
            _ => RevokedBy::Program,
        },
    });
    Ok(revoked.collect())
}
