//! What is sent back: JSON, text, or a stream of events.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::subscribe::Events;
use crate::node::log::history::Busy;
use crate::node::publish::PublishRefused;
use crate::queue::outcome::Refused;
use crate::store::StoreError;
use crate::types::topic::TopicError;

/// When a request that the store could not serve may be tried again.
const RETRY_AFTER_S: &str = "2";

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Events, until the client goes.
    Events(Box<Events>),
}

pub type Answer = Response<Body>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Events(events) => events.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Events(_) => SizeHint::default(),
        }
    }
}

/// An answer with a body of this type.
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::Whole(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer that says only that all is well.
pub fn nothing() -> Answer {
    let mut answer = Response::new(Body::Whole(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer with a JSON text, which is given a line's end for people who read it in a terminal.
pub fn json(status: StatusCode, mut text: Vec<u8>) -> Answer {
    text.push(b'\n');
    whole(status, "application/json", text)
}

/// Why a request is not done. Each is answered with its status and `{"error": URI, "message": text}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("there is nothing at {path}; GET / tells what there is")]
    NothingThere { path: String },
    #[error("only {allow} is answered here")]
    WrongMethod { allow: &'static str },
    #[error("{0}")]
    Invalid(String),
    #[error("{field} {error}")]
    InvalidTopic { field: &'static str, error: TopicError },
    #[error("the body must be JSON: send Content-Type: application/json (curl: --json)")]
    NotJson,
    #[error("the body is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("the body took too long to come")]
    TooSlow,
    #[error("say who you are: this listener wants user name and password (HTTP Basic)")]
    NoCredentials,
    #[error("no such user, or another password")]
    WrongCredentials,
    /// Who decides does not answer.
    #[error("it cannot be found out now who you are")]
    CannotAuthenticate,
    #[error("the request does not prove where it comes from, or is too old")]
    NotProved,
    #[error("web pages of {origin} may not ask here; an operator can allow them (http.allowed_origins)")]
    ForeignOrigin { origin: String },
    #[error("not authorized to {what}")]
    NotAuthorized { what: &'static str },
    #[error("there is no realm {realm:?} here that is open to you")]
    NoSuchRealm { realm: String },
    #[error("there is no room for another retained value")]
    RetainedFull,
    #[error("the realm has as many durable subscriptions as it may")]
    TooManyDurables,
    #[error("the condition does not hold")]
    ConditionFailed,
    #[error("a durable subscription of this name is another user's, or of another topic or kind")]
    Conflict,
    #[error("{0}")]
    StoreUnavailable(String),
    #[error("as many sessions as there may be")]
    TooManySessions,
    #[error("there is no memory for more")]
    MemoryFull,
    #[error("too many requests, or too large ones, for one second: ask again in {wait_s} s")]
    TooFast { wait_s: u64 },
    #[error("there is no such transport, or it was closed")]
    NoTransport,
    #[error("too many messages wait for those that were sent before")]
    TooManySends,
    #[error("this speaks WebSocket, version 13, only")]
    NoWebSocket,
    #[error("offer a WebSocket subprotocol that is spoken here, such as {example}")]
    NoSubprotocol { example: &'static str },
    #[error("the broker is stopping")]
    Draining,
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NothingThere { .. } | Self::NoSuchRealm { .. } | Self::NoTransport => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid(_) | Self::InvalidTopic { .. } | Self::NoSubprotocol { .. } => StatusCode::BAD_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoCredentials | Self::WrongCredentials | Self::NotProved => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin { .. } | Self::NotAuthorized { .. } => StatusCode::FORBIDDEN,
            Self::ConditionFailed | Self::Conflict => StatusCode::CONFLICT,
            Self::RetainedFull | Self::TooManyDurables => StatusCode::INSUFFICIENT_STORAGE,
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::TooFast { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreUnavailable(_)
            | Self::CannotAuthenticate
            | Self::TooManySessions
            | Self::MemoryFull
            | Self::TooManySends
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error's URI: WAMP's where WAMP has one.
    pub fn uri(&self) -> &'static str {
        match self {
            Self::NothingThere { .. } | Self::NoTransport => "fennec.error.not_found",
            Self::WrongMethod { .. } => "fennec.error.method_not_allowed",
            Self::Invalid(_) => "wamp.error.invalid_argument",
            Self::InvalidTopic { .. } => "wamp.error.invalid_uri",
            Self::NotJson => "fennec.error.unsupported_media_type",
            Self::TooLarge { .. } => "wamp.error.payload_size_exceeded",
            Self::TooSlow => "wamp.error.timeout",
            Self::NoCredentials => "wamp.error.authentication_required",
            Self::WrongCredentials | Self::CannotAuthenticate | Self::NotProved => "wamp.error.authentication_failed",
            Self::ForeignOrigin { .. } => "fennec.error.foreign_origin",
            Self::NotAuthorized { .. } => "wamp.error.not_authorized",
            Self::NoSuchRealm { .. } => "wamp.error.no_such_realm",
            Self::ConditionFailed => "fennec.error.condition_failed",
            Self::Conflict => "fennec.error.conflict",
            Self::StoreUnavailable(_) => "fennec.error.store_unavailable",
            Self::RetainedFull
            | Self::TooManyDurables
            | Self::TooManySessions
            | Self::TooManySends
            | Self::TooFast { .. }
            | Self::MemoryFull => "fennec.error.quota_exceeded",
            Self::NoWebSocket => "fennec.error.upgrade_required",
            Self::NoSubprotocol { .. } => "fennec.error.no_subprotocol",
            Self::Draining => "wamp.close.system_shutdown",
        }
    }

    pub fn answer(&self) -> Answer {
        let body = json!({ "error": self.uri(), "message": self.to_string() });
        let mut answer = json(self.status(), body.to_string().into_bytes());
        let headers = answer.headers_mut();
        match self {
            Self::WrongMethod { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::NoCredentials | Self::WrongCredentials => {
                let basic = HeaderValue::from_static("Basic realm=\"fennec\", charset=\"UTF-8\"");
                headers.insert(WWW_AUTHENTICATE, basic);
            }
            Self::StoreUnavailable(_) | Self::CannotAuthenticate | Self::MemoryFull => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            Self::TooFast { wait_s } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(*wait_s));
            }
            Self::NoWebSocket => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        answer
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::StoreUnavailable | Refused::Full => Self::StoreUnavailable(refused.to_string()),
            Refused::Stopping => Self::Draining,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(format!("the store {error}"))
    }
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        Self::StoreUnavailable(busy.to_string())
    }
}

impl From<PublishRefused> for Failure {
    fn from(refused: PublishRefused) -> Self {
        match refused {
            PublishRefused::DisclosureDenied => {
                Self::NotAuthorized { what: "be disclosed to those who subscribe here" }
            }
            PublishRefused::NotAuthorized => Self::NotAuthorized { what: "publish to this topic" },
            PublishRefused::MemoryFull => Self::MemoryFull,
            PublishRefused::RetainedFull => Self::RetainedFull,
            PublishRefused::ConditionWithoutRetain => Self::Invalid(refused.to_string()),
        }
    }
}
