//! Changing a few places of a text and nothing else.

use std::{borrow::Cow, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};

/// What is to stand at a place instead. An empty place is between two bytes.
#[derive(Debug)]
pub struct Edit<'a> {
    pub at: Range<usize>,
    pub to: Cow<'a, str>,
}

/// `body` with `edits`, of which no two overlap.
pub fn edited(body: &Bytes, mut edits: Vec<Edit>) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|it| (it.at.start, it.at.end));
    let added: usize = edits.iter().map(|it| it.to.len()).sum();
    let mut result = BytesMut::with_capacity(body.len() + added);
    let mut kept = 0;
    for Edit { at, to } in edits {
        result.put_slice(body.get(kept..at.start).unwrap_or_default());
        result.put_slice(to.as_bytes());
        kept = at.end;
    }
    result.put_slice(body.get(kept..).unwrap_or_default());
    result.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_changed_in_any_order_and_the_rest_stays() {
        let body = Bytes::from_static(b"one two three");
        let edit = |at, to: &'static str| Edit { at, to: to.into() };
        let edits = vec![edit(8..13, "3"), edit(0..3, "1"), edit(3..3, ","), edit(7..7, ",")];
        assert_eq!(edited(&body, edits), "1, two, 3");
        assert_eq!(edited(&body, vec![]), body);
    }
}
