//! Every statement on the tables of budgets.

use std::collections::HashMap;

use shared::{
    counters::Amounts,
    ids::{BudgetId, OrganizationId, PersonId},
    money::{Money, Period, Zone},
    snapshot::{self, BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Budget, BudgetError, BudgetName, NewBudget, Raised, Terms, Version};
use crate::{access::Role, web::Span};

/// A budget as its row tells it.
pub(super) struct Row {
    pub id: BudgetId,
    pub name: String,
    pub scope: String,
    pub scope_id: Option<Uuid>,
    pub scope_name: String,
    pub period: String,
    pub time_zone: String,
    pub cap_money: Option<i64>,
    pub cap_requests: Option<i64>,
    pub cap_tokens: Option<i64>,
    pub raised_money: Option<i64>,
    pub raised_requests: Option<i64>,
    pub raised_tokens: Option<i64>,
    pub raised_until: Option<OffsetDateTime>,
    pub raised_reason: Option<String>,
    pub raised_by: Option<String>,
    pub is_hard: bool,
    pub thresholds: Vec<i16>,
    pub on_tight: String,
    pub allowance: Option<i64>,
    pub alert_roles: Vec<String>,
    pub version: i64,
    pub archived_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
}

fn caps(money: Option<i64>, requests: Option<i64>, tokens: Option<i64>) -> Caps {
    Caps { money: money.map(Money::from_nanos), requests, tokens }
}

pub(super) fn scope_of(kind: &str, id: Option<Uuid>) -> Option<BudgetScope> {
    use shared::ids::{ApiKeyId, CostCenterId, ProjectId, TeamId};
    match (kind, id) {
        ("organization", None) => Some(BudgetScope::Organization),
        ("team", Some(id)) => Some(BudgetScope::Team(TeamId::from_uuid(id))),
        ("project", Some(id)) => Some(BudgetScope::Project(ProjectId::from_uuid(id))),
        ("key", Some(id)) => Some(BudgetScope::Key(ApiKeyId::from_uuid(id))),
        ("cost_center", Some(id)) => Some(BudgetScope::CostCenter(CostCenterId::from_uuid(id))),
        _ => None,
    }
}

fn tight_of(word: &str) -> Option<OnTight> {
    match word {
        "deny" => Some(OnTight::Deny),
        "clamp" => Some(OnTight::Clamp),
        _ => None,
    }
}

const fn name_of(on_tight: OnTight) -> &'static str {
    match on_tight {
        OnTight::Deny => "deny",
        OnTight::Clamp => "clamp",
    }
}

fn loss_allowance(loss: OnRedisLoss) -> Option<i64> {
    match loss {
        OnRedisLoss::Closed => None,
        OnRedisLoss::Bounded { allowance } => Some(allowance.nanos()),
    }
}

impl Row {
    /// The budget of a row that only we write.
    pub fn read(self) -> Result<Budget, sqlx::Error> {
        let bad = |what: &'static str| sqlx::Error::Decode(what.into());
        let period = Period::ALL.into_iter().find(|it| it.name() == self.period);
        let thresholds: Vec<u16> =
            self.thresholds.iter().filter_map(|it| u16::try_from(*it).ok()).collect();
        let loss = |it| OnRedisLoss::Bounded { allowance: Money::from_nanos(it) };
        let raised = caps(self.raised_money, self.raised_requests, self.raised_tokens);
        let raise = self.raised_until.map(|until| Raised {
            caps: raised,
            until,
            reason: self.raised_reason.unwrap_or_default(),
            by: self.raised_by,
        });
        Ok(Budget {
            id: self.id,
            name: self.name,
            scope: scope_of(&self.scope, self.scope_id).ok_or_else(|| bad("an unknown scope"))?,
            scope_name: self.scope_name,
            period: period.ok_or_else(|| bad("an unknown period"))?,
            zone: self.time_zone.parse::<Zone>().map_err(|_| bad("an unknown zone"))?,
            terms: Terms {
                caps: caps(self.cap_money, self.cap_requests, self.cap_tokens),
                is_hard: self.is_hard,
                thresholds: Thresholds::try_from(thresholds).unwrap_or_default(),
                on_tight: tight_of(&self.on_tight).ok_or_else(|| bad("an unknown word"))?,
                on_redis_loss: self.allowance.map_or(OnRedisLoss::Closed, loss),
                alert_roles: self.alert_roles.iter().filter_map(|it| it.parse().ok()).collect(),
            },
            raise,
            version: self.version,
            created_at: self.created_at,
            archived_at: self.archived_at,
        })
    }
}

/// Which budgets are read.
#[derive(Clone, Copy, Default)]
struct Wanted {
    only: Option<BudgetId>,
    scope: Option<BudgetScope>,
    live: bool,
    after: Option<BudgetId>,
    limit: i64,
}

/// More than an organization has in force.
const ALL: i64 = 2_000;

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    span: Span<BudgetId>,
) -> Result<Vec<Budget>, sqlx::Error> {
    let wanted = Wanted { after: span.after, limit: span.limit(), ..Wanted::default() };
    rows(conn, organization, wanted).await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<Option<Budget>, sqlx::Error> {
    let wanted = Wanted { only: Some(budget), limit: 1, ..Wanted::default() };
    Ok(rows(conn, organization, wanted).await?.pop())
}

pub(super) async fn on(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
) -> Result<Vec<Budget>, sqlx::Error> {
    let wanted = Wanted { scope: Some(scope), live: true, limit: ALL, ..Wanted::default() };
    rows(conn, organization, wanted).await
}

pub(super) async fn in_force(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Budget>, sqlx::Error> {
    let wanted = Wanted { live: true, limit: ALL, ..Wanted::default() };
    rows(conn, organization, wanted).await
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    wanted: Wanted,
) -> Result<Vec<Budget>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT b.id AS "id: BudgetId", b.name, b.scope, b.scope_id,
               CASE b.scope
                    WHEN 'organization' THEN o.name
                    WHEN 'team' THEN (SELECT t.name FROM teams t
                        WHERE (t.organization_id, t.id) = (b.organization_id, b.scope_id))
                    WHEN 'project' THEN (SELECT p.name FROM projects p
                        WHERE (p.organization_id, p.id) = (b.organization_id, b.scope_id))
                    WHEN 'key' THEN (SELECT k.name FROM api_keys k
                        WHERE (k.organization_id, k.id) = (b.organization_id, b.scope_id))
                    ELSE (SELECT c.code FROM cost_centers c
                        WHERE (c.organization_id, c.id) = (b.organization_id, b.scope_id))
               END AS "scope_name!",
               b.period, b.time_zone, b.cap_money, b.cap_requests, b.cap_tokens, b.raised_money,
               b.raised_requests, b.raised_tokens, b.raised_until, b.raised_reason,
               w.email AS "raised_by?", b.is_hard, b.thresholds, b.on_tight, b.allowance,
               b.alert_roles, b.version, b.archived_at, b.created_at
          FROM budgets b
          JOIN organizations o ON o.id = b.organization_id
          LEFT JOIN people w ON w.id = b.raised_by
         WHERE b.organization_id = $1
           AND ($2::uuid IS NULL OR b.id = $2)
           AND ($3::text IS NULL OR b.scope = $3 AND b.scope_id IS NOT DISTINCT FROM $4::uuid)
           AND (NOT $5 OR b.archived_at IS NULL)
           AND ($6::uuid IS NULL
                OR (b.archived_at IS NOT NULL, lower(b.name), b.id)
                   > (SELECT a.archived_at IS NOT NULL, lower(a.name), a.id
                        FROM budgets a WHERE a.organization_id = $1 AND a.id = $6))
         ORDER BY b.archived_at IS NOT NULL, lower(b.name), b.id
         LIMIT $7
        "#,
        organization as OrganizationId,
        wanted.only as Option<BudgetId>,
        wanted.scope.map(BudgetScope::name),
        wanted.scope.and_then(BudgetScope::id),
        wanted.live,
        wanted.after as Option<BudgetId>,
        wanted.limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// How many are in force.
pub(super) async fn count(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM budgets
            WHERE organization_id = $1 AND archived_at IS NULL"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Keeps other writers away from it until the transaction ends.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT FROM budgets WHERE organization_id = $1 AND id = $2 FOR UPDATE",
        organization as OrganizationId,
        budget as BudgetId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// The budget that credits are.
pub(super) async fn prepaid(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<BudgetId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT budget_id AS "id: BudgetId" FROM prepaid_budgets WHERE organization_id = $1"#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn keep_prepaid(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO prepaid_budgets (organization_id, budget_id) VALUES ($1, $2)",
        organization as OrganizationId,
        budget as BudgetId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn forget_prepaid(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM prepaid_budgets WHERE organization_id = $1",
        organization as OrganizationId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What those of the budgets are called that the organization has, the archived ones too.
pub(super) async fn names_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budgets: &[Uuid],
) -> Result<HashMap<BudgetId, String>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id: BudgetId", name FROM budgets
         WHERE organization_id = $1 AND id = ANY($2)
        "#,
        organization as OrganizationId,
        budgets,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.name)).collect())
}

/// Whether the organization has such a thing.
pub(super) async fn exists(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT CASE $2
               WHEN 'organization' THEN true
               WHEN 'team' THEN EXISTS (SELECT FROM teams
                   WHERE organization_id = $1 AND id = $3)
               WHEN 'project' THEN EXISTS (SELECT FROM projects
                   WHERE organization_id = $1 AND id = $3)
               WHEN 'key' THEN EXISTS (SELECT FROM api_keys
                   WHERE organization_id = $1 AND id = $3)
               ELSE EXISTS (SELECT FROM cost_centers
                   WHERE organization_id = $1 AND id = $3)
               END AS "exists!"
        "#,
        organization as OrganizationId,
        scope.name(),
        scope.id(),
    )
    .fetch_one(conn)
    .await
}

/// What a budget can be on beside the organization, with its name: of each kind the first
/// two hundred that are in use.
pub(super) async fn scopes(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<(BudgetScope, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        (SELECT 'team' AS "kind!", id AS "id!", name AS "name!" FROM teams
          WHERE organization_id = $1 AND archived_at IS NULL ORDER BY lower(name) LIMIT 200)
        UNION ALL
        (SELECT 'project', id, name FROM projects
          WHERE organization_id = $1 AND archived_at IS NULL ORDER BY lower(name) LIMIT 200)
        UNION ALL
        (SELECT 'key', id, name FROM api_keys
          WHERE organization_id = $1 AND revoked_at IS NULL ORDER BY lower(name) LIMIT 200)
        UNION ALL
        (SELECT 'cost_center', id, code || ' ' || name FROM cost_centers
          WHERE organization_id = $1 AND archived_at IS NULL ORDER BY code LIMIT 200)
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await?;
    let scope = |kind: &str, id| scope_of(kind, Some(id));
    Ok(rows.into_iter().filter_map(|it| Some((scope(&it.kind, it.id)?, it.name))).collect())
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
    new: &NewBudget,
) -> Result<(), BudgetError> {
    let Terms { caps, is_hard, thresholds, on_tight, on_redis_loss, alert_roles } = &new.terms;
    sqlx::query!(
        "INSERT INTO budgets (organization_id, id, name, scope, scope_id, period, time_zone,
                              cap_money, cap_requests, cap_tokens, is_hard, thresholds, on_tight,
                              allowance, alert_roles)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        organization as OrganizationId,
        budget as BudgetId,
        new.name.as_str(),
        new.scope.name(),
        new.scope.id(),
        new.period.name(),
        new.zone.as_str(),
        caps.money as Option<Money>,
        caps.requests,
        caps.tokens,
        *is_hard,
        &small(thresholds),
        name_of(*on_tight),
        loss_allowance(*on_redis_loss),
        &names(alert_roles),
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

fn small(thresholds: &Thresholds) -> Vec<i16> {
    thresholds.percents().iter().filter_map(|it| i16::try_from(*it).ok()).collect()
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|it| it.name().to_owned()).collect()
}

pub(super) async fn update(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
    name: &BudgetName,
    terms: &Terms,
    keeps_raise: bool,
) -> Result<(), BudgetError> {
    let Terms { caps, is_hard, thresholds, on_tight, on_redis_loss, alert_roles } = terms;
    sqlx::query!(
        "UPDATE budgets
            SET name = $3, cap_money = $4, cap_requests = $5, cap_tokens = $6, is_hard = $7,
                thresholds = $8, on_tight = $9, allowance = $10, alert_roles = $11,
                raised_money = CASE WHEN $12 THEN raised_money END,
                raised_requests = CASE WHEN $12 THEN raised_requests END,
                raised_tokens = CASE WHEN $12 THEN raised_tokens END,
                raised_until = CASE WHEN $12 THEN raised_until END,
                raised_reason = CASE WHEN $12 THEN raised_reason END,
                raised_by = CASE WHEN $12 THEN raised_by END,
                version = version + 1
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        budget as BudgetId,
        name.as_str(),
        caps.money as Option<Money>,
        caps.requests,
        caps.tokens,
        *is_hard,
        &small(thresholds),
        name_of(*on_tight),
        loss_allowance(*on_redis_loss),
        &names(alert_roles),
        keeps_raise,
    )
    .execute(conn)
    .await
    .map_err(named)?;
    Ok(())
}

pub(super) async fn set_raise(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
    raise: Option<(&Raised, Option<PersonId>)>,
) -> Result<(), sqlx::Error> {
    let raised = raise.map(|it| it.0);
    let caps = raised.map(|it| it.caps).unwrap_or_default();
    sqlx::query!(
        "UPDATE budgets
            SET raised_money = $3, raised_requests = $4, raised_tokens = $5, raised_until = $6,
                raised_reason = $7, raised_by = $8, version = version + 1
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        budget as BudgetId,
        caps.money as Option<Money>,
        caps.requests,
        caps.tokens,
        raised.map(|it| it.until),
        raised.map(|it| it.reason.as_str()),
        raise.and_then(|it| it.1) as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn archive(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE budgets SET archived_at = now(), version = version + 1
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        budget as BudgetId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether the last try was a minute ago or more.
pub(super) async fn note_try(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "UPDATE budgets SET tested_at = now()
          WHERE organization_id = $1 AND id = $2
            AND (tested_at IS NULL OR tested_at < now() - interval '1 minute')",
        organization as OrganizationId,
        budget as BudgetId,
    )
    .execute(conn)
    .await?;
    Ok(noted.rows_affected() > 0)
}

pub(super) async fn versions(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
) -> Result<Vec<Version>, sqlx::Error> {
    sqlx::query_as!(
        Version,
        r#"
        SELECT v.version, v.change, v.terms, v.note, p.email AS "created_by?", v.created_at
          FROM budget_versions v
          LEFT JOIN people p ON p.id = v.created_by
         WHERE v.organization_id = $1 AND v.budget_id = $2
         ORDER BY v.version DESC
         LIMIT 100
        "#,
        organization as OrganizationId,
        budget as BudgetId,
    )
    .fetch_all(conn)
    .await
}

/// What was done, what came of it, and why.
pub(super) async fn add_version(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: BudgetId,
    version: i64,
    (change, terms, why): (&str, &serde_json::Value, &str),
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO budget_versions
                (organization_id, budget_id, version, change, terms, note, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        organization as OrganizationId,
        budget as BudgetId,
        version,
        change,
        terms,
        why,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A budget and whose it is.
pub(super) struct Owned {
    pub organization: OrganizationId,
    pub row: Row,
}

/// Whosever they are: for the snapshot. The names of scopes are not asked for.
pub(super) async fn published(
    conn: &mut PgConnection,
    only: Option<&[BudgetId]>,
) -> Result<Vec<Owned>, sqlx::Error> {
    let only: Option<Vec<Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    let rows = sqlx::query!(
        r#"
        SELECT organization_id AS "organization!: OrganizationId", id AS "id!: BudgetId",
               name AS "name!", scope AS "scope!", scope_id, period AS "period!",
               time_zone AS "time_zone!", cap_money, cap_requests, cap_tokens, raised_money,
               raised_requests, raised_tokens, raised_until, is_hard AS "is_hard!",
               thresholds AS "thresholds!", on_tight AS "on_tight!", allowance,
               alert_roles AS "alert_roles!", version AS "version!", created_at AS "created_at!"
          FROM app.snapshot_budgets($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let owned = rows.into_iter().map(|row| Owned {
        organization: row.organization,
        row: Row {
            id: row.id,
            name: row.name,
            scope: row.scope,
            scope_id: row.scope_id,
            scope_name: String::new(),
            period: row.period,
            time_zone: row.time_zone,
            cap_money: row.cap_money,
            cap_requests: row.cap_requests,
            cap_tokens: row.cap_tokens,
            raised_money: row.raised_money,
            raised_requests: row.raised_requests,
            raised_tokens: row.raised_tokens,
            raised_until: row.raised_until,
            raised_reason: None,
            raised_by: None,
            is_hard: row.is_hard,
            thresholds: row.thresholds,
            on_tight: row.on_tight,
            allowance: row.allowance,
            alert_roles: row.alert_roles,
            version: row.version,
            archived_at: None,
            created_at: row.created_at,
        },
    });
    Ok(owned.collect())
}

fn named(error: sqlx::Error) -> BudgetError {
    match error.as_database_error() {
        Some(it) if it.constraint() == Some("budgets_name") => BudgetError::NameTaken,
        _ => BudgetError::Store(error),
    }
}

/// What budgets were opened with that were, whosever they are: in which window, and how much.
pub(super) async fn openings(
    conn: &mut PgConnection,
    budgets: &[BudgetId],
) -> Result<HashMap<BudgetId, (i64, Amounts)>, sqlx::Error> {
    if budgets.is_empty() {
        return Ok(HashMap::new());
    }
    let budgets: Vec<_> = budgets.iter().map(|it| it.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT budget AS "budget!: BudgetId", "window" AS "window!", money AS "money!",
                  requests AS "requests!", tokens AS "tokens!" FROM app.openings_of($1)"#,
        &budgets,
    )
    .fetch_all(conn)
    .await?;
    let each = rows.into_iter().map(|it| {
        let amounts = Amounts { money: it.money, requests: it.requests, tokens: it.tokens };
        (it.budget, (it.window, amounts))
    });
    Ok(each.collect())
}

/// Keeps what a budget was opened with; answers what is kept.
pub(super) async fn keep_opening(
    conn: &mut PgConnection,
    budget: &snapshot::Budget,
    window: i64,
    spent: Amounts,
) -> Result<(i64, Amounts), sqlx::Error> {
    let Amounts { money, requests, tokens } = spent;
    let added = sqlx::query!(
        r#"INSERT INTO budget_openings
                  (organization_id, budget_id, "window", money, requests, tokens)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"#,
        budget.organization as OrganizationId,
        budget.id as BudgetId,
        window,
        money,
        requests,
        tokens,
    )
    .execute(&mut *conn)
    .await?;
    if added.rows_affected() > 0 {
        return Ok((window, spent));
    }
    let kept = openings(conn, &[budget.id]).await?;
    Ok(kept.get(&budget.id).copied().unwrap_or((window, spent)))
}

/// Summing up may take longer than a page may.
pub(super) async fn take_time(
    conn: &mut PgConnection,
    patience: std::time::Duration,
) -> Result<(), sqlx::Error> {
    let patience = format!("{}ms", patience.as_millis());
    sqlx::query!("SELECT set_config('statement_timeout', $1, true) AS timeout", patience)
        .fetch_one(conn)
        .await?;
    Ok(())
}
