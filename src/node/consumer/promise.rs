//! One answer, from another thread to a task that waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Nobody will answer: the broker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker stops")]
pub struct Gone;

struct Cell<T> {
    answer: Mutex<Option<Result<T, Gone>>>,
    waker: AtomicWaker,
}

/// Who answers. Dropped, there is no answer.
pub(super) struct Teller<T>(Arc<Cell<T>>);

/// The answer, when it is there.
pub(super) struct Told<T>(Arc<Cell<T>>);

pub(super) fn promise<T>() -> (Teller<T>, Told<T>) {
    let cell = Arc::new(Cell { answer: Mutex::new(None), waker: AtomicWaker::new() });
    (Teller(cell.clone()), Told(cell))
}

impl<T> Teller<T> {
    /// The first answer counts.
    pub fn tell(&self, answer: T) {
        self.0.set(Ok(answer));
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.0.set(Err(Gone));
    }
}

impl<T> Cell<T> {
    fn set(&self, answer: Result<T, Gone>) {
        self.answer.lock().get_or_insert(answer);
        self.waker.wake();
    }
}

impl<T> Future for Told<T> {
    type Output = Result<T, Gone>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.waker.register(context.waker());
        match self.0.answer.lock().take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}
