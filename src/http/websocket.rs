//! The door for WebSockets (RFC 6455, 4.2): who gets through becomes another gate's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Entrance;
use super::answer::{Answer, Body, Failure};
use super::counted::Counted;
use crate::net::stream::Stream;
use crate::node::authenticate::cookies::Carried;
use crate::types::peer::Peer;

/// Takes the sockets of a path after their WebSocket handshake. `cli` makes one for each gate, for rooms of one floor do not
/// know each other.
pub trait WebSocketGate: Send + Sync {
    /// The first subprotocol that it speaks among those offered: the value of `Sec-WebSocket-Protocol`, comma-separated and by
    /// preference. `None`: none of them. An empty text: it does without one.
    fn choose(&self, offered: &str) -> Option<&'static str>;

    /// A subprotocol that it speaks, to be told to those who offer none.
    fn example(&self) -> &'static str;

    /// Whether its clients may prove who they are by a cookie.
    fn uses_cookies(&self) -> bool {
        false
    }

    /// Runs the connection until its end.
    fn run(&self, upgraded: Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A connection that speaks WebSocket frames from here on.
pub struct Upgraded {
    pub stream: Stream,
    /// Who asked: what the request told of a trusted proxy's client counts, too.
    pub peer: Arc<Peer>,
    /// What came behind the request already.
    pub early: Bytes,
    pub subprotocol: &'static str,
    /// The listener it came by.
    pub entrance: Arc<Entrance>,
    /// Whether it may stay anonymous; the listener and the request decide.
    pub anonymous: bool,
    /// The cookie it came with or was given, where the gate uses them.
    pub cookie: Option<Carried>,
}

/// Whether a request asks for a WebSocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Answers a WebSocket request. When the answer is out, the socket goes to `gate`, in a task of its own.
///
/// # Errors
/// The request is not one by RFC 6455, or offers no subprotocol that `gate` speaks.
pub fn open<B>(
    mut request: Request<B>,
    gate: &Arc<dyn WebSocketGate>,
    entrance: Arc<Entrance>,
    peer: Arc<Peer>,
    anonymous: bool,
    cookie: impl FnOnce(&HeaderMap) -> Option<(Carried, Option<HeaderValue>)>,
) -> Result<Answer, Failure> {
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let upgrade = has_token(headers, &CONNECTION, "upgrade") && is_asked(headers);
    if request.method() != Method::GET || !upgrade || !version {
        return Err(Failure::NoWebSocket);
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(Failure::Invalid("Sec-WebSocket-Key is missing".to_owned()));
    };
    let accept = derive_accept_key(key.as_bytes());
    let offered: Vec<&str> =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok()).collect();
    let subprotocol = gate.choose(&offered.join(","));
    let subprotocol = subprotocol.ok_or(Failure::NoSubprotocol { example: gate.example() })?;

    let (cookie, given) = gate.uses_cookies().then(|| cookie(headers)).flatten().unzip();
    let (upgrade, gate) = (hyper::upgrade::on(&mut request), gate.clone());
    tokio::spawn(async move {
        if let Some((stream, early)) = take_over(upgrade).await {
            gate.run(Upgraded { stream, peer, early, subprotocol, entrance, anonymous, cookie }).await;
        }
    });
    let mut answer = switching(&accept, subprotocol);
    if let Some(given) = given.flatten() {
        answer.headers_mut().insert(SET_COOKIE, given);
    }
    Ok(answer)
}

fn switching(accept: &str, subprotocol: &'static str) -> Answer {
    let mut answer = Response::new(Body::Whole(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if !subprotocol.is_empty() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// The socket under hyper, so that nothing of it is left on the way of the bytes.
async fn take_over(upgrade: OnUpgrade) -> Option<(Stream, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<Counted>>().ok()?;
    Some((parts.io.into_inner().into_stream(), parts.read_buf))
}

/// Whether a header that is a list of tokens has this one.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}
