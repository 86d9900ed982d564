//! What drives the machine: bytes, time, and the end.

use std::sync::Arc;

use bytes::Bytes;

use super::{EARLY_BYTES_MAX, MqttGate, Phase, REPLY_BYTES_MAX, Violation};
use crate::delivery::outbox::Taken;
use crate::mqtt::codec::ReasonCode;
use crate::net::gate::{Flow, Gate, Machine, Received};
use crate::node::authenticate;
use crate::node::clients::Leaving;
use crate::node::link::{End, Link};
use crate::node::metrics::Protocol;

impl Gate for MqttGate {
    fn receive(&mut self, input: &Bytes, now_ms: u64) -> Received {
        self.tally.bytes_in += input.len() as u64;
        if let Phase::Open(open) = &mut self.phase {
            open.heard_ms = now_ms;
            open.publisher.now_ms = now_ms;
            open.silent = true;
        }
        let (consumed, needs, result) = self.handle_all(input, now_ms);
        let flow = self.conclude(result);
        self.node.metrics.of(Protocol::Mqtt).add(&mut self.tally);
        let silent = matches!(&self.phase, Phase::Open(open) if open.silent);
        Received { consumed, needs, silent, flow }
    }
}

impl Machine for MqttGate {
    fn verified(&mut self, answer: authenticate::Answer, now_ms: u64) -> Flow {
        let Phase::Verifying(candidate) = std::mem::replace(&mut self.phase, Phase::Fresh) else { return Flow::Close };
        self.admit_or_refuse(*candidate, answer.verdict(), now_ms);
        if matches!(self.phase, Phase::Gone) { Flow::Close } else { Flow::Continue }
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        self.hear(now_ms);
        if let Phase::Open(open) = &mut self.phase {
            let mut mailbox = open.client.session.mailbox();
            if mailbox.is_held_by(&self.link) {
                open.publisher.count(mailbox.refill(now_ms));
                let progress = mailbox.take_progress();
                let taken = mailbox.take(spare);
                drop(mailbox);
                self.greeted |= taken.bytes() > 0;
                self.tally.bytes_out += taken.bytes() as u64;
                if let Some(at) = progress {
                    open.record_progress(at);
                }
                return taken;
            }
        }
        let last = std::mem::take(&mut self.last_words);
        self.tally.bytes_out += last.bytes() as u64;
        last
    }

    fn may_read(&self) -> bool {
        match &self.phase {
            Phase::Open(open) => open.client.session.mailbox().outbox.reply_bytes() < REPLY_BYTES_MAX,
            _ => true,
        }
    }

    fn must_pause(&mut self) -> bool {
        match &mut self.phase {
            Phase::Open(open) => open.publisher.take_crowded(),
            _ => false,
        }
    }

    fn must_wait(&self) -> bool {
        match &self.phase {
            Phase::Open(open) => open.must_wait(),
            Phase::Opening(_) => true,
            // Else that it is gone would not be noticed.
            Phase::Delayed(_) => self.early.len() >= EARLY_BYTES_MAX,
            _ => false,
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Fresh | Phase::Verifying(_) | Phase::Proving(_) | Phase::Opening(_) => Some(self.connect_by_ms),
            Phase::Delayed(delayed) => Some(delayed.until_ms),
            Phase::Open(open) => [open.silence_ends_ms(), open.expires_ms].into_iter().flatten().min(),
            Phase::Gone => None,
        }
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        match self.phase {
            Phase::Delayed(_) => {
                self.admit_delayed(now_ms);
                let result = self.handle_early(now_ms);
                return self.conclude(result);
            }
            Phase::Open(ref open) => {
                let expired = open.expires_ms.is_some_and(|at| at <= now_ms);
                self.leave(Leaving::Broken);
                match expired {
                    true => self.say_goodbye(ReasonCode::NotAuthorized, "the token has expired"),
                    false => self.say_goodbye(ReasonCode::KeepAliveTimeout, ""),
                }
            }
            Phase::Opening(_) => self.refuse_opening(Violation::new(ReasonCode::ServerUnavailable, "the log is slow")),
            _ => {
                self.tally.handshake_failures += 1;
                self.phase = Phase::Gone;
            }
        }
        Flow::Close
    }

    fn end(&mut self, reason: End, now_ms: u64) {
        // It may have its session and not know it yet.
        self.hear(now_ms);
        match self.phase {
            Phase::Open(_) => {
                self.leave(Leaving::Broken);
                match reason {
                    End::TakenOver => self.say_goodbye(ReasonCode::SessionTakenOver, ""),
                    // The other entries of a cluster have all that this one has.
                    End::Shutdown if self.node.has_peers() => self.say_goodbye(ReasonCode::UseAnotherServer, ""),
                    End::Shutdown => self.say_goodbye(ReasonCode::ServerShuttingDown, ""),
                    End::SlowConsumer => self.say_goodbye(ReasonCode::QuotaExceeded, ""),
                    End::TooFast => self.say_goodbye(ReasonCode::MessageRateTooHigh, ""),
                    End::Kicked => {
                        let kick = self.link.kicked().cloned();
                        let words = kick.map(|kick| kick.message.unwrap_or(kick.reason)).unwrap_or_default();
                        self.say_goodbye(ReasonCode::AdministrativeAction, &words);
                    }
                    End::NotAuthorized => self.say_goodbye(ReasonCode::NotAuthorized, ""),
                    End::Over => {}
                }
            }
            Phase::Opening(_) => self.refuse_opening(Violation::new(ReasonCode::ServerUnavailable, "")),
            Phase::Fresh | Phase::Verifying(_) | Phase::Proving(_) | Phase::Delayed(_) | Phase::Gone => {
                self.phase = Phase::Gone;
            }
        }
    }

    fn closed(&mut self, _: u64) {
        if !matches!(self.phase, Phase::Open(_) | Phase::Gone) {
            self.tally.handshake_failures += 1;
        }
        self.leave(Leaving::Broken);
        self.phase = Phase::Gone;
        self.tally.connections_closed += 1;
        self.node.metrics.of(Protocol::Mqtt).add(&mut self.tally);
    }

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
