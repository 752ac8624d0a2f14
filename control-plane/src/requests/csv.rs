//! The log for spreadsheets.

use super::Request;
use crate::web::{Moment, csv::row};

const HEADER: [&str; 35] = [
    "request",
    "started_at",
    "project",
    "project_name",
    "key",
    "key_name",
    "endpoint",
    "asked",
    "policy",
    "reason",
    "model",
    "upstream_model",
    "provider",
    "attempts",
    "outcome",
    "status",
    "error",
    "stream",
    "input",
    "cached_input",
    "cache_write",
    "output",
    "reasoning",
    "first_byte_ms",
    "total_ms",
    "client",
    "tags",
    "cache_write_1h",
    "audio_input",
    "cached_audio_input",
    "audio_output",
    "image_output_tokens",
    "image_output",
    "searches",
    "cost_usd",
];

pub(super) fn write(requests: &[Request]) -> String {
    let mut text = String::new();
    row(&mut text, HEADER.map(str::to_owned));
    for Request { event, project_name, key_name, .. } in requests {
        let served = |of: fn(&shared::event::Server) -> &String| {
            event.served.as_ref().map(|it| of(it).clone()).unwrap_or_default()
        };
        let policy = event.policy.as_ref().map(|it| format!("{}@{}", it.name, it.version));
        let tags: Vec<_> =
            event.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        row(
            &mut text,
            [
                event.request.to_string(),
                Moment::new(event.started_at, "UTC").iso(),
                event.project.to_string(),
                project_name.clone().unwrap_or_default(),
                event.key.to_string(),
                key_name.clone().unwrap_or_default(),
                event.endpoint.to_string(),
                event.asked.clone(),
                policy.unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default().to_owned(),
                served(|it| &it.model),
                served(|it| &it.upstream_model),
                served(|it| &it.provider),
                event.attempts.len().to_string(),
                event.outcome.name().to_owned(),
                event.status.to_string(),
                event.error.as_deref().unwrap_or_default().to_owned(),
                event.stream.to_string(),
                event.usage.input.to_string(),
                event.usage.cached_input.to_string(),
                event.usage.cache_write.to_string(),
                event.usage.output.to_string(),
                event.usage.reasoning.to_string(),
                event.first_byte_ms.map(|it| it.to_string()).unwrap_or_default(),
                event.total_ms.to_string(),
                event.client.as_deref().unwrap_or_default().to_owned(),
                tags.join(", "),
                event.usage.cache_write_1h.to_string(),
                event.usage.audio_input.to_string(),
                event.usage.cached_audio_input.to_string(),
                event.usage.audio_output.to_string(),
                event.usage.image_output_tokens.to_string(),
                event.usage.image_output.to_string(),
                event.usage.searches.to_string(),
                event.cost.exact(),
            ],
        );
    }
    text
}
