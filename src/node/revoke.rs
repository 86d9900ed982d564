//! Subscriptions that the broker ends: a snapshot that is over, a durable subscription that another session has taken.

use std::sync::Arc;

use super::Node;
use super::realm::Realm;
use super::session::{Session, Touched};
use crate::types::ids::SubscriptionId;

/// Why the broker ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// All that a snapshot was to hold has been sent.
    SnapshotEnd,
    /// Another session reads the named durable subscription now.
    TakenOver,
    /// The named durable subscription was removed.
    Removed,
    /// What it asked for cannot be read.
    Unreadable,
}

impl Revoked {
    /// As subscribers are told.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::SnapshotEnd => "fennec.close.snapshot_end",
            Self::TakenOver => "fennec.close.taken_over",
            Self::Removed => "fennec.close.removed",
            Self::Unreadable => "fennec.error.store_unavailable",
        }
    }
}

impl Realm {
    /// Ends a subscription for events of its own, and tells the session. Does nothing if the session does not have it any more.
    pub fn revoke(
        self: &Arc<Self>,
        node: &Arc<Node>,
        session: &Arc<Session>,
        subscription: SubscriptionId,
        why: Revoked,
    ) {
        if !session.mailbox().subscriptions.contains(&subscription) {
            return;
        }
        let moved = session.mailbox().halt_reader(subscription);
        let mut touched = Touched::default();
        self.unsubscribe_id(session, subscription, |_, mailbox| {
            let Some(wire) = mailbox.online().map(|online| online.wire) else { return };
            let told = session.is_told_of_revocations();
            mailbox.outbox.reply_with(|out| wire.0.revoked(subscription, why, told, out));
            touched.note(mailbox);
        });
        touched.wake();
        node.record(&self.name, moved.into_iter().collect());
    }
}
