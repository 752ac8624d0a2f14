//! What is answered: the same words, calls and counts for the same question.

use serde_json::value::RawValue;

use super::{
    ask::{Ask, Cache, Format, Speaker, Text, Tool, ToolChoice},
    digest::Digest,
    faults::{Manner, UsageManner},
    schema, tokens,
};

pub(super) struct Reply {
    pub digest: Digest,
    /// Empty where the model does not think.
    pub thought: String,
    pub choices: Vec<Choice>,
    pub usage: Usage,
}

#[derive(Default)]
pub(super) struct Choice {
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub finish: Finish,
    pub tokens: u32,
}

pub(super) struct ToolCall {
    /// Unique within the reply; each dialect puts its own prefix before it.
    pub id: u64,
    pub name: String,
    pub arguments: String,
}

#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    #[default]
    Stop,
    /// One of the caller's stop sequences came next.
    StopSequence(String),
    Length,
    ToolCalls,
    Filtered,
}

/// Tokens: `prompt` and `completion` are totals, the others parts of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub prompt: u32,
    pub cache_read: u32,
    pub cache_written: u32,
    pub completion: u32,
    pub reasoning: u32,
}

const SENTENCES: [&str; 10] = [
    "The same request always gets the same words and the same usage.",
    "A real provider would think about it; this one keeps it short.",
    "In production a provider's model would answer here in full.",
    "Routing, limits and metering treat it as they would any other answer.",
    "Ask again with another model to see how the price changes.",
    "Its tokens are counted, priced and charged like real ones.",
    "Add a tool or a schema to the request to get a structured answer.",
    "Turn on streaming to receive it word by word.",
    "The usage figures below it are what the gateway settles on.",
    "Change a word of the question and the answer changes with it.",
];

/// Answers `ask`; `length` is how many tokens the text shall have, where the model's name says so.
pub(super) fn compose(ask: &Ask, length: Option<u32>, manner: &Manner) -> Reply {
    let digest = ask.digest();
    let thought = think(ask, digest);
    let reasoning = tokens::count(&thought);
    let cap = match (manner.over_cap, ask.cap) {
        (true, _) | (_, None) => u32::MAX,
        (false, Some(cap)) => cap,
    };
    let left = cap.saturating_sub(reasoning);

    let length = if manner.over_cap { Some(ask.cap.unwrap_or(64) * 2 + 16) } else { length };
    let choices: Vec<_> = (0..ask.choices.max(1))
        .map(|index| {
            let digest = if index == 0 { digest } else { digest.with_number(index.into()) };
            let mut choice = choose(ask, length, digest);
            choice.stop_at(&ask.stop);
            choice.tokens = choice.count();
            if choice.tokens > left {
                choice.shorten(left);
            }
            if manner.filtered {
                choice.filter();
            }
            choice
        })
        .collect();

    let said: u32 = choices.iter().map(|it| it.tokens).sum();
    let mut usage = Usage { prompt: ask.prompt_tokens(), reasoning, ..Usage::default() };
    usage.completion = said + reasoning;
    (usage.cache_read, usage.cache_written) = cached(ask, usage.prompt);
    usage = lied_about(usage, manner.usage);
    Reply { digest, thought, choices, usage }
}

fn lied_about(usage: Usage, manner: UsageManner) -> Usage {
    match manner {
        UsageManner::Zero => Usage::default(),
        UsageManner::Huge => Usage { prompt: 2_000_000_000, completion: 2_000_000_000, ..usage },
        UsageManner::AsAsked | UsageManner::Missing | UsageManner::Middle | UsageManner::Every => {
            usage
        }
    }
}

fn think(ask: &Ask, digest: Digest) -> String {
    let Some(most) = ask.thought else { return String::new() };
    let length = (16 + digest.below(112) as u32).min(most).min(ask.cap.unwrap_or(u32::MAX));
    let mut thought = String::from("First, what was asked.");
    prolong(&mut thought, length, digest);
    thought
}

fn choose(ask: &Ask, length: Option<u32>, digest: Digest) -> Choice {
    let calls = calls(ask, digest);
    if !calls.is_empty() {
        return Choice { calls, finish: Finish::ToolCalls, ..Choice::default() };
    }
    let mut text = match ask.format {
        Format::Schema(schema) => schema::sample(schema.get(), digest),
        Format::Json => serde_json::json!({ "answer": words(ask, digest) }).to_string(),
        Format::Text => words(ask, digest),
    };
    if let Some(length) = length {
        prolong(&mut text, length, digest);
    }
    Choice { text, ..Choice::default() }
}

fn words(ask: &Ask, digest: Digest) -> String {
    let question = ask.last_user_text();
    if echoes(&ask.model) {
        return question.to_owned();
    }
    let mut text = String::with_capacity(256);
    if let Some(result) = ask.turns.last().filter(|it| it.speaker == Speaker::Tool) {
        text.extend(["The tool answered: ", excerpt(&result.text), " "]);
    } else if !question.is_empty() {
        text.extend(["You asked: \"", excerpt(question), "\" "]);
    }
    match ask.turns.iter().map(|it| it.images).sum() {
        0u32 => (),
        1 => text.push_str("You sent 1 image. "),
        images => text.extend(["You sent ", &images.to_string(), " images. "]),
    }
    text.extend([
        "This is a simulated answer from ",
        &ask.model,
        ". ",
        digest.pick::<&str>(&SENTENCES),
    ]);
    text
}

fn echoes(model: &str) -> bool {
    model.starts_with("echo") || model.ends_with("echo")
}

/// The beginning of `text`, cut between words where it is long.
fn excerpt(text: &str) -> &str {
    const MOST: u32 = 24;
    tokens::first(text.trim(), MOST)
}

/// Makes `text` exactly `length` tokens long.
fn prolong(text: &mut String, length: u32, digest: Digest) {
    let mut so_far = tokens::count(text);
    let first = digest.below(SENTENCES.len() as u64) as usize;
    for sentence in SENTENCES.iter().cycle().skip(first) {
        if so_far >= length {
            break;
        }
        text.push(' ');
        text.push_str(sentence);
        so_far += tokens::count(sentence);
    }
    text.truncate(tokens::first(text, length).len());
}

/// The calls to make, none where the caller wants words.
fn calls(ask: &Ask, digest: Digest) -> Vec<ToolCall> {
    let answered = ask.turns.last().is_some_and(|it| it.speaker == Speaker::Tool);
    if ask.tools.is_empty() || answered {
        return Vec::new();
    }
    let question = ask.last_user_text().to_lowercase();
    let mentioned = || ask.tools.iter().filter(|it| mentions(&question, &it.name.0));
    let mut wanted: Vec<&Tool> = match &ask.tool_choice {
        ToolChoice::Never => Vec::new(),
        ToolChoice::Auto => mentioned().collect(),
        ToolChoice::Required if mentioned().next().is_some() => mentioned().collect(),
        ToolChoice::Required => ask.tools.iter().take(1).collect(),
        ToolChoice::Named(name) => ask.tools.iter().filter(|it| it.name.0 == name.0).collect(),
    };
    let twice = ["parallel", "both", "twice", "two calls"].iter().any(|it| question.contains(it));
    if twice && let [only] = wanted[..] {
        wanted.push(only);
    }
    wanted.truncate(if ask.parallel_tools { 2 } else { 1 });
    let called = wanted.iter().zip(1..).map(|(tool, nth)| {
        let digest = digest.with_number(nth).with(tool.name.as_bytes());
        ToolCall {
            id: digest.value(),
            name: tool.name.0.clone().into_owned(),
            arguments: schema::sample(tool.parameters.map_or("{}", |it| it.get()), digest),
        }
    });
    called.collect()
}

/// Whether lower-case `question` speaks of the tool, in code or in words.
fn mentions(question: &str, tool: &str) -> bool {
    let tool = tool.to_lowercase();
    question.contains(&tool) || question.contains(&tool.replace(['_', '-'], " "))
}

/// Tokens read from and written to the vendor's prompt cache. The simulator remembers nothing, so
/// a conversation that goes on counts as seen and one that starts as new.
fn cached(ask: &Ask, prompt: u32) -> (u32, u32) {
    const SHORTEST: u32 = 1024;
    const STEP: u32 = 128;
    let goes_on = ask.turns.iter().any(|it| it.speaker == Speaker::Assistant);
    match ask.cache {
        Cache::Automatic if prompt >= SHORTEST => {
            let last = ask.turns.last().map_or(0, |it| it.tokens());
            ((prompt - last.min(prompt)) / STEP * STEP, 0)
        }
        Cache::Marked(marked) if marked >= SHORTEST && goes_on => (marked.min(prompt), 0),
        Cache::Marked(marked) if marked >= SHORTEST => (0, marked.min(prompt)),
        Cache::Automatic | Cache::Marked(_) => (0, 0),
    }
}

impl Choice {
    fn count(&self) -> u32 {
        tokens::count(&self.text) + self.calls.iter().map(ToolCall::tokens).sum::<u32>()
    }

    fn stop_at(&mut self, sequences: &[Text]) {
        let sequences = sequences.iter().map(|it| it.0.as_ref()).filter(|it| !it.is_empty());
        let first = sequences.filter_map(|it| Some((self.text.find(it)?, it))).min();
        if let Some((at, sequence)) = first {
            self.text.truncate(at);
            self.finish = Finish::StopSequence(sequence.to_owned());
        }
    }

    fn shorten(&mut self, cap: u32) {
        self.finish = Finish::Length;
        self.text.truncate(tokens::first(&self.text, cap).len());
        let mut left = cap.saturating_sub(tokens::count(&self.text));
        self.calls.retain_mut(|call| {
            let fits = left > ToolCall::FRAME;
            call.shorten(left);
            left = left.saturating_sub(call.tokens());
            fits
        });
        self.tokens = self.count();
    }

    fn filter(&mut self) {
        self.finish = Finish::Filtered;
        self.calls.clear();
        self.text.truncate(tokens::first(&self.text, 4).len());
        self.tokens = self.count();
    }
}

impl ToolCall {
    const FRAME: u32 = 4;

    fn tokens(&self) -> u32 {
        Self::FRAME + tokens::count(&self.arguments)
    }

    /// Cut short by the cap, the arguments are not JSON any more; here they must be.
    pub(super) fn arguments_or_empty(&self) -> Box<RawValue> {
        let arguments = RawValue::from_string(self.arguments.clone());
        arguments.or_else(|_| RawValue::from_string("{}".to_owned())).unwrap_or_default()
    }

    fn shorten(&mut self, cap: u32) {
        let kept = tokens::first(&self.arguments, cap.saturating_sub(Self::FRAME)).len();
        self.arguments.truncate(kept);
    }
}
