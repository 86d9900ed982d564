//! Who may ask.

use fennec::node::users::Anonymous;
use fennec::router::authorize::Action;
use hyper::Method;

use crate::broker::{Ask, Broker, Setup, joe, role};

/// `joe:secret`
const JOE: &str = "Basic am9lOnNlY3JldA==";
/// `joe:wrong`
const WRONG: &str = "Basic am9lOndyb25n";

fn publish() -> Ask {
    Ask::post("/publish", r#"{"topic": "app.a"}"#)
}

fn with_joe(anonymous: Anonymous) -> Setup {
    let roles = vec![role("publisher", &[Action::Publish])];
    Setup { users: vec![joe("publisher")], roles, anonymous, ..Setup::default() }
}

#[tokio::test]
async fn a_user_proves_who_it_is_and_has_its_role() {
    let broker = Broker::start(with_joe(Anonymous::Refused));
    for _ in 0..2 {
        broker.ask(publish().with("authorization", JOE)).await.is_json();
    }
    let other = Ask::post("/publish", r#"{"topic": "b"}"#).with("authorization", JOE);
    broker.ask(other).await.is_error(403, "wamp.error.not_authorized");
    let call = Ask::post("/call", r#"{"procedure": "app.a"}"#).with("authorization", JOE);
    broker.ask(call).await.is_error(403, "wamp.error.not_authorized");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_counted() {
    let broker = Broker::start(with_joe(Anonymous::Allowed));
    for wrong in [WRONG, "Basic bm9ib2R5OnNlY3JldA==", "Basic ?", "Basic", "Bearer x", "Basic am9l"] {
        let answer = broker.ask(publish().with("authorization", wrong)).await;
        answer.is_error(401, "wamp.error.authentication_failed");
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"fennec\", charset=\"UTF-8\""));
    }
    let metrics = broker.ask(Ask::get("/metrics").with("authorization", JOE)).await.text();
    assert!(metrics.contains("fennec_auth_failures_total{protocol=\"http\"} 6\n"), "{metrics}");
}

#[tokio::test]
async fn who_says_nothing_comes_in_only_where_that_is_allowed() {
    let broker = Broker::start(with_joe(Anonymous::Refused));
    for ask in [publish(), Ask::get("/subscribe?topic=app.a"), Ask::get("/metrics")] {
        let answer = broker.ask(ask).await;
        answer.is_error(401, "wamp.error.authentication_required");
        assert!(answer.header("www-authenticate").is_some());
    }
    // These tell nothing that matters.
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(broker.get(path).await.status.as_u16(), 200, "{path}");
    }
    let broker = Broker::start(with_joe(Anonymous::Allowed));
    // Let in, but `anonymous` has no role here.
    broker.ask(publish()).await.is_error(403, "wamp.error.not_authorized");
}

#[tokio::test]
async fn without_users_any_name_is_nobodys() {
    let broker = Broker::start(Setup::default());
    broker.ask(publish().with("authorization", WRONG)).await.is_json();
}

#[tokio::test]
async fn a_realm_that_is_not_open_to_a_user_is_none() {
    let mut user = joe("publisher");
    user.realms = Some(vec!["other".into()]);
    let broker = Broker::start(Setup { users: vec![user], ..with_joe(Anonymous::Refused) });
    let ask = |body| Ask::post("/publish", body).with("authorization", JOE);
    broker.ask(ask(r#"{"topic": "app.a", "realm": "realm1"}"#)).await.is_error(404, "wamp.error.no_such_realm");
    broker.ask(ask(r#"{"topic": "app.a", "realm": "other"}"#)).await.is_json();
    // It has only one, so that is meant.
    broker.ask(ask(r#"{"topic": "app.a"}"#)).await.is_json();
}

#[tokio::test]
async fn a_proxy_in_front_takes_the_trust_of_loopback_away() {
    let broker = Broker::start(Setup::default());
    let forwarding = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("via", "1.1 proxy"),
        ("x-forwarded-host", "example.org"),
        ("host", "example.org"),
        ("host", "example.org:9000"),
        ("host", "localhost.example.org"),
        ("host", ""),
    ];
    for (name, value) in forwarding {
        let answer = broker.ask(publish().with(name, value)).await;
        answer.is_error(401, "wamp.error.authentication_required");
    }
    for host in ["localhost", "LOCALHOST:9000", "app.localhost", "127.0.0.1", "[::1]:9000", "192.0.2.1:80"] {
        broker.ask(publish().with("host", host)).await.is_json();
    }
    let asked_for = Broker::start(Setup { anonymous: Anonymous::Allowed, ..Setup::default() });
    for (name, value) in forwarding {
        asked_for.ask(publish().with(name, value)).await.is_json();
    }
}

#[tokio::test]
async fn pages_of_others_are_refused() {
    let broker = Broker::start(Setup::default());
    let foreign = ["http://example.org", "https://127.0.0.1", "null", "http://127.0.0.1:1", "x", ""];
    for origin in foreign {
        for ask in [
            publish(),
            Ask::post("/call", r#"{"procedure": "a"}"#),
            Ask::get("/subscribe?topic=a"),
            Ask::new(Method::OPTIONS, "/publish"),
            Ask::get("/ws"),
        ] {
            let answer = broker.ask(ask.with("origin", origin)).await;
            answer.is_error(403, "fennec.error.foreign_origin");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let own = format!("http://{}", broker.address);
    broker.ask(publish().with("origin", &own)).await.is_json();
    for (origin, host) in [
        ("https://localhost", "localhost:443"),
        ("http://localhost", "localhost:80"),
        ("https://LOCALHOST:9", "localhost:9"),
    ] {
        broker.ask(publish().with("origin", origin).with("host", host)).await.is_json();
    }
}

#[tokio::test]
async fn pages_that_are_allowed_may_ask_and_read() {
    let allowed_origins = vec!["https://app.example.org".to_owned(), "null".to_owned()];
    let broker = Broker::start(Setup { allowed_origins, ..Setup::default() });
    for origin in ["https://app.example.org", "HTTPS://APP.example.org", "null"] {
        let answer = broker.ask(publish().with("origin", origin)).await;
        answer.is_json();
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    let wrong = broker.ask(Ask::post("/publish", "{}").with("origin", "null")).await;
    wrong.is_error(400, "wamp.error.invalid_argument");
    assert_eq!(wrong.header("access-control-allow-origin"), Some("null"), "the page may read why not");
    let preflight = Ask::new(Method::OPTIONS, "/publish").with("origin", "https://app.example.org");
    let preflight = broker.ask(preflight.with("access-control-request-method", "POST")).await;
    assert_eq!(preflight.status.as_u16(), 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example.org"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"));
    let other = broker.ask(publish().with("origin", "https://example.org")).await;
    other.is_error(403, "fennec.error.foreign_origin");

    let all = Broker::start(Setup { allowed_origins: vec!["*".to_owned()], ..Setup::default() });
    all.ask(publish().with("origin", "https://example.org")).await.is_json();
}
