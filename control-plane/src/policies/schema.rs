//! The JSON Schema of documents, for whoever writes them: public, like the API's description.

use actix_web::HttpResponse;
use serde_json::{Value, json};
use shared::snapshot::{
    After, Capability, Choice, Constraints, Document, Failed, Fallback, Goal, Hedge, Retry, Rule,
    Stick, Strategy, Target, Tier, Usual,
};
use utoipa::{PartialSchema, ToSchema};

use crate::access::{Doors, Visitor};

pub fn doors(doors: &mut Doors) {
    doors.get("/schemas/policy.json", show);
}

async fn show(_: Visitor) -> HttpResponse {
    HttpResponse::Ok().content_type("application/schema+json").json(schema())
}

fn schema() -> Value {
    let mut parts = serde_json::Map::new();
    part::<Document>(&mut parts);
    part::<Rule>(&mut parts);
    part::<Choice>(&mut parts);
    part::<Strategy>(&mut parts);
    part::<Goal>(&mut parts);
    part::<Constraints>(&mut parts);
    part::<Capability>(&mut parts);
    part::<Fallback>(&mut parts);
    part::<Failed>(&mut parts);
    part::<Retry>(&mut parts);
    part::<Stick>(&mut parts);
    part::<Hedge>(&mut parts);
    part::<After>(&mut parts);
    part::<Usual>(&mut parts);
    part::<Tier>(&mut parts);
    part::<Target>(&mut parts);
    let mut all = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A routing policy of Turnpike",
        "$ref": "#/components/schemas/Document",
        "$defs": parts,
    });
    lead_to_definitions(&mut all);
    all
}

fn part<T: ToSchema + PartialSchema>(parts: &mut serde_json::Map<String, Value>) {
    parts.insert(T::name().into_owned(), json!(T::schema()));
}

/// Parts stand elsewhere here than in the API's description.
fn lead_to_definitions(it: &mut Value) {
    match it {
        Value::Object(all) => {
            for (name, value) in all.iter_mut() {
                if name == "$ref"
                    && let Value::String(text) = value
                {
                    *text = text.replace("#/components/schemas/", "#/$defs/");
                } else {
                    lead_to_definitions(value);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(lead_to_definitions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_schema_leads_to_is_in_it() {
        let schema = schema();
        let text = schema.to_string();
        let mut led = 0;
        for part in text.split("\"$ref\":\"").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            let pointer = name.strip_prefix('#').unwrap();
            assert!(schema.pointer(pointer).is_some(), "{name}");
            led += 1;
        }
        assert!(led > 5, "{text}");
        assert_eq!(schema["$defs"]["Document"]["additionalProperties"], json!(false));
    }
}
