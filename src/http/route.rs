//! From a path to what answers it.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::answer::{self, Answer, Failure};
use super::{Entrance, Server, access, websocket};

/// One request's surroundings.
pub struct Visit {
    pub server: Arc<Server>,
    pub entrance: Arc<Entrance>,
    pub peer: SocketAddr,
}

impl Visit {
    /// Answers a request; whatever is wrong with it is answered, too.
    pub async fn answer(self, request: Request<Incoming>) -> Answer {
        self.route(request).await.unwrap_or_else(|failure| failure.answer())
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let path = request.uri().path().to_owned();
        let anonymous = access::may_be_anonymous(self.entrance.anonymous, self.peer, request.headers());
        if let Some((_, gate)) = self.server.settings.websockets.iter().find(|(at, _)| *at == path) {
            access::check_origin(&self.server.settings.allowed_origins, request.headers())?;
            return websocket::open(request, gate, self.entrance.clone(), anonymous);
        }
        match path.as_str() {
            "/healthz" => Ok(answer::whole(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
            _ => Err(Failure::NothingThere { path }),
        }
    }
}
