//! How many connections there may be, of all listeners together and of each address, and how fast they may come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::Clock;
use crate::node::Node;
use crate::node::metrics::{Limited, Protocol};
use crate::node::throttle::prefix;
use crate::types::rate::Rate;

/// While there is no memory for connections, so many of HTTP are taken all the same: who looks after the broker comes by it.
const HTTP_WHEN_TIGHT: u64 = 256;
/// Addresses without a connection are forgotten when there are so many of them.
const IDLE_MAX: usize = 16_384;

/// See the module.
pub struct Seats {
    node: Arc<Node>,
    clock: Clock,
    taken: AtomicUsize,
    connects: Mutex<Rate>,
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

/// What comes from one address.
struct Address {
    open: usize,
    connects: Rate,
}

impl Seats {
    pub fn new(node: Arc<Node>, clock: Clock) -> Arc<Self> {
        let connects = Mutex::new(Rate::new(node.limits.connects_per_second_max, clock.now_ms()));
        Arc::new(Self { node, clock, taken: AtomicUsize::new(0), connects, addresses: Mutex::default() })
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// A seat for one more connection from this address; `None`: whose address will be known later ([`Seat::count`]). No seat: as
    /// many as there may be; the refusal is counted for `protocol`.
    pub fn take(self: &Arc<Self>, protocol: Protocol, address: Option<IpAddr>) -> Option<Seat> {
        let refuse = |limit| {
            self.node.metrics.of(protocol).connections_refused.fetch_add(1, Ordering::Relaxed);
            self.node.metrics.limited(limit, 1);
        };
        if self.node.memory.is_tight() && !self.is_for_operators(protocol) {
            refuse(Limited::MemoryConnections);
            return None;
        }
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.node.limits.connections_max {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            refuse(Limited::Connections);
            return None;
        }
        let mut seat = Seat { seats: self.clone(), address: None };
        let counted = address.is_none_or(|address| seat.count(address));
        if !counted {
            self.node.metrics.of(protocol).connections_refused.fetch_add(1, Ordering::Relaxed);
        }
        counted.then_some(seat)
    }

    /// How long the next connection has to wait until it is accepted.
    pub fn pause(&self) -> Option<Duration> {
        let wait_ms = self.connects.lock().spend(1, self.clock.now_ms());
        if wait_ms == 0 {
            return None;
        }
        self.node.metrics.limited(Limited::Connects, 1);
        Some(Duration::from_millis(wait_ms))
    }

    fn is_for_operators(&self, protocol: Protocol) -> bool {
        let totals = self.node.metrics.of(Protocol::Http);
        let closed = totals.connections_closed.load(Ordering::Relaxed);
        let open = totals.connections_opened.load(Ordering::Relaxed).saturating_sub(closed);
        protocol == Protocol::Http && open < HTTP_WHEN_TIGHT
    }

    /// Counts one more from an address, if it may.
    fn enter(&self, address: IpAddr) -> Result<(), Limited> {
        let (limits, now_ms) = (&self.node.limits, self.clock.now_ms());
        let mut addresses = self.addresses.lock();
        if addresses.len() >= IDLE_MAX + self.taken.load(Ordering::Relaxed) {
            addresses.retain(|_, one| one.open > 0 || !one.connects.is_rested(now_ms));
        }
        let new = || Address { open: 0, connects: Rate::new(limits.connects_per_second_per_address_max, now_ms) };
        let one = addresses.entry(address).or_insert_with(new);
        if one.open >= limits.connections_per_address_max {
            return Err(Limited::ConnectionsPerAddress);
        }
        if !one.connects.allows(now_ms) {
            return Err(Limited::ConnectsPerAddress);
        }
        one.open += 1;
        Ok(())
    }

    fn leave(&self, address: IpAddr) {
        let mut addresses = self.addresses.lock();
        let Some(one) = addresses.get_mut(&address) else { return };
        one.open -= 1;
        if one.open == 0 && one.connects.is_rested(self.clock.now_ms()) {
            addresses.remove(&address);
        }
    }
}

/// One connection that counts until this is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    /// As whose it counts.
    address: Option<IpAddr>,
}

impl Seat {
    /// Counts the connection for an address, once. False: that has as many as it may, or made them too fast; the refusal is counted.
    pub fn count(&mut self, address: IpAddr) -> bool {
        if self.address.is_some() {
            return true;
        }
        let address = prefix(address);
        match self.seats.enter(address) {
            Ok(()) => {
                self.address = Some(address);
                true
            }
            Err(limit) => {
                self.seats.node.metrics.limited(limit, 1);
                false
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            self.seats.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing;
    use crate::types::limits::Limits;

    fn seats(limits: Limits) -> Arc<Seats> {
        Seats::new(testing::node_with(limits).0, Clock::default())
    }

    fn take(seats: &Arc<Seats>, address: &str) -> Option<Seat> {
        seats.take(Protocol::Mqtt, Some(address.parse().unwrap()))
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_is_gone() {
        let seats = seats(Limits { connections_max: 2, ..Limits::default() });
        let first = take(&seats, "10.0.0.1");
        let _second = take(&seats, "10.0.0.2").unwrap();
        assert!(take(&seats, "10.0.0.3").is_none());
        assert_eq!(seats.node.metrics.times_limited(Limited::Connections), 1);
        drop(first);
        assert!(take(&seats, "10.0.0.3").is_some());
    }

    #[test]
    fn each_address_has_its_share_and_a_network_of_ipv6_is_one() {
        let seats = seats(Limits { connections_per_address_max: 2, ..Limits::default() });
        let kept: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "fd00::2"].map(|text| take(&seats, text)).into();
        assert!(kept.iter().all(Option::is_some));
        for full in ["10.0.0.1", "fd00::3"] {
            assert!(take(&seats, full).is_none(), "{full}");
        }
        assert!(take(&seats, "10.0.0.2").is_some() && take(&seats, "fd00:0:0:1::1").is_some());
        assert_eq!(seats.node.metrics.times_limited(Limited::ConnectionsPerAddress), 2);
        drop(kept);
        assert!(take(&seats, "fd00::3").is_some());
        assert_eq!(seats.taken.load(Ordering::Relaxed), 0, "who was refused does not count");
    }

    #[test]
    fn an_address_that_connects_too_fast_is_refused_and_no_other() {
        let seats = seats(Limits { connects_per_second_per_address_max: 3, ..Limits::default() });
        let taken = (0..10).filter(|_| take(&seats, "10.0.0.1").is_some()).count();
        assert!((3..9).contains(&taken), "{taken}");
        assert!(take(&seats, "10.0.0.2").is_some());
    }

    #[test]
    fn connections_that_come_too_fast_wait() {
        let seats = seats(Limits { connects_per_second_max: 2, ..Limits::default() });
        let waits: Vec<_> = (0..20).map(|_| seats.pause()).collect();
        assert_eq!(waits[..2], [None, None]);
        assert!(waits[19].is_some_and(|wait| wait > Duration::from_secs(1)), "{waits:?}");
        assert!(seats.node.metrics.times_limited(Limited::Connects) >= 10);
    }

    #[test]
    fn whose_address_is_told_by_a_proxy_counts_then() {
        let seats = seats(Limits { connections_per_address_max: 1, ..Limits::default() });
        let (mut first, mut second) =
            (seats.take(Protocol::Mqtt, None).unwrap(), seats.take(Protocol::Mqtt, None).unwrap());
        let address = "1.2.3.4".parse().unwrap();
        assert!(first.count(address) && !second.count(address));
        drop(first);
        assert!(second.count(address));
    }

    #[test]
    fn without_memory_only_operators_are_let_in() {
        let seats = seats(Limits::default());
        seats.node.memory.note(2, 1);
        assert!(take(&seats, "10.0.0.1").is_none());
        assert!(seats.take(Protocol::Http, None).is_some());
        assert_eq!(seats.node.metrics.times_limited(Limited::MemoryConnections), 1);
        seats.node.memory.note(0, 1);
        assert!(take(&seats, "10.0.0.1").is_some());
    }
}
