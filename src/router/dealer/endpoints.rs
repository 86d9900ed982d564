//! The callees of one registration, and whose turn it is.

use std::num::NonZeroU32;

use super::peers::{Offer, Rank};
use super::registration::Chosen;
use super::session::Slot;
use crate::router::output::{InvocationPolicy, RegistrationInfo};
use crate::router::shard::{NodeHash, node_of};
use crate::types::ids::{RegistrationId, SessionId};
use crate::types::topic::TopicPattern;

/// A procedure or pattern and its callees, of which there is always one at least.
pub struct Registration {
    pub pattern: TopicPattern,
    pub created_ms: u64,
    /// In the order in which they registered; another entry stands where its first callee does. The policy of the first counts:
    /// who has another one stands by.
    endpoints: Vec<Endpoint>,
    /// Of these, other entries.
    elsewhere: usize,
    turn: Turn,
    /// Of the calls that other entries have sent.
    turn_here: Turn,
}

/// One callee of one registration; or another entry of the cluster, for all its callees that have the same policy.
pub struct Endpoint {
    pub callee: SessionId,
    pub number: u64,
    pub policy: InvocationPolicy,
    /// When it registered, and at which entry: no two entries see another order.
    pub since: (u64, Rank),
    /// Of another entry: what it has told.
    pub offer: Option<Offer>,
    pub concurrency: Option<NonZeroU32>,
    /// Counted only where `concurrency` limits it.
    pub running: u32,
    pub disclose_caller: bool,
    pub forward_timeout: bool,
    /// The node that it is on; of another entry those of all its callees.
    pub nodes: Vec<NodeHash>,
}

/// Where round robin goes on.
#[derive(Default)]
struct Turn {
    next: usize,
    /// Turns that the next one has had.
    taken: u32,
}

impl Registration {
    pub fn new(pattern: &TopicPattern, created_ms: u64) -> Self {
        Self {
            pattern: pattern.clone(),
            created_ms,
            endpoints: Vec::new(),
            elsewhere: 0,
            turn: Turn::default(),
            turn_here: Turn::default(),
        }
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub fn info(&self, registration: RegistrationId) -> RegistrationInfo<'_> {
        let (pattern, policy, created_ms) = (&self.pattern, self.policy(), self.created_ms);
        RegistrationInfo { registration, pattern, policy, created_ms }
    }

    /// The policy of the first, for there is always one.
    pub fn policy(&self) -> InvocationPolicy {
        self.endpoints.first().map(|endpoint| endpoint.policy).unwrap_or_default()
    }

    pub fn has_callee(&self, session: SessionId) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.callee == session)
    }

    /// What the other entries are told of the callees at this one: for each policy, in the order of their first. `who`: authid and
    /// client id of a session.
    pub fn offers_here(&self, who: impl Fn(SessionId) -> (Option<Box<str>>, Option<Box<str>>)) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.is_here()) {
            let (at_ms, _) = endpoint.since;
            match offers.iter_mut().find(|offer| offer.policy == endpoint.policy) {
                Some(offer) => {
                    offer.add_nodes(&endpoint.nodes);
                    offer.members += 1;
                    offer.last_ms = at_ms;
                }
                None => {
                    let policy = endpoint.policy;
                    let (authid, client_id) =
                        if policy == InvocationPolicy::Single { who(endpoint.callee) } else { (None, None) };
                    let nodes = endpoint.nodes.clone();
                    offers.push(Offer {
                        policy,
                        members: 1,
                        first_ms: at_ms,
                        last_ms: at_ms,
                        authid,
                        client_id,
                        nodes,
                    });
                }
            }
        }
        offers
    }

    /// `now_ms`, or later than all callees that are known, whatever the clocks of their entries say.
    pub fn later_than_all(&self, now_ms: u64) -> u64 {
        let last_ms = self.endpoints.iter().map(|endpoint| endpoint.last().0).max();
        last_ms.map_or(now_ms, |last_ms| now_ms.max(last_ms.saturating_add(1)))
    }

    pub fn insert(&mut self, endpoint: Endpoint) {
        let at = self.endpoints.partition_point(|other| other.since <= endpoint.since);
        self.elsewhere += usize::from(!endpoint.is_here());
        self.endpoints.insert(at, endpoint);
        self.turn.inserted(at);
        self.turn_here.inserted(at);
    }

    /// Removes a callee; `None` if it is none, true if it was one of this entry.
    pub fn remove(&mut self, callee: SessionId) -> Option<bool> {
        let mut was_here = None;
        while let Some(at) = self.endpoints.iter().position(|endpoint| endpoint.callee == callee) {
            let endpoint = self.endpoints.remove(at);
            was_here = Some(endpoint.is_here());
            self.elsewhere -= usize::from(!endpoint.is_here());
            self.turn.removed(at);
            self.turn_here.removed(at);
        }
        was_here
    }

    /// Gives a call to an endpoint.
    pub fn take(&mut self, registration: RegistrationId, at: usize) -> Option<Chosen> {
        let is_pattern = self.pattern.exact_name().is_none();
        let endpoint = self.endpoints.get_mut(at)?;
        let slot = endpoint.concurrency.map(|_| {
            endpoint.running += 1;
            Slot { registration, endpoint: endpoint.number }
        });
        Some(Chosen {
            registration,
            callee: endpoint.callee,
            slot,
            policy: endpoint.policy,
            is_elsewhere: !endpoint.is_here(),
            is_pattern,
            disclose_caller: endpoint.disclose_caller,
            forward_timeout: endpoint.forward_timeout,
        })
    }

    pub fn release(&mut self, slot: Slot) {
        if let Some(endpoint) = self.endpoints.iter_mut().find(|endpoint| endpoint.number == slot.endpoint) {
            endpoint.running -= 1;
        }
    }

    /// The endpoint that takes the next call; those without a free slot are passed over, and these.
    pub fn turn(&mut self, resource: Option<&str>, but: &[SessionId], dice: &mut Dice) -> Option<usize> {
        let policy = self.policy();
        let resource = resource.filter(|_| policy != InvocationPolicy::Single);
        let node = resource.and_then(|resource| node_of(resource, self.nodes(|endpoint| endpoint.policy == policy)));
        let is_free =
            |endpoint: &Endpoint| endpoint.has_room() && !but.contains(&endpoint.callee) && endpoint.is_on(node);
        if policy == InvocationPolicy::Single {
            // Whoever else there is stands by.
            return self.endpoints.first().filter(|endpoint| is_free(endpoint)).map(|_| 0);
        }
        let weighed = self.elsewhere > 0;
        let takes = |endpoint: &Endpoint| endpoint.policy == policy && is_free(endpoint);
        choose(&self.endpoints, policy, weighed, takes, &mut self.turn, dice)
    }

    /// The nodes of those endpoints that are one of these.
    fn nodes<'e>(&'e self, is_one: impl Fn(&Endpoint) -> bool + 'e) -> impl Iterator<Item = NodeHash> + 'e {
        self.endpoints
            .iter()
            .filter(move |endpoint| is_one(endpoint))
            .flat_map(|endpoint| endpoint.nodes.iter().copied())
    }

    /// The same among the callees at this entry that have this policy.
    pub fn turn_here(
        &mut self,
        policy: InvocationPolicy,
        resource: Option<&str>,
        but: &[SessionId],
        dice: &mut Dice,
    ) -> Option<usize> {
        let is_one = |endpoint: &Endpoint| endpoint.is_here() && endpoint.policy == policy;
        let resource = resource.filter(|_| policy != InvocationPolicy::Single);
        let node = resource.and_then(|resource| node_of(resource, self.nodes(is_one)));
        let takes = |endpoint: &Endpoint| {
            is_one(endpoint) && endpoint.has_room() && !but.contains(&endpoint.callee) && endpoint.is_on(node)
        };
        choose(&self.endpoints, policy, true, takes, &mut self.turn_here, dice)
    }
}

/// The endpoint that takes the next call. `weighed`: there are some that stand for several callees, or that take none.
fn choose(
    endpoints: &[Endpoint],
    policy: InvocationPolicy,
    weighed: bool,
    takes: impl Fn(&Endpoint) -> bool,
    turn: &mut Turn,
    dice: &mut Dice,
) -> Option<usize> {
    match policy {
        InvocationPolicy::Single | InvocationPolicy::First => endpoints.iter().position(takes),
        InvocationPolicy::Last if weighed => {
            let free = endpoints.iter().enumerate().filter(|(_, endpoint)| takes(endpoint));
            free.max_by_key(|(_, endpoint)| endpoint.last()).map(|(at, _)| at)
        }
        InvocationPolicy::Last => endpoints.iter().rposition(takes),
        InvocationPolicy::Random => {
            let at = dice.below(endpoints.len());
            if !weighed && takes(&endpoints[at]) {
                return Some(at);
            }
            let free = || endpoints.iter().enumerate().filter(|(_, endpoint)| takes(endpoint));
            let members: usize = free().map(|(_, endpoint)| endpoint.members() as usize).sum();
            let mut left = if members > 0 { dice.below(members) } else { return None };
            let mut chosen = free().filter(|(_, endpoint)| {
                let before = left;
                left = left.saturating_sub(endpoint.members() as usize);
                before < endpoint.members() as usize
            });
            chosen.next().map(|(at, _)| at)
        }
        InvocationPolicy::RoundRobin => turn.go(endpoints, takes),
    }
}

impl Turn {
    /// The next that takes a call. It stays its turn for as many calls as it has callees.
    fn go(&mut self, endpoints: &[Endpoint], takes: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        let count = endpoints.len();
        let at = (self.next..self.next + count).map(|at| at % count).find(|at| takes(&endpoints[*at]))?;
        if at != self.next % count {
            self.taken = 0;
        }
        (self.next, self.taken) = match self.taken + 1 {
            taken if taken < endpoints[at].members() => (at, taken),
            _ => (at + 1, 0),
        };
        Some(at)
    }

    fn inserted(&mut self, at: usize) {
        if at < self.next || (at == self.next && self.taken > 0) {
            self.next += 1;
        }
    }

    fn removed(&mut self, at: usize) {
        if at < self.next {
            self.next -= 1;
        } else if at == self.next {
            self.taken = 0;
        }
    }
}

impl Endpoint {
    pub fn is_here(&self) -> bool {
        self.offer.is_none()
    }

    /// Whether it is on this node, if one is wanted.
    fn is_on(&self, node: Option<NodeHash>) -> bool {
        node.is_none_or(|node| self.nodes.contains(&node))
    }

    fn has_room(&self) -> bool {
        self.concurrency.is_none_or(|max| self.running < max.get())
    }

    /// Callees that it stands for.
    fn members(&self) -> u32 {
        self.offer.as_ref().map_or(1, |offer| offer.members.max(1))
    }

    /// When the last of its callees registered, and where.
    fn last(&self) -> (u64, Rank) {
        let (first_ms, rank) = self.since;
        (self.offer.as_ref().map_or(first_ms, |offer| offer.last_ms), rank)
    }
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
