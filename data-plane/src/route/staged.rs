//! Which version of a policy a call gets, while another is tried on some.

use shared::{
    ids::{ApiKeyId, PolicyId},
    snapshot::{Staged, StagedBy},
};

use super::Dice;
use crate::catalog::{Policy, Version};

pub fn version<'a>(policy: &'a Policy, key: ApiKeyId, dice: &mut dyn Dice) -> Version<'a> {
    let gets = policy.staged.as_ref().is_some_and(|it| gets(it, policy.id, key, dice));
    policy.staged().filter(|_| gets).unwrap_or_else(|| policy.present())
}

fn gets(staged: &Staged, policy: PolicyId, key: ApiKeyId, dice: &mut dyn Dice) -> bool {
    const WHOLE: u64 = 100;
    let drawn = match staged.by {
        StagedBy::Calls => dice.below(WHOLE),
        // A key stands where it stands, so that a share that grows keeps those that it had.
        StagedBy::Keys => place(policy, key) % WHOLE,
    };
    drawn < staged.percent.into()
}

/// The same on every proxy and in every release, and another for each policy.
fn place(policy: PolicyId, key: ApiKeyId) -> u64 {
    let halves = [policy.uuid(), key.uuid()].map(|it| it.as_u64_pair());
    let parts = halves.into_iter().flat_map(|(high, low)| [high, low]);
    parts.fold(0, |sum: u64, part| mixed(sum.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ part))
}

/// Spreads every bit over all of them, as SplitMix64 does.
const fn mixed(it: u64) -> u64 {
    let it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

#[cfg(test)]
mod tests {
    use shared::snapshot::{self as published, Document};

    use super::*;

    fn policy(percent: u8, by: StagedBy) -> Policy {
        Policy::open(published::Policy {
            id: PolicyId::from_uuid(uuid::Uuid::from_u128(7)),
            organization: None,
            name: "auto".into(),
            version: 1,
            document: Document::default(),
            staged: Some(Staged { version: 2, document: Document::default(), percent, by }),
        })
        .unwrap()
    }

    /// How many of 10,000 get the staged version.
    fn share(percent: u8, by: StagedBy) -> u32 {
        let (policy, mut dice) = (policy(percent, by), fastrand::Rng::with_seed(5));
        let key = |it| ApiKeyId::from_uuid(uuid::Uuid::from_u128(it));
        let keys = (0..10_000_u128).map(key);
        let staged = keys.filter(|key| version(&policy, *key, &mut dice).version == 2);
        u32::try_from(staged.count()).unwrap()
    }

    #[test]
    fn a_share_is_what_it_says() {
        for by in [StagedBy::Calls, StagedBy::Keys] {
            assert_eq!((share(0, by), share(100, by)), (0, 10_000));
            for percent in [1, 10, 50, 90] {
                let expected = u32::from(percent) * 100;
                assert!(share(percent, by).abs_diff(expected) < 150, "{by:?} {percent}");
            }
        }
    }

    #[test]
    fn a_key_that_has_it_keeps_it_when_the_share_grows() {
        let mut dice = fastrand::Rng::with_seed(5);
        for key in (0..500).map(|it| ApiKeyId::from_uuid(uuid::Uuid::from_u128(it))) {
            let mut gets =
                |percent| version(&policy(percent, StagedBy::Keys), key, &mut dice).version == 2;
            let told: Vec<_> = (0..=100).map(&mut gets).collect();
            assert!(told.is_sorted() && !told[0] && told[100]);
        }
    }
}
