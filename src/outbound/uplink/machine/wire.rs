//! An exchange as it is sent: one MessagePack map in the arguments of a call, and one in its result. Both have the same keys, for
//! both directions are in one exchange. Keys that are not known are passed over.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::queue::command::PropertiesRow;
use crate::types::payload::{Format, Payload, PayloadRef};
use crate::types::value::Raw;

/// What both ends call this way of speaking.
pub const VERSION: u32 = 1;

/// Brokers that a message may have passed; one that has passed more goes no further.
pub const PASSED_MAX: usize = 16;

/// What is expected next from the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// 0: nothing is known of it.
    pub epoch: u64,
    #[serde(rename = "next_expected")]
    pub next: u64,
}

/// What one end says: what it sends, and what it has of the other end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub version: u32,
    /// The uplink's id at the edge.
    pub edge: String,
    /// Who speaks: an id that is each broker's own.
    pub broker: String,
    #[serde(default)]
    pub epoch: u64,
    /// Number of the first message.
    #[serde(default)]
    pub sequence: u64,
    /// The epoch begins here, with a snapshot of retained values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begin: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Messages of the log behind these that may be for the other end.
    #[serde(default)]
    pub total_pending: u64,
    /// What it has from the other end; absent: it receives nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Ack>,
    /// Request: patterns that the edge sends. Answer: those of them that are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_topics: Option<Vec<String>>,
    /// Request: patterns that the edge wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_topics: Option<Vec<String>>,
    /// Request: percent of a batch to the edge that what is published now gets while there is a backlog; absent: half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_percent: Option<u8>,
    /// Answer: messages of the request that were refused, for the user may not publish there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
}

/// What has one number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    #[serde(rename = "k", default, skip_serializing_if = "Kind::is_event")]
    pub kind: Kind,
    /// As an MQTT topic name.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    #[serde(rename = "q", default)]
    pub qos: u8,
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// How the arguments are written; absent: `body` are bytes.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub format: Option<WireFormat>,
    /// The payload, or the list of arguments, as it was published.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Bytes>,
    /// The arguments by name.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub kwargs: Option<Bytes>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<PropertiesRow>,
    /// The brokers that it has passed, the sender last.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    /// Of a gap: so many messages of the sender's log may be lost at most.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub lost_max: u64,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Event,
    /// A retained value of a snapshot.
    Value,
    /// Messages are lost here.
    Gap,
    /// A number that brings nothing: what it stood for has expired, or is gone.
    Nothing,
}

impl Kind {
    fn is_event(&self) -> bool {
        *self == Kind::Event
    }
}

/// [`Format`] as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireFormat {
    Json,
    MsgPack,
    Cbor,
}

impl From<Format> for WireFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::MsgPack => Self::MsgPack,
            Format::Cbor => Self::Cbor,
        }
    }
}

impl From<WireFormat> for Format {
    fn from(format: WireFormat) -> Self {
        match format {
            WireFormat::Json => Self::Json,
            WireFormat::MsgPack => Self::MsgPack,
            WireFormat::Cbor => Self::Cbor,
        }
    }
}

/// What is no exchange, or of another version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExchange {
    #[error("is no exchange: {0}")]
    Malformed(String),
    #[error("speaks version {0} of the uplink, and this broker version {VERSION}")]
    Version(u32),
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Message {
    /// Something without a topic.
    pub fn of(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Bytes of topic and payload: what it counts for in byte bounds.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.body.as_ref().map_or(0, Bytes::len) + self.kwargs.as_ref().map_or(0, Bytes::len)
    }

    pub fn set_payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Bytes(bytes) => self.body = Some(bytes.clone()),
            Payload::Args { format, args, kwargs } => {
                self.format = Some((*format).into());
                (self.body, self.kwargs) = (args.clone(), kwargs.clone());
            }
        }
    }

    /// The payload; `None`: its arguments are not what they claim to be.
    pub fn payload(&self) -> Option<PayloadRef<'_>> {
        let Some(format) = self.format.map(Format::from) else {
            return Some(PayloadRef::Bytes(self.body.as_deref().unwrap_or_default()));
        };
        let args = self.body.as_deref().map(|bytes| part(format, bytes, is_args)).transpose().ok()?;
        let kwargs = self.kwargs.as_deref().map(|bytes| part(format, bytes, Raw::is_map)).transpose().ok()?;
        Some(PayloadRef::Args { format, args, kwargs })
    }
}

/// A list, or binary if the peers hide their arguments.
fn is_args(raw: Raw<'_>) -> bool {
    raw.is_list() || raw.as_binary().is_some()
}

struct Wrong;

fn part<'a>(format: Format, bytes: &'a [u8], is_right: impl Fn(Raw<'a>) -> bool) -> Result<&'a [u8], Wrong> {
    match Raw::parse(format, bytes) {
        Ok(raw) if is_right(raw) => Ok(raw.bytes()),
        _ => Err(Wrong),
    }
}

impl Exchange {
    /// One MessagePack value.
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain values to memory cannot fail.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoExchange> {
        let exchange: Self =
            crate::types::packed::from_slice(bytes).map_err(|error| NoExchange::Malformed(error.to_string()))?;
        if exchange.version == VERSION { Ok(exchange) } else { Err(NoExchange::Version(exchange.version)) }
    }
}
