//! The sync of the product under the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fennec::queue::envelope::{Draft, Elected, NodeId, RoleMessage, SegmentId};
use fennec::queue::quorum::{Member, Members, StoreId};
use fennec::queue::sync::{Life, Order, Output, Record, Start, Statement, SyncRole};

use crate::harness::{Bounds, Machine, name};

/// The last position before the checks begin: those of INITs.
pub const BASE: u64 = 2;

/// A sync and its links.
#[derive(Clone, Debug, Hash)]
pub struct Voter {
    role: SyncRole,
    place: usize,
    /// So much it has said on the present position.
    stage: usize,
    /// Planted fault: a restart empties the disk, but leaves it its name.
    pub is_wiped: bool,
}

/// What syncs say to all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    Draft(Draft),
    Statement(u64, Statement),
    Elected(u64, Elected),
}

/// Syncs S1 … that know each other, after the INITs of entries E1 (life 1) and E2 (life 2).
pub fn voters(count: usize) -> Vec<Voter> {
    let mut voters: Vec<Voter> = (0..count).map(|place| Voter::new(place, count)).collect();
    for at in 0..count {
        let others: Vec<(usize, Voter)> =
            (0..count).filter(|other| *other != at).map(|o| (o, voters[o].clone())).collect();
        let others: Vec<(usize, &Voter)> = others.iter().map(|(place, voter)| (*place, voter)).collect();
        voters[at].greet(&others);
    }
    voters
}

/// A segment of entry E1 or E2.
pub fn draft(entry: u64, segment: u64, previous: u64) -> Draft {
    let id = SegmentId { segment, entry: NodeId::entry(&format!("E{entry}")), incarnation: entry };
    Draft { id, slot: 0, count: 1, digest: segment, previous }
}

fn node(place: usize) -> NodeId {
    NodeId::sync(&format!("S{}", place + 1))
}

fn store(place: usize) -> StoreId {
    StoreId(place as u128 + 1)
}

/// The only storage of a storage quorum of one.
const STORAGE: StoreId = StoreId(100);

fn first_order(count: usize) -> Order {
    let syncs = (0..count).map(|place| Member { node: node(place), store: store(place) }).collect();
    let slots = vec![vec![Member { node: NodeId::storage("N1"), store: STORAGE }]];
    let life = |incarnation| (NodeId::entry(&format!("E{incarnation}")), Life { incarnation, ..Life::default() });
    let members = Members { syncs, slots, storage_quorum: 1 };
    Order { position: BASE, members, members_at: 0, lives: BTreeMap::from([life(1), life(2)]), time_us: 0 }
}

impl Voter {
    /// What it has picked for the present position.
    pub fn picked(&self) -> Option<Elected> {
        self.role.records().into_iter().find_map(|record| match record {
            Record::Said { statement: Statement::Pick { challenger }, .. } => Some(challenger),
            _ => None,
        })
    }

    /// The last segment of an entry that it knows of.
    pub fn last(&self, entry: &NodeId) -> u64 {
        self.role.order().lives[entry].last
    }

    fn new(place: usize, count: usize) -> Self {
        Self { role: Self::role(place, vec![Record::Order(first_order(count))]), place, stage: 0, is_wiped: false }
    }

    fn role(place: usize, records: Vec<Record>) -> SyncRole {
        let members = first_order(1).members;
        SyncRole::new(node(place), members, Start { store: store(place), records }).unwrap()
    }

    /// What the machine put out to all. Everything is on disk at once; a crash before that is as if nothing had been heard.
    fn said(out: Vec<Output>) -> Vec<Said> {
        let sent = out.into_iter().filter_map(|output| match output {
            Output::Send(envelope) => Some(envelope.message),
            Output::Promise(_) | Output::Note(_) => None,
            Output::Forgot => panic!("no disk has forgotten anything here"),
        });
        let said = sent.filter_map(|message| match message {
            RoleMessage::PickChallenger { position, challenger } => {
                Some(Said::Statement(position, Statement::Pick { challenger }))
            }
            RoleMessage::State { position, round, challenger } => {
                Some(Said::Statement(position, Statement::State { round, challenger }))
            }
            RoleMessage::Vote { position, round, vote, challenger } => {
                Some(Said::Statement(position, Statement::Vote { round, vote, challenger }))
            }
            RoleMessage::ElectSegment { position, elected } => Some(Said::Elected(position, elected)),
            _ => None,
        });
        // Each is told to several.
        said.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn stage(&mut self, said: Vec<Said>) -> Vec<Said> {
        for said in &said {
            match said {
                Said::Elected(..) => self.stage = 0,
                Said::Statement(..) => self.stage += 1,
                Said::Draft(_) => {}
            }
        }
        said
    }

    /// New links to all others: both ends say who they are. What they answer they have said before.
    fn greet(&mut self, others: &[(usize, &Self)]) {
        for (place, other) in others {
            let mut greeting = Vec::new();
            other.role.clone().connected(&node(self.place), &mut greeting);
            for output in greeting {
                let Output::Send(mut envelope) = output else { continue };
                if let RoleMessage::SyncHello(hello) = &mut envelope.message
                    && self.is_wiped
                {
                    hello.heard = None;
                }
                self.role.handle(0, &node(*place), envelope.message, &mut Vec::new());
            }
        }
    }
}

impl Machine for Voter {
    type Message = Said;

    fn hear(&mut self, from: Option<usize>, message: &Said) -> Vec<Said> {
        let message = match message.clone() {
            Said::Draft(draft) => RoleMessage::GenerateDraft { store: STORAGE, draft },
            Said::Statement(position, statement) => statement.message(position),
            Said::Elected(position, elected) => RoleMessage::ElectSegment { position, elected },
        };
        let mut out = Vec::new();
        self.role.handle(0, &from.map_or(NodeId::storage("N1"), node), message, &mut out);
        self.stage(Self::said(out))
    }

    fn wants(&self, message: &Said, bounds: &Bounds) -> bool {
        let next = self.role.position() + 1;
        // What a statement is for is the one that follows from it; and then it may have been heard just before as well as long before.
        // Later it is for nothing but for the drafts in it, and they are said again on the positions to come.
        let (first, last) = (self.stage as u64, self.stage as u64 + 1);
        next <= bounds.position
            && match message {
                Said::Draft(_) => first == 0,
                Said::Elected(position, _) => *position == next,
                Said::Statement(position, Statement::Pick { .. }) => *position == next && first <= 1,
                Said::Statement(position, _) => {
                    *position == next
                        && !Self::is_beyond(message, bounds)
                        && (first..=last).contains(&Self::step(message))
                }
            }
    }

    fn step(message: &Said) -> u64 {
        match message {
            Said::Draft(_) => 0,
            Said::Statement(_, Statement::Pick { .. }) => 1,
            Said::Statement(_, Statement::State { round, .. }) => u64::from(*round) * 2,
            Said::Statement(_, Statement::Vote { round, .. }) => u64::from(*round) * 2 + 1,
            Said::Elected(..) => u64::MAX,
        }
    }

    /// What f + 1 votes have decided, whether anybody has heard all of them or not.
    fn decided(said: &[&BTreeSet<Said>]) -> BTreeSet<(u64, Elected)> {
        let mut votes: BTreeMap<(u64, u32, Elected), usize> = BTreeMap::new();
        for said in said.iter().copied().flatten() {
            let Said::Statement(position, Statement::Vote { round, vote, challenger }) = said else { continue };
            let what = match vote {
                Some(true) => challenger.clone(),
                Some(false) => Some(Elected::Nothing),
                None => None,
            };
            what.into_iter().for_each(|what| *votes.entry((*position, *round, what)).or_default() += 1);
        }
        let faults = (said.len() - 1) / 2;
        votes
            .into_iter()
            .filter(|(_, count)| *count > faults)
            .map(|((position, _, what), _)| (position, what))
            .collect()
    }

    fn is_beyond(message: &Said, bounds: &Bounds) -> bool {
        let Said::Statement(position, Statement::State { round, .. }) = message else { return false };
        *position <= bounds.position && *round > bounds.round
    }

    fn restart(&mut self, others: &[(usize, &Self)]) {
        let mut records = match self.is_wiped {
            true => vec![Record::Order(first_order(others.len() + 1))],
            false => self.role.records(),
        };
        // It is for disks that are restored from a copy, of which there are none here.
        records.retain(|record| !matches!(record, Record::Heard(_)));
        self.role = Self::role(self.place, records);
        if self.is_wiped {
            self.stage = 0;
        }
        self.greet(others);
    }

    fn position(&self) -> u64 {
        self.role.position()
    }

    fn decisions(&self) -> Vec<(u64, Elected)> {
        self.role.decisions().iter().flat_map(|(first, elected)| elected.clone().apart(*first)).collect()
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of =
            |challenger: &Option<Elected>| challenger.as_ref().map_or(String::new(), |of| format!(", {}", name(of)));
        match self {
            Self::Draft(draft) => write!(f, "GENERATE_DRAFT segment {}", draft.id.segment),
            Self::Statement(position, Statement::Pick { challenger }) => {
                write!(f, "PICK_CHALLENGER {position}: {}", name(challenger))
            }
            Self::Statement(position, Statement::State { round, challenger }) => {
                let state = u8::from(challenger.is_some());
                write!(f, "STATE {position}/{round}: {state}{}", of(challenger))
            }
            Self::Statement(position, Statement::Vote { round, vote, challenger }) => {
                let vote = vote.map_or('?', |vote| if vote { '1' } else { '0' });
                write!(f, "VOTE {position}/{round}: {vote}{}", of(challenger))
            }
            Self::Elected(position, elected) => write!(f, "ELECT_SEGMENT {position}: {}", name(elected)),
        }
    }
}
