//! Enhanced authentication (MQTT 5, 4.12): SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::connect::Candidate;
use super::{Halt, MqttGate, Open, Phase, Violation};
use crate::mqtt::codec::{self, Auth, Diagnostics, Level, Packet, ReasonCode, Role};
use crate::node::Node;
use crate::node::authenticate::scram::{self, Dialect};
use crate::node::authenticate::{Answer, Denied, Step};
use crate::node::users::{User, Users};

/// The only method there is.
pub(super) const METHOD: &str = "SCRAM-SHA-256";

const FAILED: Violation = Violation::new(ReasonCode::NotAuthorized, "the name or its secret is wrong");

/// A proof that was asked for.
pub(super) struct Exchange {
    inner: scram::Exchange,
    /// What the client said of channel binding.
    header: &'static str,
    /// As whom the client wants to come in.
    name: String,
}

impl Exchange {
    /// Reads `client-first-message`; with the `server-first-message`. `None`: it is none, or wants what there is not.
    pub fn begin(users: &Users, data: &[u8]) -> Option<(Exchange, String)> {
        let text = std::str::from_utf8(data).ok()?;
        // `y`: the client could bind, and thinks that the broker cannot. It is right.
        let header = ["n,,", "y,,"].into_iter().find(|header| text.starts_with(header))?;
        let bare = &text[header.len()..];
        let mut parts = bare.split(',');
        let name = unescaped(parts.next()?.strip_prefix("n=")?)?;
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| scram::is_nonce(nonce))?;
        let account = users.account(&name);
        let inner = scram::Exchange::begin(users, &name, account, Dialect::Sha256, nonce, bare.to_owned())?;
        let first = inner.server_first();
        Some((Exchange { inner, header, name }, first))
    }

    /// Reads `client-final-message`; who it is, with the `server-final-message`.
    pub fn finish(self, data: &[u8]) -> Option<(Arc<User>, String)> {
        let (last, proof) = std::str::from_utf8(data).ok()?.rsplit_once(",p=")?;
        let mut parts = last.split(',');
        let bound = parts.next()?.strip_prefix("c=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        if bound != BASE64.encode(self.header) || nonce != self.inner.nonce {
            return None;
        }
        let (account, signature) = self.inner.check(last, proof)?;
        Some((account.user.clone(), format!("v={}", BASE64.encode(signature))))
    }
}

/// `=2C` is a comma and `=3D` an equals sign; no other may be there (RFC 5802, 5.1).
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        plain.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        plain.push_str(rest);
    }
    (!plain.is_empty()).then_some(plain)
}

/// Appends AUTH.
fn say(reason: ReasonCode, data: &str, out: &mut Vec<u8>) {
    let data = Some(data.as_bytes());
    let auth = Auth { reason, method: Some(METHOD), data, diagnostics: Diagnostics::default() };
    // Cannot fail: it is short, and the level has it.
    let _ = auth.encode(Level::V5, out);
}

impl MqttGate {
    /// Asks a candidate for the proof that it has announced.
    pub(super) fn begin_proving(&mut self, mut candidate: Candidate, data: &[u8], now_ms: u64) {
        match Exchange::begin(&self.node.users, data) {
            Some((exchange, first)) => {
                say(ReasonCode::ContinueAuthentication, &first, &mut self.last_words.tail);
                candidate.proving = Some(Box::new(exchange));
                self.phase = Phase::Proving(Box::new(candidate));
            }
            None => self.admit_or_refuse(candidate, Err(Denied::Wrong), now_ms),
        }
    }

    /// A packet before CONNACK: AUTH, or the client goes [MQTT-3.1.2-30].
    pub(super) fn prove(&mut self, frame: &[u8], now_ms: u64) -> Result<(), Halt> {
        let Phase::Proving(mut candidate) = std::mem::replace(&mut self.phase, Phase::Gone) else { return Ok(()) };
        self.tally.messages_in += 1;
        let auth = match codec::decode(frame, self.level, Role::Server) {
            Ok(Packet::Auth(auth)) if auth.method == Some(METHOD) => auth,
            Ok(Packet::Disconnect(_)) => return Ok(()),
            _ => {
                self.refuse_connect(Violation::new(ReasonCode::ProtocolError, "AUTH was awaited"));
                return Ok(());
            }
        };
        let exchange = candidate.proving.take().filter(|_| auth.reason == ReasonCode::ContinueAuthentication);
        let name = exchange.as_ref().map(|exchange| exchange.name.clone()).unwrap_or_default();
        let finished = exchange.and_then(|exchange| exchange.finish(auth.data.unwrap_or_default()));
        let (user, told) = finished.unzip();
        candidate.proved = told;
        match self.node.answer_in_turn(&self.peer, &name, Answer::of(user, "scram")) {
            Step::Done(answer) => {
                self.admit_or_refuse(*candidate, answer.verdict(), now_ms);
                Ok(())
            }
            Step::Wait(check) => Err(Halt::Verify(candidate, check)),
        }
    }
}

impl Open {
    /// AUTH of a session that is open: it proves once more that it is who it was (MQTT 5, 4.12.1).
    pub(super) fn authenticate_again(&mut self, auth: &Auth<'_>, node: &Node) -> Result<(), Violation> {
        if !self.enhanced {
            return Err(Violation::new(ReasonCode::ProtocolError, "AUTH without an authentication method"));
        }
        // [MQTT-4.12.1-1]
        if auth.method != Some(METHOD) {
            return Err(Violation::new(ReasonCode::ProtocolError, "AUTH with another authentication method"));
        }
        let data = auth.data.unwrap_or_default();
        let mut out = Vec::new();
        match (auth.reason, self.proving.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let (exchange, first) = Exchange::begin(&node.users, data).ok_or(FAILED)?;
                self.proving = Some(Box::new(exchange));
                say(ReasonCode::ContinueAuthentication, &first, &mut out);
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let (user, last) = exchange.finish(data).ok_or(FAILED)?;
                if *user.name != *self.client.session.identity.authid {
                    return Err(FAILED);
                }
                say(ReasonCode::Success, &last, &mut out);
            }
            _ => return Err(Violation::new(ReasonCode::ProtocolError, "AUTH out of turn")),
        }
        self.answers.say_at_once(&out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_as_the_rfc_says() {
        assert_eq!(unescaped("a=2Cb=3D").as_deref(), Some("a,b="));
        for wrong in ["", "a=", "a=2", "a=2c", "=20"] {
            assert_eq!(unescaped(wrong), None, "{wrong}");
        }
    }
}
