//! What each vendor says was used, class by class, and what that costs: `fixtures/usage/`
//! has a folder for each vendor, with bodies of the shapes that it documents, and the
//! prices. The costs in them were worked out apart from this code, by fractions.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    money::{Class, Price},
    snapshot::Dialect,
    usage::Usage,
};

use super::provider;
use crate::ask::{Ask, Form};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    dialect: Speaks,
    said: Value,
    service_tier: Option<String>,
    /// All tokens, where the vendor says it.
    total: Option<u64>,
    usage: BTreeMap<String, u64>,
    cost: BTreeMap<String, Cost>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Speaks {
    Openai,
    Anthropic,
    Gemini,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Cost {
    picos: i64,
    nanos: i64,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/usage")
}

fn prices() -> BTreeMap<String, Price> {
    serde_json::from_slice(&fs::read(folder().join("prices.json")).unwrap()).unwrap()
}

fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for vendor in fs::read_dir(folder()).unwrap().map(|it| it.unwrap().path()) {
        if !vendor.is_dir() {
            continue;
        }
        for path in fs::read_dir(vendor).unwrap().map(|it| it.unwrap().path()) {
            let name = path.display().to_string();
            let case = serde_json::from_slice(&fs::read(&path).unwrap());
            cases.push((name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
    }
    cases
}

/// As the reader of its dialect finds it in a whole answer.
fn read(case: &Case) -> Usage {
    let said = &case.said;
    let (dialect, body) = match case.dialect {
        Speaks::Openai => {
            let message = json!({ "role": "assistant", "content": "Yes." });
            let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
            (Dialect::OpenAi, json!({ "id": "x", "choices": [choice], "usage": said }))
        }
        Speaks::Anthropic => {
            let text = json!({ "type": "text", "text": "Yes." });
            let body = json!({
                "id": "x", "type": "message", "role": "assistant", "model": "m",
                "content": [text], "stop_reason": "end_turn", "usage": said,
            });
            (Dialect::Anthropic, body)
        }
        Speaks::Gemini => {
            let content = json!({ "role": "model", "parts": [{ "text": "Yes." }] });
            let candidate = json!({ "content": content, "finishReason": "STOP", "index": 0 });
            (Dialect::Gemini, json!({ "candidates": [candidate], "usageMetadata": said }))
        }
    };
    let ask = Ask::parse(Form::Chat, Bytes::from(r#"{"model":"auto","messages":[]}"#)).unwrap();
    let whole = provider(dialect).answer(&ask, body.to_string().into()).unwrap();
    whole.usage.unwrap()
}

#[test]
fn every_body_is_read_class_by_class() {
    let cases = cases();
    assert!(cases.len() >= 40, "{}", cases.len());
    for (name, case) in cases {
        let usage = read(&case);
        let expected: Usage = serde_json::from_value(json!(case.usage)).unwrap();
        assert_eq!(usage, expected, "{name}");
        let known = serde_json::to_value(usage).unwrap();
        assert!(case.usage.keys().all(|it| known.get(it).is_some()), "{name}");
    }
}

#[test]
fn every_body_costs_what_it_does_to_the_pico() {
    for (name, case) in cases() {
        let usage = read(&case);
        let cost = |price: &Price| {
            let cost = price.cost(&usage, case.service_tier.as_deref());
            Cost { picos: cost.picos(), nanos: cost.to_money().nanos() }
        };
        let found: BTreeMap<_, _> =
            prices().iter().map(|(name, price)| (name.clone(), cost(price))).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found, case.cost, "{name}");
    }
}

#[test]
fn what_a_vendor_counts_in_all_is_what_the_classes_add_up_to() {
    let mut told = 0;
    for (name, case) in cases() {
        let usage = read(&case);
        if let Some(total) = case.total {
            assert_eq!(usage.total(), total, "{name}");
            told += 1;
        }
        // What came from a cache is not charged as input too.
        let field = |names: &[&str]| names.iter().find_map(|it| case.said.pointer(it)?.as_u64());
        let prompt = match case.dialect {
            Speaks::Openai => field(&["/prompt_tokens"]),
            Speaks::Gemini => {
                let tools = field(&["/toolUsePromptTokenCount"]).unwrap_or_default();
                field(&["/promptTokenCount"]).map(|it| it + tools)
            }
            Speaks::Anthropic => {
                assert_eq!(Some(usage.input), field(&["/input_tokens"]), "{name}");
                continue;
            }
        };
        let is_heard_beside = case.said.pointer("/prompt_audio_seconds").is_some_and(Value::is_u64);
        if !is_heard_beside {
            assert_eq!(Some(usage.total_input()), prompt, "{name}");
        }
    }
    assert!(told >= 40, "{told}");
}

#[test]
fn a_price_list_for_text_alone_says_what_it_does_not_know() {
    let prices = prices();
    for (name, case) in cases() {
        let usage = read(&case);
        let unknown = prices["plain"].unpriced(&usage, None);
        let expected: &[_] = if usage.searches > 0 { &[Class::Search] } else { &[] };
        assert_eq!(unknown, expected, "{name}");
        assert_eq!(prices["each"].unpriced(&usage, None), [], "{name}");
    }
}
