//! What a publisher or caller sent along, in the encoding it came in, and how one protocol's becomes the other's.

use std::borrow::Cow;

use bytes::Bytes;

use super::value::{Malformed, Raw, Value};

mod bridge;

#[cfg(test)]
mod tests;

/// An encoding of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    MsgPack,
    Cbor,
}

/// How payload bytes (MQTT, HTTP) and positional/keyword arguments (WAMP) become each other, per topic pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// JSON if it is JSON, else text, else bytes.
    #[default]
    Auto,
    /// Always one binary argument.
    Raw,
    Json,
    Cbor,
    MsgPack,
}

/// A borrowed payload.
#[derive(Clone, Copy, Debug)]
pub enum PayloadRef<'a> {
    /// Opaque bytes, as MQTT and HTTP publish them.
    Bytes(&'a [u8]),
    /// Arguments, each still encoded in `format` and known to be well-formed: `args` is an encoded list (or binary, if the
    /// peers hide their arguments: WAMP, payload passthru), `kwargs` an encoded map.
    Args { format: Format, args: Option<&'a [u8]>, kwargs: Option<&'a [u8]> },
}

/// An owned payload; cloning shares the bytes.
#[derive(Clone, Debug)]
pub enum Payload {
    Bytes(Bytes),
    Args { format: Format, args: Option<Bytes>, kwargs: Option<Bytes> },
}

/// Arguments for a WAMP message, encoded in the format that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args<'a> {
    /// An encoded list, or binary (payload passthru).
    pub args: Option<Cow<'a, [u8]>>,
    /// An encoded map.
    pub kwargs: Option<Cow<'a, [u8]>>,
}

/// A payload that its topic's codec does not allow. The publisher's fault, or the configuration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not {format}: {source}")]
pub struct NotInCodec {
    pub format: Format,
    pub source: Malformed,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Json => "JSON",
            Format::MsgPack => "MessagePack",
            Format::Cbor => "CBOR",
        })
    }
}

impl<'a> Args<'a> {
    /// Neither args nor kwargs.
    pub const NONE: Args<'static> = Args { args: None, kwargs: None };

    /// What a document stands for: a list is the args, a map of nothing but `args` and `kwargs` is those, anything else the only
    /// argument.
    pub fn of_document(document: Raw<'a>, format: Format) -> Args<'a> {
        bridge::document_to_args(document, format)
    }

    /// As a payload in `format`, the one that the arguments are encoded in.
    pub fn as_payload(&self, format: Format) -> PayloadRef<'_> {
        PayloadRef::Args { format, args: self.args.as_deref(), kwargs: self.kwargs.as_deref() }
    }
}

impl<'a> PayloadRef<'a> {
    /// No payload.
    pub const NONE: PayloadRef<'static> = PayloadRef::Bytes(&[]);

    /// No bytes; neither args nor kwargs, or only empty ones. Retained, it clears.
    pub fn is_empty(self) -> bool {
        let no_parts = |format, part: Option<&[u8]>| match part {
            Some(encoded) => Raw::checked(format, encoded).is_empty_container(),
            None => true,
        };
        match self {
            PayloadRef::Bytes(bytes) => bytes.is_empty(),
            PayloadRef::Args { format, args, kwargs } => no_parts(format, args) && no_parts(format, kwargs),
        }
    }

    /// Encoded bytes, for limits and counters.
    pub fn len(self) -> usize {
        match self {
            PayloadRef::Bytes(bytes) => bytes.len(),
            PayloadRef::Args { args, kwargs, .. } => args.map_or(0, <[u8]>::len) + kwargs.map_or(0, <[u8]>::len),
        }
    }

    /// As the payload of an MQTT or HTTP message.
    pub fn as_bytes(self, codec: Codec) -> Cow<'a, [u8]> {
        match self {
            PayloadRef::Bytes(bytes) => bytes.into(),
            PayloadRef::Args { format, args, kwargs } => bridge::to_bytes(format, args, kwargs, codec),
        }
    }

    /// As the arguments of a WAMP message in `format`.
    ///
    /// # Errors
    /// The codec is [`Codec::Json`], [`Codec::Cbor`] or [`Codec::MsgPack`] and the bytes are not.
    pub fn as_args(self, codec: Codec, format: Format) -> Result<Args<'a>, NotInCodec> {
        match self {
            PayloadRef::Bytes(bytes) => bridge::to_args(bytes, codec, format),
            PayloadRef::Args { format: own, args, kwargs } => {
                let convert = |part: &'a [u8]| bridge::transcoded(Raw::checked(own, part), format);
                Ok(Args { args: args.map(convert), kwargs: kwargs.map(convert) })
            }
        }
    }

    /// The document that the payload is, as an MQTT subscriber would read it: what [`Args::of_document`] undoes. Bytes that are no
    /// document are a text or binary; no payload is null.
    pub fn document(self, codec: Codec) -> Value {
        match self {
            payload if payload.is_empty() => Value::Null,
            PayloadRef::Bytes(bytes) => bridge::read_document(bytes, codec),
            PayloadRef::Args { .. } => Value::decode(Format::Json, &self.as_bytes(Codec::Json)).unwrap_or(Value::Null),
        }
    }

    /// A copy that outlives the buffer.
    pub fn to_owned(&self) -> Payload {
        match *self {
            PayloadRef::Bytes(bytes) => Payload::Bytes(Bytes::copy_from_slice(bytes)),
            PayloadRef::Args { format, args, kwargs } => Payload::Args {
                format,
                args: args.map(Bytes::copy_from_slice),
                kwargs: kwargs.map(Bytes::copy_from_slice),
            },
        }
    }

    /// A copy that outlives the buffer. `backing` is the buffer that the payload was read into: what fills most of it is shared,
    /// what is small beside it is copied, so that it does not keep a whole read alive.
    pub fn store(&self, backing: Option<&Bytes>) -> Payload {
        let Some(chunk) = backing.filter(|chunk| self.len() * 2 >= chunk.len()) else { return self.to_owned() };
        let share = |part: &[u8]| {
            let (start, part_start) = (chunk.as_ptr() as usize, part.as_ptr() as usize);
            let inside = part_start >= start && part_start + part.len() <= start + chunk.len();
            if inside { chunk.slice_ref(part) } else { Bytes::copy_from_slice(part) }
        };
        match *self {
            PayloadRef::Bytes(bytes) => Payload::Bytes(share(bytes)),
            PayloadRef::Args { format, args, kwargs } => {
                Payload::Args { format, args: args.map(share), kwargs: kwargs.map(share) }
            }
        }
    }
}

impl Payload {
    /// The bytes, to be sent along with others' frames. `None` for arguments: they are never a frame's end.
    pub fn shared_bytes(&self) -> Option<Bytes> {
        match self {
            Payload::Bytes(bytes) => Some(bytes.clone()),
            Payload::Args { .. } => None,
        }
    }

    pub fn as_ref(&self) -> PayloadRef<'_> {
        match self {
            Payload::Bytes(bytes) => PayloadRef::Bytes(bytes),
            Payload::Args { format, args, kwargs } => {
                PayloadRef::Args { format: *format, args: args.as_deref(), kwargs: kwargs.as_deref() }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// Encoded bytes, for limits and counters.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }
}
