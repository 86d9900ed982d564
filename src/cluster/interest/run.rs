//! The thread of an [`Exchange`], between the inbox of its entry and the mesh.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::cluster::frame::Beside;
use crate::cluster::inbox::{Event, Inbox};
use crate::cluster::mesh::Mesh;
use crate::node::Node;
use crate::node::log::ClockFn;
use crate::node::metrics::{Drop as DropReason, Protocol, Tally};
use crate::node::peers::Carried;
use crate::queue::envelope::NodeId;

use super::Exchange;

/// Bytes of events of other entries that wait to be routed; what comes beyond is dropped.
const INBOX_BYTES_MAX: usize = 32 << 20;

/// A running exchange; it ends when this is dropped.
pub struct Exchanging {
    inbox: Arc<Inbox>,
    node: Arc<Node>,
    thread: Option<JoinHandle<()>>,
}

impl Exchanging {
    /// Takes what the entry heard. Never waits: events are dropped if too much waits, but nothing else.
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
    open(&node, &own, &peers, mesh, &inbox);
    let mut exchange = Exchange::new(node.clone(), &peers, linked);
    let (waits, mesh) = (inbox.clone(), mesh.clone());
    let work = move || {
        loop {
            exchange.finish();
            exchange.pump(clock());
            for (to, body) in exchange.take_groups() {
                // What is lost with its link is forgotten, and begins anew with the next.
                let _ = mesh.tell(own.clone(), to, Beside::Groups, body);
            }
            for (to, body) in exchange.take() {
                // What is lost with its link is told anew with the next.
                let _ = mesh.tell(own.clone(), to, Beside::Interest, body);
            }
            let Some(events) = waits.take(None) else { return };
            let now_ms = clock();
            for event in events {
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
        // Of the last, what is for storages.
        Event::Envelope(_) | Event::Request { .. } | Event::Beside { what: Beside::Policies, .. } => {}
    }
}

/// Gives the node its way to the peers.
fn open(node: &Node, own: &NodeId, peers: &[NodeId], mesh: &Mesh, inbox: &Arc<Inbox>) {
    let (mesh, own, peers, woken) = (mesh.clone(), own.clone(), peers.to_vec(), inbox.clone());
    let send = move |peer: crate::router::interest::PeerId, body| {
        let Some(to) = peers.get(peer.0 as usize) else { return Carried::Dropped };
        match mesh.offer(own.clone(), to.clone(), Beside::Events, body) {
            Ok(false) => Carried::Sent,
            Ok(true) => Carried::Crowded,
            Err(_) => Carried::Dropped,
        }
    };
    node.open_peers(Box::new(send), Box::new(move || woken.wake()));
}
