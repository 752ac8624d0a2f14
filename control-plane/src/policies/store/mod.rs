//! Every statement on the tables of policies.
//!
//! An owner is an organization, or the nil one for the platform.

pub(super) mod drafts;

use shared::{
    ids::{OrganizationId, PersonId, PolicyId},
    snapshot::{self, Document, Staged, StagedBy},
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use tracing::error;

use super::{Draft, Policy, PolicyError, PolicyName, Stage, Version};

struct Row {
    id: PolicyId,
    is_platforms: bool,
    name: String,
    version: i32,
    document: Json<Document>,
    staged_version: Option<i32>,
    staged_percent: Option<i16>,
    staged_by: Option<String>,
    staged_document: Option<Json<Document>>,
    changed_at: OffsetDateTime,
    archived_at: Option<OffsetDateTime>,
}

fn policy(row: Row) -> Policy {
    let stage = stage_of(row.staged_version, row.staged_percent, row.staged_by);
    let staged = stage.zip(row.staged_document).map(|((version, percent, by), document)| Stage {
        version,
        percent,
        by,
        document: document.0,
    });
    Policy {
        id: row.id,
        is_platforms: row.is_platforms,
        name: row.name,
        version: row.version,
        tiers: row.document.0.otherwise.tiers.clone(),
        document: row.document.0,
        staged,
        changed_at: row.changed_at,
        archived_at: row.archived_at,
    }
}

/// Of columns that are all there or all empty.
fn stage_of(
    version: Option<i32>,
    percent: Option<i16>,
    by: Option<String>,
) -> Option<(i32, u8, StagedBy)> {
    let by = BY.into_iter().find(|it| Some(it.1) == by.as_deref());
    Some((version?, u8::try_from(percent?).ok()?, by?.0))
}

/// With the words that the database has for them.
const BY: [(StagedBy, &str); 2] = [(StagedBy::Calls, "calls"), (StagedBy::Keys, "keys")];

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
               p.version, v.document AS "document: Json<Document>", p.staged_version,
               p.staged_percent, p.staged_by, s.document AS "staged_document?: Json<Document>",
               v.created_at AS changed_at, p.archived_at
          FROM policies p
          JOIN policy_versions v ON (v.owner, v.policy_id, v.version) = (p.owner, p.id, p.version)
          LEFT JOIN policy_versions s
                 ON (s.owner, s.policy_id, s.version) = (p.owner, p.id, p.staged_version)
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
        SELECT v.version, v.name, v.document AS "document: Json<Document>", v.note, v.created_at,
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
        tiers: row.document.0.otherwise.tiers.clone(),
        document: row.document.0,
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
                (organization_id, policy_id, version, name, document, note, created_by)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7)",
        owner as OrganizationId,
        id as PolicyId,
        version,
        draft.name.0,
        Json(&draft.document) as _,
        draft.note,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The number of its newest version, whether that is in force or not.
pub(super) async fn latest(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(max(version), 0) AS "version!" FROM policy_versions
            WHERE owner = $1 AND policy_id = $2"#,
        owner as OrganizationId,
        id as PolicyId,
    )
    .fetch_one(conn)
    .await
}

/// Has some calls follow a version, or none.
pub(super) async fn stage(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    stage: Option<(i32, u8, StagedBy)>,
) -> Result<(), sqlx::Error> {
    let by = stage.and_then(|stage| BY.into_iter().find(|it| it.0 == stage.2));
    sqlx::query!(
        "UPDATE policies SET staged_version = $3, staged_percent = $4, staged_by = $5
          WHERE owner = $1 AND id = $2",
        owner as OrganizationId,
        id as PolicyId,
        stage.map(|it| it.0),
        stage.map(|it| i16::from(it.1)),
        by.map(|it| it.1),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Has all calls follow a version.
pub(super) async fn update(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    name: &PolicyName,
    version: i32,
) -> Result<(), PolicyError> {
    sqlx::query!(
        "UPDATE policies SET name = $3, version = $4, staged_version = NULL,
                staged_percent = NULL, staged_by = NULL
          WHERE owner = $1 AND id = $2",
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

/// The organizations that a policy of the platform's leads and that have keys which list models.
pub(super) async fn organizations_led(
    conn: &mut PgConnection,
    policy: &str,
    most: usize,
) -> Result<Vec<(OrganizationId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!: OrganizationId", name AS "name!"
             FROM app.organizations_led_by($1, $2)"#,
        policy,
        i32::try_from(most).unwrap_or(i32::MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.name)).collect())
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
               name AS "name!", version AS "version!", document AS "document!",
               staged_version, staged_document, staged_percent, staged_by
          FROM app.snapshot_policies($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let read = rows.into_iter().filter_map(|row| {
        let document = |value| {
            serde_json::from_value::<Document>(value).inspect_err(|cause| {
                error!(policy.id = %row.id, %cause, "left out {}", row.id);
            })
        };
        let stage = stage_of(row.staged_version, row.staged_percent, row.staged_by);
        let staged = stage.zip(row.staged_document).and_then(|((version, percent, by), it)| {
            let version = u32::try_from(version).ok()?;
            Some(Staged { version, document: document(it).ok()?, percent, by })
        });
        Some(snapshot::Policy {
            id: row.id,
            organization: row.organization,
            name: row.name,
            version: u32::try_from(row.version).unwrap_or(0),
            document: document(row.document).ok()?,
            staged,
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
