//! All links of a process: made, kept, made anew; and the way from a node's name to it.
//!
//! Which processes there are may change while this one runs ([`Mesh::change`]). A process that is another, or elsewhere, is another
//! [`Peer`]: its link begins when all that have to end have ended, so that roles hear of one after the other.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::ask::Answers;
use super::config::{Cluster, Plan, Process, ProcessId};
use super::frame::{Beside, Frame};
use super::handshake::Own;
use super::inbox::{Answer, Event, Inbox};
use super::line::{Line, LinkLimits, NotSent};
use super::link::{Ended, Ends};
use super::seat::Seat;
use super::tls::LinkTls;
use super::{accept, dial};
use crate::net::listen::Listener;
use crate::queue::envelope::{Envelope, NodeId};

#[cfg(test)]
mod tests;

/// See the module. Cloning shares it.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What all links of a process have in common.
pub(super) struct Shared {
    pub tls: Option<LinkTls>,
    table: RwLock<Table>,
    limits: LinkLimits,
    runtime: Handle,
    here: Arc<[(NodeId, Arc<Inbox>)]>,
    refused: Mutex<Refused>,
    /// What those are told who only ask.
    pub answers: OnceLock<Answers>,
    stop: watch::Sender<bool>,
}

/// Who there is.
struct Table {
    own: Own,
    /// In the order of the configuration.
    peers: Vec<Arc<Peer>>,
    ways: HashMap<NodeId, Way>,
    /// Those that are to end, and may not have.
    leaving: Vec<Arc<Peer>>,
}

/// Connections of others that became no link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub count: u64,
    /// Why the last one did not.
    pub last: Option<String>,
}

/// Another process.
pub(super) struct Peer {
    pub process: Process,
    pub ends: Ends,
    pub seat: Arc<Seat>,
    /// Why there is no link; logged once as long as it stays the same.
    trouble: Mutex<Option<String>>,
    life: watch::Sender<Life>,
    /// When the link came or went the last time; else, when this process started.
    changed: Mutex<Instant>,
}

/// What becomes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Goes,
    /// It is not in the configuration any more.
    Leaves,
    /// Nothing will come of it any more.
    Gone,
}

enum Way {
    Here(Arc<Inbox>),
    There(Arc<Line>),
}

/// How a link is, and what it has done since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStats {
    pub process: ProcessId,
    pub connected: bool,
    /// How long it has been so.
    pub since: Duration,
    /// How often it was made anew.
    pub reconnects: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames of events beside the log: sent, and dropped for want of room or of a link.
    pub events_out: u64,
    pub events_dropped: u64,
    /// Of the last ping; `None` without a link.
    pub rtt_us: Option<u64>,
    /// Bytes that wait to be written.
    pub waiting_bytes: usize,
    /// Why there is no link, if this process knows.
    pub trouble: Option<String>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Asked(oneshot::Receiver<Bytes>);

impl Mesh {
    /// Begins to link this process with all others. To be called within a tokio runtime, the one that the links will run on; that of
    /// `listener`. `inboxes`: one for each node of this process.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn start(
        plan: &Plan,
        listener: Listener,
        tls: Option<LinkTls>,
        limits: &LinkLimits,
        inboxes: Vec<(NodeId, Arc<Inbox>)>,
    ) -> io::Result<Self> {
        let own = Own::new(plan, u128::from_le_bytes(random()?));
        let here: Arc<[_]> = inboxes.into();
        let table = Table { own, peers: Vec::new(), ways: HashMap::new(), leaving: Vec::new() };
        let shared = Arc::new(Shared {
            tls,
            table: RwLock::new(table),
            limits: limits.clone(),
            runtime: Handle::current(),
            here,
            refused: Mutex::default(),
            answers: OnceLock::new(),
            stop: watch::Sender::new(false),
        });
        shared.tell_neighbours();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(shared.clone(), listener));
        let mesh = Self { shared, tasks: Arc::new(Mutex::new(tasks)) };
        mesh.change(plan);
        Ok(mesh)
    }

    /// Has the processes of this plan linked, and no others. Links of those that are as they were are left alone. The process itself
    /// must be the same, in the same cluster.
    pub fn change(&self, plan: &Plan) {
        let mut table = self.shared.table.write();
        table.own.cluster = plan.cluster.clone();
        let before = std::mem::take(&mut table.peers);
        let known = |process: &Process| before.iter().find(|peer| peer.is(process));
        let peer = |process| known(process).cloned().unwrap_or_else(|| self.shared.peer(process));
        let peers: Vec<Arc<Peer>> = plan.peers.iter().map(peer).collect();
        table.leaving.retain(|peer| *peer.life.borrow() < Life::Gone);
        for peer in before.iter().filter(|peer| !plan.peers.iter().any(|process| peer.is(process))) {
            peer.life.send_replace(Life::Leaves);
            table.leaving.push(peer.clone());
        }
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        for peer in peers.iter().filter(|peer| !before.iter().any(|known| Arc::ptr_eq(known, peer))) {
            let leaving = table.leaving.clone();
            tasks.spawn_on(run(self.shared.clone(), peer.clone(), leaving), &self.shared.runtime);
        }
        table.ways = self.shared.ways(&peers);
        table.peers = peers;
    }

    /// On which the links run.
    pub fn runtime(&self) -> Handle {
        self.shared.runtime.clone()
    }

    /// The cluster as it was last told to be.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.shared.table.read().own.cluster.clone()
    }

    /// Brings a message to its node: over a link, or straight into the inbox of a node of this process. Never waits.
    ///
    /// # Errors
    /// It was dropped. Roles need not look at this: they say again what matters when a link comes.
    pub fn send(&self, envelope: Envelope) -> Result<(), NotSent> {
        self.queue(envelope)?.inspect(|line| line.flush());
        Ok(())
    }

    /// The same of several, with one write for each link. What is dropped is not told: roles say again what matters when a link comes.
    pub fn send_all(&self, envelopes: Vec<Envelope>) {
        let mut lines: Vec<Arc<Line>> = Vec::new();
        for line in envelopes.into_iter().filter_map(|envelope| self.queue(envelope).ok().flatten()) {
            if !lines.iter().any(|known| Arc::ptr_eq(known, &line)) {
                lines.push(line);
            }
        }
        lines.iter().for_each(|line| line.flush());
    }

    /// Brings a message on its way; the link that has to be flushed then, if there is one.
    fn queue(&self, envelope: Envelope) -> Result<Option<Arc<Line>>, NotSent> {
        match self.shared.table.read().ways.get(&envelope.to) {
            Some(Way::Here(inbox)) => {
                inbox.put(Event::Envelope(envelope));
                Ok(None)
            }
            Some(Way::There(line)) => line.queue(Frame::Envelope(envelope)).map(|()| Some(line.clone())),
            None => Err(NotSent::Unknown(envelope.to)),
        }
    }

    /// Says something to an entry or a storage, beside what the roles say. Never waits.
    ///
    /// # Errors
    /// It was dropped.
    pub fn tell(&self, from: NodeId, to: NodeId, what: Beside, body: Bytes) -> Result<(), NotSent> {
        if let Some(Way::Here(inbox)) = self.shared.table.read().ways.get(&to) {
            inbox.put(Event::Beside { from, what, body });
            return Ok(());
        }
        self.line(&to)?.send(Frame::Beside { from, to, what, body })
    }

    /// The same, of what may be dropped if there is little room. Tells whether the link is crowded: see [`Line::offer`].
    ///
    /// # Errors
    /// It was dropped.
    pub fn offer(&self, from: NodeId, to: NodeId, what: Beside, body: Bytes) -> Result<bool, NotSent> {
        self.line(&to)?.offer(Frame::Beside { from, to, what, body })
    }

    fn line(&self, to: &NodeId) -> Result<Arc<Line>, NotSent> {
        match self.shared.table.read().ways.get(to) {
            Some(Way::There(line)) => Ok(line.clone()),
            Some(Way::Here(_)) | None => Err(NotSent::Unknown(to.clone())),
        }
    }

    /// Asks a node of any process.
    ///
    /// # Errors
    /// The request was not sent.
    pub fn ask(&self, from: NodeId, to: NodeId, body: Bytes) -> Result<Asked, NotSent> {
        match self.shared.table.read().ways.get(&to) {
            Some(Way::Here(inbox)) => {
                let (send, receive) = oneshot::channel();
                inbox.put(Event::Request { from, body, answer: Answer::here(send) });
                Ok(Asked(receive))
            }
            Some(Way::There(line)) => Ok(Asked(line.ask(from, to, body)?)),
            None => Err(NotSent::Unknown(to)),
        }
    }

    /// Has those who only ask be answered with this. Once; until then they are told that this process has just started.
    pub fn answer_with(&self, answers: Answers) {
        let _ = self.shared.answers.set(answers);
    }

    /// How the links are, in the order of the configuration.
    pub fn stats(&self) -> Vec<LinkStats> {
        self.shared.stats()
    }

    /// Connections of others that became no link.
    pub fn refused(&self) -> Refused {
        self.shared.refused.lock().clone()
    }

    /// Ends all links once what waits is written, though within a second; returns when all are gone.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Ends the link to a process as the network might: what is under way is lost, and the link is made anew. To try out what
    /// stands on it.
    pub fn cut(&self, process: &ProcessId) {
        if let Some(peer) = self.shared.peer_of(process) {
            peer.seat.cut();
        }
    }
}

impl Asked {
    /// The reply; `None`: there will be none, for the link is gone, or the other side cannot answer.
    pub async fn reply(self) -> Option<Bytes> {
        self.0.await.ok()
    }

    /// The same for a thread. Must not be called within a runtime.
    pub fn wait(self) -> Option<Bytes> {
        self.0.blocking_recv().ok()
    }
}

impl Shared {
    /// Is ready when the process stops.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as this.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(super) fn stats(&self) -> Vec<LinkStats> {
        self.table.read().peers.iter().map(|peer| peer.stats()).collect()
    }

    /// This process, as it is introduced now.
    pub(super) fn own(&self) -> Own {
        self.table.read().own.clone()
    }

    /// The other process with this id, if there is one now.
    pub(super) fn peer_of(&self, id: &ProcessId) -> Option<Arc<Peer>> {
        self.table.read().peers.iter().find(|peer| peer.process.id == *id).cloned()
    }

    fn peer(&self, process: &Process) -> Arc<Peer> {
        let line = Arc::new(Line::new(self.limits.clone()));
        let ends = Ends { there: process.nodes.clone().into(), here: self.here.clone(), line };
        Arc::new(Peer {
            process: process.clone(),
            ends,
            seat: Arc::default(),
            trouble: Mutex::default(),
            life: watch::Sender::new(Life::Goes),
            changed: Mutex::new(Instant::now()),
        })
    }

    fn ways(&self, peers: &[Arc<Peer>]) -> HashMap<NodeId, Way> {
        let there = peers.iter().flat_map(|peer| {
            let nodes = peer.process.nodes.iter().cloned();
            nodes.map(|node| (node, Way::There(peer.ends.line.clone())))
        });
        there.chain(self.here.iter().map(|(node, inbox)| (node.clone(), Way::Here(inbox.clone())))).collect()
    }

    /// Roles of one process are linked from the beginning.
    fn tell_neighbours(&self) {
        if let [_] = *self.here {
            return;
        }
        let own_id = self.own().process;
        for (own, inbox) in self.here.iter() {
            let nodes = self.here.iter().map(|(node, _)| node).filter(|node| *node != own).cloned().collect();
            inbox.put(Event::Connected { process: own_id.clone(), nodes });
        }
    }

    /// A connection became no link. Logged only if it is news: anybody who can connect can have this said.
    pub(super) fn refuse(&self, address: SocketAddr, why: &dyn fmt::Display) {
        let why = why.to_string();
        let mut refused = self.refused.lock();
        refused.count += 1;
        match refused.last.as_ref() == Some(&why) {
            true => tracing::debug!(%address, "a link is refused: {why}"),
            false => tracing::warn!(%address, "a link is refused: {why}"),
        }
        refused.last = Some(why);
    }

    pub(super) fn tell(&self, event: impl Fn() -> Event) {
        self.here.iter().for_each(|(_, inbox)| inbox.put(event()));
    }
}

impl Peer {
    /// Whether it is this process, at the same place.
    fn is(&self, process: &Process) -> bool {
        (&self.process.id, &self.process.nodes, &self.process.link) == (&process.id, &process.nodes, &process.link)
    }

    /// Is ready when this process stops, or the peer is not in the configuration any more. Why the link has to end.
    pub(super) async fn over(&self, shared: &Shared) -> Ended {
        tokio::select! {
            () = shared.stopped() => Ended::Stopped,
            () = self.reaches(Life::Leaves) => Ended::Removed,
        }
    }

    async fn reaches(&self, wanted: Life) {
        let mut life = self.life.subscribe();
        // The sender lives as long as this.
        let _ = life.wait_for(|life| *life >= wanted).await;
    }

    /// Runs one life of the link, with all that roles hear of it.
    pub(super) async fn live<I>(&self, shared: &Shared, io: I, stop: impl Future<Output = Ended>) -> Ended
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let process = &self.process.id;
        *self.trouble.lock() = None;
        tracing::info!(%process, "linked");
        // Open first: whoever hears of the link may send at once.
        let life = self.ends.line.open();
        *self.changed.lock() = Instant::now();
        shared.tell(|| Event::Connected { process: process.clone(), nodes: self.ends.there.clone() });
        let ended = super::link::run(io, &self.ends, life, stop).await;
        self.ends.line.close();
        *self.changed.lock() = Instant::now();
        shared.tell(|| Event::Disconnected { process: process.clone(), nodes: self.ends.there.clone() });
        match ended {
            Ended::Stopped | Ended::Removed => tracing::info!(%process, "link closed: {ended}"),
            _ => tracing::warn!(%process, "link lost: {ended}"),
        }
        *self.trouble.lock() = Some(ended.to_string());
        ended
    }

    /// Says why there is no link, if that is news.
    pub(super) fn complain(&self, why: &dyn fmt::Display) {
        let process = &self.process.id;
        let why = why.to_string();
        let mut trouble = self.trouble.lock();
        if trouble.as_ref() != Some(&why) {
            tracing::warn!(%process, "no link: {why}");
            *trouble = Some(why);
        }
    }

    fn stats(&self) -> LinkStats {
        let line = &self.ends.line;
        let counters = &line.counters;
        let rtt_us = counters.rtt_us.load(Ordering::Relaxed);
        LinkStats {
            process: self.process.id.clone(),
            connected: counters.connected.load(Ordering::Relaxed),
            since: self.changed.lock().elapsed(),
            reconnects: counters.connects.load(Ordering::Relaxed).saturating_sub(1),
            bytes_in: counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: counters.bytes_out.load(Ordering::Relaxed),
            frames_in: counters.frames_in.load(Ordering::Relaxed),
            frames_out: counters.frames_out.load(Ordering::Relaxed),
            events_out: counters.offers_sent.load(Ordering::Relaxed),
            events_dropped: counters.offers_dropped.load(Ordering::Relaxed),
            rtt_us: (rtt_us > 0).then_some(rtt_us),
            waiting_bytes: line.waiting_bytes(),
            trouble: self.trouble.lock().clone(),
        }
    }
}

/// Keeps the link to a peer, when those that are leaving are gone.
async fn run(shared: Arc<Shared>, peer: Arc<Peer>, leaving: Vec<Arc<Peer>>) {
    for other in leaving {
        other.reaches(Life::Gone).await;
    }
    let own = shared.own().process;
    match own.dials(&peer.process.id) {
        true => dial::run(shared, peer.clone()).await,
        false => accept::keep(shared, peer.clone()).await,
    }
    peer.life.send_replace(Life::Gone);
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
