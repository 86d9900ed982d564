//! UNSUBSCRIBED for what the broker ends (WAMP, Subscription Revocation).

use crate::node::revoke::Revoked;
use crate::types::ids::{PublicationId, RequestId, SubscriptionId};
use crate::types::payload::PayloadRef;
use crate::wamp::message::{DictWriter, Message};
use crate::wamp::serializer::Wire;

/// Appends a whole frame; none to a client that would not understand it, but for the end of a snapshot: that is an EVENT without a
/// payload then.
pub(super) fn append(wire: Wire, subscription: SubscriptionId, why: Revoked, told: bool, out: &mut Vec<u8>) {
    let mut details = DictWriter::new(wire.format);
    let message = if told {
        details.uint("subscription", subscription.0);
        details.text("reason", why.uri());
        Message::Unsubscribed { request: RequestId(0), details: details.finish() }
    } else if why == Revoked::SnapshotEnd {
        details.bool("snapshot_end", true);
        // As good as no publication has it.
        let publication = PublicationId(1);
        Message::Event { subscription, publication, details: details.finish(), payload: PayloadRef::NONE }
    } else {
        return;
    };
    // It is never too large for a frame.
    let _ = wire.append(&message, out);
}
