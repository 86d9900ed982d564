//! The groups that a session is a member of: what they have for it is read and sent by its own task.

use std::sync::{Arc, Weak};

use super::refill::REFILL_BYTES;
use super::send::Desk;
use super::{Mailbox, Online};
use crate::delivery::inflight::Cargo;
use crate::node::Node;
use crate::node::groups::Group;
use crate::node::groups::machine::MemberId;
use crate::node::mailbox::Offered;
use crate::node::reader::pull::{Around, Found, Seeker, Sought, Take};
use crate::node::reader::wants::{Want, Wants};
use crate::types::event::{Qos, Terms};
use crate::types::ids::SubscriptionId;

/// A session's part in a group.
pub struct Membership {
    /// As the session calls it: its filter, or anything else that names it among its groups.
    name: Box<str>,
    group: Arc<Group>,
    member: MemberId,
    subscription: SubscriptionId,
    wants: Wants,
    /// Events that it takes at a time.
    window: usize,
    seeker: Seeker,
    /// Events in the outbox that are done with when the connection takes them.
    outgoing: Vec<u64>,
    node: Weak<Node>,
}

/// What became of an event that was to be sent.
enum Given {
    Sent {
        waits: bool,
    },
    /// There is no room for it now.
    Full,
    /// The member may not have it.
    Refused,
    /// It cannot be sent to this client at all.
    Never,
}

impl Mailbox {
    /// Makes the session a member of a group, in place of what `name` named before: it gets events whose turn is its, at most
    /// `window` at a time. `want` says how; its pattern and `since` are the group's. With more than QoS 1 nothing is sent. The session
    /// must read the log ([`Mailbox::read_log`]), and have the shared subscription in the router.
    pub fn join_group(&mut self, name: &str, group: Arc<Group>, want: Want, window: usize) {
        self.leave_group(name);
        let Some(log) = self.log.as_mut() else { return };
        let Some(session) = log.reading.session.upgrade() else { return };
        let subscription = want.subscription;
        let mut wants = Wants::default();
        wants.set("", Want { pattern: group.pattern.clone(), since: 0, follows: true, ..want });
        let membership = Membership {
            name: name.into(),
            group,
            member: MemberId(session.id.0),
            subscription,
            wants,
            window,
            seeker: Seeker::default(),
            outgoing: Vec::new(),
            node: log.reading.node.clone(),
        };
        if let Some(online) = &self.online {
            membership.take_part(online);
        }
        log.memberships.push(membership);
    }

    /// Ends what [`Mailbox::join_group`] began: events that the session has not done with are given to others. The subscription by
    /// which it was a member, if it was.
    pub fn leave_group(&mut self, name: &str) -> Option<SubscriptionId> {
        let log = self.log.as_mut()?;
        let at = log.memberships.iter().position(|membership| *membership.name == *name)?;
        Some(log.memberships.swap_remove(at).subscription)
    }

    /// The same by the subscription.
    pub(super) fn leave_group_of(&mut self, subscription: SubscriptionId) {
        if let Some(log) = self.log.as_mut().filter(|_| subscription != SubscriptionId(0)) {
            log.memberships.retain(|membership| membership.subscription != subscription);
        }
    }

    /// The group that a subscription is a member of.
    pub fn group_of(&self, subscription: SubscriptionId) -> Option<&Arc<Group>> {
        let mut memberships = self.log.iter().flat_map(|log| &log.memberships);
        memberships.find(|membership| membership.subscription == subscription).map(|membership| &membership.group)
    }

    /// The groups that the session is a member of, by the names it gave them.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Arc<Group>)> {
        let memberships = self.log.iter().flat_map(|log| &log.memberships);
        memberships.map(|membership| (&*membership.name, &membership.group))
    }

    /// A connection is there: it takes part.
    pub(super) fn join_groups(&mut self) {
        let (Some(log), Some(online)) = (&mut self.log, &self.online) else { return };
        log.memberships.iter().for_each(|membership| membership.take_part(online));
    }

    /// The connection is gone: what groups have given the session is given to others.
    pub(super) fn leave_groups(&mut self) {
        let Some(log) = self.log.as_mut().filter(|log| !log.memberships.is_empty()) else { return };
        for membership in &mut log.memberships {
            membership.outgoing.clear();
            membership.leave();
        }
        self.inflight.drop_shared();
    }

    /// PUBACK for what a group has given; `false`: it has not.
    pub(super) fn acknowledge_shared(&mut self, packet_id: u16) -> bool {
        let Some((number, id)) = self.inflight.shared(packet_id) else { return false };
        self.inflight.acknowledge(packet_id);
        let memberships = self.log.iter().flat_map(|log| &log.memberships);
        if let Some(membership) = memberships.into_iter().find(|membership| membership.group.id == id) {
            membership.group.done(number);
        }
        true
    }

    /// The client of a subscription that is a member of a group is done with this event alone; `false`: the group was before, as it
    /// may be if the client was slow. `None`: it is in no group that is told so.
    pub(super) fn ack_shared(&mut self, subscription: SubscriptionId, number: u64) -> Option<bool> {
        let group = self.group_of(subscription).filter(|group| group.is_acknowledged())?;
        Some(group.done(number))
    }

    /// The connection takes what is in the outbox: what needs no word of the client is done.
    pub(super) fn note_taken_shared(&mut self) {
        let Some(log) = &mut self.log else { return };
        for Membership { group, outgoing, .. } in &mut log.memberships {
            for number in outgoing.drain(..) {
                group.done(number);
            }
        }
    }

    /// Sends what groups have for the session; `true`: there is more to be done at once.
    pub(super) fn pull_groups(&mut self, around: &Around<'_>, steps: &mut u32, offered: &mut Offered) -> bool {
        let Self { inflight, outbox, online: Some(online), log: Some(log), .. } = self else { return false };
        let mut desk = Desk { online, outbox, offered };
        let mut later = false;
        for Membership { group, member, wants, seeker, outgoing, .. } in &mut log.memberships {
            let acknowledged = group.is_acknowledged();
            later |= group.deal(around, steps);
            while desk.outbox.bytes() <= REFILL_BYTES
                && let Some(turn) = group.next(*member, around.node)
            {
                let number = turn.number;
                let found = seeker.find(number, around, wants, |Sought { event, terms, admitted }| {
                    if !admitted {
                        return Given::Refused;
                    }
                    let terms = Terms { qos: terms.qos.min(Qos::AtLeastOnce), ..terms };
                    let counts = terms.qos != Qos::AtMostOnce;
                    if counts && !inflight.has_room(desk.online.receive_max) {
                        return Given::Full;
                    }
                    let before = desk.offered.sent;
                    let cargo = Cargo::Shared { number, group: group.id };
                    match desk.take(&event, &terms, |_| inflight.send_cargo(cargo)) {
                        Take::Full => Given::Full,
                        Take::Taken if desk.offered.sent == before => Given::Never,
                        Take::Taken => Given::Sent { waits: counts || terms.subscription.is_some() && acknowledged },
                    }
                });
                match found {
                    Found::Waits | Found::Yes(Given::Full) => break,
                    Found::Gone | Found::Yes(Given::Never) => drop(group.done(number)),
                    Found::Yes(Given::Refused) => group.refuse(*member, number),
                    Found::Yes(Given::Sent { waits }) => {
                        group.sent(*member, number);
                        if !waits {
                            outgoing.push(number);
                        }
                    }
                }
            }
        }
        later
    }
}

impl Membership {
    /// What the connection has no room for is left to others.
    fn take_part(&self, online: &Online) {
        self.group.join(self.member, self.window.min(online.receive_max.into()), &online.link);
    }

    fn leave(&self) {
        let routed = self.node.upgrade().map_or(0, |node| node.log.history.routed());
        self.group.leave(self.member, routed);
    }
}

/// Whoever ends a session ends its part in groups, too.
impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}
