//! Every statement on the tables of policies.
//!
//! An owner is an organization, or the nil one for the platform.

use shared::{
    ids::{OrganizationId, PersonId, PolicyId},
    snapshot::{self, Document, Tier},
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use tracing::error;

use super::{Draft, Policy, PolicyError, PolicyName, Version};

struct Row {
    id: PolicyId,
    is_platforms: bool,
    name: String,
    version: i32,
    tiers: Json<Vec<Tier>>,
    changed_at: OffsetDateTime,
    archived_at: Option<OffsetDateTime>,
}

fn policy(row: Row) -> Policy {
    Policy {
        id: row.id,
        is_platforms: row.is_platforms,
        name: row.name,
        version: row.version,
        tiers: row.tiers.0,
        changed_at: row.changed_at,
        archived_at: row.archived_at,
    }
}

/// The owner's, then the platform's.
pub(super) async fn list(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<Vec<Policy>, sqlx::Error> {
    Ok(rows(conn, owner, None).await?.into_iter().map(policy).collect())
}

pub(super) async fn find(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<Option<Policy>, sqlx::Error> {
    Ok(rows(conn, owner, Some(id)).await?.into_iter().next().map(policy))
}

async fn rows(
    conn: &mut PgConnection,
    owner: OrganizationId,
    only: Option<PolicyId>,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT p.id AS "id: PolicyId", p.organization_id IS NULL AS "is_platforms!", p.name,
               p.version, v.tiers AS "tiers: Json<Vec<Tier>>", v.created_at AS changed_at,
               p.archived_at
          FROM policies p
          JOIN policy_versions v ON (v.owner, v.policy_id, v.version) = (p.owner, p.id, p.version)
         WHERE (p.owner = $1 OR p.organization_id IS NULL AND p.archived_at IS NULL)
           AND ($2::uuid IS NULL OR p.id = $2)
         ORDER BY p.archived_at IS NOT NULL, p.organization_id IS NULL, lower(p.name), p.id
         LIMIT 500
        "#,
        owner as OrganizationId,
        only as Option<PolicyId>,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn count(
    conn: &mut PgConnection,
    owner: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM policies WHERE owner = $1"#,
        owner as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// The live one of that name.
pub(super) async fn named(
    conn: &mut PgConnection,
    owner: OrganizationId,
    name: &PolicyName,
) -> Result<Option<PolicyId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: PolicyId" FROM policies
            WHERE owner = $1 AND name = $2 AND archived_at IS NULL"#,
        owner as OrganizationId,
        name.0,
    )
    .fetch_optional(conn)
    .await
}

/// Whoever else wants to change the policy waits.
pub(super) async fn lock(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM policies WHERE owner = $1 AND id = $2 FOR UPDATE",
        owner as OrganizationId,
        id as PolicyId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

pub(super) async fn versions(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<Vec<Version>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT v.version, v.name, v.tiers AS "tiers: Json<Vec<Tier>>", v.note, v.created_at,
               p.email AS "created_by?"
          FROM policy_versions v
          LEFT JOIN people p ON p.id = v.created_by
         WHERE (v.owner = $1 OR v.organization_id IS NULL) AND v.policy_id = $2
         ORDER BY v.version DESC
         LIMIT 200
        "#,
        owner as OrganizationId,
        id as PolicyId,
    )
    .fetch_all(conn)
    .await?;
    let version = rows.into_iter().map(|row| Version {
        version: row.version,
        name: row.name,
        tiers: row.tiers.0,
        note: row.note,
        created_by: row.created_by,
        created_at: row.created_at,
    });
    Ok(version.collect())
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    name: &PolicyName,
) -> Result<(), PolicyError> {
    sqlx::query!(
        "INSERT INTO policies (organization_id, id, name, version)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, 1)",
        owner as OrganizationId,
        id as PolicyId,
        name.0,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(super) async fn insert_version(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    version: i32,
    draft: &Draft,
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO policy_versions
                (organization_id, policy_id, version, name, tiers, note, created_by)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7)",
        owner as OrganizationId,
        id as PolicyId,
        version,
        draft.name.0,
        Json(&draft.tiers) as _,
        draft.note,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn update(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    name: &PolicyName,
    version: i32,
) -> Result<(), PolicyError> {
    sqlx::query!(
        "UPDATE policies SET name = $3, version = $4 WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as PolicyId,
        name.0,
        version,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

pub(super) async fn set_archived(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    archived: bool,
) -> Result<(), PolicyError> {
    sqlx::query!(
        "UPDATE policies SET archived_at = CASE WHEN $3 THEN now() END
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as PolicyId,
        archived,
    )
    .execute(conn)
    .await
    .map_err(taken)?;
    Ok(())
}

/// Whosever they are: for the snapshot. One that cannot be read is left out, for it must
/// not keep everybody's changes from being published.
pub(super) async fn published(
    conn: &mut PgConnection,
    only: Option<&[PolicyId]>,
) -> Result<Vec<snapshot::Policy>, sqlx::Error> {
    let only: Option<Vec<uuid::Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!: PolicyId", organization_id AS "organization: OrganizationId",
               name AS "name!", version AS "version!", tiers AS "tiers!"
          FROM app.snapshot_policies($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let read = rows.into_iter().filter_map(|row| {
        let tiers = serde_json::from_value(row.tiers).inspect_err(|cause| {
            error!(policy.id = %row.id, %cause, "left out {}", row.id);
        });
        Some(snapshot::Policy {
            id: row.id,
            organization: row.organization,
            name: row.name,
            version: u32::try_from(row.version).unwrap_or(0),
            document: Document::of_tiers(tiers.ok()?),
            staged: None,
        })
    });
    Ok(read.collect())
}

fn taken(error: sqlx::Error) -> PolicyError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("policies_name") => PolicyError::NameTaken,
        _ => PolicyError::Store(error),
    }
}
