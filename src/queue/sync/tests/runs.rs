//! Runs: several segments by one vote, and who opens it.

use super::*;

fn segments(segments: &[u64]) -> Vec<Draft> {
    let of = |(n, segment): (usize, &u64)| draft(&format!("E{}", n + 1), n as u64 + 1, *segment, 0);
    segments.iter().enumerate().map(of).collect()
}

/// S1 when E1, E2 and E3 live: positions 1 to 3.
fn alive() -> OneOfThree {
    let mut one = OneOfThree::greeted();
    for (position, entry) in (1..).zip(["E1", "E2", "E3"]) {
        one.hear("S2", RoleMessage::ElectSegment { position, elected: Elected::Command(init(entry, 0)) });
    }
    one.out.clear();
    one
}

impl OneOfThree {
    fn drafted(&mut self, draft: &Draft) {
        self.hear("N1", RoleMessage::GenerateDraft { store: StoreId(1), draft: draft.clone() });
    }

    fn begun(&mut self, draft: &Draft) {
        let id = draft.id.clone();
        let begin = RoleMessage::BeginAdvanceSegment { id, slot: 0, confirmed: 0, clock_us: 0, closed: false };
        self.hear("E1", begin);
    }

    fn clock(&mut self, monotonic_us: u64) -> Vec<Statement> {
        self.sync.set_clock(monotonic_us);
        self.sync.tick(0, &mut self.out);
        self.said()
    }

    fn hear_storage(&mut self, message: RoleMessage) {
        self.sync.handle(0, &NodeId::storage("N1"), message, &mut self.out);
    }

    /// What N1 is told to have been elected.
    fn told(&mut self) -> Vec<(u64, Elected)> {
        let told = self.decisions_for(&NodeId::storage("N1"));
        self.out.clear();
        told
    }

    fn told_to(&mut self, sync: &str) -> Vec<(u64, Elected)> {
        self.decisions_for(&NodeId::sync(sync))
    }

    fn decisions_for(&self, node: &NodeId) -> Vec<(u64, Elected)> {
        let told = self.out.iter().filter_map(|output| match output {
            Output::Send(Envelope { to, message: RoleMessage::ElectSegment { position, elected }, .. })
                if to == node =>
            {
                Some((*position, elected.clone()))
            }
            _ => None,
        });
        told.collect()
    }
}

fn picked(drafts: &[Draft]) -> [Statement; 1] {
    let challenger = match drafts {
        [draft] => Elected::Segment(draft.clone()),
        several => Elected::Run(several.to_vec()),
    };
    [Statement::Pick { challenger }]
}

#[test]
fn one_draft_of_each_entry_challenges_and_the_lowest_is_first() {
    let mut one = alive();
    let drafts = segments(&[300, 100, 200]);
    one.hear("S2", RoleMessage::PickChallenger { position: 4, challenger: Elected::Run(drafts.clone()) });
    one.hear("S3", RoleMessage::ElectSegment { position: 4, elected: Elected::Nothing });
    let sorted = [1, 2, 0].map(|at| drafts[at].clone());
    assert_eq!(one.said().last(), picked(&sorted).last(), "what S2 picked is known to be complete");
}

#[test]
fn a_run_takes_a_position_for_each_of_its_segments_and_is_not_taken_apart() {
    let mut one = alive();
    let run = Elected::Run(segments(&[100, 200]));
    one.hear("S2", RoleMessage::ElectSegment { position: 4, elected: run.clone() });
    assert_eq!((one.sync.position(), one.sync.order().lives[&NodeId::entry("E2")].last), (5, 200));
    assert_eq!(one.told(), [(4, run.clone())]);
    // A storage that has applied the first of it.
    one.hear_storage(RoleMessage::FetchElected { after: 4 });
    assert_eq!(one.told(), [(4, run.clone())]);
    one.hear_storage(RoleMessage::Applied { store: StoreId(1), position: 4 });
    assert_eq!(one.sync.decisions().keys().collect::<Vec<_>>(), [&4]);
    let again = OneOfThree::new(one.sync.records()).sync;
    assert_eq!((again.position(), again.decisions()), (5, one.sync.decisions()));
    one.hear_storage(RoleMessage::FetchElected { after: 5 });
    assert_eq!(one.told(), []);
    one.hear_storage(RoleMessage::Applied { store: StoreId(1), position: 5 });
    assert_eq!(one.sync.decisions().len(), 0);
}

#[test]
fn a_sync_that_knows_the_first_half_of_what_was_decided_knows_all() {
    let mut one = alive();
    let [first, second] = [segments(&[100]), segments(&[100, 200])].map(Elected::Run);
    one.hear("S2", RoleMessage::ElectSegment { position: 4, elected: second });
    one.out.clear();
    one.hear("S3", RoleMessage::ElectSegment { position: 5, elected: first });
    assert_eq!((one.sync.position(), one.told()), (5, vec![]), "that is decided");
}

#[test]
fn a_sync_picks_what_another_has_picked_though_it_knows_more() {
    let mut one = alive();
    one.sync.leave_opening(1000, 100);
    let drafts = segments(&[100, 200]);
    one.begun(&drafts[1]);
    one.drafted(&drafts[0]);
    assert_eq!(one.said(), []);
    one.pick("S3", 4, Elected::Segment(drafts[0].clone()));
    assert_eq!((one.said(), one.sync.due_us()), (picked(&drafts[..1]).to_vec(), Some(1000)), "S2 picks, too");
}

/// The first of three that are linked, all with a draft that is picked.
fn picking() -> (OneOfThree, Draft) {
    let mut one = alive();
    one.greet("S2", None);
    one.greet("S3", None);
    one.sync.leave_opening(1000, 0);
    let draft = segments(&[100]).remove(0);
    one.drafted(&draft);
    assert_eq!(one.said(), picked(std::slice::from_ref(&draft)));
    (one, draft)
}

#[test]
fn what_all_have_picked_is_decided() {
    let (mut one, draft) = picking();
    let elected = Elected::Segment(draft);
    one.pick("S2", 4, elected.clone());
    assert_eq!((one.said(), one.sync.due_us()), (vec![], Some(1000)), "with S3's pick the vote would be at its end");
    one.pick("S3", 4, elected.clone());
    assert_eq!(one.sync.position(), 4);
    assert_eq!(one.told(), [(4, elected)]);
}

#[test]
fn a_pick_is_not_waited_for_long() {
    let (mut one, first) = picking();
    let elected = Elected::Segment(first);
    let state = Statement::State { round: 1, challenger: Some(elected.clone()) };
    one.pick("S2", 4, elected.clone());
    assert_eq!(one.clock(999), []);
    assert_eq!(one.clock(1000), std::slice::from_ref(&state));
    one.hear("S2", state.message(4));
    one.hear("S2", Statement::Vote { round: 1, vote: Some(true), challenger: Some(elected) }.message(4));
    assert_eq!(one.sync.position(), 4);
    one.said();
    // Nor at all for a while.
    let next = draft("E1", 1, 400, 100);
    one.drafted(&next);
    assert_eq!(one.said(), picked(std::slice::from_ref(&next)));
    one.pick("S2", 5, Elected::Segment(next.clone()));
    assert_eq!(one.said(), [Statement::State { round: 1, challenger: Some(Elected::Segment(next)) }]);
}

#[test]
fn where_picks_differ_none_is_waited_for() {
    let (mut one, _) = picking();
    one.pick("S2", 4, Elected::Segment(segments(&[100, 200]).remove(1)));
    assert_eq!(one.said(), [Statement::State { round: 1, challenger: None }]);
}

#[test]
fn who_does_not_open_leaves_it_to_the_first_to_tell_what_was_decided() {
    let mut two = second();
    two.greet("S3", None);
    let elected = Elected::Segment(segments(&[100]).remove(0));
    two.pick("S1", 3, elected.clone());
    two.pick("S3", 3, elected.clone());
    assert_eq!((two.sync.position(), two.sync.due_us()), (3, Some(20_000)));
    two.hear_storage(RoleMessage::Applied { store: StoreId(1), position: 3 });
    assert_eq!(two.sync.decisions().len(), 1, "kept until it is told");
    two.clock(19_999);
    assert_eq!(two.told_to("S3"), []);
    // S3 has said more than its pick, so it does not know how the vote ended.
    two.hear("S3", RoleMessage::State { position: 3, round: 1, challenger: Some(elected.clone()) });
    assert_eq!(two.told_to("S3"), [(3, elected.clone())]);
    two.sync.set_clock(20_000);
    two.sync.tick(0, &mut two.out);
    assert_eq!(two.told_to("S1").last(), Some(&(3, elected)), "S1 has said nothing since");
    two.hear_storage(RoleMessage::Applied { store: StoreId(1), position: 3 });
    assert_eq!((two.sync.decisions().len(), two.sync.due_us()), (0, None));
}

/// S2 when E1 and E2 live: positions 1 and 2.
fn second() -> OneOfThree {
    let start = Start { store: StoreId(12), records: vec![] };
    let mut two = OneOfThree { sync: SyncRole::new(NodeId::sync("S2"), three(), start).unwrap(), out: vec![] };
    two.greet("S1", None);
    for (position, entry) in (1..).zip(["E1", "E2"]) {
        two.hear("S1", RoleMessage::ElectSegment { position, elected: Elected::Command(init(entry, 0)) });
    }
    two.out.clear();
    two.sync.leave_opening(1000, 0);
    two
}

#[test]
fn another_opens_the_vote_unless_it_is_late() {
    let mut two = second();
    let drafts = segments(&[100, 200]);
    two.drafted(&drafts[0]);
    assert_eq!((two.clock(999), two.sync.due_us()), (vec![], Some(1000)));
    assert_eq!(two.clock(1000), picked(&drafts[..1]));
    // Not again for a while.
    two.hear("S3", RoleMessage::ElectSegment { position: 3, elected: Elected::Segment(drafts[0].clone()) });
    two.said();
    two.drafted(&drafts[1]);
    assert_eq!(two.said(), picked(&drafts[1..]));
    two.hear("S3", RoleMessage::ElectSegment { position: 4, elected: Elected::Segment(drafts[1].clone()) });
    two.said();
    two.sync.set_clock(251_000);
    two.drafted(&draft("E1", 1, 300, 100));
    assert_eq!(two.said(), []);
    // One that is not linked is not waited for.
    two.sync.disconnected(&NodeId::sync("S1"));
    two.greet("S3", None);
    assert_eq!(two.clock(251_001), picked(&[draft("E1", 1, 300, 100)]));
}

#[test]
fn who_opens_waits_for_segments_that_come_soon() {
    let mut one = alive();
    one.sync.leave_opening(1000, 100);
    let drafts = segments(&[100, 200, 300]);
    one.begun(&drafts[1]);
    one.drafted(&drafts[0]);
    assert_eq!((one.said(), one.sync.due_us()), (vec![], Some(100)));
    one.drafted(&drafts[1]);
    assert_eq!(one.said(), picked(&drafts[..2]), "all that were begun are there");
    one.hear("S2", RoleMessage::ElectSegment { position: 4, elected: Elected::Run(drafts[..2].to_vec()) });
    one.said();
    // E1 and E2 are about to go on, for they have their results.
    one.drafted(&drafts[2]);
    assert_eq!((one.clock(99), one.sync.due_us()), (vec![], Some(100)));
    assert_eq!(one.clock(100), picked(&drafts[2..]), "but not for ever");
}

#[test]
fn commands_wait_for_no_segments() {
    let mut one = alive();
    one.sync.leave_opening(1000, 100);
    one.begun(&segments(&[100])[0]);
    let command = init("E4", 0);
    one.hear_storage(RoleMessage::AskCommand(command.clone()));
    assert_eq!(one.said(), [Statement::Pick { challenger: Elected::Command(command) }]);
}

#[test]
fn who_opens_says_what_it_will_pick_and_the_others_have_it_on_disk_at_the_same_time() {
    let (mut one, mut two) = (alive(), second());
    one.greet("S2", None);
    one.sync.leave_opening(1000, 0);
    one.out.clear();
    let [first, second] = [100, 200].map(|segment| draft("E1", 1, segment, 0));
    one.drafted(&first);
    let promised = one.out.iter().position(|output| matches!(output, Output::Promise(_))).unwrap();
    let opens = |output: &Output| matches!(output, Output::Send(Envelope { to, message: RoleMessage::OpenVote { position: 4, .. }, .. }) if *to == NodeId::sync("S2"));
    assert_eq!(one.out.iter().position(opens).map(|opens| opens < promised), Some(true));
    // Who leaves it to S1 picks the same, though it does not have the draft.
    let challenger = Elected::Segment(first.clone());
    two.hear("S3", RoleMessage::OpenVote { position: 3, challenger: Elected::Segment(second.clone()) });
    two.hear("S1", RoleMessage::OpenVote { position: 4, challenger: Elected::Segment(second) });
    assert_eq!(two.said(), [], "neither opens this vote");
    two.hear("S1", RoleMessage::OpenVote { position: 3, challenger });
    assert_eq!(two.said(), picked(&[first]));
    assert!(
        !two.out
            .iter()
            .any(|output| matches!(output, Output::Send(Envelope { message: RoleMessage::OpenVote { .. }, .. })))
    );
}
