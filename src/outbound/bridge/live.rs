//! Events that are not in the log, as they are published: a session of this broker that subscribes to what goes out.

use std::sync::Arc;

use bytes::Bytes;

use super::rules::Rules;
use crate::mqtt::codec::{self, Level, Packet, PropertySource, Publish, PublishProperties, Role};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::realm::Realm;
use crate::node::session::{Identity, Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::broker::Options;
use crate::router::output::Output;
use crate::types::event::{Event, Properties, Qos, Terms};
use crate::types::ids::PublicationId;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};

static LIVE: LiveWire = LiveWire;

/// A copy of every event that is not in the log, as a PUBLISH of MQTT 5, whose topic is the one of this broker.
struct LiveWire;

impl Wire for LiveWire {
    fn id(&self) -> WireId {
        // Other gates count from 0, HTTP has 200.
        WireId(210)
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, _: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        // What is in the log is read from there.
        if event.place.is_some() {
            return Ok(Encoded::default());
        }
        let passed = event.properties.map(|passed| PublishProperties::of_event(passed)).unwrap_or_default();
        let properties = PublishProperties { expiry_s: event.expires_in_s, ..passed };
        let payload = event.payload.as_bytes(event.codec);
        let publish = Publish {
            retain: terms.retain,
            topic: event.topic.as_bytes(),
            properties: PropertySource::Own(&properties),
            payload: &payload,
            ..Publish::default()
        };
        publish.encode(Level::V5, out).map_err(|_| Unencodable::TooLarge)?;
        Ok(Encoded::default())
    }

    fn rpc(&self, _: &Arc<Session>, _: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        Err(Unencodable::Gone)
    }
}

/// See the module. Dropped, it is no session any more.
pub struct Live {
    node: Arc<Node>,
    realm: Arc<Realm>,
    session: Arc<Session>,
    link: Arc<Link>,
    patterns: Vec<TopicPattern>,
}

impl Live {
    /// Subscribes to what goes out. `link` is woken when there is something.
    pub fn begin(node: &Arc<Node>, realm: &Arc<Realm>, name: &str, rules: &Rules, link: &Arc<Link>) -> Self {
        let identity = Identity::new(format!("bridge/{name}"), "bridge", "internal");
        let session = node.new_session(identity, WireRef(&LIVE), false);
        session.mailbox().attach(link.clone(), WireRef(&LIVE), 0, usize::MAX, 0);
        realm.join(session.clone());
        let mut patterns: Vec<TopicPattern> = rules.outwards().map(|rule| rule.local_pattern().clone()).collect();
        patterns.dedup();
        for pattern in &patterns {
            let options =
                Options::Merged { qos: Qos::AtMostOnce, no_local: false, retain_as_published: true, identifier: None };
            realm.subscribe(&session, pattern, None, options, |_, _| {});
        }
        Self { node: node.clone(), realm: realm.clone(), session, link: link.clone(), patterns }
    }

    /// Takes what was published meanwhile.
    pub fn take(&self, now_ms: u64, mut each: impl FnMut(&Event<'_>)) {
        let taken = self.session.mailbox().take(Vec::new());
        let mut input = Vec::with_capacity(taken.bytes());
        taken.parts.iter().for_each(|part| input.extend_from_slice(part));
        input.extend_from_slice(&taken.tail);
        let mut input = Bytes::from(input);
        while let Ok(Some(length)) = codec::frame_length(&input, usize::MAX) {
            if length > input.len() {
                return;
            }
            let frame = input.split_to(length);
            if let Ok(Packet::Publish(publish)) = codec::decode(&frame, Level::V5, Role::Server) {
                with_event(&publish, now_ms, &mut each);
            }
        }
    }
}

/// What was encoded, as an event again.
fn with_event(publish: &Publish<'_>, now_ms: u64, each: &mut impl FnMut(&Event<'_>)) {
    let (Ok(properties), Ok(name)) = (publish.properties(), publish.topic_name()) else { return };
    let Ok(topic) = Topic::from_name(name).map(Arc::new) else { return };
    let carried: Option<Arc<Properties>> = properties.to_event();
    each(&Event {
        topic: &topic,
        payload: PayloadRef::Bytes(publish.payload),
        codec: Codec::Raw,
        qos: Qos::AtMostOnce,
        retain: publish.retain,
        publication: PublicationId(0),
        place: None,
        properties: carried.as_ref(),
        publisher: None,
        expires_at_ms: properties.expiry_s.map(|s| now_ms + u64::from(s) * 1000),
        expires_in_s: properties.expiry_s,
    });
}

impl Drop for Live {
    fn drop(&mut self) {
        self.session.mailbox().detach(&self.link);
        self.realm.unsubscribe_all(self.session.id, self.patterns.iter().map(|pattern| (pattern, None)));
        self.realm.leave(&self.node, &self.session, false);
    }
}
