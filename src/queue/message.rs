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
use serde::{Deserialize, Serialize};

use super::command::{Command, PropertiesRow};
use super::condition::{Condition, StoredFormat};
use crate::types::event::{Discloser, Event, Filter, Properties, Qos};
use crate::types::ids::SessionId;
use crate::types::payload::{Format, PayloadRef};

#[cfg(test)]
mod tests;

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

/// What only some messages have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extras {
    pub properties: Option<PropertiesRow>,
    pub publisher: Option<DiscloserRow>,
    /// Milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    pub filter: Option<FilterRow>,
    pub condition: Option<Condition>,
    pub packet: Option<PacketRow>,
    #[serde(default)]
    pub entered: Option<EnteredRow>,
}

/// A QoS 2 message of a persistent session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRow {
    pub client_id: String,
    /// The connection it came on ([`super::command::Connect`]).
    pub connection: u64,
    pub packet_id: u16,
}

/// Where an event came from that entered from another log: it counts once per number of its source
/// ([`super::command::SourceRow`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnteredRow {
    /// Names the source in the realm.
    pub source: String,
    pub epoch: u64,
    pub number: u64,
    /// The brokers that it has passed, so that it does not come back to one.
    pub passed: Vec<String>,
}

/// [`Discloser`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscloserRow {
    pub session: u64,
    pub authid: Option<String>,
    pub authrole: Option<String>,
}

/// [`Filter`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRow {
    pub exclude: Vec<u64>,
    pub exclude_authid: Vec<String>,
    pub exclude_authrole: Vec<String>,
    pub eligible: Option<Vec<u64>>,
    pub eligible_authid: Option<Vec<String>>,
    pub eligible_authrole: Option<Vec<String>>,
}

/// Bytes that are no messages: the store's damage, or a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no messages of a segment")]
pub struct Malformed;

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

/// Part of a segment.
#[derive(Clone, Debug)]
pub enum Run<'a> {
    /// So many events.
    Events(Head<'a>, Events<'a>),
    /// One command.
    Command(&'a [u8]),
    /// So many numbers without a message.
    Gap(u32),
}

/// The events of a run.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    pub count: u32,
    format: Option<Format>,
    bytes: &'a [u8],
}

/// One event of a run.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub payload: PayloadRef<'a>,
    extras: Option<&'a [u8]>,
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

/// The runs of a segment's bytes, in order. Ends behind the first that is malformed.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rest: &'a [u8],
}

impl<'a> Runs<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet: whoever stops between two runs goes on with these bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Run<'a>, Malformed> {
        let mut reader = Reader { rest: self.rest };
        let run = match reader.u8()? {
            EVENTS => {
                let flags = reader.u8()?;
                let realm = reader.text()?;
                let topic = reader.text()?;
                let publisher = if flags & HAS_PUBLISHER == 0 { None } else { Some(SessionId(reader.u64()?)) };
                let format = match flags >> FORMAT_SHIFT & 3 {
                    0 => None,
                    1 => Some(Format::Json),
                    2 => Some(Format::MsgPack),
                    _ => Some(Format::Cbor),
                };
                let qos = match flags & 3 {
                    0 => Qos::AtMostOnce,
                    1 => Qos::AtLeastOnce,
                    2 => Qos::ExactlyOnce,
                    _ => return Err(Malformed),
                };
                let head = Head {
                    realm,
                    topic,
                    publisher,
                    exclude_publisher: flags & EXCLUDE_PUBLISHER != 0,
                    qos,
                    retain: flags & RETAIN != 0,
                    format,
                    judged: flags & JUDGED != 0,
                };
                let (count, len) = (reader.u32()?, reader.u32()?);
                Run::Events(head, Events { count, format, bytes: reader.take(len as usize)? })
            }
            COMMAND => {
                let len = reader.u32()?;
                Run::Command(reader.take(len as usize)?)
            }
            GAP => Run::Gap(reader.u32()?),
            _ => return Err(Malformed),
        };
        self.rest = reader.rest;
        Ok(run)
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.read();
        if run.is_err() {
            self.rest = &[];
        }
        Some(run)
    }
}

/// The same messages without those of some topics, whose numbers become gaps.
///
/// # Errors
/// The bytes are damaged.
pub fn without(bytes: &[u8], dead: impl Fn(&Head<'_>) -> bool) -> Result<Bytes, Malformed> {
    let mut kept = Batch::default();
    let mut runs = Runs::new(bytes);
    loop {
        let from = bytes.len() - runs.rest.len();
        let Some(run) = runs.next() else { return Ok(kept.into_bytes()) };
        match run? {
            Run::Events(head, events) if dead(&head) => kept.gap(events.count),
            _ => kept.bytes.extend_from_slice(&bytes[from..bytes.len() - runs.rest.len()]),
        }
    }
}

/// Reads a command of a [`Run::Command`].
///
/// # Errors
/// It is none.
pub fn read_command(bytes: &[u8]) -> Result<Command, Malformed> {
    rmp_serde::from_slice(bytes).map_err(|_| Malformed)
}

impl<'a> Events<'a> {
    /// Bytes of its messages.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The messages, in order. Ends behind the first that is malformed.
    pub fn iter(&self) -> impl Iterator<Item = Result<Message<'a>, Malformed>> + use<'a> {
        let mut rest = *self;
        std::iter::from_fn(move || rest.take_first())
    }

    /// The first message, which is none of them any more. Behind one that is malformed there are none.
    #[inline]
    pub fn take_first(&mut self) -> Option<Result<Message<'a>, Malformed>> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut reader = Reader { rest: self.bytes };
        let message = read_message(&mut reader, self.format);
        self.bytes = if message.is_ok() { reader.rest } else { &[] };
        Some(message)
    }

    /// Without what has so many bytes at the front: whole messages that were taken before.
    pub fn without_first(mut self, bytes: usize) -> Self {
        self.bytes = self.bytes.get(bytes..).unwrap_or_default();
        self
    }
}

#[inline]
fn read_message<'a>(reader: &mut Reader<'a>, format: Option<Format>) -> Result<Message<'a>, Malformed> {
    let word = reader.u32()?;
    let mut body = Reader { rest: reader.take((word >> 1) as usize)? };
    let extras = match word & 1 {
        0 => None,
        _ => {
            let len = body.u32()?;
            Some(body.take(len as usize)?)
        }
    };
    Ok(Message { payload: body.payload(format)?, extras })
}

impl<'a> Message<'a> {
    pub fn has_extras(&self) -> bool {
        self.extras.is_some()
    }

    /// [`Message::extras`], still encoded.
    pub fn raw_extras(&self) -> Option<&'a [u8]> {
        self.extras
    }

    /// What the message brings beside its payload.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn extras(&self) -> Result<Option<Extras>, Malformed> {
        self.extras.map(|bytes| rmp_serde::from_slice(bytes).map_err(|_| Malformed)).transpose()
    }
}

impl Extras {
    fn of(event: &Event<'_>, posting: &Posting<'_>) -> Option<Self> {
        let plain = event.properties.is_none()
            && event.publisher.is_none()
            && event.expires_at_ms.is_none()
            && posting.filter.is_none()
            && posting.condition.is_none()
            && posting.packet.is_none()
            && posting.entered.is_none();
        if plain {
            return None;
        }
        Some(Self {
            properties: event.properties.map(|properties| PropertiesRow::from(&**properties)),
            publisher: event.publisher.map(|publisher| DiscloserRow::from(&**publisher)),
            expires_at_ms: event.expires_at_ms,
            filter: posting.filter.map(FilterRow::from),
            condition: posting.condition.cloned(),
            packet: posting.packet.map(|(client_id, connection, packet_id)| PacketRow {
                client_id: client_id.to_owned(),
                connection,
                packet_id,
            }),
            entered: posting.entered.cloned(),
        })
    }
}

impl From<&Properties> for PropertiesRow {
    fn from(properties: &Properties) -> Self {
        Self {
            payload_is_text: properties.payload_is_text,
            content_type: properties.content_type.clone(),
            response_topic: properties.response_topic.clone(),
            correlation_data: properties.correlation_data.clone(),
            user_properties: properties.user_properties.clone(),
            passthru: properties.passthru.clone(),
            trust: properties.trust,
            resource_key: properties.resource_key.clone(),
        }
    }
}

impl From<PropertiesRow> for Properties {
    fn from(row: PropertiesRow) -> Self {
        Self {
            payload_is_text: row.payload_is_text,
            content_type: row.content_type,
            response_topic: row.response_topic,
            correlation_data: row.correlation_data,
            user_properties: row.user_properties,
            passthru: row.passthru,
            trust: row.trust,
            resource_key: row.resource_key,
        }
    }
}

impl From<&Discloser> for DiscloserRow {
    fn from(discloser: &Discloser) -> Self {
        Self { session: discloser.session.0, authid: discloser.authid.clone(), authrole: discloser.authrole.clone() }
    }
}

impl From<DiscloserRow> for Discloser {
    fn from(row: DiscloserRow) -> Self {
        Self { session: SessionId(row.session), authid: row.authid, authrole: row.authrole }
    }
}

impl From<&Filter> for FilterRow {
    fn from(filter: &Filter) -> Self {
        let ids = |set: &std::collections::HashSet<SessionId>| set.iter().map(|id| id.0).collect::<Vec<_>>();
        let names = |set: &std::collections::HashSet<String>| set.iter().cloned().collect::<Vec<_>>();
        Self {
            exclude: ids(&filter.exclude),
            exclude_authid: names(&filter.exclude_authid),
            exclude_authrole: names(&filter.exclude_authrole),
            eligible: filter.eligible.as_ref().map(ids),
            eligible_authid: filter.eligible_authid.as_ref().map(names),
            eligible_authrole: filter.eligible_authrole.as_ref().map(names),
        }
    }
}

impl From<FilterRow> for Filter {
    fn from(row: FilterRow) -> Self {
        let ids = |list: Vec<u64>| list.into_iter().map(SessionId).collect();
        let names = |list: Vec<String>| list.into_iter().collect();
        Self {
            exclude: ids(row.exclude),
            exclude_authid: names(row.exclude_authid),
            exclude_authrole: names(row.exclude_authrole),
            eligible: row.eligible.map(ids),
            eligible_authid: row.eligible_authid.map(names),
            eligible_authrole: row.eligible_authrole.map(names),
        }
    }
}

impl From<Option<Format>> for StoredFormat {
    fn from(format: Option<Format>) -> Self {
        match format {
            None => Self::Bytes,
            Some(Format::Json) => Self::Json,
            Some(Format::MsgPack) => Self::MsgPack,
            Some(Format::Cbor) => Self::Cbor,
        }
    }
}

impl From<StoredFormat> for Option<Format> {
    fn from(format: StoredFormat) -> Self {
        match format {
            StoredFormat::Bytes => None,
            StoredFormat::Json => Some(Format::Json),
            StoredFormat::MsgPack => Some(Format::MsgPack),
            StoredFormat::Cbor => Some(Format::Cbor),
        }
    }
}

/// Takes bytes from the front.
pub(super) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(four(self.take(4)?, 0)))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }

    /// A text behind its length in two bytes.
    fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.take(2)?;
        let text = self.take(usize::from(u16::from_le_bytes([len[0], len[1]])))?;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }

    /// All the rest, as [`write_payload`] wrote it.
    #[inline]
    pub fn payload(&mut self, format: Option<Format>) -> Result<PayloadRef<'a>, Malformed> {
        match format {
            None => Ok(PayloadRef::Bytes(std::mem::take(&mut self.rest))),
            Some(format) => Ok(PayloadRef::Args { format, args: self.part()?, kwargs: self.part()? }),
        }
    }

    /// A part of a payload that may be absent.
    fn part(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.u32()? {
            NONE => Ok(None),
            len => Ok(Some(self.take(len as usize)?)),
        }
    }
}
