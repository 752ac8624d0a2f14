use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

const TO: Sent = Sent {
    model: "gpt-5",
    takes_stream_options: true,
    most_output: None,
    output_cap: "max_completion_tokens",
};

fn parse(body: &str) -> Result<Ask, NotAnAsk> {
    Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes()))
}

#[track_caller]
fn check(body: &str, name: &str, expected: &str) {
    let sent = Sent { model: name, ..TO };
    assert_eq!(parse(body).unwrap().body_for(&sent), expected);
}

#[test]
fn only_the_name_is_rewritten() {
    check(r#"{"model":"auto","n":1}"#, "gpt-5", r#"{"model":"gpt-5","n":1}"#);
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
fn our_own_addition_is_cut_out() {
    check(r#"{"model":"a","models":["b","c"],"x":1}"#, "a", r#"{"model":"a","x":1}"#);
    check(r#"{"models":["b"], "model":"a"}"#, "a", r#"{"model":"a"}"#);
    check(r#"{"models":[],"provider":{}, "model":"a"}"#, "a", r#"{"model":"a"}"#);
    check(r#"{"model":"a","provider":{"zdr":true},"models":[]}"#, "g", r#"{"model":"g"}"#);
    check(r#"{"provider":null,"model":"a", "models":[], "x":1}"#, "a", r#"{"model":"a", "x":1}"#);
    check(r#"{"x":1 , "models":null, "model":"a" }"#, "g", r#"{"x":1, "model":"g" }"#);
    check(
        r#"{"model":"a","models":["b"],"stream":true}"#,
        "g",
        r#"{"model":"g","stream_options":{"include_usage":true},"stream":true}"#,
    );
    assert_eq!(parse(r#"{"model":"a","models":["b","c"]}"#).unwrap().fallbacks, ["b", "c"]);
}

#[test]
fn what_a_call_may_come_to_is_its_input_and_what_it_may_write() {
    for (form, body, written) in [
        (Form::Chat, r#"{"model":"a"}"#, 1_024),
        (Form::Completions, r#"{"model":"a","n":3}"#, 3 * 1_024),
        (Form::Chat, r#"{"model":"a","max_tokens":7,"n":2}"#, 14),
        (Form::Chat, r#"{"model":"a","max_tokens":18446744073709551615}"#, u64::MAX),
        (Form::Embeddings, r#"{"model":"a"}"#, 0),
        (Form::Moderations, r#"{"input":"a"}"#, 0),
    ] {
        let ask = Ask::parse(form, body.into()).unwrap();
        assert!(ask.estimated_input() > 0);
        let expected = ask.estimated_input().saturating_add(written);
        assert_eq!(ask.estimated_tokens(), expected, "{body}");
    }
}

#[test]
fn a_stream_is_always_asked_what_it_used() {
    let asked = r#"{"model":"a","stream_options":{"include_usage":true},"stream":true}"#;
    check(r#"{"model":"a","stream":true}"#, "a", asked);
    check(asked, "a", asked);
    check(
        r#"{"stream":true,"stream_options":{"include_usage" : false},"model":"a"}"#,
        "a",
        r#"{"stream":true,"stream_options":{"include_usage" : true},"model":"a"}"#,
    );
    check(
        r#"{"stream":true,"stream_options":{ "include_obfuscation":false},"model":"a"}"#,
        "a",
        r#"{"stream":true,"stream_options":{"include_usage":true, "include_obfuscation":false},"model":"a"}"#,
    );
    check(
        r#"{"stream":true,"stream_options":null,"model":"a"}"#,
        "a",
        r#"{"stream":true,"stream_options":{"include_usage":true},"model":"a"}"#,
    );
    check(r#"{"model":"a","stream":false}"#, "a", r#"{"model":"a","stream":false}"#);
    let ask = parse(r#"{"model":"a","stream":true}"#).unwrap();
    let sent = Sent { model: "a", takes_stream_options: false, ..TO };
    assert_eq!(ask.body_for(&sent), r#"{"model":"a","stream":true}"#);
    assert!(ask.is_streaming && !ask.wants_usage);
}

#[test]
fn what_we_allow_caps_what_is_said() {
    for (body, expected) in [
        (r#"{"model":"gpt-5"}"#, r#"{"model":"gpt-5","max_completion_tokens":100}"#),
        (r#"{"max_tokens":101,"model":"gpt-5"}"#, r#"{"max_tokens":100,"model":"gpt-5"}"#),
        (r#"{"max_tokens":99,"model":"gpt-5"}"#, r#"{"max_tokens":99,"model":"gpt-5"}"#),
        (r#"{"max_tokens":null,"model":"gpt-5"}"#, r#"{"max_tokens":100,"model":"gpt-5"}"#),
        (
            r#"{"max_tokens":50,"max_completion_tokens":null,"model":"gpt-5"}"#,
            r#"{"max_tokens":50,"max_completion_tokens":50,"model":"gpt-5"}"#,
        ),
    ] {
        let (ask, sent) = (parse(body).unwrap(), Sent { most_output: Some(100), ..TO });
        assert_eq!(ask.body_for(&sent), expected);
        assert!(ask.cap(Some(100)) <= Some(100));
    }
}

#[test]
fn moderation_may_name_no_model() {
    let ask = |body: &'static str| Ask::parse(Form::Moderations, Bytes::from(body)).unwrap();
    let as_is = Sent { model: MODERATOR, ..TO };
    assert_eq!(ask(r#"{"input":"x"}"#).model, MODERATOR);
    assert_eq!(ask(r#"{"input":"x"}"#).body_for(&as_is), r#"{"input":"x"}"#);
    assert_eq!(ask(r#"{"input":"x"}"#).body_for(&TO), r#"{"model":"gpt-5","input":"x"}"#);
    assert_eq!(ask("{}").body_for(&TO), r#"{"model":"gpt-5"}"#);
    assert_eq!(ask(r#"{"models":[]}"#).body_for(&TO), r#"{"model":"gpt-5"}"#);
}

#[test]
fn what_names_no_single_model_is_refused() {
    for bad in [
        "",
        "hello",
        "7",
        "null",
        "[]",
        r#" ["auto"]"#,
        r#"{"model":null}"#,
        r#"{"model":7}"#,
        r#"{"model":""}"#,
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
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

/// Also where no model has to be named.
#[test]
fn what_is_no_object_is_no_request() {
    for bad in ["null", "7", r#""{{o""#, r#""x""#, "[]", r#"[{"model":"a"}]"#] {
        for form in Form::ALL {
            let refused = Ask::parse(form, Bytes::from(bad));
            assert!(matches!(refused, Err(NotAnAsk::NotAnObject)), "{bad}: {refused:?}");
        }
    }
}

#[test]
fn what_we_read_has_to_be_readable() {
    for (bad, field) in [
        (r#"{"model":"a","stream":1}"#, "stream"),
        (r#"{"model":"a","stream":true,"stream":false}"#, "stream"),
        (r#"{"model":"a","stream_options":[]}"#, "stream_options"),
        (r#"{"model":"a","stream_options":{"include_usage":1}}"#, "stream_options"),
        (
            r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options",
        ),
        (r#"{"model":"a","max_tokens":1.5}"#, "max_tokens"),
        (r#"{"model":"a","max_tokens":-1}"#, "max_tokens"),
        (r#"{"model":"a","max_completion_tokens":"7"}"#, "max_completion_tokens"),
        (r#"{"model":"a","n":0}"#, "n"),
        (r#"{"model":"a","n":129}"#, "n"),
        (r#"{"model":"a","models":"b"}"#, "models"),
        (r#"{"model":"a","provider":"b"}"#, "provider"),
        (r#"{"model":"a","provider":{"where":"b"}}"#, "provider"),
        (r#"{"model":"a","api_base":"https://evil.example"}"#, "api_base"),
        (r#"{"model":"a","extra_headers":{}}"#, "extra_headers"),
    ] {
        let problems = parse(bad).unwrap_err().problems();
        assert_eq!(problems.first().map(|it| it.field), Some(field), "{bad}");
    }
}

#[test]
fn depth_is_refused_and_no_stack_overflow() {
    let deep = |levels: usize| {
        format!(r#"{{"x":{}{},"model":"a"}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    check(&deep(127), "a", &deep(127));
    assert!(matches!(parse(&deep(128)), Err(NotAnAsk::TooDeep)));
    assert!(matches!(parse(&deep(100_000)), Err(NotAnAsk::TooDeep)));
}

#[test]
fn texts_that_cannot_be_stored_are_refused() {
    for bad in [r#"\u0000"#, r#"\ud800"#, r#"\udc00"#] {
        let body = format!(r#"{{"model":"a","messages":["{bad}"]}}"#);
        assert!(matches!(parse(&body), Err(NotAnAsk::BadText)), "{bad}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|it| (f64::from(it) / 8.0).into()),
        "[^\\x00]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            others(inner).prop_map(Value::Object),
        ]
    })
}

/// Fields, none of which we read.
fn others(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![Just("Model".to_owned()), "[^\\x00]{0,8}"];
    let name = name.prop_map(|it| format!("_{it}"));
    prop::collection::vec((name, of), 0..4).prop_map(|it| it.into_iter().collect())
}

/// An object as text, with `gap` wherever white space may be.
fn written(parts: &[String], gap: &str) -> String {
    format!("{gap}{{{gap}{}{gap}}}{gap}", parts.join(&format!("{gap},{gap}")))
}

fn part(name: &str, gap: &str, value: &Value) -> String {
    format!("{}{gap}:{gap}{value}", Value::from(name))
}

proptest! {
    #[test]
    fn every_other_byte_stays(
        others in others(any_json()), at in any::<prop::sample::Index>(),
        from in "[^\\x00]{1,9}", to in "[^\\x00]{1,9}", gap in "[ \n\t]{0,3}",
    ) {
        let mut parts: Vec<_> = others.iter().map(|(name, it)| part(name, &gap, it)).collect();
        let at = at.index(parts.len() + 1);
        let mut with = |name: &str| {
            parts.insert(at, part("model", &gap, &name.into()));
            let whole = written(&parts, &gap);
            parts.remove(at);
            whole
        };
        let (before, after) = (with(&from), with(&to));
        prop_assert_eq!(parse(&before).unwrap().body_for(&Sent { model: &to, ..TO }), after);
    }

    /// Read as JSON, what is sent is what came but for what we change.
    #[test]
    fn only_what_we_change_changes(
        others in others(any_json()), order in any::<prop::sample::Index>(),
        stream in any::<bool>(), options in prop_oneof![
            Just(None), Just(Some(Value::Null)), Just(Some(serde_json::json!({}))),
            Just(Some(serde_json::json!({"include_usage": false, "x": [1]}))),
            Just(Some(serde_json::json!({"include_usage": true}))),
        ],
        models in prop::option::of(prop::collection::vec("[a-z]{1,4}", 0..3)),
        cap in prop::option::of(0..200_u64), most in prop::option::of(1..200_u64),
        gap in "[ \n\t]{0,2}",
    ) {
        let mut fields: Vec<(String, Value)> = others.into_iter().collect();
        fields.push(("model".into(), "auto".into()));
        fields.push(("stream".into(), stream.into()));
        fields.extend(options.clone().map(|it| ("stream_options".into(), it)));
        fields.extend(models.map(|it| ("models".into(), it.into())));
        fields.extend(cap.map(|it| ("max_tokens".into(), it.into())));
        let turn = order.index(fields.len());
        fields.rotate_left(turn);
        let parts: Vec<_> = fields.iter().map(|(name, it)| part(name, &gap, it)).collect();
        let ask = parse(&written(&parts, &gap)).unwrap();
        let to = Sent { most_output: most, ..TO };
        let sent: Value = serde_json::from_slice(&ask.body_for(&to)).unwrap();

        let mut expected: Map<_, _> = fields.into_iter().collect();
        expected.remove("models");
        expected.insert("model".into(), "gpt-5".into());
        if stream {
            let mut options = options.unwrap_or_default();
            if options.is_null() { options = Map::new().into(); }
            options["include_usage"] = true.into();
            expected.insert("stream_options".into(), options);
        }
        match (cap, most) {
            (Some(cap), Some(most)) => drop(expected.insert("max_tokens".into(), cap.min(most).into())),
            (None, Some(most)) => drop(expected.insert("max_completion_tokens".into(), most.into())),
            (_, None) => (),
        }
        prop_assert_eq!(sent, Value::Object(expected));
    }

    #[test]
    fn no_body_is_a_panic(body: Vec<u8>, text in "[\\[\\]{}\":,\\\\umodels0d8 ]{0,40}") {
        let _ = Ask::parse(Form::Chat, body.into());
        let _ = Ask::parse(Form::Moderations, text.into());
    }
}

/// An answer that is heard out would keep it for minutes.
#[test]
fn a_body_goes_with_its_ask_whatever_is_kept_of_it() {
    struct Body {
        bytes: &'static [u8],
        _there: Arc<()>,
    }
    impl AsRef<[u8]> for Body {
        fn as_ref(&self) -> &[u8] {
            self.bytes
        }
    }
    let there = Arc::new(());
    let body = br#"{"model":"auto","input":"x","encoding_format":"base64"}"#;
    let body = Bytes::from_owner(Body { bytes: body, _there: there.clone() });
    let ask = Ask::parse(Form::Embeddings, body).unwrap();
    let (outline, _marks) = (ask.outline(), ask.marks());
    drop(ask);
    assert_eq!(Arc::strong_count(&there), 1);
    assert!(outline.is_base64 && outline.model == "auto");
}
