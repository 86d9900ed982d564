//! What waits for a role: filled by links and by the other roles of its process, emptied by the role's own thread or task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::config::ProcessId;
use super::frame::Beside;
use super::line::Line;
use crate::queue::envelope::{Envelope, NodeId, RoleMessage};

/// What an event takes beside its body, near enough for a bound.
const EVENT_BYTES: usize = 128;

/// What a role hears. Everything of one life of a link stands between its `Connected` and its `Disconnected`, in the order it was
/// sent.
#[derive(Debug)]
pub enum Event {
    /// A link stands: what was not answered has to be said again. Told once of the other roles of the same process, too.
    Connected {
        process: ProcessId,
        nodes: Arc<[NodeId]>,
    },
    /// It is gone, and with it what was sent and did not arrive.
    Disconnected {
        process: ProcessId,
        nodes: Arc<[NodeId]>,
    },
    Envelope(Envelope),
    /// What another entry says beside what the roles say.
    Beside {
        from: NodeId,
        what: Beside,
        body: Bytes,
    },
    /// A question beside what the roles say.
    Request {
        from: NodeId,
        body: Bytes,
        answer: Answer,
    },
}

/// By which a request is answered; dropped, it tells that there will be no reply.
#[derive(Debug)]
pub struct Answer {
    to: Option<AnswerTo>,
}

#[derive(Debug)]
enum AnswerTo {
    Here(oneshot::Sender<Bytes>),
    There { line: Arc<Line>, life: u64, id: u64 },
}

/// A bounded queue of events.
///
/// Links wait until there is room, and are not read meanwhile. What comes from this process is always taken: the bounds of the
/// roles themselves limit it, and a role that waited for another could wait for ever.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
    /// The same for a task.
    filled_for_task: Notify,
    room: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    woken: bool,
    closed: bool,
}

impl Inbox {
    /// Links wait from `bytes_max` on.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            filled_for_task: Notify::new(),
            room: Notify::new(),
            bytes_max,
        })
    }

    /// Takes all that waits; waits for something if nothing does, but not longer than `patience`. May return nothing. `None`: the
    /// inbox is closed and empty.
    pub fn take(&self, patience: Option<Duration>) -> Option<VecDeque<Event>> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state.lock();
        while state.has_nothing() {
            match until {
                None => self.filled.wait(&mut state),
                Some(until) => {
                    if self.filled.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        state.woken = false;
        let events = std::mem::take(&mut state.events);
        let over = state.closed && events.is_empty();
        state.bytes = 0;
        drop(state);
        self.room.notify_waiters();
        (!over).then_some(events)
    }

    /// As [`Inbox::take`], for the one task that empties it. What can be read from sockets without waiting comes along: it yields
    /// once to the tasks of the links.
    pub async fn take_in_task(&self, patience: Duration) -> Option<VecDeque<Event>> {
        let filled = async {
            while self.state.lock().has_nothing() {
                self.filled_for_task.notified().await;
            }
        };
        if tokio::time::timeout(patience, filled).await.is_ok() {
            tokio::task::yield_now().await;
        }
        self.take(Some(Duration::ZERO))
    }

    /// Whether something waits.
    pub fn has_some(&self) -> bool {
        !self.state.lock().events.is_empty()
    }

    /// Has [`Inbox::take`] return, for there is something else to do.
    pub fn wake(&self) {
        self.state.lock().woken = true;
        self.notify();
    }

    /// Takes nothing more. What waits can still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.notify();
        self.room.notify_waiters();
    }

    /// Appends what a node of this process is to hear, room or not.
    pub fn tell(&self, envelope: Envelope) {
        self.put(Event::Envelope(envelope));
    }

    /// Appends an event, room or not.
    pub(super) fn put(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.closed {
            state.push(event);
            drop(state);
            self.notify();
        }
    }

    /// Appends an event if there is room; `false`: there is none, and it is dropped.
    pub(super) fn offer(&self, event: Event) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.bytes >= self.bytes_max {
            return false;
        }
        state.push(event);
        drop(state);
        self.notify();
        true
    }

    /// Appends all events as soon as there is room, and leaves none of them.
    pub(super) async fn put_all(&self, events: &mut Vec<Event>) {
        loop {
            // Made before the look, so that no room is missed that comes in between.
            let room = self.room.notified();
            if self.try_put_all(events) {
                return;
            }
            room.await;
        }
    }

    /// Only one thread or task takes.
    fn notify(&self) {
        self.filled.notify_one();
        self.filled_for_task.notify_one();
    }

    fn try_put_all(&self, events: &mut Vec<Event>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            events.clear();
            return true;
        }
        if state.bytes >= self.bytes_max {
            return false;
        }
        events.drain(..).for_each(|event| state.push(event));
        drop(state);
        self.notify();
        true
    }
}

impl State {
    fn has_nothing(&self) -> bool {
        self.events.is_empty() && !self.woken && !self.closed
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.bytes();
        self.events.push_back(event);
    }
}

impl Event {
    /// Bytes that it takes, near enough for a bound.
    fn bytes(&self) -> usize {
        let body = match self {
            Event::Envelope(Envelope { message, .. }) => match message {
                RoleMessage::KeepAdvanceHistory { body, .. } => body.len(),
                RoleMessage::AdvanceSegmentResolved { resolution, .. } => resolution.results.len(),
                RoleMessage::Feed { segment, .. } => segment.len(),
                _ => 0,
            },
            Event::Request { body, .. } | Event::Beside { body, .. } => body.len(),
            Event::Connected { .. } | Event::Disconnected { .. } => 0,
        };
        EVENT_BYTES + body
    }
}

impl Answer {
    pub(super) fn here(to: oneshot::Sender<Bytes>) -> Self {
        Self { to: Some(AnswerTo::Here(to)) }
    }

    /// `life`: the one of the link that the request came in.
    pub(super) fn there(line: Arc<Line>, life: u64, id: u64) -> Self {
        Self { to: Some(AnswerTo::There { line, life, id }) }
    }

    /// Sends the reply. It is lost if the link is, or if nobody waits any more.
    pub fn reply(mut self, body: Bytes) {
        match self.to.take() {
            Some(AnswerTo::Here(to)) => drop(to.send(body)),
            Some(AnswerTo::There { line, life, id }) => line.reply(life, id, Some(body)),
            None => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(AnswerTo::There { line, life, id }) = self.to.take() {
            line.reply(life, id, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn envelope(body: usize) -> Event {
        let (from, to) = (NodeId::storage("N1"), NodeId::entry("E1"));
        let message = RoleMessage::Feed { position: 1, segment: vec![7; body].into() };
        Event::Envelope(Envelope { from, to, message })
    }

    #[test]
    fn a_link_waits_for_room_and_this_process_does_not() {
        let inbox = Inbox::new(1000);
        let mut events = vec![envelope(2000)];
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(inbox.put_all(&mut events)).poll(&mut cx).is_ready(), "an empty inbox takes anything");
        let mut more = vec![envelope(1), envelope(2)];
        {
            let mut waits = pin!(inbox.put_all(&mut more));
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            inbox.put(envelope(3));
            assert_eq!(inbox.take(None).unwrap().len(), 2);
            assert!(waits.as_mut().poll(&mut cx).is_ready());
        }
        assert!(more.is_empty());
        assert_eq!(inbox.take(None).unwrap().len(), 2);
    }

    #[test]
    fn a_closed_inbox_gives_what_it_has_and_takes_nothing() {
        let inbox = Inbox::new(1000);
        inbox.put(envelope(1));
        inbox.close();
        inbox.put(envelope(2));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(inbox.put_all(&mut vec![envelope(3)])).poll(&mut cx).is_ready());
        assert_eq!(inbox.take(None).unwrap().len(), 1);
        assert!(inbox.take(None).is_none());
    }

    #[test]
    fn whoever_waits_is_woken_and_patience_ends() {
        let inbox = Inbox::new(1000);
        assert_eq!(inbox.take(Some(Duration::ZERO)).unwrap().len(), 0);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| inbox.take(None).map(|events| events.len()));
            inbox.wake();
            assert_eq!(waits.join().unwrap(), Some(0));
        });
    }
}
