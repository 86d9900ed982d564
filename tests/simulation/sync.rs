//! A sync: the role, and whom it has not heard of.

use std::collections::BTreeMap;

use fennec::queue::envelope::{Elected, Envelope, NodeId, OrderCommand, Resolution, RoleMessage};
use fennec::queue::lease::LeaseWatch;
use fennec::queue::quorum::Members;
use fennec::queue::storage::{Apply, Lives};
use fennec::queue::sync::{Start, SyncRole};

use crate::check::Facts;
use crate::entry::LEASE_US;

/// A process.
pub struct Sync {
    node: NodeId,
    role: SyncRole,
    watch: LeaseWatch,
    lives: Lives,
    position: u64,
}

impl Sync {
    pub fn start(node: NodeId, members: Members) -> Self {
        let role = SyncRole::new(node.clone(), members, Start::default()).expect("it is alone");
        Self { node, role, watch: LeaseWatch::new(LEASE_US), lives: BTreeMap::new(), position: 0 }
    }

    pub fn handle(&mut self, facts: &mut Facts, now: u64, envelope: Envelope) -> Vec<Envelope> {
        let Envelope { from, message, .. } = envelope;
        let mut out = Vec::new();
        if let RoleMessage::Renew { incarnation, sent_us } = message {
            let message = match self.watch.heard(now, &from, incarnation) {
                true => RoleMessage::Renewed { incarnation, sent_us },
                false => RoleMessage::RenewRefused { incarnation },
            };
            out.push(Envelope { from: self.node.clone(), to: from, message });
        } else {
            self.role.handle(&from, message, &mut out);
        }
        self.look(facts, now, &out);
        out
    }

    pub fn tick(&mut self, facts: &mut Facts, now: u64) -> Vec<Envelope> {
        let mut out = Vec::new();
        for (entry, incarnation) in self.watch.silent(now) {
            let lost = RoleMessage::AskCommand(OrderCommand::Lost { entry, incarnation });
            self.role.handle(&self.node, lost, &mut out);
        }
        self.look(facts, now, &out);
        out
    }

    /// Looks at decisions.
    fn look(&mut self, facts: &mut Facts, now: u64, out: &[Envelope]) {
        for envelope in out {
            let RoleMessage::ElectSegment { position, elected } = &envelope.message else { continue };
            facts.decision(&self.node, *position, elected);
            if *position <= self.position {
                continue;
            }
            self.position = *position;
            let Elected::Command(command) = elected else { continue };
            let (OrderCommand::Init { entry, .. } | OrderCommand::Lost { entry, .. }) = command else { continue };
            let life = self.lives.entry(entry.clone()).or_default();
            if life.take(*position, &Apply::Command(command.clone()), &Resolution::default()) {
                match life.lost {
                    true => self.watch.ends(entry, life.incarnation),
                    false => self.watch.begins(now, entry, life.incarnation),
                }
            }
        }
    }
}
