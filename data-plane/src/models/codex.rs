//! The list of models as Codex reads it: top-level `models`, each with all the fields that it
//! cannot do without. It takes a list of which one lacks one for no list.

use serde::Serialize;
use shared::snapshot::Modality;

use super::Item;

#[derive(Serialize)]
pub(super) struct Info<'a> {
    slug: &'a str,
    display_name: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_reasoning_level: Option<&'static str>,
    supported_reasoning_levels: &'static [Level],
    shell_type: &'static str,
    visibility: &'static str,
    supported_in_api: bool,
    /// The lowest is offered first.
    priority: usize,
    upgrade: Option<()>,
    base_instructions: &'static str,
    supports_reasoning_summaries: bool,
    support_verbosity: bool,
    default_verbosity: Option<()>,
    apply_patch_tool_type: Option<()>,
    truncation_policy: Truncation,
    supports_parallel_tool_calls: bool,
    context_window: u32,
    experimental_supported_tools: [&'static str; 0],
    input_modalities: Vec<Modality>,
}

#[derive(Serialize)]
struct Level {
    effort: &'static str,
    description: &'static str,
}

/// How much of a tool's output is sent along.
#[derive(Serialize)]
struct Truncation {
    mode: &'static str,
    limit: u32,
}

const LEVELS: &[Level] = &[
    Level { effort: "low", description: "Answers sooner" },
    Level { effort: "medium", description: "Thinks as long as most tasks need" },
    Level { effort: "high", description: "Thinks longest" },
];

/// What the model is told that it is. Codex takes it from here and not from what it brings along,
/// so it may not be empty.
const INSTRUCTIONS: &str = "You are a coding agent that works in a terminal on the user's files. \
    Read what is there before you change it, change no more than the task needs, and follow the \
    instructions that the repository gives, as in AGENTS.md. Use the tools that you are given, \
    run what shows that your change works, and say plainly what you did and what is left.";

/// Those that write: Codex has no use for others.
pub(super) fn infos<'a>(items: &[Item<'a>]) -> Vec<Info<'a>> {
    let writes = items.iter().filter(|it| it.max_output_tokens > 0);
    writes.enumerate().map(|(at, it)| info(at, it)).collect()
}

fn info<'a>(priority: usize, item: &Item<'a>) -> Info<'a> {
    let takes = |parameter| item.supported_parameters.contains(&parameter);
    let thinks = takes("reasoning_effort");
    // It knows no others, and would read none of the list.
    let is_known = |it: &&Modality| matches!(it, Modality::Text | Modality::Image);
    Info {
        slug: item.id,
        display_name: item.display_name,
        description: format!("Served by {}", item.turnpike.providers.join(", ")),
        default_reasoning_level: thinks.then_some("medium"),
        supported_reasoning_levels: if thinks { LEVELS } else { &[] },
        shell_type: "shell_command",
        visibility: "list",
        supported_in_api: true,
        priority,
        upgrade: None,
        base_instructions: INSTRUCTIONS,
        supports_reasoning_summaries: false,
        support_verbosity: false,
        default_verbosity: None,
        apply_patch_tool_type: None,
        truncation_policy: Truncation { mode: "tokens", limit: 10_000 },
        supports_parallel_tool_calls: takes("parallel_tool_calls"),
        context_window: item.context_length,
        experimental_supported_tools: [],
        input_modalities: item
            .architecture
            .input_modalities
            .iter()
            .filter(is_known)
            .copied()
            .collect(),
    }
}
