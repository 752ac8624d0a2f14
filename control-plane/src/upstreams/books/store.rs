//! Every statement on books of prices, and on their rows among the prices of models. All but what
//! is published runs for the platform, in the nil organization.

use std::collections::HashMap;

use shared::{
    ids::{OrganizationId, PersonId, PriceBookId, PriceDraftId, UpstreamId},
    money::Price,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

use super::{
    AllKept, Book, BookError, BookKind, Draft, Kept, PLATFORMS, Place, Priced, Row, Said,
    published::PublishedRow,
};

/// The moment at which what is written now is written.
pub(super) async fn now(conn: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(conn).await
}

pub(super) async fn books(conn: &mut PgConnection) -> Result<Vec<Book>, sqlx::Error> {
    sqlx::query_as!(
        Book,
        r#"
        SELECT b.id AS "id: PriceBookId", b.kind AS "kind: BookKind", b.name,
               t.organization AS "organization?", t.holders AS "holders!", t.models AS "models!"
          FROM price_books b
          JOIN app.operator_price_books() t ON t.id = b.id
         ORDER BY b.kind, lower(b.name)
         LIMIT 1000
        "#,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn insert_book(
    conn: &mut PgConnection,
    id: PriceBookId,
    kind: BookKind,
    name: &str,
    organization: Option<OrganizationId>,
    by: PersonId,
) -> Result<(), BookError> {
    sqlx::query!(
        "INSERT INTO price_books (id, kind, name, organization_id, created_by)
         VALUES ($1, $2, $3, $4, $5)",
        id as PriceBookId,
        kind as BookKind,
        name,
        organization as Option<OrganizationId>,
        by as PersonId,
    )
    .execute(conn)
    .await
    .map_err(refused)?;
    Ok(())
}

pub(super) async fn insert_plan(
    conn: &mut PgConnection,
    organization: OrganizationId,
    plan: Option<PriceBookId>,
    from: OffsetDateTime,
    by: PersonId,
) -> Result<(), BookError> {
    sqlx::query!(
        "INSERT INTO price_plans (organization_id, book_id, valid_from, created_by)
         VALUES ($1, $2, $3, $4)",
        organization as OrganizationId,
        plan as Option<PriceBookId>,
        from,
        by as PersonId,
    )
    .execute(conn)
    .await
    .map_err(refused)?;
    Ok(())
}

fn refused(error: sqlx::Error) -> BookError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("price_books_name_key" | "price_books_once") => BookError::Taken,
        Some("price_books_organization_id_fkey" | "price_plans_organization_id_fkey") => {
            BookError::NoOrganization
        }
        _ => BookError::Store(error),
    }
}

/// What the platform serves, whether it is enabled or not.
pub(super) async fn places(conn: &mut PgConnection) -> Result<Vec<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        r#"
        SELECT u.id AS "upstream: UpstreamId", u.name AS provider, u.vendor, m.name AS model
          FROM upstreams u
          JOIN upstream_models m ON (m.owner, m.upstream_id) = (u.owner, u.id)
         WHERE u.organization_id IS NULL AND u.archived_at IS NULL
         ORDER BY u.name, m.position, m.name
         LIMIT 50000
        "#,
    )
    .fetch_all(conn)
    .await
}

/// What is in force of a book, and what is planned.
pub(super) async fn priced(
    conn: &mut PgConnection,
    book: Option<PriceBookId>,
) -> Result<Vec<Priced>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT p.upstream_id AS "upstream: UpstreamId", u.name AS provider, p.model, p.revision,
               p.valid_from, p.list AS "list: Json<Price>", p.price AS "price: Json<Price>",
               p.markup_bp, e.email AS "by?"
          FROM model_prices p
          JOIN upstreams u ON (u.owner, u.id) = (p.owner, p.upstream_id)
          LEFT JOIN people e ON e.id = p.created_by
         WHERE p.organization_id IS NULL AND p.book_id IS NOT DISTINCT FROM $1
           AND u.archived_at IS NULL
           AND (p.valid_from > now()
                OR NOT EXISTS (SELECT FROM model_prices n
                                WHERE (n.owner, n.upstream_id, n.model)
                                      = (p.owner, p.upstream_id, p.model)
                                  AND n.book_id IS NOT DISTINCT FROM p.book_id
                                  AND n.valid_from <= now()
                                  AND (n.valid_from, n.revision) > (p.valid_from, p.revision)))
         ORDER BY lower(u.name), p.model, p.valid_from, p.revision
         LIMIT 10000
        "#,
        book as Option<PriceBookId>,
    )
    .fetch_all(conn)
    .await?;
    let priced = rows.into_iter().map(|row| Priced {
        upstream: row.upstream,
        provider: row.provider,
        model: row.model,
        kept: Kept {
            revision: row.revision,
            from: row.valid_from,
            list: row.list.map(|it| it.0),
            price: row.price.map(|it| it.0),
            markup_bp: row.markup_bp,
        },
        by: row.by,
    });
    Ok(priced.collect())
}

/// Every price that models of these upstreams ever had, in every book, in the order in which
/// they were written.
pub(super) async fn kept(
    conn: &mut PgConnection,
    upstreams: &[UpstreamId],
) -> Result<AllKept, sqlx::Error> {
    let upstreams: Vec<_> = upstreams.iter().map(|it| it.uuid()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT upstream_id AS "upstream: UpstreamId", model, book_id AS "book: PriceBookId",
               revision, valid_from, list AS "list: Json<Price>", price AS "price: Json<Price>",
               markup_bp
          FROM model_prices
         WHERE organization_id IS NULL AND upstream_id = ANY ($1)
         ORDER BY upstream_id, model, revision
        "#,
        &upstreams,
    )
    .fetch_all(conn)
    .await?;
    let mut all: AllKept = HashMap::new();
    for row in rows {
        let kept = Kept {
            revision: row.revision,
            from: row.valid_from,
            list: row.list.map(|it| it.0),
            price: row.price.map(|it| it.0),
            markup_bp: row.markup_bp,
        };
        all.entry((row.upstream, row.model)).or_default().push((row.book, kept));
    }
    Ok(all)
}

/// To be called by whoever keeps others from changing the upstream meanwhile.
pub(super) async fn insert(
    conn: &mut PgConnection,
    (upstream, model): (UpstreamId, &str),
    book: Option<PriceBookId>,
    said: &Said,
    from: OffsetDateTime,
    draft: Option<PriceDraftId>,
    by: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO model_prices (upstream_id, model, revision, book_id, list, price, markup_bp,
                                   valid_from, draft_id, created_by)
         SELECT $1, $2, coalesce(max(revision), 0) + 1, $3, $4, $5, $6, $7, $8, $9
           FROM model_prices
          WHERE organization_id IS NULL AND upstream_id = $1 AND model = $2",
        upstream as UpstreamId,
        model,
        book as Option<PriceBookId>,
        said.list.as_ref().map(Json) as _,
        said.price.as_ref().map(Json) as _,
        said.markup_bp,
        from,
        draft as Option<PriceDraftId>,
        by as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
pub(super) async fn insert_draft(
    conn: &mut PgConnection,
    id: PriceDraftId,
    book: Option<PriceBookId>,
    from: Option<OffsetDateTime>,
    note: &str,
    rows: &[Row],
    needs_approval: bool,
    by: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO price_drafts (id, book_id, valid_from, note, rows, needs_approval, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id as PriceDraftId,
        book as Option<PriceBookId>,
        from,
        note,
        Json(rows) as _,
        needs_approval,
        by as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The latest, or the one that is named.
pub(super) async fn drafts(
    conn: &mut PgConnection,
    only: Option<PriceDraftId>,
) -> Result<Vec<Draft>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT d.id AS "id: PriceDraftId", d.book_id AS "book: PriceBookId",
               b.name AS "book_name?", d.valid_from, d.note, d.rows AS "rows: Json<Vec<Row>>",
               d.needs_approval, d.created_by AS "created_by: PersonId",
               c.email AS created_email, d.created_at, a.email AS "approved_email?",
               d.approved_at, p.email AS "published_email?", d.published_at,
               w.email AS "withdrawn_email?", d.withdrawn_at
          FROM price_drafts d
          LEFT JOIN price_books b ON b.id = d.book_id
          JOIN people c ON c.id = d.created_by
          LEFT JOIN people a ON a.id = d.approved_by
          LEFT JOIN people p ON p.id = d.published_by
          LEFT JOIN people w ON w.id = d.withdrawn_by
         WHERE $1::uuid IS NULL OR d.id = $1
         ORDER BY d.created_at DESC, d.id DESC
         LIMIT 50
        "#,
        only as Option<PriceDraftId>,
    )
    .fetch_all(conn)
    .await?;
    let drafts = rows.into_iter().map(|row| Draft {
        id: row.id,
        book: row.book,
        book_name: row.book_name.unwrap_or_else(|| PLATFORMS.to_owned()),
        from: row.valid_from,
        note: row.note,
        rows: row.rows.0,
        needs_approval: row.needs_approval,
        created_by: row.created_by,
        created: (row.created_email, row.created_at),
        approved: row.approved_email.zip(row.approved_at),
        published: row.published_email.zip(row.published_at),
        withdrawn: row.withdrawn_email.zip(row.withdrawn_at),
    });
    Ok(drafts.collect())
}

/// Whoever else wants to end it waits.
pub(super) async fn lock_draft(
    conn: &mut PgConnection,
    draft: PriceDraftId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT id FROM price_drafts WHERE id = $1 FOR UPDATE", draft as PriceDraftId)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

pub(super) async fn approve(
    conn: &mut PgConnection,
    draft: PriceDraftId,
    by: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE price_drafts SET approved_by = $2, approved_at = now() WHERE id = $1",
        draft as PriceDraftId,
        by as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn publish(
    conn: &mut PgConnection,
    draft: PriceDraftId,
    by: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE price_drafts SET published_by = $2, published_at = now() WHERE id = $1",
        draft as PriceDraftId,
        by as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn withdraw(
    conn: &mut PgConnection,
    draft: PriceDraftId,
    by: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE price_drafts SET withdrawn_by = $2, withdrawn_at = now() WHERE id = $1",
        draft as PriceDraftId,
        by as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever they are: for the snapshot.
pub(super) async fn published(
    conn: &mut PgConnection,
    only: Option<&[PriceBookId]>,
) -> Result<Vec<PublishedRow>, sqlx::Error> {
    let only: Option<Vec<uuid::Uuid>> = only.map(|it| it.iter().map(|id| id.uuid()).collect());
    sqlx::query_as!(
        PublishedRow,
        r#"
        SELECT book_id AS "book!: PriceBookId", upstream_id AS "upstream: UpstreamId", model,
               from_ms, revision, price
          FROM app.snapshot_price_books($1)
        "#,
        only.as_deref(),
    )
    .fetch_all(conn)
    .await
}
