//! `$SYS`: how the broker is doing, as retained messages with Mosquitto's names (mosquitto(8), Broker Status); `log/…`, of the
//! durable log, are our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Node;
use super::metrics::{Protocol, Totals};
use super::publish::Publication;
use super::realm::Realm;
use crate::types::event::Qos;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

impl Node {
    /// Renews the `$SYS` topics of every realm. The numbers are of the whole node, but for those of clients, subscriptions and
    /// retained messages, which are of the realm.
    pub fn publish_sys(self: &Arc<Self>, uptime_s: u64, now_ms: u64) {
        for realm in self.realms() {
            for (name, value) in self.sys(&realm, uptime_s) {
                let Ok(topic) = Topic::from_name(&format!("$SYS/broker/{name}")) else { continue };
                let payload = PayloadRef::Bytes(value.as_bytes());
                let publication = Publication { retain: true, ..Publication::plain(payload, Qos::ExactlyOnce) };
                self.publish_as_broker(&realm, &Arc::new(topic), &publication, Protocol::Mqtt, now_ms);
            }
        }
    }

    fn sys(&self, realm: &Realm, uptime_s: u64) -> Vec<(&'static str, String)> {
        let mqtt = self.metrics.of(Protocol::Mqtt);
        let all = |of: fn(&Totals) -> &AtomicU64| -> u64 {
            Protocol::ALL.iter().map(|protocol| read(of(self.metrics.of(*protocol)))).sum()
        };
        let dropped: u64 =
            Protocol::ALL.iter().flat_map(|protocol| &self.metrics.of(*protocol).dropped).map(read).sum();
        let (connected, total) = realm.clients.count();
        let (log, report) = (&self.log, self.log.report());
        let (retained, retained_bytes) = realm.retained_size();
        [
            ("uptime", format!("{uptime_s} seconds")),
            ("version", format!("fennec version {}", env!("CARGO_PKG_VERSION"))),
            ("clients/total", total.to_string()),
            ("clients/connected", connected.to_string()),
            ("clients/active", connected.to_string()),
            ("clients/disconnected", (total - connected).to_string()),
            ("clients/inactive", (total - connected).to_string()),
            ("messages/received", read(&mqtt.messages_in).to_string()),
            ("publish/messages/received", all(|totals| &totals.publishes_in).to_string()),
            ("publish/messages/sent", all(|totals| &totals.deliveries).to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("publish/bytes/sent", all(|totals| &totals.delivery_bytes).to_string()),
            ("bytes/received", read(&mqtt.bytes_in).to_string()),
            ("bytes/sent", read(&mqtt.bytes_out).to_string()),
            ("retained messages/count", retained.to_string()),
            ("store/messages/count", retained.to_string()),
            ("store/messages/bytes", retained_bytes.to_string()),
            ("subscriptions/count", realm.subscriptions_len().to_string()),
            ("log/messages", read(&log.counts.messages).to_string()),
            ("log/bytes", read(&log.counts.bytes).to_string()),
            ("log/last", log.fed().to_string()),
            ("log/unresolved/bytes", log.unresolved_bytes().to_string()),
            ("log/failures", read(&log.counts.failures).to_string()),
            ("log/alarms", log.alarms().len().to_string()),
            ("log/stopped", log.health().unwrap_or_default()),
            ("log/sessions/behind", report.census.session_behind_max.to_string()),
            ("log/subscriptions/behind", report.census.durable_behind_max.to_string()),
        ]
        .into()
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
