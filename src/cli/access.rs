//! Users and roles of a running broker, which are read again.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::config::{Config, Problem};
use super::user::edit::UsersFile;
use super::watch::Look;
use crate::node::Node;
use crate::node::files::{Looked, Stamp};

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
        tracing::info!(users = new.users.len(), roles = new.roles.len(), ended, "users and roles are others now");
        *current = Config { users: new.users, roles: new.roles, ..current.clone() };
        Ok(())
    }

    /// Reloads when the file of users has changed. Does nothing when this has gone: the node, which this has, holds on to all that is
    /// read again.
    pub(super) fn look(self: &Arc<Self>) -> Look {
        let access: Weak<Self> = Arc::downgrade(self);
        let file = self.config.lock().users_file.clone();
        let stamp = move || Stamp::of(&file);
        let looked = Mutex::new(Looked::new(stamp()));
        Box::new(move |at_once| {
            let due = looked.lock().is_due(stamp(), at_once);
            due.then(|| Some(access.upgrade()?.reload())).flatten()
        })
    }
}
