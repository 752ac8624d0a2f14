//! A record as it stands in a segment: how long it is, its checksum, its kind, its bytes.
//!
//! A segment is made of zeros before it is written to, so where nothing but zeros follows the
//! records end. What a crash left half written, and what was altered, has a checksum that is not
//! its own. How long such a record was nobody knows, for that may be what was altered: the next
//! one stands where one can be read.

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
pub struct Record<'a> {
    pub kind: Kind,
    pub bytes: &'a [u8],
    /// Head and all: where the next one stands behind this.
    pub size: usize,
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

/// The record that begins where `segment` does, if a whole one of a kind that we know does.
pub fn read(segment: &[u8]) -> Option<Record<'_>> {
    let (length, rest) = segment.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 || length > LONGEST {
        return None;
    }
    let whole = rest.get(..length)?;
    if crc32fast::hash(whole) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (kind, bytes) = whole.split_first()?;
    Some(Record { kind: Kind::of(*kind)?, bytes, size: size(bytes.len()) })
}

/// What is left of a record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    kind: u8,
    bytes: Vec<u8>,
}

impl Damaged {
    /// As much as says whose it was.
    const KEPT: usize = 64;

    /// What a file that was cut may have held.
    pub fn cut() -> Self {
        Self { kind: 0, bytes: Vec::new() }
    }

    fn of(place: &[u8]) -> Self {
        let bytes = place.get(HEAD + 1..).unwrap_or_default();
        let kind = place.get(HEAD).copied().unwrap_or_default();
        Self { kind, bytes: bytes.iter().take(Self::KEPT).copied().collect() }
    }

    /// The first bytes of what says that it is a settlement.
    pub fn settlement(&self) -> Option<&[u8]> {
        (self.kind == Kind::Final as u8).then_some(&*self.bytes)
    }
}

/// What is found in a segment from a place on.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Record(Record<'a>),
    /// Something that is no record, and where the next one stands, if there is another.
    Damaged(Damaged, Option<usize>),
    /// Nothing more was written.
    End,
}

pub fn find(segment: &[u8], at: usize) -> Found<'_> {
    let rest = segment.get(at..).unwrap_or_default();
    if let Some(record) = read(rest) {
        return Found::Record(record);
    }
    if rest.iter().all(|it| *it == 0) {
        return Found::End;
    }
    let next = (at + 1..segment.len()).find(|it| read(&segment[*it..]).is_some());
    Found::Damaged(Damaged::of(rest), next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop::sample::select(&[Kind::Intent, Kind::Progress, Kind::Final][..])
    }

    /// The records, and how often something was in their way.
    fn all(segment: &[u8]) -> (Vec<(Kind, Vec<u8>)>, usize) {
        let (mut found, mut damaged, mut at) = (vec![], 0, 0);
        loop {
            match find(segment, at) {
                Found::Record(Record { kind, bytes, size }) => {
                    found.push((kind, bytes.to_vec()));
                    at += size;
                }
                Found::Damaged(_, next) => {
                    damaged += 1;
                    let Some(next) = next else { return (found, damaged) };
                    at = next;
                }
                Found::End => return (found, damaged),
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
            prop_assert_eq!(all(&segment), (records, 0));
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
            let (found, damaged) = all(&segment);
            prop_assert_eq!(found, &records[..records.len() - 1]);
            prop_assert_eq!(damaged, usize::from(keep > last));
        }

        /// A file that ends within a record says so, wherever that is: what was there may matter.
        #[test]
        fn a_cut_file_is_damaged(bytes in prop::collection::vec(any::<u8>(), 0..50), cut in any::<prop::sample::Index>()) {
            let mut segment = vec![];
            write(Kind::Final, &bytes, &mut segment);
            segment.truncate(4 + cut.index(segment.len() - 4));
            prop_assert!(matches!(find(&segment, 0), Found::Damaged(_, None)));
        }

        /// Whichever: its length too.
        #[test]
        fn one_altered_byte_costs_one_record_and_is_noticed(
            records in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 1..50)), 1..10),
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
                    let place = begins + at.index(segment.len() - begins);
                    segment[place] ^= 1 << bit;
                }
            }
            segment.extend([0; 64]);
            let mut expected = records.clone();
            expected.remove(which);
            prop_assert_eq!(all(&segment), (expected, 1));
        }

        #[test]
        fn nonsense_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&bytes);
        }
    }
}
