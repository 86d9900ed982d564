//! What can be seen of the services that this process runs.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::PREFIX;
use super::machine::Status;
use crate::http::metrics::{Text, escaped};
use crate::node::Node;

/// One service at a moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub status: Status,
    pub paused: bool,
    /// Tries that have failed in a row.
    pub attempts: u32,
    /// When the next try is due, milliseconds since 1970; 0: at once.
    pub next_try_ms: u64,
    pub last_error: Option<String>,
    /// Since this process has begun.
    pub transactions: u64,
    pub events: u64,
    pub failures: u64,
    /// Events that were buried, ever; and those that retention took before they were sent, since this process has begun.
    pub buried: u64,
    pub lost: u64,
}

/// The services of this process, by realm and consumer.
#[derive(Default)]
pub struct Board(Mutex<BTreeMap<(String, String), Seen>>);

/// A metric of each service: name, type, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&Seen) -> u64);

const METRICS: [Metric; 9] = [
    ("up", "gauge", "1 if the last try has succeeded, or there was none.", |seen| (seen.status == Status::Up).into()),
    ("disabled", "gauge", "1 if the service has answered 410.", |seen| (seen.status == Status::Disabled).into()),
    ("paused", "gauge", "1 if nothing is sent because somebody asked for that.", |seen| seen.paused.into()),
    ("attempts", "gauge", "Tries that have failed in a row.", |seen| seen.attempts.into()),
    ("transactions_total", "counter", "Transactions that were accepted.", |seen| seen.transactions),
    ("events_total", "counter", "Events that were accepted.", |seen| seen.events),
    ("failures_total", "counter", "Tries that have failed or were refused.", |seen| seen.failures),
    ("dead_letters_total", "counter", "Events that the service has refused for good.", |seen| seen.buried),
    ("lost_total", "counter", "Events that retention took before they were sent.", |seen| seen.lost),
];

impl Board {
    pub(super) fn put(&self, realm: &str, name: &str, change: impl FnOnce(&mut Seen)) {
        change(self.0.lock().entry((realm.to_owned(), name.to_owned())).or_default());
    }

    pub(super) fn remove(&self, realm: &str, name: &str) {
        self.0.lock().remove(&(realm.to_owned(), name.to_owned()));
    }

    /// One of this process.
    pub fn get(&self, realm: &str, name: &str) -> Option<Seen> {
        self.0.lock().get(&(realm.to_owned(), name.to_owned())).cloned()
    }

    /// Metrics of all services that this process runs.
    pub fn write(&self, text: &mut Text, node: &Node, now_ms: u64) {
        let all = self.0.lock().clone();
        if all.is_empty() {
            return;
        }
        let label = |(realm, name): &(String, String)| {
            let id = name.strip_prefix(PREFIX).unwrap_or(name);
            format!("realm=\"{}\",service=\"{}\"", escaped(realm), escaped(id))
        };
        for (name, kind, help, value) in METRICS {
            let name = format!("fennec_service_{name}");
            text.family(&name, kind, help);
            all.iter().for_each(|(key, seen)| text.sample(&name, &label(key), value(seen)));
        }
        let lags: Vec<_> = all.keys().map(|key| (label(key), node.consumers.lag(&key.0, &key.1))).collect();
        text.family("fennec_service_lag_events", "gauge", "Events that wait for the service.");
        lags.iter().for_each(|(label, lag)| text.sample("fennec_service_lag_events", label, lag.events));
        text.family("fennec_service_lag_seconds", "gauge", "Age of the oldest event that waits and was read.");
        for (label, lag) in &lags {
            let seconds = lag.oldest_us.map_or(0, |us| now_ms.saturating_sub(us / 1000) / 1000);
            text.sample("fennec_service_lag_seconds", label, seconds);
        }
    }
}
