//! Messages of the log as bytes: what a segment consists of.
//!
//! ```text
//! segment  = run…
//! run      = 1 | flags u8 | realm len u16 | realm | topic len u16 | topic | (publisher u64) | count u32 | bytes u32 | message…
//!          | 2 | len u32 | command, MessagePack                         one message
//!          | 3 | count u32                                              so many numbers that have no message any more
//! message  = len << 1 | has extras, u32 | (len u32 | extras, MessagePack) | payload
//! payload  = bytes, or: args len u32 (all ones: none) | args | kwargs len u32 | kwargs
//! flags    = qos (2 bits) | retain | exclude publisher | format (2 bits: bytes, JSON, MessagePack, CBOR) | has publisher | judged
//! ```
//!
//! Numbers are little-endian. Consecutive events of one publisher to one topic share a run's head, so a busy publisher costs a
//! few bytes a message, and who looks for a topic passes a run by without reading it. `judged` runs hold events that the log's
//! state decides on (conditions, QoS 2 of persistent sessions, what entered from other logs); runs with `retain` change it. Others it only counts.

use bytes::Bytes;
use serde::Serialize;

use super::command::Command;
use super::condition::Condition;
use crate::types::event::{Event, Filter, Qos};
use crate::types::ids::SessionId;
use crate::types::payload::{Format, PayloadRef};

mod read;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use read::Reader;
pub use read::{Events, Malformed, Message, Run, Runs, read_command, without};
pub use rows::{DiscloserRow, EnteredRow, Extras, FilterRow, PacketRow};

const EVENTS: u8 = 1;
const COMMAND: u8 = 2;
const GAP: u8 = 3;

const RETAIN: u8 = 4;
const EXCLUDE_PUBLISHER: u8 = 8;
const FORMAT_SHIFT: u8 = 4;
const HAS_PUBLISHER: u8 = 64;
const JUDGED: u8 = 128;

/// The length of an absent part.
const NONE: u32 = u32::MAX;

/// Messages of one submitter on their way into a segment.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Messages in it.
    pub count: u32,
    /// The run that the next event may join: where its head begins and ends.
    open: Option<(usize, usize)>,
}

/// What an event brings beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Posting<'a> {
    pub realm: &'a str,
    pub publisher: Option<SessionId>,
    pub exclude_publisher: bool,
    pub filter: Option<&'a Filter>,
    pub condition: Option<&'a Condition>,
    /// QoS 2 of a persistent session: its client id and the packet identifier, to be remembered.
    pub packet: Option<(&'a str, u64, u16)>,
    /// It entered from another log.
    pub entered: Option<&'a EnteredRow>,
}

/// What the events of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub realm: &'a str,
    /// As an MQTT topic name.
    pub topic: &'a str,
    pub publisher: Option<SessionId>,
    pub exclude_publisher: bool,
    pub qos: Qos,
    pub retain: bool,
    /// `None`: opaque bytes.
    pub format: Option<Format>,
    /// See the module.
    pub judged: bool,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded messages.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded messages, for good.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes)
    }

    /// Appends all messages of another batch.
    pub fn append(&mut self, other: &Batch) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
        self.open = None;
    }

    /// Appends an event.
    pub fn event(&mut self, event: &Event<'_>, posting: &Posting<'_>) {
        let extras = Extras::of(event, posting);
        let head = Head {
            realm: posting.realm,
            topic: event.topic.name(),
            publisher: posting.publisher,
            exclude_publisher: posting.exclude_publisher,
            qos: event.qos,
            retain: event.retain,
            format: match event.payload {
                PayloadRef::Bytes(_) => None,
                PayloadRef::Args { format, .. } => Some(format),
            },
            judged: posting.condition.is_some() || posting.packet.is_some() || posting.entered.is_some(),
        };
        self.message(&head, event.payload, extras.as_ref());
    }

    /// Appends a message that was read from another segment.
    pub fn message(&mut self, head: &Head<'_>, payload: PayloadRef<'_>, extras: Option<&Extras>) {
        self.open_run(head);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        if let Some(extras) = extras {
            self.bytes.extend_from_slice(&[0; 4]);
            let at = self.bytes.len();
            write_packed(extras, &mut self.bytes);
            self.patch(at - 4, (self.bytes.len() - at) as u32);
        }
        write_payload(payload, &mut self.bytes);
        let len = (self.bytes.len() - start - 4) as u32;
        self.patch(start, len << 1 | u32::from(extras.is_some()));
        self.count += 1;
        if let Some((_, head_end)) = self.open {
            let bytes = self.bytes.len() - head_end - 8;
            let count = u32::from_le_bytes(four(&self.bytes, head_end)) + 1;
            self.patch(head_end, count);
            self.patch(head_end + 4, bytes as u32);
        }
    }

    /// Appends a command.
    pub fn command(&mut self, command: &Command) {
        self.open = None;
        self.bytes.extend_from_slice(&[COMMAND, 0, 0, 0, 0]);
        let at = self.bytes.len();
        write_packed(command, &mut self.bytes);
        self.patch(at - 4, (self.bytes.len() - at) as u32);
        self.count += 1;
    }

    /// Appends numbers without messages.
    pub fn gap(&mut self, count: u32) {
        self.open = None;
        self.bytes.push(GAP);
        self.bytes.extend_from_slice(&count.to_le_bytes());
        self.count += count;
    }

    /// Makes the last run one of this head.
    fn open_run(&mut self, head: &Head<'_>) {
        let start = self.bytes.len();
        head.write(&mut self.bytes);
        if let Some((from, to)) = self.open
            && self.bytes[from..to] == self.bytes[start..]
        {
            self.bytes.truncate(start);
            return;
        }
        self.open = Some((start, self.bytes.len()));
        self.bytes.extend_from_slice(&[0; 8]);
    }

    fn patch(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

fn write_packed<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing plain values to memory cannot fail.
    let _ = rmp_serde::encode::write(out, value);
}

/// Appends a payload without its format, as messages end with it.
pub(super) fn write_payload(payload: PayloadRef<'_>, out: &mut Vec<u8>) {
    match payload {
        PayloadRef::Bytes(bytes) => out.extend_from_slice(bytes),
        PayloadRef::Args { args, kwargs, .. } => {
            for part in [args, kwargs] {
                out.extend_from_slice(&part.map_or(NONE, |part| part.len() as u32).to_le_bytes());
                out.extend_from_slice(part.unwrap_or_default());
            }
        }
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

impl Head<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let format = match self.format {
            None => 0,
            Some(Format::Json) => 1,
            Some(Format::MsgPack) => 2,
            Some(Format::Cbor) => 3,
        };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = self.qos as u8
            | flag(self.retain, RETAIN)
            | flag(self.exclude_publisher, EXCLUDE_PUBLISHER)
            | format << FORMAT_SHIFT
            | flag(self.publisher.is_some(), HAS_PUBLISHER)
            | flag(self.judged, JUDGED);
        out.extend_from_slice(&[EVENTS, flags]);
        for text in [self.realm, self.topic] {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        if let Some(publisher) = self.publisher {
            out.extend_from_slice(&publisher.0.to_le_bytes());
        }
    }
}
