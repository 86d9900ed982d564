//! CONNECT: who comes, into which realm, with which session (MQTT 5, 3.1 and 3.2).

use std::collections::HashMap;
use std::sync::Arc;

use super::answers::{self, Answers};
use super::asking::Asked;
use super::enhanced::{self, Exchange};
use super::{Halt, MqttGate, Open, Phase, Violation};
use crate::mqtt::codec::{
    AckType, Connack, ConnackProperties, Connect, Level, PacketId, ReasonCode, Will as WillPacket, answer_level,
    encode_ack,
};
use crate::mqtt::{rpc, wire};
use crate::net::gate::Flow;
use crate::node::Node;
use crate::node::authenticate::{Answer, Check, Denied, Evidence, Proved, Step};
use crate::node::clients::{ConnectRefused, Connected, Connecting, EnterRefused, Entering, NEVER_S};
use crate::node::link::End;
use crate::node::mailbox::Mailbox;
use crate::node::metrics::Protocol;
use crate::node::publish::Publisher;
use crate::node::realm::Realm;
use crate::node::session::{Identity, Origin};
use crate::node::users::{ANONYMOUS, User};
use crate::queue::command::{PropertiesRow, WillRow};
use crate::router::authorize::{Action, Rights};
use crate::router::broker::Subscriber;
use crate::types::topic::Topic;

/// A client whose CONNECT is being looked into.
pub(super) struct Candidate {
    level: Level,
    client_id: String,
    /// The client id was made up by us.
    assigned: bool,
    clean_start: bool,
    expiry_s: u32,
    keep_alive_s: u16,
    receive_max: u16,
    packet_bytes_max: usize,
    wants_words: bool,
    alias_max: u16,
    /// With its topic; until the session is asked for.
    will: Option<(WillRow, Topic)>,
    user_name: Option<String>,
    password: Vec<u8>,
    /// It proves itself by an authentication method.
    enhanced: bool,
    /// What it was asked for.
    pub(super) proving: Option<Box<Exchange>>,
    /// What CONNACK tells of the proof.
    pub(super) proved: Option<String>,
    /// When what it proved itself by holds no more.
    expires_ms: Option<u64>,
    /// Realm that the user name asks for.
    asked_realm: Option<String>,
}

/// A candidate that was let in and waits for its session.
pub(super) struct Opening {
    candidate: Arc<Candidate>,
    realm: Arc<Realm>,
    user: Arc<User>,
    rights: Rights,
    /// How the log is asked, if it is.
    entering: Option<Arc<Entering>>,
}

/// A candidate that would take a session over, and is slowed down.
pub(super) struct Delayed {
    candidate: Candidate,
    proved: Proved,
    pub until_ms: u64,
}

/// Why a CONNECT is refused.
type Refusal = Violation;

const NOT_AUTHORIZED: Refusal = Refusal::new(ReasonCode::NotAuthorized, "");

impl MqttGate {
    /// Handles the first packet.
    pub(super) fn connect(&mut self, frame: &[u8], now_ms: u64) -> Result<(), Halt> {
        self.tally.messages_in += 1;
        self.level = answer_level(frame);
        let mut enhanced = None;
        let candidate = match Connect::decode(frame) {
            Ok(connect) => {
                let Connect { properties, .. } = &connect;
                enhanced = properties
                    .authentication_method
                    .map(|_| properties.authentication_data.unwrap_or_default().to_vec());
                self.level = connect.level;
                self.packet_bytes_max = connect.properties.maximum_packet_size.map_or(usize::MAX, |max| max as usize);
                self.candidate(&connect)
            }
            Err(error) => Err(error.into()),
        };
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(refusal) => {
                self.refuse_connect(refusal);
                return Ok(());
            }
        };
        if let Some(data) = enhanced {
            self.begin_proving(candidate, &data, now_ms);
            return Ok(());
        }
        match self.identify(&candidate) {
            Step::Done(answer) => {
                self.admit_or_refuse(candidate, answer.verdict(), now_ms);
                Ok(())
            }
            Step::Wait(check) => Err(Halt::Verify(Box::new(candidate), check)),
        }
    }

    fn candidate(&self, connect: &Connect<'_>) -> Result<Candidate, Refusal> {
        if self.node.is_draining() {
            // CONNACK has no code for shutting down (MQTT 5, table 3-1).
            return Err(Refusal::new(ReasonCode::ServerUnavailable, ""));
        }
        let method = connect.properties.authentication_method;
        if method.is_some_and(|method| method != enhanced::METHOD) {
            let what = "the only authentication method is SCRAM-SHA-256";
            return Err(Refusal::new(ReasonCode::BadAuthenticationMethod, what));
        }
        let assigned = connect.client_id.is_empty();
        // Before level 5 only a session that ends with its connection may do without a name [MQTT-3.1.3-7 of 3.1.1].
        if assigned && connect.level < Level::V5 && !connect.clean_start {
            return Err(Refusal::new(ReasonCode::ClientIdentifierNotValid, "a session that is kept needs a client id"));
        }
        let client_id =
            if assigned { format!("auto-{:016x}", self.node.random()) } else { connect.client_id.to_owned() };
        let wanted_s = match (connect.level, connect.clean_start) {
            (Level::V5, _) => connect.properties.session_expiry_s,
            (_, true) => 0,
            (_, false) => NEVER_S,
        };
        let (name, asked) = match connect.user_name {
            Some(user_name) => self.node.users.split_name(user_name),
            None => ("", None),
        };
        let limits = &self.node.limits;
        Ok(Candidate {
            level: connect.level,
            client_id,
            assigned,
            clean_start: connect.clean_start,
            expiry_s: wanted_s.min(limits.mqtt_session_expiry_s_max),
            keep_alive_s: match limits.mqtt_server_keep_alive_s {
                0 => connect.keep_alive_s,
                replaced => replaced,
            },
            receive_max: connect.properties.receive_maximum.min(limits.inflight_max),
            packet_bytes_max: self.packet_bytes_max,
            wants_words: connect.properties.request_problem_information,
            alias_max: connect.properties.topic_alias_maximum.min(limits.mqtt_outbound_topic_alias_max),
            will: connect.will.as_ref().map(read_will).transpose()?,
            enhanced: method.is_some(),
            proving: None,
            proved: None,
            expires_ms: None,
            user_name: connect.user_name.is_some().then(|| name.to_owned()),
            password: connect.password.unwrap_or_default().to_vec(),
            asked_realm: asked.map(str::to_owned),
        })
    }

    /// The user behind a candidate, as far as that can be said at once.
    fn identify(&self, candidate: &Candidate) -> Step {
        let name = match &candidate.user_name {
            // Without users any name is taken for anonymous, as Mosquitto does.
            Some(name) if !self.node.knows_nobody() => name.clone(),
            None if self.peer.certificate().is_some() => return self.identify_certificate(candidate),
            _ => {
                let user = self.settings.anonymous.then(|| Arc::new(User::anonymous()));
                return Step::Done(Answer::of(user, ANONYMOUS));
            }
        };
        self.node.authenticate(self.evidence(candidate, "password", name))
    }

    /// The user whom the client's certificate names. One that names nobody is as good as none.
    fn identify_certificate(&self, candidate: &Candidate) -> Step {
        let certificate = self.peer.certificate();
        if let Some(account) = certificate.and_then(|certificate| self.node.users.account_of_certificate(certificate)) {
            return Step::Done(Answer::of(Some(account.user.clone()), "tls"));
        }
        if let Some(check) = self.node.deciders.decide(&self.evidence(candidate, "tls", String::new()), false) {
            return Step::Wait(check);
        }
        Step::Done(Answer::of(self.settings.anonymous.then(|| Arc::new(User::anonymous())), ANONYMOUS))
    }

    fn evidence(&self, candidate: &Candidate, method: &'static str, name: String) -> Evidence {
        Evidence {
            method,
            protocol: Protocol::Mqtt,
            realm: candidate.asked_realm.clone(),
            name,
            secret: candidate.password.clone(),
            client_id: Some(candidate.client_id.clone()),
            peer: Some(self.peer.clone()),
            extra: None,
        }
    }

    /// Waits until it is known who a candidate is.
    pub(super) fn verify(&mut self, candidate: Box<Candidate>, check: Check) -> Flow {
        self.phase = Phase::Verifying(candidate);
        Flow::Verify(check)
    }

    /// Gives the candidate its session, asks the log for it, or says in a CONNACK why not.
    pub(super) fn admit_or_refuse(&mut self, candidate: Candidate, verdict: Result<Proved, Denied>, now_ms: u64) {
        let verdict = match verdict {
            Ok(proved) if !self.node.suffices(&proved, &self.peer) => Err(Denied::Wrong),
            verdict => verdict,
        };
        let admitted = match verdict {
            Ok(proved) => match self.takeover_delay_ms(&candidate, &proved.user, now_ms) {
                0 => self.admit(candidate, &proved, now_ms),
                delay_ms => {
                    let client_id = candidate.client_id.as_str();
                    tracing::info!(peer = %self.peer, client_id, delay_ms, "clients fight for a client id");
                    let until_ms = now_ms + delay_ms;
                    self.phase = Phase::Delayed(Box::new(Delayed { candidate, proved, until_ms }));
                    return;
                }
            },
            Err(denied) => {
                self.tally.auth_failures += 1;
                let named = candidate.user_name.is_some() && !candidate.enhanced;
                Err(match denied {
                    Denied::Unavailable(why) => {
                        tracing::warn!(peer = %self.peer, why, "an MQTT client cannot be authenticated");
                        Refusal::new(ReasonCode::ServerUnavailable, "")
                    }
                    _ if named => Refusal::new(ReasonCode::BadUserNameOrPassword, ""),
                    _ => NOT_AUTHORIZED,
                })
            }
        };
        if let Err(refusal) = admitted {
            self.refuse_connect(refusal);
        }
    }

    fn takeover_delay_ms(&self, candidate: &Candidate, user: &User, now_ms: u64) -> u64 {
        let max_ms = u64::from(self.node.limits.mqtt_takeover_delay_s_max) * 1000;
        match self.enter(candidate, user) {
            Ok((realm, _)) => realm.clients.takeover_delay_ms(&candidate.client_id, &user.name, now_ms, max_ms),
            Err(_) => 0,
        }
    }

    /// The candidate has waited, and goes on.
    pub(super) fn admit_delayed(&mut self, now_ms: u64) {
        let Phase::Delayed(delayed) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        // That it waited is not its fault.
        self.connect_by_ms = now_ms + u64::from(self.node.limits.handshake_timeout_s) * 1000;
        let Delayed { candidate, proved, .. } = *delayed;
        if let Err(refusal) = self.admit(candidate, &proved, now_ms) {
            self.refuse_connect(refusal);
        }
    }

    fn admit(&mut self, mut candidate: Candidate, proved: &Proved, now_ms: u64) -> Result<(), Refusal> {
        let user = &*proved.user;
        let (realm, rights) = self.enter(&candidate, user)?;
        candidate.expires_ms = user.expires_s.map(|at| at.saturating_mul(1000));
        let (will, will_topic) = candidate.will.take().unzip();
        if let Some(topic) = will_topic
            && !rights.allows(Action::Publish, &topic)
        {
            return Err(Refusal::new(ReasonCode::NotAuthorized, "not authorized to publish the will"));
        }
        let clean_start = candidate.clean_start || !realm.clients.may_resume(&candidate.client_id, &rights);
        let replaces = realm.clients.is_connected(&candidate.client_id);
        let Some(seat) = self.node.seat_of(user, replaces) else {
            return Err(Refusal::new(ReasonCode::QuotaExceeded, "the user has as many connections as it may"));
        };
        self.seat = Some(seat);
        let connecting = Connecting {
            identity: Identity {
                client_id: Some(candidate.client_id.clone()),
                ..Identity::of(user, proved.method, self.origin(now_ms))
            },
            rights: rights.clone(),
            clean_start,
            expiry_s: candidate.expiry_s,
            will,
            link: self.link.clone(),
            wire: wire::of(candidate.level),
            receive_max: candidate.receive_max,
            frame_bytes_max: candidate.packet_bytes_max,
            alias_max: candidate.alias_max,
        };
        let candidate = Arc::new(candidate);
        let greet = {
            let (candidate, node) = (candidate.clone(), self.node.clone());
            move |present: bool, mailbox: &mut Mailbox| greet(&candidate, &node, present, mailbox)
        };
        let opening = Opening { candidate, realm, user: proved.user.clone(), rights, entering: None };
        let clients = &opening.realm.clients;
        if clients.must_enter(&connecting) {
            let entering = clients.enter(&self.node, &opening.realm, connecting, Box::new(greet)).map_err(refused)?;
            self.phase = Phase::Opening(Box::new(Opening { entering: Some(entering), ..opening }));
        } else {
            let connected = clients.connect(&self.node, &opening.realm, connecting, greet).map_err(refused)?;
            self.open(opening, connected, now_ms);
        }
        Ok(())
    }

    /// The log has answered.
    pub(super) fn opened(&mut self, answer: Result<Connected, EnterRefused>, now_ms: u64) {
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        match answer {
            Ok(connected) => self.open(*opening, connected, now_ms),
            Err(EnterRefused::Connect(why)) => self.refuse_connect(refused(why)),
            Err(EnterRefused::Log(why)) => {
                let what = answers::refusal(why).what;
                self.refuse_connect(Refusal::new(ReasonCode::ServerUnavailable, what));
            }
        }
    }

    /// The log is not waited for any longer.
    pub(super) fn refuse_opening(&mut self, refusal: Refusal) {
        if let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Gone) {
            opening.leave();
            self.refuse_connect(refusal);
        }
    }

    /// The connection has its session.
    fn open(&mut self, opening: Opening, connected: Connected, now_ms: u64) {
        let Opening { candidate, realm, user, rights, .. } = opening;
        let client = connected.client;
        tracing::debug!(
            peer = %self.peer,
            realm = &*realm.name,
            client_id = client.client_id(),
            user = client.session.identity.authid,
            level = ?self.level,
            present = connected.present,
            "MQTT client connected"
        );
        self.node.metrics.handshake.observe_us(now_ms.saturating_sub(self.opened_ms) * 1000);
        let session = client.session.id;
        let holds = realm.still_holds(&self.node, &user, Some(client.client_id()), &rights);
        let mut publisher =
            Publisher::new(self.node.clone(), realm, Some(session), Some(rights.clone()), Protocol::Mqtt);
        publisher.listen(self.link.clone());
        publisher.introduce(Arc::new(client.session.discloser()));
        publisher.now_ms = now_ms;
        let kept = connected.logged.filter(|_| client.session.persistent());
        let mut open = Open {
            client,
            link: self.link.clone(),
            publisher,
            rights,
            level: candidate.level,
            kept,
            answers: Answers::new(candidate.level, candidate.packet_bytes_max, candidate.wants_words),
            silent: false,
            looking: None,
            asked: Asked::default(),
            aliases: HashMap::new(),
            keep_alive_ms: u64::from(candidate.keep_alive_s) * 1500,
            heard_ms: now_ms,
            expires_ms: candidate.expires_ms,
            enhanced: candidate.enhanced,
            proving: None,
            connect_expiry_s: candidate.expiry_s,
        };
        open.register_again();
        self.phase = Phase::Open(Box::new(open));
        // Its password was being checked, perhaps, when all others were told.
        if self.node.is_draining() {
            self.link.end(End::Shutdown);
        } else if !holds {
            self.link.end(End::NotAuthorized);
        }
    }

    /// The realm that the candidate comes into and its role there.
    fn enter(&self, candidate: &Candidate, user: &User) -> Result<(Arc<Realm>, Rights), Refusal> {
        let anonymous = (candidate.user_name.is_none() && !candidate.enhanced) || self.node.knows_nobody();
        let asked = candidate.asked_realm.as_deref();
        // What an anonymous client writes behind an `@` may be no realm at all.
        let asked = asked.filter(|realm| !anonymous || self.node.realm(realm).is_some());
        let name = user.mqtt_realm(asked, self.settings.realm.as_deref(), &self.node.default_realm);
        let realm = name.and_then(|name| self.node.realm(name));
        let realm = realm.ok_or(Refusal::new(ReasonCode::NotAuthorized, "no such realm, or not open to this user"))?;
        let rights = realm.rights(user, Some(&candidate.client_id)).ok_or(NOT_AUTHORIZED)?;
        Ok((realm, rights))
    }

    fn origin(&self, now_ms: u64) -> Origin {
        Origin { peer: Some(self.peer.clone()), transport: self.transport, since_ms: now_ms }
    }

    pub(super) fn refuse_connect(&mut self, refusal: Refusal) {
        tracing::debug!(peer = %self.peer, reason = refusal.reason as u8, what = refusal.what, "MQTT CONNECT refused");
        self.tally.handshake_failures += 1;
        let mut connack = Connack::new(refusal.reason);
        connack.properties.reason_string = (!refusal.what.is_empty()).then_some(refusal.what);
        // Before level 5 some reasons have no code: then the connection is closed without an answer.
        let _ = connack.encode_within(self.packet_bytes_max, self.level, &mut self.last_words.tail);
        self.phase = Phase::Gone;
    }
}

/// The will, and its topic.
fn read_will(will: &WillPacket<'_>) -> Result<(WillRow, Topic), Refusal> {
    let refused = Refusal::new(ReasonCode::TopicNameInvalid, "the will's topic");
    if rpc::is_rpc(will.topic.as_bytes()) {
        return Err(refused);
    }
    let topic = Topic::from_name(will.topic).map_err(|_| refused)?;
    let row = WillRow {
        topic: will.topic.to_owned(),
        payload: bytes::Bytes::copy_from_slice(will.payload),
        qos: will.qos as u8,
        retain: will.retain,
        delay_s: will.delay_s,
        expiry_s: will.properties.expiry_s,
        properties: will.properties.to_event().map(|properties| PropertiesRow::from(&*properties)),
    };
    Ok((row, topic))
}

fn refused(refused: ConnectRefused) -> Refusal {
    match refused {
        ConnectRefused::OtherUser => {
            Refusal::new(ReasonCode::ClientIdentifierNotValid, "the client id belongs to another user")
        }
        ConnectRefused::TooManySessions => Refusal::new(ReasonCode::QuotaExceeded, "too many sessions"),
    }
}

impl Opening {
    /// What the log has answered, once.
    pub(super) fn answer(&self) -> Option<Result<Connected, EnterRefused>> {
        self.entering.as_ref()?.take()
    }

    /// The connection is gone.
    pub(super) fn leave(&self) {
        if let Some(entering) = &self.entering {
            entering.leave();
        }
    }
}

/// The first that a client is told: CONNACK, and PUBRELs that it may have missed.
fn greet(candidate: &Candidate, node: &Node, present: bool, mailbox: &mut Mailbox) {
    mailbox.outbox.reply_with(|out| connack(candidate, node, present, out));
    if present {
        mailbox.release_again(release);
    }
}

/// CONNACK for a session that is given.
fn connack(candidate: &Candidate, node: &Node, present: bool, out: &mut Vec<u8>) {
    let limits = &node.limits;
    let connack = Connack {
        session_present: present,
        reason: ReasonCode::Success,
        properties: ConnackProperties {
            session_expiry_s: Some(candidate.expiry_s),
            receive_maximum: limits.mqtt_receive_max,
            maximum_packet_size: Some(limits.mqtt_packet_bytes_max as u32),
            assigned_client_identifier: candidate.assigned.then_some(&candidate.client_id),
            topic_alias_maximum: limits.mqtt_topic_alias_max,
            server_keep_alive_s: (limits.mqtt_server_keep_alive_s != 0).then_some(limits.mqtt_server_keep_alive_s),
            authentication_method: candidate.enhanced.then_some(enhanced::METHOD),
            authentication_data: candidate.proved.as_ref().map(String::as_bytes),
            ..ConnackProperties::default()
        },
    };
    // Cannot fail: the client id came in a packet, or is ours.
    let _ = connack.encode(candidate.level, out);
}

/// Encodes PUBREL.
pub(super) fn release(packet_id: u16, out: &mut Vec<u8>) {
    if let Some(packet_id) = PacketId::new(packet_id) {
        encode_ack(AckType::Pubrel, packet_id, out);
    }
}

impl Open {
    /// Offers again the procedures of a session that was away.
    fn register_again(&mut self) {
        let away: Vec<_> = {
            let record = self.client.record.lock();
            record.procedures.iter().map(|(filter, (qos, _))| (filter.clone(), *qos)).collect()
        };
        for (filter, qos) in away {
            if self.register(&filter, qos).is_error() {
                self.client.record.lock().procedures.remove(&filter);
            }
        }
        self.client.let_go_if_ended(&self.publisher.node, &self.publisher.realm);
    }
}
