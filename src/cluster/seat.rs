//! The one place for a link to another process: who sits there, and, if the other dials, who comes to take it.
//!
//! A process that dials anew takes its own old place, for only it knows that its old connection is gone. Another process of the
//! same name finds the place taken as long as the first is alive.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::greet::Wire;

/// See the module.
#[derive(Default)]
pub(super) struct Seat {
    state: Mutex<State>,
    arrived: Notify,
    cut: Notify,
}

#[derive(Default)]
struct State {
    /// Life of the process that has the seat, and the number of its last claim.
    taken: Option<(u128, u64)>,
    claims: u64,
    /// The newest connection, to be run next.
    next: Option<Arrived>,
}

/// A connection whose other end is known.
pub(super) struct Arrived {
    pub wire: Wire,
    pub claim: Claim,
}

/// The right to the seat, until it is dropped.
pub(super) struct Claim {
    seat: Arc<Seat>,
    number: u64,
}

/// Another process of the same name has the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken;

impl Seat {
    /// Claims the seat for the process with this life.
    pub fn claim(self: &Arc<Self>, life: u128) -> Result<Claim, Taken> {
        let mut state = self.state.lock();
        if state.taken.is_some_and(|(other, _)| other != life) {
            return Err(Taken);
        }
        state.claims += 1;
        state.taken = Some((life, state.claims));
        Ok(Claim { seat: self.clone(), number: state.claims })
    }

    /// Brings a connection, to be run in place of any other.
    pub fn arrive(&self, arrived: Arrived) {
        // What it replaces gives its claim back, which takes the lock.
        let replaced = self.state.lock().next.replace(arrived);
        drop(replaced);
        self.arrived.notify_one();
    }

    /// The next connection to be run.
    pub async fn next(&self) -> Arrived {
        loop {
            let next = self.state.lock().next.take();
            match next {
                Some(arrived) => return arrived,
                None => self.arrived.notified().await,
            }
        }
    }

    /// Is ready when another connection has come.
    pub async fn replaced(&self) {
        while self.state.lock().next.is_none() {
            self.arrived.notified().await;
        }
    }

    /// Ends the connection that runs.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Is ready when [`Seat::cut`] is called from now on, awaited already or not.
    pub fn was_cut(&self) -> Notified<'_> {
        self.cut.notified()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.seat.state.lock();
        if state.taken.is_some_and(|(_, number)| number == self.number) {
            state.taken = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(claim: Claim) -> Arrived {
        Arrived { wire: Box::new(tokio::io::duplex(1).0), claim }
    }

    #[test]
    fn only_the_same_process_takes_its_own_seat() {
        let seat = Arc::new(Seat::default());
        let first = seat.claim(1).ok().unwrap();
        assert!(seat.claim(2).is_err());
        let again = seat.claim(1).ok().unwrap();
        drop(first);
        assert!(seat.claim(2).is_err(), "the new connection of the first has it");
        drop(again);
        assert!(seat.claim(2).is_ok());
    }

    #[tokio::test]
    async fn the_newest_connection_is_run() {
        let seat = Arc::new(Seat::default());
        seat.arrive(arrived(seat.claim(1).ok().unwrap()));
        seat.arrive(arrived(seat.claim(1).ok().unwrap()));
        seat.replaced().await;
        assert_eq!(seat.next().await.claim.number, 2);
        assert!(seat.claim(2).is_ok(), "what was never run has given its claim back");
    }
}
