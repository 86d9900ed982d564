//! Sessions that requests carry (WAMP, HTTP Longpoll Transport), for clients that no WebSocket gets through to.
//!
//! ```text
//! POST /lp/open        -> a transport: one end of a pipe here, at the other a session machine, as behind a WebSocket
//! POST /lp/ID/send     -> a message for the session
//! POST /lp/ID/receive  <- its next message, as soon as there is one
//! POST /lp/ID/close    -> the pipe is closed
//! ```
//!
//! So what waits for a client that does not ask is bounded as it is for every other, by its outbox, and the same happens when
//! that is full. What was handed to a request whose connection then breaks is lost: the transport has no acknowledgements.

mod transport;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use hyper::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::io::DuplexStream;

use super::answer::{self, Answer, Failure};
use super::{Entrance, Server};
use crate::types::peer::Peer;
use transport::{Gone, Transport};

/// Bytes on their way through a pipe. What else waits does so in the session's outbox.
const PIPE_BYTES: usize = 64 * 1024;
/// An id is as hard to guess as a key.
const ID_BYTES: usize = 24;
/// How long one knows a transport that is over, so that its client can close it.
const REMEMBERED: Duration = Duration::from_secs(2);

/// A way of writing messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// As WebSocket subprotocols are called.
    pub name: &'static str,
    /// Messages are text (JSON).
    pub text: bool,
    /// Several messages make a body.
    pub batched: bool,
    pub content_type: &'static str,
}

/// Runs what is at the other end of transports. `cli` makes one, for rooms of one floor do not know each other.
pub trait LongPollGate: Send + Sync {
    /// The first that it speaks among those offered.
    fn choose(&self, offered: &[String]) -> Option<Protocol>;

    /// Runs a connection until its end.
    fn run(&self, opened: Opened) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A transport that was opened.
pub struct Opened {
    /// Carries WebSocket frames, as the socket of a WebSocket would.
    pub pipe: DuplexStream,
    pub protocol: Protocol,
    /// Who opened it. Without a channel binding: further requests may come by other connections.
    pub peer: Arc<Peer>,
    /// The listener it was opened by.
    pub entrance: Arc<Entrance>,
    /// Whether it may stay anonymous; the listener and the request decide.
    pub anonymous: bool,
}

/// All that are open.
#[derive(Default)]
pub struct Transports {
    by_id: Mutex<HashMap<Box<str>, Arc<Transport>>>,
}

/// The body of `/open`.
#[derive(Deserialize)]
struct Open {
    protocols: Vec<String>,
}

/// What is asked of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Send,
    Receive,
    Close,
}

impl Asked {
    /// From the path behind `/lp/`: the transport's id, and what is asked of it.
    pub fn read(path: &str) -> Option<(&str, Self)> {
        let (id, what) = path.split_once('/')?;
        let asked = match what {
            "send" => Self::Send,
            "receive" => Self::Receive,
            "close" => Self::Close,
            _ => return None,
        };
        Some((id, asked))
    }
}

impl Server {
    /// Opens a transport.
    ///
    /// # Errors
    /// The body is not what it should be, offers nothing that is spoken here, or there are as many as there may be.
    pub(super) fn open_transport(
        self: &Arc<Self>,
        body: &[u8],
        peer: &Peer,
        entrance: Arc<Entrance>,
        anonymous: bool,
    ) -> Result<Answer, Failure> {
        let gate = self.settings.long_poll.as_ref().ok_or(Failure::NothingThere { path: "/lp/open".to_owned() })?;
        let open: Open = serde_json::from_slice(body)
            .map_err(|error| Failure::Invalid(format!("must be {{\"protocols\": [\"wamp.2.json\"]}}: {error}")))?;
        let protocol = gate.choose(&open.protocols).ok_or(Failure::NoSubprotocol { example: "wamp.2.json" })?;
        let id = fresh_id().ok_or(Failure::TooManySessions)?;
        let (near, pipe) = tokio::io::duplex(PIPE_BYTES);
        let transport = Arc::new(Transport::new(near, protocol));
        {
            let mut transports = self.transports.by_id.lock();
            if transports.len() >= self.node.limits.wamp_longpoll_transports_max {
                return Err(Failure::TooManySessions);
            }
            transports.insert(id.clone().into(), transport.clone());
        }
        let mut peer = peer.clone();
        if let Some(tls) = &mut peer.tls {
            tls.exporter = None;
        }
        let running = gate.run(Opened { pipe, protocol, peer: Arc::new(peer), entrance, anonymous });
        let (server, name) = (self.clone(), id.clone());
        let idle = Duration::from_secs(self.node.limits.wamp_longpoll_idle_timeout_s.into());
        tokio::spawn(async move {
            live(&transport, running, idle).await;
            server.transports.by_id.lock().remove(name.as_str());
        });
        let text = json!({ "protocol": protocol.name, "transport": id }).to_string();
        Ok(answer::json(StatusCode::OK, text.into_bytes()))
    }

    /// The transport of this id.
    ///
    /// # Errors
    /// There is none, or none any more.
    pub(super) fn transport(&self, id: &str) -> Result<Arc<Transport>, Failure> {
        let found = self.transports.by_id.lock().get(id).cloned();
        found.ok_or(Failure::NoTransport)
    }

    /// Answers what is asked of a transport. `body`: of `send`.
    pub(super) async fn ask_transport(
        &self,
        transport: Arc<Transport>,
        asked: Asked,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let _visit = transport.visit();
        match asked {
            Asked::Send => {
                transport.send(&body).await?;
                Ok(answer::nothing())
            }
            Asked::Receive => {
                let patience = Duration::from_secs(self.node.limits.wamp_longpoll_receive_timeout_s.into());
                match transport.receive(patience).await {
                    Ok(Some(message)) => Ok(answer::whole(StatusCode::OK, transport.protocol.content_type, message)),
                    Ok(None) => Ok(answer::nothing()),
                    Err(Gone) => Err(Failure::NoTransport),
                }
            }
            Asked::Close => {
                transport.close().await;
                Ok(answer::nothing())
            }
        }
    }
}

/// Runs a transport until its client or its session ends it, or nobody asks for it any more.
async fn live(transport: &Transport, running: Pin<Box<dyn Future<Output = ()> + Send>>, idle: Duration) {
    tokio::select! {
        () = running => {}
        () = transport.forgotten(idle) => return,
    }
    // Its last words wait to be received.
    tokio::select! {
        () = transport.drained() => {}
        () = transport.forgotten(idle) => return,
    }
    tokio::time::sleep(REMEMBERED).await;
}

fn fresh_id() -> Option<String> {
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id).ok()?;
    Some(BASE64.encode(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_transport_and_what() {
        assert_eq!(Asked::read("abc/send"), Some(("abc", Asked::Send)));
        assert_eq!(Asked::read("abc/receive"), Some(("abc", Asked::Receive)));
        assert_eq!(Asked::read("abc/close"), Some(("abc", Asked::Close)));
        for path in ["", "abc", "abc/", "abc/open", "abc/send/", "/"] {
            assert_eq!(Asked::read(path), None, "{path}");
        }
    }

    #[test]
    fn ids_do_not_repeat_and_need_no_escapes() {
        let (one, other) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{one}");
    }
}
