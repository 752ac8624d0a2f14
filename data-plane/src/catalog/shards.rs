//! A map in many pieces, of which a change copies those that it touches.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use shared::{
    ids::{OrganizationId, ProjectId},
    keys::KeyHash,
    snapshot::RecordId,
};

/// Copies share the pieces that none of them has changed, so that a copy is cheap, and so
/// is a change of few entries of many.
pub struct Shards<K, V>(Box<[Arc<HashMap<K, V>>]>);

const COUNT: usize = 1_024;

/// Which piece a key is in: from some of its bits that are as good as random.
pub trait Spread {
    fn bits(&self) -> u16;
}

impl Spread for KeyHash {
    fn bits(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

/// The end of an id is random; its beginning is the time.
fn end_of(id: uuid::Uuid) -> u16 {
    let [.., before_last, last] = *id.as_bytes();
    u16::from_be_bytes([before_last, last])
}

impl Spread for RecordId {
    fn bits(&self) -> u16 {
        end_of(self.id)
    }
}

impl Spread for OrganizationId {
    fn bits(&self) -> u16 {
        end_of(self.uuid())
    }
}

impl Spread for ProjectId {
    fn bits(&self) -> u16 {
        end_of(self.uuid())
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Self((0..COUNT).map(|_| empty.clone()).collect())
    }
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Spread + Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(Self::place(key))?.get(key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if let Some(shard) = self.0.get_mut(Self::place(&key)) {
            Arc::make_mut(shard).insert(key, value);
        }
    }

    pub fn remove(&mut self, key: &K) {
        if let Some(shard) = self.0.get_mut(Self::place(key))
            && shard.contains_key(key)
        {
            Arc::make_mut(shard).remove(key);
        }
    }

    /// The value to be changed in place; a new one where there was none.
    pub fn entry(&mut self, key: K) -> Option<&mut V>
    where
        V: Default,
    {
        let shard = self.0.get_mut(Self::place(&key))?;
        Some(Arc::make_mut(shard).entry(key).or_default())
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|it| it.len()).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|it| it.iter())
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().flat_map(|it| it.values())
    }

    fn place(key: &K) -> usize {
        usize::from(key.bits()) % COUNT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> KeyHash {
        KeyHash::of(&number.to_string())
    }

    proptest! {
        /// A copy is a copy, whatever is done to the other one.
        #[test]
        fn shards_are_one_map(
            before in prop::collection::vec((any::<u8>(), any::<u32>()), 0..80),
            after in prop::collection::vec((any::<u8>(), prop::option::of(any::<u32>())), 0..80),
        ) {
            let (mut shards, mut plain) = (Shards::default(), HashMap::new());
            for (at, value) in before {
                shards.insert(key(at), value);
                plain.insert(key(at), value);
            }
            let (copy, kept) = (shards.clone(), plain.clone());
            for (at, value) in after {
                match value {
                    Some(value) => {
                        shards.insert(key(at), value);
                        plain.insert(key(at), value);
                    }
                    None => {
                        shards.remove(&key(at));
                        plain.remove(&key(at));
                    }
                }
            }
            for at in 0..=u8::MAX {
                prop_assert_eq!(shards.get(&key(at)), plain.get(&key(at)));
                prop_assert_eq!(copy.get(&key(at)), kept.get(&key(at)));
            }
            prop_assert_eq!(shards.len(), plain.len());
        }
    }
}
