//! Where a call goes: the upstream that serves the model asked for.

use std::sync::Arc;

use shared::failure::{Classified, Code, Kind, Problem, code};

use crate::{
    authenticate::Caller,
    catalog::{Model, Snapshot, allows},
    chat::Chat,
    nearest::nearest,
};

/// A call and the place that will answer it.
#[derive(Debug)]
pub struct Plan {
    pub caller: Caller,
    pub chat: Chat,
    pub model: Arc<Model>,
}

pub fn route(snapshot: &Snapshot, caller: Caller, chat: Chat) -> Result<Plan, NoRoute> {
    let model = find(snapshot, &caller, &chat.model)?.clone();
    Ok(Plan { caller, chat, model })
}

/// The model called `name`, if there is one that the caller may use.
pub fn find<'a>(
    snapshot: &'a Snapshot,
    caller: &Caller,
    name: &str,
) -> Result<&'a Arc<Model>, NoRoute> {
    let Some(model) = snapshot.model(caller.organization(), name) else {
        let usable = snapshot.models(caller.organization()).map(|it| it.name.as_str());
        let meant = nearest(name, usable.filter(|it| allows(&caller.key, it)));
        return Err(NoRoute::Unknown { name: shown(name), meant: meant.map(str::to_owned) });
    };
    if allows(&caller.key, name) {
        Ok(model)
    } else {
        Err(NoRoute::NotAllowed { name: name.to_owned() })
    }
}

/// As much of a name as an error message has room for.
fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("No model {name:?}.{}", did_you_mean(meant.as_deref()))]
    Unknown { name: String, meant: Option<String> },
    #[error("Your key may not use the model {name:?}. GET /v1/models lists those that it may.")]
    NotAllowed { name: String },
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(" GET /v1/models lists those there are.".to_owned(), |it| {
        format!(" Did you mean {it:?}?")
    })
}

impl Classified for NoRoute {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } => Kind::NotFound,
            Self::NotAllowed { .. } => Kind::Forbidden,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => code::MODEL_NOT_FOUND,
            Self::NotAllowed { .. } => code::MODEL_NOT_ALLOWED,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        vec![Problem { field: "model", message: self.to_string() }]
    }
}

#[cfg(test)]
mod tests {
    use shared::keys::{Brand, NewKey};

    use super::*;
    use crate::catalog::tests::{Fixture, key, snapshot};

    #[track_caller]
    fn check(allowed: Option<&[&str]>, asked: &str, expected: Result<&str, &str>) {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["gpt-5", "gpt-5-mini", "auto"]);
        let mut key = key(&NewKey::generate(Brand::Live));
        key.allowed_models = allowed.map(|it| it.iter().map(|&it| it.to_owned()).collect());
        let caller = Caller { key: Arc::new(key) };
        let chat = Chat::parse(format!(r#"{{"model":{asked:?}}}"#).into()).unwrap();
        let plan = route(&snapshot(&fixture), caller, chat);
        let outcome = plan.map(|it| it.model.upstream_name.clone()).map_err(|it| it.to_string());
        match (outcome, expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name, expected),
            (Err(told), Err(words)) => assert!(told.contains(words), "{told}"),
            (outcome, expected) => panic!("{outcome:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_model_is_found_by_its_name() {
        check(None, "gpt-5", Ok("gpt-5-upstream"));
        check(None, "auto", Ok("auto-upstream"));
        check(Some(&["auto"]), "auto", Ok("auto-upstream"));
    }

    #[test]
    fn a_mistyped_name_is_understood() {
        check(None, "gpt5-mini", Err("Did you mean \"gpt-5-mini\"?"));
        check(None, "llama", Err("GET /v1/models"));
    }

    #[test]
    fn a_key_uses_the_models_on_its_list() {
        check(Some(&["auto"]), "gpt-5", Err("may not use"));
        check(Some(&[]), "auto", Err("may not use"));
    }

    #[test]
    fn what_a_key_may_not_use_is_not_suggested() {
        check(Some(&["auto"]), "gpt-5-min", Err("GET /v1/models"));
    }
}
