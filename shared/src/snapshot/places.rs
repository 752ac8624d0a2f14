//! Where in Redis the planes meet.

use crate::ids::ApiKeyId;

/// Names with one prefix, in braces so that a cluster keeps them together: one script
/// touches several.
#[derive(Clone, Debug)]
pub struct Places {
    prefix: String,
}

impl Default for Places {
    fn default() -> Self {
        Self::new("cfg:{main}")
    }
}

impl Places {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// A stream of deltas. The id of an entry is its revision.
    pub fn log(&self) -> String {
        self.of("log")
    }

    /// A hash that says which revision is the newest, and which ones are there whole.
    pub fn head(&self) -> String {
        self.of("head")
    }

    /// A hash with everything at `revision`: its head, its signature, its body in pieces.
    pub fn full(&self, revision: i64) -> String {
        format!("{}{revision}", self.fulls())
    }

    pub fn fulls(&self) -> String {
        self.of("full:")
    }

    /// The channel that says there is news. It carries none.
    pub fn hint(&self) -> String {
        self.of("hint")
    }

    /// A hash in which proxies say what they serve.
    pub fn reports(&self) -> String {
        self.of("ack")
    }

    /// A stream of secrets that stopped: the fast lane.
    pub fn stopped(&self) -> String {
        self.of("revoked")
    }

    /// Which entry of that stream stopped a key.
    pub fn stop_of(&self, key: ApiKeyId) -> String {
        format!("{}:revoked:{}", self.prefix, key.uuid().simple())
    }

    /// A hash of which proxies have heard an entry of that stream, and when.
    pub fn heard(&self, entry: &str) -> String {
        format!("{}:refused:{entry}", self.prefix)
    }

    fn of(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}

/// The most of a body that is put into one value, so that Redis is never long about one.
pub const PIECE: usize = 512 * 1024;
