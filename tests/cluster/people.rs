//! Clients that a test drives by hand, each at an entry.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use fennec::client::machine::{Event, Message, Subscription};
use fennec::client::{Client, Error};
use fennec::types::event::Qos;
use fennec::types::payload::{Codec, Format};
use fennec::types::topic::MatchPolicy;
use fennec::types::value::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::LIMIT;
use crate::broker::{Cluster, ENTRIES, Ports};
use crate::clients::{ask, mqtt_client, mqtt_client_for, publish, wamp_client};
use fennec::mqtt::codec::Level;

/// A cluster, and where its clients run.
pub struct World {
    pub cluster: Cluster,
    runtime: Runtime,
}

/// A client with one subscription.
pub struct Guest {
    pub client: Client,
    /// Of WAMP.
    pub subscription: Option<u64>,
    /// Events that came while something else was waited for.
    early: VecDeque<Message>,
}

impl World {
    pub fn start() -> Self {
        Self::of(Cluster::start(LIMIT))
    }

    pub fn of(cluster: Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { cluster, runtime: runtime.expect("threads") }
    }

    /// What comes of this, which must come.
    #[track_caller]
    pub fn get<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let got = self.runtime.block_on(async { timeout(LIMIT, future).await });
        got.unwrap_or_else(|_| panic!("not in time: {what}\n{}", self.cluster.all_said()))
    }

    /// Whether nothing comes for so long.
    pub fn is_quiet(&self, guest: &mut Guest, time: Duration) -> bool {
        self.runtime.block_on(async { timeout(time, guest.text()).await }).is_err()
    }

    /// An event that comes within this time, if one does.
    pub fn soon(&self, guest: &mut Guest, time: Duration) -> Option<Message> {
        self.runtime.block_on(async { timeout(time, guest.message()).await }).ok()?.ok()
    }

    /// A WAMP client at an entry. It comes again where that refuses it: a new life may be about to begin there.
    #[track_caller]
    pub fn wamp(&self, entry: usize) -> Guest {
        let client = wamp_client(Format::Json, self.cluster.ports(entry));
        self.connected(entry, client)
    }

    /// An MQTT 5 client with a persistent session.
    #[track_caller]
    pub fn mqtt(&self, entry: usize, id: &str) -> Guest {
        let client = mqtt_client(id, Level::V5, self.cluster.ports(entry));
        self.connected(entry, client)
    }

    /// An MQTT 5 client whose session ends with its connection.
    #[track_caller]
    pub fn passing_mqtt(&self, entry: usize, id: &str) -> Guest {
        let client = mqtt_client_for(0, id, Level::V5, self.cluster.ports(entry));
        self.connected(entry, client)
    }

    #[track_caller]
    fn connected(&self, entry: usize, mut client: Client) -> Guest {
        self.get(&format!("a connection to {}", ENTRIES[entry]), client.connect()).expect("the entry takes a client");
        Guest { client, subscription: None, early: VecDeque::new() }
    }

    /// Publishes these at an entry, one after the other.
    #[track_caller]
    pub fn publish(&self, entry: usize, topic: &str, texts: &[&str]) {
        let mut guest = self.wamp(entry);
        for text in texts {
            self.get("an acknowledgement", publish(&mut guest.client, topic, text)).expect("it is taken");
        }
    }

    #[track_caller]
    pub fn subscribe(&self, guest: &mut Guest, topic: &str, options: &[(&str, Value)]) {
        self.get("SUBSCRIBED", guest.subscribe(topic, options)).expect("it may subscribe");
    }

    /// The next event.
    #[track_caller]
    pub fn text(&self, guest: &mut Guest) -> String {
        self.get("an event", guest.text()).expect("a connection")
    }

    /// All events up to this one.
    #[track_caller]
    pub fn texts_to(&self, guest: &mut Guest, last: &str) -> Vec<String> {
        let mut texts = vec![self.text(guest)];
        while texts.last().is_some_and(|text| text != last) {
            texts.push(self.text(guest));
        }
        texts
    }
}

impl Guest {
    pub async fn subscribe(&mut self, topic: &str, options: &[(&str, Value)]) -> Result<(), Error> {
        self.client.machine().subscribe(&Subscription {
            topic,
            qos: Qos::AtLeastOnce,
            retained: false,
            no_local: false,
            retain_as_published: false,
            policy: MatchPolicy::Exact,
            options,
        })?;
        loop {
            if let Event::Subscribed { outcome, .. } = self.event().await? {
                self.subscription = outcome?;
                return Ok(());
            }
        }
    }

    /// What comes next; events of subscriptions are kept.
    async fn event(&mut self) -> Result<Event, Error> {
        let event = self.client.event().await?;
        if let Event::Message(message) = &event {
            self.early.push_back(message.clone());
        }
        Ok(event)
    }

    pub async fn message(&mut self) -> Result<Message, Error> {
        if let Some(message) = self.early.pop_front() {
            return Ok(message);
        }
        loop {
            if let Event::Message(message) = self.client.event().await? {
                return Ok(message);
            }
        }
    }

    pub async fn text(&mut self) -> Result<String, Error> {
        let message = self.message().await?;
        Ok(text_of(&message))
    }

    /// The reason why the broker has ended the subscription.
    pub async fn unsubscribed(&mut self) -> Result<String, Error> {
        loop {
            if let Event::Unsubscribed { reason, .. } = self.event().await? {
                return Ok(reason);
            }
        }
    }

    /// Calls a procedure of the broker: the value of the answer, or the error's URI.
    pub async fn call(&mut self, procedure: &str, args: Vec<Value>) -> Result<Value, String> {
        let token = ask(&mut self.client, procedure, args).ok_or("no connection")?;
        loop {
            match self.event().await.map_err(|error| error.to_string())? {
                Event::Returned { token: of, payload, .. } if of == token => {
                    return Ok(payload.as_ref().document(Codec::Auto));
                }
                Event::Failed { token: of, error } if of == token => return Err(format!("{error:?}")),
                _ => {}
            }
        }
    }

    /// Acknowledges an event of the subscription.
    pub async fn ack(&mut self, event: &Message) -> Result<Value, String> {
        let id = event.details.iter().find(|(name, _)| name == "event_id").map(|(_, id)| id.clone());
        let subscription = self.subscription.ok_or("no subscription")?;
        self.call("fennec.subscription.ack", vec![subscription.into(), id.unwrap_or(Value::Null)]).await
    }
}

pub fn text_of(message: &Message) -> String {
    message.payload.as_ref().document(Codec::Auto).as_str().unwrap_or_default().to_owned()
}

/// A WAMP client at an entry.
pub async fn join(ports: Ports) -> Client {
    let mut client = wamp_client(Format::Json, ports);
    client.connect().await.expect("the entry takes a client");
    client
}

/// Takes a lock, however long that takes.
pub async fn acquire(client: &mut Client, lock: &str) {
    ask(client, "fennec.lock.acquire", vec![lock.into()]).expect("a call");
    loop {
        match client.event().await.expect("a connection") {
            Event::Returned { .. } => return,
            Event::Failed { error, .. } => panic!("the lock is refused: {error:?}"),
            _ => {}
        }
    }
}
