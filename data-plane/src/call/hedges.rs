//! How many calls may be sent to a second site while the first is still silent.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use shared::ids::PolicyId;

/// What one costs. Each call of a policy adds as many percent as the policy says.
const ONE: u32 = 100;
/// As many may follow each other where there were none for long.
const MOST: u32 = 10 * ONE;
/// Policies of which we know. Beyond them all begin anew, without any.
const MANY: usize = 4_096;

/// Of each policy's calls at most the share that it says, counted from when it had the first.
#[derive(Debug, Default)]
pub struct Hedges {
    credits: Mutex<HashMap<PolicyId, u32>>,
}

impl Hedges {
    pub fn note_call(&self, policy: PolicyId, percent: u8) {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        if credits.len() >= MANY && !credits.contains_key(&policy) {
            credits.clear();
        }
        let credit = credits.entry(policy).or_default();
        *credit = credit.saturating_add(percent.into()).min(MOST);
    }

    /// Whether one more may be sent, which is counted if so: where what is `asked` then says yes,
    /// too.
    pub fn grant(&self, policy: PolicyId, asked: impl FnOnce() -> bool) -> bool {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = credits.get_mut(&policy).filter(|it| **it >= ONE) else { return false };
        let is_granted = asked();
        if is_granted {
            *left -= ONE;
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However calls come, and however often somebody wants one.
        #[test]
        fn no_more_than_the_share_that_a_policy_says(
            percent in 1..=20_u8, wishes in prop::collection::vec(0..4_usize, 0..400),
        ) {
            let (hedges, policy) = (Hedges::default(), PolicyId::generate());
            let mut sent = 0;
            for (calls, wishes) in (1_u32..).zip(wishes) {
                hedges.note_call(policy, percent);
                sent += (0..wishes).filter(|_| hedges.grant(policy, || true)).count();
                prop_assert!(sent as u32 * 100 <= calls * u32::from(percent));
            }
            prop_assert!(!hedges.grant(PolicyId::generate(), || true));
        }
    }

    #[test]
    fn what_another_refuses_is_not_counted() {
        let (hedges, policy) = (Hedges::default(), PolicyId::generate());
        (0..5).for_each(|_| hedges.note_call(policy, 20));
        assert!(!hedges.grant(policy, || false));
        assert!(hedges.grant(policy, || true) && !hedges.grant(policy, || true));
    }
}
