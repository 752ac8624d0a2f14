//! JSON as it is written for every call. Most of what is written at a time is a single sign, for
//! which a `Vec` alone does as much as for a text.

use std::io;

use serde::Serialize;

/// In as much room as it usually takes. Every map in it has keys that are texts.
pub fn written<T: Serialize>(of: &T, usual: usize) -> Vec<u8> {
    let mut text = Text(Vec::with_capacity(usual));
    serde_json::to_writer(&mut text, of).expect("all keys are texts");
    text.0
}

struct Text(Vec<u8>);

impl io::Write for Text {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [sign] => self.0.push(*sign),
            more => self.0.extend_from_slice(more),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_serde_writes() {
        let of = serde_json::json!({"a": [1, "b\n", null, {}], "": -1.5, "é": true});
        for usual in [0, 1_000] {
            assert_eq!(written(&of, usual), serde_json::to_vec(&of).unwrap());
        }
    }
}
