//! Posts from elsewhere.

use fennec::http::signature::Secret;

use super::broker::{Broker, until};
use super::receiver::{Act, Receiver};
use super::{SECRET, service};

const HOOKS: &str = "[[hook]]\nname = 'std'\ntopic = 'app/std'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n\
                     [[hook]]\nname = 'gh'\nuri = 'app.gh'\nproof = 'github'\nsecret = \"It's a Secret to Everybody\"\n\
                     [[hook]]\nname = 'bear'\ntopic = 'app/bear'\nproof = 'bearer'\nsecret = 'tok'\n";

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn standard(broker: &Broker, id: &str, at_s: u64, body: &str) -> (u16, String) {
    let signature = Secret::parse(SECRET).unwrap().sign(id, at_s, body.as_bytes());
    let head = format!(
        "POST /hooks/std HTTP/1.1\r\nwebhook-id: {id}\r\nwebhook-timestamp: {at_s}\r\nwebhook-signature: {signature}"
    );
    broker.http(&head, body.as_bytes())
}

#[test]
fn a_post_that_proves_itself_is_published_once_whatever_is_repeated_or_killed() {
    let receiver = Receiver::start(|_, _| Act::Take);
    let mut broker = Broker::start(&(service(&receiver, "a", "") + HOOKS));
    let (first, again) = ((200, "{\"repeated\":false}\n".to_owned()), (200, "{\"repeated\":true}\n".to_owned()));
    assert_eq!(standard(&broker, "m1", now_s(), "one"), first);
    assert_eq!(standard(&broker, "m1", now_s(), "one"), again);
    // Answered means in the log: nothing is waited for.
    broker.kill_and_start();
    assert_eq!(standard(&broker, "m1", now_s(), "one"), again);
    assert_eq!(standard(&broker, "m2", now_s(), "two"), first);
    let github = "POST /hooks/gh HTTP/1.1\r\nx-github-delivery: d1\r\nx-github-event: push\r\nx-hub-signature-256: \
                  sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(broker.http(github, b"Hello, World!"), first);
    assert_eq!(broker.http(github, b"Hello, World!"), again);
    let bearer = "POST /hooks/bear HTTP/1.1\r\nauthorization: Bearer tok";
    assert_eq!(broker.http(bearer, b"three"), first);
    assert_eq!(broker.http(bearer, b"three"), first, "without an id nobody knows it again");
    let expected = ["one", "two", "Hello, World!", "three", "three"];
    until("all of it comes", || receiver.events("a").len() >= expected.len());
    assert_eq!(receiver.events("a"), expected);
    let all = receiver.all("a");
    let bodies: Vec<serde_json::Value> = all.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let mut events = bodies.iter().flat_map(|body| body["events"].as_array().unwrap());
    let pushed = events.find(|event| event["topic"] == "app.gh").unwrap();
    assert_eq!(pushed["user_properties"]["x-github-event"], "push");
}

#[test]
fn what_does_not_prove_itself_is_refused() {
    let broker = Broker::start(HOOKS);
    let (status, _) = standard(&broker, "m1", now_s() - 1000, "old");
    assert_eq!(status, 401);
    for head in [
        "POST /hooks/std HTTP/1.1",
        "POST /hooks/std HTTP/1.1\r\nauthorization: Bearer whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "POST /hooks/gh HTTP/1.1\r\nx-hub-signature-256: sha256=00",
        "POST /hooks/bear HTTP/1.1\r\nauthorization: Bearer tokk",
        "POST /hooks/bear HTTP/1.1",
    ] {
        assert_eq!(broker.http(head, b"x").0, 401, "{head}");
    }
    assert_eq!(broker.http("POST /hooks/other HTTP/1.1", b"x").0, 404);
    assert_eq!(broker.http("GET /hooks/bear HTTP/1.1", b"").0, 405);
    let foreign = "POST /hooks/bear HTTP/1.1\r\nauthorization: Bearer tok\r\norigin: https://evil.example";
    assert_eq!(broker.http(foreign, b"x").0, 403);
}
