//! The places of the calls under way here, which have a limit on how many there may be.
//!
//! In Redis a place lasts a while and is renewed as long as the call is under way, so that
//! a proxy that was killed gives its places back by saying nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use shared::random;

use super::charge::Charge;

/// One call's places, the same on each level. Never given twice by one proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease(u64);

pub struct Leases {
    /// Another for each process.
    pub proxy: String,
    next: AtomicU64,
    /// By the name of what they are counted in.
    places: Mutex<HashMap<String, HashSet<Lease>>>,
}

impl Leases {
    pub fn new() -> Self {
        let proxy = u64::from_le_bytes(random::bytes());
        Self {
            proxy: format!("{proxy:016x}"),
            next: AtomicU64::default(),
            places: Mutex::default(),
        }
    }

    /// For a call that is limited on some level; others need none.
    pub fn next(&self, charges: &[Charge]) -> Option<Lease> {
        let is_limited = charges.iter().any(|it| it.limits.concurrent.is_some());
        is_limited.then(|| Lease(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// As Redis knows it, among those of all proxies.
    pub fn name(&self, lease: Option<Lease>) -> String {
        lease.map_or(String::new(), |Lease(number)| format!("{}.{number:x}", self.proxy))
    }

    pub fn enter(&self, lease: Option<Lease>, charges: &[Charge]) {
        let Some(lease) = lease else { return };
        let mut places = self.places();
        for calls in limited(charges) {
            match places.get_mut(calls) {
                Some(leases) => _ = leases.insert(lease),
                None => _ = places.insert(calls.clone(), HashSet::from([lease])),
            }
        }
    }

    pub fn leave(&self, lease: Option<Lease>, charges: &[Charge]) {
        let Some(lease) = lease else { return };
        let mut places = self.places();
        for calls in limited(charges) {
            let Some(leases) = places.get_mut(calls) else { continue };
            leases.remove(&lease);
            if leases.is_empty() {
                places.remove(calls);
            }
        }
    }

    /// How many calls are under way here.
    pub fn under_way(&self, calls: &str) -> u64 {
        self.places().get(calls).map_or(0, |it| it.len() as u64)
    }

    /// All places at present, by the name of what they are counted in.
    pub fn living(&self) -> Vec<(String, Vec<String>)> {
        let name = |lease: &Lease| self.name(Some(*lease));
        let places = self.places();
        places.iter().map(|(calls, it)| (calls.clone(), it.iter().map(name).collect())).collect()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, HashSet<Lease>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn limited(charges: &[Charge]) -> impl Iterator<Item = &String> {
    charges.iter().filter(|it| it.limits.concurrent.is_some()).map(|it| &it.calls)
}
