//! The log without threads: a submission is worked off by its own caller. For tests, and for a broker in one thread.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{ClockFn, Engine, Feed};
#[cfg(test)]
use super::{Fed, LogError};
use crate::node::Node;

/// See the module.
pub struct Inline {
    works: Mutex<Works>,
    clock: ClockFn,
}

struct Works {
    engine: Engine,
    feed: Feed,
}

impl Inline {
    pub fn new(engine: Engine, feed: Feed, clock: ClockFn) -> Self {
        Self { works: Mutex::new(Works { engine, feed }), clock }
    }

    /// Works off what was submitted, unless that is being done: outcomes may make their receivers submit more.
    pub fn run(&self, node: &Arc<Node>) {
        loop {
            let Some(mut works) = self.works.try_lock() else { return };
            let submitted = std::mem::take(&mut node.log.inbox.lock().submissions);
            let Works { engine, feed } = &mut *works;
            node.log.work_off(engine, submitted, &self.clock, &mut |fed| feed.feed(fed, (self.clock)()));
            drop(works);
            // Somebody else may have submitted more, and gone away because this was being done.
            if node.log.inbox.lock().submissions.is_empty() {
                return;
            }
        }
    }

    /// Tries to go on after a failure of the store.
    ///
    /// # Errors
    /// It still fails.
    #[cfg(test)]
    pub fn recover(&self, node: &Arc<Node>) -> Result<(), LogError> {
        let mut works = self.works.lock();
        let mut fed = Fed::default();
        let recovered = works.engine.recover(&mut fed);
        node.log.set_health(works.engine.failed());
        works.feed.feed(fed, (self.clock)());
        recovered
    }
}
