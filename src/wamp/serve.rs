//! Sessions made ready for their connections: put one of these into a [`Pump`](crate::net::pump::Pump).

mod rawsocket;

use std::sync::Arc;

pub use rawsocket::RawSocket;

use super::serializer::{Encoding, Wire};
use super::session::{Access, WampGate};
use crate::net::websocket::{Keepalive, WebSocket};
use crate::node::Node;
use crate::node::metrics::{Protocol, Tally};
use crate::types::peer::Peer;

/// The gate of a WebSocket whose client and server agreed on the subprotocol of `encoding`. TLS, `Origin` and the upgrade
/// are done.
pub fn websocket(
    node: &Arc<Node>,
    access: Access,
    peer: Arc<Peer>,
    encoding: Encoding,
    now_ms: u64,
) -> WebSocket<WampGate> {
    over_websocket(node, access, peer, encoding, keepalive(node), now_ms)
}

/// The same of a long-poll transport, which is heard of whenever its client asks.
pub fn long_poll(
    node: &Arc<Node>,
    access: Access,
    peer: Arc<Peer>,
    encoding: Encoding,
    now_ms: u64,
) -> WebSocket<WampGate> {
    let silent = Keepalive { interval_ms: 0, timeout_ms: 0 };
    over_websocket(node, access, peer, encoding, silent, now_ms)
}

fn over_websocket(
    node: &Arc<Node>,
    access: Access,
    peer: Arc<Peer>,
    encoding: Encoding,
    keepalive: Keepalive,
    now_ms: u64,
) -> WebSocket<WampGate> {
    let wire = Wire::websocket(encoding);
    count_opened(node);
    // A WebSocket client has no way to say what it takes at most.
    let gate = WampGate::new(node.clone(), access, peer, encoding, wire, usize::MAX, Arc::default(), now_ms);
    WebSocket::new(gate, node.limits.wamp_websocket_bytes_max, keepalive, now_ms)
}

/// The gate of a connection that begins with a RawSocket handshake.
pub fn rawsocket(node: &Arc<Node>, access: Access, peer: Arc<Peer>, now_ms: u64) -> RawSocket {
    count_opened(node);
    RawSocket::new(node.clone(), access, peer, keepalive(node), now_ms)
}

/// That it ends is counted by its gate.
fn count_opened(node: &Node) {
    node.metrics.of(Protocol::Wamp).add(&mut Tally { connections_opened: 1, ..Tally::default() });
}

fn keepalive(node: &Node) -> Keepalive {
    Keepalive {
        interval_ms: u64::from(node.limits.wamp_ping_interval_s) * 1000,
        timeout_ms: u64::from(node.limits.wamp_ping_timeout_s) * 1000,
    }
}
