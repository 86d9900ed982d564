//! The durable log at work: what is submitted, who is told what became of it, and the threads in between.
//!
//! ```text
//! Publisher --submit--> inbox --log thread: roles, state, commit--> feed thread --> mailboxes of subscribers
//!                                                                        \--------> Tickets of who submitted
//! ```
//!
//! There are two threads, so that a segment is fed to subscribers while the next is written: the *log thread* takes all that
//! gathered while it was busy, makes a segment of it and commits it with one fsync; the *feed thread* routes it and tells
//! the submitters. No timer: light load makes small segments at once, heavy load large ones.
//!
//! Rules: nothing is submitted with a lock held (in tests a submission is worked off at once, by its own caller). Outcomes come
//! to one connection in the order of its submissions.

pub mod tickets;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::queue::message::Batch;
use crate::queue::outcome::{Outcome, Refused};
use tickets::Owner;

/// Messages of one submitter, and who is to be told.
pub struct Submission {
    pub batch: Batch,
    pub owner: Owner,
}

/// The submitting side, shared by all connections.
pub struct Log {
    inbox: Mutex<Inbox>,
    gathered: Condvar,
    /// Bytes submitted and not resolved.
    unresolved_bytes: AtomicUsize,
    unresolved_bytes_max: usize,
    /// Number of the last message that the feed has begun to route; what comes later will be fed.
    fed: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    submissions: Vec<Submission>,
    /// Why nothing is taken at the moment.
    closed: Option<Refused>,
}

impl Log {
    /// A log that takes so many bytes that are not resolved.
    pub fn new(unresolved_bytes_max: usize) -> Self {
        Self {
            inbox: Mutex::default(),
            gathered: Condvar::new(),
            unresolved_bytes: AtomicUsize::new(0),
            unresolved_bytes_max,
            fed: AtomicU64::new(0),
        }
    }

    /// Takes messages. The owner is told what became of each, in any case; refused ones at once.
    pub fn submit(&self, submission: Submission) {
        let bytes = submission.batch.len();
        let mut inbox = self.inbox.lock();
        let full = self.unresolved_bytes.load(Ordering::Relaxed) + bytes > self.unresolved_bytes_max;
        let refused = inbox.closed.or(full.then_some(Refused::Full));
        if let Some(why) = refused {
            drop(inbox);
            submission.owner.tell(Outcome::Refused { count: submission.batch.count, why });
            return;
        }
        self.unresolved_bytes.fetch_add(bytes, Ordering::Relaxed);
        inbox.submissions.push(submission);
        if inbox.submissions.len() == 1 {
            self.gathered.notify_one();
        }
    }

    /// More than half of what may wait does: publishers had better not be read for a moment.
    pub fn is_crowded(&self) -> bool {
        self.unresolved_bytes.load(Ordering::Relaxed) > self.unresolved_bytes_max / 2
    }

    /// Number of the last message that the feed has begun to route.
    pub fn fed(&self) -> u64 {
        self.fed.load(Ordering::Acquire)
    }
}
