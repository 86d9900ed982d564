//! Payload bytes to arguments and back. `docs/mapping-payloads.md` has the rules as tables.
//!
//! A document is what the bytes are when decoded: JSON, or whatever the codec says. Three kinds of documents stand for
//! arguments: a list is the args; an *envelope*, a map with no keys but `args` (a list) and `kwargs` (a map), is those; anything
//! else is the only arg. The way back writes the simplest document that is not mistaken for another kind.

use std::borrow::Cow;

use super::{Args, Codec, Format, NotInCodec};
use crate::types::value::read::{Container, Scalar, Sink};
use crate::types::value::write::{Writer, with_writer};
use crate::types::value::{Raw, Value};

/// A value in `format`; a copy only if it is not.
pub fn transcoded<'a>(raw: Raw<'a>, format: Format) -> Cow<'a, [u8]> {
    if raw.format() == format {
        return raw.bytes().into();
    }
    let mut out = Vec::with_capacity(raw.bytes().len());
    raw.encode(format, &mut out);
    out.into()
}

/// MQTT to WAMP.
pub fn to_args<'a>(bytes: &'a [u8], codec: Codec, format: Format) -> Result<Args<'a>, NotInCodec> {
    if bytes.is_empty() {
        return Ok(Args::NONE);
    }
    let document = match codec {
        Codec::Raw => return Ok(one_scalar(Scalar::Bytes(bytes.into()), format)),
        Codec::Auto => Format::Json,
        Codec::Json => Format::Json,
        Codec::Cbor => Format::Cbor,
        Codec::MsgPack => Format::MsgPack,
    };
    match Raw::parse(document, bytes) {
        Ok(raw) => Ok(document_to_args(raw, format)),
        Err(_) if codec == Codec::Auto => Ok(one_scalar(text_or_binary(bytes), format)),
        Err(source) => Err(NotInCodec { format: document, source }),
    }
}

/// A text that begins with NUL stays binary, for in JSON it would look like binary (WAMP, Binary support in JSON).
fn text_or_binary(bytes: &[u8]) -> Scalar<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('\0') => Scalar::Text(text.into()),
        _ => Scalar::Bytes(bytes.into()),
    }
}

/// Bytes as the document that they are; else as a text or binary.
pub fn read_document(bytes: &[u8], codec: Codec) -> Value {
    let document = match codec {
        Codec::Raw => return Value::Bytes(bytes.to_vec()),
        Codec::Auto | Codec::Json => Format::Json,
        Codec::Cbor => Format::Cbor,
        Codec::MsgPack => Format::MsgPack,
    };
    Value::decode(document, bytes).unwrap_or_else(|_| text_or_binary(bytes).into_value())
}

pub fn document_to_args<'a>(raw: Raw<'a>, format: Format) -> Args<'a> {
    if raw.is_list() {
        return Args { args: Some(transcoded(raw, format)), kwargs: None };
    }
    if let Some((args, kwargs)) = envelope(raw) {
        return Args {
            args: args.map(|args| transcoded(args, format)),
            kwargs: kwargs.map(|kwargs| transcoded(kwargs, format)),
        };
    }
    one_arg(format, |out| raw.encode(format, out))
}

/// The two parts of an envelope; at least one is there.
fn envelope(raw: Raw<'_>) -> Option<(Option<Raw<'_>>, Option<Raw<'_>>)> {
    if !raw.is_map() {
        return None;
    }
    let (mut args, mut kwargs) = (None, None);
    for (key, value) in raw.entries() {
        let part = match key.as_ref() {
            "args" if value.is_list() => &mut args,
            "kwargs" if value.is_map() => &mut kwargs,
            _ => return None,
        };
        if part.replace(value).is_some() {
            return None;
        }
    }
    (args.is_some() || kwargs.is_some()).then_some((args, kwargs))
}

fn one_scalar<'a>(scalar: Scalar<'_>, format: Format) -> Args<'a> {
    one_arg(format, |out| with_writer!(format, out, writer => writer.scalar(scalar)))
}

/// A list around the one value that `write` appends.
fn one_arg<'a>(format: Format, write: impl FnOnce(&mut Vec<u8>)) -> Args<'a> {
    let mut out = Vec::new();
    match format {
        Format::Json => {
            out.push(b'[');
            write(&mut out);
            out.push(b']');
        }
        Format::MsgPack => {
            out.push(0x91);
            write(&mut out);
        }
        Format::Cbor => {
            out.push(0x81);
            write(&mut out);
        }
    }
    Args { args: Some(out.into()), kwargs: None }
}

/// WAMP to MQTT.
pub fn to_bytes<'a>(format: Format, args: Option<&'a [u8]>, kwargs: Option<&'a [u8]>, codec: Codec) -> Cow<'a, [u8]> {
    let document = match codec {
        Codec::Auto | Codec::Raw | Codec::Json => Format::Json,
        Codec::Cbor => Format::Cbor,
        Codec::MsgPack => Format::MsgPack,
    };
    let args = args.map(|args| Raw::checked(format, args)).filter(|args| !args.is_empty_container());
    let kwargs = kwargs.map(|kwargs| Raw::checked(format, kwargs)).filter(|kwargs| !kwargs.is_empty_container());
    match (args, kwargs) {
        (None, None) => Cow::default(),
        (None, Some(kwargs)) if envelope(kwargs).is_none() => transcoded(kwargs, document),
        (Some(args), None) => args_to_document(args, codec, document),
        (args, kwargs) => write_envelope(args, kwargs, document),
    }
}

fn args_to_document<'a>(args: Raw<'a>, codec: Codec, document: Format) -> Cow<'a, [u8]> {
    let mut items = args.items();
    let only = match (items.next(), items.next()) {
        (Some(only), None) => only,
        (Some(_), Some(_)) => return transcoded(args, document),
        // No list: arguments hidden in binary (WAMP, payload passthru).
        (None, _) => args,
    };
    if matches!(codec, Codec::Auto | Codec::Raw)
        && let Some(binary) = only.as_binary()
    {
        return binary;
    }
    if codec == Codec::Raw
        && let Some(text) = only.as_text()
    {
        return cow_bytes(text);
    }
    if only.is_list() || envelope(only).is_some() {
        return write_envelope(Some(args), None, document);
    }
    transcoded(only, document)
}

fn cow_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
}

fn write_envelope<'a>(args: Option<Raw<'_>>, kwargs: Option<Raw<'_>>, document: Format) -> Cow<'a, [u8]> {
    let parts = [("args", args), ("kwargs", kwargs)];
    let len = parts.iter().filter(|(_, part)| part.is_some()).count();
    let mut out = Vec::new();
    with_writer!(document, &mut out, writer => {
        writer.open(Container::Map, Some(len));
        for (key, part) in parts {
            if let Some(part) = part {
                writer.map_key(key);
                writer.raw(&transcoded(part, document));
            }
        }
        writer.close(Container::Map, len);
    });
    out.into()
}
