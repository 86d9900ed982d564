//! The state of the log, as a store has its rows.

use super::{Store, StoreReader};
use crate::queue::state::{Rows, RowsFailed, State, StateError, StateLimits};

/// Reads the state from its rows.
///
/// # Errors
/// The store cannot be read, or is damaged.
pub fn load(reader: &mut dyn StoreReader, limits: StateLimits) -> Result<State, StateError> {
    let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit: usize| {
        reader.scan(prefix, after, limit).map_err(|error| RowsFailed(error.to_string()))
    };
    let mut state = State::load(&mut scan)?;
    state.set_limits(limits);
    Ok(state)
}

/// Rows of the store, for conditions.
pub struct StoreRows<'a>(pub &'a mut dyn Store);

impl Rows for StoreRows<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        self.0.get(key).map_err(|error| RowsFailed(error.to_string()))
    }
}
