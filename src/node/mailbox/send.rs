//! One copy that is encoded for one session.

use bytes::Bytes;

use super::{Offered, Online};
use crate::delivery::outbox::{Outbox, SHARE_BYTES_MIN};
use crate::node::reader::pull::Take;
use crate::node::wire::{Encoded, Unencodable};
use crate::types::event::{Event, Qos, Terms};
use crate::types::payload::Payload;

/// What a copy passes on its way out.
pub(super) struct Desk<'a> {
    pub online: &'a mut Online,
    pub outbox: &'a mut Outbox,
    pub offered: &'a mut Offered,
}

/// Whether a large payload may be sent behind its frame.
#[derive(Clone, Copy)]
pub(super) enum Sending<'a> {
    /// It is part of a buffer that had better not be kept.
    Whole,
    /// It is this.
    Shared(&'a Payload),
}

/// A copy at the end of the outbox.
pub(super) struct Drafted {
    mark: usize,
    pub packet_id_at: Option<usize>,
    /// Follows what was encoded.
    body: Option<Bytes>,
    bytes: usize,
}

/// Why there is no copy.
pub(super) enum NotSent {
    /// The outbox is too full.
    NoRoom,
    /// This client cannot be sent it.
    Never(Unencodable),
}

impl Desk<'_> {
    /// Encodes a copy behind what the outbox holds. The topic alias is chosen here, and not kept in `terms`.
    pub fn draft(&mut self, event: &Event<'_>, sending: Sending<'_>, terms: &mut Terms) -> Result<Drafted, NotSent> {
        // A message that is sent again is sent as it was, perhaps, but it is the first over this connection.
        terms.alias = if terms.dup { None } else { self.online.aliases.look_up(event.topic.name()) };
        let drafted = self.encode(event, sending, terms);
        if let Some((alias, false)) = terms.alias.take()
            && drafted.is_ok()
        {
            self.online.aliases.learn(event.topic.name(), alias);
        }
        drafted
    }

    fn encode(&mut self, event: &Event<'_>, sending: Sending<'_>, terms: &Terms) -> Result<Drafted, NotSent> {
        let Self { online, outbox, .. } = self;
        let shared = match sending {
            Sending::Shared(payload) if payload.len() >= SHARE_BYTES_MIN => Some(payload),
            _ => None,
        };
        let mark = outbox.mark();
        let encoded = online.wire.0.event(event, terms, shared.is_some(), outbox.draft());
        let head = outbox.mark() - mark;
        let drafted = encoded.map_err(NotSent::Never).and_then(|Encoded { packet_id_at, body_left_out }| {
            let body = if body_left_out { shared.and_then(Payload::shared_bytes) } else { None };
            let bytes = head + body.as_ref().map_or(0, Bytes::len);
            match bytes {
                bytes if bytes > online.frame_bytes_max => Err(NotSent::Never(Unencodable::TooLarge)),
                bytes if !outbox.has_room(bytes) => Err(NotSent::NoRoom),
                bytes => Ok(Drafted { mark, packet_id_at, body, bytes }),
            }
        });
        if drafted.is_err() {
            outbox.discard(mark);
        }
        drafted
    }

    /// Sends a copy of what was read. `number` gives it a packet identifier, if it needs one.
    #[inline]
    pub fn take(&mut self, event: &Event<'_>, terms: &Terms, number: impl FnOnce(Qos) -> u16) -> Take {
        let drafted = if self.online.aliases.max == 0 {
            self.encode(event, Sending::Whole, terms)
        } else {
            self.draft(event, Sending::Whole, &mut terms.clone())
        };
        match drafted {
            Ok(drafted) => {
                self.count(&drafted);
                let packet_id = drafted.packet_id_at.map(|_| number(terms.qos));
                drafted.accept(packet_id, self.outbox);
                Take::Taken
            }
            Err(NotSent::NoRoom) => Take::Full,
            Err(NotSent::Never(error)) => {
                self.offered.drop(error);
                Take::Taken
            }
        }
    }

    pub fn count(&mut self, drafted: &Drafted) {
        self.offered.sent += 1;
        self.offered.sent_bytes += drafted.bytes;
    }
}

impl Drafted {
    /// Makes it a part of the outbox.
    pub fn accept(self, packet_id: Option<u16>, outbox: &mut Outbox) {
        if let (Some(at), Some(packet_id)) = (self.packet_id_at, packet_id) {
            outbox.patch(at, packet_id);
        }
        outbox.accept(self.mark, self.body);
    }
}
