//! Packets that wait until somebody has decided whether the client may do what they ask for (`node::authorize`).

use std::sync::Arc;

use super::Open;
use crate::mqtt::codec::{self, Packet, Publish, Role};
use crate::mqtt::rpc;
use crate::mqtt::topic::Filter;
use crate::node::authorize::{Asker, Asking};
use crate::router::authorize::Action;
use crate::types::topic::{Topic, TopicPattern};

/// How far it is with the packet at the front.
#[derive(Default)]
pub(super) enum Asked {
    /// Nobody was asked about it.
    #[default]
    Not,
    /// It is not handled yet, nor what came behind it.
    Waits(Asking),
    /// All is decided.
    Answered,
}

impl Open {
    /// Whether a packet has to wait: somebody is asked about it.
    pub fn must_hold(&mut self, frame: &[u8], now_ms: u64) -> bool {
        if self.rights.asks().is_none() || matches!(self.asked, Asked::Answered) {
            return false;
        }
        let about = self.about(frame, now_ms);
        if about.is_empty() {
            return false;
        }
        let session = &self.client.session;
        let link = self.link.clone();
        let asker = Asker {
            realm: &self.publisher.realm,
            rights: &self.rights,
            session: session.id,
            identity: &session.identity,
        };
        let asking = self.publisher.node.ask(&asker, &about, now_ms, Arc::new(move || link.wake()));
        match asking.filter(|asking| !asking.is_done()) {
            Some(asking) => {
                self.asked = Asked::Waits(asking);
                true
            }
            None => false,
        }
    }

    pub fn is_asking(&self) -> bool {
        matches!(self.asked, Asked::Waits(_))
    }

    /// Whether the packet that waits can be handled now.
    pub fn take_answered(&mut self) -> bool {
        let answered = matches!(&self.asked, Asked::Waits(asking) if asking.is_done());
        if answered {
            self.asked = Asked::Answered;
        }
        answered
    }

    /// A packet was handled: what was decided for it alone is forgotten.
    pub fn spend(&mut self, frame: &[u8], now_ms: u64) {
        self.asked = Asked::Not;
        if self.rights.asks().is_some() {
            self.about(frame, now_ms).iter().for_each(|(action, pattern)| self.rights.spend(*action, pattern));
        }
    }

    /// What of it somebody may have to be asked about. What is wrong with a packet is said when it is handled.
    fn about(&self, frame: &[u8], now_ms: u64) -> Vec<(Action, TopicPattern)> {
        match codec::decode(frame, self.level, Role::Server) {
            Ok(Packet::Publish(publish)) => self.about_publish(&publish, now_ms),
            Ok(Packet::Subscribe(subscribe)) => {
                subscribe.subscriptions.iter().filter_map(|subscription| about_filter(subscription.filter)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn about_publish(&self, publish: &Publish<'_>, now_ms: u64) -> Vec<(Action, TopicPattern)> {
        let properties = publish.properties().ok();
        let alias = properties.as_ref().and_then(|properties| properties.topic_alias);
        let name = match alias.filter(|_| publish.topic.is_empty()) {
            Some(alias) => self.aliases.get(&alias).map(|name| &name[..]).unwrap_or_default(),
            None => publish.topic,
        };
        if !rpc::is_rpc(name) {
            let known = self.publisher.knows_answer(name, now_ms);
            return exact(Action::Publish, std::str::from_utf8(name).ok().filter(|_| !known)).into_iter().collect();
        }
        let procedure = std::str::from_utf8(name).ok().and_then(rpc::procedure);
        let response = properties.as_ref().and_then(|properties| properties.response_topic);
        let called = exact(Action::Call, procedure);
        let answered = exact(Action::Publish, response.filter(|_| called.is_some()));
        called.into_iter().chain(answered).collect()
    }
}

fn exact(action: Action, name: Option<&str>) -> Option<(Action, TopicPattern)> {
    Some((action, TopicPattern::exact(&Topic::from_name(name?).ok()?)))
}

fn about_filter(filter: &str) -> Option<(Action, TopicPattern)> {
    if rpc::is_rpc(filter.as_bytes()) {
        return exact(Action::Register, rpc::procedure(filter));
    }
    Some((Action::Subscribe, Filter::parse(filter).ok()?.pattern))
}
