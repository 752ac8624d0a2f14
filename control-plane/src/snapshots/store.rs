//! Every statement on what snapshots are made of.

use ipnet::IpNet;
use shared::{
    ids::{ApiKeyId, OrganizationId, ProjectId},
    snapshot::{Key, Limits, Secret},
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The revision that the present state of everything has.
pub(super) async fn wanted(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT wanted FROM snapshot_state").fetch_one(conn).await
}

/// Every organization's keys that open something.
pub(super) async fn keys(conn: &mut PgConnection) -> Result<Vec<Key>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT organization_id AS "organization!: OrganizationId", id AS "id!: ApiKeyId",
               project_id AS "project!: ProjectId", scopes AS "scopes!", allowed_models,
               allowed_addresses AS "allowed_addresses!: Vec<IpNet>", expires_at,
               hashes AS "hashes!", valid_untils AS "valid_untils!: Vec<Option<OffsetDateTime>>"
          FROM app.snapshot_keys()
        "#
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
        limits: Limits::default(),
    });
    Ok(keys.collect())
}
