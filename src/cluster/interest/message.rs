//! What entries say of their interest: MessagePack.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::queue::state::rows;
use crate::router::interest::{Interest, Told};

/// From an entry to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks for the whole set.
    Ask,
    Told(Told),
    /// What was told up to this version is heard, and publishers know it.
    Heard(u64),
}

/// A message as it is written.
#[derive(Serialize, Deserialize)]
enum Row {
    Ask,
    Told { version: u64, whole: bool, everything: bool, wanted: Vec<InterestRow>, unwanted: Vec<InterestRow> },
    Heard(u64),
}

/// Realm, pattern in its stored spelling, group.
type InterestRow = (String, String, Option<Box<str>>);

/// It is none, or of another version of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what another entry wants cannot be read: {0}")]
pub struct Malformed(String);

impl Message {
    pub fn encode(&self) -> Bytes {
        let row = match self {
            Message::Ask => Row::Ask,
            Message::Heard(version) => Row::Heard(*version),
            Message::Told(told) => Row::Told {
                version: told.version,
                whole: told.whole,
                everything: told.everything,
                wanted: told.wanted.iter().map(to_row).collect(),
                unwanted: told.unwanted.iter().map(to_row).collect(),
            },
        };
        // Writing plain values to memory cannot fail.
        rmp_serde::to_vec(&row).unwrap_or_default().into()
    }

    /// # Errors
    /// It is no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let row = crate::types::packed::from_slice(bytes).map_err(|error| Malformed(error.to_string()))?;
        match row {
            Row::Ask => Ok(Message::Ask),
            Row::Heard(version) => Ok(Message::Heard(version)),
            Row::Told { version, whole, everything, wanted, unwanted } => Ok(Message::Told(Told {
                version,
                whole,
                everything,
                wanted: of_rows(wanted)?,
                unwanted: of_rows(unwanted)?,
            })),
        }
    }
}

fn to_row(interest: &Interest) -> InterestRow {
    (interest.realm.to_string(), rows::pattern_text(&interest.pattern), interest.group.clone())
}

fn of_rows(rows: Vec<InterestRow>) -> Result<Vec<Interest>, Malformed> {
    let interest = |(realm, text, group): InterestRow| match rows::read_pattern(&text) {
        Some(pattern) => Ok(Interest { realm: Arc::from(realm), pattern, group }),
        None => Err(Malformed(format!("no pattern: {text}"))),
    };
    rows.into_iter().map(interest).collect()
}
