//! What entries ask each other, and answer: MessagePack.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Told;
use crate::node::Node;
use crate::node::house::answer::{Answer, Failure};
use crate::node::house::arguments::Arguments;
use crate::node::house::callee::{Call, Procedure};
use crate::node::house::meta::Answerer;
use crate::types::event::Discloser;
use crate::types::ids::{InvocationId, SessionId};
use crate::types::payload::{Codec, Format, Payload};
use crate::types::value::Value;

/// A call, as another entry is to answer it for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    realm: String,
    pub procedure: String,
    session: u64,
    authid: Option<String>,
    authrole: Option<String>,
    asker: Asker,
    /// A list and a map, MessagePack.
    args: Bytes,
    kwargs: Bytes,
}

/// Where who has called is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    pub from: String,
    pub transport: String,
}

#[derive(Serialize, Deserialize)]
enum ToldRow {
    /// A list, MessagePack.
    Answer(Bytes),
    /// URI, and a text for people.
    Failure(String, String),
}

/// What an entry refuses with.
const FAILURES: [&str; 7] = [
    "wamp.error.no_such_session",
    "wamp.error.no_such_registration",
    "wamp.error.no_such_subscription",
    "wamp.error.no_such_realm",
    "wamp.error.invalid_argument",
    "wamp.error.invalid_uri",
    "fennec.error.quota_exceeded",
];

impl Question {
    /// # Errors
    /// The arguments cannot be read.
    pub fn of(node: &Arc<Node>, call: &Call) -> Result<Self, Failure> {
        let (positional, named) = Arguments::read(call)?.into_parts();
        let session = node.realm(&call.key.0).and_then(|realm| realm.session(call.caller.session));
        let origin = session.map(|session| session.origin()).unwrap_or_default();
        let from = origin.peer.map(|peer| peer.to_string()).unwrap_or_default();
        Ok(Self {
            realm: call.key.0.to_string(),
            procedure: call.uri.to_owned(),
            session: call.caller.session.0,
            authid: call.caller.authid.clone(),
            authrole: call.caller.authrole.clone(),
            asker: Asker { from, transport: origin.transport.to_owned() },
            args: Value::List(positional).to_bytes(Format::MsgPack).into(),
            kwargs: Value::Map(named).to_bytes(Format::MsgPack).into(),
        })
    }

    pub fn encode(&self) -> Bytes {
        // Writing plain values to memory cannot fail.
        rmp_serde::to_vec(self).unwrap_or_default().into()
    }

    /// `None`: it is none.
    pub fn decode(bytes: &[u8]) -> Option<(Self, Asker)> {
        let question: Self = crate::types::packed::from_slice(bytes).ok()?;
        let value = |bytes: &[u8]| Value::decode(Format::MsgPack, bytes).ok();
        let are_arguments =
            matches!(value(&question.args)?, Value::List(_)) && matches!(value(&question.kwargs)?, Value::Map(_));
        let asker = question.asker.clone();
        are_arguments.then_some((question, asker))
    }

    /// The call, as if it had been made here. It has no invocation, and is not answered as calls are.
    pub fn into_call(self, uri: &'static str, answerer: Answerer) -> Call {
        let Self { realm, session, authid, authrole, args, kwargs, .. } = self;
        Call {
            key: (realm.into(), InvocationId(0)),
            uri,
            procedure: Procedure::Meta(answerer),
            caller: Discloser { session: SessionId(session), authid, authrole },
            receive_progress: false,
            payload: Payload::Args { format: Format::MsgPack, args: Some(args), kwargs: Some(kwargs) },
            codec: Codec::default(),
            of_entry: true,
        }
    }
}

pub fn write_told(told: &Told) -> Bytes {
    let row = match told {
        // Only what has no names is answered to entries.
        Ok(Answer { args, .. }) => ToldRow::Answer(Value::List(args.clone()).to_bytes(Format::MsgPack).into()),
        Err(Failure { uri, text }) => ToldRow::Failure((*uri).to_owned(), text.clone()),
    };
    rmp_serde::to_vec(&row).unwrap_or_default().into()
}

/// `None`: it is no answer.
pub fn read_told(bytes: &[u8]) -> Option<Told> {
    match crate::types::packed::from_slice(bytes).ok()? {
        ToldRow::Answer(list) => match Value::decode(Format::MsgPack, &list).ok()? {
            Value::List(args) => Some(Ok(Answer { args, kwargs: Vec::new() })),
            _ => None,
        },
        ToldRow::Failure(uri, text) => {
            let uri = FAILURES.into_iter().find(|known| *known == uri)?;
            Some(Err(Failure::new(uri, text)))
        }
    }
}
