//! `GET /v1/models`: some names to begin with; any other is served as well.

use serde_json::{Value, json};

use super::CREATED;
use crate::simulator::{
    answer::{Answer, to_json},
    serve::{Answered, Desk},
};

const MODELS: [(&str, &str); 12] = [
    ("sim-small", "simulator"),
    ("sim-large", "simulator"),
    ("sim-reasoning", "simulator"),
    ("sim-thinking", "simulator"),
    ("sim-slow", "simulator"),
    ("sim-embed", "simulator"),
    ("echo", "simulator"),
    ("gpt-4o", "openai"),
    ("gpt-4o-mini", "openai"),
    ("o4-mini", "openai"),
    ("text-embedding-3-small", "openai"),
    ("omni-moderation-latest", "openai"),
];

fn model(id: &str, owner: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": owner})
}

pub(super) fn list(desk: &Desk) -> Answered {
    let conduct = desk.conduct(None, false)?;
    let models: Vec<_> = MODELS.iter().map(|(id, owner)| model(id, owner)).collect();
    let answer = Answer::json(200, to_json(&json!({"object": "list", "data": models})));
    Ok(conduct.apply(answer, desk.dialect, 0))
}

pub(super) fn one(desk: &Desk, id: &str) -> Answered {
    let conduct = desk.conduct(Some(id), false)?;
    let owner = MODELS.iter().find(|it| it.0 == id).map_or("simulator", |it| it.1);
    Ok(conduct.apply(Answer::json(200, to_json(&model(id, owner))), desk.dialect, 0))
}
