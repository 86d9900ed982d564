//! What becomes of an event that nobody was done with, however often it was delivered: it goes to the group's dead-letter topic.

use std::sync::Arc;

use super::group::Group;
use super::machine::Undone;
use crate::node::Node;
use crate::node::log::tickets::Owner;
use crate::node::log::{Details, Submission};
use crate::node::reader::walk::Walker;
use crate::node::realm::Realm;
use crate::queue::message::{Batch, Malformed, Posting};
use crate::queue::outcome::Outcome;
use crate::queue::segment::Segment;
use crate::store::{StoreError, StoreReader};
use crate::types::event::{Event, Properties, Qos};
use crate::types::ids::PublicationId;
use crate::types::payload::Codec;
use crate::types::topic::Topic;

/// User properties of a dead letter: what it was.
pub const TOPIC: &str = "fennec-dead-topic";
pub const EVENT_ID: &str = "fennec-dead-event-id";
pub const ATTEMPTS: &str = "fennec-dead-attempts";
pub const GROUP: &str = "fennec-dead-group";

impl Node {
    /// Publishes a dead letter; when that is in the log, the event is done with.
    pub(super) fn bury(self: &Arc<Self>, realm: &Arc<Realm>, group: &Arc<Group>, dying: Undone) {
        let number = dying.number;
        let topic = group.dead_letter_topic().and_then(|name| Topic::from_name(&name).ok());
        let Some(topic) = topic else {
            tracing::warn!(
                group = &*group.name,
                number,
                attempts = dying.attempts,
                "an event is given up: no member was done with it"
            );
            group.done(number);
            return;
        };
        let (node, realm, mourner) = (Arc::downgrade(self), realm.name.clone(), group.clone());
        let asked = self.log.history.ask(Box::new(move |reader| {
            let Some(node) = node.upgrade() else { return };
            match letter(reader, &realm, &mourner, dying, &Arc::new(topic)) {
                Ok(Some(batch)) => node.submit(Submission { batch, owner: owner(mourner, number) }),
                // Retention was faster.
                Ok(None) => drop(mourner.done(number)),
                Err(error) => {
                    tracing::error!(%error, number, "an event that is to be buried cannot be read");
                    mourner.revive(number);
                }
            }
        }));
        if asked.is_err() {
            group.revive(number);
        }
    }
}

/// Hears what became of the letter.
fn owner(group: Arc<Group>, number: u64) -> Owner {
    Owner::Function(Arc::new(move |outcome| match outcome {
        Outcome::Refused { .. } => group.revive(number),
        _ => drop(group.done(number)),
    }))
}

pub(super) fn letter(
    reader: &mut dyn StoreReader,
    realm: &str,
    group: &Group,
    dying: Undone,
    topic: &Arc<Topic>,
) -> Result<Option<Batch>, StoreError> {
    let segment = reader.segments(dying.number, None, 1)?.into_iter().next();
    let Some(segment) = segment.filter(|segment| segment.first <= dying.number) else { return Ok(None) };
    Ok(write(&segment, realm, group, dying, topic).ok().flatten())
}

fn write(
    segment: &Segment,
    realm: &str,
    group: &Group,
    dying: Undone,
    topic: &Arc<Topic>,
) -> Result<Option<Batch>, Malformed> {
    let mut walker = Walker::new(segment, None);
    walker.seek(dying.number)?;
    let Some(head) = walker.head()? else { return Ok(None) };
    let Some((_, message)) = walker.message()?.filter(|(number, _)| *number == dying.number) else { return Ok(None) };
    let details = Details::read(&message)?;
    let mut properties = details.properties.as_deref().cloned().unwrap_or_default();
    let said = [
        (TOPIC, head.topic.to_owned()),
        (EVENT_ID, segment.event_id(dying.number).to_string()),
        (ATTEMPTS, dying.attempts.to_string()),
        (GROUP, group.name.to_string()),
    ];
    properties.user_properties.extend(said.map(|(name, value)| (name.to_owned(), value)));
    let properties: Arc<Properties> = Arc::new(properties);
    let event = Event {
        topic,
        payload: message.payload,
        codec: Codec::Auto,
        qos: head.qos.max(Qos::AtLeastOnce),
        retain: false,
        // It gets the one of its number.
        publication: PublicationId::default(),
        place: None,
        properties: Some(&properties),
        publisher: details.publisher.as_ref(),
        expires_at_ms: None,
        expires_in_s: None,
    };
    let mut batch = Batch::default();
    batch.event(&event, &Posting { realm, ..Posting::default() });
    Ok(Some(batch))
}
