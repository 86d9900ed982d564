//! How the node asks a gate to encode: the one place where lower floors reach wire formats, through a trait.

use std::sync::Arc;

use super::metrics::Protocol;
use super::revoke::Revoked;
use super::session::{Session, Touched};
use crate::router::output::Output;
use crate::types::event::{Event, Terms};
use crate::types::ids::SubscriptionId;

/// Says which encoding a session's connection speaks: MQTT 3.1.1, WAMP JSON over WebSocket, …
///
/// One static value per encoding; two references are the same encoding if their [`Wire::id`] is the same.
pub trait Wire: Send + Sync {
    /// Distinguishes encodings.
    fn id(&self) -> WireId;

    /// What it belongs to.
    fn protocol(&self) -> Protocol {
        Protocol::Mqtt
    }

    /// Appends one copy of `event` to `out`.
    ///
    /// If `split` is true the payload may be left out when it ends the frame: the caller sends it behind, shared.
    ///
    /// # Errors
    /// The event cannot be said in this encoding; nothing is sent.
    fn event(&self, event: &Event<'_>, terms: &Terms, split: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable>;

    /// Appends what tells that the broker has ended a subscription; nothing if that cannot be said. `told`: the client has
    /// announced that it understands.
    fn revoked(&self, subscription: SubscriptionId, why: Revoked, told: bool, out: &mut Vec<u8>) {
        let _ = (subscription, why, told, out);
    }

    /// Appends what tells that all events of a snapshot were sent. `name`: as it was asked for, with this identifier.
    fn snapshot_end(&self, name: &str, identifier: Option<u32>, out: &mut Vec<u8>) {
        let _ = (name, identifier, out);
    }

    /// Gives a call's message to a session of this wire.
    ///
    /// # Errors
    /// The session cannot take it: it is larger than the session accepts, or cannot be encoded.
    fn rpc(
        &self,
        to: &Arc<Session>,
        output: &Output<'_, Arc<Session>>,
        touched: &mut Touched,
    ) -> Result<(), Unencodable>;
}

/// Names an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireId(pub u8);

/// A reference to a static encoding, compared by id.
#[derive(Clone, Copy)]
pub struct WireRef(pub &'static dyn Wire);

impl PartialEq for WireRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl std::fmt::Debug for WireRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.id().fmt(f)
    }
}

/// Where the parts of an encoded copy are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoded {
    /// Offset in `out` of the packet identifier, to be written for each receiver.
    pub packet_id_at: Option<usize>,
    /// The payload was left out: send it behind.
    pub body_left_out: bool,
}

/// This copy cannot be given to this receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    #[error("larger than the receiver takes")]
    TooLarge,
    #[error("the payload cannot be translated to the receiver's encoding")]
    Payload,
    #[error("the receiver's queue is full")]
    Full,
    #[error("the receiver is gone")]
    Gone,
}
