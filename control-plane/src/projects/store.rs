//! Every statement on the table of projects.

use shared::ids::{OrganizationId, ProjectId, TeamId};
use sqlx::PgConnection;

use super::{Project, ProjectError, ProjectName};
use crate::web::Span;

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    span: Span<ProjectId>,
) -> Result<Vec<Project>, sqlx::Error> {
    rows(conn, organization, None, span).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
) -> Result<Option<Project>, sqlx::Error> {
    Ok(rows(conn, organization, Some(project), Span::page(None)).await?.pop())
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<ProjectId>,
    span: Span<ProjectId>,
) -> Result<Vec<Project>, sqlx::Error> {
    sqlx::query_as!(
        Project,
        r#"
        SELECT p.id AS "id: ProjectId", p.name, p.team_id AS "team?: TeamId",
               t.name AS "team_name?", p.created_at, p.archived_at,
               (SELECT count(*) FROM api_keys k
                 WHERE (k.organization_id, k.project_id) = (p.organization_id, p.id)
                   AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > now())) AS "keys!"
          FROM projects p
          LEFT JOIN teams t ON (t.organization_id, t.id) = (p.organization_id, p.team_id)
         WHERE p.organization_id = $1
           AND ($2::uuid IS NULL OR p.id = $2)
           AND ($3::uuid IS NULL
                OR (p.archived_at IS NOT NULL, lower(p.name), p.id)
                   > (SELECT a.archived_at IS NOT NULL, lower(a.name), a.id
                        FROM projects a WHERE a.organization_id = $1 AND a.id = $3))
         ORDER BY p.archived_at IS NOT NULL, lower(p.name), p.id
         LIMIT $4
        "#,
        organization as OrganizationId,
        only as Option<ProjectId>,
        span.after as Option<ProjectId>,
        span.limit(),
    )
    .fetch_all(conn)
    .await
}

/// Writers of one project queue here.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM projects WHERE organization_id = $1 AND id = $2 FOR UPDATE",
        organization as OrganizationId,
        project as ProjectId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    name: &ProjectName,
    team: Option<TeamId>,
) -> Result<(), ProjectError> {
    sqlx::query!(
        "INSERT INTO projects (organization_id, id, name, team_id) VALUES ($1, $2, $3, $4)",
        organization as OrganizationId,
        project as ProjectId,
        name.0,
        team as Option<TeamId>,
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

pub(super) async fn update(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    name: &ProjectName,
    team: Option<TeamId>,
) -> Result<(), ProjectError> {
    sqlx::query!(
        "UPDATE projects SET name = $3, team_id = $4 WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        project as ProjectId,
        name.0,
        team as Option<TeamId>,
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

pub(super) async fn set_archived(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    archived: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE projects SET archived_at = CASE WHEN $3 THEN now() END
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        project as ProjectId,
        archived,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn named(error: sqlx::Error) -> ProjectError {
    match error.as_database_error() {
        Some(it) if it.constraint() == Some("projects_name") => ProjectError::NameTaken,
        Some(it) if it.is_foreign_key_violation() => ProjectError::NotATeam,
        _ => ProjectError::Store(error),
    }
}
