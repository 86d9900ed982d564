//! A dynamic value, as JSON, MessagePack and CBOR all can say it, and how it is read and written in the three formats.
//!
//! - [`Raw`]: one value still encoded, known to be well-formed; its parts are found on demand, nothing is copied.
//! - [`Value`]: a decoded value, for the few places that look into one (details, options, procedures of the broker).
//! - [`read`]: one recursive walk over an encoded value for all formats; what becomes of the parts is a [`read::Sink`]'s
//!   matter: nothing (a check), a [`Value`], or another format ([`mod@write`]).
//!
//! What the formats cannot all say is mapped as follows. Binary in JSON is a text of `\0` and base64 (WAMP, Binary support
//! in JSON). CBOR `undefined` and MessagePack ext type 0 (JavaScript's `undefined`) are null. Other MessagePack ext types are
//! their bytes, timestamps seconds. CBOR tags are dropped, bignums become numbers. Map keys that are numbers, booleans or null
//! become text when decoded; a list or map as key is an error. Floats that JSON cannot say (NaN, infinite) become null there.

use std::borrow::Cow;

pub mod cbor;
pub mod json;
pub mod msgpack;
pub mod raw;
pub mod read;
mod serde;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use raw::Raw;

use super::payload::Format;

/// Deepest nesting of lists and maps that is read. Deeper values are refused, so that no stack overflows.
pub const DEPTH_MAX: usize = 128;

/// A decoded value. Maps keep the order in which their keys came, duplicates too.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// A negative or small integer.
    Int(i64),
    /// An integer above `i64::MAX`; smaller ones are always [`Value::Int`].
    Uint(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// Bytes that are not one value of their format. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    pub what: &'static str,
    /// Offset into the bytes that were read.
    pub at: usize,
}

impl Value {
    /// Decodes `bytes`, which must be exactly one value of `format`.
    pub fn decode(format: Format, bytes: &[u8]) -> Result<Value, Malformed> {
        Ok(Raw::parse(format, bytes)?.to_value())
    }

    /// Appends the value in `format`.
    pub fn encode(&self, format: Format, out: &mut Vec<u8>) {
        write::value(self, format, out);
    }

    /// The value in `format`.
    pub fn to_bytes(&self, format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(format, &mut out);
        out
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A non-negative integer; that includes a float without a fraction, up to 2^53.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(value) => u64::try_from(*value).ok(),
            Value::Uint(value) => Some(*value),
            Value::Float(value) => whole(*value),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Uint(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value of a map's key; of duplicates the last, as JavaScript has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A map from literals.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// The integer that a float stands for, if it has no fraction and every integer up to it has a float (2^53).
fn whole(float: f64) -> Option<u64> {
    const MAX: f64 = (1_u64 << 53) as f64;
    ((0.0..=MAX).contains(&float) && float.fract() == 0.0).then_some(float as u64)
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Value::Uint(value), Value::Int)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Cow<'_, str>> for Value {
    fn from(value: Cow<'_, str>) -> Self {
        Value::Text(value.into_owned())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::List(items)
    }
}
