//! An HTTP endpoint that is asked who somebody is: `POST` of what it says, answered with what it may be.
//!
//! 200 with `{"allow": true, "role": …}` lets in; 200 with `{"allow": false}`, 401 and 403 do not; everything else, and a
//! silence that lasts, is a denial because nobody knows. Answers may be remembered for a while; what is remembered is found by a
//! keyed hash of all that was said, so that no password is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use parking_lot::Mutex;

use super::said;
use crate::node::authenticate::{Answer, Check, Decider, Denied, Evidence};
use crate::node::users::mac;
use crate::outbound::post::{Poster, WebServer};
use crate::types::payload::Format;
use crate::types::value::Value;

/// Answers that are remembered; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 10_000;

/// As configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    pub server: WebServer,
    pub timeout: Duration,
    /// Zero: nothing is remembered.
    pub cache: Duration,
}

/// See the module.
pub struct Hook(Arc<Inner>);

struct Inner {
    poster: Poster,
    timeout: Duration,
    cache: Duration,
    key: [u8; 32],
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    answers: HashMap<[u8; 32], (Answer, Instant)>,
    oldest: VecDeque<[u8; 32]>,
}

impl Hook {
    /// # Errors
    /// The authorities cannot be used, or the system gives no random numbers; as a sentence.
    pub fn new(settings: &HookSettings) -> Result<Hook, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        let HookSettings { server, timeout, cache } = settings;
        let (poster, timeout, cache) = (Poster::new(server)?, *timeout, *cache);
        Ok(Hook(Arc::new(Inner { poster, timeout, cache, key, remembered: Mutex::default() })))
    }
}

impl Decider for Hook {
    fn offers(&self, method: &str, _: Option<&str>) -> bool {
        matches!(method, "ticket" | "password" | "basic")
    }

    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        // JSON cannot say other secrets, and one must not stand for another.
        let can_be_said = std::str::from_utf8(&evidence.secret).is_ok();
        if known || !can_be_said || !self.offers(evidence.method, None) {
            return None;
        }
        let (inner, evidence) = (self.0.clone(), evidence.clone());
        Some(Check::Elsewhere(Box::pin(async move { inner.ask(&evidence).await })))
    }
}

impl Inner {
    async fn ask(&self, evidence: &Evidence) -> Answer {
        let asked = question(evidence).to_bytes(Format::Json);
        let tag = mac(&self.key, &[&asked]);
        if let Some(answer) = self.remembered.lock().find(&tag) {
            return answer;
        }
        let answer = match tokio::time::timeout(self.timeout, self.poster.post(Bytes::from(asked))).await {
            Err(_) => unavailable("does not answer in time"),
            Ok(Err(why)) => unavailable(&why),
            Ok(Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _))) => Answer::WRONG,
            Ok(Ok((StatusCode::OK, body))) => match Value::decode(Format::Json, &body) {
                // A role alone is no dict that says `allow`.
                Ok(said @ Value::Map(_)) if said.get("allow").is_some() => said::read(&said, evidence, "http"),
                _ => unavailable("has answered what cannot be read"),
            },
            Ok(Ok((status, _))) => unavailable(&format!("has answered {status}")),
        };
        if !self.cache.is_zero() && !matches!(answer, Answer::Denied(Denied::Unavailable(_))) {
            self.remembered.lock().put(tag, answer.clone(), Instant::now() + self.cache);
        }
        answer
    }
}

fn unavailable(why: &str) -> Answer {
    Answer::Denied(Denied::Unavailable(format!("the hook of authentication {why}")))
}

fn question(evidence: &Evidence) -> Value {
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let password = String::from_utf8_lossy(&evidence.secret).into_owned();
    // Its port differs each time.
    let address = evidence.peer.as_ref().map_or(Value::Null, |peer| Value::from(peer.address.ip().to_string()));
    Value::map([
        ("method", Value::from(evidence.method)),
        ("protocol", Value::from(evidence.protocol.name())),
        ("realm", text(&evidence.realm)),
        ("name", Value::from(evidence.name.as_str())),
        ("password", Value::from(password)),
        ("client_id", text(&evidence.client_id)),
        ("address", address),
    ])
}

impl Remembered {
    fn find(&self, tag: &[u8; 32]) -> Option<Answer> {
        self.answers.get(tag).filter(|(_, until)| *until > Instant::now()).map(|(answer, _)| answer.clone())
    }

    fn put(&mut self, tag: [u8; 32], answer: Answer, until: Instant) {
        if self.answers.insert(tag, (answer, until)).is_none() {
            self.oldest.push_back(tag);
        }
        if self.oldest.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::node::metrics::Protocol;

    fn evidence(password: &str) -> Evidence {
        Evidence {
            method: "password",
            protocol: Protocol::Mqtt,
            realm: None,
            name: "ann".to_owned(),
            secret: password.into(),
            client_id: Some("c".to_owned()),
            peer: None,
            extra: None,
        }
    }

    async fn ask(hook: &Hook, password: &str) -> Result<String, Denied> {
        let Some(Check::Elsewhere(waiting)) = hook.decide(&evidence(password), false) else { panic!("not asked") };
        waiting.await.verdict().map(|proved| proved.user.role.to_string())
    }

    /// An endpoint that gives these answers, one for each connection, and then none.
    async fn endpoint(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth?x=1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    socket.read_buf(&mut request).await.unwrap();
                }
                let request = String::from_utf8(request).unwrap();
                assert!(request.starts_with("POST /auth?x=1 HTTP/1.1\r\n"), "{request}");
                assert!(request.contains(r#""name":"ann","password":""#), "{request}");
                if !answer.is_empty() {
                    let length = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
                    let answer = answer.replacen("\r\n", &format!("\r\ncontent-length: {length}\r\n"), 1);
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
                // Held open, so that silence is silence.
                tokio::spawn(async move {
                    let _ = socket.read_u8().await;
                });
            }
        });
        url
    }

    fn hook(url: &str, timeout_ms: u64, cache_s: u64) -> Hook {
        let server = WebServer { uri: url.parse().unwrap(), authorization: None, ca: None };
        let (timeout, cache) = (Duration::from_millis(timeout_ms), Duration::from_secs(cache_s));
        Hook::new(&HookSettings { server, timeout, cache }).unwrap()
    }

    #[tokio::test]
    async fn the_answer_decides_and_whatever_is_none_is_a_denial() {
        let url = endpoint(vec![
            "HTTP/1.1 200 OK\r\n\r\n{\"allow\":true,\"role\":\"boss\"}",
            "HTTP/1.1 200 OK\r\n\r\n{\"allow\":false,\"role\":\"boss\"}",
            "HTTP/1.1 403 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{\"role\":\"boss\"}",
            "HTTP/1.1 200 OK\r\n\r\n\"boss\"",
            "HTTP/1.1 302 Found\r\n\r\n{\"allow\":true,\"role\":\"boss\"}",
            "HTTP/1.1 500 No\r\n\r\n{\"allow\":true,\"role\":\"boss\"}",
        ])
        .await;
        let hook = hook(&url, 30_000, 0);
        assert_eq!(ask(&hook, "x").await, Ok("boss".to_owned()));
        assert_eq!(ask(&hook, "x").await, Err(Denied::Wrong));
        assert_eq!(ask(&hook, "x").await, Err(Denied::Wrong));
        for _ in 0..4 {
            assert!(matches!(ask(&hook, "x").await, Err(Denied::Unavailable(_))));
        }
    }

    #[tokio::test]
    async fn a_silent_or_missing_endpoint_is_a_denial() {
        let silent = endpoint(vec![""]).await;
        assert!(matches!(ask(&hook(&silent, 50, 60), "x").await, Err(Denied::Unavailable(_))));
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let gone = hook(&format!("http://127.0.0.1:{port}/"), 30_000, 60);
        assert!(matches!(ask(&gone, "x").await, Err(Denied::Unavailable(_))));
    }

    #[tokio::test]
    async fn answers_are_remembered_for_the_very_same_words_only() {
        let url =
            endpoint(vec!["HTTP/1.1 200 OK\r\n\r\n{\"allow\":true,\"role\":\"boss\"}", "HTTP/1.1 403 No\r\n\r\n"])
                .await;
        let hook = hook(&url, 30_000, 3600);
        for _ in 0..3 {
            assert_eq!(ask(&hook, "x").await, Ok("boss".to_owned()));
        }
        for _ in 0..3 {
            assert_eq!(ask(&hook, "y").await, Err(Denied::Wrong));
        }
        assert!(hook.decide(&evidence("x"), true).is_none(), "users of the configuration are none of its business");
    }

    #[test]
    fn a_secret_that_json_cannot_say_is_not_asked_about() {
        let evidence = Evidence { secret: vec![0xff], ..evidence("") };
        assert!(hook("http://127.0.0.1:1/", 1, 0).decide(&evidence, false).is_none());
    }
}
