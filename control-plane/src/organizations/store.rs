//! Every statement on organizations and their members' places.

use shared::{
    ids::{OrganizationId, PersonId},
    money::Zone,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{
    Membership, Organization, OrganizationName, Place,
    setup::{Figures, Progress},
};
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

pub(super) async fn places(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<Vec<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        r#"
        SELECT o.slug, o.name, m.role AS "role: Role",
               o.archived_at IS NOT NULL AS "is_archived!"
          FROM organizations o
          JOIN memberships m ON m.organization_id = o.id
         WHERE m.person_id = $1
         ORDER BY o.archived_at IS NOT NULL, lower(o.name), o.slug
         LIMIT 200
        "#,
        person as PersonId,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn count_owned(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "owned!" FROM memberships
            WHERE person_id = $1 AND role = 'owner'"#,
        person as PersonId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Organization, sqlx::Error> {
    sqlx::query_as!(
        Organization,
        r#"
        SELECT id AS "id: OrganizationId", slug, name, time_zone, requires_second_factor,
               created_at, archived_at
          FROM organizations
         WHERE id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn hold(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"SELECT id FROM organizations WHERE id = $1 FOR UPDATE"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

pub(super) async fn rename(
    conn: &mut PgConnection,
    organization: OrganizationId,
    name: &OrganizationName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE organizations SET name = $2 WHERE id = $1",
        organization as OrganizationId,
        name.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_zone(
    conn: &mut PgConnection,
    organization: OrganizationId,
    zone: &Zone,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE organizations SET time_zone = $2 WHERE id = $1",
        organization as OrganizationId,
        zone.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn require_second_factor(
    conn: &mut PgConnection,
    organization: OrganizationId,
    required: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE organizations SET requires_second_factor = $2 WHERE id = $1",
        organization as OrganizationId,
        required,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_archived(
    conn: &mut PgConnection,
    organization: OrganizationId,
    archived: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE organizations SET archived_at = CASE WHEN $2 THEN now() END WHERE id = $1",
        organization as OrganizationId,
        archived,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it was not put away before.
pub(super) async fn dismiss_setup(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<bool, sqlx::Error> {
    let dismissed = sqlx::query!(
        "UPDATE organizations SET setup_dismissed_at = now()
          WHERE id = $1 AND setup_dismissed_at IS NULL",
        organization as OrganizationId,
    )
    .execute(conn)
    .await?;
    Ok(dismissed.rows_affected() > 0)
}

pub(super) async fn progress(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Progress, sqlx::Error> {
    sqlx::query_as!(
        Progress,
        r#"
        SELECT setup_dismissed_at IS NOT NULL AS "is_dismissed!",
               EXISTS (SELECT FROM api_keys k
                        WHERE k.organization_id = o.id AND k.revoked_at IS NULL
                          AND (k.expires_at IS NULL OR k.expires_at > now())) AS "has_key!",
               EXISTS (SELECT FROM api_keys k
                        WHERE k.organization_id = o.id
                          AND k.last_used_at IS NOT NULL) AS "has_call!",
               (SELECT count(*) FROM memberships m WHERE m.organization_id = o.id) > 1
               OR EXISTS (SELECT FROM invitations i
                           WHERE i.organization_id = o.id
                             AND i.revoked_at IS NULL) AS "has_colleague!",
               EXISTS (SELECT FROM cost_centers c
                        WHERE c.organization_id = o.id
                          AND c.archived_at IS NULL) AS "has_cost_center!"
          FROM organizations o
         WHERE o.id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Counts what other rooms hold: in one statement, for it is on the first page.
pub(super) async fn figures(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Figures, sqlx::Error> {
    sqlx::query_as!(
        Figures,
        r#"
        SELECT (SELECT count(*) FROM api_keys
                 WHERE organization_id = $1 AND revoked_at IS NULL
                   AND (expires_at IS NULL OR expires_at > now())) AS "live_keys!",
               (SELECT count(*) FROM projects
                 WHERE organization_id = $1 AND archived_at IS NULL) AS "projects!",
               (SELECT count(*) FROM memberships WHERE organization_id = $1) AS "members!",
               (SELECT count(*) FROM teams
                 WHERE organization_id = $1 AND archived_at IS NULL) AS "teams!",
               (SELECT count(*) FROM cost_centers
                 WHERE organization_id = $1 AND archived_at IS NULL) AS "cost_centers!"
        "#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// What the audit log says last.
pub(super) struct Latest {
    pub at: OffsetDateTime,
    pub actor: String,
    pub action: String,
    pub target: String,
}

pub(super) async fn latest(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Latest>, sqlx::Error> {
    sqlx::query_as!(
        Latest,
        r#"
        SELECT at, coalesce(body::jsonb ->> 'actor_name', '') AS "actor!", action,
               coalesce(body::jsonb ->> 'target_name', '') AS "target!"
          FROM audit_entries
         WHERE organization_id = $1
         ORDER BY seq DESC
         LIMIT 6
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}
