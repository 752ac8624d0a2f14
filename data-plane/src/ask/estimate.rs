//! How many tokens a text will be, roughly and quickly.
//!
//! Good enough to count against a limit before the provider has counted; never what
//! anybody pays.

/// What an image or another file counts for that is sent within the body.
const PER_FILE: u64 = 1_000;

const FILE_MARK: &[u8] = b";base64,";

/// Counts words by their length, as tokenizers cut long ones; digits by three; signs by
/// two; and what is not ASCII by two bytes, which fits most scripts.
pub fn tokens(text: &[u8]) -> u64 {
    let mut rest = text;
    let mut tokens = 0;
    while let Some(found) = memchr::memmem::find(rest, FILE_MARK) {
        let (before, file) = rest.split_at(found + FILE_MARK.len());
        tokens += words(before) + PER_FILE;
        let end = memchr::memchr(b'"', file).unwrap_or(file.len());
        rest = file.get(end..).unwrap_or_default();
    }
    tokens + words(rest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Space,
    Sign,
    Other,
}

impl Class {
    const ALL: [Self; 5] = [Self::Letter, Self::Digit, Self::Space, Self::Sign, Self::Other];

    const fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Self::Letter,
            b'0'..=b'9' => Self::Digit,
            b' ' | b'\t' | b'\n' | b'\r' => Self::Space,
            0..=0x7F => Self::Sign,
            0x80.. => Self::Other,
        }
    }

    /// How many bytes of its kind go into a token. 0 for spaces, which make none: one goes with
    /// the word that follows.
    const fn bytes_per_token(self) -> usize {
        match self {
            Self::Letter => ROOM,
            Self::Digit => 3,
            Self::Space => 0,
            Self::Sign | Self::Other => 2,
        }
    }
}

/// How many classes there is room for, and how long a token gets at most.
const ROOM: usize = 8;
/// Where one is in a text: in a run of which class, and behind how much of a token. What comes
/// of each class is looked up, since a text may be long.
const STEPS: [u16; ROOM * ROOM * ROOM] = steps();
static CLASSES: [u8; 256] = classes();
/// In a step with which a token begins.
const BEGINS: u16 = 1 << 15;
/// How many stretches of a text are read at once: each byte waits for the one before it.
const AT_ONCE: usize = 4;

const fn classes() -> [u8; 256] {
    let (mut classes, mut byte) = ([0; 256], 0);
    while byte < 256 {
        classes[byte] = Class::of(byte as u8) as u8;
        byte += 1;
    }
    classes
}

const fn steps() -> [u16; ROOM * ROOM * ROOM] {
    let mut steps = [0; ROOM * ROOM * ROOM];
    let mut at = 0;
    while at < steps.len() {
        let (class, behind, next) = (at / ROOM / ROOM, at / ROOM % ROOM, at % ROOM);
        if next < Class::ALL.len() {
            let most = Class::ALL[next].bytes_per_token();
            let goes_on = class == next && behind + 1 < most;
            let place = next * ROOM + if goes_on { behind + 1 } else { 0 };
            let begins = if goes_on || most == 0 { 0 } else { BEGINS };
            steps[at] = (place * ROOM) as u16 | begins;
        }
        at += 1;
    }
    steps
}

/// The tokens of one stretch.
#[derive(Clone, Copy)]
struct Count {
    step: u16,
    tokens: u64,
}

impl Count {
    const BEGINNING: Self = Self { step: (Class::Space as usize * ROOM * ROOM) as u16, tokens: 0 };

    fn take(&mut self, byte: u8) {
        let place = usize::from(self.step & !BEGINS) | usize::from(CLASSES[usize::from(byte)]);
        self.step = STEPS[place % STEPS.len()];
        self.tokens += u64::from(self.step >> 15);
    }
}

fn words(text: &[u8]) -> u64 {
    let stretches = stretches(text);
    let together = stretches.iter().map(|it| it.len()).min().unwrap_or(0);
    let [(one, one_rest), (two, two_rest), (three, three_rest), (four, four_rest)] =
        stretches.map(|it| it.split_at(together));
    let mut counts = [Count::BEGINNING; AT_ONCE];
    for (((one, two), three), four) in one.iter().zip(two).zip(three).zip(four) {
        let [first, second, third, fourth] = &mut counts;
        first.take(*one);
        second.take(*two);
        third.take(*three);
        fourth.take(*four);
    }
    for (count, rest) in counts.iter_mut().zip([one_rest, two_rest, three_rest, four_rest]) {
        rest.iter().for_each(|it| count.take(*it));
    }
    counts.iter().map(|it| it.tokens).sum()
}

/// A text in stretches, about as long as each other, none of which ends within a run.
fn stretches(text: &[u8]) -> [&[u8]; AT_ONCE] {
    let (mut rest, usual) = (text, text.len() / AT_ONCE);
    let mut stretches = [&text[..0]; AT_ONCE];
    let (last, others) = stretches.split_last_mut().expect("there are some");
    for stretch in others {
        let class = |at: usize| rest.get(at).map(|it| Class::of(*it));
        let mut end = usual.min(rest.len());
        while end > 0 && end < rest.len() && class(end - 1) == class(end) {
            end += 1;
        }
        (*stretch, rest) = rest.split_at(end);
    }
    *last = rest;
    stretches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: u64) {
        assert_eq!(tokens(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn words_digits_signs_and_other_scripts() {
        check("", 0);
        check("Tell me a joke", 4);
        check("internationalization", 3);
        check("2026", 2);
        check("{\"a\":1}", 5);
        check("你好", 3);
    }

    proptest! {
        /// However a text is cut to be read: as if each run of bytes of one class were counted.
        #[test]
        fn a_text_counts_as_its_runs_do(text in "[a-z]{0,20}|([a-z0-9 .é\"]{0,4}|[a-z]{0,20}){0,40}") {
            let runs = text.as_bytes().chunk_by(|one, next| Class::of(*one) == Class::of(*next));
            let tokens = |run: &[u8]| run.len().div_ceil(Class::of(run[0]).bytes_per_token()) as u64;
            let words = runs.filter(|it| Class::of(it[0]) != Class::Space);
            prop_assert_eq!(super::words(text.as_bytes()), words.map(tokens).sum::<u64>());
        }
    }

    #[test]
    fn a_file_counts_as_one_whatever_its_size() {
        let file = format!("\"data:image/png;base64,{}\" see", "iVBORw0KGgo".repeat(10_000));
        check(&file, tokens(b"\"data:image/png;base64,\" see"));
    }
}
