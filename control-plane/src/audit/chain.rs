//! The rule that ties entries together, and a walk along them that sees where it broke.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use shared::ids::OrganizationId;
use time::OffsetDateTime;

/// An entry as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub seq: i64,
    pub at: OffsetDateTime,
    pub body: String,
    pub hash: Vec<u8>,
}

/// Where a chain says that it ends.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub organization: OrganizationId,
    pub seq: i64,
    pub hash: Vec<u8>,
}

/// The hash that an entry must carry: the same rule as the database's `app.audit_hash`,
/// computed here so that a changed function there does not hide a changed entry.
pub(super) fn hash(previous: &[u8], organization: OrganizationId, link: &Link) -> Vec<u8> {
    let micros = link.at.unix_timestamp_nanos().div_euclid(1_000);
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(format!("{}|{}|{micros}|", organization.uuid(), link.seq).as_bytes());
    context.update(link.body.as_bytes());
    context.finish().as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Something that a chain nobody tampered with does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The entry, or the hash of the one before it, is not what was written.
    Changed {
        seq: i64,
    },
    Missing {
        first: i64,
        last: i64,
    },
    /// An entry that nobody appended.
    Misplaced {
        seq: i64,
    },
    /// Entries are missing at the end.
    CutTail {
        last: i64,
        head: i64,
    },
    /// Entries follow after the end.
    BeyondHead {
        last: i64,
        head: i64,
    },
    /// The end has another hash than the last entry.
    HeadChanged {
        seq: i64,
    },
    /// An entry has another hash than was signed, though the chain fits together: it
    /// was written anew up to there.
    Rewritten {
        seq: i64,
    },
    /// The chain ends before an entry whose hash was signed.
    CutBelowCheckpoint {
        last: i64,
        signed: i64,
    },
    /// A line of the checkpoints that nobody with the key has signed.
    BadCheckpoint {
        line: usize,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => {
                write!(f, "entry {seq} is not as it was written, or the hash before it is not")
            }
            Self::Missing { first, last } if first == last => write!(f, "entry {first} is missing"),
            Self::Missing { first, last } => write!(f, "entries {first} to {last} are missing"),
            Self::Misplaced { seq } => write!(f, "entry {seq} was never appended"),
            Self::CutTail { last, head } => {
                write!(f, "the tail is cut: the last entry is {last}, and there were {head}")
            }
            Self::BeyondHead { last, head } => {
                write!(f, "the chain ends at entry {head}, and entries follow up to {last}")
            }
            Self::HeadChanged { seq } => {
                write!(f, "the chain's end has another hash than its last entry, {seq}")
            }
            Self::Rewritten { seq } => {
                write!(
                    f,
                    "the chain was written anew: entry {seq} has another hash than was signed"
                )
            }
            Self::CutBelowCheckpoint { last, signed } => {
                write!(
                    f,
                    "the tail is cut: the last entry is {last}, and entry {signed} was signed"
                )
            }
            Self::BadCheckpoint { line } => {
                write!(f, "line {line} of the checkpoints is not signed with this key")
            }
        }
    }
}

/// Goes along a chain, entry by entry in order.
pub(super) struct Walk {
    organization: OrganizationId,
    seq: i64,
    /// Of the entry passed last; none where it is missing.
    hash: Option<Vec<u8>>,
    pub findings: Vec<Finding>,
}

impl Walk {
    pub fn from_the_start(organization: OrganizationId) -> Self {
        Self { organization, seq: 0, hash: Some(Vec::new()), findings: Vec::new() }
    }

    /// From an entry that is taken as it is.
    pub fn from_link(organization: OrganizationId, link: &Link) -> Self {
        let hash = Some(link.hash.clone());
        Self { organization, seq: link.seq, hash, findings: Vec::new() }
    }

    pub fn last(&self) -> i64 {
        self.seq
    }

    pub fn pass(&mut self, link: &Link) {
        if link.seq <= self.seq {
            self.findings.push(Finding::Misplaced { seq: link.seq });
            return;
        }
        if link.seq > self.seq + 1 {
            self.findings.push(Finding::Missing { first: self.seq + 1, last: link.seq - 1 });
            self.hash = None;
        }
        let must = self.hash.as_ref().map(|it| hash(it, self.organization, link));
        if must.is_some_and(|it| it != link.hash) {
            self.findings.push(Finding::Changed { seq: link.seq });
        }
        self.seq = link.seq;
        self.hash = Some(link.hash.clone());
    }

    pub fn finish(&mut self, end: &End) {
        let last = self.seq;
        if end.seq > last {
            self.findings.push(Finding::CutTail { last, head: end.seq });
        } else if end.seq < last {
            self.findings.push(Finding::BeyondHead { last, head: end.seq });
        } else if self.hash.as_ref() != Some(&end.hash) {
            self.findings.push(Finding::HeadChanged { seq: last });
        }
    }
}
