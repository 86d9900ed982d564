//! Waits for futures without a runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Waits for a future that other threads bring on. Does not mind being called by a task of a runtime, other than holding it up.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_after(Duration::ZERO, future)
}

/// The same of one that needs a while, and would wake this thread for each step until then: it is begun, and then left alone for so long.
pub(super) fn block_on_after<F: Future>(rest: Duration, future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    if !rest.is_zero() {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::sleep(rest);
    }
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Is polled, with a wake from another thread each time, until it was `wakes` times.
    async fn polls(wakes: usize) -> usize {
        let polled = AtomicUsize::new(0);
        std::future::poll_fn(|context| {
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake());
            match polled.fetch_add(1, Ordering::Relaxed) {
                count if count == wakes => Poll::Ready(count),
                _ => Poll::Pending,
            }
        })
        .await
    }

    #[test]
    fn wakes_are_heard_by_who_rests_only_after_that() {
        assert_eq!(block_on(polls(3)), 3);
        assert_eq!(block_on_after(Duration::from_millis(1), polls(3)), 3);
        assert_eq!(block_on_after(Duration::from_secs(3600), polls(0)), 0, "what is ready is not waited for");
    }
}
