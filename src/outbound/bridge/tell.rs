//! What clients are told of bridges: `fennec.bridge.up` and `fennec.bridge.down`, and Mosquitto's `$SYS` topic.

use std::sync::Arc;

use super::status::{State, Status};
use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::node::realm::Realm;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// A bridge has come up or gone down.
pub(super) fn changed(node: &Arc<Node>, realm: &Arc<Realm>, status: &Status, now_ms: u64) {
    let is_up = status.state == State::Up;
    let told = serde_json::json!({ "name": status.name, "address": status.address, "error": status.error });
    let event = if is_up { "fennec/bridge/up" } else { "fennec/bridge/down" };
    publish(node, realm, event, told.to_string().as_bytes(), false, now_ms);
    // mosquitto(8), Broker Status.
    let state = format!("$SYS/broker/connection/{}/state", status.client_id);
    publish(node, realm, &state, if is_up { b"1" } else { b"0" }, true, now_ms);
}

fn publish(node: &Arc<Node>, realm: &Arc<Realm>, topic: &str, payload: &[u8], retain: bool, now_ms: u64) {
    let Ok(topic) = Topic::from_name(topic) else { return };
    let publication = Publication {
        payload: PayloadRef::Bytes(payload),
        qos: Node::UNSAID_QOS,
        retain,
        properties: None,
        publisher: None,
        expires_in_s: None,
        exclude_publisher: false,
        filter: None,
        condition: None,
        packet: None,
        backing: None,
    };
    node.publish_as_broker(realm, &Arc::new(topic), &publication, Protocol::Mqtt, now_ms);
}
