//! `POST /v1/completions`: text goes on, nobody is spoken to.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{CREATED, StreamOptions, deployment, id, logprobs::logprob, stops, whole_usage};
use crate::simulator::{
    answer::{Answer, Events, to_json},
    ask::{Ask, Speaker, Text, Turn},
    faults::UsageManner,
    refusal::Refusal,
    reply::{self, Choice, Finish, Reply},
    serve::{Answered, Desk},
    tokens,
};

#[derive(Deserialize)]
struct Completions<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    #[serde(borrow)]
    stop: Option<&'a RawValue>,
    n: Option<u32>,
    seed: Option<i64>,
    logprobs: Option<u8>,
    echo: Option<bool>,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let asked: Completions = desk.parse()?;
    let stream = asked.stream.unwrap_or(false);
    let named = asked.model.as_ref().map(|it| it.0.clone());
    let model = named.or_else(|| deployment(desk.request.path).map(Cow::Borrowed));
    let conduct = desk.conduct(model.as_deref(), stream)?;
    let Some(model) = model else {
        return Err(desk.refuse(&Refusal::invalid("you must provide a model parameter")));
    };
    let ask = ask(&asked, model).map_err(|refusal| desk.refuse(&refusal))?;
    let reply = reply::compose(&ask, conduct.profile.length, &conduct.manner);
    let told = Told { asked: &asked, ask: &ask, reply: &reply, usage: conduct.manner.usage };
    let answer = if stream { Answer::stream(told.stream()) } else { told.whole() };
    Ok(conduct.apply(answer, desk.dialect, reply.usage.completion))
}

fn ask<'a>(asked: &Completions<'a>, model: Cow<'a, str>) -> Result<Ask<'a>, Refusal> {
    let turns = match asked.prompt.map(RawValue::get) {
        None | Some("null") => vec![Turn::new(Speaker::User, "".into())],
        Some(text) if text.starts_with('"') => {
            vec![Turn::new(Speaker::User, serde_json::from_str::<Text>(text)?.0)]
        }
        Some(several) => several_prompts(serde_json::from_str(several)?),
    };
    Ok(Ask {
        turns,
        cap: asked.max_tokens.or(Some(16)),
        stop: stops(asked.stop)?,
        choices: asked.n.unwrap_or(1).min(128),
        seed: asked.seed,
        ..Ask::to(model)
    })
}

/// Several prompts, or the tokens of one, are continued as if they were one text.
fn several_prompts(prompts: Vec<Value>) -> Vec<Turn<'static>> {
    let texts = prompts.into_iter().map(|it| match it {
        Value::String(text) => text,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => other.to_string(),
    });
    texts.map(|it| Turn::new(Speaker::User, it.into())).collect()
}

struct Told<'a> {
    asked: &'a Completions<'a>,
    ask: &'a Ask<'a>,
    reply: &'a Reply,
    usage: UsageManner,
}

impl Told<'_> {
    fn body(&self, choices: Value) -> Value {
        json!({
            "id": id("cmpl-", self.reply.digest),
            "object": "text_completion",
            "created": CREATED,
            "model": self.ask.model,
            "choices": choices,
            "system_fingerprint": null,
        })
    }

    fn whole(&self) -> Answer {
        let choices = self.reply.choices.iter().enumerate().map(|(index, choice)| {
            let text = match self.asked.echo {
                Some(true) => [self.ask.last_user_text(), &choice.text].concat(),
                Some(false) | None => choice.text.clone(),
            };
            self.choice(index, &text, Some(finish_reason(choice)))
        });
        let mut body = self.body(choices.collect());
        if let Some(usage) = whole_usage(self.reply.usage, self.usage) {
            body["usage"] = json!(usage);
        }
        Answer::json(200, to_json(&body))
    }

    fn choice(&self, index: usize, text: &str, finish_reason: Option<&str>) -> Value {
        let logprobs = self.asked.logprobs.map(|_| {
            let pieces: Vec<_> = tokens::pieces(text).collect();
            let logprob = |it: &&str| logprob(it, self.reply.digest);
            let mut end = 0;
            let offsets = pieces.iter().map(|it| {
                end += it.len();
                end - it.len()
            });
            json!({
                "text_offset": offsets.collect::<Vec<_>>(),
                "token_logprobs": pieces.iter().map(logprob).collect::<Vec<_>>(),
                "top_logprobs": null,
                "tokens": pieces,
            })
        });
        json!({
            "text": text,
            "index": index,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        })
    }

    fn stream(&self) -> Events {
        let mut events = Events::default();
        for (index, choice) in self.reply.choices.iter().enumerate() {
            for piece in tokens::pieces(&choice.text) {
                events.data(true, &self.body(json!([self.choice(index, piece, None)])));
            }
            let end = self.choice(index, "", Some(finish_reason(choice)));
            events.data(false, &self.body(json!([end])));
        }
        let asked = self.asked.stream_options.unwrap_or_default().include_usage;
        if let Some(usage) = whole_usage(self.reply.usage, self.usage)
            && asked
        {
            let mut body = self.body(json!([]));
            body["usage"] = json!(usage);
            events.data(false, &body);
        }
        events.push(false, |out| out.extend_from_slice(b"data: [DONE]\n\n"));
        events
    }
}

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "stop",
    }
}
