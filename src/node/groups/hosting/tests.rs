//! A host and the entry of some members, linked by hand: what they say waits until a test brings it there.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::node::link::Link;
use crate::node::peers::Carried;
use crate::node::testing::{filter, node_of};
use crate::types::limits::Limits;

const NAME: &str = "workers";
/// Numbers of the entries.
const HOST: u64 = 1;
const GUEST: u64 = 2;
/// Entries have come so far in the log.
const HERE: u64 = 1_000_000;

struct Entry {
    number: u64,
    node: Arc<Node>,
    group: Arc<Group>,
    /// On their way to it.
    inbox: VecDeque<Said>,
}

struct Pair {
    host: Entry,
    guest: Entry,
    linked: bool,
}

fn row(holder: Option<u64>) -> DurableRow {
    DurableRow { group: true, acknowledged: true, holder, ack_timeout_ms: 1000, ..DurableRow::default() }
}

fn entry(number: u64) -> Entry {
    let node = node_of(&["realm1"], Limits::default());
    node.entry.set(number).unwrap();
    node.log.history.begin(HERE);
    node.open_peers(Box::new(|_, _| Carried::Sent), Box::new(|| {}));
    let realm = node.realm("realm1").unwrap();
    let group = realm.groups.follow(&node, &realm, NAME, &filter("a/#"), &row(Some(HOST)));
    Entry { number, node, group, inbox: VecDeque::new() }
}

impl Entry {
    fn join(&self, member: u64, window: usize) -> Arc<Link> {
        let link = Arc::new(Link::default());
        self.group.join(MemberId(member), window, &link);
        link
    }

    /// Sends a member all that is its, as its own task does.
    fn send(&self, member: u64) -> Vec<u64> {
        let turns = std::iter::from_fn(|| {
            let turn = self.group.next(MemberId(member), &self.node)?;
            self.group.sent(MemberId(member), turn.number);
            Some(turn.number)
        });
        turns.collect()
    }

    fn deal(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.group.lock().machine.deal(number, None, 0);
        }
    }

    fn undone(&self) -> usize {
        self.group.lock().machine.len()
    }
}

impl Pair {
    /// The host has taken up the group, and the two have found each other.
    fn new() -> Self {
        let mut pair = Self { host: entry(HOST), guest: entry(GUEST), linked: false };
        pair.host.group.take_over(&row(Some(HOST)), Begin::After(0));
        pair.link();
        pair.settle();
        pair
    }

    fn link(&mut self) {
        self.linked = true;
        self.host.node.peers.say(Some(GUEST), Said::Begin);
        self.guest.node.peers.say(Some(HOST), Said::Begin);
    }

    fn cut(&mut self) {
        self.linked = false;
        self.host.inbox.clear();
        self.guest.inbox.clear();
        self.host.node.forget_member_entry(GUEST, false);
        self.guest.node.forget_member_entry(HOST, false);
    }

    /// What is said goes on its way.
    fn post(&mut self) {
        if self.host.group.is_own() {
            self.host.group.lock().hand_over();
        }
        let Self { host, guest, linked } = self;
        let said = |entry: &Entry| entry.node.peers.take_said().into_iter().map(|(_, said)| said);
        guest.inbox.extend(said(host).filter(|_| *linked));
        host.inbox.extend(said(guest).filter(|_| *linked));
    }

    fn settle(&mut self) {
        loop {
            self.post();
            let before = self.host.inbox.len() + self.guest.inbox.len();
            while self.bring(true) {}
            while self.bring(false) {}
            if before == 0 {
                return;
            }
        }
    }

    /// Brings one word to the host, or to the other.
    fn bring(&mut self, to_host: bool) -> bool {
        let (to, from) = if to_host { (&mut self.host, GUEST) } else { (&mut self.guest, HOST) };
        let Some(said) = to.inbox.pop_front() else { return false };
        assert_ne!(to.number, from);
        to.node.hear_of_groups(from, vec![said]);
        true
    }
}

#[test]
fn members_at_both_entries_take_turns() {
    let mut pair = Pair::new();
    pair.host.join(10, 9);
    pair.guest.join(20, 9);
    pair.settle();
    pair.host.deal(1..=4);
    pair.settle();
    assert_eq!((pair.host.send(10), pair.guest.send(20)), (vec![1, 3], vec![2, 4]));
    pair.settle();
    assert!(pair.host.group.done(1) && pair.guest.group.done(2) && pair.guest.group.done(4));
    assert!(!pair.guest.group.done(4), "it was done before");
    pair.settle();
    assert_eq!(pair.host.undone(), 1);
}

#[test]
fn a_member_is_not_sent_what_its_entry_does_not_have_yet() {
    let mut pair = Pair::new();
    let link = pair.guest.join(20, 9);
    pair.settle();
    pair.host.deal([7]);
    pair.settle();
    let next = |fed| {
        pair.guest.node.log.history.begin(fed);
        pair.guest.group.next(MemberId(20), &pair.guest.node)
    };
    assert_eq!((next(6), next(7)), (None, Some(Turn { number: 7, attempts: 0 })));
    let wake_ready = |fed| pair.guest.group.lock().away.as_mut().unwrap().wake_ready(fed);
    wake_ready(6);
    assert!(!link.take_ready() && pair.guest.group.is_busy());
    wake_ready(7);
    assert!(link.take_ready() && !pair.guest.group.is_busy());
}

#[test]
fn an_entry_that_stops_leaves_what_it_was_told_to_others() {
    let mut pair = Pair::new();
    pair.guest.join(20, 9);
    pair.guest.join(21, 9);
    pair.settle();
    pair.host.deal(1..=4);
    pair.settle();
    assert_eq!(pair.guest.send(20), [1, 3]);
    pair.guest.node.drain();
    pair.guest.group.leave(MemberId(20), 0);
    pair.settle();
    assert_eq!(pair.guest.send(21), [0; 0]);
    pair.guest.group.leave(MemberId(21), 0);
    pair.settle();
    pair.host.join(10, 9);
    assert_eq!(pair.host.send(10), [1, 2, 3, 4]);
}

#[test]
fn what_members_had_goes_to_others_when_their_link_breaks_and_they_begin_anew() {
    let mut pair = Pair::new();
    pair.guest.join(20, 1);
    pair.settle();
    pair.host.deal([1]);
    pair.settle();
    assert_eq!(pair.guest.send(20), [1]);
    pair.settle();
    pair.cut();
    pair.host.join(10, 9);
    assert_eq!(pair.host.send(10), [1]);
    assert_eq!(pair.host.group.lock().machine.attempts(1), 2);
    assert!(!pair.guest.group.done(1), "it is another's");
    pair.link();
    pair.settle();
    pair.host.deal([2, 3]);
    pair.settle();
    assert_eq!(pair.guest.send(20).len(), 1);
}

#[test]
fn what_took_too_long_is_taken_back_before_it_is_sent() {
    let mut pair = Pair::new();
    pair.guest.join(20, 9);
    pair.settle();
    pair.host.deal([1]);
    pair.settle();
    pair.guest.group.leave(MemberId(20), 0);
    pair.host.join(10, 9);
    pair.guest.join(21, 9);
    pair.settle();
    let both = [pair.host.send(10), pair.guest.send(21)].concat();
    assert_eq!(both, [1], "one of the others has it");
    pair.host.deal([2]);
    pair.settle();
    pair.host.group.tick(5000, 0);
    pair.host.group.leave(MemberId(10), 0);
    pair.settle();
    assert!(pair.guest.send(20).is_empty());
    assert_eq!(pair.guest.send(21).last(), Some(&2));
}

#[test]
fn members_are_told_to_a_host_that_was_not_one_yet_when_they_came() {
    let mut pair = Pair { host: entry(HOST), guest: entry(GUEST), linked: false };
    pair.link();
    pair.guest.join(20, 9);
    pair.settle();
    pair.host.group.take_over(&row(Some(HOST)), Begin::After(0));
    pair.settle();
    pair.host.deal([1]);
    pair.settle();
    assert_eq!(pair.guest.send(20), [1]);
}

#[test]
fn what_an_entry_says_that_is_not_the_host_counts_for_nothing() {
    let mut pair = Pair::new();
    pair.guest.join(20, 9);
    pair.settle();
    let deal = What::Deal { member: 20, number: 5, attempts: 0 };
    pair.guest.group.hear(3, deal, 0);
    assert_eq!(pair.guest.group.next(MemberId(20), &pair.guest.node), None);
    pair.host.deal([1]);
    pair.settle();
    pair.host.group.hear(3, What::Leave { member: 20 }, 0);
    pair.host.group.hear(3, What::Sent { member: 20, number: 1 }, 0);
    assert_eq!(pair.host.group.lock().machine.attempts(1), 0);
    assert_eq!(pair.guest.send(20), [1]);
}

#[test]
fn a_group_that_no_entry_delivers_asks_for_one_if_it_has_members_and_not_too_often() {
    let guest = entry(GUEST);
    let realm = guest.node.realm("realm1").unwrap();
    let follow = |holder| realm.groups.follow(&guest.node, &realm, NAME, &filter("a/#"), &row(holder));
    follow(None);
    assert_eq!(guest.group.need(0), Need::Nothing);
    guest.join(20, 9);
    assert_eq!(
        [guest.group.need(0), guest.group.need(500), guest.group.need(1500)],
        [Need::Host, Need::Nothing, Need::Host]
    );
    follow(Some(GUEST));
    assert_eq!(guest.group.need(1600), Need::Cursor);
    guest.group.take_over(&row(Some(GUEST)), Begin::After(0));
    guest.deal([1]);
    assert_eq!(guest.send(20), [1], "members that waited are its members now");
    follow(Some(HOST));
    assert!(guest.group.is_own(), "only the end of a life of the entry takes it away");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deal,
    ToHost,
    ToGuest,
    /// A member is sent what is its: of the host, or of the other.
    Send(bool),
    /// The oldest event that a member has is done.
    Done(bool),
    Flap,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Deal),
        8 => Just(Step::ToHost),
        8 => Just(Step::ToGuest),
        4 => any::<bool>().prop_map(Step::Send),
        4 => any::<bool>().prop_map(Step::Done),
        1 => Just(Step::Flap),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn all_is_done_some_time_and_once_if_nothing_breaks(steps in prop::collection::vec(step(), 0..200)) {
        let mut pair = Pair::new();
        pair.host.join(10, 3);
        pair.guest.join(20, 3);
        pair.settle();
        let (mut next, mut now_ms, mut broke) = (1, 0, false);
        let mut sent: BTreeMap<u64, u32> = BTreeMap::new();
        let mut held: [VecDeque<u64>; 2] = Default::default();
        let mut work = |pair: &mut Pair, step, held: &mut [VecDeque<u64>; 2]| {
            match step {
                Step::Deal if pair.host.group.lock().machine.may_deal() => {
                    pair.host.group.lock().machine.deal(next, None, now_ms);
                    next += 1;
                }
                Step::Deal => {}
                Step::ToHost => drop(pair.bring(true)),
                Step::ToGuest => drop(pair.bring(false)),
                Step::Send(at_host) => {
                    let (entry, member) = if at_host { (&pair.host, 10) } else { (&pair.guest, 20) };
                    for number in entry.send(member) {
                        *sent.entry(number).or_default() += 1;
                        held[usize::from(at_host)].push_back(number);
                    }
                }
                Step::Done(at_host) => {
                    let entry = if at_host { &pair.host } else { &pair.guest };
                    if let Some(number) = held[usize::from(at_host)].pop_front() {
                        entry.group.done(number);
                    }
                }
                Step::Flap => {
                    broke = true;
                    pair.cut();
                    pair.link();
                }
                Step::Expire => {
                    broke = true;
                    now_ms += 2000;
                    pair.host.group.tick(now_ms, 0);
                }
            }
            pair.post();
            (next, broke)
        };
        for step in steps {
            work(&mut pair, step, &mut held);
        }
        let mut dealt = 0;
        let mut has_broken = false;
        for _ in 0..300 {
            for step in [Step::ToHost, Step::ToGuest, Step::Send(true), Step::Send(false), Step::Done(true), Step::Done(false)] {
                (dealt, has_broken) = work(&mut pair, step, &mut held);
            }
        }
        prop_assert_eq!(pair.host.undone(), 0);
        prop_assert!((1..dealt).all(|number| sent.get(&number).is_some_and(|times| *times == 1 || has_broken)), "{:?}", sent);
    }
}
