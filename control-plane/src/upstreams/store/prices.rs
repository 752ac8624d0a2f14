//! Statements on what models cost.

use shared::{
    ids::{OrganizationId, PersonId, UpstreamId},
    money::Price,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

use crate::upstreams::prices::Revision;

/// The latest first.
pub(in crate::upstreams) async fn prices(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    model: &str,
) -> Result<Vec<Revision>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT r.revision, r.price AS "price: Json<Price>", b.name AS "book?",
               p.email AS "created_by?", r.created_at, r.valid_from
          FROM model_prices r
          LEFT JOIN price_books b ON b.id = r.book_id
          LEFT JOIN people p ON p.id = r.created_by
         WHERE (r.owner = $1 OR r.organization_id IS NULL) AND r.upstream_id = $2 AND r.model = $3
         ORDER BY r.revision DESC
         LIMIT 200
        "#,
        owner as OrganizationId,
        upstream as UpstreamId,
        model,
    )
    .fetch_all(conn)
    .await?;
    let revisions = rows.into_iter().map(|row| Revision {
        revision: row.revision,
        price: row.price.map(|it| it.0),
        book: row.book,
        created_by: row.created_by,
        created_at: row.created_at,
        valid_from: row.valid_from,
    });
    Ok(revisions.collect())
}

/// Says what a model costs from a moment on, or from now on. To be called by whoever keeps others
/// from changing the upstream meanwhile.
pub(in crate::upstreams) async fn insert_price(
    conn: &mut PgConnection,
    owner: OrganizationId,
    upstream: UpstreamId,
    model: &str,
    price: Option<&Price>,
    from: Option<OffsetDateTime>,
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO model_prices (organization_id, upstream_id, model, revision, price, valid_from,
                                   created_by)
         SELECT nullif($1, '00000000-0000-0000-0000-000000000000'::uuid), $2, $3,
                coalesce(max(revision), 0) + 1, $4, coalesce($5, now()), $6
           FROM model_prices WHERE owner = $1 AND upstream_id = $2 AND model = $3",
        owner as OrganizationId,
        upstream as UpstreamId,
        model,
        price.map(Json) as _,
        from,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}
