//! Whatever a client sends: no panic; and what we send on for it is a request again, which
//! names the model that we chose and keeps to our cap.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use data_plane::{
    ask::{Ask, Form, Sent, Wishes},
    catalog::{Candidate, Credential, Model, Prices, Upstream},
    providers::provider,
};
use futures::executor::block_on;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::{
    ids::{CredentialId, UpstreamId},
    snapshot::{self as published, Dialect},
    vendors::Quirks,
};

const MOST: u64 = 77;
const MODEL: &str = "mo\"del\\1";

static CANDIDATES: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    [
        (Dialect::OpenAi, "openai"),
        (Dialect::OpenAi, "mistral"),
        (Dialect::AzureOpenAi, "azure_openai"),
        (Dialect::Anthropic, "anthropic"),
        (Dialect::Gemini, "gemini"),
    ]
    .map(candidate)
    .into()
});

fuzz_target!(|body: &[u8]| {
    for form in Form::ALL {
        let Ok(ask) = Ask::parse(form, Bytes::copy_from_slice(body)) else { continue };
        assert!(!ask.model.is_empty());
        let (text, _) = ask.turn(&ask.needs());
        assert!(text.len() <= body.len());
        for most_output in [None, Some(MOST)] {
            for takes_stream_options in [false, true] {
                for model in [MODEL, &ask.model] {
                    let output_cap = "max_completion_tokens";
                    goes_on(&ask, &Sent { model, takes_stream_options, most_output, output_cap });
                }
            }
            for to in CANDIDATES.iter().filter(|it| it.model.addresses.of(&ask).is_some()) {
                let to = Candidate { most_output, ..to.clone() };
                is_json(&ask, &to);
            }
        }
    }
});

fn goes_on(ask: &Ask, sent: &Sent) {
    let body = ask.body_for(sent);
    let again = Ask::parse(ask.form, body.clone()).expect("what we send is a request");
    assert_eq!(again.model, sent.model);
    assert_eq!(again.fallbacks, Vec::<String>::new());
    assert_eq!(again.wishes, Wishes::default());
    assert_eq!((again.is_streaming, again.choices), (ask.is_streaming, ask.choices));
    let asks_for_usage = ask.is_streaming && sent.takes_stream_options;
    assert_eq!(again.wants_usage, ask.wants_usage || asks_for_usage);
    if ask.form.writes() {
        assert_eq!(again.output_cap, ask.cap(sent.most_output));
    }
    assert_eq!(again.body_for(sent), body, "nothing is left to be changed");
    // All else is as it was.
    let (was, is) = (parsed(ask.text()), parsed(again.text()));
    assert_eq!(was.is_some(), is.is_some());
    let (Some(mut was), Some(mut is)) = (was, is) else { return };
    let ours = ["model", "models", "provider", "stream_options"];
    for field in ours.into_iter().chain(["max_tokens", "max_completion_tokens"]) {
        for body in [&mut was, &mut is] {
            body.as_object_mut().expect("it is an object").remove(field);
        }
    }
    assert_eq!(was, is);
}

fn is_json(ask: &Ask, to: &Candidate) {
    let Ok(request) = to.model.upstream.speaks().request(ask, to) else { return };
    let body = block_on(request.into_body().collect()).unwrap().to_bytes();
    match serde_json::from_slice::<Value>(&body) {
        Err(error) if error.to_string().starts_with("number out of range") => (),
        outcome => drop(outcome.expect("every dialect is JSON")),
    }
}

/// `None` where a number is beyond what can be compared here: it is passed on as it is.
fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn candidate((dialect, vendor): (Dialect, &str)) -> Candidate {
    let authorization = provider(dialect).authorization(&"the-secret".into()).unwrap();
    let credential =
        Arc::new(Credential { id: CredentialId::generate(), weight: 1, authorization });
    let upstream = Upstream {
        id: UpstreamId::generate(),
        organization: None,
        provider: vendor.to_owned(),
        dialect,
        region: None,
        quirks: Quirks::of(vendor),
        timeouts: published::Timeouts::default(),
        assurances: published::Assurances::default(),
        credentials: vec![credential.clone()],
    };
    let model = Model {
        published: published::Model::of_text("auto", "model-1", 200_000, 64_000),
        prices: Prices::default(),
        standing: routing_engine::router().standing(MODEL, None),
        addresses: provider(dialect).addresses("https://api.example.com/v1", "model-1").unwrap(),
        upstream: Arc::new(upstream),
    };
    Candidate::new(Arc::new(model), credential, None)
}
