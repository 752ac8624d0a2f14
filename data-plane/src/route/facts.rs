//! What conditions of rules are told of a call. What takes a while to find out is found out when
//! a condition asks for it, and once.

use std::{collections::BTreeMap, sync::OnceLock};

use shared::{
    condition,
    ids::{ApiKeyId, OrganizationId, ProjectId},
};
use time::OffsetDateTime;

use super::{Asked, Sight, eligible::Call, judging::Judging};
use crate::authenticate::Caller;

pub(super) struct Facts<'a> {
    pub sight: Sight<'a>,
    pub caller: &'a Caller,
    pub asked: &'a dyn Asked,
    pub call: &'a Call<'a>,
    pub judging: &'a Judging<'a>,
    pub found: &'a Found,
}

/// What conditions asked for that nobody else does.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub metadata: OnceLock<BTreeMap<String, String>>,
    pub user: OnceLock<String>,
    pub budget_used_percent: OnceLock<u64>,
    /// What a session is told by. Rules do not ask for it; choices that stick do.
    pub session: OnceLock<Option<u128>>,
}

impl condition::Facts for Facts<'_> {
    fn model(&self) -> &str {
        &self.asked.outline().model
    }

    fn endpoint(&self) -> &str {
        self.call.form.scope().name()
    }

    fn is_stream(&self) -> bool {
        self.asked.outline().is_streaming
    }

    fn has_tools(&self) -> bool {
        self.call.needs.tools
    }

    fn has_images(&self) -> bool {
        self.call.needs.images
    }

    fn input_tokens(&self) -> u64 {
        self.call.input
    }

    fn max_output_tokens(&self) -> u64 {
        self.call.cap.unwrap_or(0)
    }

    fn key(&self) -> ApiKeyId {
        self.caller.key.id
    }

    fn project(&self) -> ProjectId {
        self.caller.key.project
    }

    fn organization(&self) -> OrganizationId {
        self.caller.organization()
    }

    fn tags(&self) -> &BTreeMap<String, String> {
        self.asked.tags()
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        self.found.metadata.get_or_init(|| self.asked.metadata())
    }

    fn user(&self) -> &str {
        self.found.user.get_or_init(|| self.asked.user())
    }

    fn task(&self) -> &str {
        self.judging.seen().judged.task.name()
    }

    fn language(&self) -> &str {
        self.judging.seen().judged.language.code()
    }

    fn complexity(&self) -> f64 {
        self.judging.seen().judged.complexity().into()
    }

    fn budget_used_percent(&self) -> u64 {
        *self.found.budget_used_percent.get_or_init(|| (self.sight.budget_used_percent)())
    }

    fn now(&self) -> OffsetDateTime {
        let nanos = i128::from(self.sight.now_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}
