//! Answers to the client's packets, in the order of the packets [MQTT-4.6.0-2].
//!
//! ```text
//! packet --known at once, nothing waits--> ready --> mailbox
//!       \--waits for the log, or behind an answer that does--> waiting --Settled--> ready
//! ```
//!
//! What waits for an outcome stands in the order in which the publisher will tell the outcomes; what is known already stands between
//! them as bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Violation;
use super::connect::release;
use super::filters::Filters;
use super::publish::Verdict;
use crate::mqtt::codec::{Ack, AckType, Level, PacketId, ReasonCode, encode_ack};
use crate::node::Node;
use crate::node::clients::{Client, Received};
use crate::node::link::Link;
use crate::node::publish::Settled;
use crate::node::realm::Realm;
use crate::queue::outcome::{Done, Refused};

/// While so many answers wait, the client is not read.
const WAITING_MAX: usize = 64 * 1024;
/// A buffer larger than this is not kept for reuse.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// See the module.
pub(in crate::mqtt) struct Answers {
    level: Level,
    /// Largest packet that the client takes.
    packet_bytes_max: usize,
    /// The client wants to be told in words why something failed (MQTT 5, 3.1.2.11.7).
    wants_words: bool,
    ready: Vec<u8>,
    waiting: VecDeque<Answer>,
    /// What the client has to be told and cannot be: the connection has to end.
    fatal: Option<Violation>,
}

/// One answer that waits.
pub(super) enum Answer {
    /// Nothing is said about so many messages.
    Silence(u32),
    /// PUBACK or PUBREC.
    Publish(AckType, PacketId),
    /// PUBCOMP.
    Release(PacketId),
    /// What waits for the session's progress to be recorded: PUBREL, and the first sending of QoS 2 messages.
    Progress,
    /// SUBACK or UNSUBACK, when the last of its filters is settled.
    Filters(Box<Filters>),
    /// Known since the packet came; waits for those before it.
    Said(Box<[u8]>),
}

impl Answers {
    pub fn new(level: Level, packet_bytes_max: usize, wants_words: bool) -> Self {
        let (ready, waiting) = (Vec::new(), VecDeque::new());
        Self { level, packet_bytes_max, wants_words, ready, waiting, fatal: None }
    }

    /// An answer that is known.
    pub fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.waiting.is_empty() {
            return encode(&mut self.ready);
        }
        let mut bytes = Vec::with_capacity(4);
        encode(&mut bytes);
        self.waiting.push_back(Answer::Said(bytes.into()));
    }

    /// SUBACK or UNSUBACK, now or when the log has what it was asked.
    pub(super) fn say_filters(&mut self, filters: Filters) {
        if !filters.is_settled() {
            return self.expect(Answer::Filters(Box::new(filters)));
        }
        let words = self.words();
        self.say(|out| words.filters(&filters, out));
    }

    /// An answer that need not keep to the order.
    pub fn say_at_once(&mut self, bytes: &[u8]) {
        self.ready.extend_from_slice(bytes);
    }

    /// An answer to be given when the publisher has told what became of the message that was given to it last.
    pub(super) fn expect(&mut self, answer: Answer) {
        if let (Answer::Silence(more), Some(Answer::Silence(count))) = (&answer, self.waiting.back_mut()) {
            *count += more;
        } else {
            self.waiting.push_back(answer);
        }
    }

    /// An outcome is awaited.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn must_wait(&self) -> bool {
        self.waiting.len() > WAITING_MAX
    }

    /// Answers a PUBLISH of which it is known at once what became of it.
    pub fn acknowledge(&mut self, client: &Client, kind: AckType, packet_id: PacketId, verdict: &Verdict) {
        note_received(client, self.level, (kind, packet_id), verdict, Received::Routed);
        let words = self.words();
        self.say(|out| words.acknowledge(kind, packet_id, verdict, out));
    }

    /// What became of the oldest message that is awaited.
    pub(super) fn settle(&mut self, settled: &Settled, context: &Context<'_>) {
        if let Settled::Done(Done::Stale) = settled {
            // The log has heard of its connection at another entry before this one was told.
            let what = "the session is connected at another entry";
            self.fatal.get_or_insert(Violation::new(ReasonCode::SessionTakenOver, what));
        }
        match self.waiting.front_mut() {
            Some(Answer::Silence(count)) if *count > 1 => return *count -= 1,
            Some(Answer::Filters(filters)) => {
                if !filters.settle(settled, context) {
                    return;
                }
            }
            // Outcomes are told once for each message that was given to the publisher.
            Some(_) => {}
            None => return,
        }
        let Some(answer) = self.waiting.pop_front() else { return };
        // The client learns nothing more; what it is not told it repeats.
        if self.fatal.is_none() {
            self.give(answer, settled, context);
        }
        while let Some(Answer::Said(_)) = self.waiting.front() {
            if let Some(Answer::Said(bytes)) = self.waiting.pop_front()
                && self.fatal.is_none()
            {
                self.ready.extend_from_slice(&bytes);
            }
        }
    }

    fn give(&mut self, answer: Answer, settled: &Settled, context: &Context<'_>) {
        let (words, client) = (self.words(), context.client);
        match answer {
            Answer::Silence(_) | Answer::Said(_) => {}
            Answer::Publish(kind, packet_id) => {
                // Its session has a newer connection: this one ends.
                let Some(verdict) = Verdict::of(settled) else { return };
                if matches!(settled, Settled::Refused(_)) && self.level < Level::V5 {
                    // There is no other way to say so: the client sends it again.
                    self.fatal = Some(Violation::new(verdict.reason, verdict.what));
                    return;
                }
                let received = if matches!(settled, Settled::Routed(_)) { Received::Routed } else { Received::Logged };
                note_received(client, self.level, (kind, packet_id), &verdict, received);
                words.acknowledge(kind, packet_id, &verdict, &mut self.ready);
            }
            Answer::Release(packet_id) => match settled {
                Settled::Refused(why) => self.fatal = Some(refusal(*why)),
                _ => {
                    client.record.lock().received.remove(&packet_id.get());
                    encode_ack(AckType::Pubcomp, packet_id, &mut self.ready);
                }
            },
            Answer::Progress => {
                let mut mailbox = client.session.mailbox();
                match settled {
                    Settled::Refused(_) => mailbox.progress_refused(context.link),
                    _ => mailbox.progress_recorded(context.link, release),
                }
            }
            Answer::Filters(filters) => {
                if self.level < Level::V5 && !filters.can_be_said() {
                    self.fatal =
                        Some(Violation::new(ReasonCode::ImplementationSpecificError, "cannot unsubscribe now"));
                    return;
                }
                words.filters(&filters, &mut self.ready);
            }
        }
    }

    /// Why the connection has to end, if it has.
    pub fn take_fatal(&mut self) -> Option<Violation> {
        self.fatal.take()
    }

    /// The bytes that are to be sent.
    pub fn ready(&self) -> &[u8] {
        &self.ready
    }

    /// They were sent.
    pub fn clear(&mut self) {
        self.ready.clear();
        if self.ready.capacity() > SPARE_BYTES_MAX {
            self.ready = Vec::new();
        }
    }

    fn words(&self) -> Words {
        Words { level: self.level, packet_bytes_max: self.packet_bytes_max, wanted: self.wants_words }
    }
}

/// A PUBLISH that is answered: how, and which.
type Acked = (AckType, PacketId);

/// What answers are made for.
#[derive(Clone, Copy)]
pub(in crate::mqtt) struct Context<'a> {
    pub node: &'a Arc<Node>,
    pub realm: &'a Arc<Realm>,
    pub client: &'a Client,
    pub link: &'a Arc<Link>,
}

/// How the client wants to be told.
#[derive(Clone, Copy)]
struct Words {
    level: Level,
    packet_bytes_max: usize,
    wanted: bool,
}

impl Words {
    /// Answers PUBLISH. Before level 5 a refused one is acknowledged all the same: closing would only make the client send it
    /// again (3.1.1, 3.3.5).
    fn acknowledge(self, kind: AckType, packet_id: PacketId, verdict: &Verdict, out: &mut Vec<u8>) {
        if verdict.reason == ReasonCode::Success || self.level < Level::V5 {
            return encode_ack(kind, packet_id, out);
        }
        let mut ack = Ack::new(packet_id, verdict.reason);
        ack.diagnostics.reason_string = (self.wanted && !verdict.what.is_empty()).then_some(verdict.what);
        // Cannot fail: the strings are ours.
        let _ = ack.encode_within(self.packet_bytes_max, kind, self.level, out);
    }

    fn filters(self, filters: &Filters, out: &mut Vec<u8>) {
        filters.encode(self.level, self.packet_bytes_max, self.wanted, out);
    }
}

/// Remembers that a QoS 2 message came, or (if it is refused at level 5) forgets it [MQTT-4.3.3-9].
fn note_received(client: &Client, level: Level, (kind, packet_id): Acked, verdict: &Verdict, received: Received) {
    if kind == AckType::Puback {
        return;
    }
    let mut record = client.record.lock();
    if verdict.reason.is_error() && level == Level::V5 {
        record.received.remove(&packet_id.get());
    } else {
        record.received.insert(packet_id.get(), received);
    }
}

/// What a client is told of whose message the log did not take.
pub(super) fn refusal(why: Refused) -> Violation {
    match why {
        Refused::Full => Violation::new(ReasonCode::QuotaExceeded, "as many messages wait for the store as may"),
        Refused::StoreUnavailable => {
            Violation::new(ReasonCode::ImplementationSpecificError, "the store cannot write now")
        }
        Refused::Stopping => Violation::new(ReasonCode::ImplementationSpecificError, "the broker stops"),
    }
}
