//! What entries of a cluster say to each other of groups that have members at several of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Of one frame; more are said in the next.
const SAID_MAX: usize = 1000;

/// A word of one entry to another. Numbers are those of events in the log, members are session ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// From here on: what either has said before is forgotten. The first word of each link, and of each life of an entry.
    Begin,
    /// To a member's entry, or from it.
    Of { realm: String, name: String, what: What },
}

/// Of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The entry that says so delivers the group: members had better be told to it (again).
    Hosted,
    /// A member is connected, and takes so many events at a time. `anew`: what it was given before is not known there any more.
    Join {
        member: u64,
        window: u32,
        anew: bool,
    },
    Leave {
        member: u64,
    },
    /// It is this member's turn. `attempts`: how often the event was sent before.
    Deal {
        member: u64,
        number: u64,
        attempts: u16,
    },
    /// It is not any more.
    Recall {
        member: u64,
        number: u64,
    },
    /// It was sent to the member.
    Sent {
        member: u64,
        number: u64,
    },
    /// The member may not have it.
    Refused {
        member: u64,
        number: u64,
    },
    /// A member is done with it.
    Done {
        number: u64,
    },
}

/// It is none, or of another version of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what another entry says of groups cannot be read: {0}")]
pub struct Malformed(String);

/// The bodies of frames that say this, in order.
pub fn encode(said: &[Said]) -> impl Iterator<Item = Bytes> {
    // Writing plain values to memory cannot fail.
    said.chunks(SAID_MAX).map(|chunk| rmp_serde::to_vec(chunk).unwrap_or_default().into())
}

/// # Errors
/// See [`Malformed`].
pub fn decode(body: &[u8]) -> Result<Vec<Said>, Malformed> {
    crate::types::packed::from_slice(body).map_err(|error| Malformed(error.to_string()))
}
