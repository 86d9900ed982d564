//! Events of the broker that tell how uplinks are doing: `fennec.uplink.up`, `.down`, `.resync`, `.gap`.

use std::sync::Arc;

use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::types::event::Qos;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Tells everybody in a realm who may hear it.
pub(super) fn tell(node: &Arc<Node>, realm: &str, what: &str, id: &str, why: &str, now_ms: u64) {
    let (Some(realm), Ok(topic)) = (node.realm(realm), Topic::from_uri(&format!("fennec.uplink.{what}"))) else {
        return;
    };
    let mut entries = vec![("uplink", Value::from(id))];
    if !why.is_empty() {
        entries.push(("reason", Value::from(why)));
    }
    let args = Value::List(vec![Value::map(entries)]).to_bytes(Format::MsgPack);
    let publication = Publication {
        payload: PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None },
        qos: Qos::AtMostOnce,
        retain: false,
        properties: None,
        publisher: None,
        expires_in_s: None,
        exclude_publisher: false,
        filter: None,
        condition: None,
        packet: None,
        backing: None,
    };
    node.publish_as_broker(&realm, &Arc::new(topic), &publication, Protocol::Wamp, now_ms);
}
