//! The models a caller can use, in one shape that clients of several APIs understand.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use shared::snapshot::{Capability, Modality, Policy};

use crate::{
    authenticate::Caller,
    catalog::{Model, Snapshot},
    route::{NoRoute, find, led_to},
};

/// The date of a model whose date is not known, as Anthropic's API defines it.
const UNKNOWN_DATE: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    data: Vec<Item<'a>>,
}

/// A model as OpenAI, Anthropic and OpenRouter describe one, all at once: each client reads
/// what it knows and passes over the rest.
#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    object: &'static str,
    r#type: &'static str,
    created: i64,
    created_at: &'static str,
    owned_by: &'a str,
    name: &'a str,
    display_name: &'a str,
    context_length: u32,
    max_output_tokens: u32,
    architecture: Architecture<'a>,
    supported_parameters: Vec<&'static str>,
    top_provider: TopProvider,
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

/// The models and policies that the caller's key may use, each name once, in order.
pub fn list(snapshot: &Snapshot, caller: &Caller) -> Vec<u8> {
    let organization = caller.organization();
    let models = snapshot.models(organization).map(|it| it.name.as_str());
    let policies = snapshot.policies(organization).map(|it| it.name.as_str());
    let names: BTreeSet<_> = models.chain(policies).collect();
    let data: Vec<_> = names.into_iter().filter_map(|it| item(snapshot, caller, it).ok()).collect();
    let (first_id, last_id) = (data.first().map(|it| it.id), data.last().map(|it| it.id));
    written(&List { object: "list", has_more: false, first_id, last_id, data })
}

pub fn one(snapshot: &Snapshot, caller: &Caller, name: &str) -> Result<Vec<u8>, NoRoute> {
    item(snapshot, caller, name).map(|it| written(&it))
}

fn item<'a>(snapshot: &'a Snapshot, caller: &Caller, name: &str) -> Result<Item<'a>, NoRoute> {
    match snapshot.policy(caller.organization(), name) {
        Some(policy) => led_to(snapshot, caller, policy).map(|models| of_policy(policy, &models)),
        None => find(snapshot, caller, name).map(|it| of_models(&it)),
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
    Item {
        id: &model.name,
        object: "model",
        r#type: "model",
        created: 0,
        created_at: UNKNOWN_DATE,
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
        ids::PolicyId,
        keys::{Brand, NewKey},
        snapshot::{Target, Tier},
    };

    use super::*;
    use crate::catalog::tests::{Fixture, key, snapshot};

    fn caller(allowed: Option<&[&str]>) -> Caller {
        let mut key = key(&NewKey::generate(Brand::Live));
        key.allowed_models = allowed.map(|it| it.iter().map(|&it| it.to_owned()).collect());
        Caller { key: Arc::new(key) }
    }

    #[track_caller]
    fn check(allowed: Option<&[&str]>, expected: &[&str]) {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["b", "a", "auto"]);
        let list: Value =
            serde_json::from_slice(&list(&snapshot(&fixture), &caller(allowed))).unwrap();
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
        let one = one(&snapshot, &caller(None), "vendor/a").unwrap();
        let expected = serde_json::json!({
            "id": "vendor/a", "object": "model", "type": "model",
            "created": 0, "created_at": "1970-01-01T00:00:00Z", "owned_by": "example",
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
            tiers: vec![Tier { targets: vec![target("a"), target("b")] }],
        });
        let snapshot = snapshot(&fixture);
        let told = |allowed| -> Value {
            serde_json::from_slice(&one(&snapshot, &caller(allowed), "auto").unwrap()).unwrap()
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
        assert!(one(&snapshot, &caller(Some(&[])), "auto").is_err());
    }

    #[test]
    fn an_unknown_one_is_not_found() {
        let snapshot = snapshot(&Fixture::default());
        assert!(one(&snapshot, &caller(None), "a").is_err());
    }
}
