//! How fast each client asks over HTTP: all requests of one user together, or of one address if nobody in particular asks.
//!
//! A connection counts for itself what came over it (`net::pace`), and is not read while that is too much. Requests come over any
//! connection, and whoever asks wants an answer: it is told when to ask again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;
use super::metrics::Limited;
use super::throttle::prefix;
use super::users::{ANONYMOUS, User};
use crate::types::rate::Rates;

/// Clients that are remembered. When full, those go whose requests count no more; if none does, all.
const CLIENTS_MAX: usize = 65_536;

/// By client. See the module.
#[derive(Debug, Default)]
pub struct RequestRates {
    clients: Mutex<HashMap<Asker, Rates>>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    User(Arc<str>),
    /// Of IPv6 a network of 64 bits.
    Address(IpAddr),
}

impl Asker {
    pub fn new(user: Option<&User>, address: IpAddr) -> Self {
        match user {
            Some(user) if *user.name != *ANONYMOUS => Self::User(user.name.clone()),
            _ => Self::Address(prefix(address)),
        }
    }
}

impl Node {
    /// A request has come, of this many bytes as far as is known.
    ///
    /// # Errors
    /// Those before it were too many: after so many milliseconds the next is answered. This one counts for nothing.
    pub fn take_request(&self, asker: &Asker, bytes: usize, now_ms: u64) -> Result<(), u64> {
        let Some(fresh) = Rates::new(&self.limits, now_ms) else { return Ok(()) };
        let mut clients = self.request_rates.clients.lock();
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(asker) {
            clients.retain(|_, rates| !rates.is_rested(now_ms));
            if clients.len() >= CLIENTS_MAX {
                clients.clear();
            }
        }
        let rates = clients.entry(asker.clone()).or_insert(fresh);
        match rates.until_next(now_ms) {
            0 => {
                rates.spend(1, bytes, now_ms);
                Ok(())
            }
            wait_ms => {
                self.metrics.limited(Limited::RateRefused, 1);
                Err(wait_ms)
            }
        }
    }

    /// A request that was taken had more bytes than were known.
    pub fn more_of_request(&self, asker: &Asker, bytes: usize, now_ms: u64) {
        if bytes > 0
            && let Some(rates) = self.request_rates.clients.lock().get_mut(asker)
        {
            rates.spend(0, bytes, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::{NOW_MS, node_with};
    use crate::types::limits::Limits;

    fn node(messages: u64, bytes: u64) -> Arc<Node> {
        let limits = Limits { messages_per_second_max: messages, bytes_per_second_max: bytes, ..Limits::default() };
        node_with(limits).0
    }

    fn address(text: &str) -> Asker {
        Asker::new(None, text.parse().unwrap())
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_ask_again_and_nobody_else() {
        let (node, one) = (node(4, 1 << 40), address("10.0.0.1"));
        assert!((0..4).all(|_| node.take_request(&one, 0, NOW_MS).is_ok()));
        assert_eq!(node.take_request(&one, 0, NOW_MS), Err(250));
        assert_eq!(node.take_request(&one, 0, NOW_MS + 249), Err(1), "what is refused does not count");
        assert_eq!(node.metrics.times_limited(Limited::RateRefused), 2);
        assert!(node.take_request(&address("10.0.0.2"), 0, NOW_MS).is_ok());
        assert!(node.take_request(&one, 0, NOW_MS + 250).is_ok());
    }

    #[test]
    fn large_requests_are_waited_for_whether_their_length_was_said_or_not() {
        let (node, one, other) = (node(1_000_000_000, 1024), address("fd00::1:2"), address("fd00::3:4"));
        assert!(node.take_request(&one, 1024, NOW_MS).is_ok());
        assert!(node.take_request(&one, 100, NOW_MS).is_ok());
        node.more_of_request(&one, 924, NOW_MS);
        assert_eq!(node.take_request(&other, 0, NOW_MS), Err(1000), "one network is one client");
    }

    #[test]
    fn a_user_has_one_rate_wherever_it_asks_from_and_nobody_in_particular_has_none() {
        let ann = User { name: "ann".into(), ..User::anonymous() };
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(Asker::new(Some(&ann), here), Asker::new(Some(&ann), there));
        let nobody = User::anonymous();
        assert_ne!(Asker::new(Some(&nobody), here), Asker::new(Some(&nobody), there));
    }

    #[test]
    fn many_addresses_do_not_fill_memory() {
        let node = node(1, 1 << 40);
        for at in 0..CLIENTS_MAX as u32 + 10 {
            assert!(node.take_request(&Asker::Address(IpAddr::V4(at.into())), 0, NOW_MS).is_ok());
        }
        assert!(node.request_rates.clients.lock().len() <= CLIENTS_MAX);
    }
}
