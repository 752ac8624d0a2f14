//! Every statement on tokens.

use shared::{
    ids::{ApiTokenId, OrganizationId, PersonId},
    keys::{KeyHash, NewKey},
};
use sqlx::PgConnection;

use super::{ApiToken, Found, Named, NewToken, TokenStatus, Whose};
use crate::{access::Role, organizations::Membership};

/// A list is never longer.
const MOST: i64 = 200;

/// Which token has that hash, in whichever organization.
pub(super) async fn by_hash(
    conn: &mut PgConnection,
    hash: &KeyHash,
) -> Result<Option<Named>, sqlx::Error> {
    sqlx::query_as!(
        Named,
        r#"SELECT organization_id AS "organization!: OrganizationId", id AS "token!: ApiTokenId"
             FROM app.token_by_hash($1)"#,
        &hash.0,
    )
    .fetch_optional(conn)
    .await
}

/// The token, if it opens anything at this moment: neither revoked nor expired, and its
/// person, where it has one, a member and not disabled.
pub(super) async fn open(
    conn: &mut PgConnection,
    named: Named,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT t.name, t.role AS "role: Role", t.expires_at,
               coalesce(t.last_used_at < now() - interval '1 minute', true) AS "is_stale!",
               o.slug, o.name AS organization_name, o.time_zone, o.requires_second_factor,
               o.archived_at IS NOT NULL AS "is_archived!",
               m.role AS "member_role?: Role", p.id AS "person?: PersonId", p.email AS "email?"
          FROM api_tokens t
          JOIN organizations o ON o.id = t.organization_id
          LEFT JOIN memberships m
                 ON (m.organization_id, m.person_id) = (t.organization_id, t.person_id)
          LEFT JOIN people p ON p.id = m.person_id AND p.disabled_at IS NULL
         WHERE t.organization_id = $1 AND t.id = $2
           AND t.revoked_at IS NULL AND t.expires_at > now()
           AND (t.person_id IS NULL OR p.id IS NOT NULL)
        "#,
        named.organization as OrganizationId,
        named.token as ApiTokenId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Found {
        membership: Membership {
            organization: named.organization,
            slug: row.slug,
            name: row.organization_name,
            role: row.member_role.unwrap_or(row.role),
            time_zone: row.time_zone,
            is_archived: row.is_archived,
            requires_second_factor: row.requires_second_factor,
        },
        name: row.name,
        role: row.role,
        person: row.person.zip(row.email),
        expires_at: row.expires_at,
        is_stale: row.is_stale,
    }))
}

/// Asks again whether it is time, for another request may have noted it just now.
pub(super) async fn note_use(conn: &mut PgConnection, named: Named) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE api_tokens SET last_used_at = now()
          WHERE organization_id = $1 AND id = $2
            AND coalesce(last_used_at < now() - interval '1 minute', true)",
        named.organization as OrganizationId,
        named.token as ApiTokenId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<ApiTokenId>,
    whose: &Whose,
) -> Result<Vec<ApiToken>, sqlx::Error> {
    let (everybodys, person, token) = match whose {
        Whose::Everybodys => (true, None, None),
        Whose::Persons(person) => (false, Some(*person), None),
        Whose::Only(token) => (false, None, Some(*token)),
        Whose::Nobodys => (false, None, None),
    };
    sqlx::query_as!(
        ApiToken,
        r#"
        SELECT t.id AS "id: ApiTokenId", t.name, t.hint, t.person_id AS "owner: PersonId",
               p.email AS "owner_email?", t.role AS "role: Role",
               CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'
                    WHEN t.expires_at <= now() THEN 'expired'
                    ELSE 'active' END AS "status!: TokenStatus",
               t.created_at, c.email AS created_by, t.expires_at, t.revoked_at, t.last_used_at
          FROM api_tokens t
          LEFT JOIN people p ON p.id = t.person_id
          JOIN people c ON c.id = t.created_by
         WHERE t.organization_id = $1
           AND ($2::uuid IS NULL OR t.id = $2)
           AND ($3 OR t.person_id = $4 OR t.id = $5)
         ORDER BY t.revoked_at IS NOT NULL, t.id DESC
         LIMIT $6
        "#,
        organization as OrganizationId,
        only as Option<ApiTokenId>,
        everybodys,
        person as Option<PersonId>,
        token as Option<ApiTokenId>,
        MOST,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    named: Named,
    creator: PersonId,
    owner: Option<PersonId>,
    new: &NewToken,
    secret: &NewKey,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO api_tokens
               (organization_id, id, name, person_id, role, hash, hint, created_by, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        named.organization as OrganizationId,
        named.token as ApiTokenId,
        new.name.0,
        owner as Option<PersonId>,
        new.role.name(),
        &secret.hash.0,
        secret.hint,
        creator as PersonId,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it was not revoked before.
pub(super) async fn revoke(conn: &mut PgConnection, named: Named) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query!(
        "UPDATE api_tokens SET revoked_at = now()
          WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL",
        named.organization as OrganizationId,
        named.token as ApiTokenId,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() > 0)
}
