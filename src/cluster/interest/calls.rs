//! One life of an entry among the others, as far as calls go: what callees each has, and the calls themselves.
//!
//! Each side draws a number for its life with another entry when their link comes, and again when the entry begins a new life on a
//! link that stands. It says it with its callees, before anything else. Whoever hears of another number than before forgets
//! what the entry had, and ends the calls between both.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::node::peers::calls::{Lives, PeerCalls};
use crate::node::session::Touched;
use crate::queue::digest::digest;
use crate::queue::envelope::NodeId;
use crate::queue::state::rows;
use crate::router::dealer::{Offer, Rank};
use crate::router::interest::{Offered, OwnOffers, PeerId, TheirOffers, ToldOffers};
use crate::router::output::InvocationPolicy;

/// See the module.
pub struct Calls {
    node: Arc<Node>,
    own: OwnOffers,
    peers: Vec<Peer>,
    out: Vec<(NodeId, Bytes)>,
    touched: Touched,
    left_out: u64,
}

struct Peer {
    node: NodeId,
    /// Of this entry with the peer; `None`: there is no link.
    life: Option<u64>,
    /// Of the peer, and what it has told in that.
    told: Option<(u64, TheirOffers)>,
    /// The whole set was asked for, and has not come.
    asked: bool,
    calls: PeerCalls,
}

/// What entries say of their callees: MessagePack.
#[derive(Serialize, Deserialize)]
enum Message {
    /// Asks for the whole set.
    Ask,
    Told {
        life: u64,
        version: u64,
        whole: bool,
        offered: Vec<OfferedRow>,
    },
}

/// Realm, pattern in its stored spelling, callees.
type OfferedRow = (String, String, Vec<OfferRow>);
/// Policy, members, first and last of them in milliseconds, authid, client id.
type OfferRow = (InvocationPolicy, u32, u64, u64, Option<Box<str>>, Option<Box<str>>, Vec<u64>);

/// The rank of an entry: the same wherever it is asked, and of no other.
pub fn rank(entry: &NodeId) -> Rank {
    digest(entry.name.as_bytes()) & Rank::MAX >> 1
}

impl Peer {
    fn new(at: usize, id: &NodeId, node: &Arc<Node>) -> Self {
        let calls = PeerCalls::new(node.clone(), PeerId(at as u32), rank(id));
        Self { node: id.clone(), life: None, told: None, asked: false, calls }
    }
}

impl Calls {
    /// `peers`: the other entries; a [`PeerId`] is a place in it.
    pub fn new(node: &Arc<Node>, peers: &[NodeId]) -> Self {
        Self {
            node: node.clone(),
            own: OwnOffers::default(),
            peers: peers.iter().enumerate().map(|(at, id)| Peer::new(at, id, node)).collect(),
            out: Vec::new(),
            touched: Touched::default(),
            left_out: 0,
        }
    }

    /// Another entry: the last of them.
    pub fn add(&mut self, id: &NodeId) {
        self.peers.push(Peer::new(self.peers.len(), id, &self.node));
    }

    /// The link to a node stands. Does nothing for those that are no entries.
    pub fn connected(&mut self, node: &NodeId) {
        self.look();
        let life = self.node.random();
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *node) else { return };
        peer.end();
        peer.life = Some(life);
        let told = message(life, &self.own.whole_set());
        self.say(node, &told);
    }

    /// It is gone, and what was under way over it.
    pub fn disconnected(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *node) {
            peer.end();
            peer.life = None;
        }
    }

    /// Has a linked entry say what callees it has.
    pub fn ask(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *node) {
            peer.asked = true;
        }
        self.say(node, &Message::Ask);
    }

    /// Takes what an entry says of its callees.
    pub fn hear(&mut self, from: &NodeId, body: &[u8], now_ms: u64) {
        match rmp_serde::from_slice(body) {
            Ok(Message::Ask) => {
                self.look();
                let linked = self.peers.iter().find(|peer| peer.node == *from).and_then(|peer| peer.life);
                if let Some(life) = linked {
                    self.say(from, &message(life, &self.own.whole_set()));
                }
            }
            Ok(Message::Told { life, version, whole, offered }) => {
                let Some(offered) = of_rows(offered) else {
                    return tracing::error!(entry = %from, "its callees are not called: a pattern cannot be read");
                };
                self.told(from, life, ToldOffers { version, whole, offered }, now_ms);
            }
            Err(error) => tracing::error!(%error, entry = %from, "its callees are not called"),
        }
    }

    fn told(&mut self, from: &NodeId, life: u64, told: ToldOffers, now_ms: u64) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *from) else { return };
        // Behind the end of its link nothing is true any more.
        let Some(own) = peer.life else { return };
        peer.asked &= !told.whole;
        if told.whole && peer.told.as_ref().is_none_or(|(known, _)| *known != life) {
            peer.calls.begin(Lives { own, peer: life });
            peer.told = Some((life, TheirOffers::default()));
        }
        let heard = match &mut peer.told {
            Some((known, theirs)) if *known == life => theirs.hear(told).map_err(|error| error.to_string()),
            _ => Err("a life that has not told all".to_owned()),
        };
        match heard {
            Ok(offered) => offered.iter().for_each(|offered| peer.calls.offered(offered, now_ms)),
            Err(_) if peer.asked => {}
            Err(why) => {
                tracing::debug!(why, entry = %from, "all callees are asked for");
                self.ask(from);
            }
        }
    }

    /// Takes a frame about a call. Whoever got something is woken by [`Calls::finish`].
    pub fn receive(&mut self, from: &NodeId, frame: &[u8], now_ms: u64) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == *from) else { return };
        if let Err(error) = peer.calls.receive(frame, now_ms, &mut self.touched) {
            tracing::error!(%error, entry = %from, "what it says of a call cannot be read");
        }
    }

    /// Ends a round: who got something is woken, and what callees are here is told if it has changed.
    pub fn finish(&mut self) {
        self.touched.wake();
        self.look();
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<(NodeId, Bytes)> {
        std::mem::take(&mut self.out)
    }

    /// Looks what callees are here, and tells what has changed to all that are linked.
    fn look(&mut self) {
        for realm in self.node.realms() {
            for (pattern, offers) in realm.take_offers() {
                self.own.set(&realm.name, pattern, offers);
            }
        }
        if self.own.left_out() > self.left_out {
            self.left_out = self.own.left_out();
            tracing::warn!(procedures = self.left_out, "procedures are called at this entry alone");
        }
        let Some(told) = self.own.take() else { return };
        for peer in &self.peers {
            if let Some(life) = peer.life {
                self.out.push((peer.node.clone(), encode(&message(life, &told))));
            }
        }
    }

    fn say(&mut self, to: &NodeId, message: &Message) {
        self.out.push((to.clone(), encode(message)));
    }
}

impl Peer {
    fn end(&mut self) {
        self.calls.end();
        self.told = None;
        self.asked = false;
    }
}

fn encode(message: &Message) -> Bytes {
    // Writing plain values to memory cannot fail.
    rmp_serde::to_vec(message).unwrap_or_default().into()
}

fn message(life: u64, told: &ToldOffers) -> Message {
    let offer = |offer: &Offer| {
        let (authid, client_id) = (offer.authid.clone(), offer.client_id.clone());
        (offer.policy, offer.members, offer.first_ms, offer.last_ms, authid, client_id, offer.nodes.clone())
    };
    let row = |offered: &Offered| {
        let offers = offered.offers.iter().map(offer).collect();
        (offered.realm.to_string(), rows::pattern_text(&offered.pattern), offers)
    };
    let offered = told.offered.iter().map(row).collect();
    Message::Told { life, version: told.version, whole: told.whole, offered }
}

fn of_rows(rows: Vec<OfferedRow>) -> Option<Vec<Offered>> {
    let offer = |(policy, members, first_ms, last_ms, authid, client_id, nodes): OfferRow| Offer {
        policy,
        members,
        first_ms,
        last_ms,
        authid,
        client_id,
        nodes,
    };
    let offered = |(realm, text, offers): OfferedRow| {
        let pattern = rows::read_pattern(&text)?;
        Some(Offered { realm: Arc::from(realm), pattern, offers: offers.into_iter().map(offer).collect() })
    };
    rows.into_iter().map(offered).collect()
}
