//! How two processes make sure of each other before anything else is said. No IO: messages in, messages out.
//!
//! ```text
//! dials                         accepts
//! Hello     cluster, process, nodes, life, nonce  -->
//!           <--  Challenge  cluster, process, nodes, life, nonce
//! Proof     HMAC(key, "dials",   Hello, Challenge, channel)  -->
//!           <--  Welcome    HMAC(key, "accepts", Hello, Challenge, channel)
//! ```
//!
//! - The key is never sent. The proof covers every byte of both first messages, so names, roles and nonces cannot be exchanged on
//!   the way; and the side, so that a proof sent back proves nothing.
//! - `channel` is what TLS exports of its session (RFC 5705; zeros without TLS): a proof is worth nothing on another connection,
//!   so nobody in between can pass it on.
//! - Who accepts proves itself last: whoever does not know the key learns nothing from it but names.
//! - Whoever only asks ([`super::ask`]) says ASK instead of HELLO. It needs the key all the same, but takes no process's place: it may
//!   have any name and plays no role. No proof of one is one of the other, for it covers the whole message.
//! - Each message begins with the version, so that any two versions can tell that they do not fit. A refusal says why; until the
//!   proofs are made it is only the word of whoever is there.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::config::{Cluster, ClusterKey, Plan, Process, ProcessId};
use super::frame;
use crate::queue::envelope::NodeId;

#[cfg(test)]
mod tests;

/// Both sides must speak the same. To be raised with every change of a frame's or a role message's meaning.
pub const VERSION: u16 = 2;
/// Longest message before both sides have proved who they are.
pub const MESSAGE_BYTES_MAX: usize = 4096;

const MAGIC: &[u8; 6] = b"fennec";

/// 32 bytes that are random and used once.
pub type Nonce = [u8; 32];
/// What TLS exports of a session; zeros without TLS.
pub type Channel = [u8; 32];

/// Who we are.
#[derive(Clone, Debug)]
pub struct Own {
    pub cluster: Arc<Cluster>,
    pub process: ProcessId,
    pub nodes: Vec<NodeId>,
    /// Random, made when the process started: tells a process that comes back from a second one of the same name.
    pub life: u128,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The link between two processes.
    Link,
    /// One question, by whoever has the key.
    Ask,
}

/// Who is at the other end, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeted {
    pub process: ProcessId,
    pub life: u128,
    pub purpose: Purpose,
}

/// Why there is no link. The operator must act, whichever side says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("what came is no handshake of a cluster's link")]
    Malformed,
    #[error("version {found} of the links, but {expected} is spoken here")]
    Version { expected: u16, found: u16 },
    #[error("it belongs to cluster {found:?}, not {expected:?}")]
    OtherCluster { expected: String, found: String },
    #[error("no process {found:?} is known here: do both have the same cluster.toml?")]
    UnknownProcess { found: String },
    #[error("it is process {found:?}, not {expected:?}")]
    OtherProcess { expected: String, found: String },
    #[error("process {process:?} plays other roles there: do both have the same cluster.toml?")]
    OtherRoles { process: String },
    #[error("process {process:?} is to be dialled from here, and has dialled: do both have the same cluster.toml?")]
    OtherDirection { process: String },
    #[error("a second process calls itself {process:?}")]
    SecondProcess { process: String },
    #[error("the cluster keys differ")]
    WrongKey,
    /// The peer said so. Never sent on: a refusal of a refusal could be as deep as a peer likes.
    #[serde(skip)]
    #[error("refused by the other side: {0}")]
    Told(Box<Refusal>),
}

/// What to do after a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// To be sent now.
    pub send: Option<Vec<u8>>,
    /// The handshake is done (once `send` is sent): this is who is there.
    pub done: Option<Greeted>,
}

/// One handshake, from either side.
pub struct Handshake {
    own: Own,
    channel: Channel,
    state: State,
}

enum State {
    AwaitsHello { nonce: Nonce },
    AwaitsChallenge { expected: Process, hello: Vec<u8>, purpose: Purpose },
    AwaitsProof { peer: Greeted, transcript: Vec<u8> },
    AwaitsWelcome { peer: Greeted, transcript: Vec<u8> },
    Over,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Hello(Introduction),
    /// HELLO of whoever only asks.
    Ask(Introduction),
    Challenge(Introduction),
    Proof([u8; 32]),
    Welcome([u8; 32]),
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Introduction {
    cluster: String,
    process: ProcessId,
    nodes: Vec<NodeId>,
    life: u128,
    nonce: Nonce,
}

/// Who makes a proof.
#[derive(Clone, Copy)]
enum Side {
    Dials,
    Accepts,
}

impl Own {
    pub fn new(plan: &Plan, life: u128) -> Self {
        let Process { id, nodes, .. } = plan.own.clone();
        Self { cluster: plan.cluster.clone(), process: id, nodes, life }
    }

    fn introduce(&self, nonce: Nonce) -> Introduction {
        Introduction {
            cluster: self.cluster.name.as_ref().to_owned(),
            process: self.process.clone(),
            nodes: self.nodes.clone(),
            life: self.life,
            nonce,
        }
    }

    fn check_cluster(&self, other: &Introduction) -> Result<(), Refusal> {
        if *other.cluster != *self.cluster.name {
            let expected = self.cluster.name.as_ref().to_owned();
            return Err(Refusal::OtherCluster { expected, found: other.cluster.clone() });
        }
        if other.process == self.process {
            return Err(Refusal::SecondProcess { process: other.process.to_string() });
        }
        Ok(())
    }
}

impl Handshake {
    /// Begins as the side that dialled `expected`. Returns what to send first.
    pub fn dial(own: Own, expected: Process, nonce: Nonce, channel: Channel, purpose: Purpose) -> (Self, Vec<u8>) {
        let introduction = own.introduce(nonce);
        let hello = match purpose {
            Purpose::Link => Message::Hello(introduction),
            Purpose::Ask => Message::Ask(introduction),
        };
        let hello = hello.encode();
        (Self { own, channel, state: State::AwaitsChallenge { expected, hello: hello.clone(), purpose } }, hello)
    }

    /// Begins as the side that accepted.
    pub fn accept(own: Own, nonce: Nonce, channel: Channel) -> Self {
        Self { own, channel, state: State::AwaitsHello { nonce } }
    }

    /// Takes the next message of the peer.
    ///
    /// # Errors
    /// There will be no link. The peer is to be sent [`Refusal::to_send`], and the connection closed.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        let message = Message::decode(bytes)?;
        match (std::mem::replace(&mut self.state, State::Over), message) {
            (_, Message::Refused(why)) => Err(Refusal::Told(Box::new(why))),
            (State::AwaitsHello { nonce }, Message::Hello(hello)) => {
                self.check_peer(&hello)?;
                Ok(self.challenge(nonce, bytes, hello.greeted(Purpose::Link)))
            }
            (State::AwaitsHello { nonce }, Message::Ask(hello)) => {
                self.own.check_cluster(&hello)?;
                Ok(self.challenge(nonce, bytes, hello.greeted(Purpose::Ask)))
            }
            (State::AwaitsChallenge { expected, hello, purpose }, Message::Challenge(challenge)) => {
                self.challenged((&expected, purpose), &hello, bytes, challenge)
            }
            (State::AwaitsProof { peer, transcript }, Message::Proof(proof)) => {
                verify(&self.own.cluster.key, Side::Dials, &transcript, &proof)?;
                let welcome = prove(&self.own.cluster.key, Side::Accepts, &transcript);
                Ok(Progress { send: Some(Message::Welcome(welcome).encode()), done: Some(peer) })
            }
            (State::AwaitsWelcome { peer, transcript }, Message::Welcome(proof)) => {
                verify(&self.own.cluster.key, Side::Accepts, &transcript, &proof)?;
                Ok(Progress { send: None, done: Some(peer) })
            }
            _ => Err(Refusal::Malformed),
        }
    }

    /// Whether a process is what the configuration says of it.
    fn check_peer(&self, hello: &Introduction) -> Result<(), Refusal> {
        self.own.check_cluster(hello)?;
        let name = hello.process.to_string();
        let known = self.own.cluster.processes.iter().find(|process| process.id == hello.process);
        let known = known.ok_or_else(|| Refusal::UnknownProcess { found: name.clone() })?;
        if known.nodes != hello.nodes {
            return Err(Refusal::OtherRoles { process: name });
        }
        if !hello.process.dials(&self.own.process) {
            return Err(Refusal::OtherDirection { process: name });
        }
        Ok(())
    }

    fn challenge(&mut self, nonce: Nonce, bytes: &[u8], peer: Greeted) -> Progress {
        let challenge = Message::Challenge(self.own.introduce(nonce)).encode();
        let transcript = transcript(bytes, &challenge, &self.channel);
        self.state = State::AwaitsProof { peer, transcript };
        Progress { send: Some(challenge), done: None }
    }

    fn challenged(
        &mut self,
        (expected, purpose): (&Process, Purpose),
        hello: &[u8],
        bytes: &[u8],
        challenge: Introduction,
    ) -> Result<Progress, Refusal> {
        self.own.check_cluster(&challenge)?;
        let name = challenge.process.to_string();
        if challenge.process != expected.id {
            return Err(Refusal::OtherProcess { expected: expected.id.to_string(), found: name });
        }
        if challenge.nodes != expected.nodes {
            return Err(Refusal::OtherRoles { process: name });
        }
        let transcript = transcript(hello, bytes, &self.channel);
        let proof = Message::Proof(prove(&self.own.cluster.key, Side::Dials, &transcript)).encode();
        self.state = State::AwaitsWelcome { peer: challenge.greeted(purpose), transcript };
        Ok(Progress { send: Some(proof), done: None })
    }
}

impl Refusal {
    /// What to tell the peer before the connection is closed; nothing if it was the peer that refused.
    pub fn to_send(&self) -> Option<Vec<u8>> {
        (!matches!(self, Refusal::Told(_))).then(|| Message::Refused(self.clone()).encode())
    }
}

impl Introduction {
    fn greeted(self, purpose: Purpose) -> Greeted {
        Greeted { process: self.process, life: self.life, purpose }
    }
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_be_bytes()].concat();
        // Writing to a vector does not fail, and nothing in a message is beyond MessagePack.
        let _ = rmp_serde::encode::write(&mut bytes, self);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Refusal::Malformed)?;
        let (version, rest) = rest.split_first_chunk().ok_or(Refusal::Malformed)?;
        let found = u16::from_be_bytes(*version);
        if found != VERSION {
            return Err(Refusal::Version { expected: VERSION, found });
        }
        frame::read(rest).map_err(|_| Refusal::Malformed)
    }
}

/// What both sides prove: each part with its length, so that no two conversations look alike.
fn transcript(hello: &[u8], challenge: &[u8], channel: &Channel) -> Vec<u8> {
    let part = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    [part(hello), part(challenge), part(channel)].concat()
}

fn mac(key: &ClusterKey, side: Side, transcript: &[u8]) -> Option<Hmac<Sha256>> {
    let side: &[u8] = match side {
        Side::Dials => b"fennec link: dials",
        Side::Accepts => b"fennec link: accepts",
    };
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).ok()?;
    mac.update(&(side.len() as u64).to_le_bytes());
    mac.update(side);
    mac.update(transcript);
    Some(mac)
}

fn prove(key: &ClusterKey, side: Side, transcript: &[u8]) -> [u8; 32] {
    mac(key, side, transcript).map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
}

/// Takes as long for a proof that is nearly right as for any other.
fn verify(key: &ClusterKey, side: Side, transcript: &[u8], proof: &[u8; 32]) -> Result<(), Refusal> {
    let mac = mac(key, side, transcript).ok_or(Refusal::WrongKey)?;
    mac.verify_slice(proof).map_err(|_| Refusal::WrongKey)
}
