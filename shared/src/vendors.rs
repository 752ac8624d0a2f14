//! Vendors that we know: where they are, what they speak, and where they differ from what
//! they say they speak. Facts only; what a call costs is elsewhere.

use crate::snapshot::Dialect;

/// A vendor, or a kind of server that one runs oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// What an upstream calls its provider.
    pub slug: &'static str,
    pub name: &'static str,
    pub dialect: Dialect,
    /// `None` where every customer has an address of their own.
    pub base_url: Option<&'static str>,
    /// What such an address looks like.
    pub base_url_hint: &'static str,
    /// What a key looks like, or where to find one.
    pub key_hint: &'static str,
    /// Whether a server answers without any key.
    pub is_keyless: bool,
    pub docs_url: &'static str,
    pub quirks: Quirks,
}

/// Where an upstream differs from the dialect it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Whether `stream_options` is understood. Those that refuse it say what was used
    /// without being asked.
    pub takes_stream_options: bool,
    /// The field that limits an answer's length, where the caller used none.
    pub output_cap: OutputCap,
    /// Whether that limits what a model thinks as well, so that nothing is billed beyond it.
    pub output_cap_is_hard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCap {
    MaxTokens,
    MaxCompletionTokens,
}

impl OutputCap {
    pub const fn field(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

impl Quirks {
    /// What most of those do who speak OpenAI's dialect without being OpenAI.
    pub const USUAL: Self = Self {
        takes_stream_options: true,
        output_cap: OutputCap::MaxTokens,
        output_cap_is_hard: true,
    };

    const OPENAI: Self = Self { output_cap: OutputCap::MaxCompletionTokens, ..Self::USUAL };

    /// Refuses every field that it does not know.
    const MISTRAL: Self = Self { takes_stream_options: false, ..Self::USUAL };

    /// Limits the answer alone, however much was thought before.
    const THINKS_ON: Self = Self { output_cap_is_hard: false, ..Self::USUAL };

    /// How the provider that an upstream names behaves.
    pub fn of(provider: &str) -> Self {
        find(provider).map_or(Self::USUAL, |it| it.quirks)
    }
}

pub fn find(slug: &str) -> Option<&'static Vendor> {
    ALL.iter().find(|it| it.slug == slug)
}

/// A vendor that speaks OpenAI's dialect as most do, at an address all customers share.
const fn compatible(
    slug: &'static str,
    name: &'static str,
    base_url: &'static str,
    key_hint: &'static str,
    docs_url: &'static str,
) -> Vendor {
    Vendor {
        slug,
        name,
        dialect: Dialect::OpenAi,
        base_url: Some(base_url),
        base_url_hint: base_url,
        key_hint,
        is_keyless: false,
        docs_url,
        quirks: Quirks::USUAL,
    }
}

/// A server of one's own that speaks OpenAI's dialect.
const fn own_server(
    slug: &'static str,
    name: &'static str,
    base_url_hint: &'static str,
    docs_url: &'static str,
) -> Vendor {
    Vendor {
        slug,
        name,
        dialect: Dialect::OpenAi,
        base_url: None,
        base_url_hint,
        key_hint: "Any text, unless the server was started with a key",
        is_keyless: true,
        docs_url,
        quirks: Quirks::USUAL,
    }
}

/// In the order in which a form offers them.
pub const ALL: &[Vendor] = &[
    Vendor {
        quirks: Quirks::OPENAI,
        ..compatible(
            "openai",
            "OpenAI",
            "https://api.openai.com/v1",
            "sk-…",
            "https://platform.openai.com/docs/api-reference",
        )
    },
    Vendor {
        slug: "azure_openai",
        name: "Azure OpenAI",
        dialect: Dialect::AzureOpenAi,
        base_url: None,
        base_url_hint: "https://your-resource.openai.azure.com/openai/v1",
        key_hint: "KEY 1 or KEY 2 of the resource",
        is_keyless: false,
        docs_url: "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        quirks: Quirks::OPENAI,
    },
    Vendor {
        slug: "anthropic",
        name: "Anthropic",
        dialect: Dialect::Anthropic,
        base_url: Some("https://api.anthropic.com/v1"),
        base_url_hint: "https://api.anthropic.com/v1",
        key_hint: "sk-ant-…",
        is_keyless: false,
        docs_url: "https://docs.anthropic.com/en/api/messages",
        quirks: Quirks::USUAL,
    },
    Vendor {
        slug: "gemini",
        name: "Google Gemini",
        dialect: Dialect::Gemini,
        base_url: Some("https://generativelanguage.googleapis.com/v1beta"),
        base_url_hint: "https://generativelanguage.googleapis.com/v1beta",
        key_hint: "AIza…",
        is_keyless: false,
        docs_url: "https://ai.google.dev/api",
        quirks: Quirks::USUAL,
    },
    compatible(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        "sk-…",
        "https://api-docs.deepseek.com",
    ),
    Vendor {
        quirks: Quirks::THINKS_ON,
        ..compatible(
            "qwen",
            "Qwen (Alibaba Cloud)",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            "sk-…",
            "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        )
    },
    Vendor {
        quirks: Quirks::MISTRAL,
        ..compatible(
            "mistral",
            "Mistral",
            "https://api.mistral.ai/v1",
            "A key of La Plateforme",
            "https://docs.mistral.ai/api",
        )
    },
    Vendor {
        quirks: Quirks::THINKS_ON,
        ..compatible(
            "ernie",
            "ERNIE (Baidu Qianfan)",
            "https://qianfan.baidubce.com/v2",
            "bce-v3/…",
            "https://cloud.baidu.com/doc/qianfan-api/index.html",
        )
    },
    compatible(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "gsk_…",
        "https://console.groq.com/docs/openai",
    ),
    compatible(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        "A key of the API keys page",
        "https://docs.together.ai/docs/openai-api-compatibility",
    ),
    compatible(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        "fw_…",
        "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    ),
    compatible(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "sk-or-…",
        "https://openrouter.ai/docs/api-reference/overview",
    ),
    compatible(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "xai-…",
        "https://docs.x.ai/docs/api-reference",
    ),
    compatible(
        "cohere",
        "Cohere",
        "https://api.cohere.ai/compatibility/v1",
        "A production key of the dashboard",
        "https://docs.cohere.com/docs/compatibility-api",
    ),
    compatible(
        "moonshot",
        "Moonshot AI (Kimi)",
        "https://api.moonshot.ai/v1",
        "sk-…",
        "https://platform.kimi.ai/docs/overview",
    ),
    compatible(
        "zai",
        "Z.AI (GLM)",
        "https://api.z.ai/api/paas/v4",
        "A key of the API keys page",
        "https://docs.z.ai/guides/overview/quick-start",
    ),
    compatible(
        "minimax",
        "MiniMax",
        "https://api.minimax.io/v1",
        "A key of the platform's account page",
        "https://platform.minimax.io/docs/api-reference/text-openai-api",
    ),
    compatible(
        "amazon_nova",
        "Amazon Nova",
        "https://api.nova.amazon.com/v1",
        "A key of the developer console",
        "https://nova.amazon.com/dev/documentation",
    ),
    compatible(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        "pplx-…",
        "https://docs.perplexity.ai/api-reference/chat-completions-post",
    ),
    compatible(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        "csk-…",
        "https://inference-docs.cerebras.ai/resources/openai",
    ),
    own_server(
        "vllm",
        "vLLM",
        "https://vllm.example.com:8000/v1",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    own_server(
        "tensorrt_llm",
        "TensorRT-LLM",
        "https://trtllm.example.com:8000/v1",
        "https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/trtllm-serve.html",
    ),
    own_server(
        "ollama",
        "Ollama",
        "https://ollama.example.com:11434/v1",
        "https://docs.ollama.com/api/openai-compatibility",
    ),
    own_server(
        "lm_studio",
        "LM Studio",
        "https://lmstudio.example.com:1234/v1",
        "https://lmstudio.ai/docs/developer/openai-compat",
    ),
    Vendor {
        key_hint: "The key of the endpoint",
        ..own_server(
            "openai_compatible",
            "Another endpoint that speaks OpenAI's dialect",
            "https://llm.example.com/v1",
            "https://platform.openai.com/docs/api-reference",
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slug_is_one_vendors_and_fits_a_header_and_a_path() {
        let mut slugs: Vec<_> = ALL.iter().map(|it| it.slug).collect();
        let fits = |it: &str| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
        assert!(slugs.iter().all(|it| !it.is_empty() && fits(it)), "{slugs:?}");
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ALL.len());
    }

    #[test]
    fn addresses_are_as_upstreams_want_them() {
        for vendor in ALL {
            for address in vendor.base_url.iter().chain([&vendor.base_url_hint]) {
                assert!(address.starts_with("https://") && !address.ends_with('/'), "{vendor:?}");
            }
        }
    }

    #[test]
    fn who_is_not_known_is_like_most() {
        assert_eq!(Quirks::of("simulator"), Quirks::USUAL);
        assert!(!Quirks::of("mistral").takes_stream_options);
        assert!(!Quirks::of("qwen").output_cap_is_hard);
    }
}
