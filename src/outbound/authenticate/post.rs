//! One POST of JSON, on a connection of its own: no redirects, a small answer. The deadline is the caller's.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An endpoint.
pub struct Endpoint {
    pub uri: Uri,
    /// Of an `https` URL.
    pub tls: Option<TlsConnector>,
    /// `Bearer …`
    pub authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// Posts, and returns the status and the body of the answer.
    ///
    /// # Errors
    /// Whatever goes wrong, as a sentence.
    pub async fn post(&self, body: Bytes) -> Result<(u16, Bytes), String> {
        let host = self.uri.host().unwrap_or_default();
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((plain, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        match &self.tls {
            None => self.exchange(stream, body).await,
            Some(tls) => {
                let name = ServerName::try_from(plain.to_owned()).map_err(|error| format!("{host}: {error}"))?;
                let stream = tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
                self.exchange(stream, body).await
            }
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        body: Bytes,
    ) -> Result<(u16, Bytes), String> {
        let broke = |error: hyper::Error| format!("the connection broke: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let request = self.request(body).map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broke)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // It may end with the answer behind it.
            _ = &mut connection => answer.await,
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path).header(HOST, host).header(CONTENT_TYPE, "application/json");
        request = request.header(USER_AGENT, concat!("fennec/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(body))
    }
}
