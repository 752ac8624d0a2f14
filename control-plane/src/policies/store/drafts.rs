//! Statements on drafts of policies.

use shared::{
    ids::{OrganizationId, PersonId, PolicyId},
    snapshot::Document,
};
use sqlx::{PgConnection, types::Json};

use crate::policies::{Draft, SavedDraft};

pub(in crate::policies) async fn find(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<Option<SavedDraft>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT d.based_on, d.name, d.document AS "document: Json<Document>", d.note, d.saved_at,
               p.email AS "saved_by?"
          FROM policy_drafts d
          LEFT JOIN people p ON p.id = d.saved_by
         WHERE d.owner = $1 AND d.policy_id = $2
        "#,
        owner as OrganizationId,
        id as PolicyId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| SavedDraft {
        based_on: row.based_on,
        name: row.name,
        document: row.document.0,
        note: row.note,
        saved_by: row.saved_by,
        saved_at: row.saved_at,
    }))
}

pub(in crate::policies) async fn put(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
    based_on: i32,
    draft: &Draft,
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO policy_drafts
                (organization_id, policy_id, based_on, name, document, note, saved_by)
         VALUES (nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3, $4, $5, $6, $7)
         ON CONFLICT (owner, policy_id) DO UPDATE
            SET based_on = excluded.based_on, name = excluded.name,
                document = excluded.document, note = excluded.note,
                saved_by = excluded.saved_by, saved_at = now()",
        owner as OrganizationId,
        id as PolicyId,
        based_on,
        draft.name.0,
        Json(&draft.document) as _,
        draft.note,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether there was one.
pub(in crate::policies) async fn delete(
    conn: &mut PgConnection,
    owner: OrganizationId,
    id: PolicyId,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "DELETE FROM policy_drafts WHERE owner = $1 AND policy_id = $2",
        owner as OrganizationId,
        id as PolicyId,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected() > 0)
}
