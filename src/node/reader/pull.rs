//! Reading on, for one cursor that is behind: what it wants goes to a sink until that is full or the feed is met.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use super::position::Position;
use super::walk::{Mark, Walker};
use super::wants::{Eyes, Target, Want, Wants};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::log::Details;
use crate::node::log::history::{Look, Topics};
use crate::node::publish::admits;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::queue::message::{Head, Malformed, Message};
use crate::queue::segment::Segment;
use crate::router::authorize::Rights;
use crate::types::event::{Event, Filter, Place, Terms};
use crate::types::fields::Fields;
use crate::types::payload::Codec;
use crate::types::topic::Topic;

/// What a reader has around it while it pulls.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub node: &'a Node,
    pub realm: &'a Realm,
    /// `None`: it is read for all of a group.
    pub session: Option<&'a Session>,
    pub rights: Option<&'a Rights>,
    pub now_ms: u64,
    /// Woken when what is waited for is there.
    pub link: &'a Arc<Link>,
}

impl Around<'_> {
    fn is_publisher(&self, head: &Head<'_>) -> bool {
        self.session.is_some_and(|session| head.publisher == Some(session.id))
    }

    fn is_admitted(&self, filter: &Filter) -> bool {
        self.session.is_none_or(|session| admits(filter, session))
    }
}

/// Whether a sink took an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is sent, or cannot be sent to this receiver at all.
    Taken,
    /// There is no room: the same event is offered again next time.
    Full,
}

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// It has passed all that the feed has begun to route, and is still to be turned live.
    Met,
    /// It has all it wanted.
    Over,
    /// What comes next is being read; the link will be woken.
    Waits,
    /// The sink is full.
    Full,
    /// Others have their turn first.
    Later,
}

/// A cursor and what it reads.
pub struct Reader {
    pub position: Position,
    pub wants: Wants,
    /// What it gets with QoS 1 or 2 is its business, whatever its subscriptions say.
    pub owed: bool,
    /// Only events with these fields.
    pub filter: Option<Arc<Fields>>,
    /// It reads for several sessions: what only some of them may get is not its business.
    pub for_all: bool,
    /// It is a snapshot: what the session's subscriptions look for is not its business.
    pub alone: bool,
    /// The segment it is in; not kept alive by it, so that a thousand readers do not hold a thousand segments.
    segment: Weak<Segment>,
    mark: Mark,
}

impl Reader {
    pub fn new(position: Position, wants: Wants, owed: bool) -> Self {
        Self {
            position,
            wants,
            owed,
            filter: None,
            for_all: false,
            alone: false,
            segment: Weak::new(),
            mark: Mark::default(),
        }
    }

    /// A reader for one subscription, which gets what matches with any QoS.
    pub fn for_one(want: Want, position: Position) -> Self {
        let mut wants = Wants::default();
        wants.set("", Want { follows: true, ..want });
        Self::new(position, wants, false)
    }

    /// The identifier of the subscription of a reader for one.
    pub fn identifier(&self) -> Option<u32> {
        self.wants.get("")?.options.identifier()
    }

    /// Goes elsewhere.
    pub fn rewind(&mut self, next: u64) {
        self.position.rewind(next);
        self.segment = Weak::new();
    }

    /// Frees what it only needs while it reads.
    pub fn rest(&mut self) {
        self.segment = Weak::new();
        self.wants.rest();
    }

    /// Reads on. `steps` bounds the work: it is counted down by what is read.
    pub fn pull(
        &mut self,
        around: &Around<'_>,
        steps: &mut u32,
        sink: &mut impl FnMut(&Event<'_>, &Terms) -> Take,
    ) -> Pulled {
        loop {
            if self.position.is_over() {
                return Pulled::Over;
            }
            let segment = match self.find(around, steps) {
                Ok(segment) => segment,
                Err(stopped) => return stopped,
            };
            match self.read(&segment, around, steps, sink) {
                Ok(None) => {
                    self.segment = Weak::new();
                    self.position.pass(segment.last());
                }
                Ok(Some(stopped)) => return stopped,
                Err(Malformed) => {
                    tracing::error!(position = segment.position, "a segment is damaged: the rest of it is passed over");
                    self.segment = Weak::new();
                    self.position.pass(segment.last());
                }
            }
        }
    }

    /// The segment that it stands in or comes to next.
    fn find(&mut self, around: &Around<'_>, steps: &mut u32) -> Result<Arc<Segment>, Pulled> {
        if let Some(segment) = self.segment.upgrade() {
            return Ok(segment);
        }
        loop {
            if !spend(steps) {
                return Err(Pulled::Later);
            }
            let topics = self.wants.topics().map(|names| Topics { realm: &around.realm.name, names });
            match around.node.log.history.look(self.position.next(), topics, around.link) {
                Look::Segment(segment) => {
                    self.position.pass(segment.first - 1);
                    self.segment = Arc::downgrade(&segment);
                    self.mark = Mark::default();
                    return Ok(segment);
                }
                Look::Nothing { to } => self.position.pass(to),
                Look::Live => return Err(Pulled::Met),
                Look::Wait => return Err(Pulled::Waits),
            }
            if self.position.is_over() {
                return Err(Pulled::Over);
            }
        }
    }

    /// Reads a segment to its end (`None`), or until there is a reason to stop.
    fn read(
        &mut self,
        segment: &Segment,
        around: &Around<'_>,
        steps: &mut u32,
        sink: &mut impl FnMut(&Event<'_>, &Terms) -> Take,
    ) -> Result<Option<Pulled>, Malformed> {
        let mut walker = Walker::new(segment, Some(self.mark));
        walker.seek(self.position.next())?;
        let until = self.position.until();
        let eyes = Eyes { realm: around.realm, rights: around.rights };
        while let Some(head) = walker.head()? {
            let number = walker.number();
            self.leave_at(walker.mark(), number);
            if number > until {
                return Ok(Some(Pulled::Over));
            }
            if !spend(steps) {
                return Ok(Some(Pulled::Later));
            }
            let is_there = *head.realm == *around.realm.name && !around.node.log.is_given_up(segment, &head);
            let (target, to) = match is_there {
                true => self.wants.look_up(head.topic, number, eyes),
                false => (None, u64::MAX),
            };
            let to = to.min(until);
            let terms = target.as_ref().and_then(|target| target.terms(head.qos, head.retain, self.owed));
            let own = !self.for_all && around.is_publisher(&head);
            match (target, terms) {
                (Some(target), Some(terms)) if !(own && (target.no_local || head.exclude_publisher)) => {
                    let filter = self.filter.clone();
                    let run = Run {
                        segment,
                        around,
                        head,
                        target: &target,
                        terms: &terms,
                        filter: filter.as_deref(),
                        for_all: self.for_all,
                        alone: self.alone,
                    };
                    if let Some(stopped) = self.read_run(&mut walker, &run, to, steps, sink)? {
                        return Ok(Some(stopped));
                    }
                }
                _ if walker.run_last() <= to => walker.skip_run(),
                _ => walker.seek(to + 1)?,
            }
        }
        Ok(None)
    }

    /// Reads a run, up to a number.
    fn read_run<'a>(
        &mut self,
        walker: &mut Walker<'a>,
        run: &Run<'_, 'a>,
        to: u64,
        steps: &mut u32,
        sink: &mut impl FnMut(&Event<'_>, &Terms) -> Take,
    ) -> Result<Option<Pulled>, Malformed> {
        while walker.number() <= to {
            let mark = walker.mark();
            let Some((number, message)) = walker.message()? else { break };
            let stopped = match () {
                () if number > to => None,
                () if !spend(steps) => Some(Pulled::Later),
                () => match run.offer(number, &message, sink)? {
                    Take::Taken => continue,
                    Take::Full => Some(Pulled::Full),
                },
            };
            // The message is to be read again.
            *walker = Walker::new(run.segment, Some(mark));
            self.leave_at(mark, walker.number());
            if stopped.is_some() {
                return Ok(stopped);
            }
            walker.head()?;
            walker.seek(number)?;
            break;
        }
        Ok(None)
    }

    fn leave_at(&mut self, mark: Mark, number: u64) {
        self.mark = mark;
        self.position.pass(number - 1);
    }
}

#[inline]
fn spend(steps: &mut u32) -> bool {
    let left = *steps > 0;
    *steps = steps.saturating_sub(1);
    left
}

/// The run that is being read, and what its reader gets of it.
struct Run<'a, 's> {
    segment: &'s Segment,
    around: &'a Around<'a>,
    head: Head<'a>,
    target: &'a Target,
    terms: &'a Terms,
    filter: Option<&'a Fields>,
    for_all: bool,
    alone: bool,
}

impl Run<'_, '_> {
    #[inline]
    fn offer(
        &self,
        number: u64,
        message: &Message<'_>,
        sink: &mut impl FnMut(&Event<'_>, &Terms) -> Take,
    ) -> Result<Take, Malformed> {
        let apart = self.alone || self.for_all || self.terms.subscription.is_some();
        let terms = match (self.filter, self.around.session) {
            (Some(filter), _) => filter.hold(message.payload).then_some(Cow::Borrowed(self.terms)),
            (None, Some(session)) if !apart => session.sift(&self.target.topic, message.payload, self.terms),
            (None, _) => Some(Cow::Borrowed(self.terms)),
        };
        let Some(terms) = terms else { return Ok(Take::Taken) };
        let details = if message.has_extras() { Some(Details::read(message)?) } else { None };
        if let Some(details) = &details {
            let expired = details.expires_at_ms.is_some_and(|at| at <= self.around.now_ms);
            let filter = details.filter.as_ref().filter(|_| !self.for_all);
            let unwanted = filter.is_some_and(|filter| !self.around.is_admitted(filter));
            if expired || unwanted {
                return Ok(Take::Taken);
            }
        }
        let Target { topic, codec, .. } = self.target;
        let event = event(self.around, self.segment, &self.head, number, message, details.as_ref(), topic, *codec);
        Ok(sink(&event, &terms))
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one event, from where they are")]
#[inline]
fn event<'a>(
    around: &Around<'_>,
    segment: &Segment,
    head: &Head<'_>,
    number: u64,
    message: &Message<'a>,
    details: Option<&'a Details>,
    topic: &'a Arc<Topic>,
    codec: Codec,
) -> Event<'a> {
    let expires_at_ms = details.and_then(|details| details.expires_at_ms);
    Event {
        topic,
        payload: message.payload,
        codec,
        qos: head.qos,
        retain: head.retain,
        publication: around.node.log.publication_of(number),
        place: Some(Place { number, id: segment.event_id(number) }),
        properties: details.and_then(|details| details.properties.as_ref()),
        publisher: details.and_then(|details| details.publisher.as_ref()),
        expires_at_ms,
        expires_in_s: expires_at_ms.map(|at| at.saturating_sub(around.now_ms).div_ceil(1000) as u32),
    }
}

/// What became of a search for one event.
pub enum Found<T> {
    Yes(T),
    /// It is not in the log any more.
    Gone,
    /// It is being read; the link will be woken.
    Waits,
}

/// Finds single events that were read before. Best in the order of their numbers.
#[derive(Default)]
pub struct Seeker {
    segment: Weak<Segment>,
    mark: Mark,
    /// The number that `mark` stands before.
    at: u64,
}

/// An event that was found, and what is to be known of it.
pub struct Sought<'a> {
    pub event: Event<'a>,
    /// What its subscriptions make of it now.
    pub terms: Terms,
    /// The session may have it: it is not expired, and not kept from this session by its publisher.
    pub admitted: bool,
}

impl Seeker {
    /// Gives the event of this number to `visit`, on the terms that `wants` has for it.
    pub fn find<T>(
        &mut self,
        number: u64,
        around: &Around<'_>,
        wants: &mut Wants,
        visit: impl FnOnce(Sought<'_>) -> T,
    ) -> Found<T> {
        let known = self.segment.upgrade().filter(|segment| (segment.first..=segment.last()).contains(&number));
        let segment = match known {
            Some(segment) => segment,
            None => match around.node.log.history.look(number, None, around.link) {
                Look::Segment(segment) if segment.first <= number => {
                    self.segment = Arc::downgrade(&segment);
                    self.at = u64::MAX;
                    segment
                }
                Look::Wait => return Found::Waits,
                _ => return Found::Gone,
            },
        };
        self.read(&segment, number, around, wants, visit).ok().flatten().map_or(Found::Gone, Found::Yes)
    }

    fn read<T>(
        &mut self,
        segment: &Segment,
        number: u64,
        around: &Around<'_>,
        wants: &mut Wants,
        visit: impl FnOnce(Sought<'_>) -> T,
    ) -> Result<Option<T>, Malformed> {
        let mut walker = Walker::new(segment, (self.at <= number).then_some(self.mark));
        walker.seek(number)?;
        let Some(head) = walker.head()? else { return Ok(None) };
        (self.mark, self.at) = (walker.mark(), walker.number());
        let Some((_, message)) = walker.message()?.filter(|(found, _)| *found == number) else { return Ok(None) };
        let eyes = Eyes { realm: around.realm, rights: around.rights };
        let details = Details::read(&message)?;
        let own = around.is_publisher(&head);
        let admitted = !(own && head.exclude_publisher)
            && details.expires_at_ms.is_none_or(|at| at > around.now_ms)
            && details.filter.as_ref().is_none_or(|filter| around.is_admitted(filter));
        let event = |topic, codec| event(around, segment, &head, number, &message, Some(&details), topic, codec);
        if let (Some(target), _) = wants.look_up(head.topic, number, eyes) {
            let terms = target.form.terms(head.qos, head.retain);
            let sifted = around.session.and_then(|session| session.sift(&target.topic, message.payload, &terms));
            let sifted = sifted.map(Cow::into_owned);
            // What none of them lets through any more was promised.
            let terms = sifted.unwrap_or(terms);
            return Ok(Some(visit(Sought { event: event(&target.topic, target.codec), terms, admitted })));
        }
        // It was sent for a subscription that is gone.
        let topic = Arc::new(Topic::from_name(head.topic).map_err(|_| Malformed)?);
        let codec = around.realm.codec(&topic);
        Ok(Some(visit(Sought { event: event(&topic, codec), terms: Terms::default(), admitted: false })))
    }
}
