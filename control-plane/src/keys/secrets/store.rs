//! Every statement on the table of secrets.

use shared::{
    ids::{ApiKeyId, OrganizationId},
    keys::NewKey,
};
use sqlx::PgConnection;

use super::{Overlap, SecretHint};

pub(in crate::keys) async fn working(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
) -> Result<Vec<SecretHint>, sqlx::Error> {
    sqlx::query_as!(
        SecretHint,
        "SELECT hint, created_at, valid_until
           FROM api_key_secrets
          WHERE organization_id = $1 AND key_id = $2
            AND (valid_until IS NULL OR valid_until > now())
          ORDER BY valid_until DESC NULLS FIRST
          LIMIT 50",
        organization as OrganizationId,
        key as ApiKeyId,
    )
    .fetch_all(conn)
    .await
}

pub(in crate::keys) async fn add(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
    secret: &NewKey,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO api_key_secrets (organization_id, key_id, hash, hint)
         VALUES ($1, $2, $3, $4)",
        organization as OrganizationId,
        key as ApiKeyId,
        &secret.hash.0,
        secret.hint,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives every secret an end, and forgets those whose end has come.
pub(in crate::keys) async fn retire(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
    overlap: Overlap,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE api_key_secrets
            SET valid_until = least(valid_until, now() + make_interval(hours => $3))
          WHERE organization_id = $1 AND key_id = $2",
        organization as OrganizationId,
        key as ApiKeyId,
        overlap.hours(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM api_key_secrets
          WHERE organization_id = $1 AND key_id = $2 AND valid_until <= now()",
        organization as OrganizationId,
        key as ApiKeyId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets every secret but the present one. Says how many still worked.
pub(in crate::keys) async fn drop_retired(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
) -> Result<usize, sqlx::Error> {
    let dropped = sqlx::query_scalar!(
        r#"DELETE FROM api_key_secrets
            WHERE organization_id = $1 AND key_id = $2 AND valid_until IS NOT NULL
        RETURNING valid_until > now() AS "worked!""#,
        organization as OrganizationId,
        key as ApiKeyId,
    )
    .fetch_all(conn)
    .await?;
    Ok(dropped.into_iter().filter(|it| *it).count())
}
