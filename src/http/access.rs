//! Who sent a request, and whether a web page may have made a browser send it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderName, HeaderValue, ORIGIN, VIA};

use super::answer::Failure;
use crate::node::Node;
use crate::node::authenticate::{Answer, Check, Denied, Evidence, Proved, Step};
use crate::node::metrics::Protocol;
use crate::node::session::{Identity, Origin};
use crate::node::users::{ANONYMOUS, Anonymous, User};
use crate::types::peer::Peer;

/// By what proxies tell for whom they ask.
static FORWARDING: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a request may be anonymous.
pub fn may_be_anonymous(listener: Anonymous, peer: &Peer, headers: &HeaderMap) -> bool {
    match listener {
        Anonymous::Refused => false,
        Anonymous::Local => is_local(peer, headers),
        Anonymous::Allowed => true,
    }
}

/// Whether a request was made on this machine and for itself. A name in `Host` that is not the machine's own speaks against
/// it: then a proxy passed it on, or a web page has its own name resolve to loopback (DNS rebinding).
fn is_local(peer: &Peer, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    peer.is_local()
        && !FORWARDING.iter().any(|name| headers.contains_key(name))
        && host.is_none_or(|host| is_own_name(host_name(host)))
}

/// A host and maybe a port, without the port.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Names that mean this machine whatever a name server says, and addresses, which no web page can make its own.
fn is_own_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// Refuses what a foreign web page made a browser send. Browsers name the page's origin on every WebSocket and every request
/// that changes something; other clients name none.
///
/// # Errors
/// There is an origin which is neither this server's own nor allowed.
pub fn check_origin(allowed: &[String], headers: &HeaderMap) -> Result<(), Failure> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    if is_same_origin(&origin, headers) || is_listed(allowed, &origin) {
        return Ok(());
    }
    Err(Failure::ForeignOrigin { origin })
}

/// The origin of a foreign page that is allowed: its browser wants to be told so before it lets the page read the answer
/// (WHATWG Fetch, CORS protocol).
pub fn allowed_foreign_origin(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let header = headers.get(ORIGIN)?;
    let origin = header.to_str().ok()?.to_ascii_lowercase();
    (is_listed(allowed, &origin) && !is_same_origin(&origin, headers)).then(|| header.clone())
}

fn is_listed(allowed: &[String], origin: &str) -> bool {
    allowed.iter().any(|one| one == "*" || one == origin)
}

/// Whether a page of this server is asking: its origin is the host that the request is for.
fn is_same_origin(origin: &str, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let host = host.to_ascii_lowercase();
    let is = |scheme: &str, port: &str| {
        let page = origin.strip_prefix(scheme);
        page.is_some_and(|page| page == host || Some(page) == host.strip_suffix(port))
    };
    is("http://", ":80") || is("https://", ":443")
}

/// Somebody who may come in.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub proved: Proved,
    origin: Origin,
}

impl Visitor {
    /// As the router knows it.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.proved.user, self.proved.method, self.origin.clone())
    }
}

/// Finds out who a request comes from: the user that it proves to be (RFC 7617, Basic), else nobody in particular. As long
/// as there are no users, any name is nobody's.
///
/// # Errors
/// The credentials are wrong, or there are none and `anonymous` ones may not come in.
pub async fn identify(
    node: &Arc<Node>,
    headers: &HeaderMap,
    peer: &Arc<Peer>,
    anonymous: bool,
    now_ms: u64,
) -> Result<Visitor, Failure> {
    let origin = Origin { peer: Some(peer.clone()), transport: "http", since_ms: now_ms };
    let asked = headers.get(AUTHORIZATION);
    let verdict = match asked {
        Some(_) if anonymous && node.knows_nobody() => Ok(nobody()),
        Some(value) => match credentials(value.as_bytes()) {
            Some((method, name, secret)) => check(node, method, name, secret, peer).await.verdict(),
            None => Err(Denied::Wrong),
        },
        None => match peer.certificate().and_then(|certificate| node.users.account_of_certificate(certificate)) {
            Some(account) => Ok(Proved { user: account.user.clone(), method: "tls" }),
            None if anonymous => Ok(nobody()),
            None => return Err(Failure::NoCredentials),
        },
    };
    match verdict.and_then(|proved| if node.suffices(&proved, peer) { Ok(proved) } else { Err(Denied::Wrong) }) {
        Ok(proved) => Ok(Visitor { proved, origin }),
        Err(denied) => {
            node.metrics.of(Protocol::Http).auth_failures.fetch_add(1, Ordering::Relaxed);
            Err(refused(denied))
        }
    }
}

fn nobody() -> Proved {
    Proved { user: Arc::new(User::anonymous()), method: ANONYMOUS }
}

fn refused(denied: Denied) -> Failure {
    match denied {
        Denied::Unavailable(why) => {
            tracing::warn!(why, "an HTTP client cannot be authenticated");
            Failure::CannotAuthenticate
        }
        Denied::Wrong | Denied::Refused { .. } => Failure::WrongCredentials,
    }
}

/// Method, name and secret of an `Authorization` header, if it is one of the Basic scheme (RFC 7617) or the Bearer scheme (RFC 6750).
fn credentials(value: &[u8]) -> Option<(&'static str, String, Vec<u8>)> {
    let after = |scheme: &str| {
        let (said, rest) = value.split_at_checked(scheme.len())?;
        said.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    };
    if let Some(token) = after("Bearer ") {
        return Some(("bearer", String::new(), token.trim_ascii().to_vec()));
    }
    let pair = BASE64.decode(after("Basic ")?.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&pair[..colon]).ok()?;
    Some(("basic", name.to_owned(), pair[colon + 1..].to_vec()))
}

async fn check(node: &Arc<Node>, method: &'static str, name: String, secret: Vec<u8>, peer: &Arc<Peer>) -> Answer {
    let evidence = Evidence {
        method,
        protocol: Protocol::Http,
        realm: None,
        name,
        secret,
        client_id: None,
        peer: Some(peer.clone()),
        extra: None,
    };
    let mut step = node.authenticate(evidence);
    loop {
        match step {
            Step::Done(answer) => return answer,
            Step::Wait(Check::Elsewhere(waiting)) => return waiting.await,
            // A hash takes tens of milliseconds: not on the thread that serves others.
            Step::Wait(Check::Blocking(check)) => {
                let checked = tokio::task::spawn_blocking(check).await;
                return checked.unwrap_or_else(|error| Answer::Denied(Denied::Unavailable(error.to_string())));
            }
            Step::Wait(Check::Later { wait, then }) => {
                tokio::time::sleep(wait).await;
                step = then();
            }
        }
    }
}
