//! `GET /subscribe`: events until the client goes.

mod request;
mod resume;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, Body, Failure};
use super::route::Guest;
use super::write::Object;
use super::{Server, sse};
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::link::{End, Kick, Link};
use crate::node::mailbox::Mailbox;
use crate::node::metrics::{Drop as Dropped, Protocol, Tally};
use crate::node::past::Found;
use crate::node::reader::wants::Want;
use crate::node::reader::{Durable, Reading, Start};
use crate::node::realm::Realm;
use crate::node::revoke::Revoked;
use crate::node::session::Session;
use crate::queue::state::rows::pattern_text;
use crate::router::authorize::{Action, Rights};
use crate::router::broker::{Options, Subscribed, Variant};
use crate::types::event::{Qos, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::topic::TopicPattern;
pub use request::{LAST_EVENT_ID, Request};

/// After a silence of this length a comment is sent, so that proxies keep the connection and a dead one is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Ignored by clients.
const HEARTBEAT_TEXT: &[u8] = b":\n\n";
/// The first bytes: the subscriptions hold from here on.
const SUBSCRIBED_TEXT: &[u8] = b": subscribed\n\n";

impl Server {
    /// Subscribes, and answers with a body that goes on.
    ///
    /// # Errors
    /// The guest may not subscribe to all of it, there are too many sessions, or the past cannot be read.
    pub(super) async fn subscribe(&self, guest: Guest, request: Request) -> Result<Answer, Failure> {
        let about: Vec<_> = request.patterns.iter().map(|pattern| (Action::Subscribe, pattern.clone())).collect();
        self.decide(&guest, &about).await;
        let allowed = |pattern| guest.rights.allows_pattern(Action::Subscribe, pattern);
        if !request.patterns.iter().all(allowed) {
            return Err(Failure::NotAuthorized { what: "subscribe to this topic" });
        }
        if request.patterns.len() > self.node.limits.subscriptions_per_session_max {
            return Err(Failure::Invalid("more topics than a session may subscribe to".to_owned()));
        }
        if self.node.is_tight() {
            return Err(Failure::MemoryFull);
        }
        let sessions: usize = self.node.realms().iter().map(|realm| realm.sessions_len()).sum();
        if sessions >= self.node.limits.sessions_max {
            return Err(Failure::TooManySessions);
        }
        let places = self.find_places(&guest, &request).await?;
        let events = Events::begin(&self.node, self.clock, guest, request, &places);
        // As SUBACK does.
        events.heard().await;
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
    rights: Rights,
    session: Arc<Session>,
    link: Arc<Link>,
    patterns: Vec<TopicPattern>,
    /// A subscription of its own, with which the request ends.
    single: Option<Single>,
    /// Taken from the mailbox and not yet given to the body.
    parts: VecDeque<Bytes>,
    heartbeat: Pin<Box<Sleep>>,
    ended: bool,
}

struct Single {
    subscription: SubscriptionId,
    /// It ends when all that is there has been sent.
    snapshot: bool,
}

impl Events {
    fn begin(node: &Arc<Node>, clock: Clock, guest: Guest, request: Request, places: &[Option<Found>]) -> Self {
        let Guest { realm, rights, identity } = guest;
        let session = node.new_session(identity, sse::wire(), false);
        session.set_rights(rights.clone());
        let link = Arc::new(Link::default());
        {
            let mut mailbox = session.mailbox();
            mailbox.attach(link.clone(), sse::wire(), 0, usize::MAX, 0);
            mailbox.outbox.push_reply(SUBSCRIBED_TEXT);
            if let Some(resumed) = resumed(places) {
                mailbox.outbox.push_reply(&resumed);
            }
        }
        realm.join(session.clone());
        // From here on the session is ended when this is dropped.
        let mut events = Self {
            node: node.clone(),
            clock,
            realm,
            rights,
            session,
            link,
            patterns: Vec::new(),
            single: None,
            parts: VecDeque::new(),
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT)),
            ended: false,
        };
        if request.is_single() {
            events.subscribe_single(request, places.first().copied().flatten());
        } else {
            events.subscribe(request, places);
        }
        events.session.mailbox().hold(&node.peers, clock.now_ms(), &events.link);
        if node.is_draining() {
            // It may have joined behind those who were told.
            events.link.end(End::Shutdown);
        }
        events
    }

    /// Waits until the other entries of the cluster know what is subscribed to, or it takes too long.
    async fn heard(&self) {
        poll_fn(|cx| {
            self.link.waker.register(cx.waker());
            match self.session.mailbox().is_held() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    fn reading(&self) -> Reading {
        Reading {
            node: Arc::downgrade(&self.node),
            realm: Arc::downgrade(&self.realm),
            session: Arc::downgrade(&self.session),
            rights: Some(self.rights.clone()),
            recorded: false,
        }
    }

    /// One copy for a topic that several of the patterns match.
    fn subscribe(&mut self, request: Request, places: &[Option<Found>]) {
        let options =
            Options::Merged { qos: Qos::AtMostOnce, no_local: false, retain_as_published: false, identifier: None };
        let reads = places.iter().any(Option::is_some);
        for (pattern, place) in request.patterns.iter().zip(places) {
            let begin = |subscribed: Subscribed, mailbox: &mut Mailbox| {
                if reads {
                    mailbox.read_log(self.reading());
                    let (pattern, options) = (pattern.clone(), options.clone());
                    let name = pattern_text(&pattern);
                    let want = Want { pattern, options, subscription: subscribed.id, since: 0, follows: false };
                    mailbox.want(&name, want, place.map(|place| place.after));
                }
            };
            let subscribed = self.realm.subscribe(&self.session, pattern, None, options.clone(), begin);
            if request.retained {
                self.replay(subscribed.id, pattern);
            }
        }
        self.patterns = request.patterns;
    }

    /// A filtered subscription, a snapshot, or a named durable one.
    fn subscribe_single(&mut self, request: Request, place: Option<Found>) {
        let Request { patterns, retained, snapshot, durable, filter, .. } = request;
        let Some(pattern) = patterns.into_iter().next() else { return };
        let variant = Variant { filter: filter.clone(), name: durable.clone(), node_key: None };
        let until = snapshot.then(|| self.node.log.history.fed());
        let begin = |id: SubscriptionId, mailbox: &mut Mailbox| {
            let Some(place) = place else { return };
            mailbox.read_log(self.reading());
            let durable = durable.clone().map(|name| Durable { name, acknowledged: false });
            let want =
                Want { pattern: pattern.clone(), options: Options::Each, subscription: id, since: 0, follows: true };
            // The request was answered with it.
            let recovery = None;
            mailbox.start_reader(id, Start { want, after: place.after, until, route: None, durable, filter, recovery });
        };
        let subscription = if snapshot {
            self.realm.subscribe_past(&self.session, &pattern, &variant, begin)
        } else {
            let begin = |subscribed: Subscribed, mailbox: &mut Mailbox| begin(subscribed.id, mailbox);
            self.realm.subscribe_variant(&self.session, &pattern, &variant, begin).id
        };
        if let Some(name) = &variant.name
            && let Some((before, id)) = self.realm.open_durable(name, &self.session, subscription)
        {
            self.realm.revoke(&self.node, &before, id, Revoked::TakenOver);
        }
        if let Some(name) = &variant.name
            && let Err(why) = self.realm.check_durable(&self.node, name)
        {
            self.realm.revoke(&self.node, &self.session, subscription, why);
        }
        if retained {
            self.replay(subscription, &pattern);
        }
        self.single = Some(Single { subscription, snapshot });
    }

    fn replay(&self, subscription: SubscriptionId, pattern: &TopicPattern) {
        let terms = Terms { retain: true, ..Terms::default() };
        self.realm.replay(&self.session, subscription, pattern, &self.rights, terms);
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
            return Poll::Ready(Some(farewell(reason, self.link.kicked())));
        }
        if self.end_single() {
            return self.poll(cx);
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
            let moved = if mailbox.reads_log() { mailbox.take_moved() } else { Vec::new() };
            let taken = mailbox.take(Vec::new());
            drop(mailbox);
            self.node.record(&self.realm.name, moved);
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

    /// Ends the request if its only subscription has ended: it was revoked, or is a snapshot that has nothing more to be sent. To be
    /// called when all is taken. `true`: there is a last word to be said, or it is over.
    fn end_single(&mut self) -> bool {
        let Some(Single { subscription, snapshot }) = self.single else { return false };
        let (held, over) = {
            let mailbox = self.session.mailbox();
            let held = mailbox.subscriptions.contains(&subscription);
            (held, mailbox.reader(subscription).is_none() && !mailbox.replay.owes(subscription))
        };
        if held && snapshot && over {
            self.realm.revoke(&self.node, &self.session, subscription, Revoked::SnapshotEnd);
            return true;
        }
        if !held {
            // What it was told has been taken.
            self.ended = self.session.mailbox().outbox.bytes() == 0;
            return true;
        }
        false
    }
}

/// The first event, for who has asked for older ones.
fn resumed(places: &[Option<Found>]) -> Option<Vec<u8>> {
    let found = || places.iter().flatten();
    let first_available = found().filter_map(|place| place.first_available).max();
    found().next()?;
    let mut out = b"event: resume\ndata: ".to_vec();
    let mut object = Object::begin(&mut out);
    object.bool("recovered", found().all(|place| place.recovered));
    if let Some(id) = first_available {
        object.text("first_available", id.text().as_str());
    }
    object.end();
    out.extend_from_slice(b"\n\n");
    Some(out)
}

/// The last event, which says why there are no more.
fn farewell(reason: End, kick: Option<&Kick>) -> Bytes {
    let reason = match (reason, kick) {
        (End::Shutdown, _) => "the broker is stopping",
        (End::NotAuthorized, _) => "what you may do has changed: ask again",
        (End::TooFast, _) => "too much was sent",
        (End::SlowConsumer, _) => "events were not read as fast as they came",
        (End::Kicked, Some(kick)) => kick.message.as_deref().unwrap_or(&kick.reason),
        (End::TakenOver | End::Kicked | End::Over, _) => "ended by the broker",
    };
    let mut out = b"event: end\ndata: ".to_vec();
    let mut object = Object::begin(&mut out);
    object.text("reason", reason);
    object.end();
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

impl Drop for Events {
    fn drop(&mut self) {
        let moved = {
            let mut mailbox = self.session.mailbox();
            mailbox.detach(&self.link);
            mailbox.take_moved()
        };
        self.node.record(&self.realm.name, moved);
        self.realm.unsubscribe_all(self.session.id, self.patterns.iter().map(|pattern| (pattern, None)));
        self.realm.leave(&self.node, &self.session, false);
    }
}
