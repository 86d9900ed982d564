//! Clients that publish, and remember what they were told of it.

use std::collections::HashMap;
use std::sync::Arc;

use fennec::client::Client;
use fennec::client::machine::{Event, Opened, Publication, Token};
use fennec::mqtt::codec::Level;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Format, PayloadRef};

use crate::broker::Ports;
use crate::clients::{Actor, Phase, Stage, mqtt_client, text, wamp_client};
use crate::dice::Dice;
use crate::history::{Fate, Promise, Recorder};

/// Publications that one client has under way.
const UNDER_WAY_MAX: usize = 48;
/// One in so many answers has a client lose its connection.
const DROPS_ONE_IN: u64 = 1500;

pub enum Speaks {
    Mqtt(Level, Qos),
    Wamp(Format),
}

/// Numbers its publications, all to a topic of its own.
pub struct Publisher {
    name: &'static str,
    /// Whose order is kept: the MQTT session, or that of one WAMP connection.
    owner: String,
    connections: u32,
    life: u32,
    speaks: Speaks,
    recorder: Arc<Recorder>,
    dice: Dice,
    number: u64,
    /// Each with the connection on which it was sent first.
    under_way: HashMap<Token, (u64, u32)>,
    /// The broker has told that it has the session.
    has_session: bool,
    drops: bool,
}

impl Publisher {
    pub fn new(name: &'static str, speaks: Speaks, recorder: &Arc<Recorder>, dice: Dice) -> Self {
        let recorder = recorder.clone();
        Self {
            name,
            owner: name.to_owned(),
            connections: 0,
            life: 0,
            speaks,
            recorder,
            dice,
            number: 0,
            under_way: HashMap::new(),
            has_session: false,
            drops: false,
        }
    }

    fn promise(&self) -> Promise {
        match self.speaks {
            Speaks::Mqtt(_, Qos::ExactlyOnce) | Speaks::Wamp(_) => Promise::ExactlyOnce,
            Speaks::Mqtt(..) => Promise::AtLeastOnce,
        }
    }

    fn publish(&mut self, client: &mut Client) {
        self.number += 1;
        let (topic, qos) = match self.speaks {
            Speaks::Mqtt(_, qos) => (format!("crash/{}", self.name), qos),
            Speaks::Wamp(_) => (format!("crash.{}", self.name), Qos::AtLeastOnce),
        };
        let text = text(&self.owner, self.number);
        self.recorder.sent(&self.owner, self.promise(), self.number);
        let published = client.machine().publish(&Publication {
            topic: &topic,
            payload: PayloadRef::Bytes(text.as_bytes()),
            qos,
            retain: false,
            properties: &Properties::default(),
            expiry_s: None,
            options: &[],
        });
        match published {
            Ok(token) => _ = self.under_way.insert(token, (self.number, self.connections)),
            Err(error) => self.recorder.problem(format!("{} could not publish: {error}", self.name)),
        }
    }
}

impl Actor for Publisher {
    fn name(&self) -> &'static str {
        self.name
    }

    fn client(&self, ports: Ports) -> Client {
        match self.speaks {
            Speaks::Mqtt(level, _) => mqtt_client(self.name, level, ports),
            Speaks::Wamp(format) => wamp_client(format, ports),
        }
    }

    /// What an MQTT session has under way is sent again; what a WAMP session has is given up, for nobody knows of it.
    fn is_lasting(&self) -> bool {
        matches!(self.speaks, Speaks::Mqtt(..))
    }

    fn opened(&mut self, opened: &Opened, stage: Stage, _: &mut Client) {
        self.life = stage.life;
        if self.has_session && !opened.resumed {
            self.recorder.problem(format!("the session of {} is gone", self.name));
        }
        self.has_session = self.is_lasting();
        self.connections += 1;
        if !self.is_lasting() {
            self.owner = format!("{}-{}", self.name, self.connections);
        }
    }

    fn event(&mut self, event: Event, _: &mut Client) {
        let Event::Published { token, outcome } = event else { return };
        let Some((number, connection)) = self.under_way.remove(&token) else { return };
        let is_refused = outcome.is_err();
        let fate = match outcome {
            Ok(publication) => Fate::Acknowledged(publication),
            Err(error) => {
                self.recorder.trouble(self.life, &format!("{} {number} was refused: {error}", self.name));
                // What was sent twice may have been refused the second time alone.
                if connection == self.connections { Fate::Refused } else { Fate::Unknown }
            }
        };
        self.recorder.settled(&self.owner, number, fate);
        self.drops |= is_refused || self.dice.one_in(DROPS_ONE_IN);
    }

    fn act(&mut self, stage: Stage, client: &mut Client) {
        while stage.phase == Phase::Working && self.under_way.len() < UNDER_WAY_MAX && client.machine().has_room() {
            self.publish(client);
        }
    }

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        if !self.is_lasting() {
            self.under_way.clear();
        }
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase == Phase::Finishing && self.under_way.is_empty()
    }
}
