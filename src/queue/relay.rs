//! What a storage tells entries of a position that it has applied, as bytes of RESOLVED and FEED.
//!
//! ```text
//! State::apply -> Applied { segment, exceptions, later, changes }
//!                   exceptions                -> RESOLVED: to the entry whose segment it was
//!                   segment, later, changes, rows of sessions and named subscriptions -> FEED: to every entry
//! ```
//!
//! In one process neither is made: `node::log` takes what the state puts out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::segment::Segment;
use super::state::{Applied, Change, rows};

/// What became of messages of a segment that are not simply in the log, by offset (from 0), in order.
pub type Exceptions = Vec<(u32, Outcome)>;

/// The part of [`Applied`] that every entry has to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fed {
    /// Has no numbers if there were none.
    pub segment: Segment,
    /// What became of messages that were waiting, of whichever entry.
    pub later: Vec<Outcome>,
    pub changes: Vec<Change>,
    /// Rows of [`MIRRORED`] kinds that were set or removed.
    pub rows: Vec<MirroredRow>,
}

/// Key and value of a row, `None` if it was removed.
pub type MirroredRow = (Bytes, Option<Bytes>);

/// Kinds of rows that every entry follows: sessions, their subscriptions, named durable subscriptions, what is available.
pub const MIRRORED: [u8; 4] = [rows::SESSION, rows::SUBSCRIPTION, rows::DURABLE, rows::FLOOR];

impl Fed {
    pub fn of(applied: &Applied) -> Self {
        let Applied { segment, later, changes, rows, .. } = applied;
        let is_mirrored = |key: &[u8]| key.first().is_some_and(|letter| MIRRORED.contains(letter));
        let bytes = |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
        let rows = rows.iter().filter(|(key, _)| is_mirrored(key));
        let rows = rows.map(|(key, value)| (bytes(key), value.as_ref().map(bytes))).collect();
        Self { segment: segment.clone(), later: later.clone(), changes: changes.clone(), rows }
    }
}

/// A storage of another version, or one that is at fault, has sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what a storage says of a position cannot be read: {0}")]
pub struct Unreadable(String);

/// The bytes of [`super::envelope::Resolution::results`]: none if there is no exception.
pub fn write_exceptions(exceptions: &Exceptions) -> Bytes {
    if exceptions.is_empty() { Bytes::new() } else { write(exceptions) }
}

/// # Errors
/// See [`Unreadable`].
pub fn read_exceptions(bytes: &[u8]) -> Result<Exceptions, Unreadable> {
    if bytes.is_empty() { Ok(Vec::new()) } else { read(bytes) }
}

/// The bytes of FEED.
pub fn write_fed(fed: &Fed) -> Bytes {
    write(fed)
}

/// # Errors
/// See [`Unreadable`].
pub fn read_fed(bytes: &[u8]) -> Result<Fed, Unreadable> {
    read(bytes)
}

fn write(value: &impl Serialize) -> Bytes {
    // Types of ours, without maps of other keys than texts: MessagePack has a form for each.
    rmp_serde::to_vec(value).map(Bytes::from).unwrap_or_default()
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unreadable> {
    crate::types::packed::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::outcome::{Done, Refused, Void, WaitEnd};
    use crate::queue::segment::TopicShare;

    #[test]
    fn what_a_storage_says_is_read_as_it_was_written() {
        let exceptions = vec![
            (0, Outcome::Void(Void::Repeated)),
            (3, Outcome::Waiting { ticket: u64::MAX }),
            (4, Outcome::Done(Done::Connected { present: true })),
            (5, Outcome::Refused { count: 2, why: Refused::Full }),
        ];
        assert_eq!(read_exceptions(&write_exceptions(&exceptions)), Ok(exceptions));
        assert_eq!(write_exceptions(&Vec::new()), Bytes::new());
        assert_eq!(read_exceptions(b""), Ok(Vec::new()));
        let topics = vec![TopicShare { realm: "r".into(), topic: "a/b".into(), messages: 1, bytes: 2 }];
        let body = Bytes::from_static(b"\x00\xff");
        let segment = Segment { position: 7, first: 9, count: 1, body, voids: vec![0], topics, ..Segment::default() };
        let later =
            vec![Outcome::Granted { ticket: 1, number: 2 }, Outcome::Ended { ticket: 3, why: WaitEnd::SessionGone }];
        let changes = vec![
            Change::LockHeld { realm: "r".into(), topic: "t".into(), session: None },
            Change::SessionEnded { realm: "r".into(), client_id: "c".into(), session: 5 },
        ];
        let applied = Applied {
            segment,
            later,
            changes,
            rows: vec![
                (b"sr\0c".to_vec(), None),
                (b"kr\0k".to_vec(), Some(vec![1])),
                (b"dr\0n".to_vec(), Some(vec![2])),
            ],
            ..Applied::default()
        };
        let fed = Fed::of(&applied);
        let row =
            |key: &'static [u8], value: Option<&'static [u8]>| (Bytes::from_static(key), value.map(Bytes::from_static));
        assert_eq!(fed.rows, [row(b"sr\0c", None), row(b"dr\0n", Some(&[2]))], "keys are told as events");
        assert_eq!(read_fed(&write_fed(&fed)), Ok(fed));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(read_fed(b"").is_err());
        assert!(read_fed(b"\xc1").is_err());
        assert!(read_exceptions(b"\x91\xc0").is_err());
    }
}
