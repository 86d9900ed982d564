use super::disk::{GATHER, LINGER, TURN};
use super::*;
use crate::queue::envelope::Elected;
use crate::queue::message::{Batch, Head};
use crate::queue::quorum::Member;
use crate::store::memory::MemoryStore;
use crate::types::event::Qos;
use crate::types::payload::PayloadRef;

/// What N1 hears of a message in a segment of the first life of E1, and of the positions of both.
fn heard() -> Vec<(NodeId, RoleMessage)> {
    let (e1, s1) = (NodeId::entry("E1"), NodeId::sync("S1"));
    let mut batch = Batch::default();
    let head = Head {
        realm: "realm1",
        topic: "news",
        publisher: None,
        exclude_publisher: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        format: None,
        judged: false,
    };
    batch.message(&head, PayloadRef::Bytes(b"a"), None);
    let body = batch.into_bytes();
    let id = SegmentId { segment: 7, entry: e1.clone(), incarnation: 1 };
    let draft = Draft { id: id.clone(), slot: 0, count: 1, digest: digest(&body), previous: 0 };
    let init = OrderCommand::Init { entry: e1.clone(), replaces: 0, nonce: 0 };
    let elect = |position, elected| (s1.clone(), RoleMessage::ElectSegment { position, elected });
    vec![
        elect(1, Elected::Command(init)),
        (
            e1.clone(),
            RoleMessage::BeginAdvanceSegment { id: id.clone(), slot: 0, confirmed: 0, clock_us: 0, closed: false },
        ),
        (e1.clone(), RoleMessage::KeepAdvanceHistory { id, offset: 1, count: 1, body }),
        (e1, RoleMessage::AdvanceSegmentOver(draft.clone())),
        elect(2, Elected::Segment(draft)),
    ]
}

/// A storage on this disk, that has heard all this.
fn lives_on(disk: &MemoryStore) -> Ndb {
    let first = Members { syncs: Vec::new(), slots: vec![Vec::new()], storage_quorum: 1 };
    let store = Box::new(disk.clone());
    let mut ndb = Ndb::open(NodeId::storage("N1"), first, (store, None), StateLimits::default(), StoreId(1)).unwrap();
    for (from, message) in heard() {
        ndb.handle(0, Envelope { from, to: NodeId::storage("N1"), message });
        while ndb.has_work() {
            ndb.work().unwrap();
        }
    }
    ndb
}

#[test]
fn decisions_go_on_where_a_copy_has_left_segments_behind() {
    let (whole, begun) = (MemoryStore::default(), MemoryStore::default());
    assert_eq!(lives_on(&whole).state().position(), 2);
    let segments = whole.reader().unwrap().segments(0, None, usize::MAX).unwrap();
    assert_eq!(segments.iter().map(|segment| segment.position).collect::<Vec<_>>(), [2]);
    begun.clone().commit(&Commit { segments: segments.clone(), ..Commit::default() }).unwrap();
    assert_eq!(lives_on(&begun).state().position(), 2);
    assert_eq!(begun.reader().unwrap().segments(0, None, usize::MAX).unwrap(), segments);
}

#[test]
fn a_disk_that_others_heard_more_of_takes_another_name_and_asks_to_count_again() {
    let (n1, s1) = (NodeId::storage("N1"), NodeId::sync("S1"));
    let member = |node: &NodeId, store| Member { node: node.clone(), store: StoreId(store) };
    let first = Members { syncs: vec![member(&s1, 9)], slots: vec![vec![member(&n1, 1)]], storage_quorum: 1 };
    let disk = MemoryStore::default();
    let open = |fresh| {
        let store = Box::new(disk.clone());
        Ndb::open(n1.clone(), first.clone(), (store, None), StateLimits::default(), StoreId(fresh)).unwrap()
    };
    assert!(open(1).counts());
    let mut ndb = open(2);
    ndb.connected(&s1);
    let hear = |ndb: &mut Ndb, message| ndb.handle(0, Envelope { from: s1.clone(), to: n1.clone(), message });
    hear(&mut ndb, RoleMessage::ElectSegment { position: 1, elected: Elected::Nothing });
    ndb.work().unwrap();
    ndb.take();
    hear(&mut ndb, RoleMessage::DiskForgot { store: StoreId(3) });
    assert!(!ndb.has_work(), "another disk is meant");
    hear(&mut ndb, RoleMessage::DiskForgot { store: StoreId(1) });
    ndb.work().unwrap();
    assert_eq!((ndb.store_id(), ndb.counts(), ndb.state().position()), (StoreId(2), false, 1));
    let said: Vec<RoleMessage> = ndb.take().into_iter().map(|sent| sent.message).collect();
    assert!(said.contains(&RoleMessage::Applied { store: StoreId(2), position: 1 }));
    let asks = |message: &&RoleMessage| matches!(message, RoleMessage::AskCommand(_));
    assert_eq!(said.iter().filter(asks).count(), 1, "MEMBERS");
    assert_eq!(open(3).store_id(), StoreId(2));
}

/// Drafts of segments that the disk has and that are not applied.
fn kept(disk: &MemoryStore) -> Vec<u64> {
    let kept: Vec<(Draft, Bytes)> = read_all(&mut *disk.reader().unwrap(), KEPT).unwrap();
    kept.into_iter().map(|(draft, _)| draft.id.segment).collect()
}

#[test]
fn what_is_kept_waits_for_what_is_about_to_be_and_what_is_applied_for_more() {
    let disk = MemoryStore::default();
    let first = Members { syncs: Vec::new(), slots: vec![Vec::new()], storage_quorum: 1 };
    let n1 = NodeId::storage("N1");
    let disks: (Box<dyn Store>, _) = (Box::new(disk.clone()), None);
    let mut ndb = Ndb::open(n1.clone(), first, disks, StateLimits::default(), StoreId(1)).unwrap();
    let hear = |ndb: &mut Ndb, (from, message): (NodeId, RoleMessage)| {
        ndb.handle(0, Envelope { from, to: n1.clone(), message });
        ndb.prepare().unwrap();
        ndb.turn(Instant::now())
    };
    let [init, begin, keep, over, elect] = <[_; 5]>::try_from(heard()).unwrap();
    assert_eq!(hear(&mut ndb, init), Turn::Write, "the entry waits");
    ndb.write().unwrap();
    let (_, RoleMessage::KeepAdvanceHistory { body, .. }) = &keep else { panic!("it is the body") };
    let body = body.clone();
    hear(&mut ndb, begin);
    hear(&mut ndb, keep);
    assert_eq!(hear(&mut ndb, over), Turn::Keep, "there is no other");
    ndb.keep().unwrap();
    assert_eq!(kept(&disk), [7]);
    hear(&mut ndb, elect);
    let applied_at = ndb.pending.applied_at.unwrap();
    assert_eq!(ndb.turn(applied_at), Turn::Rest(Some(LINGER)));
    assert_eq!(ndb.turn(applied_at + LINGER), Turn::Write, "but not for long");
    assert_eq!((ndb.state().position(), ndb.written()), (2, 1));
    ndb.want(2);
    assert_eq!(ndb.turn(Instant::now()), Turn::Write, "a reader waits");
    // Two more are begun: they have room.
    ndb.take();
    let e1 = NodeId::entry("E1");
    let next = |segment, previous| {
        let id = SegmentId { segment, entry: e1.clone(), incarnation: 1 };
        let draft = Draft { id: id.clone(), slot: 0, count: 1, digest: digest(&body), previous };
        [
            RoleMessage::BeginAdvanceSegment { id: id.clone(), slot: 0, confirmed: 0, clock_us: 0, closed: false },
            RoleMessage::KeepAdvanceHistory { id, offset: 1, count: 1, body: body.clone() },
            RoleMessage::AdvanceSegmentOver(draft),
        ]
        .map(|message| (e1.clone(), message))
    };
    let ([begin8, keep8, over8], [begin9, keep9, over9]) = (next(8, 7), next(9, 8));
    for message in [begin8, begin9, keep8] {
        hear(&mut ndb, message);
    }
    let trims = |said: &Envelope| matches!(said.message, RoleMessage::TrimAdvanceSegment { .. });
    assert_eq!(ndb.take().iter().filter(|said| trims(said)).count(), 2);
    ndb.write().unwrap();
    assert_eq!((kept(&disk), ndb.written()), (vec![], 2), "it is in the log");
    hear(&mut ndb, over8);
    let kept_at = ndb.kept_at.unwrap();
    assert_eq!(ndb.turn(kept_at), Turn::Rest(Some(GATHER)), "the other is about to be whole");
    assert_eq!(ndb.turn(kept_at + GATHER), Turn::Keep);
    hear(&mut ndb, keep9);
    assert_eq!(hear(&mut ndb, over9), Turn::Keep);
    assert!(kept(&disk).is_empty(), "nothing is written yet");
    ndb.keep().unwrap();
    assert_eq!((kept(&disk), ndb.has_work()), (vec![8, 9], false), "both at once");
}

#[test]
fn the_next_segment_of_an_entry_that_was_told_of_its_last_is_waited_for() {
    let mut ndb = lives_on(&MemoryStore::default());
    let n1 = NodeId::storage("N1");
    let said = |segment, previous, entry: &str| {
        let body = Bytes::from_static(b"a");
        let id = SegmentId { segment, entry: NodeId::entry(entry), incarnation: 1 };
        let draft = Draft { id: id.clone(), slot: 0, count: 1, digest: digest(&body), previous };
        let begin =
            RoleMessage::BeginAdvanceSegment { id: id.clone(), slot: 0, confirmed: 0, clock_us: 0, closed: true };
        let keep = RoleMessage::KeepAdvanceHistory { id, offset: 1, count: 1, body };
        [begin, keep, RoleMessage::AdvanceSegmentOver(draft)].map(|message| Envelope {
            from: NodeId::entry(entry),
            to: n1.clone(),
            message,
        })
    };
    let hear = |ndb: &mut Ndb, said: [Envelope; 3]| {
        said.into_iter().for_each(|said| ndb.handle(0, said));
        ndb.prepare().unwrap();
        assert!(ndb.take().iter().all(|said| !matches!(said.message, RoleMessage::TrimAdvanceSegment { .. })));
        ndb.turn(Instant::now())
    };
    ndb.take();
    hear(&mut ndb, said(8, 0, "E2"));
    // It was told to E1 a moment ago.
    let kept_at = ndb.kept_at.unwrap();
    ndb.resolved.insert(NodeId::entry("E1"), kept_at);
    assert_eq!(ndb.turn(kept_at), Turn::Rest(Some(GATHER)));
    assert_eq!(ndb.turn(kept_at + GATHER), Turn::Keep);
    ndb.resolved.insert(NodeId::entry("E1"), kept_at - TURN);
    assert_eq!(ndb.turn(kept_at), Turn::Keep, "it has had its time");
    ndb.resolved.insert(NodeId::entry("E1"), kept_at);
    assert_eq!(hear(&mut ndb, said(9, 7, "E1")), Turn::Keep);
}

/// A disk as a process has it.
#[test]
fn a_disk_whose_kept_segments_are_lost_takes_another_name() {
    let (disk, folder) = (MemoryStore::default(), tempfile::tempdir().unwrap());
    let first = Members { syncs: Vec::new(), slots: vec![Vec::new()], storage_quorum: 1 };
    let open = |fresh| {
        let disks: (Box<dyn Store>, _) = (Box::new(disk.clone()), Some(folder.path()));
        Ndb::open(NodeId::storage("N1"), first.clone(), disks, StateLimits::default(), StoreId(fresh)).unwrap()
    };
    let mut ndb = open(1);
    let kept_by = |ndb: &Ndb| ndb.shelved.iter().map(|(draft, _)| draft.id.segment).collect::<Vec<_>>();
    let [init, begin, keep, over, elect] = <[_; 5]>::try_from(heard()).unwrap();
    let hear = |ndb: &mut Ndb, (from, message): (NodeId, RoleMessage)| {
        ndb.handle(0, Envelope { from, to: NodeId::storage("N1"), message });
        ndb.work().unwrap();
    };
    [init, begin, keep, over].into_iter().for_each(|message| hear(&mut ndb, message));
    drop(ndb);
    let mut ndb = open(2);
    assert_eq!((ndb.store_id(), kept_by(&ndb)), (StoreId(1), vec![7]), "it is as it was");
    hear(&mut ndb, elect.clone());
    assert_eq!((ndb.state().position(), kept_by(&ndb)), (2, vec![]));
    drop(ndb);
    assert_eq!((open(3).store_id(), open(3).state().position()), (StoreId(1), 2));
    std::fs::remove_file(folder.path().join("kept.0")).unwrap();
    std::fs::remove_file(folder.path().join("kept.1")).unwrap();
    assert_eq!((open(4).store_id(), open(4).state().position()), (StoreId(4), 2));
    assert_eq!(open(5).store_id(), StoreId(4));
}
