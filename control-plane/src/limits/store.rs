//! Every statement on limits, which stand in the rows of what they limit.

use shared::{
    ids::{OrganizationId, PolicyId, PriceBookId, ProjectId, TeamId, UpstreamId},
    snapshot,
};
use sqlx::{PgConnection, types::Json};

use super::Limits;

pub(super) async fn of_organization(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Limits, sqlx::Error> {
    sqlx::query_as!(
        Limits,
        "SELECT requests_per_minute, tokens_per_minute, concurrent_requests
           FROM organizations WHERE id = $1",
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn of_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
) -> Result<Option<Limits>, sqlx::Error> {
    sqlx::query_as!(
        Limits,
        "SELECT requests_per_minute, tokens_per_minute, concurrent_requests
           FROM projects WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        project as ProjectId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn set_of_organization(
    conn: &mut PgConnection,
    organization: OrganizationId,
    limits: Limits,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE organizations
            SET requests_per_minute = $2, tokens_per_minute = $3, concurrent_requests = $4
          WHERE id = $1",
        organization as OrganizationId,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_of_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    limits: Limits,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE projects
            SET requests_per_minute = $3, tokens_per_minute = $4, concurrent_requests = $5
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        project as ProjectId,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever they are: for the snapshot.
pub(super) async fn published_organizations(
    conn: &mut PgConnection,
    only: Option<&[OrganizationId]>,
) -> Result<Vec<snapshot::Tenant>, sqlx::Error> {
    let only: Option<Vec<uuid::Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!: OrganizationId", requests_per_minute, tokens_per_minute,
               concurrent_requests,
               disabled_upstreams AS "disabled_upstreams!: Vec<UpstreamId>",
               disabled_models AS "disabled_models!: Vec<Option<String>>",
               books AS "books!: Vec<PriceBookId>", books_from AS "books_from!",
               books_until AS "books_until!: Vec<Option<i64>>",
               default_model, policy_id AS "policy: PolicyId",
               explore_per_mille AS "explore_per_mille!",
               worths AS "worths!: Json<Vec<snapshot::Worth>>"
          FROM app.snapshot_organizations($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let tenants = rows.into_iter().map(|row| snapshot::Tenant {
        organization: row.id,
        limits: Limits {
            requests_per_minute: row.requests_per_minute,
            tokens_per_minute: row.tokens_per_minute,
            concurrent_requests: row.concurrent_requests,
        }
        .into(),
        disabled: row
            .disabled_upstreams
            .into_iter()
            .zip(row.disabled_models)
            .map(|(upstream, model)| snapshot::Disabled { upstream, model })
            .collect(),
        books: row
            .books
            .into_iter()
            .zip(row.books_from.into_iter().zip(row.books_until))
            .map(|(book, (from_ms, until_ms))| snapshot::HeldBook { book, from_ms, until_ms })
            .collect(),
        routing: snapshot::Routing { default_model: row.default_model, policy: row.policy },
        explore_per_mille: u16::try_from(row.explore_per_mille).unwrap_or(0),
        worths: row.worths.0,
    });
    Ok(tenants.collect())
}

/// Whosever they are: for the snapshot.
pub(super) async fn published_projects(
    conn: &mut PgConnection,
    only: Option<&[ProjectId]>,
) -> Result<Vec<snapshot::Project>, sqlx::Error> {
    let only: Option<Vec<uuid::Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!: ProjectId", organization_id AS "organization!: OrganizationId",
               requests_per_minute, tokens_per_minute, concurrent_requests,
               team_id AS "team: TeamId", default_model, policy_id AS "policy: PolicyId"
          FROM app.snapshot_projects($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let projects = rows.into_iter().map(|row| snapshot::Project {
        id: row.id,
        organization: row.organization,
        limits: Limits {
            requests_per_minute: row.requests_per_minute,
            tokens_per_minute: row.tokens_per_minute,
            concurrent_requests: row.concurrent_requests,
        }
        .into(),
        team: row.team,
        splits: Vec::new(),
        routing: snapshot::Routing { default_model: row.default_model, policy: row.policy },
    });
    Ok(projects.collect())
}
