//! The feed: committed segments on their way to subscribers, and outcomes to whoever submitted.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::tickets::Turn;
use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::publish::Publisher;
use crate::queue::message::{Events, Extras, Head, Malformed, Message, Run, Runs};
use crate::queue::outcome::Outcome;
use crate::queue::segment::Segment;
use crate::queue::state::Change;
use crate::types::event::{Discloser, Event, Filter, Place, Properties};
use crate::types::topic::Topic;

/// What the log thread hands to the feed thread for one position.
#[derive(Default)]
pub struct Fed {
    /// Has no numbers if there were none.
    pub segment: Segment,
    /// Who is to be told what.
    pub told: Vec<(Turn, Outcome)>,
    pub changes: Vec<Change>,
}

impl Fed {
    pub fn is_empty(&self) -> bool {
        self.segment.count == 0 && self.told.is_empty() && self.changes.is_empty()
    }
}

/// See the module.
pub struct Feed {
    node: Weak<Node>,
    /// One for each realm that has events; kept for their caches of routes.
    publishers: HashMap<Box<str>, Publisher>,
}

impl Feed {
    pub fn new(node: Weak<Node>) -> Self {
        Self { node, publishers: HashMap::new() }
    }

    /// Routes the events of one position, then tells what became of what was submitted.
    pub fn feed(&mut self, fed: Fed, now_ms: u64) {
        let Some(node) = self.node.upgrade() else { return };
        let Fed { segment, told, changes } = fed;
        if segment.count > 0 {
            let segment = Arc::new(segment);
            node.log.begin_feeding(&segment);
            node.consumers.feed(&segment);
            let routed = self.route(&node, &segment, now_ms);
            if routed.is_err() {
                // The log thread has read the same bytes before, so this is a fault of ours.
                tracing::error!(position = segment.position, "a segment cannot be read: its events are not delivered");
            }
            for publisher in self.publishers.values_mut() {
                publisher.finish();
            }
        }
        for change in changes {
            node.follow(&change);
        }
        for (turn, outcome) in told {
            turn.tell(outcome);
        }
    }

    fn route(&mut self, node: &Arc<Node>, segment: &Segment, now_ms: u64) -> Result<(), Malformed> {
        let mut offset = 0;
        for bytes in [&segment.body, &segment.set_off] {
            for run in Runs::new(bytes) {
                match run? {
                    Run::Command(_) => offset += 1,
                    Run::Gap(count) => offset += count,
                    Run::Events(head, events) => {
                        self.route_run(node, segment, offset, &head, events, now_ms)?;
                        offset += events.count;
                    }
                }
            }
        }
        Ok(())
    }

    fn route_run(
        &mut self,
        node: &Arc<Node>,
        segment: &Segment,
        offset: u32,
        head: &Head<'_>,
        events: Events<'_>,
        now_ms: u64,
    ) -> Result<(), Malformed> {
        let Some(publisher) = self.publisher(node, head.realm) else { return Ok(()) };
        publisher.now_ms = now_ms;
        let target =
            publisher.look_up(head.topic.as_bytes(), |_| Topic::from_name(head.topic)).map_err(|_| Malformed)?;
        let (topic, codec) = publisher.topic_and_codec(target);
        for (message, offset) in events.iter().zip(offset..) {
            let message = message?;
            if segment.voids.binary_search(&offset).is_ok() {
                continue;
            }
            let number = segment.first + u64::from(offset);
            let details = Details::read(&message)?;
            let event = Event {
                topic: &topic,
                payload: message.payload,
                codec,
                qos: head.qos,
                retain: head.retain,
                publication: node.log.publication_of(number),
                place: Some(Place { number, id: segment.event_id(number) }),
                properties: details.properties.as_ref(),
                publisher: details.publisher.as_ref(),
                expires_at_ms: details.expires_at_ms,
                expires_in_s: details.expires_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1000) as u32),
            };
            if head.retain {
                publisher.realm.retain(Arc::new(event.store(None).only_for(details.filter.clone())));
            }
            publisher.deliver(target, &event, head.publisher, head.exclude_publisher, details.filter.as_ref());
        }
        Ok(())
    }

    fn publisher(&mut self, node: &Arc<Node>, realm: &str) -> Option<&mut Publisher> {
        if !self.publishers.contains_key(realm) {
            // A realm that is not configured any more has no subscribers.
            let found = node.realm(realm)?;
            self.publishers.insert(realm.into(), Publisher::for_broker(node.clone(), found, Protocol::Mqtt));
        }
        self.publishers.get_mut(realm)
    }
}

/// What an event brings beside its payload.
#[derive(Default)]
pub struct Details {
    pub properties: Option<Arc<Properties>>,
    pub publisher: Option<Arc<Discloser>>,
    pub expires_at_ms: Option<u64>,
    pub filter: Option<Filter>,
    /// Brokers that it has passed before it entered this log.
    pub passed: Vec<String>,
}

impl Details {
    /// # Errors
    /// The bytes are damaged.
    pub fn read(message: &Message<'_>) -> Result<Self, Malformed> {
        let Some(Extras { properties, publisher, expires_at_ms, filter, entered, .. }) = message.extras()? else {
            return Ok(Self::default());
        };
        Ok(Self {
            properties: properties.map(|row| Arc::new(row.into())),
            publisher: publisher.map(|row| Arc::new(row.into())),
            expires_at_ms,
            filter: filter.map(Filter::from),
            passed: entered.map(|entered| entered.passed).unwrap_or_default(),
        })
    }
}
