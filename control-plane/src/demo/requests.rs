//! Calls that the demo's programs might have made over the last day, so that the request
//! log has something to show. Made up, and each one tagged so.

use shared::{
    event::{Attempt, Event, Outcome, PolicyVersion, Server, UsageSource},
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, ProxyId, RequestId, UpstreamId},
    money::Money,
    usage::Usage,
};
use time::{Duration, OffsetDateTime};
use uuid::{NoContext, Timestamp, Uuid};

const COUNT: u32 = 60;
const MODELS: [(&str, &str, &str); 4] = [
    ("gpt-5-mini", "gpt-5-mini-2025-08-07", "openai"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic"),
    ("gemini-2.5-flash", "gemini-2.5-flash", "google"),
    ("mistral-small", "mistral-small-2506", "mistral"),
];
const CLIENTS: [&str; 4] = ["openai-python", "vercel-ai-sdk", "curl", "openai-node"];

/// For each key of a project some, the last one a moment ago.
pub fn of(
    organization: OrganizationId,
    keys: &[(ProjectId, ApiKeyId)],
    now: OffsetDateTime,
) -> Vec<Event> {
    let proxy = ProxyId::generate();
    let places = MODELS.map(|_| (UpstreamId::generate(), CredentialId::generate()));
    let turns = (0..COUNT).zip(keys.iter().cycle());
    turns
        .map(|(turn, (project, key))| {
            // Strides that share no factor, so that everything meets everything.
            let draw = |stride: u32, below: u32| turn * stride % 101 * below / 101;
            let pick = usize::try_from(draw(37, 4)).unwrap_or_default();
            let ((model, upstream_model, provider), (upstream, credential)) =
                (MODELS[pick], places[pick]);
            let at = now - Duration::minutes(i64::from(turn * 26)) - Duration::seconds(40);
            let total_ms = 240 + draw(53, 2_900);
            let is_routed = draw(29, 3) > 0;
            let event = Event {
                request: id_at(at),
                proxy,
                organization,
                project: *project,
                key: *key,
                endpoint: "chat".into(),
                asked: if is_routed { "auto" } else { model }.to_owned(),
                policy: is_routed.then(|| PolicyVersion { name: "auto".to_owned(), version: 3 }),
                reason: Some(if is_routed { "policy" } else { "asked" }.into()),
                decision: None,
                served: Some(Server {
                    model: model.to_owned(),
                    upstream_model: upstream_model.to_owned(),
                    upstream,
                    provider: provider.to_owned(),
                    credential,
                }),
                attempts: vec![attempt(model, provider, "answered", 200, total_ms)],
                outcome: Outcome::Success,
                status: 200,
                error: None,
                stream: draw(61, 2) > 0,
                usage: Usage {
                    input: (180 + draw(43, 2_400)).into(),
                    cached_input: draw(71, 900).into(),
                    output: (30 + draw(59, 600)).into(),
                    ..Usage::default()
                },
                usage_source: UsageSource::Upstream,
                started_at: at,
                first_byte_ms: Some(total_ms / 3),
                total_ms,
                client: Some(CLIENTS[usize::try_from(draw(47, 4)).unwrap_or_default()].into()),
                tags: [("demo".to_owned(), "made up".to_owned())].into(),
                settlement: None,
                billed_at_ms: 0,
                lines: Vec::new(),
                cost: Money::ZERO,
                counted: Vec::new(),
                overrun: Money::ZERO,
            };
            troubled(event, turn)
        })
        .collect()
}

/// Some calls go wrong, each in its own way.
fn troubled(event: Event, turn: u32) -> Event {
    let unserved = Event {
        served: None,
        attempts: vec![],
        stream: false,
        usage: Usage::default(),
        usage_source: UsageSource::None,
        first_byte_ms: None,
        total_ms: 1,
        ..event.clone()
    };
    match turn % 15 {
        3 => {
            let mut attempts = event.attempts.clone();
            attempts.insert(0, attempt("gpt-5-mini", "azure", "rate_limited", 429, 31));
            Event { attempts, ..event }
        }
        6 => Event {
            outcome: Outcome::ClientError,
            status: 429,
            error: Some("rate_limited".into()),
            policy: None,
            reason: None,
            ..unserved
        },
        9 => Event {
            outcome: Outcome::ClientError,
            status: 404,
            error: Some("model_not_found".into()),
            asked: "gpt-5-mimi".to_owned(),
            policy: None,
            reason: None,
            ..unserved
        },
        12 => Event { outcome: Outcome::Broken, error: Some("upstream_error".into()), ..event },
        14 => Event { outcome: Outcome::Gone, ..event },
        _ => event,
    }
}

fn attempt(
    model: &str,
    provider: &str,
    outcome: &'static str,
    status: u16,
    took_ms: u32,
) -> Attempt {
    Attempt {
        provider: provider.to_owned(),
        model: model.to_owned(),
        outcome: outcome.into(),
        status: Some(status),
        took_ms,
    }
}

/// Ids say when a call began.
pub(super) fn id_at(at: OffsetDateTime) -> RequestId {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let instant = Timestamp::from_unix(NoContext, seconds, at.nanosecond());
    RequestId::from_uuid(Uuid::new_v7(instant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_of_every_kind() {
        let keys = [(ProjectId::generate(), ApiKeyId::generate())];
        let events = of(OrganizationId::generate(), &keys, OffsetDateTime::now_utc());
        for outcome in [Outcome::Success, Outcome::ClientError, Outcome::Broken, Outcome::Gone] {
            assert!(events.iter().any(|it| it.outcome == outcome), "{outcome:?}");
        }
        assert!(events.iter().any(|it| it.attempts.len() > 1));
        assert!(events.iter().any(|it| it.policy.is_none() && it.served.is_some()));
    }
}
