//! A mailbox between a publisher, a connection that runs only when it is woken, and a client that reads, acknowledges and
//! reconnects as it likes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::node::testing::Frame;

#[derive(Clone, Debug)]
enum Step {
    /// A run of so many events, perhaps for an encoding that the client does not speak any more.
    OfferRun {
        qos: Qos,
        count: usize,
        stale: bool,
    },
    Offer {
        qos: Qos,
    },
    Retained {
        qos: Qos,
        count: usize,
    },
    /// The connection writes what waits.
    Run,
    /// The client acknowledges one of the messages it holds.
    Acknowledge {
        place: usize,
    },
    Disconnect,
    Connect {
        receive_max: u16,
        wire: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || prop_oneof![Just(AtMostOnce), Just(AtLeastOnce), Just(ExactlyOnce)];
    prop_oneof![
        5 => (qos(), 1..5_usize, prop::bool::weighted(0.2))
            .prop_map(|(qos, count, stale)| Step::OfferRun { qos, count, stale }),
        3 => qos().prop_map(|qos| Step::Offer { qos }),
        1 => (qos(), 1..4_usize).prop_map(|(qos, count)| Step::Retained { qos, count }),
        6 => Just(Step::Run),
        8 => (0..6_usize).prop_map(|place| Step::Acknowledge { place }),
        1 => Just(Step::Disconnect),
        1 => (1..6_u16, WIRE..=OTHER_WIRE).prop_map(|(receive_max, wire)| Step::Connect { receive_max, wire }),
    ]
}

/// How far a message is, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Received {
        qos: u8,
        number: u32,
    },
    /// PUBREC was sent.
    Released,
}

struct World {
    mailbox: Mailbox,
    link: Option<Arc<Link>>,
    wire: u8,
    receive_max: u16,
    /// The connection was woken and did not run since.
    woken: bool,
    offered: u32,
    /// Of these, what the client must get.
    owed: BTreeSet<u32>,
    retained: BTreeSet<u32>,
    /// By packet identifier: what the client has of this connection and did not finish, and what it keeps of QoS 2.
    held: BTreeMap<u16, Held>,
    delivered: BTreeSet<u32>,
    /// For these the client sent PUBREC: they must not come again.
    released: BTreeSet<u32>,
    /// Over this connection with QoS 1 or 2, retained values aside.
    last: u32,
    last_qos_0: u32,
}

impl World {
    fn new() -> Self {
        Self {
            mailbox: with_bounds(300, 10_000),
            link: None,
            wire: WIRE,
            receive_max: 0,
            woken: false,
            offered: 0,
            owed: BTreeSet::new(),
            retained: BTreeSet::new(),
            held: BTreeMap::new(),
            delivered: BTreeSet::new(),
            released: BTreeSet::new(),
            last: 0,
            last_qos_0: 0,
        }
    }

    fn next_payload(&mut self, qos: Qos) -> String {
        self.offered += 1;
        if qos != AtMostOnce {
            self.owed.insert(self.offered);
        }
        self.offered.to_string()
    }

    /// What publishers do with the answer to an offer.
    fn settle(&mut self, offered: Offered, qos: Qos) -> Result<(), TestCaseError> {
        if qos != AtMostOnce {
            prop_assert_eq!(offered.dropped_full, 0, "no bound is reached");
        }
        if offered.sent > 0 || offered.refill_due {
            self.woken |= self.mailbox.take_wake().is_some();
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), TestCaseError> {
        self.woken = false;
        while self.link.is_some() {
            let offered = self.mailbox.refill(NOW_MS);
            prop_assert_eq!(offered.dropped_full + offered.dropped_large, 0);
            let taken = self.mailbox.take(Vec::new());
            prop_assert!(taken.parts.is_empty());
            if taken.tail.is_empty() {
                break;
            }
            let mut rest = &taken.tail[..];
            while !rest.is_empty() {
                if let Some(released) = rest.strip_prefix(RELEASE) {
                    let packet_id = u16::from_be_bytes([released[0], released[1]]);
                    self.held.entry(packet_id).and_modify(|held| *held = Held::Released);
                    rest = &released[2..];
                    continue;
                }
                let (frame, len) = Frame::read(rest).unwrap();
                rest = &rest[len..];
                self.receive(frame)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, frame: Frame) -> Result<(), TestCaseError> {
        prop_assert_eq!(frame.wire, self.wire);
        let number: u32 = String::from_utf8(frame.payload).unwrap().parse().unwrap();
        if frame.qos == 0 {
            if !self.retained.contains(&number) {
                prop_assert!(number > self.last_qos_0, "QoS 0 out of order");
                self.last_qos_0 = number;
            }
            return Ok(());
        }
        prop_assert!(!self.released.contains(&number), "QoS 2 came again after PUBREC");
        let before = self.held.insert(frame.packet_id, Held::Received { qos: frame.qos, number });
        prop_assert_eq!(before, None, "packet identifier {} is in use", frame.packet_id);
        prop_assert!(self.held.len() <= self.receive_max.into(), "more than the receive maximum");
        if !self.retained.contains(&number) {
            prop_assert!(number > self.last, "{} came after {}", number, self.last);
            self.last = number;
        }
        self.delivered.insert(number);
        Ok(())
    }

    fn acknowledge(&mut self, place: usize) -> Result<(), TestCaseError> {
        let Some((&packet_id, &held)) = self.held.iter().nth(place) else { return Ok(()) };
        match held {
            Held::Received { qos: 1, .. } => {
                prop_assert!(self.mailbox.inflight.acknowledge(packet_id));
                self.held.remove(&packet_id);
            }
            Held::Received { number, .. } => {
                self.released.insert(number);
                prop_assert!(self.mailbox.inflight.receive(packet_id));
                self.held.insert(packet_id, Held::Released);
            }
            Held::Released => {
                prop_assert!(self.mailbox.inflight.complete(packet_id));
                self.held.remove(&packet_id);
            }
        }
        // An acknowledgement is read by the session's own task, which goes on.
        self.run()
    }

    fn connect(&mut self, receive_max: u16, wire: u8) -> Result<(), TestCaseError> {
        (self.wire, self.last) = (wire, 0);
        // What the client has of QoS 2 and released it keeps; all else is sent again.
        self.held.retain(|_, held| *held == Held::Released);
        self.link = Some(attach_as(&mut self.mailbox, wire, receive_max, usize::MAX, 0));
        self.mailbox.release_again(|packet_id, out| {
            out.extend_from_slice(RELEASE);
            out.extend(packet_id.to_be_bytes());
        });
        let released: Vec<_> = self.mailbox.inflight.releases().collect();
        prop_assert_eq!(released, self.held.keys().copied().collect::<Vec<_>>());
        // So many may be under way from the connection before.
        self.receive_max = receive_max.max(self.held.len() as u16);
        // It is running, and will write what waits; but others may come first.
        self.woken = true;
        Ok(())
    }

    /// A connection that was not woken has nothing to do.
    fn check_wake(&self) -> Result<(), TestCaseError> {
        if self.link.is_some() && !self.woken {
            prop_assert!(self.mailbox.outbox.is_empty());
            prop_assert!(self.mailbox.backlog.is_empty() || !self.mailbox.has_window());
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::OfferRun { qos, count, stale } => {
                let payloads: Vec<_> = (0..count).map(|_| self.next_payload(qos)).collect();
                let payloads: Vec<_> = payloads.iter().map(String::as_str).collect();
                let id = if stale { OTHER_WIRE + 1 } else { self.wire };
                let offered = offer_run_as(id, &mut self.mailbox, &payloads, qos);
                self.settle(offered, qos)
            }
            Step::Offer { qos } => {
                let payload = self.next_payload(qos);
                let offered = self.mailbox.offer(owed(&payload, qos), NOW_MS);
                self.settle(offered, qos)
            }
            Step::Retained { qos, count } => {
                if self.link.is_none() {
                    return Ok(());
                }
                let payloads: Vec<_> = (0..count).map(|_| self.next_payload(qos)).collect();
                self.retained.extend(payloads.iter().map(|payload| payload.parse::<u32>().unwrap()));
                let events = payloads.iter().map(|payload| event(payload, qos)).collect();
                let subscription = SubscriptionId(self.offered.into());
                self.mailbox.replay.push(subscription, events, None, terms(qos));
                // It is the session's own task that subscribes.
                self.run()
            }
            Step::Run => self.run(),
            Step::Acknowledge { place } => self.acknowledge(place),
            Step::Disconnect => {
                if let Some(link) = self.link.take() {
                    prop_assert!(self.mailbox.detach(&link));
                }
                Ok(())
            }
            Step::Connect { receive_max, wire } => self.connect(receive_max, wire),
        }
    }

    /// The client acknowledges everything, and the connection runs only when it is woken.
    fn settle_down(&mut self) -> Result<(), TestCaseError> {
        if self.link.is_none() {
            self.connect(3, WIRE)?;
        }
        while self.woken || !self.held.is_empty() {
            if self.woken {
                self.run()?;
            }
            self.acknowledge(0)?;
        }
        prop_assert!(self.mailbox.inflight.is_empty() && self.mailbox.backlog.is_empty());
        let missing: Vec<_> = self.owed.iter().filter(|number| !self.delivered.contains(number)).collect();
        prop_assert!(missing.is_empty(), "never came: {missing:?}");
        Ok(())
    }
}

/// Begins no event's frame, whose first byte is that of its length.
const RELEASE: &[u8] = &[255];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_happens_all_that_is_owed_comes_in_order_and_within_the_window(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
            world.check_wake()?;
        }
        world.settle_down()?;
    }
}
