//! Where a stream of server-sent events stands, however the network cut it.
//!
//! Only watches: the bytes go on to the client untouched and at once.

/// `data: [DONE]` with either spacing, and no line that we look for is longer.
const LONGEST: usize = 12;

/// Notices the line with which an OpenAI stream says that it is complete.
#[derive(Default)]
pub struct Ending {
    /// How the present line begins, as far as it matters.
    line: [u8; LONGEST + 1],
    length: usize,
    is_complete: bool,
}

impl Ending {
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|it| matches!(it, b'\n' | b'\r')) {
            let (line, after) = rest.split_at(end);
            self.extend(line);
            self.is_complete |= self.is_done_line();
            self.length = 0;
            rest = after.get(1..).unwrap_or_default();
        }
        self.extend(rest);
    }

    /// Whether all of the answer was there, even if the stream's last line end was not.
    pub fn is_complete(&self) -> bool {
        self.is_complete || self.is_done_line()
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = self.line.get_mut(self.length..).unwrap_or_default();
        let fits = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length += fits;
    }

    fn is_done_line(&self) -> bool {
        matches!(self.line.get(..self.length), Some(b"data: [DONE]" | b"data:[DONE]"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_complete<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut ending = Ending::default();
        pieces.into_iter().for_each(|it| ending.push(it));
        ending.is_complete()
    }

    #[track_caller]
    fn check(stream: &str, expected: bool) {
        assert_eq!(is_complete([stream.as_bytes()]), expected, "{stream:?}");
        let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
        assert_eq!(is_complete(bytes), expected, "{stream:?} byte by byte");
    }

    #[test]
    fn a_stream_is_complete_with_its_done_line() {
        check("data: {}\n\ndata: [DONE]\n\n", true);
        check("data: {}\r\n\r\ndata: [DONE]\r\n\r\n", true);
        check("data: {}\r\rdata:[DONE]\r\r", true);
        check("data: {}\n\ndata: [DONE]", true);
        check("data: [DONE]\n\n: bye\n\n", true);
    }

    #[test]
    fn a_stream_that_only_speaks_of_it_is_not() {
        check("", false);
        check("data: {}\n\n", false);
        check("data: {}\n\ndata: [DONE", false);
        check("data: {\"content\":\"data: [DONE]", false);
        check("data: [DONE] or not\n\n", false);
    }

    const STREAM: &[u8] =
        b": hi\n\ndata: {\"a\":\"data: [DONE]\"}\r\n\r\nevent: x\ndata: {}\n\ndata: [DONE]\n\n";

    proptest! {
        /// Where the network cuts the stream makes no difference.
        #[test]
        fn cuts_do_not_matter(end in 0..=STREAM.len(), cut in 0..STREAM.len(), again in 0..STREAM.len()) {
            let (stream, a, b) = (&STREAM[..end], cut.min(again).min(end), cut.max(again).min(end));
            let whole = is_complete([stream]);
            prop_assert_eq!(is_complete([&stream[..a], &stream[a..b], &stream[b..]]), whole);
            prop_assert_eq!(whole, end >= STREAM.len() - 2);
        }
    }
}
