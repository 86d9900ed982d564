//! The loop of one connection, polled by hand: write what waits, read once, let the gate handle it.
//!
//! Each poll reads at most a few times before it yields, so that a busy publisher does not keep its thread from the
//! subscribers it feeds; and it writes only so much before it reads, so that a subscriber that is sent much of the log is heard. While the peer does not take what is written, it is read only as long as few answers wait for it. A
//! peer whose publications fill the queues of subscribers is not read for a moment.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::clock::Clock;
use super::gate::{Flow, Gate};
use super::pace::{Pace, Verdict};
use super::read_buffer::{READ_BYTES, ReadBuffer};
use super::stream::{Socket, Stream};
use super::workers::{self, Destination};
use crate::delivery::outbox::Taken;
use crate::node::Node;
use crate::node::authenticate::{self, Answer, Check, Denied, Then, Waiting};
use crate::node::link::{End, Link};

#[cfg(test)]
mod tests;

/// How long a peer may take to close its side after we closed ours.
const LINGER_MS: u64 = 2000;
/// Write buffers larger than this are not kept for reuse.
const SPARE_BYTES_MAX: usize = 256 * 1024;
const SLICES_MAX: usize = 32;
/// How often the gate is asked for something to write before the peer is read again.
const TAKES_MAX: u32 = 4;
/// For so long a publisher waits whose subscribers fell behind.
const PAUSE_MS: u64 = 1;

/// A connection: its socket and its session machine.
pub struct Pump<I, G: Gate> {
    io: I,
    gate: G,
    link: Arc<Link>,
    clock: Clock,
    input: ReadBuffer,
    output: Output,
    state: State,
    timer: Option<(u64, Pin<Box<Sleep>>)>,
    ended: bool,
    /// The gate may have something to be written: asking it costs a lock.
    due: bool,
    /// Until then nothing is read.
    paused_until_ms: Option<u64>,
    /// See [`workers::active`].
    seen: u32,
    /// The link was told that the socket does not take what is written.
    stuck: bool,
    /// `None`: it may send as fast as it can.
    pace: Option<Box<Pace>>,
}

/// Why a pump's future is ready.
pub enum Exit {
    /// The connection is over.
    Closed,
    /// It is to go on on another thread.
    Move(Destination),
}

/// Runs a connection until it is over, on whatever threads it is moved to.
pub fn drive<G: Gate + Unpin + 'static>(mut pump: Pump<Stream, G>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Exit::Move(destination) = (&mut pump).await
            && pump.io.depart().is_ok()
        {
            pump.timer = None;
            destination.spawn(async move {
                if pump.io.arrive().is_ok() {
                    drive(pump).await;
                }
            });
        }
    })
}

enum State {
    Open,
    /// A check runs; nothing is read.
    Verifying(Verifying),
    /// What waits is written, then the socket is shut down.
    Closing,
    /// Shut down; the peer's close is awaited, and what it still sends thrown away.
    Lingering,
    Closed,
}

/// A check under way.
enum Verifying {
    Blocking(JoinHandle<Answer>),
    Elsewhere(Waiting),
    /// Until its turn comes.
    Later(Pin<Box<Sleep>>, Option<Then>),
}

impl Verifying {
    fn start(check: Check) -> Self {
        match check {
            Check::Later { wait, then } => Self::Later(Box::pin(tokio::time::sleep(wait)), Some(then)),
            Check::Blocking(check) => Self::Blocking(tokio::task::spawn_blocking(check)),
            Check::Elsewhere(waiting) => Self::Elsewhere(waiting),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Self::Later(sleep, then) = self {
            std::task::ready!(sleep.as_mut().poll(cx));
            match then.take().map(|then| then()) {
                Some(authenticate::Step::Wait(check)) => *self = Self::start(check),
                Some(authenticate::Step::Done(answer)) => return Poll::Ready(answer),
                None => return Poll::Ready(Answer::WRONG),
            }
        }
        match self {
            // One wait is never followed by another.
            Self::Later(..) => Poll::Ready(Answer::WRONG),
            Self::Elsewhere(waiting) => waiting.as_mut().poll(cx),
            Self::Blocking(check) => Pin::new(check).poll(cx).map(|answer| {
                // A check that broke off, or that the stopping runtime did not run, has proved nothing.
                answer.unwrap_or_else(|error| Answer::Denied(Denied::Unavailable(error.to_string())))
            }),
        }
    }
}

/// What was taken to be written, and how far that is.
#[derive(Default)]
pub struct Output {
    pub taken: Taken,
    /// Bytes of the first part (or, without parts, of the tail) that are written.
    written: usize,
}

/// Whether a step got anywhere.
#[derive(PartialEq)]
enum Step {
    Progress,
    Waits,
}

impl<I: Socket, G: Gate> Pump<I, G> {
    pub fn new(io: I, gate: G, clock: Clock) -> Self {
        let link = gate.link().clone();
        Self {
            io,
            gate,
            link,
            clock,
            input: ReadBuffer::default(),
            output: Output::default(),
            state: State::Open,
            timer: None,
            ended: false,
            due: true,
            paused_until_ms: None,
            seen: 0,
            stuck: false,
            pace: None,
        }
    }

    /// Bounds how fast the peer may send.
    pub fn paced(mut self, node: &Arc<Node>) -> Self {
        self.pace = Pace::new(node, self.clock.now_ms()).map(Box::new);
        if let Some(pace) = &self.pace {
            self.input.read_at_most(pace.read_bytes());
        }
        self
    }

    /// What came counts; if it was too much, the peer is not read for a while, or is told to go.
    fn keep_pace(&mut self, bytes: usize) {
        let Some(pace) = &mut self.pace else { return };
        let now_ms = self.clock.now_ms();
        match pace.spend(self.link.take_messages(), bytes, now_ms) {
            Verdict::Fine => {}
            Verdict::Wait { ms } => {
                let until_ms = now_ms + ms;
                self.paused_until_ms = Some(self.paused_until_ms.map_or(until_ms, |at| at.max(until_ms)));
            }
            Verdict::End => self.link.end(End::TooFast),
        }
    }

    /// Offers bytes that were read before the pump had the socket (by an HTTP server, say).
    pub fn with_input(mut self, early: bytes::Bytes) -> Self {
        if !early.is_empty() {
            self.handle(early);
        }
        self
    }

    fn follow(&mut self, flow: Flow) {
        if self.gate.must_pause() {
            self.paused_until_ms = Some(self.clock.now_ms() + PAUSE_MS);
        }
        match flow {
            Flow::Continue => {}
            Flow::Close => self.begin_closing(),
            Flow::Verify(check) => self.state = State::Verifying(Verifying::start(check)),
        }
    }

    fn begin_closing(&mut self) {
        if !matches!(self.state, State::Closing | State::Lingering | State::Closed) {
            self.state = State::Closing;
            self.set_timer(self.clock.now_ms() + LINGER_MS);
        }
    }

    fn handle(&mut self, chunk: bytes::Bytes) {
        let received = self.gate.receive(&chunk, self.clock.now_ms());
        let rest = chunk.get(received.consumed..).unwrap_or_default();
        self.input.keep(rest, received.needs);
        self.due |= !received.silent;
        self.follow(received.flow);
        self.keep_pace(chunk.len());
    }

    /// Writes until the socket takes no more, nothing waits, or the peer is to be read again.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        let (mut step, mut takes) = (Step::Waits, 0);
        loop {
            if self.output.is_empty() {
                if takes == TAKES_MAX || !self.link.take_ready() && !self.due {
                    return Ok(step);
                }
                takes += 1;
                let spare = self.output.reuse();
                self.output.taken = self.gate.take(spare, self.clock.now_ms());
                // More may wait behind what was taken.
                self.due = !self.output.is_empty();
                if self.output.is_empty() {
                    // TLS may hold back what the socket did not take.
                    self.due = Pin::new(&mut self.io).poll_flush(cx)?.is_pending();
                    return Ok(step);
                }
            }
            match self.output.poll_write(&mut self.io, cx)? {
                Poll::Ready(()) => step = Step::Progress,
                Poll::Pending => {
                    self.link.set_unwritten(self.output.bytes());
                    self.stuck = true;
                    return Ok(step);
                }
            }
            if self.stuck {
                self.stuck = !self.output.is_empty();
                self.link.set_unwritten(self.output.bytes());
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        match self.input.poll_read(&mut self.io, cx)? {
            Poll::Pending => Ok(Step::Waits),
            Poll::Ready(None) => {
                self.state = State::Closed;
                Ok(Step::Progress)
            }
            Poll::Ready(Some(chunk)) => {
                let full = chunk.read >= READ_BYTES;
                self.handle(chunk.bytes);
                if full {
                    // More waits surely; let the others have their turn first.
                    cx.waker().wake_by_ref();
                    return Ok(Step::Waits);
                }
                Ok(Step::Progress)
            }
        }
    }

    /// Throws away what the peer sends until it closes.
    fn linger(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        match self.input.poll_read(&mut self.io, cx)? {
            Poll::Pending => Ok(Step::Waits),
            Poll::Ready(None) => {
                self.state = State::Closed;
                Ok(Step::Progress)
            }
            Poll::Ready(Some(_)) => Ok(Step::Progress),
        }
    }

    fn verify(&mut self, cx: &mut Context<'_>) -> Step {
        let State::Verifying(check) = &mut self.state else { return Step::Waits };
        let Poll::Ready(answer) = check.poll(cx) else { return Step::Waits };
        self.state = State::Open;
        let flow = self.gate.verified(answer, self.clock.now_ms());
        self.due = true;
        self.follow(flow);
        // What was read behind the request that was verified waits still.
        let kept = self.input.take();
        if matches!(self.state, State::Open) && !kept.is_empty() {
            self.handle(kept);
        }
        Step::Progress
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        if let Some(reason) = self.link.asked_to_end()
            && !self.ended
        {
            self.ended = true;
            self.gate.end(reason, self.clock.now_ms());
            self.due = true;
            self.begin_closing();
        }
        let wrote = self.write(cx)?;
        let blocked = !self.output.is_empty();
        let then = match self.state {
            State::Open
                if self.paused_until_ms.is_some() || self.gate.must_wait() || (blocked && !self.gate.may_read()) =>
            {
                Step::Waits
            }
            State::Open => self.read(cx)?,
            State::Verifying(_) => self.verify(cx),
            State::Closing if blocked => Step::Waits,
            State::Closing => match Pin::new(&mut self.io).poll_shutdown(cx)? {
                Poll::Ready(()) => {
                    self.state = State::Lingering;
                    self.set_timer(self.clock.now_ms() + LINGER_MS);
                    Step::Progress
                }
                Poll::Pending => Step::Waits,
            },
            State::Lingering => self.linger(cx)?,
            State::Closed => Step::Waits,
        };
        Ok(if wrote == Step::Progress { wrote } else { then })
    }

    fn set_timer(&mut self, at_ms: u64) {
        let at = self.clock.instant(at_ms).into();
        match &mut self.timer {
            Some((due, sleep)) => {
                *due = at_ms;
                sleep.as_mut().reset(at);
            }
            None => self.timer = Some((at_ms, Box::pin(tokio::time::sleep_until(at)))),
        }
    }

    /// When something is to be done although nobody comes.
    fn deadline_ms(&self) -> Option<u64> {
        // Whoever is not read cannot be blamed for its silence.
        self.paused_until_ms.or_else(|| self.gate.deadline_ms())
    }

    /// Keeps the timer no later than the deadline; an earlier one only asks once too often.
    fn run_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            let closing = matches!(self.state, State::Closing | State::Lingering);
            if !closing {
                match (self.deadline_ms(), &self.timer) {
                    (None, _) => return,
                    (Some(at), Some((due, _))) if *due <= at => {}
                    (Some(at), _) => self.set_timer(at),
                }
            }
            let Some((_, sleep)) = &mut self.timer else { return };
            if sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer = None;
            let now_ms = self.clock.now_ms();
            if closing {
                self.state = State::Closed;
                cx.waker().wake_by_ref();
                return;
            }
            if self.paused_until_ms.is_some_and(|at| at <= now_ms) {
                self.paused_until_ms = None;
                cx.waker().wake_by_ref();
                // It is read before it is asked whether it was silent for too long.
                return;
            }
            if self.paused_until_ms.is_none() && self.gate.deadline_ms().is_some_and(|at| at <= now_ms) {
                let flow = self.gate.expired(now_ms);
                self.due = true;
                self.follow(flow);
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl<I: Socket, G: Gate + Unpin> Future for Pump<I, G> {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let this = &mut *self;
        this.link.waker.register(cx.waker());
        // A few rounds are enough to answer what came; then others have their turn.
        for round in 0.. {
            match this.advance(cx) {
                Ok(Step::Progress) if round < 8 => continue,
                Ok(Step::Progress) => cx.waker().wake_by_ref(),
                Ok(Step::Waits) => {}
                Err(_) => this.state = State::Closed,
            }
            break;
        }
        this.run_timer(cx);
        if matches!(this.state, State::Closed) {
            return Poll::Ready(Exit::Closed);
        }
        let movable = matches!(this.state, State::Open) && this.io.can_move();
        match workers::active(&mut this.seen, movable) {
            Some(destination) => Poll::Ready(Exit::Move(destination)),
            None => Poll::Pending,
        }
    }
}

impl<I, G: Gate> Drop for Pump<I, G> {
    fn drop(&mut self) {
        self.gate.closed(self.clock.now_ms());
    }
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.taken.parts.is_empty() && self.taken.tail.is_empty()
    }

    /// Bytes that are left.
    pub fn bytes(&self) -> usize {
        self.taken.bytes() - self.written
    }

    /// The buffer of the last write, to be filled again.
    pub fn reuse(&mut self) -> Vec<u8> {
        let tail = std::mem::take(&mut self.taken.tail);
        if tail.capacity() > SPARE_BYTES_MAX { Vec::new() } else { tail }
    }

    /// Writes once; drops what is written.
    pub fn poll_write<I: AsyncWrite + Unpin>(&mut self, io: &mut I, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let wrote = if self.taken.parts.is_empty() {
            Pin::new(io).poll_write(cx, &self.taken.tail[self.written..])
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for part in self.taken.parts.iter().map(|part| &part[..]).chain([&self.taken.tail[..]]).take(SLICES_MAX) {
                slices[count] = IoSlice::new(if count == 0 { &part[self.written..] } else { part });
                count += 1;
            }
            Pin::new(io).poll_write_vectored(cx, &slices[..count])
        };
        match wrote {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                self.advance(count);
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.taken.parts.front() {
            let left = part.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.taken.parts.pop_front();
        }
        self.written += count;
        if self.written >= self.taken.tail.len() {
            self.taken.tail.clear();
            self.written = 0;
        }
    }
}
