//! The models a caller can use, in one shape that clients of several APIs understand.

use serde::Serialize;

use crate::{
    authenticate::Caller,
    catalog::{Model, Snapshot, allows},
    route::{NoRoute, find},
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
}

impl<'a> From<&'a Model> for Item<'a> {
    fn from(model: &'a Model) -> Self {
        Self {
            id: &model.name,
            object: "model",
            r#type: "model",
            created: 0,
            created_at: UNKNOWN_DATE,
            owned_by: &model.upstream.provider,
            name: &model.display_name,
            display_name: &model.display_name,
            context_length: model.context_length,
            max_output_tokens: model.max_output_tokens,
        }
    }
}

/// The models that the caller's key may use.
pub fn list(snapshot: &Snapshot, caller: &Caller) -> Vec<u8> {
    let models = snapshot.models(caller.organization());
    let usable = models.filter(|it| allows(&caller.key, &it.name));
    let data: Vec<Item> = usable.map(|it| Item::from(&**it)).collect();
    let (first_id, last_id) = (data.first().map(|it| it.id), data.last().map(|it| it.id));
    written(&List { object: "list", has_more: false, first_id, last_id, data })
}

pub fn one(snapshot: &Snapshot, caller: &Caller, name: &str) -> Result<Vec<u8>, NoRoute> {
    find(snapshot, caller, name).map(|it| written(&Item::from(&**it)))
}

fn written(what: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(what).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use shared::keys::{Brand, NewKey};

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
        });
        assert_eq!(serde_json::from_slice::<Value>(&one).unwrap(), expected);
    }

    #[test]
    fn an_unknown_one_is_not_found() {
        let snapshot = snapshot(&Fixture::default());
        assert!(one(&snapshot, &caller(None), "a").is_err());
    }
}
