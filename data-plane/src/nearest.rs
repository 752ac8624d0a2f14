//! "Did you mean …?"

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
    fn something_else_is_not() {
        check("llama-4-scout", None);
        check("", None);
        check(&"gpt-5".repeat(100), None);
    }
}
