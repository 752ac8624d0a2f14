//! A request as far as the road needs to understand it: which model it asks for, and how.
//!
//! Everything else goes to the upstream as it came, byte for byte: fields that we have
//! never heard of, the order of keys, white space, the spelling of numbers.

use std::{borrow::Cow, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::failure::{Classified, Kind, Problem};

/// Which of our endpoints was asked, and so which form request and answer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Chat,
    Completions,
    Embeddings,
    Moderations,
}

/// A body that is a JSON object and names a model.
#[derive(Debug)]
pub struct Ask {
    pub form: Form,
    pub model: String,
    /// Models to be asked when the first cannot answer: our own addition to the dialect.
    pub fallbacks: Vec<String>,
    /// Where in `body` the model's name stands, with its quotes.
    model_at: Range<usize>,
    body: Bytes,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(default)]
    models: Vec<String>,
}

impl Ask {
    pub fn parse(form: Form, body: Bytes) -> Result<Self, NotAnAsk> {
        let text = std::str::from_utf8(&body).map_err(|_| NotAnAsk::NotUtf8)?;
        // serde would also read the fields from an array.
        if text.trim_start().starts_with('[') {
            return Err(NotAnAsk::NotAnObject);
        }
        let fields: Fields = serde_json::from_str(text)?;
        let raw = fields.model.ok_or(NotAnAsk::NoModel)?.get();
        let model: Cow<'_, str> = serde_json::from_str(raw).map_err(|_| NotAnAsk::BadModel)?;
        if model.is_empty() {
            return Err(NotAnAsk::BadModel);
        }
        let start = raw.as_ptr().addr() - text.as_ptr().addr();
        let (model, model_at) = (model.into_owned(), start..start + raw.len());
        Ok(Self { form, model, fallbacks: fields.models, model_at, body })
    }

    /// What the call may come to, as far as its length tells.
    pub fn estimated_tokens(&self) -> u64 {
        u64::try_from(self.body.len() / 4).unwrap_or(u64::MAX)
    }

    /// The body as an upstream wants it, which calls the model `name`. Only where the
    /// names differ is there anything to write.
    pub fn body_for(&self, name: &str) -> Bytes {
        let before = self.body.get(..self.model_at.start);
        let after = self.body.get(self.model_at.end..);
        let (Some(before), Some(after), false) = (before, after, name == self.model) else {
            return self.body.clone();
        };
        let name = serde_json::Value::from(name).to_string();
        let mut body = BytesMut::with_capacity(before.len() + name.len() + after.len());
        body.put_slice(before);
        body.put_slice(name.as_bytes());
        body.put_slice(after);
        body.freeze()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotAnAsk {
    #[error("The body is not UTF-8.")]
    NotUtf8,
    #[error("The body is not a JSON object that we can read: {0}.")]
    NotJson(#[from] serde_json::Error),
    #[error("The body is a JSON array. Send an object: {{\"model\": \"auto\", …}}.")]
    NotAnObject,
    #[error("The body names no model. Say which one: {{\"model\": \"auto\", …}}.")]
    NoModel,
    #[error("The model has to be a text that is not empty.")]
    BadModel,
}

impl Classified for NotAnAsk {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::NotUtf8 | Self::NotJson(_) | Self::NotAnObject => vec![],
            Self::NoModel | Self::BadModel => {
                vec![Problem { field: "model", message: self.to_string() }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn parse(body: &str) -> Result<Ask, NotAnAsk> {
        Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[track_caller]
    fn check(body: &str, name: &str, expected: &str) {
        assert_eq!(parse(body).unwrap().body_for(name), expected);
    }

    #[test]
    fn only_the_name_is_rewritten() {
        check(r#"{"model":"auto","n":1.0}"#, "gpt-5", r#"{"model":"gpt-5","n":1.0}"#);
        check(
            "{ \"x\": {\"model\": 1e3},\n \"model\" : \"auto\" , \"y\":[] }\n",
            "gpt-5",
            "{ \"x\": {\"model\": 1e3},\n \"model\" : \"gpt-5\" , \"y\":[] }\n",
        );
        check(r#"{"mod\u0065l":"a\u0062"}"#, r#"say "x""#, r#"{"mod\u0065l":"say \"x\""}"#);
    }

    #[test]
    fn a_name_that_is_right_keeps_its_spelling() {
        check(r#"{"model":"\u0061uto"}"#, "auto", r#"{"model":"\u0061uto"}"#);
    }

    #[test]
    fn what_names_no_single_model_is_refused() {
        for bad in [
            "",
            "hello",
            "[]",
            r#" ["auto"]"#,
            "{}",
            r#"{"model":null}"#,
            r#"{"model":7}"#,
            r#"{"model":""}"#,
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a"} {}"#,
            r#"{"model":"\ud800"}"#,
        ] {
            assert_eq!(parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert!(matches!(
            Ask::parse(Form::Chat, Bytes::from_static(b"{\"\xff\":1}")),
            Err(NotAnAsk::NotUtf8)
        ));
    }

    #[test]
    fn depth_is_no_stack_overflow() {
        let deep = format!(r#"{{"x":{}{},"model":"a"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, "a", &deep);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                fields(inner).prop_map(Value::Object),
            ]
        })
    }

    fn fields(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof![Just("model".to_owned()), any::<String>()];
        prop::collection::vec((name, of), 0..4).prop_map(|it| it.into_iter().collect())
    }

    fn written(fields: &Map<String, Value>) -> Vec<String> {
        fields.iter().map(|(key, it)| format!("{}: {it}", Value::from(key.as_str()))).collect()
    }

    proptest! {
        #[test]
        fn every_other_byte_stays(
            fields in fields(any_json()), at in any::<prop::sample::Index>(),
            from in ".+", to in ".+", gap in "[ \n\t]{0,3}",
        ) {
            let mut fields = fields;
            fields.remove("model");
            let mut parts = written(&fields);
            let at = at.index(parts.len() + 1);
            parts.insert(at, "MODEL".to_owned());
            let shape = format!("{gap}{{{gap}{}{gap}}}{gap}", parts.join(&format!("{gap},{gap}")));
            let with = |name: &str| {
                let written = format!("\"model\"{gap}:{gap}{}", Value::from(name));
                shape.replacen("MODEL", &written, 1)
            };
            prop_assume!(shape.matches("MODEL").count() == 1);
            prop_assert_eq!(parse(&with(&from)).unwrap().body_for(&to), with(&to));
        }

        #[test]
        fn no_body_is_a_panic(body: Vec<u8>) {
            let _ = Ask::parse(Form::Chat, body.into());
        }
    }
}
