//! Events of the past, a page at a time.

use std::sync::Arc;

use super::find::{END, Target};
use crate::node::Node;
use crate::node::log::Details;
use crate::node::reader::walk::Walker;
use crate::queue::message::{Head, Malformed, Message};
use crate::queue::segment::Segment;
use crate::router::authorize::Rights;
use crate::store::{StoreError, StoreReader};
use crate::types::event::{Event, Filter, Place, StoredEvent};
use crate::types::topic::Topic;

/// Bytes of segments that are read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Bytes of segments that one page is looked for in.
const LOOK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of events on one page; one event is always given.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Later than any event: the year 9999.
pub const TIME_MAX_US: u64 = 253_402_300_800_000_000;

/// Who reads.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub rights: Rights,
    pub authid: Option<String>,
    pub authrole: Option<String>,
}

/// What is asked for. All conditions must hold.
#[derive(Clone, Debug)]
pub struct Query {
    pub target: Target,
    pub viewer: Viewer,
    /// Only of this topic.
    pub topic: Option<Topic>,
    /// The lowest and the highest number.
    pub numbers: (u64, u64),
    /// The first and the last time, in microseconds since 1970.
    pub times_us: (u64, u64),
    /// What has expired by then is left out.
    pub now_ms: u64,
    pub limit: usize,
    /// The latest first.
    pub reverse: bool,
}

/// An event, and when it was committed, in microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Past {
    pub event: StoredEvent,
    pub at_us: u64,
    /// Brokers that it has passed before it entered this log.
    pub passed: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub events: Vec<Past>,
    /// There may be more.
    pub more: bool,
    /// Nothing that was asked for was given up.
    pub complete: bool,
}

/// # Errors
/// The store cannot be read.
pub(super) fn read(reader: &mut dyn StoreReader, node: &Node, query: &Query) -> Result<Page, StoreError> {
    let floor = node.log.first_available(&query.target.realm, &query.target.pattern);
    let mut reading =
        Reading { node, query, page: Page { complete: query.numbers.0 >= floor, ..Page::default() }, bytes: 0 };
    if query.reverse {
        reading.backwards(reader)?
    } else {
        reading.forwards(reader)?
    }
    Ok(reading.page)
}

struct Reading<'a> {
    node: &'a Node,
    query: &'a Query,
    page: Page,
    bytes: usize,
}

impl Reading<'_> {
    fn forwards(&mut self, reader: &mut dyn StoreReader) -> Result<(), StoreError> {
        let Query { target, numbers: (first, last), times_us: (begin_us, end_us), .. } = self.query;
        let only = self.query.topic.as_ref().map(Topic::name).or_else(|| target.pattern.exact_name());
        let only = only.map(|name| [(&*target.realm, name)]);
        let mut from = (*first).max(reader.first_since(*begin_us)?.unwrap_or(END));
        let mut looked_at = 0;
        while from <= *last {
            let segments = reader.segments(from, only.as_ref().map(|one| &one[..]), CHUNK_BYTES)?;
            let Some(end) = segments.last().map(Segment::last) else { return Ok(()) };
            for segment in &segments {
                looked_at += segment.bytes();
                if segment.first > *last || segment.at_us > *end_us {
                    return Ok(());
                }
                let mut found = Vec::new();
                self.collect(segment, &mut found);
                if !found.into_iter().all(|past| self.take(past)) {
                    return Ok(());
                }
            }
            if looked_at > LOOK_BYTES_MAX {
                self.page.more = true;
                return Ok(());
            }
            from = end + 1;
        }
        Ok(())
    }

    fn backwards(&mut self, reader: &mut dyn StoreReader) -> Result<(), StoreError> {
        let Query { numbers: (first, last), times_us: (begin_us, end_us), .. } = self.query;
        let last = (*last).min(END - 1);
        let end = if *end_us < TIME_MAX_US { reader.first_since(end_us + 1)? } else { None };
        let end = end.unwrap_or(END);
        // The segment that holds the last number ends behind it.
        let mut segment = match reader.segments(last, None, 1)?.into_iter().next() {
            Some(holder) if holder.first <= last && holder.first < end => Some(holder),
            _ => reader.segment_before((last + 1).min(end))?,
        };
        let mut looked_at = 0;
        while let Some(found) = segment.filter(|found| found.last() >= *first && found.at_us >= *begin_us) {
            looked_at += found.bytes();
            let mut events = Vec::new();
            self.collect(&found, &mut events);
            if !events.into_iter().rev().all(|past| self.take(past)) {
                return Ok(());
            }
            if looked_at > LOOK_BYTES_MAX {
                self.page.more = true;
                return Ok(());
            }
            segment = reader.segment_before(found.first)?;
        }
        Ok(())
    }

    /// Puts an event on the page; `false`: the page is full.
    fn take(&mut self, past: Past) -> bool {
        let full = self.page.events.len() >= self.query.limit
            || (self.bytes + past.event.bytes() > PAGE_BYTES_MAX && !self.page.events.is_empty());
        if full {
            self.page.more = true;
            return false;
        }
        self.bytes += past.event.bytes();
        self.page.events.push(past);
        true
    }

    /// The events of a segment that are asked for. What is damaged is passed over, as by all readers.
    fn collect(&self, segment: &Segment, found: &mut Vec<Past>) {
        let Query { target, times_us: (begin_us, end_us), .. } = self.query;
        if !(*begin_us..=*end_us).contains(&segment.at_us) {
            return;
        }
        let Some(realm) = self.node.realm(&target.realm) else { return };
        let mut walker = Walker::new(segment, None);
        while let Ok(Some(head)) = walker.head() {
            let topic = self.topic(&head).filter(|_| !self.node.log.is_given_up(segment, &head));
            let Some(topic) = topic else {
                walker.skip_run();
                continue;
            };
            while let Ok(Some((number, message))) = walker.message() {
                if let Ok(Some((event, passed))) = self.event(segment, &head, &topic, number, &message) {
                    found.push(Past {
                        event: StoredEvent { codec: realm.codec(&topic), ..event },
                        at_us: segment.at_us,
                        passed,
                    });
                }
            }
        }
    }

    /// The topic of a run, if its events are asked for and the viewer may see them.
    fn topic(&self, head: &Head<'_>) -> Option<Arc<Topic>> {
        let Query { target, viewer, topic: only, .. } = self.query;
        let topic = Topic::from_name(head.topic).ok().filter(|_| *head.realm == *target.realm)?;
        let wanted = target.pattern.matches(&topic) && only.as_ref().is_none_or(|only| *only == topic);
        (wanted && viewer.rights.delivers(&topic)).then(|| Arc::new(topic))
    }

    fn event(
        &self,
        segment: &Segment,
        head: &Head<'_>,
        topic: &Arc<Topic>,
        number: u64,
        message: &Message<'_>,
    ) -> Result<Option<(StoredEvent, Vec<String>)>, Malformed> {
        let Query { target, viewer, numbers: (first, last), .. } = self.query;
        let wanted = (*first..=*last).contains(&number)
            && target.filter.as_ref().is_none_or(|filter| filter.hold(message.payload));
        let details = Details::read(message)?;
        let expired = details.expires_at_ms.is_some_and(|at_ms| at_ms <= self.query.now_ms);
        if !wanted || expired || details.filter.as_ref().is_some_and(|filter| !viewer.may_see(filter)) {
            return Ok(None);
        }
        let event = Event {
            topic,
            payload: message.payload,
            codec: Default::default(),
            qos: head.qos,
            retain: head.retain,
            publication: self.node.log.publication_of(number),
            place: Some(Place { number, id: segment.event_id(number) }),
            properties: details.properties.as_ref(),
            publisher: details.publisher.as_ref(),
            expires_at_ms: details.expires_at_ms,
            expires_in_s: None,
        };
        Ok(Some((event.store(None), details.passed)))
    }
}

impl Viewer {
    /// Whether an event for some may be shown later. Which sessions it was for says nothing about those of today: what was for
    /// some sessions, or kept from some, is shown to nobody (WAMP, Event History).
    fn may_see(&self, filter: &Filter) -> bool {
        let Filter { exclude, exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole } = filter;
        let within = |list: &std::collections::HashSet<String>, name: &Option<String>| {
            name.as_ref().is_some_and(|name| list.contains(name))
        };
        exclude.is_empty()
            && eligible.is_none()
            && !within(exclude_authid, &self.authid)
            && !within(exclude_authrole, &self.authrole)
            && eligible_authid.as_ref().is_none_or(|list| within(list, &self.authid))
            && eligible_authrole.as_ref().is_none_or(|list| within(list, &self.authrole))
    }
}
