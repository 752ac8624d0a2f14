//! `POST /v1/embeddings`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::deployment;
use crate::simulator::{
    answer::{Answer, to_json},
    ask::Text,
    embed,
    faults::UsageManner,
    refusal::Refusal,
    serve::{Answered, Desk},
    tokens,
};

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(borrow)]
    encoding_format: Option<Text<'a>>,
    dimensions: Option<usize>,
}

/// One text, or the tokens of one.
struct Input {
    text: String,
    tokens: u32,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let asked: Embeddings = desk.parse()?;
    let model = asked.model.as_ref().map(|it| it.0.as_ref());
    let model = model.or_else(|| deployment(desk.request.path));
    let conduct = desk.conduct(model, false)?;
    let refuse = |refusal: Refusal| desk.refuse(&refusal);
    let model =
        model.ok_or_else(|| refuse(Refusal::invalid("you must provide a model parameter")))?;
    let inputs = inputs(asked.input).map_err(refuse)?;

    let dimensions = asked.dimensions.unwrap_or(if model.contains("large") { 3072 } else { 1536 });
    let base64 = asked.encoding_format.is_some_and(|it| it.0 == "base64");
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = embed::vector(&input.text, dimensions.clamp(1, 4096));
        let embedding: Value = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|it| it.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        } else {
            vector.into()
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let mut body = json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": model});
    if conduct.manner.usage != UsageManner::Missing {
        let tokens: u32 = inputs.iter().map(|it| it.tokens).sum();
        body["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

/// A text, several, the tokens of one, or the tokens of several.
fn inputs(raw: &RawValue) -> Result<Vec<Input>, Refusal> {
    let several = match serde_json::from_str(raw.get())? {
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            vec![Value::Array(items)]
        }
        Value::Array(items) => items,
        one @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_)) => {
            vec![one]
        }
    };
    if several.is_empty() {
        return Err(Refusal::invalid("'$.input' is invalid. Please check the API reference."));
    }
    several.into_iter().map(input).collect()
}

fn input(value: Value) -> Result<Input, Refusal> {
    match value {
        Value::String(text) => Ok(Input { tokens: tokens::estimate(&text), text }),
        Value::Array(tokens) => {
            Ok(Input { tokens: tokens.len() as u32, text: Value::Array(tokens).to_string() })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err(Refusal::invalid("'$.input' is invalid. Please check the API reference."))
        }
    }
}
