//! Answers as OpenAI's dialect tells them, for vendors who told them otherwise.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;
use shared::usage::Usage;

use super::usage;

#[derive(Serialize)]
pub struct Completion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<usage::Told>,
}

impl<'a> Completion<'a> {
    pub fn new(
        id: &'a str,
        model: &'a str,
        created: u64,
        choices: Vec<Choice<'a>>,
        usage: Option<Usage>,
    ) -> Self {
        let usage = usage.map(usage::Told::from);
        Self { id, object: "chat.completion", created, model, choices, usage }
    }

    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts, numbers and JSON are JSON").into()
    }
}

#[derive(Serialize)]
pub struct Choice<'a> {
    pub index: u32,
    pub message: Said<'a>,
    /// Always `null`: those who want any are told that there are none.
    pub logprobs: (),
    pub finish_reason: Finish,
}

#[derive(Default, Serialize)]
pub struct Said<'a> {
    pub role: Assistant,
    /// `null` where nothing but calls was said.
    pub content: Option<String>,
    pub refusal: (),
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call<'a>>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assistant {
    #[default]
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

#[derive(Serialize)]
pub struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    pub id: &'a str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub function: Called<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Extra<'a>>,
}

impl<'a> Call<'a> {
    pub fn new(id: &'a str, name: &'a str, arguments: &'a str) -> Self {
        let function = Called { name, arguments };
        Self { index: None, id, kind: "function", function, extra_content: None }
    }
}

#[derive(Serialize)]
pub struct Called<'a> {
    pub name: &'a str,
    pub arguments: &'a str,
}

/// What a model of Google's wants to see again with the call.
#[derive(Serialize)]
pub struct Extra<'a> {
    pub google: Google<'a>,
}

#[derive(Serialize)]
pub struct Google<'a> {
    pub thought_signature: &'a str,
}

/// What a chunk adds. Texts are passed on in the spelling that they came in.
#[derive(Default, Serialize)]
pub struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Assistant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<[DeltaCall<'a>; 1]>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum DeltaCall<'a> {
    Begins(Call<'a>),
    Goes { index: u32, function: Arguments<'a> },
}

#[derive(Serialize)]
pub struct Arguments<'a> {
    pub arguments: &'a RawValue,
}

/// A stream, written chunk by chunk.
pub struct Chunks {
    created: u64,
    /// How every chunk begins; empty until the first.
    head: Vec<u8>,
    out: BytesMut,
}

#[derive(Serialize)]
struct Head<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
}

impl Chunks {
    pub fn new(created: u64) -> Self {
        Self { created, head: Vec::new(), out: BytesMut::new() }
    }

    pub fn has_begun(&self) -> bool {
        !self.head.is_empty()
    }

    pub fn begin(&mut self, id: &str, model: &str) {
        let head = Head { id, object: "chat.completion.chunk", created: self.created, model };
        let mut written = serde_json::to_vec(&head).expect("texts and numbers are JSON");
        // Its members go on with the chunk's own.
        written.pop();
        self.head = [b"data: ", &written[..], b",\"choices\":["].concat();
    }

    pub fn delta(&mut self, choice: u32, delta: &Delta) {
        self.chunk(choice, delta, None);
    }

    pub fn finish(&mut self, choice: u32, finish: Finish) {
        self.chunk(choice, &Delta::default(), Some(finish));
    }

    fn chunk(&mut self, index: u32, delta: &Delta, finish_reason: Option<Finish>) {
        #[derive(Serialize)]
        struct Changed<'a> {
            index: u32,
            delta: &'a Delta<'a>,
            finish_reason: Option<Finish>,
        }
        self.out.put_slice(&self.head);
        self.json(&Changed { index, delta, finish_reason });
        self.out.put_slice(b"]}\n\n");
    }

    /// The end of a stream, and before it what was used, if that is to be told.
    pub fn done(&mut self, usage: Option<Usage>) {
        if let Some(usage) = usage {
            self.out.put_slice(&self.head);
            self.out.put_slice(b"],\"usage\":");
            self.json(&usage::Told::from(usage));
            self.out.put_slice(b"}\n\n");
        }
        self.out.put_slice(b"data: [DONE]\n\n");
    }

    /// What was written since.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    fn json(&mut self, value: &impl Serialize) {
        let written = serde_json::to_writer((&mut self.out).writer(), value);
        written.expect("texts, numbers and JSON are JSON");
    }
}
