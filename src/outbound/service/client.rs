//! HTTP to one service: one connection, kept while it is good; no redirects, a deadline for all of it, a small answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Uri};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::address::{Network, is_public};
use super::machine::Answer;
use super::settings::ServiceSettings;
use crate::http::signature::Secret;
use crate::outbound::post::{AGENT, Sender, host_and_port, shake_hands};
use crate::types::event_id::EventId;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Characters of a refusal that are kept.
const WHY_CHARS_MAX: usize = 200;

/// A connection that is open.
struct Open {
    sender: Sender,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// See the module.
pub(super) struct Client {
    uri: Uri,
    token: Option<HeaderValue>,
    secret: Option<Secret>,
    timeout: Duration,
    /// None: it may be anywhere.
    allowed: Option<Arc<[Network]>>,
    /// Of an `https` URL.
    tls: Option<TlsConnector>,
    open: Option<Open>,
}

/// What a service has answered.
struct Response {
    status: u16,
    retry_after: Option<String>,
    body: Bytes,
}

/// What the machine has to know of an answer, but for the event ids in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// All of it, or up to the event of this id.
    Accepted(Option<EventId>),
    Else(Answer),
}

impl Client {
    /// # Errors
    /// The settings were not checked.
    pub fn new(
        settings: &ServiceSettings,
        allowed: Arc<[Network]>,
        tls: impl FnOnce() -> Result<TlsConnector, String>,
    ) -> Result<Self, String> {
        let uri: Uri = settings.url.parse().map_err(|error| format!("{error}"))?;
        let token = settings.token.as_ref().map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let secret = settings.secret.as_deref().map(Secret::parse).transpose();
        Ok(Self {
            tls: (uri.scheme_str() == Some("https")).then(tls).transpose()?,
            uri,
            token: token.transpose().map_err(|error| error.to_string())?,
            secret: secret.map_err(|error| error.to_string())?,
            timeout: settings.timeout(),
            allowed: (!settings.configured).then_some(allowed),
            open: None,
        })
    }

    /// Sends a transaction. `now_ms`: milliseconds since 1970.
    pub async fn send(&mut self, id: &str, body: Bytes, now_ms: u64) -> Heard {
        match tokio::time::timeout(self.timeout, self.exchange(id, body, now_ms)).await {
            Ok(Ok(response)) => heard(&response, now_ms),
            Ok(Err(why)) => {
                self.open = None;
                failed(why)
            }
            Err(_) => {
                self.open = None;
                failed(format!("no answer within {} s", self.timeout.as_secs()))
            }
        }
    }

    async fn exchange(&mut self, id: &str, body: Bytes, now_ms: u64) -> Result<Response, String> {
        // A connection that was kept may have been closed by the service just now: that is tried once more with a new one.
        if let Some(mut open) = self.open.take()
            && open.sender.ready().await.is_ok()
            && let Ok(response) = open.sender.send_request(self.request(id, body.clone(), now_ms)?).await
        {
            return self.read(open, response).await;
        }
        let mut open = self.connect().await?;
        let response = open.sender.send_request(self.request(id, body, now_ms)?).await;
        let response = response.map_err(|error| format!("the connection broke: {error}"))?;
        self.read(open, response).await
    }

    fn request(&self, id: &str, body: Bytes, now_ms: u64) -> Result<Request<Full<Bytes>>, String> {
        let path = format!("{}/transactions/{id}", self.uri.path().trim_end_matches('/'));
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder().method(Method::PUT).uri(path).header(HOST, host);
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header(USER_AGENT, AGENT);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        request = request.header("webhook-id", id);
        if let Some(secret) = &self.secret {
            let now_s = now_ms / 1000;
            request = request.header("webhook-timestamp", now_s);
            request = request.header("webhook-signature", secret.sign(id, now_s, &body));
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    async fn read(&mut self, open: Open, response: hyper::Response<hyper::body::Incoming>) -> Result<Response, String> {
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.map(str::to_owned);
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > ANSWER_BYTES_MAX {
                // Of what is longer the beginning is enough, and the connection is not read to its end.
                body.extend_from_slice(&data[..ANSWER_BYTES_MAX - body.len()]);
                return Ok(Response { status, retry_after, body: body.into() });
            }
            body.extend_from_slice(&data);
        }
        self.open = Some(open);
        Ok(Response { status, retry_after, body: body.into() })
    }

    async fn connect(&self) -> Result<Open, String> {
        let (host, port) = host_and_port(&self.uri);
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host}: {error}"))?;
        let stream = self.reach(host, found.collect()).await?;
        let (sender, driver) = shake_hands(stream, host, self.tls.as_ref()).await?;
        Ok(Open { sender, driver })
    }

    /// Connects to the first of these that can be had. What was resolved is what is connected to, so that no later answer of a
    /// name server leads elsewhere.
    async fn reach(&self, host: &str, found: Vec<SocketAddr>) -> Result<TcpStream, String> {
        let mut why = format!("{host} has no address");
        for address in found {
            if !self.may_reach(address) {
                why = format!("{host} is {}, which services that were added at run time may not use", address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    }

    fn may_reach(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        self.allowed.as_ref().is_none_or(|allowed| is_public(ip) || allowed.iter().any(|network| network.contains(ip)))
    }
}

fn failed(why: String) -> Heard {
    Heard::Else(Answer::Failed { why, retry_after_ms: None })
}

fn heard(response: &Response, now_ms: u64) -> Heard {
    let Response { status, retry_after, body } = response;
    match *status {
        200..=299 => accepted(body),
        410 => Heard::Else(Answer::Gone),
        408 | 425 | 429 | 500..=599 => {
            let retry_after_ms = retry_after.as_deref().and_then(|text| retry_after_ms(text, now_ms));
            Heard::Else(Answer::Failed { why: format!("{status}{}", what(body)), retry_after_ms })
        }
        400..=499 => {
            let why = what(body).trim_start_matches([':', ' ']).to_owned();
            Heard::Else(Answer::Refused { status: *status, why })
        }
        300..=399 => failed(format!("{status}: redirects are not followed")),
        _ => failed(format!("{status}: is no answer to this")),
    }
}

/// `{"next": event id}` says up to where it was accepted.
fn accepted(body: &[u8]) -> Heard {
    let next = serde_json::from_slice::<serde_json::Value>(body).ok();
    match next.as_ref().and_then(|answer| answer.get("next")) {
        None | Some(serde_json::Value::Null) => Heard::Accepted(None),
        Some(next) => match next.as_str().and_then(|text| text.parse().ok()) {
            Some(id) => Heard::Accepted(Some(id)),
            None => failed(format!("it says next: {next}, which is no event id")),
        },
    }
}

/// The beginning of what a service says, on one line.
fn what(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * WHY_CHARS_MAX)]);
    let text: String = text.trim().chars().take(WHY_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after_ms(text: &str, now_ms: u64) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let mut parts = text.trim().strip_suffix(" GMT")?.split(' ').skip(1);
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    let at_us = crate::types::time::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))?;
    Some((at_us / 1000).saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncRead, AsyncWrite};

    use super::*;

    fn response(status: u16, body: &str) -> Heard {
        heard(&Response { status, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()) }, 0)
    }

    fn is_failure(heard: &Heard) -> bool {
        matches!(heard, Heard::Else(Answer::Failed { .. }))
    }

    #[test]
    fn what_a_status_means() {
        for status in [200, 202, 204] {
            assert_eq!(response(status, "ok"), Heard::Accepted(None));
        }
        for status in [301, 307, 408, 425, 429, 500, 503, 599] {
            assert!(is_failure(&response(status, "")), "{status}");
        }
        for status in [400, 401, 404, 409, 422] {
            let refused = Answer::Refused { status, why: "no\u{20}way".to_owned() };
            assert_eq!(response(status, "no\nway"), Heard::Else(refused));
        }
        assert_eq!(response(410, ""), Heard::Else(Answer::Gone));
    }

    #[test]
    fn the_answer_may_accept_a_part() {
        let id: EventId = "2611220618a1a3".parse().unwrap();
        assert_eq!(response(200, r#"{"next":"2611220618a1a3"}"#), Heard::Accepted(Some(id)));
        assert_eq!(response(200, r#"{"next":null}"#), Heard::Accepted(None));
        assert_eq!(response(200, r#"{"ok":true}"#), Heard::Accepted(None));
        assert!(is_failure(&response(200, r#"{"next":"soon"}"#)) && is_failure(&response(200, r#"{"next":7}"#)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after_ms("120", 0), Some(120_000));
        let date = "Fri, 31 Dec 1999 23:59:59 GMT";
        assert_eq!(retry_after_ms(date, 946_684_790_000), Some(9_000));
        assert_eq!(retry_after_ms(date, 946_684_990_000), Some(0), "it is over");
        assert_eq!(retry_after_ms("soon", 0), None);
        assert_eq!(retry_after_ms("", 0), None);
    }

    fn client(url: &str, configured: bool, allowed: &[&str]) -> Client {
        let settings = ServiceSettings { configured, ..ServiceSettings::new("a", url.to_owned()) };
        let allowed = allowed.iter().map(|network| network.parse().unwrap()).collect();
        Client::new(&settings, allowed, || Err("no TLS here".to_owned())).unwrap()
    }

    #[test]
    fn what_was_added_at_run_time_reaches_the_public_internet_and_what_is_allowed() {
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 80);
        let any = client("http://a", true, &[]);
        let runtime = client("http://a", false, &["10.1.0.0/16"]);
        assert!(any.may_reach(address("127.0.0.1")) && any.may_reach(address("10.2.0.1")));
        assert!(runtime.may_reach(address("1.1.1.1")) && runtime.may_reach(address("10.1.2.3")));
        for ip in ["127.0.0.1", "::1", "169.254.169.254", "10.2.0.1", "::ffff:127.0.0.1"] {
            assert!(!runtime.may_reach(address(ip)), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_a_private_address_is_refused_when_connecting() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/x", listener.local_addr().unwrap().port());
        let why = client(&url, false, &[]).send("t", Bytes::new(), 0).await;
        let Heard::Else(Answer::Failed { why, .. }) = why else { panic!("{why:?}") };
        assert!(why.contains("may not use"), "{why}");
        let nobody = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(nobody.is_err(), "nothing was sent");
    }

    /// Answers one request on each connection, and closes it without a word.
    async fn answer_once(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n{}") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "it ends within a request");
            request.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_kept_connection_that_the_service_has_closed_is_made_again_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                answer_once(&mut stream).await;
            }
        });
        let mut client = client(&url, true, &[]);
        for _ in 0..3 {
            let heard = client.send("t", Bytes::from_static(b"{}"), 0).await;
            assert_eq!(heard, Heard::Accepted(None));
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn certificates_are_verified() {
        use tokio_rustls::TlsAcceptor;
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::crypto::ring;
        use tokio_rustls::rustls::pki_types::PrivateKeyDer;
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/x", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not believe the certificate goes.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    answer_once(&mut stream).await;
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let believes = async |certificate: String| {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, certificate).unwrap();
            let settings = ServiceSettings { configured: true, ..ServiceSettings::new("a", url.clone()) };
            let trust = crate::client::tls::Trust::File(path);
            let tls = || trust.connector().map_err(|error| error.to_string());
            let mut client = Client::new(&settings, Arc::new([]), tls).unwrap();
            client.send("t", Bytes::from_static(b"{}"), 0).await
        };
        assert_eq!(believes(own.cert.pem()).await, Heard::Accepted(None));
        let refused = believes(other.cert.pem()).await;
        assert!(matches!(&refused, Heard::Else(Answer::Failed { why, .. }) if why.starts_with("TLS: ")), "{refused:?}");
    }
}
