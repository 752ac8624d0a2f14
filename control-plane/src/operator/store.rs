//! The statements that see all organizations.

use shared::ids::{CredentialId, OrganizationId};
use sqlx::PgConnection;

use super::{Site, Tenant};

pub(super) async fn organizations(
    conn: &mut PgConnection,
    pattern: &str,
    after: Option<(&str, OrganizationId)>,
    most: i32,
) -> Result<Vec<Tenant>, sqlx::Error> {
    let (after_name, after_id) = after.unzip();
    sqlx::query_as!(
        Tenant,
        r#"
        SELECT id AS "id!: OrganizationId", slug AS "slug!", name AS "name!",
               created_at AS "created_at!", archived_at, members AS "members!",
               projects AS "projects!", live_keys AS "live_keys!"
          FROM app.operator_organizations($1, $2, $3, $4)
        "#,
        pattern,
        after_name,
        after_id.map(OrganizationId::uuid),
        most,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn sites(
    conn: &mut PgConnection,
    credentials: &[CredentialId],
) -> Result<Vec<Site>, sqlx::Error> {
    let credentials: Vec<_> = credentials.iter().map(|it| it.uuid()).collect();
    sqlx::query_as!(
        Site,
        r#"
        SELECT credential AS "credential!: CredentialId", provider AS "provider!", region, label,
               organization
          FROM app.operator_sites($1)
        "#,
        &credentials,
    )
    .fetch_all(conn)
    .await
}
