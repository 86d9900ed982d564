//! The centre's end of uplinks: answers `fennec.uplink.exchange`, and has nothing to configure but permissions.
//!
//! Each edge has a task of its own while it exchanges: what it sends is published as its user's, each topic checked; what it wants is
//! read by a consumer named after it. The number space is the user's: nobody continues the stream of another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::board::{Board, End, State};
use super::incoming::{Incoming, Taken};
use super::machine::sender::Bounds;
use super::machine::wire::{Exchange, VERSION};
use super::meta;
use super::outgoing::{Outgoing, broker_id};
use super::{EXCHANGE, STATUS, WAIT};
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::consumer::ConsumerError;
use crate::node::house::{Guest, GuestCall};
use crate::node::log::ClockFn;
use crate::node::realm::Realm;
use crate::queue::state::rows;
use crate::router::authorize::Action;
use crate::types::ids::SessionId;
use crate::types::payload::Format;
use crate::types::topic::{Topic, TopicPattern};
use crate::types::value::Value;

/// Edges at a time.
const EDGES_MAX: usize = 10_000;
/// Calls of one edge that wait.
const CALLS_MAX: usize = 4;
/// Patterns that an edge may name.
const PATTERNS_MAX: usize = 64;
const ID_BYTES_MAX: usize = 128;
/// How long the task of an edge that is silent stays.
const IDLE: Duration = Duration::from_secs(300);

/// Realm, user and id of an edge.
type Key = (Arc<str>, String, String);

/// See the module.
pub(super) struct Centre {
    clock: Clock,
    board: Arc<Board>,
    runtime: Handle,
    links: Mutex<HashMap<Key, mpsc::Sender<Ask>>>,
}

enum Ask {
    Exchange(Box<GuestCall>, Box<Exchange>),
    Wait(Box<GuestCall>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Exchange,
    Wait,
    Status,
}

struct Entrance(Arc<Centre>, Door);

impl Centre {
    /// Takes the calls of edges from now on.
    pub fn open(node: &Arc<Node>, clock: Clock, board: Arc<Board>, runtime: Handle) {
        let centre = Self { clock, board, runtime, links: Mutex::default() };
        let centre = Arc::new(centre);
        for (procedure, door) in [(EXCHANGE, Door::Exchange), (WAIT, Door::Wait), (STATUS, Door::Status)] {
            node.offer(procedure, Arc::new(Entrance(centre.clone(), door)));
        }
    }

    fn exchange(self: &Arc<Self>, call: GuestCall) {
        match Exchange::decode(&call.argument()) {
            Err(error) => call.fail("wamp.error.invalid_argument", format!("the argument {error}")),
            Ok(exchange) => {
                let edge = exchange.edge.clone();
                self.pass_on(&edge, Ask::Exchange(Box::new(call), Box::new(exchange)));
            }
        }
    }

    fn wait(self: &Arc<Self>, call: GuestCall) {
        let edge = Value::decode(Format::MsgPack, &call.argument());
        match edge.as_ref().ok().and_then(Value::as_str) {
            Some(edge) => self.pass_on(edge, Ask::Wait(Box::new(call))),
            None => call.fail("wamp.error.invalid_argument", "the id of the uplink is missing"),
        }
    }

    /// Gives the call to the task of its edge.
    fn pass_on(self: &Arc<Self>, edge: &str, ask: Ask) {
        let (Ask::Exchange(call, _) | Ask::Wait(call)) = &ask;
        let user = call.caller().authid.clone().unwrap_or_default();
        let is_name = !edge.is_empty() && edge.len() <= ID_BYTES_MAX && !edge.contains(['/', '\0']);
        if !is_name || user.contains(['/', '\0']) {
            return ask.fail("wamp.error.invalid_argument", "this is no id of an uplink");
        }
        let key: Key = (call.realm().name.clone(), user, edge.to_owned());
        let mut links = self.links.lock();
        links.retain(|_, link| !link.is_closed());
        if !links.contains_key(&key) {
            if links.len() >= EDGES_MAX {
                drop(links);
                return ask.fail("fennec.error.quota_exceeded", "too many edges are connected");
            }
            let (sender, asked) = mpsc::channel(CALLS_MAX);
            let link = Link::new(self.clone(), call.node(), call.realm(), key.clone());
            self.runtime.spawn(link.run(asked));
            links.insert(key.clone(), sender);
        }
        let sent = links.get(&key).map(|link| link.try_send(ask));
        drop(links);
        if let Some(Err(mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask))) = sent {
            ask.fail("wamp.error.unavailable", "this uplink is busy");
        }
    }
}

impl Guest for Entrance {
    fn take(&self, call: GuestCall) {
        let Self(centre, door) = self;
        match door {
            Door::Exchange => {
                let centre = centre.clone();
                // Reading it may take a moment, which the house has not.
                centre.runtime.clone().spawn(async move { centre.exchange(call) });
            }
            Door::Wait => centre.wait(call),
            Door::Status => {
                let now_ms = centre.clock.now_ms();
                let list = centre.board.list(&call.realm().name, now_ms);
                call.answer(Ok(Value::map([("uplinks", list)])));
            }
        }
    }
}

impl Ask {
    fn fail(self, uri: &'static str, text: &str) {
        let (Self::Exchange(call, _) | Self::Wait(call)) = self;
        call.fail(uri, text);
    }
}

/// One edge.
struct Link {
    centre: Arc<Centre>,
    node: Arc<Node>,
    key: Key,
    own: String,
    incoming: Incoming,
    outgoing: Option<Outgoing>,
    /// The session that it speaks on.
    session: Option<SessionId>,
    /// Answered when there is something for the edge.
    waiting: Option<GuestCall>,
}

impl Link {
    fn new(centre: Arc<Centre>, node: &Arc<Node>, realm: &Arc<Realm>, key: Key) -> Self {
        let source = format!("uplink/{}/{}", key.1, key.2);
        let incoming = Incoming::new(node, realm, source);
        Self {
            centre,
            node: node.clone(),
            key,
            own: broker_id(node),
            incoming,
            outgoing: None,
            session: None,
            waiting: None,
        }
    }

    /// Its name among all that are known here.
    fn name(&self) -> String {
        format!("{}/{}", self.key.1, self.key.2)
    }

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let name = self.name();
        let (realm, user) = (self.key.0.to_string(), self.key.1.clone());
        self.centre.board.change(End::Centre, &name, |status| (status.realm, status.peer) = (realm, user));
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    None => break,
                    Some(Ask::Exchange(call, exchange)) => self.exchange(*call, *exchange).await,
                    Some(Ask::Wait(call)) => self.wait(*call),
                },
                changed = changed(&mut self.outgoing) => {
                    if let Err(trouble) = changed {
                        tracing::info!(uplink = name, %trouble, "what is sent to an edge is opened again");
                        self.outgoing = None;
                    }
                }
                () = sleep(IDLE) => break,
            }
            self.ring().await;
        }
        self.centre.board.forget(End::Centre, &name);
    }

    fn now_ms(&self) -> u64 {
        self.centre.clock.now_ms()
    }

    fn wait(&mut self, call: GuestCall) {
        // One is enough: the older one is of a connection that is gone.
        if let Some(older) = self.waiting.replace(call) {
            older.answer(Ok(Value::from(false)));
        }
    }

    /// Answers who waits if there is something.
    async fn ring(&mut self) {
        let Some(outgoing) = &mut self.outgoing else { return };
        if let Err(trouble) = outgoing.fill().await {
            tracing::info!(%trouble, "what is sent to an edge is opened again");
            self.outgoing = None;
            return;
        }
        let has_some = outgoing.sender().has_heard() && outgoing.sender().batch().next().is_some();
        if has_some && let Some(call) = self.waiting.take() {
            call.answer(Ok(Value::from(true)));
        }
    }

    async fn exchange(&mut self, call: GuestCall, exchange: Exchange) {
        let session = call.caller().session;
        if self.session != Some(session) {
            self.session = Some(session);
            self.incoming.connected();
            if let Some(outgoing) = &mut self.outgoing {
                outgoing.connected();
            }
        }
        let now_ms = self.now_ms();
        let may = |topic: &Topic| call.may(Action::Publish, topic);
        let taken = match self.incoming.take(&exchange, &may, now_ms).await {
            Ok(taken) => taken,
            Err(error) => return call.fail("fennec.error.store_unavailable", error.to_string()),
        };
        let mut answer = Exchange {
            version: VERSION,
            edge: self.key.2.clone(),
            broker: self.own.clone(),
            expected: Some(taken.ack),
            accepted_topics: exchange.accepted_topics.as_ref().map(|topics| accepted(&call, Action::Publish, topics)),
            refused: taken.refused,
            ..Exchange::default()
        };
        let mut error = None;
        if let (Some(wanted), Some(expected)) = (&exchange.wanted_topics, exchange.expected) {
            error = self.send(&call, &exchange, wanted, expected, &mut answer).await.err();
        }
        self.note(&exchange, &taken, &answer, error);
        call.answer_packed(&answer.encode());
    }

    /// Adds what the edge wants.
    async fn send(
        &mut self,
        call: &GuestCall,
        exchange: &Exchange,
        wanted: &[String],
        expected: super::machine::wire::Ack,
        answer: &mut Exchange,
    ) -> Result<(), String> {
        let patterns: Vec<TopicPattern> =
            wanted.iter().take(PATTERNS_MAX).filter_map(|text| rows::read_pattern(text)).collect();
        if patterns.is_empty() {
            self.outgoing = None;
            return Ok(());
        }
        let bounds = Bounds::default();
        let bounds = Bounds { live_percent: exchange.live_percent.unwrap_or(bounds.live_percent), ..bounds };
        let is_same = |outgoing: &Outgoing| outgoing.patterns() == patterns && outgoing.bounds() == bounds;
        if !self.outgoing.as_ref().is_some_and(is_same) {
            self.outgoing = None;
            self.outgoing = Some(self.open(patterns, bounds).await.map_err(|error| error.to_string())?);
        }
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        outgoing.hear(expected, &exchange.broker);
        let allowed: Vec<bool> =
            outgoing.patterns().iter().map(|pattern| call.may_all(Action::Subscribe, pattern)).collect();
        outgoing.accept(&allowed);
        let done = async {
            outgoing.fill().await?;
            outgoing.recorded().await
        };
        if let Err(trouble) = done.await {
            self.outgoing = None;
            return Err(trouble.to_string());
        }
        let (messages, _) = outgoing.batch().await;
        let numbering = outgoing.sender().numbering();
        (answer.epoch, answer.sequence) = (numbering.epoch(), numbering.sequence());
        answer.begin = outgoing.sender().may_begin();
        answer.total_pending = outgoing.progress().pending.saturating_sub(messages.len() as u64);
        answer.messages = messages;
        Ok(())
    }

    async fn open(&mut self, patterns: Vec<TopicPattern>, bounds: Bounds) -> Result<Outgoing, ConsumerError> {
        let (realm, user, edge) = self.key.clone();
        let (realm, name) = (&realm, format!("uplink/{user}/{edge}"));
        let clock = self.centre.clock;
        let clock_fn: ClockFn = Arc::new(move || clock.now_ms());
        let node = self.node.clone();
        let open = || Outgoing::open(&node, realm, &name, (patterns.clone(), None), bounds, clock_fn.clone());
        match open().await {
            Err(ConsumerError::Stale) => {
                // The edge was at another entry of the cluster before.
                node.take_consumer(realm, &name).await?;
                open().await
            }
            opened => opened,
        }
    }

    fn note(&self, exchange: &Exchange, taken: &Taken, answer: &Exchange, error: Option<String>) {
        let (name, now_ms) = (self.name(), self.now_ms());
        let progress = self.outgoing.as_ref().map(Outgoing::progress).unwrap_or_default();
        let was_begun = exchange.begin && taken.begun;
        self.centre.board.change(End::Centre, &name, |status| {
            status.state = State::Up;
            status.progress = progress;
            status.expected = taken.ack.next;
            status.exchanges += 1;
            status.received += taken.messages;
            status.refused += taken.refused;
            status.gaps += taken.gaps;
            status.resyncs += u64::from(was_begun && exchange.sequence > 0);
            status.sent += answer.messages.len() as u64;
            status.last_exchange_ms = now_ms;
            if error.is_some() {
                status.last_error.clone_from(&error);
            }
        });
        let tell = |what: &str, why: &str| meta::tell(&self.node, &self.key.0, what, &name, why, now_ms);
        if taken.gaps > 0 {
            let what = format!("up to {} messages of the edge are lost", taken.lost_max);
            tracing::warn!(uplink = name, what, "a gap");
            tell("gap", &what);
        }
        if was_begun {
            tell("resync", "a new epoch begins");
        }
        if taken.refused > 0 {
            tracing::warn!(uplink = name, refused = taken.refused, "the edge's user may not publish there");
        }
    }
}

async fn changed(outgoing: &mut Option<Outgoing>) -> Result<(), super::outgoing::Trouble> {
    match outgoing {
        Some(outgoing) => outgoing.changed().await,
        None => std::future::pending().await,
    }
}

/// Those of the patterns that the caller may do this with as a whole.
fn accepted(call: &GuestCall, action: Action, patterns: &[String]) -> Vec<String> {
    let is_accepted = |text: &&String| rows::read_pattern(text).is_some_and(|pattern| call.may_all(action, &pattern));
    patterns.iter().take(PATTERNS_MAX).filter(is_accepted).cloned().collect()
}
