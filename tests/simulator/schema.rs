//! A JSON value that fits a JSON schema, always the same for the same schema and digest.
//!
//! Understands what structured output allows: objects, arrays, strings, numbers, booleans, null,
//! `enum`, `const`, `anyOf`/`oneOf`/`allOf`, local `$ref`, the bounds, and the common string
//! formats; Gemini's upper-case type names too. `pattern` is not followed.

use serde_json::{Map, Number, Value};

use super::digest::Digest;

/// Deeper than this, what is optional is left out, so that a schema that holds itself ends.
const DEEP: usize = 5;
const TOO_DEEP: usize = 32;

/// The text of a value that fits `schema`; `{}` where the schema is not one.
pub(super) fn sample(schema: &str, digest: Digest) -> String {
    let Ok(root) = serde_json::from_str::<Value>(schema) else { return "{}".to_owned() };
    let sampler = Sampler { root: &root };
    let value = match &root {
        Value::Object(fields) if fields.is_empty() => Value::Object(Map::new()),
        Value::Object(_) => sampler.value(&root, "", 0, digest),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Value::Object(Map::new())
        }
    };
    value.to_string()
}

struct Sampler<'a> {
    root: &'a Value,
}

impl<'a> Sampler<'a> {
    fn value(&self, schema: &'a Value, name: &str, depth: usize, digest: Digest) -> Value {
        if depth > TOO_DEEP {
            return Value::Null;
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array)
            && !choices.is_empty()
        {
            return digest.pick(choices).clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|it| self.root.pointer(it));
            return target.map_or(Value::Null, |it| self.value(it, name, depth + 1, digest));
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(schema, all, name, depth, digest);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(choices) = schema.get(key).and_then(Value::as_array) {
                let simplest = if depth > DEEP { choices.last() } else { choices.first() };
                return simplest.map_or(Value::Null, |it| self.value(it, name, depth + 1, digest));
            }
        }
        match kind(schema) {
            "object" => self.object(schema, depth, digest),
            "array" => self.array(schema, name, depth, digest),
            "integer" => integer(schema, digest).into(),
            "number" => number(schema, digest),
            "boolean" => (digest.below(2) == 1).into(),
            "null" => Value::Null,
            _ => string(schema, name, digest).into(),
        }
    }

    fn object(&self, schema: &'a Value, depth: usize, digest: Digest) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|it| it.iter().any(|it| it.as_str() == Some(name)));
        let properties = schema.get("properties").and_then(Value::as_object);
        let wanted = properties.into_iter().flatten();
        let wanted = wanted.filter(|(name, _)| depth < DEEP || is_required(name));
        let fields = wanted.map(|(name, property)| {
            let digest = digest.with(name.as_bytes());
            (name.clone(), self.value(property, name, depth + 1, digest))
        });
        Value::Object(fields.collect())
    }

    fn array(&self, schema: &'a Value, name: &str, depth: usize, digest: Digest) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let fewest = bound("minItems").unwrap_or(0);
        let usual = if depth < DEEP { 1 + digest.below(2) } else { 0 };
        let length = usual.max(fewest).min(bound("maxItems").unwrap_or(u64::MAX));
        let Some(item) = schema.get("items") else { return Value::Array(Vec::new()) };
        let items =
            (0..length).map(|nth| self.value(item, name, depth + 1, digest.with_number(nth)));
        Value::Array(items.collect())
    }

    /// The fields of all parts together; of parts that are no objects, the first.
    fn all_of(
        &self,
        schema: &'a Value,
        parts: &'a [Value],
        name: &str,
        depth: usize,
        digest: Digest,
    ) -> Value {
        let mut together = match self.object(schema, depth, digest) {
            Value::Object(fields) => fields,
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => return other,
        };
        for part in parts {
            match self.value(part, name, depth + 1, digest) {
                Value::Object(fields) => together.extend(fields),
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)) => return other,
            }
        }
        Value::Object(together)
    }
}

/// The schema's type in lower case; a guess from its fields where it names none.
fn kind(schema: &Value) -> &'static str {
    const KINDS: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
    let named = match schema.get("type") {
        Some(Value::Array(several)) => several.first().and_then(Value::as_str),
        Some(one) => one.as_str(),
        None => None,
    };
    let known = |named: &str| KINDS.into_iter().find(|it| it.eq_ignore_ascii_case(named));
    match named.and_then(known) {
        Some(kind) => kind,
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

fn integer(schema: &Value, digest: Digest) -> i64 {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64).map(|it| it as i64);
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|it| it.saturating_add(1)));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|it| it.saturating_sub(1)));
    let (least, most) = match (least, most) {
        (Some(least), Some(most)) => (least, most.max(least)),
        (Some(least), None) => (least, least.saturating_add(9)),
        (None, Some(most)) => (most.saturating_sub(9), most),
        (None, None) => (1, 10),
    };
    let span = most.abs_diff(least).saturating_add(1);
    let value = least.saturating_add_unsigned(digest.below(span));
    match bound("multipleOf") {
        Some(step) if step > 0 => {
            let below = value.div_euclid(step) * step;
            if below < least { below.saturating_add(step) } else { below }
        }
        Some(_) | None => value,
    }
}

/// Halves are exact in binary, so they print the same everywhere.
fn number(schema: &Value, digest: Digest) -> Value {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or(bound("exclusiveMinimum"));
    let most = bound("maximum").or(bound("exclusiveMaximum"));
    let value = match (least, most, bound("multipleOf")) {
        (_, _, Some(_)) => return integer(schema, digest).into(),
        (Some(least), Some(most), None) => least / 2.0 + most / 2.0,
        (Some(least), None, None) => least + 0.5,
        (None, Some(most), None) => most - 0.5,
        (None, None, None) => digest.below(20) as f64 / 2.0 + 0.5,
    };
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn string(schema: &Value, name: &str, digest: Digest) -> String {
    let mut text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-15T09:30:00Z".to_owned(),
        Some("date") => "2026-01-15".to_owned(),
        Some("time") => "09:30:00Z".to_owned(),
        Some("duration") => "PT15M".to_owned(),
        Some("email") => "ada@example.com".to_owned(),
        Some("hostname") => "example.com".to_owned(),
        Some("ipv4") => "192.0.2.7".to_owned(),
        Some("ipv6") => "2001:db8::7".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        Some("uuid") => {
            let word = digest.value();
            format!("{:08x}-{:04x}-4000-8000-{:012x}", word >> 32, word >> 48, word & 0xFFFF_FFFF)
        }
        Some(_) | None => word_for(name, digest).to_owned(),
    };
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64).map(|it| it as usize);
    if let Some(most) = bound("maxLength") {
        text = text.chars().take(most).collect();
    }
    let missing = bound("minLength").unwrap_or(0).saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n('x', missing.min(1 << 20)));
    text
}

/// A word that looks right for a field of this name.
fn word_for(field: &str, digest: Digest) -> &'static str {
    const CITIES: &[&str] = &["Lisbon", "Oslo", "Paris", "Osaka", "Nairobi", "Lima"];
    const NAMES: &[&str] = &["Ada", "Grace", "Alan", "Edsger", "Barbara"];
    const OTHERS: &[&str] = &["amber", "harbour", "meadow", "lantern", "orchard", "summit"];
    let field = field.to_ascii_lowercase();
    let speaks_of = |words: &[&str]| words.iter().any(|it| field.contains(it));
    let words = if speaks_of(&["city", "location", "place", "destination"]) {
        CITIES
    } else if speaks_of(&["name", "author", "person"]) {
        NAMES
    } else if speaks_of(&["country"]) {
        &["Portugal", "Norway", "Kenya", "Japan"]
    } else if speaks_of(&["currency"]) {
        &["USD", "EUR"]
    } else {
        OTHERS
    };
    digest.pick::<&str>(words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value) -> Value {
        let text = sample(&schema.to_string(), Digest::new());
        assert_eq!(text, sample(&schema.to_string(), Digest::new()));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_field_gets_a_value_of_its_type() {
        let value = check(json!({
            "type": "object",
            "required": ["city"],
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 3, "maximum": 3},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "sunny": {"type": "boolean"},
                "unit": {"enum": ["celsius"]},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 3},
                "nothing": {"type": "null"},
                "place": {"type": "object", "properties": {"zip": {"type": ["string", "null"]}}},
            },
        }));
        assert_eq!(value["days"], 3);
        assert_eq!(value["share"], 0.5);
        assert_eq!(value["unit"], "celsius");
        assert!(value["city"].is_string() && value["sunny"].is_boolean());
        assert!(value["nothing"].is_null() && value["place"]["zip"].is_string());
        let tags = value["tags"].as_array().unwrap();
        assert_eq!(tags.len(), 3);
        assert!(tags.iter().all(|it| it.as_str().unwrap().len() <= 2));
    }

    #[test]
    fn bounds_are_kept() {
        for (schema, least, most) in [
            (json!({"type": "integer", "minimum": 10}), 10, i64::MAX),
            (json!({"type": "integer", "maximum": -5}), i64::MIN, -5),
            (json!({"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6}), 5, 5),
            (json!({"type": "INTEGER", "minimum": 1, "maximum": 9, "multipleOf": 7}), 7, 7),
        ] {
            let value = check(schema.clone()).as_i64().unwrap();
            assert!((least..=most).contains(&value), "{schema} gave {value}");
        }
        assert_eq!(check(json!({"type": "string", "minLength": 40})).as_str().unwrap().len(), 40);
    }

    #[test]
    fn references_and_unions_are_followed_and_a_schema_that_holds_itself_ends() {
        let value = check(json!({
            "$defs": {"node": {
                "type": "object",
                "properties": {
                    "label": {"const": "leaf"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["label", "next"],
            }},
            "$ref": "#/$defs/node",
        }));
        assert_eq!(value["next"]["label"], "leaf");
        let value = check(json!({"allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}},
            {"type": "object", "properties": {"b": {"const": 2}}},
        ]}));
        assert_eq!(value, json!({"a": 1, "b": 2}));
    }

    #[test]
    fn what_is_no_schema_gives_an_empty_object() {
        assert_eq!(sample("nonsense", Digest::new()), "{}");
        assert_eq!(sample("[]", Digest::new()), "{}");
        assert_eq!(sample("{}", Digest::new()), "{}");
    }
}
