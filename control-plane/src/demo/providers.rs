//! Where the demo's models are served: the simulator, for everybody, and for the demo
//! organization every real provider whose key stands in the environment.

use std::env;

use secrecy::SecretString;
use shared::snapshot::Model;
use url::Url;

use crate::snapshots::NewUpstream;

/// A provider that speaks OpenAI's dialect: the variable with its key, its name here,
/// its address, and some of its models with context and longest answer.
struct Known {
    variable: &'static str,
    provider: &'static str,
    base_url: &'static str,
    models: &'static [(&'static str, u32, u32)],
}

const KNOWN: &[Known] = &[
    Known {
        variable: "OPENAI_API_KEY",
        provider: "openai",
        base_url: "https://api.openai.com/v1",
        models: &[
            ("gpt-4o-mini", 128_000, 16_384),
            ("gpt-4.1", 1_047_576, 32_768),
            ("gpt-5-mini", 400_000, 128_000),
        ],
    },
    Known {
        variable: "ANTHROPIC_API_KEY",
        provider: "anthropic",
        base_url: "https://api.anthropic.com/v1",
        models: &[("claude-sonnet-4-5", 200_000, 64_000), ("claude-haiku-4-5", 200_000, 64_000)],
    },
    Known {
        variable: "GEMINI_API_KEY",
        provider: "google",
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        models: &[("gemini-2.5-flash", 1_048_576, 65_536), ("gemini-2.5-pro", 1_048_576, 65_536)],
    },
    Known {
        variable: "DEEPSEEK_API_KEY",
        provider: "deepseek",
        base_url: "https://api.deepseek.com/v1",
        models: &[("deepseek-chat", 128_000, 8_192)],
    },
    Known {
        variable: "MISTRAL_API_KEY",
        provider: "mistral",
        base_url: "https://api.mistral.ai/v1",
        models: &[("mistral-small-latest", 128_000, 32_768)],
    },
    Known {
        variable: "GROQ_API_KEY",
        provider: "groq",
        base_url: "https://api.groq.com/openai/v1",
        models: &[("llama-3.3-70b-versatile", 131_072, 32_768)],
    },
];

pub fn in_environment() -> Vec<NewUpstream> {
    let known = KNOWN.iter().filter_map(|known| {
        let secret = env::var(known.variable).ok().filter(|it| !it.is_empty())?;
        Some(NewUpstream {
            provider: known.provider.to_owned(),
            base_url: known.base_url.parse().ok()?,
            secret: secret.into(),
            models: known
                .models
                .iter()
                .map(|(name, context, most)| Model::of_text(name, name, *context, *most))
                .collect(),
        })
    });
    known.collect()
}

pub fn simulated(base: &Url) -> NewUpstream {
    let base_url = format!("{}/v1", base.as_str().trim_end_matches('/'));
    NewUpstream {
        provider: "simulator".to_owned(),
        base_url: base_url.parse().unwrap_or_else(|_| base.clone()),
        // The simulator takes any; what is sealed and sent is seen to arrive.
        secret: SecretString::from("sim-no-secret-needed"),
        models: [
            ("auto", "sim-small"),
            ("echo", "echo"),
            ("sim-small", "sim-small"),
            ("sim-large", "sim-large"),
            ("sim-reasoning", "sim-reasoning"),
            ("sim-slow", "sim-slow"),
        ]
        .map(|(name, upstream)| Model::of_text(name, upstream, 128_000, 16_384))
        .into(),
    }
}
