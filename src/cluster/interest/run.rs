//! The thread of an [`Exchange`], between the inbox of its entry and the mesh.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::RwLock;

use crate::cluster::frame::Beside;
use crate::cluster::inbox::{Event, Inbox};
use crate::cluster::line::NotSent;
use crate::cluster::mesh::Mesh;
use crate::node::Node;
use crate::node::log::ClockFn;
use crate::node::metrics::{Drop as DropReason, Protocol, Tally};
use crate::node::peers::Carried;
use crate::node::peers::calls::{Unsaid, cut};
use crate::queue::envelope::{NodeId, Role};

use super::Exchange;
use super::calls::rank;

/// Bytes of events of other entries that wait to be routed; what comes beyond is dropped.
const INBOX_BYTES_MAX: usize = 32 << 20;

/// A running exchange; it ends when this is dropped.
pub struct Exchanging {
    inbox: Arc<Inbox>,
    node: Arc<Node>,
    thread: Option<JoinHandle<()>>,
}

impl Exchanging {
    /// Takes what the entry heard. Never waits: if too much waits, events are dropped, and the payloads of calls, but nothing else.
    pub fn hear(&self, event: Event) {
        match event {
            Event::Beside { what: Beside::Events, .. } => {
                if !self.inbox.offer(event) {
                    // How many there are is not worth reading them.
                    let mut tally = Tally::default();
                    tally.drop(DropReason::LinkFull, 1);
                    self.node.metrics.of(Protocol::Mqtt).add(&mut tally);
                }
            }
            Event::Beside { from, what: what @ Beside::Calls, body } => {
                let event = Event::Beside { from: from.clone(), what, body: body.clone() };
                if !self.inbox.offer(event) {
                    // The caller is told.
                    self.inbox.put(Event::Beside { from, what, body: cut(&body) });
                }
            }
            Event::Request { from, body, answer } if from.role == Role::Entry => {
                self.node.house.asked_by_entry(&from.name, body, Box::new(move |reply| answer.reply(reply)));
            }
            // Dropped, it says that there will be no answer.
            Event::Request { .. } => {}
            event => self.inbox.put(event),
        }
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // It has panicked then, and has said so.
            let _ = thread.join();
        }
    }
}

/// Runs the exchange of one life of the entry `own` with the `peers`. `linked`: the nodes whose links stand already.
///
/// # Errors
/// The system has no threads left.
pub fn run(
    own: NodeId,
    peers: Vec<NodeId>,
    linked: impl Fn(&NodeId) -> bool,
    node: Arc<Node>,
    mesh: &Mesh,
    clock: ClockFn,
) -> io::Result<Exchanging> {
    let inbox = Inbox::new(INBOX_BYTES_MAX);
    let mut exchange = Exchange::new(node.clone(), &peers, linked);
    let peers = Arc::new(RwLock::new(peers));
    open(&node, &own, &peers, mesh, &inbox);
    open_calls(&node, &own, &peers, mesh);
    let (waits, mesh) = (inbox.clone(), mesh.clone());
    let work = move || {
        loop {
            exchange.finish();
            exchange.pump(clock());
            for (to, body) in exchange.take_groups() {
                // What is lost with its link is forgotten, and begins anew with the next.
                let _ = mesh.tell(own.clone(), to, Beside::Groups, body);
            }
            for (to, what, body) in exchange.take() {
                // What is lost with its link is told anew with the next.
                let _ = mesh.tell(own.clone(), to, what, body);
            }
            let Some(events) = waits.take(None) else { return };
            let now_ms = clock();
            for event in events {
                if let Event::Connected { nodes, .. } = &event {
                    nodes.iter().for_each(|node| exchange.add(node));
                    // Before anything is sent there, its place leads to it.
                    *peers.write() = exchange.peers().cloned().collect();
                }
                handle(&mut exchange, event, now_ms);
            }
        }
    };
    let thread = std::thread::Builder::new().name("peers".to_owned()).spawn(work)?;
    Ok(Exchanging { inbox, node, thread: Some(thread) })
}

fn handle(exchange: &mut Exchange, event: Event, now_ms: u64) {
    match event {
        Event::Connected { nodes, .. } => nodes.iter().for_each(|node| exchange.connected(node)),
        Event::Disconnected { nodes, .. } => nodes.iter().for_each(|node| exchange.disconnected(node)),
        Event::Beside { from, what: Beside::Interest, body } => exchange.hear(&from, &body),
        Event::Beside { from, what: Beside::Groups, body } => exchange.hear_of_groups(&from, &body),
        Event::Beside { from, what: Beside::Events, body } => exchange.receive(&from, &body, now_ms),
        Event::Beside { from, what: Beside::Callees, body } => exchange.hear_callees(&from, &body, now_ms),
        Event::Beside { from, what: Beside::Calls, body } => exchange.receive_call(&from, &body, now_ms),
        // Of the last, what is for storages.
        Event::Envelope(_) | Event::Request { .. } | Event::Beside { what: Beside::Policies, .. } => {}
    }
}

/// Gives the node its way to the peers.
fn open(node: &Node, own: &NodeId, peers: &Arc<RwLock<Vec<NodeId>>>, mesh: &Mesh, inbox: &Arc<Inbox>) {
    let (mesh, own, peers, woken) = (mesh.clone(), own.clone(), peers.clone(), inbox.clone());
    let send = move |peer: crate::router::interest::PeerId, body| {
        let Some(to) = peers.read().get(peer.0 as usize).cloned() else { return Carried::Dropped };
        match mesh.offer(own.clone(), to, Beside::Events, body) {
            Ok(false) => Carried::Sent,
            Ok(true) => Carried::Crowded,
            Err(_) => Carried::Dropped,
        }
    };
    node.open_peers(Box::new(send), Box::new(move || woken.wake()));
}

/// Gives the node its way to callees and callers at the peers.
fn open_calls(node: &Node, own: &NodeId, peers: &Arc<RwLock<Vec<NodeId>>>, mesh: &Mesh) {
    let rank = rank(own);
    let (mesh, own, peers) = (mesh.clone(), own.clone(), peers.clone());
    let say = move |peer: crate::router::interest::PeerId, frame, droppable: bool| {
        let to = peers.read().get(peer.0 as usize).cloned().ok_or(Unsaid::Gone)?;
        let sent = match droppable {
            true => mesh.offer(own.clone(), to, Beside::Calls, frame).map(drop),
            false => mesh.tell(own.clone(), to, Beside::Calls, frame),
        };
        sent.map_err(|error| match error {
            NotSent::NoRoom => Unsaid::Full,
            NotSent::Frame(_) => Unsaid::TooLong,
            // The link has ended, or does.
            NotSent::NotConnected | NotSent::Full | NotSent::Unknown(_) | NotSent::TooManyRequests => Unsaid::Gone,
        })
    };
    node.open_calls(rank, Box::new(say));
}
