//! What conditions of rules are told of a call. What takes a while to find out is found out when
//! a condition asks for it, and once.

use std::{collections::BTreeMap, sync::OnceLock};

use shared::{
    condition,
    ids::{ApiKeyId, OrganizationId, ProjectId},
};
use time::OffsetDateTime;

use super::{Sight, eligible::Call, judging::Judging};
use crate::{ask::Ask, authenticate::Caller};

pub(super) struct Facts<'a> {
    pub sight: Sight<'a>,
    pub caller: &'a Caller,
    pub ask: &'a Ask,
    pub call: &'a Call<'a>,
    pub judging: &'a Judging<'a>,
    metadata: OnceLock<BTreeMap<String, String>>,
    user: OnceLock<String>,
}

impl<'a> Facts<'a> {
    pub fn of(
        sight: Sight<'a>,
        caller: &'a Caller,
        call: &'a Call<'a>,
        judging: &'a Judging<'a>,
    ) -> Self {
        let (metadata, user) = (OnceLock::new(), OnceLock::new());
        Self { sight, caller, ask: judging.ask, call, judging, metadata, user }
    }
}

impl condition::Facts for Facts<'_> {
    fn model(&self) -> &str {
        &self.ask.model
    }

    fn endpoint(&self) -> &str {
        self.ask.form.scope().name()
    }

    fn is_stream(&self) -> bool {
        self.ask.is_streaming
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
        &self.ask.tags
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        self.metadata.get_or_init(|| self.ask.metadata())
    }

    fn user(&self) -> &str {
        self.user.get_or_init(|| self.ask.user())
    }

    fn task(&self) -> &str {
        self.judging.judged().task.name()
    }

    fn language(&self) -> &str {
        self.judging.judged().language.code()
    }

    fn complexity(&self) -> f64 {
        self.judging.judged().complexity().into()
    }

    fn budget_used_percent(&self) -> u64 {
        (self.sight.budget_used_percent)()
    }

    fn now(&self) -> OffsetDateTime {
        let nanos = i128::from(self.sight.now_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}
