//! The roles of a process at work: a thread for an entry, tasks for a storage and a sync, between its inbox and the mesh.
//!
//! ```text
//! Inbox --all that waits--> SyncNode, Ndb or Entry --keep, write--> Mesh
//! ```
//!
//! Each posts on the [`super::board`] how it is while it works.
//!
//! Each takes all that waits, handles it, has the disk do once what comes of it, and sends. So the more there is to do, the
//! more is done with one fsync. Storages answer questions about the past on threads of their own.

mod life;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use serde::de::IgnoredAny;
use tokio::runtime::Handle;
use tokio::task;

use super::board::Place;
use super::frame::Beside;
use super::fresh;
use super::inbox::{Answer, Event, Inbox};
use super::mesh::Mesh;
use super::ndb::{Ndb, Turn};
use super::promises::PromiseFile;
use super::status::Report;
use super::sync::SyncNode;
use crate::node::log::ClockFn;
use crate::queue::envelope::{NodeId, Role};
use crate::store::remote::{self, Ask, Question};
use crate::store::{StoreError, StoreReader};
pub use life::{EntryHandle, run_entry};

/// How often a role that hears nothing looks at the time, against leases: nobody's process is to be busy while nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// Threads of a storage that read for others.
const READERS: usize = 3;
/// Questions that wait for them.
const QUESTIONS_MAX: usize = 1024;
/// How long a question waits for the storage to be far enough.
const PATIENCE: Duration = Duration::from_secs(2);

/// A role at work. Dropped, it goes on.
pub struct Running {
    inbox: Arc<Inbox>,
    on: On,
}

enum On {
    Thread(JoinHandle<()>),
    Task(task::JoinHandle<()>, Handle),
}

impl Running {
    fn spawn(name: &str, inbox: &Arc<Inbox>, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { inbox: inbox.clone(), on: On::Thread(thread) })
    }

    /// Takes nothing more, and waits until what waits is done. Must not be called within a runtime.
    pub fn stop(self) {
        self.inbox.close();
        self.join();
    }

    fn join(self) {
        // It has panicked otherwise, and has said so.
        match self.on {
            On::Thread(thread) => drop(thread.join()),
            On::Task(task, runtime) => drop(runtime.block_on(task)),
        }
    }

    pub fn is_finished(&self) -> bool {
        match &self.on {
            On::Thread(thread) => thread.is_finished(),
            On::Task(task, _) => task.is_finished(),
        }
    }
}

/// Runs a sync as a task of the links: what it hears and says is small, and threads that wake each other would cost more than all
/// else. Its fsyncs stop them meanwhile; a disk that takes longer than links may be silent has its sync left out.
/// `clock`: milliseconds since 1970.
pub fn run_sync(
    (sync, file): (SyncNode, PromiseFile),
    inbox: &Arc<Inbox>,
    mesh: &Mesh,
    clock: ClockFn,
    place: &Place,
) -> Running {
    let runtime = mesh.runtime();
    let task = runtime.spawn(sync_on(sync, file, inbox.clone(), mesh.clone(), clock, place.clone()));
    Running { inbox: inbox.clone(), on: On::Task(task, runtime) }
}

async fn sync_on(
    mut sync: SyncNode,
    mut file: PromiseFile,
    inbox: Arc<Inbox>,
    mesh: Mesh,
    clock: ClockFn,
    place: Place,
) {
    let mut post = place.post();
    sync.count_in(&place.counts);
    file.count_in(&place.counts);
    let begun = Instant::now();
    let mut ticked = begun;
    let mut asked = Vec::new();
    let elapsed_us = || begun.elapsed().as_micros() as u64;
    while let Some(events) = inbox.take_in_task(sync.patience(elapsed_us()).min(TICK)).await {
        let (now_us, monotonic_us) = (clock() * 1000, elapsed_us());
        sync.wake(now_us, monotonic_us);
        for event in events {
            match event {
                Event::Connected { nodes, .. } => nodes.iter().for_each(|node| sync.connected(node)),
                Event::Disconnected { nodes, .. } => nodes.iter().for_each(|node| sync.disconnected(node)),
                Event::Envelope(envelope) => sync.handle(now_us, monotonic_us, envelope),
                // Without a vote it does not count: dropped, the answer says that there will be none.
                Event::Request { answer, .. } => asked.extend(sync.took_part().map(|position| (position, answer))),
                Event::Beside { .. } => {}
            }
        }
        let position = sync.role().position();
        for (_, answer) in asked.extract_if(.., |(took_part, _)| *took_part <= position) {
            answer.reply(fresh::answer(position));
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            sync.tick(now_us, monotonic_us);
        }
        mesh.send_all(sync.take_free());
        match file.write(&mut sync) {
            Ok(envelopes) => mesh.send_all(envelopes),
            // What is on disk nobody knows now: others decide without this one.
            Err(error) => return tracing::error!(%error, "the promises cannot be written: this sync stops"),
        }
        post.post(|| Report::Sync(sync.role().report()));
    }
}

/// Runs a storage, as a task of the links for the same reason. Segments are kept in it; what takes longer has a thread of its own meanwhile.
///
/// # Errors
/// The system has no threads left, or the store no readers.
pub fn run_ndb(mut ndb: Ndb, inbox: &Arc<Inbox>, mesh: &Mesh, clock: ClockFn, place: &Place) -> io::Result<Running> {
    let reached = Arc::new(Reached::default());
    reached.set(ndb.state().position());
    let questions = read_for_others(&ndb, &reached)?;
    ndb.count_in(&place.counts);
    let (runtime, own) = (mesh.runtime(), inbox.clone());
    let task = runtime.spawn(ndb_on(ndb, (reached, questions), own, mesh.clone(), clock, place.clone()));
    Ok(Running { inbox: inbox.clone(), on: On::Task(task, runtime) })
}

async fn ndb_on(
    mut ndb: Ndb,
    (reached, questions): (Arc<Reached>, Questions),
    inbox: Arc<Inbox>,
    mesh: Mesh,
    clock: ClockFn,
    place: Place,
) {
    let mut post = place.post();
    let mut rest = None;
    loop {
        let patience = ndb.patience(clock() * 1000).min(TICK);
        let patience = rest.map_or(patience, |rest| patience.min(rest));
        let Some(events) = inbox.take_in_task(patience).await else { break };
        let now_us = clock() * 1000;
        for event in events {
            match event {
                Event::Connected { nodes, .. } => nodes.iter().for_each(|node| ndb.connected(node)),
                Event::Disconnected { nodes, .. } => nodes.iter().for_each(|node| ndb.disconnected(node)),
                Event::Envelope(envelope) => ndb.handle(now_us, envelope),
                Event::Beside { from, what: Beside::Policies, body } => ndb.tell_policies(&from, &body),
                Event::Beside { .. } => {}
                Event::Request { body, answer, .. } => {
                    ndb.want(asked_position(&body));
                    // Too many wait: dropped, the answer says that there will be none.
                    drop(questions.try_send((body, answer)));
                }
            }
        }
        ndb.tick(now_us);
        if ndb.is_tidying_due(now_us)
            && let Err(error) = task::block_in_place(|| ndb.tidy(now_us))
        {
            return tracing::error!(%error, "the store cannot be written: this storage stops");
        }
        reached.set(ndb.written());
        mesh.send_all(ndb.take());
        post.post(|| Report::Storage(ndb.report()));
        rest = None;
        while ndb.has_work() {
            let prepared = ndb.prepare();
            mesh.send_all(ndb.take());
            let done = prepared.and_then(|()| match ndb.turn(Instant::now()) {
                Turn::Keep => ndb.keep().map(|()| None),
                Turn::Write => task::block_in_place(|| ndb.write()).map(|()| None),
                Turn::Rest(rest) => Ok(Some(rest)),
            });
            match done {
                Ok(None) => {}
                Ok(Some(until)) => {
                    rest = until;
                    break;
                }
                Err(error) => return tracing::error!(%error, "the disk cannot be written: this storage stops"),
            }
            reached.set(ndb.written());
            mesh.send_all(ndb.take());
            if inbox.has_some() {
                break;
            }
        }
    }
    // What waited for more to go with it.
    if ndb.has_work()
        && let Err(error) = task::block_in_place(|| ndb.work())
    {
        tracing::error!(%error, "the store cannot be written: its last positions will be asked for again");
    }
}

/// How far a storage is.
#[derive(Default)]
struct Reached {
    position: Mutex<u64>,
    changed: Condvar,
}

impl Reached {
    fn set(&self, position: u64) {
        *self.position.lock() = position;
        self.changed.notify_all();
    }

    /// Waits until it is as far as this; `false`: it is not in time.
    fn wait(&self, position: u64) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut reached = self.position.lock();
        while *reached < position {
            if self.changed.wait_until(&mut reached, until).timed_out() {
                return false;
            }
        }
        true
    }
}

type Questions = SyncSender<(Bytes, Answer)>;

fn read_for_others(ndb: &Ndb, reached: &Arc<Reached>) -> io::Result<Questions> {
    let (send, receive) = sync_channel(QUESTIONS_MAX);
    let receive: Arc<Mutex<Receiver<(Bytes, Answer)>>> = Arc::new(Mutex::new(receive));
    for _ in 0..READERS {
        let (receive, reached) = (receive.clone(), reached.clone());
        let mut reader = ndb.reader().map_err(io::Error::other)?;
        let run = move || {
            loop {
                let Ok((body, answer)) = receive.lock().recv() else { return };
                let asked: Result<(u64, Question), _> = crate::types::packed::from_slice(&body);
                let Ok((position, question)) = asked else { continue };
                if reached.wait(position)
                    && let Ok(told) = rmp_serde::to_vec(&remote::answer(&mut *reader, &question))
                {
                    answer.reply(told.into());
                }
            }
        };
        std::thread::Builder::new().name("read".to_owned()).spawn(run)?;
    }
    Ok(send)
}

/// Up to where a storage has to be that is to answer this; 0 if it cannot be read.
fn asked_position(body: &[u8]) -> u64 {
    let asked: Result<(u64, IgnoredAny), _> = crate::types::packed::from_slice(body);
    asked.map_or(0, |(position, _)| position)
}

/// Asks storages, one after the other until one answers that is far enough.
#[derive(Clone)]
pub struct AskStorages {
    mesh: Mesh,
    own: NodeId,
    /// How far the asking entry is.
    position: Arc<AtomicU64>,
    /// The one that answered last.
    preferred: Option<NodeId>,
}

impl AskStorages {
    pub fn new(mesh: Mesh, own: NodeId, position: Arc<AtomicU64>) -> Self {
        Self { mesh, own, position, preferred: None }
    }
}

impl Ask for AskStorages {
    fn ask(&mut self, question: Question) -> Result<remote::Answer, StoreError> {
        let asked = (self.position.load(Ordering::Acquire), question);
        let body = rmp_serde::to_vec(&asked).map_err(|error| StoreError::Unusable(error.to_string()))?;
        let body = Bytes::from(body);
        let mut storages: Vec<NodeId> = self.mesh.cluster().nodes_of(Role::Storage).cloned().collect();
        let preferred = storages.iter().position(|node| Some(node) == self.preferred.as_ref());
        storages.rotate_left(preferred.unwrap_or(0));
        for storage in storages {
            let asked = self.mesh.ask(self.own.clone(), storage.clone(), body.clone());
            let Some(reply) = asked.ok().and_then(super::mesh::Asked::wait) else { continue };
            self.preferred = Some(storage);
            return crate::types::packed::from_slice(&reply).map_err(|error| StoreError::Unusable(error.to_string()));
        }
        Err(StoreError::Unavailable("no storage of the cluster answers".to_owned()))
    }
}

/// A reader of the log as the cluster's storages have it.
pub fn reader(ask: &AskStorages) -> Box<dyn StoreReader> {
    Box::new(remote::RemoteReader::new(ask.clone()))
}
