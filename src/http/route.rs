//! From a path to what answers it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::answer::{self, Answer, Failure};
use super::longpoll::Asked;
use super::{Entrance, Scope, Server, access, admin, call, cookie, metrics, page, publish, subscribe, websocket};
use crate::node::metrics::Protocol;
use crate::node::realm::Realm;
use crate::node::request_rates::Asker;
use crate::node::session::Identity;
use crate::router::authorize::Rights;
use crate::types::peer::Peer;
use access::Visitor;

/// One request's surroundings.
pub struct Visit {
    pub server: Arc<Server>,
    pub entrance: Arc<Entrance>,
    pub peer: Arc<Peer>,
    pub tls: bool,
}

/// Somebody in a realm.
pub struct Guest {
    pub realm: Arc<Realm>,
    pub rights: Rights,
    pub identity: Identity,
}

/// What was counted of a request.
struct Toll {
    asker: Asker,
    /// The length of its body, as far as it was said.
    body: usize,
}

impl Toll {
    /// Counts what nobody knew of: all of a body that comes in chunks.
    fn rest(&self, visit: &Visit, body: usize) {
        let (node, now_ms) = (&visit.server.node, visit.server.clock.now_ms());
        node.more_of_request(&self.asker, body.saturating_sub(self.body), now_ms);
    }
}

/// Where hooks are.
const HOOKS: &str = "/hooks/";
/// Where long-polling is.
const LONG_POLL: &str = "/lp/";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl Scope {
    /// Whether there is something at this path.
    fn has(self, path: &str, admin_apart: bool) -> bool {
        let watching = matches!(path, "/metrics" | "/healthz" | "/readyz");
        match self {
            Self::All => !admin_apart || !path.starts_with(admin::ROOT),
            Self::Admin => watching || path.starts_with(admin::ROOT),
            Self::Metrics => watching,
        }
    }
}

impl Visit {
    /// Answers a request; whatever is wrong with it is answered, too.
    pub async fn answer(self, request: Request<Incoming>) -> Answer {
        let node = &self.server.node;
        node.metrics.of(Protocol::Http).messages_in.fetch_add(1, Ordering::Relaxed);
        let origin = access::allowed_foreign_origin(&self.server.settings.allowed_origins, request.headers());
        let polls = request.uri().path().starts_with(LONG_POLL);
        let mut answer = self.route(request).await.unwrap_or_else(|failure| failure.answer());
        if let Some(origin) = origin {
            if polls {
                // Autobahn|JS has browsers send cookies, and then they want to see this.
                answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.headers_mut().insert(VARY, HeaderValue::from_name(ORIGIN));
        }
        if node.is_draining() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let path = request.uri().path();
        let scope = self.entrance.scope;
        if !scope.has(path, self.server.settings.admin_apart) {
            return Err(Failure::NothingThere { path: path.to_owned() });
        }
        if let Some((_, gate)) = self.server.settings.websockets.iter().find(|(at, _)| *at == path) {
            self.check_room(request.headers())?;
            let anonymous = self.may_be_anonymous(request.headers());
            let now_ms = self.server.clock.now_ms();
            let cookie = |headers: &HeaderMap| cookie::carried(&self.server.node, headers, self.tls, now_ms);
            return websocket::open(request, gate, self.entrance.clone(), self.peer.clone(), anonymous, cookie);
        }
        match path {
            "/" => only(&request, "GET, HEAD").map(|()| self.page(request.headers())),
            "/healthz" => only(&request, "GET, HEAD").map(|()| answer::whole(StatusCode::OK, TEXT, "ok\n")),
            "/readyz" => only(&request, "GET, HEAD").and_then(|()| self.ready()),
            "/metrics" => {
                only(&request, "GET, HEAD")?;
                if scope != Scope::Metrics {
                    self.identify(request.headers()).await?;
                }
                Ok(answer::whole(StatusCode::OK, metrics::CONTENT_TYPE, self.server.metrics()))
            }
            "/publish" => self.publish(request).await,
            "/call" => self.call(request).await,
            "/subscribe" => self.subscribe(request).await,
            path if path.starts_with(admin::ROOT) => self.admin(request).await,
            path if path.starts_with(HOOKS) => self.hook(request).await,
            path if path.starts_with(LONG_POLL) => self.poll(request).await,
            _ => Err(Failure::NothingThere { path: path.to_owned() }),
        }
    }

    async fn poll(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let path = request.uri().path().strip_prefix(LONG_POLL).unwrap_or_default();
        if path == "open" {
            if let Some(answer) = self.before(&request, "POST")? {
                return Ok(answer);
            }
            let anonymous = self.may_be_anonymous(request.headers());
            self.take(None, &request)?;
            let body = self.read_body(request, self.server.node.limits.http_body_bytes_max).await?;
            return self.server.open_transport(&body, &self.peer, self.entrance.clone(), anonymous);
        }
        // A session that the broker ends is told so although the broker stops.
        access::check_origin(&self.server.settings.allowed_origins, request.headers())?;
        if let Some(answer) = preflight(&request, "POST")? {
            return Ok(answer);
        }
        let nothing_there = || Failure::NothingThere { path: request.uri().path().to_owned() };
        let (id, asked) = Asked::read(path).ok_or_else(nothing_there)?;
        let transport = self.server.transport(id)?;
        let body = self.read_body(request, self.server.node.limits.wamp_websocket_bytes_max).await?;
        self.server.ask_transport(transport, asked, body).await
    }

    async fn publish(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        if let Some(answer) = self.before(&request, "POST")? {
            return Ok(answer);
        }
        let visitor = self.identify(request.headers()).await?;
        let toll = self.take(Some(&visitor), &request)?;
        let body = self.read_json(request).await?;
        toll.rest(self, body.len());
        let request = publish::Request::read(&body)?;
        let guest = self.enter(&visitor, request.realm.as_deref())?;
        self.server.publish(&guest, request, &body).await
    }

    /// Not for web pages; who posts proves it in his own way.
    async fn hook(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        only(&request, "POST")?;
        self.check_room(request.headers())?;
        let path = request.uri().path();
        let hook = self.server.settings.hooks.iter().find(|hook| Some(hook.name()) == path.strip_prefix(HOOKS));
        let hook = hook.ok_or_else(|| Failure::NothingThere { path: path.to_owned() })?;
        let headers = request.headers().clone();
        let toll = self.take(None, &request)?;
        let body = self.read_body(request, self.server.node.limits.http_body_bytes_max).await?;
        toll.rest(self, body.len());
        hook.post(&self.server.node, self.server.clock, &headers, body).await
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        if let Some(answer) = self.before(&request, "POST")? {
            return Ok(answer);
        }
        let visitor = self.identify(request.headers()).await?;
        let toll = self.take(Some(&visitor), &request)?;
        let body = self.read_json(request).await?;
        toll.rest(self, body.len());
        let request = call::Request::read(&body)?;
        let guest = self.enter(&visitor, request.realm.as_deref())?;
        self.server.call(&guest, request).await
    }

    async fn subscribe(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        if let Some(answer) = self.before(&request, "GET")? {
            return Ok(answer);
        }
        let visitor = self.identify(request.headers()).await?;
        self.take(Some(&visitor), &request)?;
        let last_event_id = request.headers().get(&subscribe::LAST_EVENT_ID);
        let query = request.uri().query().unwrap_or_default();
        let request = subscribe::Request::read(query, last_event_id)?;
        let guest = self.enter(&visitor, request.realm.as_deref())?;
        self.server.subscribe(guest, request).await
    }

    /// What holds for everything that reaches the router: it is asked by `method`, by no foreign page, and not too late. A
    /// browser that only wants to know whether its page may ask (WHATWG Fetch, CORS-preflight) has its answer here.
    fn before(&self, request: &Request<Incoming>, method: &'static str) -> Result<Option<Answer>, Failure> {
        self.check_room(request.headers())?;
        preflight(request, method)
    }

    pub(super) fn check_open(&self, headers: &HeaderMap) -> Result<(), Failure> {
        access::check_origin(&self.server.settings.allowed_origins, headers)?;
        if self.server.node.is_draining() { Err(Failure::Draining) } else { Ok(()) }
    }

    /// The same of what takes memory: operators, who may free some, are not asked.
    fn check_room(&self, headers: &HeaderMap) -> Result<(), Failure> {
        self.check_open(headers)?;
        if self.server.node.is_tight() { Err(Failure::MemoryFull) } else { Ok(()) }
    }

    /// Counts a request, of a visitor or of whoever asks from that address.
    ///
    /// # Errors
    /// Those before it were too many, or too large.
    fn take(&self, visitor: Option<&Visitor>, request: &Request<Incoming>) -> Result<Toll, Failure> {
        let asker = Asker::new(visitor.map(|visitor| &*visitor.proved.user), self.peer.address.ip());
        let body = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
        let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        let bytes = body.saturating_add(headers.sum()).saturating_add(request.uri().path().len());
        let taken = self.server.node.take_request(&asker, bytes, self.server.clock.now_ms());
        taken.map_err(|wait_ms| Failure::TooFast { wait_s: wait_ms.div_ceil(1000) })?;
        Ok(Toll { asker, body })
    }

    fn ready(&self) -> Result<Answer, Failure> {
        let node = &self.server.node;
        if node.is_draining() {
            return Err(Failure::Draining);
        }
        if node.memory.is_tight() {
            return Err(Failure::MemoryFull);
        }
        if let Some(why) = node.log.health() {
            return Err(Failure::StoreUnavailable(format!("durable publishing has stopped, the rest goes on: {why}")));
        }
        let alarms = node.log.alarms().into_iter().map(|alarm| format!("alarm: {alarm}\n"));
        Ok(answer::whole(StatusCode::OK, TEXT, format!("ready\n{}", alarms.collect::<String>())))
    }

    fn page(&self, headers: &HeaderMap) -> Answer {
        let realm = self.entrance.realm.as_deref().unwrap_or(&self.server.node.default_realm);
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let base = format!("{}://{host}", if self.tls { "https" } else { "http" });
        let mut answer = answer::whole(StatusCode::OK, HTML, self.server.page(realm, &base));
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
        answer
    }

    fn may_be_anonymous(&self, headers: &HeaderMap) -> bool {
        access::may_be_anonymous(self.entrance.anonymous, &self.peer, headers)
    }

    pub(super) async fn identify(&self, headers: &HeaderMap) -> Result<Visitor, Failure> {
        let (server, anonymous) = (&self.server, self.may_be_anonymous(headers));
        access::identify(&server.node, headers, &self.peer, anonymous, server.clock.now_ms()).await
    }

    /// The realm that a visitor asks for, else the one that an MQTT client would be in; open to it, and it has a role there.
    pub(super) fn enter(&self, visitor: &Visitor, asked: Option<&str>) -> Result<Guest, Failure> {
        let node = &self.server.node;
        let name = visitor.proved.user.mqtt_realm(asked, self.entrance.realm.as_deref(), &node.default_realm);
        let realm = name.and_then(|name| node.realm(name));
        let realm = realm.ok_or_else(|| {
            let realm = asked.or(name).unwrap_or(&node.default_realm).to_owned();
            Failure::NoSuchRealm { realm }
        })?;
        let rights = realm.rights(&visitor.proved.user, None);
        let rights = rights.ok_or(Failure::NotAuthorized { what: "enter this realm" })?;
        Ok(Guest { realm, rights, identity: visitor.identity() })
    }

    /// The body of a request that is to be JSON.
    pub(super) async fn read_json(&self, request: Request<Incoming>) -> Result<Bytes, Failure> {
        let content_type =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Failure::NotJson);
        }
        self.read_body(request, self.server.node.limits.http_body_bytes_max).await
    }

    async fn read_body(&self, request: Request<Incoming>, max: usize) -> Result<Bytes, Failure> {
        let limits = &self.server.node.limits;
        let too_large = Failure::TooLarge { max };
        if request.body().size_hint().lower() > max as u64 {
            return Err(too_large);
        }
        let timeout = Duration::from_secs(limits.handshake_timeout_s.into());
        let body = Limited::new(request.into_body(), max).collect();
        match tokio::time::timeout(timeout, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
            Ok(Err(error)) => Err(Failure::Invalid(format!("the body broke off: {error}"))),
            Err(_) => Err(Failure::TooSlow),
        }
    }
}

/// The answer for a browser that only asks whether its page may use `method`; other methods are refused.
fn preflight<B>(request: &Request<B>, method: &'static str) -> Result<Option<Answer>, Failure> {
    if request.method() != Method::OPTIONS {
        return only(request, method).map(|()| None);
    }
    let mut answer = answer::whole(StatusCode::NO_CONTENT, TEXT, Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(method));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(Some(answer))
}

/// Refuses other methods than these.
fn only<B>(request: &Request<B>, allow: &'static str) -> Result<(), Failure> {
    let method = request.method().as_str();
    if allow.split(", ").any(|one| one == method) { Ok(()) } else { Err(Failure::WrongMethod { allow }) }
}
