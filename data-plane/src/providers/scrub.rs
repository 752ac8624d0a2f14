//! Taking out of a vendor's words what is our account's business and nobody else's.

use std::borrow::Cow;

const HIDDEN: &str = "[hidden]";

/// How vendors' secrets and the names of accounts begin.
const PREFIXES: [&str; 17] = [
    "sk-", "sk_", "org-", "org_", "proj-", "proj_", "user-", "user_", "acct_", "aiza", "xai-",
    "gsk_", "fw_", "bce-", "tgp_", "akia", "eyj",
];

/// Nothing that people wrote is so long and has digits in it.
const LONGEST_WORD: usize = 20;

/// Numbers of projects and accounts have so many digits; counts of tokens do not.
const LONGEST_NUMBER: usize = 9;

pub fn scrub(text: &str) -> Cow<'_, str> {
    if !words(text).any(is_private) {
        return Cow::Borrowed(text);
    }
    let scrubbed = words(text).map(|it| if is_private(it) { HIDDEN } else { it }).collect();
    Cow::Owned(scrubbed)
}

/// Words and what is between them, in turns.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_word = is_of_word(rest.chars().next()?);
        let end = rest.find(|it| is_of_word(it) != is_word).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(word)
    })
}

fn is_of_word(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '*' | '@' | '+' | '…' | '•')
}

fn is_private(word: &str) -> bool {
    let begins =
        |it: &&str| word.get(..it.len()).is_some_and(|start| start.eq_ignore_ascii_case(it));
    let is_named = PREFIXES.iter().any(|it| begins(it) && word.len() > it.len());
    let is_masked = word.contains("***") || word.contains("••");
    let is_address = word.find('@').is_some_and(|at| at > 0 && at + 1 < word.len());
    is_named || is_masked || is_address || is_uuid(word) || word.split(['-', '+']).any(is_random)
}

fn is_random(part: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| part.bytes().any(|it| kind(&it));
    let digits = has(u8::is_ascii_digit);
    let is_number = part.len() >= LONGEST_NUMBER && part.bytes().all(|it| it.is_ascii_digit());
    is_number || part.len() >= LONGEST_WORD && digits && has(u8::is_ascii_alphabetic)
}

fn is_uuid(word: &str) -> bool {
    let lengths = word.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && word.bytes().all(|it| it == b'-' || it.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(scrub(text), expected);
    }

    #[test]
    fn keys_and_accounts_are_hidden() {
        check("Incorrect API key provided: sk-ab***xyz.", "Incorrect API key provided: [hidden].");
        check(
            "Rate limit reached for gpt-4o in organization org-AbC123 on tokens per min (TPM): \
             Limit 30000, Used 29000.",
            "Rate limit reached for gpt-4o in organization [hidden] on tokens per min (TPM): \
             Limit 30000, Used 29000.",
        );
        check("key AIzaSyD-9tSrke72PouQMnMX was", "key [hidden] was");
        check("consumer 'projects/123456789012'", "consumer 'projects/[hidden]'");
        check("of admin@example.com", "of [hidden].com");
        check("resource 0b1f7e6a-93d2-4c1b-8f00-52a9e1c0d7aa is", "resource [hidden] is");
        check("token 9f8e7d6c5b4a39281706f5e4 bad", "token [hidden] bad");
    }

    #[test]
    fn models_numbers_and_words_stay() {
        for text in [
            "The model `claude-3-5-sonnet-20241022` does not exist.",
            "This model's maximum context length is 128000 tokens, you asked for 1048576.",
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "messages.0.content: Input should be a valid list (antidisestablishmentarianism)",
            "gpt-4.1-mini-2025-04-14 … 你好",
            "",
        ] {
            check(text, text);
        }
    }

    proptest! {
        #[test]
        fn a_key_is_hidden_wherever_it_stands(before in "\\PC{0,20}", key in "[A-Za-z0-9]{16,60}", after in "\\PC{0,20}") {
            let text = format!("{before} sk-{key} {after}");
            prop_assert!(!scrub(&text).contains(&key));
        }
    }
}
