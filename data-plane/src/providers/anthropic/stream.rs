//! A stream of the Messages API, as a chat's chunks.

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::usage::Usage;

use super::answer::{Counted, finish};
use crate::providers::{
    NotAnAnswer,
    chat::Text,
    openai::read,
    told::{Arguments, Assistant, Call, Chunks, Delta, DeltaCall, Finish},
    translating::{Translator, text},
};

pub(super) struct Stream {
    tells_usage: bool,
    counted: Counted,
    finish: Option<Finish>,
    call: Option<Telling>,
    calls: u32,
    /// Whether anything is being written, and nothing but what the client sees.
    writes: Option<Openly>,
    is_complete: bool,
}

/// Whether all that is written is shown. Of thoughts a summary is, and of what the vendor's own
/// tools are told, nothing.
type Openly = bool;

/// A call that is being told.
struct Telling {
    block: u64,
    /// The call's number.
    index: u32,
    has_arguments: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Change<'a>>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

impl Stream {
    pub(super) fn new(tells_usage: bool) -> Self {
        Self {
            tells_usage,
            counted: Counted::default(),
            finish: None,
            call: None,
            calls: 0,
            writes: None,
            is_complete: false,
        }
    }

    fn starts(&mut self, message: &Message, chunks: &mut Chunks) {
        self.counted = self.counted.then(message.usage.unwrap_or_default());
        chunks.begin(&message.id, &message.model);
        let role = Some(Assistant::Assistant);
        chunks.delta(0, &Delta { role, ..Delta::default() });
    }

    fn begins(&mut self, index: u64, block: &Block, chunks: &mut Chunks) {
        let is_open = matches!(&*block.kind, "text" | "tool_use");
        self.writes = Some(self.writes.unwrap_or(true) && is_open);
        if &*block.kind != "tool_use" {
            return;
        }
        self.call = Some(Telling { block: index, index: self.calls, has_arguments: false });
        let call = Call { index: Some(self.calls), ..Call::new(&block.id, &block.name, "") };
        self.calls = self.calls.saturating_add(1);
        let tool_calls = Some([DeltaCall::Begins(call)]);
        chunks.delta(0, &Delta { tool_calls, ..Delta::default() });
    }

    fn goes(
        &mut self,
        block: u64,
        change: &Change,
        chunks: &mut Chunks,
    ) -> Result<(), NotAnAnswer> {
        let delta = match &*change.kind {
            "text_delta" => Delta { content: Some(text(change.text)?), ..Delta::default() },
            "thinking_delta" => {
                let reasoning_content = Some(text(change.thinking)?);
                Delta { reasoning_content, ..Delta::default() }
            }
            "input_json_delta" => {
                let call = self.call.as_mut().filter(|it| it.block == block);
                // What a tool of the vendor's own is told is not the client's business.
                let Some(call) = call else { return Ok(()) };
                let arguments = text(change.partial_json)?;
                if arguments.get() == "\"\"" {
                    return Ok(());
                }
                call.has_arguments = true;
                call_goes(call.index, arguments)
            }
            _ => return Ok(()),
        };
        chunks.delta(0, &delta);
        Ok(())
    }

    /// A call without arguments has an empty object of them, which here nobody says.
    fn block_stops(&mut self, block: u64, chunks: &mut Chunks) {
        let call = self.call.take_if(|it| it.block == block);
        if let Some(call) = call.filter(|it| !it.has_arguments) {
            let nothing = serde_json::from_str(r#""{}""#).expect("this is JSON");
            chunks.delta(0, &call_goes(call.index, nothing));
        }
    }

    fn stops(&mut self, chunks: &mut Chunks) -> Result<(), NotAnAnswer> {
        chunks.finish(0, self.finish.ok_or(NotAnAnswer::Incomplete)?);
        chunks.done(self.usage().filter(|_| self.tells_usage));
        self.is_complete = true;
        Ok(())
    }
}

fn call_goes(index: u32, arguments: &RawValue) -> Delta<'_> {
    let goes = DeltaCall::Goes { index, function: Arguments { arguments } };
    Delta { tool_calls: Some([goes]), ..Delta::default() }
}

impl Translator for Stream {
    fn translate(&mut self, data: &[u8], chunks: &mut Chunks) -> Result<(), NotAnAnswer> {
        let event: Event = read(data)?;
        let kind = &*event.kind;
        if kind == "error" {
            return Err(NotAnAnswer::Failed);
        }
        if self.is_complete || kind == "ping" {
            return Ok(());
        }
        if kind == "message_start" && !chunks.has_begun() {
            self.starts(&event.message.ok_or(NotAnAnswer::Incomplete)?, chunks);
            return Ok(());
        }
        if !chunks.has_begun() {
            return Err(NotAnAnswer::Incomplete);
        }
        match (kind, event.index) {
            ("content_block_start", Some(index)) => {
                self.begins(index, &event.content_block.ok_or(NotAnAnswer::Incomplete)?, chunks);
            }
            ("content_block_delta", Some(index)) => {
                self.goes(index, &event.delta.ok_or(NotAnAnswer::Incomplete)?, chunks)?;
            }
            ("content_block_stop", Some(index)) => self.block_stops(index, chunks),
            ("message_delta", _) => {
                self.counted = self.counted.then(event.usage.unwrap_or_default());
                let reason = event.delta.and_then(|it| it.stop_reason);
                self.finish = reason.map(|it| finish(&it)).or(self.finish);
            }
            ("message_stop", _) => self.stops(chunks)?,
            (_, _) => (),
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn usage(&self) -> Option<Usage> {
        self.counted.usage()
    }

    /// What was put in is told first, and what is written is shown; a message that is cut is
    /// not gone on with.
    fn may_be_cut(&self) -> bool {
        self.writes == Some(true) && self.counted.usage().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{Reader, translating::Translating};

    const STARTS: &str = r#"{"type":"message_start","message":{"id":"m","model":"c",
        "usage":{"input_tokens":9,"output_tokens":1}}}"#;
    const SPEAKS: &str = r#"{"type":"content_block_delta","index":0,
        "delta":{"type":"text_delta","text":"Hi"}}"#;

    fn begins(kind: &str) -> String {
        format!(r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"{kind}"}}}}"#)
    }

    #[track_caller]
    fn check(events: &[&str], expected: bool) {
        let mut reader = Translating::new(0, Stream::new(false));
        for event in events {
            reader.read(format!("data: {}\n\n", event.replace('\n', "")).into()).unwrap();
        }
        assert_eq!(reader.may_be_cut(), expected, "{events:?}");
    }

    /// Else what it comes to is known when it has been heard out.
    #[test]
    fn a_stream_may_be_cut_that_has_told_its_input_and_shows_all_that_it_writes() {
        check(&[], false);
        check(&[STARTS], false);
        check(&[STARTS, &begins("text"), SPEAKS], true);
        check(&[STARTS, &begins("tool_use")], true);
        check(&[STARTS, &begins("thinking")], false);
        check(&[STARTS, &begins("thinking"), &begins("text"), SPEAKS], false);
        check(&[STARTS, &begins("server_tool_use"), &begins("text")], false);
        let silent = STARTS.replace(r#""input_tokens":9,"output_tokens":1"#, "");
        check(&[&silent, &begins("text"), SPEAKS], false);
    }
}
