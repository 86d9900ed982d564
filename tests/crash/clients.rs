//! The connections of a test: what is common to all clients, whatever they do.

use std::sync::Arc;
use std::time::Duration;

use fennec::client::machine::{Call, Event, Message, Opened, Publication, Token};
use fennec::client::tls::Trust;
use fennec::client::url::{Protocol, Url};
use fennec::client::{Client, Error, Target, mqtt, wamp};
use fennec::mqtt::codec::Level;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::value::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::broker::Ports;
use crate::history::{Recorder, Sight};

/// How long a client waits before it tries a broker again that should be there.
pub const RETRY: Duration = Duration::from_millis(20);
/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(20);

/// What clients are to do. Later phases follow earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Subscribers subscribe, others wait.
    Subscribing,
    /// All work.
    Working,
    /// Nothing new is begun; what is under way is brought to its end.
    Finishing,
    /// Members of groups leave, too: all is done.
    Leaving,
}

/// What all clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub phase: Phase,
    /// Where the broker is, if it runs.
    pub ports: Option<Ports>,
    /// Counts the lives of the broker.
    pub life: u32,
}

/// What a client does.
pub trait Actor: Send {
    fn name(&self) -> &'static str;

    /// A client that has never connected.
    fn client(&self, ports: Ports) -> Client;

    /// Whether the machine outlives its connections. Else each connection is a new client's.
    fn is_lasting(&self) -> bool;

    /// The connection stands.
    fn opened(&mut self, opened: &Opened, stage: Stage, client: &mut Client);

    fn event(&mut self, event: Event, client: &mut Client);

    /// Called after each event and when the stage changes: does what is to be done next.
    fn act(&mut self, stage: Stage, client: &mut Client);

    /// Whether it wants to lose its connection now.
    fn drops(&mut self) -> bool;

    /// The connection is lost.
    fn closed(&mut self);

    fn is_done(&self, stage: Stage) -> bool;
}

/// Has a client act until it is done; gives its name.
pub async fn live(mut actor: impl Actor, mut stages: watch::Receiver<Stage>) -> &'static str {
    let mut kept: Option<Client> = None;
    while !actor.is_done(*stages.borrow()) {
        let stage = *stages.borrow_and_update();
        let Some(ports) = stage.ports else {
            // The test holds the other end as long as clients live.
            let _ = stages.changed().await;
            continue;
        };
        let mut client = match kept.take().filter(|_| actor.is_lasting()) {
            Some(mut client) => {
                let url = actor.client(ports).url().clone();
                client.redirect(url);
                client
            }
            None => actor.client(ports),
        };
        match client.connect().await {
            Ok(opened) => {
                actor.opened(&opened, stage, &mut client);
                session(&mut actor, &mut client, stage.life, &mut stages).await;
                // What has come is known, whether the connection stands or not.
                while let Some(event) = client.waiting_event() {
                    actor.event(event, &mut client);
                }
                actor.closed();
            }
            // It was killed meanwhile, or soon will have been.
            Err(_) => drop(timeout(RETRY, stages.changed()).await),
        }
        kept = Some(client);
    }
    if let Some(client) = kept {
        client.close().await;
    }
    actor.name()
}

/// Acts on one connection until it is lost, or the actor is done.
async fn session(actor: &mut impl Actor, client: &mut Client, life: u32, stages: &mut watch::Receiver<Stage>) {
    loop {
        let stage = *stages.borrow_and_update();
        if stage.life != life || stage.ports.is_none() || actor.is_done(stage) {
            return;
        }
        actor.act(stage, client);
        if actor.drops() {
            return;
        }
        tokio::select! {
            event = client.event() => match event {
                Ok(event) => actor.event(event, client),
                Err(_) => return,
            },
            changed = stages.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// An MQTT client with a persistent session.
pub fn mqtt_client(id: &str, level: Level, ports: Ports) -> Client {
    mqtt_client_for(3600, id, level, ports)
}

/// The same; `session_expiry_s`: how long its session outlives the connection.
pub fn mqtt_client_for(session_expiry_s: u32, id: &str, level: Level, ports: Ports) -> Client {
    let machine = mqtt::Mqtt::new(mqtt::Options {
        level,
        client_id: id.to_owned(),
        user: None,
        password: None,
        keep_alive_s: 60,
        session_expiry_s,
        response_topic: format!("reply/{id}"),
    });
    let target = target(&format!("mqtt://127.0.0.1:{}", ports.mqtt), Protocol::Mqtt);
    Client::new(target, mqtt::SPEECH, Box::new(machine.expect("options that MQTT can say")))
}

pub fn wamp_client(format: Format, ports: Ports) -> Client {
    let machine = wamp::Wamp::new(wamp::Options {
        realm: "realm1".to_owned(),
        user: None,
        password: None,
        format,
        keep_alive: Duration::from_secs(60),
    });
    let target = target(&format!("ws://127.0.0.1:{}/ws", ports.http), Protocol::Wamp);
    Client::new(target, wamp::speech(format), Box::new(machine))
}

fn target(url: &str, protocol: Protocol) -> Target {
    Target { url: Url::parse(url, protocol).expect("a URL"), trust: Trust::System, timeout: CONNECT }
}

/// Calls a procedure of the broker; `None` if there is no connection any more.
pub fn ask(client: &mut Client, procedure: &str, args: Vec<Value>) -> Option<Token> {
    let args = Value::List(args).to_bytes(Format::Json);
    let asked = client.machine().call(&Call {
        procedure,
        payload: PayloadRef::Args { format: Format::Json, args: Some(&args), kwargs: None },
        progress: false,
        timeout_ms: 0,
        properties: &Properties::default(),
    });
    asked.ok()
}

/// What publications say: who publishes, and the how manieth it is.
pub fn text(publisher: &str, number: u64) -> String {
    format!("{publisher} {number}")
}

/// An event of these publishers; `None` is told to the recorder.
pub fn sight(message: &Message, recorder: &Arc<Recorder>) -> Option<Sight> {
    let document = message.payload.as_ref().document(Codec::Auto);
    let read = document
        .as_str()
        .and_then(|text| text.split_once(' '))
        .and_then(|(publisher, number)| Some((publisher.to_owned(), number.parse().ok()?)));
    let Some((publisher, number)) = read else {
        recorder.problem(format!("an event that nobody published: {message:?}"));
        return None;
    };
    // WAMP tells it in the details, MQTT 5 in a user property.
    let detail = message.details.iter().find(|(name, _)| name == "event_id").and_then(|(_, id)| id.as_str());
    let property = || message.properties.user_properties.iter().find(|(name, _)| name == "event_id");
    let event_id = detail.or_else(|| property().map(|(_, id)| id.as_str())).map(str::to_owned);
    Some(Sight { publisher, number, event_id, publication: message.publication })
}

/// Publishes over WAMP, and waits for the acknowledgement.
pub async fn publish(client: &mut Client, topic: &str, text: &str) -> Result<Option<u64>, Error> {
    client.machine().publish(&Publication {
        topic,
        payload: PayloadRef::Bytes(text.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: &Properties::default(),
        expiry_s: None,
        options: &[],
    })?;
    loop {
        if let Event::Published { outcome, .. } = client.event().await? {
            return outcome;
        }
    }
}
