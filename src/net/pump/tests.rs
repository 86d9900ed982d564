//! The loop with a gate that never runs out of things to say.

use std::task::Waker;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::net::gate::{Machine, Received};
use crate::node::link::End;

/// Far more than is written between two looks at what the peer says.
const MUCH: usize = 1000;

/// Has something to be written until it hears of the peer, and counts how often it was asked.
struct Flood {
    link: Arc<Link>,
    taken: usize,
    heard: bool,
}

impl Machine for Flood {
    fn verified(&mut self, _: Answer, _: u64) -> Flow {
        Flow::Continue
    }

    fn take(&mut self, mut spare: Vec<u8>, _: u64) -> Taken {
        if !self.heard && self.taken < MUCH {
            self.taken += 1;
            spare.extend_from_slice(b"event");
        }
        Taken { parts: Default::default(), tail: spare }
    }

    fn may_read(&self) -> bool {
        true
    }

    fn must_pause(&mut self) -> bool {
        false
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn deadline_ms(&self) -> Option<u64> {
        None
    }

    fn expired(&mut self, _: u64) -> Flow {
        Flow::Continue
    }

    fn end(&mut self, _: End, _: u64) {}

    fn closed(&mut self, _: u64) {}

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Gate for Flood {
    fn receive(&mut self, input: &Bytes, _: u64) -> Received {
        self.heard = true;
        Received::all(input, Flow::Continue)
    }
}

/// A peer that takes all that it is sent, and has said something once.
struct Peer {
    says: &'static [u8],
}

impl Socket for Peer {}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.says.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(std::mem::take(&mut self.says));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn pump(says: &'static [u8]) -> Pump<Peer, Flood> {
    let gate = Flood { link: Arc::default(), taken: 0, heard: false };
    Pump::new(Peer { says }, gate, Clock::default())
}

#[test]
fn who_is_sent_very_much_is_heard_meanwhile() {
    let mut pump = pump(b"an acknowledgement");
    let polled = Pin::new(&mut pump).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending() && pump.gate.heard);
    assert!(pump.gate.taken < 10, "{} were written first", pump.gate.taken);
}

#[test]
fn who_is_sent_very_much_lets_others_have_their_turn() {
    let mut pump = pump(b"");
    assert!(Pin::new(&mut pump).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(pump.gate.taken < MUCH / 2, "{} were written at once", pump.gate.taken);
    while pump.gate.taken < MUCH {
        let before = pump.gate.taken;
        assert!(Pin::new(&mut pump).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(pump.gate.taken > before, "it goes on");
    }
}
