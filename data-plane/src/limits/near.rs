//! Connections of the workers' own, beside the one that all share: each is driven on the thread
//! that asks, so that nobody else has to be woken for a question and once more for its answer.
//!
//! The shared one says whether Redis is there. A worker has one of its own only as long as that
//! is the same, and of the same history; what goes wrong with it costs it, and from then on the
//! shared one is asked until another is open.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use shared::wire::{Address, History, Patience, Wire};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::sleep,
};

/// How long nothing is said at most.
const SILENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// By what the store is known by: one in a process, but for tests.
    static NEAR: RefCell<HashMap<Name, Near>> = RefCell::default();
}

/// Where in memory something stands that a store has for itself alone.
pub type Name = usize;

struct Near {
    of: Of,
    /// Gone with it, by which whoever opened it knows that it is not asked for any more.
    _life: Arc<()>,
    /// Nothing while it is being opened.
    wire: Option<Wire>,
}

/// What a connection is beside.
#[derive(Clone)]
pub struct Of {
    shared: Weak<Wire>,
    history: Arc<History>,
}

impl Of {
    pub fn new(shared: &Arc<Wire>, history: Arc<History>) -> Self {
        Self { shared: Arc::downgrade(shared), history }
    }

    fn is(&self, other: &Self) -> bool {
        self.shared.ptr_eq(&other.shared) && self.history == other.history
    }
}

/// The worker's own connection, if it has one. Otherwise one is opened, for whoever asks next.
pub fn near(name: Name, of: &Of, (address, patience): (&Address, Patience)) -> Option<Wire> {
    if address.is_cluster() || !is_worker() {
        return None;
    }
    NEAR.with_borrow_mut(|all| match all.get(&name) {
        Some(it) if it.of.is(of) => it.wire.clone(),
        Some(_) | None => {
            let life = Arc::new(());
            let how = (address.clone(), patience);
            tokio::spawn(open(name, Arc::downgrade(&life), of.history.clone(), how));
            all.insert(name, Near { of: of.clone(), _life: life, wire: None });
            None
        }
    })
}

/// Something went wrong with it. Who had none loses nothing.
pub fn forget(name: Name) {
    NEAR.with_borrow_mut(|all| {
        if all.get(&name).is_some_and(|it| it.wire.is_some()) {
            all.remove(&name);
        }
    });
}

/// Whether all that is begun here goes on here.
fn is_worker() -> bool {
    Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

async fn open(
    name: Name,
    life: Weak<()>,
    history: Arc<History>,
    (address, patience): (Address, Patience),
) {
    let Ok(mut wire) = address.connect(patience).await else { return };
    if !wire.history().await.is_ok_and(|it| it == *history) || life.strong_count() == 0 {
        return;
    }
    NEAR.with_borrow_mut(|all| {
        if let Some(it) = all.get_mut(&name) {
            it.wire = Some(wire.clone());
        }
    });
    // Something is said now and then, lest Redis take a worker for gone that asks nothing.
    while life.strong_count() > 0 {
        sleep(SILENCE).await;
        let is_there = redis::cmd("PING").exec_async(&mut wire).await.is_ok();
        if !is_there && life.strong_count() > 0 {
            forget(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::AsyncCommands;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::limits::tests::{redis, redis_url};

    const PATIENCE: Patience =
        Patience { connect: Duration::from_secs(10), answer: Duration::from_secs(10) };

    async fn id(wire: &mut Wire) -> i64 {
        redis::cmd("CLIENT").arg("ID").query_async(wire).await.unwrap()
    }

    /// Waits for what is opened beside us.
    async fn opened(name: Name, of: &Of, address: &Address) -> Wire {
        loop {
            if let Some(wire) = near(name, of, (address, PATIENCE)) {
                return wire;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_worker_has_a_connection_of_its_own_for_as_long_as_the_shared_one_is_the_same() {
        let url = redis_url();
        let address: Address = url.expose_secret().parse().unwrap();
        if address.is_cluster() {
            return;
        }
        let name = std::ptr::from_ref(&address).addr();
        let mut shared = redis(&url).await;
        let (history, shared_id) =
            (Arc::new(shared.history().await.unwrap()), id(&mut shared).await);
        let shared = Arc::new(shared);
        let of = Of::new(&shared, history.clone());
        let mut wire = opened(name, &of, &address).await;
        let first = id(&mut wire).await;
        assert_ne!(first, shared_id);
        let mut again = opened(name, &of, &address).await;
        assert_eq!(id(&mut again).await, first);

        // After one that failed another is opened, and for another shared one too.
        forget(name);
        let mut wire = opened(name, &of, &address).await;
        let second = id(&mut wire).await;
        assert_ne!(second, first);
        let other = Arc::new(Wire::clone(&shared));
        let of = Of::new(&other, history);
        let mut wire = opened(name, &of, &address).await;
        assert_ne!(id(&mut wire).await, second);

        // None is of a Redis with another history.
        let of = Of::new(&other, Arc::default());
        assert!(near(name, &of, (&address, PATIENCE)).is_none());
        for _ in 0..100 {
            let () = wire.exists::<_, bool>("nothing").await.map(|_| ()).unwrap();
        }
        assert!(near(name, &of, (&address, PATIENCE)).is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_no_worker_has_none() {
        let url = redis_url();
        let shared = Arc::new(redis(&url).await);
        let address: Address = url.expose_secret().parse().unwrap();
        let name = std::ptr::from_ref(&address).addr();
        let of = Of::new(&shared, Arc::default());
        assert!(near(name, &of, (&address, PATIENCE)).is_none());
        let is_asked = NEAR.with_borrow(|all| all.contains_key(&name));
        assert!(!is_asked);
    }
}
