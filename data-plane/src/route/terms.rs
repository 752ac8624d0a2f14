//! How a call is tried, as the policy says that leads it, and others that it has to keep to.

use std::time::Duration;

use shared::{
    ids::PolicyId,
    snapshot::{Choice, Failed, Hedge, Retry},
};

/// By default as often and as long as a proxy does by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// After which failures another candidate is asked. After all where nothing is said.
    on: Option<Vec<Failed>>,
    /// How often it is sent at most.
    pub attempts: Option<u8>,
    /// Until an answer begins, of each attempt.
    pub first_byte: Option<Duration>,
    /// Of all of them.
    pub total: Option<Duration>,
    /// Whose calls are counted for it.
    pub hedge: Option<(PolicyId, Hedge)>,
}

impl Terms {
    pub fn of(policy: PolicyId, choice: &Choice) -> Self {
        let hedge = choice.hedge.map(|it| (policy, it));
        Self { hedge, ..Self::default() }.within(choice)
    }

    /// What both allow: another policy makes nothing longer, and nothing is sent for its sake.
    pub fn within(mut self, other: &Choice) -> Self {
        if let Some(fallback) = &other.fallback {
            self.on = Some(match self.on.take() {
                Some(on) => on.into_iter().filter(|it| fallback.on.contains(it)).collect(),
                None => fallback.on.clone(),
            });
        }
        let Retry { attempts, first_byte_seconds, total_seconds } = other.retry.unwrap_or_default();
        let seconds = |it: Option<u32>| it.map(|it| Duration::from_secs(it.into()));
        self.attempts = least(self.attempts, attempts);
        self.first_byte = least(self.first_byte, seconds(first_byte_seconds));
        self.total = least(self.total, seconds(total_seconds));
        self
    }

    pub fn falls_back_on(&self, failed: Failed) -> bool {
        self.on.as_ref().is_none_or(|it| it.contains(&failed))
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use shared::snapshot::Fallback;

    use super::*;

    #[test]
    fn another_policy_only_narrows_how_a_call_is_tried() {
        let said = |on: &[Failed], attempts| Choice {
            fallback: Some(Fallback { on: on.to_vec() }),
            retry: Some(Retry { attempts, total_seconds: Some(60), ..Retry::default() }),
            ..Choice::default()
        };
        let one = said(&[Failed::RateLimited, Failed::Server], Some(3));
        let other = said(&[Failed::Server, Failed::Lost], None);
        let terms = Terms::of(PolicyId::generate(), &one);
        assert!(terms.falls_back_on(Failed::RateLimited) && !terms.falls_back_on(Failed::Lost));
        let both = terms.clone().within(&other);
        assert!(both.falls_back_on(Failed::Server) && !both.falls_back_on(Failed::RateLimited));
        assert_eq!((both.attempts, both.total), (Some(3), Some(Duration::from_secs(60))));
        assert_eq!(terms.clone().within(&Choice::default()), terms);
        assert!(Failed::ALL.into_iter().all(|it| Terms::default().falls_back_on(it.0)));
    }
}
