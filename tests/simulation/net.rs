//! Links between nodes, as TCP has them: in order, nothing lost but with the link itself, which both ends notice some time later.

use std::collections::BTreeMap;

use fennec::queue::envelope::{Envelope, NodeId};

use crate::dice::Dice;

/// A link, by its two ends, the lower first.
pub type Pair = (NodeId, NodeId);

pub struct Link {
    /// How often it was cut.
    pub epoch: u32,
    pub is_up: bool,
    /// It cannot be set up.
    pub is_cut: bool,
    /// What goes up (from the lower to the higher), and down, waits.
    pub is_stalled: [bool; 2],
    stalled: [Vec<Envelope>; 2],
    /// Nothing arrives before what was sent before it.
    not_before: [u64; 2],
    /// Longest delay, in microseconds.
    delay_us: u64,
}

#[derive(Default)]
pub struct Net {
    links: BTreeMap<Pair, Link>,
}

pub fn pair(a: &NodeId, b: &NodeId) -> Pair {
    if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

impl Net {
    pub fn add(&mut self, pair: Pair) {
        let stalled = [Vec::new(), Vec::new()];
        let is_stalled = [false; 2];
        let link =
            Link { epoch: 0, is_up: false, is_cut: false, is_stalled, stalled, not_before: [0; 2], delay_us: 2000 };
        self.links.insert(pair, link);
    }

    pub fn link(&mut self, pair: &Pair) -> &mut Link {
        self.links.get_mut(pair).expect("nodes that never talk have no link")
    }

    pub fn pairs(&self) -> Vec<Pair> {
        self.links.keys().cloned().collect()
    }

    /// The other ends of a node's links.
    pub fn of(&self, node: &NodeId) -> Vec<Pair> {
        self.links.keys().filter(|(a, b)| a == node || b == node).cloned().collect()
    }

    /// When it arrives, and by which life of the link; `None`: it is lost, or stalled.
    pub fn send(&mut self, now: u64, envelope: Envelope, dice: &mut Dice) -> Option<(u64, u32, Envelope)> {
        let direction = usize::from(envelope.from > envelope.to);
        let link = self.link(&pair(&envelope.from, &envelope.to));
        if !link.is_up {
            return None;
        }
        if link.is_stalled[direction] {
            link.stalled[direction].push(envelope);
            return None;
        }
        let delay =
            if dice.chance(30) { dice.range(link.delay_us, 10 * link.delay_us) } else { dice.range(50, link.delay_us) };
        let at = (now + delay).max(link.not_before[direction]);
        link.not_before[direction] = at;
        Some((at, link.epoch, envelope))
    }
}

impl Link {
    /// It breaks: what is under way is lost.
    pub fn cut(&mut self) {
        self.epoch += 1;
        self.is_up = false;
        self.is_stalled = [false; 2];
        self.stalled = [Vec::new(), Vec::new()];
        self.not_before = [0; 2];
    }

    pub fn stall(&mut self, direction: usize) {
        self.is_stalled[direction] = self.is_up;
    }

    /// It works again: what waited is sent.
    pub fn flow(&mut self) -> Vec<Envelope> {
        self.is_stalled = [false; 2];
        self.stalled.iter_mut().flat_map(std::mem::take).collect()
    }

    pub fn slow(&mut self, delay_us: u64) {
        self.delay_us = delay_us;
    }
}
