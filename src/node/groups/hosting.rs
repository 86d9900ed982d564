//! Groups of a cluster: one entry delivers each, members at others are told by way of theirs.
//!
//! ```text
//! host: machine, reader --Deal, Recall--> Away, at a member's entry --its own task reads the event--> outbox
//!          ^                                                              |
//!          '-------------------- Join, Leave, Sent, Refused, Done --------'
//! ```
//!
//! 1. The row of the group names its *host*: the first entry that had members ([`Command::Durable`]), and if that is gone the
//!    first that asks ([`Command::Host`]). What another entry says of the cursor is void. So a group has one cursor, in the log.
//! 2. The host alone decides who gets what, by the same rules as in one process. What it says is a number: a member's entry has the
//!    log too. It is sent when that entry has come so far.
//! 3. An event counts as sent when the member's entry says so. A member goes when that says so, or when the link to it breaks, or
//!    a new life of it begins: then others get what it had.
//! 4. The host is gone: another takes up the group where the log has it. What members had and were not done with is given again.
//! 5. Nobody passes on what another entry has said, so nothing goes round. What is under way is bounded by the members' windows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::Groups;
use super::away::{Away, Host, Need};
use super::group::{Begin, Group, Inner, Turn, Way, stand};
use super::machine::MemberId;
use super::said::{Said, What};
use crate::node::Node;
use crate::node::durables::cursor_of;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::peers::Peers;
use crate::node::reader::pull::Around;
use crate::node::realm::Realm;
use crate::queue::command::{Command, DurableRow};
use crate::queue::message::Batch;
use crate::types::topic::TopicPattern;

#[cfg(test)]
mod tests;

/// Steps of reading for one group before others have their turn.
const STEPS: u32 = 10_000;

impl Group {
    /// Another entry has said something of the group. `routed`: see [`Group::leave`].
    fn hear(&self, from: u64, what: What, routed: u64) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        match &mut inner.away {
            Some(away) if away.host() == Host::Peer(from) => {
                for answer in hear_away(away, what) {
                    inner.say_to_host(answer);
                }
            }
            // Of a host before, or one that is not known yet: it says so again.
            Some(_) => {}
            None => inner.hear(from, what, routed),
        }
    }

    /// All that an entry has said is forgotten. `begins`: it has just come, and is told of the members here.
    fn forget_peer(&self, peer: u64, begins: bool, routed: u64) {
        let mut inner = self.lock();
        if let Some(away) = inner.away.as_mut().filter(|away| away.host() == Host::Peer(peer)) {
            away.forget();
            if begins {
                away.introduce(true).into_iter().for_each(|joins| inner.say_to_host(joins));
            }
            return;
        }
        let is_there = |way: &Way| matches!(way, Way::There(at) if *at == peer);
        let gone: Vec<_> = inner.links.iter().filter(|(_, way)| is_there(way)).map(|(member, _)| *member).collect();
        gone.into_iter().for_each(|member| inner.let_go(member, routed));
    }

    /// The group is delivered by this entry from now on, from where it stands.
    fn take_over(&self, row: &DurableRow, begin: Begin<'_>) {
        let mut inner = self.lock();
        let Some(away) = inner.away.take_if(|away| away.host() == Host::Own) else { return };
        if inner.closed {
            return;
        }
        (inner.machine, inner.reader) = stand(&self.pattern, row, begin);
        for (member, absent) in away.members() {
            inner.machine.join(member, absent.window);
            inner.links.insert(member, Way::Here(absent.link));
        }
        inner.voice.say(None, What::Hosted);
        inner.wake_all_with_room();
    }

    /// Deals for members at other entries, and tells those; `true`: there is more to be done at once.
    fn pump(&self, around: &Around<'_>) -> bool {
        let (mut steps, fed) = (STEPS, around.node.log.history.fed());
        let later = self.deal(around, &mut steps);
        let mut inner = self.lock();
        match &mut inner.away {
            Some(away) => away.wake_ready(fed),
            None => inner.hand_over(),
        }
        later
    }

    /// Whether anything here depends on what other entries do.
    fn is_busy(&self) -> bool {
        let inner = self.lock();
        match &inner.away {
            Some(away) => away.is_early(),
            None => inner.links.values().any(|way| matches!(way, Way::There(_))),
        }
    }
}

fn hear_away(away: &mut Away, what: What) -> Vec<What> {
    match what {
        What::Hosted => return away.introduce(false),
        What::Deal { member, number, attempts } => away.deal(MemberId(member), Turn { number, attempts }),
        What::Recall { member, number } => away.recall(MemberId(member), number),
        What::Join { .. } | What::Leave { .. } | What::Sent { .. } | What::Refused { .. } | What::Done { .. } => {}
    }
    Vec::new()
}

impl Inner {
    /// A member's entry has said something to the host.
    fn hear(&mut self, from: u64, what: What, routed: u64) {
        match what {
            What::Join { member, window, anew } => {
                self.join_there(from, MemberId(member), window as usize, anew, routed)
            }
            What::Leave { member } => {
                if self.is_there(from, member) {
                    self.let_go(MemberId(member), routed);
                }
            }
            What::Sent { member, number } => {
                if self.heard(from, member, number) {
                    self.machine.sent(MemberId(member), number, self.now_ms);
                    self.dirty = true;
                }
            }
            What::Refused { member, number } => {
                if self.heard(from, member, number) {
                    self.machine.refuse(MemberId(member), number);
                    self.dirty = true;
                    self.deal_free();
                }
            }
            What::Done { number } => {
                self.dirty |= self.machine.done(number);
                self.deal_free();
            }
            What::Hosted | What::Deal { .. } | What::Recall { .. } => {}
        }
    }

    fn join_there(&mut self, from: u64, member: MemberId, window: usize, anew: bool, routed: u64) {
        match self.links.get(&member) {
            // Ids are random: two are the same once in a blue moon.
            Some(Way::Here(_)) => return,
            Some(Way::There(at)) if anew || *at != from => self.let_go(member, routed),
            Some(Way::There(_)) | None => {}
        }
        self.machine.join(member, window);
        self.links.insert(member, Way::There(from));
        self.deal_free();
    }

    fn is_there(&self, from: u64, member: u64) -> bool {
        matches!(self.links.get(&MemberId(member)), Some(Way::There(at)) if *at == from)
    }

    /// Whether a member's entry speaks of what it was told.
    fn heard(&mut self, from: u64, member: u64, number: u64) -> bool {
        let handed = self.is_there(from, member).then(|| self.handed.get_mut(&MemberId(member))).flatten();
        handed.is_some_and(|handed| handed.remove(&number))
    }

    /// Tells the entries of members whose turn it is, and whose it is no more.
    fn hand_over(&mut self) {
        let Self { machine, links, handed, voice, .. } = self;
        for (member, way) in links.iter() {
            let Way::There(entry) = way else { continue };
            let handed = handed.entry(*member).or_default();
            let unsent: BTreeSet<u64> = machine.unsent(*member).collect();
            handed.retain(|number| {
                let stays = unsent.contains(number);
                if !stays {
                    voice.say(Some(*entry), What::Recall { member: member.0, number: *number });
                }
                stays
            });
            for number in machine.unsent(*member) {
                if handed.insert(number) {
                    let attempts = machine.attempts(number);
                    voice.say(Some(*entry), What::Deal { member: member.0, number, attempts });
                }
            }
        }
    }
}

impl Groups {
    /// The log of a cluster has the row of a group: whose it is, and how it is served.
    pub fn follow(
        &self,
        node: &Node,
        realm: &Realm,
        name: &str,
        pattern: &TopicPattern,
        row: &DurableRow,
    ) -> Arc<Group> {
        let host = match row.holder {
            None => Host::Nobody,
            Some(holder) if node.is_elsewhere(Some(holder)) => Host::Peer(holder),
            Some(_) => Host::Own,
        };
        let group = self.known_or(name, pattern, |id| Group::away(id, realm.voice(name), pattern.clone(), row, host));
        group.follow(row);
        let mut inner = group.lock();
        if let Some(away) = &mut inner.away {
            let said = away.set_host(host);
            said.into_iter().for_each(|what| inner.say_to_host(what));
        }
        drop(inner);
        group
    }
}

impl Realm {
    /// The group of a name that a gate was told to have: in a cluster the one that the log has told of, which is away from all
    /// entries if it has been removed meanwhile.
    pub fn open_group(
        &self,
        node: &Node,
        name: &str,
        pattern: &TopicPattern,
        row: &DurableRow,
        begin: Begin<'_>,
    ) -> Arc<Group> {
        if node.entry.get().is_none() {
            return self.groups.open(self, name, pattern, row, begin);
        }
        self.groups.known_or(name, pattern, |id| Group::away(id, self.voice(name), pattern.clone(), row, Host::Nobody))
    }
}

impl Node {
    /// Finds out what a group needs to be delivered.
    pub(in crate::node) fn provide(self: &Arc<Self>, realm: &Arc<Realm>, group: &Arc<Group>, now_ms: u64) {
        let (name, own) = (group.name.to_string(), realm.name.to_string());
        match group.need(now_ms) {
            Need::Nothing => {}
            Need::Host => {
                let mut batch = Batch::default();
                batch.command(&Command::Host { realm: own, name });
                // The row tells what came of it; if nothing did, it is asked for again.
                self.submit(Submission { batch, owner: Owner::Nobody });
            }
            Need::Cursor => {
                let group = group.clone();
                // If too many ask, or it cannot be read, it is asked for again.
                let _ = self.ask_history(move |_, reader| match cursor_of(reader, &own, &name) {
                    Ok((Some(row), cursor)) => {
                        let begin = cursor.as_ref().map_or(Begin::After(row.since.unwrap_or(0)), Begin::At);
                        group.take_over(&row, begin);
                    }
                    Ok((None, _)) => {}
                    Err(error) => tracing::warn!(%error, group = name, "where a group stands cannot be read"),
                });
            }
        }
    }

    /// Another entry has said something of groups.
    pub fn hear_of_groups(self: &Arc<Self>, from: u64, said: Vec<Said>) {
        let routed = self.log.history.routed();
        for said in said {
            let Said::Of { realm, name, what } = said else {
                self.forget_member_entry(from, true);
                continue;
            };
            let Some(realm) = self.realm(&realm) else { continue };
            if let Some(group) = realm.groups.get(&name) {
                group.hear(from, what, routed);
                realm.groups.mark(&group);
                self.peers.set_busy_groups(true);
            }
        }
    }

    /// The link to an entry is gone, or (`begins`) a life of it begins: what it has said is not true any more.
    pub fn forget_member_entry(self: &Arc<Self>, entry: u64, begins: bool) {
        let routed = self.log.history.routed();
        for group in self.realms().iter().flat_map(|realm| realm.groups.all()) {
            group.forget_peer(entry, begins, routed);
        }
    }

    /// Has groups go on that have members at other entries, or wait for the log to come as far as those are.
    pub fn pump_groups(self: &Arc<Self>, now_ms: u64) {
        if !self.peers.has_busy_groups() {
            return;
        }
        let link = self.peers.pump_link();
        link.waker.register(&Waker::from(Arc::new(Bell(self.peers.clone()))));
        let (mut is_busy, mut later) = (false, false);
        for realm in self.realms() {
            for group in realm.groups.marked() {
                let around = Around { node: self, realm: &realm, session: None, rights: None, now_ms, link };
                later |= group.pump(&around);
                match group.is_busy() {
                    true => is_busy = true,
                    false => realm.groups.unmark(&group),
                }
            }
        }
        if !is_busy {
            self.peers.set_busy_groups(false);
            // One may have been marked meanwhile.
            let marked = self.realms().iter().any(|realm| realm.groups.has_marked());
            if marked {
                self.peers.set_busy_groups(true);
                self.peers.wake();
            }
        }
        if later {
            self.peers.wake();
        }
    }
}

/// Has groups pumped again.
struct Bell(Arc<Peers>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}
