//! The log without threads: a submission is worked off by its own caller. For tests, and for a broker in one thread.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{ClockFn, Engine, Feed, LogError};
use crate::node::Node;
use crate::queue::outcome::Refused;

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
        let Some(mut works) = self.works.try_lock() else { return };
        loop {
            let submissions = std::mem::take(&mut node.log.inbox.lock().submissions);
            let idle = submissions.is_empty();
            works.take(submissions, node, (self.clock)());
            if idle {
                return;
            }
        }
    }

    /// Tries to go on after a failure of the store.
    ///
    /// # Errors
    /// It still fails.
    pub fn recover(&self, node: &Arc<Node>) -> Result<(), LogError> {
        let mut works = self.works.lock();
        let fed = works.engine.recover()?;
        node.log.set_health(None);
        works.feed.feed(fed, (self.clock)());
        Ok(())
    }

    /// The broker stops.
    pub fn stop(&self, node: &Arc<Node>) {
        node.log.close(Some(Refused::Stopping));
        self.run(node);
    }
}

impl Works {
    fn take(&mut self, submissions: Vec<super::Submission>, node: &Arc<Node>, now_ms: u64) {
        let bytes: usize = submissions.iter().map(|submission| submission.batch.len()).sum();
        let mut refused = super::Fed::default();
        for submission in submissions {
            self.engine.take(submission, &mut refused);
        }
        self.feed.feed(refused, now_ms);
        while let Some(fed) = self.engine.step(now_ms * 1000) {
            if let Some(failed) = self.engine.failed() {
                node.log.set_health(Some(failed));
            }
            self.feed.feed(fed, now_ms);
        }
        node.log.resolved(bytes);
    }
}
