//! What a key may be for.

use serde::{Deserialize, Serialize};

/// An endpoint of the data plane that a key may be for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Chat,
    Completions,
    Responses,
    Messages,
    Embeddings,
    Moderations,
    Models,
}

impl Scope {
    pub const ALL: [Self; 7] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::Embeddings,
        Self::Moderations,
        Self::Models,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Models => "models",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or(UnknownScope)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is one of chat, completions, responses, messages, embeddings, moderations, models"
)]
pub struct UnknownScope;
