//! What became of messages, for whoever submitted them.

use serde::{Deserialize, Serialize};

/// One entry for one or many consecutive messages of a submitter, in the order of their submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// So many events are in the log; the first has this number, the others follow.
    Events { first: u64, count: u32 },
    /// One event is not in the log and will not be delivered.
    Void(Void),
    /// One event waits for its condition: [`Outcome::Granted`] or [`Outcome::Ended`] with this ticket follows, some time.
    Waiting { ticket: u64 },
    /// One command was applied.
    Done(Done),
    /// So many messages were not stored, for the store fails or the log is full. Nothing of them was applied.
    Refused { count: u32, why: Refused },
    /// A waiting event is in the log. Stands for no message of its own.
    Granted { ticket: u64, number: u64 },
    /// A waiting event will never be. Stands for no message of its own.
    Ended { ticket: u64, why: WaitEnd },
}

/// Why an event counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Void {
    /// Its condition does not hold: `fennec.error.condition_failed`; PUBACK / PUBREC 0x83.
    ConditionFailed,
    /// A QoS 2 message that came before (MQTT 5, 4.3.3), answered like the first; or what entered from its source before.
    Repeated,
    /// Its session has a newer connection; or its source is in another epoch, or owes what comes before it.
    Stale,
    /// Limits on waits or locks are reached.
    QuotaExceeded,
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    Yes,
    /// CONNECT: whether the session was there (MQTT 5, 3.2.2.1.1).
    Connected {
        present: bool,
    },
    /// Which number of a source is next now; epoch 0: nothing is known of it.
    Next {
        epoch: u64,
        next: u64,
    },
    /// There was nothing to change: no such session, subscription, wait, lock or name.
    NotFound,
    /// The MQTT session was connected last, or the named durable subscription is delivered, at another entry: what this connection says
    /// of it counts for nothing, and it has to be closed.
    Stale,
    /// The MQTT session or named durable subscription belongs to another user, or the latter is of another kind or pattern.
    /// Nothing has changed.
    Conflict,
}

/// Why a wait ended without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitEnd {
    Timeout,
    Canceled,
    SessionGone,
}

/// Why messages were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    #[error("the store cannot write: durable publishing has stopped until it can")]
    StoreUnavailable,
    #[error("as many messages wait for the store as may")]
    Full,
    #[error("the broker stops")]
    Stopping,
}
