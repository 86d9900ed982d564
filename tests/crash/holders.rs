//! Clients that hold locks and keep keys.

use std::sync::Arc;

use fennec::client::Client;
use fennec::client::machine::{CallError, Event, Opened, Publication, Token};
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::value::Value;

use crate::broker::Ports;
use crate::clients::{Actor, Phase, Stage, ask, wamp_client};
use crate::history::{KeyRead, Recorder};

/// The lock that all want.
const LOCK: &str = "locks.one";

/// Takes the lock, gives it back, again and again.
pub struct Locker {
    name: &'static str,
    recorder: Arc<Recorder>,
    life: u32,
    doing: Doing,
    drops: bool,
}

enum Doing {
    Nothing,
    Acquiring(Token),
    /// Holds it: the number of the hold, and a call that it makes meanwhile.
    Holding(usize, Token),
    Releasing(Token),
}

impl Locker {
    pub fn new(name: &'static str, recorder: &Arc<Recorder>) -> Self {
        Self { name, recorder: recorder.clone(), life: 0, doing: Doing::Nothing, drops: false }
    }

    fn answered(&mut self, token: Token, answer: Result<Value, String>, client: &mut Client) {
        self.drops |= answer.is_err();
        let problem = |what: &str| match &answer {
            Ok(_) => self.recorder.problem(format!("{} cannot {what}: {answer:?}", self.name)),
            Err(error) => self.recorder.trouble(self.life, &format!("{} cannot {what}: {error}", self.name)),
        };
        self.doing = match self.doing {
            Doing::Acquiring(call) if call == token => {
                let fence = answer.as_ref().ok().and_then(|place| place.get("token")).and_then(Value::as_u64);
                let Some(fence) = fence else {
                    problem("lock");
                    return self.doing = Doing::Nothing;
                };
                let hold = self.recorder.granted(LOCK, self.name, fence, self.life);
                ask(client, "fennec.key.get", vec![LOCK.into()])
                    .map_or(Doing::Nothing, |call| Doing::Holding(hold, call))
            }
            Doing::Holding(hold, call) if call == token => {
                if !answer.as_ref().is_ok_and(|entry| entry.get("token").is_some()) {
                    problem("see its lock");
                }
                self.recorder.gave_up(hold);
                ask(client, "fennec.lock.release", vec![LOCK.into()]).map_or(Doing::Nothing, Doing::Releasing)
            }
            Doing::Releasing(call) if call == token => {
                if answer.is_err() {
                    problem("unlock");
                }
                Doing::Nothing
            }
            _ => return,
        };
    }
}

impl Actor for Locker {
    fn name(&self) -> &'static str {
        self.name
    }

    fn client(&self, ports: Ports) -> Client {
        wamp_client(Format::Json, ports)
    }

    fn is_lasting(&self) -> bool {
        false
    }

    fn opened(&mut self, _: &Opened, stage: Stage, _: &mut Client) {
        self.life = stage.life;
    }

    fn event(&mut self, event: Event, client: &mut Client) {
        match event {
            Event::Returned { token, payload, .. } => {
                self.answered(token, Ok(payload.as_ref().document(Codec::Auto)), client);
            }
            Event::Failed { token, error: CallError::Answered { uri, .. } } => self.answered(token, Err(uri), client),
            Event::Failed { token, error: CallError::Refused(error) } => {
                self.answered(token, Err(error.to_string()), client);
            }
            _ => {}
        }
    }

    fn act(&mut self, stage: Stage, client: &mut Client) {
        if stage.phase == Phase::Working && matches!(self.doing, Doing::Nothing) {
            self.doing = ask(client, "fennec.lock.acquire", vec![LOCK.into()]).map_or(Doing::Nothing, Doing::Acquiring);
        }
    }

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        if let Doing::Holding(hold, _) = std::mem::replace(&mut self.doing, Doing::Nothing) {
            self.recorder.gave_up(hold);
        }
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase == Phase::Finishing && matches!(self.doing, Doing::Nothing | Doing::Acquiring(_))
    }
}

/// Writes ever larger numbers to a key of its own, and reads it whenever it has connected.
pub struct Keeper {
    key: &'static str,
    recorder: Arc<Recorder>,
    reading: Option<Token>,
    writing: Option<Token>,
    sent: u64,
    acknowledged: u64,
    life: u32,
    drops: bool,
}

impl Keeper {
    pub fn new(key: &'static str, recorder: &Arc<Recorder>) -> Self {
        Self {
            key,
            recorder: recorder.clone(),
            reading: None,
            writing: None,
            sent: 0,
            acknowledged: 0,
            life: 0,
            drops: false,
        }
    }

    fn write(&mut self, client: &mut Client) {
        self.sent += 1;
        let published = client.machine().publish(&Publication {
            topic: self.key,
            payload: PayloadRef::Bytes(self.sent.to_string().as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: &Properties::default(),
            expiry_s: None,
            options: &[],
        });
        self.writing = published.ok();
    }

    fn read(&mut self, entry: &Value) {
        let value = entry.get("value").and_then(Value::as_u64);
        let (key, acknowledged, sent) = (self.key.to_owned(), self.acknowledged, self.sent);
        self.recorder.read_key(KeyRead { key, value, acknowledged, sent });
    }
}

impl Actor for Keeper {
    fn name(&self) -> &'static str {
        self.key
    }

    fn client(&self, ports: Ports) -> Client {
        wamp_client(Format::MsgPack, ports)
    }

    fn is_lasting(&self) -> bool {
        false
    }

    fn opened(&mut self, _: &Opened, stage: Stage, client: &mut Client) {
        self.life = stage.life;
        self.reading = ask(client, "fennec.key.get", vec![self.key.into()]);
    }

    fn event(&mut self, event: Event, _: &mut Client) {
        match event {
            Event::Returned { token, payload, .. } if self.reading == Some(token) => {
                self.reading = None;
                self.read(&payload.as_ref().document(Codec::Auto));
            }
            Event::Failed { token, error } if self.reading == Some(token) => {
                self.reading = None;
                self.drops = true;
                self.recorder.trouble(self.life, &format!("{} cannot be read: {error:?}", self.key));
            }
            Event::Published { token, outcome } if self.writing == Some(token) => {
                self.writing = None;
                match outcome {
                    Ok(_) => self.acknowledged = self.sent,
                    Err(error) => {
                        self.drops = true;
                        self.recorder.trouble(self.life, &format!("{} cannot be written: {error}", self.key));
                    }
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, stage: Stage, client: &mut Client) {
        if stage.phase == Phase::Working && self.reading.is_none() && self.writing.is_none() {
            self.write(client);
        }
    }

    fn drops(&mut self) -> bool {
        std::mem::take(&mut self.drops)
    }

    fn closed(&mut self) {
        self.reading = None;
        self.writing = None;
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage.phase == Phase::Finishing && self.reading.is_none() && self.writing.is_none()
    }
}
