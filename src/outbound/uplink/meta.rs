//! Events of the broker that tell how uplinks are doing: `fennec.uplink.up`, `.down`, `.resync`, `.gap`.

use std::sync::Arc;

use crate::node::Node;
use crate::outbound::meta;
use crate::types::value::Value;

/// Tells everybody in a realm who may hear it.
pub(super) fn tell(node: &Arc<Node>, realm: &str, what: &str, id: &str, why: &str, now_ms: u64) {
    let Some(realm) = node.realm(realm) else { return };
    let mut said = vec![("uplink", Value::from(id))];
    if !why.is_empty() {
        said.push(("reason", Value::from(why)));
    }
    meta::tell(node, &realm, &format!("fennec.uplink.{what}"), said, now_ms);
}
