//! `POST /call`.

use std::sync::Arc;

use fennec::node::session::{Identity, Session, Touched};
use fennec::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use fennec::router::authorize::Action;
use fennec::router::dealer::{CalleeFeatures, Register};
use fennec::router::output::{InvocationPolicy, Output};
use fennec::types::event::{Event, Terms};
use fennec::types::ids::{InvocationId, RequestId};
use fennec::types::limits::Limits;
use fennec::types::payload::{Format, Payload, PayloadRef};
use fennec::types::topic::{Topic, TopicPattern};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::broker::{Broker, Setup, role, soon};

/// What a callee was told.
enum Told {
    Invocation { id: InvocationId, payload: Payload, caller: Option<String> },
    Interrupt(InvocationId),
}

/// Gives what callees are told to the test.
struct CalleeWire {
    told: mpsc::UnboundedSender<Told>,
}

impl Wire for CalleeWire {
    fn id(&self) -> WireId {
        WireId(250)
    }

    fn event(&self, _: &Event<'_>, _: &Terms, _: bool, _: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        Err(Unencodable::Gone)
    }

    fn rpc(&self, _: &Arc<Session>, output: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        let told = match output {
            Output::Invocation(invocation) => Told::Invocation {
                id: invocation.invocation,
                payload: invocation.payload.to_owned(),
                caller: invocation.caller.and_then(|caller| caller.authid.clone()),
            },
            Output::Interrupt { invocation, .. } => Told::Interrupt(*invocation),
            _ => return Ok(()),
        };
        self.told.send(told).map_err(|_| Unencodable::Gone)
    }
}

/// Somebody who answers calls of one procedure.
struct Callee<'b> {
    broker: &'b Broker,
    session: Arc<Session>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl<'b> Callee<'b> {
    fn register(broker: &'b Broker, procedure: &str) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let wire = WireRef(Box::leak(Box::new(CalleeWire { told: sender })));
        let identity = Identity::new("callee", "user", "anonymous");
        let session = broker.node.new_session(identity, wire, false);
        broker.realm().join(session.clone());
        let pattern = TopicPattern::exact(&Topic::from_uri(procedure).unwrap());
        let register = Register {
            request: RequestId(1),
            pattern: &pattern,
            policy: InvocationPolicy::Single,
            concurrency: None,
            disclose_caller: false,
            forward_timeout: false,
            force_reregister: false,
            authid: None,
            client_id: None,
            node_key: None,
            features: CalleeFeatures { call_canceling: true, ..CalleeFeatures::default() },
        };
        broker.realm().command(&broker.node, &mut Touched::default(), |dealer, out| {
            dealer.register(session.id, &session, &register, 0, out);
        });
        Self { broker, session, told }
    }

    async fn invocation(&mut self) -> (InvocationId, Payload, Option<String>) {
        match soon("an invocation", self.told.recv()).await {
            Some(Told::Invocation { id, payload, caller }) => (id, payload, caller),
            _ => panic!("no invocation"),
        }
    }

    fn result(&self, id: InvocationId, payload: PayloadRef<'_>) {
        let answered = self.broker.realm().command(&self.broker.node, &mut Touched::default(), |dealer, out| {
            dealer.yield_result(self.session.id, id, false, payload, 0, out)
        });
        assert_eq!(answered, Ok(()));
    }

    fn error(&self, id: InvocationId, uri: &str, payload: PayloadRef<'_>) {
        let answered = self.broker.realm().command(&self.broker.node, &mut Touched::default(), |dealer, out| {
            dealer.invocation_error(self.session.id, id, uri, payload, out)
        });
        assert_eq!(answered, Ok(()));
    }

    fn leave(self) {
        self.broker.realm().leave(&self.broker.node, &self.session, true);
    }
}

fn args(json: &'static str) -> PayloadRef<'static> {
    PayloadRef::Args { format: Format::Json, args: Some(json.as_bytes()), kwargs: None }
}

#[tokio::test]
async fn a_call_is_answered_with_its_result() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.add");
    let body = r#"{"procedure": "app.add", "args": [1, 2], "kwargs": {"a": "b"}, "disclose_me": true}"#;
    let answering = async {
        let (id, payload, caller) = callee.invocation().await;
        let Payload::Args { args: Some(given), kwargs: Some(named), .. } = payload else { panic!("{payload:?}") };
        assert_eq!((&given[..], &named[..]), (&b"[1, 2]"[..], &br#"{"a": "b"}"#[..]));
        assert_eq!(caller.as_deref(), Some("anonymous"));
        let kwargs = Some(&br#"{"carry":false}"#[..]);
        callee.result(id, PayloadRef::Args { format: Format::Json, args: Some(b"[3]"), kwargs });
    };
    let (answer, ()) = tokio::join!(broker.post("/call", body), answering);
    assert_eq!(answer.is_json(), json!({"args": [3], "kwargs": {"carry": false}}));
}

#[tokio::test]
async fn results_that_are_bytes_are_said_as_arguments() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.device");
    for (bytes, expected) in [
        (&b"{\"t\":21}"[..], json!({"args": [{"t": 21}], "kwargs": {}})),
        (b"", json!({"args": [], "kwargs": {}})),
        (b"\xff", json!({"payload_base64": "/w=="})),
    ] {
        let answering = async {
            let (id, ..) = callee.invocation().await;
            callee.result(id, PayloadRef::Bytes(bytes));
        };
        let (answer, ()) = tokio::join!(broker.post("/call", r#"{"procedure": "app.device"}"#), answering);
        assert_eq!(answer.is_json(), expected);
    }
}

#[tokio::test]
async fn the_error_of_a_callee_is_passed_on_with_its_status() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.fail");
    for (uri, status) in [
        ("app.error.broken", 500),
        ("wamp.error.invalid_argument", 400),
        ("wamp.error.not_authorized", 403),
        ("wamp.error.canceled", 502),
    ] {
        let answering = async {
            let (id, ..) = callee.invocation().await;
            callee.error(id, uri, args("[\"why\"]"));
        };
        let (answer, ()) = tokio::join!(broker.post("/call", r#"{"procedure": "app.fail"}"#), answering);
        assert_eq!(answer.status.as_u16(), status, "{uri}");
        let message = "the procedure answered with an error";
        assert_eq!(answer.json(), json!({"error": uri, "message": message, "args": ["why"], "kwargs": {}}));
    }
}

#[tokio::test]
async fn what_cannot_be_called_is_refused() {
    let roles = vec![role("anonymous", &[Action::Call])];
    let broker = Broker::start(Setup { roles, ..Setup::default() });
    let call = |body: &'static str| broker.post("/call", body);
    call(r#"{"procedure": "app.no"}"#).await.is_error(404, "wamp.error.no_such_procedure");
    call(r#"{"procedure": "other"}"#).await.is_error(403, "wamp.error.not_authorized");
    call(r#"{"procedure": "app..no"}"#).await.is_error(400, "wamp.error.invalid_uri");
    call(r#"{"procedure": "app.no", "realm": "no"}"#).await.is_error(404, "wamp.error.no_such_realm");
    for wrong in
        ["{}", r#"{"procedure": "a", "args": 1}"#, r#"{"procedure": "a", "timeout_ms": -1}"#, r#"{"topic": "a"}"#]
    {
        call(wrong).await.is_error(400, "wamp.error.invalid_argument");
    }
    broker.get("/call").await.is_error(405, "fennec.error.method_not_allowed");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.slow");
    let told = async {
        let (id, ..) = callee.invocation().await;
        match soon("an interrupt", callee.told.recv()).await {
            Some(Told::Interrupt(interrupted)) => assert_eq!(interrupted, id),
            _ => panic!("no interrupt"),
        }
    };
    let call = broker.post("/call", r#"{"procedure": "app.slow", "timeout_ms": 20}"#);
    let (answer, ()) = tokio::join!(call, told);
    answer.is_error(504, "wamp.error.timeout");
    assert_eq!(broker.realm().dealer.lock().calls_under_way(), 0);
}

#[tokio::test]
async fn no_call_may_take_longer_than_the_limit() {
    let limits = Limits { http_call_timeout_s: 1, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let _callee = Callee::register(&broker, "app.slow");
    let answer = broker.post("/call", r#"{"procedure": "app.slow", "timeout_ms": 86400000}"#).await;
    answer.is_error(504, "wamp.error.timeout");
}

#[tokio::test]
async fn a_callee_that_leaves_ends_the_call() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.gone");
    let leaving = async {
        callee.invocation().await;
        callee.leave();
    };
    let (answer, ()) = tokio::join!(broker.post("/call", r#"{"procedure": "app.gone"}"#), leaving);
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (502, &json!("wamp.error.canceled")));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let broker = Broker::start(Setup::default());
    let mut callee = Callee::register(&broker, "app.slow");
    let mut client = TcpStream::connect(broker.address).await.unwrap();
    let body = r#"{"procedure": "app.slow"}"#;
    let request = format!(
        "POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let (id, ..) = callee.invocation().await;
    drop(client);
    match soon("an interrupt", callee.told.recv()).await {
        Some(Told::Interrupt(interrupted)) => assert_eq!(interrupted, id),
        _ => panic!("no interrupt"),
    }
}

#[tokio::test]
async fn sessions_of_calls_end_with_them() {
    let broker = Broker::start(Setup::default());
    let before = broker.realm().sessions_len();
    let answer: Value = broker.post("/call", r#"{"procedure": "app.no"}"#).await.json();
    assert_eq!(answer["error"], "wamp.error.no_such_procedure");
    assert_eq!(broker.realm().sessions_len(), before);
}
