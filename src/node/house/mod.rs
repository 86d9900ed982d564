//! The broker's own procedures: keys, locks, and the subscriptions and history of the log.
//!
//! ```text
//! CALL, $rpc/…, POST /call --> dealer --INVOCATION--> queue --house thread--> keys, log, history
//!                                 ^-- YIELD, ERROR --------------'   ^-- outcomes of the log, keys that changed, time
//! ```
//!
//! One session of each realm is the callee of all of them ([`callee`]), so they are called over every protocol and by the rules of
//! all calls: permissions, timeouts, cancellation, progress. What a session waits for ends with it, for the dealer interrupts
//! the calls of a caller that is gone.
//!
//! - [`keys`] and [`locks`]: `fennec.key.*`, `fennec.lock.*`; what they change goes through the log and is [`placed`] there.
//! - [`subscriptions`], [`durables`] and [`history`]: `fennec.subscription.*`, `fennec.durable.*`, `wamp.subscription.get_events`;
//!   what they read of the past is [`asked`] for.
//! - [`watches`]: calls that wait for a key to change.
//! - [`meta`] and [`admin`]: who and what is there, for clients and for who runs the broker; every change by the latter is noted.
//! - [`view`]: those, and who runs the broker, are answered for all entries of a cluster.
//! - [`guests`]: calls that rooms above answer.
//! - [`arguments`] and [`answer`]: what is sent along, and what is sent back.
//!
//! The work is done by one thread, which must not block: what has to be read from the store is read by the history's own threads.

mod admin;
mod answer;
mod arguments;
mod asked;
mod bell;
mod callee;
mod durables;
mod fresh;
mod guests;
mod history;
mod keys;
mod locks;
mod meta;
mod named;
mod placed;
mod subscriptions;
#[cfg(test)]
mod tests;
mod view;
mod watches;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::Node;
use super::link::Link;
use super::log::{ClockFn, Submission, tickets::Owner};
use super::past::{Found, Page};
use super::realm::Realm;
use crate::queue::command::Command;
use crate::queue::message::Batch;
use crate::queue::outcome::{Outcome, Refused};
use crate::store::StoreError;
use crate::types::event_id::EventId;
use crate::types::ids::{InvocationId, SessionId};

pub use answer::Failure;
use answer::Given;
use asked::Asked;
pub use bell::Bell;
pub use callee::Inbox;
pub(super) use callee::internal_wire;
use callee::{Call, Procedure};
use fresh::{Fresh, Tide};
use guests::Guests;
pub use guests::{Guest, GuestCall};
pub use meta::Herald;
use meta::News;
pub use named::NamedArguments;
use placed::Placed;
pub use view::{AskEntries, Reply, Said, TakeSaid};
use view::{Entries, Views};
use watches::Watches;

/// While so much waits, nobody is told of sessions, subscriptions and registrations.
const NEWS_MAX: usize = 100_000;

/// A call under way: its realm and its invocation there.
type CallKey = (Arc<str>, InvocationId);

/// See the module.
#[derive(Default)]
pub struct House {
    queue: Arc<Queue>,
    tide: Arc<Tide>,
    /// The time, as far as it was told last.
    clock_ms: Arc<AtomicU64>,
    /// Held by whoever works.
    desk: Mutex<Desk>,
    /// Something on the desk minds the time.
    minds_time: AtomicBool,
    guests: Guests,
    /// The other entries of the cluster, if there are some.
    entries: OnceLock<Entries>,
}

/// What is to be worked off.
enum Item {
    Call(Box<Call>),
    /// The caller does not wait any more, or (`answer`) wants to be told that it was canceled.
    Interrupt {
        key: CallKey,
        answer: bool,
    },
    /// The log has decided on what a call asked of it.
    Outcome {
        key: CallKey,
        outcome: Outcome,
    },
    /// The log was too busy for something that has to be done in any case.
    Owed(Command),
    /// The value of a key that somebody watches is another one.
    Changed {
        realm: Arc<str>,
        topic: Box<str>,
    },
    /// Something that somebody in a realm is subscribed to.
    News {
        realm: Arc<str>,
        news: News,
    },
    /// A place in the log was found, or could not be.
    Found {
        key: CallKey,
        found: Result<Found, StoreError>,
    },
    /// Events of the past were read, or could not be.
    Page {
        key: CallKey,
        page: Result<Page, StoreError>,
    },
    /// A connection waits for the log to have an event.
    Await(Awaited),
    /// All retained values of the log are there.
    KeysLoaded,
    /// Retained values for a new subscription are to be fresh.
    Replay(fresh::Replay),
    /// What the syncs of the cluster have answered.
    Freshest(Option<u64>),
    /// The log has come as far as calls wait for.
    Followed,
    /// What the other entries have answered.
    EntriesSaid {
        number: u64,
        said: Said,
    },
    /// Another entry asks.
    AskedByEntry(view::Asked),
    Tick,
}

#[derive(Default)]
struct Queue {
    items: Mutex<VecDeque<Item>>,
    gathered: Condvar,
    closed: AtomicBool,
    /// News for which there was no room.
    untold: AtomicU64,
}

/// What is under way.
#[derive(Default)]
struct Desk {
    /// Calls that wait for the log.
    placed: HashMap<CallKey, Placed>,
    /// Calls that wait for the log's past.
    asked: HashMap<CallKey, Asked>,
    watches: Watches,
    awaited: Vec<Awaited>,
    /// Calls that read keys, while those are being read from the store.
    early: Vec<Call>,
    fresh: Fresh,
    views: Views,
    /// To be submitted again.
    owed: Vec<Command>,
}

/// Something that is to go on when the log has an event, or when the time is over.
struct Awaited {
    id: EventId,
    who: Waiter,
    until_ms: u64,
}

enum Waiter {
    /// A connection, to be woken.
    Link(Arc<Link>),
    /// A call that reads a key.
    Call(Box<Call>),
}

/// Who works, and with what.
struct Room<'a> {
    node: &'a Arc<Node>,
    desk: &'a mut Desk,
    queue: &'a Arc<Queue>,
    tide: &'a Tide,
    now_ms: u64,
}

impl Queue {
    fn push(&self, item: Item) {
        self.items.lock().push_back(item);
        self.gathered.notify_one();
    }

    /// The same of what may be left out when too much waits.
    fn push_news(&self, item: Item) {
        let mut items = self.items.lock();
        if items.len() >= NEWS_MAX {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        items.push_back(item);
        drop(items);
        self.gathered.notify_one();
    }

    fn pop(&self) -> Option<Item> {
        self.items.lock().pop_front()
    }

    /// Waits until there is something; `false`: there will be nothing any more.
    fn wait(&self) -> bool {
        let mut items = self.items.lock();
        while items.is_empty() && !self.closed.load(Ordering::Acquire) {
            self.gathered.wait(&mut items);
        }
        !self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        let _items = self.items.lock();
        self.closed.store(true, Ordering::Release);
        self.gathered.notify_all();
    }
}

impl House {
    /// Offers the procedures in a realm.
    pub(super) fn furnish(&self, realm: &Realm) {
        realm.bell.install(&self.queue, &self.tide);
        realm.herald.install(&self.queue, &self.clock_ms);
        callee::provide(realm, &self.queue);
    }

    /// Works off what there is. The thread does this; without one, in tests, whoever wants to see it done.
    pub fn work(&self, node: &Arc<Node>, now_ms: u64) {
        let mut desk = self.desk.lock();
        while let Some(item) = self.queue.pop() {
            Room { node, desk: &mut desk, queue: &self.queue, tide: &self.tide, now_ms }.take(item);
        }
        let untold = self.queue.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            tracing::warn!(untold, "events of the meta API were left out: more came than can be told");
        }
        let waits = !desk.watches.is_empty() || !desk.awaited.is_empty() || !desk.fresh.is_empty();
        let minds_time = !desk.owed.is_empty() || waits;
        self.minds_time.store(minds_time, Ordering::Relaxed);
    }

    /// Starts the thread. It ends when the node is dropped.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(node: &Arc<Node>, clock: ClockFn) -> std::io::Result<JoinHandle<()>> {
        let (queue, node) = (node.house.queue.clone(), Arc::downgrade(node));
        let run = move || {
            while queue.wait() {
                let Some(node) = node.upgrade() else { return };
                node.house.work(&node, clock());
            }
        };
        std::thread::Builder::new().name("house".to_owned()).spawn(run)
    }

    /// Wakes a connection when the log has got as far as an event, or when the time is over.
    pub fn await_event(&self, id: EventId, link: &Arc<Link>, until_ms: u64) {
        self.queue.push(Item::Await(Awaited { id, who: Waiter::Link(link.clone()), until_ms }));
    }

    /// All retained values of the log are there.
    pub(super) fn keys_are_loaded(&self) {
        self.queue.push(Item::KeysLoaded);
    }

    /// The time, as it is told several times a second.
    pub(super) fn clock_ms(&self) -> Arc<AtomicU64> {
        self.clock_ms.clone()
    }

    /// Time has passed.
    pub(super) fn tick(&self, now_ms: u64) {
        self.clock_ms.store(now_ms, Ordering::Relaxed);
        if self.minds_time.swap(false, Ordering::Relaxed) {
            self.queue.push(Item::Tick);
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Node {
    /// A session that may have waits, locks or wills is gone: the log is told, however long that takes.
    pub fn leave_log(self: &Arc<Self>, realm: &str, session: SessionId, orderly: bool) {
        self.owe_log(Command::Leave { realm: realm.to_owned(), session: session.0, orderly });
    }

    /// Gives the log a command that is to be applied in any case, however long that takes.
    pub fn owe_log(self: &Arc<Self>, command: Command) {
        owe(self, &self.house.queue, command);
    }
}

/// Gives the log a command that is to be applied in any case.
fn owe(node: &Arc<Node>, queue: &Arc<Queue>, command: Command) {
    let mut batch = Batch::default();
    batch.command(&command);
    let queue = queue.clone();
    let told = move |outcome| {
        // When the broker stops, everything ends that was connected to it.
        if let Outcome::Refused { why: Refused::StoreUnavailable | Refused::Full, .. } = outcome {
            queue.push(Item::Owed(command.clone()));
        }
    };
    node.submit(Submission { batch, owner: Owner::Function(Arc::new(told)) });
}

impl Room<'_> {
    fn take(&mut self, item: Item) {
        match item {
            Item::Call(call) => self.call(*call),
            Item::Interrupt { key, answer } => self.interrupt(&key, answer),
            Item::Outcome { key, outcome } => self.outcome(&key, outcome),
            Item::Owed(command) => self.desk.owed.push(command),
            Item::Changed { realm, topic } => self.changed(&realm, &topic),
            Item::News { realm, news } => self.tell(&realm, news),
            Item::Found { key, found } => self.found(&key, found),
            Item::Page { key, page } => self.page(&key, page),
            Item::Await(awaited) => self.desk.awaited.push(awaited),
            Item::KeysLoaded => std::mem::take(&mut self.desk.early).into_iter().for_each(|call| self.read(call)),
            Item::Replay(replay) => self.wait_to_replay(replay),
            Item::Freshest(position) => self.freshest(position),
            Item::Followed => self.work_off_fresh(),
            Item::EntriesSaid { number, said } => self.entries_said(number, said),
            Item::AskedByEntry(asked) => self.asked_by_entry(asked),
            Item::Tick => self.tick(),
        }
    }

    fn call(&mut self, call: Call) {
        if !self.wait_for_fresh(&call) {
            self.read(call);
        }
    }

    /// Answers a call by what there is now.
    fn read(&mut self, call: Call) {
        if call.procedure.reads_keys() && self.node.realm(&call.key.0).is_some_and(|realm| realm.is_loading()) {
            return self.desk.early.push(call);
        }
        let done = match call.procedure {
            Procedure::KeyGet => self.key_get(&call),
            Procedure::KeyList => self.key_list(&call),
            Procedure::KeyPut => self.key_put(&call),
            Procedure::KeyDelete => self.key_delete(&call),
            Procedure::KeyWatch => self.key_watch(&call),
            Procedure::LockAcquire => self.lock_acquire(&call),
            Procedure::LockRelease => self.lock_release(&call),
            Procedure::LockList => self.lock_list(&call),
            Procedure::SubscriptionReplay => self.replay(&call),
            Procedure::SubscriptionAck => self.ack(&call),
            Procedure::SubscriptionStatus => self.status(&call),
            Procedure::DurableList => self.durable_list(&call),
            Procedure::DurableRemove => self.durable_remove(&call),
            Procedure::GetEvents => self.get_events(&call),
            Procedure::Meta(answer) => self.view(answer, &call),
            Procedure::Guest(name) => self.pass_on(name, &call),
        };
        match done {
            Ok(Given::Now(answer)) => self.answer(&call, Ok(answer)),
            Ok(Given::Later) => {}
            Err(failure) => self.answer(&call, Err(failure)),
        }
    }

    /// The caller has left or canceled.
    fn interrupt(&mut self, key: &CallKey, answer: bool) {
        if let Some(watch) = self.desk.watches.remove(key) {
            if answer {
                self.answer(&watch.call, Err(Failure::canceled()));
            }
            return;
        }
        let waits = |awaited: &mut Awaited| matches!(&awaited.who, Waiter::Call(call) if call.key == *key);
        let waited: Vec<Awaited> = self.desk.awaited.extract_if(.., waits).collect();
        if let Some(Waiter::Call(call)) = waited.into_iter().next().map(|awaited| awaited.who) {
            if answer {
                self.answer(&call, Err(Failure::canceled()));
            }
            return;
        }
        if let Some(call) = self.desk.fresh.remove(key).or_else(|| self.desk.views.cancel(key)) {
            if answer {
                self.answer(&call, Err(Failure::canceled()));
            }
            return;
        }
        if let Some(at) = self.desk.early.iter().position(|call| call.key == *key) {
            let call = self.desk.early.swap_remove(at);
            if answer {
                self.answer(&call, Err(Failure::canceled()));
            }
            return;
        }
        if !self.cancel_asked(key, answer) {
            self.cancel_placed(key, answer);
        }
    }

    fn tick(&mut self) {
        for command in std::mem::take(&mut self.desk.owed) {
            owe(self.node, self.queue, command);
        }
        let (last, now_ms) = (self.node.log.last_event_id(), self.now_ms);
        let has = |id: EventId| last.is_some_and(|last| last >= id);
        let over = |awaited: &mut Awaited| awaited.until_ms <= now_ms || has(awaited.id);
        let over: Vec<Awaited> = self.desk.awaited.extract_if(.., over).collect();
        for awaited in over {
            match awaited.who {
                Waiter::Link(link) => link.wake(),
                Waiter::Call(call) if has(awaited.id) => self.read(*call),
                Waiter::Call(call) => self.answer(&call, Err(Failure::timeout())),
            }
        }
        self.give_up_fresh();
        for watch in self.desk.watches.late(self.now_ms) {
            self.answer(&watch.call, Err(Failure::timeout()));
        }
    }
}
