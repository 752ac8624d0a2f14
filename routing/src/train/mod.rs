//! Making the weights, and measuring them: no part of a proxy.

mod common_words;
mod csv;
mod data;
pub mod evaluate;
mod exemplars;
mod fit;

use std::{fs, io, path::PathBuf};

pub use self::{
    data::{Data, Outcomes, Prompt},
    fit::train,
};
use crate::{Router, weights};

/// Where the data is: `TURNPIKE_ROUTING_DATA`, or beside the checkout.
pub fn directory() -> PathBuf {
    std::env::var_os("TURNPIKE_ROUTING_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from)
}

/// The file as it is committed.
pub fn file(router: &Router, data: &Data) -> Vec<u8> {
    weights::write(router, &data.sources)
}

/// Where it is committed.
pub fn place() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/router.weights"))
}

pub fn write_file(bytes: &[u8]) -> io::Result<()> {
    fs::write(place(), bytes)
}

/// Numbers that look drawn and are the same each time.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let it = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % bound).unwrap_or(0)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
