//! Everything a provider can do wrong, and when it shall.
//!
//! A fault has a spelling, which is the same after `sim-fault-` in a model's name (so that any
//! client can ask for it) and in the `fault` field of `POST /__control/faults` (so that any call
//! can meet it). `n` is a number and may be left out where a default is given:
//!
//! | spelling | what the client meets |
//! |---|---|
//! | `hang` | the request is read, and nothing ever comes |
//! | `stall-n` | the answer stops for ever after n events (2) |
//! | `reset-n`, `fin-n` | the connection is reset or closed after n bytes, head included (300) |
//! | `reset-event-n`, `fin-event-n` | the same after n events |
//! | `truncate-n`, `truncate-bytes-n` | a clean end of the response after n events (half) or body bytes |
//! | `no-done` | the stream ends cleanly without its last event |
//! | `error-event-n` | the vendor's error event after n events (2), and the end |
//! | `short-length` | fewer bytes than `content-length` says, then FIN |
//! | `both-lengths` | `content-length` and `transfer-encoding` at once |
//! | `bytes` | every byte of the body in a chunk and a write of its own |
//! | `crlf`, `comments`, `multi-line` | correct streams in unusual spelling |
//! | `close` | the connection is closed after a complete answer that did not say so |
//! | `extra-bytes` | 18 more bytes follow a complete answer |
//! | `early-hints` | a 103 comes before the answer |
//! | `<status>` | that status with the vendor's error body: `401`, `429`, `500`, `503`, `529`, … |
//! | `<status>-retry-n`, `<status>-retry-garbage` | the same with `retry-after` |
//! | `flap` | every other call fails with 503 |
//! | `leak-key` | a 401 that repeats the whole key in its message |
//! | `redirect`, `redirect-<status>` | a redirect (307) to `/redirected` + the path, on this server |
//! | `html`, `empty` | 200 with a page, or with nothing |
//! | `bad-json`, `bad-utf8` | 200 with a body, or an event, that is not what it should be |
//! | `no-choices` | 200 with well-formed JSON of another shape |
//! | `deep-n` | JSON nested n deep (100000) |
//! | `huge-line-n`, `huge-body-n` | one event or a JSON body of n MiB (16, 128) |
//! | `huge-header-n` | a response header of n KiB (256) |
//! | `gzip-bomb-n` | n MiB (256) in a small gzip body nobody asked for |
//! | `no-usage`, `usage-mid`, `usage-every` | usage missing; in the middle only; in every event |
//! | `usage-zero`, `usage-huge` | usage that lies |
//! | `over-cap` | more output than was allowed, and says so |
//! | `filtered` | stopped by the vendor's content filter |

use std::{
    str::FromStr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// One way to misbehave; the module's table says what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Hang,
    Stall { events: usize },
    Reset(Point),
    Fin(Point),
    Truncate(Option<Point>),
    NoDone,
    ErrorEvent { events: usize },
    ShortLength,
    BothLengths,
    Bytes,
    Crlf,
    Comments,
    MultiLine,
    Close,
    ExtraBytes,
    EarlyHints,
    Status { status: u16, retry_after: Option<RetryAfter> },
    Flap,
    LeakKey,
    Redirect { status: u16 },
    Html,
    Empty,
    BadJson,
    BadUtf8,
    NoChoices,
    Deep { levels: usize },
    HugeLine { mebibytes: u64 },
    HugeBody { mebibytes: u64 },
    HugeHeader { kibibytes: usize },
    GzipBomb { mebibytes: u64 },
    NoUsage,
    UsageMid,
    UsageEvery,
    UsageZero,
    UsageHuge,
    OverCap,
    Filtered,
}

/// A place in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Byte(usize),
    Event(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    Seconds(u64),
    Garbage,
}

/// No fault is spelled like this.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownFault;

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        if let Some(status) = text.get(..3).and_then(|it| it.parse().ok()) {
            return status_fault(status, &text[3..]);
        }
        let (name, number) = match text.rsplit_once('-') {
            Some((name, number)) if number.bytes().all(|it| it.is_ascii_digit()) => {
                (name, Some(number.parse::<usize>().map_err(|_| UnknownFault)?))
            }
            Some(_) | None => (text, None),
        };
        let or = |default: usize| number.unwrap_or(default);
        Ok(match name {
            "stall" => Self::Stall { events: or(2) },
            "reset" => Self::Reset(Point::Byte(or(300))),
            "reset-event" => Self::Reset(Point::Event(or(2))),
            "fin" => Self::Fin(Point::Byte(or(300))),
            "fin-event" => Self::Fin(Point::Event(or(2))),
            "truncate" => Self::Truncate(number.map(Point::Event)),
            "truncate-bytes" => Self::Truncate(Some(Point::Byte(or(100)))),
            "error-event" => Self::ErrorEvent { events: or(2) },
            "redirect" => {
                Self::Redirect { status: u16::try_from(or(307)).map_err(|_| UnknownFault)? }
            }
            "deep" => Self::Deep { levels: or(100_000) },
            "huge-line" => Self::HugeLine { mebibytes: or(16) as u64 },
            "huge-body" => Self::HugeBody { mebibytes: or(128) as u64 },
            "huge-header" => Self::HugeHeader { kibibytes: or(256) },
            "gzip-bomb" => Self::GzipBomb { mebibytes: or(256) as u64 },
            _ if number.is_some() => return Err(UnknownFault),
            "hang" => Self::Hang,
            "no-done" => Self::NoDone,
            "short-length" => Self::ShortLength,
            "both-lengths" => Self::BothLengths,
            "bytes" => Self::Bytes,
            "crlf" => Self::Crlf,
            "comments" => Self::Comments,
            "multi-line" => Self::MultiLine,
            "close" => Self::Close,
            "extra-bytes" => Self::ExtraBytes,
            "early-hints" => Self::EarlyHints,
            "flap" => Self::Flap,
            "leak-key" => Self::LeakKey,
            "html" => Self::Html,
            "empty" => Self::Empty,
            "bad-json" => Self::BadJson,
            "bad-utf8" => Self::BadUtf8,
            "no-choices" => Self::NoChoices,
            "no-usage" => Self::NoUsage,
            "usage-mid" => Self::UsageMid,
            "usage-every" => Self::UsageEvery,
            "usage-zero" => Self::UsageZero,
            "usage-huge" => Self::UsageHuge,
            "over-cap" => Self::OverCap,
            "filtered" => Self::Filtered,
            _ => return Err(UnknownFault),
        })
    }
}

fn status_fault(status: u16, rest: &str) -> Result<Fault, UnknownFault> {
    if !(400..600).contains(&status) {
        return Err(UnknownFault);
    }
    let retry_after = match rest.strip_prefix("-retry-") {
        Some("garbage") => Some(RetryAfter::Garbage),
        Some(seconds) => Some(RetryAfter::Seconds(seconds.parse().map_err(|_| UnknownFault)?)),
        None if rest.is_empty() => None,
        None => return Err(UnknownFault),
    };
    Ok(Fault::Status { status, retry_after })
}

/// How an otherwise correct reply deviates.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    pub usage: UsageManner,
    pub over_cap: bool,
    pub filtered: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum UsageManner {
    #[default]
    AsAsked,
    Missing,
    /// Once in the middle of a stream, not at its end.
    Middle,
    /// In every event, of what was sent so far.
    Every,
    Zero,
    Huge,
}

impl Manner {
    pub(super) fn of(fault: Option<Fault>) -> Self {
        let usage = |usage| Self { usage, ..Self::default() };
        match fault {
            Some(Fault::NoUsage) => usage(UsageManner::Missing),
            Some(Fault::UsageMid) => usage(UsageManner::Middle),
            Some(Fault::UsageEvery) => usage(UsageManner::Every),
            Some(Fault::UsageZero) => usage(UsageManner::Zero),
            Some(Fault::UsageHuge) => usage(UsageManner::Huge),
            Some(Fault::OverCap) => Self { over_cap: true, ..Self::default() },
            Some(Fault::Filtered) => Self { filtered: true, ..Self::default() },
            Some(_) | None => Self::default(),
        }
    }
}

/// Which calls shall meet a fault: those that fit every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// How many calls; all until it is cleared, if not given.
    pub next: Option<u64>,
    pub model: Option<String>,
    /// A part of the path.
    pub path: Option<String>,
    /// A part of the key that the call was made with.
    pub key: Option<String>,
}

/// The faults set while running, before those that models' names ask for.
#[derive(Default)]
pub(super) struct Faults {
    any: AtomicBool,
    armed: Mutex<Vec<(Scope, Fault)>>,
    flaps: AtomicU64,
    changes: AtomicU64,
}

impl Faults {
    pub(super) fn arm(&self, fault: Fault, scope: Scope) {
        let mut armed = self.armed();
        armed.push((scope, fault));
        self.any.store(true, Ordering::Release);
        self.change();
    }

    pub(super) fn disarm(&self) {
        self.armed().clear();
        self.any.store(false, Ordering::Release);
        self.change();
    }

    /// Grows whenever the same call may meet something else than before.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What a call shall meet. Asking uses up one of the `next`.
    pub(super) fn meet(&self, model: Option<&str>, path: &str, key: Option<&str>) -> Option<Fault> {
        let fault = self.take(model, path, key).or_else(|| by_name(model?))?;
        if fault != Fault::Flap {
            return Some(fault);
        }
        self.change();
        let fails = self.flaps.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        fails.then_some(Fault::Status { status: 503, retry_after: None })
    }

    fn take(&self, model: Option<&str>, path: &str, key: Option<&str>) -> Option<Fault> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut armed = self.armed();
        let place = armed.iter().position(|(scope, _)| scope.covers(model, path, key))?;
        let (scope, fault) = &mut armed[place];
        let fault = *fault;
        if let Some(next) = &mut scope.next {
            self.change();
            *next = next.saturating_sub(1);
            if *next == 0 {
                armed.remove(place);
                self.any.store(!armed.is_empty(), Ordering::Release);
            }
        }
        Some(fault)
    }

    fn armed(&self) -> MutexGuard<'_, Vec<(Scope, Fault)>> {
        self.armed.lock().expect("no holder of this lock panics")
    }
}

impl Scope {
    fn covers(&self, model: Option<&str>, path: &str, key: Option<&str>) -> bool {
        self.next != Some(0)
            && self.model.as_deref().is_none_or(|it| model == Some(it))
            && self.path.as_deref().is_none_or(|it| path.contains(it))
            && self.key.as_deref().is_none_or(|it| key.is_some_and(|key| key.contains(it)))
    }
}

fn by_name(model: &str) -> Option<Fault> {
    let (_, fault) = model.split_once("sim-fault-")?;
    fault.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spelling: &str, fault: Result<Fault, UnknownFault>) {
        assert_eq!(spelling.parse(), fault, "{spelling}");
    }

    #[test]
    fn every_spelling_of_the_table_is_understood() {
        let table = include_str!("faults.rs").lines().filter(|it| it.starts_with("//! | `"));
        let first_cell = |line: &'static str| line.split('|').nth(1).unwrap_or_default();
        let spellings = table.flat_map(|it| first_cell(it).split('`').skip(1).step_by(2));
        let mut seen = 0;
        for spelling in spellings {
            let spelling = spelling.replace("<status>", "503");
            let with_number = match spelling.strip_suffix("-n") {
                Some(name) => format!("{name}-7"),
                None => spelling,
            };
            assert!(with_number.parse::<Fault>().is_ok(), "{with_number}");
            seen += 1;
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn numbers_and_defaults() {
        check("stall", Ok(Fault::Stall { events: 2 }));
        check("stall-0", Ok(Fault::Stall { events: 0 }));
        check("reset-17", Ok(Fault::Reset(Point::Byte(17))));
        check("fin-event-3", Ok(Fault::Fin(Point::Event(3))));
        check("429", Ok(Fault::Status { status: 429, retry_after: None }));
        let retry_after = Some(RetryAfter::Seconds(86_400));
        check("429-retry-86400", Ok(Fault::Status { status: 429, retry_after }));
        for nonsense in
            ["", "200", "429-", "429-retry-", "hang-3", "what", "-", "stall-999999999999999999999"]
        {
            check(nonsense, Err(UnknownFault));
        }
    }

    #[test]
    fn a_fault_meets_the_calls_in_its_scope_and_no_others() {
        let faults = Faults::default();
        faults.arm(
            Fault::Hang,
            Scope {
                next: Some(2),
                model: Some("a".into()),
                path: Some("/v1/".into()),
                key: Some("k".into()),
            },
        );
        let meets = |model, path, key| faults.meet(model, path, key);
        assert_eq!(meets(Some("b"), "/v1/chat", Some("key")), None);
        assert_eq!(meets(Some("a"), "/v2/chat", Some("key")), None);
        assert_eq!(meets(Some("a"), "/v1/chat", Some("other")), None);
        assert_eq!(meets(None, "/v1/chat", None), None);
        assert_eq!(meets(Some("a"), "/v1/chat", Some("key")), Some(Fault::Hang));
        assert_eq!(meets(Some("a"), "/v1/chat", Some("key")), Some(Fault::Hang));
        assert_eq!(meets(Some("a"), "/v1/chat", Some("key")), None);
    }

    #[test]
    fn flapping_fails_every_other_call() {
        let faults = Faults::default();
        let meets = || faults.meet(Some("acme/sim-fault-flap"), "/", None).is_some();
        assert_eq!([meets(), meets(), meets(), meets()], [true, false, true, false]);
    }
}
