//! "Did you mean …?"

use std::cmp::Reverse;

/// Longer texts are not mistyped names, and comparing them would cost more than it helps.
const LONGEST: usize = 64;

/// The candidate that `wanted` was probably meant to be.
pub fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > LONGEST {
        return None;
    }
    let tolerated = wanted.len().div_ceil(3);
    candidates
        .filter(|it| it.len().abs_diff(wanted.len()) <= tolerated && it.len() <= LONGEST)
        .map(|it| (distance(wanted.as_bytes(), it.as_bytes()), it))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, it)| it)
}

/// So many of the candidates at most, those first that are most like `wanted`: that begin as it
/// does, for names of one family do, and then those that one comes to with the fewest changes.
pub fn likest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    let beginning = |it: &str| {
        let same = |(a, b): &(u8, u8)| a.eq_ignore_ascii_case(b);
        wanted.bytes().zip(it.bytes()).take_while(same).count()
    };
    // What is too long to be compared is like nothing.
    let distance = |it: &str| match wanted.len().max(it.len()) > LONGEST {
        true => usize::MAX,
        false => distance(wanted.as_bytes(), it.as_bytes()),
    };
    let likeness = |it| (Reverse(beginning(it)), distance(it), it);
    let mut all: Vec<_> = candidates.map(likeness).collect();
    all.sort_unstable();
    all.into_iter().take(most).map(|(_, _, it)| it).collect()
}

/// How many characters to insert, delete or replace to come from one text to the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to) {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(b));
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, expected: Option<&str>) {
        let names = ["gpt-5-mini", "gpt-5", "claude-sonnet-5", "auto"];
        assert_eq!(nearest(wanted, names.into_iter()), expected, "{wanted}");
    }

    #[test]
    fn a_slip_is_understood() {
        check("gpt5-mini", Some("gpt-5-mini"));
        check("GPT-5", Some("gpt-5"));
        check("claude-sonet-5", Some("claude-sonnet-5"));
        check("autp", Some("auto"));
    }

    #[test]
    fn the_likest_come_first() {
        let names = ["zeta", "gpt-5", "claude-sonnet-5", "gpt-5-mini", "alfa"];
        let likest = |wanted: &str, most| likest(wanted, names.into_iter(), most);
        assert_eq!(likest("gpt-5-nano", 2), ["gpt-5-mini", "gpt-5"]);
        assert_eq!(likest("claude-opus-5", 1), ["claude-sonnet-5"]);
        assert_eq!(likest(&"x".repeat(1_000), 2), ["alfa", "claude-sonnet-5"]);
        assert_eq!(likest("gpt-5", 9).len(), 5);
    }

    #[test]
    fn something_else_is_not() {
        check("llama-4-scout", None);
        check("", None);
        check(&"gpt-5".repeat(100), None);
    }
}
