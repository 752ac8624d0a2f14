//! What is looked at of a prompt: the user's last turn and nothing around it. A system prompt,
//! tools and what was said before say who asks, not how hard the question is; they make a model
//! eligible or not, and change no estimate.

use crate::{
    language::{Language, LanguageHead},
    task::{Cue, TASKS, cues},
    words::{Piece, pair, pieces, window},
};

/// Hashed words and pairs of words.
pub const HASHED: usize = 1 << 16;
const COUNTED: usize = 38;
/// Where among the numbers the words' logarithm is.
const LENGTH: usize = 2;
/// What is counted, then the cues for each task near the beginning, then anywhere.
pub const NUMERIC: usize = COUNTED + 2 * TASKS;

/// A user's last turn. Everything else about a call is left out on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn<'a> {
    pub text: &'a str,
    pub images: u32,
    /// Whether an answer is asked for that follows a schema, or is JSON.
    pub wants_json: bool,
}

/// Says no word of the prompt: may be kept with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Each once, in the order of their first appearance.
    pub grams: Vec<u16>,
    /// Around 0 to 1 each.
    pub numbers: [f32; NUMERIC],
    pub language: Language,
    pub words: u32,
}

impl Features {
    /// The logarithm of how many words, around 0 to 1.
    pub(crate) const fn length(&self) -> f32 {
        self.numbers[LENGTH]
    }

    /// Of no words.
    pub fn blank(language: Language) -> Self {
        Self { grams: Vec::new(), numbers: [0.0; NUMERIC], language, words: 0 }
    }
}

/// What is needed to look: made once, then shared.
#[derive(Clone)]
pub struct Extractor {
    cues: Vec<Cue>,
    /// Where the cues of each first byte begin, so that few are compared.
    begins: Vec<u16>,
    language: LanguageHead,
}

/// Cues among so many words count as said at the beginning.
const OPENING: u32 = 14;

impl std::fmt::Debug for Extractor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extractor").finish_non_exhaustive()
    }
}

impl Clone for Cue {
    fn clone(&self) -> Self {
        Self { hash: self.hash, task: self.task }
    }
}

impl Extractor {
    pub fn new(language: LanguageHead) -> Self {
        let cues = cues();
        let begins = (0..=256_u64)
            .map(|byte| cues.partition_point(|it| it.hash >> 56 < byte))
            .map(|at| u16::try_from(at).unwrap_or(u16::MAX))
            .collect();
        Self { cues, begins, language }
    }

    #[cfg(any(test, feature = "train"))]
    pub fn language(&self) -> &LanguageHead {
        &self.language
    }

    fn cue(&self, hash: u64) -> Option<&Cue> {
        let byte = usize::try_from(hash >> 56).unwrap_or(0);
        let from = usize::from(*self.begins.get(byte)?);
        let until = usize::from(*self.begins.get(byte + 1)?);
        self.cues.get(from..until)?.iter().find(|it| it.hash == hash)
    }

    pub fn look(&self, turn: &Turn<'_>) -> Features {
        let (head, tail) = window(turn.text);
        let mut look = Look::new(self, head.len() + tail.len());
        pieces(head, |it| look.take(it));
        if !tail.is_empty() {
            look.take(Piece::Line);
            pieces(tail, |it| look.take(it));
        }
        look.take(Piece::Line);
        let language = self.language.detect(head);
        let (words, numbers) = (look.words, look.numbers(turn, language));
        Features { grams: look.grams, numbers, language, words }
    }
}

struct Look<'a> {
    extractor: &'a Extractor,
    grams: Vec<u16>,
    seen: Box<[u64; HASHED / 64]>,
    before: Option<u64>,
    scanned: u32,
    words: u32,
    letters: u32,
    long_words: u32,
    capitals: u32,
    numbers: u32,
    digits: u32,
    decimals: u32,
    lines: u32,
    questions: u32,
    sentences: u32,
    ticks: u32,
    fences: u32,
    code: u32,
    math: u32,
    latex: u32,
    quotes: u32,
    money: u32,
    other: u32,
    blanks: u32,
    items: u32,
    depth: u32,
    options: u32,
    option_words: u32,
    opening: [u32; TASKS],
    anywhere: [u32; TASKS],
    line: Line,
    last: Piece,
}

/// What is known of the line so far.
#[derive(Default)]
struct Line {
    indent: u32,
    pieces: u32,
    /// It began with `A`, `3` or a dash, so that a dot or bracket may make it an item.
    lead: Lead,
    is_option: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Lead {
    #[default]
    None,
    Letter,
    Number,
    Bullet,
}

impl<'a> Look<'a> {
    fn new(extractor: &'a Extractor, scanned: usize) -> Self {
        Self {
            extractor,
            grams: Vec::with_capacity(scanned / 3),
            seen: Box::new([0; HASHED / 64]),
            before: None,
            scanned: u32::try_from(scanned).unwrap_or(u32::MAX),
            words: 0,
            letters: 0,
            long_words: 0,
            capitals: 0,
            numbers: 0,
            digits: 0,
            decimals: 0,
            lines: 0,
            questions: 0,
            sentences: 0,
            ticks: 0,
            fences: 0,
            code: 0,
            math: 0,
            latex: 0,
            quotes: 0,
            money: 0,
            other: 0,
            blanks: 0,
            items: 0,
            depth: 0,
            options: 0,
            option_words: 0,
            opening: [0; TASKS],
            anywhere: [0; TASKS],
            line: Line::default(),
            last: Piece::Line,
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Word { hash, length, is_capital } => {
                self.letters += length;
                self.long_words += u32::from(length >= 7);
                self.capitals += u32::from(is_capital);
                if self.line.pieces == 0 && length == 1 && is_capital {
                    self.line.lead = Lead::Letter;
                }
                self.option_words += u32::from(self.line.is_option);
                self.word(hash);
            }
            Piece::Number { hash, length } => {
                self.numbers += 1;
                self.digits += length;
                self.decimals +=
                    u32::from(self.last == Piece::Symbol(b'.') && self.line.pieces > 1);
                if self.line.pieces == 0 {
                    self.line.lead = Lead::Number;
                }
                self.word(hash);
            }
            Piece::Symbol(byte) => self.symbol(byte),
            Piece::OtherSymbol => self.other += 1,
            Piece::Space => {
                self.blanks += 1;
                self.line.indent += u32::from(self.line.pieces == 0);
            }
            Piece::Line => {
                self.lines += 1;
                self.line = Line::default();
            }
        }
        if !matches!(piece, Piece::Space | Piece::Line) {
            self.line.pieces += 1;
        }
        self.last = piece;
    }

    fn word(&mut self, hash: u64) {
        self.words += 1;
        self.gram(hash);
        if let Some(before) = self.before {
            self.gram(pair(before, hash));
        }
        self.before = Some(hash);
    }

    fn gram(&mut self, hash: u64) {
        let index = u16::try_from(hash >> 48).unwrap_or(0);
        let bit = 1_u64 << (index & 63);
        if let Some(seen) = self.seen.get_mut(usize::from(index >> 6))
            && *seen & bit == 0
        {
            *seen |= bit;
            self.grams.push(index);
        }
        if let Some(cue) = self.extractor.cue(hash) {
            let at = cue.task.index();
            let is_opening = self.words <= OPENING;
            for counts in [Some(&mut self.anywhere), is_opening.then_some(&mut self.opening)] {
                if let Some(count) = counts.and_then(|it| it.get_mut(at)) {
                    *count += 1;
                }
            }
        }
    }

    fn symbol(&mut self, byte: u8) {
        if byte != b'\'' && byte != b'-' {
            // What a mark parts is no pair, but for what joins.
            self.before = self.before.filter(|_| !matches!(byte, b'.' | b'?' | b'!' | b';'));
        }
        match byte {
            b'?' => {
                self.questions += 1;
                self.sentences += 1;
            }
            b'.' | b'!' => self.sentences += 1,
            b'`' => {
                self.ticks += 1;
                if self.last == Piece::Symbol(b'`') {
                    self.fences += 1;
                }
            }
            b'{' | b'}' | b';' | b'[' | b']' | b'_' | b'#' | b'|' | b'&' => self.code += 1,
            b'=' | b'+' | b'*' | b'/' | b'^' | b'<' | b'>' => self.math += 1,
            b'\\' => self.latex += 1,
            b'$' => {
                self.latex += 1;
                self.money += 1;
            }
            b'%' => self.money += 1,
            b'"' => self.quotes += 1,
            _ => (),
        }
        let is_item = match self.line.pieces {
            0 if matches!(byte, b'-' | b'*') => {
                self.line.lead = Lead::Bullet;
                true
            }
            1 if matches!(byte, b'.' | b')' | b':') => {
                self.line.is_option = self.line.lead == Lead::Letter;
                self.options += u32::from(self.line.is_option);
                matches!(self.line.lead, Lead::Letter | Lead::Number)
            }
            _ => false,
        };
        if is_item {
            self.items += 1;
            self.depth = self.depth.max(1 + (self.line.indent / 2).min(7));
        }
    }

    fn numbers(&self, turn: &Turn<'_>, language: Language) -> [f32; NUMERIC] {
        let log = |it: u32, by: f32| (1.0 + small(it)).ln() / by;
        let share = |it: u32, of: u32, times: f32| (small(it) * times / small(of.max(1))).min(2.0);
        let flag = |it: bool| f32::from(u8::from(it));
        let all = u32::try_from(turn.text.len()).unwrap_or(u32::MAX);
        let distinct = u32::try_from(self.grams.len()).unwrap_or(u32::MAX);
        let counted: [f32; COUNTED] = [
            1.0,
            log(all, 8.0),
            log(self.words, 6.0),
            share(self.letters, self.words.saturating_sub(self.numbers), 0.15),
            share(self.long_words, self.words, 2.0),
            share(self.capitals, self.words, 2.0),
            share(self.digits, self.scanned, 6.0),
            log(self.numbers, 3.0),
            share(self.digits, self.numbers, 0.3),
            log(self.decimals, 2.0),
            log(self.lines, 3.0),
            log(self.questions, 1.0),
            log(self.sentences, 3.0),
            share(self.words, self.sentences, 0.04),
            flag(self.fences > 0),
            log(self.ticks, 3.0),
            share(self.code, self.scanned, 15.0),
            log(self.code, 4.0),
            share(self.math, self.scanned, 15.0),
            log(self.math, 3.0),
            log(self.latex, 3.0),
            log(self.quotes, 3.0),
            log(self.money, 2.0),
            log(self.items, 2.5),
            small(self.depth) / 4.0,
            flag(self.options >= 3),
            small(self.options.min(12)) / 8.0,
            share(self.option_words, self.options, 0.08),
            share(self.option_words, self.words, 1.0),
            share(distinct, self.words, 0.6),
            share(self.other, self.scanned, 10.0),
            share(self.blanks, self.scanned, 2.0),
            flag(language != Language::ENGLISH),
            flag(all < 80),
            flag(all > 2_000),
            log(turn.images, 1.0),
            flag(turn.wants_json),
            flag(self.questions == 0),
        ];
        let mut numbers = [0.0; NUMERIC];
        let voted = |counts: &[u32; TASKS]| counts.map(|it| log(it, 1.0));
        let votes = [voted(&self.opening), voted(&self.anywhere)];
        let all = counted.into_iter().chain(votes.into_iter().flatten());
        numbers.iter_mut().zip(all).for_each(|(to, it)| *to = it);
        numbers
    }
}

/// Exact up to 16 million, which is more than is ever looked at.
/// Counts are small; this is no money.
const fn small(it: u32) -> f32 {
    it as f32
}

#[cfg(test)]
mod tests;
