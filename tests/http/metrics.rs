//! `/metrics`, and the pages for people and machines that only look.

use std::collections::HashMap;

use hyper::Method;

use crate::broker::{Ask, Broker, EventReader, Setup};

/// Reads the text format strictly: every sample belongs to the family announced before it.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && name != family, "{line}");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').expect(line);
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            kind = of.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').expect(line);
            let name = sample.split('{').next().unwrap();
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| format!("{family}{suffix}") == name), "{line} is not of {family}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

#[tokio::test]
async fn metrics_are_well_formed_and_count_what_happened() {
    let broker = Broker::start(Setup::default());
    let _events = EventReader::open(&broker, "topic=app.a&topic=app.b").await;
    broker.post("/publish", r#"{"topic": "app.a", "args": [1], "retain": true}"#).await.is_json();
    broker.post("/publish", r#"{"topic": "wamp.a"}"#).await.is_error(403, "wamp.error.not_authorized");
    broker.post("/call", r#"{"procedure": "app.no"}"#).await.is_error(404, "wamp.error.no_such_procedure");
    let answer = broker.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = parse(&answer.text());
    let http = |name: &str| samples[&format!("fennec_{name}{{protocol=\"http\"}}")];
    assert_eq!(http("received_messages_total"), 5.0);
    assert_eq!(http("connections_opened_total"), 5.0);
    assert!(http("connections") >= 2.0);
    assert!(http("received_bytes_total") > 100.0);
    assert!(http("sent_bytes_total") > 100.0);
    assert_eq!(http("publishes_total"), 2.0);
    // What comes out of the log is not counted by who published it.
    assert_eq!(samples["fennec_deliveries_total{protocol=\"mqtt\"}"], 1.0);
    assert_eq!(http("calls_total"), 1.0);
    assert_eq!(http("sessions"), 1.0);
    assert_eq!(samples["fennec_dropped_total{protocol=\"http\",reason=\"not_authorized\"}"], 1.0);
    assert_eq!(samples["fennec_retained_messages"], 1.0);
    assert!(samples["fennec_retained_bytes"] > 0.0);
    assert_eq!(samples["fennec_subscriptions"], 2.0);
    assert_eq!(samples["fennec_realms"], 2.0);
    assert_eq!(samples["fennec_queue_bytes{queue=\"backlog\"}"], 0.0);
    assert_eq!(samples["fennec_call_seconds_count"], 1.0);
    assert_eq!(samples["fennec_call_seconds_bucket{le=\"+Inf\"}"], 1.0);
    assert_eq!(samples[&format!("fennec_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    assert!(samples["process_start_time_seconds"] > 1.7e9);
}

#[tokio::test]
async fn the_first_page_says_what_runs_where_and_loads_nothing() {
    let broker = Broker::start(Setup::default());
    let answer = broker.get("/").await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    let html = answer.text();
    let address = broker.address;
    for part in [
        &format!("<code>http://{address}</code>"),
        "HTTP &lt;&amp;&gt;",
        "realm1",
        &format!("curl http://{address}/publish"),
    ] {
        assert!(html.contains(part), "{part} is not in\n{html}");
    }
    for foreign in ["src=", "<link", "<script", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    let evil = broker.ask(Ask::get("/").with("host", "<script>")).await.text();
    assert!(!evil.contains("<script>"));
}

#[tokio::test]
async fn what_only_looks_is_answered_to_get_and_head() {
    let broker = Broker::start(Setup::default());
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        let head = broker.ask(Ask::new(Method::HEAD, path)).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
        broker.post(path, "{}").await.is_error(405, "fennec.error.method_not_allowed");
    }
    assert_eq!(broker.get("/healthz").await.text(), "ok\n");
    assert_eq!(broker.get("/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn where_nothing_is_the_answer_says_so() {
    let broker = Broker::start(Setup::default());
    for path in ["/x", "/publish/", "//", "/wsx", "/favicon.ico"] {
        broker.get(path).await.is_error(404, "fennec.error.not_found");
    }
}
