//! Answers that are wrong in themselves; what goes wrong on the connection is the wire's.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::{
    answer::{Answer, Body, Events, to_json},
    faults::{Fault, Point, RetryAfter},
    refusal::{Dialect, Refusal},
    serve::Desk,
};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\
    <body><h1>Bad Gateway</h1><p>Please come back later.</p></body></html>\n";

/// The answer given in place of a proper one, if the fault wants that.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other faults need a proper answer")]
pub(super) fn instead(fault: Fault, desk: &Desk, stream: bool) -> Option<Answer> {
    let dialect = desk.dialect;
    let mut answer = match fault {
        Fault::Status { status, retry_after } => {
            let answer = Refusal::usual(status).answer(dialect);
            match retry_after {
                Some(RetryAfter::Seconds(seconds)) => {
                    answer.with_header("retry-after", seconds.to_string())
                }
                Some(RetryAfter::Garbage) => answer.with_header("retry-after", "soon; maybe"),
                None => answer,
            }
        }
        Fault::LeakKey => {
            let key = desk.request.key.unwrap_or("none");
            Refusal::new(401, format!("Incorrect API key provided: {key}.")).answer(dialect)
        }
        Fault::Redirect { status } => {
            let target = format!("/redirected{}", desk.request.path);
            Answer::json(status, b"{}".to_vec()).with_header("location", target)
        }
        Fault::Html => {
            let page = Answer::json(200, PAGE.as_bytes().to_vec());
            Answer { content_type: "text/html; charset=utf-8", ..page }
        }
        Fault::Empty => Answer::json(200, Vec::new()),
        Fault::NoChoices if stream => {
            let mut events = Events::default();
            events.data(true, &json!({"status": "ok"}));
            Answer::stream(events)
        }
        Fault::NoChoices => Answer::json(200, to_json(&json!({"status": "ok"}))),
        Fault::Deep { levels } => {
            let deep = ["{\"choices\":", &"[".repeat(levels), &"]".repeat(levels), "}"].concat();
            Answer::json(200, deep.into_bytes())
        }
        Fault::HugeLine { mebibytes } => huge_line(dialect, mebibytes),
        Fault::HugeBody { mebibytes } => {
            let (before, after) = around_text(dialect);
            let body = Body::Filled { before, filler: mebibytes << 20, after };
            Answer { body, ..Answer::json(200, Vec::new()) }
        }
        Fault::GzipBomb { mebibytes } => {
            Answer::json(200, bomb(dialect, mebibytes)).with_header("content-encoding", "gzip")
        }
        _ => return None,
    };
    answer.fault = Some(fault);
    Some(answer)
}

fn huge_line(dialect: Dialect, mebibytes: u64) -> Answer {
    let (before, mut after) = around_text(dialect);
    after.extend_from_slice(b"\n\n");
    let before = [b"data: ".to_vec(), before].concat();
    let body = Body::Filled { before, filler: mebibytes << 20, after };
    Answer { content_type: Answer::EVENTS, body, ..Answer::json(200, Vec::new()) }
}

/// What stands before and after the text in a vendor's answer.
fn around_text(dialect: Dialect) -> (Vec<u8>, Vec<u8>) {
    let (before, after) = match dialect {
        Dialect::OpenAi => (
            r#"{"id":"chatcmpl-huge","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""#,
            r#""},"finish_reason":"stop"}]}"#,
        ),
        Dialect::Anthropic => (
            r#"{"id":"msg_huge","type":"message","role":"assistant","content":[{"type":"text","text":""#,
            r#""}],"stop_reason":"end_turn"}"#,
        ),
        Dialect::Gemini => (
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":""#,
            r#""}]},"finishReason":"STOP"}]}"#,
        ),
    };
    (before.as_bytes().to_vec(), after.as_bytes().to_vec())
}

fn bomb(dialect: Dialect, mebibytes: u64) -> Vec<u8> {
    let (before, after) = around_text(dialect);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut pack = || {
        gzip.write_all(&before)?;
        for _ in 0..mebibytes * 16 {
            gzip.write_all(&[b'x'; 64 << 10])?;
        }
        gzip.write_all(&after)
    };
    pack().and_then(|()| gzip.finish()).expect("a Vec takes every write")
}

/// `answer` with the fault worked into it.
pub(super) fn spoil(mut answer: Answer, fault: Fault, dialect: Dialect) -> Answer {
    answer.fault = Some(fault);
    answer.body = match (fault, answer.body) {
        (Fault::Truncate(point), Body::Whole(body)) => Body::Whole(cut(body, point)),
        (Fault::Truncate(point), Body::Events(events)) => Body::Events(cut_events(events, point)),
        (Fault::NoDone, Body::Events(mut events)) => {
            events.truncate(events.len().saturating_sub(1));
            Body::Events(events)
        }
        (Fault::ErrorEvent { events: kept }, Body::Events(mut events)) => {
            events.truncate(kept);
            error_event(&mut events, dialect);
            Body::Events(events)
        }
        (Fault::ErrorEvent { .. }, Body::Whole(_)) => {
            Body::Whole(to_json(&Refusal::usual(529).body(dialect)))
        }
        (Fault::BadJson, Body::Whole(body)) => Body::Whole(cut(body, None)),
        (Fault::BadJson, Body::Events(events)) => Body::Events(middle(&events, |event, out| {
            out.extend_from_slice(&event[..event.len() - event.len().min(8)]);
            out.extend_from_slice(b"\n\n");
        })),
        (Fault::BadUtf8, Body::Whole(body)) => {
            let mut spoilt = Vec::with_capacity(body.len() + 2);
            with_bad_utf8(&body, &mut spoilt);
            Body::Whole(spoilt)
        }
        (Fault::BadUtf8, Body::Events(events)) => Body::Events(middle(&events, with_bad_utf8)),
        (Fault::Crlf, Body::Events(events)) => Body::Events(events.rewritten(|_, event, out| {
            for &byte in event.iter().filter(|it| **it != b'\r') {
                out.extend_from_slice(if byte == b'\n' {
                    b"\r\n"
                } else {
                    std::slice::from_ref(&byte)
                });
            }
        })),
        (Fault::Comments, Body::Events(events)) => {
            Body::Events(events.rewritten(|nth, event, out| {
                let _ = write!(out, ": comment {nth}\n\n:\nid: {nth}\nretry: 1000\n");
                out.extend_from_slice(event);
            }))
        }
        (Fault::MultiLine, Body::Events(events)) => {
            Body::Events(events.rewritten(|_, event, out| multi_line(event, out)))
        }
        (_, body) => body,
    };
    answer
}

fn cut(mut body: Vec<u8>, point: Option<Point>) -> Vec<u8> {
    match point {
        Some(Point::Byte(at)) => body.truncate(at),
        Some(Point::Event(0)) => body.clear(),
        Some(Point::Event(_)) | None => body.truncate(body.len() / 2),
    }
    body
}

fn cut_events(mut events: Events, point: Option<Point>) -> Events {
    match point {
        Some(Point::Event(kept)) => events.truncate(kept),
        None => events.truncate(events.len() / 2),
        Some(Point::Byte(at)) => {
            let mut left = at;
            events = events.rewritten(|_, event, out| {
                let kept = left.min(event.len());
                out.extend_from_slice(&event[..kept]);
                left -= kept;
            });
        }
    }
    events
}

fn error_event(events: &mut Events, dialect: Dialect) {
    let error = Refusal::usual(529).body(dialect);
    match dialect {
        Dialect::Anthropic => events.named(false, "error", &error),
        Dialect::OpenAi | Dialect::Gemini => events.data(false, &error),
    }
}

/// The events with the middle one rewritten.
fn middle(events: &Events, rewrite: impl Fn(&[u8], &mut Vec<u8>)) -> Events {
    let middle = events.len() / 2;
    events.rewritten(|nth, event, out| match nth == middle {
        true => rewrite(event, out),
        false => out.extend_from_slice(event),
    })
}

/// Puts bytes no UTF-8 holds before the last letter, so that they stand inside the JSON.
fn with_bad_utf8(text: &[u8], out: &mut Vec<u8>) {
    let at = text.iter().rposition(u8::is_ascii_alphanumeric).unwrap_or(0);
    out.extend_from_slice(&text[..at]);
    out.extend_from_slice(&[0xFF, 0xC0]);
    out.extend_from_slice(&text[at..]);
}

/// Breaks the data before its second field: lines of data are joined by a newline, which JSON
/// allows there.
fn multi_line(event: &[u8], out: &mut Vec<u8>) {
    let comma = event.windows(2).position(|it| it == b",\"");
    match comma {
        Some(at) => {
            out.extend_from_slice(&event[..=at]);
            out.extend_from_slice(b"\ndata: ");
            out.extend_from_slice(&event[at + 1..]);
        }
        None => out.extend_from_slice(event),
    }
}
