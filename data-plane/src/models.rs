//! The models a caller can use, in one shape that clients of several APIs understand.

mod codex;

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use serde::Serialize;
use shared::{
    money::{Rates, UnitPrice},
    snapshot::{Capability, Modality},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::form_urlencoded;

use crate::{
    ask::NotAnAsk,
    authenticate::Caller,
    catalog::{Model, Policy, Snapshot, allows},
    route::{NoRoute, find, led_to},
};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    data: Vec<Item<'a>>,
    /// The same in Codex's words, for who says its version: nobody else has need of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<codex::Info<'a>>>,
}

/// A model as OpenAI, Anthropic and OpenRouter describe one, all at once: each client reads
/// what it knows and passes over the rest.
#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    object: &'static str,
    r#type: &'static str,
    /// Since when it is served here, in seconds since 1970, and in Anthropic's form. Of some
    /// nobody wrote it down, and of a policy it would say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    owned_by: &'a str,
    name: &'a str,
    display_name: &'a str,
    context_length: u32,
    max_output_tokens: u32,
    architecture: Architecture<'a>,
    supported_parameters: Vec<&'static str>,
    top_provider: TopProvider,
    #[serde(skip_serializing_if = "Option::is_none")]
    pricing: Option<Pricing>,
    deprecation: Option<Deprecation<'a>>,
    turnpike: Ours<'a>,
}

#[derive(Serialize)]
struct Architecture<'a> {
    input_modalities: &'a [Modality],
    output_modalities: &'a [Modality],
}

#[derive(Serialize)]
struct TopProvider {
    context_length: u32,
    max_completion_tokens: u32,
}

/// In dollars for one of each. There are higher ones for long contexts and for other tiers of
/// service, of which no client knows.
#[derive(Serialize)]
struct Pricing {
    prompt: String,
    completion: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_read: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_write: Option<String>,
    request: String,
    /// What lists are sorted by.
    #[serde(skip)]
    input: UnitPrice,
}

impl Pricing {
    fn of(rates: &Rates) -> Self {
        let each = UnitPrice::dollars_each;
        Self {
            prompt: each(rates.input),
            completion: each(rates.output),
            input_cache_read: rates.cached_input.map(each),
            input_cache_write: rates.cache_write.map(each),
            request: each(rates.request.unwrap_or_default()),
            input: rates.input,
        }
    }
}

#[derive(Serialize)]
struct Deprecation<'a> {
    date: &'a str,
    successor: Option<&'a str>,
}

/// What only we can say.
#[derive(Serialize)]
struct Ours<'a> {
    providers: Vec<&'a str>,
    regions: Vec<&'a str>,
    /// Where the name is a policy's: its version, and the models it leads to.
    policy: Option<Led<'a>>,
}

#[derive(Serialize)]
struct Led<'a> {
    version: u32,
    models: Vec<&'a str>,
}

/// Which models a caller wants to see, and in which order: OpenRouter's words for it.
#[derive(Debug, Default)]
pub struct Wanted {
    parameters: Vec<String>,
    input: Vec<Modality>,
    output: Vec<Modality>,
    /// Any of them.
    providers: Vec<String>,
    least_context: u32,
    /// Of its input.
    most_price: Option<UnitPrice>,
    order: Order,
    /// Codex's name for the list is looked for beside the usual one.
    is_codex: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Order {
    #[default]
    ByName,
    LongestContext,
    Cheapest,
    Dearest,
}

impl Wanted {
    /// What stands in the address. Other words than these are somebody else's.
    pub fn parse(query: &str) -> Result<Self, NotAnAsk> {
        let bad = |field, what| NotAnAsk::BadField { field, what };
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let each = || value.split(',').map(str::trim).filter(|it| !it.is_empty());
            match &*name {
                "supported_parameters" => wanted.parameters.extend(each().map(str::to_owned)),
                "client_version" => wanted.is_codex = true,
                "providers" => wanted.providers.extend(each().map(str::to_owned)),
                "input_modalities" => wanted.input = modalities("input_modalities", each())?,
                "output_modalities" => wanted.output = modalities("output_modalities", each())?,
                "context" => {
                    let tokens = value.parse();
                    wanted.least_context = tokens.map_err(|_| bad("context", "a number"))?;
                }
                "max_price" => {
                    let what = "dollars for a million tokens";
                    let price = UnitPrice::per_million(&value);
                    wanted.most_price = Some(price.map_err(|_| bad("max_price", what))?);
                }
                "sort" | "order" => {
                    wanted.order = match &*value {
                        "name" => Order::ByName,
                        "context-high-to-low" => Order::LongestContext,
                        "pricing-low-to-high" => Order::Cheapest,
                        "pricing-high-to-low" => Order::Dearest,
                        _ => return Err(bad("sort", ORDERS)),
                    }
                }
                _ => (),
            }
        }
        Ok(wanted)
    }

    fn wants(&self, item: &Item) -> bool {
        let Architecture { input_modalities, output_modalities } = &item.architecture;
        let supports = |it: &String| item.supported_parameters.contains(&it.as_str());
        let is_served_by = |it: &String| item.turnpike.providers.contains(&it.as_str());
        let costs = |most: UnitPrice| item.pricing.as_ref().is_some_and(|it| it.input <= most);
        self.parameters.iter().all(supports)
            && self.input.iter().all(|it| input_modalities.contains(it))
            && self.output.iter().all(|it| output_modalities.contains(it))
            && (self.providers.is_empty() || self.providers.iter().any(is_served_by))
            && item.context_length >= self.least_context
            && self.most_price.is_none_or(costs)
    }

    /// Those that are alike stay in the order of their names, and those without a price come
    /// last.
    fn sort(&self, items: &mut [Item]) {
        let price = |it: &Item| it.pricing.as_ref().map(|it| it.input);
        match self.order {
            Order::ByName => (),
            Order::LongestContext => items.sort_by_key(|it| Reverse(it.context_length)),
            Order::Cheapest => items.sort_by_key(|it| (price(it).is_none(), price(it))),
            Order::Dearest => items.sort_by_key(|it| Reverse(price(it))),
        }
    }
}

const ORDERS: &str = "name, context-high-to-low, pricing-low-to-high or pricing-high-to-low";

fn modalities<'a>(
    field: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Modality>, NotAnAsk> {
    let what = "a list of text, image, audio, video, file or embedding";
    let known = |it: &str| serde_json::from_value(it.into());
    names.map(known).collect::<Result<_, _>>().map_err(|_| NotAnAsk::BadField { field, what })
}

/// The models and policies that the caller's key may use, each name once, in order.
pub fn list(snapshot: &Snapshot, caller: &Caller, wanted: &Wanted, now_ms: i64) -> Vec<u8> {
    let organization = caller.organization();
    let models = snapshot.models(organization).map(|it| it.name.as_str());
    let policies = snapshot.policies(organization).map(|it| it.name.as_str());
    // Why others are not on the list nobody asks, and finding out takes long.
    let is_in_question =
        |it: &&str| allows(&caller.key, it) || snapshot.policy(organization, it).is_some();
    let names: BTreeSet<_> = models.chain(policies).filter(is_in_question).collect();
    let items = names.into_iter().filter_map(|it| item(snapshot, caller, it, now_ms).ok());
    let mut data: Vec<_> = items.filter(|it| wanted.wants(it)).collect();
    wanted.sort(&mut data);
    let (first_id, last_id) = (data.first().map(|it| it.id), data.last().map(|it| it.id));
    let models = wanted.is_codex.then(|| codex::infos(&data));
    written(&List { object: "list", has_more: false, first_id, last_id, data, models })
}

pub fn one(
    snapshot: &Snapshot,
    caller: &Caller,
    name: &str,
    now_ms: i64,
) -> Result<Vec<u8>, NoRoute> {
    item(snapshot, caller, name, now_ms).map(|it| written(&it))
}

fn item<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    name: &str,
    now_ms: i64,
) -> Result<Item<'a>, NoRoute> {
    match snapshot.policy(caller.organization(), name) {
        Some(policy) => led_to(snapshot, caller, policy).map(|models| of_policy(policy, &models)),
        None => find(snapshot, caller, name).map(|models| {
            let first = models.first();
            let price = first.and_then(|it| snapshot.price(caller.organization(), it, now_ms));
            let pricing = price.map(|it| Pricing::of(&it.price.standard().rates));
            Item { pricing, ..of_models(&models) }
        }),
    }
}

/// What holds wherever the policy leads: the least of each.
fn of_policy<'a>(policy: &'a Policy, models: &[&'a Arc<Model>]) -> Item<'a> {
    let least = |of: fn(&Model) -> u32| models.iter().map(|it| of(it)).min().unwrap_or_default();
    let (context_length, max_output_tokens) =
        (least(|it| it.context_length), least(|it| it.max_output_tokens));
    let mut names: Vec<_> = models.iter().map(|it| it.name.as_str()).collect();
    names.dedup();
    let mut item = of_models(models);
    item.id = &policy.name;
    item.owned_by = "turnpike";
    (item.created, item.created_at) = (None, None);
    (item.name, item.display_name) = (&policy.name, &policy.name);
    (item.context_length, item.max_output_tokens) = (context_length, max_output_tokens);
    item.top_provider = TopProvider { context_length, max_completion_tokens: max_output_tokens };
    let shared = |it: &&str| models.iter().all(|model| parameters(model).contains(it));
    item.supported_parameters.retain(shared);
    item.deprecation = None;
    item.turnpike.policy = Some(Led { version: policy.version, models: names });
    item
}

/// One model, wherever it is served; the first place is the one that describes it.
fn of_models<'a>(models: &[&'a Arc<Model>]) -> Item<'a> {
    let model = models.first().copied().expect("a model that was found is served somewhere");
    let (context_length, max_completion_tokens) = (model.context_length, model.max_output_tokens);
    let mut providers: Vec<_> = models.iter().map(|it| it.upstream.provider.as_str()).collect();
    let mut regions: Vec<_> =
        models.iter().filter_map(|it| it.upstream.region.as_deref()).collect();
    for names in [&mut providers, &mut regions] {
        names.sort_unstable();
        names.dedup();
    }
    let created = model.created.and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    Item {
        id: &model.name,
        object: "model",
        r#type: "model",
        created: created.map(OffsetDateTime::unix_timestamp),
        created_at: created.and_then(|it| it.format(&Rfc3339).ok()),
        owned_by: &model.upstream.provider,
        name: &model.display_name,
        display_name: &model.display_name,
        context_length,
        max_output_tokens: model.max_output_tokens,
        architecture: Architecture {
            input_modalities: &model.input,
            output_modalities: &model.output,
        },
        supported_parameters: parameters(model),
        top_provider: TopProvider { context_length, max_completion_tokens },
        pricing: None,
        deprecation: model
            .deprecated_on
            .as_deref()
            .map(|date| Deprecation { date, successor: model.successor.as_deref() }),
        turnpike: Ours { providers, regions, policy: None },
    }
}

/// The request's fields that make a difference to the model.
fn parameters(model: &Model) -> Vec<&'static str> {
    let always: &[_] = match model.max_output_tokens {
        0 => &[],
        _ => &["max_tokens", "temperature", "top_p", "stop", "stream"],
    };
    let with = |it: &Capability| -> &[&'static str] {
        match it {
            Capability::Tools => &["tools", "tool_choice"],
            Capability::ParallelTools => &["parallel_tool_calls"],
            Capability::JsonSchema => &["response_format", "structured_outputs"],
            Capability::Reasoning => &["reasoning_effort"],
            Capability::Logprobs => &["logprobs", "top_logprobs"],
            Capability::Embeddings => &["dimensions", "encoding_format"],
            Capability::Streaming | Capability::PromptCaching | Capability::Moderation => &[],
        }
    };
    always.iter().chain(model.capabilities.iter().flat_map(with)).copied().collect()
}

fn written(what: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(what).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::{
        failure::Classified,
        ids::PolicyId,
        keys::{Brand, NewKey},
        money::{PinnedPrice, Price},
        snapshot::{Document, Policy, Target, Tier},
    };

    use super::*;
    use crate::catalog::tests::{Fixture, key, snapshot};

    const NOW: i64 = 1_800_000_000_000;

    fn caller(allowed: Option<&[&str]>) -> Caller {
        let mut key = key(&NewKey::generate(Brand::Live));
        key.allowed_models = allowed.map(|it| it.iter().map(|&it| it.to_owned()).collect());
        Caller { key: Arc::new(key) }
    }

    #[track_caller]
    fn check(allowed: Option<&[&str]>, expected: &[&str]) {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["b", "a", "auto"]);
        let list: Value = serde_json::from_slice(&list(
            &snapshot(&fixture),
            &caller(allowed),
            &Wanted::default(),
            NOW,
        ))
        .unwrap();
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        assert_eq!(ids, expected);
        assert_eq!(list["first_id"].as_str(), expected.first().copied());
        assert_eq!(list["last_id"].as_str(), expected.last().copied());
    }

    #[test]
    fn a_key_sees_the_models_it_may_use() {
        check(None, &["a", "auto", "b"]);
        check(Some(&["b", "gone"]), &["b"]);
        check(Some(&[]), &[]);
    }

    #[test]
    fn a_model_is_told_in_every_clients_words() {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["vendor/a"]);
        let snapshot = snapshot(&fixture);
        let one = one(&snapshot, &caller(None), "vendor/a", NOW).unwrap();
        let expected = serde_json::json!({
            "id": "vendor/a", "object": "model", "type": "model",
            "owned_by": "example",
            "name": "VENDOR/A", "display_name": "VENDOR/A",
            "context_length": 8_000, "max_output_tokens": 1_000,
            "architecture": { "input_modalities": ["text"], "output_modalities": ["text"] },
            "supported_parameters": ["max_tokens", "temperature", "top_p", "stop", "stream"],
            "top_provider": { "context_length": 8_000, "max_completion_tokens": 1_000 },
            "deprecation": null,
            "turnpike": { "providers": ["example"], "regions": [], "policy": null },
        });
        assert_eq!(serde_json::from_slice::<Value>(&one).unwrap(), expected);
    }

    #[test]
    fn since_when_a_model_is_served_is_told_where_it_is_known() {
        let mut fixture = Fixture::default();
        let models = &mut fixture.upstream(None, &["a", "b"]).models;
        models[0].created = Some(1_763_712_000);
        let snapshot = snapshot(&fixture);
        let told = |name| -> Value {
            serde_json::from_slice(&one(&snapshot, &caller(None), name, NOW).unwrap()).unwrap()
        };
        let a = told("a");
        assert_eq!(
            (&a["created"], &a["created_at"]),
            (&1_763_712_000.into(), &"2025-11-21T08:00:00Z".into())
        );
        assert!(told("b").get("created").is_none());
    }

    /// What Codex 0.150 cannot read the list without: one field less of one model, and it takes
    /// none.
    #[test]
    fn codex_finds_its_own_list_beside_the_usual_one() {
        let mut fixture = Fixture::default();
        let models = &mut fixture.upstream(None, &["a", "b", "vectors"]).models;
        models[0].capabilities = vec![Capability::Reasoning, Capability::ParallelTools];
        models[0].input = vec![Modality::Text, Modality::Image, Modality::Audio];
        models[2].max_output_tokens = 0;
        let snapshot = snapshot(&fixture);
        let listed = |query: &str| -> Value {
            let wanted = Wanted::parse(query).unwrap();
            serde_json::from_slice(&list(&snapshot, &caller(None), &wanted, NOW)).unwrap()
        };
        assert!(listed("limit=9").get("models").is_none());
        let list = listed("client_version=0.169.0");
        assert_eq!(list["data"].as_array().unwrap().len(), 3);
        let models = list["models"].as_array().unwrap();
        let slugs: Vec<_> = models.iter().map(|it| it["slug"].as_str().unwrap()).collect();
        assert_eq!(slugs, ["a", "b"], "what does not write is not for it");
        for field in [
            "slug",
            "display_name",
            "description",
            "supported_reasoning_levels",
            "shell_type",
            "visibility",
            "supported_in_api",
            "priority",
            "upgrade",
            "base_instructions",
            "supports_reasoning_summaries",
            "support_verbosity",
            "default_verbosity",
            "apply_patch_tool_type",
            "truncation_policy",
            "supports_parallel_tool_calls",
            "context_window",
            "experimental_supported_tools",
            "input_modalities",
        ] {
            assert!(models.iter().all(|it| it.get(field).is_some()), "{field}");
        }
        let (a, b) = (&models[0], &models[1]);
        assert_eq!(a["supported_reasoning_levels"][1]["effort"], "medium");
        assert_eq!(a["default_reasoning_level"], "medium");
        assert_eq!(a["input_modalities"], serde_json::json!(["text", "image"]));
        assert_eq!(
            (&a["context_window"], &a["supports_parallel_tool_calls"]),
            (&8_000.into(), &true.into())
        );
        assert_eq!(b["supported_reasoning_levels"], serde_json::json!([]));
        assert_eq!((&a["priority"], &b["priority"]), (&0.into(), &1.into()));
    }

    #[test]
    fn a_policy_is_told_by_what_holds_wherever_it_leads() {
        let mut fixture = Fixture::default();
        let models = &mut fixture.upstream(None, &["a", "b"]).models;
        models[0].capabilities = vec![Capability::Tools, Capability::Reasoning];
        models[1].capabilities = vec![Capability::Tools];
        models[1].context_length = 4_000;
        let target = |model: &str| Target { model: model.into(), provider: None, weight: 1 };
        fixture.policies.push(Policy {
            id: PolicyId::generate(),
            organization: None,
            name: "auto".into(),
            version: 7,
            document: Document::of_tiers(vec![Tier { targets: vec![target("a"), target("b")] }]),
            staged: None,
        });
        let snapshot = snapshot(&fixture);
        let told = |allowed| -> Value {
            serde_json::from_slice(&one(&snapshot, &caller(allowed), "auto", NOW).unwrap()).unwrap()
        };
        let auto = told(None);
        assert_eq!(
            (&auto["owned_by"], &auto["context_length"]),
            (&"turnpike".into(), &4_000.into())
        );
        let policy = serde_json::json!({ "version": 7, "models": ["a", "b"] });
        assert_eq!(auto["turnpike"]["policy"], policy);
        let parameters = auto["supported_parameters"].as_array().unwrap();
        assert!(
            parameters.contains(&"tools".into())
                && !parameters.contains(&"reasoning_effort".into())
        );
        assert_eq!(told(Some(&["a"]))["turnpike"]["policy"]["models"], serde_json::json!(["a"]));
        assert!(one(&snapshot, &caller(Some(&[])), "auto", NOW).is_err());
    }

    #[test]
    fn a_list_has_what_is_wanted_in_the_order_that_is() {
        let mut fixture = Fixture::default();
        let price = |input: &str, output: &str| {
            let [input, output] = [input, output].map(|it| UnitPrice::per_million(it).unwrap());
            let price = Price::flat(Rates::of_text(input, output)).unwrap();
            Some(PinnedPrice { revision: 1, price })
        };
        let models = &mut fixture.upstream(None, &["a", "b", "c"]).models;
        models[0].price = price("2.50", "10");
        models[1].price = price("0.50", "1");
        models[1].capabilities = vec![Capability::Tools];
        models[2].context_length = 9_000;
        models[2].input.push(Modality::Image);
        fixture.upstream(None, &["d"]).provider = "other".into();
        let snapshot = snapshot(&fixture);
        let listed = |query: &str| -> Value {
            let wanted = Wanted::parse(query).unwrap();
            serde_json::from_slice(&list(&snapshot, &caller(None), &wanted, NOW)).unwrap()
        };
        for (query, expected) in [
            ("", "abcd"),
            ("limit=1000&after_id=x", "abcd"),
            ("supported_parameters=tools,tool_choice", "b"),
            ("input_modalities=text%2Cimage", "c"),
            ("output_modalities=audio", ""),
            ("providers=other,third", "d"),
            ("context=9000", "c"),
            ("max_price=1", "b"),
            ("sort=context-high-to-low", "cabd"),
            ("order=pricing-low-to-high", "bacd"),
            ("sort=pricing-high-to-low", "abcd"),
            ("max_price=3&sort=pricing-low-to-high", "ba"),
        ] {
            let list = listed(query);
            let ids = list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap());
            assert_eq!(ids.collect::<String>(), expected, "{query}");
        }
        let expected = serde_json::json!({
            "prompt": "0.0000025", "completion": "0.00001", "request": "0.00",
        });
        assert_eq!(listed("")["data"][0]["pricing"], expected);
        for bad in ["context=x", "max_price=-1", "sort=best", "input_modalities=smell"] {
            let field = Wanted::parse(bad).unwrap_err().problems()[0].field;
            assert!(bad.starts_with(field), "{bad}");
        }
    }

    #[test]
    fn an_unknown_one_is_not_found() {
        let snapshot = snapshot(&Fixture::default());
        assert!(one(&snapshot, &caller(None), "a", NOW).is_err());
    }
}
