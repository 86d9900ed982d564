//! Calls of the broker's own procedures (`fennec.key.*`, `fennec.lock.*`), over either protocol.

use super::Failure;
use super::call::failure;
use super::connect::Link;
use crate::client::machine::{Call, CallError, Event, Token};
use crate::client::url::Protocol;
use crate::client::{Client, Error};
use crate::types::event::Properties;
use crate::types::payload::{Codec, Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::{Raw, Value};

/// What the procedures take for a name: a topic that is spelt as the protocol in use spells it, as a URI.
pub(super) fn uri(link: &Link, name: &str) -> Result<String, Failure> {
    let topic = match link.client.url().protocol {
        Protocol::Wamp => Topic::from_uri(name),
        Protocol::Mqtt => Topic::from_name(name),
    };
    topic.map(|topic| topic.uri().to_owned()).map_err(|error| Failure::Refused(vec![format!("{name:?} {error}")]))
}

/// Calls a procedure, spelt as a URI; its answer is [`answer`]'s.
///
/// # Errors
/// [`Error::Invalid`]: nothing was sent.
pub(super) fn ask(client: &mut Client, procedure: &str, args: Vec<Value>) -> Result<Token, Error> {
    let spelt = match client.url().protocol {
        Protocol::Wamp => procedure.to_owned(),
        Protocol::Mqtt => procedure.replace('.', "/"),
    };
    let args = Value::List(args).to_bytes(Format::Json);
    client.machine().call(&Call {
        procedure: &spelt,
        payload: PayloadRef::Args { format: Format::Json, args: Some(&args), kwargs: None },
        progress: false,
        timeout_ms: 0,
        properties: &Properties::default(),
    })
}

/// Waits for the answer to a call. Other events are passed over.
///
/// # Errors
/// [`CallError::Refused`] also when the connection is over.
pub(super) async fn answer(client: &mut Client, call: Token) -> Result<Value, CallError> {
    loop {
        match client.event().await.map_err(CallError::Refused)? {
            Event::Returned { token, payload, .. } if token == call => {
                return Ok(payload.as_ref().document(Codec::Auto));
            }
            Event::Failed { token, error } if token == call => return Err(error),
            _ => {}
        }
    }
}

/// Calls a procedure and waits for its answer.
///
/// # Errors
/// As [`ask`] and [`answer`].
pub(super) async fn result(client: &mut Client, procedure: &str, args: Vec<Value>) -> Result<Value, CallError> {
    let call = ask(client, procedure, args).map_err(CallError::Refused)?;
    answer(client, call).await
}

/// The same, with what a failure means for the exit code.
pub(super) async fn call(link: &mut Link, procedure: &str, args: Vec<Value>) -> Result<Value, Failure> {
    result(&mut link.client, procedure, args).await.map_err(failure)
}

/// What was typed, as a value: JSON, or else text.
pub(super) fn value(typed: &str) -> Value {
    Raw::parse(Format::Json, typed.as_bytes()).map_or_else(|_| Value::from(typed), |json| json.to_value())
}

/// The value as JSON.
pub(super) fn json(value: &Value) -> String {
    String::from_utf8_lossy(&value.to_bytes(Format::Json)).into_owned()
}
