//! Whether the value of a key meets a condition.

use std::cell::OnceCell;

use super::rows::KeyRow;
use crate::queue::condition::When;
use crate::types::fields::{Documents, Fields};

#[cfg(test)]
mod tests;

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
