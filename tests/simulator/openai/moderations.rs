//! `POST /v1/moderations`: what is flagged is told by a few plain words.

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::id;
use crate::simulator::{
    answer::{Answer, to_json},
    ask::Text,
    digest::Digest,
    serve::{Answered, Desk},
};

/// Each category with a word that falls under it.
const CATEGORIES: [(&str, &str); 13] = [
    ("harassment", "idiot"),
    ("harassment/threatening", "hurt you"),
    ("hate", "hate them"),
    ("hate/threatening", "destroy them"),
    ("illicit", "counterfeit"),
    ("illicit/violent", "bomb"),
    ("self-harm", "hurt myself"),
    ("self-harm/intent", "hurt myself"),
    ("self-harm/instructions", "how to hurt myself"),
    ("sexual", "explicit"),
    ("sexual/minors", "explicit minors"),
    ("violence", "kill"),
    ("violence/graphic", "gore"),
];

#[derive(Deserialize)]
struct Moderations<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: &'a RawValue,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let asked: Moderations = desk.parse()?;
    let model = asked.model.as_ref().map_or("omni-moderation-latest", |it| it.0.as_ref());
    let conduct = desk.conduct(Some(model), false)?;
    let input: Value =
        serde_json::from_str(asked.input.get()).map_err(|error| desk.refuse(&error.into()))?;
    let texts = texts(input);
    let digest = texts.iter().fold(Digest::new(), |it, text| it.with(text.as_bytes()));
    let body = json!({
        "id": id("modr-", digest),
        "model": model,
        "results": texts.iter().map(|it| judged(it)).collect::<Vec<_>>(),
    });
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

/// A text, several, or the parts of one, of which images are passed over.
fn texts(input: Value) -> Vec<String> {
    let items = match input {
        Value::Array(items) => items,
        one @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_)) => {
            vec![one]
        }
    };
    if items.iter().any(Value::is_object) {
        let parts = items.iter().filter_map(|it| it["text"].as_str());
        return vec![parts.collect::<Vec<_>>().join("\n")];
    }
    items.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).collect()
}

fn judged(text: &str) -> Value {
    let text = text.to_lowercase();
    let (mut categories, mut scores, mut inputs) = (Map::new(), Map::new(), Map::new());
    let mut flagged = false;
    for (category, word) in CATEGORIES {
        let found = text.contains(word);
        flagged |= found;
        categories.insert(category.to_owned(), found.into());
        scores.insert(category.to_owned(), if found { 0.9375 } else { 0.000_122_070_312_5 }.into());
        inputs.insert(category.to_owned(), json!(["text"]));
    }
    json!({
        "flagged": flagged,
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": inputs,
    })
}
