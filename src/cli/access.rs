//! Users and roles of a running broker: they are read again when the file of users has changed, and on SIGHUP. What cannot be used
//! is logged, and what was there stays.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{Config, Problem};
use super::user::edit::UsersFile;
use crate::node::Node;

/// How often it is looked whether the file has changed.
const LOOK: Duration = Duration::from_millis(300);

/// See the module.
pub struct Access {
    node: Arc<Node>,
    /// What holds.
    config: Mutex<Config>,
}

impl Access {
    /// `config` is what the node was made of.
    pub fn new(node: Arc<Node>, config: Config) -> Arc<Self> {
        Arc::new(Self { node, config: Mutex::new(config) })
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The configuration whose users and roles hold.
    pub fn config(&self) -> Config {
        self.config.lock().clone()
    }

    /// The file in which users can be changed, if there is one.
    pub fn users_file(&self) -> Option<UsersFile> {
        let config = self.config.lock();
        Some(UsersFile::new(config.users_file.clone()?, Some(config.sources.clone())))
    }

    /// Reads users and roles again, and ends the connections of those who may not do any more what they might.
    ///
    /// # Errors
    /// What is written cannot be used: a line for each mistake. What was there stays.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        // Whoever comes second reads what the first may have missed.
        let mut current = self.config.lock();
        let lines = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<String>>();
        let new = Config::load(&current.sources).map_err(lines)?;
        if (&new.users, &new.roles) == (&current.users, &current.roles) {
            return Ok(());
        }
        let roles = new.clone();
        let ended = self.node.replace_access(new.users.clone(), Box::new(move |realm| roles.authorizer(realm)));
        let ended = ended.map_err(|error| vec![error.to_string()])?;
        tracing::info!(users = new.users.len(), roles = new.roles.len(), ended, "users and roles were read again");
        *current = Config { users: new.users, roles: new.roles, ..current.clone() };
        Ok(())
    }

    fn reload_or_tell(&self) {
        if let Err(problems) = self.reload() {
            for problem in problems {
                tracing::error!("{problem}; users and roles are left as they are");
            }
        }
    }

    /// Follows the file and the signal, as long as the runtime works.
    pub fn follow(self: &Arc<Self>, runtime: &Handle) {
        let access = self.clone();
        runtime.spawn(async move {
            let path = access.config.lock().users_file.clone();
            let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
            let mut seen = path.as_deref().map(stamp);
            let mut last = seen;
            loop {
                let signalled = tokio::select! {
                    _ = hangup.recv() => true,
                    () = tokio::time::sleep(LOOK) => false,
                };
                let now = path.as_deref().map(stamp);
                // One that changes still is being written.
                let settled = now == std::mem::replace(&mut last, now);
                if !signalled && (now == seen || !settled) {
                    continue;
                }
                seen = now;
                let access = access.clone();
                // Reading files and ending sessions is not for the thread that takes connections.
                let _ = tokio::task::spawn_blocking(move || access.reload_or_tell()).await;
            }
        });
    }
}

/// What changes when a file does.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
