//! Consumer groups: each event of the log to one of several members, until one says that it is done.
//!
//! ```text
//! feed --tell--> Group: reader, machine --deal--> the member whose turn it is --its own task--> outbox
//!                  ^                                                     done, leaves, too slow
//!                  '----------------------------------------------------------------'
//! ```
//!
//! 1. A group has one cursor. It is *live* while its members have room: the feed deals each event as it comes ([`Group::tell`]).
//!    Else the members' tasks read on in the log, whichever comes first, and deal for all ([`Group::deal`]).
//! 2. Who gets what is decided by rules alone ([`machine`]); an event is but a number until its member's task reads it and sends
//!    it (`node::mailbox`).
//! 3. What is not done with is given to another when its member leaves or takes too long; after so many deliveries it goes to the
//!    dead-letter topic, with what it was in its user properties ([`burial`]).
//! 4. The cursor and what is not done with are recorded in the log by the node's clock, in one order.
//! 5. In a cluster one entry does all this for a group, for members at others too ([`hosting`]).
//!
//! Locks: a mailbox, then a group. A group calls no mailbox, but wakes its connection.

mod away;
mod burial;
mod group;
mod hosting;
pub mod machine;
pub mod said;
mod shared;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::Node;
use super::log::Submission;
use super::log::tickets::Owner;
use super::realm::Realm;
use crate::queue::command::{Command, CursorName, DurableRow};
use crate::queue::message::Batch;
use crate::queue::outcome::Outcome;
use crate::router::broker::GroupKey;
use crate::types::ids::SessionId;
use crate::types::topic::TopicPattern;
use group::Voice;
pub use group::{Begin, Group, Turn};
pub use shared::share_of;

/// Events that a member is given at a time, if it does not say itself how many it takes.
pub const MEMBER_WINDOW: usize = 64;

/// The groups of a realm.
#[derive(Default)]
pub struct Groups {
    /// By the name of their row.
    by_name: RwLock<HashMap<Box<str>, Arc<Group>>>,
    /// Those that are shared subscriptions of the router (MQTT, `$share/…`), which tells them of events.
    by_key: RwLock<HashMap<GroupKey, Arc<Group>>>,
    /// Those that have to do with other entries now ([`hosting`]).
    marked: Mutex<HashMap<u64, Arc<Group>>>,
    last_id: AtomicU64,
}

impl Groups {
    /// The group of a shared subscription, if its events are in the log.
    pub fn of_share(&self, key: &GroupKey) -> Option<Arc<Group>> {
        self.by_key.read().get(key).cloned()
    }

    /// The group whose row has this name.
    pub fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.by_name.read().get(name).cloned()
    }

    /// The group of this name, made now if it is not there: when the log has its row ([`Command::Durable`]), and at start for each
    /// row. One that is there follows the row.
    pub fn open(
        &self,
        realm: &Realm,
        name: &str,
        pattern: &TopicPattern,
        row: &DurableRow,
        begin: Begin<'_>,
    ) -> Arc<Group> {
        let group = self.known_or(name, pattern, |id| Group::new(id, realm.voice(name), pattern.clone(), row, begin));
        group.follow(row);
        group
    }

    fn known_or(&self, name: &str, pattern: &TopicPattern, make: impl FnOnce(u64) -> Group) -> Arc<Group> {
        let mut groups = self.by_name.write();
        if let Some(known) = groups.get(name) {
            return known.clone();
        }
        let group = Arc::new(make(self.last_id.fetch_add(1, Ordering::Relaxed) + 1));
        groups.insert(name.into(), group.clone());
        if let Some(share) = share_of(name) {
            self.by_key.write().insert(GroupKey { name: share.into(), pattern: pattern.clone() }, group.clone());
        }
        group
    }

    /// Forgets a group: its row is not in the log any more ([`Command::Forget`]). Its members get nothing more of it; who they are.
    pub fn close(&self, name: &str) -> Vec<SessionId> {
        let Some(group) = self.by_name.write().remove(name) else { return Vec::new() };
        self.by_key.write().retain(|_, other| other.id != group.id);
        group.close()
    }

    /// A group has to do with other entries.
    fn mark(&self, group: &Arc<Group>) {
        self.marked.lock().insert(group.id, group.clone());
    }

    fn unmark(&self, group: &Group) {
        self.marked.lock().remove(&group.id);
    }

    fn marked(&self) -> Vec<Arc<Group>> {
        self.marked.lock().values().cloned().collect()
    }

    fn has_marked(&self) -> bool {
        !self.marked.lock().is_empty()
    }

    /// All of them at this moment.
    pub fn all(&self) -> Vec<Arc<Group>> {
        self.by_name.read().values().cloned().collect()
    }
}

impl Realm {
    /// How the group of this name speaks to other entries.
    fn voice(&self, name: &str) -> Voice {
        Voice { realm: self.name.clone(), name: name.into(), peers: self.peers.clone() }
    }
}

impl Node {
    /// What time brings for groups: events whose members took too long, burials, and cursors to be recorded.
    pub(super) fn tick_groups(self: &Arc<Self>, realm: &Arc<Realm>, now_ms: u64) {
        let groups = realm.groups.all();
        self.forget_shares(realm, &groups, now_ms);
        let mut batch = Batch::default();
        let mut recorded = Vec::new();
        for group in groups {
            self.provide(realm, &group, now_ms);
            for dying in group.tick(now_ms, self.log.history.routed()) {
                self.bury(realm, &group, dying);
            }
            if let Some(at) = group.take_moved() {
                let cursor = CursorName::Durable(group.name.to_string());
                batch.command(&Command::Progress { realm: realm.name.to_string(), cursor, at });
                recorded.push(group);
            }
        }
        if batch.is_empty() {
            return;
        }
        // Where it cannot be recorded now it is tried again.
        let owner = Owner::Function(Arc::new(move |outcome| {
            if let Outcome::Refused { .. } = outcome {
                recorded.iter().for_each(|group| group.touch());
            }
        }));
        self.submit(Submission { batch, owner });
    }
}
