//! Who is registered for what.

use std::collections::HashSet;

use super::command::Register;
use super::endpoints::{Dice, Endpoint, Registration};
use super::hash::{IdHash, IdMap};
use super::peers::{Offer, Rank, peer_session};
use super::session::Slot;
use crate::router::index::Index;
use crate::router::output::{InvocationPolicy, Refusal, RegistrationInfo};
use crate::router::shard::node;
use crate::router::stable;
use crate::types::ids::{RegistrationId, SessionId};
use crate::types::topic::{PatternLevel, Topic, TopicPattern};

/// The registrations of a realm.
pub struct Registrations {
    by_id: IdMap<RegistrationId, Registration>,
    by_pattern: Index<RegistrationId>,
    last_id: RegistrationId,
    last_endpoint: u64,
    dice: Dice,
    /// The place of this entry among all of its cluster; `None`: it is alone.
    rank: Option<Rank>,
    /// Patterns whose callees at this entry are others than before.
    changed: HashSet<TopicPattern>,
}

/// The callee that a call goes to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub registration: RegistrationId,
    pub callee: SessionId,
    /// Taken already; the one who ends the call gives it back.
    pub slot: Option<Slot>,
    pub policy: InvocationPolicy,
    /// The callee is another entry.
    pub is_elsewhere: bool,
    pub is_pattern: bool,
    pub disclose_caller: bool,
    pub forward_timeout: bool,
}

impl Registrations {
    pub fn new(hash: IdHash, seed: u64) -> Self {
        Self {
            by_id: IdMap::with_hasher(hash),
            by_pattern: Index::new(),
            last_id: RegistrationId(0),
            last_endpoint: 0,
            dice: Dice(seed),
            rank: None,
            changed: HashSet::new(),
        }
    }

    /// Has it noted from now on whose callees change.
    pub fn watch(&mut self, rank: Rank) {
        self.rank = Some(rank);
    }

    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Patterns whose callees at this entry are others than before.
    pub fn take_changed(&mut self) -> HashSet<TopicPattern> {
        std::mem::take(&mut self.changed)
    }

    fn note_change(&mut self, pattern: &TopicPattern) {
        if self.rank.is_some() {
            self.changed.insert(pattern.clone());
        }
    }

    /// How many have a callee at this entry.
    pub fn len_here(&self) -> usize {
        self.by_id.values().filter(|registration| registration.endpoints().iter().any(Endpoint::is_here)).count()
    }

    pub fn get(&self, id: RegistrationId) -> Option<&Registration> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = RegistrationInfo<'_>> {
        self.by_id.iter().map(|(id, registration)| registration.info(*id))
    }

    /// The registration of exactly this pattern.
    pub fn find(&self, pattern: &TopicPattern) -> Option<RegistrationId> {
        self.by_pattern.get(pattern).copied()
    }

    /// The registration that a call of `procedure` goes to. Patterns do not reach into the broker's own procedures.
    pub fn best(&self, procedure: &Topic) -> Option<RegistrationId> {
        if procedure.is_reserved() {
            return self.find(&TopicPattern::exact(procedure));
        }
        self.by_pattern.best(procedure).map(|(_, id)| *id)
    }

    /// Chooses a callee by the policy of the registration, of the node that has this resource, but none of these, and takes one of its
    /// slots.
    pub fn choose(&mut self, procedure: &Topic, resource: Option<&str>, but: &[SessionId]) -> Result<Chosen, Refusal> {
        let id = self.best(procedure).ok_or(Refusal::NoSuchProcedure)?;
        let registration = self.by_id.get_mut(&id).ok_or(Refusal::NoSuchProcedure)?;
        let at = registration.turn(resource, but, &mut self.dice).ok_or(Refusal::NoAvailableCallee)?;
        registration.take(id, at).ok_or(Refusal::NoAvailableCallee)
    }

    /// The same for a call that another entry has sent: of those who are registered here with this pattern and policy.
    pub fn choose_here(
        &mut self,
        pattern: &TopicPattern,
        policy: InvocationPolicy,
        resource: Option<&str>,
        but: &[SessionId],
    ) -> Result<Chosen, Refusal> {
        let id = self.find(pattern).ok_or(Refusal::CalleeLeft)?;
        let registration = self.by_id.get_mut(&id).ok_or(Refusal::CalleeLeft)?;
        if !registration.endpoints().iter().any(|endpoint| endpoint.is_here() && endpoint.policy == policy) {
            return Err(Refusal::CalleeLeft);
        }
        let at = registration.turn_here(policy, resource, but, &mut self.dice).ok_or(Refusal::NoAvailableCallee)?;
        registration.take(id, at).ok_or(Refusal::NoAvailableCallee)
    }

    /// A callee has finished or was told to stop.
    pub fn release(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        if let Some(registration) = self.by_id.get_mut(&slot.registration) {
            registration.release(slot);
        }
    }

    /// Adds a callee; true if that made the registration.
    pub fn add(&mut self, callee: SessionId, command: &Register<'_>, now_ms: u64) -> (RegistrationId, bool) {
        let known = self.find(command.pattern);
        let id = known.unwrap_or_else(|| self.create(command.pattern, now_ms));
        self.add_endpoint(id, callee, command, now_ms);
        self.note_change(command.pattern);
        (id, known.is_none())
    }

    /// Adds a procedure of the broker's own, under an id that no other gets.
    pub fn provide(&mut self, id: RegistrationId, callee: SessionId, command: &Register<'_>, now_ms: u64) {
        self.create_as(id, command.pattern, now_ms);
        self.add_endpoint(id, callee, command, now_ms);
    }

    fn add_endpoint(&mut self, id: RegistrationId, callee: SessionId, command: &Register<'_>, now_ms: u64) {
        let number = self.next_endpoint();
        let rank = self.rank.unwrap_or_default();
        if let Some(registration) = self.by_id.get_mut(&id) {
            registration.insert(Endpoint {
                callee,
                number,
                policy: command.policy,
                since: (registration.later_than_all(now_ms), rank),
                offer: None,
                concurrency: command.concurrency,
                running: 0,
                disclose_caller: command.disclose_caller,
                forward_timeout: command.forward_timeout,
                nodes: vec![node(command.node_key, callee)],
            });
        }
    }

    fn next_endpoint(&mut self) -> u64 {
        self.last_endpoint += 1;
        self.last_endpoint
    }

    /// Adds what another entry has of a pattern.
    pub fn add_offers(
        &mut self,
        rank: Rank,
        pattern: &TopicPattern,
        offers: &[Offer],
        now_ms: u64,
    ) -> Option<RegistrationId> {
        if offers.is_empty() {
            return None;
        }
        let id = self.find(pattern).unwrap_or_else(|| self.create(pattern, now_ms));
        for offer in offers {
            let number = self.next_endpoint();
            let endpoint = Endpoint {
                callee: peer_session(rank),
                number,
                policy: offer.policy,
                since: (offer.first_ms, rank),
                offer: Some(offer.clone()),
                concurrency: None,
                running: 0,
                // That entry asks its callee for both.
                disclose_caller: true,
                forward_timeout: true,
                nodes: offer.nodes.clone(),
            };
            self.by_id.get_mut(&id)?.insert(endpoint);
        }
        Some(id)
    }

    fn create(&mut self, pattern: &TopicPattern, now_ms: u64) -> RegistrationId {
        let id = match self.rank {
            // The other entries have the same.
            Some(_) => RegistrationId(stable::id(pattern, &[], |id| self.by_id.contains_key(&RegistrationId(id)))),
            None => {
                self.last_id.0 += 1;
                self.last_id
            }
        };
        self.create_as(id, pattern, now_ms);
        id
    }

    fn create_as(&mut self, id: RegistrationId, pattern: &TopicPattern, now_ms: u64) {
        self.by_pattern.insert(pattern, id);
        self.by_id.insert(id, Registration::new(pattern, now_ms));
    }

    /// Removes a callee; `None` if it is none, true if it was the last and the registration is gone.
    pub fn remove(&mut self, id: RegistrationId, callee: SessionId) -> Option<bool> {
        let registration = self.by_id.get_mut(&id)?;
        let was_here = registration.remove(callee)?;
        let is_gone = registration.endpoints().is_empty();
        if was_here {
            let pattern = registration.pattern.clone();
            self.note_change(&pattern);
        }
        if is_gone && let Some(registration) = self.by_id.remove(&id) {
            self.by_pattern.remove(&registration.pattern);
        }
        Some(is_gone)
    }
}

/// Whether all that the pattern matches belongs to the broker: as [`Topic::is_reserved`] says it of a topic.
pub fn is_reserved(pattern: &TopicPattern) -> bool {
    let first = match pattern.prefix() {
        Some(prefix) => prefix.split('.').next(),
        None => pattern.levels().next().and_then(|level| match level {
            PatternLevel::Exact(level) => Some(level),
            PatternLevel::Single | PatternLevel::Multi => None,
        }),
    };
    first.is_some_and(|first| first.starts_with('$') || matches!(first, "wamp" | "fennec"))
}
