//! What a proxy asks the control plane about a call, for the key of a caller, and what it is
//! answered.
//!
//! Proxies have no database. A question goes into one list of Redis that is short and forgotten
//! soon, and the answer to a key of its own, which is forgotten sooner: who asked has given up by
//! then. All of it is in one slot.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    ids::{OrganizationId, ProjectId, RequestId},
    json, random,
};

/// The list. Answers are beside it.
pub const QUESTIONS: &str = "generations:{main}";
/// So many wait in it at most. All are answered within a second, so that nobody waits behind
/// those who have given up.
pub const MOST_WAITING: usize = 256;
/// How long the list lasts that nobody puts anything into, and an answer that nobody takes.
pub const LASTS_SECONDS: u64 = 10;

const USUAL: usize = 256;

/// For the record of a request. It is given to the project alone that the request was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// By which its answer is found. Another for each time that it is asked.
    pub id: String,
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub request: RequestId,
}

impl Question {
    pub fn new(organization: OrganizationId, project: ProjectId, request: RequestId) -> Self {
        Self { id: random::base62(20), organization, project, request }
    }

    /// Where its answer is put, if it is asked there.
    pub fn place(&self, list: &str) -> String {
        format!("{list}:{}", self.id)
    }

    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        json::written(self, USUAL)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotRead> {
        serde_json::from_slice(bytes).map_err(|_| NotRead)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The record, as callers are to read it.
    Found(Box<RawValue>),
    /// The project has no such request, or it is not in the log yet, or not any more.
    NotFound,
    /// The log cannot be read at present.
    Away,
}

impl Reply {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        json::written(self, USUAL)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotRead> {
        serde_json::from_slice(bytes).map_err(|_| NotRead)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it can be read neither as a question about a call nor as an answer to one")]
pub struct NotRead;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_its_answer_survive_the_journey() {
        let (organization, project) = (OrganizationId::generate(), ProjectId::generate());
        let question = Question::new(organization, project, RequestId::generate());
        assert_eq!(Question::decode(&question.encode()), Ok(question.clone()));
        assert_eq!(question.place("a:{b}"), format!("a:{{b}}:{}", question.id));

        let record = RawValue::from_string(r#"{"cost": 0.10, "a": [1]}"#.to_owned()).unwrap();
        let Ok(Reply::Found(read)) = Reply::decode(&Reply::Found(record).encode()) else {
            panic!()
        };
        assert_eq!(read.get(), r#"{"cost": 0.10, "a": [1]}"#);
        assert!(matches!(Reply::decode(&Reply::NotFound.encode()), Ok(Reply::NotFound)));
        assert!(matches!(Reply::decode(&Reply::Away.encode()), Ok(Reply::Away)));
        for nonsense in [&b"{}"[..], b"", b"7", b"\xff"] {
            assert_eq!(Question::decode(nonsense), Err(NotRead));
            assert!(Reply::decode(nonsense).is_err());
        }
    }
}
