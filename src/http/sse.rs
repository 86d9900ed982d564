//! Events as server-sent events (WHATWG HTML, 9.2): what the node asks this gate to encode.

use std::sync::Arc;

use super::write::Object;
use crate::node::metrics::Protocol;
use crate::node::revoke::Revoked;
use crate::node::session::{Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::output::Output;
use crate::types::event::{Event, Terms};
use crate::types::ids::SubscriptionId;

static SSE: ServerSentEvents = ServerSentEvents;

/// The wire of sessions that HTTP requests have.
pub fn wire() -> WireRef {
    WireRef(&SSE)
}

struct ServerSentEvents;

impl Wire for ServerSentEvents {
    fn id(&self) -> WireId {
        // Other gates count from 0.
        WireId(200)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, _: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        // What is not in the log cannot be resumed behind: the client goes on remembering what it has.
        if let Some(place) = event.place {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(place.id.text().as_str().as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(b"event: message\ndata: ");
        let data = out.len();
        let mut object = Object::begin(out);
        object.text("topic", event.topic.uri());
        object.uint("publication", event.publication.0);
        object.payload(event.payload, event.codec);
        if terms.retain {
            object.bool("retained", true);
        }
        if let Some(publisher) = event.publisher {
            object.uint("publisher", publisher.session.0);
            if let Some(authid) = &publisher.authid {
                object.text("publisher_authid", authid);
            }
            if let Some(authrole) = &publisher.authrole {
                object.text("publisher_authrole", authrole);
            }
        }
        if let Some(seconds) = event.expires_in_s {
            object.uint("message_expiry_interval", seconds.into());
        }
        if let Some(properties) = event.properties {
            object.properties(properties);
        }
        object.end();
        keep_to_one_line(&mut out[data..]);
        out.extend_from_slice(b"\n\n");
        Ok(Encoded::default())
    }

    fn revoked(&self, _: SubscriptionId, why: Revoked, _: bool, out: &mut Vec<u8>) {
        let reason = why.uri();
        out.extend_from_slice(format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n").as_bytes());
    }

    /// Answers go to the functions that wait for them; nobody can call a session of HTTP.
    fn rpc(&self, _: &Arc<Session>, _: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        Err(Unencodable::Gone)
    }
}

/// A line's end would end the event. In JSON one stands only between values, as white space that somebody sent along.
fn keep_to_one_line(json: &mut [u8]) {
    for byte in json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::event::{Discloser, Properties, Qos};
    use crate::types::ids::{PublicationId, SessionId};
    use crate::types::payload::{Codec, Format, PayloadRef};
    use crate::types::topic::Topic;

    fn encode(event: &Event<'_>, terms: &Terms) -> String {
        let mut out = Vec::new();
        SSE.event(event, terms, false, &mut out).expect("every event can be said");
        String::from_utf8(out).expect("text")
    }

    fn event<'a>(topic: &'a Arc<Topic>, payload: PayloadRef<'a>) -> Event<'a> {
        Event {
            topic,
            payload,
            codec: Codec::Auto,
            qos: Qos::AtMostOnce,
            retain: false,
            publication: PublicationId(7),
            place: None,
            properties: None,
            publisher: None,
            expires_at_ms: None,
            expires_in_s: None,
        }
    }

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        let topic = Arc::new(Topic::from_name("app/topic").expect("a topic"));
        let args = PayloadRef::Args { format: Format::Json, args: Some(b"[\"a\\n\",\r\n 1]"), kwargs: None };
        assert_eq!(
            encode(&event(&topic, args), &Terms::default()),
            "event: message\n\
             data: {\"topic\":\"app.topic\",\"publication\":7,\"args\":[\"a\\n\",   1],\"kwargs\":{}}\n\n"
        );
    }

    #[test]
    fn details_have_the_names_of_wamp() {
        let topic = Arc::new(Topic::from_name("t").expect("a topic"));
        let properties = Arc::new(Properties { content_type: Some("a/b".to_owned()), ..Properties::default() });
        let publisher = Arc::new(Discloser { session: SessionId(3), authid: Some("joe".to_owned()), authrole: None });
        let event = Event {
            properties: Some(&properties),
            publisher: Some(&publisher),
            expires_in_s: Some(9),
            ..event(&topic, PayloadRef::NONE)
        };
        assert_eq!(
            encode(&event, &Terms { retain: true, ..Terms::default() }),
            "event: message\n\
             data: {\"topic\":\"t\",\"publication\":7,\"args\":[],\"kwargs\":{},\"retained\":true,\"publisher\":3,\
             \"publisher_authid\":\"joe\",\"message_expiry_interval\":9,\"content_type\":\"a/b\"}\n\n"
        );
    }
}
