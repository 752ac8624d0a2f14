//! That nobody can answer a call, and why.

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::ApiKeyId,
};

use super::{Whose, Why};

/// So many models are named that might do instead.
pub(super) const MOST_ALTERNATIVES: usize = 5;
/// So many candidates are told of in words.
const MOST_TOLD: usize = 5;

/// As much of a name as an error message has room for.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("No model {name:?}.{}", did_you_mean(meant.as_deref()))]
    Unknown { name: String, meant: Option<String> },
    #[error(
        "Your organization has disabled the model {name:?}. GET /v1/models lists those there are."
    )]
    Disabled { name: String },
    #[error(
        "Your organization's own provider of {name:?} cannot be called, and no other is asked \
         instead. Ask an admin of your organization to look at the provider."
    )]
    Shut { name: String },
    #[error("Your key may not use the model {name:?}. {}", instead(alternatives))]
    NotAllowed { name: String, alternatives: Vec<String>, key: ApiKeyId },
    #[error(
        "No model that {name:?} leads to can take the call: {}. {}",
        reasons(excluded),
        what_helps(*version, excluded)
    )]
    Nowhere {
        name: String,
        /// Nothing where the name is a model's.
        version: Option<u32>,
        excluded: Vec<Excluded>,
    },
    #[error("There is no policy {name:?}, which x-turnpike-policy names.")]
    NoPolicy { name: String },
    #[error("The body names no model. Say which one: {{\"model\": \"auto\", …}}.")]
    NoModel,
    #[error(
        "The policy that all calls of your {} have to keep to is not there at present. Ask an \
         admin of your organization to look at it.",
        .whose.name()
    )]
    NotToBeKept { whose: Whose },
}

/// A model to which a name leads, and why it is out of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    pub model: String,
    pub provider: Option<String>,
    pub why: Why,
}

/// Whether a call that asks for less would be served.
fn is_the_calls(excluded: &[Excluded]) -> bool {
    excluded.iter().any(|it| it.why.is_the_calls())
}

fn what_helps(version: Option<u32>, excluded: &[Excluded]) -> &'static str {
    match version {
        _ if is_the_calls(excluded) => "Ask for less, or name another model.",
        Some(_) => "Ask an admin of your organization to look at the policy.",
        None => "Name another model.",
    }
}

/// `It may use "a", "b" or "c".`
pub(super) fn instead(alternatives: &[String]) -> String {
    let quoted: Vec<_> = alternatives.iter().map(|it| format!("{it:?}")).collect();
    match quoted.split_last() {
        None => "None that it may use is served at present.".to_owned(),
        Some((only, [])) => format!("It may use {only}."),
        Some((last, others)) if alternatives.len() < MOST_ALTERNATIVES => {
            format!("It may use {} or {last}.", others.join(", "))
        }
        Some(_) => format!("It may use {}: GET /v1/models lists all.", quoted.join(", ")),
    }
}

/// `"a" (nobody serves it at present), "b" at openai (that provider does not serve it)`
fn reasons(excluded: &[Excluded]) -> String {
    let told = |it: &Excluded| {
        let at = it.provider.as_ref().map(|it| format!(" at {it}")).unwrap_or_default();
        format!("{:?}{at} ({})", it.model, it.why.about())
    };
    let mut told: Vec<_> = excluded.iter().take(MOST_TOLD).map(told).collect();
    match excluded.len() {
        0 => told.push("it leads to none".to_owned()),
        all if all > MOST_TOLD => told.push(format!("and {} more", all - MOST_TOLD)),
        _ => (),
    }
    told.join(", ")
}

impl NoRoute {
    /// The key whose list of models is at fault.
    pub fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::NotAllowed { key, .. } => Some(*key),
            Self::Unknown { .. }
            | Self::Disabled { .. }
            | Self::Shut { .. }
            | Self::NoPolicy { .. }
            | Self::NoModel
            | Self::NotToBeKept { .. }
            | Self::Nowhere { .. } => None,
        }
    }

    /// The same for programs, where there is more to say.
    pub fn details(&self) -> Option<Value> {
        match self {
            Self::NotAllowed { alternatives, key, .. } => {
                Some(json!({ "alternatives": alternatives, "key": key }))
            }
            Self::Nowhere { name, version, excluded } => {
                let policy = version.map(|it| format!("{name}@{it}"));
                Some(json!({ "policy": policy, "candidates": excluded }))
            }
            Self::Unknown { meant, .. } => meant.as_ref().map(|it| json!({ "alternatives": [it] })),
            Self::Disabled { .. }
            | Self::Shut { .. }
            | Self::NoPolicy { .. }
            | Self::NoModel
            | Self::NotToBeKept { .. } => None,
        }
    }
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(" GET /v1/models lists those there are.".to_owned(), |it| {
        format!(" Did you mean {it:?}?")
    })
}

impl Classified for NoRoute {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::Disabled { .. } | Self::NoPolicy { .. } => Kind::NotFound,
            Self::NotAllowed { .. } => Kind::Forbidden,
            // Another call would be served, and this one never.
            Self::Nowhere { excluded, .. } if is_the_calls(excluded) => Kind::Invalid,
            Self::NoModel => Kind::Invalid,
            Self::Nowhere { .. } | Self::Shut { .. } | Self::NotToBeKept { .. } => {
                Kind::Unavailable
            }
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } | Self::Disabled { .. } | Self::NoPolicy { .. } => {
                code::MODEL_NOT_FOUND
            }
            Self::NotAllowed { .. } => code::MODEL_NOT_ALLOWED,
            Self::NoModel => code::INVALID_REQUEST,
            Self::Nowhere { .. } | Self::Shut { .. } | Self::NotToBeKept { .. } => {
                code::NO_ELIGIBLE_MODEL
            }
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::NoPolicy { .. } => "x-turnpike-policy",
            Self::Unknown { .. }
            | Self::Disabled { .. }
            | Self::Shut { .. }
            | Self::NotAllowed { .. }
            | Self::NoModel
            | Self::NotToBeKept { .. }
            | Self::Nowhere { .. } => "model",
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
