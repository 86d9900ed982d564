//! Wildcard patterns as a trie over levels.
//!
//! ```text
//! levels   "a" -> 0, "b" -> 1                      every text of an exact level once, with how many edges use it
//! edges    (root, 0) -> n1, (n2, 1) -> n3          one map for all nodes, so a node is 16 bytes however many children it has
//! nodes    root, n1 { single: n2, multi: e0 }, n2, n3 { ends: e1 }
//! entries  e0 = a/#, e1 = a/+/b
//! ```
//!
//! A topic's level is hashed once as text; from then on nodes and levels are numbers. Numbers of removed nodes, levels and
//! entries are used again.

use smallvec::SmallVec;

use super::shards::Shards;
use crate::types::limits::PATTERN_LEVELS_MAX;
use crate::types::topic::{PatternLevel, Topic, TopicPattern};

const ROOT: u32 = 0;
/// In place of the number of a node or entry: there is none.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Trie<T> {
    levels: Shards<Box<str>, Level>,
    level_ids: Ids,
    edges: Shards<(u32, u32), u32>,
    nodes: Vec<Node>,
    node_ids: Ids,
    entries: Vec<Option<(TopicPattern, T)>>,
    entry_ids: Ids,
    len: usize,
}

/// The text of an exact level.
#[derive(Debug)]
struct Level {
    id: u32,
    /// How many edges have it.
    uses: u32,
}

/// What remains of a pattern after the levels that lead here.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The node behind `+`.
    single: u32,
    /// The entry whose pattern ends here.
    ends: u32,
    /// The entry whose pattern ends with a `#` after here.
    multi: u32,
    /// How many exact levels follow here.
    edges: u32,
}

/// Numbers from 0 up; those given back are given out first.
#[derive(Debug, Default)]
struct Ids {
    next: u32,
    free: Vec<u32>,
}

/// The nodes that the levels read so far lead to.
type Front = SmallVec<[u32; 16]>;

/// What is left to try when looking for the best match; the last is tried first.
enum Try {
    /// This node, with so many levels read.
    Node(u32, usize),
    Entry(u32),
}

impl Node {
    const EMPTY: Self = Self { single: NONE, ends: NONE, multi: NONE, edges: 0 };

    fn is_empty(&self) -> bool {
        self.single == NONE && self.ends == NONE && self.multi == NONE && self.edges == 0
    }
}

impl Ids {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let id = self.next;
            assert!(id < NONE, "2^32 nodes would take 64 GiB: the limits on subscriptions end long before");
            self.next += 1;
            id
        })
    }

    fn give_back(&mut self, id: u32) {
        self.free.push(id);
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            levels: Shards::default(),
            level_ids: Ids::default(),
            edges: Shards::default(),
            nodes: vec![Node::EMPTY],
            node_ids: Ids { next: ROOT + 1, free: Vec::new() },
            entries: Vec::new(),
            entry_ids: Ids::default(),
            len: 0,
        }
    }
}

impl<T> Trie<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, pattern: &TopicPattern) -> Option<&T> {
        self.entry(self.find(pattern)?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, pattern: &TopicPattern) -> Option<&mut T> {
        let id = self.find(pattern)?;
        self.entries.get_mut(id as usize)?.as_mut().map(|(_, value)| value)
    }

    pub(super) fn get_or_insert_with(&mut self, pattern: &TopicPattern, make: impl FnOnce() -> T) -> &mut T {
        let mut node = ROOT;
        let mut multi = false;
        for level in pattern.levels() {
            match level {
                PatternLevel::Exact(text) => node = self.make_edge(node, text),
                PatternLevel::Single => node = self.make_single(node),
                PatternLevel::Multi => multi = true,
            }
        }
        let node = &mut self.nodes[node as usize];
        let place = if multi { &mut node.multi } else { &mut node.ends };
        if *place == NONE {
            *place = self.entry_ids.take();
            if self.entries.len() <= *place as usize {
                self.entries.push(None);
            }
            self.len += 1;
        }
        let (_, value) = self.entries[*place as usize].get_or_insert_with(|| (pattern.clone(), make()));
        value
    }

    pub(super) fn remove(&mut self, pattern: &TopicPattern) -> Option<T> {
        let path = self.path(pattern)?;
        let last = &mut self.nodes[*path.last()? as usize];
        let place = if ends_with_multi(pattern) { &mut last.multi } else { &mut last.ends };
        let id = std::mem::replace(place, NONE);
        let (_, value) = self.entries.get_mut(id as usize)?.take()?;
        self.entry_ids.give_back(id);
        self.len -= 1;
        self.prune(pattern, &path);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPattern, &T)> {
        self.entries.iter().flatten().map(|(pattern, value)| (pattern, value))
    }

    pub(super) fn matches<'a>(&'a self, topic: &Topic, visit: &mut impl FnMut(&'a TopicPattern, &'a T)) {
        let mut show = |id: u32| {
            if let Some((pattern, value)) = self.entry(id) {
                visit(pattern, value);
            }
        };
        let mut front = Front::from_slice(&[ROOT]);
        let mut next = Front::new();
        // A leading wildcard passes hidden topics by (MQTT 5, 4.7.2).
        let mut wildcards = !topic.is_hidden();
        for level in topic.levels() {
            let level = self.levels.get(level).map(|level| level.id);
            for &id in &front {
                let node = &self.nodes[id as usize];
                if wildcards {
                    show(node.multi);
                    next.extend((node.single != NONE).then_some(node.single));
                }
                next.extend(self.follow(id, node, level));
            }
            if next.is_empty() {
                return;
            }
            std::mem::swap(&mut front, &mut next);
            next.clear();
            wildcards = true;
        }
        for id in front {
            let node = &self.nodes[id as usize];
            show(node.ends);
            // `a/#` matches `a` too (MQTT 5, 4.7.1.2).
            show(node.multi);
        }
    }

    /// The match that is exact for longest, level by level from the left: that is WAMP's longest first portion, and among
    /// equals the longest second, and so on.
    pub(super) fn best(&self, topic: &Topic) -> Option<(&TopicPattern, &T)> {
        // No node is deeper than a pattern has levels, so whether a topic has more than one beyond that makes no difference.
        let levels = topic.levels().take(PATTERN_LEVELS_MAX + 1);
        let levels: SmallVec<[_; 16]> = levels.map(|level| self.levels.get(level).map(|level| level.id)).collect();
        let mut tries: SmallVec<[Try; 16]> = SmallVec::new();
        tries.push(Try::Node(ROOT, 0));
        while let Some(next) = tries.pop() {
            let (id, depth) = match next {
                Try::Node(id, depth) => (id, depth),
                Try::Entry(id) => return self.entry(id),
            };
            let node = &self.nodes[id as usize];
            if let Some(&level) = levels.get(depth) {
                if depth > 0 || !topic.is_hidden() {
                    tries.extend((node.multi != NONE).then_some(Try::Entry(node.multi)));
                    tries.extend((node.single != NONE).then_some(Try::Node(node.single, depth + 1)));
                }
                tries.extend(self.follow(id, node, level).map(|child| Try::Node(child, depth + 1)));
            } else if let Some(found) = self.entry(node.ends).or_else(|| self.entry(node.multi)) {
                return Some(found);
            }
        }
        None
    }

    /// Whether nothing is left of removed patterns but room for new ones.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.iter().next().is_none()
            && self.levels.len() + self.edges.len() == 0
            && self.nodes[0].is_empty()
            && self.node_ids.free.len() + 1 == self.nodes.len()
            && self.entry_ids.free.len() == self.entries.len()
            && self.level_ids.free.len() == self.level_ids.next as usize
    }

    /// The entry of that number; none for [`NONE`].
    fn entry(&self, id: u32) -> Option<(&TopicPattern, &T)> {
        self.entries.get(id as usize)?.as_ref().map(|(pattern, value)| (pattern, value))
    }

    /// The node behind an exact level of this number.
    fn follow(&self, id: u32, node: &Node, level: Option<u32>) -> Option<u32> {
        if node.edges == 0 { None } else { self.edges.get(&(id, level?)).copied() }
    }

    /// The number of the pattern's entry, or [`NONE`]; nothing if not even its levels are here.
    fn find(&self, pattern: &TopicPattern) -> Option<u32> {
        let node = self.nodes[*self.path(pattern)?.last()? as usize];
        Some(if ends_with_multi(pattern) { node.multi } else { node.ends })
    }

    /// The nodes from the root along the pattern's levels, a last `#` left out.
    fn path(&self, pattern: &TopicPattern) -> Option<Front> {
        let mut node = ROOT;
        let mut path = Front::from_slice(&[ROOT]);
        for level in pattern.levels() {
            node = match level {
                PatternLevel::Exact(text) => *self.edges.get(&(node, self.levels.get(text)?.id))?,
                PatternLevel::Single => Some(self.nodes[node as usize].single).filter(|single| *single != NONE)?,
                PatternLevel::Multi => break,
            };
            path.push(node);
        }
        Some(path)
    }

    fn make_edge(&mut self, parent: u32, text: &str) -> u32 {
        let level = match self.levels.get_mut(text) {
            Some(level) => level,
            None => self.levels.get_or_insert_with::<str>(text.into(), || Level { id: self.level_ids.take(), uses: 0 }),
        };
        if let Some(child) = self.edges.get(&(parent, level.id)) {
            return *child;
        }
        level.uses += 1;
        let edge = (parent, level.id);
        let child = self.make_node();
        self.nodes[parent as usize].edges += 1;
        self.edges.get_or_insert_with::<(u32, u32)>(edge, || child);
        child
    }

    fn make_single(&mut self, parent: u32) -> u32 {
        if self.nodes[parent as usize].single == NONE {
            self.nodes[parent as usize].single = self.make_node();
        }
        self.nodes[parent as usize].single
    }

    fn make_node(&mut self) -> u32 {
        let id = self.node_ids.take();
        if self.nodes.len() <= id as usize {
            self.nodes.push(Node::EMPTY);
        }
        id
    }

    /// Removes the nodes of a path that lead to nothing any more, the last first.
    fn prune(&mut self, pattern: &TopicPattern, path: &[u32]) {
        let levels: SmallVec<[PatternLevel<'_>; 16]> = pattern.levels().collect();
        for (&[parent, node], level) in path.array_windows().zip(levels).rev() {
            if !self.nodes[node as usize].is_empty() {
                return;
            }
            match level {
                PatternLevel::Exact(text) => self.remove_edge(parent, text),
                PatternLevel::Single | PatternLevel::Multi => self.nodes[parent as usize].single = NONE,
            }
            self.node_ids.give_back(node);
        }
    }

    fn remove_edge(&mut self, parent: u32, text: &str) {
        let Some(level) = self.levels.get_mut(text) else { return };
        level.uses -= 1;
        let (id, unused) = (level.id, level.uses == 0);
        self.edges.remove(&(parent, id));
        self.nodes[parent as usize].edges -= 1;
        if unused {
            self.levels.remove(text);
            self.level_ids.give_back(id);
        }
    }
}

fn ends_with_multi(pattern: &TopicPattern) -> bool {
    pattern.levels().last() == Some(PatternLevel::Multi)
}
