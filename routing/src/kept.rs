//! Features as they are kept beside what came of a prompt, and as they travel: some hundred bytes.
//!
//! Words and pairs of words are kept as the ascending gaps between their hashes, which hold no
//! order, for none matters to any score; numbers as they are. Of a prompt of more words and pairs
//! than [`MOST_GRAMS`] the first are kept. Bytes that are none of this are refused.

use crate::{
    features::{Features, NUMERIC},
    language::Language,
};

/// So many words and pairs of words are kept.
pub const MOST_GRAMS: usize = 512;
/// What features come to at most: a head, two bytes for a gap (a third for three of them), a
/// number for each that is counted.
pub const MOST_BYTES: usize = 8 + 2 * MOST_GRAMS + 3 + 8 + 4 * NUMERIC;

const VERSION: u8 = 1;
/// What is counted is the logarithm of a count at most.
const MOST: f32 = 64.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no features of a prompt, or of another version")]
pub struct NotFeatures;

impl Features {
    pub fn encode(&self) -> Vec<u8> {
        let mut grams = self.grams.clone();
        grams.truncate(MOST_GRAMS);
        grams.sort_unstable();
        grams.dedup();
        let mut bytes = Vec::with_capacity(32 + 2 * grams.len() + 4 * NUMERIC);
        bytes.extend([VERSION, self.language.place()]);
        bytes.extend(self.words.to_le_bytes());
        bytes.extend(u16::try_from(grams.len()).unwrap_or(u16::MAX).to_le_bytes());
        put_ascending(&mut bytes, grams.into_iter());
        let is_said = |it: &f32| it.to_bits() != 0;
        let said = self.numbers.iter().enumerate().filter(|(_, it)| is_said(it));
        let mask = said.fold(0_u64, |mask, (at, _)| mask | 1 << at);
        bytes.extend(mask.to_le_bytes());
        bytes.extend(self.numbers.iter().filter(|it| is_said(it)).flat_map(|it| it.to_le_bytes()));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotFeatures> {
        let mut left = Left(bytes);
        let features = Self::read(&mut left).ok_or(NotFeatures)?;
        if left.0.is_empty() { Ok(features) } else { Err(NotFeatures) }
    }

    fn read(left: &mut Left<'_>) -> Option<Self> {
        let [version, language] = left.take()?;
        if version != VERSION {
            return None;
        }
        let language = Language::at(language)?;
        let words = u32::from_le_bytes(left.take()?);
        let count = usize::from(u16::from_le_bytes(left.take()?));
        if count > MOST_GRAMS {
            return None;
        }
        let grams = left.ascending(count)?;
        let mask = u64::from_le_bytes(left.take()?);
        let mut numbers = [0.0; NUMERIC];
        if mask >> NUMERIC != 0 {
            return None;
        }
        for (at, number) in numbers.iter_mut().enumerate() {
            if mask >> at & 1 == 1 {
                *number = left.number(MOST)?;
            }
        }
        Some(Self { grams, numbers, language, words })
    }
}

/// Each as how much it is more than the one before it: seven bits a byte, the least first.
pub fn put_ascending(to: &mut Vec<u8>, all: impl Iterator<Item = u16>) {
    let mut next = 0_u32;
    for it in all {
        put_gap(to, u32::from(it).saturating_sub(next));
        next = u32::from(it) + 1;
    }
}

fn put_gap(to: &mut Vec<u8>, mut gap: u32) {
    while gap > 0x7f {
        to.push(gap.to_le_bytes()[0] | 0x80);
        gap >>= 7;
    }
    to.push(gap.to_le_bytes()[0]);
}

/// What is not read yet.
pub struct Left<'a>(pub &'a [u8]);

impl<'a> Left<'a> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn bytes(&mut self, many: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(many)?;
        self.0 = rest;
        Some(taken)
    }

    /// No further from nothing than `most`.
    pub fn number(&mut self, most: f32) -> Option<f32> {
        Some(f32::from_le_bytes(self.take()?)).filter(|it| it.abs() <= most)
    }

    pub fn ascending(&mut self, many: usize) -> Option<Vec<u16>> {
        // A byte each at least: who announces more than there is gets no room for it.
        let mut all = Vec::with_capacity(many.min(self.0.len()));
        let mut next = 0_u32;
        for _ in 0..many {
            let it = u16::try_from(next.checked_add(self.gap()?)?).ok()?;
            all.push(it);
            next = u32::from(it) + 1;
        }
        Some(all)
    }

    /// At most of three bytes.
    fn gap(&mut self) -> Option<u32> {
        let mut gap = 0;
        for place in 0..3 {
            let [byte] = self.take()?;
            gap |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(gap);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        features::{HASHED, Turn},
        router,
    };

    fn look(text: &str, images: u32, wants_json: bool) -> Features {
        router().judge(&Turn { text, images, wants_json }).features
    }

    fn sorted(mut features: Features) -> Features {
        features.grams.truncate(MOST_GRAMS);
        features.grams.sort_unstable();
        features
    }

    #[test]
    fn of_a_long_prompt_the_first_words_are_kept() {
        let letter = |it: u8| char::from(b'a' + it % 26);
        let word = |it: u8| format!("{}{}{} ", letter(it), letter(it / 26), letter(it / 3));
        let text: String = (0..=u8::MAX).chain((0..u8::MAX).rev()).map(word).collect();
        let features = look(&text, 0, false);
        assert!(features.grams.len() > MOST_GRAMS);
        let kept = Features::decode(&features.encode()).unwrap();
        assert_eq!(kept.grams.len(), MOST_GRAMS);
        assert!(features.grams[..MOST_GRAMS].iter().all(|it| kept.grams.contains(it)));
    }

    #[test]
    fn what_is_no_number_of_ours_is_refused() {
        let good = look("What is the capital of France?", 0, false).encode();
        assert!(Features::decode(&good).is_ok());
        for bad in [f32::NAN, f32::INFINITY, 1e9] {
            let mut bytes = good.clone();
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&bad.to_le_bytes());
            assert_eq!(Features::decode(&bytes), Err(NotFeatures));
        }
        let longer = [&good[..], &[0]].concat();
        for bytes in [&good[..good.len() - 1], &longer, &[]] {
            assert_eq!(Features::decode(bytes), Err(NotFeatures));
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_scores_the_same(
            text in prop_oneof!["\\PC{0,300}", "[a-zA-Z0-9 .?`{}()$\\\\-]{0,600}", any::<String>()],
            images: u32, wants_json: bool,
        ) {
            let features = look(&text, images, wants_json);
            let bytes = features.encode();
            prop_assert!(bytes.len() <= MOST_BYTES);
            let kept = Features::decode(&bytes).unwrap();
            prop_assert_eq!(&kept, &sorted(features.clone()));
            let scores = |it: &Features| router().tasks.scores::<{ crate::TASKS }>(it);
            prop_assert_eq!(scores(&kept), scores(&sorted(features)));
        }

        #[test]
        fn the_most_that_there_can_be_has_room(
            grams in prop::collection::btree_set(any::<u16>(), 0..MOST_GRAMS), words: u32,
        ) {
            let grams = grams.into_iter().collect();
            let features =
                Features { grams, numbers: [1.5; NUMERIC], language: Language::ENGLISH, words };
            let bytes = features.encode();
            prop_assert!(bytes.len() <= MOST_BYTES);
            prop_assert_eq!(Features::decode(&bytes).unwrap(), features);
        }

        #[test]
        fn any_bytes_are_no_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400), at: prop::sample::Index, to: u8,
        ) {
            let _ = Features::decode(&bytes);
            let mut spoilt = look("Translate this into German, please.", 1, false).encode();
            let at = at.index(spoilt.len());
            spoilt[at] = to;
            if let Ok(features) = Features::decode(&spoilt) {
                prop_assert!(features.numbers.iter().all(|it| it.is_finite()));
                prop_assert!(features.grams.iter().all(|it| usize::from(*it) < HASHED));
            }
        }
    }
}
