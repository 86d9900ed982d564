//! Which peers want the events of a topic.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::PeerId;
use crate::router::broker::GroupKey;
use crate::router::index::Index;
use crate::types::topic::{Topic, TopicPattern};

/// What all peers want of a realm.
#[derive(Debug, Default)]
pub struct Reach {
    index: Index<Wanting>,
    /// Peers that want everything.
    everything: Vec<PeerId>,
}

/// Who wants the events of a pattern. Peers are sorted.
#[derive(Debug, Default)]
struct Wanting {
    plain: Vec<PeerId>,
    groups: Vec<ReachedGroup>,
}

/// A shared subscription with members at other entries.
#[derive(Clone, Debug)]
pub struct ReachedGroup {
    pub key: GroupKey,
    /// Entries that have some; sorted.
    pub peers: Vec<PeerId>,
    /// Whose turn it is among the entries that have members.
    pub turn: Arc<AtomicUsize>,
}

/// The peers that are sent the events of a topic.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Sorted.
    pub peers: Vec<PeerId>,
    pub groups: Vec<ReachedGroup>,
}

impl Reached {
    /// Nobody at another entry wants them.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.groups.is_empty()
    }
}

impl Reach {
    /// A peer begins or ends to want a pattern's events, for all or for one member of a group.
    pub fn set(&mut self, peer: PeerId, pattern: &TopicPattern, group: Option<&str>, wanted: bool) {
        if !wanted {
            return self.unset(peer, pattern, group);
        }
        let wanting = self.index.get_or_insert_with(pattern, Wanting::default);
        let peers = match group {
            None => &mut wanting.plain,
            Some(name) => wanting.group(name, pattern),
        };
        insert(peers, peer);
    }

    fn unset(&mut self, peer: PeerId, pattern: &TopicPattern, group: Option<&str>) {
        let Some(wanting) = self.index.get_mut(pattern) else { return };
        match group {
            None => remove(&mut wanting.plain, peer),
            Some(name) => {
                let found = wanting.groups.iter_mut().filter(|group| &*group.key.name == name);
                found.for_each(|group| remove(&mut group.peers, peer));
                wanting.groups.retain(|group| !group.peers.is_empty());
            }
        }
        if wanting.plain.is_empty() && wanting.groups.is_empty() {
            self.index.remove(pattern);
        }
    }

    /// A peer begins or ends to want everything.
    pub fn set_everything(&mut self, peer: PeerId, wanted: bool) {
        match wanted {
            true => insert(&mut self.everything, peer),
            false => remove(&mut self.everything, peer),
        }
    }

    /// Whether a peer wants this very pattern, for all or for a group.
    pub fn has(&self, pattern: &TopicPattern) -> bool {
        self.index.get(pattern).is_some()
    }

    /// Who wants the events of a topic. Nobody those of the broker's own topics, of which each entry has its own, but for the meta
    /// API's; and who wants everything does not mean these.
    pub fn of(&self, topic: &Topic) -> Reached {
        let mut reached = Reached::default();
        let is_meta = topic.is_meta();
        if topic.is_reserved() && !is_meta {
            return reached;
        }
        reached.peers.extend(&self.everything);
        self.index.matches(topic, |pattern, wanting| {
            if !is_meta || !pattern.passes_hidden_by() {
                reached.peers.extend(&wanting.plain);
                reached.groups.extend_from_slice(&wanting.groups);
            }
        });
        reached.peers.sort_unstable();
        reached.peers.dedup();
        reached
    }
}

impl Wanting {
    fn group(&mut self, name: &str, pattern: &TopicPattern) -> &mut Vec<PeerId> {
        let found = self.groups.iter().position(|group| &*group.key.name == name);
        let at = found.unwrap_or_else(|| {
            let key = GroupKey { name: name.into(), pattern: pattern.clone() };
            self.groups.push(ReachedGroup { key, peers: Vec::new(), turn: Arc::default() });
            self.groups.len() - 1
        });
        &mut self.groups[at].peers
    }
}

fn insert(peers: &mut Vec<PeerId>, peer: PeerId) {
    if let Err(at) = peers.binary_search(&peer) {
        peers.insert(at, peer);
    }
}

fn remove(peers: &mut Vec<PeerId>, peer: PeerId) {
    peers.retain(|known| *known != peer);
}
