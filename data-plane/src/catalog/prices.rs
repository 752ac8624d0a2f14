//! What models cost, from when on, and for whom.
//!
//! Prices that begin later are here before they do, so that each begins at its moment wherever
//! the control plane is then. The moment is one of Redis' clock, as far as a proxy knows it, as
//! for windows and splits: two proxies differ by less than a question to Redis takes. A call asks
//! once, when it is routed; what it holds and what it comes to are of that price.

use std::{collections::HashMap, sync::Arc};

use shared::{
    ids::UpstreamId,
    money::PinnedPrice,
    snapshot::{DatedPrice, PriceBook},
};

/// The prices of one model, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Prices(Vec<Dated>);

#[derive(Clone, Debug)]
struct Dated {
    from_ms: i64,
    price: Option<Arc<PinnedPrice>>,
}

impl Prices {
    /// What is in force already, and what begins later.
    pub fn of(present: Option<PinnedPrice>, planned: Vec<DatedPrice>) -> Self {
        let present = DatedPrice { from_ms: i64::MIN, price: present };
        Self::dated(std::iter::once(present).chain(planned))
    }

    fn dated(prices: impl IntoIterator<Item = DatedPrice>) -> Self {
        let kept = |it: DatedPrice| Dated { from_ms: it.from_ms, price: it.price.map(Arc::new) };
        Self(prices.into_iter().map(kept).collect())
    }

    /// What began last, and of what began together what was written last.
    pub fn at(&self, now_ms: i64) -> Option<&Arc<PinnedPrice>> {
        let begun = self.0.iter().filter(|it| it.from_ms <= now_ms);
        begun.max_by_key(|it| it.from_ms)?.price.as_ref()
    }
}

/// A book, ready to be asked.
#[derive(Default)]
pub(super) struct Book(HashMap<UpstreamId, HashMap<String, Prices>>);

impl Book {
    pub fn of(published: PriceBook) -> Self {
        let mut upstreams = HashMap::<_, HashMap<_, _>>::new();
        for it in published.prices {
            upstreams.entry(it.upstream).or_default().insert(it.model, Prices::dated(it.prices));
        }
        Self(upstreams)
    }

    /// Nothing where the book does not say.
    pub fn price(
        &self,
        upstream: UpstreamId,
        model: &str,
        now_ms: i64,
    ) -> Option<&Arc<PinnedPrice>> {
        self.0.get(&upstream)?.get(model)?.at(now_ms)
    }
}
