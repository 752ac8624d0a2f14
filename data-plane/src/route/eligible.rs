//! Who may answer a call. Asked of every place before any is put in order, so that whatever is
//! tried later, and for whatever reason, is one that may.
//!
//! What a model surely cannot do is not asked of it. Sure is what is known for certain: a model
//! of which nobody wrote down what it can do may be able to do anything, and the lists that there
//! are name neither all that write log probabilities nor all that read files. Where an admin or
//! the caller demands something, it is the other way round: what is not known is not so.

use serde::{Serialize, Serializer};
use shared::{
    money::{PinnedPrice, Price},
    snapshot::{self as published, Assurances, Capability, Constraints, Modality},
};

use super::Asked;
use crate::{
    ask::{Form, Needs, Outline, Wishes},
    catalog::Model,
};

/// A rough count may be too high by so much: a call is too long when it is so for certain.
const SURE_OF: (u64, u64) = (4, 5);

/// Why a model does not answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The key may not use it.
    NotAllowed,
    /// Its organization does not want it.
    Disabled,
    /// The organization has a provider of its own for it, which cannot be called.
    Shut,
    /// It is served, but not at the provider that the policy names.
    NotThere,
    NotServed,
    /// It does not answer such calls.
    Form,
    Tools,
    JsonSchema,
    Images,
    Audio,
    /// The call is longer than it can read and write.
    TooLong,
    /// Too many calls have failed there: it is asked when nobody else is left.
    LeftAlone,
    /// A policy demands otherwise.
    Policy(Term),
    /// The caller does.
    Wish(Term),
}

/// What is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    Model,
    Provider,
    Region,
    Retention,
    Training,
    Price,
    Context,
    Ability,
    Quantization,
    Cost,
}

impl Why {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Disabled => "disabled",
            Self::Shut => "shut",
            Self::NotThere => "not_there",
            Self::NotServed => "not_served",
            Self::Form => "form",
            Self::Tools => "tools",
            Self::JsonSchema => "json_schema",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::TooLong => "too_long",
            Self::LeftAlone => "left_alone",
            Self::Policy(term) => term.words()[0],
            Self::Wish(term) => term.words()[2],
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::NotAllowed => "your key may not use it",
            Self::Disabled => "your organization has disabled it",
            Self::Shut => "your own provider of it cannot be called",
            Self::NotThere => "that provider does not serve it",
            Self::NotServed => "nobody serves it at present",
            Self::Form => "it does not answer such calls",
            Self::Tools => "it calls no tools",
            Self::JsonSchema => "it keeps to no JSON schema",
            Self::Images => "it reads no images",
            Self::Audio => "it hears nothing",
            Self::TooLong => "the call is too long for it",
            Self::LeftAlone => "too many calls have failed there lately",
            Self::Policy(term) => term.words()[1],
            Self::Wish(term) => term.words()[3],
        }
    }

    /// Whether the same caller, asking for less, would be served.
    pub const fn is_the_calls(self) -> bool {
        match self {
            Self::NotAllowed
            | Self::Disabled
            | Self::Shut
            | Self::NotThere
            | Self::NotServed
            | Self::LeftAlone
            | Self::Policy(_) => false,
            Self::Form
            | Self::Tools
            | Self::JsonSchema
            | Self::Images
            | Self::Audio
            | Self::TooLong
            | Self::Wish(_) => true,
        }
    }
}

impl Term {
    /// Its name and words where a policy demands it, and where the caller does.
    const fn words(self) -> [&'static str; 4] {
        match self {
            Self::Model => {
                ["policy_model", "the policy leaves it out", "wish_model", "you left it out"]
            }
            Self::Provider => [
                "policy_provider",
                "the policy leaves its provider out",
                "wish_provider",
                "you left its provider out",
            ],
            Self::Region => [
                "policy_region",
                "it is not in a region of the policy's",
                "wish_region",
                "it is not in a region that you wish",
            ],
            Self::Retention => [
                "policy_retention",
                "nobody says that it keeps nothing, as the policy demands",
                "wish_retention",
                "nobody says that it keeps nothing, as you wish",
            ],
            Self::Training => [
                "policy_training",
                "nobody says that it learns nothing from calls, as the policy demands",
                "wish_training",
                "nobody says that it learns nothing from calls, as you wish",
            ],
            Self::Price => [
                "policy_price",
                "it costs more than the policy allows",
                "wish_price",
                "it costs more than you wish",
            ],
            Self::Context => [
                "policy_context",
                "it reads less than the policy demands",
                "wish_context",
                "it reads less than you wish",
            ],
            Self::Ability => [
                "policy_ability",
                "it is not known for what the policy demands",
                "wish_ability",
                "it is not known for all that the call asks for",
            ],
            Self::Quantization => [
                "policy_quantization",
                "it is not quantized as the policy demands",
                "wish_quantization",
                "it is not quantized as you wish",
            ],
            Self::Cost => [
                "policy_cost",
                "the call may cost more there than the policy allows",
                "wish_cost",
                "the call may cost more there than you allow",
            ],
        }
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A call, as far as it matters who can answer it.
pub struct Call<'a> {
    pub form: Form,
    pub needs: Needs,
    pub wishes: &'a Wishes,
    /// In tokens, roughly.
    pub input: u64,
    pub cap: Option<u64>,
    pub contexts: u32,
}

impl<'a> Call<'a> {
    pub fn of(asked: &'a dyn Asked) -> Self {
        let Outline { form, output_cap, contexts, .. } = *asked.outline();
        Self {
            form,
            needs: asked.needs(),
            wishes: asked.wishes(),
            input: asked.input(),
            cap: output_cap,
            contexts,
        }
    }

    /// Why `model` may not answer at that price, under all of `constraints`.
    pub fn why_not<'c>(
        &self,
        model: &Model,
        price: Option<&PinnedPrice>,
        mut constraints: impl Iterator<Item = &'c Constraints>,
    ) -> Option<Why> {
        let price = price.map(|it| &it.price);
        let why = self.cannot(model);
        why.or_else(|| self.is_not_wished(model, price).map(Why::Wish)).or_else(|| {
            let there = serving(model, price);
            constraints.find_map(|it| unmet(it, there, self.input)).map(Why::Policy)
        })
    }

    /// What it surely cannot do.
    fn cannot(&self, model: &Model) -> Option<Why> {
        let (needs, lacks) = (&self.needs, |what| model.is_described() && !model.can(what));
        let is_deaf = |what| model.is_described() && !model.reads(what);
        let form = match self.form {
            Form::Chat | Form::Completions => model.only_reads(),
            Form::Embeddings => {
                lacks(Capability::Embeddings) && !model.output.contains(&Modality::Embedding)
            }
            Form::Moderations => lacks(Capability::Moderation),
        };
        let all = [
            (form, Why::Form),
            (needs.tools && lacks(Capability::Tools), Why::Tools),
            (needs.json_schema && lacks(Capability::JsonSchema), Why::JsonSchema),
            (needs.images && is_deaf(Modality::Image), Why::Images),
            (needs.audio && is_deaf(Modality::Audio), Why::Audio),
            (self.is_too_long(model), Why::TooLong),
        ];
        all.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why)
    }

    fn is_too_long(&self, model: &Model) -> bool {
        let context = u64::from(model.context_length);
        // Each of several texts has a context of its own.
        if context == 0 || self.contexts > 1 {
            return false;
        }
        let (sure, of) = SURE_OF;
        let most = u64::from(model.max_output_tokens);
        let output = self.cap.filter(|_| self.form.writes()).unwrap_or(0).min(most);
        self.input.saturating_mul(sure) / of + output > context
    }

    fn is_not_wished(&self, model: &Model, price: Option<&Price>) -> Option<Term> {
        let Wishes { order, only, ignore, quantizations, .. } = self.wishes;
        let is_in = |names: &[String]| {
            names.iter().any(|it| it.eq_ignore_ascii_case(&model.upstream.provider))
        };
        let assures = model.upstream.assurances;
        let left_out = !only.is_empty() && !is_in(only)
            || is_in(ignore)
            || self.wishes.no_fallbacks && !order.is_empty() && !is_in(order);
        let all = [
            (left_out, Term::Provider),
            (self.wishes.zero_retention && !assures.zero_retention, Term::Retention),
            (self.wishes.no_training && !assures.no_training, Term::Training),
            (!is_one_of(quantizations, model.quantization.as_deref()), Term::Quantization),
            (self.wishes.require_parameters && !self.is_known_for_all(model), Term::Ability),
            (self.is_dearer_than_wished(price), Term::Price),
        ];
        all.into_iter().find(|(is_so, _)| *is_so).map(|(_, term)| term)
    }

    fn is_known_for_all(&self, model: &Model) -> bool {
        let needs = &self.needs;
        let abilities = [
            (needs.tools, Capability::Tools),
            (needs.parallel_tools, Capability::ParallelTools),
            (needs.json_schema, Capability::JsonSchema),
            (needs.reasoning, Capability::Reasoning),
            (needs.logprobs, Capability::Logprobs),
        ];
        let read = [
            (needs.images, Modality::Image),
            (needs.audio, Modality::Audio),
            (needs.files, Modality::File),
        ];
        abilities.into_iter().all(|(is_needed, it)| !is_needed || model.can(it))
            && read.into_iter().all(|(is_needed, it)| !is_needed || model.reads(it))
    }

    fn is_dearer_than_wished(&self, price: Option<&Price>) -> bool {
        let Wishes { most_input_price, most_output_price, most_request_price, .. } = self.wishes;
        let Some(price) = price else {
            return [most_input_price, most_output_price, most_request_price]
                .iter()
                .any(|it| it.is_some());
        };
        let rates = price.standard().at(self.input);
        most_input_price.is_some_and(|most| rates.input > most)
            || most_output_price.is_some_and(|most| rates.output > most)
            || most_request_price.is_some_and(|most| rates.request.is_some_and(|it| it > most))
    }
}

/// A model where it is served, as far as constraints go by it.
#[derive(Clone, Copy)]
pub struct Serving<'a> {
    pub model: &'a published::Model,
    pub provider: &'a str,
    pub region: Option<&'a str>,
    pub assures: Assurances,
    pub price: Option<&'a Price>,
}

fn serving<'a>(model: &'a Model, price: Option<&'a Price>) -> Serving<'a> {
    let upstream = &model.upstream;
    let (provider, region) = (upstream.provider.as_str(), upstream.region.as_deref());
    Serving { model: &model.published, provider, region, assures: upstream.assurances, price }
}

/// What a policy demands and is not so there, for a call that reads so many tokens.
pub fn unmet(it: &Constraints, there: Serving<'_>, input: u64) -> Option<Term> {
    let Serving { model, provider, region, assures, price } = there;
    let names = |names: &[String], name: &str| names.iter().any(|it| it == name);
    let models = names(&it.not_models, &model.name)
        || !it.models.is_empty() && !names(&it.models, &model.name);
    let providers = names(&it.not_providers, provider)
        || !it.providers.is_empty() && !names(&it.providers, provider);
    let rates = price.map(|it| it.standard().at(input));
    // A pico-dollar for one token is a millionth of a dollar for a million.
    let is_above = |most: Option<u64>, picos: Option<i64>| {
        most.is_some_and(|most| {
            picos.and_then(|it| u64::try_from(it).ok()).is_none_or(|it| it > most)
        })
    };
    let dear = is_above(it.most_input_price, rates.map(|it| it.input.picos()))
        || is_above(it.most_output_price, rates.map(|it| it.output.picos()));
    let able = it.capabilities.iter().all(|it| model.capabilities.contains(it));
    let all = [
        (models, Term::Model),
        (providers, Term::Provider),
        (!is_one_of(&it.regions, region), Term::Region),
        (it.zero_retention && !assures.zero_retention, Term::Retention),
        (it.no_training && !assures.no_training, Term::Training),
        (dear, Term::Price),
        (it.least_context.is_some_and(|least| model.context_length < least), Term::Context),
        (!able, Term::Ability),
        (!is_one_of(&it.quantizations, model.quantization.as_deref()), Term::Quantization),
    ];
    all.into_iter().find(|(is_so, _)| *is_so).map(|(_, term)| term)
}

/// What is not known is none of those that are named, and where none are named all will do.
fn is_one_of(named: &[String], it: Option<&str>) -> bool {
    named.is_empty()
        || it.is_some_and(|it| named.iter().any(|named| named.eq_ignore_ascii_case(it)))
}
