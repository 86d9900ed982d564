//! How a bridge is doing, for whoever asks.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::outward::OutwardCounts;

/// What a bridge is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It tries to connect, or waits to try again.
    #[default]
    Down,
    /// Connected.
    Up,
    /// Another entry of the cluster runs it.
    Elsewhere,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Up => "up",
            State::Elsewhere => "elsewhere",
        }
    }
}

/// What has come in, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub received: u64,
    /// Of topics and payloads.
    pub received_bytes: u64,
    /// Own messages that came back, and were dropped.
    pub echoed: u64,
    /// Messages that had left this broker by some bridge before, and were dropped.
    pub looped: u64,
    /// Messages that no rule is for.
    pub unwanted: u64,
    /// Retained values that were known, or older than what is being sent.
    pub unchanged: u64,
    /// Messages that this broker has no room for.
    pub refused: u64,
    /// Retained values that were deleted because the other broker has them no more.
    pub deleted: u64,
}

/// What can be told of one bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub realm: String,
    pub state: State,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// The address that is, or was last, connected to or tried.
    pub address: String,
    /// Why it is down.
    pub error: Option<String>,
    /// Tries since it was up last.
    pub attempts: u64,
    pub client_id: String,
    /// The version of MQTT: 4 for 3.1.1, or 5.
    pub version: u8,
    pub out: Out,
    #[serde(rename = "in")]
    pub inward: Counts,
}

/// What goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Out {
    /// Durable events that the other broker does not have yet.
    pub lag_events: u64,
    /// Age of the oldest of those, milliseconds.
    pub lag_ms: u64,
    /// Sent and not acknowledged, and live events that wait.
    pub pending: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    pub done: u64,
    pub repeated: u64,
    pub dropped: u64,
    pub expired: u64,
    pub refused: u64,
    /// How often events had been given up by the log before they were sent.
    pub gaps: u64,
}

impl Out {
    fn set_counts(&mut self, counts: &OutwardCounts) {
        let OutwardCounts { sent, bytes, done, repeated, dropped, expired, refused } = *counts;
        (self.sent, self.sent_bytes, self.done, self.repeated) = (sent, bytes, done, repeated);
        (self.dropped, self.expired, self.refused) = (dropped, expired, refused);
    }
}

/// The status of one bridge, which its task keeps up to date.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    status: Arc<Mutex<Status>>,
    /// What went out before the consumer was opened again.
    before: Arc<Mutex<OutwardCounts>>,
}

impl Shared {
    pub fn new(status: Status) -> Self {
        Self { status: Arc::new(Mutex::new(status)), before: Arc::default() }
    }

    pub fn get(&self) -> Status {
        self.status.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
    }

    /// Tells what went out since the consumer was opened.
    pub(super) fn set_counts(&self, counts: &OutwardCounts) {
        let mut all = *self.before.lock();
        all.add(counts);
        self.change(|status| status.out.set_counts(&all));
    }

    /// These counts are those of a turn that has ended.
    pub(super) fn keep_counts(&self, counts: &OutwardCounts) {
        self.set_counts(counts);
        self.before.lock().add(counts);
    }
}
