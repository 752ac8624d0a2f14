//! Statements on the secrets that open upstreams, and on trying them.

use shared::ids::{CredentialId, OrganizationId, UpstreamId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::taken;
use crate::upstreams::{
    Connection, Credential, UpstreamError,
    credentials::{Change, Kept, NewCredential},
};

/// The upstream's, or the one of them that is named.
pub(in crate::upstreams) async fn credentials(
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

pub(in crate::upstreams) async fn insert_credential(
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

pub(in crate::upstreams) async fn update_credential(
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
pub(in crate::upstreams) async fn replace_secret(
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

pub(in crate::upstreams) async fn delete_credential(
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
pub(in crate::upstreams) async fn drop_credentials(
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

pub(in crate::upstreams) async fn secret(
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
pub(in crate::upstreams) async fn sealed(
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
pub(in crate::upstreams) async fn count_trial(
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

pub(in crate::upstreams) async fn note_result(
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
