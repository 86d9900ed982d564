//! The admin API: who may, what there is, what is not there, and who answers where.

use fennec::http::Scope;
use fennec::node::users::Anonymous;
use fennec::router::authorize::{Action, Permission, Role};
use fennec::types::topic::TopicPattern;
use hyper::Method;
use hyper::header::CONTENT_TYPE;

use crate::broker::{Answer, Ask, Broker, EventReader, Setup, joe};

/// `joe:secret`
const JOE: &str = "Basic am9lOnNlY3JldA==";

/// A role that may do everything and run the broker.
fn operator() -> Role {
    let mut role = Role::unrestricted("operator");
    let pattern = TopicPattern::from_filter("fennec/admin/#").unwrap();
    role.permissions.push(Permission { actions: vec![Action::Call], pattern, allow: true });
    role
}

fn setup() -> Setup {
    let roles = vec![operator(), Role::unrestricted("anonymous")];
    Setup { users: vec![joe("operator")], roles, anonymous: Anonymous::Allowed, ..Setup::default() }
}

/// Asks as joe.
async fn ask(broker: &Broker, method: Method, path: &str) -> Answer {
    broker.ask(Ask::new(method, path).with("authorization", JOE)).await
}

async fn get(broker: &Broker, path: &str) -> Answer {
    ask(broker, Method::GET, path).await
}

#[tokio::test]
async fn only_who_is_allowed_by_name_gets_in_and_others_are_asked_who_they_are() {
    let broker = Broker::start(setup());
    get(&broker, "/admin/sessions").await.is_json();
    let answer = broker.get("/admin/sessions").await;
    answer.is_error(401, "wamp.error.authentication_required");
    assert!(answer.header("www-authenticate").is_some());
    // Joe may do everything here, but nobody has said that he may run the broker.
    let users = vec![joe("anonymous")];
    let broker = Broker::start(Setup { users, ..setup() });
    get(&broker, "/admin/sessions").await.is_error(403, "wamp.error.not_authorized");
    let broker = Broker::start(Setup::default());
    broker.get("/admin/sessions").await.is_error(401, "wamp.error.authentication_required");
    let call = r#"{"procedure": "fennec.admin.kick", "args": [1]}"#;
    broker.post("/call", call).await.is_error(403, "wamp.error.not_authorized");
    // Whoever else a web page has tricked.
    let page = Ask::get("/admin/sessions").with("authorization", JOE).with("origin", "http://evil.example");
    broker.ask(page).await.is_error(403, "fennec.error.foreign_origin");
}

#[tokio::test]
async fn sessions_are_listed_in_pages_told_about_and_kicked() {
    let broker = Broker::start(setup());
    let mut readers = Vec::new();
    for topic in ["a", "b", "c"] {
        readers.push(EventReader::open(&broker, &format!("topic={topic}")).await);
    }
    let all = get(&broker, "/admin/sessions?connected=true").await.is_json();
    let all = all["sessions"].as_array().unwrap().clone();
    assert_eq!(all.len(), 3, "{all:?}");
    let ids: Vec<u64> = all.iter().map(|session| session["session"].as_u64().unwrap()).collect();
    let first = get(&broker, "/admin/sessions?connected=true&limit=2").await.is_json();
    assert_eq!(first["next"].as_u64(), Some(ids[1]), "{first}");
    let rest = get(&broker, &format!("/admin/sessions?connected=true&limit=2&after={}", ids[1])).await.is_json();
    assert_eq!((rest["sessions"][0]["session"].as_u64(), rest.get("next")), (Some(ids[2]), None), "{rest}");
    let top = get(&broker, "/admin/sessions?order_by=bytes&limit=1&protocol=http").await.is_json();
    assert_eq!(top["sessions"].as_array().map(Vec::len), Some(1));
    let none = get(&broker, "/admin/sessions?protocol=mqtt").await.is_json();
    assert_eq!(none["sessions"].as_array().map(Vec::len), Some(0));

    let id = ids[0];
    let one = get(&broker, &format!("/admin/sessions/{id}")).await.is_json();
    assert_eq!((one["protocol"].as_str(), one["connected"].as_bool()), (Some("http"), Some(true)), "{one}");
    assert!(one["transport"]["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{one}");
    for number in ["outbox_bytes", "backlog_messages", "backlog_bytes", "inflight_messages"] {
        assert_eq!(one[number].as_u64(), Some(0), "{number}: {one}");
    }
    assert_eq!(one["registrations"].as_array().map(Vec::len), Some(0));

    let kick = format!("/admin/sessions/{id}?message=out+of+here");
    assert_eq!(ask(&broker, Method::DELETE, &kick).await.is_json().as_u64(), Some(id));
    let kicked = one["subscriptions"][0]["uri"].as_str().map_or(0, |uri| usize::from(uri.as_bytes()[0] - b'a'));
    assert_eq!(readers[kicked].other("end").await["reason"], "out of here");
    drop(readers.remove(kicked));
    for path in ["/admin/sessions/17", "/admin/sessions/no-such-client"] {
        get(&broker, path).await.is_error(404, "wamp.error.no_such_session");
        ask(&broker, Method::DELETE, path).await.is_error(404, "wamp.error.no_such_session");
    }
    let uri = format!("/admin/sessions/{}?reason=no%20uri", ids[1]);
    ask(&broker, Method::DELETE, &uri).await.is_error(400, "wamp.error.invalid_uri");
}

#[tokio::test]
async fn subscriptions_registrations_and_durables_are_listed() {
    let broker = Broker::start(setup());
    let _plain = EventReader::open(&broker, "topic=app.a").await;
    let _durable =
        EventReader::ask(&broker, Ask::get("/subscribe?topic=log.a&durable=mine").with("authorization", JOE)).await;
    let all = get(&broker, "/admin/subscriptions").await.is_json();
    let subscriptions = all["subscriptions"].as_array().unwrap();
    let plain = subscriptions.iter().find(|one| one["uri"] == "app.a").unwrap();
    assert_eq!((plain["match"].as_str(), plain["subscribers"].as_u64()), (Some("exact"), Some(1)), "{all}");
    let none = get(&broker, "/admin/registrations").await.is_json();
    assert_eq!(none["registrations"].as_array().map(Vec::len), Some(0), "{none}");
    broker.post("/publish", r#"{"topic": "log.a", "args": [1]}"#).await.is_json();
    let durables = get(&broker, "/admin/durables").await.is_json();
    let mine = &durables["durables"][0];
    assert_eq!((mine["name"].as_str(), mine["authid"].as_str()), (Some("mine"), Some("joe")), "{durables}");
    assert!(mine["lag"].is_u64(), "{durables}");
    assert_eq!(ask(&broker, Method::DELETE, "/admin/durables/mine").await.is_json(), true);
    let gone = get(&broker, "/admin/durables").await.is_json();
    assert_eq!(gone["durables"].as_array().map(Vec::len), Some(0), "{gone}");
    ask(&broker, Method::DELETE, "/admin/durables/mine").await.is_error(404, "fennec.error.no_such_durable");
}

#[tokio::test]
async fn retained_values_are_listed_read_and_deleted() {
    let broker = Broker::start(setup());
    for topic in ["a.1", "a.2", "b"] {
        let body = format!(r#"{{"topic": "{topic}", "args": [7], "retain": true}}"#);
        broker.post("/publish", &body).await.is_json();
    }
    let page = get(&broker, "/admin/retained?pattern=a.%23&limit=1").await.is_json();
    assert_eq!((page["retained"][0]["topic"].as_str(), page["next"].as_str()), (Some("a.1"), Some("a.1")), "{page}");
    let rest = get(&broker, "/admin/retained?pattern=a.%23&limit=9&after=a.1").await.is_json();
    assert_eq!((rest["retained"][0]["topic"].as_str(), rest["retained"].as_array().unwrap().len()), (Some("a.2"), 1));
    assert_eq!(get(&broker, "/admin/retained/a.1").await.is_json()["value"], 7);
    ask(&broker, Method::DELETE, "/admin/retained/a.1").await.is_json();
    get(&broker, "/admin/retained/a.1").await.is_error(404, "fennec.error.no_such_value");
    ask(&broker, Method::DELETE, "/admin/retained/a.1").await.is_error(404, "fennec.error.no_such_value");
    ask(&broker, Method::DELETE, "/admin/retained/wamp.a").await.is_error(403, "wamp.error.not_authorized");
    get(&broker, "/admin/retained/a%20b").await.is_error(400, "wamp.error.invalid_uri");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_status() {
    let broker = Broker::start(setup());
    for path in ["/admin/", "/admin/nothing", "/admin/sessions/1/2x", "/admin"] {
        let answer = get(&broker, path).await;
        assert_eq!(answer.status.as_u16(), 404, "{path}: {}", answer.text());
    }
    let answer = ask(&broker, Method::POST, "/admin/sessions").await;
    answer.is_error(405, "fennec.error.method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET"));
    for query in ["limit=many", "after=x", "what=1", "order_by=age", "connected=maybe"] {
        let path = format!("/admin/sessions?{query}");
        get(&broker, &path).await.is_error(400, "wamp.error.invalid_argument");
    }
    get(&broker, "/admin/sessions?realm=nowhere").await.is_error(404, "wamp.error.no_such_realm");
    // These only the whole program has.
    ask(&broker, Method::POST, "/admin/reload").await.is_error(503, "wamp.error.unavailable");
    let put = Ask::new(Method::PUT, "/admin/log-level").with("authorization", JOE);
    broker.ask(put).await.is_error(415, "fennec.error.unsupported_media_type");
    let put = Ask::new(Method::PUT, "/admin/log-level").with("authorization", JOE);
    let put = put.with(CONTENT_TYPE.as_str(), "application/json");
    broker.ask(put).await.is_error(400, "wamp.error.invalid_argument");
}

#[tokio::test]
async fn listeners_answer_what_they_are_for() {
    let metrics = Broker::start(Setup { scope: Scope::Metrics, anonymous: Anonymous::Refused, ..setup() });
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(metrics.get(path).await.status.as_u16(), 200, "{path}");
    }
    for path in ["/", "/admin/sessions", "/subscribe?topic=a", "/ws"] {
        get(&metrics, path).await.is_error(404, "fennec.error.not_found");
    }
    let admin = Broker::start(Setup { scope: Scope::Admin, admin_apart: true, ..setup() });
    get(&admin, "/admin/sessions").await.is_json();
    get(&admin, "/subscribe?topic=a").await.is_error(404, "fennec.error.not_found");
    assert_eq!(get(&admin, "/metrics").await.status.as_u16(), 200);
    let rest = Broker::start(Setup { admin_apart: true, ..setup() });
    get(&rest, "/admin/sessions").await.is_error(404, "fennec.error.not_found");
    assert_eq!(rest.get("/").await.status.as_u16(), 200);
}
