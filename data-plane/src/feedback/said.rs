//! The body of `POST /v1/feedback`, read: one item, or up to a thousand under `items`.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use shared::{
    feedback::{BEST, MOST_AT_ONCE},
    ids::RequestId,
};

use super::{At, NotFeedback};
use crate::ask::{Ask, Form};

/// One item. Of what model, of which request or prompt, and how good the answer was.
#[derive(Debug)]
pub struct Said<'a> {
    pub at: At,
    pub request: Option<RequestId>,
    pub model: Option<String>,
    pub per_mille: u16,
    prompt: Option<Prompt<'a>>,
}

#[derive(Debug)]
enum Prompt<'a> {
    Text(String),
    /// As a chat has them, and what it says of the form of its answer.
    Messages(&'a RawValue, Option<&'a RawValue>),
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    request_id: Option<String>,
    model: Option<String>,
    score: Option<f64>,
    label: Option<String>,
    prompt: Option<String>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
}

pub fn read(body: &[u8]) -> Result<Vec<Said<'_>>, NotFeedback> {
    serde_json::from_slice::<IgnoredAny>(body).map_err(NotFeedback::NotJson)?;
    let whole: Whole = serde_json::from_slice(body).map_err(NotFeedback::NotJson)?;
    if whole.items.is_none() {
        let one: &RawValue = serde_json::from_slice(body).map_err(NotFeedback::NotJson)?;
        return Ok(vec![item(one, At(None))?]);
    }
    let Several { items } = serde_json::from_slice(body).map_err(NotFeedback::NotJson)?;
    if !(1..=MOST_AT_ONCE).contains(&items.len()) {
        return Err(NotFeedback::Count);
    }
    items.into_iter().enumerate().map(|(at, it)| item(it, At(Some(at)))).collect()
}

fn item(raw: &RawValue, at: At) -> Result<Said<'_>, NotFeedback> {
    let it: Item =
        serde_json::from_str(raw.get()).map_err(|why| NotFeedback::NotRead { at, why })?;
    let wrong = |field, what| NotFeedback::Item { at, field, what };
    let per_mille = match (it.score, it.label.as_deref()) {
        (Some(score), None) if (0.0..=1.0).contains(&score) => per_mille(score),
        (None, Some("good")) => BEST,
        (None, Some("bad")) => 0,
        (Some(_), None) => return Err(wrong("score", "`score` has to be a number from 0 to 1.")),
        (None, Some(_)) => {
            return Err(wrong("label", "`label` has to be \"good\" or \"bad\"."));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(wrong("score", "say how good the answer was: `score` or `label`."));
        }
    };
    let request = it.request_id.map(|it| it.parse::<RequestId>()).transpose();
    let request = request.map_err(|_| {
        wrong("request_id", "`request_id` is what x-request-id said of an answer: req_….")
    })?;
    let prompt = match (it.prompt, it.messages) {
        (Some(_), Some(_)) => {
            return Err(wrong("prompt", "`prompt` or `messages`, and not both."));
        }
        (Some(text), None) => Some(Prompt::Text(text)),
        (None, Some(messages)) => Some(Prompt::Messages(messages, it.response_format)),
        (None, None) => None,
    };
    if request.is_none() && prompt.is_none() {
        return Err(wrong(
            "request_id",
            "say of which answer: its `request_id`, or a `prompt` or `messages` and the `model`.",
        ));
    }
    if request.is_none() && it.model.is_none() {
        return Err(wrong("model", "say whose answer to the prompt that was: `model`."));
    }
    Ok(Said { at, request, model: it.model, per_mille, prompt })
}

/// Held within bounds before.
fn per_mille(score: f64) -> u16 {
    (score * f64::from(BEST)).round() as u16
}

impl Said<'_> {
    /// The prompt as the call that would have asked it, so that it is looked at as that is.
    pub fn ask(&self) -> Result<Option<Ask>, NotFeedback> {
        let body = match &self.prompt {
            None => return Ok(None),
            Some(Prompt::Text(text)) => {
                let messages = [serde_json::json!({ "role": "user", "content": text })];
                serde_json::json!({ "model": "-", "messages": messages }).to_string()
            }
            Some(Prompt::Messages(messages, form)) => {
                let form = form.map(|it| format!(r#","response_format":{it}"#)).unwrap_or_default();
                format!(r#"{{"model":"-","messages":{messages}{form}}}"#)
            }
        };
        let ask = Ask::parse(Form::Chat, Bytes::from(body));
        ask.map(Some).map_err(|why| NotFeedback::Prompt { at: self.at, why })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::failure::Classified;

    use super::*;

    #[track_caller]
    fn refused(body: &str, words: &str, field: Option<&str>) {
        let why = read(body.as_bytes()).unwrap_err();
        assert!(why.to_string().contains(words), "{why}");
        assert_eq!(why.problems().first().map(|it| it.field), field, "{why}");
    }

    #[test]
    fn an_item_says_of_what_and_how_good() {
        let id = RequestId::generate();
        let body = format!(r#"{{"request_id":"{id}","label":"bad"}}"#);
        let [it] = &read(body.as_bytes()).unwrap()[..] else { panic!() };
        assert_eq!((it.request, it.per_mille, it.model.as_deref()), (Some(id), 0, None));
        assert!(it.ask().unwrap().is_none());
        let body = r#"{"items":[{"prompt":"Hi \"you\"","model":"a","score":0.25},
            {"messages":[{"role":"system","content":"x"},{"role":"user","content":"Hi"}],
             "response_format":{"type":"json_object"},"model":"b","label":"good"}]}"#;
        let said = read(body.as_bytes()).unwrap();
        let told: Vec<_> = said.iter().map(|it| (it.at.0, it.per_mille)).collect();
        assert_eq!(told, [(Some(0), 250), (Some(1), BEST)]);
        let turns: Vec<_> = said
            .iter()
            .map(|it| it.ask().unwrap().unwrap())
            .map(|it| (it.turn(&it.needs()).0, it.needs().json))
            .collect();
        assert_eq!(turns, [("Hi \"you\"".to_owned(), false), ("Hi".to_owned(), true)]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        refused("[", "not a JSON object", None);
        refused("7", "not a JSON object", None);
        refused(r#"{"items":[]}"#, "1 to 1000", Some("items"));
        refused(r#"{"items":[{}]}"#, "items[0]: say how good", Some("score"));
        refused(r#"{"prompt":"a","model":"b","score":1.5}"#, "from 0 to 1", Some("score"));
        refused(r#"{"prompt":"a","model":"b","score":"x"}"#, "it cannot be read", None);
        refused(r#"{"prompt":"a","model":"b","label":"fine"}"#, "\"good\"", Some("label"));
        refused(r#"{"score":1}"#, "of which answer", Some("request_id"));
        refused(r#"{"request_id":"7","score":1}"#, "x-request-id", Some("request_id"));
        refused(r#"{"prompt":"a","score":1}"#, "whose answer", Some("model"));
        refused(
            r#"{"prompt":"a","messages":[],"model":"b","score":1}"#,
            "not both",
            Some("prompt"),
        );
        refused(r#"{"prompt":"a","model":"b","score":1,"stars":5}"#, "unknown field", None);
        let many = format!(r#"{{"items":[{}{{}}]}}"#, "{},".repeat(MOST_AT_ONCE));
        refused(&many, "1 to 1000", Some("items"));
    }

    proptest! {
        #[test]
        fn no_body_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
            let _ = read(&bytes);
            let body = format!(r#"{{"items":[{{"messages":{text},"model":"a","score":1}}]}}"#);
            if let Ok(said) = read(body.as_bytes()) {
                let _ = said[0].ask();
            }
        }
    }
}
