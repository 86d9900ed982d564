//! What a publisher sends to the other entries of a cluster.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{BATCH_BYTES_MAX, Publication, Publisher};
use crate::node::metrics::Drop;
use crate::node::peers::{Carried, Staged};
use crate::node::realm::SharedRoute;
use crate::queue::message::Posting;
use crate::router::broker::{GroupKey, Subscriber};
use crate::router::interest::{PeerId, Reached, ReachedGroup};
use crate::types::event::Event;

/// Whom of a route an event is for.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All but these groups: it is the turn of a member at another entry.
    But(&'a [GroupKey]),
    /// What another entry has said.
    Only { for_all: bool, groups: &'a [GroupKey] },
}

impl Scope<'_> {
    /// Whether it is for those who are subscribed for themselves.
    pub fn is_for_all(&self) -> bool {
        match self {
            Scope::But(_) => true,
            Scope::Only { for_all, .. } => *for_all,
        }
    }

    /// Whether it is for a member of this group.
    pub fn has(&self, group: &GroupKey) -> bool {
        match self {
            Scope::But(others) => !others.contains(group),
            Scope::Only { groups, .. } => groups.contains(group),
        }
    }
}

impl Publisher {
    /// Gives an event to the entries that want it, at the latest with the next [`Publisher::finish`]. Returns the groups that it
    /// is not for here.
    pub(super) fn pass_on(
        &mut self,
        reached: &Reached,
        route: &SharedRoute,
        event: &Event<'_>,
        publication: &Publication<'_>,
    ) -> Vec<GroupKey> {
        if self.staged.to != reached.peers || !reached.groups.is_empty() {
            self.send_staged();
            self.staged.to.clone_from(&reached.peers);
        }
        let realm = self.realm.name.clone();
        let posting = Posting {
            realm: &realm,
            publisher: self.session,
            exclude_publisher: publication.exclude_publisher,
            filter: publication.filter,
            condition: None,
            packet: None,
            entered: None,
        };
        self.staged.push(event, &posting);
        if !reached.groups.is_empty() {
            return self.send_to_groups(reached, route);
        }
        if self.staged.len() > BATCH_BYTES_MAX {
            self.send_staged();
        }
        Vec::new()
    }

    /// Sends the one event that is staged, each entry being told for which groups it is.
    fn send_to_groups(&mut self, reached: &Reached, route: &SharedRoute) -> Vec<GroupKey> {
        let mut elsewhere = Vec::new();
        let mut to: Vec<(PeerId, Vec<GroupKey>)> = reached.peers.iter().map(|peer| (*peer, Vec::new())).collect();
        for group in &reached.groups {
            let Some(peer) = whose_turn(group, route) else { continue };
            elsewhere.push(group.key.clone());
            match to.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, groups)) => groups.push(group.key.clone()),
                None => to.push((peer, vec![group.key.clone()])),
            }
        }
        let mut staged = std::mem::take(&mut self.staged);
        for (peer, groups) in to {
            let for_all = staged.to.contains(&peer);
            self.send_body(peer, staged.body(for_all, &groups), staged.count());
        }
        staged.clear();
        self.staged = staged;
        elsewhere
    }

    /// Sends what is staged.
    pub(super) fn send_staged(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let mut staged: Staged = std::mem::take(&mut self.staged);
        let body = staged.body(true, &[]);
        for peer in &staged.to {
            self.send_body(*peer, body.clone(), staged.count());
        }
        staged.clear();
        self.staged = staged;
    }

    fn send_body(&mut self, peer: PeerId, body: Bytes, count: u32) {
        match self.realm.peers.send(peer, body, count) {
            Carried::Sent => {}
            Carried::Crowded => self.crowded = true,
            Carried::Dropped => self.tally.drop(Drop::LinkFull, count.into()),
        }
    }
}

/// The entry whose turn it is to give an event to one of a group's members; `None`: this one.
fn whose_turn(group: &ReachedGroup, route: &SharedRoute) -> Option<PeerId> {
    let here = route.groups.iter().filter(|known| *known.key == group.key);
    let is_here = here.flat_map(|known| known.members.iter()).any(|(member, _)| !member.mirrored());
    let turn = group.turn.fetch_add(1, Ordering::Relaxed) % (group.peers.len() + usize::from(is_here)).max(1);
    group.peers.get(turn).copied()
}
