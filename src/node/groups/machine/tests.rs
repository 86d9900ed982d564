use proptest::prelude::*;

use super::*;

const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);
const C: MemberId = MemberId(3);

fn rules(ack_timeout_ms: u64, deliveries_max: u16) -> Rules {
    Rules { ack_timeout_ms, deliveries_max }
}

/// Members with room for so many each.
fn machine(rules: Rules, members: &[(MemberId, usize)]) -> Machine {
    let mut machine = Machine::new(rules);
    members.iter().for_each(|(id, window)| machine.join(*id, *window));
    machine
}

fn deal(machine: &mut Machine, numbers: impl IntoIterator<Item = u64>) -> Vec<Dealt> {
    numbers.into_iter().map(|number| machine.deal(number, None, 0)).collect()
}

/// Sends a member all that it has.
fn send(machine: &mut Machine, id: MemberId) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Some(number) = machine.next(id) {
        machine.sent(id, number, 0);
        sent.push(number);
    }
    sent
}

#[test]
fn members_take_turns() {
    let mut machine = machine(rules(0, 0), &[(A, 9), (B, 9), (C, 9)]);
    assert_eq!(deal(&mut machine, 1..=4), [Dealt::To(A), Dealt::To(B), Dealt::To(C), Dealt::To(A)]);
    assert_eq!([A, B, C].map(|id| send(&mut machine, id)), [vec![1, 4], vec![2], vec![3]]);
}

#[test]
fn who_has_no_room_is_passed_over() {
    let mut machine = machine(rules(0, 0), &[(A, 1), (B, 2)]);
    assert_eq!(deal(&mut machine, 1..=3), [Dealt::To(A), Dealt::To(B), Dealt::To(B)]);
    assert!(!machine.may_deal());
    assert!(machine.done(1));
    assert!(machine.may_deal());
    assert_eq!(deal(&mut machine, [4]), [Dealt::To(A)]);
}

#[test]
fn a_new_member_is_the_last_in_turn() {
    let mut machine = machine(rules(0, 0), &[(A, 9), (B, 9)]);
    deal(&mut machine, [1]);
    machine.join(C, 9);
    assert_eq!(deal(&mut machine, 2..=4), [Dealt::To(B), Dealt::To(A), Dealt::To(C)]);
}

#[test]
fn what_a_member_leaves_is_given_to_others_in_its_order() {
    let mut machine = machine(rules(0, 0), &[(A, 9), (B, 9)]);
    deal(&mut machine, 1..=4);
    machine.sent(A, 1, 0);
    machine.leave(A);
    assert_eq!(machine.deal_free(0), [B]);
    assert_eq!(send(&mut machine, B), [2, 4, 1, 3]);
    assert_eq!((machine.attempts(1), machine.attempts(3)), (2, 1), "what was not sent was not tried");
}

#[test]
fn the_last_to_leave_leaves_all_to_the_next_who_comes() {
    let mut machine = machine(rules(0, 0), &[(A, 9)]);
    deal(&mut machine, 1..=2);
    machine.leave(A);
    assert!(!machine.may_deal() && machine.deal_free(0).is_empty());
    machine.join(B, 1);
    assert_eq!(machine.deal_free(0), [B]);
    assert_eq!(send(&mut machine, B), [1]);
    assert!(machine.done(1));
    assert_eq!(machine.deal_free(0), [B]);
    assert_eq!(send(&mut machine, B), [2]);
}

#[test]
fn who_takes_too_long_loses_the_event_to_another() {
    let mut machine = machine(rules(100, 0), &[(A, 1), (B, 1)]);
    machine.deal(1, None, 0);
    machine.sent(A, 1, 50);
    assert_eq!(machine.next_deadline_ms(), Some(150));
    assert_eq!(machine.expire(149), 0);
    assert_eq!(machine.expire(150), 1);
    assert!(!machine.is_held_by(A, 1));
    assert_eq!(machine.deal_free(150), [B]);
    machine.sent(B, 1, 150);
    assert!(machine.done(1), "a late word of the first counts, too");
    assert_eq!((machine.next_deadline_ms(), machine.len()), (None, 0));
}

#[test]
fn a_member_that_sends_nothing_takes_too_long_as_well() {
    let mut machine = machine(rules(100, 0), &[(A, 1), (B, 1)]);
    machine.deal(1, None, 0);
    assert_eq!(machine.expire(100), 1);
    assert_eq!(machine.next(A), None);
    assert_eq!(machine.deal_free(100), [B]);
}

#[test]
fn after_so_many_deliveries_an_event_is_to_be_buried() {
    let mut machine = machine(rules(10, 2), &[(A, 1)]);
    machine.deal(1, None, 0);
    for at in [10, 20] {
        machine.sent(A, 1, at - 10);
        assert_eq!(machine.take_dying(), []);
        machine.expire(at);
        machine.deal_free(at);
    }
    assert_eq!(machine.take_dying(), [Undone { number: 1, attempts: 2 }]);
    assert_eq!(machine.take_dying(), [], "it is being buried");
    machine.revive(1);
    assert_eq!(machine.take_dying().len(), 1);
    assert_eq!(machine.undone().count(), 1, "until it is buried it is not done with");
    assert!(machine.done(1) && machine.is_empty());
    machine.revive(1);
    assert_eq!(machine.take_dying(), []);
}

#[test]
fn events_with_one_key_are_under_way_one_at_a_time_and_in_order() {
    let mut machine = machine(rules(0, 0), &[(A, 9), (B, 9)]);
    assert_eq!(machine.deal(1, Some(7), 0), Dealt::To(A));
    assert_eq!(machine.deal(2, Some(7), 0), Dealt::Waits);
    assert_eq!(machine.deal(3, Some(8), 0), Dealt::To(B));
    assert_eq!(machine.deal(4, Some(7), 0), Dealt::Waits);
    assert_eq!(send(&mut machine, A), [1]);
    machine.leave(A);
    assert_eq!(machine.deal_free(0), [B]);
    assert_eq!(send(&mut machine, B), [3, 1], "the first of its key comes again before the second comes");
    for (done, next) in [(1, 2), (2, 4)] {
        machine.done(done);
        machine.deal_free(0);
        assert_eq!(send(&mut machine, B), [next]);
    }
    machine.done(4);
    assert_eq!(machine.deal(5, Some(7), 0), Dealt::To(B));
}

#[test]
fn an_event_that_is_buried_lets_the_next_with_its_key_go() {
    let mut machine = machine(rules(10, 1), &[(A, 9)]);
    machine.deal(1, Some(7), 0);
    machine.deal(2, Some(7), 0);
    machine.sent(A, 1, 0);
    machine.expire(10);
    machine.take_dying();
    assert_eq!(machine.deal_free(10), []);
    machine.done(1);
    assert_eq!(machine.deal_free(10), [A]);
    assert_eq!(machine.next(A), Some(2));
}

#[test]
fn an_event_that_a_member_may_not_have_goes_to_one_that_may_or_to_nobody() {
    let mut machine = machine(rules(0, 0), &[(A, 9), (B, 9)]);
    machine.deal(1, None, 0);
    machine.refuse(A, 1);
    assert_eq!(machine.deal_free(0), [B]);
    machine.refuse(B, 1);
    assert!(machine.is_empty());
}

#[test]
fn a_restored_group_gives_again_what_was_not_done_with_and_nothing_else() {
    let mut machine = machine(rules(0, 3), &[(A, 9)]);
    let undone = [Undone { number: 4, attempts: 1 }, Undone { number: 6, attempts: 3 }];
    machine.restore(8, undone);
    assert_eq!(machine.undone().collect::<Vec<_>>(), undone);
    assert_eq!((machine.dealt_to(3), machine.dealt_to(9)), (8, 9));
    let dealt = deal(&mut machine, 4..=9);
    assert_eq!(dealt, [Dealt::To(A), Dealt::Done, Dealt::Waits, Dealt::Done, Dealt::Done, Dealt::To(A)]);
    assert_eq!(send(&mut machine, A), [4, 9]);
    assert_eq!(machine.attempts(4), 2);
    assert_eq!(machine.take_dying(), [undone[1]], "it has been tried as often as it may");
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64, usize),
    Leave(u64),
    Deal(Option<u64>),
    Send(u64),
    Done(usize),
    Refuse(u64),
    Pass(u64),
    Bury(bool),
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4_u64, 0..4_usize).prop_map(|(id, window)| Step::Join(id, window)),
        1 => (0..4_u64).prop_map(Step::Leave),
        8 => prop::option::of(0..3_u64).prop_map(Step::Deal),
        8 => (0..4_u64).prop_map(Step::Send),
        6 => (0..9_usize).prop_map(Step::Done),
        1 => (0..4_u64).prop_map(Step::Refuse),
        2 => (0..30_u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Bury),
        1 => Just(Step::Store),
    ]
}

/// What the test knows of an event.
#[derive(Clone, Debug, Default)]
struct Fate {
    key: Option<u64>,
    sent: u16,
    done: bool,
    /// Who has it as far as the test knows.
    with: Option<u64>,
}

#[derive(Default)]
struct Trial {
    machine: Machine,
    now_ms: u64,
    fates: BTreeMap<u64, Fate>,
    /// Events that were dealt to the machine as it is now.
    read_to: u64,
}

impl Trial {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let (machine, now_ms) = (&mut self.machine, self.now_ms);
        match step {
            Step::Join(id, window) => machine.join(MemberId(id), window),
            Step::Leave(id) => {
                machine.leave(MemberId(id));
                self.fates.values_mut().filter(|fate| fate.with == Some(id)).for_each(|fate| fate.with = None);
            }
            Step::Deal(key) => {
                let number = self.read_to + 1;
                let fate = self.fates.entry(number).or_insert(Fate { key, ..Fate::default() });
                if machine.may_deal() {
                    self.read_to = number;
                    let dealt = machine.deal(number, fate.key, now_ms);
                    prop_assert_eq!(dealt == Dealt::Done, fate.done, "{}", number);
                }
            }
            Step::Send(id) => {
                machine.deal_free(now_ms);
                if let Some(number) = machine.next(MemberId(id)) {
                    self.send(id, number)?;
                }
            }
            Step::Done(place) => {
                let under_way = self.fates.iter().filter(|(_, fate)| fate.with.is_some()).map(|(number, _)| *number);
                if let Some(number) = under_way.clone().nth(place).or(under_way.clone().next()) {
                    prop_assert!(machine.done(number));
                    self.finish(number);
                }
            }
            Step::Refuse(id) => {
                if let Some(number) = machine.next(MemberId(id)) {
                    machine.refuse(MemberId(id), number);
                    if !machine.undone().any(|it| it.number == number) {
                        self.finish(number);
                    }
                }
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                machine.expire(self.now_ms);
                let machine = &self.machine;
                for (number, fate) in &mut self.fates {
                    if fate.with.is_some_and(|id| !machine.is_held_by(MemberId(id), *number)) {
                        fate.with = None;
                    }
                }
            }
            Step::Bury(works) => {
                for Undone { number, attempts } in machine.take_dying() {
                    prop_assert!(attempts >= 3);
                    if works {
                        self.machine.done(number);
                    } else {
                        self.machine.revive(number);
                    }
                    if works {
                        self.finish(number);
                    }
                }
            }
            Step::Store => self.store(),
        }
        Ok(())
    }

    fn send(&mut self, id: u64, number: u64) -> Result<(), TestCaseError> {
        self.machine.sent(MemberId(id), number, self.now_ms);
        let fate = self.fates[&number].clone();
        prop_assert!(!fate.done, "{} was done", number);
        prop_assert_eq!(fate.with, None, "{} is under way twice", number);
        prop_assert!(fate.sent < 3, "{} was sent too often", number);
        if fate.key.is_some() {
            let before = self.fates.range(..number).find(|(_, other)| other.key == fate.key && !other.done);
            prop_assert!(before.is_none(), "{} overtakes {:?}", number, before);
        }
        if let Some(fate) = self.fates.get_mut(&number) {
            (fate.with, fate.sent) = (Some(id), fate.sent + 1);
        }
        Ok(())
    }

    fn finish(&mut self, number: u64) {
        if let Some(fate) = self.fates.get_mut(&number) {
            (fate.done, fate.with) = (true, None);
        }
    }

    /// The broker is started again.
    fn store(&mut self) {
        let undone: Vec<_> = self.machine.undone().collect();
        let to = self.machine.dealt_to(self.read_to);
        self.machine = Machine::new(self.machine.rules);
        self.machine.restore(to, undone.iter().copied());
        self.read_to = undone.first().map_or(to, |first| first.number - 1);
        self.fates.values_mut().for_each(|fate| fate.with = None);
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.machine.join(MemberId(0), 2);
        let last = self.fates.keys().last().copied().unwrap_or(0);
        let mut rounds = 0;
        while self.read_to < last || self.machine.undone().next().is_some() {
            rounds += 1;
            prop_assert!(rounds < 10_000, "it does not end: {:?}", self.machine);
            if self.read_to < last {
                self.step(Step::Deal(None))?;
            }
            for id in 0..4 {
                self.step(Step::Send(id))?;
            }
            self.step(Step::Done(0))?;
            self.step(Step::Pass(20))?;
            self.step(Step::Bury(true))?;
        }
        let open: Vec<_> = self.fates.iter().filter(|(number, fate)| **number <= last && !fate.done).collect();
        prop_assert!(open.is_empty(), "not done with: {:?}", open);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_event_is_with_one_member_at_most_and_is_done_with_in_the_end(
        steps in prop::collection::vec(step(), 0..150)
    ) {
        let mut trial = Trial { machine: Machine::new(rules(40, 3)), ..Trial::default() };
        for step in steps {
            trial.step(step)?;
        }
        trial.settle()?;
    }
}
