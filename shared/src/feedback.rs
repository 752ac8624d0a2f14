//! What a caller said of an answer, on its way from a proxy to the control plane.
//!
//! It holds no prompt: of one that was sent along only its features are left. It travels as JSON
//! in an entry of one Redis Stream, under a field named after the version, as events do.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    event::Word,
    ids::{ApiKeyId, FeedbackId, OrganizationId, ProjectId, RequestId},
    json,
};

/// The field of an entry that holds it.
pub const FIELD: &str = "v1";
/// The stream.
pub const STREAM: &str = "feedback:{main}";
/// So many wait in the stream at most; who sends more is asked to come back.
pub const MOST_WAITING: usize = 20_000;
/// So many are taken with one call.
pub const MOST_AT_ONCE: usize = 1_000;
/// The score of an answer than which none is better.
pub const BEST: u16 = 1_000;

const USUAL: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// By which it counts once, however often it travels.
    pub id: FeedbackId,
    pub organization: OrganizationId,
    pub project: ProjectId,
    /// Whose key said it.
    pub key: ApiKeyId,
    /// The request that it is about; none where it is about a prompt alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Who is judged. Who answered the request where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What a prompt that was sent along was taken for, and what it is like, as the router keeps
    /// it, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// From 0 to [`BEST`].
    pub per_mille: u16,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Feedback {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        json::written(self, USUAL)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotFeedback> {
        let it: Self = serde_json::from_slice(bytes).map_err(|_| NotFeedback)?;
        if it.per_mille <= BEST { Ok(it) } else { Err(NotFeedback) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read as feedback")]
pub struct NotFeedback;

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(per_mille: u16) -> Feedback {
        Feedback {
            id: FeedbackId::generate(),
            organization: OrganizationId::generate(),
            project: ProjectId::generate(),
            key: ApiKeyId::generate(),
            request: None,
            model: Some("gpt-5".into()),
            task: Some("code".into()),
            features: Some("AQ".into()),
            per_mille,
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn it_survives_the_journey_unless_it_is_none() {
        let of = Feedback { request: Some(RequestId::generate()), ..feedback(BEST) };
        for it in [feedback(0), of] {
            assert_eq!(Feedback::decode(&it.encode()), Ok(it));
        }
        assert_eq!(Feedback::decode(&feedback(BEST + 1).encode()), Err(NotFeedback));
        assert_eq!(Feedback::decode(b"{}"), Err(NotFeedback));
    }
}
