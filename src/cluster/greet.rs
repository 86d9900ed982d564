//! The handshake over a socket: TLS if there is any, then the messages, all of it in time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config::Process;
use super::handshake::{Channel, Greeted, Handshake, MESSAGE_BYTES_MAX, Own, Progress, Purpose, Refusal};
use super::mesh::random;
use super::tls::LinkTls;

/// From the first packet to the last proof.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What a link's bytes go through.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

pub(super) type Wire = Box<dyn Duplex>;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLink {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the handshake took longer than {DEADLINE:?}")]
    Late,
}

fn io(what: &'static str) -> impl Fn(io::Error) -> NoLink {
    move |source| NoLink::Io { what, source }
}

/// Dials a process until both sides know each other.
pub(super) async fn dial(own: &Own, tls: Option<&LinkTls>, to: &Process, purpose: Purpose) -> Result<Wire, NoLink> {
    let dialled = async {
        let socket = TcpStream::connect((to.link.host.as_str(), to.link.port)).await.map_err(io("cannot connect"))?;
        socket.set_nodelay(true).map_err(io("cannot connect"))?;
        let (mut wire, channel) = match tls {
            None => (Box::new(socket) as Wire, Channel::default()),
            Some(tls) => {
                let (stream, channel) = tls.dial(&to.link.host, socket).await.map_err(io("TLS"))?;
                (Box::new(stream) as Wire, channel)
            }
        };
        let nonce = random().map_err(io("no random numbers"))?;
        let (mut handshake, hello) = Handshake::dial(own.clone(), to.clone(), nonce, channel, purpose);
        send(&mut wire, &hello).await?;
        let (_, last) = talk(&mut wire, &mut handshake).await?;
        debug_assert!(last.is_none(), "who dials has the last proof");
        Ok(wire)
    };
    tokio::time::timeout(DEADLINE, dialled).await.unwrap_or(Err(NoLink::Late))
}

/// Greets who has dialled until both sides know each other. `admit` may refuse who has proved itself, before it is welcomed.
pub(super) async fn accept<C>(
    own: &Own,
    tls: Option<&LinkTls>,
    socket: TcpStream,
    admit: impl FnOnce(&Greeted) -> Result<C, Refusal>,
) -> Result<(Wire, C), NoLink> {
    let accepted = async {
        socket.set_nodelay(true).map_err(io("cannot accept"))?;
        let (mut wire, channel) = match tls {
            None => (Box::new(socket) as Wire, Channel::default()),
            Some(tls) => {
                let (stream, channel) = tls.accept(socket).await.map_err(io("TLS"))?;
                (Box::new(stream) as Wire, channel)
            }
        };
        let nonce = random().map_err(io("no random numbers"))?;
        let mut handshake = Handshake::accept(own.clone(), nonce, channel);
        let (greeted, welcome) = talk(&mut wire, &mut handshake).await?;
        let claim = match admit(&greeted) {
            Ok(claim) => claim,
            Err(refusal) => return Err(refuse(&mut wire, refusal).await),
        };
        if let Some(welcome) = welcome {
            send(&mut wire, &welcome).await?;
        }
        Ok((wire, claim))
    };
    tokio::time::timeout(DEADLINE, accepted).await.unwrap_or(Err(NoLink::Late))
}

/// Goes on until the other side is known. Returns the last message, not yet sent.
async fn talk(wire: &mut Wire, handshake: &mut Handshake) -> Result<(Greeted, Option<Vec<u8>>), NoLink> {
    loop {
        let message = receive(wire, MESSAGE_BYTES_MAX).await?;
        match handshake.handle(&message) {
            Ok(Progress { done: Some(greeted), send }) => return Ok((greeted, send)),
            Ok(Progress { done: None, send: answer }) => {
                if let Some(answer) = answer {
                    send(wire, &answer).await?;
                }
            }
            Err(refusal) => return Err(refuse(wire, refusal).await),
        }
    }
}

/// Tells the other side, if it can still be told.
async fn refuse(wire: &mut Wire, refusal: Refusal) -> NoLink {
    if let Some(message) = refusal.to_send()
        && send(wire, &message).await.is_ok()
    {
        let _ = wire.shutdown().await;
    }
    refusal.into()
}

/// Sends a message with its length before it.
pub(super) async fn send(wire: &mut Wire, message: &[u8]) -> Result<(), NoLink> {
    let bytes = [&(message.len() as u32).to_le_bytes()[..], message].concat();
    wire.write_all(&bytes).await.map_err(io("handshake"))?;
    wire.flush().await.map_err(io("handshake"))
}

/// The next message; a longer one than there are is refused before it is read.
pub(super) async fn receive(wire: &mut Wire, bytes_max: usize) -> Result<Vec<u8>, NoLink> {
    let bytes = wire.read_u32_le().await.map_err(io("handshake"))? as usize;
    if bytes > bytes_max {
        return Err(refuse(wire, Refusal::Malformed).await);
    }
    let mut message = vec![0; bytes];
    wire.read_exact(&mut message).await.map_err(io("handshake"))?;
    Ok(message)
}
