//! Lists that are read a page at a time. A page begins after a thing, not after a number
//! of things, so that nothing is left out or shown twice when others come and go.

use std::fmt::Display;

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// The query of a list that is not searched.
#[derive(Clone, Deserialize, IntoParams)]
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

    /// As many as a page shows of what takes much room.
    pub fn short(after: Option<I>) -> Self {
        Self { after, most: 20 }
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

    /// The part of a list that is here whole: the first one, where what it begins after is gone.
    pub fn of<T>(&self, all: Vec<T>, id: impl Fn(&T) -> I) -> Part<T, I>
    where
        I: PartialEq,
    {
        let last = self.after.as_ref().and_then(|it| all.iter().position(|one| id(one) == *it));
        let begin = last.map_or(0, |it| it + 1);
        let rest = all.into_iter().skip(begin).take(usize::from(self.most) + 1);
        self.part(rest.collect(), id)
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
        Self::with(path, &[], after, next)
    }

    /// Of a list that is searched.
    pub fn with<I: Display>(
        path: &str,
        asked: &[(&str, &str)],
        after: Option<I>,
        next: Option<I>,
    ) -> Self {
        let next = next.map(|it| it.to_string());
        let all = |more| address(path, asked.iter().copied().chain(more));
        Self {
            first: after.map(|_| all(None)),
            next: next.as_deref().map(|it| all(Some(("after", it)))),
        }
    }
}

/// The address at which that is asked of `path`. What is blank is not asked.
pub fn address<'a>(path: &str, asked: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(asked.into_iter().filter(|(_, value)| !value.trim().is_empty()));
    match query.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
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

        #[test]
        fn a_list_that_is_here_has_the_same_parts(
            count in 0..40_u16,
            most in 1..15_u8,
            after in prop::option::of(0..40_u16),
        ) {
            let all: Vec<u16> = (0..count).collect();
            let span = Span { after: after.filter(|it| *it < count), most };
            let (here, kept) = (span.of(all.clone(), |it| *it), read(&all, span));
            prop_assert_eq!((here.items, here.next), (kept.items, kept.next));
        }
    }
}
