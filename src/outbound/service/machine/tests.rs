//! The rules one by one, the stories of the scheduler that this descends from, and the faults it had.

use super::*;

const NOW_MS: u64 = 1_000_000;
const ADDRESS: &str = "http://a";
/// The die at its highest: waits are as long as they may be.
const HIGHEST: u64 = u64::MAX;

/// A service, and what was recorded of it.
struct World {
    machine: Machine,
    now_ms: u64,
    /// As the log has it.
    stored: Stored,
    done_to: u64,
    read_to: u64,
    sent: Vec<String>,
    told: Vec<Status>,
}

fn transaction(first: u64, up_to: u64) -> Transaction {
    let events = (up_to - first + 1) as u32;
    let (first_id, last_id) = (format!("e{first}"), format!("e{up_to}"));
    Transaction { first, up_to, events, first_id, last_id, suspect: false, made: 0 }
}

fn failed() -> Answer {
    Answer::Failed { why: "503".to_owned(), retry_after_ms: None }
}

fn refused() -> Answer {
    Answer::Refused { status: 422, why: "no".to_owned() }
}

const TAKEN: Answer = Answer::Accepted { next: None };

impl World {
    fn new() -> Self {
        Self::from(Stored::default(), 0)
    }

    fn from(stored: Stored, done_to: u64) -> Self {
        let machine = Machine::new(stored.clone(), ADDRESS, false, NOW_MS);
        // What was planned is read again.
        let read_to = stored.planned.back().map_or(done_to, |last| last.up_to);
        let (sent, told) = (Vec::new(), Vec::new());
        Self { machine, now_ms: NOW_MS, stored, done_to, read_to, sent, told }
    }

    /// The process dies, and what was recorded is taken up.
    fn restart(self) -> Self {
        let World { stored, done_to, now_ms, .. } = self;
        Self { now_ms, ..Self::from(stored, done_to) }
    }

    /// The log has so many more events, of which transactions of `size` are made as far as may be; then all is recorded.
    fn publish(&mut self, size: u64, count: u64) {
        for _ in 0..count {
            if self.machine.may_plan() {
                self.machine.plan(transaction(self.read_to + 1, self.read_to + size));
                self.read_to += size;
            }
        }
        self.record();
    }

    fn record(&mut self) {
        if self.machine.is_dirty() {
            let what = self.machine.recording();
            let written = serde_json::to_vec(self.machine.stored()).unwrap();
            self.stored = serde_json::from_slice(&written).unwrap();
            self.done_to = self.machine.done_to(self.read_to);
            self.machine.recorded(what, true);
        }
    }

    /// Sends what is due; the id.
    fn send(&mut self) -> Option<String> {
        let id = self.machine.send(self.now_ms)?.id();
        self.sent.push(id.clone());
        Some(id)
    }

    fn answer(&mut self, answer: Answer) -> Verdict {
        let verdict = self.machine.answered(answer, self.now_ms, HIGHEST);
        self.told.extend(self.machine.take_became());
        if verdict == Verdict::Halve {
            let oldest = self.machine.stored().planned[0].clone();
            let half = oldest.first + u64::from(oldest.events) / 2;
            let part = |first, up_to| Transaction { suspect: true, ..transaction(first, up_to) };
            self.machine.replace_oldest([part(oldest.first, half - 1), part(half, oldest.up_to)]);
        }
        self.record();
        verdict
    }

    /// Sends one, and it is answered so. `None`: there was nothing to send now.
    fn round(&mut self, answer: Answer) -> Option<(String, Verdict)> {
        let id = self.send()?;
        Some((id, self.answer(answer)))
    }

    /// How long until the next try is due.
    fn wait_ms(&self) -> u64 {
        self.machine.due_ms().expect("there is something to send").saturating_sub(self.now_ms)
    }

    fn wait(&mut self) {
        self.now_ms += self.wait_ms();
    }
}

fn ids(all: &[&str]) -> Vec<String> {
    all.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn nominal_flow_events_are_grouped_recorded_sent_and_done() {
    let mut world = World::new();
    world.publish(3, 2);
    assert_eq!(world.done_to, 0, "nothing is done");
    assert_eq!(world.round(TAKEN), Some(("e1-e3".to_owned(), Verdict::Done)));
    assert_eq!((world.done_to, world.stored.planned.len()), (3, 1), "place and state move together");
    assert_eq!(world.round(TAKEN), Some(("e4-e6".to_owned(), Verdict::Done)));
    assert_eq!((world.done_to, world.send()), (6, None));
    assert!(world.told.is_empty(), "it was up all the time");
}

#[test]
fn a_transaction_is_recorded_before_it_is_sent() {
    let mut world = World::new();
    world.machine.plan(transaction(1, 3));
    assert_eq!(world.send(), None);
    let what = world.machine.recording();
    assert_eq!(world.send(), None, "it is on its way to the disk");
    world.machine.plan(transaction(4, 5));
    world.machine.recorded(what, true);
    assert_eq!(world.round(TAKEN), Some(("e1-e3".to_owned(), Verdict::Done)));
    let mut world = World::new();
    world.machine.plan(transaction(1, 3));
    let what = world.machine.recording();
    world.machine.recorded(what, false);
    assert!(world.machine.is_dirty() && world.send().is_none(), "it could not be recorded");
}

#[test]
fn one_that_was_made_while_another_was_being_recorded_waits_for_its_own_record() {
    let mut world = World::new();
    world.machine.plan(transaction(1, 3));
    let what = world.machine.recording();
    world.machine.plan(transaction(4, 5));
    world.machine.recorded(what, true);
    let id = world.machine.send(world.now_ms).map(Transaction::id);
    assert_eq!(id.as_deref(), Some("e1-e3"));
    world.machine.answered(TAKEN, world.now_ms, 0);
    assert_eq!(world.machine.send(world.now_ms), None);
}

#[test]
fn failure_marks_it_down_and_the_recoverer_sends_the_oldest_first() {
    let mut world = World::new();
    world.publish(2, 3);
    world.round(failed());
    assert_eq!((world.machine.status(), &world.told[..]), (Status::Down, &[Status::Down][..]));
    assert_eq!(world.send(), None, "not before the wait is over");
    assert!(!world.machine.may_plan(), "nothing piles up");
    world.wait();
    assert_eq!(world.round(TAKEN), Some(("e1-e2".to_owned(), Verdict::Done)));
    assert_eq!(world.machine.status(), Status::Down, "there is more of what was planned");
    world.round(TAKEN);
    world.round(TAKEN);
    assert_eq!((world.machine.status(), &world.told[..]), (Status::Up, &[Status::Down, Status::Up][..]));
    assert!(world.machine.may_plan());
}

#[test]
fn the_recoverer_backs_off_and_success_resets_that() {
    let mut world = World::new();
    world.publish(1, 2);
    let mut waits = Vec::new();
    for _ in 0..11 {
        world.round(failed());
        waits.push(world.wait_ms().div_ceil(1000));
        world.wait();
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
    assert_eq!(world.stored.attempts, 11, "that is recorded");
    world.round(TAKEN);
    world.round(failed());
    assert_eq!(world.wait_ms().div_ceil(1000), 2);
    assert_eq!(world.stored.attempts, 1);
}

#[test]
fn several_services_recover_each_for_itself() {
    let mut worlds: Vec<World> = (0..3).map(|_| World::new()).collect();
    for (at, world) in worlds.iter_mut().enumerate() {
        world.publish(1, 1);
        for _ in 0..=at {
            world.round(failed());
            world.wait();
        }
    }
    assert!(worlds.iter().all(|world| world.machine.status() == Status::Down));
    worlds[1].round(TAKEN);
    let statuses: Vec<Status> = worlds.iter().map(|world| world.machine.status()).collect();
    assert_eq!(statuses, [Status::Down, Status::Up, Status::Down]);
    assert_eq!(worlds.iter().map(|world| world.stored.attempts).collect::<Vec<_>>(), [1, 0, 3]);
}

#[test]
fn restart_while_up_sends_what_was_planned_under_the_same_names() {
    let mut world = World::new();
    world.publish(3, 2);
    world.send();
    let mut world = world.restart();
    assert_eq!(world.machine.status(), Status::Up);
    world.round(TAKEN);
    world.round(TAKEN);
    assert_eq!(world.sent, ids(&["e1-e3", "e4-e6"]));
}

#[test]
fn restart_while_down_tries_at_once_and_goes_on_backing_off() {
    let mut world = World::new();
    world.publish(3, 1);
    for _ in 0..4 {
        world.round(failed());
        world.wait();
    }
    world.round(failed());
    let mut world = world.restart();
    assert_eq!((world.machine.status(), world.wait_ms()), (Status::Down, 0));
    world.round(failed());
    assert_eq!(world.wait_ms().div_ceil(1000), 64, "the count of attempts has survived");
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    let mut world = World::new();
    world.publish(1, 1);
    let busy = |retry_after_ms| Answer::Failed { why: "429".to_owned(), retry_after_ms: Some(retry_after_ms) };
    world.round(busy(90_000));
    assert_eq!(world.wait_ms(), 90_000);
    world.wait();
    world.round(busy(1));
    assert_eq!(world.wait_ms().div_ceil(1000), 4, "its own wait is longer");
    world.wait();
    world.round(busy(u64::MAX));
    assert_eq!(world.wait_ms(), RETRY_AFTER_MS_MAX);
}

#[test]
fn a_part_may_be_accepted() {
    let mut world = World::new();
    world.publish(4, 1);
    let id = world.send();
    assert_eq!(id.as_deref(), Some("e1-e4"));
    assert_eq!(world.answer(Answer::Accepted { next: Some(3) }), Verdict::Rest { next: 3 });
    world.machine.replace_oldest([transaction(3, 4)]);
    world.record();
    assert_eq!(world.done_to, 2);
    assert_eq!(world.round(Answer::Accepted { next: Some(5) }), Some(("e3-e4".to_owned(), Verdict::Done)));
    world.publish(2, 1);
    world.round(Answer::Accepted { next: Some(1) });
    assert_eq!(world.machine.status(), Status::Down, "who takes none of them does not get on");
}

#[test]
fn a_refused_transaction_is_tried_five_times_then_in_halves_and_the_event_that_is_refused_is_buried() {
    let mut world = World::new();
    world.publish(8, 1);
    world.publish(1, 1);
    let poison = 6;
    let (mut buried, mut accepted) = (Vec::new(), Vec::new());
    while let Some(due_ms) = world.machine.due_ms() {
        world.now_ms = world.now_ms.max(due_ms);
        let oldest = world.machine.stored().planned[0].clone();
        let has_poison = (oldest.first..=oldest.up_to).contains(&poison);
        match world.round(if has_poison { refused() } else { TAKEN }) {
            Some((_, Verdict::Bury { status, .. })) => buried.push((oldest.first, status)),
            Some((_, Verdict::Done)) => accepted.extend(oldest.first..=oldest.up_to),
            _ => {}
        }
    }
    assert_eq!(buried, [(6, 422)]);
    assert_eq!(accepted, [1, 2, 3, 4, 5, 7, 8, 9], "in order, and all others");
    let expected =
        ["e1-e8", "e1-e8", "e1-e8", "e1-e8", "e1-e8", "e1-e4", "e5-e8", "e5-e6", "e5-e5", "e6-e6", "e7-e8", "e9-e9"];
    assert_eq!(world.sent, ids(&expected));
    assert_eq!((world.stored.buried, world.machine.status(), world.told.len()), (1, Status::Up, 0));
}

#[test]
fn restart_in_the_middle_of_halves_goes_on_with_them() {
    let mut world = World::new();
    world.publish(4, 1);
    for _ in 0..5 {
        world.round(refused());
        world.wait();
    }
    let mut world = world.restart();
    assert_eq!(world.round(TAKEN), Some(("e1-e2".to_owned(), Verdict::Done)));
    assert_eq!(world.round(refused()), Some(("e3-e4".to_owned(), Verdict::Halve)));
}

#[test]
fn a_failure_among_refusals_is_a_failure() {
    let mut world = World::new();
    world.publish(2, 1);
    world.round(refused());
    world.wait();
    world.round(failed());
    assert_eq!(world.machine.status(), Status::Down);
    assert_eq!(world.stored.refusals, 1, "they are counted on");
}

#[test]
fn gone_disables_it_until_somebody_asks() {
    let mut world = World::new();
    world.publish(1, 1);
    world.round(Answer::Gone);
    assert_eq!((world.machine.status(), world.machine.due_ms()), (Status::Disabled, None));
    assert!(!world.machine.may_plan());
    let mut world = world.restart();
    assert_eq!(world.machine.due_ms(), None, "a restart does not ask");
    world.machine.nudge(world.now_ms);
    world.round(TAKEN);
    assert_eq!((world.machine.status(), world.done_to), (Status::Up, 1));
}

#[test]
fn one_that_is_disabled_is_tried_at_another_address() {
    let mut world = World::new();
    world.publish(1, 1);
    world.round(Answer::Gone);
    let machine = Machine::new(world.stored.clone(), ADDRESS, false, NOW_MS);
    assert_eq!((machine.status(), machine.due_ms()), (Status::Disabled, None));
    let machine = Machine::new(world.stored.clone(), "http://b", false, NOW_MS);
    assert_eq!((machine.status(), machine.due_ms()), (Status::Down, Some(0)));
}

#[test]
fn a_nudge_has_it_tried_now() {
    let mut world = World::new();
    world.publish(1, 1);
    for _ in 0..6 {
        world.round(failed());
        world.wait();
    }
    world.round(failed());
    assert!(world.wait_ms() > 100_000);
    world.machine.nudge(world.now_ms);
    assert_eq!(world.wait_ms(), 0);
    world.round(failed());
    assert!(world.wait_ms() > 100_000, "once");
}

#[test]
fn one_that_is_paused_neither_plans_nor_sends() {
    let mut world = World::new();
    world.publish(1, 1);
    let mut machine = Machine::new(world.stored.clone(), ADDRESS, true, NOW_MS);
    assert!(!machine.may_plan() && machine.due_ms().is_none() && machine.send(NOW_MS).is_none());
    let mut machine = Machine::new(world.stored, ADDRESS, false, NOW_MS);
    assert!(machine.send(NOW_MS).is_some());
}

#[test]
fn what_retention_has_taken_is_passed_by() {
    let mut world = World::new();
    world.publish(2, 2);
    world.round(failed());
    world.wait();
    world.send();
    world.machine.vanished(0, world.now_ms);
    assert_eq!(world.round(TAKEN), Some(("e3-e4".to_owned(), Verdict::Done)));
    assert_eq!(world.machine.status(), Status::Up);
}

// Faults that the scheduler had that this descends from.

#[test]
fn fault_events_held_only_in_memory_when_the_position_advances() {
    let mut world = World::new();
    world.publish(2, PLANNED_MAX as u64 + 5);
    while world.done_to < 2 * PLANNED_MAX as u64 {
        let before = world.done_to;
        world.send();
        assert_eq!(world.machine.done_to(world.read_to), before, "what is under way is not done");
        world.answer(TAKEN);
        // Whenever it dies now, the log is read again from a place before all that was not accepted.
        let taken_up = Machine::new(world.stored.clone(), ADDRESS, false, NOW_MS);
        let first = taken_up.stored().planned.front().map_or(world.read_to, |oldest| oldest.first - 1);
        assert_eq!(world.done_to, first);
    }
}

#[test]
fn fault_a_transaction_left_by_a_crash_while_up_not_retried() {
    let mut world = World::new();
    world.publish(1, 1);
    world.send();
    let mut world = world.restart();
    assert_eq!(world.machine.status(), Status::Up);
    assert_eq!(world.send().as_deref(), Some("e1-e1"), "without anything new being published");
}

#[test]
fn fault_a_wake_up_lost_at_the_moment_of_recovery() {
    let mut world = World::new();
    world.publish(1, 1);
    world.round(failed());
    world.wait();
    world.send();
    // Somebody asks while the try is under way that fails.
    world.machine.nudge(world.now_ms);
    world.answer(failed());
    assert_eq!(world.wait_ms(), 0);
    // And events that come in the moment of recovery are planned when it is over.
    world.send();
    assert!(!world.machine.may_plan());
    world.answer(TAKEN);
    assert!(world.machine.may_plan());
}

#[test]
fn fault_two_retry_loops_at_once() {
    let mut world = World::new();
    world.publish(1, 2);
    world.send();
    for _ in 0..3 {
        world.machine.nudge(world.now_ms);
        assert_eq!((world.send(), world.machine.due_ms()), (None, None), "one is under way");
    }
    world.answer(failed());
    assert_eq!(world.send().as_deref(), Some("e1-e1"));
    assert_eq!(world.send(), None);
}

#[test]
fn fault_one_event_per_transaction_when_catching_up() {
    let mut world = World::new();
    world.publish(1, 1);
    world.round(failed());
    // While it is down, events stay in the log: what is planned later is as large as the log has it.
    world.publish(1, 100);
    assert_eq!(world.stored.planned.len(), 1);
    world.wait();
    world.round(TAKEN);
    world.publish(100, 1);
    assert_eq!(world.send().as_deref(), Some("e2-e101"));
}

#[test]
fn fault_a_poison_batch_that_blocks_for_ever() {
    let mut world = World::new();
    world.publish(64, 1);
    world.publish(1, 1);
    let mut rounds = 0;
    while world.machine.due_ms().is_some() {
        world.wait();
        let oldest = world.machine.stored().planned[0].clone();
        world.round(if oldest.up_to <= 64 { refused() } else { TAKEN });
        rounds += 1;
        assert!(rounds < 1000, "it never ends");
    }
    assert_eq!((world.stored.buried, world.done_to), (64, 65));
}

#[test]
fn fault_no_jitter() {
    for attempts in [1, 5, 9, 40] {
        let longest_ms = backoff_ms(attempts, HIGHEST) + 1;
        let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
        let mut parts = [0_u32; 4];
        for _ in 0..1000 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            parts[(backoff_ms(attempts, dice) * 4 / longest_ms) as usize] += 1;
        }
        assert!(parts.iter().all(|part| *part > 150), "waits are spread from 0 to the longest: {parts:?}");
    }
}
