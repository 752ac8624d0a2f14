//! Which kind of program calls, as its `user-agent` says. One of our own words: nothing
//! that a caller writes there is kept.

use shared::event::Word;

/// How each kind's header begins, in lower case. The first that fits counts.
const KINDS: [(&str, &str); 18] = [
    ("openai/python", "openai-python"),
    ("asyncopenai/python", "openai-python"),
    ("openai/js", "openai-node"),
    ("anthropic/python", "anthropic-python"),
    ("asyncanthropic/python", "anthropic-python"),
    ("anthropic/js", "anthropic-node"),
    ("ai-sdk/", "vercel-ai-sdk"),
    ("ai/", "vercel-ai-sdk"),
    ("codex", "codex"),
    ("claude-cli/", "claude-code"),
    ("opencode/", "opencode"),
    ("curl/", "curl"),
    ("python-httpx/", "httpx"),
    ("python-requests/", "python-requests"),
    ("go-http-client/", "go"),
    ("node", "node"),
    ("axios/", "axios"),
    ("mozilla/", "browser"),
];

pub(super) fn kind(user_agent: &str) -> Word {
    let is = |begins: &str| {
        let head = user_agent.as_bytes().get(..begins.len());
        head.is_some_and(|it| it.eq_ignore_ascii_case(begins.as_bytes()))
    };
    let known = KINDS.iter().find(|(begins, _)| is(begins));
    Word::from(known.map_or("other", |(_, kind)| kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_agent: &str, expected: &str) {
        assert_eq!(kind(user_agent), expected);
    }

    #[test]
    fn programs_are_known_by_how_they_name_themselves() {
        check("OpenAI/Python 2.8.1", "openai-python");
        check("AsyncOpenAI/Python 2.8.1", "openai-python");
        check("OpenAI/JS 6.9.0", "openai-node");
        check("ai-sdk/openai-compatible/1.0.0 runtime/node.js/22", "vercel-ai-sdk");
        check("curl/8.14.1", "curl");
        check("Mozilla/5.0 (X11; Linux x86_64)", "browser");
    }

    #[test]
    fn what_else_is_written_there_is_not_kept() {
        for text in ["", "tpk_live_secret", "my-agent/1", "é", "ai"] {
            check(text, "other");
        }
    }
}
