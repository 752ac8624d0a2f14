//! Why something cannot be done with a policy.

use shared::failure::{Classified, Code, Kind, Problem, code};

use super::{Flaws, MOST, Stranded, StrandedTenants};
use crate::{keys::KeyError, snapshots, upstreams};

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("a policy's name has 1 to 128 letters, digits and signs, and no spaces or commas")]
    BadName,
    #[error("there is already a policy of that name")]
    NameTaken,
    #[error("you have {MOST} policies, which is the most")]
    TooMany,
    #[error("{0}")]
    Flawed(Flaws),
    #[error(
        "{0}. Say that it is to be published nevertheless, or change it so that it leads them \
         somewhere"
    )]
    Strands(Stranded),
    #[error("{0}. Say that it is to be published nevertheless, or change it")]
    StrandsTenants(StrandedTenants),
    #[error("a version that some of the calls get has from 1 to 99 percent of them")]
    Percent,
    #[error("a policy gets another name for all calls at once, and not for some")]
    StagedName,
    #[error("the policy has no draft")]
    NoDraft,
    #[error("no version of the policy is with some of the calls only")]
    NoStage,
    #[error("somebody changed the policy meanwhile: look at it again")]
    Outdated,
    #[error("the platform's policies are changed by its operators")]
    Platforms,
    #[error("there is no such policy")]
    NotFound,
    #[error("the policy has no such version")]
    NoVersion,
    #[error("the policy is archived: restore it first")]
    Archived,
    #[error("the calls could not be decided again")]
    NotSimulated,
    #[error("what proxies are told could not be read")]
    Snapshot(#[from] snapshots::SnapshotError),
    #[error("it is in use: {} {} by it. Let them go by another first", .0.join(", "), if .0.len() == 1 { "goes" } else { "go" })]
    InUse(Vec<String>),
    #[error(transparent)]
    Upstream(#[from] upstreams::UpstreamError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the store of policies failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for PolicyError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName
            | Self::Flawed(_)
            | Self::NoVersion
            | Self::Percent
            | Self::StagedName => Kind::Invalid,
            Self::NameTaken
            | Self::TooMany
            | Self::Outdated
            | Self::Archived
            | Self::InUse(_)
            | Self::Strands(_)
            | Self::StrandsTenants(_)
            | Self::NoDraft
            | Self::NoStage => Kind::Conflict,
            Self::Platforms => Kind::Forbidden,
            Self::NotSimulated => Kind::Internal,
            Self::Snapshot(error) => error.kind(),
            Self::NotFound => Kind::NotFound,
            Self::Upstream(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::Upstream(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::BadName
            | Self::TooMany
            | Self::Flawed(_)
            | Self::Outdated
            | Self::Platforms
            | Self::NotFound
            | Self::NoVersion
            | Self::Strands(_)
            | Self::StrandsTenants(_)
            | Self::InUse(_)
            | Self::Percent
            | Self::StagedName
            | Self::NoDraft
            | Self::NoStage
            | Self::NotSimulated
            | Self::Snapshot(_)
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken | Self::TooMany | Self::StagedName => "name",
            Self::Flawed(flaws) => return flaws.problems(),
            Self::Percent => "percent",
            Self::Strands(_) | Self::StrandsTenants(_) => "nevertheless",
            Self::NoVersion => "version",
            Self::Outdated
            | Self::Platforms
            | Self::NotFound
            | Self::Archived
            | Self::InUse(_)
            | Self::NoDraft
            | Self::NoStage
            | Self::NotSimulated
            | Self::Snapshot(_)
            | Self::Upstream(_)
            | Self::Key(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
