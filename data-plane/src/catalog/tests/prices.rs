//! Who pays what, and from when on.

use proptest::prelude::*;
use shared::{
    ids::PriceBookId,
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{BookPrices, DatedPrice, HeldBook, PriceBook},
};

use super::*;

fn pinned(revision: i64) -> PinnedPrice {
    let each = UnitPrice::try_from(revision).unwrap();
    PinnedPrice { revision, price: Price::flat(Rates::of_text(each, each)).unwrap() }
}

fn dated(from_ms: i64, revision: Option<i64>) -> DatedPrice {
    DatedPrice { from_ms, price: revision.map(pinned) }
}

/// A model of the platform's, and the books of one organization.
struct Scene {
    fixture: Fixture,
    mine: OrganizationId,
    upstream: UpstreamId,
}

impl Scene {
    fn new(present: Option<i64>, planned: Vec<DatedPrice>) -> Self {
        let mut fixture = Fixture::default();
        let upstream = fixture.upstream(None, &["a"]);
        upstream.models[0].price = present.map(pinned);
        upstream.models[0].planned = planned;
        let (mine, upstream) = (OrganizationId::generate(), upstream.id);
        let limits = Limits::default();
        let tenant = Tenant {
            organization: mine,
            limits,
            disabled: vec![],
            books: vec![],
            routing: Default::default(),
            explore_per_mille: 0,
            worths: vec![],
        };
        fixture.tenants.push(tenant);
        Self { fixture, mine, upstream }
    }

    /// Adds a book after the others.
    fn book(&mut self, (from_ms, until_ms): (i64, Option<i64>), prices: Vec<DatedPrice>) {
        let id = PriceBookId::generate();
        let said = BookPrices { upstream: self.upstream, model: "a".into(), prices };
        self.fixture.books.push(PriceBook { id, prices: vec![said] });
        self.fixture.tenants[0].books.push(HeldBook { book: id, from_ms, until_ms });
    }

    fn paid(&self, organization: OrganizationId, now_ms: i64) -> Option<i64> {
        let snapshot = snapshot(&self.fixture);
        let model = snapshot.serving(organization, "a").next().unwrap();
        snapshot.price(organization, model, now_ms).map(|it| it.revision)
    }

    #[track_caller]
    fn check(&self, now_ms: i64, expected: Option<i64>) {
        assert_eq!(self.paid(self.mine, now_ms), expected, "at {now_ms}");
    }
}

#[test]
fn a_planned_price_begins_at_its_moment() {
    let scene = Scene::new(Some(1), vec![dated(100, Some(2)), dated(200, None)]);
    for (now, expected) in
        [(0, Some(1)), (99, Some(1)), (100, Some(2)), (199, Some(2)), (200, None)]
    {
        scene.check(now, expected);
    }
}

#[test]
fn the_first_book_that_says_so_says_what_is_paid() {
    let mut scene = Scene::new(Some(1), vec![]);
    scene.book((0, None), vec![dated(100, Some(2)), dated(200, None)]);
    scene.book((0, Some(150)), vec![dated(0, Some(3))]);
    scene.check(99, Some(3));
    scene.check(100, Some(2));
    scene.check(200, Some(1));
    assert_eq!(scene.paid(OrganizationId::generate(), 100), Some(1), "everybody else");
}

#[test]
fn a_book_that_is_not_here_leaves_its_models_unpriced() {
    let mut scene = Scene::new(Some(1), vec![]);
    scene.book((0, None), vec![dated(0, Some(2))]);
    scene.check(1, Some(2));
    scene.fixture.books.clear();
    scene.check(1, None);
    assert_eq!(scene.paid(OrganizationId::generate(), 1), Some(1));
}

#[test]
fn what_is_ones_own_is_in_no_book() {
    let mut scene = Scene::new(Some(1), vec![]);
    scene.book((0, None), vec![dated(0, Some(2))]);
    let mine = scene.mine;
    let own = scene.fixture.upstream(Some(mine), &["a"]);
    own.models[0].price = Some(pinned(9));
    scene.fixture.books[0].prices[0].upstream = own.id;
    scene.check(1, Some(9));
}

type Dates = Vec<(i64, bool)>;

fn dates() -> impl Strategy<Value = Dates> {
    prop::collection::vec((0..10_i64, any::<bool>()), 0..4)
}

proptest! {
    /// Against the rule said plainly: contract, organization, plan, platform, and in each what
    /// began last.
    #[test]
    fn prices_are_resolved_in_their_order(
        platform in dates(),
        books in prop::collection::vec(((0..10_i64, prop::option::of(0..10_i64)), dates()), 0..3),
        now in 0..10_i64,
    ) {
        let mut revision = 0;
        let mut written = |dates: Dates| -> Vec<DatedPrice> {
            let price = |(from, is_priced): (i64, bool)| {
                revision += 1;
                dated(from, is_priced.then_some(revision))
            };
            dates.into_iter().map(price).collect()
        };
        let begun = |prices: &[DatedPrice]| -> Option<i64> {
            let mut latest: Option<&DatedPrice> = None;
            for it in prices.iter().filter(|it| it.from_ms <= now) {
                if latest.is_none_or(|before| it.from_ms >= before.from_ms) {
                    latest = Some(it);
                }
            }
            latest?.price.as_ref().map(|it| it.revision)
        };
        let planned = written(platform);
        let mut expected = None;
        let mut scene = Scene::new(None, planned.clone());
        for ((from, until), dates) in books {
            let prices = written(dates);
            if from <= now && until.is_none_or(|it| now < it) {
                expected = expected.or_else(|| begun(&prices));
            }
            scene.book((from, until), prices);
        }
        prop_assert_eq!(scene.paid(scene.mine, now), expected.or_else(|| begun(&planned)));
    }
}
