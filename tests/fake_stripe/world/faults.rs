//! What goes wrong, and when.

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 500, which is said again to whoever asks with the same key; nothing was done,
    BrokenBefore,
    /// or all of it was.
    BrokenAfter,
    /// No answer, and nothing was done,
    SilentBefore,
    /// or all of it was.
    SilentAfter,
    /// 429
    Busy,
    /// 409: another call with that key is under way.
    Conflict,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::BrokenBefore,
        Self::BrokenAfter,
        Self::SilentBefore,
        Self::SilentAfter,
        Self::Busy,
        Self::Conflict,
    ];
}

#[derive(Default)]
pub(super) struct Faults {
    dice: u64,
    per_mille: u64,
    declines_per_mille: u64,
    /// One that the next call to an address that ends so meets.
    next: Option<(String, Fault)>,
}

impl Faults {
    pub fn random(seed: u64, per_mille: u64, declines_per_mille: u64) -> Self {
        Self { dice: seed | 1, per_mille, declines_per_mille, next: None }
    }

    pub fn at(&mut self, end: &str, fault: Fault) {
        self.next = Some((end.to_owned(), fault));
    }

    /// Below a bound, each about as often.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below.max(1)
    }

    pub fn of_change(&mut self, path: &str) -> Option<Fault> {
        if let Some((_, fault)) = self.next.take_if(|it| path.ends_with(&it.0)) {
            return Some(fault);
        }
        self.of_question()
    }

    pub fn of_question(&mut self) -> Option<Fault> {
        if self.per_mille == 0 || self.roll(1_000) >= self.per_mille {
            return None;
        }
        let at = usize::try_from(self.roll(6)).unwrap_or_default();
        Fault::ALL.get(at).copied()
    }

    pub fn declines(&mut self) -> bool {
        self.declines_per_mille > 0 && self.roll(1_000) < self.declines_per_mille
    }
}
