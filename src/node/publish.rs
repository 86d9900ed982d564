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

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Node;
use super::link::{End, Link};
use super::log::tickets::Tickets;
use super::mailbox::{Frames, Mailbox, Numbered, Offered};
use super::metrics::{Drop, Protocol, Tally};
use super::peers::Staged;
use super::realm::{Realm, SharedRoute};
use super::session::{Session, Touched};
use super::wire::Unencodable;
use crate::delivery::Owed;
use crate::delivery::outbox::SHARE_BYTES_MIN;
use crate::queue::command::Command;
use crate::queue::condition::Condition;
use crate::queue::message::Posting;
use crate::queue::publication::volatile;
use crate::router::authorize::{Action, RoleId};
use crate::router::broker::{Form, Group, Lane};
use crate::router::interest::Reached;
use crate::types::event::{Discloser, Event, Filter, Properties, Qos, StoredEvent, Terms};
use crate::types::ids::{PublicationId, SessionId};
use crate::types::limits::OutboxFull;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;

mod held;
mod logged;
mod peers;
#[cfg(test)]
mod tests;

use logged::Logged;
pub use logged::Settled;
pub(super) use peers::Scope;

/// A batch for the log is submitted when it has this many bytes, or when the read batch ends.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one connection that may wait for the log before it is not read any more.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Frames of a run are handed over when they are this many.
const RUN_BYTES_MAX: usize = 64 * 1024;
/// Topics whose routes a connection remembers.
const TARGETS_MAX: usize = 512;

/// A place in a publisher's cache of topics; good until the next [`Publisher::look_up`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetId(usize);

struct Target {
    /// The topic as this connection writes it.
    name: Box<[u8]>,
    topic: Arc<Topic>,
    codec: Codec,
    may_publish: bool,
    durable: Durable,
    /// Which of the connection's logged messages was the last to this topic.
    logged: u64,
    route: SharedRoute,
    /// Other entries that want its events; as old as the route.
    reached: Arc<Reached>,
    version: u64,
}

/// Which events of a topic go through the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// None: the topic is the broker's own ([`Topic::is_reserved`]), and what it says there it says anew.
    Never,
    /// Those that change a retained value, and those that somebody wants who may be away.
    Wanted,
    /// All: the configuration says so.
    Always,
}

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

/// Why a publication was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    #[error("not authorized to publish to this topic")]
    NotAuthorized,
    #[error("the store of retained values is full")]
    RetainedFull,
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
    role: Option<RoleId>,
    protocol: Protocol,
    targets: Vec<Target>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// The target of the publication before: most publishers stay with one.
    last: usize,
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

/// What publications of one run have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct RunKey {
    target: usize,
    session: Option<SessionId>,
    qos: Qos,
    retain: bool,
    exclude_publisher: bool,
}

#[derive(Default)]
struct Run {
    key: Option<RunKey>,
    /// One per lane of the route.
    lanes: Vec<Frames>,
    /// The events themselves, if a subscriber may have to be sent them again.
    events: Vec<Arc<StoredEvent>>,
    bytes: usize,
}

impl Publisher {
    /// A publisher for a session, or (`None`) for the broker itself.
    pub fn new(
        node: Arc<Node>,
        realm: Arc<Realm>,
        session: Option<SessionId>,
        role: Option<RoleId>,
        protocol: Protocol,
    ) -> Self {
        let dice = node.random() | 1;
        Self {
            node,
            realm,
            logged: Logged::new(protocol == Protocol::Wamp),
            session,
            role,
            protocol,
            targets: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            run: Run::default(),
            staged: Staged::default(),
            touched: Touched::default(),
            tally: Tally::default(),
            now_ms: 0,
            crowded: false,
            dice,
        }
    }

    /// A publisher for what the broker itself says; it may publish anywhere.
    pub fn for_broker(node: Arc<Node>, realm: Arc<Realm>, protocol: Protocol) -> Self {
        Self::new(node, realm, None, None, protocol)
    }

    /// Publishes to any topic, reserved ones too; see [`Publisher::for_broker`].
    pub fn publish_own(&mut self, topic: &Arc<Topic>, publication: &Publication<'_>) {
        let at = match self.by_name.get(topic.as_bytes()) {
            Some(at) => *at,
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
        if self.targets.get(self.last).is_some_and(|target| *target.name == *name) {
            return Ok(TargetId(self.last));
        }
        self.last = match self.by_name.get(name) {
            Some(at) => *at,
            None => self.add_target(name, Arc::new(parse(name)?)),
        };
        Ok(TargetId(self.last))
    }

    /// The topic of a target.
    pub fn topic(&self, target: TargetId) -> &Arc<Topic> {
        &self.targets[target.0].topic
    }

    fn add_target(&mut self, name: &[u8], topic: Arc<Topic>) -> usize {
        if self.targets.len() >= TARGETS_MAX {
            self.flush();
            self.targets.clear();
            self.by_name.clear();
            self.logged.forget_topics();
        }
        let (route, version) = self.realm.route(&topic);
        let reached = self.realm.reached(&topic);
        let may_publish = self.role.is_none_or(|role| self.realm.authorizer.allows(role, Action::Publish, &topic));
        let codec = self.realm.codec(&topic);
        let durable = match self.realm.is_durable(&topic) {
            true => Durable::Always,
            false if topic.is_reserved() => Durable::Never,
            false => Durable::Wanted,
        };
        let logged = self.logged.forgotten();
        self.targets.push(Target {
            name: name.into(),
            topic,
            codec,
            may_publish,
            durable,
            logged,
            route,
            reached,
            version,
        });
        self.by_name.insert(name.into(), self.targets.len() - 1);
        self.targets.len() - 1
    }

    /// Takes one publication. If it is not durable, its copies reach outboxes at the latest with the next [`Publisher::finish`].
    ///
    /// # Errors
    /// The publisher may not publish there, or a retained value has no room; nothing was delivered then.
    pub fn publish(&mut self, target: TargetId, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        let TargetId(at) = target;
        self.tally.publishes_in += 1;
        self.publish_uncounted(at, publication)
    }

    fn publish_uncounted(&mut self, at: usize, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        if !self.targets[at].may_publish {
            self.tally.drop(Drop::NotAuthorized, 1);
            return Err(PublishRefused::NotAuthorized);
        }
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
            self.realm.retain(Arc::new(event.store(None)));
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
        match self.by_name.get(name) {
            Some(at) => *at,
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

    /// Routes an event of the log: `from` has published it.
    pub(super) fn deliver(
        &mut self,
        target: TargetId,
        event: &Event<'_>,
        from: Option<SessionId>,
        exclude_publisher: bool,
        filter: Option<&Filter>,
    ) {
        self.deliver_within(target, event, from, exclude_publisher, filter, &Scope::But(&[]));
    }

    /// Routes an event of the log or of another entry to those that `scope` says. Nothing is passed on to other entries.
    pub(super) fn deliver_within(
        &mut self,
        target: TargetId,
        event: &Event<'_>,
        from: Option<SessionId>,
        exclude_publisher: bool,
        filter: Option<&Filter>,
        scope: &Scope<'_>,
    ) {
        let TargetId(at) = target;
        if self.session != from {
            self.flush();
            self.session = from;
        }
        if self.targets[at].version != self.realm.version() {
            self.refresh(at);
        }
        let route = self.targets[at].route.clone();
        if route.lanes.is_empty() && route.groups.is_empty() {
            return;
        }
        let publication = Publication {
            payload: event.payload,
            qos: event.qos,
            retain: event.retain,
            properties: event.properties,
            publisher: event.publisher,
            expires_in_s: event.expires_in_s,
            exclude_publisher,
            filter,
            condition: None,
            packet: None,
            backing: None,
        };
        self.route(at, &route, event, &publication, scope);
    }

    fn route(
        &mut self,
        at: usize,
        route: &SharedRoute,
        event: &Event<'_>,
        publication: &Publication<'_>,
        scope: &Scope<'_>,
    ) {
        let large = event.payload.len() >= SHARE_BYTES_MIN;
        let alone = large || publication.filter.is_some() || !route.groups.is_empty() || !scope.is_for_all();
        if alone || route.lanes.iter().any(|lane| lane.apart) {
            self.flush();
            self.deliver_alone(route, self.targets[at].version, event, publication, scope);
            return;
        }
        let Publication { qos, retain, exclude_publisher, .. } = *publication;
        let key = RunKey { target: at, session: self.session, qos, retain, exclude_publisher };
        if self.run.key != Some(key) || self.run.bytes > RUN_BYTES_MAX {
            self.flush();
            self.run.key = Some(key);
            self.run.lanes.resize_with(route.lanes.len().max(self.run.lanes.len()), Frames::default);
        }
        let mut keep = false;
        for (lane, frames) in route.lanes.iter().zip(&mut self.run.lanes) {
            if lane.filter.as_ref().is_some_and(|filter| !filter.hold(event.payload)) {
                continue;
            }
            let terms = lane.form.terms(qos, retain);
            keep |= terms.qos != Qos::AtMostOnce;
            match frames.append(lane, event, &terms, self.run.events.len()) {
                Ok(bytes) => self.run.bytes += bytes,
                Err(error) => self.tally.drop(drop_reason(error), lane.members.len() as u64),
            }
        }
        if keep {
            self.run.events.push(Arc::new(event.store(publication.backing)));
        }
    }

    /// Delivers an event whose copies are not all alike, or which is large.
    fn deliver_alone(
        &mut self,
        route: &SharedRoute,
        version: u64,
        event: &Event<'_>,
        publication: &Publication<'_>,
        scope: &Scope<'_>,
    ) {
        let stored = Arc::new(event.store(publication.backing));
        let for_all = scope.is_for_all();
        let wanted = |lane: &&Lane<_>| for_all && lane.filter.as_ref().is_none_or(|filter| filter.hold(event.payload));
        for lane in route.lanes.iter().filter(wanted) {
            let terms = lane.form.terms(event.qos, event.retain);
            let mut shared = None;
            for member in &lane.members {
                let own = self.session == Some(member.session.id);
                let unwanted = own && (member.no_local || publication.exclude_publisher);
                if unwanted || publication.filter.is_some_and(|filter| !admits(filter, &member.session)) {
                    continue;
                }
                let merged = matches!(lane.form, Form::Merged { .. });
                let sifted = merged.then(|| member.session.sift(event.topic, event.payload, &terms));
                let Some(terms) = sifted.unwrap_or(Some(Cow::Borrowed(&terms))) else { continue };
                let mut mailbox = member.session.mailbox();
                if !still_subscribed(&mailbox, &lane.form, version) {
                    continue;
                }
                let offered = match &lane.form {
                    Form::Merged { .. } => {
                        mailbox.offer(Owed { event: stored.clone(), terms: terms.into_owned() }, self.now_ms)
                    }
                    Form::Each { .. } => match shared.get_or_insert_with(|| encode_whole(lane, event, &terms)) {
                        Ok(frame) => {
                            let number = event.place.map(|place| place.number);
                            mailbox.offer_shared(lane.wire, terms.subscription, number, frame)
                        }
                        Err(Unencodable::TooLarge) => Offered { dropped_large: 1, ..Offered::default() },
                        Err(_) => Offered { untranslatable: 1, ..Offered::default() },
                    },
                };
                self.account(offered, &mut mailbox);
            }
        }
        for group in route.groups.iter().filter(|group| scope.has(&group.key)) {
            self.deliver_to_group(group, &stored, publication.filter);
        }
    }

    /// Gives an event to one member of a shared subscription (MQTT 5, 4.8.2).
    fn deliver_to_group(&mut self, group: &Group<Arc<Session>>, event: &Arc<StoredEvent>, filter: Option<&Filter>) {
        if let Some(place) = event.place
            && let Some(durable) = self.realm.groups.of_share(&group.key)
        {
            return durable.tell(place.number, event.payload.as_ref(), self.now_ms);
        }
        let turn = group.turn.fetch_add(1, Ordering::Relaxed);
        let Some((session, form)) = choose(group, turn, filter) else { return };
        let terms = form.terms(event.qos, event.retain);
        let mut mailbox = session.mailbox();
        let offered = mailbox.offer_apart(Owed { event: event.clone(), terms }, self.now_ms);
        self.account(offered, &mut mailbox);
    }

    /// Hands the frames of the run to their subscribers. What follows on this connection is delivered behind them.
    pub fn flush(&mut self) {
        let Some(key) = self.run.key.take() else { return };
        let mut run = std::mem::take(&mut self.run);
        let target = &self.targets[key.target];
        let (route, version) = (target.route.clone(), target.version);
        for (lane, frames) in route.lanes.iter().zip(&mut run.lanes) {
            if !frames.ends.is_empty() {
                let terms = lane.form.terms(key.qos, key.retain);
                self.hand_over(lane, version, &terms, frames, &run.events, key.exclude_publisher);
                frames.clear();
            }
        }
        run.events.clear();
        run.bytes = 0;
        self.run = run;
    }

    fn hand_over(
        &mut self,
        lane: &Lane<Arc<Session>>,
        version: u64,
        terms: &Terms,
        frames: &Frames,
        events: &[Arc<StoredEvent>],
        exclude_publisher: bool,
    ) {
        for member in &lane.members {
            if self.session == Some(member.session.id) && (member.no_local || exclude_publisher) {
                continue;
            }
            let mut mailbox = member.session.mailbox();
            if still_subscribed(&mailbox, &lane.form, version) {
                let offered = mailbox.offer_run(lane.wire, terms, frames, events);
                self.account(offered, &mut mailbox);
            }
        }
    }

    /// Counts what a session's own task put into its outbox.
    pub fn count(&mut self, offered: Offered) {
        self.tally.deliveries += u64::from(offered.sent);
        self.tally.delivery_bytes += offered.sent_bytes as u64;
        self.tally.drop(Drop::QueueFull, u64::from(offered.dropped_full));
        self.tally.drop(Drop::TooLarge, u64::from(offered.dropped_large));
        self.tally.drop(Drop::Untranslatable, u64::from(offered.untranslatable));
    }

    /// Counts what happened to an offer and notes whom to wake.
    fn account(&mut self, offered: Offered, mailbox: &mut Mailbox) {
        self.tally.deliveries += u64::from(offered.sent);
        self.tally.delivery_bytes += offered.sent_bytes as u64;
        if offered.sent > 0 || offered.refill_due {
            self.touched.note(mailbox);
        }
        // What is full stays full for all that waiting does, if its client does not read.
        self.crowded |= offered.crowded && offered.dropped_full == 0;
        if offered.dropped_full > 0 {
            self.tally.drop(Drop::QueueFull, u64::from(offered.dropped_full));
            if self.node.limits.outbox_full == OutboxFull::Disconnect
                && let Some(online) = mailbox.online()
            {
                online.link.end(End::SlowConsumer);
            }
        }
        if offered.dropped_large > 0 {
            self.tally.drop(Drop::TooLarge, u64::from(offered.dropped_large));
        }
        if offered.untranslatable > 0 {
            self.tally.drop(Drop::Untranslatable, u64::from(offered.untranslatable));
        }
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
        let target = &mut self.targets[at];
        let (route, version) = self.realm.route(&target.topic);
        target.reached = self.realm.reached(&target.topic);
        target.route = route;
        target.version = version;
    }

    /// A random id (WAMP, IDs, global scope), by xorshift64*: it has to be unlikely to repeat, not hard to guess.
    fn next_publication(&mut self) -> PublicationId {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        volatile(self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 12)
    }
}

/// A route may be a moment older than the subscriber's last UNSUBSCRIBE: then the subscription itself is asked.
fn still_subscribed(mailbox: &Mailbox, form: &Form, version: u64) -> bool {
    match form {
        Form::Each { subscription, .. } if version < mailbox.unsubscribed_at => {
            mailbox.subscriptions.contains(subscription)
        }
        _ => true,
    }
}

/// Whether a filter lets a session have the event.
pub(super) fn admits(filter: &Filter, session: &Session) -> bool {
    let identity = &session.identity;
    let listed = |list: &Option<HashSet<String>>, name: &String| list.as_ref().is_none_or(|list| list.contains(name));
    !filter.exclude.contains(&session.id)
        && !filter.exclude_authid.contains(&identity.authid)
        && !filter.exclude_authrole.contains(&identity.authrole)
        && filter.eligible.as_ref().is_none_or(|list| list.contains(&session.id))
        && listed(&filter.eligible_authid, &identity.authid)
        && listed(&filter.eligible_authrole, &identity.authrole)
}

/// The member of a shared subscription whose turn it is: the next that is connected and has nothing waiting, else the next that is
/// connected, else the next that is kept messages while it is away.
fn choose<'a>(
    group: &'a Group<Arc<Session>>,
    turn: usize,
    filter: Option<&Filter>,
) -> Option<&'a (Arc<Session>, Form)> {
    let count = group.members.len();
    let mut second_best = None;
    for member in (0..count).map(|i| &group.members[turn.wrapping_add(i) % count]) {
        if filter.is_some_and(|filter| !admits(filter, &member.0)) {
            continue;
        }
        let mailbox = member.0.mailbox();
        let rank = match mailbox.online() {
            Some(_) if mailbox.backlog.is_empty() => return Some(member),
            Some(_) => 1,
            None if mailbox.keeps => 2,
            None => continue,
        };
        if second_best.is_none_or(|(best, _)| rank < best) {
            second_best = Some((rank, member));
        }
    }
    second_best.map(|(_, member)| member)
}

/// As what a copy that cannot be said in an encoding is counted.
fn drop_reason(error: Unencodable) -> Drop {
    match error {
        Unencodable::TooLarge => Drop::TooLarge,
        _ => Drop::Untranslatable,
    }
}

fn encode_whole(lane: &Lane<Arc<Session>>, event: &Event<'_>, terms: &Terms) -> Result<Bytes, Unencodable> {
    let mut frame = Vec::with_capacity(event.payload.len() + 128);
    lane.wire.0.event(event, terms, false, &mut frame)?;
    Ok(Bytes::from(frame))
}

impl Frames {
    /// Encodes an event for a lane, the one at `index` of the run's; tells the length of its frame.
    fn append(
        &mut self,
        lane: &Lane<Arc<Session>>,
        event: &Event<'_>,
        terms: &Terms,
        index: usize,
    ) -> Result<usize, Unencodable> {
        let start = self.bytes.len();
        let encoded = match lane.wire.0.event(event, terms, false, &mut self.bytes) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        };
        let len = self.bytes.len() - start;
        self.ends.push(self.bytes.len() as u32);
        if let Some(place) = event.place {
            self.numbers.push(place.number);
            self.topic.get_or_insert_with(|| event.topic.clone());
        }
        if let Some(at) = encoded.packet_id_at {
            self.numbered.push(Numbered { packet_id_at: at as u32, event: index as u32 });
        }
        self.longest = self.longest.max(len);
        Ok(len)
    }
}
