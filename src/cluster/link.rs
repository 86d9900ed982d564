//! One life of a link: from the moment both sides know each other to its end.
//!
//! One task, three parts: the reader hands what comes to the inboxes of the roles, the writer takes what waits in the [`Line`],
//! and the keeper pings and looks at the clock. Whichever ends first ends all.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use super::frame::{self, Frame, FrameError, Front};
use super::inbox::{Answer, Event, Inbox};
use super::line::Line;
use super::pulse::{Due, Pulse};
use crate::net::pump::Output;
use crate::net::read_buffer::ReadBuffer;
use crate::queue::envelope::NodeId;

#[cfg(test)]
mod tests;

/// A link that is to end in peace may take so long to write what waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a link connects.
#[derive(Clone)]
pub(super) struct Ends {
    /// The roles there.
    pub there: Arc<[NodeId]>,
    /// The roles here.
    pub here: Arc<[(NodeId, Arc<Inbox>)]>,
    pub line: Arc<Line>,
}

/// Why a link is gone.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other side closed it.
    Closed,
    Io(io::Error),
    Frame(FrameError),
    /// A message from a node that the other process does not play.
    NotItsNode(NodeId),
    /// A message to a node that this process does not play.
    NotOurNode(NodeId),
    Silent(Duration),
    Stuck,
    /// The same process has dialled anew.
    Replaced,
    /// Somebody here wanted it so.
    Cut,
    /// The other process is not in the configuration any more, or elsewhere.
    Removed,
    /// This process stops.
    Stopped,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Closed => f.write_str("the other side has closed it"),
            Ended::Io(error) => write!(f, "{error}"),
            Ended::Frame(error) => write!(f, "{error} has come"),
            Ended::NotItsNode(node) => write!(f, "a message in the name of {node} has come, which does not run there"),
            Ended::NotOurNode(node) => write!(f, "a message for {node} has come, which does not run here"),
            Ended::Silent(silence) => write!(f, "nothing has come for {silence:?}"),
            Ended::Stuck => f.write_str("the other side does not take what waits for it"),
            Ended::Replaced => f.write_str("the other side has made a new one"),
            Ended::Cut => f.write_str("it was cut"),
            Ended::Removed => f.write_str("the configuration has changed"),
            Ended::Stopped => f.write_str("this process stops"),
        }
    }
}

/// Runs a link until it ends, by itself or by `stop`. `life`: as [`Line::open`] counted it.
pub(super) async fn run<I>(io: I, ends: &Ends, life: u64, stop: impl Future<Output = Ended>) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = ends.line.limits();
    let beat = Beat { began: Instant::now(), pulse: Pulse::new(limits.ping_every, limits.silence) };
    let (read, write) = tokio::io::split(io);
    let mut reader = Reader {
        io: Listening { io: read, beat: &beat, line: &ends.line },
        input: ReadBuffer::default(),
        ends,
        life,
        events: ends.here.iter().map(|_| Vec::new()).collect(),
    };
    let mut writer = Writer { io: write, line: &ends.line, output: Output::default() };
    let ended = tokio::select! {
        ended = stop => ended,
        ended = reader.run() => ended,
        ended = writer.run() => ended,
        ended = beat.keep(&ends.line) => ended,
    };
    if matches!(ended, Ended::Stopped | Ended::Removed) {
        // Who does not take it in time does without.
        let _ = tokio::time::timeout(FAREWELL, async {
            writer.finish().await?;
            // Closed before the other side has closed, it would be reset, and what is on the way lost.
            tokio::io::copy(&mut reader.io, &mut tokio::io::sink()).await
        })
        .await;
    }
    ended
}

/// A link's pulse and its clock.
struct Beat {
    began: Instant,
    pulse: Pulse,
}

impl Beat {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn keep(&self, line: &Line) -> Ended {
        loop {
            match self.pulse.due(self.now()) {
                Due::Nothing => {}
                Due::Ping => {
                    // Full outboxes are looked at below.
                    let _ = line.send(Frame::Ping { at_us: self.now().as_micros() as u64 });
                }
                Due::End => return Ended::Silent(line.limits().silence),
            }
            if line.is_stuck(Instant::now()) {
                return Ended::Stuck;
            }
            let at = self.began + self.pulse.next();
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = line.overflown() => {}
            }
        }
    }
}

/// Tells the pulse of every read.
struct Listening<'a, I> {
    io: ReadHalf<I>,
    beat: &'a Beat,
    line: &'a Line,
}

impl<I: AsyncRead> AsyncRead for Listening<'_, I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, into);
        let read = into.filled().len() - before;
        if read > 0 {
            self.beat.pulse.heard(self.beat.now());
            self.line.counters.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
        }
        polled
    }
}

struct Reader<'a, I> {
    io: Listening<'a, I>,
    input: ReadBuffer,
    ends: &'a Ends,
    life: u64,
    /// Of the read that is being handled, for each role here.
    events: Vec<Vec<Event>>,
}

impl<I: AsyncRead> Reader<'_, I> {
    async fn run(&mut self) -> Ended {
        loop {
            let Self { io, input, .. } = self;
            let chunk = match poll_fn(|cx| input.poll_read(io, cx)).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ended::Closed,
                Err(error) => return Ended::Io(error),
            };
            // What came before a fault is handed on all the same.
            let taken = self.take_in(&chunk.bytes);
            self.hand_on().await;
            if let Err(ended) = taken {
                return ended;
            }
        }
    }

    /// Handles the frames that are whole, and keeps the rest.
    fn take_in(&mut self, input: &Bytes) -> Result<(), Ended> {
        let mut rest = input.clone();
        loop {
            match frame::front(&rest, self.ends.line.limits().frame_bytes_max).map_err(Ended::Frame)? {
                Front::Part { needs } => {
                    self.input.keep(&rest, needs);
                    return Ok(());
                }
                Front::Whole { head, end } => {
                    self.handle(Frame::decode(&rest, head, end).map_err(Ended::Frame)?)?;
                    rest = rest.slice(end..);
                }
            }
        }
    }

    fn handle(&mut self, frame: Frame) -> Result<(), Ended> {
        let Ends { line, .. } = self.ends;
        line.counters.frames_in.fetch_add(1, Ordering::Relaxed);
        match frame {
            Frame::Envelope(envelope) => {
                let at = self.way(&envelope.from, &envelope.to)?;
                self.events[at].push(Event::Envelope(envelope));
            }
            Frame::Request { id, from, to, body } => {
                let at = self.way(&from, &to)?;
                let answer = Answer::there(line.clone(), self.life, id);
                self.events[at].push(Event::Request { from, body, answer });
            }
            Frame::Beside { from, to, what, body } => {
                let at = self.way(&from, &to)?;
                self.events[at].push(Event::Beside { from, what, body });
            }
            Frame::Reply { id, body } => line.replied(id, Some(body)),
            Frame::NoReply { id } => line.replied(id, None),
            Frame::Ping { at_us } => {
                // Without it the other side has this side's pings.
                let _ = line.send(Frame::Pong { at_us });
            }
            Frame::Pong { at_us } => {
                let rtt_us = (self.io.beat.now().as_micros() as u64).saturating_sub(at_us);
                line.counters.rtt_us.store(rtt_us.max(1), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Which of the roles here it is for; whether it may come from there.
    fn way(&self, from: &NodeId, to: &NodeId) -> Result<usize, Ended> {
        if !self.ends.there.contains(from) {
            return Err(Ended::NotItsNode(from.clone()));
        }
        let at = self.ends.here.iter().position(|(node, _)| node == to);
        at.ok_or_else(|| Ended::NotOurNode(to.clone()))
    }

    /// Hands the events of a read to the roles; waits for those that have no room.
    async fn hand_on(&mut self) {
        self.io.beat.pulse.rests();
        for ((_, inbox), events) in self.ends.here.iter().zip(&mut self.events) {
            if !events.is_empty() {
                inbox.put_all(events).await;
            }
        }
        self.io.beat.pulse.heard(self.io.beat.now());
    }
}

struct Writer<'a, I> {
    io: WriteHalf<I>,
    line: &'a Line,
    output: Output,
}

impl<I: AsyncWrite> Writer<'_, I> {
    async fn run(&mut self) -> Ended {
        loop {
            if let Err(error) = self.write_all().await {
                return Ended::Io(error);
            }
            self.line.woken().await;
        }
    }

    /// Writes until nothing waits. May be given up at any time, and called again.
    async fn write_all(&mut self) -> io::Result<()> {
        loop {
            let Self { io, line, output } = self;
            if output.is_empty() {
                match line.take(output.reuse()) {
                    Some(taken) => output.taken = taken,
                    None => return io.flush().await,
                }
            }
            let before = output.bytes();
            poll_fn(|cx| match output.poll_write(io, cx) {
                Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
                Ok(Poll::Pending) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            })
            .await?;
            let left = output.bytes();
            line.left(left);
            line.counters.bytes_out.fetch_add((before - left) as u64, Ordering::Relaxed);
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.write_all().await?;
        self.io.shutdown().await
    }
}
