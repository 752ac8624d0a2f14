//! Books as proxies are given them.

use shared::{
    ids::PriceBookId,
    money::{PinnedPrice, Price},
    snapshot::{BookPrices, DatedPrice, PriceBook},
};
use sqlx::PgConnection;
use tracing::error;

use super::store;

/// Every book, or those of `only` that there are: what each says now, and will.
pub async fn published(
    conn: &mut PgConnection,
    only: Option<&[PriceBookId]>,
) -> Result<Vec<PriceBook>, sqlx::Error> {
    let mut books: Vec<PriceBook> = Vec::new();
    for row in store::published(conn, only).await? {
        if books.last().is_none_or(|it| it.id != row.book) {
            books.push(PriceBook { id: row.book, prices: Vec::new() });
        }
        let (Some(book), Some(upstream), Some(model)) = (books.last_mut(), row.upstream, row.model)
        else {
            continue;
        };
        let is_it = |it: &BookPrices| it.upstream == upstream && it.model == model;
        if !book.prices.last().is_some_and(is_it) {
            book.prices.push(BookPrices { upstream, model, prices: Vec::new() });
        }
        let price = row.price.map(serde_json::from_value::<Price>).transpose();
        let price = price.inspect_err(|cause| {
            // A price that cannot be read is left out as one that nobody said.
            error!(%cause, "left out a price of {}", book.id);
        });
        let price = price.ok().flatten().zip(row.revision);
        let price = price.map(|(price, revision)| PinnedPrice { revision, price });
        if let Some(last) = book.prices.last_mut() {
            last.prices.push(DatedPrice { from_ms: row.from_ms.unwrap_or_default(), price });
        }
    }
    Ok(books)
}

/// A row of a book, or that there is a book.
pub(super) struct PublishedRow {
    pub book: PriceBookId,
    pub upstream: Option<shared::ids::UpstreamId>,
    pub model: Option<String>,
    pub from_ms: Option<i64>,
    pub revision: Option<i64>,
    pub price: Option<serde_json::Value>,
}
