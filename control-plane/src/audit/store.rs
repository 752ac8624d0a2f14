//! Every statement on the audit log.

use shared::ids::OrganizationId;
use sqlx::PgConnection;

use super::{
    chain::{End, Link},
    log::Filter,
};

pub(super) async fn append(
    conn: &mut PgConnection,
    organization: OrganizationId,
    body: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT app.audit_append($1, $2)", organization.uuid(), body)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// The newest `most` entries before one, newest first.
pub(super) async fn before(
    conn: &mut PgConnection,
    organization: OrganizationId,
    filter: &Filter,
    before: i64,
    most: i64,
) -> Result<Vec<Link>, sqlx::Error> {
    sqlx::query_as!(
        Link,
        r#"
        SELECT seq, at, body, hash
          FROM audit_entries
         WHERE organization_id = $1 AND seq < $2
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR actor = $4)
           AND ($5::text IS NULL OR (actor_name >= $5 AND actor_name < $6))
         ORDER BY seq DESC
         LIMIT $7
        "#,
        organization as OrganizationId,
        before,
        filter.action,
        filter.actor,
        filter.actor_name.as_ref().map(|it| it.start.as_str()),
        filter.actor_name.as_ref().map(|it| it.end.as_str()),
        most,
    )
    .fetch_all(conn)
    .await
}

/// The oldest `most` entries after one, oldest first.
pub(super) async fn after(
    conn: &mut PgConnection,
    organization: OrganizationId,
    filter: &Filter,
    after: i64,
    most: i64,
) -> Result<Vec<Link>, sqlx::Error> {
    sqlx::query_as!(
        Link,
        r#"
        SELECT seq, at, body, hash
          FROM audit_entries
         WHERE organization_id = $1 AND seq > $2
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR actor = $4)
           AND ($5::text IS NULL OR (actor_name >= $5 AND actor_name < $6))
         ORDER BY seq
         LIMIT $7
        "#,
        organization as OrganizationId,
        after,
        filter.action,
        filter.actor,
        filter.actor_name.as_ref().map(|it| it.start.as_str()),
        filter.actor_name.as_ref().map(|it| it.end.as_str()),
        most,
    )
    .fetch_all(conn)
    .await
}

/// Every kind of action that there is an entry of, each found by one step in the index.
pub(super) async fn actions(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH RECURSIVE known (action) AS (
            (SELECT e.action FROM audit_entries e
              WHERE e.organization_id = $1 ORDER BY e.action LIMIT 1)
            UNION ALL
            SELECT (SELECT e.action FROM audit_entries e
                     WHERE e.organization_id = $1 AND e.action > known.action
                     ORDER BY e.action LIMIT 1)
              FROM known WHERE known.action IS NOT NULL
        )
        SELECT action AS "action!" FROM known WHERE action IS NOT NULL LIMIT 200
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

/// Where the organization's chain ends, if it has begun.
pub(super) async fn end(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<End>, sqlx::Error> {
    sqlx::query_as!(
        End,
        r#"
        SELECT organization_id AS "organization: OrganizationId", seq, hash
          FROM audit_heads WHERE organization_id = $1
        "#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// Where every chain ends, whosever it is.
pub(super) async fn ends(conn: &mut PgConnection) -> Result<Vec<End>, sqlx::Error> {
    sqlx::query_as!(
        End,
        r#"
        SELECT organization_id AS "organization!: OrganizationId", seq AS "seq!", hash AS "hash!"
          FROM app.audit_chains()
        "#,
    )
    .fetch_all(conn)
    .await
}

/// The next entries of a chain, whosever it is, in order.
pub(super) async fn page(
    conn: &mut PgConnection,
    organization: OrganizationId,
    after: i64,
    most: i32,
) -> Result<Vec<Link>, sqlx::Error> {
    sqlx::query_as!(
        Link,
        r#"
        SELECT seq AS "seq!", at AS "at!", body AS "body!", hash AS "hash!"
          FROM app.audit_page($1, $2, $3)
        "#,
        organization.uuid(),
        after,
        most,
    )
    .fetch_all(conn)
    .await
}
