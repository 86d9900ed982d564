//! Who is registered for what, and whose turn it is.

use std::num::NonZeroU32;

use super::command::Register;
use super::hash::{IdHash, IdMap};
use super::session::Slot;
use crate::router::index::Index;
use crate::router::output::{InvocationPolicy, Refusal, RegistrationInfo};
use crate::types::ids::{RegistrationId, SessionId};
use crate::types::topic::{PatternLevel, Topic, TopicPattern};

/// The registrations of a realm.
pub struct Registrations {
    by_id: IdMap<RegistrationId, Registration>,
    by_pattern: Index<RegistrationId>,
    last_id: RegistrationId,
    last_endpoint: u64,
    dice: Dice,
}

/// A procedure or pattern and its callees, of which there is always one at least.
pub struct Registration {
    pub pattern: TopicPattern,
    pub policy: InvocationPolicy,
    pub created_ms: u64,
    /// In the order in which they registered.
    pub endpoints: Vec<Endpoint>,
    /// Where round robin goes on.
    next: usize,
}

/// One callee of one registration.
pub struct Endpoint {
    pub callee: SessionId,
    pub number: u64,
    concurrency: Option<NonZeroU32>,
    /// Counted only where `concurrency` limits it.
    pub running: u32,
    disclose_caller: bool,
    forward_timeout: bool,
}

/// The callee that a call goes to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub registration: RegistrationId,
    pub callee: SessionId,
    /// Taken already; the one who ends the call gives it back.
    pub slot: Option<Slot>,
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
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
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

    /// Chooses a callee by the policy of the registration and takes one of its slots.
    pub fn choose(&mut self, procedure: &Topic) -> Result<Chosen, Refusal> {
        let id = self.best(procedure).ok_or(Refusal::NoSuchProcedure)?;
        let registration = self.by_id.get_mut(&id).ok_or(Refusal::NoSuchProcedure)?;
        let at = registration.turn(&mut self.dice).ok_or(Refusal::NoAvailableCallee)?;
        let endpoint = &mut registration.endpoints[at];
        let slot = endpoint.concurrency.map(|_| {
            endpoint.running += 1;
            Slot { registration: id, endpoint: endpoint.number }
        });
        Ok(Chosen {
            registration: id,
            callee: endpoint.callee,
            slot,
            is_pattern: registration.pattern.exact_name().is_none(),
            disclose_caller: endpoint.disclose_caller,
            forward_timeout: endpoint.forward_timeout,
        })
    }

    /// A callee has finished or was told to stop.
    pub fn release(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        let registration = self.by_id.get_mut(&slot.registration);
        let endpoint = registration.and_then(|r| r.endpoints.iter_mut().find(|e| e.number == slot.endpoint));
        if let Some(endpoint) = endpoint {
            endpoint.running -= 1;
        }
    }

    /// Adds a callee; true if that made the registration.
    pub fn add(&mut self, callee: SessionId, command: &Register<'_>, now_ms: u64) -> (RegistrationId, bool) {
        let known = self.find(command.pattern);
        let id = known.unwrap_or_else(|| {
            self.last_id.0 += 1;
            self.create(self.last_id, command, now_ms)
        });
        self.add_endpoint(id, callee, command);
        (id, known.is_none())
    }

    /// Adds a procedure of the broker's own, under an id that no other gets.
    pub fn provide(&mut self, id: RegistrationId, callee: SessionId, command: &Register<'_>, now_ms: u64) {
        self.create(id, command, now_ms);
        self.add_endpoint(id, callee, command);
    }

    fn add_endpoint(&mut self, id: RegistrationId, callee: SessionId, command: &Register<'_>) {
        self.last_endpoint += 1;
        let endpoint = Endpoint {
            callee,
            number: self.last_endpoint,
            concurrency: command.concurrency,
            running: 0,
            disclose_caller: command.disclose_caller,
            forward_timeout: command.forward_timeout,
        };
        if let Some(registration) = self.by_id.get_mut(&id) {
            registration.endpoints.push(endpoint);
        }
    }

    fn create(&mut self, id: RegistrationId, command: &Register<'_>, now_ms: u64) -> RegistrationId {
        let pattern = command.pattern.clone();
        self.by_pattern.insert(&pattern, id);
        let policy = command.policy;
        self.by_id.insert(id, Registration { pattern, policy, created_ms: now_ms, endpoints: Vec::new(), next: 0 });
        id
    }

    /// Removes a callee; `None` if it is none, true if it was the last and the registration is gone.
    pub fn remove(&mut self, id: RegistrationId, callee: SessionId) -> Option<bool> {
        let registration = self.by_id.get_mut(&id)?;
        let at = registration.endpoints.iter().position(|endpoint| endpoint.callee == callee)?;
        registration.endpoints.remove(at);
        if at < registration.next {
            registration.next -= 1;
        }
        if !registration.endpoints.is_empty() {
            return Some(false);
        }
        if let Some(registration) = self.by_id.remove(&id) {
            self.by_pattern.remove(&registration.pattern);
        }
        Some(true)
    }
}

impl Registration {
    pub fn info(&self, registration: RegistrationId) -> RegistrationInfo<'_> {
        RegistrationInfo { registration, pattern: &self.pattern, policy: self.policy, created_ms: self.created_ms }
    }

    pub fn has_callee(&self, session: SessionId) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.callee == session)
    }

    /// The endpoint that takes the next call; those without a free slot are passed over.
    fn turn(&mut self, dice: &mut Dice) -> Option<usize> {
        let endpoints = &self.endpoints;
        match self.policy {
            InvocationPolicy::Single | InvocationPolicy::First => endpoints.iter().position(Endpoint::has_room),
            InvocationPolicy::Last => endpoints.iter().rposition(Endpoint::has_room),
            InvocationPolicy::Random => {
                let at = dice.below(endpoints.len());
                if endpoints[at].has_room() {
                    return Some(at);
                }
                let free: Vec<usize> = (0..endpoints.len()).filter(|at| endpoints[*at].has_room()).collect();
                (!free.is_empty()).then(|| free[dice.below(free.len())])
            }
            InvocationPolicy::RoundRobin => {
                let count = endpoints.len();
                let at = (self.next..self.next + count).map(|at| at % count).find(|at| endpoints[*at].has_room())?;
                self.next = at + 1;
                Some(at)
            }
        }
    }
}

impl Endpoint {
    fn has_room(&self) -> bool {
        self.concurrency.is_none_or(|max| self.running < max.get())
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

/// Random numbers from a seed (splitmix64); good enough to spread load.
pub struct Dice(pub u64);

impl Dice {
    /// One of `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((u128::from(z) * count as u128) >> 64) as usize
    }
}
