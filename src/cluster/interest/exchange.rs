//! One life of an entry among the others.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::calls::Calls;
use super::heard::Hearing;
use super::message::Message;
use crate::cluster::frame::Beside;
use crate::cluster::ndb::number_of;
use crate::node::Node;
use crate::node::groups::said::{self, Said};
use crate::node::peers::Receiver;
use crate::queue::envelope::{NodeId, Role};
use crate::router::interest::{Heard, Interest, Own, PeerId, Theirs};

/// See the module.
pub struct Exchange {
    node: Arc<Node>,
    own: Own,
    peers: Vec<Peer>,
    receiver: Receiver,
    hearing: Hearing,
    version: u64,
    calls: Calls,
    out: Vec<(NodeId, Beside, Bytes)>,
    left_out: u64,
}

struct Peer {
    node: NodeId,
    linked: bool,
    theirs: Theirs,
    /// The whole set was asked for, and has not come.
    asked: bool,
}

impl Peer {
    fn new(node: &NodeId) -> Self {
        Self { node: node.clone(), linked: false, theirs: Theirs::default(), asked: false }
    }
}

impl Exchange {
    /// `peers`: the other entries; a [`PeerId`] is a place in it. `linked`: those of them whose links stand already:
    /// whatever they have told went to a life before.
    pub fn new(node: Arc<Node>, peers: &[NodeId], linked: impl Fn(&NodeId) -> bool) -> Self {
        let mut exchange = Self {
            receiver: Receiver::new(node.clone()),
            calls: Calls::new(&node, peers),
            node,
            hearing: Hearing::default(),
            version: 0,
            own: Own::default(),
            peers: peers.iter().map(Peer::new).collect(),
            out: Vec::new(),
            left_out: 0,
        };
        for node in peers.iter().filter(|node| linked(node)) {
            exchange.connected(node);
            exchange.ask(node);
            exchange.calls.ask(node);
        }
        exchange
    }

    /// Another entry, if it is none of the peers yet: the last of them. Those that go keep their places.
    pub fn add(&mut self, node: &NodeId) {
        if node.role == Role::Entry && !self.peers.iter().any(|peer| peer.node == *node) {
            self.peers.push(Peer::new(node));
            self.calls.add(node);
        }
    }

    /// The other entries, each at the place of its [`PeerId`].
    pub fn peers(&self) -> impl Iterator<Item = &NodeId> {
        self.peers.iter().map(|peer| &peer.node)
    }

    /// The link to a node stands. Does nothing for those that are no peers.
    pub fn connected(&mut self, node: &NodeId) {
        self.calls.connected(node);
        self.look();
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *node) else { return };
        peer.linked = true;
        peer.asked = false;
        self.hearing.connected(node);
        self.node.peers.say(Some(number_of(node)), Said::Begin);
        self.say(node, &Message::Told(self.own.whole_set()));
    }

    /// It is gone: nothing is sent there, and what is wanted there will be told anew.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.calls.disconnected(node);
        let Some(at) = self.peers.iter().position(|peer| peer.node == *node) else { return };
        let peer = &mut self.peers[at];
        peer.linked = false;
        self.hearing.disconnected(node);
        let heard = peer.theirs.forget();
        self.apply(PeerId(at as u32), &heard);
        self.node.forget_member_entry(number_of(node), false);
    }

    /// Takes what an entry says of its interest.
    pub fn hear(&mut self, from: &NodeId, body: &[u8]) {
        let Some(at) = self.peers.iter().position(|peer| peer.node == *from) else { return };
        match Message::decode(body) {
            Ok(Message::Ask) => {
                self.look();
                self.say(from, &Message::Told(self.own.whole_set()));
            }
            Ok(Message::Heard(version)) => self.hearing.hear(from, version),
            Ok(Message::Told(told)) => {
                let version = told.version;
                let peer = &mut self.peers[at];
                // Behind the end of its link nothing is true any more.
                if !peer.linked {
                    return;
                }
                peer.asked &= !told.whole;
                match peer.theirs.hear(told) {
                    Ok(heard) => {
                        self.apply(PeerId(at as u32), &heard);
                        self.say(from, &Message::Heard(version));
                    }
                    Err(_) if peer.asked => {}
                    Err(error) => {
                        tracing::debug!(%error, entry = %from, "the whole set is asked for");
                        self.ask(from);
                    }
                }
            }
            Err(error) => tracing::error!(%error, entry = %from, "its clients get no events of this entry"),
        }
    }

    /// Takes what an entry says of consumer groups.
    pub fn hear_of_groups(&mut self, from: &NodeId, body: &[u8]) {
        if !self.peers.iter().any(|peer| peer.node == *from && peer.linked) {
            return;
        }
        match said::decode(body) {
            Ok(said) => self.node.hear_of_groups(number_of(from), said),
            Err(error) => tracing::error!(%error, entry = %from, "members of groups there get nothing"),
        }
    }

    /// Has consumer groups go on that have members at several entries.
    pub fn pump(&mut self, now_ms: u64) {
        self.node.pump_groups(now_ms);
    }

    /// What is to be said of groups, in order.
    pub fn take_groups(&mut self) -> Vec<(NodeId, Bytes)> {
        let said = self.node.peers.take_said();
        if said.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for peer in self.peers.iter().filter(|peer| peer.linked) {
            let number = number_of(&peer.node);
            let own = said.iter().filter(|(to, _)| to.is_none_or(|to| to == number)).map(|(_, said)| said.clone());
            let own: Vec<Said> = own.collect();
            out.extend(said::encode(&own).map(|body| (peer.node.clone(), body)));
        }
        out
    }

    /// Routes events of another entry. They reach subscribers at the latest with [`Exchange::finish`].
    pub fn receive(&mut self, from: &NodeId, body: &[u8], now_ms: u64) {
        if let Err(error) = self.receiver.receive(body, now_ms) {
            tracing::error!(%error, entry = %from, "its events cannot be read");
        }
    }

    /// Takes what an entry says of its callees.
    pub fn hear_callees(&mut self, from: &NodeId, body: &[u8], now_ms: u64) {
        self.calls.hear(from, body, now_ms);
    }

    /// Takes a call of another entry, or what it says of one. It reaches clients at the latest with [`Exchange::finish`].
    pub fn receive_call(&mut self, from: &NodeId, frame: &[u8], now_ms: u64) {
        self.calls.receive(from, frame, now_ms);
    }

    /// Ends a round: who got something is woken, and what clients want and offer here is told if it has changed.
    pub fn finish(&mut self) {
        self.receiver.finish();
        self.calls.finish();
        self.look();
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<(NodeId, Beside, Bytes)> {
        let mut out = std::mem::take(&mut self.out);
        out.extend(self.calls.take().into_iter().map(|(to, body)| (to, Beside::Callees, body)));
        out
    }

    /// Looks what clients want here, and tells what has changed to all that are linked.
    fn look(&mut self) {
        let change = self.node.peers.last_change();
        self.tell_changes();
        self.hearing.told(self.version, change);
        if let Some(change) = self.hearing.take() {
            self.node.peers.set_heard(change);
        }
    }

    fn tell_changes(&mut self) {
        for realm in self.node.realms() {
            for (pattern, wanted) in realm.take_interest() {
                self.own.set(&realm.name, &pattern, wanted);
            }
        }
        let Some(told) = self.own.take() else { return };
        if self.own.left_out() > self.left_out {
            self.left_out = self.own.left_out();
            tracing::warn!(groups = self.left_out, "shared subscriptions get only what is published at this entry");
        }
        self.version = told.version;
        let body = Message::Told(told).encode();
        let linked = self.peers.iter().filter(|peer| peer.linked);
        self.out.extend(linked.map(|peer| (peer.node.clone(), Beside::Interest, body.clone())));
    }

    fn ask(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *node) {
            peer.asked = true;
        }
        self.say(node, &Message::Ask);
    }

    fn say(&mut self, to: &NodeId, message: &Message) {
        self.out.push((to.clone(), Beside::Interest, message.encode()));
    }

    /// Has publishers know what a peer wants. A realm that is not known here has no publishers.
    fn apply(&self, peer: PeerId, heard: &Heard) {
        for (interests, wanted) in [(&heard.unwanted, false), (&heard.wanted, true)] {
            for (realm, of_realm) in &by_realm(interests) {
                if let Some(realm) = self.node.realm(realm) {
                    let patterns = of_realm.iter().map(|interest| (&interest.pattern, interest.group.as_deref()));
                    realm.set_reach(peer, wanted, patterns);
                }
            }
        }
        if let Some(everything) = heard.everything {
            self.node.set_reach_everything(peer, everything);
        }
    }
}

fn by_realm(interests: &[Interest]) -> HashMap<&str, Vec<&Interest>> {
    let mut by_realm: HashMap<&str, Vec<&Interest>> = HashMap::new();
    for interest in interests {
        by_realm.entry(&interest.realm).or_default().push(interest);
    }
    by_realm
}
