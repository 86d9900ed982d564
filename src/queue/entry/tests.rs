use super::*;
use crate::queue::command::Command;
use crate::queue::quorum::{Member, StoreId};

/// An entry in its life 1, with three storages of which two are a quorum.
fn entry() -> EntryRole {
    let storage = |name: &str| Member { node: NodeId::storage(name), store: StoreId(0) };
    let syncs = vec![Member { node: NodeId::sync("S1"), store: StoreId(0) }];
    let members = Members { syncs, slots: vec![["N1", "N2", "N3"].map(storage).to_vec()], storage_quorum: 2 };
    let mut entry = EntryRole::new(NodeId::entry("E1"), members, EntryLimits::default(), 0);
    let mut out = Vec::new();
    entry.init(0, 0, &mut out);
    let accepted = RoleMessage::InitEntryAccepted { incarnation: 1, nonce: 0, heard: 0 };
    entry.handle(0, &NodeId::storage("N1"), accepted, &mut out);
    assert_eq!(out.last(), Some(&Output::Accepted { incarnation: 1 }));
    entry
}

fn submit(entry: &mut EntryRole, ticket: u64) {
    let mut batch = Batch::default();
    batch.command(&Command::Leave { realm: "realm1".into(), session: ticket, orderly: false });
    entry.submit(batch, ticket).unwrap();
}

fn flush(entry: &mut EntryRole) -> Vec<Output> {
    let mut out = Vec::new();
    entry.flush(1000, &mut out);
    out
}

fn publish(entry: &mut EntryRole, ticket: u64) -> Vec<Output> {
    submit(entry, ticket);
    flush(entry)
}

fn id(segment: u64) -> SegmentId {
    SegmentId { segment, entry: NodeId::entry("E1"), incarnation: 1 }
}

fn trim(entry: &mut EntryRole, from: &str, segment: u64) -> Vec<Output> {
    hear(entry, from, RoleMessage::TrimAdvanceSegment { id: id(segment), heard: segment, ahead: false })
}

fn hear(entry: &mut EntryRole, from: &str, message: RoleMessage) -> Vec<Output> {
    let mut out = Vec::new();
    entry.handle(1000, &NodeId::storage(from), message, &mut out);
    out
}

fn resolve(entry: &mut EntryRole, segment: u64, position: u64) -> Vec<Vec<u64>> {
    let resolution = Resolution { first: position, results: Bytes::new() };
    let message =
        RoleMessage::AdvanceSegmentResolved { id: id(segment), position, resolution, heard: segment, room: false };
    settled(hear(entry, "N1", message))
}

/// Tickets of the segments that have ended.
fn settled(out: Vec<Output>) -> Vec<Vec<u64>> {
    let tickets = out.into_iter().filter_map(|output| match output {
        Output::Resolved { tickets, .. } | Output::Refused { tickets, .. } => Some(tickets),
        _ => None,
    });
    tickets.map(|tickets| tickets.iter().map(|range| range.ticket).collect()).collect()
}

/// Storages that were told that a segment is closed.
fn overs(out: &[Output]) -> usize {
    let is_over = |output: &&Output| match output {
        Output::Send(envelope) => matches!(envelope.message, RoleMessage::AdvanceSegmentOver(_)),
        _ => false,
    };
    out.iter().filter(is_over).count()
}

#[test]
fn a_storage_quorum_of_trims_closes_a_segment() {
    let mut entry = entry();
    publish(&mut entry, 1);
    assert_eq!(overs(&trim(&mut entry, "N1", 1000)), 0);
    assert_eq!(overs(&trim(&mut entry, "N1", 1000)), 0, "the same storage again");
    assert_eq!(overs(&trim(&mut entry, "N9", 1000)), 0, "no storage of the slot");
    assert_eq!(overs(&trim(&mut entry, "N3", 1000)), 3);
    assert_eq!(overs(&trim(&mut entry, "N2", 1000)), 0, "it is closed");
}

#[test]
fn what_was_submitted_before_a_segment_closes_joins_it() {
    let mut entry = entry();
    publish(&mut entry, 1);
    trim(&mut entry, "N1", 1000);
    let mut batch = Batch::default();
    batch.command(&Command::Leave { realm: "realm1".into(), session: 2, orderly: false });
    entry.submit(batch, 2).unwrap();
    trim(&mut entry, "N2", 1000);
    assert_eq!(resolve(&mut entry, 1000, 2), [[1, 2]]);
}

#[test]
fn segments_are_told_in_their_order_whenever_they_are_resolved() {
    let mut entry = entry();
    for (ticket, segment) in [(1, 1000), (2, 1001), (3, 1002)] {
        publish(&mut entry, ticket);
        trim(&mut entry, "N1", segment);
        trim(&mut entry, "N2", segment);
    }
    assert_eq!(resolve(&mut entry, 1001, 3), [[0; 0]; 0]);
    assert_eq!(resolve(&mut entry, 1000, 2), [[1], [2]]);
    assert_eq!(resolve(&mut entry, 1000, 2), [[0; 0]; 0], "a result that was heard already");
    assert_eq!(resolve(&mut entry, 1002, 4), [[3]]);
}

#[test]
fn a_cut_ends_all_that_has_no_result() {
    let mut entry = entry();
    for (ticket, segment) in [(1, 1000), (2, 1001)] {
        publish(&mut entry, ticket);
        trim(&mut entry, "N1", segment);
        trim(&mut entry, "N2", segment);
    }
    publish(&mut entry, 3);
    let cut = RoleMessage::AdvanceSegmentRefused { id: id(1001), why: Refusal::Cut };
    assert_eq!(settled(hear(&mut entry, "N1", cut)), [[0; 0]; 0], "the first may be resolved yet");
    assert_eq!(entry.submit(Batch::default(), 4), Err(Refused::StoreUnavailable));
    assert_eq!(resolve(&mut entry, 1000, 2), [[1], [2], [3]]);
    assert_eq!(entry.held_bytes, 0);
}

#[test]
fn slots_take_turns() {
    let mut entry = entry();
    entry.members.slots =
        ["N1", "N2"].map(|name| vec![Member { node: NodeId::storage(name), store: StoreId(0) }]).to_vec();
    entry.members.storage_quorum = 1;
    let mut slots = Vec::new();
    for segment in 1000..1005 {
        for output in publish(&mut entry, segment) {
            if let Output::Send(Envelope { to, message: RoleMessage::KeepAdvanceHistory { .. }, .. }) = output {
                trim(&mut entry, &to.name, segment);
                slots.push(to.to_string());
            }
        }
    }
    assert_eq!(slots, ["N1", "N2", "N1", "N2", "N1"]);
}

#[test]
fn who_was_told_of_room_says_the_next_segment_whole() {
    let mut entry = entry();
    let resolved = |segment, room| {
        let resolution = Resolution { first: 1, results: Bytes::new() };
        RoleMessage::AdvanceSegmentResolved { id: id(segment), position: segment, resolution, heard: segment, room }
    };
    let begun = |out: &[Output]| {
        let begins = out.iter().filter_map(|output| match output {
            Output::Send(Envelope { to, message: RoleMessage::BeginAdvanceSegment { closed, .. }, .. }) => {
                Some((to.name.clone(), *closed))
            }
            _ => None,
        });
        begins.map(|(to, closed)| format!("{to} {closed}")).collect::<Vec<_>>()
    };
    let open = ["N1 false", "N2 false", "N3 false", "S1 false"];
    publish(&mut entry, 1);
    ["N1", "N2"].iter().for_each(|storage| _ = trim(&mut entry, storage, 1000));
    hear(&mut entry, "N1", resolved(1000, true));
    let out = publish(&mut entry, 2);
    assert_eq!((overs(&out), begun(&out)), (3, ["N1 true", "N2 true", "N3 true"].map(String::from).to_vec()));
    // It is told of room again while another is open.
    assert_eq!(begun(&publish(&mut entry, 3)), open);
    hear(&mut entry, "N1", resolved(1001, true));
    publish(&mut entry, 4);
    ["N1", "N2"].iter().for_each(|storage| _ = trim(&mut entry, storage, 1002));
    hear(&mut entry, "N1", resolved(1002, false));
    assert_eq!(begun(&publish(&mut entry, 5)), open, "it was not told of room");
    ["N1", "N2"].iter().for_each(|storage| _ = trim(&mut entry, storage, 1003));
    hear(&mut entry, "N1", resolved(1003, true));
    // The last was of four messages, so what comes is the first of more.
    (6..10).for_each(|ticket| submit(&mut entry, ticket));
    assert_eq!(overs(&flush(&mut entry)), 3);
    hear(&mut entry, "N1", resolved(1004, true));
    assert_eq!(begun(&publish(&mut entry, 10)), open);
}
