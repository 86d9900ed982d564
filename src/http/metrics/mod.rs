//! `GET /metrics`: the node's counters in Prometheus' text format, version 0.0.4.

use std::sync::atomic::AtomicU64;

mod log;
mod text;

pub use text::{Text, escaped, read};

use super::Server;
use super::sse;
use crate::node::Node;
use crate::node::metrics::{Drop, Limited, Protocol, Totals};
use crate::router::broker::Subscriber;

/// The type that Prometheus asks for.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A counter of a protocol: name, help, where it is.
type Counter = (&'static str, &'static str, fn(&Totals) -> &AtomicU64);

const COUNTERS: [Counter; 12] = [
    ("connections_opened_total", "Connections taken.", |t| &t.connections_opened),
    ("connections_refused_total", "Connections closed at once: there were limits.connections_max.", |t| {
        &t.connections_refused
    }),
    ("handshake_failures_total", "Connections that ended before they had a session.", |t| &t.handshake_failures),
    ("auth_failures_total", "Connections or requests with wrong credentials.", |t| &t.auth_failures),
    ("protocol_errors_total", "Connections closed because their peer broke the protocol.", |t| &t.protocol_errors),
    ("received_bytes_total", "Bytes read from connections.", |t| &t.bytes_in),
    ("sent_bytes_total", "Bytes written to connections.", |t| &t.bytes_out),
    ("received_messages_total", "MQTT packets, WAMP messages, HTTP requests.", |t| &t.messages_in),
    ("publishes_total", "Publications received.", |t| &t.publishes_in),
    ("deliveries_total", "Copies of events given to subscribers, by the protocol of the publisher.", |t| &t.deliveries),
    ("delivered_bytes_total", "Bytes of these copies.", |t| &t.delivery_bytes),
    ("calls_total", "Calls received.", |t| &t.calls_in),
];

/// What is counted when it is asked for.
#[derive(Default)]
struct Census {
    /// By [`Protocol`].
    sessions: [usize; Protocol::ALL.len()],
    outbox_bytes: usize,
    backlog_bytes: usize,
    backlog_messages: usize,
    inflight_messages: usize,
    retained_messages: usize,
    retained_bytes: usize,
    subscriptions: usize,
    registrations: usize,
    calls: usize,
    realms: usize,
    /// Cursors that read on in the log.
    readers_behind: usize,
}

impl Census {
    /// Asks every session; each is locked for a moment.
    fn take(node: &Node) -> Self {
        let mut census = Self::default();
        for realm in node.realms() {
            let (messages, bytes) = realm.retained_size();
            census.realms += 1;
            census.retained_messages += messages;
            census.retained_bytes += bytes;
            census.subscriptions += realm.subscriptions_len();
            {
                let dealer = realm.dealer.lock();
                census.registrations += dealer.registration_count();
                census.calls += dealer.calls_under_way();
            }
            for session in realm.sessions() {
                let protocol = if session.identity.client_id.is_some() {
                    Protocol::Mqtt
                } else if session.wire() == sse::wire() {
                    Protocol::Http
                } else {
                    Protocol::Wamp
                };
                census.sessions[protocol as usize] += 1;
                let mailbox = session.mailbox();
                census.outbox_bytes += mailbox.outbox.bytes();
                census.backlog_bytes += mailbox.backlog.bytes();
                census.backlog_messages += mailbox.backlog.len();
                census.inflight_messages += mailbox.inflight.len();
                census.readers_behind += mailbox.readers_behind();
            }
        }
        census
    }
}

impl Server {
    pub(super) fn metrics(&self) -> String {
        let node = &*self.node;
        let mut text = Text::default();
        write_counters(&mut text, node);
        let census = Census::take(node);
        write_census(&mut text, &census);
        log::write(&mut text, node, census.readers_behind);
        write_limits(&mut text, node);
        let metrics = &node.metrics;
        text.histogram(
            "fennec_handshake_seconds",
            "From the first byte of a connection to its session.",
            &metrics.handshake,
        );
        text.histogram("fennec_batch_seconds", "From a read to the outboxes of the subscribers.", &metrics.batch);
        text.histogram("fennec_call_seconds", "From a call to its final answer.", &metrics.call);
        if let Some(more) = &self.settings.more_metrics {
            more(&mut text);
        }
        text.gauge("fennec_draining", "1 while the broker is stopping.", u8::from(node.is_draining()));
        text.program(self.clock);
        text.0
    }
}

fn write_counters(text: &mut Text, node: &Node) {
    let label = |protocol: Protocol| format!("protocol=\"{}\"", protocol.name());
    text.family("fennec_connections", "gauge", "Open connections.");
    for protocol in Protocol::ALL {
        let totals = node.metrics.of(protocol);
        // Closed first, so that a connection that goes meanwhile does not make it negative.
        let closed = read(&totals.connections_closed);
        let open = read(&totals.connections_opened).saturating_sub(closed);
        text.sample("fennec_connections", &label(protocol), open);
    }
    for (name, help, counter) in COUNTERS {
        let name = format!("fennec_{name}");
        text.family(&name, "counter", help);
        for protocol in Protocol::ALL {
            text.sample(&name, &label(protocol), read(counter(node.metrics.of(protocol))));
        }
    }
    let name = "fennec_dropped_total";
    text.family(
        name,
        "counter",
        "Copies of events or publications that were dropped, by the protocol of the publisher.",
    );
    for protocol in Protocol::ALL {
        for reason in Drop::ALL {
            let labels = format!("{},reason=\"{}\"", label(protocol), reason.name());
            text.sample(name, &labels, read(&node.metrics.of(protocol).dropped[reason as usize]));
        }
    }
}

fn write_limits(text: &mut Text, node: &Node) {
    let name = "fennec_limited_total";
    text.family(name, "counter", "Times that a limit was reached; docs/limits.md says what was done then.");
    for limit in Limited::ALL {
        text.sample(name, &format!("limit=\"{}\"", limit.name()), node.metrics.times_limited(limit));
    }
    let (used, budget) = node.memory.read();
    text.gauge("fennec_memory_used_bytes", "Memory that the process uses.", used);
    text.gauge("fennec_memory_budget_bytes", "Memory that it may use (limits.memory_max); 0: not known.", budget);
    let tight = u8::from(node.memory.is_tight());
    text.gauge("fennec_memory_tight", "1 while connections, subscriptions, publications and calls are refused.", tight);
    let pairs = node.throttle.len();
    text.gauge("fennec_auth_delays", "Pairs of address and user with failed logins that are remembered.", pairs);
}

fn write_census(text: &mut Text, census: &Census) {
    text.family("fennec_sessions", "gauge", "Sessions; of MQTT also those kept without a connection.");
    for protocol in Protocol::ALL {
        let labels = format!("protocol=\"{}\"", protocol.name());
        text.sample("fennec_sessions", &labels, census.sessions[protocol as usize]);
    }
    text.family("fennec_queue_bytes", "gauge", "Bytes that wait for subscribers, of all sessions.");
    text.sample("fennec_queue_bytes", "queue=\"outbox\"", census.outbox_bytes);
    text.sample("fennec_queue_bytes", "queue=\"backlog\"", census.backlog_bytes);
    text.gauge("fennec_backlog_messages", "QoS 1 and 2 messages that wait for sessions.", census.backlog_messages);
    text.gauge("fennec_inflight_messages", "QoS 1 and 2 messages sent and not acknowledged.", census.inflight_messages);
    text.gauge("fennec_retained_messages", "Retained values.", census.retained_messages);
    text.gauge("fennec_retained_bytes", "Bytes of topics and payloads of retained values.", census.retained_bytes);
    text.gauge("fennec_subscriptions", "Topics and patterns that somebody is subscribed to.", census.subscriptions);
    text.gauge("fennec_registrations", "Procedures that somebody is registered for.", census.registrations);
    text.gauge("fennec_calls_under_way", "Calls without a final answer.", census.calls);
    text.gauge("fennec_realms", "Realms.", census.realms);
}
