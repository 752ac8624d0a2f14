//! What callers say of a call in `x-turnpike-tags: team=search, run=42`.

use std::collections::BTreeMap;

/// As many as a key may have.
const MOST: usize = 16;
const LONGEST: usize = 64;

/// The pairs that are well formed; the others are passed over, for a tag is no reason to
/// refuse a call.
pub fn tags(header: &str) -> BTreeMap<String, String> {
    header
        .split(',')
        .filter_map(|it| it.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, value)| !name.is_empty() && is_plain(name) && is_plain(value))
        .take(MOST)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_plain(text: &str) -> bool {
    text.chars().count() <= LONGEST && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: &[(&str, &str)]) {
        let found = tags(header);
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pairs_are_taken_and_the_rest_passed_over() {
        check("team=search, run=42", &[("run", "42"), ("team", "search")]);
        check("a=b=c", &[("a", "b=c")]);
        check("", &[]);
        check("nothing, =x, ok=1,,", &[("ok", "1")]);
        check(&format!("long={}, ok=1", "x".repeat(65)), &[("ok", "1")]);
        check("bell=\u{7}, ok=1", &[("ok", "1")]);
        let many: Vec<_> = (0..40).map(|n| format!("k{n}=v")).collect();
        assert_eq!(tags(&many.join(",")).len(), MOST);
    }
}
