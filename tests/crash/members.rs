//! Clients that share the events of a consumer group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fennec::client::Client;
use fennec::client::machine::{Event, Message, Opened, Subscription, Token};
use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use fennec::types::payload::{Codec, Format};
use fennec::types::topic::MatchPolicy;
use fennec::types::value::Value;

use crate::broker::Ports;
use crate::clients::{Actor, Phase, Stage, ask, mqtt_client, sight, wamp_client};
use crate::dice::Dice;
use crate::history::{Recorder, Work};

/// One in so many events has a client lose its connection.
const DROPS_ONE_IN: u64 = 1500;
/// One in so many events is not acknowledged, and so is to come again.
const FORGETS_ONE_IN: u64 = 1000;
/// How long a member may take, where events are forgotten, in milliseconds. More than it needs on a busy machine.
const ACK_TIMEOUT_MS: u64 = 2000;

/// How a member belongs to its group.
#[derive(Clone, Copy, Debug)]
pub enum Belongs {
    /// By a shared subscription. All is acknowledged.
    Shared(&'static str),
    /// By the group's name; each event is acknowledged by a call, or (`true`) forgotten now and then.
    Named(&'static str, Format, bool),
}

/// See the module.
pub struct Member {
    name: &'static str,
    belongs: Belongs,
    recorder: Arc<Recorder>,
    dice: Dice,
    connections: u32,
    life: u32,
    subscription: Option<u64>,
    /// Calls under way: which piece of work each says is done.
    acknowledging: HashMap<Token, usize>,
    /// Counted down when it has subscribed for the first time.
    not_subscribed: Option<Arc<AtomicUsize>>,
    drops: bool,
}

impl Member {
    pub fn new(
        name: &'static str,
        belongs: Belongs,
        recorder: &Arc<Recorder>,
        dice: Dice,
        not_subscribed: &Arc<AtomicUsize>,
    ) -> Self {
        not_subscribed.fetch_add(1, Ordering::Relaxed);
        Self {
            name,
            belongs,
            recorder: recorder.clone(),
            dice,
            connections: 0,
            life: 0,
            subscription: None,
            acknowledging: HashMap::new(),
            not_subscribed: Some(not_subscribed.clone()),
            drops: false,
        }
    }

    /// Its connection, as the history calls it.
    fn at_work(&self) -> String {
        format!("{}-{}", self.name, self.connections)
    }

    fn subscribe(&self, client: &mut Client) {
        let filter;
        let (topic, options) = match self.belongs {
            Belongs::Shared(group) => {
                filter = format!("$share/{group}/crash/#");
                (filter.as_str(), vec![])
            }
            Belongs::Named(group, _, forgets) => {
                let mut options = vec![("group", group.into()), ("acknowledge", "client".into())];
                options.extend(forgets.then(|| ("ack_timeout", ACK_TIMEOUT_MS.into())));
                ("crash.", options)
            }
        };
        let subscribed = client.machine().subscribe(&Subscription {
            topic,
            qos: Qos::AtLeastOnce,
            retained: false,
            no_local: false,
            retain_as_published: false,
            policy: MatchPolicy::Wildcard,
            options: &options,
        });
        if let Err(error) = subscribed {
            self.recorder.problem(format!("{} could not subscribe: {error}", self.name));
        }
    }

    fn work(&mut self, message: &Message, client: &mut Client) {
        let Some(sight) = sight(message, &self.recorder) else { return };
        let forgetful = matches!(self.belongs, Belongs::Named(_, _, true));
        let (event_id, publication) = (sight.event_id.clone(), sight.publication);
        let work = Work { member: self.at_work(), sight, life: self.life, from: 0, done: None };
        let work = self.recorder.began(self.group(), !forgetful, work);
        self.drops = self.dice.one_in(DROPS_ONE_IN);
        let forgets = forgetful && self.dice.one_in(FORGETS_ONE_IN);
        let (Belongs::Named(..), Some(subscription), false) = (self.belongs, self.subscription, forgets) else {
            return;
        };
        // By either of its ids.
        let by_event_id = event_id.filter(|_| self.dice.one_in(20)).map(Value::from);
        let Some(event) = by_event_id.or(publication.map(Value::from)) else { return };
        if let Some(token) = ask(client, "fennec.subscription.ack", vec![subscription.into(), event]) {
            self.acknowledging.insert(token, work);
        }
    }
}

impl Actor for Member {
    fn name(&self) -> &'static str {
        self.name
    }

    fn client(&self, ports: Ports) -> Client {
        match self.belongs {
            Belongs::Shared(_) => mqtt_client(self.name, Level::V5, ports),
            Belongs::Named(_, format, _) => wamp_client(format, ports),
        }
    }

    fn is_lasting(&self) -> bool {
        matches!(self.belongs, Belongs::Shared(_))
    }

    fn opened(&mut self, opened: &Opened, stage: Stage, client: &mut Client) {
        self.connections += 1;
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
            Event::Message(message) => self.work(&message, client),
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
            Event::Returned { token, payload, .. } => {
                let is_first = payload.as_ref().document(Codec::Auto) == Value::Bool(true);
                if let Some(work) = self.acknowledging.remove(&token).filter(|_| is_first) {
                    self.recorder.did(self.group(), work);
                }
            }
            // It comes again.
            Event::Failed { token, error } => {
                self.acknowledging.remove(&token);
                self.recorder.trouble(self.life, &format!("{} cannot acknowledge: {error:?}", self.name));
            }
            _ => {}
        }
    }

    fn act(&mut self, _: Stage, _: &mut Client) {}

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        self.recorder.went(self.at_work());
        self.acknowledging.clear();
        self.subscription = None;
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase == Phase::Leaving
    }
}

impl Member {
    fn group(&self) -> &'static str {
        match self.belongs {
            Belongs::Shared(group) | Belongs::Named(group, ..) => group,
        }
    }
}
