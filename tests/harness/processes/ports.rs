//! Ports that stay ours while nobody listens on them.
//!
//! A server that is killed shall find its port again. So they are not those that the
//! system gives to outgoing connections, and no two installations on this machine take
//! the same ones.

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    ops::Range,
};

const EACH: u16 = 16;

/// The first port of each block, below where Linux begins to give ports out by itself.
const BLOCKS: Range<u16> = 1_320..2_000;

/// A block of ports. Others may take it when this is dropped.
pub struct Ports {
    first: u16,
    _claim: File,
}

impl Ports {
    /// # Panics
    /// If every block is taken.
    pub fn claim() -> Self {
        let directory = std::env::temp_dir().join("turnpike-ports");
        fs::create_dir_all(&directory).expect("temporary files can be made");
        let claimed = BLOCKS.filter(|it| EACH * it < first_given_out()).find_map(|block| {
            let path = directory.join(block.to_string());
            let claim = OpenOptions::new().create(true).append(true).open(path).ok()?;
            claim.try_lock().ok()?;
            let first = block * EACH;
            let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            (first..first + EACH).all(is_free).then_some(Self { first, _claim: claim })
        });
        claimed.expect("some ports of this machine are free")
    }

    pub fn get<const N: usize>(&self) -> [u16; N] {
        assert!(N <= usize::from(EACH), "a block has {EACH} ports");
        std::array::from_fn(|at| self.first + u16::try_from(at).expect("a block is small"))
    }
}

fn first_given_out() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(32_768)
}
