//! What the roles of the queue say to each other.
//!
//! Bodies are opaque here: encoded messages as [`super::message`] has them, or what the state made of them. In one process an
//! envelope is moved from role to role; between processes it is a MessagePack frame.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a node does in the queue. A process may play several roles: each is a node of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Takes messages from publishers.
    Entry,
    /// Keeps segments and applies them (`ndb`).
    Storage,
    /// Gives segments their positions.
    Sync,
}

/// Who sends or receives: a role and the name that the configuration gives it (`E1`, `N1`, `S1`). Unique in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    pub role: Role,
    #[serde(with = "text")]
    pub name: Arc<str>,
}

/// Random name of a storage's or sync's disk, made with each empty one: promises are a disk's, not a name's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(pub u128);

/// A message on its way from role to role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: RoleMessage,
}

/// Which advance segment: unique whatever clocks do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// Microseconds since 1970, or more where ids would not ascend otherwise. First, for segments are ordered by it.
    pub segment: u64,
    /// Who opened it.
    pub entry: NodeId,
    /// Which life of that entry: the position of its INIT.
    pub incarnation: u64,
}

/// A segment that a storage has whole: what it says of it to the syncs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Draft {
    pub id: SegmentId,
    /// Of the storages that keep the body.
    pub slot: u32,
    /// Messages in it.
    pub count: u32,
    /// Of the body ([`super::digest`]).
    pub digest: u64,
    /// The segment before it of the same incarnation; 0 for the first. It is elected only next after that one.
    pub previous: u64,
}

/// What changes the order itself: voted like a segment and carried in the vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderCommand {
    /// An entry begins a new life, whose incarnation is the position of this command. What its last life (`replaces`; 0: there was
    /// none) did not get elected is dropped, its sessions are gone. Void unless `replaces` is the present incarnation.
    Init { entry: NodeId, replaces: u64 },
    /// An entry was silent for its lease: as INIT, without a new life. Void unless `incarnation` is the present one.
    Lost { entry: NodeId, incarnation: u64 },
    /// Events of these topics with numbers below `first` are deleted.
    Retain {
        realm: String,
        /// [`crate::types::topic::TopicPattern`] in its stored spelling.
        pattern: String,
        first: u64,
    },
    /// Log time is at least this, in microseconds since 1970: asked for a deadline of the state.
    Time { at_us: u64 },
    /// Who takes part, from the next position on.
    Members(Members),
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub syncs: Vec<Member>,
    /// The storages of each slot.
    pub slots: Vec<Vec<Member>>,
    /// Storages of a slot that must have a segment before it may be elected.
    pub storage_quorum: u32,
}

/// A node and the disk whose promises count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    pub node: NodeId,
    pub store: StoreId,
}

impl NodeId {
    pub fn entry(name: &str) -> Self {
        Self { role: Role::Entry, name: name.into() }
    }

    pub fn storage(name: &str) -> Self {
        Self { role: Role::Storage, name: name.into() }
    }

    pub fn sync(name: &str) -> Self {
        Self { role: Role::Sync, name: name.into() }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One step of a segment's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RoleMessage {}

/// A shared text, written as a text.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}
