//! One link as those see it who send: an outbox that stands while the link does, and what was asked over it.
//!
//! Sending never waits. A full outbox of which the peer takes nothing for a while, or one that gets far too full, ends the link
//! ([`Line::is_stuck`]), and so does a message that cannot be encoded: single messages are not dropped, only all that was under way,
//! and then both sides know.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::frame::{Beside, Frame, FrameError};
use crate::delivery::outbox::{Outbox, SHARE_BYTES_MIN, Taken};
use crate::queue::envelope::NodeId;

#[cfg(test)]
mod tests;

/// What writes to a link while it stands: the link's own task, or whoever has something to send and finds it free. A thread less on
/// the way of each message.
pub(super) trait Write: Send {
    /// Writes what waits, as far as it can now. The waker is told when it can go on.
    ///
    /// # Errors
    /// The link is dead.
    fn poll_write(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// One [`Write`], at times without.
type Writer = Arc<Mutex<dyn Write>>;

/// Bounds of links.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// How often a link is asked whether it lives.
    pub ping_every: Duration,
    /// A link that brings nothing for so long is dead.
    pub silence: Duration,
    /// A full outbox: what waits to be written to one link.
    pub outbox_bytes_max: usize,
    /// A link ends if its outbox is full and nothing of it is taken for so long; at once with twice as much (and one frame of any
    /// size) in its outbox.
    pub outbox_full: Duration,
    /// The longest frame.
    pub frame_bytes_max: usize,
    /// Requests over one link that wait for their reply.
    pub requests_max: usize,
}

/// Why a message was not sent. It is not kept: roles say again what matters when a link comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("there is no node {0} in this cluster")]
    Unknown(NodeId),
    #[error("there is no link now")]
    NotConnected,
    #[error("the link ends, for its outbox is full or something could not be said")]
    Full,
    #[error("the link has no room for what may be dropped")]
    NoRoom,
    #[error("too many requests wait for their reply")]
    TooManyRequests,
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// What a link has done since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    pub connected: AtomicBool,
    /// How often a link came to stand; all but the first are reconnects.
    pub connects: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub frames_in: AtomicU64,
    pub frames_out: AtomicU64,
    /// Of the last ping, in microseconds; 0 before the first.
    pub rtt_us: AtomicU64,
    /// Frames of events ([`Line::offer`]): sent, and dropped.
    pub offers_sent: AtomicU64,
    pub offers_dropped: AtomicU64,
}

/// See the module.
pub struct Line {
    state: Mutex<State>,
    writer: Mutex<Option<Writer>>,
    /// Something waits to be written.
    wake: Notify,
    /// The link has to end.
    overflown: Notify,
    limits: LinkLimits,
    pub counters: Counters,
}

#[derive(Debug)]
struct State {
    /// Lives of the link so far; none of it is open if this is not.
    life: u64,
    open: bool,
    outbox: Outbox,
    /// Bytes that the writer has taken and not written.
    under_way: usize,
    /// Since when the outbox is full and nothing of it was taken.
    full_since: Option<Instant>,
    /// The link has to end: far too much waits, or something could not be said. Nothing is sent behind that.
    overflown: bool,
    /// Of the frames that wait, near enough: a large one is no sign of a slow peer.
    longest: usize,
    next_id: u64,
    asked: HashMap<u64, oneshot::Sender<Bytes>>,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(1),
            silence: Duration::from_secs(3),
            outbox_bytes_max: 64 << 20,
            outbox_full: Duration::from_secs(5),
            // The largest message of a publisher is 256 MiB.
            frame_bytes_max: 320 << 20,
            requests_max: 4096,
        }
    }
}

impl LinkLimits {
    /// A link that brings nothing for `silence` is dead.
    pub fn with_silence(silence: Duration) -> Self {
        Self { silence, ping_every: silence / 3, ..Self::default() }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("state", &self.state).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Line {
    pub fn new(limits: LinkLimits) -> Self {
        let state = State {
            life: 0,
            open: false,
            outbox: Outbox::new(usize::MAX),
            under_way: 0,
            full_since: None,
            overflown: false,
            longest: 0,
            next_id: 0,
            asked: HashMap::new(),
        };
        let (state, counters) = (Mutex::new(state), Counters::default());
        let writer = Mutex::default();
        Self { state, writer, wake: Notify::new(), overflown: Notify::new(), limits, counters }
    }

    pub(super) fn limits(&self) -> &LinkLimits {
        &self.limits
    }

    /// A link stands. Returns the number of its life.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.state.lock();
        state.empty();
        state.life += 1;
        state.open = true;
        self.counters.connected.store(true, Ordering::Relaxed);
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        state.life
    }

    /// It is gone: what waits is dropped, and who waits for a reply is told.
    pub(super) fn close(&self) {
        self.counters.connected.store(false, Ordering::Relaxed);
        self.counters.rtt_us.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.empty();
        state.open = false;
    }

    /// Has a frame written after all that were sent before.
    ///
    /// # Errors
    /// It is not sent, and will not be. If it cannot be encoded, the link ends: what is sent behind it would come without it.
    pub fn send(&self, frame: Frame) -> Result<(), NotSent> {
        let was_empty = self.queue_or_end(frame)?;
        if was_empty {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// The same; [`Line::flush`] is to be called when there is no more.
    ///
    /// # Errors
    /// As [`Line::send`].
    pub fn queue(&self, frame: Frame) -> Result<(), NotSent> {
        self.queue_or_end(frame).map(drop)
    }

    /// Whether nothing waited before.
    fn queue_or_end(&self, frame: Frame) -> Result<bool, NotSent> {
        let mut state = self.state.lock();
        let queued = self.queue_locked(&mut state, frame);
        if let Err(NotSent::Frame(error)) = &queued {
            tracing::error!(%error, "a message cannot be sent: the link ends");
            state.overflown = true;
            self.overflown.notify_one();
        }
        queued
    }

    /// Has written what is queued: by the calling thread, if nobody else writes and there is room.
    pub fn flush(&self) {
        let writer = self.writer.lock().clone();
        let mut cx = Context::from_waker(Waker::noop());
        // If it breaks, the link's task finds the same.
        let is_done = writer
            .as_ref()
            .and_then(|writer| writer.try_lock())
            .is_some_and(|mut writer| matches!(writer.poll_write(self, &mut cx), Poll::Ready(Ok(()))));
        if !is_done {
            self.wake.notify_one();
        }
    }

    /// Who writes from now on.
    pub(super) fn set_writer(&self, writer: Option<Writer>) {
        *self.writer.lock() = writer;
    }

    /// Has a frame written that may be dropped: it is if a quarter of the outbox is full, so that there is always room for what may
    /// not. Tells whether half of that is.
    ///
    /// # Errors
    /// It is not sent, and the link goes on.
    pub fn offer(&self, frame: Frame) -> Result<bool, NotSent> {
        // Whoever calls is told what becomes of it.
        let is_counted = matches!(frame, Frame::Beside { what: Beside::Events, .. });
        let offered = self.try_offer(frame);
        let counter = if offered.is_ok() { &self.counters.offers_sent } else { &self.counters.offers_dropped };
        counter.fetch_add(u64::from(is_counted), Ordering::Relaxed);
        offered
    }

    fn try_offer(&self, frame: Frame) -> Result<bool, NotSent> {
        let room = self.limits.outbox_bytes_max / 4;
        let mut state = self.state.lock();
        let waiting = state.waiting();
        if waiting >= room {
            return Err(NotSent::NoRoom);
        }
        self.send_locked(&mut state, frame)?;
        Ok(waiting >= room / 2)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// It is not sent.
    pub fn ask(&self, from: NodeId, to: NodeId, body: Bytes) -> Result<oneshot::Receiver<Bytes>, NotSent> {
        let mut state = self.state.lock();
        if state.asked.len() >= self.limits.requests_max {
            state.asked.retain(|_, waits| !waits.is_closed());
        }
        if state.asked.len() >= self.limits.requests_max {
            return Err(NotSent::TooManyRequests);
        }
        let id = state.next_id;
        self.send_locked(&mut state, Frame::Request { id, from, to, body })?;
        state.next_id += 1;
        let (send, receive) = oneshot::channel();
        state.asked.insert(id, send);
        Ok(receive)
    }

    /// Answers a request that came in that life of the link; `None`: there is no answer.
    pub(super) fn reply(&self, life: u64, id: u64, body: Option<Bytes>) {
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        let frame = match body {
            Some(body) => Frame::Reply { id, body },
            None => Frame::NoReply { id },
        };
        if let Err(NotSent::Frame(error)) = self.send_locked(&mut state, frame) {
            tracing::error!(%error, "a reply cannot be sent");
            // Fits surely.
            let _ = self.send_locked(&mut state, Frame::NoReply { id });
        }
    }

    /// A reply came, or the word that there will be none.
    pub(super) fn replied(&self, id: u64, body: Option<Bytes>) {
        let waits = self.state.lock().asked.remove(&id);
        if let (Some(waits), Some(body)) = (waits, body) {
            // Whoever asked may have given up.
            let _ = waits.send(body);
        }
    }

    fn send_locked(&self, state: &mut State, frame: Frame) -> Result<(), NotSent> {
        if self.queue_locked(state, frame)? {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Whether nothing waited before.
    fn queue_locked(&self, state: &mut State, frame: Frame) -> Result<bool, NotSent> {
        if !state.open {
            return Err(NotSent::NotConnected);
        }
        if state.overflown {
            return Err(NotSent::Full);
        }
        let waiting = state.waiting();
        if waiting >= 2 * self.limits.outbox_bytes_max + state.longest {
            state.overflown = true;
            self.overflown.notify_one();
            return Err(NotSent::Full);
        }
        if waiting >= self.limits.outbox_bytes_max && state.full_since.is_none() {
            state.full_since = Some(Instant::now());
        }
        let was_empty = state.outbox.is_empty();
        let mark = state.outbox.mark();
        let body = frame.encode(state.outbox.draft(), self.limits.frame_bytes_max)?;
        state.longest = state.longest.max(body.len());
        if body.len() >= SHARE_BYTES_MIN {
            state.outbox.accept(mark, Some(body));
        } else {
            state.outbox.draft().extend_from_slice(&body);
            state.outbox.accept(mark, None);
        }
        self.counters.frames_out.fetch_add(1, Ordering::Relaxed);
        Ok(was_empty)
    }

    /// Waits until something is to be written, or may be.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until far too much is waiting, maybe.
    pub(super) async fn overflown(&self) {
        self.overflown.notified().await;
    }

    /// All that waits to be written, if anything does. `spare`: an empty buffer for what comes next.
    pub(super) fn take(&self, spare: Vec<u8>) -> Option<Taken> {
        let mut state = self.state.lock();
        if state.outbox.is_empty() {
            return None;
        }
        state.under_way = state.outbox.bytes();
        Some(state.outbox.take(spare))
    }

    /// Of what was taken, so much is left to be written.
    pub(super) fn left(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.under_way = bytes;
        if state.waiting() == 0 {
            state.longest = 0;
        }
        let is_full = state.waiting() >= self.limits.outbox_bytes_max;
        state.full_since = is_full.then(Instant::now);
    }

    /// Whether the peer does not take what waits for it, and the link has to end.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let full = state.full_since.map(|since| now.saturating_duration_since(since));
        state.overflown || full.is_some_and(|full| full >= self.limits.outbox_full)
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.state.lock().waiting()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.outbox.bytes() + self.under_way
    }

    fn empty(&mut self) {
        self.outbox.clear();
        self.under_way = 0;
        self.full_since = None;
        self.overflown = false;
        self.longest = 0;
        self.asked.clear();
    }
}
