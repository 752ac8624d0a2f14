//! How much a call can cost at most at a candidate, before it is sent.

use shared::{
    counters::Amounts,
    money::{Bound, CacheWrites, Money, Pico, Price},
    snapshot::{Capability, Dialect, Modality},
};

use crate::{
    ask::{Ask, Marks},
    catalog::{Candidate, Model},
};

/// What a vendor frames a conversation with, and each turn, part and tool of it,
const FRAME: u64 = 64;
const FRAME_OF_EACH: u64 = 16;
/// and what it tells a model of tools before it names the first.
const FRAME_OF_TOOLS: u64 = 1_024;

/// The most tokens that vendors make of a picture, whatever its size.
const PICTURE_AT_ANTHROPIC: u64 = 4_800;
const PICTURE_AT_GOOGLE: u64 = 8_200;
const PICTURE_ELSEWHERE: u64 = 50_000;

/// What a call weighs at a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    pub bound: Bound,
    /// The cap on the output of each choice, of which the bound may have more.
    pub cap: u64,
    /// What it costs at most; nothing where the model has no price.
    pub cost: Money,
}

/// What a call can come to by its length alone: enough to charge it by where nothing is known of
/// what was used, and no budget had it weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// No tokenizer makes more tokens of a text than it has bytes.
    bytes: u64,
    /// The caller's cap on each choice; none of what writes nothing.
    cap: Option<u64>,
    writes: bool,
    choices: u64,
    contexts: u64,
}

impl Amount {
    pub fn of(ask: &Ask) -> Self {
        Self {
            bytes: ask.text().len() as u64,
            cap: ask.cap(None),
            writes: ask.form.writes(),
            choices: ask.choices.into(),
            contexts: ask.contexts.into(),
        }
    }

    /// The most input and output that it has at a model.
    pub fn at(&self, model: &Model) -> (u64, u64) {
        let input = (self.bytes + FRAME).min(context(model, self.contexts));
        let beside = if thinks_beside_its_cap(model) { cap(None, model) } else { 0 };
        let output = if self.writes { beside.saturating_add(cap(self.cap, model)) } else { 0 };
        (input, output.saturating_mul(self.choices))
    }

    /// How many tokens of one class are believed at most. What was sent may be more than the
    /// catalogue says that the model can read.
    pub fn believable_at(&self, model: &Model) -> u64 {
        let output = u64::from(model.max_output_tokens).saturating_mul(self.choices.max(1));
        let most = context(model, self.contexts).saturating_add(output);
        most.max(self.bytes)
    }
}

impl Weight {
    pub fn of(ask: &Ask, marks: &Marks, to: &Candidate) -> Self {
        let model = &to.model;
        let cap = if ask.form.writes() { cap(ask.cap(to.most_output), model) } else { 0 };
        let input = input(marks, model, ask.contexts.into());
        let bound = Bound {
            input_tokens: input,
            output_tokens_per_choice: beside(marks, input, model).saturating_add(cap),
            choices: ask.choices.into(),
            images: pictures(model).saturating_mul(ask.choices.into()),
            searches: marks.searches,
            may_write_cache: cache_writes(marks, model),
            audio: marks.has_audio,
        };
        let worst = to.price.as_ref().map(|it| it.price.worst_case(&bound, None));
        let cost = worst.unwrap_or(Pico::ZERO).to_money();
        Self { bound, cap, cost }
    }

    pub fn amounts(&self) -> Amounts {
        let tokens = self.bound.input_tokens.saturating_add(self.bound.output_tokens());
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        Amounts { money: self.cost.nanos(), requests: 1, tokens }
    }

    /// How many tokens each choice may have for all of it to come to no more than that, up to
    /// the present cap.
    pub fn cap_within(&self, money: i64, tokens: i64, to: &Candidate) -> Option<u64> {
        let Self { bound, cap, .. } = self;
        let beside = bound.output_tokens_per_choice - cap;
        let of_tokens = u64::try_from(tokens).ok()?.checked_sub(bound.input_tokens)?;
        let of_tokens = of_tokens / bound.choices.max(1);
        let of_money = match &to.price {
            Some(it) => it.price.affordable_output(bound, Money::from_nanos(money), None)?,
            None => u64::MAX,
        };
        of_money.min(of_tokens).checked_sub(beside).map(|it| it.min(*cap))
    }
}

/// What each choice is written within: what is allowed, and what the model can.
fn cap(allowed: Option<u64>, model: &Model) -> u64 {
    let (most, context) = (u64::from(model.max_output_tokens), u64::from(model.context_length));
    // Nobody says how much some models write; never more than they can hold.
    let most = if most > 0 { most } else { context.max(1) };
    allowed.map_or(most, |it| it.min(most))
}

/// What a model can read, in so many contexts: each of several texts has one of its own.
fn context(model: &Model, contexts: u64) -> u64 {
    match u64::from(model.context_length) {
        0 => shared::usage::MOST_TOKENS,
        context => context.saturating_mul(contexts.max(1)),
    }
}

fn input(marks: &Marks, model: &Model, contexts: u64) -> u64 {
    let context = context(model, contexts);
    if marks.is_input_unbounded {
        return context;
    }
    let picture = match model.upstream.dialect {
        Dialect::Anthropic => PICTURE_AT_ANTHROPIC,
        Dialect::Gemini => PICTURE_AT_GOOGLE,
        Dialect::OpenAi | Dialect::AzureOpenAi => PICTURE_ELSEWHERE,
    };
    let tools = if marks.has_tools { FRAME_OF_TOOLS } else { 0 };
    let frames = FRAME + FRAME_OF_EACH * marks.frames + tools;
    context.min(marks.bytes + frames + picture.saturating_mul(marks.images))
}

/// What is paid as output and does not count against the cap: what was predicted otherwise, and
/// what is thought where the cap is for the answer alone.
fn beside(marks: &Marks, input: u64, model: &Model) -> u64 {
    let predicted = if marks.predicts { input } else { 0 };
    let thought = if thinks_beside_its_cap(model) { cap(None, model) } else { 0 };
    predicted.saturating_add(thought)
}

/// Whether a model may think beyond the cap that it is sent.
pub fn thinks_beside_its_cap(model: &Model) -> bool {
    !model.upstream.quirks.output_cap_is_hard && model.capabilities.contains(&Capability::Reasoning)
}

/// How many pictures a model may make for each choice.
fn pictures(model: &Model) -> u64 {
    if model.output.contains(&Modality::Image) { 16 } else { 0 }
}

/// Vendors who speak OpenAI's dialect keep what they like.
fn cache_writes(marks: &Marks, model: &Model) -> CacheWrites {
    match model.upstream.dialect {
        _ if marks.writes_cache_for_an_hour => CacheWrites::OneHour,
        _ if marks.writes_cache => CacheWrites::FiveMinutes,
        Dialect::OpenAi | Dialect::AzureOpenAi => CacheWrites::FiveMinutes,
        Dialect::Anthropic | Dialect::Gemini => CacheWrites::None,
    }
}

/// Why a candidate cannot be used where a hard budget on money applies, if so.
pub fn not_priced(
    ask: &Ask,
    marks: &Marks,
    weight: &Weight,
    to: &Candidate,
) -> Option<&'static str> {
    let Some(pinned) = &to.price else { return Some("it has no price") };
    if marks.is_work_unbounded {
        return Some("nobody can say how often its provider would search or run something");
    }
    let passes_on = matches!(to.model.upstream.dialect, Dialect::OpenAi | Dialect::AzureOpenAi);
    let tier = ask.service_tier.as_deref().filter(|_| passes_on);
    if tier.is_some_and(|it| !is_priced(it, &pinned.price)) {
        return Some("the tier of service that is asked for has no price");
    }
    let unknown = pinned.price.unpriced_within(&weight.bound, None);
    (!unknown.is_empty()).then_some("what it may do beside writing has no price")
}

/// The usual tier costs what a price says first; and what the vendor chooses by itself costs no
/// more than the dearest, which is what is held.
fn is_priced(tier: &str, price: &Price) -> bool {
    const USUAL: [&str; 4] = ["auto", "default", "standard", "standard_only"];
    USUAL.contains(&tier) || price.service_tiers().iter().any(|it| it.name == tier)
}
