//! A panic costs the request that met it, and one line in the log.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    task::Poll,
};

use shared::{
    failure::{Classified, Kind},
    ids::RequestId,
};
use tracing::error;

thread_local! {
    /// The request this thread works on right now.
    static PRESENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// The request met a fault of ours, which the hook has logged.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request met a panic")]
pub struct Panicked;

impl Classified for Panicked {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// Has every panic of the process logged, with its request where there is one. What was
/// formatted into its message is left out: it may be a caller's.
pub fn install_hook() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("…");
    let request = PRESENT.get().map(|it| it.to_string()).unwrap_or_default();
    error!(request.id = request, place, "panicked at {place}: {message}");
}

/// Runs `work` for a request, and stops a panic of it here. It is put on the heap: what the
/// server wraps around a request moves it, one layer after the other.
pub fn contained<F: Future>(
    request: RequestId,
    work: F,
) -> impl Future<Output = Result<F::Output, Panicked>> {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |cx| {
        PRESENT.set(Some(request));
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        PRESENT.set(None);
        match polled {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_no_more() {
        let id = RequestId::generate();
        let outcome = contained(id, async {
            tokio::task::yield_now().await;
            assert_eq!(PRESENT.get(), Some(id));
            if true {
                panic!("boom");
            }
        });
        assert!(outcome.await.is_err());
        assert_eq!(PRESENT.get(), None);
        assert_eq!(contained(id, async { 7 }).await.unwrap(), 7);
    }
}
