//! What a proxy left of its journal on the disk, read and spoilt as no program of ours does it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use shared::counters::Epoch;

/// How a record is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends within it.
    Cut,
    /// It is another than was written.
    Garbled,
}

/// The record that was spoilt.
#[derive(Clone, Debug)]
pub struct Spoilt {
    pub what: &'static str,
    /// The number of the call, where it was the only record of one.
    pub only_record_of: Option<u64>,
    /// Whose journal it is.
    pub epoch: Epoch,
}

/// Spoils the last record of the newest segment among the journals in a directory.
pub fn spoil(journals: &Path, damage: Damage) -> Spoilt {
    let path = newest(journals).expect("the proxy has written something");
    let bytes = fs::read(&path).unwrap();
    let (at, record) = last(&bytes).expect("it holds a record");
    let (what, only_record_of) = told(record);
    let epoch = path.parent().and_then(|it| it.file_name()?.to_str()?.parse().ok());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let middle = (at + record.len() / 2) as u64;
    match damage {
        Damage::Cut => file.set_len(middle).unwrap(),
        Damage::Garbled => file.write_all_at(b"#!?", middle).unwrap(),
    }
    Spoilt { what, only_record_of, epoch: epoch.expect("it is in the journal of a process") }
}

fn newest(journals: &Path) -> Option<PathBuf> {
    let within = |it: &Path| fs::read_dir(it).unwrap().map(|it| it.unwrap().path());
    let segments = within(journals).filter(|it| it.is_dir()).flat_map(|it| within(&it));
    let is_used = |it: &PathBuf| {
        let mut head = [0; 4];
        let is_one = it.extension().is_some_and(|it| it == "journal");
        is_one && fs::File::open(it).unwrap().read_exact_at(&mut head, 0).is_ok() && head != [0; 4]
    };
    segments.filter(is_used).max_by_key(|it| fs::metadata(it).unwrap().modified().unwrap())
}

/// Each record has its length before it, and a checksum.
fn last(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut at, mut last) = (0, None);
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(head.try_into().unwrap()) as usize;
        let record = bytes.get(at + 8..at + 8 + length).filter(|it| !it.is_empty());
        let Some(record) = record else { break };
        last = Some((at + 8, record));
        at += 8 + length;
    }
    last
}

/// A kind, the call's id, the shard, a number, and then what is told: the first of a call is
/// its intent, and the last what it came to.
fn told(record: &[u8]) -> (&'static str, Option<u64>) {
    let only_record_of = || {
        let intent: Value = serde_json::from_slice(record.get(26..)?).ok()?;
        intent["event"]["tags"]["call"].as_str()?.parse().ok()
    };
    match record[0] {
        1 => ("that a call is about to be sent", only_record_of()),
        2 => ("how far an answer had come", None),
        3 => ("what a call came to", None),
        other => panic!("there is no record of kind {other}"),
    }
}
