//! Clients that subscribe, resume, and remember what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fennec::client::Client;
use fennec::client::machine::{Event, Opened, Subscription, Token};
use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use fennec::types::payload::Format;
use fennec::types::topic::MatchPolicy;
use fennec::types::value::Value;
use tokio::sync::oneshot;

use crate::broker::Ports;
use crate::clients::{Actor, Phase, Stage, ask, mqtt_client, sight, wamp_client};
use crate::dice::Dice;
use crate::history::{Reading, Recorder, Sight};

/// One in so many events has a client lose its connection.
const DROPS_ONE_IN: u64 = 2500;
/// The same of acknowledgements, where there are some: who is far behind gets on then, however soon it is gone again.
const DROPS_ONE_IN_ACKNOWLEDGEMENTS: u64 = 100;
/// How many events are acknowledged together, where that is done by a call.
const ACKNOWLEDGED_AT_ONCE: u32 = 20;
/// Before anything that could be in a log.
const BEGINNING: &str = "2000-01-01T00:00:00Z";
/// Who publishes the last event of all.
pub const END: &str = "end";

/// How a subscriber resumes.
#[derive(Clone, Copy, Debug)]
pub enum Resumes {
    /// By its MQTT session.
    Session(Level, Qos),
    /// Behind the last event id it saw.
    After(Format),
    /// By the name of its subscription; it acknowledges what it has seen, or does not.
    Named(Format, &'static str, bool),
}

pub struct Subscriber {
    name: &'static str,
    resumes: Resumes,
    recorder: Arc<Recorder>,
    dice: Dice,
    /// The event id to go on behind.
    cursor: Option<String>,
    /// Of this connection, if it has one.
    subscription: Option<u64>,
    unacknowledged: u32,
    /// The call under way.
    acknowledging: Option<Token>,
    /// Counted down when it has subscribed for the first time.
    not_subscribed: Option<Arc<AtomicUsize>>,
    has_seen_end: bool,
    life: u32,
    phase: Phase,
    drops: bool,
}

impl Subscriber {
    pub fn new(
        name: &'static str,
        resumes: Resumes,
        recorder: &Arc<Recorder>,
        dice: Dice,
        not_subscribed: &Arc<AtomicUsize>,
    ) -> Self {
        not_subscribed.fetch_add(1, Ordering::Relaxed);
        Self {
            name,
            resumes,
            recorder: recorder.clone(),
            dice,
            cursor: None,
            subscription: None,
            unacknowledged: 0,
            acknowledging: None,
            not_subscribed: Some(not_subscribed.clone()),
            has_seen_end: false,
            life: 0,
            phase: Phase::Subscribing,
            drops: false,
        }
    }

    fn reading(&self) -> Reading {
        match self.resumes {
            Resumes::Session(_, Qos::ExactlyOnce) => Reading::ExactlyOnce,
            Resumes::Session(..) => Reading::AtLeastOnce,
            Resumes::Named(_, _, true) => Reading::AtLeastOnce,
            Resumes::Named(_, _, false) => Reading::OnDelivery,
            Resumes::After(_) => Reading::ByEventId,
        }
    }

    fn subscribe(&self, client: &mut Client) {
        let options = match self.resumes {
            Resumes::Session(_, qos) => return self.subscribe_as(client, "crash/#", qos, &[]),
            Resumes::After(_) => vec![("after", self.cursor.as_deref().unwrap_or(BEGINNING).into())],
            Resumes::Named(_, name, true) => vec![("durable", name.into()), ("acknowledge", "client".into())],
            Resumes::Named(_, name, false) => vec![("durable", name.into())],
        };
        self.subscribe_as(client, "crash.", Qos::AtLeastOnce, &options);
    }

    fn subscribe_as(&self, client: &mut Client, topic: &str, qos: Qos, options: &[(&str, Value)]) {
        let subscribed = client.machine().subscribe(&Subscription {
            topic,
            qos,
            retained: matches!(self.resumes, Resumes::Session(..)),
            no_local: false,
            retain_as_published: false,
            policy: MatchPolicy::Wildcard,
            options,
        });
        if let Err(error) = subscribed {
            self.recorder.problem(format!("{} could not subscribe: {error}", self.name));
        }
    }
}

impl Subscriber {
    fn acknowledge(&mut self, client: &mut Client) {
        self.unacknowledged = 0;
        let (Resumes::Named(_, _, true), Some(id), Some(event)) = (self.resumes, self.subscription, &self.cursor)
        else {
            return;
        };
        self.acknowledging = ask(client, "fennec.subscription.ack", vec![id.into(), event.as_str().into()]);
    }
}

impl Actor for Subscriber {
    fn name(&self) -> &'static str {
        self.name
    }

    fn client(&self, ports: Ports) -> Client {
        match self.resumes {
            Resumes::Session(level, _) => mqtt_client(self.name, level, ports),
            Resumes::After(format) | Resumes::Named(format, ..) => wamp_client(format, ports),
        }
    }

    fn is_lasting(&self) -> bool {
        matches!(self.resumes, Resumes::Session(..))
    }

    fn opened(&mut self, opened: &Opened, stage: Stage, client: &mut Client) {
        self.life = stage.life;
        let has_subscribed = self.is_lasting() && self.not_subscribed.is_none();
        if has_subscribed && !opened.resumed {
            self.recorder.problem(format!("the session of {} is gone", self.name));
        }
        if !has_subscribed {
            self.subscribe(client);
        }
    }

    fn event(&mut self, event: Event, client: &mut Client) {
        match event {
            Event::Message(message) => {
                let Some(sight) = sight(&message, &self.recorder) else { return };
                self.cursor = sight.event_id.clone().or(self.cursor.take());
                self.has_seen_end |= sight.publisher == END;
                self.recorder.saw(self.name, self.reading(), sight);
                self.unacknowledged += 1;
                if self.unacknowledged >= ACKNOWLEDGED_AT_ONCE && self.acknowledging.is_none() {
                    self.acknowledge(client);
                }
                // Who is promised no more than that events are sent must be there when the end is.
                let may_drop = self.phase != Phase::Finishing || self.reading() != Reading::OnDelivery;
                let acknowledges = matches!(self.resumes, Resumes::Named(_, _, true));
                self.drops |= may_drop && !acknowledges && self.dice.one_in(DROPS_ONE_IN);
            }
            Event::Subscribed { outcome: Ok(id), .. } => {
                self.subscription = id;
                if let Some(not_subscribed) = self.not_subscribed.take() {
                    not_subscribed.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Event::Subscribed { outcome: Err(error), .. } => {
                self.recorder.trouble(self.life, &format!("{} may not subscribe: {error}", self.name));
                self.drops = true;
            }
            Event::Returned { token, .. } if self.acknowledging == Some(token) => {
                self.acknowledging = None;
                self.drops |= self.dice.one_in(DROPS_ONE_IN_ACKNOWLEDGEMENTS);
            }
            Event::Failed { error, .. } => {
                self.acknowledging = None;
                self.recorder.trouble(self.life, &format!("{} cannot acknowledge: {error:?}", self.name));
            }
            // It cannot be read at the moment, or another connection of this client has it: once more.
            Event::Unsubscribed { .. } => self.drops = true,
            _ => {}
        }
    }

    fn act(&mut self, stage: Stage, _: &mut Client) {
        self.phase = stage.phase;
    }

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        self.acknowledging = None;
        self.subscription = None;
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase == Phase::Finishing && self.has_seen_end
    }
}

/// Reads the whole log from its beginning to its end.
pub struct Reader {
    inner: Subscriber,
    log: Vec<Sight>,
    done: Option<oneshot::Sender<Vec<Sight>>>,
}

impl Reader {
    pub fn new(recorder: &Arc<Recorder>, done: oneshot::Sender<Vec<Sight>>) -> Self {
        let all = Arc::new(AtomicUsize::new(0));
        let inner = Subscriber::new("reader", Resumes::After(Format::Json), recorder, Dice(0), &all);
        Self { inner, log: Vec::new(), done: Some(done) }
    }
}

impl Actor for Reader {
    fn name(&self) -> &'static str {
        self.inner.name
    }

    fn client(&self, ports: Ports) -> Client {
        self.inner.client(ports)
    }

    fn is_lasting(&self) -> bool {
        false
    }

    fn opened(&mut self, _: &Opened, _: Stage, client: &mut Client) {
        self.log.clear();
        self.inner.subscribe(client);
    }

    fn event(&mut self, event: Event, client: &mut Client) {
        let Event::Message(message) = event else { return self.inner.event(event, client) };
        let Some(sight) = sight(&message, &self.inner.recorder) else { return };
        let is_end = sight.publisher == END;
        self.log.push(sight);
        if let Some(done) = self.done.take_if(|_| is_end) {
            // Whoever waited too long has gone.
            let _ = done.send(std::mem::take(&mut self.log));
        }
    }

    fn act(&mut self, _: Stage, _: &mut Client) {}

    fn drops(&mut self) -> bool {
        false
    }

    fn closed(&mut self) {}

    fn is_done(&self, _: Stage) -> bool {
        self.done.is_none()
    }
}
