//! The row of a key's value.
//!
//! ```text
//! number u64 | minute u32 | generator u64 | offset u32 | publisher u64 | flags u8 | (extras len u32 | extras, MessagePack) | payload
//! flags = qos (2 bits) | format (2 bits: bytes, JSON, MessagePack, CBOR) << 2 | has extras << 4
//! ```
//!
//! Numbers are little-endian; the payload is as in [`crate::queue::message`].

use crate::queue::message::{Extras, Malformed, Reader, write_payload};
use crate::types::event::Qos;
use crate::types::event_id::EventId;
use crate::types::payload::{Format, PayloadRef};

const HAS_EXTRAS: u8 = 16;

/// The value of a key, borrowed from its row: all of the event that set it but the topic, which is in the row's key.
#[derive(Clone, Copy, Debug)]
pub struct KeyRow<'a> {
    pub number: u64,
    pub id: EventId,
    /// The session that set it; 0: none.
    pub publisher: u64,
    pub qos: Qos,
    pub payload: PayloadRef<'a>,
    raw_extras: Option<&'a [u8]>,
}

impl<'a> KeyRow<'a> {
    pub(in crate::queue::state) fn new(
        (number, id): (u64, EventId),
        publisher: u64,
        qos: Qos,
        payload: PayloadRef<'a>,
        raw_extras: Option<&'a [u8]>,
    ) -> Self {
        Self { number, id, publisher, qos, payload, raw_extras }
    }

    pub fn encode(&self) -> Vec<u8> {
        let format = match self.payload {
            PayloadRef::Bytes(_) => 0,
            PayloadRef::Args { format: Format::Json, .. } => 1,
            PayloadRef::Args { format: Format::MsgPack, .. } => 2,
            PayloadRef::Args { format: Format::Cbor, .. } => 3,
        };
        let mut out = Vec::with_capacity(49 + self.raw_extras.map_or(0, <[u8]>::len) + self.payload.len());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.id.minute.to_le_bytes());
        out.extend_from_slice(&self.id.generator.to_le_bytes());
        out.extend_from_slice(&self.id.offset.to_le_bytes());
        out.extend_from_slice(&self.publisher.to_le_bytes());
        out.push(self.qos as u8 | format << 2 | if self.raw_extras.is_some() { HAS_EXTRAS } else { 0 });
        if let Some(extras) = self.raw_extras {
            out.extend_from_slice(&(extras.len() as u32).to_le_bytes());
            out.extend_from_slice(extras);
        }
        write_payload(self.payload, &mut out);
        out
    }

    /// Reads a row's value.
    ///
    /// # Errors
    /// It is damaged.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes };
        let number = reader.u64()?;
        let id = EventId { minute: reader.u32()?, generator: reader.u64()?, offset: reader.u32()? };
        let publisher = reader.u64()?;
        let flags = reader.u8()?;
        let qos = match flags & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(Malformed),
        };
        let format = match flags >> 2 & 3 {
            0 => None,
            1 => Some(Format::Json),
            2 => Some(Format::MsgPack),
            _ => Some(Format::Cbor),
        };
        let raw_extras = match flags & HAS_EXTRAS {
            0 => None,
            _ => {
                let len = reader.u32()?;
                Some(reader.take(len as usize)?)
            }
        };
        Ok(Self { number, id, publisher, qos, payload: reader.payload(format)?, raw_extras })
    }

    /// What the event had beside its payload.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn extras(&self) -> Result<Option<Extras>, Malformed> {
        self.raw_extras.map(|bytes| rmp_serde::from_slice(bytes).map_err(|_| Malformed)).transpose()
    }

    /// When it stops to be a value: microseconds since 1970.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn expires_at_us(&self) -> Result<Option<u64>, Malformed> {
        let at_ms = self.extras()?.and_then(|extras| extras.expires_at_ms);
        Ok(at_ms.map(|at_ms| at_ms.saturating_mul(1000)))
    }
}
