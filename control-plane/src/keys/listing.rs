//! Keys as they are looked through: some of them, page by page.

use std::str::FromStr;

use shared::ids::{ApiKeyId, ProjectId};

use super::{ApiKey, BadTerm, KeyError, Status, store};
use crate::{
    access::Work,
    web::{Part, Span},
};

/// Which keys to list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub which: Which,
    pub project: Option<ProjectId>,
    pub span: Span<ApiKeyId>,
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

pub async fn list(work: &mut Work, filter: &Filter) -> Result<Part<ApiKey, ApiKeyId>, KeyError> {
    let organization = work.organization;
    let read = store::list(work, organization, filter).await?;
    Ok(filter.span.part(read, |it| it.id))
}
