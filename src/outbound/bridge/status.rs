//! How bridges are doing, for whoever asks: `fennec.bridge.status`, and metrics.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::outward::OutwardCounts;
use crate::http::metrics::{Text, escaped};
use crate::node::house::{Failure, Guest, GuestCall};
use crate::types::payload::Format;
use crate::types::value::Value;

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

/// The statuses of all bridges of a broker, in the order of the configuration. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Vec<Shared>);

/// A metric of each bridge: name, type, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&Status) -> u64);

const METRICS: [Metric; 17] = [
    ("up", "gauge", "1 if the bridge is connected.", |it| (it.state == State::Up).into()),
    ("attempts", "gauge", "Tries since the bridge was connected last.", |it| it.attempts),
    ("lag_events", "gauge", "Durable events that the other broker does not have yet.", |it| it.out.lag_events),
    ("lag_seconds", "gauge", "Age of the oldest of those that was read.", |it| it.out.lag_ms / 1000),
    ("pending", "gauge", "Events that are under way to the other broker or wait in memory.", |it| it.out.pending),
    ("sent_total", "counter", "PUBLISH packets sent, repeated ones too.", |it| it.out.sent),
    ("sent_bytes_total", "counter", "Bytes of these.", |it| it.out.sent_bytes),
    ("done_total", "counter", "Events that the other broker has.", |it| it.out.done),
    ("repeated_total", "counter", "Events sent again after a reconnect.", |it| it.out.repeated),
    ("dropped_total", "counter", "Events that were not durable and had no room in the queue.", |it| it.out.dropped),
    ("expired_total", "counter", "Events whose time was over before they could be sent.", |it| it.out.expired),
    ("refused_total", "counter", "Events that the other broker does not take.", |it| it.out.refused),
    ("gaps_total", "counter", "Times that retention took events before they were sent.", |it| it.out.gaps),
    ("received_total", "counter", "Messages of the other broker.", |it| it.inward.received),
    ("received_bytes_total", "counter", "Bytes of their topics and payloads.", |it| it.inward.received_bytes),
    ("echoed_total", "counter", "Own messages that came back and were dropped.", |it| it.inward.echoed),
    ("looped_total", "counter", "Messages that had crossed a bridge of this broker before.", |it| it.inward.looped),
];

/// Answers `fennec.bridge.status`: the bridges of the caller's realm.
impl Guest for Statuses {
    fn take(&self, call: GuestCall) {
        let of_realm = self.0.iter().map(Shared::get).filter(|status| *status.realm == *call.realm().name);
        let values = of_realm.map(|status| value_of(&status)).collect::<Option<Vec<_>>>();
        let unavailable = || Failure::new("wamp.error.unavailable", "the status cannot be told");
        call.answer(values.map(|bridges| Value::map([("bridges", Value::List(bridges))])).ok_or_else(unavailable));
    }
}

impl Statuses {
    pub(super) fn push(&mut self, status: Shared) {
        self.0.push(status);
    }

    /// Metrics of all bridges.
    pub fn write(&self, text: &mut Text) {
        let all: Vec<Status> = self.0.iter().map(Shared::get).collect();
        if all.is_empty() {
            return;
        }
        for (name, kind, help, value) in METRICS {
            let name = format!("fennec_bridge_{name}");
            text.family(&name, kind, help);
            for status in &all {
                let label = format!("realm=\"{}\",bridge=\"{}\"", escaped(&status.realm), escaped(&status.name));
                text.sample(&name, &label, value(status));
            }
        }
    }
}

fn value_of(status: &Status) -> Option<Value> {
    let json = serde_json::to_vec(status).ok()?;
    Value::decode(Format::Json, &json).ok()
}
