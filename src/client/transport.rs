//! Sockets to a broker: TCP or TLS, and on it bytes, RawSocket or WebSocket.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Error;
use super::tls::{Credentials, Trust};
use super::url::{Carrier, Url};
use crate::types::payload::Format;
use crate::wamp::rawsocket::{self, FrameKind, Handshake};

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;
/// With less room than this, more is made.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Largest message that is taken from a WebSocket: as large as the largest MQTT packet.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What both ends say on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// The WebSocket subprotocol.
    pub subprotocol: &'static str,
    /// WebSocket messages are text.
    pub text: bool,
    /// What a RawSocket handshake names.
    pub format: Format,
}

/// A connection to a broker. Units are kept apart as [`Machine`](super::machine::Machine) says.
pub struct Transport(Io);

enum Io {
    Bytes(Pipe),
    RawSocket { pipe: Pipe, sent_bytes_max: usize },
    WebSocket(Box<WebSocket>),
}

/// What [`Transport::exchange`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Exchange {
    Unit(Bytes),
    /// A sign of life that is nobody's to read.
    Sign,
    /// All that was queued is sent.
    Flushed,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A socket, what was read from it and what is to be written to it.
struct Pipe {
    socket: Box<dyn Socket>,
    input: BytesMut,
    out: BytesMut,
    unflushed: bool,
}

struct WebSocket {
    stream: WebSocketStream<Box<dyn Socket>>,
    out: VecDeque<Message>,
    unflushed: bool,
    text: bool,
}

impl Transport {
    /// Connects, and shakes hands down to where the protocol begins.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NotAuthorized`] (HTTP 401 and 403), [`Error::Invalid`] (what `trust` names).
    pub async fn connect(url: &Url, trust: &Trust, speech: Speech) -> Result<Transport, Error> {
        Self::connect_as(url, trust, None, speech).await
    }

    /// The same, and shows a broker that asks for it a certificate.
    ///
    /// # Errors
    /// As [`Transport::connect`]; [`Error::Invalid`] names what is wrong with `credentials`, too.
    pub async fn connect_as(
        url: &Url,
        trust: &Trust,
        credentials: Option<&Credentials>,
        speech: Speech,
    ) -> Result<Transport, Error> {
        let unreachable = |what: String| Error::Unreachable { url: url.to_string(), what };
        let socket = dial(url, trust, credentials, &unreachable).await?;
        Ok(Transport(match url.carrier {
            Carrier::Tcp => Io::Bytes(Pipe::new(socket)),
            Carrier::RawSocket => open_rawsocket(socket, speech.format).await.map_err(unreachable)?,
            Carrier::WebSocket => Io::WebSocket(Box::new(WebSocket {
                stream: upgrade(socket, url, speech).await?,
                out: VecDeque::new(),
                unflushed: false,
                text: speech.text,
            })),
        }))
    }

    /// Bytes of the largest unit that can be sent.
    pub fn unit_bytes_max(&self) -> usize {
        match &self.0 {
            Io::RawSocket { sent_bytes_max, .. } => *sent_bytes_max,
            Io::Bytes(_) | Io::WebSocket(_) => usize::MAX,
        }
    }

    /// Takes a unit that is not too large, to be sent by [`Transport::exchange`].
    pub fn queue(&mut self, unit: Bytes) {
        match &mut self.0 {
            Io::Bytes(pipe) => pipe.put(&unit),
            Io::RawSocket { pipe, .. } => {
                pipe.put(&rawsocket::header(FrameKind::Message, unit.len()));
                pipe.put(&unit);
            }
            Io::WebSocket(websocket) => websocket.put(unit),
        }
    }

    /// Asks for a sign of life, where the carrier has a way to.
    pub fn ping(&mut self) {
        match &mut self.0 {
            Io::Bytes(_) => {}
            Io::RawSocket { pipe, .. } => pipe.put(&rawsocket::header(FrameKind::Ping, 0)),
            Io::WebSocket(websocket) => websocket.out.push_back(Message::Ping(Bytes::new())),
        }
    }

    /// Whether something queued is not sent yet.
    pub fn is_pending(&self) -> bool {
        match &self.0 {
            Io::Bytes(pipe) | Io::RawSocket { pipe, .. } => pipe.is_pending(),
            Io::WebSocket(websocket) => websocket.is_pending(),
        }
    }

    /// Sends and receives until one of the two has something to tell. Dropped early, nothing is lost.
    ///
    /// # Errors
    /// [`Error::Lost`], or [`Error::Violation`] of the carrier's rules.
    pub async fn exchange(&mut self) -> Result<Exchange, Error> {
        std::future::poll_fn(|cx| self.poll_exchange(cx)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchange, Error>> {
        if self.is_pending() && self.poll_flush(cx)?.is_ready() {
            return Poll::Ready(Ok(Exchange::Flushed));
        }
        match &mut self.0 {
            Io::Bytes(pipe) => {
                ready!(pipe.poll_read(cx))?;
                Poll::Ready(Ok(Exchange::Unit(pipe.input.split().freeze())))
            }
            Io::RawSocket { pipe, .. } => loop {
                if let Some(exchange) = take_frame(pipe)? {
                    return Poll::Ready(Ok(exchange));
                }
                ready!(pipe.poll_read(cx))?;
            },
            Io::WebSocket(websocket) => websocket.poll_receive(cx),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.0 {
            Io::Bytes(pipe) | Io::RawSocket { pipe, .. } => pipe.poll_flush(cx).map_err(lost),
            Io::WebSocket(websocket) => websocket.poll_flush(cx).map_err(|error| websocket_error(&error)),
        }
    }

    /// Sends what is queued, says that no more comes, and reads until the broker closes. Ends at the latest with the
    /// connection; the caller sets a time.
    pub async fn close(mut self) {
        while self.is_pending() {
            if self.exchange().await.is_err() {
                return;
            }
        }
        // Closed with bytes unread, the system would throw away what is still on its way to the broker. Errors say that
        // the connection is gone, which is what is wanted.
        match self.0 {
            Io::Bytes(mut pipe) | Io::RawSocket { mut pipe, .. } => {
                let _ = pipe.socket.shutdown().await;
                let mut rest = [0; 4096];
                while pipe.socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            }
            Io::WebSocket(mut websocket) => {
                let _ = websocket.stream.close(None).await;
                while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut websocket.stream).poll_next(cx)).await {
                }
            }
        }
    }
}

impl Pipe {
    fn new(socket: Box<dyn Socket>) -> Self {
        Self { socket, input: BytesMut::new(), out: BytesMut::new(), unflushed: false }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn is_pending(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            self.unflushed = true;
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.out.advance(written),
            }
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Appends what there is to read to the input, at least one byte.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
        let mut read = std::pin::pin!(self.socket.read_buf(&mut self.input));
        match ready!(read.as_mut().poll(cx)) {
            Ok(0) => Poll::Ready(Err(Error::Lost("the broker closed the connection".to_owned()))),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(lost(error))),
        }
    }
}

impl WebSocket {
    fn put(&mut self, unit: Bytes) {
        let text = if self.text { tungstenite::Utf8Bytes::try_from(unit.clone()).ok() } else { None };
        self.out.push_back(text.map_or(Message::Binary(unit), Message::Text));
    }

    fn is_pending(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.out.is_empty() {
            ready!(stream.as_mut().poll_ready(cx))?;
            if let Some(message) = self.out.pop_front() {
                self.unflushed = true;
                stream.as_mut().start_send(message)?;
            }
        }
        ready!(stream.poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchange, Error>> {
        let closed = || Error::Lost("the broker closed the connection".to_owned());
        let message = ready!(Pin::new(&mut self.stream).poll_next(cx)).ok_or_else(closed)?;
        Poll::Ready(match message.map_err(|error| websocket_error(&error))? {
            Message::Binary(unit) => Ok(Exchange::Unit(unit)),
            Message::Text(text) => Ok(Exchange::Unit(text.into())),
            Message::Close(Some(frame)) if !frame.reason.is_empty() => {
                Err(Error::Lost(format!("the broker closed the connection: {}", frame.reason)))
            }
            Message::Close(_) => Err(closed()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Exchange::Sign),
        })
    }
}

/// The first frame of a RawSocket's input; a ping is answered.
fn take_frame(pipe: &mut Pipe) -> Result<Option<Exchange>, Error> {
    let mut rest = &pipe.input[..];
    let frame = rawsocket::read_frame(&mut rest, rawsocket::MESSAGE_BYTES_MAX);
    let Some(frame) = frame.map_err(|error| Error::Violation(error.to_string()))? else { return Ok(None) };
    let (kind, len) = (frame.kind, frame.payload.len());
    pipe.input.advance(rawsocket::HEADER_BYTES);
    let payload = pipe.input.split_to(len).freeze();
    match kind {
        FrameKind::Message => return Ok(Some(Exchange::Unit(payload))),
        FrameKind::Ping => {
            let mut pong = Vec::with_capacity(len + rawsocket::HEADER_BYTES);
            rawsocket::write_pong(&payload, &mut pong);
            pipe.put(&pong);
        }
        FrameKind::Pong => {}
    }
    Ok(Some(Exchange::Sign))
}

async fn dial(
    url: &Url,
    trust: &Trust,
    credentials: Option<&Credentials>,
    unreachable: &impl Fn(String) -> Error,
) -> Result<Box<dyn Socket>, Error> {
    let connected = TcpStream::connect((url.host.as_str(), url.port)).await;
    let tcp = connected.map_err(|error| unreachable(reason(&error)))?;
    // Without it small packets wait for the acknowledgement of those before. What cannot be had is done without.
    let _ = tcp.set_nodelay(true);
    if !url.tls {
        return Ok(Box::new(tcp));
    }
    let connector = trust.connector_as(credentials).map_err(|error| Error::Invalid(error.to_string()))?;
    let name = ServerName::try_from(url.host.clone()).map_err(|error| unreachable(error.to_string()))?;
    let tls = connector.connect(name, tcp).await.map_err(|error| unreachable(format!("TLS: {}", reason(&error))))?;
    Ok(Box::new(tls))
}

async fn open_rawsocket(mut socket: Box<dyn Socket>, format: Format) -> Result<Io, String> {
    let request = Handshake { format, message_bytes_max: rawsocket::MESSAGE_BYTES_MAX };
    let mut reply = [0; rawsocket::HEADER_BYTES];
    socket.write_all(&request.write()).await.map_err(|error| reason(&error))?;
    socket.flush().await.map_err(|error| reason(&error))?;
    socket.read_exact(&mut reply).await.map_err(|error| reason(&error))?;
    let reply = request.read_reply(reply).map_err(|error| error.to_string())?;
    let sent_bytes_max = reply.message_bytes_max;
    Ok(Io::RawSocket { pipe: Pipe::new(socket), sent_bytes_max })
}

async fn upgrade(
    socket: Box<dyn Socket>,
    url: &Url,
    speech: Speech,
) -> Result<WebSocketStream<Box<dyn Socket>>, Error> {
    let unreachable = |what: String| Error::Unreachable { url: url.to_string(), what };
    // TLS is done below; the scheme only names the default port in `Host`.
    let scheme = if url.tls { "wss" } else { "ws" };
    let request = format!("{scheme}://{}{}", url.authority(), url.path).into_client_request();
    let mut request = request.map_err(|error| unreachable(error.to_string()))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(speech.subprotocol));
    let limits =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    match client_async_with_config(request, socket, Some(limits)).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(answer)) => {
            let what = format!("the answer is HTTP {}, not a WebSocket", answer.status());
            match answer.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::NotAuthorized(what)),
                _ => Err(unreachable(what)),
            }
        }
        Err(error) => Err(unreachable(error.to_string())),
    }
}

/// The system's words without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn lost(error: io::Error) -> Error {
    Error::Lost(format!("the connection was lost: {}", reason(&error)))
}

fn websocket_error(error: &tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(error) => Error::Lost(format!("the connection was lost: {}", reason(error))),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            Error::Lost("the broker closed the connection".to_owned())
        }
        tungstenite::Error::Protocol(error @ tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Error::Lost(format!("the connection was lost: {error}"))
        }
        other => Error::Violation(other.to_string()),
    }
}
