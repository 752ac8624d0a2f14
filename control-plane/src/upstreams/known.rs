//! Facts about well-known models, so that whoever adds a provider need not look them up:
//! as the vendors published them by November 2026. What is not here is added by hand.

use shared::{
    money::{Class, ContextTier, Price, Rates},
    snapshot::{Capability, Modality, Model},
};

use super::prices;

use Capability::{
    Embeddings, JsonSchema, Logprobs, Moderation, ParallelTools, PromptCaching, Reasoning,
    Streaming, Tools,
};

/// A model's name, the tokens it reads and writes at most, and what it can do.
struct Fact {
    name: &'static str,
    context: u32,
    most: u32,
    capabilities: &'static [Capability],
    input: &'static [Modality],
}

const TEXT: &[Modality] = &[Modality::Text];
const SEES: &[Modality] = &[Modality::Text, Modality::Image];
const SEES_AND_HEARS: &[Modality] =
    &[Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::File];
const READS_FILES: &[Modality] = &[Modality::Text, Modality::Image, Modality::File];

const PLAIN: &[Capability] = &[Streaming];
const CHAT: &[Capability] = &[Streaming, Tools, JsonSchema];
const OPENAI: &[Capability] =
    &[Streaming, Tools, ParallelTools, JsonSchema, Logprobs, PromptCaching];
const THINKS: &[Capability] =
    &[Streaming, Tools, ParallelTools, JsonSchema, Reasoning, PromptCaching];
const EMBEDS: &[Capability] = &[Embeddings];
const MODERATES: &[Capability] = &[Moderation];

const fn fact(
    name: &'static str,
    context: u32,
    most: u32,
    capabilities: &'static [Capability],
    input: &'static [Modality],
) -> Fact {
    Fact { name, context, most, capabilities, input }
}

const FACTS: &[(&str, &[Fact])] = &[
    (
        "openai",
        &[
            fact("gpt-5", 400_000, 128_000, THINKS, SEES),
            fact("gpt-5-mini", 400_000, 128_000, THINKS, SEES),
            fact("gpt-5-nano", 400_000, 128_000, THINKS, SEES),
            fact("gpt-4.1", 1_047_576, 32_768, OPENAI, SEES),
            fact("gpt-4.1-mini", 1_047_576, 32_768, OPENAI, SEES),
            fact("gpt-4o", 128_000, 16_384, OPENAI, SEES),
            fact("gpt-4o-mini", 128_000, 16_384, OPENAI, SEES),
            fact("o3", 200_000, 100_000, THINKS, SEES),
            fact("text-embedding-3-small", 8_192, 0, EMBEDS, TEXT),
            fact("text-embedding-3-large", 8_192, 0, EMBEDS, TEXT),
            fact("omni-moderation-latest", 32_768, 0, MODERATES, SEES),
        ],
    ),
    (
        "anthropic",
        &[
            fact("claude-sonnet-4-5", 200_000, 64_000, THINKS, READS_FILES),
            fact("claude-haiku-4-5", 200_000, 64_000, THINKS, READS_FILES),
            fact("claude-opus-4-1", 200_000, 32_000, THINKS, READS_FILES),
        ],
    ),
    (
        "gemini",
        &[
            fact("gemini-2.5-pro", 1_048_576, 65_536, THINKS, SEES_AND_HEARS),
            fact("gemini-2.5-flash", 1_048_576, 65_536, THINKS, SEES_AND_HEARS),
            fact("gemini-2.5-flash-lite", 1_048_576, 65_536, THINKS, SEES_AND_HEARS),
            fact("gemini-embedding-001", 2_048, 0, EMBEDS, TEXT),
        ],
    ),
    (
        "deepseek",
        &[
            fact("deepseek-chat", 128_000, 8_192, CHAT, TEXT),
            fact("deepseek-reasoner", 128_000, 65_536, &[Streaming, Reasoning], TEXT),
        ],
    ),
    (
        "qwen",
        &[
            fact("qwen-max", 32_768, 8_192, CHAT, TEXT),
            fact("qwen-plus", 131_072, 16_384, CHAT, TEXT),
            fact("text-embedding-v3", 8_192, 0, EMBEDS, TEXT),
        ],
    ),
    (
        "mistral",
        &[
            fact("mistral-large-latest", 128_000, 32_768, CHAT, SEES),
            fact("mistral-small-latest", 128_000, 32_768, CHAT, SEES),
            fact("mistral-embed", 8_192, 0, EMBEDS, TEXT),
        ],
    ),
    ("ernie", &[fact("ernie-4.5-turbo-128k", 128_000, 12_288, PLAIN, TEXT)]),
    (
        "groq",
        &[
            fact("llama-3.3-70b-versatile", 131_072, 32_768, CHAT, TEXT),
            fact("llama-3.1-8b-instant", 131_072, 131_072, CHAT, TEXT),
            fact("openai/gpt-oss-120b", 131_072, 65_536, THINKS, TEXT),
        ],
    ),
    // By the names that deployments have where nobody chose another.
    (
        "azure_openai",
        &[
            fact("gpt-5", 400_000, 128_000, THINKS, SEES),
            fact("gpt-5-mini", 400_000, 128_000, THINKS, SEES),
            fact("gpt-4.1", 1_047_576, 32_768, OPENAI, SEES),
            fact("gpt-4.1-mini", 1_047_576, 32_768, OPENAI, SEES),
            fact("gpt-4o", 128_000, 16_384, OPENAI, SEES),
            fact("gpt-4o-mini", 128_000, 16_384, OPENAI, SEES),
            fact("text-embedding-3-small", 8_192, 0, EMBEDS, TEXT),
        ],
    ),
    (
        "together",
        &[
            fact("meta-llama/Llama-3.3-70B-Instruct-Turbo", 131_072, 32_768, CHAT, TEXT),
            fact("openai/gpt-oss-120b", 131_072, 65_536, THINKS, TEXT),
            fact("deepseek-ai/DeepSeek-V3.1", 131_072, 32_768, THINKS, TEXT),
            fact("Qwen/Qwen3-235B-A22B-Instruct-2507-tput", 262_144, 32_768, CHAT, TEXT),
            fact("moonshotai/Kimi-K2.5", 262_144, 65_536, THINKS, SEES),
        ],
    ),
    (
        "fireworks",
        &[
            fact("accounts/fireworks/models/deepseek-v4-pro", 1_048_576, 131_072, THINKS, TEXT),
            fact("accounts/fireworks/models/kimi-k2p6", 262_144, 65_536, THINKS, SEES),
            fact("accounts/fireworks/models/glm-5p1", 202_752, 65_536, THINKS, TEXT),
            fact("accounts/fireworks/models/gpt-oss-120b", 131_072, 65_536, THINKS, TEXT),
        ],
    ),
    (
        "openrouter",
        &[
            fact("openai/gpt-5", 400_000, 128_000, THINKS, SEES),
            fact("openai/gpt-5-mini", 400_000, 128_000, THINKS, SEES),
            fact("anthropic/claude-sonnet-4.5", 200_000, 64_000, THINKS, READS_FILES),
            fact("google/gemini-2.5-pro", 1_048_576, 65_536, THINKS, SEES_AND_HEARS),
            fact("google/gemini-2.5-flash", 1_048_576, 65_535, THINKS, SEES_AND_HEARS),
        ],
    ),
    // Which do not limit their output; this is as much as anybody waits for.
    (
        "xai",
        &[
            fact("grok-4.6", 500_000, 131_072, THINKS, SEES),
            fact("grok-4.5", 500_000, 131_072, THINKS, SEES),
            fact("grok-4.3", 1_000_000, 131_072, THINKS, SEES),
        ],
    ),
];

/// What a model costs, as its vendor's price list says: dollars for a million tokens, or for
/// one search.
struct Listed {
    vendor: &'static str,
    model: &'static str,
    rates: &'static [(Class, &'static str)],
    /// Above so many tokens of input all of a call costs this instead.
    above: Option<(u64, &'static [(Class, &'static str)])>,
}

const fn listed(
    vendor: &'static str,
    model: &'static str,
    rates: &'static [(Class, &'static str)],
) -> Listed {
    Listed { vendor, model, rates, above: None }
}

use Class::{
    AudioInput, CacheWrite, CacheWrite1h, CachedAudioInput, CachedInput, Input, Output, Search,
};

/// List prices in dollars for the standard tier of service, from the vendors' own pages, as
/// they stood at the end of 2025: openai.com/api/pricing, anthropic.com/pricing,
/// ai.google.dev/gemini-api/docs/pricing, api-docs.deepseek.com/quick_start/pricing,
/// mistral.ai/pricing, groq.com/pricing; and as they stood in the summer of 2026:
/// docs.fireworks.ai/serverless/pricing, together.ai/pricing, docs.x.ai. At Azure they are those of
/// global deployments, which cost what OpenAI's own do, as does what OpenRouter passes on. Whoever
/// adds a provider compares them with their
/// own contract. Left out are names that the vendor moves to other models, and what is sold
/// at prices that differ by region.
const PRICES: &[Listed] = &[
    listed("openai", "gpt-5", &[(Input, "1.25"), (CachedInput, "0.125"), (Output, "10")]),
    listed("openai", "gpt-5-mini", &[(Input, "0.25"), (CachedInput, "0.025"), (Output, "2")]),
    listed("openai", "gpt-5-nano", &[(Input, "0.05"), (CachedInput, "0.005"), (Output, "0.40")]),
    listed("openai", "gpt-4.1", &[(Input, "2"), (CachedInput, "0.50"), (Output, "8")]),
    listed("openai", "gpt-4.1-mini", &[(Input, "0.40"), (CachedInput, "0.10"), (Output, "1.60")]),
    listed("openai", "gpt-4o", &[(Input, "2.50"), (CachedInput, "1.25"), (Output, "10")]),
    listed("openai", "gpt-4o-mini", &[(Input, "0.15"), (CachedInput, "0.075"), (Output, "0.60")]),
    listed("openai", "o3", &[(Input, "2"), (CachedInput, "0.50"), (Output, "8")]),
    listed("openai", "text-embedding-3-small", &[(Input, "0.02"), (Output, "0")]),
    listed("openai", "text-embedding-3-large", &[(Input, "0.13"), (Output, "0")]),
    listed("openai", "omni-moderation-latest", &[(Input, "0"), (Output, "0")]),
    Listed {
        vendor: "anthropic",
        model: "claude-sonnet-4-5",
        rates: &[
            (Input, "3"),
            (CachedInput, "0.30"),
            (CacheWrite, "3.75"),
            (CacheWrite1h, "6"),
            (Output, "15"),
            (Search, "0.01"),
        ],
        above: Some((
            200_000,
            &[
                (Input, "6"),
                (CachedInput, "0.60"),
                (CacheWrite, "7.50"),
                (CacheWrite1h, "12"),
                (Output, "22.50"),
                (Search, "0.01"),
            ],
        )),
    },
    listed(
        "anthropic",
        "claude-haiku-4-5",
        &[
            (Input, "1"),
            (CachedInput, "0.10"),
            (CacheWrite, "1.25"),
            (CacheWrite1h, "2"),
            (Output, "5"),
            (Search, "0.01"),
        ],
    ),
    listed(
        "anthropic",
        "claude-opus-4-1",
        &[
            (Input, "15"),
            (CachedInput, "1.50"),
            (CacheWrite, "18.75"),
            (CacheWrite1h, "30"),
            (Output, "75"),
            (Search, "0.01"),
        ],
    ),
    Listed {
        vendor: "gemini",
        model: "gemini-2.5-pro",
        rates: &[(Input, "1.25"), (CachedInput, "0.125"), (Output, "10")],
        above: Some((200_000, &[(Input, "2.50"), (CachedInput, "0.25"), (Output, "15")])),
    },
    listed(
        "gemini",
        "gemini-2.5-flash",
        &[
            (Input, "0.30"),
            (CachedInput, "0.03"),
            (AudioInput, "1"),
            (CachedAudioInput, "0.10"),
            (Output, "2.50"),
        ],
    ),
    listed(
        "gemini",
        "gemini-2.5-flash-lite",
        &[
            (Input, "0.10"),
            (CachedInput, "0.01"),
            (AudioInput, "0.30"),
            (CachedAudioInput, "0.03"),
            (Output, "0.40"),
        ],
    ),
    listed("gemini", "gemini-embedding-001", &[(Input, "0.15"), (Output, "0")]),
    listed(
        "deepseek",
        "deepseek-chat",
        &[(Input, "0.28"), (CachedInput, "0.028"), (Output, "0.42")],
    ),
    listed(
        "deepseek",
        "deepseek-reasoner",
        &[(Input, "0.28"), (CachedInput, "0.028"), (Output, "0.42")],
    ),
    listed("mistral", "mistral-embed", &[(Input, "0.10"), (Output, "0")]),
    listed("groq", "llama-3.3-70b-versatile", &[(Input, "0.59"), (Output, "0.79")]),
    listed("groq", "llama-3.1-8b-instant", &[(Input, "0.05"), (Output, "0.08")]),
    listed("azure_openai", "gpt-5", &[(Input, "1.25"), (CachedInput, "0.125"), (Output, "10")]),
    listed("azure_openai", "gpt-5-mini", &[(Input, "0.25"), (CachedInput, "0.025"), (Output, "2")]),
    listed("azure_openai", "gpt-4.1", &[(Input, "2"), (CachedInput, "0.50"), (Output, "8")]),
    listed(
        "azure_openai",
        "gpt-4.1-mini",
        &[(Input, "0.40"), (CachedInput, "0.10"), (Output, "1.60")],
    ),
    listed("azure_openai", "gpt-4o", &[(Input, "2.50"), (CachedInput, "1.25"), (Output, "10")]),
    listed(
        "azure_openai",
        "gpt-4o-mini",
        &[(Input, "0.15"), (CachedInput, "0.075"), (Output, "0.60")],
    ),
    listed("azure_openai", "text-embedding-3-small", &[(Input, "0.02"), (Output, "0")]),
    listed(
        "together",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        &[(Input, "0.88"), (Output, "0.88")],
    ),
    listed("together", "openai/gpt-oss-120b", &[(Input, "0.15"), (Output, "0.60")]),
    listed("together", "deepseek-ai/DeepSeek-V3.1", &[(Input, "0.60"), (Output, "1.70")]),
    listed(
        "together",
        "Qwen/Qwen3-235B-A22B-Instruct-2507-tput",
        &[(Input, "0.20"), (Output, "0.60")],
    ),
    listed("together", "moonshotai/Kimi-K2.5", &[(Input, "0.50"), (Output, "2.80")]),
    listed(
        "fireworks",
        "accounts/fireworks/models/deepseek-v4-pro",
        &[(Input, "1.74"), (CachedInput, "0.145"), (Output, "3.48")],
    ),
    listed(
        "fireworks",
        "accounts/fireworks/models/kimi-k2p6",
        &[(Input, "0.95"), (CachedInput, "0.16"), (Output, "4")],
    ),
    listed(
        "fireworks",
        "accounts/fireworks/models/glm-5p1",
        &[(Input, "1.40"), (CachedInput, "0.26"), (Output, "4.40")],
    ),
    listed(
        "fireworks",
        "accounts/fireworks/models/gpt-oss-120b",
        &[(Input, "0.15"), (CachedInput, "0.015"), (Output, "0.60")],
    ),
    listed(
        "openrouter",
        "openai/gpt-5",
        &[(Input, "1.25"), (CachedInput, "0.125"), (Output, "10")],
    ),
    listed(
        "openrouter",
        "openai/gpt-5-mini",
        &[(Input, "0.25"), (CachedInput, "0.025"), (Output, "2")],
    ),
    listed(
        "openrouter",
        "anthropic/claude-sonnet-4.5",
        &[(Input, "3"), (CachedInput, "0.30"), (CacheWrite, "3.75"), (Output, "15")],
    ),
    Listed {
        vendor: "openrouter",
        model: "google/gemini-2.5-pro",
        rates: &[(Input, "1.25"), (CachedInput, "0.125"), (Output, "10")],
        above: Some((200_000, &[(Input, "2.50"), (CachedInput, "0.25"), (Output, "15")])),
    },
    listed(
        "openrouter",
        "google/gemini-2.5-flash",
        &[(Input, "0.30"), (CachedInput, "0.03"), (AudioInput, "1"), (Output, "2.50")],
    ),
    Listed { vendor: "xai", model: "grok-4.6", rates: GROK, above: Some((200_000, GROK_LONG)) },
    Listed { vendor: "xai", model: "grok-4.5", rates: GROK, above: Some((200_000, GROK_LONG)) },
    Listed {
        vendor: "xai",
        model: "grok-4.3",
        rates: &[(Input, "1.25"), (CachedInput, "0.20"), (Output, "2.50")],
        above: Some((200_000, &[(Input, "2.50"), (CachedInput, "0.40"), (Output, "5")])),
    },
];

const GROK: &[(Class, &str)] = &[(Input, "2"), (CachedInput, "0.50"), (Output, "6")];
const GROK_LONG: &[(Class, &str)] = &[(Input, "4"), (CachedInput, "1"), (Output, "12")];

/// The models of a vendor that we know; none of one that we do not.
pub fn known_models(vendor: &str) -> Vec<Model> {
    let facts = FACTS.iter().find(|it| it.0 == vendor).map_or(&[][..], |it| it.1);
    let priced = |fact| {
        let model = model(fact);
        let price = price(vendor, &model.name).map(prices::declared);
        Model { price, ..model }
    };
    facts.iter().map(priced).collect()
}

fn price(vendor: &str, model: &str) -> Option<Price> {
    let listed = PRICES.iter().find(|it| (it.vendor, it.model) == (vendor, model))?;
    let tier = match listed.above {
        Some((above_tokens, list)) => vec![ContextTier { above_tokens, rates: rates(list)? }],
        None => Vec::new(),
    };
    Price::checked(rates(listed.rates)?, tier, Vec::new()).ok()
}

fn rates(list: &[(Class, &str)]) -> Option<Rates> {
    let mut rates = Rates::default();
    for (class, text) in list {
        rates = prices::with(rates, *class, prices::read(*class, text).ok()?);
    }
    Some(rates)
}

fn model(fact: &Fact) -> Model {
    let output = if fact.capabilities == EMBEDS { Modality::Embedding } else { Modality::Text };
    Model {
        capabilities: fact.capabilities.to_vec(),
        input: fact.input.to_vec(),
        output: vec![output],
        ..Model::of_text(fact.name, fact.name, fact.context, fact.most)
    }
}

#[cfg(test)]
mod tests {
    use shared::vendors;

    use super::*;

    #[test]
    fn every_fact_is_one_of_a_vendor_that_we_know() {
        for (slug, facts) in FACTS {
            assert!(vendors::find(slug).is_some(), "{slug}");
            for model in facts.iter().map(model) {
                super::super::models::checked(model.clone()).unwrap();
            }
            let mut names: Vec<_> = facts.iter().map(|it| it.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), facts.len(), "{slug}");
        }
        for slug in ["azure_openai", "together", "fireworks", "openrouter", "xai"] {
            let known = known_models(slug);
            assert!(!known.is_empty() && known.iter().all(|it| it.price.is_some()), "{slug}");
        }
        assert!(known_models("nobody").is_empty());
    }

    #[test]
    fn every_listed_price_is_one_of_a_model_that_we_know() {
        for it in PRICES {
            let known = known_models(it.vendor).into_iter().find(|known| known.name == it.model);
            let price = known.and_then(|it| it.price).expect(it.model).price;
            let listed = |class| it.rates.iter().any(|it| it.0 == class);
            assert!(listed(Input) && listed(Output), "{}", it.model);
            let tiers = price.standard().context_tiers.len();
            assert_eq!(tiers, usize::from(it.above.is_some()), "{}", it.model);
        }
        let sonnet = price("anthropic", "claude-sonnet-4-5").unwrap();
        assert_eq!(sonnet.standard().at(200_001).output.to_string(), "22.50");
        assert_eq!(sonnet.standard().rates.search.unwrap().dollars_each(), "0.01");
    }
}
