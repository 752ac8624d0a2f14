//! Lists that are read a page at a time. A page begins after a thing, not after a number
//! of things, so that nothing is left out or shown twice when others come and go.

use std::fmt::Display;

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// The query of a list that is not searched.
#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct After<I: ToSchema> {
    /// What the page begins after: `next` of the page before.
    pub after: Option<I>,
}

/// Which part of a list to read.
#[derive(Clone, Copy, Debug)]
pub struct Span<I> {
    /// The last one of the part before.
    pub after: Option<I>,
    pub most: u8,
}

impl<I> Span<I> {
    /// As many as a page shows.
    pub fn page(after: Option<I>) -> Self {
        Self { after, most: 50 }
    }

    /// As many as a program is told at once, or a form lets choose among.
    pub fn long(after: Option<I>) -> Self {
        Self { after, most: 200 }
    }

    /// How many to read: one more tells whether there are others.
    pub fn limit(&self) -> i64 {
        i64::from(self.most) + 1
    }

    /// The part itself, of what was read.
    pub fn part<T>(&self, mut read: Vec<T>, id: impl Fn(&T) -> I) -> Part<T, I> {
        let most = usize::from(self.most);
        let has_more = read.len() > most;
        read.truncate(most);
        let next = read.last().filter(|_| has_more).map(id);
        Part { items: read, next }
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Part<T, I> {
    pub items: Vec<T>,
    /// What the next part begins after; none when this is the last.
    pub next: Option<I>,
}

/// The ways from a page of a list to others of it.
#[derive(Clone, Debug)]
pub struct Pager {
    /// The first page, where this is another.
    pub first: Option<String>,
    pub next: Option<String>,
}

impl Pager {
    pub fn new<I: Display>(path: &str, after: Option<I>, next: Option<I>) -> Self {
        Self {
            first: after.map(|_| path.to_owned()),
            next: next.map(|it| format!("{path}?after={it}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a store reads: in order, after one of them.
    fn read(all: &[u16], span: Span<u16>) -> Part<u16, u16> {
        let rest = all.iter().copied().filter(|it| span.after.is_none_or(|after| *it > after));
        let rows = usize::try_from(span.limit()).unwrap();
        span.part(rest.take(rows).collect(), |it| *it)
    }

    proptest! {
        #[test]
        fn parts_make_the_list_again(count in 0..40_u16, most in 1..15_u8) {
            let all: Vec<u16> = (0..count).collect();
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let part = read(&all, Span { after, most });
                prop_assert!(part.items.len() <= usize::from(most));
                prop_assert!(after.is_none() || !part.items.is_empty());
                seen.extend(part.items);
                after = part.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, all);
        }
    }
}
