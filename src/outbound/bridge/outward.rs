//! What goes out: events of the log, retained values, and live events, and what of it the other broker has.
//!
//! ```text
//! log ------> window  --PUBLISH--> PUBACK | PUBREC -> recorded -> PUBREL -> PUBCOMP --> done, in order: the cursor moves
//! retained -> snapshot --PUBLISH--> the same, before the log goes on; begun anew if it was not finished
//! live -----> queue    --PUBLISH--> done
//! ```
//!
//! 1. The packet identifier of an event follows from its number in the log, so it has the same after a restart. Nothing has to be
//!    recorded before a PUBLISH, and a broker that still has the session knows a repeated one by its identifier (MQTT 5, 4.3.3).
//! 2. That a QoS 2 event was received (PUBREC) is recorded before it is released (PUBREL): after a restart it is released again
//!    and not published again, whatever became of the event.
//! 3. A broker that has lost the session may have lost what was not released, too: all that is not done is read and published
//!    again. That nothing counts as received any more is recorded before.
//! 4. Snapshots and requests have identifiers of ranges of their own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::echo::Echoes;
use super::rules::Rules;
use crate::mqtt::codec::{
    AckType, EncodeError, Level, PacketId, PropertySource, Publish, PublishProperties, encode_ack,
};
use crate::types::event::{Properties, Qos};

/// Identifiers of events of the log: from 1 to this.
const LOG_IDS: u64 = 0xBFFF;
/// Identifiers of retained values in a snapshot.
const SNAPSHOT_IDS: (u16, u16) = (0xC000, 0xEFFF);
/// Bytes that wait for the socket before no more are put there.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of events that are under way.
const WINDOW_BYTES_MAX: usize = 4 << 20;

/// An event in the words of the other broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties,
    /// Milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The other broker will send it back.
    pub comes_back: bool,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// What is remembered beside the cursor, in one record with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the rules under which events were sent ([`super::rules::Rules::outward_fingerprint`]).
    pub fingerprint: u64,
    /// There are events of QoS 2 among them.
    pub exactly_once: bool,
    /// Numbers of QoS 2 events behind the cursor that were received: released or not, they are not published again.
    pub received: BTreeSet<u64>,
    /// All retained values up to the cursor were sent.
    pub synced: bool,
}

/// How far the other broker takes things (MQTT 5, 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub receive_maximum: u16,
    pub maximum_qos: Qos,
    pub maximum_packet_size: usize,
    pub retain_available: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            maximum_packet_size: usize::MAX,
            retain_available: true,
        }
    }
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutwardLimits {
    /// Events under way that are not acknowledged.
    pub window_max: usize,
    /// Live events that wait.
    pub queue_max: usize,
    /// Bytes of these.
    pub queue_bytes_max: usize,
    /// The other broker may take so long to acknowledge.
    pub ack_timeout_ms: u64,
}

/// What has happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutwardCounts {
    /// PUBLISH packets, repeated ones too.
    pub sent: u64,
    pub bytes: u64,
    /// Events that the other broker has.
    pub done: u64,
    /// Sent again after a reconnect.
    pub repeated: u64,
    /// Live events for which the queue had no room: the oldest go.
    pub dropped: u64,
    /// Their time was over before they could be sent.
    pub expired: u64,
    /// The other broker does not take them, and never will.
    pub refused: u64,
}

impl OutwardCounts {
    /// Adds those of another time.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.done += other.done;
        self.repeated += other.repeated;
        self.dropped += other.dropped;
        self.expired += other.expired;
        self.refused += other.refused;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not sent on this connection. `again`: perhaps on an earlier one of the same session.
    Waiting {
        again: bool,
    },
    Sent,
    /// PUBREC has come.
    Received,
    /// PUBREL was sent.
    Releasing,
    Done,
}

#[derive(Debug)]
struct Flight {
    /// In the log; 0 in a snapshot.
    number: u64,
    id: Option<PacketId>,
    event: Outgoing,
    stage: Stage,
    /// What it waits for was sent then.
    since_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Outward {
    level: Level,
    limits: OutwardLimits,
    peer: Peer,
    connected: bool,
    /// In the order of their numbers.
    window: VecDeque<Flight>,
    window_bytes: usize,
    /// An event whose identifier is still in use.
    held: Option<Flight>,
    /// Received in an earlier life of this process, by number; they are released and not read any more.
    orphans: VecDeque<Flight>,
    snapshot: VecDeque<Flight>,
    /// The walk over the retained values has come to its end.
    snapshot_ends: bool,
    next_snapshot_id: u16,
    live: VecDeque<Outgoing>,
    live_bytes: usize,
    out: Vec<u8>,
    done_to: u64,
    read_to: u64,
    /// The log is to be read again behind `done_to`.
    rewinds: bool,
    /// As it is now.
    record: Record,
    /// As it was recorded last.
    recorded: (u64, Record),
    /// Nothing of the log is sent before what is now is recorded.
    must_record: bool,
    wants_new_session: bool,
    /// So many events may have been sent before this process was started.
    perhaps_sent: usize,
    /// What was sent and will come back.
    pub echoes: Echoes,
    pub counts: OutwardCounts,
}

impl Outward {
    /// Goes on behind the event of number `done_to`, with the record of then.
    pub fn new(level: Level, limits: OutwardLimits, rules: &Rules, done_to: u64, record: Option<Record>) -> Self {
        let begun = record.is_some();
        let before = record.unwrap_or_default();
        let fingerprint = rules.outward_fingerprint();
        let exactly_once = rules.outwards().any(|rule| rule.qos == Qos::ExactlyOnce);
        let changed = begun && before.fingerprint != fingerprint;
        let record = match begun && !changed {
            true => before.clone(),
            false => Record { fingerprint, exactly_once, ..Record::default() },
        };
        let orphan = |number: &u64| Flight::new(*number, id_of(*number), Outgoing::default(), Stage::Received);
        Self {
            level,
            limits,
            peer: Peer::default(),
            connected: false,
            window: VecDeque::new(),
            window_bytes: 0,
            held: None,
            orphans: record.received.iter().map(orphan).collect(),
            snapshot: VecDeque::new(),
            snapshot_ends: false,
            next_snapshot_id: SNAPSHOT_IDS.0,
            live: VecDeque::new(),
            live_bytes: 0,
            out: Vec::new(),
            done_to,
            read_to: done_to,
            rewinds: false,
            must_record: changed,
            wants_new_session: !begun || changed && before.exactly_once,
            recorded: (done_to, before),
            record,
            perhaps_sent: if begun { limits.window_max } else { 0 },
            echoes: Echoes::default(),
            counts: OutwardCounts::default(),
        }
    }

    /// Whether the session that the other broker may still have is to be given up: this is the first time, or QoS 2 events may be
    /// under way whose identifiers were given under other rules.
    pub fn wants_new_session(&self) -> bool {
        self.wants_new_session
    }

    /// The other broker has given its session up.
    pub fn session_was_ended(&mut self) {
        self.wants_new_session = false;
    }

    /// All events up to this number are done.
    pub fn done_to(&self) -> u64 {
        self.done_to
    }

    /// Events up to this number were offered.
    pub fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Events that are under way or wait here.
    pub fn pending(&self) -> usize {
        self.window.len() + self.snapshot.len() + self.live.len()
    }

    /// The connection stands. `resumed`: the other broker still has the session.
    pub fn connected(&mut self, peer: Peer, resumed: bool) {
        (self.peer, self.connected, self.wants_new_session) = (peer, true, false);
        self.out.clear();
        if !resumed {
            self.begin_anew();
        }
        for flight in self.window.iter_mut().chain(&mut self.orphans).chain(&mut self.snapshot) {
            flight.stage = match flight.stage {
                Stage::Sent => Stage::Waiting { again: resumed },
                Stage::Waiting { again } => Stage::Waiting { again: again && resumed },
                Stage::Releasing => Stage::Received,
                other => other,
            };
        }
    }

    /// The session is gone, and with it perhaps what was received and not released.
    fn begin_anew(&mut self) {
        self.window.clear();
        (self.window_bytes, self.held, self.perhaps_sent) = (0, None, 0);
        self.orphans.clear();
        self.rewinds = self.read_to > self.done_to;
        self.read_to = self.done_to;
        self.must_record |= !self.record.received.is_empty() || !self.recorded.1.received.is_empty();
        self.record.received.clear();
        self.echoes.clear();
        // It may have lost its retained values with the session.
        self.desync();
    }

    /// The log is to be read again behind this number, if so.
    pub fn take_rewind(&mut self) -> Option<u64> {
        std::mem::take(&mut self.rewinds).then_some(self.done_to)
    }

    pub fn disconnected(&mut self) {
        self.connected = false;
        self.out.clear();
    }

    /// The other broker may not have all retained values: they are to be sent.
    pub fn desync(&mut self) {
        self.record.synced = false;
        self.snapshot.clear();
        self.snapshot_ends = false;
    }

    /// Whether retained values are wanted ([`Outward::offer_retained`]); events of the log are not before these were sent.
    pub fn wants_retained(&self) -> bool {
        self.connected && !self.record.synced && !self.snapshot_ends && self.snapshot.len() < self.window_max()
    }

    /// Only values that were set by events up to this number belong into a snapshot: the others come with the log.
    pub fn snapshot_base(&self) -> u64 {
        self.done_to
    }

    /// The next retained value of a snapshot; `None`: those were all.
    pub fn offer_retained(&mut self, value: Option<Outgoing>) {
        match value {
            None => {
                self.snapshot_ends = true;
                self.finish_snapshot();
            }
            Some(event) => {
                let id =
                    (event.qos > Qos::AtMostOnce).then(|| next(&mut self.next_snapshot_id, SNAPSHOT_IDS)).flatten();
                self.snapshot.push_back(Flight::new(0, id, event, Stage::Waiting { again: false }));
            }
        }
    }

    fn finish_snapshot(&mut self) {
        while self.snapshot.front().is_some_and(|flight| flight.stage == Stage::Done) {
            self.snapshot.pop_front();
        }
        if self.snapshot_ends && self.snapshot.is_empty() {
            self.record.synced = true;
            self.snapshot_ends = false;
        }
    }

    fn window_max(&self) -> usize {
        self.limits.window_max.min(self.peer.receive_maximum.into()).max(1)
    }

    /// So many events of the log may be offered now.
    pub fn room(&self) -> usize {
        if self.wants_event() { self.window_max().saturating_sub(self.window.len()) } else { 0 }
    }

    /// Whether the next event of the log is wanted.
    pub fn wants_event(&self) -> bool {
        self.connected
            && (self.record.synced || self.snapshot_ends)
            && self.held.is_none()
            && self.window.len() < self.window_max()
            && self.window_bytes < WINDOW_BYTES_MAX
    }

    /// The next event of the log, of this number; `None`: it is not for the other broker.
    pub fn offer_event(&mut self, number: u64, event: Option<Outgoing>) {
        self.read_to = self.read_to.max(number);
        // Who was received is released, and that is all.
        let Some(event) = event.filter(|_| !self.record.received.contains(&number)) else { return self.advance() };
        let id = id_of(number).filter(|_| event.qos > Qos::AtMostOnce);
        let again = self.perhaps_sent > 0;
        self.perhaps_sent = self.perhaps_sent.saturating_sub(1);
        self.held = Some(Flight::new(number, id, event, Stage::Waiting { again }));
        self.take_held();
    }

    /// Takes what was held, if its identifier is free.
    fn take_held(&mut self) {
        let in_use = |id: PacketId| self.window.iter().chain(&self.orphans).any(|flight| flight.id == Some(id));
        if let Some(flight) = self.held.take_if(|flight| !flight.id.is_some_and(in_use)) {
            self.window_bytes += flight.event.bytes();
            self.window.push_back(flight);
        }
    }

    /// Nothing that is wanted is in the log up to this number.
    pub fn pass(&mut self, number: u64) {
        self.read_to = self.read_to.max(number);
        self.advance();
    }

    /// A live event. The oldest makes room for it.
    pub fn offer_live(&mut self, event: Outgoing) {
        self.live_bytes += event.bytes();
        self.live.push_back(event);
        while self.live.len() > self.limits.queue_max || self.live_bytes > self.limits.queue_bytes_max {
            let Some(oldest) = self.live.pop_front() else { break };
            self.live_bytes -= oldest.bytes();
            self.counts.dropped += 1;
        }
    }

    /// Puts what may be sent now to [`Outward::take_output`].
    pub fn pump(&mut self, now_ms: u64) {
        if !self.connected {
            return;
        }
        let mut snapshot = std::mem::take(&mut self.snapshot);
        self.send_all(&mut snapshot, now_ms);
        self.snapshot = snapshot;
        self.finish_snapshot();
        if !self.must_record {
            let (mut orphans, mut window) = (std::mem::take(&mut self.orphans), std::mem::take(&mut self.window));
            self.send_all(&mut orphans, now_ms);
            self.send_all(&mut window, now_ms);
            (self.orphans, self.window) = (orphans, window);
        }
        while self.out.len() < OUT_BYTES_MAX {
            let Some(event) = self.live.pop_front() else { break };
            self.live_bytes -= event.bytes();
            let event = Outgoing { qos: Qos::AtMostOnce, ..event };
            if self.send(&event, None, false, now_ms) {
                self.counts.done += 1;
            }
        }
        self.advance();
    }

    /// Sends what waits in `flights`. What was received is released when that is recorded; of a snapshot nothing is.
    fn send_all(&mut self, flights: &mut VecDeque<Flight>, now_ms: u64) {
        let window_max = self.window_max();
        for flight in flights.iter_mut().take(window_max) {
            if self.out.len() >= OUT_BYTES_MAX {
                return;
            }
            match flight.stage {
                Stage::Waiting { again } => {
                    let sent = self.send(&flight.event, flight.id, again, now_ms);
                    flight.since_ms = now_ms;
                    flight.stage = if sent { Stage::Sent } else { Stage::Done };
                }
                Stage::Received if flight.number == 0 || self.recorded.1.received.contains(&flight.number) => {
                    if let Some(id) = flight.id {
                        encode_ack(AckType::Pubrel, id, &mut self.out);
                    }
                    flight.since_ms = now_ms;
                    flight.stage = Stage::Releasing;
                }
                _ => {}
            }
        }
    }

    /// Appends a PUBLISH; false: it cannot be sent, and counts as done.
    fn send(&mut self, event: &Outgoing, id: Option<PacketId>, again: bool, now_ms: u64) -> bool {
        if !again && event.expires_at_ms.is_some_and(|at| at <= now_ms) {
            self.counts.expired += 1;
            return false;
        }
        let start = self.out.len();
        let qos = event.qos.min(self.peer.maximum_qos);
        let properties = PublishProperties {
            expiry_s: event.expires_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1000).max(1) as u32),
            ..PublishProperties::of_event(&event.properties)
        };
        let publish = Publish {
            dup: again && qos > Qos::AtMostOnce,
            qos,
            retain: event.retain && self.peer.retain_available,
            packet_id: id.filter(|_| qos > Qos::AtMostOnce),
            topic: event.topic.as_bytes(),
            properties: if self.level == Level::V5 { PropertySource::Own(&properties) } else { PropertySource::None },
            payload: &event.payload,
        };
        let encoded: Result<_, EncodeError> = publish.encode(self.level, &mut self.out);
        if encoded.is_err() || self.out.len() - start > self.peer.maximum_packet_size {
            self.out.truncate(start);
            self.counts.refused += 1;
            return false;
        }
        self.counts.sent += 1;
        self.counts.bytes += (self.out.len() - start) as u64;
        self.counts.repeated += u64::from(again);
        if event.comes_back {
            self.echoes.expect(&event.topic, &event.payload, now_ms);
        }
        true
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// All that was taken is on its way: QoS 0 needs no more.
    pub fn flushed(&mut self) {
        let maximum_qos = self.peer.maximum_qos;
        for flight in self.window.iter_mut().chain(&mut self.snapshot) {
            if flight.stage == Stage::Sent && flight.event.qos.min(maximum_qos) == Qos::AtMostOnce {
                flight.stage = Stage::Done;
                self.counts.done += 1;
            }
        }
        self.finish_snapshot();
        self.advance();
    }

    /// PUBACK, PUBREC or PUBCOMP. `refused`: with a reason that says no.
    pub fn acknowledged(&mut self, kind: AckType, id: PacketId, refused: bool) {
        let mut flights = self.window.iter_mut().chain(&mut self.orphans).chain(&mut self.snapshot);
        // One that is not known is of a session that was given up.
        let Some(flight) = flights.find(|flight| flight.id == Some(id)) else { return };
        flight.stage = match (kind, flight.stage) {
            (AckType::Pubrec, Stage::Sent) if !refused => Stage::Received,
            (AckType::Puback | AckType::Pubrec, Stage::Sent) | (AckType::Pubcomp, Stage::Releasing) => Stage::Done,
            // Of an exchange that is over, or out of turn.
            (_, stage) => stage,
        };
        match flight.stage {
            Stage::Received if flight.number > 0 => _ = self.record.received.insert(flight.number),
            Stage::Done => {
                // A PUBCOMP that says "not found" is of an exchange that was completed (MQTT 5, 3.7.2.1).
                let taken = !refused || kind == AckType::Pubcomp;
                self.counts.done += u64::from(taken);
                self.counts.refused += u64::from(!taken);
            }
            _ => {}
        }
        self.finish_snapshot();
        self.advance();
    }

    /// The cursor moves over what is done.
    fn advance(&mut self) {
        self.orphans.retain(|flight| flight.stage != Stage::Done);
        while let Some(flight) = self.window.pop_front_if(|flight| flight.stage == Stage::Done) {
            self.window_bytes -= flight.event.bytes();
            self.done_to = self.done_to.max(flight.number);
        }
        self.take_held();
        if self.window.is_empty() {
            self.done_to = self.read_to;
        }
        if let Some(first) = self.orphans.front() {
            self.done_to = self.done_to.min(first.number - 1);
        }
        // What is behind the cursor is read again after a restart, so it must be known that it was received.
        let known = self.record.received.split_off(&(self.done_to + 1));
        self.record.received = known;
    }

    /// What is to be recorded, if that is not what is recorded: the number up to which all is done, and the record.
    pub fn to_record(&self) -> Option<(u64, Record)> {
        let now = (self.done_to, self.record.clone());
        (now != self.recorded).then_some(now)
    }

    /// Whether something waits for the record.
    pub fn record_is_urgent(&self) -> bool {
        self.must_record || !self.record.received.is_subset(&self.recorded.1.received)
    }

    /// This was recorded.
    pub fn note_recorded(&mut self, recorded: (u64, Record)) {
        let is_of_now =
            recorded.1.fingerprint == self.record.fingerprint && recorded.1.received.is_subset(&self.record.received);
        self.must_record &= !is_of_now;
        self.recorded = recorded;
    }

    /// When the other broker has taken too long to acknowledge something.
    pub fn deadline_ms(&self) -> Option<u64> {
        let waits = |flight: &&Flight| matches!(flight.stage, Stage::Sent | Stage::Releasing);
        let all = self.window.iter().chain(&self.orphans).chain(&self.snapshot);
        let since = all.filter(waits).map(|flight| flight.since_ms).min()?;
        self.connected.then_some(since + self.limits.ack_timeout_ms)
    }
}

impl Flight {
    fn new(number: u64, id: Option<PacketId>, event: Outgoing, stage: Stage) -> Self {
        Self { number, id, event, stage, since_ms: 0 }
    }
}

/// The identifier of an event of the log.
fn id_of(number: u64) -> Option<PacketId> {
    u16::try_from(number % LOG_IDS + 1).ok().and_then(PacketId::new)
}

/// The identifier, which is the one after it then.
fn next(id: &mut u16, (first, last): (u16, u16)) -> Option<PacketId> {
    let this = *id;
    *id = if this >= last { first } else { this + 1 };
    PacketId::new(this)
}
