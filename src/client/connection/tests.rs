//! A client and a broker played by hand, on a real socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::machine::Publication;
use crate::client::url::Protocol;
use crate::client::wamp::{Options, Wamp, speech};
use crate::types::event::Qos;
use crate::types::payload::{Format, PayloadRef};
use crate::wamp::rawsocket::{FrameKind, Handshake, header};

/// A client whose broker is this listener, by RawSocket.
fn client(listener: &TcpListener, keep_alive: Duration) -> Client {
    let url = format!("rs://{}", listener.local_addr().unwrap());
    let url = Url::parse(&url, Protocol::Wamp).unwrap();
    let target = Target { url, trust: Trust::System, timeout: Duration::from_secs(60) };
    let (realm, format) = ("realm1".to_owned(), Format::Json);
    let machine = Wamp::new(Options { realm, user: None, password: None, format, keep_alive });
    Client::new(target, speech(format), Box::new(machine))
}

/// Lets one client in.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = [0; 4];
    socket.read_exact(&mut request).await.unwrap();
    let reply = Handshake { message_bytes_max: 1 << 16, ..Handshake::read_request(request).unwrap() };
    socket.write_all(&reply.write()).await.unwrap();
    assert!(String::from_utf8(read_frame(&mut socket, 0).await).unwrap().starts_with("[1,"));
    write_frame(&mut socket, FrameKind::Message, b"[2,7,{}]").await;
    socket
}

async fn read_frame(socket: &mut TcpStream, kind: u8) -> Vec<u8> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).await.unwrap();
    assert_eq!(header[0], kind);
    let mut payload = vec![0; usize::from(header[2]) << 8 | usize::from(header[3])];
    socket.read_exact(&mut payload).await.unwrap();
    payload
}

async fn write_frame(socket: &mut TcpStream, kind: FrameKind, payload: &[u8]) {
    socket.write_all(&header(kind, payload.len())).await.unwrap();
    socket.write_all(payload).await.unwrap();
}

/// A test that hangs fails.
fn within_a_minute(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.unwrap() });
}

#[test]
fn a_ping_is_answered_between_messages_that_come_in_pieces() {
    within_a_minute(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = client(&listener, Duration::ZERO);
        let router = async {
            let mut socket = accept(&listener).await;
            write_frame(&mut socket, FrameKind::Ping, b"hello").await;
            assert_eq!(read_frame(&mut socket, FrameKind::Pong as u8).await, b"hello");
            let text = br#"[6,{"message":"bye"},"wamp.close.killed"]"#;
            let frame = [&header(FrameKind::Message, text.len())[..], text].concat();
            for byte in frame {
                socket.write_all(&[byte]).await.unwrap();
            }
            // So that the goodbye is the reason, not the end of the connection.
            socket
        };
        let session = async {
            assert_eq!(client.connect().await.unwrap().id, "7");
            client.event().await.unwrap_err()
        };
        let (_socket, error) = tokio::join!(router, session);
        assert_eq!(error, Error::Refused("wamp.close.killed: bye".to_owned()));
        assert_eq!(client.event().await.unwrap_err(), error, "it stays so");
    });
}

#[test]
fn a_broker_that_gives_no_sign_of_life_is_lost() {
    within_a_minute(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = client(&listener, Duration::from_millis(20));
        let router = async {
            let mut socket = accept(&listener).await;
            read_frame(&mut socket, FrameKind::Ping as u8).await;
            write_frame(&mut socket, FrameKind::Pong, b"").await;
            read_frame(&mut socket, FrameKind::Ping as u8).await;
            socket
        };
        let session = async {
            client.connect().await.unwrap();
            client.event().await.unwrap_err()
        };
        let (_socket, error) = tokio::join!(router, session);
        assert_eq!(error, Error::Lost("the broker does not answer".to_owned()));
    });
}

#[test]
fn all_that_was_said_leaves_before_the_connection_is_closed() {
    within_a_minute(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = client(&listener, Duration::ZERO);
        let router = async {
            let mut socket = accept(&listener).await;
            let mut all = Vec::new();
            socket.read_to_end(&mut all).await.unwrap();
            String::from_utf8_lossy(&all).into_owned()
        };
        let session = async {
            client.connect().await.unwrap();
            let properties = crate::types::event::Properties::default();
            let publication = Publication {
                topic: "a.b",
                payload: PayloadRef::Bytes(b"1"),
                qos: Qos::AtMostOnce,
                retain: false,
                properties: &properties,
                expiry_s: None,
                options: &[],
            };
            client.machine().publish(&publication).unwrap();
            client.close().await;
        };
        let (all, ()) = tokio::join!(router, session);
        assert!(all.contains(r#"[16,1,{},"a.b",[1]]"#) && all.ends_with(r#"[6,{},"wamp.close.close_realm"]"#), "{all}");
    });
}

#[test]
fn a_sign_of_life_is_asked_for_when_one_side_is_silent_and_its_absence_ends_the_connection() {
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let mut heart = Heart::new(start);
    assert_eq!(heart.deadline(), None, "nobody asked for it");
    heart.interval = Duration::from_secs(10);
    assert_eq!(heart.deadline(), Some(at(10)));
    heart.sent = at(5);
    assert_eq!(heart.deadline(), Some(at(10)), "nothing was heard");
    heart.hear(at(7));
    assert_eq!(heart.deadline(), Some(at(15)), "nothing was sent");
    assert_eq!(heart.beat(at(15)), Ok(()));
    heart.sent = at(15);
    assert_eq!(heart.deadline(), Some(at(25)));
    heart.hear(at(16));
    assert_eq!(heart.deadline(), Some(at(25)));
    assert_eq!(heart.beat(at(25)), Ok(()));
    assert_eq!(heart.beat(at(35)), Err(Error::Lost("the broker does not answer".to_owned())));
}
