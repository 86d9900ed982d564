//! `GET /subscribe`: events until the client goes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, Body, Failure};
use super::fields::parameters;
use super::route::Guest;
use super::{Server, sse};
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::link::{End, Link};
use crate::node::metrics::{Drop as Dropped, Protocol, Tally};
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::router::authorize::{Action, RoleId};
use crate::router::broker::Options;
use crate::types::event::{Qos, Terms};
use crate::types::topic::{MatchPolicy, TopicError, TopicPattern};

/// After a silence of this length a comment is sent, so that proxies keep the connection and a dead one is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Ignored by clients.
const HEARTBEAT_TEXT: &[u8] = b":\n\n";
/// The first bytes: the subscriptions hold from here on.
const SUBSCRIBED_TEXT: &[u8] = b": subscribed\n\n";

/// What is to be subscribed to.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub realm: Option<String>,
    patterns: Vec<TopicPattern>,
    /// Retained values come first.
    retained: bool,
}

impl Request {
    /// Reads the query. `topic` (a URI, read by `match`) and `mqtt_topic` (a filter) may be there several times.
    ///
    /// # Errors
    /// A parameter is unknown or wrong, or there is no topic.
    pub fn read(query: &str) -> Result<Self, Failure> {
        let parameters = parameters(query)?;
        let policy = parameters.iter().rev().find(|(name, _)| name == "match").map(|(_, value)| value.parse());
        let policy: MatchPolicy =
            policy.transpose().map_err(|error| Failure::Invalid(format!("{error}")))?.unwrap_or_default();
        let mut request = Self { realm: None, patterns: Vec::new(), retained: false };
        for (name, value) in parameters {
            match name.as_str() {
                "topic" => request.add("topic", TopicPattern::from_uri(&value, policy))?,
                "mqtt_topic" => request.add("mqtt_topic", TopicPattern::from_filter(&value))?,
                "realm" => request.realm = Some(value),
                "retained" => request.retained = is_true(&value)?,
                "match" => {}
                _ => {
                    let known = "topic, match, mqtt_topic, realm, retained";
                    return Err(Failure::Invalid(format!("there is no parameter {name:?}; there are {known}")));
                }
            }
        }
        if request.patterns.is_empty() {
            return Err(Failure::Invalid("topic is missing: /subscribe?topic=app.topic".to_owned()));
        }
        Ok(request)
    }

    fn add(&mut self, field: &'static str, pattern: Result<TopicPattern, TopicError>) -> Result<(), Failure> {
        let pattern = pattern.map_err(|error| Failure::InvalidTopic { field, error })?;
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
        Ok(())
    }
}

fn is_true(value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::Invalid("retained must be true or false".to_owned())),
    }
}

impl Server {
    /// Subscribes, and answers with a body that goes on.
    ///
    /// # Errors
    /// The guest may not subscribe to all of it, or there are too many sessions.
    pub(super) fn subscribe(&self, guest: Guest, request: Request) -> Result<Answer, Failure> {
        let allowed = |pattern| guest.realm.authorizer.allows_pattern(guest.role, Action::Subscribe, pattern);
        if !request.patterns.iter().all(allowed) {
            return Err(Failure::NotAuthorized { what: "subscribe to this topic" });
        }
        if request.patterns.len() > self.node.limits.subscriptions_per_session_max {
            return Err(Failure::Invalid("more topics than a session may subscribe to".to_owned()));
        }
        let sessions: usize = self.node.realms().iter().map(|realm| realm.sessions_len()).sum();
        if sessions >= self.node.limits.sessions_max {
            return Err(Failure::TooManySessions);
        }
        let events = Events::begin(&self.node, self.clock, guest, request);
        let mut answer = Response::new(Body::Events(Box::new(events)));
        set_headers(answer.headers_mut());
        Ok(answer)
    }
}

fn set_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather events until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// The events of one request: a session in a realm, whose mailbox is emptied into the body. What the client does not take
/// waits in its outbox, which is bounded as every session's is.
pub struct Events {
    node: Arc<Node>,
    clock: Clock,
    realm: Arc<Realm>,
    session: Arc<Session>,
    link: Arc<Link>,
    patterns: Vec<TopicPattern>,
    /// Taken from the mailbox and not yet given to the body.
    parts: VecDeque<Bytes>,
    heartbeat: Pin<Box<Sleep>>,
    ended: bool,
}

impl Events {
    fn begin(node: &Arc<Node>, clock: Clock, guest: Guest, request: Request) -> Self {
        let Guest { realm, role, identity } = guest;
        let session = node.new_session(identity, sse::wire(), false);
        let link = Arc::new(Link::default());
        {
            let mut mailbox = session.mailbox();
            mailbox.attach(link.clone(), sse::wire(), 0, usize::MAX, 0);
            mailbox.outbox.push_reply(SUBSCRIBED_TEXT);
        }
        realm.join(session.clone());
        // From here on the session is ended when this is dropped.
        let events = Self {
            node: node.clone(),
            clock,
            realm,
            session,
            link,
            patterns: request.patterns,
            parts: VecDeque::new(),
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT)),
            ended: false,
        };
        events.subscribe(role, request.retained);
        if node.is_draining() {
            // It may have joined behind those who were told.
            events.link.end(End::Shutdown);
        }
        events
    }

    fn subscribe(&self, role: RoleId, retained: bool) {
        // One copy for a topic that several of the patterns match.
        let options =
            Options::Merged { qos: Qos::AtMostOnce, no_local: false, retain_as_published: false, identifier: None };
        for pattern in &self.patterns {
            let subscribed = self.realm.subscribe(&self.session, pattern, None, options.clone(), |_, _| {});
            if retained {
                let terms = Terms { retain: true, ..Terms::default() };
                self.realm.replay(&self.session, subscribed.id, pattern, role, terms);
            }
        }
    }

    /// The next bytes of the body; `None` when it is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.link.waker.register(cx.waker());
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(bytes) = self.next() {
            self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
            return Poll::Ready(Some(bytes));
        }
        if let Some(reason) = self.link.asked_to_end() {
            self.ended = true;
            return Poll::Ready(Some(farewell(reason)));
        }
        if self.heartbeat.as_mut().poll(cx).is_ready() {
            self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
            // Not yet due again, but it must be asked once to be heard.
            let _ = self.heartbeat.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from_static(HEARTBEAT_TEXT)));
        }
        Poll::Pending
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.parts.is_empty() {
            let mut mailbox = self.session.mailbox();
            let offered = mailbox.refill(self.clock.now_ms());
            let taken = mailbox.take(Vec::new());
            drop(mailbox);
            let mut tally = Tally { deliveries: offered.sent.into(), ..Tally::default() };
            tally.delivery_bytes = offered.sent_bytes as u64;
            tally.drop(Dropped::QueueFull, offered.dropped_full.into());
            self.node.metrics.of(Protocol::Http).add(&mut tally);
            self.parts = taken.parts;
            if !taken.tail.is_empty() {
                self.parts.push_back(taken.tail.into());
            }
        }
        self.parts.pop_front()
    }
}

/// The last event, which says why there are no more.
fn farewell(reason: End) -> Bytes {
    let reason = match reason {
        End::Shutdown => "the broker is stopping",
        End::SlowConsumer => "events were not read as fast as they came",
        End::TakenOver | End::Kicked | End::Over => "ended by the broker",
    };
    Bytes::from(format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n"))
}

impl Drop for Events {
    fn drop(&mut self) {
        self.session.mailbox().detach(&self.link);
        self.realm.unsubscribe_all(self.session.id, self.patterns.iter().map(|pattern| (pattern, None)));
        self.realm.leave(&self.node, &self.session, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &[(&str, MatchPolicy)]) {
        let patterns = expected.iter().map(|(uri, policy)| TopicPattern::from_uri(uri, *policy).expect("a pattern"));
        let request = Request::read(query).map(|request| request.patterns);
        assert_eq!(request, Ok(patterns.collect()), "{query:?}");
    }

    #[test]
    fn topics_are_read_as_their_match_says() {
        check("topic=a.b", &[("a.b", MatchPolicy::Exact)]);
        check("topic=a.b&match=prefix", &[("a.b", MatchPolicy::Prefix)]);
        check("match=wildcard&topic=a..c", &[("a..c", MatchPolicy::Wildcard)]);
        check("topic=a.%23", &[("a.#", MatchPolicy::Exact)]);
        check("mqtt_topic=a/%2B/c&topic=x&topic=x", &[("a.*.c", MatchPolicy::Fox), ("x", MatchPolicy::Exact)]);
    }

    #[test]
    fn a_wrong_query_is_refused() {
        for query in
            ["", "topic=", "topic=a..b", "topic=a&match=no", "topics=a", "mqtt_topic=a%23", "topic=a&retained=x"]
        {
            assert!(Request::read(query).is_err(), "{query:?}");
        }
    }
}
