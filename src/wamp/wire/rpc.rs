//! What the dealer puts out, as messages in the mailbox of the session it is for.

use std::sync::Arc;

use crate::node::session::{Session, Touched};
use crate::node::wire::Unencodable;
use crate::router::output::{Command, Failure, InterruptMode, Invocation, Output, Refusal};
use crate::types::ids::RequestId;
use crate::types::passthru::Passthru;
use crate::types::payload::{Codec, Format, PayloadRef};
use crate::types::value::read::{Container, Sink};
use crate::types::value::write::{Writer, with_writer};
use crate::wamp::message::{Dict, DictWriter, Kind, Message};
use crate::wamp::serializer::Wire;

/// Gives `output` to `to`, which is the session it is for.
pub(super) fn give(
    wire: Wire,
    to: &Arc<Session>,
    output: &Output<'_, Arc<Session>>,
    touched: &mut Touched,
) -> Result<(), Unencodable> {
    let passed_on = payload_of(output);
    let (payload, codec) = passed_on.unwrap_or((PayloadRef::NONE, Codec::Auto));
    let args = payload.as_args(codec, wire.format).map_err(|_| Unencodable::Payload)?;
    let text = refusal_text(output, wire.format);
    let payload = if text.is_empty() {
        args.as_payload(wire.format)
    } else {
        PayloadRef::Args { format: wire.format, args: Some(&text), kwargs: None }
    };
    let Some(message) = message(output, wire.format, payload) else { return Ok(()) };

    let mut mailbox = to.mailbox();
    let frame_bytes_max = mailbox.online().ok_or(Unencodable::Gone)?.frame_bytes_max;
    // What the router itself says is small, and bounded by what the session asked for.
    if passed_on.is_some() && !mailbox.outbox.has_room(payload.len()) {
        return Err(Unencodable::Full);
    }
    let mut given = Ok(());
    let append = |out: &mut Vec<u8>| {
        let start = out.len();
        if wire.append(&message, out).is_err() || out.len() - start > frame_bytes_max {
            out.truncate(start);
            given = Err(Unencodable::TooLarge);
        }
    };
    // A callee that has much to do is read on, for what it sends are the answers.
    match output {
        Output::Invocation(_) | Output::Interrupt { .. } => mailbox.outbox.append_with(append),
        _ => mailbox.outbox.reply_with(append),
    }
    given?;
    touched.note(&mut mailbox);
    Ok(())
}

/// What a peer sent, to be passed on.
fn payload_of<'a>(output: &Output<'a, Arc<Session>>) -> Option<(PayloadRef<'a>, Codec)> {
    match output {
        Output::Invocation(Invocation { payload, codec, .. })
        | Output::Result { payload, codec, .. }
        | Output::Error { failure: Failure::Callee { payload, codec, .. }, .. } => Some((*payload, *codec)),
        _ => None,
    }
}

/// The args of the router's own errors: what it has to say; empty if there is nothing.
fn refusal_text(output: &Output<'_, Arc<Session>>, format: Format) -> Vec<u8> {
    match output {
        Output::Error { failure: Failure::Refused(refusal), .. } => text_args(&refusal.to_string(), format),
        _ => Vec::new(),
    }
}

/// Encoded args with this text alone.
pub(in crate::wamp) fn text_args(text: &str, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    with_writer!(format, &mut out, writer => {
        writer.open(Container::List, Some(1));
        writer.text(text);
        writer.close(Container::List, 1);
    });
    out
}

fn message<'a>(output: &Output<'a, Arc<Session>>, format: Format, payload: PayloadRef<'a>) -> Option<Message<'a>> {
    Some(match output {
        Output::Registered { request, registration, .. } => {
            Message::Registered { request: *request, registration: *registration }
        }
        Output::Unregistered { request, .. } => Message::Unregistered { request: *request, details: Dict::Empty },
        Output::Revoked { registration, .. } => {
            let mut details = DictWriter::new(format);
            details.uint("registration", registration.0);
            details.text("reason", "wamp.registration.revoked");
            Message::Unregistered { request: RequestId(0), details: details.finish() }
        }
        Output::Invocation(invocation) => Message::Invocation {
            request: RequestId(invocation.invocation.0),
            registration: invocation.registration,
            details: invocation_details(invocation, format),
            payload,
        },
        Output::Result { request, progress, passthru, .. } => {
            Message::Result { request: *request, details: result_details(*progress, *passthru, format), payload }
        }
        Output::Error { command, request, failure, .. } => Message::Error {
            request_kind: kind(*command),
            request: *request,
            details: match failure {
                Failure::Callee { passthru, .. } => result_details(false, *passthru, format),
                Failure::Refused(_) => Dict::Empty,
            },
            error: match failure {
                Failure::Refused(refusal) => refusal.uri().into(),
                Failure::Callee { uri, .. } => (*uri).into(),
            },
            payload,
        },
        Output::Interrupt { invocation, mode, reason, .. } => {
            Message::Interrupt { request: RequestId(invocation.0), options: interrupt_options(*mode, *reason, format) }
        }
        // Not for clients.
        Output::Returned { .. } | Output::TakeOver { .. } | Output::Registration(_) => return None,
    })
}

fn kind(command: Command) -> Kind {
    match command {
        Command::Register => Kind::Register,
        Command::Unregister => Kind::Unregister,
        Command::Call => Kind::Call,
        Command::Yield => Kind::Yield,
    }
}

/// Of RESULT, and of a callee's ERROR.
fn result_details(progress: bool, passthru: Option<&Passthru>, format: Format) -> Dict<'static> {
    if !progress && passthru.is_none() {
        return Dict::Empty;
    }
    let mut details = DictWriter::new(format);
    if progress {
        details.bool("progress", true);
    }
    write_passthru(&mut details, passthru);
    details.finish()
}

fn write_passthru(details: &mut DictWriter, passthru: Option<&Passthru>) {
    for (name, value) in passthru.into_iter().flat_map(Passthru::iter) {
        details.text(name, value);
    }
}

fn invocation_details(invocation: &Invocation<'_, Arc<Session>>, format: Format) -> Dict<'static> {
    let mut details = DictWriter::new(format);
    if let Some(procedure) = invocation.procedure {
        details.text("procedure", procedure.uri());
    }
    if let Some(caller) = invocation.caller {
        details.uint("caller", caller.session.0);
        if let Some(authid) = &caller.authid {
            details.text("caller_authid", authid);
        }
        if let Some(authrole) = &caller.authrole {
            details.text("caller_authrole", authrole);
        }
    }
    if invocation.receive_progress {
        details.bool("receive_progress", true);
    }
    if invocation.progress {
        details.bool("progress", true);
    }
    if let Some(timeout_ms) = invocation.timeout_ms {
        details.uint("timeout", timeout_ms);
    }
    if let Some(trust) = invocation.trust {
        details.uint("trustlevel", u64::from(trust));
    }
    write_passthru(&mut details, invocation.passthru);
    details.finish()
}

fn interrupt_options(mode: InterruptMode, reason: Refusal, format: Format) -> Dict<'static> {
    let mut options = DictWriter::new(format);
    let mode = match mode {
        InterruptMode::Kill => "kill",
        InterruptMode::KillNoWait => "killnowait",
    };
    options.text("mode", mode);
    options.text("reason", reason.uri());
    options.finish()
}
