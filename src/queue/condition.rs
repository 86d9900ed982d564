//! Conditions on keys: what a publish may ask of the retained value of its topic (fox-wamp's `when`, `watch`, `will`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
