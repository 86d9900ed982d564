//! A receiver of webhooks that misbehaves as it is told to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// One transaction that was received.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub id: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub payloads: Vec<String>,
}

/// What the receiver does with one.
#[derive(Clone, Debug)]
pub enum Act {
    Take,
    /// Takes it after a while.
    Slowly(Duration),
    /// Answers with this status, and `Retry-After` if there is one.
    Say(u16, Option<&'static str>),
    /// Never answers.
    Hang,
    /// Sends half of an answer, and closes.
    Cut,
    /// Takes the events before this one.
    Part(usize),
}

type Plan = dyn Fn(&str, &Transaction) -> Act + Send + Sync;

/// Ends with its test.
pub struct Receiver {
    pub address: SocketAddr,
    all: Arc<Mutex<BTreeMap<String, Vec<Transaction>>>>,
    taken: Arc<Mutex<BTreeMap<String, Vec<Transaction>>>>,
    _runtime: Runtime,
}

impl Receiver {
    /// `plan` says what is to be done with a transaction of a service, whose name is the first part of the path.
    pub fn start(plan: impl Fn(&str, &Transaction) -> Act + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (all, taken): (Arc<Mutex<_>>, Arc<Mutex<_>>) = (Arc::default(), Arc::default());
        let state = State { plan: Arc::new(plan), all: Arc::clone(&all), taken: Arc::clone(&taken) };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| state.clone().answer(request));
                    // A connection that is cut on purpose is an error to hyper.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { address, all, taken, _runtime: runtime }
    }

    /// The URL of a service.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// All that was sent to a service, taken or not.
    pub fn all(&self, name: &str) -> Vec<Transaction> {
        self.all.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    /// What a service has after dropping repeats by their names, as it is to do. The same name must mean the same.
    pub fn events(&self, name: &str) -> Vec<String> {
        let (mut seen, mut bodies, mut events) = (HashSet::new(), HashMap::new(), Vec::new());
        for transaction in self.taken.lock().unwrap().get(name).into_iter().flatten() {
            let before = bodies.entry(transaction.id.clone()).or_insert_with(|| transaction.body.clone());
            assert_eq!(*before, transaction.body, "{} is another one now", transaction.id);
            if seen.insert(transaction.id.clone()) {
                events.extend(transaction.payloads.iter().cloned());
            }
        }
        events
    }
}

#[derive(Clone)]
struct State {
    plan: Arc<Plan>,
    all: Arc<Mutex<BTreeMap<String, Vec<Transaction>>>>,
    taken: Arc<Mutex<BTreeMap<String, Vec<Transaction>>>>,
}

/// An answer, or half of one.
enum Answer {
    Whole(Option<Bytes>),
    /// The first half, then the end of the connection.
    Half(bool),
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Broken>>> {
        Poll::Ready(match &mut *self {
            Answer::Whole(bytes) => bytes.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))),
            Answer::Half(said) if *said => Some(Err(Broken)),
            Answer::Half(said) => {
                *said = true;
                Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"{\"next\":"))))
            }
        })
    }
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Broken {}

impl State {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Answer>, Broken> {
        let path = request.uri().path().to_owned();
        let mut parts = path.trim_start_matches('/').split('/');
        let (name, middle, id) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
        assert_eq!((request.method().as_str(), middle), ("PUT", Some("transactions")), "{path}");
        let headers = request.headers().clone();
        let Ok(body) = request.into_body().collect().await else { return Err(Broken) };
        let body = body.to_bytes();
        let payloads = payloads(&body);
        let transaction = Transaction { id: id.to_owned(), headers, body, payloads };
        self.all.lock().unwrap().entry(name.to_owned()).or_default().push(transaction.clone());
        let say = |status: u16| Response::builder().status(StatusCode::from_u16(status).unwrap());
        let take = |count: usize| {
            let mut part = transaction.clone();
            part.payloads.truncate(count);
            if count < transaction.payloads.len() {
                part.id = format!("part of {id}");
            }
            self.taken.lock().unwrap().entry(name.to_owned()).or_default().push(part);
        };
        Ok(match (self.plan)(name, &transaction) {
            Act::Take => {
                take(usize::MAX);
                say(200).body(Answer::Whole(Some(Bytes::from_static(b"{}")))).unwrap()
            }
            Act::Slowly(time) => {
                tokio::time::sleep(time).await;
                take(usize::MAX);
                say(204).body(Answer::Whole(None)).unwrap()
            }
            Act::Say(status, retry_after) => {
                let answer = retry_after.into_iter().fold(say(status), |answer, it| answer.header("retry-after", it));
                answer.body(Answer::Whole(Some(Bytes::from_static(b"as I was told")))).unwrap()
            }
            Act::Hang => std::future::pending().await,
            Act::Cut => say(200).body(Answer::Half(false)).unwrap(),
            Act::Part(count) => {
                take(count);
                let body: serde_json::Value = serde_json::from_slice(&transaction.body).unwrap();
                let next = body["events"][count]["event_id"].as_str().unwrap().to_owned();
                say(200).body(Answer::Whole(Some(format!("{{\"next\":\"{next}\"}}").into()))).unwrap()
            }
        })
    }
}

fn payloads(body: &[u8]) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let events = json["events"].as_array().expect("events");
    let text = |event: &serde_json::Value| match &event["args"][0] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    events.iter().map(text).collect()
}
