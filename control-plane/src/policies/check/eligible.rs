//! Which models may take the calls of a choice, as far as that is known before there are any.

use std::fmt;

use data_plane::route::{self, Serving, Term};
use shared::snapshot::{Choice, Constraints, Target};

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

    pub fn serves(&self, provider: &str, model: &str) -> bool {
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

/// What keeps a model out, in words: by what proxies go by. The least that calls may read is asked,
/// for prices may grow with that.
fn unmet(it: &Constraints, served: &Served) -> Option<&'static str> {
    let there = Serving {
        model: &served.model,
        provider: &served.vendor,
        region: served.region.as_deref(),
        assures: served.assurances,
        price: served.model.price.as_ref().map(|it| &it.price),
    };
    route::unmet(it, there, 0).map(|term| match term {
        Term::Model => "is not among its models",
        Term::Provider => "is not at one of its providers",
        Term::Region => "is not known to be in its regions",
        Term::Retention => "is not known to keep nothing",
        Term::Training => "is not known not to learn from calls",
        Term::Price => "is not known to cost so little",
        Term::Context => "has a shorter context",
        Term::Ability => "cannot do all that it asks for",
        Term::Quantization => "is not known to have its quantization",
        Term::Cost => "costs more than calls may",
    })
}
