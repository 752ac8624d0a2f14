//! Whether there is room for a call in this process: a seat before its body is read, and
//! memory while it comes. Whether there is within its limits and budgets, `budgets` finds out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use shared::{
    failure::{Classified, Code, Kind, code},
    ids::OrganizationId,
};

use crate::limits::{LimitStanding, Permit};

/// What the calls under way share: seats, and memory for their bodies and for answers that
/// are gathered.
pub struct Room {
    seats: Sharing,
    bytes: Sharing,
}

/// Something that there is only so much of. An organization may take one more of it while it has
/// less than is free: alone it gets half, two get a third each, and there is always some for
/// one that has none, however others flood us.
struct Sharing {
    whole: u64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u64,
    /// Only of organizations that have any.
    by: HashMap<OrganizationId, u64>,
}

/// How much of it the organization has, and how much is free.
struct Short {
    own: u64,
    free: u64,
}

/// One call's place in the process, given back when dropped.
#[must_use = "a seat that is dropped is free"]
pub struct Seat {
    room: Arc<Room>,
    organization: OrganizationId,
}

/// The memory that one call takes for bytes, given back when dropped.
pub struct Memory {
    room: Arc<Room>,
    organization: OrganizationId,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    #[error("all {seats} seats are taken")]
    Full { seats: u64 },
    #[error("the organization has {own} calls under way, and no more than {free} seats are free")]
    Share { own: u64, free: u64 },
    #[error("the organization's calls take {own} bytes, and {free} are free")]
    Memory { own: u64, free: u64 },
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
    pub fn new(seats: u32, bytes: u64) -> Arc<Self> {
        Arc::new(Self { seats: Sharing::of(seats.into()), bytes: Sharing::of(bytes) })
    }

    /// Refuses at once: nobody waits for a seat.
    pub fn seat(self: &Arc<Self>, organization: OrganizationId) -> Result<Seat, Overloaded> {
        let taken = self.seats.take(organization, 1);
        taken.map_err(|Short { own, free }| match free {
            0 => Overloaded::Full { seats: self.seats.whole },
            _ => Overloaded::Share { own, free },
        })?;
        Ok(Seat { room: self.clone(), organization })
    }

    /// None yet.
    pub fn memory(self: &Arc<Self>, organization: OrganizationId) -> Memory {
        Memory { room: self.clone(), organization, bytes: 0 }
    }
}

impl Sharing {
    fn of(whole: u64) -> Self {
        Self { whole, taken: Mutex::default() }
    }

    /// As many at once make the same difference as one after the other.
    fn take(&self, organization: OrganizationId, amount: u64) -> Result<(), Short> {
        let mut taken = self.taken();
        let own = taken.by.get(&organization).copied().unwrap_or(0);
        let free = self.whole - taken.all;
        // What it has before the last one, and what is free then.
        let before = amount.saturating_sub(1);
        let may = own.saturating_add(before) < free.saturating_sub(before);
        if amount > 0 && !may {
            return Err(Short { own, free });
        }
        taken.all += amount;
        taken.by.insert(organization, own + amount);
        Ok(())
    }

    /// What was taken.
    fn give_back(&self, organization: OrganizationId, amount: u64) {
        if amount == 0 {
            return;
        }
        let mut taken = self.taken();
        taken.all -= amount;
        let own = taken.by.get(&organization).map_or(0, |own| own - amount);
        if own == 0 {
            taken.by.remove(&organization);
        } else {
            taken.by.insert(organization, own);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.seats.give_back(self.organization, 1);
    }
}

impl Memory {
    /// Takes so many bytes more, or refuses.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = self.room.bytes.take(self.organization, bytes);
        taken.map_err(|Short { own, free }| Overloaded::Memory { own, free })?;
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes that the memory was taken for: it is given back with the last of them.
    pub fn holding(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Held { bytes, _memory: self }) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.room.bytes.give_back(self.organization, self.bytes);
    }
}

struct Held {
    bytes: Bytes,
    _memory: Memory,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// That a call may be made. Its story owns this to the last byte, and settles it with its tab.
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

    /// As many as there are for `organization`.
    fn fill(room: &Arc<Room>, organization: OrganizationId) -> Vec<Seat> {
        std::iter::from_fn(|| room.seat(organization).ok()).collect()
    }

    #[test]
    fn one_organization_alone_gets_half() {
        let (room, flooding) = (Room::new(100, 0), OrganizationId::generate());
        let seats = fill(&room, flooding);
        assert_eq!(seats.len(), 50);
        assert_eq!(room.seat(flooding).err(), Some(Overloaded::Share { own: 50, free: 50 }));
        assert!(room.seat(OrganizationId::generate()).is_ok());
        drop(seats);
        assert_eq!(fill(&room, flooding).len(), 50);
    }

    #[test]
    fn a_full_room_is_unavailable_and_never_a_limit() {
        let room = Room::new(2, 0);
        let _seats = [OrganizationId::generate(); 2].map(|it| room.seat(it));
        let _last = room.seat(OrganizationId::generate()).unwrap();
        let full = room.seat(OrganizationId::generate()).err().unwrap();
        assert_eq!((full, full.kind()), (Overloaded::Full { seats: 2 }, Kind::Unavailable));
        assert_eq!(full.code(), code::OVERLOADED);
    }

    #[test]
    fn memory_is_given_back_with_the_last_of_the_bytes() {
        let (room, own) = (Room::new(2, 100), OrganizationId::generate());
        let mut memory = room.memory(own);
        memory.grow(30).unwrap();
        assert_eq!(memory.grow(21), Err(Overloaded::Memory { own: 30, free: 70 }));
        memory.grow(20).unwrap();
        assert!(room.memory(own).grow(1).is_err());
        assert!(room.memory(OrganizationId::generate()).grow(25).is_ok());
        let bytes = memory.holding(Bytes::from_static(b"abcdef"));
        let piece = bytes.slice(2..3);
        drop(bytes);
        assert!(room.memory(own).grow(1).is_err());
        drop(piece);
        assert!(room.memory(own).grow(50).is_ok());
    }

    proptest! {
        /// However something is taken and given back: never more than there is, never more to
        /// one organization than half, and one that has none gets some while any is free. In
        /// the end all is free. Many at once are as many one by one.
        #[test]
        fn what_there_is_is_shared(
            whole in 2..40u64,
            steps in prop::collection::vec((0..6usize, 0..6u64), 0..200),
        ) {
            let sharing = Sharing::of(whole);
            let organizations = [(); 6].map(|()| OrganizationId::generate());
            let mut held = [(); 6].map(|()| Vec::new());
            let sum = |held: &[u64]| held.iter().sum::<u64>();
            for (at, amount) in steps {
                let organization = organizations[at];
                if amount == 0 {
                    sharing.give_back(organization, held[at].pop().unwrap_or(0));
                    continue;
                }
                let all: u64 = held.iter().map(|it| sum(it)).sum();
                let singly = (0..amount).take_while(|_| sharing.take(organization, 1).is_ok());
                let singly = singly.count() as u64;
                sharing.give_back(organization, singly);
                let is_taken = sharing.take(organization, amount).is_ok();
                prop_assert_eq!(is_taken, singly == amount);
                if held[at].is_empty() && all < whole {
                    prop_assert!(singly > 0);
                }
                held[at].extend(is_taken.then_some(amount));
                prop_assert!(held.iter().map(|it| sum(it)).sum::<u64>() <= whole);
                prop_assert!(sum(&held[at]) <= whole.div_ceil(2));
            }
            for (at, held) in held.iter().enumerate() {
                held.iter().for_each(|it| sharing.give_back(organizations[at], *it));
            }
            prop_assert_eq!(sharing.taken().all, 0);
            prop_assert!(sharing.taken().by.is_empty());
        }
    }
}
