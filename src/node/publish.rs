//! The hot path: from a publication in a read buffer to the outboxes of its subscribers.
//!
//! ```text
//! topic bytes --cache--> Target { route, may_publish } --encode once per lane--> run --flush--> mailboxes, noted in `touched`
//! ```
//!
//! A publisher belongs to one connection and is used by its task alone. Consecutive publications with the same route and terms
//! make a *run*: their frames are encoded once per lane and handed to each subscriber under one lock. A run is flushed when the
//! next publication differs, before anything else of the same connection takes effect, and at the end of each read batch;
//! then the touched connections are woken.

use std::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::link::Link;
use super::log::tickets::Tickets;
use super::mailbox::Offered;
use super::metrics::{Drop, Limited, Protocol, Tally};
use super::peers::Staged;
use super::realm::Realm;
use super::session::Touched;
use crate::queue::command::Command;
use crate::queue::condition::Condition;
use crate::queue::message::Posting;
use crate::queue::publication::volatile;
use crate::router::authorize::{Action, Rights, Verdict};
use crate::types::event::{Discloser, Event, Filter, Properties, Qos};
use crate::types::ids::{PublicationId, SessionId};
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;

mod held;
mod logged;
mod peers;
mod route;
mod targets;
#[cfg(test)]
mod tests;

use logged::Logged;
pub use logged::Settled;
pub(super) use peers::Scope;
use route::Run;
pub(super) use route::admits;
pub use targets::TargetId;
use targets::{Durable, Target, Targets, TopicRules};

/// A batch for the log is submitted when it has this many bytes, or when the read batch ends.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one connection that may wait for the log before it is not read any more.
const PENDING_BYTES_MAX: usize = 1024 * 1024;

/// One publication, as its gate read it.
#[derive(Clone, Copy)]
pub struct Publication<'a> {
    pub payload: PayloadRef<'a>,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Option<&'a Arc<Properties>>,
    pub publisher: Option<&'a Arc<Discloser>>,
    /// Message expiry interval.
    pub expires_in_s: Option<u32>,
    /// The publisher does not get its own event (WAMP `exclude_me`; MQTT asks for it per subscription).
    pub exclude_publisher: bool,
    pub filter: Option<&'a Filter>,
    /// What is asked of the retained value that it changes.
    pub condition: Option<&'a Condition>,
    /// QoS 2 of a persistent MQTT session: client id, number of the connection, packet identifier.
    pub packet: Option<(&'a str, u64, u16)>,
    /// The buffer that `payload` was read into.
    pub backing: Option<&'a Bytes>,
}

impl<'a> Publication<'a> {
    /// A payload, and nothing else to be said of it.
    pub fn plain(payload: PayloadRef<'a>, qos: Qos) -> Self {
        Self {
            payload,
            qos,
            retain: false,
            properties: None,
            publisher: None,
            expires_in_s: None,
            exclude_publisher: false,
            filter: None,
            condition: None,
            packet: None,
            backing: None,
        }
    }
}

/// Why a publication was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    #[error("not authorized to publish to this topic")]
    NotAuthorized,
    #[error("the store of retained values is full")]
    RetainedFull,
    #[error("there is no memory for more")]
    MemoryFull,
    #[error("publishers are not disclosed here")]
    DisclosureDenied,
    #[error("only a retained publication can have a condition")]
    ConditionWithoutRetain,
}

/// What became of a publication that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub publication: PublicationId,
    /// Somebody is subscribed to the topic.
    pub matched: bool,
}

/// Whether it is known already what became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was routed.
    Routed(Published),
    /// It goes through the durable log, or waits behind something that does: [`Publisher::hear`] will tell.
    Pending,
}

/// See the module.
pub struct Publisher {
    pub node: Arc<Node>,
    pub realm: Arc<Realm>,
    /// Publications and commands that are on their way through the log, and what waits behind them.
    logged: Logged,
    session: Option<SessionId>,
    /// `None`: may publish anywhere.
    rights: Option<Rights>,
    /// Who publishes, if that may have to be told; the role here is what trust depends on.
    discloser: Option<Arc<Discloser>>,
    protocol: Protocol,
    targets: Targets,
    run: Run,
    /// Events for other entries that were not sent yet.
    staged: Staged,
    pub touched: Touched,
    pub tally: Tally,
    /// Time of the batch; set by the gate at its beginning.
    pub now_ms: u64,
    crowded: bool,
    dice: u64,
}

impl Publisher {
    /// A publisher for a session, or (`None`) for the broker itself.
    pub fn new(
        node: Arc<Node>,
        realm: Arc<Realm>,
        session: Option<SessionId>,
        rights: Option<Rights>,
        protocol: Protocol,
    ) -> Self {
        let dice = node.random() | 1;
        Self {
            node,
            realm,
            logged: Logged::new(protocol == Protocol::Wamp),
            session,
            rights,
            discloser: None,
            protocol,
            targets: Targets::default(),
            run: Run::default(),
            staged: Staged::default(),
            touched: Touched::default(),
            tally: Tally::default(),
            now_ms: 0,
            crowded: false,
            dice,
        }
    }

    /// Says who publishes, to those who are to be told. To be called before the first publication.
    pub fn introduce(&mut self, discloser: Arc<Discloser>) {
        self.discloser = Some(discloser);
    }

    /// A publisher for what the broker itself says; it may publish anywhere.
    pub fn for_broker(node: Arc<Node>, realm: Arc<Realm>, protocol: Protocol) -> Self {
        Self::new(node, realm, None, None, protocol)
    }

    /// Publishes to any topic, reserved ones too; see [`Publisher::for_broker`].
    pub fn publish_own(&mut self, topic: &Arc<Topic>, publication: &Publication<'_>) {
        let at = match self.targets.find(topic.as_bytes()) {
            Some(at) => at,
            None => self.add_target(topic.as_bytes(), topic.clone()),
        };
        // The broker asks nobody; a retained value without room has been counted. Nothing was received.
        let _ = self.publish_uncounted(at, publication);
    }

    /// The target of a topic as it was written on the wire. `parse` is called for names that are new to this connection.
    ///
    /// # Errors
    /// What `parse` says.
    pub fn look_up<E>(&mut self, name: &[u8], parse: impl FnOnce(&[u8]) -> Result<Topic, E>) -> Result<TargetId, E> {
        let at = match self.targets.find(name) {
            Some(at) => at,
            None => self.add_target(name, Arc::new(parse(name)?)),
        };
        Ok(TargetId(at))
    }

    /// The topic of a target.
    pub fn topic(&self, target: TargetId) -> &Arc<Topic> {
        &self.targets[target.0].topic
    }

    fn add_target(&mut self, name: &[u8], topic: Arc<Topic>) -> usize {
        if self.targets.is_full() {
            self.flush();
            self.targets.clear();
            self.logged.forget_topics();
        }
        let role_name = self.discloser.as_ref().and_then(|discloser| discloser.authrole.as_deref());
        let ruled = self.realm.rules.of(&topic, role_name);
        let target = Target::new(&self.realm, self.rights.as_ref(), name, topic, self.logged.forgotten());
        self.targets.add(Target { rules: TopicRules::of(ruled), ..target })
    }

    /// Takes one publication. If it is not durable, its copies reach outboxes at the latest with the next [`Publisher::finish`].
    ///
    /// # Errors
    /// The publisher may not publish there, or a retained value has no room; nothing was delivered then.
    pub fn publish(&mut self, target: TargetId, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        let TargetId(at) = target;
        self.tally.publishes_in += 1;
        // What clears a retained value makes room.
        if self.node.memory.is_tight() && !(publication.retain && publication.payload.is_empty()) {
            self.tally.drop(Drop::MemoryFull, 1);
            self.node.metrics.limited(Limited::MemoryRequests, 1);
            return Err(PublishRefused::MemoryFull);
        }
        self.publish_uncounted(at, publication)
    }

    /// Whether nobody has to be asked about a topic as it was written on the wire, as far as this is known without looking it up.
    pub fn knows_answer(&self, name: &[u8], now_ms: u64) -> bool {
        let Some(target) = self.targets.peek(name) else { return false };
        let remembers = |rights: &Rights| rights.remembers(Action::Publish, &target.topic, now_ms);
        target.may_publish != Verdict::Ask || self.rights.as_ref().is_some_and(remembers)
    }

    fn may_publish(&self, at: usize) -> bool {
        let target = &self.targets[at];
        match target.may_publish {
            Verdict::Yes => true,
            Verdict::No => false,
            // Whoever was asked may have said something else by now.
            Verdict::Ask => self.rights.as_ref().is_some_and(|rights| rights.allows(Action::Publish, &target.topic)),
        }
    }

    fn publish_uncounted(&mut self, at: usize, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        if !self.may_publish(at) {
            self.tally.drop(Drop::NotAuthorized, 1);
            return Err(PublishRefused::NotAuthorized);
        }
        let told = self.is_told(at);
        if let Some(rules) = self.targets[at].rules.clone() {
            return self.publish_by_rules(at, publication, &rules, told);
        }
        if told {
            let own = self.discloser.clone();
            let publisher = publication.publisher.or(own.as_ref());
            return self.publish_allowed(at, &Publication { publisher, ..*publication });
        }
        self.publish_allowed(at, publication)
    }

    /// Whether who decides about this topic wants subscribers to be told who publishes.
    fn is_told(&self, at: usize) -> bool {
        let target = &self.targets[at];
        let discloses = |rights: &Rights| rights.discloses(Action::Publish, &target.topic);
        target.may_publish == Verdict::Ask && self.rights.as_ref().is_some_and(discloses)
    }

    /// Takes a publication to a topic that the configuration has something to say of. `told`: who decides wants subscribers to be told
    /// who publishes.
    fn publish_by_rules(
        &mut self,
        at: usize,
        publication: &Publication<'_>,
        rules: &TopicRules,
        told: bool,
    ) -> Result<Fate, PublishRefused> {
        let asked = publication.publisher.is_some();
        if rules.disclosure.refuses(asked) {
            return Err(PublishRefused::DisclosureDenied);
        }
        let own = self.discloser.clone();
        let publisher =
            publication.publisher.or(own.as_ref()).filter(|_| rules.disclosure.discloses(asked || told, false));
        let properties = rules.properties(publication.properties);
        let properties = properties.as_ref().or(publication.properties);
        self.publish_allowed(at, &Publication { publisher, properties, ..*publication })
    }

    fn publish_allowed(&mut self, at: usize, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        if publication.condition.is_some() && !publication.retain {
            return Err(PublishRefused::ConditionWithoutRetain);
        }
        if publication.retain
            && !publication.payload.is_empty()
            && !self.realm.has_room_for(&self.targets[at].topic, publication.payload.len())
        {
            self.tally.drop(Drop::RetainedFull, 1);
            return Err(PublishRefused::RetainedFull);
        }
        Ok(self.take(at, publication))
    }

    /// Routes a publication, gives it to the log, or has it wait.
    fn take(&mut self, at: usize, publication: &Publication<'_>) -> Fate {
        if self.targets[at].version != self.realm.version() {
            self.refresh(at);
        }
        let target = &self.targets[at];
        let durable = match target.durable {
            Durable::Never => false,
            Durable::Wanted => publication.retain || publication.qos.min(target.route.log_qos) > Qos::AtMostOnce,
            Durable::Always => true,
        };
        if self.logged.must_hold(durable, target.logged) {
            let topic = target.topic.clone();
            self.logged.hold(held::Held::publication(topic, publication, self.now_ms));
            return Fate::Pending;
        }
        if durable {
            self.log(at, publication);
            return Fate::Pending;
        }
        let published = self.route_now(at, publication);
        if self.logged.is_empty() {
            return Fate::Routed(published);
        }
        self.logged.routed(published);
        Fate::Pending
    }

    fn event<'a>(&mut self, topic: &'a Arc<Topic>, codec: Codec, publication: &Publication<'a>) -> Event<'a> {
        Event {
            topic,
            payload: publication.payload,
            codec,
            qos: publication.qos,
            retain: publication.retain,
            publication: self.next_publication(),
            place: None,
            properties: publication.properties,
            publisher: publication.publisher,
            expires_at_ms: publication.expires_in_s.map(|s| self.now_ms + u64::from(s) * 1000),
            expires_in_s: publication.expires_in_s,
        }
    }

    fn route_now(&mut self, at: usize, publication: &Publication<'_>) -> Published {
        let Target { topic, codec, route, reached, .. } = &self.targets[at];
        let (topic, codec, route, reached) = (topic.clone(), *codec, route.clone(), reached.clone());
        let event = self.event(&topic, codec, publication);
        let elsewhere =
            if reached.is_empty() { Vec::new() } else { self.pass_on(&reached, &route, &event, publication) };
        let matched_here = !route.lanes.is_empty() || !route.groups.is_empty();
        if matched_here {
            self.route(at, &route, &event, publication, &Scope::But(&elsewhere));
        }
        let matched = matched_here || !reached.is_empty();
        if event.retain {
            self.realm.retain(Arc::new(event.store(None).only_for(publication.filter.cloned())));
        }
        Published { publication: event.publication, matched }
    }

    /// Gives a publication to the durable log.
    fn log(&mut self, at: usize, publication: &Publication<'_>) {
        let Target { topic, codec, .. } = &self.targets[at];
        let (topic, codec) = (topic.clone(), *codec);
        let event = self.event(&topic, codec, publication);
        let posting = Posting {
            realm: &self.realm.name,
            publisher: self.session,
            exclude_publisher: publication.exclude_publisher,
            filter: publication.filter,
            condition: publication.condition,
            packet: publication.packet,
            entered: None,
        };
        self.logged.batch.event(&event, &posting);
        self.targets[at].logged = self.logged.count(1);
        if self.logged.batch.len() > BATCH_BYTES_MAX {
            self.submit();
        }
    }

    /// Gives the log a command of this connection, behind all it has published; [`Publisher::hear`] will tell.
    pub fn command(&mut self, command: Command) {
        if self.logged.holds() {
            return self.logged.hold(held::Held::Command(Box::new(command)));
        }
        self.logged.batch.command(&command);
        self.logged.count(1);
    }

    /// Who is told what became of what is given to the log.
    pub fn listen(&mut self, link: Arc<Link>) {
        self.logged.tickets = Some(Arc::new(Tickets::new(link)));
    }

    fn submit(&mut self) {
        if let Some(submission) = self.logged.submission() {
            self.node.submit(submission);
        }
    }

    /// Says what became of pending messages, one by one in their order, as far as it is known; publishes what waited behind them.
    /// To be called when the connection was woken.
    pub fn hear(&mut self, mut each: impl FnMut(Settled)) {
        let Some(tickets) = self.logged.tickets.clone() else { return };
        while let Some(outcome) = tickets.take() {
            self.logged.resolve(outcome, &mut each);
        }
        loop {
            let released = self.logged.release(&mut each);
            if released.is_empty() {
                break;
            }
            for held in released {
                match held {
                    held::Held::Command(command) => self.command(*command),
                    held::Held::Publication(held) => {
                        if let Fate::Routed(published) = self.publish_held(&held) {
                            each(Settled::Routed(published));
                        }
                    }
                }
            }
        }
    }

    /// Publishes what waited; it was checked when it came.
    fn publish_held(&mut self, held: &held::HeldPublication) -> Fate {
        let at = self.target_of(held);
        self.take(at, &held.as_publication(self.now_ms))
    }

    fn target_of(&mut self, held: &held::HeldPublication) -> usize {
        let name = held.name(self.protocol);
        match self.targets.find(name) {
            Some(at) => at,
            None => self.add_target(name, held.topic.clone()),
        }
    }

    /// The connection ends, and nobody will hear any more. What waits behind its durable publications takes their way, so that it
    /// keeps its place and is not lost with the connection.
    pub fn part(&mut self) {
        for held in self.logged.take_held() {
            match held {
                held::Held::Command(command) => self.command(*command),
                held::Held::Publication(held) => {
                    let at = self.target_of(&held);
                    self.log(at, &held.as_publication(self.now_ms));
                }
            }
        }
        self.finish();
    }

    /// As much of this connection's waits for the log as may: it should not be read until it is woken.
    pub fn must_wait(&self) -> bool {
        self.logged.bytes > PENDING_BYTES_MAX
    }

    /// The topic of a target, and how its payloads are translated.
    pub fn topic_and_codec(&self, target: TargetId) -> (Arc<Topic>, Codec) {
        let Target { topic, codec, .. } = &self.targets[target.0];
        (topic.clone(), *codec)
    }

    /// Counts what a session's own task put into its outbox.
    pub fn count(&mut self, offered: Offered) {
        self.tally.deliveries += u64::from(offered.sent);
        self.tally.delivery_bytes += offered.sent_bytes as u64;
        self.tally.drop(Drop::QueueFull, u64::from(offered.dropped_full));
        self.tally.drop(Drop::TooLarge, u64::from(offered.dropped_large));
        self.tally.drop(Drop::Untranslatable, u64::from(offered.untranslatable));
    }

    /// Ends a read batch: everything is handed over, the touched connections are woken, the counts added up.
    pub fn finish(&mut self) {
        self.flush();
        self.send_staged();
        self.submit();
        self.touched.wake();
        self.node.metrics.of(self.protocol).add(&mut self.tally);
    }

    /// Whether a subscriber that does read fell behind since this was asked last: the connection had better not be read for a
    /// moment, so that nothing has to be dropped.
    pub fn take_crowded(&mut self) -> bool {
        let crowded_log = !self.logged.is_empty() && self.node.log.is_crowded();
        std::mem::take(&mut self.crowded) || crowded_log
    }

    /// Looks a target's route up again; what was staged for the old one is handed over first.
    fn refresh(&mut self, at: usize) {
        self.flush();
        self.targets[at].refresh(&self.realm);
    }

    /// A random id (WAMP, IDs, global scope), by xorshift64*: it has to be unlikely to repeat, not hard to guess.
    fn next_publication(&mut self) -> PublicationId {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        volatile(self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 12)
    }
}
