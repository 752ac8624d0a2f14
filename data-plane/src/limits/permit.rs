//! A call that was let through.

use std::sync::Arc;

use super::{
    Limiter, State,
    charge::Charge,
    decision::Decision,
    leases::Lease,
    settling::{Correction, Settlement},
    standing::LimitStanding,
};

/// Settled exactly once: by `settle` when it is known what the call came to, else at zero
/// tokens when dropped, whichever way the call left. Its places come back in any case.
#[must_use = "a permit that is dropped frees the call's place"]
pub struct Permit {
    standing: LimitStanding,
    /// Nothing for a call without limits, and nothing any more once settled.
    held: Option<Held>,
}

struct Held {
    limiter: Arc<Limiter>,
    by: State,
    settlement: Settlement,
}

impl Permit {
    pub(super) fn free() -> Self {
        Self { standing: LimitStanding::default(), held: None }
    }

    pub(super) fn new(
        limiter: Arc<Limiter>,
        by: State,
        (charges, lease): (Vec<Charge>, Option<Lease>),
        decision: &Decision,
    ) -> Self {
        let standing = LimitStanding::after(decision, &charges);
        let after = decision.levels.iter().map(|it| it.tokens).collect();
        let correction = Some(Correction { tokens: 0, at: decision.now, after });
        let is_urgent = decision.is_tight(&charges);
        let settlement = Settlement { charges, lease, correction, is_urgent };
        Self { standing, held: Some(Held { limiter, by, settlement }) }
    }

    /// The call came to so many tokens.
    pub fn settle(mut self, tokens: u64) {
        self.end(tokens);
    }

    pub fn standing(&self) -> LimitStanding {
        self.standing
    }

    /// What every answer to the call says of its caller's limits.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        self.standing.headers()
    }

    fn end(&mut self, tokens: u64) {
        let Some(Held { limiter, by, mut settlement }) = self.held.take() else { return };
        if let Some(correction) = &mut settlement.correction {
            correction.tokens = tokens;
        }
        limiter.end(by, settlement);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(0);
    }
}
