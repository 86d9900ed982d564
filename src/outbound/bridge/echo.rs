//! What was sent and comes back: a broker of MQTT 3.1.1 sends what a client publishes to that client, too, if it is subscribed.
//!
//! What was sent is remembered for a while, by what it says; what comes in and says the same was it. Each is dropped once.

use std::collections::{HashMap, VecDeque};

use super::rules::Fnv;

/// What was sent and did not come back in this time will not.
const AGE_MS: u64 = 60_000;
/// Messages that are remembered.
const KEPT_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Echoes {
    /// How often a message of this hash is expected.
    expected: HashMap<u64, u32>,
    /// In the order in which they were sent, with the time.
    order: VecDeque<(u64, u64)>,
}

impl Echoes {
    /// A message was sent that will come back.
    pub fn expect(&mut self, topic: &str, payload: &[u8], now_ms: u64) {
        self.forget(now_ms);
        let hash = hash(topic, payload);
        *self.expected.entry(hash).or_default() += 1;
        self.order.push_back((hash, now_ms));
    }

    /// Whether a message that came is one that was sent.
    pub fn take(&mut self, topic: &str, payload: &[u8], now_ms: u64) -> bool {
        self.forget(now_ms);
        let hash = hash(topic, payload);
        let Some(count) = self.expected.get_mut(&hash) else { return false };
        *count -= 1;
        if *count == 0 {
            self.expected.remove(&hash);
        }
        // Echoes come in the order in which they were sent: it is near the front.
        if let Some(at) = self.order.iter().position(|(sent, _)| *sent == hash) {
            self.order.remove(at);
        }
        true
    }

    /// The session is gone, and with it what it had to send.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((hash, at_ms)) = self.order.front().copied() {
            if at_ms + AGE_MS > now_ms && self.order.len() < KEPT_MAX {
                return;
            }
            self.order.pop_front();
            if let Some(count) = self.expected.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.expected.remove(&hash);
                }
            }
        }
    }
}

fn hash(topic: &str, payload: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.add(topic.as_bytes());
    hash.add(payload);
    hash.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_that_was_sent_is_dropped_once() {
        let mut echoes = Echoes::default();
        echoes.expect("t", b"x", 0);
        echoes.expect("t", b"x", 0);
        let mut came = |topic: &str, payload: &[u8]| echoes.take(topic, payload, 1);
        assert!(!came("u", b"x") && !came("t", b"y"), "others say something else");
        assert!(came("t", b"x") && came("t", b"x"));
        assert!(!came("t", b"x"), "somebody else says the same");
        assert!(echoes.order.is_empty() && echoes.expected.is_empty());
    }

    #[test]
    fn what_never_comes_back_does_not_swallow_what_others_say_later() {
        let mut echoes = Echoes::default();
        echoes.expect("t", b"x", 0);
        assert!(!echoes.take("t", b"x", AGE_MS));
        echoes.expect("t", b"x", 0);
        echoes.clear();
        assert!(!echoes.take("t", b"x", 1));
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let mut echoes = Echoes::default();
        (0..KEPT_MAX + 10).for_each(|n| echoes.expect("t", &n.to_le_bytes(), 0));
        assert!(echoes.order.len() <= KEPT_MAX && echoes.expected.len() <= KEPT_MAX);
        assert!(echoes.take("t", &(KEPT_MAX + 9).to_le_bytes(), 1));
    }
}
