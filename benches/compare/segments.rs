//! Makes a large log without a broker: segments as a busy broker writes them, through fennec's own store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use fennec::queue::message::{Batch, Posting};
use fennec::queue::state::{Rows, RowsFailed, Sealed, State};
use fennec::store::{Commit, Opened, StoreSettings, StoreUrl, SyncMode, open};
use fennec::types::event::{Event, Qos};
use fennec::types::ids::{PublicationId, SessionId};
use fennec::types::payload::{Codec, PayloadRef};
use fennec::types::topic::Topic;

use crate::payload::Shape;

const SEGMENT_BYTES: usize = 1_000_000;
/// Topics of a segment, and of all.
const TOPICS_EACH: usize = 10;
const TOPICS: usize = 1000;
/// The segments are of the last hour.
const AGE_US: u64 = 3_600_000_000;

/// Writes segments of 1 MB until there are so many bytes of them. Returns how many messages that are.
pub fn generate(folder: &Path, bytes: u64, now_us: u64) -> io::Result<u64> {
    let url = StoreUrl::Folder(folder.to_path_buf());
    let settings = StoreSettings { url, sync: SyncMode::Never, ..StoreSettings::default() };
    let Opened { mut store, .. } = open(&settings).map_err(io::Error::other)?;
    let mut reader = store.reader().map_err(io::Error::other)?;
    let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit: usize| {
        reader.scan(prefix, after, limit).map_err(|error| RowsFailed(error.to_string()))
    };
    let mut state = State::load(&mut scan).map_err(io::Error::other)?;
    let count = bytes.div_ceil(SEGMENT_BYTES as u64);
    let topics: Vec<Arc<Topic>> = (0..TOPICS)
        .map(|topic| Topic::from_name(&format!("log/{topic}")).map(Arc::new).map_err(io::Error::other))
        .collect::<io::Result<_>>()?;
    let mut messages = 0;
    for segment in 0..count {
        let batch = batch(&topics, segment as usize * TOPICS_EACH % TOPICS);
        let (count_of_batch, body) = (batch.count, batch.into_bytes());
        messages += u64::from(count_of_batch);
        let at_us = now_us - AGE_US + AGE_US / count * segment;
        let sealed = Sealed { position: segment + 1, at_us, entry: 1, body: &body, count: count_of_batch };
        let applied = state.apply(sealed, &mut NoRows).map_err(io::Error::other)?;
        let commit = Commit { segments: vec![applied.segment], rows: applied.rows, ..Commit::default() };
        store.commit(&commit).map_err(io::Error::other)?;
    }
    Ok(messages)
}

/// Small messages to some topics.
fn batch(topics: &[Arc<Topic>], first: usize) -> Batch {
    let mut batch = Batch::default();
    let payload = Shape::Text.template(0);
    for topic in &topics[first..first + TOPICS_EACH] {
        let full = batch.len() + SEGMENT_BYTES / TOPICS_EACH;
        while batch.len() < full {
            let event = Event {
                topic,
                payload: PayloadRef::Bytes(&payload),
                codec: Codec::Auto,
                qos: Qos::AtLeastOnce,
                retain: false,
                publication: PublicationId(0),
                place: None,
                properties: None,
                publisher: None,
                expires_at_ms: None,
                expires_in_s: None,
            };
            let posting = Posting { realm: "realm1", publisher: Some(SessionId(1)), ..Posting::default() };
            batch.event(&event, &posting);
        }
    }
    batch
}

/// Nothing in these segments has a condition.
struct NoRows;

impl Rows for NoRows {
    fn get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        Ok(None)
    }
}
