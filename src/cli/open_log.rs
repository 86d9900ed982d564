//! Opens the store and has the log worked: what is damaged is set aside, unless the configuration is strict.

use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::broker::make_node;
use super::config::Config;
use crate::mqtt::{self, RestoreError};
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::log::{LogError, Threads};
use crate::store::{self, Opened, StoreError, SyncMode};

/// Why the log is not there.
enum Fault {
    /// The store has what was never written there.
    Damaged(String),
    Other(String),
}

impl Fault {
    fn of_store(what: &str, error: &StoreError) -> Self {
        let text = format!("{what}: {error}");
        if matches!(error, StoreError::Damaged(_)) { Self::Damaged(text) } else { Self::Other(text) }
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        let text = format!("cannot open the log: {error}");
        if error.is_damage() { Self::Damaged(text) } else { Self::Other(text) }
    }
}

impl From<RestoreError> for Fault {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Store(StoreError::Damaged(_)) | RestoreError::Damaged(_) => Self::Damaged(error.to_string()),
            RestoreError::Store(_) => Self::Other(error.to_string()),
        }
    }
}

/// How far behind the log the clock may be without anybody being told.
const BEHIND_MS: u64 = 60_000;

/// A node whose log works, and the clock that it goes by: never behind the times in the log, or nothing would ever be due that is
/// dated by these.
///
/// # Errors
/// The store cannot be had, or is damaged and may not be set aside; or the system has no threads left.
pub(super) fn open_log(config: &Config, clock: Clock) -> Result<(Arc<Node>, Threads, Clock), Failure> {
    let opened = store::open(&config.store);
    let opened = opened.map_err(|error| Failure::Run(format!("cannot open the store: {error}")))?;
    let node = make_node(config)?;
    let why = match work(config, &node, opened, clock) {
        Ok((threads, clock)) => return Ok((node, threads, clock)),
        Err(Fault::Other(why)) => return Err(Failure::Run(why)),
        Err(Fault::Damaged(why)) => why,
    };
    // What the node has read of it by now is worth nothing either.
    drop(node);
    let opened = store::open_anew(&config.store, &why);
    let opened = opened.map_err(|error| Failure::Run(format!("cannot open the store: {error}")))?;
    let node = make_node(config)?;
    match work(config, &node, opened, clock) {
        Ok((threads, clock)) => Ok((node, threads, clock)),
        Err(Fault::Damaged(why) | Fault::Other(why)) => Err(Failure::Run(why)),
    }
}

fn work(config: &Config, node: &Arc<Node>, opened: Opened, clock: Clock) -> Result<(Threads, Clock), Fault> {
    if let Some(place) = &opened.set_aside {
        node.log.alarm(format!("a damaged database was set aside as {}", place.display()));
    }
    let log = node.open_log(opened.store, clock.now_ms())?;
    let logged_ms = log.0.state().time_us() / 1000;
    let behind_ms = logged_ms.saturating_sub(clock.now_ms());
    if behind_ms > BEHIND_MS {
        let behind_s = behind_ms / 1000;
        node.log.alarm(format!(
            "the system's clock is {behind_s} s behind the log: the broker goes on from the log's time"
        ));
    }
    let clock = clock.not_before(logged_ms);
    let reader = log.0.store().reader().map_err(|error| Fault::of_store("cannot read the store", &error))?;
    mqtt::restore(node, { reader }.as_mut())?;
    let interval = Duration::from_millis(config.store.sync_interval_ms);
    let sync_every = (config.store.sync == SyncMode::Interval).then_some(interval);
    let threads = node.run_log(log, Arc::new(move || clock.now_ms()), sync_every);
    let threads = threads.map_err(|error| Fault::Other(format!("cannot start threads: {error}")))?;
    Ok((threads, clock))
}
