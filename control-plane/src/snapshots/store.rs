//! Every statement on what snapshots are made of.

use ipnet::IpNet;
use shared::{
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, UpstreamId},
    snapshot::{Credential, Dialect, Key, Limits, Model, Secret, Upstream},
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use tracing::error;
use uuid::Uuid;

use super::NewUpstream;

/// Every organization's keys that open something, or those of them that are wanted.
pub(super) async fn keys(
    conn: &mut PgConnection,
    wanted: Option<&[Uuid]>,
) -> Result<Vec<Key>, sqlx::Error> {
    if wanted.is_some_and(<[Uuid]>::is_empty) {
        return Ok(Vec::new());
    }
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
    });
    Ok(keys.collect())
}

/// Every organization's upstreams, and the platform's. One that cannot be read is left
/// out, for it must not keep everybody's changes from being published.
pub(super) async fn upstreams(
    conn: &mut PgConnection,
    wanted: Option<&[Uuid]>,
) -> Result<Vec<Upstream>, sqlx::Error> {
    if wanted.is_some_and(<[Uuid]>::is_empty) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        SELECT id AS "credential!: CredentialId",
               organization_id AS "organization: OrganizationId", provider AS "provider!",
               base_url AS "base_url!", sealed_secret AS "sealed_secret!", models AS "models!"
          FROM app.snapshot_upstreams($1)
        "#,
        wanted,
    )
    .fetch_all(conn)
    .await?;
    let mut upstreams = Vec::with_capacity(rows.len());
    for row in rows {
        match serde_json::from_value(row.models) {
            Ok(models) => upstreams.push(Upstream {
                id: UpstreamId::from_uuid(row.credential.uuid()),
                organization: row.organization,
                provider: row.provider,
                dialect: Dialect::OpenAi,
                base_url: row.base_url,
                region: None,
                credentials: vec![Credential {
                    id: row.credential,
                    weight: 1,
                    sealed_secret: row.sealed_secret,
                }],
                models,
            }),
            Err(cause) => {
                error!(credential.id = %row.credential, %cause, "left out {}", row.credential);
            }
        }
    }
    Ok(upstreams)
}

/// The models of the organization's upstreams, then of the platform's.
pub(super) async fn models(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Model>, sqlx::Error> {
    let lists = sqlx::query_scalar!(
        r#"SELECT models AS "models!: Json<Vec<Model>>" FROM app.snapshot_upstreams(NULL)
            WHERE organization_id = $1 OR organization_id IS NULL
            ORDER BY organization_id NULLS LAST, created_at
            LIMIT 20"#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await?;
    Ok(lists.into_iter().flat_map(|it| it.0).collect())
}

pub(super) async fn upstream_at(
    conn: &mut PgConnection,
    organization: OrganizationId,
    provider: &str,
    base_url: &str,
) -> Result<Option<Upstream>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT id AS "credential: CredentialId", sealed_secret,
               models AS "models: Json<Vec<Model>>"
          FROM provider_credentials
         WHERE organization_id = $1 AND provider = $2 AND base_url = $3
           FOR UPDATE
        "#,
        organization as OrganizationId,
        provider,
        base_url,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Upstream {
        id: UpstreamId::from_uuid(row.credential.uuid()),
        organization: Some(organization),
        provider: provider.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: base_url.to_owned(),
        region: None,
        credentials: vec![Credential {
            id: row.credential,
            weight: 1,
            sealed_secret: row.sealed_secret,
        }],
        models: row.models.0,
    }))
}

pub(super) async fn put_upstream(
    conn: &mut PgConnection,
    organization: OrganizationId,
    credential: CredentialId,
    new: &NewUpstream,
    sealed: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO provider_credentials
               (id, organization_id, provider, base_url, sealed_secret, models)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE
           SET sealed_secret = excluded.sealed_secret, models = excluded.models
        "#,
        credential as CredentialId,
        organization as OrganizationId,
        new.provider,
        new.base(),
        sealed,
        Json(&new.models) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds an upstream of the platform's, or gives it another secret and other models.
pub(super) async fn put_platform_upstream(
    conn: &mut PgConnection,
    id: CredentialId,
    new: &NewUpstream,
    sealed_secret: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT app.put_platform_upstream($1, $2, $3, $4, $5)",
        id as CredentialId,
        new.provider,
        new.base(),
        sealed_secret,
        Json(&new.models) as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}
