//! Every statement on invitations.

use shared::ids::{ApiTokenId, InvitationId, OrganizationId, PersonId};
use sqlx::PgConnection;

use super::{Invitation, accept::Offer};
use crate::access::Role;

pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    most: i64,
) -> Result<Vec<Invitation>, sqlx::Error> {
    rows(conn, organization, None, most).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: InvitationId,
) -> Result<Option<Invitation>, sqlx::Error> {
    Ok(rows(conn, organization, Some(id), 1).await?.pop())
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<InvitationId>,
    most: i64,
) -> Result<Vec<Invitation>, sqlx::Error> {
    sqlx::query_as!(
        Invitation,
        r#"
        SELECT i.id AS "id: InvitationId", i.email, i.role AS "role: Role",
               p.email AS invited_by, i.created_at, i.expires_at,
               i.expires_at <= now() AS "is_expired!", m.role AS "inviter?: Role"
          FROM invitations i
          JOIN people p ON p.id = i.invited_by
          LEFT JOIN memberships m
            ON (m.organization_id, m.person_id) = (i.organization_id, i.invited_by)
         WHERE i.organization_id = $1 AND i.accepted_at IS NULL AND i.revoked_at IS NULL
           AND ($2::uuid IS NULL OR i.id = $2)
         ORDER BY i.email
         LIMIT $3
        "#,
        organization as OrganizationId,
        only as Option<InvitationId>,
        most,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn count_open(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM invitations
            WHERE organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Those of the addresses by which somebody is a member.
pub(super) async fn members_among(
    conn: &mut PgConnection,
    organization: OrganizationId,
    emails: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT p.email FROM memberships m JOIN people p ON p.id = m.person_id
          WHERE m.organization_id = $1 AND p.email = ANY($2)
          ORDER BY p.email",
        organization as OrganizationId,
        emails,
    )
    .fetch_all(conn)
    .await
}

/// An open invitation that another is about to replace.
pub(super) struct Open {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
}

pub(super) async fn open_among(
    conn: &mut PgConnection,
    organization: OrganizationId,
    emails: &[String],
) -> Result<Vec<Open>, sqlx::Error> {
    sqlx::query_as!(
        Open,
        r#"
        SELECT id AS "id: InvitationId", email, role AS "role: Role" FROM invitations
         WHERE organization_id = $1 AND email = ANY($2)
           AND accepted_at IS NULL AND revoked_at IS NULL
         ORDER BY email
        "#,
        organization as OrganizationId,
        emails,
    )
    .fetch_all(conn)
    .await
}

pub(super) struct NewInvitation<'a> {
    pub id: InvitationId,
    pub email: &'a str,
    pub role: Role,
    pub hash: &'a [u8],
    pub inviter: PersonId,
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    row: NewInvitation<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO invitations
                (organization_id, id, email, role, token_hash, invited_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, now() + interval '7 days')",
        organization as OrganizationId,
        row.id as InvitationId,
        row.email,
        row.role.name(),
        row.hash,
        row.inviter as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn renew(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: InvitationId,
    hash: &[u8],
    inviter: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invitations
            SET token_hash = $3, invited_by = $4, created_at = now(),
                expires_at = now() + interval '7 days'
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        id as InvitationId,
        hash,
        inviter as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn revoke(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: InvitationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invitations SET revoked_at = now() WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        id as InvitationId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn maker_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
    token: ApiTokenId,
) -> Result<Option<PersonId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT created_by AS "maker: PersonId" FROM api_tokens
            WHERE organization_id = $1 AND id = $2"#,
        organization as OrganizationId,
        token as ApiTokenId,
    )
    .fetch_optional(conn)
    .await
}

/// Which organization's invitation a link is, whatever became of it.
pub(super) async fn organization_of(
    conn: &mut PgConnection,
    hash: &[u8],
) -> Result<Option<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT organization_id AS "organization!: OrganizationId"
             FROM app.invitation_by_token($1)"#,
        hash,
    )
    .fetch_optional(conn)
    .await
}

/// What the link offers, unless it was used, taken back, has expired, or its
/// organization is archived.
pub(super) async fn offer(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hash: &[u8],
) -> Result<Option<Offer>, sqlx::Error> {
    sqlx::query_as!(
        Offer,
        r#"
        SELECT i.id AS "id: InvitationId", i.organization_id AS "organization: OrganizationId",
               o.slug, o.name, i.email, i.role AS "role: Role", p.email AS inviter,
               m.role AS "inviter_role?: Role"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id
          JOIN people p ON p.id = i.invited_by
          LEFT JOIN memberships m
            ON (m.organization_id, m.person_id) = (i.organization_id, i.invited_by)
         WHERE i.organization_id = $1 AND i.token_hash = $2
           AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()
           AND o.archived_at IS NULL
        "#,
        organization as OrganizationId,
        hash,
    )
    .fetch_optional(conn)
    .await
}

/// Says whether it was there to be used: of several who try at once, one succeeds.
pub(super) async fn consume(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: InvitationId,
) -> Result<bool, sqlx::Error> {
    let consumed = sqlx::query!(
        "UPDATE invitations SET accepted_at = now()
          WHERE organization_id = $1 AND id = $2
            AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()",
        organization as OrganizationId,
        id as InvitationId,
    )
    .execute(conn)
    .await?;
    Ok(consumed.rows_affected() > 0)
}
