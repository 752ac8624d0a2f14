//! Facts about well-known models, so that whoever adds a provider need not look them up:
//! as the vendors published them by November 2026. What is not here is added by hand.

use shared::snapshot::{Capability, Modality, Model};

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
];

/// The models of a vendor that we know; none of one that we do not.
pub fn known_models(vendor: &str) -> Vec<Model> {
    let facts = FACTS.iter().find(|it| it.0 == vendor).map_or(&[][..], |it| it.1);
    facts.iter().map(model).collect()
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
        assert!(known_models("nobody").is_empty());
    }
}
