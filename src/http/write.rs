//! Payloads and events as JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::types::event::Properties;
use crate::types::payload::{Args, Codec, Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::read::{Container, Scalar, Sink};
use crate::types::value::write::{JsonWriter, Writer};

/// A JSON object that is being written.
pub struct Object<'o> {
    writer: JsonWriter<'o>,
}

impl<'o> Object<'o> {
    /// Begins an object behind what is in `out`.
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        let mut writer = JsonWriter::new(out);
        writer.open(Container::Map, None);
        Self { writer }
    }

    pub fn end(mut self) {
        self.writer.close(Container::Map, 0);
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.writer.map_key(name);
        self.writer.text(text);
    }

    pub fn uint(&mut self, name: &str, value: u64) {
        self.writer.map_key(name);
        self.writer.uint(value);
    }

    pub fn bool(&mut self, name: &str, value: bool) {
        self.writer.map_key(name);
        self.writer.scalar(Scalar::Bool(value));
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.writer.map_key(name);
        self.writer.raw(json);
    }

    /// `args` and `kwargs` as a WAMP client gets them. Bytes that would be binary there, or are not what their codec says, are
    /// `payload` if they are text, else `payload_base64`.
    pub fn payload(&mut self, payload: PayloadRef<'_>, codec: Codec) {
        match arguments(payload, codec) {
            Ok(Args { args, kwargs }) => {
                self.raw("args", args.as_deref().unwrap_or(b"[]"));
                self.raw("kwargs", kwargs.as_deref().unwrap_or(b"{}"));
            }
            Err(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.text("payload", text),
                Err(_) => self.text("payload_base64", &BASE64.encode(&bytes)),
            },
        }
    }

    /// The properties of an event, by the names they have in EVENT details.
    pub fn properties(&mut self, properties: &Properties) {
        if let Some(is_text) = properties.payload_is_text {
            self.uint("payload_format_indicator", is_text.into());
        }
        if let Some(content_type) = &properties.content_type {
            self.text("content_type", content_type);
        }
        if let Some(name) = &properties.response_topic {
            let topic = Topic::from_name(name);
            self.text("response_topic", topic.as_ref().map_or(name, |topic| topic.uri()));
        }
        if let Some(data) = &properties.correlation_data {
            self.writer.map_key("correlation_data");
            self.writer.scalar(match std::str::from_utf8(data) {
                Ok(text) if !text.starts_with('\0') => Scalar::Text(text.into()),
                _ => Scalar::Bytes(Cow::Borrowed(data)),
            });
        }
        if !properties.user_properties.is_empty() {
            self.writer.map_key("user_properties");
            write_pairs(&mut self.writer, &properties.user_properties);
        }
    }
}

/// The arguments, or the bytes that are none.
fn arguments(payload: PayloadRef<'_>, codec: Codec) -> Result<Args<'_>, Cow<'_, [u8]>> {
    if let PayloadRef::Bytes(bytes) = payload {
        let is_text = || std::str::from_utf8(bytes).is_ok_and(|text| !text.starts_with('\0'));
        if !bytes.is_empty() && (codec == Codec::Raw || (codec == Codec::Auto && !is_text())) {
            return Err(bytes.into());
        }
    }
    payload.as_args(codec, Format::Json).map_err(|_| payload.as_bytes(codec))
}

/// An object; a name that is there several times has the list of its values.
fn write_pairs(writer: &mut JsonWriter<'_>, pairs: &[(String, String)]) {
    writer.open(Container::Map, None);
    for (at, (name, value)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other == name) {
            continue;
        }
        let further: Vec<&String> = pairs[at + 1..].iter().filter(|(other, _)| other == name).map(|(_, v)| v).collect();
        writer.map_key(name);
        if further.is_empty() {
            writer.text(value);
            continue;
        }
        writer.open(Container::List, None);
        writer.text(value);
        further.iter().for_each(|value| writer.text(value));
        writer.close(Container::List, 0);
    }
    writer.close(Container::Map, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: PayloadRef<'_>, codec: Codec, expected: &str) {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.payload(payload, codec);
        object.end();
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn arguments_are_as_a_wamp_client_gets_them() {
        let args = |args: &'static str, kwargs: Option<&'static str>| PayloadRef::Args {
            format: Format::Json,
            args: Some(args.as_bytes()),
            kwargs: kwargs.map(str::as_bytes),
        };
        check(args("[1,\"x\"]", None), Codec::Auto, r#"{"args":[1,"x"],"kwargs":{}}"#);
        check(args("[]", Some("{\"a\":1}")), Codec::Auto, r#"{"args":[],"kwargs":{"a":1}}"#);
        check(PayloadRef::NONE, Codec::Auto, r#"{"args":[],"kwargs":{}}"#);
        check(PayloadRef::Bytes(b"{\"t\":21}"), Codec::Auto, r#"{"args":[{"t":21}],"kwargs":{}}"#);
        check(PayloadRef::Bytes(b"hello"), Codec::Auto, r#"{"args":["hello"],"kwargs":{}}"#);
        let packed = PayloadRef::Args { format: Format::MsgPack, args: Some(&[0x92, 0x01, 0xc3]), kwargs: None };
        check(packed, Codec::Auto, r#"{"args":[1,true],"kwargs":{}}"#);
    }

    #[test]
    fn bytes_that_are_no_arguments_are_a_payload() {
        check(PayloadRef::Bytes(&[0xff, 0]), Codec::Auto, r#"{"payload_base64":"/wA="}"#);
        check(PayloadRef::Bytes(b"\0a"), Codec::Auto, r#"{"payload":"\u0000a"}"#);
        check(PayloadRef::Bytes(b"[1]"), Codec::Raw, r#"{"payload":"[1]"}"#);
        check(PayloadRef::Bytes(b"[1"), Codec::Json, r#"{"payload":"[1"}"#);
        check(PayloadRef::Bytes(&[0xff, 0xff]), Codec::Cbor, r#"{"payload_base64":"//8="}"#);
    }

    #[test]
    fn a_user_property_that_is_there_twice_has_a_list() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let user_properties = vec![pair("a", "1"), pair("b", "2"), pair("a", "3")];
        let response_topic = Some("re/ply".to_owned());
        let properties = Properties { user_properties, response_topic, ..Properties::default() };
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.properties(&properties);
        object.end();
        let expected = r#"{"response_topic":"re.ply","user_properties":{"a":["1","3"],"b":"2"}}"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
