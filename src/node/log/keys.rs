//! Keys: the retained values in memory, which mirror the rows of the log's state.
//!
//! The feed keeps the mirror as it goes. At start the rows are read in slices, in the background if there are many: what
//! the feed sets or clears meanwhile is newer, and stays.

use std::sync::Arc;

use crate::node::Node;
use crate::queue::message::Malformed;
use crate::queue::state::rows::{self, KeyRow, RowKey};
use crate::store::{Row, StoreError, StoreReader};
use crate::types::event::{Event, Place};
use crate::types::topic::Topic;

/// Rows that are read at a time.
const SLICE_ROWS: usize = 1000;

/// Reads the rows of keys into the realms' mirrors.
pub struct Loader {
    reader: Box<dyn StoreReader>,
    after: Option<Vec<u8>>,
}

impl Loader {
    pub fn new(reader: Box<dyn StoreReader>) -> Self {
        Self { reader, after: None }
    }

    /// Reads a slice. `false`: that was all.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn step(&mut self, node: &Arc<Node>) -> Result<bool, StoreError> {
        let found = self.reader.scan(&[rows::KEY], self.after.as_deref(), SLICE_ROWS)?;
        for row in &found {
            if load(node, row).is_err() {
                // The state sets it anew with the next change of the key.
                tracing::error!(key = %String::from_utf8_lossy(&row.0), "a retained value is damaged and left out");
            }
        }
        let more = found.len() == SLICE_ROWS;
        self.after = found.into_iter().next_back().map(|(key, _)| key);
        Ok(more)
    }
}

fn load(node: &Arc<Node>, (key, value): &Row) -> Result<(), Malformed> {
    let Some(RowKey::Key { realm, topic }) = RowKey::parse(key) else { return Err(Malformed) };
    // A realm that is not configured any more has no subscribers.
    let Some(realm) = node.realm(&realm) else { return Ok(()) };
    let row = KeyRow::decode(value)?;
    let topic = Arc::new(Topic::from_name(&topic).map_err(|_| Malformed)?);
    let extras = row.extras()?.unwrap_or_default();
    let properties = extras.properties.map(|row| Arc::new(row.into()));
    let publisher = extras.publisher.map(|row| Arc::new(row.into()));
    let event = Event {
        codec: realm.codec(&topic),
        topic: &topic,
        payload: row.payload,
        qos: row.qos,
        retain: true,
        publication: node.log.publication_of(row.number),
        place: Some(Place { number: row.number, id: row.id }),
        properties: properties.as_ref(),
        publisher: publisher.as_ref(),
        expires_at_ms: extras.expires_at_ms,
        expires_in_s: None,
    };
    realm.load_retained(Arc::new(event.store(None)));
    Ok(())
}
