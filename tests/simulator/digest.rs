//! The number every choice of the simulator is drawn from: a hash that is the same in every run,
//! process and build.

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const FACTOR: u64 = 0xD6E8_FEB8_6659_FD93;

/// A hash in the making. Not for secrets: it is fast, and anyone can find a collision.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn new() -> Self {
        Self(SEED)
    }

    #[must_use]
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(8);
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        let mut state = self.with_number(bytes.len() as u64).0;
        for word in words {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            state = mix(state ^ word);
        }
        Self(mix(state ^ u64::from_le_bytes(last)))
    }

    #[must_use]
    pub(super) fn with_number(self, number: u64) -> Self {
        Self(mix(self.0 ^ number))
    }

    pub(super) fn value(self) -> u64 {
        mix(self.0)
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<T>(self, choices: &[T]) -> &T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number below `limit`, which is not zero.
    pub(super) fn below(self, limit: u64) -> u64 {
        self.value() % limit
    }
}

fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ SEED) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes_and_tells_where_pieces_end() {
        let of = |parts: &[&str]| {
            parts.iter().fold(Digest::new(), |it, part| it.with(part.as_bytes())).value()
        };
        assert_eq!(of(&["hello"]), of(&["hello"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_ne!(of(&["12345678"]), of(&["123456780"]));
    }
}
