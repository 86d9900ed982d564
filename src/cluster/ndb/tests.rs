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
    let mut ndb = Ndb::open(NodeId::storage("N1"), first, store, StateLimits::default(), StoreId(1)).unwrap();
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
        Ndb::open(n1.clone(), first.clone(), store, StateLimits::default(), StoreId(fresh)).unwrap()
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
fn what_is_applied_waits_for_what_is_kept_and_that_for_what_is_about_to_be() {
    let disk = MemoryStore::default();
    let first = Members { syncs: Vec::new(), slots: vec![Vec::new()], storage_quorum: 1 };
    let n1 = NodeId::storage("N1");
    let mut ndb = Ndb::open(n1.clone(), first, Box::new(disk.clone()), StateLimits::default(), StoreId(1)).unwrap();
    let hear = |ndb: &mut Ndb, (from, message): (NodeId, RoleMessage)| {
        ndb.handle(0, Envelope { from, to: n1.clone(), message });
        ndb.prepare().unwrap();
        ndb.rest(Instant::now())
    };
    let [init, begin, keep, over, elect] = <[_; 5]>::try_from(heard()).unwrap();
    assert_eq!(hear(&mut ndb, init), None, "the entry waits");
    ndb.work().unwrap();
    let (_, RoleMessage::KeepAdvanceHistory { body, .. }) = &keep else { panic!("it is the body") };
    let body = body.clone();
    hear(&mut ndb, begin);
    hear(&mut ndb, keep);
    assert_eq!(hear(&mut ndb, over), None, "there is no other");
    ndb.work().unwrap();
    assert_eq!(kept(&disk), [7]);
    // Two more are begun while it is applied: they have room.
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
    assert!(hear(&mut ndb, elect).is_some_and(|rest| rest <= LINGER));
    assert_eq!(ndb.rest(Instant::now() + LINGER), None, "but not for long");
    ndb.take();
    let ([begin8, keep8, over8], [begin9, keep9, over9]) = (next(8, 7), next(9, 8));
    for message in [begin8, begin9, keep8] {
        assert!(hear(&mut ndb, message).is_some());
    }
    let trims = |said: &Envelope| matches!(said.message, RoleMessage::TrimAdvanceSegment { .. });
    assert_eq!(ndb.take().iter().filter(|said| trims(said)).count(), 2);
    assert!(hear(&mut ndb, over8).is_some_and(|rest| rest <= GATHER), "the other is about to be whole");
    assert_eq!(ndb.rest(Instant::now() + GATHER), None);
    assert!(hear(&mut ndb, keep9).is_some());
    assert_eq!(hear(&mut ndb, over9), None);
    assert_eq!(kept(&disk), [7], "nothing is written yet");
    ndb.work().unwrap();
    assert_eq!((kept(&disk), ndb.has_work()), (vec![8, 9], false), "all of it with one commit");
}
