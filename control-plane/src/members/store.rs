//! Every statement on who is a member.

use shared::ids::{OrganizationId, PersonId};
use sqlx::PgConnection;

use super::Member;
use crate::{access::Role, web::Span};

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    span: Span<PersonId>,
) -> Result<Vec<Member>, sqlx::Error> {
    rows(conn, organization, None, span).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<Option<Member>, sqlx::Error> {
    Ok(rows(conn, organization, Some(person), Span::page(None)).await?.pop())
}

pub(super) async fn emails_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
    roles: &[Role],
) -> Result<Vec<String>, sqlx::Error> {
    let roles: Vec<String> = roles.iter().map(|it| it.name().to_owned()).collect();
    sqlx::query_scalar!(
        "SELECT p.email FROM memberships m JOIN people p ON p.id = m.person_id
          WHERE m.organization_id = $1 AND m.role = ANY ($2)
            AND p.email_verified_at IS NOT NULL AND p.disabled_at IS NULL
          ORDER BY p.email
          LIMIT 200",
        organization as OrganizationId,
        &roles,
    )
    .fetch_all(conn)
    .await
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<PersonId>,
    span: Span<PersonId>,
) -> Result<Vec<Member>, sqlx::Error> {
    sqlx::query_as!(
        Member,
        r#"
        SELECT p.id AS "id: PersonId", p.email, m.role AS "role: Role",
               EXISTS (SELECT FROM second_factors f
                        WHERE f.person_id = p.id
                          AND f.confirmed_at IS NOT NULL) AS "has_second_factor!",
               m.created_at AS joined_at,
               (SELECT max(s.last_seen_at) FROM sessions s WHERE s.person_id = p.id)
                   AS last_seen_at,
               ARRAY(SELECT t.name FROM team_members x
                       JOIN teams t ON (t.organization_id, t.id) = (x.organization_id, x.team_id)
                      WHERE x.organization_id = m.organization_id AND x.person_id = p.id
                        AND t.archived_at IS NULL
                      ORDER BY lower(t.name)) AS "teams!"
          FROM memberships m JOIN people p ON p.id = m.person_id
         WHERE m.organization_id = $1
           AND ($2::uuid IS NULL OR m.person_id = $2)
           AND ($3::uuid IS NULL
                OR (p.email, p.id) > (SELECT a.email, a.id
                                        FROM memberships b JOIN people a ON a.id = b.person_id
                                       WHERE b.organization_id = $1 AND a.id = $3))
         ORDER BY p.email, p.id
         LIMIT $4
        "#,
        organization as OrganizationId,
        only as Option<PersonId>,
        span.after as Option<PersonId>,
        span.limit(),
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn role(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<Option<Role>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT role AS "role: Role" FROM memberships
            WHERE organization_id = $1 AND person_id = $2"#,
        organization as OrganizationId,
        person as PersonId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn set_role(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
    role: Role,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE memberships SET role = $3 WHERE organization_id = $1 AND person_id = $2",
        organization as OrganizationId,
        person as PersonId,
        role.name(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether they were not a member before; if they were, nothing changes.
pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
    role: Role,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "INSERT INTO memberships (organization_id, person_id, role) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id, person_id) DO NOTHING",
        organization as OrganizationId,
        person as PersonId,
        role.name(),
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Their tokens and places in teams go along, as the foreign keys say.
pub(super) async fn delete(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM memberships WHERE organization_id = $1 AND person_id = $2",
        organization as OrganizationId,
        person as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn count_keys(
    conn: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "keys!" FROM api_keys
            WHERE organization_id = $1 AND owner_id = $2 AND revoked_at IS NULL
              AND (expires_at IS NULL OR expires_at > now())"#,
        organization as OrganizationId,
        person as PersonId,
    )
    .fetch_one(conn)
    .await
}
