//! Every statement on the tables of splits.

use std::collections::BTreeMap;

use shared::ids::{CostCenterId, OrganizationId, ProjectId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BasisPoints, Day, Plan, Share, Split, SplitError, Validity, published::Row};

/// More shares than a project's present and planned splits have together.
const MOST: i64 = 1_000;

/// The split in force on a day, where there is one, and those after it, in order.
pub(super) async fn from(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    on: Day,
) -> Result<Vec<Split>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT s.effective_from AS "effective_from: Day", o.time_zone,
               h.cost_center_id AS "cost_center?: CostCenterId",
               h.basis_points AS "basis_points?: BasisPoints",
               c.code AS "code?", c.name AS "name?", c.valid_from AS "valid_from?: Day",
               c.valid_until AS "valid_until?: Day", c.archived_at AS "archived_at?"
          FROM project_splits s
          JOIN organizations o ON o.id = s.organization_id
          LEFT JOIN project_split_shares h
                 ON (h.organization_id, h.project_id, h.effective_from)
                    = (s.organization_id, s.project_id, s.effective_from)
          LEFT JOIN cost_centers c
                 ON (c.organization_id, c.id) = (h.organization_id, h.cost_center_id)
         WHERE s.organization_id = $1 AND s.project_id = $2
           AND s.effective_from >= coalesce(
                   (SELECT max(present.effective_from) FROM project_splits present
                     WHERE present.organization_id = $1 AND present.project_id = $2
                       AND present.effective_from <= $3), $3)
         ORDER BY s.effective_from, c.code
         LIMIT $4
        "#,
        organization as OrganizationId,
        project as ProjectId,
        on as Day,
        MOST,
    )
    .fetch_all(conn)
    .await?;

    let mut splits: BTreeMap<Day, Vec<Share>> = BTreeMap::new();
    for row in rows {
        let shares = splits.entry(row.effective_from).or_default();
        let center = row.cost_center.zip(row.basis_points).zip(row.code.zip(row.name));
        let Some((center, valid_from)) = center.zip(row.valid_from) else { continue };
        let ((cost_center, basis_points), (code, name)) = center;
        let validity = Validity::new(valid_from, row.valid_until, row.archived_at, &row.time_zone);
        let receives = validity.receives_on(row.effective_from.max(on));
        shares.push(Share { cost_center, code, name, basis_points, receives });
    }
    Ok(splits.into_iter().map(|(day, shares)| Split::new(day, shares)).collect())
}

/// Whosever they are: for the snapshot.
pub(super) async fn published(
    conn: &mut PgConnection,
    projects: &[ProjectId],
) -> Result<Vec<Row>, sqlx::Error> {
    let projects: Vec<Uuid> = projects.iter().map(|it| it.uuid()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT project_id AS "project!: ProjectId", effective_from AS "effective_from!: Day",
               time_zone AS "zone!", cost_center_id AS "cost_center: CostCenterId",
               basis_points AS "basis_points: BasisPoints", valid_from AS "valid_from: Day",
               valid_until AS "valid_until: Day", archived_at
          FROM app.snapshot_splits($1)
        "#,
        &projects,
    )
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let share = row.cost_center.zip(row.basis_points).zip(row.valid_from);
        let share = share.map(|((center, points), from)| {
            (center, points, Validity::new(from, row.valid_until, row.archived_at, &row.zone))
        });
        Row { project: row.project, effective_from: row.effective_from, zone: row.zone, share }
    });
    Ok(rows.collect())
}

/// The shares, by code, of the split that begins on a day.
pub(super) async fn of_day(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    day: Day,
) -> Result<Option<BTreeMap<String, BasisPoints>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT c.code AS "code?", h.basis_points AS "basis_points?: BasisPoints"
          FROM project_splits s
          LEFT JOIN project_split_shares h
                 ON (h.organization_id, h.project_id, h.effective_from)
                    = (s.organization_id, s.project_id, s.effective_from)
          LEFT JOIN cost_centers c
                 ON (c.organization_id, c.id) = (h.organization_id, h.cost_center_id)
         WHERE s.organization_id = $1 AND s.project_id = $2 AND s.effective_from = $3
         LIMIT $4
        "#,
        organization as OrganizationId,
        project as ProjectId,
        day as Day,
        MOST,
    )
    .fetch_all(conn)
    .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(rows.into_iter().filter_map(|it| it.code.zip(it.basis_points)).collect()))
}

pub(super) struct Center {
    pub id: CostCenterId,
    pub code: String,
    pub validity: Validity,
}

/// When those of the cost centers that there are receive.
pub(super) async fn validities(
    conn: &mut PgConnection,
    organization: OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Center>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT c.id AS "id: CostCenterId", c.code, c.valid_from AS "valid_from: Day",
               c.valid_until AS "valid_until: Day", c.archived_at, o.time_zone
          FROM cost_centers c JOIN organizations o ON o.id = c.organization_id
         WHERE c.organization_id = $1 AND c.id = ANY($2)
         ORDER BY c.code
         LIMIT $3
        "#,
        organization as OrganizationId,
        ids,
        MOST,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| Center {
            id: it.id,
            code: it.code,
            validity: Validity::new(it.valid_from, it.valid_until, it.archived_at, &it.time_zone),
        })
        .collect())
}

pub(super) async fn replace(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    plan: &Plan,
) -> Result<(), SplitError> {
    delete(conn, organization, project, plan.effective_from).await.map_err(refused)?;
    sqlx::query!(
        "INSERT INTO project_splits (organization_id, project_id, effective_from)
         VALUES ($1, $2, $3)",
        organization as OrganizationId,
        project as ProjectId,
        plan.effective_from as Day,
    )
    .execute(&mut *conn)
    .await
    .map_err(refused)?;
    let centers: Vec<_> = plan.shares.keys().map(|it| it.uuid()).collect();
    let points: Vec<_> = plan.shares.values().map(|it| it.get()).collect();
    sqlx::query!(
        "INSERT INTO project_split_shares
                (organization_id, project_id, effective_from, cost_center_id, basis_points)
         SELECT $1, $2, $3, * FROM unnest($4::uuid[], $5::integer[])",
        organization as OrganizationId,
        project as ProjectId,
        plan.effective_from as Day,
        &centers,
        &points,
    )
    .execute(&mut *conn)
    .await?;
    // Now rather than at the commit, so that the refusal is still about this form.
    sqlx::query!("SET CONSTRAINTS split_at_most_the_whole IMMEDIATE")
        .execute(conn)
        .await
        .map_err(refused)?;
    Ok(())
}

pub(super) async fn delete(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    day: Day,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM project_splits
          WHERE organization_id = $1 AND project_id = $2 AND effective_from = $3",
        organization as OrganizationId,
        project as ProjectId,
        day as Day,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// TP002 is what the database says to shares of more than the whole, and TP015 to a split of days
/// that were invoiced.
fn refused(error: sqlx::Error) -> SplitError {
    match error.as_database_error().and_then(|it| it.code()) {
        Some(it) if it == "TP002" => SplitError::MoreThanTheWhole(None),
        Some(it) if it == "TP015" => SplitError::Closed,
        _ => SplitError::Store(error),
    }
}
