//! The HTTP gate: publishing, calling and subscribing for whoever has `curl`, metrics, and the door for WebSockets.
//!
//! ```text
//! connection --hyper--> route --/publish, /call--> node          --JSON--> answer
//!                            \--/subscribe-------> node session  --events-> body, until the client goes
//!                            |-/lp/…-------------> LongPollGate (`cli` gives it), through a pipe
//!                           |--/admin/…-----> `fennec.admin.*`   --JSON--> answer
//!                             \-WebSocket--------> WebSocketGate (`cli` gives it): from here on no HTTP any more
//! ```
//!
//! Every request stands for itself: it says who it is (`access`), gets a session in a realm for as long as it takes, and
//! is allowed by the same authorizer what MQTT and WAMP clients are.
//!
//! Left out on purpose: logins by forms, and HTTP/2 (a proxy in front speaks it).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use crate::net::clock::Clock;
use crate::net::stream::Stream;
use crate::node::Node;
use crate::node::users::Anonymous;
use crate::types::network::Network;

mod access;
mod admin;
mod answer;
mod asking;
pub mod bare;
mod call;
mod cookie;
mod counted;
mod fields;
mod forwarded;
pub mod hooks;
pub mod longpoll;
pub mod metrics;
mod page;
mod publish;
mod route;
pub mod signature;
mod sse;
mod subscribe;
mod websocket;
pub mod write;

pub use forwarded::AddressHeader;
pub use websocket::{Upgraded, WebSocketGate};

use counted::Counted;
use metrics::Text;

/// What all HTTP listeners of a node have in common.
pub struct Settings {
    /// Origins of foreign web pages that may open a WebSocket, post or subscribe, in lower case; `null` and `*` as in
    /// `docs/configuration.md`.
    pub allowed_origins: Vec<String>,
    /// Where trusted proxies say for whom they ask.
    pub address_header: AddressHeader,
    /// Paths that speak WebSocket, each with the gate that gets its sockets.
    pub websockets: Vec<(&'static str, Arc<dyn WebSocketGate>)>,
    /// What speaks WAMP with those who cannot use a WebSocket.
    pub long_poll: Option<Arc<dyn longpoll::LongPollGate>>,
    /// What the page at `/` tells.
    pub places: Vec<Place>,
    /// What answers `POST /hooks/NAME`.
    pub hooks: Vec<hooks::Open>,
    /// A listener is for `/admin/…`: the others do not have it.
    pub admin_apart: bool,
    /// Writes what else `/metrics` tells.
    pub more_metrics: Option<MoreMetrics>,
}

/// Writes metrics that this room knows nothing of.
pub type MoreMetrics = Arc<dyn Fn(&mut Text) + Send + Sync>;

/// Something that runs somewhere, for the page at `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `MQTT`, `WAMP over RawSocket`, …
    pub what: String,
    /// A URL.
    pub url: String,
}

/// What holds for the requests of one listener.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Realm of requests that name none, instead of the default one.
    pub realm: Option<Arc<str>>,
    pub anonymous: Anonymous,
    /// Who says for whom it asks.
    pub trusted_proxies: Arc<[Network]>,
    pub scope: Scope,
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything, but what another listener is for.
    #[default]
    All,
    /// Who runs the broker: `/admin/…`, and what the next has.
    Admin,
    /// Who watches it: `/metrics`, `/healthz`, `/readyz`, without credentials.
    Metrics,
}

/// See the module.
pub struct Server {
    node: Arc<Node>,
    clock: Clock,
    settings: Settings,
    draining: watch::Sender<bool>,
    transports: longpoll::Transports,
}

impl Server {
    pub fn new(node: Arc<Node>, clock: Clock, settings: Settings) -> Arc<Self> {
        let (draining, transports) = (watch::Sender::new(false), longpoll::Transports::default());
        Arc::new(Self { node, clock, settings, draining, transports })
    }

    /// Closes connections as soon as no request is under way on them. To be called when the node drains, which ends
    /// subscriptions and refuses new requests.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Runs one connection, until it ends or another gate has it.
    pub async fn serve(self: Arc<Self>, stream: Stream, entrance: Arc<Entrance>) {
        let (peer, tls) = (stream.peer().clone(), stream.is_tls());
        let header_timeout = Duration::from_secs(self.node.limits.handshake_timeout_s.into());
        let mut draining = self.draining.subscribe();
        let io = TokioIo::new(Counted::new(stream, self.node.clone()));
        let socket = peer.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (header, trusted) = (self.settings.address_header, &entrance.trusted_proxies);
            let peer = forwarded::client(&socket, request.headers(), header, trusted);
            let visit = route::Visit { server: self.clone(), entrance: entrance.clone(), peer, tls };
            async move { Ok::<_, Infallible>(visit.answer(request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(header_timeout);
        let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
        let drain = async move {
            // An error says that there is no server any more.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = drain => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP connection broke");
        }
    }
}
