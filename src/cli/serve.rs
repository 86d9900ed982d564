//! `fennec serve`: from a checked configuration to a running broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::args::ServeArgs;
use super::config::{Config, Protocol};
use super::{Failure, log};
use crate::mqtt::session::MqttGate;
use crate::net::clock::Clock;
use crate::net::pump::Pump;
use crate::net::workers::Workers;
use crate::node::users::{Anonymous, Users};
use crate::node::{Node, RealmSettings, Settings};

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let config = Config::load(&args.sources()).map_err(Failure::of_problems)?;
    log::start(&config.log, config.log_format).map_err(|error| Failure::Run(format!("cannot log: {error}")))?;
    tracing::debug!(?config, "configuration");
    let config = Arc::new(config);
    let users = Users::new(config.users.clone()).map_err(|error| Failure::Refused(vec![error.to_string()]))?;
    let roles = config.clone();
    let settings = Settings {
        limits: config.limits.clone(),
        realms: config.realms.iter().map(|name| RealmSettings {
            name: name.to_string(),
            codecs: config.codecs.clone(),
            ..RealmSettings::default()
        }).collect(),
        auto_realms: config.auto_realms,
        default_realm: config.default_realm.to_string(),
        authorize: Box::new(move |realm| roles.authorizer(realm)),
        users,
    };
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Failure::Run(format!("no random numbers: {error}")))?;
    let node = Node::new(settings, u64::from_ne_bytes(seed));
    let clock = Clock::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = Arc::new(Workers::start(cores).map_err(|error| Failure::Run(error.to_string()))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| Failure::Run(error.to_string()))?;
    runtime.block_on(async {
        for listener in config.listeners.iter().filter(|l| l.protocol == Protocol::Mqtt) {
            let socket = TcpListener::bind(listener.address).await.map_err(|error| Failure::Run(format!("{}: {error}", listener.address)))?;
            println!("mqtt {}", socket.local_addr().map_err(|e| Failure::Run(e.to_string()))?);
            let settings = Arc::new(crate::mqtt::Settings {
                realm: listener.realm.clone(),
                anonymous: listener.anonymous != Anonymous::Refused,
                refuse_filters: config.refuse_filters.clone(),
            });
            let (node, workers) = (node.clone(), workers.clone());
            tokio::spawn(async move {
                loop {
                    let Ok((stream, _)) = socket.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    let Ok(stream) = stream.into_std() else { continue };
                    let (node, settings) = (node.clone(), settings.clone());
                    workers.spawn(async move {
                        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
                        let gate = MqttGate::new(node, settings, clock.now_ms());
                        Pump::new(stream, gate, clock).await;
                    });
                }
            });
        }
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            node.tick(clock.now_ms());
        }
    })
}
