//! The log on a store that fails when told to.

mod engine;
mod feed;
mod keys;
mod retention;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use super::*;
use crate::queue::command::Command;
use crate::queue::condition::{Condition, KeyWill, When};
use crate::queue::message::{Extras, Head, Run, Runs};
use crate::queue::retention::{Policy, Retention};
use crate::queue::state::{StateLimits, rows};
use crate::store::StoreReader;
use crate::store::memory::MemoryStore;
use crate::types::event::Qos;
use crate::types::ids::SessionId;
use crate::types::payload::PayloadRef;

const NOW_US: u64 = 1_700_000_000_000_000;
const REALM: &str = "realm1";

/// What a store is told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// It writes nothing and says so.
    Full,
    /// It deletes nothing and says so.
    KeepsAll,
    /// It loses its connection in a commit, which is there.
    LostBehind,
    /// It loses its connection in a commit, which is not there.
    LostBefore,
    /// There is a fault in our own program.
    Panic,
    /// It cannot be reached: not written, not read, not opened.
    Away,
}

/// A store in memory, and how it fails.
#[derive(Clone, Default)]
struct Faulty {
    memory: MemoryStore,
    fault: Arc<Mutex<Fault>>,
    /// Rows that cannot be read.
    unreadable: Arc<Mutex<Option<Vec<u8>>>>,
    /// A failed sync.
    sync_fails: Arc<Mutex<bool>>,
    reopened: Arc<AtomicU64>,
    /// Told when it is opened again.
    on_reopen: Arc<Mutex<Option<Sender<()>>>>,
    /// What commits have raised, deleted and rewritten.
    journal: Arc<Mutex<Vec<String>>>,
}

impl Faulty {
    fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    fn check(&self) -> Result<(), StoreError> {
        match *self.fault.lock() {
            Fault::Away => Err(StoreError::Unavailable("it is away".to_owned())),
            _ => Ok(()),
        }
    }

    fn segments(&self) -> Vec<Segment> {
        self.memory.clone().segments(0, None, usize::MAX).unwrap()
    }

    fn note(&self, commit: &Commit) {
        let mut journal = self.journal.lock();
        let floors = commit.rows.iter().filter(|(key, _)| key[0] == rows::FLOOR).count();
        for (what, count) in
            [("raised", floors), ("dropped", commit.dropped.len()), ("rewritten", commit.rewritten.len())]
        {
            if count > 0 {
                journal.push(format!("{what} {count}"));
            }
        }
    }
}

impl Store for Faulty {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let fault = *self.fault.lock();
        match fault {
            Fault::Full | Fault::Away => return Err(StoreError::Unavailable("the disk is full".to_owned())),
            Fault::KeepsAll if !commit.dropped.is_empty() || !commit.rewritten.is_empty() => {
                return Err(StoreError::Unavailable("it keeps all".to_owned()));
            }
            Fault::Panic => panic!("told to"),
            Fault::LostBefore => {}
            Fault::LostBehind | Fault::None | Fault::KeepsAll => {
                self.note(commit);
                self.memory.commit(commit)?;
            }
        }
        if matches!(fault, Fault::None | Fault::KeepsAll) {
            return Ok(());
        }
        self.set(Fault::Away);
        Err(StoreError::Unknown("it has hung up".to_owned()))
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        if self.unreadable.lock().as_deref() == Some(key) {
            return Err(StoreError::Unavailable("a bad sector".to_owned()));
        }
        self.memory.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.check()?;
        self.memory.reader()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut *self.sync_fails.lock()) {
            return Err(StoreError::Unknown("cannot sync".to_owned()));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.reopened.fetch_add(1, Ordering::Relaxed);
        if let Some(told) = &*self.on_reopen.lock() {
            let _ = told.send(());
        }
        self.check()
    }
}

/// What owners were told, a line each, in the order in which they were.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn owner(&self, name: &'static str) -> Owner {
        let told = self.0.clone();
        Owner::Function(Arc::new(move |outcome| told.lock().push(format!("{name}: {}", line(&outcome)))))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Events { first, count: 1 } => format!("event {first}"),
        Outcome::Events { first, count } => format!("events {first}..={}", first + u64::from(*count) - 1),
        Outcome::Void(void) => format!("void {void:?}"),
        Outcome::Waiting { ticket } => format!("waiting {ticket}"),
        Outcome::Done(done) => format!("done {done:?}"),
        Outcome::Refused { count, why } => format!("{count} refused {why:?}"),
        Outcome::Granted { ticket, number } => format!("granted {ticket} as {number}"),
        Outcome::Ended { ticket, why } => format!("ended {ticket} {why:?}"),
    }
}

fn head(topic: &str, session: u64, retain: bool, judged: bool) -> Head<'_> {
    Head {
        realm: REALM,
        topic,
        publisher: (session != 0).then_some(SessionId(session)),
        exclude_publisher: false,
        qos: Qos::AtLeastOnce,
        retain,
        format: None,
        judged,
    }
}

/// Adds plain events.
fn events(batch: &mut Batch, topic: &str, payloads: &[&str]) {
    for payload in payloads {
        batch.message(&head(topic, 0, false, false), PayloadRef::Bytes(payload.as_bytes()), None);
    }
}

/// Plain events of one topic.
fn plain(topic: &str, payloads: &[&str]) -> Batch {
    let mut batch = Batch::default();
    events(&mut batch, topic, payloads);
    batch
}

/// Adds a value for a key that session sets on a condition.
fn conditional(batch: &mut Batch, topic: &str, session: u64, condition: Condition) {
    let extras = Extras { condition: Some(condition), ..Extras::default() };
    batch.message(&head(topic, session, true, true), PayloadRef::Bytes(b"v"), Some(&extras));
}

/// One lock that a session takes, or waits for.
fn lock(topic: &str, session: u64) -> Batch {
    let mut batch = Batch::default();
    let condition =
        Condition { when: Some(When::Absent), watch: true, will: Some(KeyWill::Erase), ..Condition::default() };
    conditional(&mut batch, topic, session, condition);
    batch
}

/// One command that changes nothing.
fn command(batch: &mut Batch) {
    batch.command(&Command::Forget { realm: REALM.to_owned(), name: "nobody's".to_owned() });
}

fn leave(session: u64) -> Batch {
    let mut batch = Batch::default();
    batch.command(&Command::Leave { realm: REALM.to_owned(), session, orderly: false });
    batch
}
