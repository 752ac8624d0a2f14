//! What Redis is asked of a call's budgets when it is asked of its limits.

use shared::{
    counters::{Amounts, Epoch, Shard},
    ids::{ApiKeyId, RequestId},
    snapshot::Budget,
};

use crate::budgets::Edges;

/// Whose call it is, and what it wants to hold of which budgets.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub shard: Shard,
    pub epoch: Epoch,
    pub call: RequestId,
    pub key: ApiKeyId,
    pub budgets: &'a [Wanted<'a>],
}

/// What a call wants to hold of a budget, and between which moments its windows are, as far
/// as we know.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub budget: &'a Budget,
    pub wanted: Amounts,
    pub edges: Edges,
}
