//! What a proxy tells of one call, once, when the call has left.
//!
//! An event holds no prompt, no reply, no secret and nothing made from one. It travels as
//! JSON in an entry of a Redis Stream, under a field named after the version. Within a
//! version fields are only added: whoever does not know one passes it over, and whoever
//! misses one takes its default, so that proxies and control planes of neighbouring
//! releases understand each other. What older readers would misread is another version.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    counters::{Counted, Epoch},
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, ProxyId, RequestId, UpstreamId},
    json,
    money::{Money, Pico},
    snapshot::Worth,
    usage::Usage,
};

/// The field of a stream's entry that holds an event; its name is the version. The streams
/// are [`Places::events`](crate::counters::Places::events).
pub const FIELD: &str = "v1";

/// More than most events take as they travel.
const USUAL: usize = 2 * 1024;

/// A short name out of a list that may grow, so that an unknown one is no failure.
pub type Word = Cow<'static, str>;

/// One call, from its key to its last byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub request: RequestId,
    pub proxy: ProxyId,
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub key: ApiKeyId,
    /// The endpoint called, like `chat`.
    #[schema(value_type = String)]
    pub endpoint: Word,
    /// The model asked for, as the caller wrote it. Empty where we did not get to read it.
    #[serde(default)]
    pub asked: String,
    /// The policy that the name asked for belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyVersion>,
    /// Why the model was chosen, like `asked` or `policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Word>,
    /// How that was decided, where there was something to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Box<Decision>>,
    /// Who answered, or was the last to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Server>,
    /// Everybody who was asked, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    pub outcome: Outcome,
    /// The HTTP status of the answer; 0 where the client left before there was one.
    #[serde(default)]
    pub status: u16,
    /// The published code of what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub error: Option<Word>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default)]
    pub usage_source: UsageSource,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: OffsetDateTime,
    /// From the start to the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u32>,
    pub total_ms: u32,
    /// What kind of program called, like `openai-python`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub client: Option<Word>,
    /// What the caller wrote into `x-turnpike-tags`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Which of its proxy's settlements told it. Nothing of one that the demo made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<SettlementId>,
    /// When the call was let through, by the clock of Redis: the moment that it is billed at,
    /// in milliseconds since 1970.
    #[serde(default)]
    pub billed_at_ms: i64,
    /// What it came to: a line for each attempt that may cost something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// The lines' sum, rounded up once.
    #[serde(default)]
    #[schema(value_type = i64)]
    pub cost: Money,
    /// What budgets were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Counted>,
    /// By how much it cost more than was held for it: never, as long as upstreams keep to the
    /// caps that they are sent.
    #[serde(default, skip_serializing_if = "is_nothing")]
    #[schema(value_type = i64)]
    pub overrun: Money,
}

/// A settlement's number among those of a proxy's process in the organization's shard, from
/// 1 on and without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettlementId {
    #[schema(value_type = String)]
    pub epoch: Epoch,
    pub number: u64,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// What callers say.
    pub model: String,
    pub upstream: UpstreamId,
    pub provider: String,
    pub credential: CredentialId,
    pub usage: Usage,
    #[serde(default)]
    pub source: UsageSource,
    /// What the provider said how fast it was, where prices depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The revision of the price. Nothing where there was no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<i64>,
    /// Exactly, in pico-dollars.
    #[serde(default)]
    #[schema(value_type = i64)]
    pub cost: Pico,
}

fn is_nothing(money: &Money) -> bool {
    *money == Money::ZERO
}

/// A policy as it was when it routed the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersion {
    pub name: String,
    pub version: u32,
}

/// How a call was routed: 6 KB at most beside the prompt's features, and no word of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// How a policy chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub strategy: Option<Word>,
    /// The policy's rule that held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the prompt was taken for, like `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub task: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub language: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity_percent: Option<u16>,
    /// Whether its session kept its model, like `kept`, and why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub session: Option<Word>,
    /// Which router judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// Which version of what the organization's feedback taught judged its candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<String>,
    /// What the prompt is like, as the router keeps it, in base64url: at most 1,700 letters.
    /// Nothing of a call that asked that nothing be kept. Shown to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub features: Option<String>,
    /// In a sentence.
    #[serde(default)]
    pub reason: String,
    /// What chance had to do with it, where it might have had something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exploration: Option<Exploration>,
    /// In the order in which they were to be asked, then those that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Weighed>,
    /// How many more there were.
    #[serde(default)]
    pub left_out: u32,
    /// What a policy decided it by, so that the same can be decided again, and by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Box<Inputs>>,
}

/// A call for which models were compared, of an organization that has a share of such calls
/// explored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exploration {
    /// Whether it went to one drawn by chance.
    pub explored: bool,
    /// Of how many such calls in a thousand that is so.
    pub per_mille: u16,
    /// Among how many it is drawn, each as likely as the others: the first candidates.
    pub among: u16,
    /// Who would have been the first, of a call that was explored. It may be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Otherwise>,
}

/// Who would have been the first to be asked, had chance left the call alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Otherwise {
    pub model: String,
    pub provider: String,
}

/// What a policy's decision was made of beside the snapshot, the key and the places' pulses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inputs {
    /// When, by the proxy's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// Which snapshot the proxy served.
    pub revision: i64,
    /// What the call asks for beyond an answer, a bit for each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub needs: u16,
    /// In tokens, roughly.
    pub input: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_cap: Option<u64>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub choices: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub contexts: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// How many turns the user has taken, with this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turns: u16,
    /// The answer before wanted tools called with arguments that are no JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spoilt_before: bool,
    /// What the caller wished of who answers, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wishes: Option<String>,
    /// What the user's last turn is like, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// What a rule asked for. What none asks for is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_used_percent: Option<u64>,
    /// How many of a thousand calls of the organization were explored then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub explore_per_mille: u16,
    /// The caller named no model.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_nameless: bool,
    /// What tells the call's session from others, unreadable, where a choice asked for it: empty
    /// where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who had answered it before, under the choices that asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Kept>,
    /// What the policies that were asked spent a dollar for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worths: Vec<Worth>,
}

/// Who answered a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Kept {
    pub upstream: UpstreamId,
    pub model: String,
    /// That was too long ago.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_over: bool,
}

/// What was found of a user's last turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Turn {
    #[schema(value_type = String)]
    pub task: Word,
    #[schema(value_type = String)]
    pub language: Word,
    /// By how much more of all models answer such a prompt well than usually do, in millionths.
    pub ease: i32,
    /// In tokens, roughly.
    pub tokens: u64,
}

const fn is_false(it: &bool) -> bool {
    !*it
}

const fn one() -> u32 {
    1
}

const fn is_one(it: &u32) -> bool {
    *it == 1
}

const fn is_zero(it: &u16) -> bool {
    *it == 0
}

/// A place that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Weighed {
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where it is, of one that could answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub upstream: Option<UpstreamId>,
    /// Why it could not answer, like `tools`; nothing of one that could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub why: Option<Word>,
    /// How good its answer was expected to be, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_ppm: Option<u32>,
    /// What it was expected to cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub cost: Option<Money>,
    /// How long it was expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u32>,
    /// How likely it was to be the first, in millionths, where chance might have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity_ppm: Option<u32>,
    /// How it did, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Pulse>,
}

/// How a model at an upstream did lately, as a proxy saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pulse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u32>,
    #[serde(default)]
    pub failures_per_mille: u32,
    #[serde(default)]
    pub in_flight: u32,
}

impl Pulse {
    /// How long an answer of so many tokens is likely to take. Who fails takes longer, for
    /// another is asked then.
    pub fn expected_ms(&self, output: u64) -> Option<u32> {
        let writing = self.tokens_per_second.filter(|it| *it > 0);
        let writing = writing.map(|it| output.saturating_mul(1_000) / u64::from(it));
        let whole = match (self.first_ms, writing, self.total_ms) {
            (Some(first), writing, _) => u64::from(first) + writing.unwrap_or(0),
            (None, Some(writing), Some(_)) => writing,
            (None, _, total) => u64::from(total?),
        };
        let kept = 1_000 - u64::from(self.failures_per_mille.min(900));
        Some(u32::try_from(whole.saturating_mul(1_000) / kept).unwrap_or(u32::MAX))
    }
}

/// A model at the place that served it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// What callers say.
    pub model: String,
    /// What the upstream was told.
    pub upstream_model: String,
    pub upstream: UpstreamId,
    pub provider: String,
    pub credential: CredentialId,
}

/// One time that an upstream was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub provider: String,
    /// What callers say.
    #[serde(default)]
    pub model: String,
    /// How it went, like `answered` or `rate_limited`.
    #[schema(value_type = String)]
    pub outcome: Word,
    /// None where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub took_ms: u32,
}

/// How a call left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Success,
    ClientError,
    ServerError,
    /// A stream that the upstream broke.
    Broken,
    /// The client hung up before the end.
    Gone,
}

impl Outcome {
    pub const ALL: [Self; 5] =
        [Self::Success, Self::ClientError, Self::ServerError, Self::Broken, Self::Gone];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Broken => "broken",
            Self::Gone => "gone",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::ClientError => "Refused",
            Self::ServerError => "Failed",
            Self::Broken => "Broken off",
            Self::Gone => "Client gone",
        }
    }
}

/// Who says what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The upstream did.
    Upstream,
    /// We counted.
    Estimated,
    /// The answer broke off, and we counted what had been delivered.
    Interrupted,
    /// Nobody: nothing was used, or nobody knows.
    #[default]
    None,
}

impl Event {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        json::written(self, USUAL)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnEvent> {
        serde_json::from_slice(bytes).map_err(NotAnEvent)
    }
}

/// Says where, and nothing of what stands there.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be read as an event, from its byte {} on", .0.column())]
pub struct NotAnEvent(serde_json::Error);

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    fn words() -> impl Strategy<Value = Word> {
        "[a-z_]{1,12}".prop_map(Word::from)
    }

    fn usages() -> impl Strategy<Value = Usage> {
        any::<[u32; 12]>().prop_map(|counts| {
            let [input, cached_input, cache_write, output, reasoning, rest @ ..] =
                counts.map(u64::from);
            let [cache_write_1h, audio_input, cached_audio_input, audio_output, rest @ ..] = rest;
            let [image_output_tokens, image_output, searches] = rest;
            Usage {
                input,
                cached_input,
                cache_write,
                output,
                reasoning,
                cache_write_1h,
                audio_input,
                cached_audio_input,
                audio_output,
                image_output_tokens,
                image_output,
                searches,
            }
        })
    }

    fn servers() -> impl Strategy<Value = Server> {
        (".{0,20}", ".{0,20}", ".{0,20}").prop_map(|(model, upstream_model, provider)| Server {
            model,
            upstream_model,
            upstream: UpstreamId::generate(),
            provider,
            credential: CredentialId::generate(),
        })
    }

    fn attempts() -> impl Strategy<Value = Attempt> {
        (".{0,20}", ".{0,20}", words(), option::of(any::<u16>()), any::<u32>()).prop_map(
            |(provider, model, outcome, status, took_ms)| Attempt {
                provider,
                model,
                outcome,
                status,
                took_ms,
            },
        )
    }

    prop_compose! {
        fn events()(
            (asked, policy_name, version) in (".{0,40}", ".{0,20}", option::of(any::<u32>())),
            (endpoint, reason, error) in (words(), option::of(words()), option::of(words())),
            (served, attempts) in (option::of(servers()), collection::vec(attempts(), 0..4)),
            outcome in proptest::sample::select(&Outcome::ALL[..]),
            (status, stream, usage) in (any::<u16>(), any::<bool>(), usages()),
            seconds in 0..4_000_000_000_i64,
            (first_byte_ms, total_ms) in (option::of(any::<u32>()), any::<u32>()),
            (client, tags) in
                (option::of(words()), collection::btree_map(".{1,9}", ".{0,9}", 0..4)),
        ) -> Event {
            Event {
                request: RequestId::generate(),
                proxy: ProxyId::generate(),
                organization: OrganizationId::generate(),
                project: ProjectId::generate(),
                key: ApiKeyId::generate(),
                endpoint,
                asked,
                policy: version.map(|version| PolicyVersion { name: policy_name, version }),
                reason,
                decision: None,
                served,
                attempts,
                outcome,
                status,
                error,
                stream,
                usage,
                usage_source: UsageSource::Upstream,
                started_at: OffsetDateTime::from_unix_timestamp(seconds).unwrap(),
                first_byte_ms,
                total_ms,
                client,
                tags,
                settlement: None,
                billed_at_ms: seconds * 1_000,
                lines: Vec::new(),
                cost: Money::from_nanos(total_ms.into()),
                counted: Vec::new(),
                overrun: Money::ZERO,
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_survives_the_journey(event in events()) {
            prop_assert_eq!(&Event::decode(&event.encode()).unwrap(), &event);
        }

        #[test]
        fn a_field_from_the_future_is_passed_over(event in events(), name in "[a-z]{20}") {
            let mut json: Value = serde_json::from_slice(&event.encode()).unwrap();
            json[&name] = json!({ "anything": [1, 2, 3] });
            prop_assert_eq!(&Event::decode(json.to_string().as_bytes()).unwrap(), &event);
        }

        #[test]
        fn nonsense_is_no_event_and_no_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Event::decode(&bytes).is_err());
        }
    }

    /// What was in the first events that were ever sent is enough for ever.
    #[test]
    fn what_has_a_default_may_be_missing() {
        let json = json!({
            "request": RequestId::generate(),
            "proxy": ProxyId::generate(),
            "organization": OrganizationId::generate(),
            "project": ProjectId::generate(),
            "key": ApiKeyId::generate(),
            "endpoint": "chat",
            "outcome": "gone",
            "started_at": "2026-11-21T10:00:00Z",
            "total_ms": 12,
        });
        let event = Event::decode(json.to_string().as_bytes()).unwrap();
        assert_eq!((event.status, event.usage_source), (0, UsageSource::None));
        assert_eq!(event.outcome, Outcome::Gone);
    }
}
