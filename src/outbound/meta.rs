//! Events by which the broker tells how services, uplinks and bridges are.

use std::sync::Arc;

use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::node::realm::Realm;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Tells whoever may hear it. The event has one argument, a dict of these entries.
pub(super) fn tell(node: &Arc<Node>, realm: &Arc<Realm>, uri: &str, said: Vec<(&str, Value)>, now_ms: u64) {
    let Ok(topic) = Topic::from_uri(uri) else { return };
    let args = Value::List(vec![Value::map(said)]).to_bytes(Format::MsgPack);
    let payload = PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None };
    let publication = Publication::plain(payload, Node::UNSAID_QOS);
    node.publish_as_broker(realm, &Arc::new(topic), &publication, Protocol::Wamp, now_ms);
}
