//! Keys as they are looked through: some of them, page by page.

use std::str::FromStr;

use shared::ids::{ApiKeyId, ProjectId};

use super::{ApiKey, BadTerm, KeyError, Status, store};
use crate::access::Work;

/// Which keys to list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub which: Which,
    pub project: Option<ProjectId>,
    /// The last key of the page before.
    pub after: Option<ApiKeyId>,
    pub most: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that were not revoked.
    Current,
    All,
    Only(Status),
}

impl FromStr for Which {
    type Err = BadTerm;

    fn from_str(text: &str) -> Result<Self, BadTerm> {
        match text {
            "" => Ok(Self::Current),
            "all" => Ok(Self::All),
            name => {
                let status = Status::ALL.into_iter().find(|it| it.name() == name);
                status.map(Self::Only).ok_or(BadTerm::State)
            }
        }
    }
}

/// A page of keys, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Listing {
    pub keys: Vec<ApiKey>,
    pub next: Option<ApiKeyId>,
}

pub async fn list(work: &mut Work, filter: &Filter) -> Result<Listing, KeyError> {
    let organization = work.organization;
    let mut keys = store::list(work, organization, filter).await?;
    let most = usize::from(filter.most);
    let next = (keys.len() > most).then(|| keys[most - 1].id);
    keys.truncate(most);
    Ok(Listing { keys, next })
}
