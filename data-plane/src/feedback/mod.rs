//! What callers say of answers: of a request of theirs, or of a prompt that they send along and
//! that was never asked here. Of such a prompt only its features go on.
//!
//! Always holds: what is taken is in Redis when the caller is told so; a key speaks for its own
//! project, and the control plane looks whether a request is of that; no word of a prompt goes on.

mod post;
mod said;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use shared::{
    event::Word,
    failure::{Classified, Code, Kind, Problem, code},
    feedback::{Feedback, MOST_AT_ONCE, MOST_WAITING},
    ids::FeedbackId,
};
use time::OffsetDateTime;

pub use self::{
    post::Post,
    said::{Said, read},
};
use crate::{authenticate::Caller, catalog::Snapshot, route};

/// So many prompts are judged before others get their turn.
pub const AT_A_TIME: usize = 16;

/// As it goes on, from a caller who may speak of the models that are judged.
pub fn judge(
    snapshot: &Snapshot,
    caller: &Caller,
    said: &[Said<'_>],
    now: OffsetDateTime,
) -> Result<Vec<Feedback>, NotFeedback> {
    said.iter().map(|it| judged(snapshot, caller, it, now)).collect()
}

fn judged(
    snapshot: &Snapshot,
    caller: &Caller,
    said: &Said<'_>,
    now: OffsetDateTime,
) -> Result<Feedback, NotFeedback> {
    if let Some(model) = &said.model {
        let found = route::find(snapshot, caller, model);
        found.map_err(|why| NotFeedback::Model { at: said.at, why: why.into() })?;
    }
    let judged = said.ask()?.map(|it| route::judged(&it));
    Ok(Feedback {
        id: FeedbackId::generate(),
        organization: caller.key.organization,
        project: caller.key.project,
        key: caller.key.id,
        request: said.request,
        model: said.model.clone(),
        task: judged.as_ref().map(|it| Word::Borrowed(it.task.name())),
        features: judged.map(|it| BASE64.encode(it.features.encode())),
        per_mille: said.per_mille,
        at: now,
    })
}

/// Which item of several, and nothing where there is one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub Option<usize>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(at) => write!(f, "items[{at}]: "),
            None => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotFeedback {
    #[error("The body is not a JSON object that we can read: {0}.")]
    NotJson(serde_json::Error),
    #[error("{at}it cannot be read: {why}.")]
    NotRead { at: At, why: serde_json::Error },
    #[error("`items` has to be a list of 1 to {MOST_AT_ONCE}.")]
    Count,
    #[error("{at}{what}")]
    Item { at: At, field: &'static str, what: &'static str },
    #[error("{at}{why}")]
    Prompt { at: At, why: crate::ask::NotAnAsk },
    #[error("{at}{why}")]
    Model { at: At, why: Box<route::NoRoute> },
    #[error("{MOST_WAITING} wait already for the control plane")]
    Full,
    #[error("Redis does not take it")]
    Away,
}

impl Classified for NotFeedback {
    fn kind(&self) -> Kind {
        match self {
            Self::NotJson(_)
            | Self::NotRead { .. }
            | Self::Count
            | Self::Item { .. }
            | Self::Prompt { .. } => Kind::Invalid,
            // Whoever has to act, it is the caller who named it.
            Self::Model { why, .. } if why.kind() == Kind::Unavailable => Kind::Invalid,
            Self::Model { why, .. } => why.kind(),
            Self::Full | Self::Away => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Model { why, .. } => why.code(),
            Self::Full | Self::Away => code::UNAVAILABLE,
            Self::NotJson(_)
            | Self::NotRead { .. }
            | Self::Count
            | Self::Item { .. }
            | Self::Prompt { .. } => code::INVALID_REQUEST,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Count => "items",
            Self::Item { field, .. } => field,
            Self::Prompt { .. } => "messages",
            Self::Model { .. } => "model",
            Self::NotJson(_) | Self::NotRead { .. } | Self::Full | Self::Away => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
