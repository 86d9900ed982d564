//! A running broker: the node, the threads its connections run on, and its listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::config::{Config, DurablePolicy, Listener as ListenerConfig, Protocol};
use super::house::House;
use super::memory::MemoryWatch;
use super::open_log::open_log;
use super::outbound::Outbound;
use super::watch::Watch;
use super::{Failure, access, admin, reload, user};
use crate::cluster::process::EntryHandle;
use crate::http::{self, Entrance, MoreMetrics, Scope};
use crate::net::clock::Clock;
use crate::net::listen::{Door, Listener};
use crate::net::pump::{Pump, drive};
use crate::net::seats::Seats;
use crate::net::stream::Stream;
use crate::net::tls::Tls;
use crate::net::workers::Workers;
use crate::node::authenticate::jwt::Tokens;
use crate::node::log::Threads;
use crate::node::metrics;
use crate::node::users::Users;
use crate::node::{Node, RealmSettings, Settings};
use crate::outbound::authenticate::{Authenticators, Hook};
use crate::queue::retention::Policy;
use crate::store::StoreUrl;
use crate::wamp::{self, session::Access};

/// How often time passes for wills, session expiry and call timeouts.
const TICK: Duration = Duration::from_millis(50);
/// How often `$SYS` is renewed.
const SYS_MS: u64 = 10_000;
/// How often a draining broker looks whether its connections are gone.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// See the module. Dropped without [`Broker::stop`], its connections are cut.
pub struct Broker {
    pub node: Arc<Node>,
    /// In the order of the configuration: what is spoken, whether through TLS, and the address with its real port.
    pub listeners: Vec<(Protocol, bool, SocketAddr)>,
    workers: Arc<Workers>,
    http: Arc<http::Server>,
    /// Accepts connections and minds the time.
    runtime: Runtime,
    stopping: watch::Sender<bool>,
    drain: Duration,
    log: LogWork,
    outbound: Outbound,
    /// Answers `fennec.admin.user.*`, and is read again.
    _access: Arc<access::Access>,
}

/// Who works the log.
pub(super) enum LogWork {
    /// Threads of this process, on a store of its own.
    Own(Threads),
    /// A cluster, of which this is an entry.
    Cluster(EntryHandle, MoreMetrics),
}

/// A listener whose port is taken.
struct Bound {
    listener: Listener,
    tls: Option<Tls>,
    config: ListenerConfig,
}

impl Broker {
    /// Takes all ports, then starts. Returns as soon as clients can connect.
    ///
    /// # Errors
    /// A port, a certificate, the data folder or the system's resources cannot be had; each names what it is about.
    pub fn start(config: &Config) -> Result<Self, Failure> {
        if let StoreUrl::Folder(folder) = &config.store.url {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::Run(format!("cannot make the data folder {}: {error}", folder.display())))?;
        }
        Self::start_with(config, || open_log(config, Clock::default()))
    }

    /// Starts one whose log works already, and is another's.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub(super) fn open(config: &Config, clock: Clock, node: Arc<Node>, log: LogWork) -> Result<Self, Failure> {
        Self::start_with(config, || Ok((node, log, clock)))
    }

    fn start_with(
        config: &Config,
        open_log: impl FnOnce() -> Result<(Arc<Node>, LogWork, Clock), Failure>,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Run(format!("cannot start threads: {error}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("accept").enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let hangup = reload::catch(&runtime)?;
        let bound = {
            let _within = runtime.enter();
            config.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?
        };
        let (node, log, clock) = open_log()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = Arc::new(Workers::start(cores).map_err(failed)?);
        let (stopping, stopped) = watch::channel(false);
        let seats = Seats::new(node.clone(), clock);
        let listeners: Vec<_> = bound.iter().map(Bound::summary).collect();
        let house = House { node: node.clone(), clock, refuse_filters: config.refuse_filters.clone() };
        let access = access::Access::new(node.clone(), config.clone());
        let is_alone = matches!(log, LogWork::Own(_));
        let outbound = Outbound::start(config, &node, clock, is_alone)?;
        let tls = bound.iter().filter_map(|one| Some((one.config.key.clone(), one.tls.clone()?))).collect();
        let watch = Watch::new(tls, access.look());
        admin::offer(&node, &watch, runtime.handle());
        let more = outbound.metrics(log.more_metrics());
        let watched = watch.clone();
        let more: MoreMetrics = Arc::new(move |text| {
            more(text);
            watched.metrics(text);
        });
        let http = house.http(config, &listeners, Some(more));
        for bound in bound {
            let door = bound.door(&seats, &workers);
            runtime.spawn(open(bound, door, house.clone(), http.clone(), until(stopped.clone())));
        }
        runtime.spawn(watch.run(hangup));
        user::procedures::install(&access, runtime.handle());
        runtime.spawn(keep_time(node.clone(), clock, workers.clone()));
        let drain = Duration::from_secs(u64::from(config.limits.drain_s));
        Ok(Self { node, listeners, workers, http, runtime, stopping, drain, log, outbound, _access: access })
    }

    /// The address of the first listener of this kind.
    pub fn address(&self, protocol: Protocol, tls: bool) -> Option<SocketAddr> {
        self.listeners.iter().find(|(spoken, secure, _)| *spoken == protocol && *secure == tls).map(|found| found.2)
    }

    /// Takes no more connections, says goodbye to those that are there and waits until they have read it, `limits.drain_s` at
    /// most. `hurry` is asked meanwhile: true cuts the wait short.
    pub fn stop(self, hurry: impl Fn() -> bool) {
        // Nobody may listen any more, then there is nobody to tell.
        let _ = self.stopping.send(true);
        self.node.drain();
        self.http.drain();
        let until = Instant::now() + self.drain;
        while self.node.metrics.connections_open() > 0 && Instant::now() < until && !hurry() {
            std::thread::sleep(DRAIN_POLL);
        }
        self.outbound.stop();
        self.log.stop(&self.node);
        self.runtime.shutdown_background();
        if let Ok(workers) = Arc::try_unwrap(self.workers) {
            workers.stop();
        }
    }
}

/// Serves one listener until `stop`.
async fn open(bound: Bound, door: Door, house: House, http: Arc<http::Server>, stop: impl Future<Output = ()>) {
    let Bound { listener, config, .. } = bound;
    let anonymous = config.anonymous;
    match config.protocol {
        Protocol::Mqtt => {
            let [known, anybody] = [false, true].map(|anybody| house.mqtt_settings(config.realm.clone(), anybody));
            let connection = move |stream: Stream| {
                let settings = if anonymous.lets_in(stream.peer()) { &anybody } else { &known };
                let gate = house.mqtt(settings, stream.peer().clone());
                drive(Pump::new(stream, gate, house.clock).paced(&house.node))
            };
            listener.serve(door, connection, stop).await;
        }
        Protocol::RawSocket => {
            let connection = move |stream: Stream| {
                let access = Access { anonymous: anonymous.lets_in(stream.peer()), cookie: None };
                let gate = wamp::serve::rawsocket(&house.node, access, stream.peer().clone(), house.clock.now_ms());
                drive(Pump::new(stream, gate, house.clock).paced(&house.node))
            };
            listener.serve(door, connection, stop).await;
        }
        Protocol::Http | Protocol::Admin | Protocol::Metrics => {
            let scope = match config.protocol {
                Protocol::Admin => Scope::Admin,
                Protocol::Metrics => Scope::Metrics,
                _ => Scope::All,
            };
            let entrance = Arc::new(Entrance {
                realm: config.realm.clone(),
                anonymous: config.anonymous,
                trusted_proxies: config.trusted_proxies.clone(),
                scope,
            });
            let connection = move |stream| http.clone().serve(stream, entrance.clone());
            listener.serve(door, connection, stop).await;
        }
    }
}

impl Bound {
    fn summary(&self) -> (Protocol, bool, SocketAddr) {
        (self.config.protocol, self.tls.is_some(), self.listener.address())
    }

    fn door(&self, seats: &Arc<Seats>, workers: &Arc<Workers>) -> Door {
        let counted_as = match self.config.protocol {
            Protocol::Mqtt => metrics::Protocol::Mqtt,
            Protocol::Http | Protocol::Admin | Protocol::Metrics => metrics::Protocol::Http,
            Protocol::RawSocket => metrics::Protocol::Wamp,
        };
        Door {
            protocol: counted_as,
            tls: self.tls.clone(),
            proxy: self.config.proxy.clone(),
            proxies: self.config.trusted_proxies.clone(),
            seats: seats.clone(),
            workers: workers.clone(),
        }
    }
}

fn bind(config: &ListenerConfig) -> Result<Bound, Failure> {
    let named = |what: String| Failure::Run(format!("{}: {what}", config.key));
    let alpn = match config.protocol {
        Protocol::Mqtt => &["mqtt"][..],
        Protocol::Http | Protocol::Admin | Protocol::Metrics => &["http/1.1"],
        // No name is registered for RawSocket.
        Protocol::RawSocket => &[],
    };
    let tls = config.tls.clone().map(|files| Tls::load(files, alpn)).transpose();
    let tls = tls.map_err(|error| named(error.to_string()))?;
    let listener = Listener::bind(config.address).map_err(|error| named(error.to_string()))?;
    Ok(Bound { listener, tls, config: config.clone() })
}

pub(super) fn make_node(config: &Config) -> Result<Arc<Node>, Failure> {
    let users = Users::new(config.users.clone()).map_err(|error| Failure::Refused(vec![error.to_string()]))?;
    let realm = |name: &Arc<str>| RealmSettings {
        name: name.to_string(),
        codecs: config.codecs.clone(),
        ..RealmSettings::default()
    };
    let roles = config.clone();
    let settings = Settings {
        limits: config.limits.clone(),
        realms: config.realms.iter().map(realm).collect(),
        auto_realms: config.auto_realms,
        default_realm: config.default_realm.to_string(),
        authorize: Box::new(move |realm| roles.authorizer(realm)),
        users,
        policies: config.durable.iter().map(policy).collect(),
        rules: config.rules.clone(),
    };
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Failure::Run(format!("no random numbers: {error}")))?;
    let node = Node::new(settings, u64::from_ne_bytes(seed));
    add_deciders(config, &node).map_err(|what| Failure::Refused(vec![what]))?;
    Ok(node)
}

/// Who else decides who somebody is: tokens first, for they are looked at here.
fn add_deciders(config: &Config, node: &Arc<Node>) -> Result<(), String> {
    if !config.jwt.is_empty() {
        let tokens = Tokens::new(config.jwt.iter().cloned()).map_err(|what| format!("jwt: {what}"))?;
        node.deciders.add(Arc::new(tokens));
    }
    if !config.authenticators.is_empty() {
        node.deciders.add(Arc::new(Authenticators::new(node, &config.authenticators)));
    }
    if let Some(hook) = &config.auth_hook {
        node.deciders.add(Arc::new(Hook::new(hook).map_err(|what| format!("auth_hook: {what}"))?));
    }
    Ok(())
}

fn policy(durable: &DurablePolicy) -> Policy {
    Policy {
        realm: durable.realm.as_ref().map(|realm| realm.to_string()),
        pattern: durable.pattern.clone(),
        age_us_max: durable.max_age_s.saturating_mul(1_000_000),
        bytes_max: durable.max_bytes,
        messages_max: durable.max_messages.unwrap_or(u64::MAX),
    }
}

async fn keep_time(node: Arc<Node>, clock: Clock, workers: Arc<Workers>) {
    let mut ticks = tokio::time::interval(TICK);
    let mut sys_at_ms = 0;
    let mut memory = MemoryWatch::new();
    loop {
        ticks.tick().await;
        let now_ms = clock.now_ms();
        node.tick(now_ms);
        workers.balance();
        memory.look(&node, now_ms);
        if now_ms >= sys_at_ms {
            node.publish_sys(clock.uptime_ms() / 1000, now_ms);
            sys_at_ms = now_ms + SYS_MS;
        }
    }
}

/// Ready when the broker stops.
async fn until(mut stopped: watch::Receiver<bool>) {
    // An error says that the broker is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
