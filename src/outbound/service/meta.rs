//! What subscribers are told of services: `fennec.service.up`, `fennec.service.down`, `fennec.service.disabled`.

use std::sync::Arc;

use super::machine::{Status, Stored};
use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::node::realm::Realm;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Tells that a service has become `status`.
pub(super) fn tell(node: &Arc<Node>, realm: &Arc<Realm>, id: &str, status: Status, stored: &Stored, now_ms: u64) {
    let Ok(topic) = Topic::from_uri(&format!("fennec.service.{}", status.name())) else { return };
    let mut said = vec![("service", Value::from(id)), ("attempts", Value::from(u64::from(stored.attempts)))];
    said.extend(stored.last_error.as_deref().map(|error| ("error", Value::from(error))));
    let args = Value::List(vec![Value::map(said)]).to_bytes(Format::Json);
    let publication = Publication {
        payload: PayloadRef::Args { format: Format::Json, args: Some(&args), kwargs: None },
        qos: Node::UNSAID_QOS,
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
    node.publish_as_broker(realm, &Arc::new(topic), &publication, Protocol::Http, now_ms);
}
