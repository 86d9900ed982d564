//! Conditions on keys: what a publish may ask of the retained value of its topic (fox-wamp's `when`, `watch`, `will`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::payload::{Args, Format};
use crate::types::value::Raw;

/// What the retained value of the topic must be for a publish to be applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum When {
    /// There must be none (`when: null`).
    Absent,
    /// It must be a JSON object that has these fields with these values: a JSON object's text.
    Fields(String),
    /// Its last change must be the event of this number (the fencing token of `fennec.key.put`).
    Number(u64),
}

/// The options of a publish that concern the key of its topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub when: Option<When>,
    /// Wait until the condition holds, in the order of arrival, rather than fail.
    pub watch: bool,
    /// A wait ends after this many milliseconds (of log time).
    pub timeout_ms: Option<u64>,
    /// The value that the key gets when the publisher's session goes, unless somebody else has changed it by then.
    pub will: Option<KeyWill>,
    /// The value stays, and nobody's session holds it any more, when the publisher leaves in order (GOODBYE, DISCONNECT).
    #[serde(default)]
    pub stays: bool,
}

/// The value of a key after its setter is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KeyWill {
    /// None any more (`will: null`).
    Erase,
    /// This payload, in the run's payload kind: encoded args and kwargs, or bytes.
    Set { format: StoredFormat, args: Option<Bytes>, kwargs: Option<Bytes> },
}

/// How a stored payload is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredFormat {
    /// Opaque bytes, in `args`.
    #[default]
    Bytes,
    Json,
    MsgPack,
    Cbor,
}

impl When {
    /// Reads what clients write: null, a map of fields, or the number of an event. `None`: it is something else.
    pub fn read(value: Raw<'_>) -> Option<Self> {
        if value.is_null() {
            return Some(Self::Absent);
        }
        if !value.is_map() {
            return value.as_u64().map(Self::Number);
        }
        let mut json = Vec::new();
        value.encode(Format::Json, &mut json);
        String::from_utf8(json).ok().map(Self::Fields)
    }
}

impl KeyWill {
    /// Reads what clients write: null erases; any other value becomes arguments as a JSON payload would
    /// (`docs/mapping-payloads.md`).
    pub fn read(value: Raw<'_>) -> Self {
        if value.is_null() {
            return Self::Erase;
        }
        let Args { args, kwargs } = Args::of_document(value, Format::MsgPack);
        let owned = |part: Option<std::borrow::Cow<'_, [u8]>>| part.map(|part| Bytes::from(part.into_owned()));
        Self::Set { format: StoredFormat::MsgPack, args: owned(args), kwargs: owned(kwargs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Raw<'_> {
        Raw::parse(Format::Json, text.as_bytes()).unwrap()
    }

    #[test]
    fn a_condition_is_null_a_map_or_a_number() {
        assert_eq!(When::read(json("null")), Some(When::Absent));
        assert_eq!(When::read(json("7")), Some(When::Number(7)));
        assert_eq!(When::read(json(r#"{"a":{"b":1}}"#)), Some(When::Fields(r#"{"a":{"b":1}}"#.to_owned())));
        let packed = Raw::parse(Format::MsgPack, b"\x81\xa1a\x01").unwrap();
        assert_eq!(When::read(packed), Some(When::Fields(r#"{"a":1}"#.to_owned())));
        for wrong in ["true", "\"x\"", "[]", "-1", "1.5"] {
            assert_eq!(When::read(json(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_will_becomes_arguments_as_a_payload_does() {
        let set = |args: Option<&'static [u8]>, kwargs: Option<&'static [u8]>| KeyWill::Set {
            format: StoredFormat::MsgPack,
            args: args.map(Bytes::from_static),
            kwargs: kwargs.map(Bytes::from_static),
        };
        assert_eq!(KeyWill::read(json("null")), KeyWill::Erase);
        assert_eq!(KeyWill::read(json("[1,2]")), set(Some(b"\x92\x01\x02"), None));
        assert_eq!(KeyWill::read(json(r#"{"kwargs":{"a":1}}"#)), set(None, Some(b"\x81\xa1a\x01")));
        assert_eq!(KeyWill::read(json(r#"{"a":1}"#)), set(Some(b"\x91\x81\xa1a\x01"), None));
        assert_eq!(KeyWill::read(json("\"x\"")), set(Some(b"\x91\xa1x"), None));
    }
}
