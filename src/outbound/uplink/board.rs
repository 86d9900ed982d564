//! What is known of all uplinks of this process, for who asks.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::outgoing::Progress;
use crate::http::metrics::{Text, escaped};
use crate::types::value::Value;

/// Which end of an uplink this broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Edge,
    Centre,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            End::Edge => "edge",
            End::Centre => "centre",
        }
    }
}

/// How an uplink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It tries to connect for the first time, or again.
    #[default]
    Connecting,
    Up,
    /// The last try has failed; it waits for the next.
    Down,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// One uplink.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub realm: String,
    /// Where the other end is: the centre's URL, or the edge's user.
    pub peer: String,
    pub state: State,
    pub progress: Progress,
    /// What is expected next from the other end.
    pub expected: u64,
    pub exchanges: u64,
    /// Messages and bytes that the other end has accepted.
    pub sent: u64,
    pub sent_bytes: u64,
    pub bytes_per_s: u64,
    pub received: u64,
    /// Messages of the other end that may not be published here.
    pub refused: u64,
    /// The same, of those that were sent from here.
    pub refused_there: u64,
    /// Gaps that the other end has told of.
    pub gaps: u64,
    pub resyncs: u64,
    pub failures: u64,
    pub last_error: Option<String>,
    /// Of the last exchange: milliseconds since 1970.
    pub last_exchange_ms: u64,
}

/// See the module.
#[derive(Default)]
pub struct Board(Mutex<BTreeMap<(End, String), Status>>);

impl Board {
    pub fn change(&self, end: End, id: &str, change: impl FnOnce(&mut Status)) {
        change(self.0.lock().entry((end, id.to_owned())).or_default());
    }

    pub fn forget(&self, end: End, id: &str) {
        self.0.lock().remove(&(end, id.to_owned()));
    }

    /// All of them, or those of a realm, as values.
    pub fn list(&self, realm: &str, now_ms: u64) -> Value {
        let all = self.0.lock();
        let here = all.iter().filter(|(_, status)| status.realm == realm);
        Value::List(here.map(|((end, id), status)| value(*end, id, status, now_ms)).collect())
    }

    /// Adds the metrics of all of them.
    pub fn metrics(&self, now_ms: u64, text: &mut Text) {
        let all = self.0.lock();
        for (name, help, kind, of) in METRICS.iter().filter(|_| !all.is_empty()) {
            text.family(name, kind, help);
            for ((end, id), status) in all.iter() {
                let labels = format!("uplink=\"{}\",end=\"{}\"", escaped(id), end.as_str());
                text.sample(name, &labels, of(status, now_ms));
            }
        }
    }
}

type Of = fn(&Status, u64) -> u64;

const METRICS: [(&str, &str, &str, Of); 10] = [
    ("fennec_uplink_up", "Whether the uplink is connected.", "gauge", |it, _| u64::from(it.state == State::Up)),
    ("fennec_uplink_pending", "Messages of the log that are still to be looked at or sent.", "gauge", |it, _| {
        it.progress.pending
    }),
    ("fennec_uplink_oldest_age_ms", "Age of the oldest message that waits.", "gauge", age_ms),
    ("fennec_uplink_sent_total", "Messages that the other end has accepted.", "counter", |it, _| it.sent),
    ("fennec_uplink_sent_bytes_total", "Their bytes.", "counter", |it, _| it.sent_bytes),
    ("fennec_uplink_received_total", "Messages taken from the other end.", "counter", |it, _| it.received),
    ("fennec_uplink_refused_total", "Messages of the other end that may not be published here.", "counter", |it, _| {
        it.refused
    }),
    ("fennec_uplink_gaps_total", "Gaps that the other end has told of.", "counter", |it, _| it.gaps),
    ("fennec_uplink_resyncs_total", "Epochs that had to begin anew.", "counter", |it, _| it.resyncs),
    ("fennec_uplink_failures_total", "Connections and exchanges that failed.", "counter", |it, _| it.failures),
];

fn age_ms(status: &Status, now_ms: u64) -> u64 {
    status.progress.oldest_us.map_or(0, |at_us| now_ms.saturating_sub(at_us / 1000))
}

fn value(end: End, id: &str, status: &Status, now_ms: u64) -> Value {
    let progress = &status.progress;
    let mut entries = vec![
        ("id", Value::from(id)),
        ("end", Value::from(end.as_str())),
        ("peer", Value::from(status.peer.as_str())),
        ("state", Value::from(status.state.as_str())),
        ("epoch", Value::from(progress.epoch)),
        ("sequence", Value::from(progress.sequence)),
        ("pending", Value::from(progress.pending)),
        ("held_topics", Value::from(progress.held_topics as u64)),
        ("oldest_age_ms", progress.oldest_us.map_or(Value::Null, |_| Value::from(age_ms(status, now_ms)))),
        ("expected", Value::from(status.expected)),
        ("exchanges", Value::from(status.exchanges)),
        ("sent", Value::from(status.sent)),
        ("sent_bytes", Value::from(status.sent_bytes)),
        ("bytes_per_s", Value::from(status.bytes_per_s)),
        ("received", Value::from(status.received)),
        ("refused", Value::from(status.refused)),
        ("refused_there", Value::from(status.refused_there)),
        ("gaps", Value::from(status.gaps)),
        ("resyncs", Value::from(status.resyncs)),
        ("failures", Value::from(status.failures)),
    ];
    entries.push(("last_error", status.last_error.as_deref().map_or(Value::Null, Value::from)));
    Value::map(entries)
}
