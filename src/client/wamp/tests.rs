//! The machine against messages of a router, written here.

use std::sync::Arc;

use super::*;
use crate::client::machine::{CallError, InvocationNumber, Opened};
use crate::node::users::{Credentials, Salted, UserEntry, Users, WampCra};
use crate::types::event::Properties;
use crate::types::ids::{PublicationId, RegistrationId, SessionId, SubscriptionId};
use crate::types::payload::{Codec, PayloadRef};
use crate::types::value::Value;

const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];

fn machine(format: Format, password: Option<&str>) -> Wamp {
    Wamp::new(Options {
        realm: "realm1".to_owned(),
        user: password.map(|_| "alice".to_owned()),
        password: password.map(str::to_owned),
        format,
        keep_alive: Duration::ZERO,
    })
}

/// The next message that the machine sends, as JSON; empty if there is none.
fn sent(machine: &mut Wamp) -> String {
    let Some(bytes) = machine.next_output() else { return String::new() };
    message::decode(machine.options.format, &bytes).unwrap();
    let value = Value::decode(machine.options.format, &bytes).unwrap();
    String::from_utf8(value.to_bytes(Format::Json)).unwrap()
}

fn hear(machine: &mut Wamp, message: &Message<'_>) -> Result<(), Error> {
    let mut bytes = Vec::new();
    message::encode(message, machine.options.format, &mut bytes);
    machine.receive(bytes.into())
}

fn welcome(machine: &mut Wamp) {
    machine.open(usize::MAX);
    assert!(sent(machine).starts_with(r#"[1,"realm1",{"#));
    hear(machine, &Message::Welcome { session: SessionId(7), details: Dict::Empty }).unwrap();
    let Some(Event::Opened(opened)) = machine.next_event() else { panic!() };
    assert_eq!(opened, Opened { resumed: false, id: "7".to_owned(), keep_alive: Duration::ZERO });
}

fn connected() -> Wamp {
    let mut machine = machine(Format::Json, None);
    welcome(&mut machine);
    machine
}

fn json(bytes: &'static str) -> PayloadRef<'static> {
    PayloadRef::Args { format: Format::Json, args: Some(bytes.as_bytes()), kwargs: None }
}

fn published(machine: &mut Wamp) -> (Token, Result<Option<u64>, Error>) {
    match machine.next_event() {
        Some(Event::Published { token, outcome }) => (token, outcome),
        other => panic!("{other:?}"),
    }
}

fn publication<'a>(topic: &'a str, qos: Qos, properties: &'a Properties) -> Publication<'a> {
    Publication {
        topic,
        payload: PayloadRef::Bytes(b"{\"t\":1}"),
        qos,
        retain: false,
        properties,
        expiry_s: None,
        options: &[],
    }
}

fn subscription(topic: &str) -> Subscription<'_> {
    Subscription {
        topic,
        qos: Qos::AtLeastOnce,
        retained: false,
        no_local: false,
        retain_as_published: false,
        policy: MatchPolicy::Exact,
        options: &[],
    }
}

fn call(procedure: &str) -> Call<'_> {
    static NONE: std::sync::LazyLock<Properties> = std::sync::LazyLock::new(Properties::default);
    Call { procedure, payload: json("[1,2]"), progress: false, timeout_ms: 0, properties: &NONE }
}

fn registration(procedure: &str) -> Registration<'_> {
    Registration { procedure, policy: MatchPolicy::Exact, invoke: None, concurrency: None }
}

fn error<'a>(kind: Kind, request: u64, uri: &'a str, payload: PayloadRef<'a>) -> Message<'a> {
    let request = RequestId(request);
    Message::Error { request_kind: kind, request, details: Dict::Empty, error: uri.into(), payload }
}

#[test]
fn hello_names_realm_roles_and_how_the_user_can_prove_itself() {
    for format in FORMATS {
        let mut machine = machine(format, Some("secret"));
        machine.open(usize::MAX);
        let hello = sent(&mut machine);
        assert!(hello.contains(r#""authmethods":["wampcra","ticket"]"#), "{hello}");
        assert!(hello.contains(r#""authid":"alice""#), "{hello}");
        for role in ["publisher", "subscriber", "caller", "callee"] {
            assert!(hello.contains(&format!(r#""{role}":{{"#)), "{hello}");
        }
        welcome(&mut machine);
    }
    let mut anonymous = machine(Format::Json, None);
    anonymous.open(usize::MAX);
    assert!(sent(&mut anonymous).contains(r#""authmethods":["anonymous"]"#));
}

#[test]
fn a_ticket_is_the_password() {
    let mut machine = machine(Format::Json, Some("secret"));
    machine.open(usize::MAX);
    sent(&mut machine);
    hear(&mut machine, &Message::Challenge { method: "ticket".into(), extra: Dict::Empty }).unwrap();
    assert_eq!(sent(&mut machine), r#"[5,"secret",{}]"#);
}

#[test]
fn a_wampcra_challenge_is_signed_as_the_broker_checks_it() {
    for salted in [None, Some(Salted { salt: "salt".to_owned(), iterations: 7, keylen: 32 })] {
        let key = salted.as_ref().map_or("secret".to_owned(), |salted| salted.derive("secret"));
        let entry = UserEntry {
            credentials: Credentials {
                wampcra: Some(WampCra { key, salted: salted.clone() }),
                ..Credentials::default()
            },
            ..UserEntry::new("alice", "user")
        };
        let users = Users::new([entry]).unwrap();
        let mut entries = vec![("challenge", Value::from("{\"nonce\":1}"))];
        if let Some(salted) = salted {
            entries.push(("salt", salted.salt.into()));
            entries.push(("iterations", Value::Int(salted.iterations.into())));
            entries.push(("keylen", Value::Int(salted.keylen.into())));
        }
        let mut machine = machine(Format::Json, Some("secret"));
        machine.open(usize::MAX);
        sent(&mut machine);
        hear(&mut machine, &Message::Challenge { method: "wampcra".into(), extra: Dict::new(entries) }).unwrap();
        let bytes = machine.next_output().unwrap();
        let Message::Authenticate { signature, .. } = message::decode(Format::Json, &bytes).unwrap() else { panic!() };
        assert_eq!(
            users.check_wampcra(users.account("alice").as_deref(), "{\"nonce\":1}", &signature).unwrap().name,
            Arc::from("alice")
        );
        assert!(users.check_wampcra(users.account("alice").as_deref(), "{\"nonce\":2}", &signature).is_none());
    }
}

#[test]
fn a_challenge_that_costs_too_much_or_was_not_offered_is_refused() {
    let check = |machine: &mut Wamp, method: &'static str, entries: Vec<(&str, Value)>| {
        machine.open(usize::MAX);
        let challenge = Message::Challenge { method: method.into(), extra: Dict::new(entries) };
        assert!(matches!(hear(machine, &challenge), Err(Error::Violation(_))), "{method}");
    };
    let salted = |iterations: i64| {
        let (challenge, salt) = (Value::from("x"), Value::from("y"));
        vec![("challenge", challenge), ("salt", salt), ("iterations", Value::Int(iterations))]
    };
    check(&mut machine(Format::Json, Some("secret")), "wampcra", salted(i64::MAX));
    check(&mut machine(Format::Json, Some("secret")), "wampcra", salted(0));
    check(&mut machine(Format::Json, Some("secret")), "wampcra", Vec::new());
    check(&mut machine(Format::Json, Some("secret")), "scram", Vec::new());
    check(&mut machine(Format::Json, None), "ticket", Vec::new());
}

#[test]
fn the_end_of_a_session_says_who_must_act() {
    let abort = |reason: &'static str| {
        let mut machine = machine(Format::Json, None);
        machine.open(usize::MAX);
        let details = Dict::new([("message", Value::from("because"))]);
        let abort = Message::Abort { details, reason: reason.into(), payload: PayloadRef::NONE };
        hear(&mut machine, &abort).unwrap_err()
    };
    let error = abort("wamp.error.no_such_realm");
    assert_eq!(error.to_string(), "the broker refuses: wamp.error.no_such_realm: because");
    assert!(matches!(abort("wamp.error.authentication_denied"), Error::NotAuthorized(_)));
    assert!(matches!(abort("wamp.error.not_authorized"), Error::NotAuthorized(_)));
    assert!(abort("wamp.close.system_shutdown").may_pass());
    let goodbye = |reason: &'static str| {
        hear(&mut connected(), &Message::Goodbye { details: Dict::Empty, reason: reason.into() }).unwrap_err()
    };
    assert!(goodbye("wamp.close.system_shutdown").may_pass());
    assert!(!goodbye("wamp.close.killed").may_pass());
}

#[test]
fn a_publication_is_acknowledged_if_that_was_asked_for() {
    let mut machine = connected();
    let properties = Properties {
        content_type: Some("text/plain".to_owned()),
        user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
        ..Properties::default()
    };
    let zero = machine.publish(&publication("a.b", Qos::AtMostOnce, &Properties::default())).unwrap();
    assert_eq!(sent(&mut machine), r#"[16,1,{},"a.b",[{"t":1}]]"#);
    assert_eq!(published(&mut machine), (zero, Ok(None)));
    let one = machine.publish(&publication("a.b", Qos::AtLeastOnce, &properties)).unwrap();
    let expected = r#"{"acknowledge":true,"content_type":"text/plain","user_properties":[["k","1"],["k","2"]]}"#;
    assert_eq!(sent(&mut machine), format!(r#"[16,2,{expected},"a.b",[{{"t":1}}]]"#));
    assert!(machine.next_event().is_none());
    hear(&mut machine, &Message::Published { request: RequestId(2), publication: PublicationId(5) }).unwrap();
    assert_eq!(published(&mut machine), (one, Ok(Some(5))));
    machine.publish(&publication("a.b", Qos::AtLeastOnce, &Properties::default())).unwrap();
    let refused = error(Kind::Publish, 3, "wamp.error.not_authorized", json("[\"no\"]"));
    hear(&mut machine, &refused).unwrap();
    let expected = Error::NotAuthorized("wamp.error.not_authorized: no".to_owned());
    assert_eq!(published(&mut machine).1, Err(expected));
}

#[test]
fn options_are_told_as_they_are() {
    let mut machine = connected();
    let none = Properties::default();
    let options = [("when", Value::Null), ("watch", Value::Bool(true))];
    let publication = Publication { retain: true, options: &options, ..publication("a", Qos::AtLeastOnce, &none) };
    machine.publish(&publication).unwrap();
    assert_eq!(
        sent(&mut machine),
        r#"[16,1,{"acknowledge":true,"retain":true,"when":null,"watch":true},"a",[{"t":1}]]"#
    );
    machine.subscribe(&Subscription { options: &[("rewind", Value::Int(2))], ..subscription("a") }).unwrap();
    assert_eq!(sent(&mut machine), r#"[32,2,{"rewind":2},"a"]"#);
}

#[test]
fn unacknowledged_publications_are_sent_again_in_order_after_a_reconnect() {
    let mut machine = connected();
    let none = Properties::default();
    for topic in ["a", "b", "c"] {
        machine.publish(&publication(topic, Qos::AtLeastOnce, &none)).unwrap();
    }
    hear(&mut machine, &Message::Published { request: RequestId(2), publication: PublicationId(5) }).unwrap();
    published(&mut machine).1.unwrap();
    welcome(&mut machine);
    assert_eq!(sent(&mut machine), r#"[16,1,{"acknowledge":true},"a",[{"t":1}]]"#);
    assert_eq!(sent(&mut machine), r#"[16,2,{"acknowledge":true},"c",[{"t":1}]]"#);
    hear(&mut machine, &Message::Published { request: RequestId(2), publication: PublicationId(6) }).unwrap();
    assert_eq!(published(&mut machine), (Token(3), Ok(Some(6))));
    welcome(&mut machine);
    assert_eq!(sent(&mut machine), r#"[16,1,{"acknowledge":true},"a",[{"t":1}]]"#);
    assert_eq!(sent(&mut machine), "");
}

#[test]
fn no_more_publications_are_taken_than_can_be_remembered() {
    let mut machine = connected();
    let none = Properties::default();
    for _ in 0..UNACKNOWLEDGED_MAX {
        assert!(machine.has_room());
        machine.publish(&publication("a", Qos::AtLeastOnce, &none)).unwrap();
    }
    assert!(!machine.has_room());
    assert!(machine.publish(&publication("a", Qos::AtLeastOnce, &none)).is_err());
    machine.publish(&publication("a", Qos::AtMostOnce, &none)).unwrap();
}

#[test]
fn an_event_says_its_topic_and_properties() {
    for format in FORMATS {
        let mut machine = machine(format, None);
        welcome(&mut machine);
        let policy = MatchPolicy::Prefix;
        machine.subscribe(&Subscription { policy, retained: true, ..subscription("a.b") }).unwrap();
        assert_eq!(sent(&mut machine), r#"[32,1,{"match":"prefix","get_retained":true},"a.b"]"#);
        hear(&mut machine, &Message::Subscribed { request: RequestId(1), subscription: SubscriptionId(9) }).unwrap();
        assert!(matches!(machine.next_event(), Some(Event::Subscribed { outcome: Ok(Some(9)), .. })));
        let mut event = |details: Dict<'_>| {
            let (subscription, publication) = (SubscriptionId(9), PublicationId(5));
            hear(&mut machine, &Message::Event { subscription, publication, details, payload: json("[1]") }).unwrap();
            match machine.next_event() {
                Some(Event::Message(message)) => message,
                other => panic!("{other:?}"),
            }
        };
        let plain = event(Dict::Empty);
        assert_eq!((plain.topic.as_str(), plain.publication, plain.retain), ("a.b", Some(5), false));
        assert_eq!(plain.payload.as_ref().as_bytes(Codec::Auto).as_ref(), b"1");
        let user = user_properties(&[("k", "1"), ("l", "3"), ("k", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let rich = event(Dict::new([
            ("topic", Value::from("a.bc")),
            ("retained", true.into()),
            ("publisher", Value::Int(77)),
            ("content_type", "text/plain".into()),
            ("correlation_data", Value::Bytes(vec![255])),
            ("user_properties", user),
            ("message_expiry_interval", Value::Int(9)),
            ("payload_format_indicator", Value::Int(1)),
        ]));
        assert_eq!((rich.topic.as_str(), rich.retain, rich.expiry_s), ("a.bc", true, Some(9)));
        assert_eq!(rich.details, [("publisher".to_owned(), Value::Int(77))]);
        assert_eq!(rich.properties.correlation_data.as_deref(), Some(&[255][..]));
        assert_eq!(rich.properties.payload_is_text, Some(true));
        let user: Vec<_> =
            rich.properties.user_properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(user, ["k=1", "l=3", "k=2"]);
    }
}

#[test]
fn a_call_has_results_until_the_last() {
    let mut machine = connected();
    let token = machine.call(&Call { progress: true, timeout_ms: 500, ..call("p") }).unwrap();
    assert_eq!(sent(&mut machine), r#"[48,1,{"receive_progress":true,"timeout":500},"p",[1,2]]"#);
    let mut result = |details: Dict<'_>| {
        hear(&mut machine, &Message::Result { request: RequestId(1), details, payload: json("[3]") }).unwrap();
        machine.next_event()
    };
    let progress = Dict::new([("progress", Value::Bool(true))]);
    assert!(matches!(result(progress), Some(Event::Returned { token: it, progress: true, .. }) if it == token));
    assert!(matches!(result(Dict::Empty), Some(Event::Returned { token: it, progress: false, .. }) if it == token));
    assert!(result(Dict::Empty).is_none());
}

#[test]
fn a_call_fails_with_its_error() {
    let mut machine = connected();
    let mut failed = |request, uri| {
        machine.call(&call("p")).unwrap();
        hear(&mut machine, &error(Kind::Call, request, uri, json("[1]"))).unwrap();
        match machine.next_event() {
            Some(Event::Failed { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(failed(1, "app.error.x"), CallError::Answered { uri, .. } if uri == "app.error.x"));
    assert!(matches!(failed(2, "wamp.error.not_authorized"), CallError::Refused(Error::NotAuthorized(_))));
}

#[test]
fn a_cancelled_call_is_forgotten() {
    let mut machine = connected();
    let token = machine.call(&call("p")).unwrap();
    sent(&mut machine);
    machine.cancel(token);
    machine.cancel(token);
    assert_eq!(sent(&mut machine), r#"[49,1,{"mode":"killnowait"}]"#);
    assert_eq!(sent(&mut machine), "");
    hear(&mut machine, &error(Kind::Call, 1, "wamp.error.canceled", PayloadRef::NONE)).unwrap();
    assert!(machine.next_event().is_none());
}

#[test]
fn an_invocation_is_answered_by_its_number() {
    let mut machine = connected();
    let wanted = Registration { invoke: Some("roundrobin"), concurrency: Some(3), ..registration("math.add") };
    machine.register(&wanted).unwrap();
    assert_eq!(sent(&mut machine), r#"[64,1,{"invoke":"roundrobin","concurrency":3},"math.add"]"#);
    let registration = RegistrationId(4);
    hear(&mut machine, &Message::Registered { request: RequestId(1), registration }).unwrap();
    assert!(matches!(machine.next_event(), Some(Event::Registered { outcome: Ok(()), .. })));
    let mut invoked = |details: Dict<'_>| {
        let request = RequestId(11);
        hear(&mut machine, &Message::Invocation { request, registration, details, payload: json("[1]") }).unwrap();
        match machine.next_event() {
            Some(Event::Invoked(invocation)) => invocation,
            other => panic!("{other:?}"),
        }
    };
    let invocation = invoked(Dict::Empty);
    assert_eq!((invocation.number, invocation.procedure.as_str()), (InvocationNumber(11), "math.add"));
    let details = Dict::new([("procedure", Value::from("math.sub")), ("caller", Value::Int(5))]);
    let invocation = invoked(details);
    assert_eq!(invocation.procedure, "math.sub");
    assert_eq!(invocation.details, [("caller".to_owned(), Value::Int(5))]);
    hear(&mut machine, &Message::Interrupt { request: RequestId(11), options: Dict::Empty }).unwrap();
    assert!(matches!(machine.next_event(), Some(Event::Cancelled(InvocationNumber(11)))));
    machine.answer(invocation.number, &Answer::Result(PayloadRef::Bytes(b"[5,6]"))).unwrap();
    assert_eq!(sent(&mut machine), "[70,11,{},[5,6]]");
    machine.answer(invocation.number, &Answer::Error { uri: "app.x", payload: PayloadRef::Bytes(b"why") }).unwrap();
    assert_eq!(sent(&mut machine), r#"[8,68,11,{},"app.x",["why"]]"#);
}

#[test]
fn what_wamp_cannot_say_is_refused_before_it_is_sent() {
    let invalid = |outcome: Result<Token, Error>| assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    let mut machine = connected();
    let none = Properties::default();
    invalid(machine.publish(&publication("a b", Qos::AtLeastOnce, &none)));
    invalid(machine.publish(&publication("", Qos::AtLeastOnce, &none)));
    invalid(machine.subscribe(&subscription("a..b")));
    invalid(machine.call(&call("a..b")));
    invalid(machine.register(&registration("a#b")));
    assert_eq!(sent(&mut machine), "");
}

#[test]
fn a_router_that_breaks_the_protocol_is_left() {
    let check = |machine: &mut Wamp, message: &Message<'_>| {
        assert!(matches!(hear(machine, message), Err(Error::Violation(_))), "{message:?}");
    };
    let published = Message::Published { request: RequestId(1), publication: PublicationId(1) };
    let mut early = machine(Format::Json, None);
    early.open(usize::MAX);
    check(&mut early, &published);
    check(&mut connected(), &published);
    let hello = Message::Hello { realm: "realm1".into(), details: Dict::Empty };
    check(&mut connected(), &hello);
    assert!(matches!(connected().receive(Bytes::from_static(b"[36,")), Err(Error::Violation(_))));
}

#[test]
fn a_revoked_subscription_or_registration_that_is_not_named_ends_the_session() {
    let revoked = Message::Unregistered { request: RequestId(0), details: Dict::Empty };
    assert!(!hear(&mut connected(), &revoked).unwrap_err().may_pass());
    let revoked = Message::Unsubscribed { request: RequestId(0), details: Dict::Empty };
    assert!(!hear(&mut connected(), &revoked).unwrap_err().may_pass());
}

#[test]
fn a_subscription_that_is_named_when_it_is_revoked_is_told() {
    let mut machine = connected();
    machine.subscribe(&subscription("a")).unwrap();
    hear(&mut machine, &Message::Subscribed { request: RequestId(1), subscription: SubscriptionId(7) }).unwrap();
    machine.next_event();
    let details = Dict::new([("subscription", Value::Int(7)), ("reason", "x.y".into())]);
    let revoked = Message::Unsubscribed { request: RequestId(0), details };
    hear(&mut machine, &revoked).unwrap();
    match machine.next_event() {
        Some(Event::Unsubscribed { topic, reason }) => assert_eq!((topic.as_str(), reason.as_str()), ("a", "x.y")),
        other => panic!("{other:?}"),
    }
    assert!(hear(&mut machine, &revoked).is_err(), "it is gone");
}

#[test]
fn goodbye_is_said_once_and_only_in_a_session() {
    let mut machine = connected();
    machine.close();
    machine.close();
    assert_eq!(sent(&mut machine), r#"[6,{},"wamp.close.close_realm"]"#);
    assert_eq!(sent(&mut machine), "");
}

#[test]
fn what_the_connection_cannot_carry_is_refused_before_it_is_sent() {
    let mut machine = connected();
    let none = Properties::default();
    machine.publish(&publication("a.long.topic", Qos::AtLeastOnce, &none)).unwrap();
    sent(&mut machine);
    machine.open(60);
    machine.out.clear();
    hear(&mut machine, &Message::Welcome { session: SessionId(7), details: Dict::Empty }).unwrap();
    assert!(matches!(machine.next_event(), Some(Event::Opened(_))));
    assert_eq!(sent(&mut machine), r#"[16,1,{"acknowledge":true},"a.long.topic",[{"t":1}]]"#);
    let invalid = |outcome: Result<Token, Error>| assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    invalid(machine.publish(&publication("a.topic.that.is.too.long.for.it", Qos::AtLeastOnce, &none)));
    invalid(machine.call(&call(&"p".repeat(60))));
    invalid(machine.subscribe(&subscription(&"p".repeat(60))));
    let long = "x".repeat(60);
    let answer = machine.answer(InvocationNumber(1), &Answer::Result(PayloadRef::Bytes(long.as_bytes())));
    assert!(matches!(answer, Err(Error::Invalid(_))));
    machine.answer(InvocationNumber(1), &Answer::Result(PayloadRef::Bytes(b"1"))).unwrap();
    assert_eq!(sent(&mut machine), "[70,1,{},[1]]");
    machine.subscribe(&subscription("a")).unwrap();
    assert_eq!(sent(&mut machine), r#"[32,2,{},"a"]"#, "requests have no gaps");
    machine.open(50);
    machine.out.clear();
    hear(&mut machine, &Message::Welcome { session: SessionId(7), details: Dict::Empty }).unwrap();
    machine.next_event();
    assert!(matches!(published(&mut machine), (Token(1), Err(Error::Invalid(_)))));
}
