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
        let begin = RoleMessage::BeginAdvanceSegment { id, slot: 0, confirmed: 0, clock_us: 0 };
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
        let told = self.out.drain(..).filter_map(|output| match output {
            Output::Send(Envelope { to, message: RoleMessage::ElectSegment { position, elected }, .. })
                if to == NodeId::storage("N1") =>
            {
                Some((position, elected))
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
    let state = Statement::State { round: 1, challenger: Some(Elected::Segment(drafts[0].clone())) };
    assert_eq!(one.said(), [picked(&drafts[..1])[0].clone(), state]);
    assert_eq!(one.sync.opens_at_us(), None);
}

#[test]
fn another_opens_the_vote_unless_it_is_late() {
    let start = Start { store: StoreId(12), records: vec![] };
    let mut two = OneOfThree { sync: SyncRole::new(NodeId::sync("S2"), three(), start).unwrap(), out: vec![] };
    two.sync.leave_opening(1000, 0);
    two.greet("S1", None);
    for (position, entry) in (1..).zip(["E1", "E2"]) {
        two.hear("S1", RoleMessage::ElectSegment { position, elected: Elected::Command(init(entry, 0)) });
    }
    let drafts = segments(&[100, 200]);
    two.drafted(&drafts[0]);
    assert_eq!((two.clock(999), two.sync.opens_at_us()), (vec![], Some(1000)));
    assert_eq!(two.clock(1000), picked(&drafts[..1]));
    assert_eq!(two.sync.opens_at_us(), None);
    // Not again before a second is over.
    two.hear("S3", RoleMessage::ElectSegment { position: 3, elected: Elected::Segment(drafts[0].clone()) });
    two.said();
    two.drafted(&drafts[1]);
    assert_eq!(two.said(), picked(&drafts[1..]));
    two.hear("S3", RoleMessage::ElectSegment { position: 4, elected: Elected::Segment(drafts[1].clone()) });
    two.said();
    two.sync.set_clock(1_001_000);
    two.drafted(&draft("E1", 1, 300, 100));
    assert_eq!(two.said(), []);
    // One that is not linked is not waited for.
    two.sync.disconnected(&NodeId::sync("S1"));
    two.greet("S3", None);
    assert_eq!(two.clock(1_001_001), picked(&[draft("E1", 1, 300, 100)]));
}

#[test]
fn who_opens_waits_for_segments_that_come_soon() {
    let mut one = alive();
    one.sync.leave_opening(1000, 100);
    let drafts = segments(&[100, 200, 300]);
    one.begun(&drafts[1]);
    one.drafted(&drafts[0]);
    assert_eq!((one.said(), one.sync.opens_at_us()), (vec![], Some(100)));
    one.drafted(&drafts[1]);
    assert_eq!(one.said(), picked(&drafts[..2]), "all that were begun are there");
    one.hear("S2", RoleMessage::ElectSegment { position: 4, elected: Elected::Run(drafts[..2].to_vec()) });
    one.said();
    // E1 and E2 are about to go on, for they have their results.
    one.drafted(&drafts[2]);
    assert_eq!((one.clock(99), one.sync.opens_at_us()), (vec![], Some(100)));
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
