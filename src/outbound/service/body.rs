//! Events of a transaction as JSON, and where each of them begins.

use bytes::Bytes;

use super::machine::Transaction;
use crate::http::write::Object;
use crate::node::past::Past;
use crate::types::event_id::EventId;
use crate::types::time::rfc3339;

/// The events of one transaction. Any run of them is a body, too.
#[derive(Clone, Debug)]
pub struct Body {
    /// Number and id of each event, and where its JSON ends in `json`.
    events: Vec<(u64, EventId, usize)>,
    /// All of them, with commas between.
    json: Bytes,
    /// The place behind the last.
    up_to: u64,
}

impl Body {
    /// `None`: there are no events.
    pub fn new(events: &[Past], up_to: u64) -> Option<Self> {
        let mut json = Vec::with_capacity(events.iter().map(|past| past.event.bytes() + 200).sum());
        let mut ends = Vec::with_capacity(events.len());
        let mut time = (0, String::new());
        for past in events {
            let place = past.event.place?;
            if past.at_us != time.0 || ends.is_empty() {
                time = (past.at_us, rfc3339(past.at_us));
            }
            if !ends.is_empty() {
                json.push(b',');
            }
            write(past, place.id, &time.1, &mut json);
            ends.push((place.number, place.id, json.len()));
        }
        (!ends.is_empty()).then(|| Self { events: ends, json: json.into(), up_to })
    }

    pub fn len(&self) -> usize {
        self.json.len()
    }

    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// The request's body.
    pub fn request(&self) -> Bytes {
        [&b"{\"events\":["[..], &self.json, b"]}"].concat().into()
    }

    /// What is recorded of it.
    pub fn transaction(&self, suspect: bool) -> Transaction {
        let (first, last) = (self.events.first(), self.events.last());
        let id = |event: Option<&(u64, EventId, usize)>| event.map(|(_, id, _)| id.to_string()).unwrap_or_default();
        Transaction {
            first: first.map_or(0, |(number, ..)| *number),
            up_to: self.up_to,
            events: self.events.len() as u32,
            first_id: id(first),
            last_id: id(last),
            suspect,
            made: 0,
        }
    }

    /// Two halves; the first is the larger one if there is a larger one. `None`: there is one event.
    pub fn halves(&self) -> Option<(Self, Self)> {
        self.split(self.events.len().div_ceil(2))
    }

    /// What comes before the event of this number, and the rest; `None` if one of them is empty.
    pub fn split_at(&self, number: u64) -> Option<(Self, Self)> {
        self.split(self.events.partition_point(|(own, ..)| *own < number))
    }

    fn split(&self, at: usize) -> Option<(Self, Self)> {
        let (before, rest) = self.events.split_at_checked(at)?;
        let (_, _, end) = before.last()?;
        let begin = end + 1;
        let up_to = rest.first()?.0 - 1;
        let rest = rest.iter().map(|(number, id, end)| (*number, *id, end - begin)).collect();
        let first = Self { events: before.to_vec(), json: self.json.slice(..*end), up_to };
        Some((first, Self { events: rest, json: self.json.slice(begin..), up_to: self.up_to }))
    }

    /// The number of the first event that is not before this id; `None`: all are.
    pub fn number_from(&self, id: EventId) -> Option<u64> {
        self.events.iter().find(|(_, own, _)| *own >= id).map(|(number, ..)| *number)
    }
}

fn write(past: &Past, id: EventId, time: &str, out: &mut Vec<u8>) {
    let event = &past.event;
    let mut object = Object::begin(out);
    object.text("event_id", id.text().as_str());
    object.text("topic", event.topic.uri());
    object.text("time", time);
    object.payload(event.payload.as_ref(), event.codec);
    if event.retain {
        object.bool("retain", true);
    }
    if let Some(publisher) = &event.publisher {
        object.uint("publisher", publisher.session.0);
        if let Some(authid) = &publisher.authid {
            object.text("publisher_authid", authid);
        }
        if let Some(authrole) = &publisher.authrole {
            object.text("publisher_authrole", authrole);
        }
    }
    if let Some(properties) = &event.properties {
        object.properties(properties);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::types::event::{Discloser, Place, Qos, Replaced, StoredEvent};
    use crate::types::ids::{PublicationId, SessionId};
    use crate::types::payload::{Codec, Payload};
    use crate::types::topic::Topic;

    fn past(number: u64, payload: &'static [u8]) -> Past {
        let event = StoredEvent {
            topic: Arc::new(Topic::from_name("a/b").unwrap()),
            payload: Payload::Bytes(Bytes::from_static(payload)),
            codec: Codec::Auto,
            qos: Qos::AtLeastOnce,
            retain: false,
            publication: PublicationId(1),
            place: Some(Place { number, id: id(number) }),
            properties: None,
            publisher: None,
            expires_at_ms: None,
            filter: None,
            replaced: Replaced::default(),
        };
        Past { event, at_us: 1_700_000_000_000_000, passed: Vec::new() }
    }

    fn id(number: u64) -> EventId {
        EventId { minute: 29_000_000, generator: 1, offset: number as u32 }
    }

    fn body(numbers: &[u64]) -> Body {
        let events: Vec<Past> = numbers.iter().map(|number| past(*number, b"1")).collect();
        Body::new(&events, numbers.last().unwrap() + 5).unwrap()
    }

    fn ids(body: &Body) -> Vec<String> {
        let json: serde_json::Value = serde_json::from_slice(&body.request()).unwrap();
        json["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_event_has_its_id_topic_time_payload_and_publisher() {
        let mut event = past(3, b"{\"t\":21}");
        let (authid, authrole) = (Some("ann".to_owned()), None);
        event.event.publisher = Some(Arc::new(Discloser { session: SessionId(7), authid, authrole }));
        let body = Body::new(&[event, past(4, b"\xff\x00")], 4).unwrap();
        let text = String::from_utf8(body.request().to_vec()).unwrap();
        let (first, second) = (id(3), id(4));
        let time = "2023-11-14T22:13:20";
        assert!(
            text.starts_with(&format!("{{\"events\":[{{\"event_id\":\"{first}\",\"topic\":\"a.b\",\"time\":\"{time}"))
        );
        assert!(text.contains(r#""args":[{"t":21}],"kwargs":{},"publisher":7,"publisher_authid":"ann"},{"#), "{text}");
        assert!(
            text.contains(&format!("\"event_id\":\"{second}\"")) && text.ends_with(r#""payload_base64":"/wA="}]}"#),
            "{text}"
        );
    }

    #[test]
    fn any_run_of_events_is_a_body() {
        let whole = body(&[1, 4, 5, 9, 11]);
        let (first, rest) = whole.halves().unwrap();
        assert_eq!((first.events(), rest.events()), (3, 2));
        assert_eq!([ids(&first), ids(&rest)].concat(), ids(&whole));
        let (first, rest) = (first.transaction(true), rest.transaction(true));
        assert_eq!((first.first, first.up_to, rest.first, rest.up_to), (1, 8, 9, 16), "nothing is between them");
        assert!(body(&[1]).halves().is_none());
        let (_, rest) = whole.split_at(5).unwrap();
        assert_eq!(rest.transaction(false).id(), format!("{}-{}", id(5), id(11)));
        let (_, last) = rest.halves().unwrap();
        assert_eq!(ids(&last), [id(11).to_string()]);
        assert!(whole.split_at(1).is_none() && whole.split_at(12).is_none());
        assert_eq!((whole.number_from(id(6)), whole.number_from(id(12))), (Some(9), None));
        assert!(Body::new(&[], 7).is_none());
    }
}
