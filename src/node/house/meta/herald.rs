//! Says what happens in a realm to those who are subscribed to it.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use super::sessions::details;
use super::subscriptions;
use crate::node::Node;
use crate::node::house::{Item, Queue, Room};
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::node::session::Session;
use crate::router::broker::Broker;
use crate::router::interest::Reach;
use crate::router::output::RegistrationEvent;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};
use crate::types::value::Value;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Joined,
    Left,
    SubscriptionCreated,
    Subscribed,
    Unsubscribed,
    SubscriptionDeleted,
    RegistrationCreated,
    Registered,
    Unregistered,
    RegistrationDeleted,
}

/// In the order of [`Told`].
const URIS: [&str; 10] = [
    "wamp.session.on_join",
    "wamp.session.on_leave",
    "wamp.subscription.on_create",
    "wamp.subscription.on_subscribe",
    "wamp.subscription.on_unsubscribe",
    "wamp.subscription.on_delete",
    "wamp.registration.on_create",
    "wamp.registration.on_register",
    "wamp.registration.on_unregister",
    "wamp.registration.on_delete",
];

static TOPICS: LazyLock<Vec<Arc<Topic>>> =
    LazyLock::new(|| URIS.iter().filter_map(|uri| Topic::from_uri(uri).ok()).map(Arc::new).collect());

/// Something that has happened.
pub(in crate::node::house) struct News {
    told: Told,
    args: Vec<Value>,
}

/// One in each realm. What nobody is subscribed to is not even put into words.
#[derive(Default)]
pub struct Herald {
    house: OnceLock<Arc<Queue>>,
    /// The time, as far as the node was told it last.
    clock_ms: OnceLock<Arc<AtomicU64>>,
    /// A bit for each [`Told`].
    heard: AtomicU16,
}

impl Herald {
    pub(in crate::node::house) fn install(&self, queue: &Arc<Queue>, clock_ms: &Arc<AtomicU64>) {
        let _ = self.house.set(queue.clone());
        let _ = self.clock_ms.set(clock_ms.clone());
    }

    /// The time, to a tenth of a second.
    pub(in crate::node) fn now_ms(&self) -> u64 {
        self.clock_ms.get().map_or(0, |clock_ms| clock_ms.load(Ordering::Relaxed))
    }

    /// Whether who is subscribed to the pattern hears something.
    pub(in crate::node) fn may_tell(pattern: &TopicPattern) -> bool {
        if pattern.exact_name().is_some_and(|name| !name.starts_with("wamp/")) || pattern.passes_hidden_by() {
            return false;
        }
        TOPICS.iter().any(|topic| pattern.matches(topic))
    }

    /// Who hears something is another one, here or at other entries: looks what is heard.
    pub(in crate::node) fn look(&self, broker: &Broker<Arc<Session>>, reach: &Reach) {
        let is_heard = |topic: &Topic| broker.is_wanted(topic) || !reach.of(topic).is_empty();
        let heard = TOPICS.iter().enumerate().filter(|(_, topic)| is_heard(topic));
        self.heard.store(heard.fold(0, |bits, (at, _)| bits | 1 << at), Ordering::Release);
    }

    fn hears(&self, told: Told) -> bool {
        self.heard.load(Ordering::Acquire) & (1 << told as u16) != 0
    }

    fn say(&self, realm: &Arc<str>, told: Told, args: Vec<Value>) {
        if let Some(house) = self.house.get() {
            house.push_news(Item::News { realm: realm.clone(), news: News { told, args } });
        }
    }

    /// A session has got a connection.
    pub(in crate::node) fn joined(&self, realm: &Arc<str>, session: &Session) {
        if self.hears(Told::Joined) {
            self.say(realm, Told::Joined, vec![details(session)]);
        }
    }

    /// A session has no connection any more.
    pub(in crate::node) fn left(&self, realm: &Arc<str>, session: &Session) {
        if self.hears(Told::Left) {
            let identity = &session.identity;
            let args = vec![session.id.0.into(), (&*identity.authid).into(), (&*identity.authrole).into()];
            self.say(realm, Told::Left, args);
        }
    }

    /// A session has a subscription; `created`: nobody had it before.
    pub(in crate::node) fn subscribed(
        &self,
        realm: &Arc<str>,
        broker: &Broker<Arc<Session>>,
        session: SessionId,
        id: SubscriptionId,
        created: bool,
    ) {
        if created
            && self.hears(Told::SubscriptionCreated)
            && let Some(info) = broker.subscription_info(id)
        {
            self.say(realm, Told::SubscriptionCreated, vec![session.0.into(), subscriptions::entry(&info)]);
        }
        // Whoever has it twice had it before.
        if self.hears(Told::Subscribed) && broker.times_held(id, session) == 1 {
            self.say(realm, Told::Subscribed, vec![session.0.into(), id.0.into()]);
        }
    }

    /// A session has a subscription no more; `deleted`: nobody has it.
    pub(in crate::node) fn unsubscribed(
        &self,
        realm: &Arc<str>,
        broker: &Broker<Arc<Session>>,
        session: SessionId,
        id: SubscriptionId,
        deleted: bool,
    ) {
        let args = || vec![session.0.into(), id.0.into()];
        if self.hears(Told::Unsubscribed) && broker.times_held(id, session) == 0 {
            self.say(realm, Told::Unsubscribed, args());
        }
        if deleted && self.hears(Told::SubscriptionDeleted) {
            self.say(realm, Told::SubscriptionDeleted, args());
        }
    }

    pub(in crate::node) fn registration(&self, realm: &Arc<str>, event: &RegistrationEvent<'_>) {
        let (told, session, second) = match *event {
            RegistrationEvent::Created { session, registration } => {
                if !self.hears(Told::RegistrationCreated) {
                    return;
                }
                (Told::RegistrationCreated, session, super::registrations::entry(&registration))
            }
            RegistrationEvent::CalleeAdded { session, registration } => {
                (Told::Registered, session, registration.0.into())
            }
            RegistrationEvent::CalleeRemoved { session, registration } => {
                (Told::Unregistered, session, registration.0.into())
            }
            RegistrationEvent::Deleted { session, registration } => {
                (Told::RegistrationDeleted, session, registration.0.into())
            }
        };
        if self.hears(told) {
            self.say(realm, told, vec![session.0.into(), second]);
        }
    }
}

impl Room<'_> {
    /// Publishes what has happened.
    pub fn tell(&self, realm: &str, News { told, args }: News) {
        let (Some(realm), Some(topic)) = (self.node.realm(realm), TOPICS.get(told as usize)) else { return };
        let args = Value::List(args).to_bytes(Format::MsgPack);
        let payload = PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None };
        let publication = Publication::plain(payload, Node::UNSAID_QOS);
        self.node.publish_as_broker(&realm, topic, &publication, Protocol::Wamp, self.now_ms);
    }
}
