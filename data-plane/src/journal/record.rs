//! A record as it stands in a segment: how long it is, its checksum, its kind, its bytes.
//!
//! A segment is made of zeros before it is written to, so a length of zero is where the
//! records end. What a crash left half written has a checksum that is not its own, and where
//! a segment was cut, or holds nonsense, a record does not end within it.

/// What a record tells. The numbers are on disks: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call is about to be sent.
    Intent = 1,
    /// So much of its answer has been delivered.
    Progress = 2,
    /// It was settled.
    Final = 3,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Intent),
            2 => Some(Self::Progress),
            3 => Some(Self::Final),
            _ => None,
        }
    }
}

/// The length and the checksum.
pub const HEAD: usize = 8;
/// The longest record, kind and bytes. What says that it is longer is damaged.
pub const LONGEST: usize = 1024 * 1024;

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Record {
        kind: Kind,
        bytes: &'a [u8],
        /// Head and all: where the next one stands behind this.
        size: usize,
    },
    /// A whole record that was altered, or is of a kind that we do not know.
    Damaged { size: usize },
    /// A record that does not end here. What came behind it cannot be found.
    Torn,
    /// Nothing.
    End,
}

/// How much room a record of so many bytes takes.
pub const fn size(bytes: usize) -> usize {
    HEAD + 1 + bytes
}

/// Appends the record to `to`.
pub fn write(kind: Kind, bytes: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind as u8]);
    checksum.update(bytes);
    to.reserve(size(bytes.len()));
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&checksum.finalize().to_le_bytes());
    to.push(kind as u8);
    to.extend_from_slice(bytes);
}

/// What begins where `segment` does.
pub fn read(segment: &[u8]) -> Found<'_> {
    let Some((length, rest)) = segment.split_first_chunk() else { return Found::End };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 {
        return Found::End;
    }
    if length > LONGEST {
        return Found::Torn;
    }
    let Some((checksum, rest)) = rest.split_first_chunk() else { return Found::Torn };
    let Some((kind, bytes)) = rest.get(..length).and_then(<[u8]>::split_first) else {
        return Found::Torn;
    };
    let size = size(bytes.len());
    let is_whole = crc32fast::hash(&rest[..length]) == u32::from_le_bytes(*checksum);
    match Kind::of(*kind).filter(|_| is_whole) {
        Some(kind) => Found::Record { kind, bytes, size },
        None => Found::Damaged { size },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop::sample::select(&[Kind::Intent, Kind::Progress, Kind::Final][..])
    }

    fn all(mut segment: &[u8]) -> Vec<(Kind, Vec<u8>)> {
        let mut found = vec![];
        loop {
            match read(segment) {
                Found::Record { kind, bytes, size } => {
                    found.push((kind, bytes.to_vec()));
                    segment = &segment[size..];
                }
                Found::Damaged { size } => segment = &segment[size..],
                Found::Torn | Found::End => return found,
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            records in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            zeros in 0..64usize,
        ) {
            let mut segment = vec![];
            records.iter().for_each(|(kind, bytes)| write(*kind, bytes, &mut segment));
            segment.extend(std::iter::repeat_n(0, zeros));
            prop_assert_eq!(all(&segment), records);
        }

        /// Wherever the process died while it wrote: the records before are there, and half
        /// a one is none.
        #[test]
        fn a_torn_tail_costs_the_last_record_only(
            records in prop::collection::vec((kinds(), prop::collection::vec(1..=u8::MAX, 1..50)), 1..10),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut segment = vec![];
            let mut last = 0;
            for (kind, bytes) in &records {
                last = segment.len();
                write(*kind, bytes, &mut segment);
            }
            let keep = last + cut.index(segment.len() - last);
            let length = segment.len();
            segment.truncate(keep);
            segment.resize(length + 32, 0);
            prop_assert_eq!(all(&segment), &records[..records.len() - 1]);
        }

        /// A file that ends within a record says so, wherever that is: what was there may matter.
        #[test]
        fn a_cut_file_is_torn(bytes in prop::collection::vec(any::<u8>(), 0..50), cut in any::<prop::sample::Index>()) {
            let mut segment = vec![];
            write(Kind::Final, &bytes, &mut segment);
            segment.truncate(4 + cut.index(segment.len() - 4));
            prop_assert_eq!(read(&segment), Found::Torn);
        }

        #[test]
        fn one_altered_byte_costs_one_record(
            records in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 1..50)), 2..10),
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let which = which.index(records.len());
            let mut segment = vec![];
            for (number, (kind, bytes)) in records.iter().enumerate() {
                let begins = segment.len();
                write(*kind, bytes, &mut segment);
                if number == which {
                    let place = begins + HEAD + at.index(segment.len() - begins - HEAD);
                    segment[place] ^= 1 << bit;
                }
            }
            let mut expected = records.clone();
            expected.remove(which);
            prop_assert_eq!(all(&segment), expected);
        }

        #[test]
        fn nonsense_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&bytes);
        }
    }
}
