//! Properties of a publication, in the options of PUBLISH and the details of EVENT (docs/wamp.md).

use bytes::Bytes;

use crate::client::machine::{Message, Publication};
use crate::types::event::Properties;
use crate::types::payload::Payload;
use crate::types::value::Value;
use crate::wamp::message::{Dict, DictWriter};

pub(super) fn write_publication(publication: &Publication<'_>, options: &mut DictWriter) {
    let properties = publication.properties;
    if publication.retain {
        options.bool("retain", true);
    }
    if let Some(seconds) = publication.expiry_s {
        options.uint("message_expiry_interval", seconds.into());
    }
    if let Some(is_text) = properties.payload_is_text {
        options.uint("payload_format_indicator", is_text.into());
    }
    if let Some(text) = &properties.content_type {
        options.text("content_type", text);
    }
    if let Some(topic) = &properties.response_topic {
        options.text("response_topic", topic);
    }
    if let Some(data) = &properties.correlation_data {
        options.binary("correlation_data", data);
    }
    if !properties.user_properties.is_empty() {
        options.value("user_properties", &user_properties(&properties.user_properties));
    }
}

/// A list of `[name, value]`: names may come several times, and their order is kept (MQTT 5, 3.3.2.3.7).
pub fn user_properties(all: &[(String, String)]) -> Value {
    let pair = |(name, value): &(String, String)| Value::List(vec![name.as_str().into(), value.as_str().into()]);
    Value::List(all.iter().map(pair).collect())
}

fn read_user_properties(list: &[Value]) -> Option<Vec<(String, String)>> {
    let pair = |item: &Value| match item.as_list()? {
        [name, value] => Some((name.as_str()?.to_owned(), value.as_str()?.to_owned())),
        _ => None,
    };
    list.iter().map(pair).collect()
}

/// An EVENT. `topic`: what was subscribed to, unless the details name the topic.
pub(super) fn read_event(topic: String, publication: u64, details: &Dict<'_>, payload: Payload) -> Message {
    let mut message = Message {
        topic,
        payload,
        retain: false,
        dup: false,
        qos: None,
        publication: Some(publication),
        properties: Properties::default(),
        expiry_s: None,
        subscription_identifiers: Vec::new(),
        details: Vec::new(),
    };
    for (name, value) in details.to_map() {
        if let Some((name, value)) = read_detail(&mut message, name, value) {
            message.details.push((name, value));
        }
    }
    message
}

/// Puts one of the details where it belongs; gives back what belongs nowhere, or is not what it should be.
fn read_detail(message: &mut Message, name: String, value: Value) -> Option<(String, Value)> {
    let properties = &mut message.properties;
    match (name.as_str(), value) {
        ("topic", Value::Text(text)) => message.topic = text,
        ("retained", Value::Bool(retained)) => message.retain = retained,
        ("message_expiry_interval", Value::Int(seconds)) if u32::try_from(seconds).is_ok() => {
            message.expiry_s = u32::try_from(seconds).ok();
        }
        ("payload_format_indicator", Value::Int(is_text @ 0..=1)) => properties.payload_is_text = Some(is_text == 1),
        ("content_type", Value::Text(text)) => properties.content_type = Some(text),
        ("response_topic", Value::Text(text)) => properties.response_topic = Some(text),
        ("correlation_data", Value::Text(text)) => properties.correlation_data = Some(text.into()),
        ("correlation_data", Value::Bytes(bytes)) => properties.correlation_data = Some(Bytes::from(bytes)),
        ("user_properties", Value::List(list)) => match read_user_properties(&list) {
            Some(all) => properties.user_properties = all,
            None => return Some((name, Value::List(list))),
        },
        (_, value) => return Some((name, value)),
    }
    None
}
