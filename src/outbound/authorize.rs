//! `[authorize_hook]`: a web server is asked what sessions may do. One POST for each question ([`super::post`]). Whatever
//! goes wrong is a no.
//!
//! ```text
//! {"session": {…}, "action": "publish", "uri": "a.b", "topic": "a/b", "match": "exact"} --POST--> {"allow": true, "cache": true}
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::runtime::Handle;

use super::post::Poster;
use crate::node::authorize::{Done, Hook, Question, Said, details};
use crate::types::payload::Format;
use crate::types::value::Value;

/// See the module.
pub struct HttpHook {
    runtime: Handle,
    poster: Arc<Poster>,
}

impl HttpHook {
    pub fn new(poster: Poster, runtime: Handle) -> Self {
        Self { runtime, poster: Arc::new(poster) }
    }
}

impl Hook for HttpHook {
    fn ask(&self, question: Question, done: Done) {
        let poster = self.poster.clone();
        self.runtime.spawn(async move {
            let time = Duration::from_millis(question.timeout_ms);
            match tokio::time::timeout(time, ask(&poster, body(&question))).await {
                Ok(Ok(said)) => done(said),
                Ok(Err(why)) => tracing::warn!(why, "the authorize hook has not answered"),
                Err(_) => tracing::warn!("the authorize hook has not answered in time"),
            }
        });
    }
}

fn body(question: &Question) -> Bytes {
    let (uri, policy) = question.pattern.uri();
    let mut body = vec![
        ("session", details(question)),
        ("action", question.action.name().into()),
        ("uri", uri.into()),
        ("match", policy.as_str().into()),
    ];
    body.extend(question.pattern.filter().map(|filter| ("topic", Value::from(filter))));
    Value::map(body).to_bytes(Format::Json).into()
}

async fn ask(poster: &Poster, body: Bytes) -> Result<Said, String> {
    let (status, body) = poster.post(body).await?;
    match status {
        StatusCode::OK => {
            let answer = Value::decode(Format::Json, &body);
            Ok(Said::read(&answer.map_err(|error| format!("the answer is no JSON: {error}"))?))
        }
        StatusCode::FORBIDDEN => Ok(Said::NO),
        other => Err(format!("it answered {other}")),
    }
}
