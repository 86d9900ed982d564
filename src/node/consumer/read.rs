//! Reading on for a consumer: segments of the log, message by message, from where it was left.

use std::sync::{Arc, Weak};

use super::{Batch, Bounds};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::log::Details;
use crate::node::log::history::{Look, Topics};
use crate::node::past::Past;
use crate::node::reader::walk::{Mark, Walker};
use crate::node::reader::wants::{Eyes, Target, Want, Wants};
use crate::node::realm::Realm;
use crate::queue::message::{Head, Malformed, Message};
use crate::queue::segment::Segment;
use crate::queue::state::rows;
use crate::router::broker::Options;
use crate::types::event::{self, Event, Filter, Qos};
use crate::types::ids::SubscriptionId;

/// Runs and messages that are looked at before others have their turn.
const STEPS: u32 = 20_000;

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The next event does not fit, or there are as many as were asked for.
    Full,
    /// All that was fed is read.
    Met,
    /// What comes next is being fetched; the link will be woken.
    Waits,
    /// Others have their turn first.
    Later,
}

/// Where a consumer stands.
pub(super) struct Place {
    /// The lowest number that is not done with.
    next: u64,
    wants: Wants,
    /// The segment it is in, which it does not keep alive.
    segment: Weak<Segment>,
    mark: Mark,
}

impl Place {
    pub fn new(next: u64, patterns: &[String]) -> Self {
        let mut wants = Wants::default();
        // All that matches, whatever its QoS.
        let options =
            Options::Merged { qos: Qos::ExactlyOnce, no_local: false, retain_as_published: true, identifier: None };
        for pattern in patterns.iter().filter_map(|text| rows::read_pattern(text)) {
            let name = rows::pattern_text(&pattern);
            let (options, subscription) = (options.clone(), SubscriptionId(0));
            wants.set(&name, Want { pattern, options, subscription, since: 0, follows: true });
        }
        Self { next, wants, segment: Weak::new(), mark: Mark::default() }
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// All numbers up to this one are done with.
    pub fn pass(&mut self, number: u64) {
        self.next = self.next.max(number + 1);
    }

    pub fn rewind(&mut self, next: u64) {
        (self.next, self.segment) = (next, Weak::new());
    }

    /// Reads on into a batch.
    pub fn read(
        &mut self,
        node: &Node,
        realm: &Realm,
        link: &Arc<Link>,
        now_ms: u64,
        bounds: Bounds,
        batch: &mut Batch,
    ) -> Stopped {
        let mut steps = STEPS;
        loop {
            if bounds.until.is_some_and(|until| self.next > until) || batch.events.len() >= bounds.events_max {
                return Stopped::Full;
            }
            let segment = match self.find(node, realm, link) {
                Ok(segment) => segment,
                Err(stopped) => return stopped,
            };
            let mut reading = Reading { node, realm, now_ms, bounds, batch: &mut *batch, steps: &mut steps };
            match self.read_segment(&segment, &mut reading) {
                Ok(Some(stopped)) => return stopped,
                Ok(None) => {}
                Err(Malformed) => {
                    tracing::error!(position = segment.position, "a segment is damaged: the rest of it is passed over");
                }
            }
            self.segment = Weak::new();
            self.pass(segment.last());
        }
    }

    fn find(&mut self, node: &Node, realm: &Realm, link: &Arc<Link>) -> Result<Arc<Segment>, Stopped> {
        if let Some(segment) = self.segment.upgrade() {
            return Ok(segment);
        }
        loop {
            let topics = self.wants.topics().map(|names| Topics { realm: &realm.name, names });
            match node.log.history.look(self.next, topics, link) {
                Look::Segment(segment) => {
                    self.pass(segment.first - 1);
                    (self.segment, self.mark) = (Arc::downgrade(&segment), Mark::default());
                    return Ok(segment);
                }
                Look::Nothing { to } => self.pass(to),
                Look::Live => return Err(Stopped::Met),
                Look::Wait => return Err(Stopped::Waits),
            }
        }
    }

    /// Reads a segment to its end (`None`), or until there is a reason to stop.
    fn read_segment(&mut self, segment: &Segment, reading: &mut Reading<'_>) -> Result<Option<Stopped>, Malformed> {
        let mut walker = Walker::new(segment, Some(self.mark));
        walker.seek(self.next)?;
        while let Some(head) = walker.head()? {
            self.leave_at(walker.mark(), walker.number());
            if reading.is_over(self.next) {
                return Ok(Some(Stopped::Full));
            }
            if !reading.spend() {
                return Ok(Some(Stopped::Later));
            }
            let eyes = Eyes { realm: reading.realm, rights: None };
            let is_there = *head.realm == *reading.realm.name && !reading.node.log.is_given_up(segment, &head);
            let target = if is_there { self.wants.look_up(head.topic, self.next, eyes).0 } else { None };
            let Some(target) = target else {
                walker.skip_run();
                continue;
            };
            if let Some(stopped) = self.read_run(segment, &head, &target, &mut walker, reading)? {
                return Ok(Some(stopped));
            }
        }
        Ok(None)
    }

    fn read_run<'a>(
        &mut self,
        segment: &Segment,
        head: &Head<'_>,
        target: &Target,
        walker: &mut Walker<'a>,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Stopped>, Malformed> {
        loop {
            let mark = walker.mark();
            let Some((number, message)) = walker.message()? else { return Ok(None) };
            let stopped = match () {
                () if reading.is_over(number) => Stopped::Full,
                () if !reading.spend() => Stopped::Later,
                () => match reading.event(segment, head, target, number, &message)? {
                    Some(past) if reading.has_no_room(&past.event) => Stopped::Full,
                    past => {
                        reading.take(past);
                        continue;
                    }
                },
            };
            // It is to be read again.
            self.leave_at(mark, number);
            return Ok(Some(stopped));
        }
    }

    fn leave_at(&mut self, mark: Mark, number: u64) {
        self.mark = mark;
        self.pass(number - 1);
    }
}

/// What is around a place that reads.
struct Reading<'a> {
    node: &'a Node,
    realm: &'a Realm,
    now_ms: u64,
    bounds: Bounds,
    batch: &'a mut Batch,
    steps: &'a mut u32,
}

impl Reading<'_> {
    fn spend(&mut self) -> bool {
        let left = *self.steps > 0;
        *self.steps = self.steps.saturating_sub(1);
        left
    }

    /// The event, if the consumer gets it.
    fn event<'a>(
        &self,
        segment: &Segment,
        head: &Head<'_>,
        target: &'a Target,
        number: u64,
        message: &Message<'a>,
    ) -> Result<Option<Past>, Malformed> {
        let details = if message.has_extras() { Details::read(message)? } else { Details::default() };
        let is_expired = details.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        if is_expired || details.filter.as_ref().is_some_and(is_for_some) {
            return Ok(None);
        }
        let event = Event {
            topic: &target.topic,
            payload: message.payload,
            codec: target.codec,
            qos: head.qos,
            retain: head.retain,
            publication: self.node.log.publication_of(number),
            place: Some(event::Place { number, id: segment.event_id(number) }),
            properties: details.properties.as_ref(),
            publisher: details.publisher.as_ref(),
            expires_at_ms: details.expires_at_ms,
            expires_in_s: None,
        };
        Ok(Some(Past { event: event.store(None), at_us: segment.at_us, passed: details.passed }))
    }

    /// Whether the event of this number is not to be read now.
    fn is_over(&self, number: u64) -> bool {
        self.batch.events.len() >= self.bounds.events_max || self.bounds.until.is_some_and(|until| number > until)
    }

    fn has_no_room(&self, event: &event::StoredEvent) -> bool {
        !self.batch.events.is_empty() && self.batch.bytes + event.bytes() > self.bounds.bytes_max
    }

    fn take(&mut self, past: Option<Past>) {
        let Some(past) = past else { return };
        self.batch.bytes += past.event.bytes();
        self.batch.events.push(past);
    }
}

/// Whether an event is for some subscribers only. Which ones says nothing of a consumer, so it is for none of these.
fn is_for_some(filter: &Filter) -> bool {
    filter.eligible.is_some() || filter.eligible_authid.is_some() || filter.eligible_authrole.is_some()
}
