//! The last positions of a storage, as entries and peers may ask for them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::NdbLimits;
use crate::queue::envelope::Draft;

/// The last positions.
#[derive(Default)]
pub(super) struct Recent {
    pub positions: BTreeMap<u64, Position>,
    bytes: usize,
}

pub(super) struct Position {
    /// As it was fed.
    pub fed: Bytes,
    /// As it was elected, if it is a segment.
    pub segment: Option<(Draft, Bytes)>,
}

impl Position {
    pub fn bytes(&self) -> usize {
        self.fed.len() + self.segment.as_ref().map_or(0, |(_, body)| body.len())
    }
}

impl Recent {
    pub fn push(&mut self, number: u64, position: Position, limits: &NdbLimits) {
        self.bytes += position.bytes();
        self.positions.insert(number, position);
        while self.bytes > limits.recent_bytes_max || self.positions.len() > limits.recent_max {
            let Some((_, position)) = self.positions.pop_first() else { return };
            self.bytes -= position.bytes();
        }
    }

    pub fn body(&self, position: u64, draft: &Draft) -> Option<&Bytes> {
        let (known, body) = self.positions.get(&position)?.segment.as_ref()?;
        known.is_same_body(draft).then_some(body)
    }
}
