//! `POST /hooks/NAME`: others post events here, prove that it is them, and are answered when the event is in the log.
//!
//! ```text
//! POST --proof--> Hook's own task: known ids are answered at once, others become events --one commit, ids with them--> 200
//! ```
//!
//! What is posted twice under one id is published once, also when the broker was killed in between: the ids of the last posts are the
//! state of a consumer of the log that wants nothing (`node::consumer`), and move in the same transaction as the events. In a
//! cluster each entry remembers what was posted to it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::answer::{self, Answer, Failure};
use super::signature::Secret;
use super::write::Object;
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::consumer::{Consumer, ConsumerError};
use crate::queue::message::{Batch, Posting};
use crate::types::event::{Event, Properties};
use crate::types::ids::PublicationId;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// Ids of posts that a hook remembers, and bytes that it remembers of each.
const IDS_MAX: usize = 2000;
const ID_BYTES: usize = 16;
/// Posts that wait for one hook, and how many of them one commit takes.
const WAITING_MAX: usize = 1000;
const AT_ONCE: usize = 200;

/// Headers that hold the id of a post; the first that is there counts.
const ID_HEADERS: [&str; 3] = ["webhook-id", "x-github-delivery", "idempotency-key"];
/// Headers that an event has as user properties.
const KEPT_HEADERS: [&str; 3] = ["webhook-id", "x-github-delivery", "x-github-event"];

/// How a post proves where it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Standard Webhooks.
    #[default]
    Standard,
    /// `X-Hub-Signature-256`.
    Github,
    /// `Authorization: Bearer …`.
    Bearer,
}

/// A place where others post events.
#[derive(Clone, Debug)]
pub struct Hook {
    pub name: String,
    pub realm: String,
    pub topic: Topic,
    pub proof: Proof,
    pub secret: Secret,
}

/// Whether this may be the name of a hook.
pub fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A hook, and who works for it.
pub struct Open {
    hook: Arc<Hook>,
    posts: OnceLock<mpsc::Sender<Post>>,
}

/// A post that has proved itself.
struct Post {
    id: Option<[u8; ID_BYTES]>,
    body: Bytes,
    properties: Arc<Properties>,
    told: oneshot::Sender<Result<Taken, Failure>>,
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Published,
    /// It was there before.
    Repeated,
}

impl Hook {
    pub fn open(self) -> Open {
        Open { hook: Arc::new(self), posts: OnceLock::new() }
    }

    fn is_proved(&self, headers: &HeaderMap, body: &[u8], now_s: u64) -> bool {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match self.proof {
            Proof::Standard => {
                let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
                !id.is_empty() && self.secret.verify(id, timestamp, header("webhook-signature"), body, now_s)
            }
            Proof::Github => self.secret.verify_github(header("x-hub-signature-256"), body),
            Proof::Bearer => {
                header(AUTHORIZATION.as_str()).strip_prefix("Bearer ").is_some_and(|it| self.secret.is(it))
            }
        }
    }
}

impl Open {
    pub fn name(&self) -> &str {
        &self.hook.name
    }

    /// Takes a post.
    ///
    /// # Errors
    /// It does not prove itself, or the log does not take it.
    pub async fn post(
        &self,
        node: &Arc<Node>,
        clock: Clock,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        if !self.hook.is_proved(headers, &body, clock.now_ms() / 1000) {
            return Err(Failure::NotProved);
        }
        let id = ID_HEADERS.iter().find_map(|name| headers.get(*name)).map(|value| digest(value.as_bytes()));
        let (told, answer) = oneshot::channel();
        let post = Post { id, body, properties: Arc::new(properties(headers)), told };
        let posts = self.posts.get_or_init(|| {
            let (posts, waiting) = mpsc::channel(WAITING_MAX);
            tokio::spawn(work(self.hook.clone(), Arc::downgrade(node), clock, waiting));
            posts
        });
        let busy = || Failure::StoreUnavailable("as many posts wait as may".to_owned());
        posts.try_send(post).map_err(|_| busy())?;
        let taken = answer.await.map_err(|_| Failure::Draining)??;
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.bool("repeated", taken == Taken::Repeated);
        object.end();
        Ok(answer::json(StatusCode::OK, out))
    }
}

fn digest(id: &[u8]) -> [u8; ID_BYTES] {
    let mut short = [0; ID_BYTES];
    short.copy_from_slice(&Sha256::digest(id)[..ID_BYTES]);
    short
}

fn properties(headers: &HeaderMap) -> Properties {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let kept = |name: &&str| Some(((*name).to_owned(), text(name)?));
    let user_properties = KEPT_HEADERS.iter().filter_map(kept).collect();
    Properties { content_type: text(CONTENT_TYPE.as_str()), user_properties, ..Properties::default() }
}

/// Works for a hook as long as the node is there.
async fn work(hook: Arc<Hook>, node: std::sync::Weak<Node>, clock: Clock, mut waiting: mpsc::Receiver<Post>) {
    let mut desk = None;
    while let Some(first) = waiting.recv().await {
        let mut posts = vec![first];
        while posts.len() < AT_ONCE
            && let Ok(post) = waiting.try_recv()
        {
            posts.push(post);
        }
        let Some(node) = node.upgrade() else { return };
        if desk.is_none() {
            desk = match Desk::open(&hook, &node, clock).await {
                Ok(desk) => Some(desk),
                Err(error) => {
                    posts.into_iter().for_each(|post| tell(post.told, Err(unavailable(&error))));
                    continue;
                }
            };
        }
        if let Some(open) = &mut desk
            && !open.take(&hook, &node, posts).await
        {
            // What it remembers is not what the log has.
            desk = None;
        }
    }
}

fn tell(told: oneshot::Sender<Result<Taken, Failure>>, what: Result<Taken, Failure>) {
    // Whoever has gone asks again.
    let _ = told.send(what);
}

fn unavailable(error: &ConsumerError) -> Failure {
    Failure::StoreUnavailable(error.to_string())
}

/// What a hook remembers.
struct Desk {
    consumer: Consumer,
    ids: VecDeque<[u8; ID_BYTES]>,
    known: HashSet<[u8; ID_BYTES]>,
}

impl Desk {
    async fn open(hook: &Hook, node: &Arc<Node>, clock: Clock) -> Result<Self, ConsumerError> {
        let name = match node.entry.get() {
            None => format!("hook/{}", hook.name),
            Some(entry) => format!("hook/{}/{entry}", hook.name),
        };
        if node.consumers.info(&hook.realm, &name).is_none() {
            node.set_consumer(&hook.realm, &name, &[], Bytes::new(), None).await?;
        }
        let consumer = node.open_consumer(&hook.realm, &name, Arc::new(move || clock.now_ms())).await?;
        let ids: VecDeque<_> = consumer.state().as_chunks::<ID_BYTES>().0.iter().copied().collect();
        let known = ids.iter().copied().collect();
        Ok(Self { consumer, ids, known })
    }

    /// Publishes what is new; `false`: that failed.
    async fn take(&mut self, hook: &Hook, node: &Arc<Node>, posts: Vec<Post>) -> bool {
        let Some(realm) = node.realm(&hook.realm) else { return false };
        let topic = Arc::new(hook.topic.clone());
        let (mut batch, mut waiting) = (Batch::default(), Vec::new());
        for post in posts {
            if post.id.is_some_and(|id| !self.remember(id)) {
                waiting.push((post.told, Taken::Repeated));
                continue;
            }
            let event = Event {
                topic: &topic,
                payload: PayloadRef::Bytes(&post.body),
                codec: realm.codec(&topic),
                qos: Node::UNSAID_QOS,
                retain: false,
                // It gets the one of its number.
                publication: PublicationId::default(),
                place: None,
                properties: Some(&post.properties),
                publisher: None,
                expires_at_ms: None,
                expires_in_s: None,
            };
            batch.event(&event, &Posting { realm: &hook.realm, ..Posting::default() });
            waiting.push((post.told, Taken::Published));
        }
        let done = match batch.is_empty() {
            true => Ok(()),
            false => {
                let state: Vec<u8> = self.ids.iter().flatten().copied().collect();
                self.consumer.commit_with(batch, self.consumer.done_to(), state.into()).await
            }
        };
        for (told, taken) in waiting {
            tell(told, done.as_ref().map(|()| taken).map_err(unavailable));
        }
        done.is_ok()
    }

    /// Whether the id is new.
    fn remember(&mut self, id: [u8; ID_BYTES]) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.ids.push_back(id);
        if self.ids.len() > IDS_MAX
            && let Some(oldest) = self.ids.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
