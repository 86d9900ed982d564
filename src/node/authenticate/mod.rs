//! How it is found out who somebody is: what is said to prove it, who decides, and what comes of it.
//!
//! ```text
//! gate --Evidence--> Node::authenticate --> Answer at once
//!                                      \--> Check: hashing on a thread of its own, or a Decider elsewhere --> Answer
//! ```
//!
//! Every gate asks the same way. Whatever goes wrong on the way (nobody decides, too late, nonsense) is a denial.
//!
//! Left out on purpose: what a user may do (`router::authorize`), and how a proof goes over the wire.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLock;

use super::Node;
use super::metrics::{Limited, Protocol};
use super::throttle::{Pair, Turn};
use super::users::{Account, Method, User};
use crate::types::peer::Peer;
use crate::types::value::Value;

pub mod cookies;
pub mod cryptosign;
pub mod jwt;
pub mod scram;
#[cfg(test)]
mod tests;

/// What somebody says to prove who it is, with one message.
#[derive(Clone)]
pub struct Evidence {
    /// How it proves it, in the words of the protocol: `password`, `ticket`, `basic`, `bearer`, …
    pub method: &'static str,
    pub protocol: Protocol,
    /// The realm that is asked for; `None`: the protocol names none, or the client did not.
    pub realm: Option<String>,
    /// As whom it wants to come in; empty: it did not say.
    pub name: String,
    /// Password, ticket or token.
    pub secret: Vec<u8>,
    /// MQTT client id.
    pub client_id: Option<String>,
    /// Where it comes from.
    pub peer: Option<Arc<Peer>>,
    /// What else it said (WAMP `authextra`).
    pub extra: Option<Value>,
}

/// Somebody who proved who it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Proved {
    pub user: Arc<User>,
    /// By what: WAMP `authmethod`.
    pub method: &'static str,
}

/// Why somebody is not let in. Clients are told no more than the protocol has words for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The proof is wrong, or there is no such user: nobody is told which.
    #[error("the name or its secret is wrong")]
    Wrong,
    /// Who had to decide did not, or not in time.
    #[error("it cannot be found out now who this is: {0}")]
    Unavailable(String),
    /// Who decides has said why.
    #[error("{uri}: {text}")]
    Refused { uri: String, text: String },
}

/// What comes of a check.
#[derive(Clone, Debug)]
pub enum Answer {
    Proved(Proved),
    Denied(Denied),
    /// A user that is known elsewhere, with what its proof is to be checked against: the proof is still to be asked for.
    Known(Arc<Account>),
}

/// A check that takes its time. Nothing of the connection is read meanwhile.
pub enum Check {
    /// It costs processor time (a password hash): for a thread of its own.
    Blocking(Box<dyn FnOnce() -> Answer + Send>),
    /// Somebody elsewhere decides.
    Elsewhere(Waiting),
    /// It has to wait for its turn: too many failed before it.
    Later { wait: Duration, then: Then },
}

/// What is to be done when the turn has come.
pub type Then = Box<dyn FnOnce() -> Step + Send>;

/// An answer that comes from elsewhere, by a deadline of its own. Dropped, nobody waits for it any more.
pub type Waiting = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Who decides for users that the configuration does not have: an HTTP hook, say.
pub trait Decider: Send + Sync {
    /// Whether it decides about those who prove themselves by this method.
    fn offers(&self, method: &str, realm: Option<&str>) -> bool;

    /// `None`: it is none of its business. The answer must come by itself, at the latest as a denial when a deadline is over.
    /// `known`: a user of the configuration has this name. Without a secret it is asked what the proof is to be checked
    /// against.
    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check>;
}

/// How far it is.
pub enum Step {
    Done(Answer),
    /// To be run; see [`Check`].
    Wait(Check),
}

/// Those that decide, in the order in which they are asked.
#[derive(Default)]
pub struct Deciders(RwLock<Vec<Arc<dyn Decider>>>);

impl Deciders {
    /// Asks this one, too, behind those that are there.
    pub fn add(&self, decider: Arc<dyn Decider>) {
        self.0.write().push(decider);
    }

    /// Whether nobody is there to be asked.
    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// See [`Decider::offers`].
    pub fn offers(&self, method: &str, realm: Option<&str>) -> bool {
        self.0.read().iter().any(|decider| decider.offers(method, realm))
    }

    /// What the first says whose business it is.
    pub fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        self.0.read().iter().find_map(|decider| decider.decide(evidence, known))
    }
}

impl Answer {
    pub const WRONG: Answer = Answer::Denied(Denied::Wrong);

    /// `None`: the proof is wrong.
    pub fn of(user: Option<Arc<User>>, method: &'static str) -> Answer {
        user.map_or(Answer::WRONG, |user| Answer::Proved(Proved { user, method }))
    }

    /// Who it is, where nothing can be asked any more: a proof that is still to be asked for counts as wrong.
    pub fn verdict(self) -> Result<Proved, Denied> {
        match self {
            Answer::Proved(proved) => Ok(proved),
            Answer::Denied(denied) => Err(denied),
            Answer::Known(_) => Err(Denied::Wrong),
        }
    }
}

impl Node {
    /// Whether nobody can prove to be anybody here. Then whoever may be anonymous is, whatever it says.
    pub fn knows_nobody(&self) -> bool {
        self.users.is_empty() && self.deciders.is_empty()
    }

    /// Whether a user of the configuration has proved all that it has to: where the protocol asks for one proof only, a client
    /// certificate is the other one that there can be.
    pub fn suffices(&self, proved: &Proved, peer: &Peer) -> bool {
        let Some(account) = self.users.account(&proved.user.name).filter(|_| proved.user.provider == "static") else {
            return true;
        };
        account.credentials.require.iter().all(|factor| match factor {
            Method::Tls => self.is_certified(peer, &account),
            Method::Password => matches!(proved.method, "password" | "basic"),
            Method::Scram => proved.method == "scram",
            Method::WampCra | Method::Cryptosign => false,
        })
    }

    fn is_certified(&self, peer: &Peer, account: &Account) -> bool {
        let named = peer.certificate().and_then(|certificate| self.users.account_of_certificate(certificate));
        named.is_some_and(|named| named.user.name == account.user.name)
    }

    /// Who somebody is that says all there is to say at once: a name and a password or token. Those who decide elsewhere are asked
    /// about names that no user here has, and about tokens.
    ///
    /// After failures of the same user from the same address it has to wait for its turn first ([`super::throttle`]).
    pub fn authenticate(self: &Arc<Self>, evidence: Evidence) -> Step {
        let named = evidence.peer.as_ref().filter(|_| !evidence.name.is_empty());
        let Some(peer) = named else { return self.find_out(evidence) };
        let pair = Pair::new(peer.address.ip(), &evidence.name);
        match self.turn(&pair) {
            Turn::Now => self.watched(pair, self.find_out(evidence)),
            Turn::After { wait_ms } => {
                let node = self.clone();
                let then: Then = Box::new(move || node.watched(pair, node.find_out(evidence)));
                Step::Wait(Check::Later { wait: Duration::from_millis(wait_ms), then })
            }
            Turn::Never => Step::Done(Answer::WRONG),
        }
    }

    /// An answer to a proof that was checked already, in its turn: a signature, say.
    pub fn answer_in_turn(&self, peer: &Peer, name: &str, answer: Answer) -> Step {
        let pair = Pair::new(peer.address.ip(), name);
        match self.turn(&pair) {
            Turn::Never => Step::Done(Answer::WRONG),
            Turn::Now => {
                self.attempted(pair, &answer);
                Step::Done(answer)
            }
            Turn::After { wait_ms } => {
                self.attempted(pair, &answer);
                let then: Then = Box::new(move || Step::Done(answer));
                Step::Wait(Check::Later { wait: Duration::from_millis(wait_ms), then })
            }
        }
    }

    fn turn(&self, pair: &Pair) -> Turn {
        let turn = self.throttle.turn(pair, self.ticked_ms.load(Ordering::Relaxed), self.auth_delay_ms_max());
        match turn {
            Turn::Now => {}
            Turn::After { .. } => self.metrics.limited(Limited::AuthDelayed, 1),
            Turn::Never => self.metrics.limited(Limited::AuthRefused, 1),
        }
        turn
    }

    /// An attempt to log in had this answer.
    fn attempted(&self, pair: Pair, answer: &Answer) {
        match answer {
            Answer::Proved(_) => self.throttle.succeeded(&pair),
            Answer::Denied(Denied::Wrong | Denied::Refused { .. }) => {
                self.throttle.failed(pair, self.ticked_ms.load(Ordering::Relaxed), self.auth_delay_ms_max());
            }
            Answer::Denied(Denied::Unavailable(_)) | Answer::Known(_) => {}
        }
    }

    fn auth_delay_ms_max(&self) -> u64 {
        u64::from(self.limits.auth_delay_s_max) * 1000
    }

    /// The same step, of which the answer is noted.
    fn watched(self: &Arc<Self>, pair: Pair, step: Step) -> Step {
        let node = self.clone();
        let noted = move |answer: Answer| {
            node.attempted(pair, &answer);
            answer
        };
        match step {
            Step::Done(answer) => Step::Done(noted(answer)),
            Step::Wait(Check::Blocking(check)) => Step::Wait(Check::Blocking(Box::new(move || noted(check())))),
            Step::Wait(Check::Elsewhere(waiting)) => {
                Step::Wait(Check::Elsewhere(Box::pin(async move { noted(waiting.await) })))
            }
            Step::Wait(later @ Check::Later { .. }) => Step::Wait(later),
        }
    }

    fn find_out(self: &Arc<Self>, evidence: Evidence) -> Step {
        let method = evidence.method;
        if let Some(user) = self.users.recall(&evidence.name, &evidence.secret) {
            return Step::Done(Answer::of(Some(user), method));
        }
        if let Some(check) = self.deciders.decide(&evidence, self.users.knows(&evidence.name)) {
            return Step::Wait(check);
        }
        if matches!(method, "jwt" | "bearer") {
            // What no decider takes for a token of its own is none.
            return Step::Done(Answer::WRONG);
        }
        let node = self.clone();
        let check = move || Answer::of(node.users.check_password(&evidence.name, &evidence.secret), method);
        Step::Wait(Check::Blocking(Box::new(check)))
    }
}

/// The secret never reaches a log.
impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("method", &self.method)
            .field("protocol", &self.protocol)
            .field("realm", &self.realm)
            .field("name", &self.name)
            .field("client_id", &self.client_id)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
