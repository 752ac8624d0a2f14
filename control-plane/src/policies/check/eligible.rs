//! Which models may take the calls of a choice, as far as that is known before there are any.

use std::fmt;

use shared::{
    money::{Class, UnitPrice},
    snapshot::{Choice, Constraints, Target},
};

use crate::upstreams::Served;

/// The models and names that there are, for whoever the policy is for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub models: Vec<Served>,
    pub policies: Vec<String>,
}

impl Known {
    pub fn is_model(&self, name: &str) -> bool {
        self.models.iter().any(|it| it.model.name == name)
    }

    pub fn is_provider(&self, name: &str) -> bool {
        self.models.iter().any(|it| it.vendor == name)
    }

    /// Whether anybody serves what a target leads to.
    pub fn is_served(&self, target: &Target) -> bool {
        self.at(target).next().is_some()
    }

    pub(super) fn serves(&self, provider: &str, model: &str) -> bool {
        self.models.iter().any(|it| it.model.name == model && it.vendor == provider)
    }

    fn at<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a Served> {
        let is_there = |it: &&Served| target.provider.as_ref().is_none_or(|at| *at == it.vendor);
        self.models.iter().filter(|it| it.model.name == target.model).filter(is_there)
    }

    /// What a choice is among, whatever its constraints.
    fn candidates<'a>(&'a self, choice: &'a Choice) -> Vec<&'a Served> {
        let targets = || choice.tiers.iter().flat_map(|it| &it.targets);
        match targets().next() {
            Some(_) => targets().flat_map(|it| self.at(it)).collect(),
            None => self.models.iter().filter(|it| it.model.max_output_tokens > 0).collect(),
        }
    }

    /// What of it meets the choice's constraints.
    pub(super) fn eligible<'a>(&'a self, choice: &'a Choice) -> Vec<&'a Served> {
        let mut all = self.candidates(choice);
        all.retain(|it| unmet(&choice.constraints, it).is_none());
        all
    }

    /// Why nothing is left to choose from, where that is so.
    pub(super) fn nobody_for(&self, choice: &Choice) -> Option<Nobody> {
        let mut reasons: Vec<(String, &'static str)> = Vec::new();
        for it in self.candidates(choice) {
            let why = unmet(&choice.constraints, it)?;
            let name = format!("{} at {}", it.model.name, it.vendor);
            if !reasons.iter().any(|known| known.0 == name) {
                reasons.push((name, why));
            }
        }
        Some(Nobody(reasons))
    }
}

/// Each model that there is, and what keeps it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nobody(Vec<(String, &'static str)>);

const MOST_TOLD: usize = 5;

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none is served");
        }
        let told: Vec<_> =
            self.0.iter().take(MOST_TOLD).map(|(name, why)| format!("{name} {why}")).collect();
        f.write_str(&told.join(", "))?;
        match self.0.len().saturating_sub(MOST_TOLD) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// The first constraint that keeps a model out. What is not known of it is taken for what it must
/// not be, as proxies do.
fn unmet(it: &Constraints, served: &Served) -> Option<&'static str> {
    let model = &served.model;
    let lists = |list: &[String], word: &str| list.iter().any(|it| it == word);
    let among = |list: &[String], word: Option<&str>| {
        list.is_empty() || word.is_some_and(|word| lists(list, word))
    };
    let beyond = |class: Class, most: Option<u64>| {
        most.is_some_and(|most| price(served, class).is_none_or(|it| it > most))
    };
    [
        (!among(&it.models, Some(&model.name)), "is not among its models"),
        (lists(&it.not_models, &model.name), "is a model that it excludes"),
        (!among(&it.providers, Some(&served.vendor)), "is not at one of its providers"),
        (lists(&it.not_providers, &served.vendor), "is at a provider that it excludes"),
        (!among(&it.regions, served.region.as_deref()), "is not known to be in its regions"),
        (it.zero_retention && !served.assurances.zero_retention, "is not known to keep nothing"),
        (it.no_training && !served.assurances.no_training, "is not known not to learn from calls"),
        (beyond(Class::Input, it.most_input_price), "is not known to read for so little"),
        (beyond(Class::Output, it.most_output_price), "is not known to write for so little"),
        (
            it.least_context.is_some_and(|least| model.context_length < least),
            "has a shorter context",
        ),
        (
            it.capabilities.iter().any(|can| !model.capabilities.contains(can)),
            "cannot do all that it asks for",
        ),
        (
            !among(&it.quantizations, model.quantization.as_deref()),
            "is not known to have its quantization",
        ),
    ]
    .into_iter()
    .find_map(|(is_unmet, why)| is_unmet.then_some(why))
}

/// For a million tokens, in millionths of a dollar: as many as pico-dollars for one.
fn price(served: &Served, class: Class) -> Option<u64> {
    let price = served.model.price.as_ref()?;
    let rates = &price.price.standard().rates;
    let unit: Option<UnitPrice> = rates.of(class);
    unit.and_then(|it| u64::try_from(it.picos()).ok())
}
