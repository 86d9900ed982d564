//! Keys: the retained values in memory, which mirror the rows of the log's state.
//!
//! The feed keeps the mirror as it goes. At start the rows are read in slices, in the background if there are many: what
//! the feed sets or clears meanwhile is newer, and stays. Rows are sorted by realm; whoever wants to be told what is retained
//! in a realm waits until all of its are read.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Submission;
use super::tickets::Owner;
use crate::node::Node;
use crate::node::realm::Realm;
use crate::queue::command::Command;
use crate::queue::message::{Batch, Malformed};
use crate::queue::outcome::Outcome;
use crate::queue::state::rows::{self, KeyRow, RowKey};
use crate::store::{Row, StoreError, StoreReader};
use crate::types::event::{Event, Filter, Place};
use crate::types::topic::Topic;

/// Rows that are read at a time.
const SLICE_ROWS: usize = 1000;
/// Slices that are read before the node is ready: it need not wait for the others.
const FIRST_SLICES: usize = 20;
/// How soon a store that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

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
        if found.len() < SLICE_ROWS {
            return Ok(false);
        }
        self.after = found.into_iter().next_back().map(|(key, _)| key);
        if let Some(RowKey::Key { realm: reached, .. }) = self.after.as_deref().and_then(RowKey::parse) {
            let passed = |realm: &Arc<Realm>| realm.name.as_bytes() < reached.as_bytes();
            node.realms().into_iter().filter(passed).for_each(|realm| realm.retained_is_loaded());
        }
        Ok(true)
    }

    /// Reads the first slices. Returns the loader if there are more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn begin(mut self, node: &Arc<Node>) -> Result<Option<Self>, StoreError> {
        for _ in 0..FIRST_SLICES {
            if !self.step(node)? {
                return Ok(None);
            }
        }
        Ok(Some(self))
    }

    /// Reads the others on a thread, which ends with the node.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn go_on(mut self, node: Weak<Node>) -> std::io::Result<()> {
        let run = move || {
            while let Some(node) = node.upgrade() {
                match self.step(&node) {
                    Ok(true) => {}
                    Ok(false) => return node.keys_are_loaded(),
                    Err(error) => {
                        drop(node);
                        tracing::error!(%error, "retained values cannot be read yet");
                        std::thread::sleep(RETRY);
                    }
                }
            }
        };
        std::thread::Builder::new().name("keys".to_owned()).spawn(run).map(drop)
    }
}

impl Node {
    /// The log has retained values that are not read yet: whoever asks for them waits.
    pub(in crate::node) fn expect_keys(&self) {
        self.loads_keys.store(true, Ordering::SeqCst);
        self.realms().iter().for_each(|realm| realm.begin_loading());
    }

    /// Reads the first of them; what is left is read by [`Loader::go_on`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub(in crate::node) fn load_keys(self: &Arc<Self>, reader: Box<dyn StoreReader>) -> Result<(), StoreError> {
        match Loader::new(reader).begin(self)? {
            Some(rest) => *self.unread_keys.lock() = Some(rest),
            None => self.keys_are_loaded(),
        }
        Ok(())
    }

    /// All retained values that the log has are there.
    pub(in crate::node) fn keys_are_loaded(&self) {
        self.loads_keys.store(false, Ordering::SeqCst);
        self.realms().iter().for_each(|realm| realm.retained_is_loaded());
        self.house.keys_are_loaded();
    }

    /// Removes some of the expired retained values of a realm, and has the log do so. While it cannot, they stay.
    pub(in crate::node) fn sweep_keys(self: &Arc<Self>, realm: &Arc<Realm>, now_ms: u64) {
        if self.log.health().is_some() {
            return;
        }
        let swept = realm.sweep_retained(now_ms);
        // Those of `$SYS` are not in the log.
        let logged: Vec<_> = swept.into_iter().filter(|event| event.place.is_some()).collect();
        let mut batch = Batch::default();
        for event in &logged {
            let (realm, topic) = (realm.name.to_string(), event.topic.name().to_owned());
            let number = event.place.map_or(0, |place| place.number);
            batch.command(&Command::Expire { realm, topic, number });
        }
        let realm = realm.clone();
        let told = move |outcome| {
            if matches!(outcome, Outcome::Refused { .. }) {
                logged.iter().for_each(|event| realm.load_retained(event.clone()));
            }
        };
        self.submit(Submission { batch, owner: Owner::Function(Arc::new(told)) });
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
    let filter = extras.filter.map(Filter::from);
    realm.load_retained(Arc::new(event.store(None).only_for(filter)));
    Ok(())
}
