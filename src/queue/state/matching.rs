//! Whether a value meets a condition.
//!
//! As in fox-wamp, an object of fields is met by a value that has these fields with these values, whatever else it has; a field
//! that is an object is met in the same way. Lists must be equal, numbers are compared as numbers. The object `{}` is met by
//! every value.
//!
//! The value of an event is a JSON object that was published as bytes, or keyword arguments, or a dictionary that is the only
//! argument. Bytes that are the envelope `{"args": …, "kwargs": …}` stand for arguments (`docs/mapping-payloads.md`).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::rows::KeyRow;
use crate::queue::condition::When;
use crate::types::payload::{Codec, Format, PayloadRef};
use crate::types::value::{Raw, Value};

#[cfg(test)]
mod tests;

/// Fields that a value must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields(Value);

/// [`When`], read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Absent,
    Fields(Fields),
    Number(u64),
}

/// The value of a key, which is decoded once for all who wait for it.
pub(super) struct Candidate<'a> {
    row: KeyRow<'a>,
    documents: OnceCell<Documents>,
}

/// What fields are looked for in.
#[derive(Default)]
struct Documents {
    kwargs: Option<Value>,
    only_arg: Option<Value>,
}

impl Fields {
    /// Reads the text of a JSON object; `None`: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let value = Value::decode(Format::Json, text.as_bytes()).ok()?;
        value.as_map().is_some().then_some(Self(value))
    }

    /// Whether an event with this payload has the fields.
    pub fn hold(&self, payload: PayloadRef<'_>) -> bool {
        self.any() && !payload.is_empty() || self.are_in(&Documents::of(payload))
    }

    /// Every value will do.
    fn any(&self) -> bool {
        self.0.as_map().is_some_and(<[_]>::is_empty)
    }

    fn are_in(&self, documents: &Documents) -> bool {
        [&documents.kwargs, &documents.only_arg].into_iter().flatten().any(|document| meets(&self.0, document))
    }
}

impl Documents {
    fn of(payload: PayloadRef<'_>) -> Self {
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

impl Test {
    /// `None`: a condition that nothing can meet, for it cannot be read.
    pub fn parse(when: &When) -> Option<Self> {
        Some(match when {
            When::Absent => Self::Absent,
            When::Fields(text) => Self::Fields(Fields::parse(text)?),
            When::Number(number) => Self::Number(*number),
        })
    }

    /// Whether a key with this value meets it.
    pub fn holds(&self, value: Option<&Candidate<'_>>) -> bool {
        match (self, value) {
            (Self::Absent, None) => true,
            (Self::Fields(fields), Some(value)) => {
                fields.any() || fields.are_in(value.documents.get_or_init(|| Documents::of(value.row.payload)))
            }
            (Self::Number(number), Some(value)) => value.row.number == *number,
            _ => false,
        }
    }
}

impl<'a> Candidate<'a> {
    pub fn new(row: KeyRow<'a>) -> Self {
        Self { row, documents: OnceCell::new() }
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
