//! Every statement on the table of defaults.

use shared::ids::{ApiKeyId, OrganizationId, PolicyId, ProjectId};
use sqlx::PgConnection;

use super::Defaults;

/// More than anybody is told of.
const MOST_TOLD: i64 = 5;

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    (project, key): (Option<ProjectId>, Option<ApiKeyId>),
) -> Result<Option<Defaults>, sqlx::Error> {
    sqlx::query_as!(
        Defaults,
        r#"SELECT default_model, policy_id AS "policy: PolicyId"
             FROM routing_defaults
            WHERE organization_id = $1
              AND project_id IS NOT DISTINCT FROM $2 AND key_id IS NOT DISTINCT FROM $3"#,
        organization as OrganizationId,
        project as Option<ProjectId>,
        key as Option<ApiKeyId>,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn put(
    conn: &mut PgConnection,
    organization: OrganizationId,
    (project, key): (Option<ProjectId>, Option<ApiKeyId>),
    defaults: &Defaults,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO routing_defaults (organization_id, project_id, key_id, default_model, policy_id)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT routing_defaults_once
         DO UPDATE SET default_model = excluded.default_model, policy_id = excluded.policy_id",
        organization as OrganizationId,
        project as Option<ProjectId>,
        key as Option<ApiKeyId>,
        defaults.default_model,
        defaults.policy as Option<PolicyId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first few who go by a policy, in words. A key that was revoked goes by nothing.
pub(super) async fn going_by(
    conn: &mut PgConnection,
    organization: OrganizationId,
    policy: Option<PolicyId>,
    name: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT CASE
                   WHEN k.id IS NOT NULL THEN concat('the key "', k.name, '"')
                   WHEN p.id IS NOT NULL THEN concat('the project "', p.name, '"')
                   ELSE 'the organization'
               END AS "told!"
          FROM routing_defaults r
          LEFT JOIN projects p ON (p.organization_id, p.id) = (r.organization_id, r.project_id)
          LEFT JOIN api_keys k ON (k.organization_id, k.id) = (r.organization_id, r.key_id)
         WHERE r.organization_id = $1 AND (r.policy_id = $2 OR r.default_model = $3)
           AND k.revoked_at IS NULL
         ORDER BY r.key_id NULLS FIRST, r.project_id NULLS FIRST
         LIMIT $4
        "#,
        organization as OrganizationId,
        policy as Option<PolicyId>,
        name,
        MOST_TOLD,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn organizations_going_by(
    conn: &mut PgConnection,
    policy: Option<PolicyId>,
    name: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT app.organizations_going_by($1, $2) AS "count!""#,
        policy as Option<PolicyId>,
        name,
    )
    .fetch_one(conn)
    .await
}
