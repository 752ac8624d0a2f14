//! Every statement on the tables of keys.

use std::collections::BTreeMap;

use ipnet::IpNet;
use shared::{
    ids::{ApiKeyId, OrganizationId, PersonId, ProjectId},
    snapshot::Scope,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

use super::{
    ApiKey, Filter, KeyName, Mode, NewApiKey, ProjectChoice, Restricted, Status, Suspension, Terms,
    Which,
};
use crate::web::Span;

/// More projects than anybody chooses among.
const MOST_PROJECTS: i64 = 200;

/// A key as its row tells it.
struct Row {
    id: ApiKeyId,
    mode: Mode,
    hint: String,
    project: ProjectId,
    project_name: String,
    owner: Option<PersonId>,
    owner_email: Option<String>,
    name: String,
    scopes: Vec<String>,
    allowed_models: Option<Vec<String>>,
    allowed_addresses: Vec<IpNet>,
    tags: Json<BTreeMap<String, String>>,
    requests_per_minute: Option<i32>,
    tokens_per_minute: Option<i64>,
    concurrent_requests: Option<i32>,
    expires_at: Option<OffsetDateTime>,
    status: Status,
    suspended_because: Option<Suspension>,
    created_at: OffsetDateTime,
    created_by: Option<String>,
    last_used_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
    revoked_by: Option<String>,
}

/// The key of a row that only we write.
fn key(row: Row) -> Result<ApiKey, sqlx::Error> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let scopes: Result<Vec<Scope>, _> = row.scopes.iter().map(|it| it.parse()).collect();
    Ok(ApiKey {
        id: row.id,
        mode: row.mode,
        hint: row.hint,
        project: row.project,
        project_name: row.project_name,
        owner: row.owner,
        owner_email: row.owner_email,
        terms: Terms {
            name: KeyName::kept(row.name),
            scopes: scopes.map_err(|error| unreadable(Box::new(error)))?,
            allowed_models: row.allowed_models,
            allowed_addresses: row.allowed_addresses,
            tags: row.tags.0,
            requests_per_minute: row.requests_per_minute,
            tokens_per_minute: row.tokens_per_minute,
            concurrent_requests: row.concurrent_requests,
            expires_at: row.expires_at,
        },
        status: row.status,
        suspended_because: row.suspended_because,
        created_at: row.created_at,
        created_by: row.created_by,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
        revoked_by: row.revoked_by,
    })
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, sqlx::Error> {
    let all = Filter { which: Which::All, project: None, span: Span::page(None) };
    let rows = rows(conn, organization, Some(id), &all).await?;
    rows.into_iter().next().map(key).transpose()
}

/// One more than asked for, where there are more.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    filter: &Filter,
) -> Result<Vec<ApiKey>, sqlx::Error> {
    rows(conn, organization, None, filter).await?.into_iter().map(key).collect()
}

async fn rows(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<ApiKeyId>,
    filter: &Filter,
) -> Result<Vec<Row>, sqlx::Error> {
    let (with_revoked, status) = match filter.which {
        Which::Current => (false, None),
        Which::All => (true, None),
        Which::Only(status) => (true, Some(status.name())),
    };
    sqlx::query_as!(
        Row,
        r#"
        SELECT k.id AS "id: ApiKeyId", k.brand AS "mode: Mode", coalesce(h.hint, '') AS "hint!",
               k.project_id AS "project: ProjectId", p.name AS project_name,
               k.owner_id AS "owner: PersonId", o.email AS "owner_email?",
               k.name, k.scopes, k.allowed_models,
               k.allowed_addresses AS "allowed_addresses: Vec<IpNet>",
               k.tags AS "tags: Json<BTreeMap<String, String>>",
               k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests, k.expires_at,
               t.status AS "status!: Status", s.reason AS "suspended_because: Suspension",
               k.created_at, c.email AS "created_by?", k.last_used_at,
               k.revoked_at, r.email AS "revoked_by?"
          FROM api_keys k
          JOIN organizations g ON g.id = k.organization_id
          JOIN projects p ON (p.organization_id, p.id) = (k.organization_id, k.project_id)
          LEFT JOIN memberships m
                 ON (m.organization_id, m.person_id) = (k.organization_id, k.owner_id)
          LEFT JOIN people o ON o.id = k.owner_id
          LEFT JOIN people c ON c.id = k.created_by
          LEFT JOIN people r ON r.id = k.revoked_by
          LEFT JOIN LATERAL (
               SELECT x.hint FROM api_key_secrets x
                WHERE (x.organization_id, x.key_id) = (k.organization_id, k.id)
                ORDER BY x.valid_until DESC NULLS FIRST LIMIT 1) h ON true
         CROSS JOIN LATERAL (
               SELECT CASE
                   WHEN g.archived_at IS NOT NULL THEN 'organization_archived'
                   WHEN p.archived_at IS NOT NULL THEN 'project_archived'
                   WHEN k.owner_id IS NULL THEN NULL
                   WHEN m.role IS NULL THEN 'owner_left'
                   WHEN o.disabled_at IS NOT NULL THEN 'owner_disabled'
                   WHEN m.role NOT IN ('owner', 'admin', 'developer') THEN 'owner_role'
               END AS reason) s
         CROSS JOIN LATERAL (
               SELECT CASE
                   WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                   WHEN k.expires_at <= now() THEN 'expired'
                   WHEN s.reason IS NOT NULL THEN 'suspended'
                   WHEN k.expires_at <= now() + interval '7 days' THEN 'expiring'
                   ELSE 'active'
               END AS status) t
         WHERE k.organization_id = $1
           AND ($2::uuid IS NULL OR k.id = $2)
           AND ($3 OR k.revoked_at IS NULL)
           AND ($4::text IS NULL OR t.status = $4)
           AND ($5::uuid IS NULL OR k.project_id = $5)
           AND ($6::uuid IS NULL OR k.id < $6)
         ORDER BY k.id DESC
         LIMIT $7
        "#,
        organization as OrganizationId,
        only as Option<ApiKeyId>,
        with_revoked,
        status,
        filter.project as Option<ProjectId>,
        filter.span.after as Option<ApiKeyId>,
        filter.span.limit(),
    )
    .fetch_all(conn)
    .await
}

/// Whoever else wants to change the key waits.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT id FROM api_keys WHERE organization_id = $1 AND id = $2 FOR UPDATE",
        organization as OrganizationId,
        key as ApiKeyId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

pub(super) async fn count_live(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM api_keys
            WHERE organization_id = $1 AND revoked_at IS NULL
              AND (expires_at IS NULL OR expires_at > now())"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn projects(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<ProjectChoice>, sqlx::Error> {
    sqlx::query_as!(
        ProjectChoice,
        r#"SELECT id AS "id: ProjectId", name FROM projects
            WHERE organization_id = $1 AND archived_at IS NULL
            ORDER BY lower(name)
            LIMIT $2"#,
        organization as OrganizationId,
        MOST_PROJECTS,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn first_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<ProjectId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: ProjectId" FROM projects
            WHERE organization_id = $1 AND archived_at IS NULL
            ORDER BY created_at, id
            LIMIT 1"#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// Whether the project is archived, if it is there. It stays so until the transaction ends.
pub(super) async fn lock_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT archived_at IS NOT NULL AS "is_archived!" FROM projects
            WHERE organization_id = $1 AND id = $2
              FOR SHARE"#,
        organization as OrganizationId,
        project as ProjectId,
    )
    .fetch_optional(conn)
    .await
}

fn scope_names(terms: &Terms) -> Vec<String> {
    terms.scopes.iter().map(|it| it.name().to_owned()).collect()
}

/// As texts, for an array of networks has no type of its own on the way in.
fn networks(terms: &Terms) -> Vec<String> {
    terms.allowed_addresses.iter().map(ToString::to_string).collect()
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
    project: ProjectId,
    creator: Option<PersonId>,
    new: &NewApiKey,
) -> Result<(), sqlx::Error> {
    let terms = &new.terms;
    sqlx::query!(
        r#"
        INSERT INTO api_keys
               (organization_id, id, project_id, name, brand, owner_id, created_by, scopes,
                allowed_models, allowed_addresses, tags, requests_per_minute,
                tokens_per_minute, concurrent_requests, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[]::cidr[], $11, $12, $13, $14, $15)
        "#,
        organization as OrganizationId,
        key as ApiKeyId,
        project as ProjectId,
        terms.name.to_string(),
        new.mode.name(),
        new.owner as Option<PersonId>,
        creator as Option<PersonId>,
        &scope_names(terms),
        terms.allowed_models.as_deref(),
        &networks(terms),
        Json(&terms.tags) as _,
        terms.requests_per_minute,
        terms.tokens_per_minute,
        terms.concurrent_requests,
        terms.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn update(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
    terms: &Terms,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        UPDATE api_keys
           SET name = $3, scopes = $4, allowed_models = $5,
               allowed_addresses = $6::text[]::cidr[], tags = $7, requests_per_minute = $8,
               tokens_per_minute = $9, concurrent_requests = $10, expires_at = $11
         WHERE organization_id = $1 AND id = $2
        "#,
        organization as OrganizationId,
        key as ApiKeyId,
        terms.name.to_string(),
        &scope_names(terms),
        terms.allowed_models.as_deref(),
        &networks(terms),
        Json(&terms.tags) as _,
        terms.requests_per_minute,
        terms.tokens_per_minute,
        terms.concurrent_requests,
        terms.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn revoke(
    conn: &mut PgConnection,
    organization: OrganizationId,
    key: ApiKeyId,
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = now(), revoked_by = $3
          WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL",
        organization as OrganizationId,
        key as ApiKeyId,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn revoke_owned_by(
    conn: &mut PgConnection,
    organization: OrganizationId,
    owner: PersonId,
    by: Option<PersonId>,
) -> Result<Vec<(ApiKeyId, String)>, sqlx::Error> {
    let revoked = sqlx::query!(
        r#"UPDATE api_keys SET revoked_at = now(), revoked_by = $3
            WHERE organization_id = $1 AND owner_id = $2 AND revoked_at IS NULL
        RETURNING id AS "id: ApiKeyId", name"#,
        organization as OrganizationId,
        owner as PersonId,
        by as Option<PersonId>,
    )
    .fetch_all(conn)
    .await?;
    Ok(revoked.into_iter().map(|it| (it.id, it.name)).collect())
}

/// Notes when keys were last used, whosever they are.
pub(super) async fn note_uses(
    conn: &mut PgConnection,
    keys: &[uuid::Uuid],
    ats: &[OffsetDateTime],
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT app.keys_used($1, $2)", keys, ats).fetch_one(conn).await?;
    Ok(())
}

/// Looks across organizations, for those that the person is a member of.
pub(super) async fn place(
    conn: &mut PgConnection,
    key: ApiKeyId,
    person: PersonId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT app.place_of_key($1, $2)", key as ApiKeyId, person as PersonId,)
        .fetch_one(conn)
        .await
}

pub(super) async fn restricted(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Restricted>, sqlx::Error> {
    sqlx::query_as!(
        Restricted,
        r#"
        SELECT k.id AS "id: ApiKeyId", k.name, p.name AS project, k.allowed_models AS "models!"
          FROM api_keys k
          JOIN projects p ON (p.organization_id, p.id) = (k.organization_id, k.project_id)
         WHERE k.organization_id = $1 AND k.allowed_models IS NOT NULL
           AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
           AND p.archived_at IS NULL
         ORDER BY p.name, k.name, k.id
         LIMIT 5000
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}
