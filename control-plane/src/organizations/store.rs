//! Every statement on organizations and their members' places.

use shared::ids::{OrganizationId, PersonId, ProjectId};
use sqlx::PgConnection;

use super::{Membership, OrganizationName};
use crate::access::Role;

pub(super) async fn membership(
    conn: &mut PgConnection,
    slug: &str,
    person: PersonId,
) -> Result<Option<Membership>, sqlx::Error> {
    sqlx::query_as!(
        Membership,
        r#"
        SELECT o.id AS "organization: OrganizationId", o.slug, o.name, o.time_zone,
               m.role AS "role: Role", o.archived_at IS NOT NULL AS "is_archived!",
               o.requires_second_factor
          FROM organizations o
          JOIN memberships m ON m.organization_id = o.id
         WHERE o.slug = $1 AND m.person_id = $2
        "#,
        slug,
        person as PersonId,
    )
    .fetch_optional(conn)
    .await
}

/// Says whether the word was free.
pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    slug: &str,
    name: &OrganizationName,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $3)
         ON CONFLICT (slug) DO NOTHING",
        organization as OrganizationId,
        slug,
        name.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

pub(super) async fn insert_owner(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO memberships (organization_id, person_id, role) VALUES ($1, $2, 'owner')",
        organization as OrganizationId,
        person as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, $3)",
        organization as OrganizationId,
        project as ProjectId,
        name,
    )
    .execute(conn)
    .await?;
    Ok(())
}
