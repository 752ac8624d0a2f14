//! What a model costs, and what a call of it cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Class, ContextTier, Money, Pico, Rates, Schedule, UnitPrice, decimal, rates::twice};
use crate::usage::{MOST_PIECES, MOST_TOKENS, Usage};

/// What the vendor's tier of service of that name costs, like `priority` or `flex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceTier {
    pub name: String,
    #[serde(flatten)]
    pub terms: Terms,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a price has few tiers, and few are kept")]
#[schema(as = PriceTerms)]
pub enum Terms {
    /// Instead of the standard rates and tiers.
    Schedule(Schedule),
    /// What tokens cost at the standard rates times this, in basis points: 10,000 is as it
    /// was. Pieces and the call itself cost what they do.
    MultiplierBp(u32),
}

/// What a model costs. It can only be had checked: [`Price::checked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Draft")]
pub struct Price {
    #[serde(flatten)]
    standard: Schedule,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service_tiers: Vec<ServiceTier>,
}

/// A price as somebody wrote it.
#[derive(Deserialize)]
struct Draft {
    #[serde(flatten)]
    standard: Schedule,
    #[serde(default)]
    service_tiers: Vec<ServiceTier>,
}

impl TryFrom<Draft> for Price {
    type Error = BadPrice;

    fn try_from(draft: Draft) -> Result<Self, BadPrice> {
        let Draft { standard: Schedule { rates, context_tiers }, service_tiers } = draft;
        Self::checked(rates, context_tiers, service_tiers)
    }
}

/// Rates, and by how much their tokens are multiplied.
#[derive(Clone, Copy)]
pub(super) struct Applied<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) multiplier_bp: u32,
}

impl Applied<'_> {
    /// What tokens of that cost come to, rounded up to a pico-dollar.
    pub(super) fn times(&self, tokens: i128) -> i128 {
        let product = tokens * i128::from(self.multiplier_bp);
        product.div_euclid(ONCE_BP) + i128::from(product.rem_euclid(ONCE_BP) != 0)
    }
}

/// What multiplies nothing.
pub(super) const ONCE_BP: i128 = 10_000;
const ONCE: u32 = 10_000;

/// The most that anything costs: ten classes of tokens and two of pieces, and the call.
const MOST: i128 = {
    let tokens = 10 * MOST_TOKENS as i128 * UnitPrice::TOKEN_CEILING.picos() as i128;
    let pieces = (2 * MOST_PIECES as i128 + 1) * UnitPrice::CEILING.picos() as i128;
    tokens * Price::MULTIPLIER_CEILING_BP as i128 / ONCE_BP + pieces
};
const _: () = assert!(MOST <= i64::MAX as i128, "a cost fits into a Pico");

impl Price {
    /// Ten times the standard rates.
    pub const MULTIPLIER_CEILING_BP: u32 = 100_000;

    /// Sorts the tiers, and refuses what would make a cost ambiguous or too large.
    pub fn checked(
        rates: Rates,
        context_tiers: Vec<ContextTier>,
        service_tiers: Vec<ServiceTier>,
    ) -> Result<Self, BadPrice> {
        let standard = Schedule { rates, context_tiers }.checked()?;
        let checked = |ServiceTier { name, terms }| match terms {
            _ if name.is_empty() => Err(BadPrice::NoName),
            Terms::Schedule(schedule) => {
                Ok(ServiceTier { name, terms: Terms::Schedule(schedule.checked()?) })
            }
            Terms::MultiplierBp(1..=Self::MULTIPLIER_CEILING_BP) => Ok(ServiceTier { name, terms }),
            Terms::MultiplierBp(_) => Err(BadPrice::Multiplier(name)),
        };
        let tiers: Result<Vec<_>, _> = service_tiers.into_iter().map(checked).collect();
        let mut service_tiers = tiers?;
        service_tiers.sort_by(|one, other| one.name.cmp(&other.name));
        match twice(&service_tiers, |it| it.name.clone()) {
            Some(name) => Err(BadPrice::TwoServices(name)),
            None => Ok(Self { standard, service_tiers }),
        }
    }

    /// The same for every call.
    pub fn flat(rates: Rates) -> Result<Self, BadPrice> {
        Self::checked(rates, Vec::new(), Vec::new())
    }

    pub const fn standard(&self) -> &Schedule {
        &self.standard
    }

    pub fn service_tiers(&self) -> &[ServiceTier] {
        &self.service_tiers
    }

    /// What a call cost that was served at a tier of the vendor's, `None` and names without
    /// an entry of their own being the standard one. Summed exactly; only a multiplier
    /// rounds, once, up to a pico-dollar. Of what is beyond belief
    /// ([`Usage::clamped`]) the most that is believed is charged.
    pub fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Pico {
        let (usage, _) = usage.clamped(MOST_TOKENS);
        let applied = self.applied(service_tier);
        let rates = applied.schedule.at(usage.total_input());
        let (mut tokens, mut pieces) = (0, 0);
        for class in Class::ALL {
            let cost = i128::from(class.count(&usage)) * rates.picos(class);
            if class.is_tokens() { tokens += cost } else { pieces += cost }
        }
        picos(applied.times(tokens) + pieces)
    }

    /// The same, class by class: what it is made of, before anything is rounded.
    pub fn items(&self, usage: &Usage, service_tier: Option<&str>) -> Vec<Item> {
        let (usage, _) = usage.clamped(MOST_TOKENS);
        let applied = self.applied(service_tier);
        let rates = applied.schedule.at(usage.total_input());
        let item = |class: Class| {
            let multiplier_bp = if class.is_tokens() { applied.multiplier_bp } else { ONCE };
            let rate = rates.of(class).unwrap_or_default();
            Item { class, count: class.count(&usage), rate, multiplier_bp }
        };
        let is_used =
            |it: &Item| it.count > 0 && (it.class != Class::Request || it.rate != UnitPrice::FREE);
        Class::ALL.into_iter().map(item).filter(is_used).collect()
    }

    /// The classes of a usage that nobody knows the price of. They cost nothing, and are
    /// not free.
    pub fn unpriced(&self, usage: &Usage, service_tier: Option<&str>) -> Vec<Class> {
        let rates = self.applied(service_tier).schedule.at(usage.total_input());
        let unknown = |it: &Class| it.count(usage) > 0 && rates.of(*it).is_none();
        Class::ALL.into_iter().filter(unknown).collect()
    }

    /// At the tier of that name, or the standard one.
    pub(super) fn applied(&self, service_tier: Option<&str>) -> Applied<'_> {
        let named = |it: &&ServiceTier| Some(it.name.as_str()) == service_tier;
        let standard = Applied { schedule: &self.standard, multiplier_bp: ONCE };
        self.service_tiers.iter().find(named).map_or(standard, |it| self.of_terms(&it.terms))
    }

    /// At every tier there is.
    pub(super) fn all_applied(&self) -> impl Iterator<Item = Applied<'_>> {
        let others = self.service_tiers.iter().map(|it| self.of_terms(&it.terms));
        std::iter::once(self.applied(None)).chain(others)
    }

    fn of_terms<'a>(&'a self, terms: &'a Terms) -> Applied<'a> {
        match terms {
            Terms::Schedule(schedule) => Applied { schedule, multiplier_bp: ONCE },
            Terms::MultiplierBp(multiplier_bp) => {
                Applied { schedule: &self.standard, multiplier_bp: *multiplier_bp }
            }
        }
    }
}

pub(super) fn picos(cost: i128) -> Pico {
    let cost = i64::try_from(cost).expect("the ceilings keep every cost within i64");
    Pico::from_picos(cost)
}

/// What was used of one class, and at what price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub class: Class,
    pub count: u64,
    rate: UnitPrice,
    multiplier_bp: u32,
}

impl Item {
    /// In pico-dollars, cut: how much of what all of it cost is due to this.
    pub fn weight(&self) -> u64 {
        let exact = i128::from(self.count) * i128::from(self.rate.picos());
        let times = exact * i128::from(self.multiplier_bp) / i128::from(ONCE);
        u64::try_from(times).expect("the ceilings keep every cost within i64")
    }

    /// Dollars for one, exactly.
    pub fn unit_price(&self) -> String {
        let times = i128::from(self.rate.picos()) * i128::from(self.multiplier_bp);
        let times = i64::try_from(times).expect("the ceilings keep a price times ten within i64");
        decimal::written(times, Self::PLACES)
    }

    /// What so many cost at what [`unit_price`](Self::unit_price) wrote, rounded up to the
    /// nano-dollar. Nothing where that is no price, or more than can be counted.
    pub fn cost_at(unit_price: &str, count: u64) -> Option<Money> {
        let each = decimal::read(unit_price, Self::PLACES).ok()?;
        let exact = i128::from(each) * i128::from(count);
        let nanos = exact / Self::TO_A_NANO + i128::from(exact % Self::TO_A_NANO != 0);
        i64::try_from(nanos).ok().map(Money::from_nanos)
    }

    /// Of a dollar: those of pico-dollars, and those of a multiplier.
    const PLACES: u32 = 16;
    const TO_A_NANO: i128 = 10_000_000;
}

/// A price, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinnedPrice {
    pub revision: i64,
    pub price: Price,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrice {
    #[error("a million tokens cost $2,000 at most, {0} too")]
    TooHigh(&'static str),
    #[error("there are two tiers above {0} tokens")]
    TwoTiers(u64),
    #[error("there are two service tiers called {0}")]
    TwoServices(String),
    #[error("a service tier needs a name")]
    NoName,
    #[error("a tier multiplies by 1 to 100,000 basis points, {0} too")]
    Multiplier(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        super::samples::{counts, price, prices, rates, service_tiers},
        *,
    };

    /// Each class at a price of its own.
    const EACH: &str = r#"{"input":2,"output":3,"cached_input":5,"cache_write":7,
        "cache_write_1h":11,"reasoning":13,"audio_input":17,"cached_audio_input":19,
        "audio_output":23,"image_output_tokens":29,"image_output":31,"search":37,"request":41}"#;

    fn each() -> Rates {
        serde_json::from_str(EACH).unwrap()
    }

    #[test]
    fn an_item_weighs_what_it_costs() {
        let rate = UnitPrice::per_million("1.25").unwrap();
        for (multiplier_bp, weight, unit_price) in [
            (10_000, 5_000_000, "0.00000125"),
            (5_000, 2_500_000, "0.000000625"),
            (3, 1_500, "0.000000000375"),
        ] {
            let item = Item { class: Class::Input, count: 4, rate, multiplier_bp };
            assert_eq!(item.weight(), weight, "{multiplier_bp}");
            assert_eq!(item.unit_price(), unit_price, "{multiplier_bp}");
        }
    }

    #[test]
    fn what_many_cost_is_rounded_up_once() {
        let cost = |each, count| Item::cost_at(each, count).map(Money::nanos);
        assert_eq!(cost("0.00000125", 1_000), Some(1_250_000));
        // 1.25 nano-dollars each.
        for (count, nanos) in [(0, 0), (1, 2), (3, 4), (4, 5), (5, 7)] {
            assert_eq!(cost("0.00000000125", count), Some(nanos), "{count}");
        }
        assert_eq!(cost("0.0000000000000001", 1), Some(1));
        assert_eq!(cost("0.00", u64::MAX), Some(0));
        assert_eq!(cost("2.00", u64::MAX), None);
        assert_eq!(cost("", 1), None);
    }

    fn usage(json: Value) -> Usage {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_class_is_charged_once_at_its_own_price() {
        let price = Price::flat(each()).unwrap();
        for class in Class::ALL {
            let field = if class == Class::Search { "searches" } else { class.name() };
            let usage = usage(json!({ field: 1_000 }));
            let unit = each().of(class).unwrap().picos();
            let cost = if class == Class::Request { 41 } else { 1_000 * unit + 41 };
            assert_eq!(price.cost(&usage, None), Pico::from_picos(cost), "{}", class.name());
            assert!(class.count(&usage) == 1_000 || class == Class::Request);
        }
        let pieces: Vec<_> = Class::ALL.into_iter().filter(|it| !it.is_tokens()).collect();
        assert_eq!(pieces, [Class::ImageOutput, Class::Search, Class::Request]);
    }

    #[test]
    fn items_are_what_was_used_at_what_it_costs() {
        let used = usage(json!({ "input": 10, "searches": 3 }));
        let items = |of: &Price, service: Option<&str>| -> Vec<_> {
            let items = of.items(&used, service).into_iter();
            items.map(|it| (it.class, it.count, it.weight())).collect()
        };
        let dear = Price::flat(each()).unwrap();
        let all = [(Class::Input, 10, 20), (Class::Search, 3, 111), (Class::Request, 1, 41)];
        assert_eq!(items(&dear, None), all);
        let free =
            Price::flat(Rates { search: Some(price(4)), ..Rates::of_text(price(2), price(3)) });
        // A request that costs nothing is no item.
        assert_eq!(items(&free.unwrap(), None), [(Class::Input, 10, 20), (Class::Search, 3, 12)]);
        // Pieces have no discount.
        let half = [(Class::Input, 10, 5), (Class::Search, 3, 0), (Class::Request, 1, 5)];
        assert_eq!(items(&tiered(), Some("flex")), half);
    }

    #[test]
    fn a_class_has_the_name_of_its_json() {
        for class in Class::ALL {
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(json, format!("\"{}\"", class.name()));
        }
    }

    #[test]
    fn a_class_without_a_price_costs_as_the_one_it_is_part_of() {
        let of = |rates: &Rates| Class::ALL.map(|it| rates.of(it).map(UnitPrice::picos));
        let plain = Rates::of_text(price(2), price(3));
        let (i, o) = (Some(2), Some(3));
        assert_eq!(of(&plain), [i, i, i, i, o, o, i, i, o, o, None, None, Some(0)]);
        let some = Rates { cache_write: Some(price(7)), audio_input: Some(price(17)), ..plain };
        let (w, a) = (Some(7), Some(17));
        assert_eq!(of(&some), [i, i, w, w, o, o, a, a, o, o, None, None, Some(0)]);
        let all = [2, 5, 7, 11, 3, 13, 17, 19, 23, 29, 31, 37, 41].map(Some);
        assert_eq!(of(&each()), all);
    }

    #[test]
    fn what_nobody_knows_the_price_of_is_told_and_free_is_known() {
        let rates = Rates::of_text(price(2), price(3));
        let plain = Price::flat(rates).unwrap();
        let used = usage(json!({ "input": 1, "image_output": 1, "searches": 2 }));
        assert_eq!(plain.unpriced(&used, None), [Class::ImageOutput, Class::Search]);
        assert_eq!(plain.cost(&used, None), Pico::from_picos(2));
        assert_eq!(plain.unpriced(&usage(json!({ "input": 1, "audio_output": 1 })), None), []);
        let free = Rates { search: Some(UnitPrice::FREE), ..rates };
        let free = Price::flat(free).unwrap();
        assert_eq!(free.unpriced(&used, None), [Class::ImageOutput]);
    }

    fn tiered() -> Price {
        let tier = |above_tokens, input| ContextTier {
            above_tokens,
            rates: Rates::of_text(price(input), price(10)),
        };
        let service = |name: &str, terms| ServiceTier { name: name.to_owned(), terms };
        let own = Schedule {
            rates: Rates::of_text(price(7), price(70)),
            context_tiers: vec![tier(100, 9)],
        };
        Price::checked(
            Rates { request: Some(price(5)), ..Rates::of_text(price(1), price(10)) },
            vec![tier(200, 3), tier(100, 2)],
            vec![
                service("priority", Terms::Schedule(own)),
                service("flex", Terms::MultiplierBp(5_000)),
            ],
        )
        .unwrap()
    }

    #[test]
    fn the_whole_call_costs_what_its_context_says() {
        let cost = |usage| tiered().cost(&usage, None).picos();
        assert_eq!(cost(Usage { input: 100, ..Usage::default() }), 105);
        assert_eq!(cost(Usage { input: 101, ..Usage::default() }), 202);
        assert_eq!(cost(Usage { input: 201, ..Usage::default() }), 603);
        // All that is put in counts, and nothing that comes out.
        let all = Usage { input: 50, cached_input: 20, cache_write: 20, ..Usage::default() };
        assert_eq!(cost(Usage { output: 1_000, ..all }), 90 + 10_000 + 5);
        assert_eq!(cost(Usage { cache_write_1h: 5, audio_input: 6, ..all }), 202);
        assert_eq!(cost(Usage { cached_audio_input: 11, ..all }), 202);
    }

    #[test]
    fn a_tier_of_service_has_its_own_terms() {
        let usage = Usage { input: 101, output: 1, ..Usage::default() };
        let cost = |tier| tiered().cost(&usage, tier).picos();
        assert_eq!(cost(None), 212);
        assert_eq!(cost(Some("default")), 212);
        assert_eq!(cost(Some("flex")), 106);
        assert_eq!(cost(Some("priority")), 101 * 9 + 10);
        let one = Usage { input: 1, ..Usage::default() };
        // Half of one, rounded up, and all of the fee.
        assert_eq!(tiered().cost(&one, Some("flex")).picos(), 1 + 5);
        assert_eq!(tiered().cost(&Usage::default(), Some("flex")).picos(), 5);
        assert_eq!(tiered().service_tiers()[0].name, "flex");
        assert_eq!(tiered().standard().context_tiers[0].above_tokens, 100);
        assert_eq!(tiered().all_applied().count(), 3);
    }

    #[test]
    fn what_is_unpriced_depends_on_the_tier() {
        let mut above = Rates::of_text(price(1), price(1));
        let tiers = vec![ContextTier { above_tokens: 10, rates: above }];
        above.search = Some(price(1));
        let price = Price::checked(above, tiers, Vec::new()).unwrap();
        let used = |input| Usage { input, searches: 1, ..Usage::default() };
        assert_eq!(price.unpriced(&used(10), None), []);
        assert_eq!(price.unpriced(&used(11), None), [Class::Search]);
    }

    #[test]
    fn what_would_be_ambiguous_or_too_much_is_refused() {
        let plain = Rates::of_text(price(1), price(1));
        let dear = Some(price(UnitPrice::TOKEN_CEILING.picos() + 1));
        let high = Rates { cache_write_1h: dear, ..plain };
        assert_eq!(Price::flat(high), Err(BadPrice::TooHigh("cache_write_1h")));
        let piece = Rates { image_output: dear, search: dear, request: dear, ..plain };
        assert!(Price::flat(piece).is_ok());
        let most = Rates::of_text(UnitPrice::TOKEN_CEILING, UnitPrice::TOKEN_CEILING);
        assert!(Price::flat(most).is_ok());

        let tier = |above_tokens, rates| ContextTier { above_tokens, rates };
        let tiers = |tiers| Price::checked(plain, tiers, Vec::new());
        let twice = vec![tier(9, plain), tier(5, plain), tier(9, plain)];
        assert_eq!(tiers(twice), Err(BadPrice::TwoTiers(9)));
        assert_eq!(tiers(vec![tier(9, high)]), Err(BadPrice::TooHigh("cache_write_1h")));

        let service = |name: &str, terms| ServiceTier { name: name.to_owned(), terms };
        let services = |services| Price::checked(plain, Vec::new(), services);
        let times = |name, by| service(name, Terms::MultiplierBp(by));
        let own =
            |rates| service("own", Terms::Schedule(Schedule { rates, ..Schedule::default() }));
        assert!(services(vec![times("a", 1), times("b", 100_000), own(plain)]).is_ok());
        assert_eq!(services(vec![times("a", 0)]), Err(BadPrice::Multiplier("a".to_owned())));
        assert_eq!(services(vec![times("a", 100_001)]), Err(BadPrice::Multiplier("a".to_owned())));
        assert_eq!(services(vec![times("", 1)]), Err(BadPrice::NoName));
        assert_eq!(services(vec![own(high)]), Err(BadPrice::TooHigh("cache_write_1h")));
        let twice = vec![times("a", 1), times("b", 1), times("a", 2)];
        assert_eq!(services(twice), Err(BadPrice::TwoServices("a".to_owned())));
    }

    #[test]
    fn a_price_reads_as_it_is_written_and_passes_over_what_is_new() {
        let text = json!({
            "rates": { "input": 2_500_000, "output": 10_000_000, "cached_input": 1_250_000, "new": 1 },
            "context_tiers": [
                { "above_tokens": 200_000, "rates": { "input": 5_000_000, "output": 20_000_000 } },
            ],
            "service_tiers": [
                { "name": "flex", "multiplier_bp": 5_000, "since": "2026" },
                { "name": "priority", "schedule": { "rates": { "input": 3, "output": 4 } } },
            ],
            "another": {},
        });
        let price: Price = serde_json::from_value(text).unwrap();
        assert_eq!(price.standard().rates.of(Class::CachedInput).unwrap().picos(), 1_250_000);
        assert_eq!(price.service_tiers()[0].terms, Terms::MultiplierBp(5_000));
        let pinned = PinnedPrice { revision: 7, price };
        let json = serde_json::to_value(&pinned).unwrap();
        assert_eq!(json["price"]["service_tiers"][1]["schedule"]["rates"]["output"], 4);
        assert_eq!(serde_json::from_value::<PinnedPrice>(json).unwrap(), pinned);
        let flat = Price::flat(Rates::of_text(UnitPrice::FREE, UnitPrice::FREE)).unwrap();
        let json = serde_json::to_string(&flat).unwrap();
        assert_eq!(json, r#"{"rates":{"input":0,"output":0}}"#);
        for bad in [
            json!({}),
            json!({ "rates": { "input": 1 } }),
            json!({ "rates": { "input": -1, "output": 1 } }),
            json!({ "rates": { "input": 2_000_000_001_i64, "output": 1 } }),
            json!({ "rates": { "input": 1, "output": 1 }, "service_tiers": [{ "name": "x" }] }),
        ] {
            assert!(serde_json::from_value::<Price>(bad.clone()).is_err(), "{bad}");
        }
    }

    /// More of every class than is believed.
    fn everything() -> Usage {
        let most = u64::MAX;
        let classes = Class::ALL.map(|it| if it == Class::Search { "searches" } else { it.name() });
        usage(classes.into_iter().map(|it| (it.to_owned(), json!(most))).collect())
    }

    #[test]
    fn the_most_at_the_highest_price_is_just_below_what_can_be_counted() {
        let (token, piece) = (UnitPrice::TOKEN_CEILING, Some(UnitPrice::CEILING));
        let text = Rates::of_text(token, token);
        let rates = Rates { image_output: piece, search: piece, request: piece, ..text };
        let times = Terms::MultiplierBp(Price::MULTIPLIER_CEILING_BP);
        let ten = ServiceTier { name: "ten".to_owned(), terms: times };
        let price = Price::checked(rates, Vec::new(), vec![ten]).unwrap();
        let cost = price.cost(&everything(), Some("ten"));
        assert_eq!(i128::from(cost.picos()), MOST);
        assert_eq!(cost.picos(), 6_874_736_400_000_000_000);
    }

    fn usages() -> impl Strategy<Value = Usage> {
        proptest::array::uniform12(counts()).prop_map(|counts| Usage {
            input: counts[0],
            cached_input: counts[1],
            cache_write: counts[2],
            output: counts[3],
            reasoning: counts[4],
            cache_write_1h: counts[5],
            audio_input: counts[6],
            cached_audio_input: counts[7],
            audio_output: counts[8],
            image_output_tokens: counts[9],
            image_output: counts[10],
            searches: counts[11],
        })
    }

    proptest! {
        #[test]
        fn anything_at_any_price_has_a_cost(price in prices(), usage in usages(), tier in service_tiers()) {
            let cost = price.cost(&usage, tier);
            prop_assert!(cost >= Pico::ZERO);
            let (believed, _) = usage.clamped(MOST_TOKENS);
            prop_assert_eq!(price.cost(&believed, tier), cost);
        }

        #[test]
        fn the_most_that_is_believed_has_a_cost(rates in rates()) {
            let usage = everything();
            let times = Terms::MultiplierBp(Price::MULTIPLIER_CEILING_BP);
            let tier = ServiceTier { name: "ten".to_owned(), terms: times };
            let price = Price::checked(rates, Vec::new(), vec![tier]).unwrap();
            let picos: i128 = Class::ALL.into_iter().map(|class| {
                let (count, times) = match class.is_tokens() {
                    true => (MOST_TOKENS, 10),
                    false if class == Class::Request => (1, 1),
                    false => (MOST_PIECES, 1),
                };
                i128::from(count) * times * rates.picos(class)
            }).sum();
            prop_assert_eq!(i128::from(price.cost(&usage, Some("ten")).picos()), picos);
        }

        #[test]
        fn a_price_survives_the_journey(price in prices()) {
            let json = serde_json::to_string(&price).unwrap();
            prop_assert_eq!(serde_json::from_str::<Price>(&json).unwrap(), price);
        }
    }
}
