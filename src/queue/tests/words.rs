//! How scripts write messages, and what the roles say and do.

use super::super::envelope::{Elected, OrderCommand, RoleMessage, SegmentId};
use super::super::message::{Batch, Head, Run, Runs};
use super::super::quorum::Members;
use super::super::storage;
use super::super::sync::{Hello, Step, Table};
use crate::types::event::Qos;
use crate::types::payload::PayloadRef;

fn head() -> Head<'static> {
    Head {
        realm: "realm1",
        topic: "t",
        publisher: None,
        exclude_publisher: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        format: None,
        judged: false,
    }
}

pub fn batch(message: &str) -> Batch {
    let mut batch = Batch::default();
    batch.message(&head(), PayloadRef::Bytes(message.as_bytes()), None);
    batch
}

/// The messages of a body.
pub fn text(body: &[u8]) -> String {
    let mut text = String::new();
    for run in Runs::new(body) {
        let Ok(Run::Events(_, events)) = run else { panic!("no events: {run:?}") };
        for message in events.iter() {
            let PayloadRef::Bytes(payload) = message.unwrap().payload else { panic!("no bytes") };
            text.push(' ');
            text.push_str(str::from_utf8(payload).unwrap());
        }
    }
    text
}

/// A segment: `E1/1/1000` is that of entry E1 in its life 1.
pub fn id(id: &SegmentId) -> String {
    format!("{}/{}/{}", id.entry, id.incarnation, id.segment)
}

pub fn elected(elected: &Elected) -> String {
    match elected {
        Elected::Segment(draft) => id(&draft.id),
        Elected::Command(command) => order(command),
        Elected::Nothing => "nothing".to_owned(),
        Elected::Run(drafts) => drafts.iter().map(|draft| id(&draft.id)).collect::<Vec<_>>().join(", "),
    }
}

/// A message between nodes.
pub fn said(message: &RoleMessage) -> String {
    match message {
        RoleMessage::BeginAdvanceSegment { id: segment, confirmed: 0, .. } => format!("BEGIN {}", id(segment)),
        RoleMessage::BeginAdvanceSegment { id: segment, confirmed, .. } => {
            format!("BEGIN {}, confirms {confirmed}", id(segment))
        }
        RoleMessage::KeepAdvanceHistory { id: segment, offset, body, .. } => {
            format!("KEEP {} from {offset}:{}", id(segment), text(body))
        }
        RoleMessage::TrimAdvanceSegment { id: segment, heard, ahead } => {
            format!("TRIM {}, heard {heard}{}", id(segment), if *ahead { ", ahead" } else { "" })
        }
        RoleMessage::AdvanceSegmentOver(draft) => {
            format!("OVER {}, {} messages after {}", id(&draft.id), draft.count, draft.previous)
        }
        RoleMessage::SegmentMissing { id: segment } => format!("MISSING {}", id(segment)),
        RoleMessage::GenerateDraft { draft, .. } => format!("GENERATE_DRAFT {}", id(&draft.id)),
        RoleMessage::AskCommand(command) => format!("ASK {}", order(command)),
        RoleMessage::ElectSegment { position, elected: what } => {
            format!("ELECT_SEGMENT {position}: {}", elected(what))
        }
        RoleMessage::PickChallenger { position, challenger } => {
            format!("PICK_CHALLENGER {position}: {}", elected(challenger))
        }
        RoleMessage::FetchBody { position, draft } => format!("FETCH_BODY {position}: {}", id(&draft.id)),
        RoleMessage::Body { draft, body } => format!("BODY {}{}", id(&draft.id), text(body)),
        RoleMessage::State { position, round, challenger: Some(challenger) } => {
            format!("STATE {position}/{round} 1: {}", elected(challenger))
        }
        RoleMessage::State { position, round, challenger: None } => format!("STATE {position}/{round} 0"),
        RoleMessage::Vote { position, round, vote, challenger } => {
            let vote = vote.map_or('?', |vote| if vote { '1' } else { '0' });
            let carried = challenger.iter().map(|challenger| format!(": {}", elected(challenger)));
            format!("VOTE {position}/{round} {vote}{}", carried.collect::<String>())
        }
        RoleMessage::BackCommands(commands) if commands.is_empty() => "BACK nothing".to_owned(),
        RoleMessage::BackCommands(commands) => {
            format!("BACK {}", commands.iter().map(order).collect::<Vec<_>>().join(", "))
        }
        RoleMessage::MembersAre { members, .. } => format!("MEMBERS_ARE{}", disks(members)),
        RoleMessage::SyncHello(hello) => said_hello(hello),
        RoleMessage::SyncOrder { order, .. } => format!("ORDER up to {}", order.position),
        RoleMessage::FetchElected { after } => format!("FETCH after {after}"),
        RoleMessage::Applied { position, .. } => format!("APPLIED {position}"),
        RoleMessage::AdvanceSegmentResolved { id: segment, position, resolution, heard, .. } => {
            let first = resolution.first;
            format!("RESOLVED {}: position {position}, from number {first}, heard {heard}", id(segment))
        }
        RoleMessage::AdvanceSegmentRefused { id: segment, why } => format!("REFUSED {}: {why:?}", id(segment)),
        RoleMessage::InitEntryAccepted { incarnation, heard, .. } => {
            format!("INIT_ENTRY_ACCEPTED {incarnation}, heard {heard}")
        }
        RoleMessage::InitEntryRefused { present } => format!("INIT_ENTRY_REFUSED, present is {present}"),
        RoleMessage::FollowFeed { after } => format!("FOLLOW after {after}"),
        RoleMessage::Feed { position, segment } => format!("FEED {position}:{}", text(segment)),
        other => format!("{other:?}"),
    }
}

fn said_hello(Hello { store, position, table, heard }: &Hello) -> String {
    let table = match table {
        Table::Unknown => " of an empty disk".to_owned(),
        Table::Pledged(members) => format!(", pledged to disks{}", disks(members)),
        Table::Founded => String::new(),
    };
    let heard = heard.iter().map(|(store, Step { position, round, phase })| {
        format!(", heard of {}: {phase:?} {position}/{round}", store.0)
    });
    format!("HELLO from disk {}, at {position}{table}{}", store.0, heard.collect::<String>())
}

fn disks(members: &Members) -> String {
    members.syncs.iter().map(|sync| format!(" {}={}", sync.node, sync.store.0)).collect()
}

pub fn order(command: &OrderCommand) -> String {
    match command {
        OrderCommand::Init { entry, replaces, .. } => format!("INIT {entry} replaces {replaces}"),
        OrderCommand::Time { at_us } => format!("TIME {at_us}"),
        OrderCommand::Members { members, .. } => format!("MEMBERS{}", disks(members)),
        OrderCommand::Lost { entry, incarnation } => format!("LOST {entry} in life {incarnation}"),
        other => format!("{other:?}"),
    }
}

pub fn applied(apply: &storage::Apply) -> String {
    match apply {
        storage::Apply::Segment { draft, body } => format!("{}{}", id(&draft.id), text(body)),
        storage::Apply::Command(command) => order(command),
        storage::Apply::Nothing => "nothing".to_owned(),
    }
}
