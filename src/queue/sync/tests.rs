use super::*;
use crate::queue::envelope::SegmentId;
use crate::queue::quorum::Member;

mod runs;

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
    told.ask(OrderCommand::Members { behind: 0, members: several });
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
    told.ask(OrderCommand::Members { behind: 0, members: members(2, 1) });
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

/// One of three syncs, told things by the others: the statements it makes, as they would stand in its file.
struct OneOfThree {
    sync: SyncRole,
    out: Vec<Output>,
}

fn three() -> Members {
    let sync = |n: u128| Member { node: NodeId::sync(&format!("S{n}")), store: StoreId(10 + n) };
    Members { syncs: (1..=3).map(sync).collect(), ..members(1, 1) }
}

fn time(at_us: u64) -> Elected {
    Elected::Command(OrderCommand::Time { at_us })
}

impl OneOfThree {
    fn new(records: Vec<Record>) -> Self {
        let sync = SyncRole::new(NodeId::sync("S1"), three(), Start { store: StoreId(11), records }).unwrap();
        Self { sync, out: Vec::new() }
    }

    fn greeted() -> Self {
        let mut one = Self::new(vec![]);
        one.greet("S2", None);
        one.said();
        one
    }

    fn greet(&mut self, from: &str, heard: Option<(StoreId, Step)>) {
        let hello = Hello { store: StoreId(99), position: 0, table: Table::Founded, heard };
        self.hear(from, RoleMessage::SyncHello(hello));
    }

    fn hear(&mut self, from: &str, message: RoleMessage) {
        self.sync.handle(0, &NodeId::sync(from), message, &mut self.out);
    }

    fn pick(&mut self, from: &str, position: u64, challenger: Elected) {
        self.hear(from, RoleMessage::PickChallenger { position, challenger });
    }

    fn vote(&mut self, from: &str, vote: Option<bool>, challenger: Option<Elected>) {
        self.hear(from, RoleMessage::Vote { position: 1, round: 1, vote, challenger });
    }

    /// What it promised since the last time.
    fn said(&mut self) -> Vec<Statement> {
        let said = self.out.drain(..).filter_map(|output| match output {
            Output::Promise(Record::Said { statement, .. }) => Some(statement),
            _ => None,
        });
        said.collect()
    }
}

#[test]
fn nothing_is_sent_before_what_it_promises() {
    let mut one = OneOfThree::greeted();
    one.pick("S2", 1, time(5));
    let places = |promised: bool| {
        let is = move |output: &&(usize, &Output)| match output.1 {
            Output::Promise(_) => promised,
            Output::Send(_) => !promised,
            _ => false,
        };
        one.out.iter().enumerate().collect::<Vec<_>>().iter().filter(is).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!((places(true), places(false)), (vec![0, 2], vec![1, 3]), "PICK_CHALLENGER, then STATE");
}

#[test]
fn a_sync_that_nobody_has_greeted_says_nothing() {
    let mut one = OneOfThree::new(vec![]);
    one.pick("S2", 1, time(5));
    assert_eq!(one.said(), []);
    one.greet("S2", None);
    assert_eq!(one.said().len(), 2);
    one.sync.disconnected(&NodeId::sync("S2"));
    one.hear("S2", RoleMessage::State { position: 1, round: 1, challenger: Some(time(5)) });
    assert_eq!(one.said(), []);
}

/// Its disk may be an older copy, and only the last of them may have heard that.
#[test]
fn a_sync_that_starts_again_says_nothing_new_until_all_others_are_there_or_had_their_time() {
    for is_patient in [true, false] {
        let mut one = OneOfThree::new(vec![]);
        one.sync.wait_for_all();
        one.greet("S2", None);
        one.pick("S2", 1, time(5));
        assert_eq!(one.said(), []);
        match is_patient {
            true => one.greet("S3", None),
            false => one.sync.wait_no_longer(&mut one.out),
        }
        assert_eq!(one.said().len(), 2);
    }
}

#[test]
fn who_has_no_majority_of_picks_has_state_0() {
    let mut one = OneOfThree::greeted();
    one.hear("N1", RoleMessage::AskCommand(init("E1", 0)));
    one.pick("S2", 1, time(5));
    assert_eq!(one.said()[1], Statement::State { round: 1, challenger: None });
    one.hear("S2", RoleMessage::State { position: 1, round: 1, challenger: Some(time(5)) });
    let challenger = Some(time(5));
    let unsure = Statement::Vote { round: 1, vote: None, challenger: challenger.clone() };
    assert_eq!(one.said(), [unsure], "it follows from a 1, and carries what that stands for");
    one.vote("S2", None, challenger.clone());
    assert_eq!(one.said(), [Statement::State { round: 2, challenger }], "the first coin falls on 1");
}

#[test]
fn votes_of_others_decide_without_our_own() {
    let mut one = OneOfThree::greeted();
    one.vote("S2", Some(true), Some(time(5)));
    one.vote("S2", Some(true), Some(time(5)));
    assert_eq!(one.sync.position(), 0, "one sync is one vote, however often it says it");
    one.vote("S3", Some(true), Some(time(5)));
    assert_eq!(one.sync.decisions()[&1], time(5));
    one.vote("S3", Some(false), None);
    assert_eq!((one.sync.position(), one.said()), (1, vec![]));
}

#[test]
fn what_is_said_ahead_counts_in_its_time() {
    let mut one = OneOfThree::greeted();
    one.hear("S3", RoleMessage::ElectSegment { position: 2, elected: Elected::Nothing });
    one.pick("S2", 3, time(7));
    one.pick("S2", AHEAD_MAX + 1, time(7));
    assert_eq!((one.sync.position(), one.said()), (0, vec![]));
    one.hear("S3", RoleMessage::ElectSegment { position: 1, elected: time(5) });
    assert_eq!(one.sync.position(), 2);
    assert_eq!(one.said()[0], Statement::Pick { challenger: time(7) });
    assert_eq!(one.sync.ahead.len(), 0, "the far one was not kept");
}

#[test]
fn a_file_and_its_short_form_are_the_same_sync() {
    let mut one = OneOfThree::greeted();
    let mut file = one.sync.records();
    one.hear("N1", RoleMessage::AskCommand(init("E1", 0)));
    one.pick("S2", 1, init_elected());
    one.hear("S3", RoleMessage::ElectSegment { position: 1, elected: init_elected() });
    one.pick("S2", 2, time(5));
    let written = one.out.iter().filter_map(|output| match output {
        Output::Promise(record) | Output::Note(record) => Some(record.clone()),
        _ => None,
    });
    file.extend(written);
    let again = OneOfThree::new(file).sync;
    assert_eq!(again.order, one.sync.order);
    assert_eq!(again.vote.said(), one.sync.vote.said());
    assert_eq!(again.all_heard(), one.sync.all_heard());
    assert_eq!(OneOfThree::new(one.sync.records()).sync.records(), again.records());
}

fn init_elected() -> Elected {
    Elected::Command(init("E1", 0))
}

#[test]
fn a_gap_in_the_promises_is_an_error() {
    let said = |position| Record::Said { position, statement: Statement::Pick { challenger: time(5) }, of: vec![] };
    let start = |records| SyncRole::new(NodeId::sync("S1"), three(), Start { store: StoreId(11), records });
    assert!(start(vec![said(1)]).is_ok());
    assert_eq!(start(vec![said(2)]), Err(StartError::Gap { before: 2 }));
    assert_eq!(start(vec![Record::Disk(StoreId(5))]), Err(StartError::OtherDisk));
}

#[test]
fn a_disk_that_knows_less_than_others_heard_from_it_is_silent() {
    let heard = |round| Some((StoreId(11), Step { position: 1, round, phase: Phase::Vote }));
    let mut one = OneOfThree::new(vec![]);
    one.greet("S2", Some((StoreId(12), Step { position: 9, round: 1, phase: Phase::Vote })));
    assert_eq!(one.sync.standing(), Standing::Votes, "that was another disk");
    one.greet("S2", heard(1));
    assert!(one.out.contains(&Output::Forgot));
    one.out.clear();
    one.pick("S2", 1, time(5));
    assert_eq!((one.sync.standing(), one.out.len()), (Standing::Forgot, 0));
}

#[test]
fn a_disk_that_is_no_member_only_listens() {
    let start = Start { store: StoreId(77), records: vec![] };
    let mut one = OneOfThree { sync: SyncRole::new(NodeId::sync("S1"), three(), start).unwrap(), out: vec![] };
    one.greet("S2", None);
    one.pick("S2", 1, time(5));
    one.vote("S2", Some(true), Some(time(5)));
    one.vote("S3", Some(true), Some(time(5)));
    assert_eq!((one.sync.standing(), one.sync.position(), one.said()), (Standing::Listens, 1, vec![]));
    let mut table = three();
    table.syncs[0].store = StoreId(77);
    one.hear(
        "S2",
        RoleMessage::ElectSegment {
            position: 2,
            elected: Elected::Command(OrderCommand::Members { behind: 0, members: table }),
        },
    );
    one.pick("S2", 3, time(9));
    assert_eq!((one.sync.standing(), one.said().len()), (Standing::Votes, 2));
}

#[test]
fn a_table_that_was_made_from_another_than_the_present_one_is_void() {
    let table = |storage_quorum| Members { slots: members(3, storage_quorum).slots, storage_quorum, ..three() };
    let ask = |behind, storage_quorum| OrderCommand::Members { behind, members: table(storage_quorum) };
    let elect = |position, command| RoleMessage::ElectSegment { position, elected: Elected::Command(command) };
    let mut one = OneOfThree::greeted();
    // Two were asked for at once.
    for command in [ask(0, 2), ask(0, 3)] {
        one.hear("S1", RoleMessage::AskCommand(command.clone()));
        one.hear("S2", RoleMessage::BackCommands([command].into()));
    }
    one.hear("S2", elect(1, ask(0, 2)));
    assert_eq!((one.sync.order().members_at, one.sync.order().members.storage_quorum), (1, 2));
    one.said();
    one.hear("S2", RoleMessage::BackCommands([ask(0, 3)].into()));
    one.hear("S3", RoleMessage::BackCommands([ask(0, 3)].into()));
    assert_eq!(one.said(), [], "it is made from the first table, and that is over");
    let mut two_more = table(3);
    two_more.syncs.extend((4..=5).map(|n| Member { node: NodeId::sync(&format!("S{n}")), store: StoreId(10 + n) }));
    one.hear("S2", elect(2, OrderCommand::Members { behind: 1, members: two_more }));
    assert_eq!((one.sync.order().members_at, one.sync.order().members.syncs.len()), (1, 3), "two at once");
    one.hear("S2", elect(3, ask(1, 3)));
    assert_eq!((one.sync.order().members_at, one.sync.order().members.storage_quorum), (3, 3));
}

#[test]
fn a_storage_that_is_no_member_hears_decisions_once_it_has_asked() {
    let mut one = OneOfThree::greeted();
    let tells = |one: &mut OneOfThree| {
        let is_it = |output: &Output| match output {
            Output::Send(Envelope { to, message: RoleMessage::ElectSegment { .. }, .. }) => {
                *to == NodeId::storage("N9")
            }
            _ => false,
        };
        std::mem::take(&mut one.out).iter().any(is_it)
    };
    one.hear("S2", RoleMessage::ElectSegment { position: 1, elected: init_elected() });
    assert!(!tells(&mut one));
    let storage = NodeId::storage("N9");
    one.sync.handle(0, &storage, RoleMessage::Applied { store: StoreId(9), position: 1 }, &mut one.out);
    one.hear("S2", RoleMessage::ElectSegment { position: 2, elected: time(5) });
    assert!(tells(&mut one));
    assert!(one.sync.report().disks.contains(&(storage.clone(), StoreId(9), 1)));
    one.sync.disconnected(&storage);
    one.hear("S2", RoleMessage::ElectSegment { position: 3, elected: time(6) });
    assert!(!tells(&mut one));
}

#[test]
fn drafts_are_counted_anew_with_a_new_table() {
    let mut one = OneOfThree::greeted();
    one.hear("S2", RoleMessage::ElectSegment { position: 1, elected: init_elected() });
    let before = draft("E1", 1, 100, 0);
    one.pick("S2", 2, Elected::Segment(before.clone()));
    let table = Members { storage_quorum: 1, ..Members { slots: members(2, 1).slots, ..three() } };
    one.hear(
        "S2",
        RoleMessage::ElectSegment {
            position: 2,
            elected: Elected::Command(OrderCommand::Members { behind: 0, members: table }),
        },
    );
    one.said();
    one.pick("S3", 2, Elected::Segment(before.clone()));
    assert_eq!(one.said(), [], "it was complete by the old table");
    one.hear("N2", RoleMessage::GenerateDraft { store: StoreId(2), draft: before.clone() });
    assert_eq!(one.said(), [Statement::Pick { challenger: Elected::Segment(before) }]);
}

/// S1 of a cluster that is not founded, and a table that S2 may have pledged.
fn founding(pledged: Option<Members>) -> OneOfThree {
    let records = pledged.into_iter().map(Record::Pledged).collect();
    let sync = SyncRole::found(NodeId::sync("S1"), three(), Start { store: StoreId(11), records }).unwrap();
    OneOfThree { sync, out: vec![] }
}

impl OneOfThree {
    fn hello(&mut self, n: u128, table: Table) {
        let hello = Hello { store: StoreId(10 + n), position: 0, table, heard: None };
        self.hear(&format!("S{n}"), RoleMessage::SyncHello(hello));
    }

    fn pledged(&self) -> bool {
        self.out.iter().any(|output| matches!(output, Output::Promise(Record::Pledged(table)) if *table == three()))
    }
}

#[test]
fn a_table_is_pledged_when_all_are_there_and_empty() {
    let mut one = founding(None);
    one.hello(2, Table::Unknown);
    one.hello(3, Table::Unknown);
    let applied = |position| RoleMessage::Applied { store: StoreId(1), position };
    one.sync.handle(0, &NodeId::storage("N1"), applied(5), &mut one.out);
    assert!(!one.pledged(), "the storage is not empty");
    one.sync.handle(0, &NodeId::storage("N1"), applied(0), &mut one.out);
    assert!(one.pledged());
    one.hello(2, Table::Pledged(three()));
    let mut other = three();
    other.syncs[0].store = StoreId(99);
    one.hello(3, Table::Pledged(other));
    assert_eq!(one.sync.standing(), Standing::Founding, "S3 means another disk");
    one.hello(3, Table::Pledged(three()));
    assert_eq!(one.sync.standing(), Standing::Votes);
}

#[test]
fn who_has_pledged_joins_those_who_have_begun() {
    let mut one = founding(Some(three()));
    one.hello(2, Table::Founded);
    assert_eq!(one.out.len(), 1, "it asks for the order: {:?}", one.out);
    let order = Order { position: 7, ..Order::new(three()) };
    one.hear("S2", RoleMessage::SyncOrder { order: order.clone(), members: three() });
    assert_eq!((one.sync.standing(), one.sync.position()), (Standing::Votes, 7));
    // Who knows of no pledge, but is in the table, is an older copy of its disk.
    let mut one = founding(None);
    one.hear("S2", RoleMessage::SyncOrder { order: order.clone(), members: three() });
    assert_eq!(one.sync.standing(), Standing::Forgot);
    // Who is not in it came later.
    let mut later = order;
    later.members.syncs[0].store = StoreId(99);
    let members = later.members.clone();
    let mut one = founding(None);
    one.hear("S2", RoleMessage::SyncOrder { order: later, members });
    assert_eq!(one.sync.standing(), Standing::Listens);
}

#[test]
fn who_is_far_behind_gets_the_decisions_that_are_kept_and_keeps_them_too() {
    let mut one = OneOfThree::greeted();
    for position in 1..=6 {
        one.hear("S2", RoleMessage::ElectSegment { position, elected: time(position) });
    }
    say(&mut one, RoleMessage::Applied { store: StoreId(1), position: 4 });
    let mut two = SyncRole::new(NodeId::sync("S2"), three(), Start { store: StoreId(12), records: vec![] }).unwrap();
    let mut said = Vec::new();
    two.connected(&NodeId::sync("S1"), &mut said);
    let records = loop {
        let (from, to) = (NodeId::sync("S2"), NodeId::sync("S1"));
        let told = said.drain(..).filter_map(|output| match output {
            Output::Send(sent) if sent.to == to => Some(sent.message),
            _ => None,
        });
        told.collect::<Vec<_>>().into_iter().for_each(|message| one.sync.handle(0, &from, message, &mut one.out));
        let told = one.out.drain(..).filter_map(|output| match output {
            Output::Send(sent) if sent.to == from => Some(sent.message),
            _ => None,
        });
        let told: Vec<_> = told.collect();
        if told.is_empty() {
            break two.records();
        }
        told.into_iter().for_each(|message| two.handle(0, &to, message, &mut said));
    };
    assert_eq!(two.position(), 6);
    assert_eq!(two.decisions().keys().copied().collect::<Vec<_>>(), [5, 6]);
    let again = SyncRole::new(NodeId::sync("S2"), three(), Start { store: StoreId(12), records }).unwrap();
    assert_eq!((again.order(), again.decisions()), (two.order(), two.decisions()), "its disk has them");
}

/// Whether N1 was told since the last time that its disk is an older copy.
fn is_told_that_it_forgot(one: &mut OneOfThree) -> bool {
    let forgot = |output: Output| matches!(output, Output::Send(Envelope { message: RoleMessage::DiskForgot { store: StoreId(1) }, to, .. }) if to == NodeId::storage("N1"));
    one.out.drain(..).any(forgot)
}

fn say(one: &mut OneOfThree, message: RoleMessage) {
    one.sync.handle(0, &NodeId::storage("N1"), message, &mut one.out);
}

#[test]
fn a_storage_that_is_less_far_than_it_said_is_told_that_its_disk_is_an_older_copy() {
    let mut one = OneOfThree::greeted();
    let applied = |position| RoleMessage::Applied { store: StoreId(1), position };
    for position in [6, 7, 7] {
        say(&mut one, applied(position));
    }
    assert!(!is_told_that_it_forgot(&mut one));
    say(&mut one, applied(6));
    assert!(is_told_that_it_forgot(&mut one));
    say(&mut one, applied(8));
    assert!(is_told_that_it_forgot(&mut one), "it may not have heard it");
    say(&mut one, RoleMessage::Applied { store: StoreId(5), position: 6 });
    assert!(!is_told_that_it_forgot(&mut one), "under another name it may begin anywhere");
}

#[test]
fn a_storage_that_does_not_repeat_a_draft_is_told_that_its_disk_is_an_older_copy() {
    let mut one = OneOfThree::greeted();
    let drafted = || RoleMessage::GenerateDraft { store: StoreId(1), draft: draft("E1", 1, 100, 0) };
    let mut link = |drafts: Vec<RoleMessage>| {
        one.sync.connected(&NodeId::storage("N1"), &mut one.out);
        say(&mut one, RoleMessage::Applied { store: StoreId(1), position: 0 });
        drafts.into_iter().for_each(|draft| say(&mut one, draft));
        say(&mut one, RoleMessage::FetchElected { after: 0 });
        is_told_that_it_forgot(&mut one)
    };
    assert!(!link(vec![]));
    assert!(!link(vec![drafted()]));
    assert!(!link(vec![drafted()]));
    assert!(link(vec![]));
}
