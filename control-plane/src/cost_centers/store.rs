//! Every statement on the table of cost centers.

use shared::ids::{CostCenterId, OrganizationId, PersonId};
use sqlx::PgConnection;

use super::{CostCenter, CostCenterError, Day, Draft};
use crate::web::Span;

/// More members than a form lets choose among; a list is never longer.
const MOST: i64 = 200;

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    on: Day,
    span: Span<CostCenterId>,
) -> Result<Vec<CostCenter>, sqlx::Error> {
    rows(conn, organization, on, None, span).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
    on: Day,
) -> Result<Option<CostCenter>, sqlx::Error> {
    Ok(rows(conn, organization, on, Some(center), Span::page(None)).await?.pop())
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    on: Day,
    only: Option<CostCenterId>,
    span: Span<CostCenterId>,
) -> Result<Vec<CostCenter>, sqlx::Error> {
    sqlx::query_as!(
        CostCenter,
        r#"
        SELECT c.id AS "id: CostCenterId", c.code, c.name, c.owner_id AS "owner?: PersonId",
               p.email AS "owner_email?", c.valid_from AS "valid_from: Day",
               c.valid_until AS "valid_until: Day", c.created_at, c.archived_at,
               (SELECT count(DISTINCT s.project_id) FROM project_split_shares s
                 WHERE (s.organization_id, s.cost_center_id) = (c.organization_id, c.id)
                   AND NOT EXISTS (
                       SELECT FROM project_splits later
                        WHERE (later.organization_id, later.project_id)
                              = (s.organization_id, s.project_id)
                          AND later.effective_from > s.effective_from
                          AND later.effective_from <= $2)) AS "projects!"
          FROM cost_centers c LEFT JOIN people p ON p.id = c.owner_id
         WHERE c.organization_id = $1
           AND ($3::uuid IS NULL OR c.id = $3)
           AND ($4::uuid IS NULL
                OR (c.archived_at IS NOT NULL, c.code)
                   > (SELECT a.archived_at IS NOT NULL, a.code
                        FROM cost_centers a WHERE a.organization_id = $1 AND a.id = $4))
         ORDER BY c.archived_at IS NOT NULL, c.code
         LIMIT $5
        "#,
        organization as OrganizationId,
        on as Day,
        only as Option<CostCenterId>,
        span.after as Option<CostCenterId>,
        span.limit(),
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn candidates(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<(PersonId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT p.id AS "id: PersonId", p.email
          FROM memberships m JOIN people p ON p.id = m.person_id
         WHERE m.organization_id = $1
         ORDER BY p.email
         LIMIT $2
        "#,
        organization as OrganizationId,
        MOST,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.email)).collect())
}

/// Writers of one cost center queue here.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM cost_centers WHERE organization_id = $1 AND id = $2 FOR UPDATE",
        organization as OrganizationId,
        center as CostCenterId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
    draft: &Draft,
) -> Result<(), CostCenterError> {
    sqlx::query!(
        "INSERT INTO cost_centers
                (organization_id, id, code, name, owner_id, valid_from, valid_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        organization as OrganizationId,
        center as CostCenterId,
        draft.code.0,
        draft.name.0,
        draft.owner as Option<PersonId>,
        draft.valid_from as Day,
        draft.valid_until as Option<Day>,
    )
    .execute(conn)
    .await
    .map_err(refused)?;
    Ok(())
}

pub(super) async fn update(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
    draft: &Draft,
) -> Result<(), CostCenterError> {
    sqlx::query!(
        "UPDATE cost_centers
            SET code = $3, name = $4, owner_id = $5, valid_from = $6, valid_until = $7
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        center as CostCenterId,
        draft.code.0,
        draft.name.0,
        draft.owner as Option<PersonId>,
        draft.valid_from as Day,
        draft.valid_until as Option<Day>,
    )
    .execute(conn)
    .await
    .map_err(refused)?;
    Ok(())
}

pub(super) async fn set_archived(
    conn: &mut PgConnection,
    organization: OrganizationId,
    center: CostCenterId,
    archived: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE cost_centers SET archived_at = CASE WHEN $3 THEN now() END
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        center as CostCenterId,
        archived,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn refused(error: sqlx::Error) -> CostCenterError {
    match error.as_database_error() {
        Some(it) if it.constraint() == Some("cost_centers_code") => CostCenterError::CodeTaken,
        Some(it) if it.is_foreign_key_violation() => CostCenterError::NotAMember,
        _ => CostCenterError::Store(error),
    }
}
