//! What goes over the pipes: a length of four bytes, big-endian, and so many bytes. An answer has
//! a byte before them: 0 for a PDF, 1 for the reason why there is none, 2 for a PDF that lacks
//! letters.

use std::io::{self, ErrorKind, Read, Write};

/// Longer than any sheet is. Whoever says more speaks another language.
const MOST: u32 = 64 << 20;

pub enum Answer {
    Printed(Vec<u8>),
    /// In place of letters that no font has stands a box.
    Lacking(Vec<u8>),
    Refused(String),
}

/// The next sheet; nothing when there are no more.
pub fn next(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > MOST {
        return Err(io::Error::new(ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut sheet = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut sheet)?;
    if u32::try_from(read) != Ok(length) {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "a frame was cut"));
    }
    Ok(Some(sheet))
}

pub fn put(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let (mark, bytes) = match answer {
        Answer::Printed(pdf) => (0, pdf.as_slice()),
        Answer::Lacking(pdf) => (2, pdf.as_slice()),
        Answer::Refused(why) => (1, why.as_bytes()),
    };
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[mark])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_one_after_the_other_and_end() {
        let mut bytes: &[u8] = b"\0\0\0\x02ab\0\0\0\0";
        assert_eq!(next(&mut bytes).unwrap().as_deref(), Some(b"ab".as_slice()));
        assert_eq!(next(&mut bytes).unwrap().as_deref(), Some(b"".as_slice()));
        assert!(next(&mut bytes).unwrap().is_none());
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_sheet() {
        assert!(next(&mut b"\0\0\0\x03ab".as_slice()).is_err());
        assert!(next(&mut b"\xff\xff\xff\xffab".as_slice()).is_err());
    }
}
