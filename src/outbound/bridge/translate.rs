//! Events of this broker in the words of the other one, and back.

use super::inward::Message;
use super::outward::Outgoing;
use super::rules::Rules;
use crate::mqtt::codec::Level;
use crate::outbound::path;
use crate::types::event::{Event, Properties, Qos};
use crate::types::topic::Topic;

/// A bridge as a link between brokers.
#[derive(Clone, Debug)]
pub struct Way {
    /// Its client id, by which events are marked that have crossed it ([`path`]).
    pub link: String,
    /// The links of all bridges of this broker: what has left it by one of them does not come back by another.
    pub own_links: Vec<String>,
    pub level: Level,
}

/// A message of the other broker in the words of this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    pub topic: Topic,
    pub qos: Qos,
    pub properties: Properties,
}

/// Why a message does not cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// No rule is for it.
    Unwanted,
    /// It has been on the other side.
    Crossed,
}

/// What an event of this broker is on the other one.
///
/// # Errors
/// It does not go there.
pub fn outward(way: &Way, rules: &Rules, event: &Event<'_>) -> Result<Outgoing, Stays> {
    let (topic, qos) = rules.outward(event.topic).ok_or(Stays::Unwanted)?;
    if event.properties.is_some_and(|properties| path::has_crossed(properties, &way.link)) {
        return Err(Stays::Crossed);
    }
    let mut properties = Properties::default();
    if way.level == Level::V5 {
        properties = event.properties.map(|properties| (**properties).clone()).unwrap_or_default();
        path::cross(&mut properties, &way.link);
        if let Some(there) = properties.response_topic.as_deref().and_then(|name| rules.response_outward(name)) {
            properties.response_topic = Some(there);
        }
    }
    Ok(Outgoing {
        topic,
        payload: event.payload.as_bytes(event.codec).into_owned().into(),
        qos: event.qos.min(qos),
        retain: event.retain,
        properties,
        expires_at_ms: event.expires_at_ms,
        comes_back: false,
    })
}

/// What a message of the other broker is here.
///
/// # Errors
/// It does not come in.
pub fn inward(way: &Way, rules: &Rules, message: &Message) -> Result<Incoming, Stays> {
    let topic = Topic::from_name(&message.topic).map_err(|_| Stays::Unwanted)?;
    let (topic, qos) = rules.inward(&topic).ok_or(Stays::Unwanted)?;
    let crossed = |link: &str| way.own_links.iter().any(|own| own == link);
    if path::links(&message.properties).any(crossed) {
        return Err(Stays::Crossed);
    }
    let mut properties = message.properties.clone();
    path::cross(&mut properties, &way.link);
    if let Some(here) = properties.response_topic.as_deref().and_then(|name| rules.response_inward(name)) {
        properties.response_topic = Some(here);
    }
    Ok(Incoming { topic, qos: message.qos.min(qos), properties })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::outbound::bridge::rules::{Direction, Rule};
    use crate::types::ids::PublicationId;
    use crate::types::payload::{Codec, PayloadRef};

    fn way(level: Level) -> Way {
        Way { link: "edge.a".to_owned(), own_links: vec!["edge.a".to_owned(), "edge.b".to_owned()], level }
    }

    fn rules() -> Rules {
        let rule = |pattern, direction| Rule::new(pattern, direction, Qos::AtLeastOnce, "here/", "there/").unwrap();
        Rules::new(vec![rule("#", Direction::Both)])
    }

    fn event<'a>(topic: &'a Arc<Topic>, properties: &'a Arc<Properties>) -> Event<'a> {
        Event {
            topic,
            payload: PayloadRef::Bytes(b"x"),
            codec: Codec::Auto,
            qos: Qos::ExactlyOnce,
            retain: true,
            publication: PublicationId(1),
            place: None,
            properties: Some(properties),
            publisher: None,
            expires_at_ms: Some(5),
            expires_in_s: None,
        }
    }

    fn properties() -> Properties {
        Properties {
            payload_is_text: Some(true),
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("here/answers".to_owned()),
            correlation_data: Some("7".into()),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            passthru: None,
            trust: None,
            resource_key: None,
        }
    }

    #[test]
    fn all_that_travels_with_an_event_crosses_in_version_5() {
        let (topic, own) = (Arc::new(Topic::from_name("here/t").unwrap()), Arc::new(properties()));
        let sent = outward(&way(Level::V5), &rules(), &event(&topic, &own)).unwrap();
        assert_eq!(
            (&sent.topic[..], sent.qos, sent.retain, sent.expires_at_ms),
            ("there/t", Qos::AtLeastOnce, true, Some(5))
        );
        let mut expected = Properties { response_topic: Some("there/answers".to_owned()), ..properties() };
        path::cross(&mut expected, "edge.a");
        assert_eq!(sent.properties, expected);
        let sent = outward(&way(Level::V4), &rules(), &event(&topic, &own)).unwrap();
        assert_eq!(sent.properties, Properties::default(), "3.1.1 has no words for them");
    }

    #[test]
    fn what_came_by_a_bridge_does_not_leave_by_it() {
        let message = Message { topic: "there/t".to_owned(), qos: Qos::ExactlyOnce, ..Message::default() };
        let here = inward(&way(Level::V4), &rules(), &message).unwrap();
        assert_eq!((here.topic.name(), here.qos), ("here/t", Qos::AtLeastOnce));
        let (topic, own) = (Arc::new(here.topic), Arc::new(here.properties));
        assert_eq!(outward(&way(Level::V4), &rules(), &event(&topic, &own)), Err(Stays::Crossed));
        let other = Way { link: "edge.b".to_owned(), ..way(Level::V5) };
        let sent = outward(&other, &rules(), &event(&topic, &own)).unwrap();
        assert!(path::has_crossed(&sent.properties, "edge.a") && path::has_crossed(&sent.properties, "edge.b"));
    }

    #[test]
    fn what_left_by_one_bridge_does_not_come_back_by_another() {
        let mut message = Message { topic: "there/t".to_owned(), ..Message::default() };
        path::cross(&mut message.properties, "far.x");
        assert!(inward(&way(Level::V5), &rules(), &message).is_ok());
        path::cross(&mut message.properties, "edge.b");
        assert_eq!(inward(&way(Level::V5), &rules(), &message), Err(Stays::Crossed));
        message.topic = "elsewhere".to_owned();
        assert_eq!(inward(&way(Level::V5), &rules(), &message), Err(Stays::Unwanted));
    }
}
