//! A group that another entry of the cluster delivers: its members here, and what that entry has given them.
//!
//! Who gets what is decided there alone ([`super::machine`]). Here it is only remembered until it is sent, and said what became of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::group::Turn;
use super::machine::MemberId;
use super::said::What;
use crate::node::link::Link;

/// How long the log is given before it is asked again who delivers a group.
const PATIENCE_MS: u64 = 1000;

/// Which entry delivers the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// None.
    Nobody,
    /// This one, as soon as it knows where the group stands.
    Own,
    Peer(u64),
}

/// What has to be found out for the group to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// Somebody who delivers it: there are members here.
    Host,
    /// Where it stands: it is delivered here.
    Cursor,
}

/// See the module.
pub(super) struct Away {
    host: Host,
    members: BTreeMap<MemberId, Absent>,
    /// When something was needed last, and asked for.
    asked_ms: Option<u64>,
}

/// A member that its host does not see.
pub(super) struct Absent {
    pub window: usize,
    pub link: Arc<Link>,
    /// To be sent, in order.
    dealt: VecDeque<Turn>,
    /// Sent and not done with.
    held: BTreeSet<u64>,
    /// This entry may not have come as far as some of `dealt`.
    early: bool,
}

impl Absent {
    fn joins(&self, member: MemberId, anew: bool) -> What {
        What::Join { member: member.0, window: u32::try_from(self.window).unwrap_or(u32::MAX), anew }
    }
}

impl Away {
    pub fn new(host: Host) -> Self {
        Self { host, members: BTreeMap::new(), asked_ms: None }
    }

    pub fn host(&self) -> Host {
        self.host
    }

    /// Another entry, if it is one, delivers the group from now on. What is to be said to it.
    pub fn set_host(&mut self, host: Host) -> Vec<What> {
        if self.host == host {
            return Vec::new();
        }
        (self.host, self.asked_ms) = (host, None);
        self.begin_anew(false)
    }

    /// The host has forgotten the members, or is another one.
    pub fn begin_anew(&mut self, anew: bool) -> Vec<What> {
        self.forget();
        self.introduce(anew)
    }

    /// What the host has given is another's now.
    pub fn forget(&mut self) {
        for absent in self.members.values_mut() {
            absent.dealt.clear();
            absent.held.clear();
        }
    }

    /// Tells the host of all members.
    pub fn introduce(&self, anew: bool) -> Vec<What> {
        self.members.iter().map(|(member, absent)| absent.joins(*member, anew)).collect()
    }

    pub fn join(&mut self, member: MemberId, window: usize, link: &Arc<Link>) -> What {
        let new = || Absent { window, link: link.clone(), dealt: VecDeque::new(), held: BTreeSet::new(), early: false };
        let absent = self.members.entry(member).or_insert_with(new);
        (absent.window, absent.link) = (window, link.clone());
        absent.joins(member, false)
    }

    pub fn leave(&mut self, member: MemberId) -> Option<What> {
        self.members.remove(&member).map(|_| What::Leave { member: member.0 })
    }

    /// It is a member's turn. It is woken by [`Away::wake_ready`].
    pub fn deal(&mut self, member: MemberId, turn: Turn) {
        let Some(absent) = self.members.get_mut(&member) else { return };
        if !absent.held.contains(&turn.number) && !absent.dealt.contains(&turn) {
            absent.dealt.push_back(turn);
            absent.early = true;
        }
    }

    /// Wakes members whose turn it is for what this entry has. `fed`: that far it is.
    pub fn wake_ready(&mut self, fed: u64) {
        for absent in self.members.values_mut().filter(|absent| absent.early) {
            if absent.dealt.front().is_some_and(|turn| turn.number <= fed) {
                absent.link.wake();
            }
            absent.early = absent.dealt.iter().any(|turn| turn.number > fed);
        }
    }

    /// Whether a member waits for this entry to come so far.
    pub fn is_early(&self) -> bool {
        self.members.values().any(|absent| absent.early)
    }

    pub fn recall(&mut self, member: MemberId, number: u64) {
        if let Some(absent) = self.members.get_mut(&member) {
            absent.dealt.retain(|turn| turn.number != number);
        }
    }

    /// What a member is to be sent next.
    pub fn next(&self, member: MemberId) -> Option<Turn> {
        self.members.get(&member)?.dealt.front().copied()
    }

    pub fn sent(&mut self, member: MemberId, number: u64) -> Option<What> {
        self.recall(member, number);
        self.members.get_mut(&member)?.held.insert(number);
        Some(What::Sent { member: member.0, number })
    }

    pub fn refuse(&mut self, member: MemberId, number: u64) -> What {
        self.recall(member, number);
        What::Refused { member: member.0, number }
    }

    /// A member here is done with an event; `false`: none has it.
    pub fn done(&mut self, number: u64) -> bool {
        let mut known = false;
        for absent in self.members.values_mut() {
            let before = absent.dealt.len();
            absent.dealt.retain(|turn| turn.number != number);
            known |= absent.held.remove(&number) || absent.dealt.len() < before;
        }
        known
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn members(self) -> BTreeMap<MemberId, Absent> {
        self.members
    }

    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.members.keys().copied()
    }

    /// What has to be asked for now; it counts as asked for a while then.
    pub fn need(&mut self, now_ms: u64) -> Need {
        let need = match self.host {
            Host::Nobody if !self.members.is_empty() => Need::Host,
            Host::Own => Need::Cursor,
            Host::Nobody | Host::Peer(_) => return Need::Nothing,
        };
        if self.asked_ms.is_some_and(|at| now_ms < at + PATIENCE_MS) {
            return Need::Nothing;
        }
        self.asked_ms = Some(now_ms);
        need
    }
}
