//! Embeddings, as many at once as were asked for.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::Part;
use crate::{
    ask::{Ask, Outline},
    providers::{
        CannotSay, NotAnAnswer, Whole,
        chat::{Listener, OneOrMany, Text},
        openai::read,
    },
};

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    dimensions: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<Embed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Embed<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

pub(super) fn body(ask: &Ask, model: &str, listener: Listener) -> Result<Bytes, CannotSay> {
    let fields: Fields = serde_json::from_str(ask.text())
        .map_err(|_| listener.cannot("input", "it stands in the body twice"))?;
    let why = "its provider reads texts, and no tokens";
    let input = fields.input.and_then(|it| serde_json::from_str(it.get()).ok());
    let input: OneOrMany<Text> = input.ok_or_else(|| listener.cannot("input", why))?;
    let output_dimensionality = listener.read("dimensions", fields.dimensions)?;
    let model = format!("models/{model}");
    let embed = |text| {
        let content = Content { parts: [Part::Text { text }] };
        Embed { model: &model, content, output_dimensionality }
    };
    let requests = match &input {
        OneOrMany::One(text) => vec![embed(text)],
        OneOrMany::Many(texts) => texts.iter().map(|it| embed(it)).collect(),
    };
    Ok(serde_json::to_vec(&Body { requests }).expect("texts and numbers are JSON").into())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Vec<Values<'a>>,
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Numbers(&'a RawValue),
    Base64(String),
}

/// The vendor does not say what was used, and so nor do we.
pub(super) fn whole(asked: &Outline, body: &[u8]) -> Result<Whole, NotAnAnswer> {
    let answer: Answer = read(body)?;
    let mut data = Vec::with_capacity(answer.embeddings.len());
    for (index, Values { values }) in answer.embeddings.into_iter().enumerate() {
        let numbers: Vec<f32> =
            serde_json::from_str(values.get()).map_err(|_| NotAnAnswer::Incomplete)?;
        let embedding = if asked.is_base64 {
            let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        } else {
            Vector::Numbers(values)
        };
        data.push(Embedding { object: "embedding", index, embedding });
    }
    let list = List { object: "list", data, model: &asked.model };
    let told = serde_json::to_vec(&list).expect("texts, numbers and JSON are JSON");
    Ok(Whole { body: told.into(), usage: None, service_tier: None })
}
