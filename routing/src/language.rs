//! Which language a text is in: by its script where that settles it, and otherwise by a head of
//! its character trigrams and words, over the languages of that script that we know. Of a
//! language that we do not know the likest is named.

use crate::words::{Piece, boundary, finish, pieces};

/// In the order in which they are kept in files. The head tells the first `HEADED` apart, which
/// stand together by script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Language(u8);

pub const HEADED: usize = 32;
/// Power of two: of trigrams and words by their hash.
pub const BUCKETS: usize = 1 << 13;

const CODES: [&str; 45] = [
    // Latin.
    "en", "es", "fr", "de", "pt", "it", "nl", "pl", "tr", "vi", "id", "sv", "da", "nb", "cs", "ro",
    "fi", "hu", "ca", "hr", "sk", "tl", "sw", // Cyrillic, Arabic, Devanagari.
    "ru", "uk", "bg", "sr", "ar", "fa", "ur", "hi", "mr", // By their script alone.
    "zh", "ja", "ko", "th", "el", "he", "bn", "ta", "te", "gu", "pa", "hy", "ka",
];

const LATIN: (u8, u8) = (0, 23);
const CYRILLIC: (u8, u8) = (23, 27);
const ARABIC: (u8, u8) = (27, 30);
const DEVANAGARI: (u8, u8) = (30, 32);

/// How much likelier English is than another language before anything is looked at, as a logarithm
/// in the head's sixteenths: a word that is common in two is English.
const ENGLISH_FIRST: i32 = 40;

/// So many bytes are looked at.
const LOOKED_AT: usize = 240;

impl Language {
    pub const ENGLISH: Self = Self(0);

    pub fn code(self) -> &'static str {
        CODES.get(usize::from(self.0)).copied().unwrap_or("en")
    }

    pub fn from_code(code: &str) -> Option<Self> {
        let at = CODES.iter().position(|it| *it == code)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Where it stands among those that we know.
    pub const fn place(self) -> u8 {
        self.0
    }

    pub fn at(place: u8) -> Option<Self> {
        (usize::from(place) < CODES.len()).then_some(Self(place))
    }

    /// Its lane in the head, if that knows it.
    pub fn lane(self) -> Option<usize> {
        Some(usize::from(self.0)).filter(|it| *it < HEADED)
    }
}

/// Logarithms of how much likelier something is in each language, `BUCKETS` rows of `HEADED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageHead(Vec<i8>);

impl LanguageHead {
    pub fn new(rows: Vec<i8>) -> Option<Self> {
        (rows.len() == BUCKETS * HEADED).then_some(Self(rows))
    }

    #[cfg(any(test, feature = "train"))]
    pub fn rows(&self) -> &[i8] {
        &self.0
    }

    pub fn detect(&self, text: &str) -> Language {
        let text = beginning(text);
        let (from, until) = match script(text) {
            Script::Alone(language) => return language,
            Script::Latin => LATIN,
            Script::Cyrillic => CYRILLIC,
            Script::Arabic => ARABIC,
            Script::Devanagari => DEVANAGARI,
        };
        let mut sums = [0_i32; HEADED];
        marks(text, |bucket| {
            if let Some(row) = self.0.get(bucket * HEADED..(bucket + 1) * HEADED) {
                for (sum, &it) in sums.iter_mut().zip(row) {
                    *sum += i32::from(it);
                }
            }
        });
        if let Some(english) = sums.first_mut() {
            *english += ENGLISH_FIRST;
        }
        let mut best = from;
        for at in from..until {
            let sum = |at: u8| sums.get(usize::from(at)).copied().unwrap_or(i32::MIN);
            if sum(at) > sum(best) {
                best = at;
            }
        }
        Language(best)
    }
}

fn beginning(text: &str) -> &str {
    text.get(..boundary(text, LOOKED_AT)).unwrap_or(text)
}

/// What the head goes by, as buckets: of each word its trigrams with its edges, and twice the
/// word itself.
pub fn marks(text: &str, mut take: impl FnMut(usize)) {
    let bucket = |hash: u64| usize::try_from(hash >> 51).unwrap_or(0) & (BUCKETS - 1);
    let text = beginning(text);
    let (mut first, mut second) = (u64::from(b' '), u64::from(b' '));
    let mut step = |letter: u64| {
        if first != u64::from(b' ') || second != u64::from(b' ') {
            take(bucket(finish(
                first.wrapping_mul(0x9e37_79b1)
                    ^ second.wrapping_mul(0x85eb_ca77_0000)
                    ^ (letter << 40)
                    ^ letter,
            )));
        }
        (first, second) = (second, letter);
    };
    for it in text.chars() {
        if it.is_ascii_alphabetic() {
            step(u64::from(it.to_ascii_lowercase() as u32));
        } else if it.is_alphanumeric() && !it.is_ascii() || matches!(it, '\u{0900}'..='\u{0d7f}') {
            step(u64::from(it.to_lowercase().next().unwrap_or(it) as u32));
        } else {
            step(u64::from(b' '));
        }
    }
    step(u64::from(b' '));
    pieces(text, |it| {
        if let Piece::Word { hash, .. } = it {
            take(bucket(finish(hash ^ 0x51)));
            take(bucket(finish(hash ^ 0x52)));
        }
    });
}

enum Script {
    Latin,
    Cyrillic,
    Arabic,
    Devanagari,
    Alone(Language),
}

/// The script of most letters. Of what mixes Chinese characters with kana a little says Japanese.
fn script(text: &str) -> Script {
    const ALONE: [(char, char, usize); 11] = [
        ('\u{ac00}', '\u{d7af}', 34),
        ('\u{0e00}', '\u{0e7f}', 35),
        ('\u{0370}', '\u{03ff}', 36),
        ('\u{0590}', '\u{05ff}', 37),
        ('\u{0980}', '\u{09ff}', 38),
        ('\u{0b80}', '\u{0bff}', 39),
        ('\u{0c00}', '\u{0c7f}', 40),
        ('\u{0a80}', '\u{0aff}', 41),
        ('\u{0a00}', '\u{0a7f}', 42),
        ('\u{0530}', '\u{058f}', 43),
        ('\u{10a0}', '\u{10ff}', 44),
    ];
    let (mut latin, mut cyrillic, mut arabic, mut devanagari) = (0_u32, 0_u32, 0_u32, 0_u32);
    let (mut han, mut kana, mut alone) = (0_u32, 0_u32, [0_u32; ALONE.len()]);
    for it in text.chars() {
        match it {
            'a'..='z' | 'A'..='Z' | '\u{00c0}'..='\u{024f}' | '\u{1e00}'..='\u{1eff}' => latin += 1,
            '\0'..='\u{00bf}' => (),
            '\u{0400}'..='\u{052f}' => cyrillic += 1,
            '\u{0600}'..='\u{06ff}' | '\u{fb50}'..='\u{fdff}' => arabic += 1,
            '\u{0900}'..='\u{097f}' => devanagari += 1,
            '\u{3040}'..='\u{30ff}' => kana += 1,
            '\u{3400}'..='\u{9fff}' => han += 1,
            other => {
                let found = ALONE.iter().position(|(from, to, _)| (*from..=*to).contains(&other));
                if let Some(count) = found.and_then(|at| alone.get_mut(at)) {
                    *count += 1;
                }
            }
        }
    }
    // A character of these says as much as some letters.
    let asian = (han + kana) * 3;
    let language = |at: usize| Script::Alone(Language(u8::try_from(at).unwrap_or(0)));
    let (mut most, mut is) = (latin, Script::Latin);
    for (count, script) in [
        (cyrillic, Script::Cyrillic),
        (arabic, Script::Arabic),
        (devanagari, Script::Devanagari),
        (asian, language(if kana * 8 > han { 33 } else { 32 })),
    ] {
        if count > most {
            (most, is) = (count, script);
        }
    }
    for (&count, (_, _, at)) in alone.iter().zip(ALONE) {
        if count * 2 > most && count > 0 {
            (most, is) = (count * 2, language(at));
        }
    }
    is
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_script_of_its_own_settles_it() {
        let head = LanguageHead::new(vec![0; BUCKETS * HEADED]).unwrap();
        for (text, code) in [
            ("これは日本語の文です。", "ja"),
            ("这是中文。", "zh"),
            ("안녕하세요", "ko"),
            ("สวัสดีครับ", "th"),
            ("Καλημέρα κόσμε", "el"),
            ("שלום עולם", "he"),
            ("ওহে বিশ্ব", "bn"),
            ("Բարեւ", "hy"),
        ] {
            assert_eq!(head.detect(text).code(), code, "{text}");
        }
        assert_eq!(head.detect(""), Language::ENGLISH);
    }

    #[test]
    fn codes_lead_back() {
        for code in CODES {
            assert_eq!(Language::from_code(code).unwrap().code(), code);
        }
        assert!(LanguageHead::new(vec![0; 3]).is_none());
    }

    proptest! {
        #[test]
        fn any_text_has_a_language(text in "\\PC{0,600}") {
            let head = LanguageHead::new(vec![1; BUCKETS * HEADED]).unwrap();
            head.detect(&text);
        }
    }
}
