use super::*;
use crate::queue::envelope::SegmentId;
use crate::queue::quorum::Member;

fn members(storages: u128, storage_quorum: u32) -> Members {
    let storage = |n| Member { node: NodeId::storage(&format!("N{n}")), store: StoreId(n) };
    let syncs = vec![Member { node: NodeId::sync("S1"), store: StoreId::default() }];
    Members { syncs, slots: vec![(1..=storages).map(storage).collect()], storage_quorum }
}

fn draft(entry: &str, incarnation: u64, segment: u64, previous: u64) -> Draft {
    let id = SegmentId { segment, entry: NodeId::entry(entry), incarnation };
    Draft { id, slot: 0, count: 1, digest: 7, previous }
}

fn init(entry: &str, replaces: u64) -> OrderCommand {
    OrderCommand::Init { entry: NodeId::entry(entry), replaces, nonce: 0 }
}

/// A sync that is told things by one storage.
struct Told {
    sync: SyncRole,
    out: Vec<Output>,
}

impl Told {
    fn new(storages: u128, storage_quorum: u32) -> Self {
        let sync = SyncRole::alone(NodeId::sync("S1"), members(storages, storage_quorum), 0, BTreeMap::new());
        Self { sync, out: Vec::new() }
    }

    fn hear(&mut self, message: RoleMessage) {
        self.sync.handle(u64::MAX, &NodeId::storage("N1"), message, &mut self.out);
    }

    fn ask(&mut self, command: OrderCommand) {
        self.hear(RoleMessage::AskCommand(command));
    }

    fn draft(&mut self, store: u128, draft: &Draft) {
        self.hear(RoleMessage::GenerateDraft { store: StoreId(store), draft: draft.clone() });
    }

    /// What N1 was told to apply since the last time: positions, and segments, or 0 for a command.
    fn elected(&mut self) -> Vec<(u64, u64)> {
        let sent = self.out.drain(..).filter_map(|output| match output {
            Output::Send(envelope) if envelope.to == NodeId::storage("N1") => Some(envelope.message),
            _ => None,
        });
        let elected = sent.filter_map(|message| match message {
            RoleMessage::ElectSegment { position, elected: Elected::Segment(draft) } => {
                Some((position, draft.id.segment))
            }
            RoleMessage::ElectSegment { position, .. } => Some((position, 0)),
            _ => None,
        });
        elected.collect()
    }
}

#[test]
fn a_sync_that_is_alone_does_not_become_one_of_several() {
    let mut several = members(1, 1);
    several.syncs.push(Member { node: NodeId::sync("S2"), store: StoreId(9) });
    let mut told = Told::new(1, 1);
    told.ask(OrderCommand::Members(several));
    assert_eq!(told.elected(), []);
}

#[test]
fn a_draft_is_elected_once_whoever_repeats_it() {
    let mut told = Told::new(3, 1);
    told.ask(init("E1", 0));
    told.draft(1, &draft("E1", 1, 100, 0));
    told.draft(2, &draft("E1", 1, 100, 0));
    told.draft(1, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), [(1, 0), (2, 100)]);
}

#[test]
fn a_segment_waits_for_the_one_before() {
    let mut told = Told::new(1, 1);
    told.ask(init("E1", 0));
    told.draft(1, &draft("E1", 1, 300, 200));
    told.draft(1, &draft("E1", 1, 200, 100));
    assert_eq!(told.elected(), [(1, 0)]);
    told.draft(1, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), [(2, 100), (3, 200), (4, 300)]);
}

#[test]
fn the_lowest_is_elected_first() {
    let mut told = Told::new(2, 2);
    for entry in ["E1", "E2", "E3"] {
        told.ask(init(entry, 0));
    }
    told.elected();
    for draft in [draft("E3", 3, 50, 0), draft("E2", 2, 40, 0), draft("E1", 1, 50, 0), draft("E2", 2, 60, 40)] {
        told.draft(1, &draft);
    }
    assert_eq!(told.elected(), [], "one storage is no quorum");
    // With MEMBERS drafts are counted anew: all of them are drafts at once.
    told.ask(OrderCommand::Members(members(2, 1)));
    assert_eq!(told.elected(), [(4, 0), (5, 40), (6, 50), (7, 50), (8, 60)]);
    let (first, second) = (told.sync.decisions[&6].clone(), told.sync.decisions[&7].clone());
    assert_eq!(first, Elected::Segment(draft("E1", 1, 50, 0)), "then the entry's name counts");
    assert_eq!(second, Elected::Segment(draft("E3", 3, 50, 0)));
}

#[test]
fn only_equal_drafts_of_present_disks_are_counted_together() {
    let mut told = Told::new(2, 2);
    told.ask(init("E1", 0));
    told.elected();
    let other = Draft { digest: 8, ..draft("E1", 1, 100, 0) };
    told.draft(1, &draft("E1", 1, 100, 0));
    told.draft(2, &other);
    told.draft(1, &draft("E1", 1, 100, 0));
    // A disk that is no member's (any more).
    told.draft(3, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), []);
    told.draft(2, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), [(2, 100)]);
    told.draft(1, &other);
    assert_eq!(told.elected(), []);
}

#[test]
fn a_draft_may_come_before_the_init_of_its_life() {
    let mut told = Told::new(1, 1);
    told.draft(1, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), []);
    told.ask(init("E1", 0));
    assert_eq!(told.elected(), [(1, 0), (2, 100)]);
}

#[test]
fn what_a_cut_ended_is_never_elected() {
    let mut told = Told::new(1, 1);
    told.ask(init("E1", 0));
    told.draft(1, &draft("E1", 1, 200, 100));
    told.ask(OrderCommand::Lost { entry: NodeId::entry("E1"), incarnation: 1 });
    told.draft(1, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), [(1, 0), (2, 0)]);
    told.ask(init("E1", 1));
    told.draft(1, &draft("E1", 1, 100, 0));
    told.draft(1, &draft("E1", 3, 90, 0));
    // Void: neither is of the present life.
    told.ask(init("E1", 1));
    told.ask(OrderCommand::Lost { entry: NodeId::entry("E1"), incarnation: 1 });
    told.draft(1, &draft("E1", 3, 95, 90));
    assert_eq!(told.elected(), [(3, 0), (4, 90), (5, 0), (6, 0), (7, 95)]);
}

#[test]
fn decisions_are_told_again_until_a_quorum_has_applied_them() {
    let mut told = Told::new(3, 2);
    for at_us in 1..=3 {
        told.ask(OrderCommand::Time { at_us });
    }
    told.elected();
    told.hear(RoleMessage::FetchElected { after: 1 });
    assert_eq!(told.elected(), [(2, 0), (3, 0)]);
    told.hear(RoleMessage::Applied { store: StoreId(1), position: 3 });
    told.hear(RoleMessage::FetchElected { after: 0 });
    assert_eq!(told.elected(), [(1, 0), (2, 0), (3, 0)]);
    told.hear(RoleMessage::Applied { store: StoreId(2), position: 2 });
    told.hear(RoleMessage::FetchElected { after: 0 });
    assert_eq!(told.elected(), [(3, 0)]);
}

#[test]
fn a_decision_that_was_taken_back_is_none() {
    let mut told = Told::new(1, 1);
    told.ask(init("E1", 0));
    told.sync.take_back(1);
    told.ask(init("E1", 0));
    told.draft(1, &draft("E1", 1, 100, 0));
    assert_eq!(told.elected(), [(1, 0), (1, 0), (2, 100)]);
    told.sync.take_back(2);
    told.draft(1, &draft("E1", 1, 150, 0));
    assert_eq!(told.elected(), [(2, 150)]);
}
