//! Events of other entries on their way to subscribers here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::body::Opened;
use crate::node::Node;
use crate::node::log::Details;
use crate::node::metrics::Protocol;
use crate::node::publish::{Publisher, Scope};
use crate::queue::message::{Events, Head, Malformed, Run, Runs};
use crate::types::event::Event;
use crate::types::ids::PublicationId;
use crate::types::topic::Topic;

/// Routes what comes from peers; one for all of them.
pub struct Receiver {
    node: Arc<Node>,
    /// One for each realm that has events; kept for their caches of routes.
    publishers: HashMap<Box<str>, Publisher>,
}

impl Receiver {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, publishers: HashMap::new() }
    }

    /// Routes the events of a body. They reach outboxes at the latest with the next [`Receiver::finish`].
    ///
    /// # Errors
    /// It is malformed; what stands before the fault was routed.
    pub fn receive(&mut self, body: &[u8], now_ms: u64) -> Result<(), Malformed> {
        let opened = Opened::read(body)?;
        let mut publications = opened.publications();
        for run in Runs::new(opened.messages) {
            let Run::Events(head, events) = run? else { return Err(Malformed) };
            self.receive_run(&opened, &mut publications, &head, events, now_ms)?;
        }
        Ok(())
    }

    fn receive_run(
        &mut self,
        opened: &Opened<'_>,
        publications: &mut impl Iterator<Item = PublicationId>,
        head: &Head<'_>,
        events: Events<'_>,
        now_ms: u64,
    ) -> Result<(), Malformed> {
        let topic = Topic::from_name(head.topic).map_err(|_| Malformed)?;
        // These go by the log, and each entry has its own of those, but for what happens to sessions and the like.
        if head.retain || head.judged || (topic.is_reserved() && !topic.is_meta()) {
            return Err(Malformed);
        }
        let peers = self.node.peers.clone();
        let Some(publisher) = self.publisher(head.realm) else { return Ok(()) };
        publisher.now_ms = now_ms;
        let target = publisher.look_up(head.topic.as_bytes(), |_| Ok::<_, Malformed>(topic))?;
        let (topic, codec) = publisher.topic_and_codec(target);
        let scope = Scope::Only { for_all: opened.for_all, groups: &opened.groups };
        for message in events.iter() {
            let message = message?;
            let details = Details::read(&message)?;
            let event = Event {
                topic: &topic,
                payload: message.payload,
                codec,
                qos: head.qos,
                retain: false,
                publication: publications.next().ok_or(Malformed)?,
                place: None,
                properties: details.properties.as_ref(),
                publisher: details.publisher.as_ref(),
                expires_at_ms: details.expires_at_ms,
                expires_in_s: details.expires_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1000) as u32),
            };
            let filter = details.filter.as_ref();
            publisher.deliver_within(target, &event, head.publisher, head.exclude_publisher, filter, &scope);
            peers.events_in.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Hands over what was received, and wakes who got something.
    pub fn finish(&mut self) {
        self.publishers.values_mut().for_each(Publisher::finish);
    }

    fn publisher(&mut self, realm: &str) -> Option<&mut Publisher> {
        if !self.publishers.contains_key(realm) {
            let found = self.node.realm(realm)?;
            self.publishers.insert(realm.into(), Publisher::for_broker(self.node.clone(), found, Protocol::Mqtt));
        }
        self.publishers.get_mut(realm)
    }
}
