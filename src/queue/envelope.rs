//! What the roles of the queue say to each other.
//!
//! Bodies are opaque here: encoded messages as [`super::message`] has them, or what the state made of them. In one process an
//! envelope is moved from role to role; between processes it is a MessagePack frame.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::quorum::{Members, StoreId};
use super::sync::{Hello, Order};

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

/// A segment that a storage has whole: what it says of it to the syncs. Drafts are ordered: "take the low".
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

/// What a vote gives the next position of the one total order, or the next positions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Elected {
    Segment(Draft),
    Command(OrderCommand),
    /// The vote left the position empty.
    Nothing,
    /// Segments of several entries take as many positions, in this order. Among syncs it is never taken apart: who knows one of its
    /// positions knows all.
    Run(Vec<Draft>),
}

/// What changes the order itself: voted like a segment and carried in the vote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderCommand {
    /// An entry begins a new life, whose incarnation is the position of this command. What its last life (`replaces`; 0: there was
    /// none) did not get elected is dropped, its sessions are gone. Void unless `replaces` is the present incarnation. `nonce` is
    /// random, of the process that asks: so it does not take an earlier one's life for its own.
    Init { entry: NodeId, replaces: u64, nonce: u64 },
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
    /// Who takes part, from the next position on. It was made from the table that position `behind` has set (0: the first): void if
    /// that is not the present one, or if it is no change that may be made at once ([`Members::may_follow`]).
    Members { behind: u64, members: Members },
}

/// What became of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Event number of its first message.
    pub first: u64,
    /// What the state decided of its messages, for whoever drives the entry; empty where both are one process.
    pub results: Bytes,
}

/// Why a segment is not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The entry's life was ended by INIT or LOST. What was not elected by then never will be; but of what was, the result may be
    /// gone: so there is nothing to answer to publishers, and all sessions have to be closed.
    Cut,
    /// The only storage could not write it: it is not, and will not be, in the log.
    Unavailable,
}

/// A step of a segment's life, or of the links that carry them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RoleMessage {
    /// Entry to the storages of the slot and to the syncs: a segment is open.
    BeginAdvanceSegment {
        id: SegmentId,
        slot: u32,
        /// The entry has the results of all its segments up to this one.
        confirmed: u64,
        /// The entry's clock, in microseconds since 1970.
        clock_us: u64,
        /// All of it follows: no TRIM is wanted.
        closed: bool,
    },
    /// Entry to storage: messages of an open segment.
    KeepAdvanceHistory {
        id: SegmentId,
        /// Place of the first in the segment, from 1 on.
        offset: u32,
        count: u32,
        body: Bytes,
    },
    /// Storage to entry: the segment may be closed, there is room for it.
    TrimAdvanceSegment {
        id: SegmentId,
        /// The highest segment the storage has heard of.
        heard: u64,
        /// The entry's clock is a minute or more ahead of the storage's.
        ahead: bool,
    },
    /// Entry to storage: the segment is closed and consists of this.
    AdvanceSegmentOver(Draft),
    /// Storage to entry: parts of the segment are not here: say all of it again.
    SegmentMissing { id: SegmentId },
    /// Storage to sync: the disk with this name has the segment whole.
    GenerateDraft { store: StoreId, draft: Draft },
    /// Entry to sync: wants a position for the command.
    AskCommand(OrderCommand),
    /// Sync to syncs: which commands it backs now, of those that need a majority.
    BackCommands(BTreeSet<OrderCommand>),
    /// Sync to sync, when their link is up: who it is, and how far it knows the order.
    SyncHello(Hello),
    /// Sync to sync: what the decisions come to that are not kept any more, and the present table of members. Those that are kept follow.
    SyncOrder { order: Order, members: Members },
    /// Sync to syncs: what it will back for the position, once that is on its disk.
    OpenVote { position: u64, challenger: Elected },
    /// Sync to syncs: what it backs for the position.
    PickChallenger { position: u64, challenger: Elected },
    /// Sync to syncs: state of a round of the vote. State 1 is the challenger, state 0 is none.
    State { position: u64, round: u32, challenger: Option<Elected> },
    /// Sync to syncs: vote of a round. `None` is `?`.
    Vote { position: u64, round: u32, vote: Option<bool>, challenger: Option<Elected> },
    /// Sync to storages and syncs: a decision, and therefore a fact.
    ElectSegment { position: u64, elected: Elected },
    /// Storage or sync to sync: wants the decisions behind this position.
    FetchElected { after: u64 },
    /// Sync to storage: decisions up to this position are not kept any more.
    ElectedGone { until: u64 },
    /// Storage to storage: wants the body of a segment that was elected without it.
    FetchBody { position: u64, draft: Draft },
    /// Storage to storage: the body of a segment.
    Body { draft: Draft, body: Bytes },
    /// Storage to storage: has not the body of this segment. `gone`: it has applied the segment and does not keep all of it any more.
    BodyMissing { position: u64, gone: bool },
    /// Storage to storage: wants a copy of the log behind `after` and of all the state, no older than position `need`.
    CopyFrom { after: u64, need: u64 },
    /// Storage to storage: is not that far.
    CopyNone { need: u64 },
    /// Now it is.
    CopyReady,
    /// Storage to storage: a part of a copy, from 0 on, encoded by whoever drives the storage. `last`: there are no more, and the
    /// copy is the state of this position.
    CopyPart { number: u32, part: Bytes, last: Option<u64> },
    /// Storage to storage: that part is on disk.
    CopyMore { number: u32 },
    /// Storage to storage: wants the segments that are whole and not elected.
    FetchPending,
    /// Storage to sync: the disk with this name has applied all decisions up to this position.
    Applied { store: StoreId, position: u64 },
    /// Sync to storage: of the disk with this name more was heard than it knows now. It is an older copy, and has to take another name.
    DiskForgot { store: StoreId },
    /// Storage to entry: the segment is in the log. `room`: the next may be said whole, without waiting for TRIM.
    AdvanceSegmentResolved { id: SegmentId, position: u64, resolution: Resolution, heard: u64, room: bool },
    /// Storage to entry: there will be no result of the segment.
    AdvanceSegmentRefused { id: SegmentId, why: Refusal },
    /// Storage to entry: its new life began at this position.
    InitEntryAccepted { incarnation: u64, nonce: u64, heard: u64 },
    /// Storage to entry: its INIT was void, for this incarnation is the present one.
    InitEntryRefused { present: u64 },
    /// Storage or sync to entry, or sync to storage: who takes part since this position.
    MembersAre { position: u64, members: Members },
    /// Entry to sync: lives. `sent_us` is the entry's monotonic clock; `members_at` the position of the table of members that it counts
    /// the answers by; `None`: it has only the file's. A sync that knows a later table says that first.
    Renew { incarnation: u64, sent_us: u64, members_at: Option<u64> },
    /// Sync to entry: has heard so.
    Renewed { incarnation: u64, sent_us: u64 },
    /// Sync to entry: does not renew this life any more.
    RenewRefused { incarnation: u64 },
    /// Entry to storage: wants the log behind this position as it is applied; behind the end of all positions: nothing any more.
    FollowFeed { after: u64 },
    /// Storage to entry: an applied segment, encoded by whoever drives the storage.
    Feed { position: u64, segment: Bytes },
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

impl Elected {
    /// How many positions it takes.
    pub fn positions(&self) -> u64 {
        match self {
            Self::Run(drafts) => drafts.len() as u64,
            Self::Segment(_) | Self::Command(_) | Self::Nothing => 1,
        }
    }

    /// The segments in it, in order.
    pub fn drafts(&self) -> &[Draft] {
        match self {
            Self::Segment(draft) => std::slice::from_ref(draft),
            Self::Run(drafts) => drafts,
            Self::Command(_) | Self::Nothing => &[],
        }
    }

    /// What takes each position from `first` on.
    pub fn apart(self, first: u64) -> impl Iterator<Item = (u64, Self)> {
        let (drafts, other) = match self {
            Self::Run(drafts) => (drafts, None),
            other => (Vec::new(), Some(other)),
        };
        (first..).zip(drafts.into_iter().map(Self::Segment).chain(other))
    }
}

impl Draft {
    /// Whether it is the same segment, in whichever slot.
    pub fn is_same_body(&self, other: &Draft) -> bool {
        (&self.id, self.count, self.digest) == (&other.id, other.count, other.digest)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::quorum::Member;

    #[track_caller]
    fn check(message: RoleMessage) {
        let envelope = Envelope { from: NodeId::entry("E1"), to: NodeId::storage("N1"), message };
        let frame = rmp_serde::to_vec(&envelope).unwrap();
        assert_eq!(rmp_serde::from_slice::<Envelope>(&frame).unwrap(), envelope);
    }

    #[test]
    fn envelopes_are_frames_between_processes() {
        let id = SegmentId { segment: u64::MAX, entry: NodeId::entry("E1"), incarnation: 1 };
        let draft = Draft { id: id.clone(), slot: 0, count: 3, digest: u64::MAX, previous: 0 };
        let member = Member { node: NodeId::sync("S1"), store: StoreId(u128::MAX) };
        let members = Members { syncs: vec![member.clone()], slots: vec![vec![member]], storage_quorum: 1 };
        let challenger = Some(Elected::Segment(draft.clone()));
        let bytes = Bytes::from_static(b"\x00\xff");
        check(RoleMessage::BeginAdvanceSegment { id: id.clone(), slot: 1, confirmed: 2, clock_us: 3, closed: true });
        check(RoleMessage::KeepAdvanceHistory { id: id.clone(), offset: 1, count: 1, body: bytes.clone() });
        check(RoleMessage::TrimAdvanceSegment { id: id.clone(), heard: 1, ahead: true });
        check(RoleMessage::AdvanceSegmentOver(draft.clone()));
        check(RoleMessage::GenerateDraft { store: StoreId(u128::MAX), draft });
        check(RoleMessage::AskCommand(OrderCommand::Init { entry: NodeId::entry("E1"), replaces: 0, nonce: 0 }));
        check(RoleMessage::AskCommand(OrderCommand::Members { behind: 7, members }));
        check(RoleMessage::State { position: 1, round: 1, challenger: challenger.clone() });
        check(RoleMessage::Vote { position: 1, round: 1, vote: None, challenger });
        check(RoleMessage::ElectSegment { position: 1, elected: Elected::Nothing });
        let resolution = Resolution { first: 1, results: bytes.clone() };
        check(RoleMessage::AdvanceSegmentResolved { id: id.clone(), position: 1, resolution, heard: 1, room: true });
        check(RoleMessage::AdvanceSegmentRefused { id, why: Refusal::Cut });
        check(RoleMessage::Feed { position: 1, segment: bytes.clone() });
        check(RoleMessage::FetchPending);
        check(RoleMessage::BodyMissing { position: 1, gone: true });
        check(RoleMessage::CopyFrom { after: 1, need: 2 });
        check(RoleMessage::CopyReady);
        check(RoleMessage::CopyPart { number: 1, part: bytes, last: Some(u64::MAX) });
        check(RoleMessage::Renewed { incarnation: 1, sent_us: 2 });
    }
}
