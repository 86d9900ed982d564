//! What the node asks this gate to encode: events and the messages of calls, straight into frames.
//!
//! One static value per serialization and framing; sessions with the same one are sent the same bytes.

mod event;
mod revoked;
mod rpc;
#[cfg(test)]
mod tests;

pub(super) use rpc::text_args;

use std::sync::Arc;

use super::serializer::{self, Framing, SEPARATOR, SEPARATOR_DECIMAL};
use crate::node::metrics::Protocol;
use crate::node::revoke::Revoked;
use crate::node::session::{Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::output::Output;
use crate::types::event::{Event, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::payload::Format;

/// Ids of WAMP's wires begin here; MQTT's are below.
const FIRST_ID: u8 = 16;
const FRAMINGS: u8 = 4;

struct GateWire {
    id: WireId,
    wire: serializer::Wire,
}

const fn wire(format: Format, framing: Framing) -> GateWire {
    GateWire { id: WireId(FIRST_ID + place(format, framing)), wire: serializer::Wire { format, framing } }
}

const fn place(format: Format, framing: Framing) -> u8 {
    let format = match format {
        Format::Json => 0,
        Format::MsgPack => 1,
        Format::Cbor => 2,
    };
    let framing = match framing {
        Framing::WebSocket => 0,
        Framing::RawSocket => 1,
        Framing::WebSocketBatched { separator: SEPARATOR_DECIMAL } => 3,
        Framing::WebSocketBatched { .. } => 2,
    };
    format * FRAMINGS + framing
}

const fn wires(format: Format) -> [GateWire; FRAMINGS as usize] {
    [
        wire(format, Framing::WebSocket),
        wire(format, Framing::RawSocket),
        wire(format, Framing::WebSocketBatched { separator: SEPARATOR }),
        wire(format, Framing::WebSocketBatched { separator: SEPARATOR_DECIMAL }),
    ]
}

static WIRES: [[GateWire; FRAMINGS as usize]; 3] = [wires(Format::Json), wires(Format::MsgPack), wires(Format::Cbor)];

/// The wire of connections that write so.
pub fn of(wire: serializer::Wire) -> WireRef {
    let place = usize::from(place(wire.format, wire.framing));
    WireRef(&WIRES[place / usize::from(FRAMINGS)][place % usize::from(FRAMINGS)])
}

impl Wire for GateWire {
    fn id(&self) -> WireId {
        self.id
    }

    fn protocol(&self) -> Protocol {
        Protocol::Wamp
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, _: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        event::append(self.wire, event, terms, out)?;
        Ok(Encoded::default())
    }

    fn revoked(&self, subscription: SubscriptionId, why: Revoked, told: bool, out: &mut Vec<u8>) {
        revoked::append(self.wire, subscription, why, told, out);
    }

    fn rpc(
        &self,
        to: &Arc<Session>,
        output: &Output<'_, Arc<Session>>,
        touched: &mut Touched,
    ) -> Result<(), Unencodable> {
        rpc::give(self.wire, to, output, touched)
    }
}
