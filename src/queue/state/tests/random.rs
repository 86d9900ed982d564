//! Many clients do anything at all, seeded. After every position the rows give the state back (`World::commit`); here the log is
//! read by somebody who knows only the rules, too.

use std::collections::BTreeSet;

use super::*;
use crate::queue::command::{Consume, Cursor, DurableRow, Flight, SourceStep, SubscriptionRow};

/// A small generator of random numbers (xorshift), so that a seed is a test.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn command(dice: &mut Dice, last_number: u64) -> Command {
    let realm = REALM.to_owned();
    let client_id = format!("c{}", dice.below(3));
    let session = 1 + dice.below(6);
    let number = dice.below(last_number + 2);
    let topic = format!("k{}", dice.below(3));
    match dice.below(14) {
        13 => {
            let (epoch, from) = (1 + dice.below(3), dice.below(4));
            let step = match dice.below(3) {
                0 => SourceStep::Ask,
                1 => SourceStep::Begin { epoch, next: from },
                _ => SourceStep::Skip { epoch, from, to: from + dice.below(3) },
            };
            Command::Source { realm, name: client_id, step }
        }
        0 | 1 => {
            let will = dice.often(50).then(|| WillRow {
                topic,
                payload: "will".into(),
                retain: dice.often(50),
                delay_s: dice.below(3) as u32,
                ..WillRow::default()
            });
            Command::Connect(Box::new(Connect {
                realm,
                client_id,
                session,
                connection: 1 + dice.below(3),
                clean_start: dice.often(30),
                expiry_s: dice.below(4) as u32,
                will,
                ..Connect::default()
            }))
        }
        2 => Command::Disconnect {
            realm,
            client_id,
            connection: 1 + dice.below(3),
            orderly: dice.often(50),
            expiry_s: dice.below(4) as u32,
        },
        3 => {
            let filter = topic;
            let qos = dice.below(3) as u8;
            let subscription = Box::new(SubscriptionRow { filter, qos, ..SubscriptionRow::default() });
            Command::Subscribe { realm, client_id, subscription }
        }
        4 => Command::Unsubscribe { realm, client_id, filter: topic },
        5 => {
            let cursor = if dice.often(50) { CursorName::Client(client_id) } else { CursorName::Durable("d".into()) };
            let inflight = (0..dice.below(3)).map(|n| Flight { number: number + n, ..Flight::default() }).collect();
            Command::Progress { realm, cursor, at: Cursor { sent_to: number, inflight, ..Cursor::default() } }
        }
        6 => Command::Release { realm, client_id, packet_id: dice.below(4) as u16 },
        7 if dice.often(50) => Command::Forget { realm, name: "d".into() },
        7 => Command::Durable { realm, name: "d".into(), durable: Box::new(DurableRow::default()) },
        8 => Command::Leave { realm, session, orderly: dice.often(50) },
        9 => Command::Cancel { realm, session, ticket: number },
        10 => Command::Unlock { realm, session, topic, token: dice.often(30).then_some(number) },
        11 => {
            let (patterns, settings) = (vec![format!("exact:{topic}")], Bytes::new());
            let what = match dice.below(6) {
                0 => Consume::Set { patterns, settings, after: dice.often(50).then_some(number) },
                1 => Consume::Host,
                2 => Consume::Commit { epoch: number, done_to: number, state: settings },
                3 => Consume::Seek { after: number },
                4 => Consume::Nudge,
                _ => Consume::Remove,
            };
            Command::Consume { realm, name: "c".into(), what: Box::new(what) }
        }
        _ => Command::Expire { realm, topic, number },
    }
}

fn condition(dice: &mut Dice, last_number: u64) -> Condition {
    let when = match dice.below(6) {
        0..4 => When::Absent,
        4 => When::Fields(r#"{"a":1}"#.into()),
        _ => When::Number(dice.below(last_number + 2)),
    };
    let will = match dice.below(3) {
        0 => None,
        1 => Some(KeyWill::Erase),
        _ => Some(KeyWill::Set { format: Default::default(), args: Some(r#"{"a":1}"#.into()), kwargs: None }),
    };
    Condition {
        when: dice.often(90).then_some(when),
        watch: dice.often(70),
        timeout_ms: dice.often(30).then(|| dice.below(3000)),
        will,
        stays: dice.often(20),
    }
}

fn segment(dice: &mut Dice, world: &World) -> Batch {
    let last = world.state.last_number();
    let mut batch = Batch::default();
    for _ in 0..dice.below(6) {
        if dice.often(30) {
            batch.command(&command(dice, last));
            continue;
        }
        let topic = format!("k{}", dice.below(3));
        let payload = ["", "x", r#"{"a":1}"#][dice.below(3) as usize];
        let condition = dice.often(70).then(|| condition(dice, last));
        let client_id = format!("c{}", dice.below(3));
        Publish {
            session: dice.below(7),
            retain: dice.often(90),
            condition: condition.as_ref(),
            packet: dice.often(20).then(|| (client_id.as_str(), 1 + dice.below(3), dice.below(4) as u16)),
            entered: dice.often(20).then(|| (client_id.as_str(), 1 + dice.below(3), dice.below(6))),
            expires_at_ms: dice.often(20).then(|| world.now_us / 1000 + dice.below(3000)),
            ..text(&topic, payload)
        }
        .add_to(&mut batch);
    }
    batch
}

#[test]
fn the_rows_always_give_the_state_back() {
    for seed in 1_u64..=150 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let mut world = World::new();
        world.state.set_limits(StateLimits {
            waits_per_key_max: 6,
            waits_per_session_max: 4,
            locks_per_session_max: 4,
            due_per_position_max: 2,
            ..StateLimits::default()
        });
        for _ in 0..80 {
            world.entry = 1 + dice.below(2);
            world.now_us += dice.below(700_000);
            match dice.below(12) {
                0 => {
                    let (entry, incarnation) = (world.entry, world.state.incarnation(world.entry));
                    world.order(StateCommand::Init { entry, incarnation });
                }
                1 => drop(world.order(StateCommand::Time)),
                _ => {
                    let batch = segment(&mut dice, &world);
                    world.send(batch);
                }
            }
        }
        // Everybody leaves: nothing is left of them.
        world.now_us += 10 * SECOND_US;
        for entry in [1, 2] {
            let incarnation = world.state.incarnation(entry);
            world.order(StateCommand::Init { entry, incarnation });
        }
        world.wait_until_all_is_met();
        world.now_us += 10 * SECOND_US;
        world.wait_until_all_is_met();
        let left = world.rows.rows.keys().filter(|key| b"wsluph".contains(&key[0]));
        let left: Vec<_> = left.filter(|key| key[0] != b'h' || !is_left_behind(&world, key)).collect();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}

/// A lock that its holder wanted to stay.
fn is_left_behind(world: &World, key: &[u8]) -> bool {
    rows::decode::<rows::HeldRow>(key, &world.rows.rows[key]).unwrap().session == 0
}

/// What is read off the log alone: who holds the lock, who waits.
#[derive(Default)]
struct Reader {
    holder: Option<u64>,
    /// Session and number of the publish that waits, in the order of numbers.
    waiting: BTreeMap<u64, u64>,
    granted: BTreeSet<u64>,
    /// Waits that end at this position without a grant.
    ending: BTreeSet<u64>,
}

impl Reader {
    fn read(&mut self, applied: &Applied) {
        let segment = &applied.segment;
        for (offset, outcome) in &applied.exceptions {
            if let Outcome::Waiting { ticket } = outcome {
                assert_eq!(*ticket, segment.first + u64::from(*offset));
            }
        }
        let ended = applied.later.iter().filter_map(|outcome| match outcome {
            Outcome::Ended { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.ending = ended.collect();
        let mut number = segment.first;
        for (bytes, is_body) in [(&segment.body, true), (&segment.set_off, false)] {
            for run in Runs::new(bytes) {
                let Run::Events(head, events) = run.unwrap() else {
                    number += 1;
                    continue;
                };
                for event in events.iter() {
                    let offset = (number - segment.first) as u32;
                    let session = head.publisher.unwrap().0;
                    if !segment.voids.contains(&offset) {
                        self.event(session, event.unwrap().payload.is_empty(), is_body);
                    } else if applied
                        .exceptions
                        .iter()
                        .any(|(at, outcome)| *at == offset && matches!(outcome, Outcome::Waiting { .. }))
                    {
                        self.waiting.insert(number, session);
                    }
                    number += 1;
                }
            }
        }
        assert_eq!(number, segment.first + u64::from(segment.count));
        self.outcomes(&applied.later);
    }

    /// An event on the lock in the order of numbers.
    fn event(&mut self, session: u64, frees: bool, in_body: bool) {
        if frees {
            self.holder = None;
        } else {
            let overtaken = in_body && self.waiting.keys().any(|ticket| !self.ending.contains(ticket));
            assert!(!overtaken, "session {session} gets the lock before those who wait");
            assert_eq!(self.holder, None, "session {session} gets what is held");
            self.holder = Some(session);
        }
    }

    /// Grants go to who has waited longest.
    fn outcomes(&mut self, later: &[Outcome]) {
        for outcome in later {
            match outcome {
                Outcome::Ended { ticket, .. } => assert!(self.waiting.remove(ticket).is_some()),
                Outcome::Granted { ticket, .. } => {
                    let first = self.waiting.keys().next().copied();
                    assert_eq!(first, Some(*ticket), "somebody was passed over");
                    self.waiting.remove(ticket);
                    assert!(self.granted.insert(*ticket), "granted twice");
                }
                _ => panic!("{outcome:?} came later"),
            }
        }
    }
}

#[test]
fn a_lock_is_never_held_twice_and_waiters_are_served_in_order() {
    let mut grants = 0;
    for seed in 1_u64..=100 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0xD129_0D3A_FA2C_11E5));
        let mut world = World::new();
        let mut reader = Reader::default();
        for _ in 0..60 {
            world.now_us += dice.below(400_000);
            let mut batch = Batch::default();
            for _ in 0..=dice.below(5) {
                let session = 1 + dice.below(5);
                let lock = Condition {
                    watch: dice.often(80),
                    timeout_ms: dice.often(30).then(|| dice.below(2_000)),
                    ..lock()
                };
                match dice.below(4) {
                    0 => batch.command(&leave(session)),
                    1 if dice.often(50) => text("k", "").by(session).add_to(&mut batch),
                    1 => {
                        batch.command(&Command::Unlock { realm: REALM.into(), session, topic: "k".into(), token: None })
                    }
                    _ => text("k", "mine").by(session).asking(&lock).add_to(&mut batch),
                }
            }
            let applied = world.apply(batch);
            reader.read(&applied);
            assert_eq!(world.holder("k"), reader.holder, "seed {seed}");
            assert_eq!(world.state.waits_len(), reader.waiting.len(), "seed {seed}");
            assert!(reader.holder.is_some() || reader.waiting.is_empty(), "seed {seed}: somebody waits for nothing");
        }
        grants += reader.granted.len();
    }
    assert!(grants > 500, "only {grants} grants: the test tests little");
}
