//! A store as a stream of bytes, to move it from one database to another or to keep a copy.
//!
//! ```text
//! stream  = "fennec export 1\n" frame… end
//! frame   = kind u8 | length u32 | content, MessagePack | check
//! kinds   = 'S' a segment: [position, first, count, at_us, minute, generator, body, set_off, voids, [[realm, topic, messages, bytes]…]]
//!           'R' rows of the state: [[key, value]…]
//!           'E' the end: [segments, rows]
//! check   = the first 8 bytes of SHA-256 over the whole stream up to here, checks left out
//! ```
//!
//! Numbers outside of MessagePack are little-endian. Segments come in the order of the log, then rows in the order of keys. What a
//! segment's body and a row mean is told in `queue::message` and `queue::state::rows`.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Commit, Store, StoreError, StoreReader};
use crate::queue::segment::{Segment, TopicShare};

const MAGIC: &[u8] = b"fennec export 1\n";
const SEGMENT: u8 = b'S';
const ROWS: u8 = b'R';
const END: u8 = b'E';

/// What is read, and written by one commit, at once.
const SLICE_BYTES: usize = 4 << 20;
const SLICE_ROWS: usize = 500;

/// Stands in a store while it is being imported into, so that no broker takes it for whole.
pub(super) const UNFINISHED: &[u8] = b"\0import";

/// How much was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub segments: u64,
    pub rows: u64,
}

/// Why it was not moved, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream cannot be read or written.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// It is not what was exported.
    #[error("{0}")]
    Malformed(String),
    /// There is something in the store already.
    #[error("the store is not empty")]
    NotEmpty,
}

type SegmentRow = (u64, u64, u32, u64, u32, u64, Bytes, Bytes, Vec<u32>, Vec<(String, String, u32, u64)>);

/// Writes all that a store holds. Nobody may write to it meanwhile.
///
/// # Errors
/// What was written is of no use then.
pub fn export(reader: &mut dyn StoreReader, to: impl Write) -> Result<Moved, TransferError> {
    let mut out = Writer { to, hash: Sha256::new() };
    let mut moved = Moved::default();
    out.write(MAGIC)?;
    let mut from = 0;
    loop {
        let segments = reader.segments(from, None, SLICE_BYTES)?;
        let Some(last) = segments.last() else { break };
        from = last.last() + 1;
        for segment in segments {
            out.frame(SEGMENT, &row_of(segment))?;
            moved.segments += 1;
        }
    }
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = reader.scan(b"", after.as_deref(), SLICE_ROWS)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        moved.rows += rows.len() as u64;
        let rows: Vec<(Bytes, Bytes)> = rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        out.frame(ROWS, &rows)?;
    }
    out.frame(END, &(moved.segments, moved.rows))?;
    out.to.flush()?;
    Ok(moved)
}

/// Reads what [`export`] wrote into an empty store.
///
/// # Errors
/// If it fails in the middle, the store is left in part, and [`super::open`] refuses it.
pub fn import(store: &mut dyn Store, from: impl Read) -> Result<Moved, TransferError> {
    let stats = store.reader()?.stats()?;
    if stats.segments > 0 || stats.rows > 0 {
        return Err(TransferError::NotEmpty);
    }
    let mut input = Reader { from, hash: Sha256::new() };
    let mut magic = [0; MAGIC.len()];
    input.read(&mut magic)?;
    if magic != MAGIC {
        return Err(TransferError::Malformed("this is no export of a store, or one of a newer fennec".to_owned()));
    }
    mark(store, Some(Vec::new()))?;
    let moved = import_frames(store, &mut input)?;
    mark(store, None)?;
    store.sync()?;
    Ok(moved)
}

fn mark(store: &mut dyn Store, mark: Option<Vec<u8>>) -> Result<(), StoreError> {
    store.commit(&Commit { rows: vec![(UNFINISHED.to_vec(), mark)], ..Commit::default() })
}

fn import_frames(store: &mut dyn Store, input: &mut Reader<impl Read>) -> Result<Moved, TransferError> {
    let (mut moved, mut commit, mut bytes) = (Moved::default(), Commit::default(), 0);
    loop {
        let (kind, content) = input.frame()?;
        bytes += content.len();
        match kind {
            SEGMENT => {
                let segment = segment_of(decode(&content)?);
                let before = commit.segments.last().map_or(0, |segment| segment.position);
                if segment.count == 0 || segment.first == 0 || segment.position <= before {
                    return Err(TransferError::Malformed(format!("no segment for position {}", segment.position)));
                }
                commit.segments.push(segment);
                moved.segments += 1;
            }
            ROWS => {
                let rows: Vec<(Bytes, Bytes)> = decode(&content)?;
                moved.rows += rows.len() as u64;
                commit.rows.extend(rows.into_iter().map(|(key, value)| (key.into(), Some(value.into()))));
            }
            END => {
                store.commit(&commit)?;
                let (segments, rows): (u64, u64) = decode(&content)?;
                if moved != (Moved { segments, rows }) {
                    return Err(TransferError::Malformed("something is missing".to_owned()));
                }
                return Ok(moved);
            }
            _ => return Err(TransferError::Malformed("there is something unknown in it".to_owned())),
        }
        if bytes >= SLICE_BYTES {
            store.commit(&std::mem::take(&mut commit))?;
            bytes = 0;
        }
    }
}

fn row_of(segment: Segment) -> SegmentRow {
    let share = |share: TopicShare| (share.realm.into(), share.topic.into(), share.messages, share.bytes);
    let Segment { position, first, count, at_us, minute, generator, body, set_off, voids, topics } = segment;
    let topics = topics.into_iter().map(share).collect();
    (position, first, count, at_us, minute, generator, body, set_off, voids, topics)
}

fn segment_of(row: SegmentRow) -> Segment {
    let (position, first, count, at_us, minute, generator, body, set_off, voids, topics) = row;
    let share = |(realm, topic, messages, bytes): (String, String, u32, u64)| TopicShare {
        realm: realm.into(),
        topic: topic.into(),
        messages,
        bytes,
    };
    let topics = topics.into_iter().map(share).collect();
    Segment { position, first, count, at_us, minute, generator, body, set_off, voids, topics }
}

fn decode<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, TransferError> {
    rmp_serde::from_slice(content)
        .map_err(|error| TransferError::Malformed(format!("something cannot be read: {error}")))
}

struct Writer<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, content: &impl Serialize) -> io::Result<()> {
        let content = rmp_serde::to_vec(content).map_err(io::Error::other)?;
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        self.write(&[kind])?;
        self.write(&length.to_le_bytes())?;
        self.write(&content)?;
        self.to.write_all(&check(&self.hash))
    }
}

struct Reader<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Reader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), TransferError> {
        self.from.read_exact(bytes).map_err(ended)?;
        self.hash.update(&*bytes);
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), TransferError> {
        let mut head = [0; 5];
        self.read(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u64::from(u32::from_le_bytes(length));
        // The length may be anything: memory is taken as the content comes.
        let mut content = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut content)?;
        if content.len() as u64 != length {
            return Err(ended(io::ErrorKind::UnexpectedEof.into()));
        }
        self.hash.update(&content);
        let mut found = [0; 8];
        self.from.read_exact(&mut found).map_err(ended)?;
        if found != check(&self.hash) {
            return Err(TransferError::Malformed("it is damaged: a checksum does not fit".to_owned()));
        }
        Ok((kind, content))
    }
}

fn check(hash: &Sha256) -> [u8; 8] {
    let digest = hash.clone().finalize();
    std::array::from_fn(|n| digest[n])
}

fn ended(error: io::Error) -> TransferError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TransferError::Malformed("it ends in the middle".to_owned()),
        _ => TransferError::Stream(error),
    }
}

#[cfg(test)]
mod tests;
