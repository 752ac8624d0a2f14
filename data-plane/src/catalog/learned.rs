//! What an organization's feedback taught, read once and not for each call.

use shared::snapshot as published;

use super::upstreams::Unusable;

#[derive(Debug)]
pub struct Learned {
    /// What answers and decisions call it.
    pub version: String,
    pub tables: routing_engine::Learned,
}

impl Learned {
    pub fn open(published: published::Learned) -> Result<Self, Unusable> {
        let tables = routing_engine::Learned::decode(&published.tables)?;
        Ok(Self { version: published.version, tables })
    }
}
