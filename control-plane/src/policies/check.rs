//! Whether a policy leads somewhere, and where it says what cannot be.

use std::fmt;

use shared::snapshot::{Target, Tier};

use crate::upstreams::Served;

/// The names that there are, for whoever the policy is for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub models: Vec<Served>,
    pub policies: Vec<String>,
}

impl Known {
    pub fn is_model(&self, name: &str) -> bool {
        self.models.iter().any(|it| it.name == name)
    }

    /// Whether anybody serves what a target leads to.
    pub fn is_served(&self, target: &Target) -> bool {
        match &target.provider {
            Some(provider) => self.serves(provider, &target.model),
            None => self.is_model(&target.model),
        }
    }

    fn serves(&self, provider: &str, model: &str) -> bool {
        self.models.iter().any(|it| it.name == model && it.vendor == provider)
    }
}

const MOST_TIERS: usize = 8;
const MOST_TARGETS: usize = 16;
const MOST_WEIGHT: u16 = 1000;

/// One thing that cannot be, and where it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub tier: Option<usize>,
    pub target: Option<usize>,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("a policy has from 1 to {MOST_TIERS} tiers")]
    Tiers,
    #[error("a tier has from 1 to {MOST_TARGETS} targets")]
    Targets,
    #[error("the weights of a tier are not all 0")]
    NoWeight,
    #[error("a weight is a whole number from 0 to {MOST_WEIGHT}")]
    Weight,
    #[error("there is no model {0:?}")]
    UnknownModel(String),
    #[error("{0:?} is a routing policy, and a policy leads to models only")]
    IsPolicy(String),
    #[error("no provider {provider:?} serves {model:?}")]
    NotThere { provider: String, model: String },
    #[error("the tier leads there already")]
    Twice,
}

impl Why {
    const fn field(&self) -> &'static str {
        match self {
            Self::Tiers | Self::Twice => "",
            Self::Targets | Self::NoWeight => ".targets",
            Self::Weight => ".weight",
            Self::UnknownModel(_) | Self::IsPolicy(_) => ".model",
            Self::NotThere { .. } => ".provider",
        }
    }
}

impl fmt::Display for Flaw {
    /// `tiers[0].targets[1].model: there is no model "x"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tiers")?;
        if let Some(tier) = self.tier {
            write!(f, "[{tier}]")?;
        }
        if let Some(target) = self.target {
            write!(f, ".targets[{target}]")?;
        }
        write!(f, "{}: {}", self.why.field(), self.why)
    }
}

/// Everything that is wrong, in the order in which it stands there.
pub(super) fn flaws(tiers: &[Tier], known: &Known) -> Vec<Flaw> {
    if !(1..=MOST_TIERS).contains(&tiers.len()) {
        return vec![Flaw { tier: None, target: None, why: Why::Tiers }];
    }
    let mut flaws = Vec::new();
    for (at, tier) in tiers.iter().enumerate() {
        let mut add = |target, why| flaws.push(Flaw { tier: Some(at), target, why });
        if !(1..=MOST_TARGETS).contains(&tier.targets.len()) {
            add(None, Why::Targets);
            continue;
        }
        for (place, target) in tier.targets.iter().enumerate() {
            let before = tier.targets.iter().take(place);
            if let Some(why) = flaw(target, before, known) {
                add(Some(place), why);
            }
        }
        if tier.targets.iter().all(|it| it.weight == 0) {
            add(None, Why::NoWeight);
        }
    }
    flaws
}

fn flaw<'a>(
    target: &Target,
    mut before: impl Iterator<Item = &'a Target>,
    known: &Known,
) -> Option<Why> {
    let model = &target.model;
    if !known.is_model(model) {
        let is_policy = known.policies.contains(model);
        let why = if is_policy { Why::IsPolicy } else { Why::UnknownModel };
        return Some(why(model.chars().take(100).collect()));
    }
    if let Some(provider) = target.provider.as_ref().filter(|it| !known.serves(it, model)) {
        let provider = provider.chars().take(100).collect();
        return Some(Why::NotThere { provider, model: model.clone() });
    }
    if target.weight > MOST_WEIGHT {
        return Some(Why::Weight);
    }
    let is_same = |it: &Target| it.model == *model && it.provider == target.provider;
    before.any(is_same).then_some(Why::Twice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(model: &str, provider: Option<&str>, weight: u16) -> Target {
        Target { model: model.to_owned(), provider: provider.map(str::to_owned), weight }
    }

    fn tier(targets: &[Target]) -> Tier {
        Tier { targets: targets.to_vec() }
    }

    fn known() -> Known {
        let served =
            |name: &str, vendor: &str| Served { name: name.to_owned(), vendor: vendor.to_owned() };
        Known {
            models: vec![
                served("small", "acme"),
                served("small", "other"),
                served("large", "acme"),
            ],
            policies: vec!["auto".to_owned(), "small".to_owned()],
        }
    }

    #[track_caller]
    fn check(tiers: &[Tier], expected: &[&str]) {
        let seen: Vec<_> = flaws(tiers, &known()).iter().map(ToString::to_string).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_alias_a_split_and_fallbacks_are_all_fine() {
        check(&[tier(&[target("small", None, 1)])], &[]);
        check(&[tier(&[target("small", Some("acme"), 9), target("large", None, 1)])], &[]);
        check(&[tier(&[target("small", None, 1)]), tier(&[target("large", None, 1)])], &[]);
        check(&[tier(&[target("small", None, 0), target("large", None, 1)])], &[]);
    }

    #[test]
    fn what_cannot_be_is_told_with_its_path() {
        check(&[], &["tiers: a policy has from 1 to 8 tiers"]);
        check(&[tier(&[])], &["tiers[0].targets: a tier has from 1 to 16 targets"]);
        check(
            &[tier(&[target("small", None, 1)]), tier(&[target("tiny", None, 1)])],
            &[r#"tiers[1].targets[0].model: there is no model "tiny""#],
        );
        check(
            &[tier(&[target("auto", None, 1)])],
            &[
                r#"tiers[0].targets[0].model: "auto" is a routing policy, and a policy leads to models only"#,
            ],
        );
        check(
            &[tier(&[target("large", Some("other"), 1)])],
            &[r#"tiers[0].targets[0].provider: no provider "other" serves "large""#],
        );
        check(
            &[tier(&[target("small", None, 0), target("small", None, 0)])],
            &[
                "tiers[0].targets[1]: the tier leads there already",
                "tiers[0].targets: the weights of a tier are not all 0",
            ],
        );
        check(
            &[tier(&[target("small", None, 1001)])],
            &["tiers[0].targets[0].weight: a weight is a whole number from 0 to 1000"],
        );
    }

    proptest! {
        #[test]
        fn what_is_fine_leads_somewhere(
            models in proptest::collection::vec(
                proptest::collection::vec(("small|large|auto|none", 0u16..1100), 0..4), 0..10),
        ) {
            let targets = |it: &Vec<(String, u16)>| Tier {
                targets: it.iter().map(|(model, weight)| target(model, None, *weight)).collect(),
            };
            let tiers: Vec<_> = models.iter().map(targets).collect();
            if flaws(&tiers, &known()).is_empty() {
                prop_assert!(!tiers.is_empty());
                for tier in &tiers {
                    prop_assert!(tier.targets.iter().any(|it| it.weight > 0));
                    prop_assert!(tier.targets.iter().all(|it| known().is_model(&it.model)));
                }
            }
        }
    }
}
