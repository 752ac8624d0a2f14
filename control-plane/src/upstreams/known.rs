//! Facts about well-known models and what their vendors ask for them, so that whoever adds a
//! provider need not look them up. They are data: `control-plane/catalogue` holds a file for
//! each vendor, and each price in it says where it is from, of when, and how it was had. A
//! price of which nobody is sure is left out, for an unpriced model is not a free one.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use shared::{
    money::{BadPrice, BadUnitPrice, Class, ContextTier, Price, Rates, ServiceTier, Terms},
    snapshot::{Capability, Modality, Model},
};
use time::OffsetDateTime;

use super::prices;
use crate::web;

const FILES: [&str; 20] = [
    include_str!("../../catalogue/openai.json"),
    include_str!("../../catalogue/azure_openai.json"),
    include_str!("../../catalogue/anthropic.json"),
    include_str!("../../catalogue/gemini.json"),
    include_str!("../../catalogue/deepseek.json"),
    include_str!("../../catalogue/qwen.json"),
    include_str!("../../catalogue/mistral.json"),
    include_str!("../../catalogue/ernie.json"),
    include_str!("../../catalogue/groq.json"),
    include_str!("../../catalogue/together.json"),
    include_str!("../../catalogue/fireworks.json"),
    include_str!("../../catalogue/openrouter.json"),
    include_str!("../../catalogue/xai.json"),
    include_str!("../../catalogue/cohere.json"),
    include_str!("../../catalogue/moonshot.json"),
    include_str!("../../catalogue/zai.json"),
    include_str!("../../catalogue/minimax.json"),
    include_str!("../../catalogue/amazon_nova.json"),
    include_str!("../../catalogue/perplexity.json"),
    include_str!("../../catalogue/cerebras.json"),
];

static CATALOGUE: LazyLock<Vec<File>> = LazyLock::new(|| {
    let read = |it: &&str| serde_json::from_str(it).expect("what we ship is read by our tests");
    FILES.iter().map(read).collect()
});

/// What is known of one vendor's models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    vendor: String,
    /// The vendor's list of prices.
    source: String,
    #[serde(default)]
    note: Option<String>,
    models: Vec<Fact>,
}

/// A model as its vendor describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    name: String,
    #[serde(default)]
    title: Option<String>,
    context: u32,
    /// What it writes at most; nothing where it does not write.
    output: u32,
    does: Vec<Capability>,
    reads: Vec<Modality>,
    #[serde(default)]
    gives: Option<Vec<Modality>>,
    /// Where the price holds, if it is not the same everywhere.
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    deprecated_on: Option<String>,
    #[serde(default)]
    successor: Option<String>,
    #[serde(default)]
    price: Option<TypedRates>,
    /// What a call costs instead that reads more than so much.
    #[serde(default)]
    above: Vec<Above>,
    /// By how much the vendor's tiers of service multiply it, in basis points.
    #[serde(default)]
    services: BTreeMap<String, u32>,
    /// What the vendor said it will cost.
    #[serde(default)]
    then: Vec<Then>,
    /// The day or the month of which the price is,
    #[serde(default)]
    as_of: Option<String>,
    /// where we read it,
    #[serde(default)]
    had: Option<String>,
    /// and the vendor's own page, where it is not the one of all its prices.
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

/// Dollars, as price lists have them: for a million tokens, or for one of what is counted in
/// pieces. Texts, for a number in JSON is not exact.
pub(super) type TypedRates = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Above {
    pub tokens: u64,
    pub price: TypedRates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    /// A day, which begins where UTC does.
    from: String,
    price: TypedRates,
}

/// Where a price of the catalogue is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub page: &'a str,
    pub as_of: &'a str,
    pub had: &'a str,
    /// Where it holds, if not everywhere.
    pub region: Option<&'a str>,
    /// What there is to know about it, and about all of its vendor's.
    pub notes: [Option<&'a str>; 2],
}

/// The models of a vendor that we know; none of one that we do not.
pub fn known_models(vendor: &str) -> Vec<Model> {
    let file = CATALOGUE.iter().find(|it| it.vendor == vendor);
    file.into_iter().flat_map(|it| it.models.iter().map(model)).collect()
}

/// Where what we know of a model's price is from.
pub fn source_of<'a>(vendor: &str, model: &str) -> Option<Source<'a>> {
    let file = CATALOGUE.iter().find(|it| it.vendor == vendor)?;
    let fact = file.models.iter().find(|it| it.name == model)?;
    Some(Source {
        page: fact.source.as_ref().unwrap_or(&file.source),
        as_of: fact.as_of.as_ref()?,
        had: fact.had.as_ref()?,
        region: fact.region.as_deref(),
        notes: [fact.note.as_deref(), file.note.as_deref()],
    })
}

/// What the vendor said a model will cost, and from when on.
pub(super) fn planned(vendor: &str, model: &str) -> Vec<(OffsetDateTime, Price)> {
    let file = CATALOGUE.iter().find(|it| it.vendor == vendor);
    let fact = file.and_then(|it| it.models.iter().find(|it| it.name == model));
    let Some(fact) = fact else { return Vec::new() };
    let dated = |it: &Then| {
        let from = web::instant(&format!("{}T00:00", it.from), "UTC")?;
        Some((from, typed_price(&it.price, &[], &fact.services).ok()?))
    };
    fact.then.iter().filter_map(dated).collect()
}

fn model(fact: &Fact) -> Model {
    let priced = price(fact).expect("what we ship is read by our tests");
    Model {
        display_name: fact.title.as_ref().unwrap_or(&fact.name).clone(),
        capabilities: fact.does.clone(),
        input: fact.reads.clone(),
        output: fact.gives.clone().unwrap_or_else(|| vec![Modality::Text]),
        deprecated_on: fact.deprecated_on.clone(),
        successor: fact.successor.clone(),
        price: priced.map(prices::declared),
        ..Model::of_text(&fact.name, &fact.name, fact.context, fact.output)
    }
}

fn price(fact: &Fact) -> Result<Option<Price>, BadRates> {
    fact.price.as_ref().map(|it| typed_price(it, &fact.above, &fact.services)).transpose()
}

/// A price as somebody typed it.
pub(super) fn typed_price(
    typed: &TypedRates,
    above: &[Above],
    services: &BTreeMap<String, u32>,
) -> Result<Price, BadRates> {
    let tier = |it: &Above| -> Result<_, BadRates> {
        Ok(ContextTier { above_tokens: it.tokens, rates: rates(&it.price)? })
    };
    let tiers: Result<Vec<_>, _> = above.iter().map(tier).collect();
    let service = |(name, multiplier_bp): (&String, &u32)| ServiceTier {
        name: name.clone(),
        terms: Terms::MultiplierBp(*multiplier_bp),
    };
    Ok(Price::checked(rates(typed)?, tiers?, services.iter().map(service).collect())?)
}

/// Input and output are said, if only that they cost nothing.
pub(super) fn rates(typed: &TypedRates) -> Result<Rates, BadRates> {
    for class in [Class::Input, Class::Output] {
        if !typed.contains_key(class.name()) {
            return Err(BadRates::Missing(class.name()));
        }
    }
    let mut rates = Rates::default();
    for (name, text) in typed {
        let class = Class::ALL.into_iter().find(|it| it.name() == name);
        let class = class.ok_or_else(|| BadRates::NoClass(name.clone()))?;
        let price = prices::read(class, text.trim());
        let bad = |why| BadRates::Amount { class: class.name(), why };
        rates = prices::with(rates, class, price.map_err(bad)?);
    }
    Ok(rates)
}

/// What is wrong with a price that was typed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRates {
    #[error("{0} has no price: write 0 where it is free")]
    Missing(&'static str),
    #[error("there is no class called {0:?}")]
    NoClass(String),
    #[error("{class}: {why}")]
    Amount { class: &'static str, why: BadUnitPrice },
    #[error(transparent)]
    Price(#[from] BadPrice),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use shared::{money::UnitPrice, vendors};

    use super::*;

    fn all() -> impl Iterator<Item = (&'static File, &'static Fact)> {
        CATALOGUE.iter().flat_map(|file| file.models.iter().map(move |it| (file, it)))
    }

    #[test]
    fn the_catalogue_is_large_and_says_nothing_twice() {
        assert!(all().count() >= 120, "{} models", all().count());
        assert!(CATALOGUE.len() >= 15, "{} vendors", CATALOGUE.len());
        let names: HashSet<_> = all().map(|(file, it)| (&file.vendor, &it.name)).collect();
        assert_eq!(names.len(), all().count());
        let vendors: HashSet<_> = CATALOGUE.iter().map(|it| &it.vendor).collect();
        assert_eq!(vendors.len(), CATALOGUE.len());
        let priced = all().filter(|(_, it)| it.price.is_some()).count();
        assert!(priced >= 120, "{priced} prices");
    }

    #[test]
    fn every_fact_is_one_of_a_vendor_that_we_know_and_can_be_served() {
        for (file, fact) in all() {
            let named = format!("{} of {}", fact.name, file.vendor);
            assert!(vendors::find(&file.vendor).is_some(), "{named}");
            let model = super::super::models::checked(model(fact)).expect(&named);
            assert_eq!(model.capabilities.len(), fact.does.len(), "{named}");
            assert!(fact.context > 0 && fact.output <= fact.context, "{named}");
            let embeds = fact.does == [Capability::Embeddings];
            assert_eq!(embeds, model.output == [Modality::Embedding], "{named}");
            let regional = fact.region.as_ref().is_none_or(|it| !it.is_empty());
            let noted = fact.note.iter().chain(&file.note).all(|it| !it.is_empty());
            assert!(regional && noted, "{named}");
        }
        assert!(known_models("nobody").is_empty());
    }

    #[test]
    fn every_price_is_exact_and_says_where_it_is_from() {
        for (file, fact) in all().filter(|(_, it)| it.price.is_some()) {
            let named = format!("{} of {}", fact.name, file.vendor);
            let price = price(fact).expect(&named).expect("it is priced");
            let typed = std::iter::once(fact.price.as_ref().unwrap());
            let typed = typed.chain(fact.above.iter().map(|it| &it.price));
            let tiers = &price.standard().context_tiers;
            assert_eq!(tiers.len(), fact.above.len(), "{named}");
            let kept =
                std::iter::once(&price.standard().rates).chain(tiers.iter().map(|it| &it.rates));
            for (typed, kept) in typed.zip(kept) {
                for (name, text) in typed {
                    let class = Class::ALL.into_iter().find(|it| it.name() == name).unwrap();
                    let own = prices::own(kept, class).expect(&named);
                    // Written again, it is the same number to the last digit.
                    let again = prices::read(class, &prices::written(class, own)).unwrap();
                    assert_eq!(prices::read(class, text).unwrap(), again, "{named} {name}");
                }
            }
            let source = source_of(&file.vendor, &fact.name).expect(&named);
            assert!(source.page.starts_with("https://"), "{named}");
            assert!(!source.had.is_empty(), "{named}");
            let day = format!("{}-01", source.as_of);
            let format = time::macros::format_description!("[year]-[month]-[day]");
            let is_dated =
                [source.as_of, &day].iter().any(|it| time::Date::parse(it, format).is_ok());
            assert!(is_dated, "{named}: {}", source.as_of);
        }
    }

    /// Or the catalogue would say that a cache costs more than none does, which is a slip.
    #[test]
    fn what_came_from_a_cache_costs_no_more_than_what_did_not() {
        let dearer = |rates: &Rates| {
            let cached = rates.of(Class::CachedInput) > Some(rates.input);
            cached || rates.of(Class::CachedAudioInput) > rates.of(Class::AudioInput)
        };
        for (file, fact) in all() {
            let Some(price) = price(fact).unwrap() else { continue };
            let standard = price.standard();
            let tiers = standard.context_tiers.iter().map(|it| &it.rates);
            let all: Vec<_> = std::iter::once(&standard.rates).chain(tiers).collect();
            assert!(!all.iter().any(|it| dearer(it)), "{} of {}", fact.name, file.vendor);
            let inputs: Vec<UnitPrice> = all.iter().map(|it| it.input).collect();
            assert!(inputs.is_sorted(), "a longer context is cheaper: {}", fact.name);
        }
    }

    #[test]
    fn what_is_planned_can_be_read_and_lies_ahead_of_what_is() {
        let format = time::macros::format_description!("[year]-[month]-[day]");
        let mut seen = 0;
        for (file, fact) in all() {
            for then in &fact.then {
                seen += 1;
                let from = time::Date::parse(&then.from, format).unwrap();
                assert!(
                    from.to_string().as_str() > fact.as_of.as_deref().unwrap(),
                    "{}",
                    fact.name
                );
            }
            assert_eq!(planned(&file.vendor, &fact.name).len(), fact.then.len());
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_known_model_costs_what_its_vendor_says() {
        let sonnet =
            known_models("anthropic").into_iter().find(|it| it.name == "claude-sonnet-4-5");
        let price = sonnet.unwrap().price.unwrap().price;
        assert_eq!(price.standard().at(200_001).output.to_string(), "22.50");
        assert_eq!(price.standard().rates.search.unwrap().dollars_each(), "0.01");
        let unsure = known_models("deepseek");
        assert!(unsure.iter().all(|it| it.price.is_none()));
    }

    #[test]
    fn what_is_typed_wrongly_is_told() {
        let typed = |all: &[(&str, &str)]| {
            let all = all.iter().map(|(class, text)| ((*class).to_owned(), (*text).to_owned()));
            rates(&all.collect()).map_err(|it| it.to_string())
        };
        assert!(typed(&[("input", "1"), ("output", "2")]).is_ok());
        assert!(typed(&[("input", "1")]).unwrap_err().contains("output"));
        assert!(
            typed(&[("input", "1"), ("output", "2"), ("fee", "3")]).unwrap_err().contains("fee")
        );
        let long = typed(&[("input", "0.0000001"), ("output", "2")]).unwrap_err();
        assert!(long.contains("input"), "{long}");
    }
}
