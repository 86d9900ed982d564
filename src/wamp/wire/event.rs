//! EVENT: `[36, subscription, publication, details, args, kwargs]`.

use std::borrow::Cow;

use crate::node::wire::Unencodable;
use crate::types::event::{Event, Properties, Recovery, Terms};
use crate::types::topic::Topic;
use crate::types::value::read::{Container, Scalar, Sink};
use crate::types::value::write::{Writer, with_writer};
use crate::wamp::message::{Kind, Tail};
use crate::wamp::serializer::Wire;

/// Appends a whole frame.
pub(super) fn append(wire: Wire, event: &Event<'_>, terms: &Terms, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let args = event.payload.as_args(event.translation(), wire.format).map_err(|_| Unencodable::Payload)?;
    let tail = Tail::new(&args, wire.format);
    let details = Details::new(event, terms);
    let write = |out: &mut Vec<u8>| {
        with_writer!(wire.format, out, writer => {
            let len = 4 + tail.elements();
            writer.open(Container::List, Some(len));
            writer.uint(Kind::Event.code());
            writer.uint(terms.subscription.map_or(0, |subscription| subscription.0));
            writer.uint(event.publication.0);
            details.write(&mut writer);
            tail.write(&mut writer);
            writer.close(Container::List, len);
        });
    };
    wire.frame(out, write).map(drop).map_err(|_| Unencodable::TooLarge)
}

/// The details of one copy, written without being built.
struct Details<'a> {
    event: &'a Event<'a>,
    with_topic: bool,
    retained: bool,
    recovery: Option<Recovery>,
    len: usize,
}

impl<'a> Details<'a> {
    fn new(event: &'a Event<'a>, terms: &Terms) -> Self {
        let publisher = event.publisher.map_or(0, |publisher| {
            1 + usize::from(publisher.authid.is_some()) + usize::from(publisher.authrole.is_some())
        });
        let properties = event.properties.map_or(0, |properties| properties_len(properties));
        let len = usize::from(terms.with_topic)
            + usize::from(terms.retain)
            + usize::from(event.place.is_some())
            + usize::from(event.expires_in_s.is_some())
            + terms.recovery.map_or(0, |recovery| 1 + usize::from(recovery.first_available.is_some()))
            + publisher
            + properties;
        Self { event, with_topic: terms.with_topic, retained: terms.retain, recovery: terms.recovery, len }
    }

    fn write(&self, writer: &mut impl Writer) {
        writer.open(Container::Map, Some(self.len));
        if self.len > 0 {
            self.write_entries(writer);
        }
        writer.close(Container::Map, self.len);
    }

    fn write_entries(&self, writer: &mut impl Writer) {
        if self.with_topic {
            text(writer, "topic", self.event.topic.uri());
        }
        if self.retained {
            writer.map_key("retained");
            writer.scalar(Scalar::Bool(true));
        }
        if let Some(place) = self.event.place {
            text(writer, "event_id", place.id.text().as_str());
        }
        if let Some(recovery) = self.recovery {
            writer.map_key("recovered");
            writer.scalar(Scalar::Bool(recovery.recovered));
            if let Some(id) = recovery.first_available {
                text(writer, "first_available", id.text().as_str());
            }
        }
        if let Some(publisher) = self.event.publisher {
            uint(writer, "publisher", publisher.session.0);
            optional_text(writer, "publisher_authid", publisher.authid.as_deref());
            optional_text(writer, "publisher_authrole", publisher.authrole.as_deref());
        }
        if let Some(seconds) = self.event.expires_in_s {
            uint(writer, "message_expiry_interval", u64::from(seconds));
        }
        if let Some(properties) = self.event.properties {
            write_properties(writer, properties);
        }
    }
}

fn properties_len(properties: &Properties) -> usize {
    usize::from(properties.payload_is_text.is_some())
        + usize::from(properties.content_type.is_some())
        + usize::from(properties.response_topic.is_some())
        + usize::from(properties.correlation_data.is_some())
        + usize::from(!properties.user_properties.is_empty())
        + usize::from(properties.trust.is_some())
        + properties.passthru.as_ref().map_or(0, |passthru| passthru.len())
}

fn write_properties(writer: &mut impl Writer, properties: &Properties) {
    if let Some(is_text) = properties.payload_is_text {
        uint(writer, "payload_format_indicator", u64::from(is_text));
    }
    optional_text(writer, "content_type", properties.content_type.as_deref());
    if let Some(name) = &properties.response_topic {
        // What is no topic name would have been refused by the gate it came through.
        let topic = Topic::from_name(name);
        text(writer, "response_topic", topic.as_ref().map_or(name, |topic| topic.uri()));
    }
    if let Some(data) = &properties.correlation_data {
        writer.map_key("correlation_data");
        writer.scalar(Scalar::Bytes(Cow::Borrowed(data)));
    }
    if !properties.user_properties.is_empty() {
        writer.map_key("user_properties");
        write_user_properties(writer, &properties.user_properties);
    }
    if let Some(trust) = properties.trust {
        uint(writer, "trustlevel", u64::from(trust));
    }
    for (name, value) in properties.passthru.iter().flat_map(|passthru| passthru.iter()) {
        text(writer, name, value);
    }
}

/// A list of `[name, value]`: names may come several times, and their order is kept (MQTT 5, 3.3.2.3.7).
fn write_user_properties(writer: &mut impl Writer, all: &[(String, String)]) {
    writer.open(Container::List, Some(all.len()));
    for (name, value) in all {
        writer.open(Container::List, Some(2));
        writer.text(name);
        writer.text(value);
        writer.close(Container::List, 2);
    }
    writer.close(Container::List, all.len());
}

fn text(writer: &mut impl Writer, key: &str, value: &str) {
    writer.map_key(key);
    writer.text(value);
}

fn optional_text(writer: &mut impl Writer, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(writer, key, value);
    }
}

fn uint(writer: &mut impl Writer, key: &str, value: u64) {
    writer.map_key(key);
    writer.uint(value);
}
