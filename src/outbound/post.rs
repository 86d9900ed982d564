//! JSON that is posted to a web server of the operator's, which is asked who somebody is or what somebody may do. Connections are kept
//! while they are good; no redirects, a small answer. The deadline is the caller's.
//!
//! Webhook services connect as is done here ([`shake_hands`]), and have a client of their own: they look at where they are led to.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri, body};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::tls::Trust;

/// Questions under way at once; others wait, within their time.
const AT_ONCE_MAX: usize = 64;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What requests say who sends them.
pub(super) const AGENT: &str = concat!("fennec/", env!("CARGO_PKG_VERSION"));

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// A web server, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct WebServer {
    /// `http` or `https`, with a host.
    pub uri: Uri,
    /// Sent as `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// Authorities that are believed, PEM; `None`: those of the system.
    pub ca: Option<PathBuf>,
}

/// Without what it proves itself with.
impl fmt::Debug for WebServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebServer").field("uri", &self.uri).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// See the module.
pub struct Poster {
    uri: Uri,
    authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    places: Semaphore,
    /// Connections that wait for the next question.
    idle: Mutex<Vec<Sender>>,
}

impl Poster {
    /// # Errors
    /// The authorities cannot be used; as a sentence.
    pub fn new(server: &WebServer) -> Result<Self, String> {
        let WebServer { uri, authorization, ca } = server.clone();
        let trust = ca.map_or(Trust::System, Trust::File);
        let tls = (uri.scheme_str() == Some("https")).then(|| trust.connector().map_err(|error| error.to_string()));
        let (places, idle) = (Semaphore::new(AT_ONCE_MAX), Mutex::default());
        Ok(Self { tls: tls.transpose()?, uri, authorization, places, idle })
    }

    /// Posts, and gives the status and the body of the answer.
    ///
    /// # Errors
    /// Whatever goes wrong, as a sentence.
    pub async fn post(&self, body: Bytes) -> Result<(StatusCode, Bytes), String> {
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
        let mut request =
            Request::post(path).header(HOST, host).header(USER_AGENT, AGENT).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    async fn read(&self, sender: Sender, response: Response<body::Incoming>) -> Result<(StatusCode, Bytes), String> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        let mut idle = self.idle.lock();
        if !sender.is_closed() && idle.len() < AT_ONCE_MAX {
            idle.push(sender);
        }
        Ok((status, body))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let (host, port) = host_and_port(&self.uri);
        let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        // It ends with the last who may send.
        shake_hands(stream, host, self.tls.as_ref()).await.map(|(sender, _)| sender)
    }
}

/// The host of an `http` or `https` URL, an IPv6 address without its brackets, and the port.
pub(super) fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(usual))
}

/// Speaks HTTP over a connection, with TLS if that is given; a task of the runtime drives it.
///
/// # Errors
/// As a sentence.
pub(super) async fn shake_hands(
    stream: TcpStream,
    host: &str,
    tls: Option<&TlsConnector>,
) -> Result<(Sender, JoinHandle<()>), String> {
    // Only speed depends on it.
    let _ = stream.set_nodelay(true);
    match tls {
        None => drive(stream).await,
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
            drive(tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?).await
        }
    }
}

async fn drive<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> Result<(Sender, JoinHandle<()>), String> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("the connection broke: {error}"))?;
    // How it ended is seen by the request.
    Ok((sender, tokio::spawn(async { drop(connection.await) })))
}
