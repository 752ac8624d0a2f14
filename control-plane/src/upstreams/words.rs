//! How dialects, capabilities and modalities are called, in the database, in forms and on
//! pages.

use shared::snapshot::{Capability, Dialect, Modality};

pub(super) const DIALECTS: [(Dialect, &str, &str); 4] = [
    (Dialect::OpenAi, "open_ai", "OpenAI's, or compatible with it"),
    (Dialect::AzureOpenAi, "azure_open_ai", "Azure OpenAI's"),
    (Dialect::Anthropic, "anthropic", "Anthropic's"),
    (Dialect::Gemini, "gemini", "Gemini's"),
];

pub(crate) const CAPABILITIES: [(Capability, &str, &str); 9] = [
    (Capability::Streaming, "streaming", "Streaming"),
    (Capability::Tools, "tools", "Tools"),
    (Capability::ParallelTools, "parallel_tools", "Parallel tools"),
    (Capability::JsonSchema, "json_schema", "JSON schema"),
    (Capability::Reasoning, "reasoning", "Reasoning"),
    (Capability::Logprobs, "logprobs", "Logprobs"),
    (Capability::PromptCaching, "prompt_caching", "Prompt caching"),
    (Capability::Embeddings, "embeddings", "Embeddings"),
    (Capability::Moderation, "moderation", "Moderation"),
];

pub(crate) const MODALITIES: [(Modality, &str, &str); 6] = [
    (Modality::Text, "text", "Text"),
    (Modality::Image, "image", "Image"),
    (Modality::Audio, "audio", "Audio"),
    (Modality::Video, "video", "Video"),
    (Modality::File, "file", "File"),
    (Modality::Embedding, "embedding", "Embedding"),
];

/// The word for a value, in forms and in the database.
pub(crate) fn name_of<T: PartialEq>(
    table: &[(T, &'static str, &'static str)],
    value: &T,
) -> &'static str {
    table.iter().find(|it| it.0 == *value).map_or("", |it| it.1)
}

/// What pages call a value.
pub(crate) fn title_of<T: PartialEq>(
    table: &[(T, &'static str, &'static str)],
    value: &T,
) -> &'static str {
    table.iter().find(|it| it.0 == *value).map_or("", |it| it.2)
}

/// The value of a word.
pub(crate) fn of_name<T: Copy>(table: &[(T, &str, &str)], name: &str) -> Option<T> {
    table.iter().find(|it| it.1 == name).map(|it| it.0)
}

/// The values of the words that are there, in the table's order.
pub(crate) fn chosen<T: Copy>(table: &[(T, &str, &str)], names: &[String]) -> Vec<T> {
    table.iter().filter(|it| names.iter().any(|name| name == it.1)).map(|it| it.0).collect()
}

/// A number as people read it: `128,000`.
pub(crate) fn grouped(count: &impl ToString) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_grouped_by_thousands() {
        for (count, text) in
            [(0_u32, "0"), (999, "999"), (1_000, "1,000"), (1_047_576, "1,047,576")]
        {
            assert_eq!(grouped(&count), text);
        }
    }
}
