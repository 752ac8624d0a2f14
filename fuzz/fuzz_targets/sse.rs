//! Whatever a provider streams, and wherever the network cuts it: no panic, and the same
//! for the client.
#![no_main]

use std::borrow::Cow;

use bytes::Bytes;
use data_plane::{
    ask::{Ask, Form},
    providers::provider,
    sse::{self, Assembler},
};
use libfuzzer_sys::fuzz_target;
use shared::{snapshot::Dialect, usage::Usage};

const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAi, Dialect::AzureOpenAi, Dialect::Anthropic, Dialect::Gemini];

const ASKS: [&str; 2] = [
    r#"{"model":"auto","stream":true,"messages":[]}"#,
    r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#,
];

fuzz_target!(|stream: &[u8]| {
    // Small enough for many cuts, and another size for each length.
    let size = stream.len() % 13 + 1;
    assert_eq!(events(stream, size), events(stream, stream.len().max(1)));
    for ask in ASKS {
        let ask = Ask::parse(Form::Chat, Bytes::from_static(ask.as_bytes())).unwrap();
        for dialect in DIALECTS {
            let whole = read(dialect, &ask, stream, stream.len().max(1));
            assert_eq!(read(dialect, &ask, stream, size), whole, "{dialect:?} in pieces of {size}");
        }
    }
});

/// What the events say.
fn events(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut assembler = Assembler::default();
    let (mut said, mut passed) = (Vec::new(), 0);
    for piece in stream.chunks(size) {
        let whole = assembler.push(Bytes::copy_from_slice(piece));
        passed += whole.len();
        assert_eq!(sse::events(&whole).map(<[u8]>::len).sum::<usize>(), whole.len());
        said.extend(sse::events(&whole).filter_map(sse::data).map(Cow::into_owned));
    }
    assert_eq!(passed + assembler.held().len(), stream.len(), "bytes were lost or made up");
    said
}

#[derive(Debug, PartialEq)]
struct Read {
    told: String,
    usage: Option<Usage>,
    is_complete: bool,
    has_failed: bool,
}

fn read(dialect: Dialect, ask: &Ask, stream: &[u8], size: usize) -> Read {
    let mut reader = provider(dialect).reader(ask);
    let (mut told, mut has_failed) = (Vec::new(), false);
    // What is told at once with a failure comes with the next piece.
    for piece in stream.chunks(size).chain([&b""[..]]) {
        match reader.read(Bytes::copy_from_slice(piece)) {
            Ok(bytes) => told.extend_from_slice(&bytes),
            Err(_) => {
                has_failed = true;
                break;
            }
        }
    }
    let (usage, is_complete) = (reader.usage(), reader.is_complete());
    Read { told: String::from_utf8_lossy(&told).into_owned(), usage, is_complete, has_failed }
}
