//! What clients are told of bridges: `fennec.bridge.up` and `fennec.bridge.down`, and Mosquitto's `$SYS` topic.

use std::sync::Arc;

use super::status::{State, Status};
use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::node::realm::Realm;
use crate::outbound::meta;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// A bridge has come up or gone down.
pub(super) fn changed(node: &Arc<Node>, realm: &Arc<Realm>, status: &Status, now_ms: u64) {
    let is_up = status.state == State::Up;
    let error = status.error.as_deref().map_or(Value::Null, Value::from);
    let said = vec![
        ("name", Value::from(status.name.as_str())),
        ("address", Value::from(status.address.as_str())),
        ("error", error),
    ];
    meta::tell(node, realm, if is_up { "fennec.bridge.up" } else { "fennec.bridge.down" }, said, now_ms);
    // mosquitto(8), Broker Status.
    let Ok(topic) = Topic::from_name(&format!("$SYS/broker/connection/{}/state", status.client_id)) else { return };
    let payload = PayloadRef::Bytes(if is_up { b"1" } else { b"0" });
    let publication = Publication { retain: true, ..Publication::plain(payload, Node::UNSAID_QOS) };
    node.publish_as_broker(realm, &Arc::new(topic), &publication, Protocol::Mqtt, now_ms);
}
