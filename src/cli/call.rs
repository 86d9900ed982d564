//! `fennec call`: calls a procedure and prints what it returns.

use std::time::Duration;

use tokio::time::timeout;

use super::Failure;
use super::client_args::CallArgs;
use super::connect::{Link, Waiting, block_on};
use super::lines::{Output, payload_text};
use super::stop::Stop;
use crate::client::Client;
use crate::client::machine::{Call, CallError, Event, Token};
use crate::client::url::Protocol;
use crate::types::payload::{Format, Payload};
use crate::types::value::{Raw, Value};

/// How long a call that nobody waits for any more may take to be cancelled.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) fn run(args: CallArgs) -> Result<(), Failure> {
    block_on(call(args))
}

async fn call(args: CallArgs) -> Result<(), Failure> {
    let payload = arguments(&args.args, &args.kwarg);
    let mut output = Output::new(args.raw);
    let mut stop = Stop::new()?;
    let mut link = tokio::select! {
        link = Link::open(&args.connect, Protocol::Wamp, args.response_topic) => link?,
        () = stop.asked() => return Err(interrupted()),
    };
    let call = Call {
        procedure: &args.procedure,
        payload: payload.as_ref(),
        progress: args.progress,
        timeout_ms: 0,
        properties: &args.properties.properties(),
    };
    let client = &mut link.client;
    let token = client.machine().call(&call)?;
    let waiting = Waiting::new(format_args!("waiting for the result of {}", args.procedure));
    let outcome = tokio::select! {
        outcome = result(client, token, &mut output) => outcome,
        () = stop.asked() => Err(interrupted()),
        () = tokio::time::sleep(args.timeout), if !args.timeout.is_zero() => {
            Err(Failure::TimedOut(format!("no result in {:?}", args.timeout)))
        }
    };
    drop(waiting);
    client.machine().cancel(token);
    // The broker notices anyway when the connection ends.
    let _ = timeout(FAREWELL, client.flush()).await;
    link.client.close().await;
    outcome
}

fn interrupted() -> Failure {
    Failure::Run("interrupted".to_owned())
}

async fn result(client: &mut Client, call: Token, output: &mut Output) -> Result<(), Failure> {
    loop {
        match client.event().await? {
            Event::Returned { token, progress, payload } if token == call => {
                output.result(&payload, progress)?;
                output.flush()?;
                if !progress || output.is_reader_gone() {
                    return Ok(());
                }
            }
            Event::Failed { token, error } if token == call => return Err(failure(error)),
            _ => {}
        }
    }
}

/// What a call that failed means for the exit code.
pub(super) fn failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(error) => error.into(),
        CallError::Answered { uri, payload } if payload.is_empty() => Failure::CallFailed(uri),
        CallError::Answered { uri, payload } => Failure::CallFailed(format!("{uri}: {}", payload_text(&payload))),
    }
}

/// What was typed, as arguments: JSON, or else text.
fn arguments(args: &[String], kwargs: &[(String, String)]) -> Payload {
    let value = |text: &String| {
        Raw::parse(Format::Json, text.as_bytes())
            .map_or_else(|_| Value::from(text.as_str()).to_bytes(Format::Json), |json| json.bytes().to_owned())
    };
    let args: Vec<Vec<u8>> = args.iter().map(value).collect();
    let mut list = b"[".to_vec();
    list.extend(args.join(&b','));
    list.push(b']');
    let entry = |(name, text): &(String, String)| {
        let mut entry = Value::from(name.as_str()).to_bytes(Format::Json);
        entry.push(b':');
        entry.extend(value(text));
        entry
    };
    let entries: Vec<Vec<u8>> = kwargs.iter().map(entry).collect();
    let mut map = b"{".to_vec();
    map.extend(entries.join(&b','));
    map.push(b'}');
    Payload::Args { format: Format::Json, args: Some(list.into()), kwargs: Some(map.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::payload::Codec;

    fn check(args: &[&str], kwargs: &[(&str, &str)], expected: &str) {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let kwargs: Vec<_> = kwargs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let payload = arguments(&args, &kwargs);
        assert_eq!(String::from_utf8_lossy(&payload.as_ref().as_bytes(Codec::Auto)), expected);
    }

    #[test]
    fn what_is_typed_is_json_or_else_text() {
        check(&["1", "2.50", "x y", "\"1\"", "null", "{\"a\": [1]}"], &[], r#"[1,2.50,"x y","1",null,{"a": [1]}]"#);
        check(&["12345678901234567890123"], &[], "12345678901234567890123");
        check(&["01", ""], &[], r#"["01",""]"#);
        check(&[], &[("n", "1"), ("näme", "a\"b")], r#"{"n":1,"näme":"a\"b"}"#);
        check(&["1"], &[("n", "true")], r#"{"args":[1],"kwargs":{"n":true}}"#);
        check(&[], &[], "");
    }
}
