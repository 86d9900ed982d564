//! What comes in, on its way into this broker: published as the bridge's own client would, and settled in order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::inward::{Arrival, Message, Settled};
use super::machine::Machine;
use super::status::Counts;
use super::translate::{self, Incoming, Stays, Way};
use crate::mqtt::codec::PacketId;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::metrics::Protocol;
use crate::node::publish::{self, Fate, Publication, Publisher};
use crate::node::realm::Realm;
use crate::outbound::path;
use crate::queue::command::{Command, Connect};
use crate::queue::outcome::Void;
use crate::types::event::{Properties, Qos, StoredEvent};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// What the other broker waits for, in order.
enum Step {
    /// It is known what became of an arrival.
    Known(Settled),
    /// The publisher will tell of an arrival.
    Arrival,
    /// The publisher will tell of something that the other broker does not wait for.
    Own,
}

/// See the module.
pub(super) struct Local {
    publisher: Publisher,
    way: Way,
    /// The session by which the log knows QoS 2 messages, and the number of its connection; none: there are no such messages.
    session: Option<(String, Option<u64>)>,
    steps: VecDeque<Step>,
}

impl Local {
    /// `session`: the client id of the session by which the log knows QoS 2 messages, if any are wanted. `link` is woken when there
    /// is something to hear.
    pub fn new(node: &Arc<Node>, realm: &Arc<Realm>, way: Way, session: Option<String>, link: &Arc<Link>) -> Self {
        let mut publisher = Publisher::for_broker(node.clone(), realm.clone(), Protocol::Mqtt);
        publisher.listen(link.clone());
        Self { publisher, way, session: session.map(|client_id| (client_id, None)), steps: VecDeque::new() }
    }

    /// The other broker has taken the connection: messages that it may repeat are known if it still has the session.
    pub fn opened(&mut self, resumed: bool) {
        let Some((client_id, connection)) = &mut self.session else { return };
        let number = self.publisher.node.random();
        *connection = Some(number);
        let connect = Connect {
            realm: self.publisher.realm.name.to_string(),
            client_id: client_id.clone(),
            session: self.publisher.node.new_session_id().0,
            connection: number,
            authid: client_id.clone(),
            authrole: "bridge".to_owned(),
            authmethod: "internal".to_owned(),
            clean_start: !resumed,
            expiry_s: u32::MAX,
            ..Connect::default()
        };
        self.publisher.command(Command::Connect(Box::new(connect)));
        self.steps.push_back(Step::Own);
    }

    /// Takes what came. It is settled at once, or when the log has it ([`Local::hear`]).
    pub fn arrive(&mut self, machine: &mut Machine, counts: &mut Counts, arrival: Arrival, now_ms: u64) {
        self.publisher.now_ms = now_ms;
        let step = match arrival {
            Arrival::Message(message) => {
                counts.received += 1;
                counts.received_bytes += (message.topic.len() + message.payload.len()) as u64;
                self.message(machine, counts, &message, now_ms)
            }
            Arrival::Released(packet_id) => self.release(packet_id),
        };
        self.steps.push_back(step);
    }

    fn message(&mut self, machine: &mut Machine, counts: &mut Counts, message: &Message, now_ms: u64) -> Step {
        const TAKEN: Step = Step::Known(Settled::Taken);
        if machine.is_echo(message, now_ms) {
            counts.echoed += 1;
            return TAKEN;
        }
        let incoming = match translate::inward(&self.way, machine.rules(), message) {
            Ok(incoming) => incoming,
            Err(Stays::Crossed) => {
                counts.looped += 1;
                return TAKEN;
            }
            Err(Stays::Unwanted) => {
                counts.unwanted += 1;
                return TAKEN;
            }
        };
        if message.retain && self.is_known(machine, &incoming.topic, message, now_ms) {
            counts.unchanged += 1;
            return TAKEN;
        }
        match self.publish(incoming, message) {
            Ok(Fate::Pending) => Step::Arrival,
            Ok(Fate::Routed(_)) => TAKEN,
            Err(error) => {
                tracing::debug!(topic = message.topic, %error, "a message of the other broker was not taken");
                counts.refused += 1;
                TAKEN
            }
        }
    }

    /// Whether a retained value is what this broker has already, or older than what the other broker is being sent.
    fn is_known(&self, machine: &Machine, topic: &Topic, message: &Message, now_ms: u64) -> bool {
        let current = self.publisher.realm.retained(topic, now_ms);
        let Some(current) = current else { return message.payload.is_empty() && !machine.is_following() };
        let goes_out = machine.rules().outward(topic).is_some() && !self.came_in(&current);
        let is_under_way = current.place.is_some_and(|place| place.number > machine.outward.done_to());
        let is_same = || *current.payload.as_ref().as_bytes(current.codec) == *message.payload;
        (goes_out && is_under_way) || (!machine.is_following() && is_same())
    }

    /// Whether an event came in by this bridge.
    fn came_in(&self, event: &StoredEvent) -> bool {
        event.properties.as_ref().is_some_and(|properties| path::has_crossed(properties, &self.way.link))
    }

    fn publish(&mut self, incoming: Incoming, message: &Message) -> Result<Fate, publish::PublishRefused> {
        let Incoming { topic, qos, properties } = incoming;
        let name = topic.name().to_owned();
        let target = match self.publisher.look_up(name.as_bytes(), |_| Ok::<_, std::convert::Infallible>(topic)) {
            Ok(target) => target,
            Err(never) => match never {},
        };
        let packet = match (&self.session, message.packet_id) {
            (Some((client_id, Some(connection))), Some(id)) if message.qos == Qos::ExactlyOnce => {
                Some((client_id.clone(), *connection, id.get()))
            }
            _ => None,
        };
        let properties = Arc::new(properties);
        let publication = Publication {
            retain: message.retain,
            properties: Some(&properties),
            expires_in_s: message.expiry_s,
            packet: packet.as_ref().map(|(client_id, connection, id)| (client_id.as_str(), *connection, *id)),
            backing: Some(&message.payload),
            ..Publication::plain(PayloadRef::Bytes(&message.payload), qos)
        };
        self.publisher.publish(target, &publication)
    }

    fn release(&mut self, packet_id: PacketId) -> Step {
        let Some((client_id, _)) = &self.session else { return Step::Known(Settled::Taken) };
        let (realm, client_id) = (self.publisher.realm.name.to_string(), client_id.clone());
        self.publisher.command(Command::Release { realm, client_id, packet_id: packet_id.get() });
        Step::Arrival
    }

    /// Deletes the retained values that came in by this bridge and that the other broker has no more: it has those of these
    /// `topics`, in its words.
    pub fn forget_missing(&mut self, machine: &Machine, counts: &mut Counts, topics: &[String], now_ms: u64) {
        self.publisher.now_ms = now_ms;
        let there: HashSet<&str> = topics.iter().map(String::as_str).collect();
        let mut missing = Vec::new();
        for rule in machine.rules().inwards() {
            self.publisher.realm.walk_retained(rule.local_pattern(), None, now_ms, &mut |event| {
                let origin = machine.rules().origin(&event.topic);
                if self.came_in(event) && origin.is_some_and(|name| !there.contains(name.as_str())) {
                    missing.push(event.topic.clone());
                }
                true
            });
        }
        for topic in missing {
            counts.deleted += 1;
            let mut properties = Properties::default();
            path::cross(&mut properties, &self.way.link);
            let incoming = Incoming { topic: (*topic).clone(), qos: Qos::AtLeastOnce, properties };
            let gone = Message { retain: true, ..Message::default() };
            if let Ok(Fate::Pending) = self.publish(incoming, &gone) {
                self.steps.push_back(Step::Own);
            }
        }
    }

    /// Settles what is known of what came. False: the log did not take something, so that the connection is to be given up.
    pub fn hear(&mut self, machine: &mut Machine) -> bool {
        let mut told = Vec::new();
        self.publisher.hear(|settled| told.push(settled));
        let mut good = self.settle_known(machine);
        for settled in told {
            let how = match settled {
                publish::Settled::Refused(why) => {
                    tracing::debug!(%why, "the log does not take what came over a bridge");
                    Settled::Failed
                }
                // Somebody else has the session.
                publish::Settled::Void(Void::Stale) => Settled::Failed,
                _ => Settled::Taken,
            };
            match self.steps.pop_front() {
                Some(Step::Own) => good &= how == Settled::Taken,
                _ => good &= machine.settled(how),
            }
            good &= self.settle_known(machine);
        }
        good
    }

    fn settle_known(&mut self, machine: &mut Machine) -> bool {
        let mut good = true;
        while let Some(Step::Known(how)) = self.steps.front() {
            good &= machine.settled(*how);
            self.steps.pop_front();
        }
        good
    }

    /// Hands over what was published. To be called behind [`Local::arrive`].
    pub fn finish(&mut self) {
        self.publisher.finish();
    }

    /// As much waits for the log as may: nothing more should be read.
    pub fn must_wait(&mut self) -> bool {
        self.publisher.must_wait() || self.publisher.take_crowded()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.publisher.part();
    }
}
