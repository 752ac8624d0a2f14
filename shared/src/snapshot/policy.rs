//! Which models answer to a name.

use serde::{Deserialize, Serialize};

use super::Capability;
use crate::ids::{OrganizationId, PolicyId};

/// A name that callers ask for instead of a model, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub id: PolicyId,
    /// Whose callers it is for; everybody's when `None`. An organization's own wins.
    pub organization: Option<OrganizationId>,
    pub name: String,
    /// Grows with every change. Answers say by which one they were routed.
    pub version: u32,
    pub document: Document,
    /// What is tried on some of the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
}

/// A version that some of the calls get before all do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    pub version: u32,
    pub document: Document,
    pub percent: u8,
    pub by: StagedBy,
}

/// What the share is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StagedBy {
    /// Each call is drawn for.
    Calls,
    /// A key always gets the same, and one that has it keeps it when the share grows.
    Keys,
}

/// What a policy says: what a proxy does not know of it, it must not pass over, for that may be
/// what keeps a call out of a place. So a field that is not known makes all of it unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The first whose condition holds decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What decides where none does.
    pub otherwise: Choice,
}

/// A choice for some calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    /// A CEL expression that is true or false.
    pub when: String,
    pub choose: Choice,
}

/// Among which models is chosen, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    #[serde(default)]
    pub strategy: Strategy,
    /// What `auto` and `balanced` are to come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Tried in this order: a tier is left when all its targets have failed. None at all are
    /// every model that writes and that the caller may use, for strategies that compare models.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    #[serde(default, skip_serializing_if = "Constraints::are_none")]
    pub constraints: Constraints,
}

/// In which order the targets of a tier are tried.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// There is but one.
    Pinned,
    /// Drawn by their weights.
    #[default]
    Weighted,
    /// As they stand there.
    Priority,
    Cheapest,
    /// By what was seen of their upstreams lately.
    Fastest,
    /// By what is expected of their answers to such a prompt.
    Best,
    /// By quality, cost and time together.
    Balanced,
    /// The cheapest that is expected to reach the goal for such a prompt.
    Auto,
}

impl Strategy {
    /// With the words that documents use.
    pub const ALL: [(Self, &str); 8] = [
        (Self::Pinned, "pinned"),
        (Self::Weighted, "weighted"),
        (Self::Priority, "priority"),
        (Self::Cheapest, "cheapest"),
        (Self::Fastest, "fastest"),
        (Self::Best, "best"),
        (Self::Balanced, "balanced"),
        (Self::Auto, "auto"),
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Weighted => "weighted",
            Self::Priority => "priority",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Best => "best",
            Self::Balanced => "balanced",
            Self::Auto => "auto",
        }
    }

    /// Whether models are compared with each other, rather than listed by whoever wrote it.
    pub const fn compares(self) -> bool {
        match self {
            Self::Pinned | Self::Weighted | Self::Priority => false,
            Self::Cheapest | Self::Fastest | Self::Best | Self::Balanced | Self::Auto => true,
        }
    }
}

/// What choices by quality are to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// As cheap as it gets with this share of the quality that the best one has.
    QualityPercent(u8),
    /// The best for at most this share of what the dearest costs.
    CostPercent(u8),
    /// The best for at most so much a call, in millionths of a dollar.
    MostMicroDollars(u64),
}

/// What a model, and the place that serves it, must be. What is not known of a place is taken
/// for what it must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Constraints {
    /// These only, where any are named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_models: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_providers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Nothing of a call is kept there.
    #[serde(skip_serializing_if = "is_false")]
    pub zero_retention: bool,
    /// Nothing is learned there from what callers send.
    #[serde(skip_serializing_if = "is_false")]
    pub no_training: bool,
    /// For a million tokens, in millionths of a dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_input_price: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_output_price: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_context: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantizations: Vec<String>,
}

impl Constraints {
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(it: &bool) -> bool {
    !it
}

/// Targets among which is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub targets: Vec<Target>,
}

/// A model, by the name that callers would use, and at one provider where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub model: String,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default = "one")]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

impl Document {
    /// Tiers whose targets share the calls by their weights.
    pub fn of_tiers(tiers: Vec<Tier>) -> Self {
        Self { rules: Vec::new(), otherwise: Choice { tiers, ..Choice::default() } }
    }

    /// In the order in which they are asked.
    pub fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.rules.iter().map(|it| &it.choose).chain([&self.otherwise])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_passed_over() {
        let read = |text: &str| serde_json::from_str::<Document>(text);
        assert!(read(r#"{"otherwise": {"tiers": []}}"#).is_ok());
        for odd in [
            r#"{"otherwise": {"tiers": []}, "shadow": true}"#,
            r#"{"otherwise": {"constraints": {"region": "eu"}}}"#,
            r#"{"otherwise": {"strategy": "dearest"}}"#,
            r#"{"otherwise": {"goal": {"happiness": 9}}}"#,
            r#"{"rules": [{"name": "a", "choose": {}}], "otherwise": {}}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn each_strategy_is_called_as_documents_say() {
        for (it, name) in Strategy::ALL {
            assert_eq!(it.name(), name);
            assert_eq!(serde_json::to_value(it).unwrap(), name);
        }
    }

    #[test]
    fn a_document_says_little_where_there_is_little_to_say() {
        let target = Target { model: "a".into(), provider: None, weight: 1 };
        let document = Document::of_tiers(vec![Tier { targets: vec![target] }]);
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            r#"{"otherwise":{"strategy":"weighted","tiers":[{"targets":[{"model":"a","provider":null,"weight":1}]}]}}"#
        );
    }
}
