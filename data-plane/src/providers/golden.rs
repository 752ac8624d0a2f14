//! What goes in and what comes out, for every provider: `fixtures/<provider>/` has a file
//! for each thing that is put in, and beside it, as a snapshot, what has to come out.

use std::{fmt::Write, fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use shared::{
    ids::{CredentialId, UpstreamId},
    snapshot::{self as published, Dialect},
    vendors::Quirks,
};

use super::{NotAnAnswer, provider};
use crate::{
    ask::{Ask, Form},
    catalog::{Candidate, Credential, Model, Prices, Upstream},
};

/// The folders of fixtures, and who each is about.
const PROVIDERS: [(&str, Dialect, &str, &str); 5] = [
    ("openai", Dialect::OpenAi, "openai", "https://api.openai.com/v1"),
    ("compatible", Dialect::OpenAi, "mistral", "https://api.mistral.ai/v1"),
    ("azure", Dialect::AzureOpenAi, "azure_openai", "https://r.openai.azure.com"),
    ("anthropic", Dialect::Anthropic, "anthropic", "https://api.anthropic.com/v1"),
    ("gemini", Dialect::Gemini, "gemini", "https://generativelanguage.googleapis.com/v1beta"),
];

const CHAT: &str =
    r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const EMBEDDINGS: &str = r#"{"model":"auto","input":"x","encoding_format":"base64"}"#;

/// What there has to be of each, as far as that is the same everywhere.
const CASES: [&str; 10] = [
    "tools.ask.json",
    "text.answer.json",
    "tools.answer.json",
    "text.stream",
    "tools.stream",
    "error.stream",
    "key.refusal.json",
    "rate_limit.refusal.json",
    "overloaded.refusal.json",
    "too_long.refusal.json",
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Runs `told` over a folder's files of a kind and compares what it says.
fn check(provider: &str, kind: &str, told: impl Fn(Bytes) -> String) -> usize {
    let mut files: Vec<_> =
        fs::read_dir(folder(provider)).unwrap().map(|it| it.unwrap().file_name()).collect();
    files.sort();
    let names: Vec<_> = files.iter().filter_map(|it| it.to_str()?.strip_suffix(kind)).collect();
    insta::with_settings!({
        snapshot_path => folder(provider), prepend_module_to_snapshot => false, omit_expression => true,
    }, {
        for name in &names {
            let file = fs::read(folder(provider).join(format!("{name}{kind}"))).unwrap();
            let kind = kind.trim_end_matches(".json");
            insta::assert_snapshot!(format!("{name}{kind}"), told(file.into()));
        }
    });
    names.len()
}

fn candidate(dialect: Dialect, vendor: &str, base: &str) -> Candidate {
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
        prices: Prices::default(),
        published: published::Model::of_text("auto", "model-1", 200_000, 64_000),
        addresses: provider(dialect).addresses(base, "model-1").unwrap(),
        standing: routing_engine::router().standing("auto", None),
        upstream: Arc::new(upstream),
    };
    Candidate::new(Arc::new(model), credential, None)
}

fn ask(form: Form, body: impl Into<Bytes>) -> Ask {
    Ask::parse(form, body.into()).unwrap().at(1_700_000_000)
}

fn sent(ask: &Ask, to: &Candidate) -> String {
    let request = match to.model.upstream.speaks().request(ask, to) {
        Ok(request) => request,
        Err(why) => return format!("{why} ({})", why.parameter),
    };
    let (head, body) = request.into_parts();
    let mut told = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        writeln!(told, "{name}: {value:?}").unwrap();
        assert!(!format!("{value:?}").contains("the-secret"));
    }
    let body = futures::executor::block_on(body.collect()).unwrap().to_bytes();
    format!("{told}\n{}", String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn every_provider_has_every_case() {
    for (name, ..) in PROVIDERS {
        let missing: Vec<_> =
            CASES.into_iter().filter(|it| !folder(name).join(it).exists()).collect();
        assert!(missing.is_empty(), "{name} has no {missing:?}");
    }
}

#[test]
fn requests() {
    for (folder, dialect, vendor, base) in PROVIDERS {
        let to = candidate(dialect, vendor, base);
        let chats = check(folder, ".ask.json", |body| sent(&ask(Form::Chat, body), &to));
        assert!(chats > 0, "{folder}");
        check(folder, ".embed.json", |body| sent(&ask(Form::Embeddings, body), &to));
    }
}

#[test]
fn answers() {
    for (folder, dialect, ..) in PROVIDERS {
        for (kind, ask) in [
            (".answer.json", ask(Form::Chat, CHAT)),
            (".embedded.json", ask(Form::Embeddings, EMBEDDINGS)),
        ] {
            check(folder, kind, |body| match provider(dialect).answer(&ask, body) {
                Ok(whole) => {
                    let body = String::from_utf8(whole.body.to_vec()).unwrap();
                    serde_json::from_str::<Value>(&body).unwrap();
                    format!("{:?}\n\n{body}", whole.usage)
                }
                Err(error) => format!("{error:?}"),
            });
        }
    }
}

#[derive(Debug, PartialEq)]
struct Read {
    text: String,
    usage: Option<shared::usage::Usage>,
    is_complete: bool,
    failure: Option<NotAnAnswer>,
}

fn read<'a>(dialect: Dialect, ask: &Ask, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut reader = provider(dialect).reader(ask);
    let (mut told, mut failure) = (Vec::new(), None);
    for piece in pieces {
        match reader.read(Bytes::copy_from_slice(piece)) {
            Ok(bytes) => told.extend_from_slice(&bytes),
            Err(error) => failure = Some(error),
        }
    }
    let (usage, is_complete) = (reader.usage(), reader.is_complete());
    Read { text: String::from_utf8_lossy(&told).into_owned(), usage, is_complete, failure }
}

/// Which must not depend on where the network cut them.
#[test]
fn streams() {
    for (folder, dialect, ..) in PROVIDERS {
        check(folder, ".stream", |stream| {
            let whole = read(dialect, &ask(Form::Chat, CHAT), [&stream[..], b""]);
            for size in [1, 2, 7, 100] {
                let cut =
                    read(dialect, &ask(Form::Chat, CHAT), stream.chunks(size).chain([&b""[..]]));
                assert_eq!(cut, whole, "in pieces of {size}");
            }
            let Read { text, usage, is_complete, failure } = whole;
            for event in text.split_terminator("\n\n") {
                let data = event.strip_prefix("data: ").unwrap();
                assert!(data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(), "{data}");
            }
            format!("{usage:?}, complete: {is_complete}, failed: {failure:?}\n\n{text}")
        });
    }
}

#[test]
fn usage_is_told_to_those_only_who_asked() {
    let unasked = r#"{"model":"auto","stream":true,"messages":[]}"#;
    for (name, dialect, ..) in PROVIDERS {
        let stream = fs::read(folder(name).join("tools.stream")).unwrap();
        let (with, without) = (ask(Form::Chat, CHAT), ask(Form::Chat, unasked));
        let (with, without) =
            (read(dialect, &with, [&stream[..]]), read(dialect, &without, [&stream[..]]));
        assert!(with.text.contains("\"usage\":{\"prompt_tokens\""), "{name}");
        assert!(!without.text.contains("\"prompt_tokens\""), "{name}");
        assert!(with.usage.is_some() && with.usage == without.usage, "{name}");
        assert!(with.is_complete && without.is_complete, "{name}");
    }
}

#[test]
fn a_stream_cut_at_any_byte_never_looks_complete() {
    for (name, dialect, ..) in PROVIDERS {
        for file in ["text.stream", "tools.stream", "error.stream"] {
            let stream = fs::read(folder(name).join(file)).unwrap();
            for end in 0..stream.len() {
                let cut = read(dialect, &ask(Form::Chat, CHAT), [&stream[..end]]);
                let says_so = cut.text.ends_with("\ndata: [DONE]\n")
                    || cut.text.ends_with("\ndata: [DONE]\n\n");
                assert_eq!(says_so, cut.is_complete, "{name}/{file} after {end} bytes");
                assert!(!cut.is_complete || end + 2 >= stream.len(), "{name}/{file}: {end}");
            }
        }
    }
}

#[test]
fn refusals() {
    #[derive(Deserialize)]
    struct Refused {
        status: u16,
        headers: std::collections::BTreeMap<String, String>,
        body: String,
    }
    for (folder, dialect, ..) in PROVIDERS {
        check(folder, ".refusal.json", |file| {
            let refused: Refused = serde_json::from_slice(&file).unwrap();
            let header = |(name, value): (&String, &String)| {
                (HeaderName::try_from(name).unwrap(), value.parse().unwrap())
            };
            let headers: HeaderMap = refused.headers.iter().map(header).collect();
            let status = StatusCode::from_u16(refused.status).unwrap();
            match provider(dialect).refusal(status, &headers, refused.body.into()) {
                Ok(refusal) => format!(
                    "{} {:?}, wait: {:?}\n\n{}",
                    refusal.status,
                    refusal.class,
                    refusal.retry_after,
                    String::from_utf8(refusal.body.to_vec()).unwrap(),
                ),
                Err(error) => format!("{error:?}"),
            }
        });
    }
}

/// Bytes that begin like a provider's and then go wrong.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let mut good = Vec::new();
    for (name, ..) in PROVIDERS {
        for file in fs::read_dir(folder(name)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|it| it != "snap") {
                good.push(fs::read(path).unwrap());
            }
        }
    }
    let wrong = prop_oneof![
        Just(b"null".to_vec()),
        Just(b"{}".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"18446744073709551615".to_vec()),
        Just(b"-1".to_vec()),
        any::<Vec<u8>>(),
    ];
    (prop::sample::select(good), any::<prop::sample::Index>(), 0..40_usize, wrong).prop_map(
        |(mut bytes, at, length, wrong)| {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, wrong);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn nothing_that_comes_is_a_panic(bytes in prop_oneof![any::<Vec<u8>>(), spoilt()], status in 100..600_u16) {
        let status = StatusCode::from_u16(status).unwrap();
        for (_, dialect, vendor, base) in PROVIDERS {
            let (speaks, bytes) = (provider(dialect), Bytes::from(bytes.clone()));
            for (form, body) in [(Form::Chat, CHAT), (Form::Embeddings, EMBEDDINGS)] {
                if let Ok(whole) = speaks.answer(&ask(form, body), bytes.clone()) {
                    prop_assert!(serde_json::from_slice::<IgnoredAny>(&whole.body).is_ok());
                }
                if let Ok(ask) = Ask::parse(form, bytes.clone()) {
                    let _ = speaks.request(&ask, &candidate(dialect, vendor, base));
                }
            }
            let chat = ask(Form::Chat, CHAT);
            let whole = read(dialect, &chat, [&bytes[..], b""]);
            prop_assert!(!whole.is_complete || whole.text.contains("[DONE]"));
            if let Ok(refusal) = speaks.refusal(status, &HeaderMap::new(), bytes) {
                prop_assert!(serde_json::from_slice::<IgnoredAny>(&refusal.body).is_ok());
            }
        }
    }
}
