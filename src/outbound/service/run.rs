//! All services that this process runs: those of the configuration are made known to the log, and each that is this entry's has a
//! task.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::address::Network;
use super::board::Board;
use super::settings::ServiceSettings;
use super::{PREFIX, task};
use crate::client::tls::Trust;
use crate::node::Node;
use crate::node::consumer::{ConsumerError, ConsumerInfo};
use crate::node::log::ClockFn;
use crate::queue::state::rows;
use crate::types::topic::TopicPattern;

/// Bytes of events that all services together hold in memory while they are sent; and what each may hold in any case.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const SHARE_MIN: usize = 64 * 1024;
/// How long what the log did not take is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What all services have in common.
pub struct Settings {
    pub services: Vec<Configured>,
    /// Where services may be that were added at run time, beside the public internet.
    pub allowed: Vec<Network>,
    /// This process alone has the log: services that are not in its configuration any more are removed.
    pub alone: bool,
}

/// A service of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    pub id: String,
    pub realm: String,
    pub patterns: Vec<TopicPattern>,
    pub settings: ServiceSettings,
}

/// What every task has.
pub(super) struct Shared {
    pub node: Arc<Node>,
    pub clock: ClockFn,
    pub allowed: Arc<[Network]>,
    pub board: Arc<Board>,
    /// Services that run here.
    running: AtomicUsize,
    /// Believes the authorities of the system; made once, for reading those takes long.
    system: OnceLock<Result<TlsConnector, String>>,
}

impl Shared {
    /// Bytes that one service may hold.
    pub fn share(&self) -> usize {
        (BYTES_MAX / self.running.load(Ordering::Relaxed).max(1)).clamp(SHARE_MIN, BYTES_MAX / 8)
    }

    pub fn connector(&self, settings: &ServiceSettings) -> Result<TlsConnector, String> {
        let make = |trust: Trust| trust.connector().map_err(|error| error.to_string());
        match &settings.ca {
            Some(path) => make(Trust::File(path.clone())),
            None => self.system.get_or_init(|| make(Trust::System)).clone(),
        }
    }

    pub fn is_elsewhere(&self, realm: &str, name: &str) -> bool {
        let info = self.node.consumers.info(realm, name);
        info.is_none_or(|info| info.row.holder.is_some() && self.node.is_elsewhere(info.row.holder))
    }
}

/// See the module.
pub struct Services {
    shared: Arc<Shared>,
    settings: Settings,
}

impl Services {
    pub fn new(node: Arc<Node>, clock: ClockFn, settings: Settings) -> Self {
        let shared = Shared {
            node,
            clock,
            allowed: settings.allowed.clone().into(),
            board: Arc::default(),
            running: AtomicUsize::new(0),
            system: OnceLock::new(),
        };
        Self { shared: Arc::new(shared), settings }
    }

    /// What can be seen of them.
    pub fn board(&self) -> Arc<Board> {
        self.shared.board.clone()
    }

    /// Makes the log know what the configuration says, however long that takes: what is published behind that is theirs.
    pub async fn configure(&self) {
        configure(&self.shared, &self.settings).await;
    }

    /// Runs them until it is dropped.
    pub async fn run(self) {
        let Self { shared, settings } = self;
        let mut watch = shared.node.consumers.watch();
        let mut tasks = JoinSet::new();
        let mut running: HashSet<(String, String)> = HashSet::new();
        let configure = configure(&shared, &settings);
        tokio::pin!(configure);
        let mut configured = false;
        loop {
            tokio::select! {
                () = watch.changed() => {}
                Some(ended) = tasks.join_next() => if let Ok(key) = ended { running.remove(&key); },
                () = &mut configure, if !configured => configured = true,
            }
            for ConsumerInfo { realm, name, .. } in shared.node.consumers.list(PREFIX) {
                let key = (realm.into_string(), name.into_string());
                if shared.is_elsewhere(&key.0, &key.1) || !running.insert(key.clone()) {
                    continue;
                }
                let shared = shared.clone();
                tasks.spawn(async move {
                    task::own(shared, key.0.clone(), key.1.clone()).await;
                    key
                });
            }
            shared.running.store(running.len(), Ordering::Relaxed);
        }
    }
}

/// Makes the log know what the configuration says, however long that takes.
async fn configure(shared: &Arc<Shared>, settings: &Settings) {
    for configured in &settings.services {
        let known = shared.node.consumers.info(&configured.realm, &format!("{PREFIX}{}", configured.id));
        if known.is_none_or(|known| !is_as(configured, &known)) {
            until_taken(|| set(shared, configured)).await;
        }
    }
    if !settings.alone {
        // Other entries may have others.
        return;
    }
    let is_there = |info: &ConsumerInfo| {
        let id = info.name.strip_prefix(PREFIX).unwrap_or_default();
        settings.services.iter().any(|configured| configured.id == id && *configured.realm == *info.realm)
    };
    for info in shared.node.consumers.list(PREFIX) {
        let was_configured = ServiceSettings::from_bytes(&info.row.settings).is_ok_and(|settings| settings.configured);
        if was_configured && !is_there(&info) {
            tracing::info!(service = &*info.name, "a service that is not in the configuration any more is removed");
            until_taken(|| shared.node.remove_consumer(&info.realm, &info.name)).await;
        }
    }
}

/// Whether the log has it so already. That it was paused at run time stays so.
fn is_as(configured: &Configured, known: &ConsumerInfo) -> bool {
    let patterns: Vec<String> = configured.patterns.iter().map(rows::pattern_text).collect();
    let settings = ServiceSettings::from_bytes(&known.row.settings);
    let same = |settings: ServiceSettings| {
        let paused = settings.paused;
        settings == ServiceSettings { paused, ..configured.settings.clone() }
    };
    known.row.patterns == patterns && settings.is_ok_and(same)
}

async fn set(shared: &Arc<Shared>, configured: &Configured) -> Result<(), ConsumerError> {
    let Configured { id, realm, patterns, settings } = configured;
    let name = format!("{PREFIX}{id}");
    shared.node.set_consumer(realm, &name, patterns, settings.to_bytes(), None).await
}

async fn until_taken<F: Future<Output = Result<(), ConsumerError>>>(mut attempt: impl FnMut() -> F) {
    loop {
        match attempt().await {
            Ok(()) | Err(ConsumerError::NotFound | ConsumerError::Stopping) => return,
            Err(error) => {
                tracing::warn!(%error, "a service of the configuration is not in the log yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
