//! One number for a whole set of records, kept up at each change.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::Change;

/// The sum of a digest of each record. Two sides that hold the same records have the same
/// one, in whatever order they came by them. It finds accidents; that nobody forges a
/// change is the signature's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetSum(pub u128);

impl SetSum {
    /// Of one record; of nothing where it is gone.
    pub fn of(change: Change<'_>) -> Self {
        let Some(content) = change.content else { return Self::default() };
        let mut context = Context::new(&SHA256);
        context.update(&change.id.entity.mark().to_be_bytes());
        context.update(change.id.id.as_bytes());
        context.update(content.as_bytes());
        let digest = context.finish();
        let half = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Self(u128::from_be_bytes(*half))
    }

    pub fn of_all<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> Self {
        changes.into_iter().map(Self::of).fold(Self::default(), Self::with)
    }

    pub fn with(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl fmt::Display for SetSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::snapshot::{Entity, RecordId};

    #[test]
    fn the_order_does_not_matter_and_the_entity_does() {
        let of = |entity, id, content| {
            SetSum::of(Change {
                id: RecordId { entity, id: Uuid::from_u128(id) },
                content: Some(content),
            })
        };
        let (one, two) = (of(Entity::Key, 1, "{}"), of(Entity::Key, 2, "{}"));
        assert_eq!(one.with(two), two.with(one));
        assert_eq!(one.with(two).without(one), two);
        assert_ne!(one, of(Entity::Policy, 1, "{}"));
        let newer = Entity::named("plan");
        assert_ne!(of(newer, 1, "{}"), of(Entity::named("budget"), 1, "{}"));
        assert_eq!(Entity::named("key"), Entity::Key);
    }
}
