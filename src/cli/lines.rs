//! Events and results as lines of JSON, or as their bare payload.
//!
//! Binary inside JSON is a text of `\0` and base64, as everywhere (docs/mapping-payloads.md).

use std::io::{self, StdoutLock, Write};

use super::Failure;
use crate::client::machine::{Invocation, Message};
use crate::client::wamp::user_properties;
use crate::types::event::Properties;
use crate::types::payload::{Codec, Format, Payload};
use crate::types::value::{Raw, Value};
use crate::wamp::message::DictWriter;

/// Standard output, line by line.
pub(super) struct Output {
    stdout: io::BufWriter<StdoutLock<'static>>,
    raw: bool,
    reader_gone: bool,
}

impl Output {
    /// `raw`: payloads alone.
    pub fn new(raw: bool) -> Self {
        Self { stdout: io::BufWriter::new(io::stdout().lock()), raw, reader_gone: false }
    }

    /// Nobody reads any more, as after `| head -1`: the command is done.
    pub fn is_reader_gone(&self) -> bool {
        self.reader_gone
    }

    pub fn message(&mut self, message: &Message) -> Result<(), Failure> {
        let line = if self.raw { raw_line(&message.payload) } else { message_line(message) };
        let written = self.stdout.write_all(&line);
        self.check(written)
    }

    pub fn result(&mut self, payload: &Payload, progress: bool) -> Result<(), Failure> {
        let line = if self.raw { raw_line(payload) } else { result_line(payload, progress) };
        let written = self.stdout.write_all(&line);
        self.check(written)
    }

    /// A line that is none of these.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = self.stdout.write_all(line.as_bytes()).and_then(|()| self.stdout.write_all(b"\n"));
        self.check(written)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.stdout.flush();
        self.check(flushed)
    }

    fn check(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            Err(error) => Err(Failure::Run(format!("cannot write to standard output: {error}"))),
        }
    }
}

/// Prints these lines, and no more.
pub(super) fn print_lines(lines: &[String]) -> Result<(), Failure> {
    let mut output = Output::new(false);
    lines.iter().try_for_each(|line| output.line(line))?;
    output.flush()
}

fn message_line(message: &Message) -> Vec<u8> {
    let mut line = DictWriter::new(Format::Json);
    line.text("topic", &message.topic);
    write_payload(&message.payload, &mut line);
    if let Some(qos) = message.qos {
        line.uint("qos", qos as u64);
    }
    line.bool("retain", message.retain);
    if message.dup {
        line.bool("dup", true);
    }
    if let Some(publication) = message.publication {
        line.uint("publication", publication);
    }
    if let Some(seconds) = message.expiry_s {
        line.uint("expiry", seconds.into());
    }
    let properties = properties(&message.properties);
    if !properties.is_empty() {
        line.value("properties", &Value::Map(properties));
    }
    if !message.subscription_identifiers.is_empty() {
        let identifiers = message.subscription_identifiers.iter().map(|id| Value::Int((*id).into()));
        line.value("subscription_identifiers", &Value::List(identifiers.collect()));
    }
    if !message.details.is_empty() {
        line.value("details", &Value::Map(message.details.clone()));
    }
    finish(line)
}

fn result_line(payload: &Payload, progress: bool) -> Vec<u8> {
    let mut line = DictWriter::new(Format::Json);
    write_payload(payload, &mut line);
    if progress {
        line.bool("progress", true);
    }
    finish(line)
}

/// What a command that answers a call reads: the same for both protocols.
pub(super) fn invocation_document(invocation: &Invocation) -> Vec<u8> {
    let mut line = DictWriter::new(Format::Json);
    line.text("procedure", &invocation.procedure);
    write_args(&invocation.payload, &mut line);
    if !invocation.details.is_empty() {
        line.value("details", &Value::Map(invocation.details.clone()));
    }
    finish(line)
}

/// A payload as text for people.
pub(super) fn payload_text(payload: &Payload) -> String {
    String::from_utf8_lossy(&payload.as_ref().as_bytes(Codec::Raw)).into_owned()
}

fn raw_line(payload: &Payload) -> Vec<u8> {
    let mut line = payload.as_ref().as_bytes(Codec::Raw).into_owned();
    line.push(b'\n');
    line
}

/// MQTT: `payload`, as JSON if it is, else as text, else as binary. WAMP: `args` and `kwargs`.
fn write_payload(payload: &Payload, line: &mut DictWriter) {
    let Payload::Bytes(bytes) = payload else { return write_args(payload, line) };
    match (Raw::parse(Format::Json, bytes), std::str::from_utf8(bytes)) {
        (Ok(json), _) => line.raw("payload", json),
        (_, Ok(text)) if !text.starts_with('\0') => line.text("payload", text),
        _ => line.binary("payload", bytes),
    }
}

fn write_args(payload: &Payload, line: &mut DictWriter) {
    // The codec `Auto` takes anything.
    let args = payload.as_ref().as_args(Codec::Auto, Format::Json).unwrap_or_default();
    line.raw("args", Raw::checked(Format::Json, args.args.as_deref().unwrap_or(b"[]")));
    line.raw("kwargs", Raw::checked(Format::Json, args.kwargs.as_deref().unwrap_or(b"{}")));
}

fn properties(properties: &Properties) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut put = |name: &str, value: Option<Value>| all.extend(value.map(|value| (name.to_owned(), value)));
    put("payload_format_indicator", properties.payload_is_text.map(|is_text| Value::Int(is_text.into())));
    put("content_type", properties.content_type.as_deref().map(Value::from));
    put("response_topic", properties.response_topic.as_deref().map(Value::from));
    put(
        "correlation_data",
        properties.correlation_data.as_ref().map(|data| match std::str::from_utf8(data) {
            Ok(text) if !text.starts_with('\0') => Value::from(text),
            _ => Value::Bytes(data.to_vec()),
        }),
    );
    let user = &properties.user_properties;
    put("user_properties", (!user.is_empty()).then(|| user_properties(user)));
    all
}

/// JSON may have line ends between its parts, and never inside them: they become spaces.
fn finish(line: DictWriter) -> Vec<u8> {
    let line = line.finish();
    let mut line = line.as_raw().map(|raw| raw.bytes().to_owned()).unwrap_or_default();
    line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::machine::InvocationNumber;
    use crate::types::event::Qos;

    fn message(payload: Payload) -> Message {
        Message {
            topic: "a/b".to_owned(),
            payload,
            retain: false,
            dup: false,
            qos: None,
            publication: None,
            properties: Properties::default(),
            expiry_s: None,
            subscription_identifiers: Vec::new(),
            details: Vec::new(),
        }
    }

    fn bytes(payload: &'static [u8]) -> Payload {
        Payload::Bytes(Bytes::from_static(payload))
    }

    fn args(format: Format, args: &'static [u8], kwargs: Option<&'static [u8]>) -> Payload {
        Payload::Args { format, args: Some(Bytes::from_static(args)), kwargs: kwargs.map(Bytes::from_static) }
    }

    /// The line of a message with this payload, behind its topic; and its raw line.
    fn check(payload: Payload, expected: &str, raw: &[u8]) {
        let line = String::from_utf8(message_line(&message(payload.clone()))).unwrap();
        assert_eq!(line, format!("{{\"topic\":\"a/b\",{expected},\"retain\":false}}\n"));
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
        assert_eq!(raw_line(&payload), [raw, b"\n"].concat());
    }

    #[test]
    fn a_payload_is_json_if_it_is_else_text_else_binary() {
        check(bytes(b"{\"t\": 1.50}"), r#""payload":{"t": 1.50}"#, b"{\"t\": 1.50}");
        check(bytes(b"hello"), r#""payload":"hello""#, b"hello");
        check(bytes(b"a\nb\"c"), r#""payload":"a\nb\"c""#, b"a\nb\"c");
        check(bytes(b"\xff\x00"), r#""payload":"\u0000/wA=""#, b"\xff\x00");
        check(bytes(b""), r#""payload":"""#, b"");
        check(bytes(b"[1,\r\n2]"), r#""payload":[1,  2]"#, b"[1,\r\n2]");
    }

    #[test]
    fn arguments_are_always_both() {
        check(args(Format::Json, b"[1,\"x\"]", None), r#""args":[1,"x"],"kwargs":{}"#, b"[1,\"x\"]");
        check(args(Format::Json, b"[\"x\"]", None), r#""args":["x"],"kwargs":{}"#, b"x");
        let both = args(Format::MsgPack, b"\x91\x01", Some(b"\x81\xa1k\xc0"));
        check(both, r#""args":[1],"kwargs":{"k":null}"#, br#"{"args":[1],"kwargs":{"k":null}}"#);
        check(args(Format::Cbor, b"\x81\x41\xff", None), r#""args":["\u0000/w=="],"kwargs":{}"#, b"\xff");
    }

    #[test]
    fn all_that_came_with_a_message_is_told() {
        let message = Message {
            retain: true,
            dup: true,
            qos: Some(Qos::ExactlyOnce),
            publication: Some(5),
            properties: Properties {
                payload_is_text: Some(true),
                content_type: Some("text/plain".to_owned()),
                response_topic: Some("r".to_owned()),
                correlation_data: Some(Bytes::from_static(b"\xff")),
                user_properties: vec![("k".to_owned(), "v".to_owned())],
                passthru: None,
                trust: None,
                resource_key: None,
            },
            expiry_s: Some(9),
            subscription_identifiers: vec![1, 2],
            details: vec![("publisher".to_owned(), Value::Int(7))],
            ..message(bytes(b"1"))
        };
        let expected = concat!(
            r#"{"topic":"a/b","payload":1,"qos":2,"retain":true,"dup":true,"publication":5,"expiry":9,"#,
            r#""properties":{"payload_format_indicator":1,"content_type":"text/plain","response_topic":"r","#,
            r#""correlation_data":"\u0000/w==","user_properties":[["k","v"]]},"#,
            r#""subscription_identifiers":[1,2],"details":{"publisher":7}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(message_line(&message)).unwrap(), expected);
    }

    #[test]
    fn a_command_reads_the_same_whatever_the_protocol() {
        let check = |payload: Payload, expected: &str| {
            let (number, procedure) = (InvocationNumber(1), "math/add".to_owned());
            let document = invocation_document(&Invocation { number, procedure, payload, details: Vec::new() });
            let expected = format!("{{\"procedure\":\"math/add\",{expected}}}\n");
            assert_eq!(String::from_utf8(document).unwrap(), expected);
        };
        check(args(Format::Json, b"[1,2]", None), r#""args":[1,2],"kwargs":{}"#);
        check(bytes(b"[1,2]"), r#""args":[1,2],"kwargs":{}"#);
        check(bytes(b"hello"), r#""args":["hello"],"kwargs":{}"#);
        check(bytes(b"{\"kwargs\":{\"k\":1}}"), r#""args":[],"kwargs":{"k":1}"#);
        check(bytes(b""), r#""args":[],"kwargs":{}"#);
    }

    #[test]
    fn a_result_says_if_more_follow() {
        assert_eq!(result_line(&bytes(b"1"), false), b"{\"payload\":1}\n");
        let progress = result_line(&args(Format::Json, b"[1]", None), true);
        assert_eq!(progress, b"{\"args\":[1],\"kwargs\":{},\"progress\":true}\n");
    }
}
