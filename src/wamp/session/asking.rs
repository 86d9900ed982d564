//! Messages that wait until somebody has decided whether the session may do what they ask for (`node::authorize`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::open::Open;
use crate::node::authorize::{Asker, Asking};
use crate::router::authorize::Action;
use crate::types::topic::{Topic, TopicPattern};
use crate::wamp::message::Message;

/// A message about which somebody is asked, and what came behind it: what was read at once, at most.
pub(super) struct Held {
    asking: Asking,
    messages: VecDeque<Bytes>,
}

/// What a message asks for.
pub(super) type About = Vec<(Action, TopicPattern)>;

impl Open {
    /// Whether a message is kept for later. Else it is to be handled now, and [`Open::spend`] called with what `about` has then.
    pub fn must_hold(&mut self, raw: &[u8], message: &Message<'_>, about: &mut About, now_ms: u64) -> bool {
        if let Some(held) = &mut self.held {
            held.messages.push_back(Bytes::copy_from_slice(raw));
            return true;
        }
        *about = self.about(message, now_ms);
        if about.is_empty() {
            return false;
        }
        let link = self.link.clone();
        let asker = Asker {
            realm: &self.realm,
            rights: &self.rights,
            session: self.session.id,
            identity: &self.session.identity,
        };
        let asking = self.node.ask(&asker, about, now_ms, Arc::new(move || link.wake()));
        let Some(asking) = asking.filter(|asking| !asking.is_done()) else { return false };
        self.held = Some(Held { asking, messages: [Bytes::copy_from_slice(raw)].into() });
        true
    }

    /// The messages that waited, if all is decided about the first of them.
    pub fn take_held(&mut self) -> Option<VecDeque<Bytes>> {
        Some(self.held.take_if(|held| held.asking.is_done())?.messages)
    }

    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// A message was handled: what was decided for it alone is forgotten.
    pub fn spend(&self, about: &About) {
        about.iter().for_each(|(action, pattern)| self.rights.spend(*action, pattern));
    }

    /// What of it somebody may have to be asked about. What is wrong with a message is said when it is handled.
    pub fn about(&self, message: &Message<'_>, now_ms: u64) -> About {
        let exact = |action, uri: &str| Some((action, TopicPattern::exact(&Topic::from_uri(uri).ok()?)));
        let about = match message {
            Message::Publish { topic, .. } if self.publisher.knows_answer(topic.as_bytes(), now_ms) => None,
            Message::Publish { topic, .. } => exact(Action::Publish, topic),
            Message::Call { procedure, .. } => exact(Action::Call, procedure),
            Message::Subscribe { options, topic, .. } => {
                self.wanted_pattern(options, topic).map(|pattern| (Action::Subscribe, pattern))
            }
            Message::Register { options, procedure, .. } => {
                Open::offered_pattern(options, procedure).map(|pattern| (Action::Register, pattern))
            }
            _ => None,
        };
        about.into_iter().collect()
    }
}
