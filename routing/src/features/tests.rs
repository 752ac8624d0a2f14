use super::*;
use crate::language::{BUCKETS, HEADED};

fn look(text: &str) -> Features {
    let head = LanguageHead::new(vec![0; BUCKETS * HEADED]).unwrap();
    Extractor::new(head).look(&Turn { text, ..Turn::default() })
}

#[test]
fn a_word_counts_once_and_case_makes_no_difference() {
    assert_eq!(look("again again again").grams.len(), 2, "the word, and the word twice");
    assert_eq!(look("Again AGAIN").grams, look("again again").grams);
}

#[test]
fn a_sentence_ends_a_pair() {
    let (joined, parted) = (look("red green"), look("red. green"));
    assert_eq!((joined.grams.len(), parted.grams.len()), (3, 2));
}

/// Where they stand is part of what was learned: whoever moves one trains anew.
#[test]
fn what_is_counted_stands_where_it_stood() {
    let it = look("Which one?\nA. x = 1.5\nB. `f()`\nC. $20\n  - item\n```\ncode\n```").numbers;
    let is_on = |at: usize| it[at] > 0.0;
    assert!((it[0] - 1.0).abs() < f32::EPSILON, "always there");
    for (at, what) in [
        (6, "digits"),
        (9, "a decimal"),
        (10, "lines"),
        (11, "a question"),
        (14, "a fence"),
        (18, "a sign of math"),
        (20, "a dollar"),
        (23, "items"),
        (25, "options"),
        (33, "short"),
    ] {
        assert!(is_on(at), "{what}");
    }
    assert!(!is_on(21) && !is_on(35) && !is_on(36), "no quotes, images or JSON");
}

#[test]
fn nothing_is_something() {
    let it = look("");
    assert!(it.grams.is_empty() && it.numbers.iter().all(|it| it.is_finite()));
}
