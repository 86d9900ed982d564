//! Keys that somebody watches: the house is told when they change.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::fresh::Tide;
use super::{Item, Queue};
use crate::types::topic::Topic;

/// One in each realm. A key rings it once until the house has looked.
#[derive(Default)]
pub struct Bell {
    house: OnceLock<(Arc<Queue>, Arc<Tide>)>,
    /// Somebody watches a key, so that others need not take the lock.
    used: AtomicBool,
    watched: Mutex<HashSet<Box<str>>>,
}

impl Bell {
    pub(super) fn install(&self, queue: &Arc<Queue>, tide: &Arc<Tide>) {
        let _ = self.house.set((queue.clone(), tide.clone()));
    }

    pub(super) fn house(&self) -> Option<&(Arc<Queue>, Arc<Tide>)> {
        self.house.get()
    }

    /// Begins or ends to watch a key.
    pub(super) fn watch(&self, topic: &Topic, watched: bool) {
        let mut all = self.watched.lock();
        if watched {
            all.insert(topic.name().into());
        } else {
            all.remove(topic.name());
        }
        self.used.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// The value of a key is another one.
    pub(in crate::node) fn ring(&self, realm: &Arc<str>, topic: &Topic) {
        if self.used.load(Ordering::SeqCst)
            && self.watched.lock().contains(topic.name())
            && let Some((queue, _)) = self.house.get()
        {
            queue.push(Item::Changed { realm: realm.clone(), topic: topic.name().into() });
        }
    }
}
