//! Calls: the lock around a realm's dealer, and where its answers go.
//!
//! ```text
//! command --> Dealer --Output--> Wire of the session it is for (WAMP: a frame; MQTT callee: a PUBLISH)
//!                          \--> ReplyTo of the caller (MQTT caller: a publication; HTTP: the waiting request)
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::clients::Client;
use super::metrics::Protocol;
use super::publish::Publication;
use super::realm::Realm;
use super::session::{Session, Touched};
use super::wire::Unencodable;
use crate::router::broker::Subscriber;
use crate::router::dealer::{Call, Dealer, Violation};
use crate::router::output::{Failure, Output, Refusal, Sink};
use crate::types::event::{Properties, Qos};
use crate::types::ids::{InvocationId, RequestId, SessionId};
use crate::types::payload::{Codec, Payload};
use crate::types::topic::Topic;

/// Where the answer to a call goes if its caller does not speak WAMP.
pub enum ReplyTo {
    /// A publication on this topic, with this correlation data (MQTT 5, 4.10).
    Topic { topic: Arc<Topic>, correlation: Option<Bytes>, qos: Qos },
    /// A function that is called once, with the final answer.
    Function(Box<dyn FnOnce(Answer) + Send>),
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub struct Answer {
    pub codec: Codec,
    pub payload: Payload,
    /// URI of the error, and for refusals by the router what it says.
    pub error: Option<(String, String)>,
}

/// A message that its receiver could not be given.
enum Undelivered {
    Invocation(SessionId, InvocationId, Refusal),
    Result(SessionId, RequestId, Refusal),
}

/// An answer on its way to a caller that does not speak WAMP.
type Reply = (ReplyTo, Answer);

impl Realm {
    /// Runs a command on the dealer and delivers what it puts out. Connections that got something are noted in `touched`.
    pub fn command<R>(
        self: &Arc<Self>,
        node: &Arc<Node>,
        touched: &mut Touched,
        run: impl FnOnce(&mut Dealer<Arc<Session>>, &mut Sink<'_, Arc<Session>>) -> R,
    ) -> R {
        let mut undelivered = Vec::new();
        let mut replies = Vec::new();
        let mut dealer = self.dealer.lock();
        let result = run(&mut dealer, &mut |output| match &output {
            Output::Registration(event) => self.herald.registration(&self.name, event),
            // A call that was begun when there was memory does not go on without.
            Output::Invocation(part) if part.continues && node.is_tight() => {
                undelivered.push(Undelivered::Invocation(part.to.id, part.invocation, Refusal::MemoryFull));
            }
            output => deliver(output, touched, &mut undelivered, &mut replies),
        });
        // What could not be given turns into an ERROR for the caller; those are small, so this ends.
        for lost in std::mem::take(&mut undelivered) {
            let mut sink = |output: Output<'_, Arc<Session>>| deliver(&output, touched, &mut undelivered, &mut replies);
            match lost {
                Undelivered::Invocation(callee, id, why) => dealer.invocation_undeliverable(callee, id, why, &mut sink),
                Undelivered::Result(caller, request, why) => {
                    dealer.result_undeliverable(caller, request, why, &mut sink);
                }
            }
        }
        let has_changed = dealer.has_changed();
        drop(dealer);
        if has_changed {
            self.peers.wake();
        }
        for reply in replies {
            node.send_reply(self, reply);
        }
        result
    }

    /// Calls a procedure for a client, unless there is no memory for that: then it is answered so.
    ///
    /// # Errors
    /// The request id belongs to a call under way. Nothing was changed.
    pub fn call(
        self: &Arc<Self>,
        node: &Arc<Node>,
        touched: &mut Touched,
        session: &Arc<Session>,
        call: &Call<'_>,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let is_tight = node.is_tight_for(call.procedure);
        self.command(node, touched, |dealer, out| match is_tight {
            true => dealer.refuse(session.id, session, call, Refusal::MemoryFull, out),
            false => dealer.call(session.id, session, call, now_ms, out),
        })
    }

    /// Ends all calls and registrations of a session. Connections are woken at once.
    pub fn leave_calls(self: &Arc<Self>, node: &Arc<Node>, session: &Arc<Session>) {
        let mut touched = Touched::default();
        self.command(node, &mut touched, |dealer, out| dealer.leave(session.id, out));
        session.replies.lock().clear();
        session.procedures.lock().clear();
        touched.wake();
    }

    /// A WAMP or HTTP session goes: subscriptions, calls and registrations too. `orderly`: it has said so, so that locks that are
    /// to stay do.
    pub fn leave(self: &Arc<Self>, node: &Arc<Node>, session: &Arc<Session>, orderly: bool) {
        let subscriptions: Vec<_> = session.mailbox().subscriptions.drain().collect();
        self.unsubscribe_ids(session.id, subscriptions);
        self.leave_calls(node, session);
        self.forget(session.id);
        if session.take_holds() {
            node.leave_log(&self.name, session.id, orderly);
        }
    }
}

impl Node {
    /// Ends the calls of a realm whose time is up.
    pub(super) fn tick_calls(self: &Arc<Self>, realm: &Arc<Realm>, now_ms: u64) {
        if realm.dealer.lock().next_deadline().is_none_or(|at| at > now_ms) {
            return;
        }
        let mut touched = Touched::default();
        realm.command(self, &mut touched, |dealer, out| dealer.tick(now_ms, out));
        touched.wake();
    }

    fn send_reply(self: &Arc<Self>, realm: &Arc<Realm>, (reply_to, answer): Reply) {
        let (topic, correlation, qos) = match reply_to {
            ReplyTo::Function(function) => return function(answer),
            ReplyTo::Topic { topic, correlation, qos } => (topic, correlation, qos),
        };
        let mut properties = Properties { correlation_data: correlation, ..Properties::default() };
        let mut payload = answer.payload;
        if let Some((uri, text)) = answer.error {
            properties.user_properties.push(("error".to_owned(), uri));
            if payload.is_empty() && !text.is_empty() {
                payload = Payload::Bytes(Bytes::from(text));
            }
        }
        let properties = Arc::new(properties);
        let publication = Publication { properties: Some(&properties), ..Publication::plain(payload.as_ref(), qos) };
        // The answer carries no expiry, so the time does not matter.
        self.publish_as_broker(realm, &topic, &publication, Protocol::Mqtt, 0);
    }
}

/// Gives one output to the session it is for.
fn deliver(
    output: &Output<'_, Arc<Session>>,
    touched: &mut Touched,
    undelivered: &mut Vec<Undelivered>,
    replies: &mut Vec<Reply>,
) {
    let Some(to) = output.receiver() else { return };
    match reply_of(to, output) {
        Some(Some(reply)) => return replies.push(reply),
        Some(None) => return,
        None => {}
    }
    let Err(error) = to.wire().0.rpc(to, output, touched) else { return };
    let why = match error {
        Unencodable::TooLarge => Refusal::PayloadSizeExceeded,
        Unencodable::Payload => Refusal::Untranslatable,
        Unencodable::Full => Refusal::ReceiverBlocked,
        // It is about to leave, which ends its calls.
        Unencodable::Gone => return,
    };
    undelivered.push(match output {
        Output::Invocation(invocation) => Undelivered::Invocation(to.id, invocation.invocation, why),
        Output::Result { request, .. } | Output::Error { request, failure: Failure::Callee { .. }, .. } => {
            Undelivered::Result(to.id, *request, why)
        }
        _ => return,
    });
}

/// If the caller wants its answer elsewhere: `Some(the reply)`, or `Some(None)` for progress, which cannot be sent there.
fn reply_of(to: &Session, output: &Output<'_, Arc<Session>>) -> Option<Option<Reply>> {
    let (request, progress) = match output {
        Output::Result { request, progress, .. } => (*request, *progress),
        Output::Error { request, .. } => (*request, false),
        _ => return None,
    };
    let mut replies = to.replies.lock();
    if progress {
        return replies.contains_key(&request).then_some(None);
    }
    let reply_to = replies.remove(&request)?;
    let answer = match output {
        Output::Result { codec, payload, .. } => Answer { codec: *codec, payload: payload.to_owned(), error: None },
        Output::Error { failure: Failure::Callee { uri, codec, payload, .. }, .. } => {
            Answer { codec: *codec, payload: payload.to_owned(), error: Some(((*uri).to_owned(), String::new())) }
        }
        Output::Error { failure: Failure::Refused(refusal), .. } => Answer {
            codec: Codec::Auto,
            payload: Payload::Bytes(Bytes::new()),
            error: Some((refusal.uri().to_owned(), refusal.to_string())),
        },
        _ => return None,
    };
    Some(Some((reply_to, answer)))
}

impl Client {
    /// A number for a call of this client, for MQTT has none of its own.
    pub fn next_request(&self) -> RequestId {
        let mut record = self.record.lock();
        record.last_request += 1;
        RequestId(record.last_request)
    }
}
