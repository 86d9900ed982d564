//! A listener for machines that only look: `/metrics`, `/healthz` and `/readyz`, of a process that has no clients.
//!
//! Nobody is asked who they are: the operator chooses who reaches the address.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::metrics::{CONTENT_TYPE as METRICS, Text};
use crate::net::listen::Listener;

/// Connections at a time; others are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a request may take to come, and a connection may live.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const PLAIN: &str = "text/plain; charset=utf-8";

/// What there is to be seen.
pub struct Sights {
    /// Writes all metrics.
    pub metrics: Box<dyn Fn(&mut Text) + Send + Sync>,
    /// Why the process does not do what it is for; none if it does.
    pub troubles: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// Answers for ever.
pub async fn serve(listener: Listener, sights: Arc<Sights>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (socket, _) = listener.accept().await;
        let Ok(seat) = seats.clone().try_acquire_owned() else { continue };
        let sights = sights.clone();
        tokio::spawn(async move {
            let _seat = seat;
            // Whoever breaks off has got what it wanted.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, one(socket, &sights)).await;
        });
    }
}

async fn one(socket: TcpStream, sights: &Sights) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), sights);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http.serve_connection(TokioIo::new(socket), service).await
}

fn answer(method: &Method, path: &str, sights: &Sights) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are answered here\n".to_owned());
    }
    match path {
        "/healthz" => text(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" => match &(sights.troubles)()[..] {
            [] => text(StatusCode::OK, PLAIN, "ready\n".to_owned()),
            troubles => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, troubles.join("\n") + "\n"),
        },
        "/metrics" => {
            let mut metrics = Text::default();
            (sights.metrics)(&mut metrics);
            text(StatusCode::OK, METRICS, metrics.into_string())
        }
        _ => text(StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_to_see_is_answered() {
        let sights = |troubles: &'static [&str]| Sights {
            metrics: Box::new(|text| text.gauge("a", "b", 1)),
            troubles: Box::new(|| troubles.iter().map(|trouble| (*trouble).to_owned()).collect()),
        };
        let status = |method: Method, path, troubles| answer(&method, path, &sights(troubles)).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics", &[]), 200);
        assert_eq!(status(Method::HEAD, "/healthz", &["N1: hangs"]), 200);
        assert_eq!(status(Method::GET, "/readyz", &[]), 200);
        assert_eq!(status(Method::GET, "/readyz", &["N1: hangs"]), 503);
        assert_eq!(status(Method::POST, "/metrics", &[]), 405);
        assert_eq!(status(Method::GET, "/publish", &[]), 404);
    }
}
