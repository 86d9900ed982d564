//! What is looked for in the data of an event: fields and their values.
//!
//! As in fox-wamp, an object of fields is met by a value that has these fields with these values, whatever else it has; a field
//! that is an object is met in the same way. Lists must be equal, numbers are compared as numbers. The object `{}` is met by
//! every value.
//!
//! The value of an event is a JSON object that was published as bytes, or keyword arguments, or a dictionary that is the only
//! argument. Bytes that are the envelope `{"args": …, "kwargs": …}` stand for arguments (`docs/mapping-payloads.md`).

use std::collections::BTreeMap;

use super::payload::{Codec, Format, PayloadRef};
use super::value::{Raw, Value};

/// Fields that a value must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields(Value);

/// The parts of a payload in which fields are looked for, decoded.
#[derive(Debug, Default)]
pub struct Documents {
    kwargs: Option<Value>,
    only_arg: Option<Value>,
}

impl Fields {
    /// Reads the text of a JSON object; `None`: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let value = Value::decode(Format::Json, text.as_bytes()).ok()?;
        value.as_map().is_some().then_some(Self(value))
    }

    /// Reads a value that is a map; `None`: it is something else.
    pub fn of(value: Value) -> Option<Self> {
        value.as_map().is_some().then_some(Self(value))
    }

    /// As a JSON text that [`Fields::parse`] reads.
    pub fn text(&self) -> Vec<u8> {
        self.0.to_bytes(Format::Json)
    }

    /// Whether an event with this payload has the fields.
    pub fn hold(&self, payload: PayloadRef<'_>) -> bool {
        self.any() && !payload.is_empty() || self.are_in(&Documents::of(payload))
    }

    /// Every value will do.
    pub fn any(&self) -> bool {
        self.0.as_map().is_some_and(<[_]>::is_empty)
    }

    /// Whether one of these parts has the fields.
    pub fn are_in(&self, documents: &Documents) -> bool {
        [&documents.kwargs, &documents.only_arg].into_iter().flatten().any(|document| meets(&self.0, document))
    }
}

impl Documents {
    pub fn of(payload: PayloadRef<'_>) -> Self {
        // Bytes become arguments by the rules for all protocols, so that envelopes are known in one place.
        let Ok(args) = payload.as_args(Codec::Auto, Format::MsgPack) else { return Self::default() };
        let kwargs = args.kwargs.as_deref().map(|kwargs| Raw::checked(Format::MsgPack, kwargs).to_value());
        let mut items =
            args.args.as_deref().map(|args| Raw::checked(Format::MsgPack, args).items()).into_iter().flatten();
        let only_arg = match (items.next(), items.next()) {
            (Some(only), None) if only.is_map() => Some(only.to_value()),
            _ => None,
        };
        Self { kwargs, only_arg }
    }
}

impl Documents {
    /// The value of a field, if there is one of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        [&self.kwargs, &self.only_arg].into_iter().flatten().find_map(|document| document.get(name))
    }
}

fn meets(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Map(wanted), Value::Map(value)) => {
            let value = by_name(value);
            by_name(wanted).iter().all(|(name, wanted)| value.get(name).is_some_and(|value| meets(wanted, value)))
        }
        (Value::List(wanted), Value::List(items)) => {
            wanted.len() == items.len() && wanted.iter().zip(items).all(|(wanted, item)| meets(wanted, item))
        }
        (wanted, value) if is_float(wanted) || is_float(value) => {
            wanted.as_f64().is_some() && wanted.as_f64() == value.as_f64()
        }
        _ => wanted == value,
    }
}

/// Of a field that is named twice the last counts, as JavaScript has it.
fn by_name(fields: &[(String, Value)]) -> BTreeMap<&str, &Value> {
    fields.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

fn is_float(value: &Value) -> bool {
    matches!(value, Value::Float(_))
}
