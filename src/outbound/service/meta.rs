//! What subscribers are told of services: `fennec.service.up`, `fennec.service.down`, `fennec.service.disabled`.

use std::sync::Arc;

use super::machine::{Status, Stored};
use crate::node::Node;
use crate::node::realm::Realm;
use crate::outbound::meta;
use crate::types::value::Value;

/// Tells that a service has become `status`.
pub(super) fn tell(node: &Arc<Node>, realm: &Arc<Realm>, id: &str, status: Status, stored: &Stored, now_ms: u64) {
    let mut said = vec![("service", Value::from(id)), ("attempts", Value::from(u64::from(stored.attempts)))];
    said.extend(stored.last_error.as_deref().map(|error| ("error", Value::from(error))));
    meta::tell(node, realm, &format!("fennec.service.{}", status.name()), said, now_ms);
}
