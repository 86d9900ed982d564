//! What a publisher or caller sent along, in the encoding it came in.

use bytes::Bytes;

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
    /// Arguments, each still encoded in `format`: `args` is an encoded list, `kwargs` an encoded map.
    Args { format: Format, args: Option<&'a [u8]>, kwargs: Option<&'a [u8]> },
}

/// An owned payload; cloning shares the bytes.
#[derive(Clone, Debug)]
pub enum Payload {
    Bytes(Bytes),
    Args { format: Format, args: Option<Bytes>, kwargs: Option<Bytes> },
}
