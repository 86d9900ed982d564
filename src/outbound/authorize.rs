//! `[authorize_hook]`: a web server is asked what sessions may do. One POST for each question; connections are kept while they are
//! good; no redirects. Whatever goes wrong is a no.
//!
//! ```text
//! {"session": {…}, "action": "publish", "uri": "a.b", "topic": "a/b", "match": "exact"} --POST--> {"allow": true, "cache": true}
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::node::authorize::{Done, Hook, Question, Said, details};
use crate::types::payload::Format;
use crate::types::value::Value;

/// Questions under way at once; others wait, within their time.
const AT_ONCE_MAX: usize = 64;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// See the module.
pub struct HttpHook {
    runtime: Handle,
    server: Arc<WebServer>,
}

struct WebServer {
    uri: Uri,
    token: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    places: Semaphore,
    /// Connections that wait for the next question.
    idle: Mutex<Vec<Sender>>,
}

/// Where the web server is, checked by who builds it.
pub struct Place {
    pub uri: Uri,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<HeaderValue>,
    /// Of an `https` URL.
    pub tls: Option<TlsConnector>,
}

impl HttpHook {
    pub fn new(place: Place, runtime: Handle) -> Self {
        let Place { uri, token, tls } = place;
        let server = WebServer { uri, token, tls, places: Semaphore::new(AT_ONCE_MAX), idle: Mutex::default() };
        Self { runtime, server: Arc::new(server) }
    }
}

impl Hook for HttpHook {
    fn ask(&self, question: Question, done: Done) {
        let server = self.server.clone();
        self.runtime.spawn(async move {
            let time = Duration::from_millis(question.timeout_ms);
            match tokio::time::timeout(time, server.ask(body(&question))).await {
                Ok(Ok(said)) => done(said),
                Ok(Err(why)) => tracing::warn!(why, "the authorize hook has not answered"),
                Err(_) => tracing::warn!("the authorize hook has not answered in time"),
            }
        });
    }
}

fn body(question: &Question) -> Bytes {
    let (uri, policy) = question.pattern.uri();
    let mut body = vec![
        ("session", details(question)),
        ("action", question.action.name().into()),
        ("uri", uri.into()),
        ("match", policy.as_str().into()),
    ];
    body.extend(question.pattern.filter().map(|filter| ("topic", Value::from(filter))));
    Value::map(body).to_bytes(Format::Json).into()
}

impl WebServer {
    async fn ask(&self, body: Bytes) -> Result<Said, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let idle = self.idle.lock().pop();
        // A connection that was kept may have been closed just now: that is tried once more with a new one.
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(self.request(body.clone())?).await
        {
            return self.read(sender, response).await;
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(body)?).await;
        self.read(sender, response.map_err(|error| format!("the connection broke: {error}"))?).await
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("fennec/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    async fn read(&self, sender: Sender, response: hyper::Response<hyper::body::Incoming>) -> Result<Said, String> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        {
            let mut idle = self.idle.lock();
            if !sender.is_closed() && idle.len() < AT_ONCE_MAX {
                idle.push(sender);
            }
        }
        if status == StatusCode::FORBIDDEN {
            return Ok(Said::NO);
        }
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let answer = Value::decode(Format::Json, &body).map_err(|error| format!("the answer is no JSON: {error}"))?;
        Ok(Said::read(&answer))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let host = self.uri.host().unwrap_or_default();
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((plain, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        // Only speed depends on it.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => shake_hands(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(plain.to_owned()).map_err(|error| format!("{host}: {error}"))?;
                shake_hands(tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?).await
            }
        }
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Result<Sender, String> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("the connection broke: {error}"))?;
    // How it ended is seen by the request. It ends with the last who may send.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}
