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
