//! Finds the request at the start of what was received.

use std::{mem::MaybeUninit, ops::Range};

use httparse::{Header, Status};

use super::{refusal::Dialect, wire::Manners};

const MOST_HEADERS: usize = 128;
const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: usize = 128 << 20;

const BAD_REQUEST: &str =
    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const HEAD_TOO_LARGE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const BODY_TOO_LARGE: &str =
    "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Where a request's parts are in the buffer it came in.
pub(super) struct Received {
    pub method: Range<usize>,
    pub target: Range<usize>,
    /// What the first header that carries a key says.
    pub key: Option<Range<usize>>,
    /// The vendor that a header is meant for.
    pub vendor: Option<Dialect>,
    /// The length of the head.
    pub head: usize,
    pub payload: Payload,
    /// The length of all of it.
    pub length: usize,
    pub manners: Manners,
}

pub(super) enum Payload {
    Plain(Range<usize>),
    Unchunked(Vec<u8>),
}

pub(super) enum Progress {
    Whole(Received),
    /// Nothing new can be said before the buffer holds `total` bytes.
    Needs {
        total: usize,
        expects_continue: bool,
    },
    Refused(&'static str),
}

pub(super) fn progress(buffer: &[u8]) -> Progress {
    let more = Progress::Needs { total: buffer.len() + 1, expects_continue: false };
    if buffer.is_empty() {
        return more;
    }
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let head = match request.parse_with_uninit_headers(buffer, &mut headers) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) if buffer.len() > LONGEST_HEAD => {
            return Progress::Refused(HEAD_TOO_LARGE);
        }
        Ok(Status::Partial) => return more,
        Err(_) => return Progress::Refused(BAD_REQUEST),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Progress::Refused(BAD_REQUEST);
    };
    let http_11 = request.version == Some(1);
    let Some(facts) = Facts::of(request.headers) else { return Progress::Refused(BAD_REQUEST) };
    let (payload, length) = match body(buffer, head, &facts) {
        Ok(body) => body,
        Err(unfinished) => return unfinished,
    };
    Progress::Whole(Received {
        method: within(buffer, method.as_bytes()),
        target: within(buffer, target.as_bytes()),
        key: facts.key.map(|it| within(buffer, it)),
        vendor: facts.vendor,
        head,
        payload,
        length,
        manners: Manners { chunks: http_11, keep_alive: http_11 && !facts.close },
    })
}

fn body(buffer: &[u8], head: usize, facts: &Facts) -> Result<(Payload, usize), Progress> {
    if facts.chunked {
        return unchunk(buffer, head, facts.expects_continue);
    }
    let total = head + facts.length;
    if facts.length > LONGEST_BODY {
        Err(Progress::Refused(BODY_TOO_LARGE))
    } else if buffer.len() < total {
        Err(Progress::Needs { total, expects_continue: facts.expects_continue })
    } else {
        Ok((Payload::Plain(head..total), total))
    }
}

fn unchunk(
    buffer: &[u8],
    head: usize,
    expects_continue: bool,
) -> Result<(Payload, usize), Progress> {
    let needs = |total| Progress::Needs { total, expects_continue };
    let mut body = Vec::new();
    let mut at = head;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&buffer[at..]) {
            Ok(Status::Complete((line, size))) => (line, size),
            Ok(Status::Partial) => return Err(needs(buffer.len() + 1)),
            Err(_) => return Err(Progress::Refused(BAD_REQUEST)),
        };
        if body.len() as u64 + size > LONGEST_BODY as u64 {
            return Err(Progress::Refused(BODY_TOO_LARGE));
        }
        let start = at + line;
        // Trailers are not understood: the last chunk is followed by an empty line at once.
        let end = start + size as usize + 2;
        if buffer.len() < end {
            return Err(needs(end));
        }
        if &buffer[end - 2..end] != b"\r\n" {
            return Err(Progress::Refused(BAD_REQUEST));
        }
        if size == 0 {
            return Ok((Payload::Unchunked(body), end));
        }
        body.extend_from_slice(&buffer[start..end - 2]);
        at = end;
    }
}

/// What the headers say that matters here.
#[derive(Default)]
struct Facts<'a> {
    length: usize,
    chunked: bool,
    close: bool,
    expects_continue: bool,
    vendor: Option<Dialect>,
    key: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    fn of(headers: &[Header<'a>]) -> Option<Self> {
        let mut facts = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let says = |word: &str| header.value.eq_ignore_ascii_case(word.as_bytes());
            match header.name.len() {
                14 if is("content-length") => {
                    facts.length = std::str::from_utf8(header.value).ok()?.parse().ok()?;
                }
                17 if is("transfer-encoding") => facts.chunked = says("chunked"),
                10 if is("connection") => facts.close = says("close"),
                6 if is("expect") => facts.expects_continue = says("100-continue"),
                17 if is("anthropic-version") => {
                    facts.vendor = Some(Dialect::Anthropic);
                }
                13 if is("authorization") => facts.add_key(header.value),
                9 if is("x-api-key") => facts.add_key(header.value),
                7 if is("api-key") => facts.add_key(header.value),
                14 if is("x-goog-api-key") => {
                    facts.vendor = Some(Dialect::Gemini);
                    facts.add_key(header.value);
                }
                _ => (),
            }
        }
        Some(facts)
    }

    fn add_key(&mut self, value: &'a [u8]) {
        self.key.get_or_insert(value);
    }
}

/// Where `part`, which was cut from `buffer`, lies in it.
fn within(buffer: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - buffer.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str =
        "POST /v1/x?a=b HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";

    fn whole(buffer: &str) -> Received {
        match progress(buffer.as_bytes()) {
            Progress::Whole(received) => received,
            Progress::Needs { .. } | Progress::Refused(_) => panic!("{buffer} is not whole"),
        }
    }

    fn body_of(buffer: &str) -> String {
        let bytes = match whole(buffer).payload {
            Payload::Plain(range) => buffer.as_bytes()[range].to_vec(),
            Payload::Unchunked(bytes) => bytes,
        };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_is_found_with_its_parts() {
        let received = whole(PLAIN);
        assert_eq!(&PLAIN[received.method], "POST");
        assert_eq!(&PLAIN[received.target], "/v1/x?a=b");
        assert_eq!(&PLAIN[received.key.unwrap()], "Bearer k");
        assert!(received.manners.keep_alive && received.manners.chunks);
        assert_eq!(body_of(PLAIN), "hello");
        assert_eq!(body_of(CHUNKED), "hello");
    }

    #[test]
    fn old_and_parting_clients_are_known() {
        assert!(!whole("GET / HTTP/1.0\r\n\r\n").manners.chunks);
        assert!(!whole("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").manners.keep_alive);
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in ["\0\0\0", "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
            assert!(matches!(progress(nonsense.as_bytes()), Progress::Refused(_)), "{nonsense}");
        }
        let huge = "POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n";
        assert!(matches!(progress(huge.as_bytes()), Progress::Refused(BODY_TOO_LARGE)));
    }

    proptest! {
        #[test]
        fn part_of_a_request_needs_more(cut in 0usize..PLAIN.len(), chunked in 0..CHUNKED.len()) {
            for part in [&PLAIN[..cut], &CHUNKED[..chunked]] {
                let needs = matches!(progress(part.as_bytes()), Progress::Needs { total, .. } if total > part.len());
                prop_assert!(needs);
            }
        }
    }
}
