//! Whether there is room for a call in this process, before its body is read. Whether there
//! is within its limits and budgets, `budgets` finds out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::{
    failure::{Classified, Code, Kind, code},
    ids::OrganizationId,
};

use crate::limits::{LimitStanding, Permit};

/// The calls that this process can have under way. An organization is let in while it has
/// fewer under way than seats are free: alone it gets half, two get a third each, and
/// there is always a seat for one that has none, however others flood us.
pub struct Room {
    seats: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    /// Only of organizations that have any.
    by: HashMap<OrganizationId, u32>,
}

/// One call's place in the process, given back when dropped.
#[must_use = "a seat that is dropped is free"]
pub struct Seat {
    room: Arc<Room>,
    organization: OrganizationId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    #[error("all {seats} seats are taken")]
    Full { seats: u32 },
    #[error("the organization has {own} calls under way, and no more than {free} seats are free")]
    Share { own: u32, free: u32 },
}

impl Classified for Overloaded {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn code(&self) -> Code {
        code::OVERLOADED
    }
}

impl Room {
    pub fn new(seats: u32) -> Arc<Self> {
        Arc::new(Self { seats, taken: Mutex::default() })
    }

    /// Refuses at once: nobody waits for a seat.
    pub fn seat(self: &Arc<Self>, organization: OrganizationId) -> Result<Seat, Overloaded> {
        let mut taken = self.taken();
        let own = taken.by.get(&organization).copied().unwrap_or(0);
        match self.seats - taken.all {
            0 => Err(Overloaded::Full { seats: self.seats }),
            free if own >= free => Err(Overloaded::Share { own, free }),
            _ => {
                taken.all += 1;
                taken.by.insert(organization, own + 1);
                Ok(Seat { room: self.clone(), organization })
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.all -= 1;
        let own = taken.by.get(&self.organization).map_or(0, |own| own - 1);
        if own == 0 {
            taken.by.remove(&self.organization);
        } else {
            taken.by.insert(self.organization, own);
        }
    }
}

/// Proof that a call may be made. Whoever answers it owns this to the last byte: settled
/// once, or at zero when dropped. What it holds of budgets is on its tab.
#[must_use = "a call that is not made frees its room"]
pub struct Admitted {
    permit: Permit,
    _seat: Seat,
}

impl Admitted {
    pub fn new(permit: Permit, seat: Seat) -> Self {
        Self { permit, _seat: seat }
    }

    /// The call came to so many tokens.
    pub fn settle(self, tokens: u64) {
        self.permit.settle(tokens);
    }

    /// How the caller stands with their limits, for the headers of the answer.
    pub fn standing(&self) -> LimitStanding {
        self.permit.standing()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(room: &Arc<Room>, organization: OrganizationId) -> Vec<Seat> {
        std::iter::from_fn(|| room.seat(organization).ok()).collect()
    }

    #[test]
    fn one_organization_alone_gets_half() {
        let (room, flooding) = (Room::new(100), OrganizationId::generate());
        let seats = fill(&room, flooding);
        assert_eq!(seats.len(), 50);
        assert_eq!(room.seat(flooding).err(), Some(Overloaded::Share { own: 50, free: 50 }));
        assert!(room.seat(OrganizationId::generate()).is_ok());
        drop(seats);
        assert_eq!(fill(&room, flooding).len(), 50);
    }

    #[test]
    fn a_full_room_is_unavailable_and_never_a_limit() {
        let room = Room::new(2);
        let _seats = [OrganizationId::generate(); 2].map(|it| room.seat(it));
        let _last = room.seat(OrganizationId::generate()).unwrap();
        let full = room.seat(OrganizationId::generate()).err().unwrap();
        assert_eq!((full, full.kind()), (Overloaded::Full { seats: 2 }, Kind::Unavailable));
        assert_eq!(full.code(), code::OVERLOADED);
    }

    proptest! {
        /// However seats are taken and given back: never more than there are, never more
        /// of one organization than half, and one that has none finds a seat while any is
        /// free. In the end all are free.
        #[test]
        fn seats_are_shared(
            seats in 2..40u32,
            steps in prop::collection::vec((0..6usize, any::<bool>()), 0..200),
        ) {
            let room = Room::new(seats);
            let organizations = [(); 6].map(|()| OrganizationId::generate());
            let mut held = [(); 6].map(|()| Vec::new());
            for (at, comes) in steps {
                if !comes {
                    held[at].pop();
                    continue;
                }
                let all: usize = held.iter().map(Vec::len).sum();
                let seat = room.seat(organizations[at]);
                if held[at].is_empty() && all < seats as usize {
                    prop_assert!(seat.is_ok());
                }
                held[at].extend(seat);
                prop_assert!(held.iter().map(Vec::len).sum::<usize>() <= seats as usize);
                prop_assert!(held[at].len() <= seats.div_ceil(2) as usize);
            }
            drop(held);
            prop_assert_eq!(room.taken().all, 0);
            prop_assert!(room.taken().by.is_empty());
        }
    }
}
