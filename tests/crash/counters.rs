//! Clients that count together: each writes the next number to one key, if that is still as it was read.

use std::sync::Arc;

use fennec::client::Client;
use fennec::client::machine::{Event, Opened, Publication, Token};
use fennec::mqtt::codec::Level;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::value::Value;

use crate::broker::Ports;
use crate::clients::{Actor, Phase, Stage, ask, mqtt_client, wamp_client};
use crate::history::{Fate, Recorder};

/// The key that all write.
const KEY: &str = "state.count";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// With QoS 2, in a session that outlives its connections: what was sent is sent again.
    Mqtt,
    Wamp(Format),
}

/// See the module.
pub struct Counter {
    name: &'static str,
    counts: Counts,
    recorder: Arc<Recorder>,
    connections: u32,
    life: u32,
    attempts: u32,
    doing: Doing,
    drops: bool,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Nothing,
    /// A call, and when it was made.
    Reading(Token, u64),
    /// A publication, the number of the attempt, and the connection on which it was sent first.
    Writing(Token, usize, u32),
}

impl Counter {
    pub fn new(name: &'static str, counts: Counts, recorder: &Arc<Recorder>) -> Self {
        let recorder = recorder.clone();
        Self { name, counts, recorder, connections: 0, life: 0, attempts: 0, doing: Doing::Nothing, drops: false }
    }

    fn read(&mut self, client: &mut Client) {
        let asked = self.recorder.now();
        let procedure = if self.counts == Counts::Mqtt { "fennec/key/get" } else { "fennec.key.get" };
        let call = ask(client, procedure, vec![KEY.into()]);
        self.doing = call.map_or(Doing::Nothing, |call| Doing::Reading(call, asked));
    }

    fn has_read(&mut self, entry: &Value, asked: u64, client: &mut Client) {
        self.doing = Doing::Nothing;
        let value = entry.get("value");
        let found = value.and_then(|value| Some((value.get("n")?.as_u64()?, value.get("by")?.as_str()?.to_owned())));
        let number = found.as_ref().map_or(0, |(number, _)| *number);
        self.recorder.read_count(asked, found);
        if client.machine().has_room() {
            self.write(number, client);
        }
    }

    /// Writes the next number, if the last one is still this.
    fn write(&mut self, last: u64, client: &mut Client) {
        self.attempts += 1;
        let by = format!("{}-{}", self.name, self.attempts);
        let when = if last == 0 { Value::Null } else { Value::map(vec![("n", Value::from(last))]) };
        let text = Value::map(vec![("n", Value::from(last + 1)), ("by", by.as_str().into())]).to_bytes(Format::Json);
        let topic = if self.counts == Counts::Mqtt { KEY.replace('.', "/") } else { KEY.to_owned() };
        let attempt = self.recorder.counts(last + 1, by);
        let published = client.machine().publish(&Publication {
            topic: &topic,
            payload: PayloadRef::Bytes(&text),
            qos: if self.counts == Counts::Mqtt { Qos::ExactlyOnce } else { Qos::AtLeastOnce },
            retain: true,
            properties: &Properties::default(),
            expiry_s: None,
            options: &[("when", when)],
        });
        match published {
            Ok(token) => self.doing = Doing::Writing(token, attempt, self.connections),
            Err(error) => self.recorder.problem(format!("{} could not count: {error}", self.name)),
        }
    }

    fn has_written(&mut self, attempt: usize, connection: u32, outcome: Result<(), String>) {
        self.doing = Doing::Nothing;
        let fate = match outcome {
            Ok(()) => Fate::Acknowledged(None),
            Err(error) => {
                if !error.contains("condition") {
                    self.recorder.trouble(self.life, &format!("{} may not count: {error}", self.name));
                    self.drops = true;
                }
                // What was sent twice may have been refused the second time alone.
                if connection == self.connections { Fate::Refused } else { Fate::Unknown }
            }
        };
        self.recorder.counted(attempt, fate);
    }
}

impl Actor for Counter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn client(&self, ports: Ports) -> Client {
        match self.counts {
            Counts::Mqtt => mqtt_client(self.name, Level::V5, ports),
            Counts::Wamp(format) => wamp_client(format, ports),
        }
    }

    fn is_lasting(&self) -> bool {
        self.counts == Counts::Mqtt
    }

    fn opened(&mut self, _: &Opened, stage: Stage, _: &mut Client) {
        self.life = stage.life;
        self.connections += 1;
    }

    fn event(&mut self, event: Event, client: &mut Client) {
        match (event, self.doing) {
            (Event::Returned { token, payload, .. }, Doing::Reading(call, asked)) if call == token => {
                self.has_read(&payload.as_ref().document(Codec::Auto), asked, client);
            }
            (Event::Failed { token, error }, Doing::Reading(call, _)) if call == token => {
                self.doing = Doing::Nothing;
                self.drops = true;
                self.recorder.trouble(self.life, &format!("{} may not read: {error:?}", self.name));
            }
            (Event::Published { token, outcome }, Doing::Writing(publication, attempt, connection))
                if publication == token =>
            {
                let outcome = outcome.map(drop).map_err(|error| error.to_string());
                self.has_written(attempt, connection, outcome);
            }
            _ => {}
        }
    }

    fn act(&mut self, stage: Stage, client: &mut Client) {
        if stage.phase == Phase::Working && matches!(self.doing, Doing::Nothing) {
            self.read(client);
        }
    }

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        if !matches!(self.doing, Doing::Writing(..)) || !self.is_lasting() {
            self.doing = Doing::Nothing;
        }
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase >= Phase::Finishing && matches!(self.doing, Doing::Nothing)
    }
}
