//! One test per rule of the queues between a publisher and a socket.

mod backlog;
mod inflight;
mod outbox;
mod replay;

use std::sync::Arc;

use bytes::Bytes;

use super::Owed;
use crate::types::event::{Qos, StoredEvent, Terms};
use crate::types::ids::PublicationId;
use crate::types::payload::{Codec, Payload};
use crate::types::topic::Topic;

/// An event whose publication has this number, with a topic of one byte.
fn event(number: u64, qos: Qos, payload_bytes: usize) -> Arc<StoredEvent> {
    Arc::new(StoredEvent {
        topic: Arc::new(Topic::from_name("t").unwrap()),
        payload: Payload::Bytes(Bytes::from(vec![b'x'; payload_bytes])),
        codec: Codec::Auto,
        qos,
        retain: false,
        publication: PublicationId(number),
        place: None,
        properties: None,
        publisher: None,
        expires_at_ms: None,
        filter: None,
        replaced: Default::default(),
    })
}

fn owed(number: u64, qos: Qos) -> Owed {
    Owed { event: event(number, qos, 9), terms: Terms { qos, ..Terms::default() } }
}

fn number(owed: &Owed) -> u64 {
    owed.event.publication.0
}
