//! The edge's end of an uplink: connects, exchanges, and comes back when the link does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::board::{Board, End, State, Status};
use super::incoming::{Incoming, NotTaken};
use super::machine::numbering::Verdict;
use super::machine::pace::{Pace, Timing, Urgency};
use super::machine::sender::Bounds;
use super::machine::wire::{Exchange, VERSION};
use super::meta;
use super::outgoing::{Outgoing, Trouble, broker_id};
use super::{EXCHANGE, WAIT};
use crate::client::machine::{Call, CallError, Event, Token};
use crate::client::tls::Trust;
use crate::client::url::Url;
use crate::client::{Client, Error, Target, wamp};
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::consumer::ConsumerError;
use crate::node::log::ClockFn;
use crate::queue::state::rows;
use crate::types::event::Properties;
use crate::types::payload::{Format, Payload, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};
use crate::types::value::Raw;

/// How long one try to connect may take, and one exchange.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long without a word a sign of life is asked for.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Before the consumer is opened again after trouble of this broker's own.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the age of what waits is looked up.
const LOOK_MS: u64 = 1000;

/// One configured uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    pub id: String,
    pub realm: Arc<str>,
    pub url: Url,
    /// The realm at the centre.
    pub centre_realm: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub trust: Trust,
    /// What is sent, and what is wanted from the centre.
    pub topics: Vec<TopicPattern>,
    pub receive: Vec<TopicPattern>,
    pub bounds: Bounds,
    pub timing: Timing,
}

/// Around a running uplink.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub node: Arc<Node>,
    pub clock: Clock,
    pub board: Arc<Board>,
    pub stopped: watch::Receiver<bool>,
    /// Number of the last event of the log when the broker began: a new uplink sends what came later.
    pub after: u64,
}

/// A connection ended, or could not be had.
enum Broken {
    Link(String),
    Own(Trouble),
    Stopped,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Link(error.to_string())
    }
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        Self::Own(trouble)
    }
}

impl From<NotTaken> for Broken {
    fn from(not: NotTaken) -> Self {
        Self::Link(format!("what came cannot be stored: {not}"))
    }
}

/// Runs an uplink until the broker stops.
pub(super) async fn run(uplink: Arc<Uplink>, around: Surroundings) {
    let board = around.board.clone();
    board.change(End::Edge, &uplink.id, |status| {
        status.realm = uplink.realm.to_string();
        status.peer = uplink.url.to_string();
    });
    let mut edge = Edge::new(uplink, around);
    loop {
        match edge.serve().await {
            Broken::Stopped => return,
            Broken::Link(_) => {}
            Broken::Own(trouble) => {
                edge.note(|status| status.last_error = Some(trouble.to_string()));
                if matches!(trouble, Trouble::Consumer(ConsumerError::Stale)) {
                    tracing::debug!(uplink = edge.uplink.id, %trouble, "the uplink rests");
                } else {
                    tracing::warn!(uplink = edge.uplink.id, %trouble, "the uplink rests for a moment");
                }
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = edge.around.stop() => return,
                }
            }
        }
    }
}

impl Surroundings {
    /// Ready when the broker stops.
    async fn stop(&mut self) {
        // An error says that the broker is gone.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    pub(super) fn clock_fn(&self) -> ClockFn {
        let clock = self.clock;
        Arc::new(move || clock.now_ms())
    }
}

struct Edge {
    uplink: Arc<Uplink>,
    around: Surroundings,
    pace: Pace,
    /// Since when bytes are counted for their rate, and how many.
    counted: (u64, u64),
}

/// What is open with the centre.
struct Talk {
    client: Client,
    /// The exchange under way: its call, bytes of each of its messages, and until when it may take.
    call: Option<(Token, VecDeque<u64>, Instant)>,
    /// The call that the centre answers when it has something.
    wait: Option<Token>,
    /// The centre does not offer to be waited for.
    no_wait: bool,
    /// The centre has something.
    has_more: Urgency,
    /// It has answered since the connection stands.
    has_answered: bool,
}

impl Edge {
    fn new(uplink: Arc<Uplink>, around: Surroundings) -> Self {
        let pace = Pace::new(uplink.timing);
        Self { uplink, around, pace, counted: (0, 0) }
    }

    fn now_ms(&self) -> u64 {
        self.around.clock.now_ms()
    }

    fn note(&self, change: impl FnOnce(&mut Status)) {
        self.around.board.change(End::Edge, &self.uplink.id, change);
    }

    /// Opens the consumer and connects again and again, until there is trouble here.
    async fn serve(&mut self) -> Broken {
        let Uplink { id, realm, topics, bounds, .. } = &*self.uplink;
        let (node, clock) = (self.around.node.clone(), self.around.clock_fn());
        let sent = (topics.clone(), Some(self.around.after));
        let opened = Outgoing::open(&node, realm, &format!("uplink/{id}"), sent, *bounds, clock).await;
        let mut outgoing = match opened {
            Ok(outgoing) => outgoing,
            Err(error) => return Trouble::from(error).into(),
        };
        let Some(realm) = node.realm(realm) else {
            return Trouble::from(ConsumerError::NoRealm).into();
        };
        let mut incoming = Incoming::new(&node, &realm, format!("uplink/{id}"));
        loop {
            if let Err(broken) = self.wait_for_turn(&mut outgoing).await {
                return broken;
            }
            outgoing.connected();
            incoming.connected();
            let broken = match self.connect().await {
                Ok(client) => {
                    let mut talk = Talk::new(client);
                    let broken = self.talk(&mut talk, &mut outgoing, &mut incoming).await;
                    if matches!(broken, Broken::Stopped) {
                        talk.client.close().await;
                    }
                    broken
                }
                Err(broken) => broken,
            };
            outgoing.connected();
            match broken {
                Broken::Link(what) => self.failed(what),
                broken => return broken,
            }
        }
    }

    fn failed(&mut self, what: String) {
        let wait_ms = self.pace.failed(self.now_ms(), self.around.node.random());
        tracing::info!(uplink = self.uplink.id, what, wait_ms, "the uplink is down");
        let mut was_up = false;
        self.note(|status| {
            was_up = status.state == State::Up;
            (status.state, status.bytes_per_s, status.failures) = (State::Down, 0, status.failures + 1);
            status.last_error = Some(what.clone());
        });
        if was_up {
            self.tell("down", &what);
        }
    }

    fn tell(&self, what: &str, why: &str) {
        meta::tell(&self.around.node, &self.uplink.realm, what, &self.uplink.id, why, self.now_ms());
    }

    /// Waits until the next try is due; keeps an eye on what waits meanwhile.
    async fn wait_for_turn(&mut self, outgoing: &mut Outgoing) -> Result<(), Broken> {
        loop {
            outgoing.look_up_oldest().await;
            self.note(|status| status.progress = outgoing.progress());
            let now_ms = self.now_ms();
            // Before the first exchange, and after a failure, the heartbeat does not count.
            let due_ms = self.pace.blocked_ms();
            if due_ms <= now_ms {
                return Ok(());
            }
            let until = self.around.clock.instant(due_ms.min(now_ms + LOOK_MS));
            tokio::select! {
                () = sleep_until(until.into()) => {}
                changed = outgoing.changed() => changed?,
                () = self.around.stop() => return Err(Broken::Stopped),
            }
        }
    }

    async fn connect(&mut self) -> Result<Client, Broken> {
        let uplink = &self.uplink;
        let format = Format::MsgPack;
        let options = wamp::Options {
            realm: uplink.centre_realm.clone(),
            user: uplink.url.user.clone().or_else(|| uplink.user.clone()),
            password: uplink.url.password.clone().or_else(|| uplink.password.clone()),
            format,
            keep_alive: KEEP_ALIVE,
        };
        let target = Target { url: uplink.url.clone(), trust: uplink.trust.clone(), timeout: PATIENCE };
        let mut client = Client::new(target, wamp::speech(format), Box::new(wamp::Wamp::new(options)));
        tokio::select! {
            connected = client.connect() => connected?,
            () = self.around.stop() => return Err(Broken::Stopped),
        };
        Ok(client)
    }

    /// Exchanges until the connection ends.
    async fn talk(&mut self, talk: &mut Talk, outgoing: &mut Outgoing, incoming: &mut Incoming) -> Broken {
        loop {
            if let Err(broken) = self.go_on(talk, outgoing, incoming).await {
                return broken;
            }
        }
    }

    /// One step: begins what is due, then waits for whatever comes first.
    async fn go_on(&mut self, talk: &mut Talk, outgoing: &mut Outgoing, incoming: &mut Incoming) -> Result<(), Broken> {
        outgoing.fill().await?;
        let due = match &talk.call {
            Some((_, _, until)) => *until,
            None => {
                let due_ms = self.pace.due_ms(talk.urgency(outgoing));
                if due_ms <= self.now_ms() || !talk.has_answered {
                    self.ask(talk, outgoing, incoming).await?;
                    return Ok(());
                }
                Instant::from_std(self.around.clock.instant(due_ms))
            }
        };
        let look = Instant::now() + Duration::from_millis(LOOK_MS);
        tokio::select! {
            event = talk.client.event() => self.take(talk, outgoing, incoming, event?).await,
            changed = outgoing.changed() => Ok(changed?),
            () = sleep_until(due.min(look)) => {
                if talk.call.is_some() && Instant::now() >= due {
                    return Err(Broken::Link("the centre does not answer".to_owned()));
                }
                self.report(outgoing).await;
                Ok(())
            }
            () = self.around.stop() => Err(Broken::Stopped),
        }
    }

    /// Tells how far it is.
    async fn report(&mut self, outgoing: &mut Outgoing) {
        outgoing.look_up_oldest().await;
        let now_ms = self.now_ms();
        let (since_ms, bytes) = self.counted;
        let took_ms = now_ms.saturating_sub(since_ms);
        if took_ms >= LOOK_MS {
            self.counted = (now_ms, 0);
        }
        self.note(|status| {
            status.progress = outgoing.progress();
            if took_ms >= LOOK_MS {
                status.bytes_per_s = bytes.saturating_mul(1000) / took_ms.max(1);
            }
        });
    }

    /// Begins an exchange.
    async fn ask(&mut self, talk: &mut Talk, outgoing: &mut Outgoing, incoming: &mut Incoming) -> Result<(), Broken> {
        let receives = !self.uplink.receive.is_empty();
        let expected = if receives { Some(incoming.expected().await?) } else { None };
        // The first exchange on a connection asks: what the centre knows decides what is sent.
        let (messages, bytes) = if talk.has_answered { outgoing.batch().await } else { (Vec::new(), 0) };
        let sizes = messages.iter().map(|message| message.bytes() as u64).collect();
        let numbering = outgoing.sender().numbering();
        let texts = |patterns: &[TopicPattern]| Some(patterns.iter().map(rows::pattern_text).collect());
        let sent = messages.len() as u64;
        let exchange = Exchange {
            version: VERSION,
            edge: self.uplink.id.clone(),
            broker: broker_id(&self.around.node),
            epoch: numbering.epoch(),
            sequence: numbering.sequence(),
            begin: talk.has_answered && outgoing.sender().may_begin(),
            messages,
            total_pending: outgoing.progress().pending.saturating_sub(sent),
            expected,
            accepted_topics: texts(&self.uplink.topics),
            wanted_topics: if receives { texts(&self.uplink.receive) } else { None },
            live_percent: receives.then_some(self.uplink.bounds.live_percent),
            refused: 0,
        };
        self.pace.begun(self.now_ms(), bytes);
        let token = talk.call(EXCHANGE, &exchange.encode())?;
        talk.call = Some((token, sizes, Instant::now() + PATIENCE));
        talk.has_more = Urgency::Idle;
        if receives && talk.wait.is_none() && !talk.no_wait && talk.has_answered {
            let id = crate::types::value::Value::from(self.uplink.id.as_str());
            talk.wait = Some(talk.call(WAIT, &id.to_bytes(Format::MsgPack))?);
        }
        Ok(())
    }

    async fn take(
        &mut self,
        talk: &mut Talk,
        outgoing: &mut Outgoing,
        incoming: &mut Incoming,
        event: Event,
    ) -> Result<(), Broken> {
        match event {
            Event::Returned { token, payload, .. } if talk.is_exchange(token) => {
                let sizes = talk.call.take().map(|(_, sizes, _)| sizes).unwrap_or_default();
                let answer = read_answer(&payload)?;
                self.answered(talk, outgoing, incoming, answer, sizes).await
            }
            Event::Failed { token, error } if talk.is_exchange(token) => Err(Broken::Link(refused(error))),
            Event::Returned { token, .. } if talk.wait == Some(token) => {
                (talk.wait, talk.has_more) = (None, talk.has_more.max(Urgency::Some));
                Ok(())
            }
            Event::Failed { token, error } if talk.wait == Some(token) => {
                // Without it the heartbeat brings what the centre has.
                tracing::debug!(uplink = self.uplink.id, error = refused(error), "the centre cannot be waited for");
                (talk.wait, talk.no_wait) = (None, true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn answered(
        &mut self,
        talk: &mut Talk,
        outgoing: &mut Outgoing,
        incoming: &mut Incoming,
        answer: Exchange,
        sizes: VecDeque<u64>,
    ) -> Result<(), Broken> {
        let expected = answer.expected.unwrap_or_default();
        let verdict = outgoing.hear(expected, &answer.broker);
        if let Some(accepted) = &answer.accepted_topics {
            let is_accepted = |pattern: &TopicPattern| accepted.contains(&rows::pattern_text(pattern));
            let accepted: Vec<bool> = outgoing.patterns().iter().map(is_accepted).collect();
            outgoing.accept(&accepted);
        }
        let receive = self.uplink.receive.clone();
        let may = move |topic: &Topic| receive.iter().any(|pattern| pattern.matches(topic));
        let taken = incoming.take(&answer, &may, self.now_ms()).await?;
        if !answer.messages.is_empty() || answer.begin {
            let more = answer.total_pending > 0;
            talk.has_more = if more { Urgency::Full } else { Urgency::Some };
        }
        self.pace.succeeded();
        let was_up = std::mem::replace(&mut talk.has_answered, true);
        let accepted = if let Verdict::Accepted(count) = verdict { count } else { 0 };
        let bytes: u64 = sizes.iter().take(usize::try_from(accepted).unwrap_or(usize::MAX)).sum();
        self.counted.1 += bytes;
        let now_ms = self.now_ms();
        self.note(|status| {
            status.state = State::Up;
            status.progress = outgoing.progress();
            status.expected = taken.ack.next;
            status.exchanges += 1;
            status.sent += accepted;
            status.sent_bytes += bytes;
            status.received += taken.messages;
            status.refused += taken.refused;
            status.refused_there += answer.refused;
            status.gaps += taken.gaps;
            status.resyncs += u64::from(matches!(verdict, Verdict::Resync(why) if why.is_alarm()));
            status.last_exchange_ms = now_ms;
            if !was_up {
                status.last_error = None;
            }
        });
        self.announce(was_up, verdict, &taken);
        Ok(())
    }

    fn announce(&self, was_up: bool, verdict: Verdict, taken: &super::incoming::Taken) {
        let id = &self.uplink.id;
        if !was_up {
            tracing::info!(uplink = id, "the uplink is up");
            self.tell("up", "");
        }
        match verdict {
            Verdict::Resync(why) if why.is_alarm() => {
                tracing::warn!(uplink = id, why = why.as_str(), "the uplink begins anew");
                self.note(|status| status.last_error = Some(why.as_str().to_owned()));
                self.tell("resync", why.as_str());
            }
            Verdict::Rewound(count) => {
                tracing::warn!(uplink = id, count, "the centre lost messages: they are sent again")
            }
            _ => {}
        }
        if taken.gaps > 0 {
            let what = format!("up to {} messages of the centre are lost", taken.lost_max);
            tracing::warn!(uplink = id, what, "a gap");
            self.tell("gap", &what);
        }
    }
}

impl Talk {
    fn new(client: Client) -> Self {
        let has_more = Urgency::Some;
        Self { client, call: None, wait: None, no_wait: false, has_more, has_answered: false }
    }

    fn is_exchange(&self, token: Token) -> bool {
        self.call.as_ref().is_some_and(|(call, ..)| *call == token)
    }

    fn urgency(&self, outgoing: &Outgoing) -> Urgency {
        let sender = outgoing.sender();
        let own = match () {
            () if sender.has_full_batch() => Urgency::Full,
            () if sender.batch().next().is_some() || sender.may_begin() => Urgency::Some,
            () => Urgency::Idle,
        };
        own.max(self.has_more)
    }

    /// Calls with one argument that is MessagePack already.
    fn call(&mut self, procedure: &str, argument: &[u8]) -> Result<Token, Error> {
        // A list of one (MessagePack, fixarray).
        let args = [&[0x91], argument].concat();
        self.client.machine().call(&Call {
            procedure,
            payload: PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None },
            progress: false,
            timeout_ms: 0,
            properties: &Properties::default(),
        })
    }
}

fn read_answer(payload: &Payload) -> Result<Exchange, Broken> {
    let Payload::Args { format: Format::MsgPack, args: Some(args), .. } = payload else {
        return Err(Broken::Link("the centre's answer is none".to_owned()));
    };
    let first =
        Raw::checked(Format::MsgPack, args).items().next().map_or_else(Bytes::new, |raw| args.slice_ref(raw.bytes()));
    Exchange::decode(&first).map_err(|error| Broken::Link(format!("the centre's answer {error}")))
}

fn refused(error: CallError) -> String {
    match error {
        CallError::Refused(error) => error.to_string(),
        CallError::Answered { uri, payload } => {
            let text = payload.as_ref().as_bytes(crate::types::payload::Codec::Raw).into_owned();
            format!("{uri}: {}", String::from_utf8_lossy(&text))
        }
    }
}
