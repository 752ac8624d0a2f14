//! Every statement on the tables of teams.

use shared::ids::{OrganizationId, PersonId, TeamId};
use sqlx::PgConnection;

use super::{Team, TeamError, TeamMember, TeamName};
use crate::web::Span;

/// More members than a team's page shows; a list is never longer.
const MOST: i64 = 200;

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    span: Span<TeamId>,
) -> Result<Vec<Team>, sqlx::Error> {
    rows(conn, organization, None, span).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
) -> Result<Option<Team>, sqlx::Error> {
    Ok(rows(conn, organization, Some(team), Span::page(None)).await?.pop())
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<TeamId>,
    span: Span<TeamId>,
) -> Result<Vec<Team>, sqlx::Error> {
    sqlx::query_as!(
        Team,
        r#"
        SELECT t.id AS "id: TeamId", t.name, t.created_at, t.archived_at,
               (SELECT count(*) FROM team_members m
                 WHERE (m.organization_id, m.team_id) = (t.organization_id, t.id)) AS "members!"
          FROM teams t
         WHERE t.organization_id = $1
           AND ($2::uuid IS NULL OR t.id = $2)
           AND ($3::uuid IS NULL
                OR (t.archived_at IS NOT NULL, lower(t.name), t.id)
                   > (SELECT a.archived_at IS NOT NULL, lower(a.name), a.id
                        FROM teams a WHERE a.organization_id = $1 AND a.id = $3))
         ORDER BY t.archived_at IS NOT NULL, lower(t.name), t.id
         LIMIT $4
        "#,
        organization as OrganizationId,
        only as Option<TeamId>,
        span.after as Option<TeamId>,
        span.limit(),
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
    name: &TeamName,
) -> Result<(), TeamError> {
    sqlx::query!(
        "INSERT INTO teams (organization_id, id, name) VALUES ($1, $2, $3)",
        organization as OrganizationId,
        team as TeamId,
        name.0,
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

pub(super) async fn rename(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
    name: &TeamName,
) -> Result<(), TeamError> {
    sqlx::query!(
        "UPDATE teams SET name = $3 WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        team as TeamId,
        name.0,
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

pub(super) async fn set_archived(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
    archived: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE teams SET archived_at = CASE WHEN $3 THEN now() END
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        team as TeamId,
        archived,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn members(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
) -> Result<Vec<TeamMember>, sqlx::Error> {
    sqlx::query_as!(
        TeamMember,
        r#"
        SELECT p.id AS "id: PersonId", p.email
          FROM team_members m JOIN people p ON p.id = m.person_id
         WHERE m.organization_id = $1 AND m.team_id = $2
         ORDER BY p.email
         LIMIT $3
        "#,
        organization as OrganizationId,
        team as TeamId,
        MOST,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn candidates(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
) -> Result<Vec<TeamMember>, sqlx::Error> {
    sqlx::query_as!(
        TeamMember,
        r#"
        SELECT p.id AS "id: PersonId", p.email
          FROM memberships m JOIN people p ON p.id = m.person_id
         WHERE m.organization_id = $1
           AND NOT EXISTS (SELECT FROM team_members t
                            WHERE t.organization_id = $1 AND t.team_id = $2
                              AND t.person_id = m.person_id)
         ORDER BY p.email
         LIMIT $3
        "#,
        organization as OrganizationId,
        team as TeamId,
        MOST,
    )
    .fetch_all(conn)
    .await
}

/// Says whether the person was not in it before.
pub(super) async fn add(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
    person: PersonId,
) -> Result<bool, TeamError> {
    let added = sqlx::query!(
        "INSERT INTO team_members (organization_id, team_id, person_id) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        team as TeamId,
        person as PersonId,
    )
    .execute(conn)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => TeamError::NotAMember,
        _ => TeamError::Store(error),
    })?;
    Ok(added.rows_affected() > 0)
}

/// Says whether the person was in it.
pub(super) async fn remove(
    conn: &mut PgConnection,
    organization: OrganizationId,
    team: TeamId,
    person: PersonId,
) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM team_members
          WHERE organization_id = $1 AND team_id = $2 AND person_id = $3",
        organization as OrganizationId,
        team as TeamId,
        person as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected() > 0)
}

fn named(error: sqlx::Error) -> TeamError {
    match error.as_database_error() {
        Some(it) if it.constraint() == Some("teams_name") => TeamError::NameTaken,
        _ => TeamError::Store(error),
    }
}
