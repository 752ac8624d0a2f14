//! The API reference as its page shows it, drawn from the OpenAPI document.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::openapi;
use crate::access::Permission;

pub(super) struct Reference {
    pub groups: Vec<Group>,
    /// The bodies that operations take and give, by name.
    pub shapes: Vec<Shape>,
}

impl Reference {
    /// The bodies of a group's operations and all that these are made of, in order.
    pub fn shapes_of(&self, group: &Group) -> Vec<&Shape> {
        let mut names: BTreeSet<&str> =
            group.operations.iter().flat_map(Operation::shapes).collect();
        loop {
            let known = names.len();
            let found = self.shapes.iter().filter(|it| names.contains(it.name.as_str()));
            let parts: Vec<_> = found.flat_map(Shape::parts).collect();
            names.extend(parts);
            if names.len() == known {
                break;
            }
        }
        self.shapes.iter().filter(|it| names.contains(it.name.as_str())).collect()
    }
}

/// The operations about one thing.
pub(super) struct Group {
    pub tag: String,
    pub title: String,
    pub operations: Vec<Operation>,
}

pub(super) struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub summary: String,
    /// Who may, and the roles that includes.
    pub needs: String,
    pub parameters: Vec<Field>,
    pub body: Option<Kind>,
    pub answers: Vec<Answer>,
    /// The body of a call, where it has one.
    sample: Option<String>,
}

impl Operation {
    /// The bodies that it takes and gives.
    fn shapes(&self) -> impl Iterator<Item = &str> {
        let answers = self.answers.iter().filter_map(|it| it.body.as_ref());
        self.body.iter().chain(answers).filter_map(|it| it.shape.as_deref())
    }

    /// The call as one can type it.
    pub fn example(&self, origin: &str) -> String {
        let path: String = self
            .path
            .split('/')
            .map(|it| it.trim_start_matches('{').trim_end_matches('}'))
            .zip(self.path.split('/'))
            .map(
                |(name, part)| {
                    if name == part { part.to_owned() } else { format!("${name}").to_uppercase() }
                },
            )
            .collect::<Vec<_>>()
            .join("/");
        let method =
            if self.method == "GET" { String::new() } else { format!(" -X {}", self.method) };
        let head = format!(
            "curl{method} \"{origin}{path}\" \\\n  -H \"Authorization: Bearer $TURNPIKE_TOKEN\""
        );
        match &self.sample {
            Some(body) => {
                format!("{head} \\\n  -H \"Content-Type: application/json\" \\\n  -d '{body}'")
            }
            None => head,
        }
    }
}

pub(super) struct Answer {
    pub status: String,
    pub about: String,
    pub body: Option<Kind>,
}

/// An object and its fields.
pub(super) struct Shape {
    pub name: String,
    pub about: String,
    pub fields: Vec<Field>,
    /// What it is, where it is no object.
    pub kind: Kind,
}

impl Shape {
    /// What it is made of.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let kinds = self.fields.iter().map(|it| &it.kind).chain([&self.kind]);
        kinds.filter_map(|it| it.shape.as_deref())
    }
}

pub(super) struct Field {
    pub name: String,
    pub kind: Kind,
    pub is_required: bool,
    pub about: String,
}

/// A type in words, and the shape it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub words: String,
    pub shape: Option<String>,
}

/// Drawn once.
pub(super) fn reference() -> &'static Reference {
    static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
        let document = serde_json::to_value(openapi());
        Drawing(document.expect("a document of texts and numbers is JSON")).reference()
    });
    &REFERENCE
}

struct Drawing(Value);

impl Drawing {
    fn reference(&self) -> Reference {
        let mut groups: Vec<Group> = Vec::new();
        for (path, item) in entries(&self.0["paths"]) {
            for (method, operation) in entries(item) {
                let tag = text(&operation["tags"][0]);
                let operation = self.operation(path, method, operation);
                match groups.iter_mut().find(|it| it.tag == tag) {
                    Some(group) => group.operations.push(operation),
                    None => {
                        groups.push(Group { title: title(&tag), tag, operations: vec![operation] })
                    }
                }
            }
        }
        groups.sort_by(|one, other| one.title.cmp(&other.title));
        for group in &mut groups {
            group.operations.sort_by_key(|it| (it.path.clone(), order(&it.method)));
        }
        let schemas = entries(&self.0["components"]["schemas"]);
        Reference { groups, shapes: schemas.map(|(name, it)| self.shape(name, it)).collect() }
    }

    fn operation(&self, path: &str, method: &str, operation: &Value) -> Operation {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let answers = entries(&operation["responses"]).map(|(status, it)| Answer {
            status: status.clone(),
            about: prose(&it["description"]),
            body: kind_given(&it["content"]["application/json"]["schema"]),
        });
        Operation {
            id: text(&operation["operationId"]),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            needs: needs(operation),
            parameters: list(&operation["parameters"]).map(parameter).collect(),
            body: kind_given(body),
            // That of every operation is said once, for all of them.
            answers: answers.filter(|it| it.status.as_str() < "401").collect(),
            sample: (!body.is_null()).then(|| self.sample(body).to_string()),
        }
    }

    fn shape(&self, name: &str, schema: &Value) -> Shape {
        Shape {
            name: name.to_owned(),
            about: prose(&schema["description"]),
            fields: self.fields(schema),
            kind: kind(schema),
        }
    }

    fn fields(&self, schema: &Value) -> Vec<Field> {
        let schema = self.resolved(schema);
        let required: Vec<_> = list(&schema["required"]).map(text).collect();
        let own = entries(&schema["properties"]).map(|(name, it)| Field {
            name: name.clone(),
            kind: kind(it),
            is_required: required.contains(name),
            about: prose(&it["description"]),
        });
        list(&schema["allOf"]).flat_map(|it| self.fields(it)).chain(own).collect()
    }

    /// A body with the fields that there must be, and the first where none must.
    fn sample(&self, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        let alternatives = ["oneOf", "anyOf"].into_iter().flat_map(|it| list(&schema[it]));
        if let Some(first) = alternatives.into_iter().find(|it| it["type"] != "null") {
            return self.sample(first);
        }
        if let Some(first) = list(&schema["enum"]).next() {
            return first.clone();
        }
        let types = &schema["type"];
        match types.as_str().or_else(|| types[0].as_str()).unwrap_or("object") {
            "string" => json!(sample_text(schema)),
            "integer" | "number" => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
            "boolean" => json!(true),
            "array" => json!([self.sample(&schema["items"])]),
            _ => self.sample_object(schema),
        }
    }

    fn sample_object(&self, schema: &Value) -> Value {
        let required: Vec<_> = list(&schema["required"]).map(text).collect();
        let properties = || entries(&schema["properties"]);
        let is_given = |name: &String| match properties().next() {
            Some((first, _)) if required.is_empty() => name == first,
            Some(_) | None => required.contains(name),
        };
        let given = properties().filter(|(name, _)| is_given(name));
        given.map(|(name, it)| (name.clone(), self.sample(it))).collect::<Map<_, _>>().into()
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
            Some(name) => &self.0["components"]["schemas"][name],
            None => schema,
        }
    }
}

fn sample_text(schema: &Value) -> String {
    let prefix = schema["pattern"].as_str().and_then(|it| it.strip_prefix('^'));
    if let Some((prefix, _)) = prefix.and_then(|it| it.split_once("_[")) {
        return format!("{prefix}_0198f3c2a1b47c6e8d5f0a1b2c3d4e5f");
    }
    match schema["format"].as_str() {
        Some("date") => "2027-01-01",
        Some("date-time") => "2027-01-01T00:00:00Z",
        _ => "…",
    }
    .to_owned()
}

fn parameter(parameter: &Value) -> Field {
    Field {
        name: text(&parameter["name"]),
        kind: kind(&parameter["schema"]),
        is_required: parameter["required"] == true,
        about: prose(&parameter["description"]),
    }
}

fn needs(operation: &Value) -> String {
    let permission = Permission::ALL.iter().find(|it| operation["x-permission"] == it.name());
    permission.map_or_else(
        || text(&operation["description"]),
        |it| {
            let roles: Vec<_> = it.roles().iter().map(|it| it.title()).collect();
            format!("For tokens that may {}: {}.", it.about(), roles.join(", "))
        },
    )
}

fn kind_given(schema: &Value) -> Option<Kind> {
    (!schema.is_null()).then(|| kind(schema))
}

fn kind(schema: &Value) -> Kind {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        return Kind { words: name.to_owned(), shape: Some(name.to_owned()) };
    }
    let alternatives: Vec<_> = ["oneOf", "anyOf", "allOf"]
        .into_iter()
        .flat_map(|it| list(&schema[it]))
        .map(kind)
        .collect();
    if !alternatives.is_empty() {
        let words: Vec<_> = alternatives.iter().map(|it| it.words.as_str()).collect();
        let shape = alternatives.iter().find_map(|it| it.shape.clone());
        return Kind { words: words.join(" or "), shape };
    }
    let choices: Vec<_> = list(&schema["enum"]).map(text).collect();
    if !choices.is_empty() {
        return Kind { words: choices.join(", "), shape: None };
    }
    if !schema["items"].is_null() {
        let item = kind(&schema["items"]);
        return Kind { words: format!("list of {}", item.words), shape: item.shape };
    }
    Kind { words: plain(schema), shape: None }
}

/// A text, number or the like with what limits it.
fn plain(schema: &Value) -> String {
    let types: Vec<_> = list(&schema["type"]).map(text).collect();
    let mut words = types.join(" or ");
    words.push_str(schema["type"].as_str().unwrap_or_default());
    if words.is_empty() {
        words = "anything".to_owned();
    }
    if let Some(format) = schema["format"].as_str().filter(|it| !it.starts_with("int")) {
        words.push_str(&format!(" ({format})"));
    }
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => words.push_str(&format!(", {least} to {most}")),
        (Some(least), None) => words.push_str(&format!(", at least {least}")),
        (None, Some(most)) => words.push_str(&format!(", at most {most}")),
        (None, None) => (),
    }
    words
}

/// `Cost centers` for `cost-centers`.
fn title(tag: &str) -> String {
    let words = tag.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |it| it.to_uppercase().chain(letters).collect())
}

fn order(method: &str) -> usize {
    ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().position(|it| *it == method).unwrap_or(9)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A description without its marks of code, which a page would show.
fn prose(value: &Value) -> String {
    text(value).replace('`', "")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: Value, words: &str) {
        assert_eq!(kind(&schema).words, words);
    }

    #[test]
    fn a_type_reads_as_words() {
        check(json!({ "type": "string", "format": "date-time" }), "string (date-time)");
        check(json!({ "type": ["string", "null"] }), "string or null");
        check(
            json!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 9 }),
            "integer, 0 to 9",
        );
        check(
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/Team" } }),
            "list of Team",
        );
        check(json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/x/TeamId" }] }), "null or TeamId");
        check(json!({ "type": "string", "enum": ["a", "b"] }), "a, b");
    }

    #[test]
    fn every_operation_can_be_typed() {
        let reference = reference();
        let operations = reference.groups.iter().flat_map(|it| &it.operations);
        let mut seen = 0;
        for operation in operations {
            let example = operation.example("https://turnpike.test");
            assert!(!example.contains(['{', '}']) || example.contains("-d '"), "{example}");
            seen += 1;
        }
        assert!(seen > 5);
    }

    #[test]
    fn an_example_holds_what_a_body_must_have() {
        let reference = reference();
        let mut operations = reference.groups.iter().flat_map(|it| &it.operations);
        let replace =
            operations.find(|it| it.method == "PUT" && it.path.ends_with("/split")).unwrap();
        let body: Value = serde_json::from_str(replace.sample.as_deref().unwrap()).unwrap();
        assert_eq!(body["effective_from"], "2027-01-01");
        assert_eq!(body["shares"][0]["cost_center"].as_str().unwrap().len(), 35);
        assert_eq!(body["shares"][0]["basis_points"], 1);
    }
}
