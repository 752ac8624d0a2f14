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
    /// After which failures somebody else is asked. After all of them where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// How often, and for how long, a call is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// That a session keeps its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stick: Option<Stick>,
    /// That the next is asked as well where an answer does not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
}

/// When the next candidate is asked: another model, another provider or another credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// After none, where there are none.
    pub on: Vec<Failed>,
}

/// How an attempt fails after which another may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// The call is too long for the model.
    TooLong,
    /// There is no such model.
    Model,
    /// Our credential is not known.
    Credential,
    /// It said no: it may not like what was asked.
    Refused,
    RateLimited,
    /// It said that it failed.
    Server,
    Unreachable,
    /// The connection broke.
    Lost,
    TimedOut,
    NotAnAnswer,
    /// It answered with more than there is room for.
    TooMuch,
    /// Nothing was sent: the provider has no words for what is asked.
    Unsaid,
    /// Nothing was sent: too many calls have failed there.
    LeftAlone,
}

impl Failed {
    /// With the words that documents use.
    pub const ALL: [(Self, &str); 13] = [
        (Self::TooLong, "too_long"),
        (Self::Model, "model"),
        (Self::Credential, "credential"),
        (Self::Refused, "refused"),
        (Self::RateLimited, "rate_limited"),
        (Self::Server, "server"),
        (Self::Unreachable, "unreachable"),
        (Self::Lost, "lost"),
        (Self::TimedOut, "timed_out"),
        (Self::NotAnAnswer, "not_an_answer"),
        (Self::TooMuch, "too_much"),
        (Self::Unsaid, "unsaid"),
        (Self::LeftAlone, "left_alone"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|it| it.0 == self).map_or("", |it| it.1)
    }
}

/// Only ever fewer and shorter than what holds without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often a call is sent to anybody, from 1 to 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u8>,
    /// Until an answer begins, of each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_seconds: Option<u32>,
    /// Until the end of the answer, of all attempts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<u32>,
}

impl Retry {
    pub const MOST_ATTEMPTS: u8 = 16;
}

/// A session is what the caller calls one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stick {
    /// Since its last call, from 1 to 1,440.
    #[serde(default = "half_an_hour")]
    pub minutes: u16,
}

impl Stick {
    pub const MOST_MINUTES: u16 = 1_440;
}

const fn half_an_hour() -> u16 {
    30
}

/// Who begins first answers; the other is hung up on or heard out, and is paid for as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    pub after: After,
    /// Of the policy's calls, from 1 to 20 percent.
    #[serde(default = "a_twentieth")]
    pub most_percent: u8,
}

impl Hedge {
    pub const MOST_PERCENT: u8 = 20;
    pub const MILLISECONDS: std::ops::RangeInclusive<u32> = 50..=60_000;
}

const fn a_twentieth() -> u8 {
    5
}

/// How long an answer has to begin before somebody else is asked as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum After {
    /// Longer than so many of the model's answers took there lately.
    Usual(Usual),
    /// In milliseconds, from 50 to 60,000.
    Milliseconds(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Usual {
    /// Nineteen of twenty.
    #[serde(rename = "p95")]
    P95,
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
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
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
            r#"{"otherwise": {"fallback": {"on": ["bored"]}}}"#,
            r#"{"otherwise": {"hedge": {"after": "p50"}}}"#,
            r#"{"otherwise": {"retry": {"tries": 3}}}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn how_calls_are_tried_is_said_in_few_words() {
        let text = r#"{"strategy":"weighted","tiers":[],"fallback":{"on":["rate_limited"]},"retry":{"attempts":3},"stick":{"minutes":30},"hedge":{"after":"p95","most_percent":5}}"#;
        let choice: Choice = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&choice).unwrap(), text);
        let short = r#"{"stick":{},"hedge":{"after":"p95"}}"#;
        let short: Choice = serde_json::from_str(short).unwrap();
        assert_eq!((short.stick, short.hedge), (choice.stick, choice.hedge));
        let after = |it: &str| serde_json::from_str::<Hedge>(it).unwrap().after;
        assert_eq!(after(r#"{"after":800}"#), After::Milliseconds(800));
        for (it, name) in Failed::ALL {
            assert_eq!(serde_json::to_value(it).unwrap(), name);
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
