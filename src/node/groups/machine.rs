//! Who of a group gets which event, and what happens if it is not done with: the rules alone.
//!
//! ```text
//! deal -> assigned to the next member that has room -> sent -> done
//!   ^            | leaves                               | leaves, or takes too long
//!   '--- free <--'--------------------------------------'--> dying, after so many deliveries -> buried
//! ```
//!
//! Events with the same key (per-key order) are under way one at a time: the others wait for it. Members take turns; one that
//! has as many events as it may is passed over. Nothing of an event is kept but its number.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

#[cfg(test)]
mod tests;

/// Events that are read and not done with; no more are read then.
pub const FLIGHTS_MAX: usize = 4096;

/// Names a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// How a group treats what is not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How long a member may take before the event is given to another; 0: as long as it is there.
    pub ack_timeout_ms: u64,
    /// After so many deliveries an event is not given to anybody any more; 0: for ever.
    pub deliveries_max: u16,
}

/// What became of an event that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealt {
    /// It is this member's.
    To(MemberId),
    /// It waits for another with the same key, or for a member with room.
    Waits,
    /// It was done with before the group was restored.
    Done,
}

/// What the machine remembers of an event when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    pub number: u64,
    /// How often it was sent.
    pub attempts: u16,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub rules: Rules,
    /// By number.
    flights: BTreeMap<u64, Flight>,
    /// In the order of their turns.
    members: Vec<Member>,
    /// Whose turn is next.
    turn: usize,
    /// To be given to whoever has room, lowest first.
    free: BTreeSet<u64>,
    /// To be buried, and not being buried.
    dying: BTreeSet<u64>,
    /// Of each key the event that is under way, then those that wait for it.
    keys: HashMap<u64, VecDeque<u64>>,
    /// When somebody has taken too long.
    deadlines: BTreeSet<(u64, u64)>,
    /// Up to here only what is in `known` (by number: attempts) is not done with.
    known_to: u64,
    known: BTreeMap<u64, u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Flight {
    state: State,
    attempts: u16,
    key: Option<u64>,
    /// Members that may not be sent it.
    refusals: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In `free`.
    Free,
    /// Waits for another with its key.
    Behind,
    /// To be sent by a member's own task. With the time when that took too long.
    Assigned(MemberId, Option<u64>),
    Sent(MemberId, Option<u64>),
    /// In `dying`, or being buried.
    Dying,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    id: MemberId,
    /// Events that it takes at a time.
    window: usize,
    /// Those it has.
    held: BTreeSet<u64>,
    /// Of them, those it was not sent yet, in the order of their assignment.
    unsent: VecDeque<u64>,
}

impl Machine {
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Takes up where the group was stored: all up to `to` was dealt before, and of that only `undone` is not done with. These have to
    /// be read again, from the lowest on, for their keys.
    pub fn restore(&mut self, to: u64, undone: impl IntoIterator<Item = Undone>) {
        self.known_to = to;
        self.known = undone.into_iter().map(|it| (it.number, it.attempts)).collect();
    }

    /// What is not done with, for it to be stored; ascending.
    pub fn undone(&self) -> impl Iterator<Item = Undone> {
        let flights = self.flights.iter().map(|(number, flight)| (*number, flight.attempts));
        // These were not read again yet.
        let known = self.known.iter().map(|(number, attempts)| (*number, *attempts));
        flights.chain(known).map(|(number, attempts)| Undone { number, attempts })
    }

    /// All up to this number was dealt, if the group has read up to `read_to`.
    pub fn dealt_to(&self, read_to: u64) -> u64 {
        read_to.max(self.known_to)
    }

    /// Events that were dealt and are not done with.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub fn members(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().map(|member| member.id)
    }

    /// A member comes, or can take more or less than before. It is the last in turn.
    pub fn join(&mut self, id: MemberId, window: usize) {
        match self.members.iter_mut().find(|member| member.id == id) {
            Some(member) => member.window = window,
            None => {
                let new = Member { id, window, held: BTreeSet::new(), unsent: VecDeque::new() };
                self.members.insert(self.turn.min(self.members.len()), new);
                self.turn += 1;
            }
        }
    }

    /// A member goes: what it had is given to others.
    pub fn leave(&mut self, id: MemberId) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else { return };
        let member = self.members.remove(at);
        self.turn -= usize::from(at < self.turn);
        for number in member.held {
            self.give_up(number);
        }
    }

    /// Somebody has room for another event.
    pub fn has_room(&self) -> bool {
        self.members.iter().any(Member::has_room)
    }

    /// Whether another event may be read and dealt.
    pub fn may_deal(&self) -> bool {
        self.flights.len() < FLIGHTS_MAX && self.free.is_empty() && self.has_room()
    }

    /// Gives an event that was read to the member whose turn it is. `key`: events with the same are given one after the other.
    pub fn deal(&mut self, number: u64, key: Option<u64>, now_ms: u64) -> Dealt {
        let attempts = match self.known.remove(&number) {
            Some(attempts) => attempts,
            None if number <= self.known_to => return Dealt::Done,
            None => 0,
        };
        let behind = key.is_some_and(|key| {
            let queue = self.keys.entry(key).or_default();
            queue.push_back(number);
            queue.len() > 1
        });
        self.flights.insert(number, Flight { state: State::Behind, attempts, key, refusals: 0 });
        if behind {
            return Dealt::Waits;
        }
        if self.is_exhausted(number) || !self.free.is_empty() {
            self.set_free(number);
            return Dealt::Waits;
        }
        match self.assign(number, now_ms) {
            Some(member) => Dealt::To(member),
            None => {
                self.set_free(number);
                Dealt::Waits
            }
        }
    }

    /// Gives what is free to members that have room; tells which have something to send now.
    pub fn deal_free(&mut self, now_ms: u64) -> Vec<MemberId> {
        let mut told = Vec::new();
        while let Some(number) = self.free.first().copied() {
            let Some(member) = self.assign(number, now_ms) else { break };
            self.free.remove(&number);
            if !told.contains(&member) {
                told.push(member);
            }
        }
        told
    }

    fn assign(&mut self, number: u64, now_ms: u64) -> Option<MemberId> {
        let count = self.members.len();
        let at = (0..count).map(|i| (self.turn + i) % count).find(|at| self.members[*at].has_room())?;
        self.turn = (at + 1) % count;
        let deadline = self.deadline(number, now_ms);
        let member = &mut self.members[at];
        member.held.insert(number);
        member.unsent.push_back(number);
        let id = member.id;
        self.set(number, State::Assigned(id, deadline));
        Some(id)
    }

    fn deadline(&mut self, number: u64, now_ms: u64) -> Option<u64> {
        if self.rules.ack_timeout_ms == 0 {
            return None;
        }
        let at = now_ms + self.rules.ack_timeout_ms;
        self.deadlines.insert((at, number));
        Some(at)
    }

    /// The next event that a member is to be sent.
    pub fn next(&self, id: MemberId) -> Option<u64> {
        self.member(id)?.unsent.front().copied()
    }

    /// All that a member is to be sent, in order.
    pub fn unsent(&self, id: MemberId) -> impl Iterator<Item = u64> {
        self.member(id).into_iter().flat_map(|member| member.unsent.iter().copied())
    }

    /// How often an event was sent.
    pub fn attempts(&self, number: u64) -> u16 {
        self.flights.get(&number).map_or(0, |flight| flight.attempts)
    }

    /// A member was sent the event that [`Machine::next`] named.
    pub fn sent(&mut self, id: MemberId, number: u64, now_ms: u64) {
        if !self.take_unsent(id, number) {
            return;
        }
        self.forget_deadline(number);
        let deadline = self.deadline(number, now_ms);
        self.set(number, State::Sent(id, deadline));
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.attempts = flight.attempts.saturating_add(1);
        }
    }

    /// A member may not be sent the event that [`Machine::next`] named: another gets it, if there is one that may.
    pub fn refuse(&mut self, id: MemberId, number: u64) {
        if !self.take_unsent(id, number) {
            return;
        }
        if let Some(member) = self.member_mut(id) {
            member.held.remove(&number);
        }
        self.forget_deadline(number);
        let members = self.members.len();
        let Some(flight) = self.flights.get_mut(&number) else { return };
        flight.refusals += 1;
        if usize::from(flight.refusals) >= members {
            self.done(number);
        } else {
            self.set_free(number);
        }
    }

    fn take_unsent(&mut self, id: MemberId, number: u64) -> bool {
        let Some(member) = self.member_mut(id) else { return false };
        let Some(at) = member.unsent.iter().position(|other| *other == number) else { return false };
        member.unsent.remove(at);
        true
    }

    /// An event is done with, whoever says so: a member from which it was taken may have been slow. `false`: it is not known.
    pub fn done(&mut self, number: u64) -> bool {
        let Some(flight) = self.flights.get(&number) else { return false };
        let key = flight.key;
        self.take_from_member(number);
        self.free.remove(&number);
        self.dying.remove(&number);
        self.flights.remove(&number);
        if let Some(key) = key {
            self.release_key(key, number);
        }
        true
    }

    /// Whether the event is this member's: it was sent to it, and not taken from it.
    pub fn is_held_by(&self, id: MemberId, number: u64) -> bool {
        self.member(id).is_some_and(|member| member.held.contains(&number))
    }

    /// The next with the key may go.
    fn release_key(&mut self, key: u64, number: u64) {
        let Some(queue) = self.keys.get_mut(&key) else { return };
        let was_first = queue.front() == Some(&number);
        queue.retain(|other| *other != number);
        match queue.front().copied() {
            Some(next) if was_first => self.set_free(next),
            Some(_) => {}
            None => drop(self.keys.remove(&key)),
        }
    }

    /// When [`Machine::expire`] has something to do.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes from members what they have had for too long; tells how many events that were.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let mut count = 0;
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.give_up(number);
            count += 1;
        }
        count
    }

    /// An event is its member's no more.
    fn give_up(&mut self, number: u64) {
        self.take_from_member(number);
        self.set_free(number);
    }

    fn take_from_member(&mut self, number: u64) {
        self.forget_deadline(number);
        let Some(flight) = self.flights.get(&number) else { return };
        if let State::Assigned(id, _) | State::Sent(id, _) = flight.state
            && let Some(member) = self.member_mut(id)
        {
            member.held.remove(&number);
            member.unsent.retain(|other| *other != number);
        }
    }

    fn forget_deadline(&mut self, number: u64) {
        if let Some(Flight { state: State::Assigned(_, Some(at)) | State::Sent(_, Some(at)), .. }) =
            self.flights.get(&number)
        {
            let at = *at;
            self.deadlines.remove(&(at, number));
        }
    }

    /// Events that were delivered as often as they may: each is named once, and then [`Machine::done`] when it is buried or
    /// [`Machine::revive`] if that failed.
    pub fn take_dying(&mut self) -> Vec<Undone> {
        let numbers = std::mem::take(&mut self.dying);
        numbers.into_iter().map(|number| Undone { number, attempts: self.attempts(number) }).collect()
    }

    /// A dying event was not buried: it will be named again.
    pub fn revive(&mut self, number: u64) {
        if let Some(Flight { state: State::Dying, .. }) = self.flights.get(&number) {
            self.dying.insert(number);
        }
    }

    fn is_exhausted(&self, number: u64) -> bool {
        self.rules.deliveries_max > 0 && self.attempts(number) >= self.rules.deliveries_max
    }

    /// Gives an event to whoever has room, unless it was delivered as often as it may.
    fn set_free(&mut self, number: u64) {
        if self.is_exhausted(number) {
            self.set(number, State::Dying);
            self.dying.insert(number);
        } else {
            self.set(number, State::Free);
            self.free.insert(number);
        }
    }

    fn set(&mut self, number: u64, state: State) {
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.state = state;
        }
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }
}

impl Member {
    fn has_room(&self) -> bool {
        self.held.len() < self.window
    }
}
