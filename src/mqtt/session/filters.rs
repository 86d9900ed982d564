//! SUBSCRIBE and UNSUBSCRIBE that the log has to have: they are answered when it has. Those of a session that is kept, and shared
//! subscriptions that are groups.
//!
//! A subscription is live before the log is asked, so that no event that comes behind it in the log is missed; what the log does not
//! take is undone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answers::{Context, refusal};
use crate::mqtt::codec::{Diagnostics, Level, PacketId, ReasonCode, ReasonCodes, Suback, Unsuback, UserProperties};
use crate::mqtt::rpc;
use crate::node::clients::Held;
use crate::node::past::Found;
use crate::node::publish::Settled;
use crate::queue::command::DurableRow;
use crate::queue::outcome::Done;
use crate::router::authorize::Rights;
use crate::types::event::Terms;
use crate::types::event_id::EventId;
use crate::types::fields::Fields;
use crate::types::ids::SubscriptionId;
use crate::types::topic::TopicPattern;

/// A packet on its way to its answer.
pub(super) struct Filters {
    packet_id: PacketId,
    subscribes: bool,
    /// One per topic filter.
    pub reasons: Vec<ReasonCode>,
    asked: VecDeque<Asked>,
    /// Why something failed, in words.
    pub why: Option<&'static str>,
    /// What is told of older events that were asked for.
    pub resumed: Option<Resumed>,
}

/// A topic filter that the log was asked about.
pub(super) struct Asked {
    /// Its place in the packet.
    pub at: usize,
    pub filter: Box<str>,
    pub what: What,
    /// Retained messages that are due when the log has it.
    pub replay: Option<Replay>,
}

/// What there is of the older events that all filters of a packet asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Nothing of them was given up.
    pub recovered: bool,
    /// From here on everything is there.
    pub first_available: Option<EventId>,
}

/// What was changed, for it to be undone.
pub(super) enum What {
    /// Subscribed; what was there under this filter.
    Subscribed(Option<Held>),
    Unsubscribed(Held),
    /// A shared subscription becomes a group, or is one.
    Shared(Box<Share>),
    /// A procedure was registered.
    Registered,
    /// A procedure is registered no more. It stays so: calls would fail if the client does not answer.
    Unregistered,
}

/// A shared subscription that is a group.
pub(super) struct Share {
    pub pattern: TopicPattern,
    pub row: DurableRow,
    /// Of a session that is not kept, what was there under this filter: the log is asked for nothing else. One that is kept has its
    /// subscription in the log, whatever becomes of the group.
    pub before: Option<Option<Held>>,
}

/// Retained messages for a new subscription.
pub(super) struct Replay {
    pub subscription: SubscriptionId,
    pub pattern: TopicPattern,
    pub fields: Option<Arc<Fields>>,
    pub rights: Rights,
    pub terms: Terms,
}

impl Replay {
    pub fn start(self, context: &Context<'_>) {
        let Self { subscription, pattern, fields, rights, terms } = self;
        context.realm.replay_those(&context.client.session, subscription, &pattern, fields, &rights, terms);
    }
}

impl Filters {
    pub fn subscribe(packet_id: PacketId) -> Self {
        let (reasons, asked) = (Vec::new(), VecDeque::new());
        Self { packet_id, subscribes: true, reasons, asked, why: None, resumed: None }
    }

    pub fn unsubscribe(packet_id: PacketId) -> Self {
        Self { subscribes: false, ..Self::subscribe(packet_id) }
    }

    /// The log is asked about the filter whose reason comes next.
    pub fn ask(&mut self, filter: &str, what: What, replay: Option<Replay>) {
        self.asked.push_back(Asked { at: self.reasons.len(), filter: filter.into(), what, replay });
    }

    /// Nothing is to be waited for.
    pub fn is_settled(&self) -> bool {
        self.asked.is_empty()
    }

    /// What became of the next filter that the log was asked about; `true` if that was the last.
    pub fn settle(&mut self, settled: &Settled, context: &Context<'_>) -> bool {
        let Some(asked) = self.asked.pop_front() else { return true };
        match settled {
            Settled::Done(Done::Yes) => {
                if let What::Shared(share) = &asked.what {
                    context.realm.open_share(context.node, &asked.filter, &share.row, &share.pattern);
                }
                if let Some(replay) = asked.replay {
                    replay.start(context);
                }
            }
            Settled::Refused(why) => {
                // UNSUBACK has few codes (MQTT 5, table 3-9).
                let unsubscribed = ReasonCode::ImplementationSpecificError;
                self.reasons[asked.at] = if self.subscribes { refusal(*why).reason } else { unsubscribed };
                asked.undo(context);
            }
            // The log has no such session: this connection has lost it, and ends.
            _ if self.subscribes => self.reasons[asked.at] = ReasonCode::UnspecifiedError,
            _ => {}
        }
        self.asked.is_empty()
    }

    /// Whether the answer can be said before level 5, where UNSUBACK is always a success.
    pub fn can_be_said(&self) -> bool {
        self.subscribes || !self.reasons.contains(&ReasonCode::ImplementationSpecificError)
    }

    /// `words`: the client wants to be told more than codes [MQTT-3.1.2-29].
    pub fn encode(&self, level: Level, packet_bytes_max: usize, words: bool, out: &mut Vec<u8>) {
        let told = self.resumed.filter(|_| words).map(Resumed::told).unwrap_or_default();
        let user_properties = UserProperties::new(&told);
        let diagnostics = Diagnostics { reason_string: self.why.filter(|_| words), user_properties };
        let packet_id = self.packet_id;
        let reasons = ReasonCodes::new(&self.reasons);
        // Cannot fail: there are as many codes as there were filters, and the words are ours.
        let _ = if self.subscribes {
            Suback { packet_id, diagnostics, reasons }.encode_within(packet_bytes_max, level, out)
        } else {
            Unsuback { packet_id, diagnostics, reasons }.encode_within(packet_bytes_max, level, out)
        };
    }
}

impl Resumed {
    /// Takes in what is told of one more filter.
    pub fn and(self, found: &Found) -> Self {
        Self {
            recovered: self.recovered && found.recovered,
            first_available: self.first_available.max(found.first_available),
        }
    }

    fn told(self) -> Vec<(String, String)> {
        let mut told = vec![("recovered".to_owned(), self.recovered.to_string())];
        told.extend(self.first_available.map(|id| ("first_available".to_owned(), id.to_string())));
        told
    }
}

impl Asked {
    fn undo(self, context: &Context<'_>) {
        let Context { realm, client, .. } = *context;
        let before = match self.what {
            What::Subscribed(before) => before,
            What::Unsubscribed(held) => Some(held),
            What::Registered => return rpc::unregister(context, &self.filter),
            What::Shared(share) => match share.before {
                Some(before) => before,
                None => return,
            },
            What::Unregistered => return,
        };
        let filter = self.filter;
        let mut record = client.record.lock();
        let now = match &before {
            Some(held) => record.subscriptions.insert(filter.clone(), held.clone()),
            None => record.subscriptions.remove(&filter),
        };
        drop(record);
        match (before, now) {
            (Some(held), _) => {
                let (shared, options) = (held.group.is_some(), held.options.clone());
                client.subscribe(realm, &filter, held, None);
                if shared {
                    realm.join_share(context.node, &client.session, &filter, options);
                }
                client.let_go_if_ended(context.node, realm);
            }
            (None, Some(held)) => client.unsubscribe(realm, &filter, &held),
            (None, None) => {}
        }
    }
}
