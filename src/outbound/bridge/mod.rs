//! Bridges: this broker as a client of another MQTT broker, whose topics and its own become each other's.
//!
//! ```text
//! log ------cursor--> Machine { Outward } --MQTT--> other broker
//! live events -queue->                                  |
//! log <----publish--- Machine { Inward } <----MQTT------'
//! ```
//!
//! - [`rules`]: which topics, and what they are called there. [`translate`]: events in the words of the other side.
//! - [`outward`], [`inward`], [`echo`]: what is owed in each direction; [`machine`]: the connection's protocol around them.
//! - `work`: the task of one bridge; `line`, its connection; `local` and `live`, its ends in this broker. [`status`]: what is told.
//!
//! Events go out from a place in the log that is recorded when they are done there ([`crate::node::consumer`]), so that nothing of
//! it is lost while the other broker is away. What comes in is acknowledged when it is in the log. In a cluster one entry runs a
//! bridge, and when that is lost another.

pub mod echo;
pub mod inward;
mod line;
mod live;
mod local;
pub mod machine;
pub mod outward;
mod retained;
pub mod rules;
pub mod status;
mod tell;
pub mod translate;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::tls::{Credentials, Trust};
use crate::client::url::Url;
use crate::mqtt::codec::Level;
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::consumer::{Consumer, ConsumerError, Watch};
use crate::node::realm::Realm;
use crate::queue::command::{Command, Connect};
use crate::queue::state::rows;
use crate::types::event::Qos;
use crate::types::topic::TopicPattern;
use rules::Rules;
use status::{Shared, State, Status, Statuses};
use translate::Way;
use work::{End, Work};

/// How long after a failure of the log it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// What the names of bridges as consumers of the log begin with.
const PREFIX: &str = "bridge/";

/// One bridge, checked by who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// No other has it.
    pub name: String,
    pub realm: Arc<str>,
    /// Tried one after the other; at least one.
    pub addresses: Vec<Url>,
    pub trust: Trust,
    pub credentials: Option<Credentials>,
    pub client: machine::Settings,
    pub rules: Rules,
}

impl Config {
    /// Whether messages come in that must not come twice.
    fn takes_exactly_once(&self) -> bool {
        self.rules.inwards().any(|rule| rule.qos == Qos::ExactlyOnce)
    }

    fn status(&self) -> Status {
        Status {
            name: self.name.clone(),
            realm: self.realm.to_string(),
            address: self.addresses.first().map(ToString::to_string).unwrap_or_default(),
            client_id: self.client.client_id.clone(),
            version: if self.client.level == Level::V5 { 5 } else { 4 },
            ..Status::default()
        }
    }
}

/// All bridges of a broker.
#[derive(Default)]
pub struct Bridges {
    statuses: Statuses,
    tasks: Vec<JoinHandle<()>>,
}

impl Bridges {
    /// Starts them. They end when `stop` says so.
    pub fn start(
        node: &Arc<Node>,
        clock: Clock,
        configs: &[Config],
        runtime: &Handle,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let own_links: Vec<String> = configs.iter().map(|config| config.client.client_id.clone()).collect();
        let mut bridges = Self::default();
        runtime.spawn(remove_others(node.clone(), configs.iter().map(key).collect()));
        for config in configs.iter().cloned() {
            let Some(realm) = node.realm(&config.realm) else { continue };
            let status = Shared::new(Status { since_ms: clock.now_ms(), ..config.status() });
            let way =
                Way { link: config.client.client_id.clone(), own_links: own_links.clone(), level: config.client.level };
            bridges.statuses.push(status.clone());
            let bridge = Bridge { config: Arc::new(config), way, node: node.clone(), realm, clock, status };
            bridges.tasks.push(runtime.spawn(bridge.run(stop.clone())));
        }
        bridges
    }

    /// How they are doing, for whoever asks.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Waits until all have said goodbye; they must have been told to.
    pub async fn ended(self) {
        for task in self.tasks {
            // One that has failed has ended, too.
            let _ = task.await;
        }
    }
}

/// A bridge's realm and name as a consumer of the log.
fn key(config: &Config) -> (String, String) {
    (config.realm.to_string(), format!("{PREFIX}{}", config.name))
}

/// Removes what the log keeps for bridges that are not configured any more.
async fn remove_others(node: Arc<Node>, configured: Vec<(String, String)>) {
    for info in node.consumers.list(PREFIX) {
        let is_known = configured.iter().any(|(realm, name)| **realm == *info.realm && **name == *info.name);
        if is_known {
            continue;
        }
        forget_session(&node, &info.realm, &info.name);
        if let Err(error) = node.remove_consumer(&info.realm, &info.name).await {
            tracing::warn!(name = &*info.name, %error, "what was kept for a bridge could not be removed");
        }
    }
}

/// The session by which the log knows QoS 2 messages of a bridge.
fn session_of(name: &str) -> String {
    format!("$bridge/{name}")
}

/// Has the log forget such a session: a connection takes it and is gone.
fn forget_session(node: &Arc<Node>, realm: &str, name: &str) {
    let name = session_of(name.strip_prefix(PREFIX).unwrap_or(name));
    let connection = node.random();
    node.owe_log(Command::Connect(Box::new(Connect {
        realm: realm.to_owned(),
        client_id: name.clone(),
        session: node.new_session_id().0,
        connection,
        authid: name.clone(),
        clean_start: true,
        ..Connect::default()
    })));
    let (realm, client_id) = (realm.to_owned(), name);
    node.owe_log(Command::Disconnect { realm, client_id, connection, orderly: true, expiry_s: 0 });
}

struct Bridge {
    config: Arc<Config>,
    way: Way,
    node: Arc<Node>,
    realm: Arc<Realm>,
    clock: Clock,
    status: Shared,
}

impl Bridge {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut watch = self.node.consumers.watch();
        loop {
            let consumer = tokio::select! {
                consumer = self.open(&mut watch) => consumer,
                _ = stop.wait_for(|stopped| *stopped) => return,
            };
            let Some(consumer) = consumer else { return };
            self.status.change(|status| {
                (status.state, status.since_ms) = (State::Down, self.clock.now_ms());
            });
            let around = (&self.node, &self.realm, self.clock);
            let work = Work::new(&self.config, self.way.clone(), around, &self.status, consumer);
            if work.run(&mut stop).await == End::Stop {
                return;
            }
        }
    }

    /// The consumer, when this entry may run it. `None`: the broker stops.
    async fn open(&self, watch: &mut Watch) -> Option<Consumer> {
        loop {
            let error = match self.try_open().await {
                Ok(consumer) => return Some(consumer),
                Err(error) => error,
            };
            match error {
                ConsumerError::Stopping => return None,
                ConsumerError::Stale => {
                    self.status.change(|status| status.state = State::Elsewhere);
                    // It changes when that entry is gone.
                    watch.changed().await;
                }
                error => {
                    self.status.change(|status| status.error = Some(error.to_string()));
                    tracing::warn!(bridge = self.config.name, %error, "a bridge cannot read the log");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn try_open(&self) -> Result<Consumer, ConsumerError> {
        let (realm, name) = key(&self.config);
        let patterns: Vec<TopicPattern> =
            self.config.rules.outwards().map(|rule| rule.local_pattern().clone()).collect();
        let wanted: Vec<String> = patterns.iter().map(rows::pattern_text).collect();
        let known = self.node.consumers.info(&realm, &name);
        if known.is_none_or(|info| info.row.patterns != wanted) {
            self.node.set_consumer(&realm, &name, &patterns, Bytes::new(), None).await?;
        }
        let clock = self.clock;
        self.node.open_consumer(&realm, &name, Arc::new(move || clock.now_ms())).await
    }
}
