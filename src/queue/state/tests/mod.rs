//! The state is fed batches and commands, and says in lines what became of them. After every position it is also loaded from
//! its rows, which must give the same state.

mod conditions;
mod consumers;
mod cursors;
mod entries;
mod keys;
mod locks;
mod numbers;
mod qos2;
mod random;
mod sessions;
mod sources;
mod wills;

use std::collections::BTreeMap;

use super::*;
use crate::queue::command::{Command, Connect, CursorName, WillRow};
use crate::queue::condition::{Condition, KeyWill, When};
use crate::queue::message::{Batch, Extras, Head, Run, Runs, read_command};
use crate::types::event::Qos;
use crate::types::ids::SessionId;
use crate::types::payload::{Format, PayloadRef};

const REALM: &str = "r";
const ENTRY: u64 = 1;
const SECOND_US: u64 = 1_000_000;

/// Rows in memory; fails when told to.
#[derive(Clone, Default)]
struct Memory {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    fails: bool,
    /// Keys that were asked for one by one.
    asked: Vec<Vec<u8>>,
}

impl Rows for Memory {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        self.asked.push(key.to_owned());
        if self.fails { Err(RowsFailed("told to".into())) } else { Ok(self.rows.get(key).cloned()) }
    }
}

impl Memory {
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let from = self.rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let behind = from.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        behind.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn load(&self) -> Result<State, StateError> {
        State::load(&mut |prefix, after, limit| Ok(self.scan(prefix, after, limit)))
    }

    fn write(&mut self, rows: &[(Vec<u8>, Option<Vec<u8>>)]) {
        assert!(rows.is_sorted_by(|(a, _), (b, _)| a < b), "a row twice, or not in order");
        for (key, value) in rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

struct World {
    state: State,
    rows: Memory,
    position: u64,
    now_us: u64,
    entry: u64,
    /// All segments that got numbers.
    log: Vec<Segment>,
}

impl World {
    fn new() -> Self {
        let state = State::default();
        Self { state, rows: Memory::default(), position: 0, now_us: 60 * SECOND_US, entry: ENTRY, log: Vec::new() }
    }

    /// Log time goes on.
    fn pass(&mut self, us: u64) -> &mut Self {
        self.now_us += us;
        self
    }

    fn apply(&mut self, batch: Batch) -> Applied {
        self.position += 1;
        let count = batch.count;
        let body = batch.into_bytes();
        let sealed = Sealed { position: self.position, at_us: self.now_us, entry: self.entry, body: &body, count };
        let applied = self.state.apply(sealed, &mut self.rows).unwrap();
        self.commit(applied)
    }

    fn order(&mut self, command: StateCommand) -> Vec<String> {
        self.position += 1;
        let applied = self.state.command(self.position, self.now_us, command, &mut self.rows).unwrap();
        lines(&self.commit(applied))
    }

    /// As the log thread does it: time is brought forward as long as something is due.
    fn wait_until_all_is_met(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while self.state.next_deadline_us().is_some_and(|at_us| at_us <= self.now_us) {
            lines.extend(self.order(StateCommand::Time));
        }
        lines
    }

    fn commit(&mut self, applied: Applied) -> Applied {
        self.rows.write(&applied.rows);
        let mut loaded = self.rows.load().unwrap();
        loaded.set_limits(self.state.limits);
        assert_eq!(loaded, self.state, "the rows do not say what the memory does");
        if applied.segment.count > 0 {
            self.log.push(applied.segment.clone());
        }
        applied
    }

    fn send(&mut self, batch: Batch) -> Vec<String> {
        lines(&self.apply(batch))
    }

    fn command(&mut self, command: Command) -> Vec<String> {
        let mut batch = Batch::default();
        batch.command(&command);
        self.send(batch)
    }

    /// One publish alone in its segment.
    fn publish(&mut self, publish: Publish<'_>) -> Vec<String> {
        self.send(batch([publish]))
    }

    /// The value of a key, if it has one: as text, with its number.
    fn value(&self, topic: &str) -> Option<(String, u64)> {
        let bytes = self.rows.rows.get(&rows::key(REALM, topic))?;
        let row = rows::KeyRow::decode(bytes).unwrap();
        Some((text_of(row.payload), row.number))
    }

    fn holder(&self, topic: &str) -> Option<u64> {
        let held = self.state.locks().find(|(_, held, ..)| held == topic)?;
        Some(held.2)
    }
}

/// A publish of a test: a retained one of session 1, of text.
#[derive(Clone, Copy)]
struct Publish<'a> {
    topic: &'a str,
    payload: PayloadRef<'a>,
    session: u64,
    retain: bool,
    condition: Option<&'a Condition>,
    packet: Option<(&'a str, u64, u16)>,
    /// Source, epoch, number.
    entered: Option<(&'a str, u64, u64)>,
    expires_at_ms: Option<u64>,
}

fn text<'a>(topic: &'a str, text: &'a str) -> Publish<'a> {
    Publish {
        topic,
        payload: PayloadRef::Bytes(text.as_bytes()),
        session: 1,
        retain: true,
        condition: None,
        packet: None,
        entered: None,
        expires_at_ms: None,
    }
}

impl<'a> Publish<'a> {
    fn by(self, session: u64) -> Self {
        Self { session, ..self }
    }

    fn asking(self, condition: &'a Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    fn add_to(&self, batch: &mut Batch) {
        let format = match self.payload {
            PayloadRef::Bytes(_) => None,
            PayloadRef::Args { format, .. } => Some(format),
        };
        let head = Head {
            realm: REALM,
            topic: self.topic,
            publisher: (self.session != 0).then_some(SessionId(self.session)),
            exclude_publisher: true,
            qos: Qos::ExactlyOnce,
            retain: self.retain,
            format,
            judged: self.condition.is_some() || self.packet.is_some() || self.entered.is_some(),
        };
        let packet = self.packet.map(|(client_id, connection, packet_id)| crate::queue::message::PacketRow {
            client_id: client_id.to_owned(),
            connection,
            packet_id,
        });
        let entered = self.entered.map(|(source, epoch, number)| crate::queue::message::EnteredRow {
            source: source.to_owned(),
            epoch,
            number,
            passed: Vec::new(),
        });
        let extras = Extras {
            condition: self.condition.cloned(),
            packet,
            entered,
            expires_at_ms: self.expires_at_ms,
            ..Extras::default()
        };
        batch.message(&head, self.payload, (extras != Extras::default()).then_some(&extras));
    }
}

fn batch<'a>(publishes: impl IntoIterator<Item = Publish<'a>>) -> Batch {
    let mut batch = Batch::default();
    for publish in publishes {
        publish.add_to(&mut batch);
    }
    batch
}

/// `when: null, watch: true, will: null`: a lock.
fn lock() -> Condition {
    Condition { when: Some(When::Absent), watch: true, will: Some(KeyWill::Erase), ..Condition::default() }
}

fn leave(session: u64) -> Command {
    Command::Leave { realm: REALM.into(), session, orderly: false }
}

fn text_of(payload: PayloadRef<'_>) -> String {
    match payload {
        PayloadRef::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        args => String::from_utf8_lossy(&args.as_bytes(crate::types::payload::Codec::Auto)).into_owned(),
    }
}

/// What a position did, a line each: what became of messages of the body that are not simply in the log, events that were set
/// off with their numbers, what became of waiting ones, changes.
fn lines(applied: &Applied) -> Vec<String> {
    let mut lines: Vec<String> =
        applied.exceptions.iter().map(|(offset, outcome)| format!("{offset}: {outcome:?}")).collect();
    let segment = &applied.segment;
    let set_off = events(&segment.set_off);
    let body = segment.count - set_off.len() as u32;
    for (at, event) in set_off.into_iter().enumerate() {
        lines.push(format!("{} {event}", segment.first + u64::from(body) + at as u64));
    }
    lines.extend(applied.later.iter().map(|outcome| format!("{outcome:?}")));
    for change in &applied.changes {
        lines.push(match change {
            Change::SessionEnded { client_id, session, .. } => format!("{client_id} ended, {session}"),
            Change::LockHeld { topic, session: Some(session), .. } => format!("{topic} is held by {session}"),
            Change::LockHeld { topic, session: None, .. } => format!("{topic} is free"),
            // What it did is told by its outcome.
            Change::Consumer { .. } => continue,
        });
    }
    lines
}

/// The events of a segment's bytes: topic and payload.
fn events(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for run in Runs::new(bytes) {
        match run.unwrap() {
            Run::Events(head, events) => {
                lines
                    .extend(events.iter().map(|event| format!("{} = {}", head.topic, text_of(event.unwrap().payload))));
            }
            Run::Command(command) => lines.push(format!("{:?}", read_command(command).unwrap())),
            Run::Gap(count) => lines.extend((0..count).map(|_| "gap".to_owned())),
        }
    }
    lines
}
