//! Routing: a run of frames per lane for most events, one by one those whose copies are not all alike.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Publication, Publisher, Scope, TargetId};
use crate::delivery::Owed;
use crate::delivery::outbox::SHARE_BYTES_MIN;
use crate::node::link::End;
use crate::node::mailbox::{Frames, Mailbox, Numbered, Offered};
use crate::node::metrics::Drop;
use crate::node::realm::SharedRoute;
use crate::node::session::Session;
use crate::node::wire::Unencodable;
use crate::router::broker::{Form, Group, Lane};
use crate::types::event::{Event, Filter, Qos, StoredEvent, Terms};
use crate::types::ids::SessionId;
use crate::types::limits::OutboxFull;

/// Frames of a run are handed over when they are this many.
const RUN_BYTES_MAX: usize = 64 * 1024;

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
pub(super) struct Run {
    key: Option<RunKey>,
    /// One per lane of the route.
    lanes: Vec<Frames>,
    /// The events themselves, if a subscriber may have to be sent them again.
    events: Vec<Arc<StoredEvent>>,
    bytes: usize,
}

impl Publisher {
    /// Routes an event of the log: `from` has published it.
    pub(in crate::node) fn deliver(
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
    pub(in crate::node) fn deliver_within(
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
            retain: event.retain,
            properties: event.properties,
            publisher: event.publisher,
            expires_in_s: event.expires_in_s,
            exclude_publisher,
            filter,
            ..Publication::plain(event.payload, event.qos)
        };
        self.route(at, &route, event, &publication, scope);
    }

    pub(super) fn route(
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
            let unfit = lane.filter.as_ref().is_some_and(|filter| !filter.hold(event.payload));
            if unfit || route.passes_over(lane, event.resource_key()) {
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
        let wanted = |lane: &&Lane<_>| {
            for_all
                && lane.filter.as_ref().is_none_or(|filter| filter.hold(event.payload))
                && !route.passes_over(lane, event.resource_key())
        };
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
pub(in crate::node) fn admits(filter: &Filter, session: &Session) -> bool {
    filter.admits(session.id, &session.identity.authid, &session.identity.authrole)
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
