//! Listeners and what is under HTTP: TLS, limits, the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fennec::delivery::outbox::Taken;
use fennec::net::clock::Clock;
use fennec::net::gate::{Flow, Gate, Machine, Received};
use fennec::net::listen::{Door, Listener};
use fennec::net::pump::{Pump, drive};
use fennec::net::seats::Seats;
use fennec::net::tls::{Files, Tls};
use fennec::net::workers::Workers;
use fennec::node::authenticate::Answer;
use fennec::node::link::{End, Link};
use fennec::node::metrics::Protocol;
use fennec::types::limits::Limits;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::broker::{Ask, Broker, Setup, soon};

/// A certificate for `localhost`, and a client that trusts it.
fn certificate() -> (Tls, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    (Tls::load(Files::of_server(&cert, &key), &[]).unwrap(), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn https_answers_as_http_does() {
    let (tls, connector) = certificate();
    let broker = Broker::start(Setup { tls: Some(tls), ..Setup::default() });
    let tcp = TcpStream::connect(broker.address).await.unwrap();
    let stream = soon("TLS", connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for _ in 0..2 {
        let request = hyper::Request::get("/healthz").header("host", "localhost").body(String::new()).unwrap();
        let response = soon("an answer", client.send_request(request)).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
    }
}

/// Says so many bytes, a kilobyte at a time, and tells how many it had said when the socket first took no more.
struct Talker {
    bytes: usize,
    said: usize,
    blocked: Mutex<Option<oneshot::Sender<usize>>>,
    link: Arc<Link>,
}

impl Machine for Talker {
    fn verified(&mut self, _: Answer, _: u64) -> Flow {
        Flow::Continue
    }

    fn take(&mut self, _: Vec<u8>, _: u64) -> Taken {
        let bytes = 1024.min(self.bytes - self.said);
        self.said += bytes;
        Taken { tail: vec![b'x'; bytes], ..Taken::default() }
    }

    /// Asked only when something could not be written.
    fn may_read(&self) -> bool {
        let mut blocked = self.blocked.lock().unwrap();
        if let Some(blocked) = blocked.take() {
            // The second time nobody asks.
            let _ = blocked.send(self.said);
        }
        true
    }

    fn must_pause(&mut self) -> bool {
        false
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn deadline_ms(&self) -> Option<u64> {
        None
    }

    fn expired(&mut self, _: u64) -> Flow {
        Flow::Continue
    }

    fn end(&mut self, _: End, _: u64) {}

    fn closed(&mut self, _: u64) {}

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Gate for Talker {
    fn receive(&mut self, input: &Bytes, _: u64) -> Received {
        Received::all(input, Flow::Continue)
    }
}

/// Connects through TLS to somebody who says so many bytes; the receiver learns how many sockets and TLS held.
async fn talk(bytes: usize) -> (TlsStream<TcpStream>, oneshot::Receiver<usize>, Arc<Workers>) {
    let (tls, connector) = certificate();
    let node = Broker::start(Setup::default()).node;
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let workers = Arc::new(Workers::start(1).unwrap());
    let door = Door {
        protocol: Protocol::Mqtt,
        tls: Some(tls),
        proxy: None,
        proxies: Arc::default(),
        seats: Seats::new(node, Clock::default()),
        workers: workers.clone(),
    };
    let (blocked, held) = oneshot::channel();
    let blocked = Arc::new(Mutex::new(Some(blocked)));
    let connection = move |stream| {
        let blocked = Mutex::new(blocked.lock().unwrap().take());
        drive(Pump::new(stream, Talker { bytes, said: 0, blocked, link: Arc::default() }, Clock::default()))
    };
    tokio::spawn(listener.serve(door, connection, std::future::pending()));
    let tcp = TcpStream::connect(address).await.unwrap();
    let stream = soon("TLS", connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap();
    (stream, held, workers)
}

#[tokio::test]
async fn a_pump_leaves_nothing_behind_in_tls() {
    let (_unread, held, _workers) = talk(usize::MAX).await;
    let held = soon("a full socket", held).await.unwrap();
    // So much that the last of it is in TLS when the socket takes no more.
    for bytes in [held - 16 * 1024, held - 32 * 1024, held - 48 * 1024] {
        let (mut stream, _, _workers) = talk(bytes).await;
        let mut all = vec![0; bytes];
        soon("the last byte", stream.read_exact(&mut all)).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_closed_and_counted() {
    let (tls, _) = certificate();
    let broker = Broker::start(Setup { tls: Some(tls), ..Setup::default() });
    let mut tcp = TcpStream::connect(broker.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // An alert, or a reset: in any case the end.
    drop(soon("the end", tcp.read_to_end(&mut rest)).await);
    let failures = &broker.node.metrics.of(Protocol::Http).handshake_failures;
    // It is counted when the socket is closed already.
    soon("the count", async {
        while failures.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(failures.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_when_its_time_is_up() {
    let limits = Limits { handshake_timeout_s: 1, ..Limits::default() };
    let (tls, _) = certificate();
    for tls in [None, Some(tls)] {
        let broker = Broker::start(Setup { limits: limits.clone(), tls, ..Setup::default() });
        let mut tcp = TcpStream::connect(broker.address).await.unwrap();
        let mut rest = Vec::new();
        drop(soon("the end", tcp.read_to_end(&mut rest)).await);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_long() {
    let limits = Limits { handshake_timeout_s: 1, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let mut tcp = TcpStream::connect(broker.address).await.unwrap();
    let head =
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(soon("the end", tcp.read_to_end(&mut answer)).await);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let address = "127.0.0.1:0".parse().unwrap();
    let taken = Listener::bind(address).unwrap().address();
    let _held = Listener::bind(taken).unwrap();
    let error = Listener::bind(taken).err().unwrap().to_string();
    assert!(error.starts_with(&format!("{taken} is in use already")), "{error}");
    let elsewhere = Listener::bind("192.0.2.1:1".parse().unwrap()).err().unwrap().to_string();
    assert_eq!(elsewhere, "192.0.2.1:1 is no address of this machine");
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_and_counted() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let held = [broker.open(Ask::get("/subscribe?topic=a")).await, broker.open(Ask::get("/subscribe?topic=a")).await];
    let mut third = TcpStream::connect(broker.address).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(soon("the end", third.read_to_end(&mut rest)).await.unwrap(), 0);
    assert_eq!(broker.node.metrics.of(Protocol::Http).connections_refused.load(Ordering::Relaxed), 1);
    drop(held);
    // A seat is free as soon as the broker has noticed.
    soon("a free seat", async {
        while broker.realm().sessions_len() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_without_a_request_end_when_the_broker_stops() {
    // They are not to end because they waited too long.
    let limits = Limits { handshake_timeout_s: 3600, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let mut idle = TcpStream::connect(broker.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 17];
    soon("an answer", idle.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK\r\n");
    broker.node.drain();
    broker.server.drain();
    let mut rest = Vec::new();
    soon("the end", idle.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"ok\n"));
}
