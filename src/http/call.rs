//! `POST /call`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::sync::oneshot;

use super::answer::{self, Failure};
use super::fields::fields;
use super::route::Guest;
use super::write::Object;
use super::{Server, sse};
use crate::node::Node;
use crate::node::metrics::Protocol;
use crate::node::realm::Realm;
use crate::node::rpc::{Answer, ReplyTo};
use crate::node::session::{Session, Touched};
use crate::router::authorize::Action;
use crate::router::dealer::{Call, Notes};
use crate::router::output::Refusal;
use crate::types::event::Discloser;
use crate::types::ids::RequestId;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};

const KNOWN: &str = "realm, procedure, args, kwargs, timeout_ms, disclose_me";

/// What is to be called. The options have the names and meanings of WAMP's; the time is `timeout_ms`.
#[derive(Default)]
pub struct Request<'a> {
    pub realm: Option<String>,
    procedure: Option<Topic>,
    args: Option<&'a [u8]>,
    kwargs: Option<&'a [u8]>,
    timeout_ms: Option<u64>,
    disclose_me: bool,
}

impl<'a> Request<'a> {
    /// A call with these arguments, a JSON list.
    pub fn with(args: &'a [u8]) -> Self {
        Self { args: Some(args), ..Self::default() }
    }

    /// # Errors
    /// A field is unknown, or of another type.
    pub fn read(body: &'a [u8]) -> Result<Self, Failure> {
        let mut request = Self::default();
        for field in fields(body, &[])? {
            match &*field.name {
                "realm" => request.realm = Some(field.text()?),
                "procedure" => {
                    let procedure = Topic::from_uri(&field.text()?);
                    let wrong = |error| Failure::InvalidTopic { field: "procedure", error };
                    request.procedure = Some(procedure.map_err(wrong)?);
                }
                "args" => request.args = Some(field.list()?),
                "kwargs" => request.kwargs = Some(field.object()?),
                "timeout_ms" => request.timeout_ms = Some(field.uint()?),
                "disclose_me" => request.disclose_me = field.bool()?,
                _ => return field.unknown(KNOWN),
            }
        }
        Ok(request)
    }
}

/// A caller's session, for as long as the call takes: when it is dropped, because the answer is there or the client has gone,
/// the call is over.
struct Caller {
    node: Arc<Node>,
    realm: Arc<Realm>,
    session: Arc<Session>,
}

impl Caller {
    fn new(node: &Arc<Node>, guest: &Guest) -> Self {
        let session = node.new_session(guest.identity.clone(), sse::wire(), false);
        session.set_rights(guest.rights.clone());
        guest.realm.join(session.clone());
        Self { node: node.clone(), realm: guest.realm.clone(), session }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // The answer is all that the client came for.
        self.realm.leave(&self.node, &self.session, true);
    }
}

impl Server {
    /// Calls, and answers with the result or the error.
    ///
    /// # Errors
    /// There is no procedure, the guest may not call it, or there was no answer in time.
    pub(super) async fn call(&self, guest: &Guest, request: Request<'_>) -> Result<answer::Answer, Failure> {
        let Some(procedure) = &request.procedure else {
            return Err(Failure::Invalid("procedure is missing".to_owned()));
        };
        let answer = self.ask(guest, procedure, &request).await?;
        Ok(say(answer.as_ref()))
    }

    /// Calls, and waits for the answer; `None`: there was none in time.
    ///
    /// # Errors
    /// The guest may not call it.
    pub(super) async fn ask(
        &self,
        guest: &Guest,
        procedure: &Topic,
        request: &Request<'_>,
    ) -> Result<Option<Answer>, Failure> {
        self.decide(guest, &[(Action::Call, TopicPattern::exact(procedure))]).await;
        if !guest.rights.allows(Action::Call, procedure) {
            return Err(Failure::NotAuthorized { what: "call this procedure" });
        }
        let longest_ms = u64::from(self.node.limits.http_call_timeout_s) * 1000;
        let timeout_ms = request.timeout_ms.filter(|ms| *ms > 0).unwrap_or(longest_ms).min(longest_ms);
        let begun = Instant::now();
        let caller = Caller::new(&self.node, guest);
        let answered = self.start_call(&caller, procedure, request, timeout_ms);
        let answer = tokio::time::timeout(Duration::from_millis(timeout_ms), answered).await;
        self.node.metrics.call.observe_us(begun.elapsed().as_micros() as u64);
        // The time is up. A caller that nobody answers any more has been ended with its realm.
        Ok(answer.ok().and_then(Result::ok))
    }

    fn start_call(
        &self,
        caller: &Caller,
        procedure: &Topic,
        request: &Request<'_>,
        timeout_ms: u64,
    ) -> oneshot::Receiver<Answer> {
        let Caller { node, realm, session } = caller;
        let (answer, answered) = oneshot::channel();
        // If nobody waits any more, nobody misses the answer.
        let reply_to = ReplyTo::Function(Box::new(move |found| drop(answer.send(found))));
        // The session makes this one call.
        let number = RequestId(1);
        session.replies.lock().insert(number, reply_to);
        let discloser = Discloser {
            session: session.id,
            authid: Some(session.identity.authid.clone()),
            authrole: Some(session.identity.authrole.clone()),
        };
        let ruled = realm.rules.of(procedure, discloser.authrole.as_deref());
        let told = session.rights().discloses(Action::Call, procedure);
        let payload = match (request.args, request.kwargs) {
            (None, None) => PayloadRef::NONE,
            (args, kwargs) => PayloadRef::Args { format: Format::Json, args, kwargs },
        };
        let call = Call {
            request: number,
            procedure,
            payload,
            codec: realm.codec(procedure),
            timeout_ms,
            receive_progress: false,
            progress: false,
            disclose_me: request.disclose_me || told,
            caller: &discloser,
            notes: Notes { trust: ruled.trust, disclosure: ruled.disclosure, ..Notes::default() },
        };
        let mut touched = Touched::default();
        let now_ms = self.clock.now_ms();
        let called = realm.call(node, &mut touched, session, &call, now_ms);
        debug_assert!(called.is_ok(), "a new session has no call under way");
        touched.wake();
        node.metrics.of(Protocol::Http).calls_in.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answered
    }
}

/// The result or the error; without either, that the time is up.
pub(super) fn say(answer: Option<&Answer>) -> answer::Answer {
    let Some(answer) = answer else {
        return say_error(Refusal::Timeout.uri(), &Refusal::Timeout.to_string(), None);
    };
    match &answer.error {
        // The router says why; a callee says only what its arguments say.
        Some((uri, message)) if message.is_empty() => {
            say_error(uri, "the procedure answered with an error", Some(answer))
        }
        Some((uri, message)) => say_error(uri, message, None),
        None => {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.payload(answer.payload.as_ref(), answer.codec);
            object.end();
            answer::json(StatusCode::OK, out)
        }
    }
}

/// An error, with what its callee says about it.
fn say_error(uri: &str, message: &str, callee: Option<&Answer>) -> answer::Answer {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.text("error", uri);
    object.text("message", message);
    if let Some(answer) = callee {
        object.payload(answer.payload.as_ref(), answer.codec);
    }
    object.end();
    answer::json(status(uri), out)
}

/// The status of an error, whoever says it. Those of applications are 500.
fn status(uri: &str) -> StatusCode {
    match uri {
        "wamp.error.no_such_procedure" => StatusCode::NOT_FOUND,
        "wamp.error.not_authorized" => StatusCode::FORBIDDEN,
        "wamp.error.timeout" => StatusCode::GATEWAY_TIMEOUT,
        "wamp.error.invalid_argument" | "wamp.error.invalid_uri" => StatusCode::BAD_REQUEST,
        "wamp.error.payload_size_exceeded" => StatusCode::PAYLOAD_TOO_LARGE,
        // The callee left before it answered.
        "wamp.error.canceled" => StatusCode::BAD_GATEWAY,
        "fennec.error.condition_failed"
        | "fennec.error.conflict"
        | "fennec.error.not_held"
        | "fennec.error.role_exists"
        | "fennec.error.user_exists" => StatusCode::CONFLICT,
        "fennec.error.no_such_durable"
        | "fennec.error.no_such_permission"
        | "fennec.error.no_such_role"
        | "fennec.error.no_such_user"
        | "fennec.error.no_such_value"
        | "wamp.error.no_such_session"
        | "wamp.error.no_such_registration"
        | "wamp.error.no_such_subscription" => StatusCode::NOT_FOUND,
        "wamp.error.no_available_callee"
        | "wamp.error.unavailable"
        | "fennec.error.quota_exceeded"
        | "fennec.error.store_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
