//! Testaments: what is published for a session when it is over (WAMP, Session Testament).
//!
//! `wamp.session.add_testament` and `wamp.session.flush_testaments` are answered here, not by a callee, for they are about this session
//! alone. Testaments are published with the session's own permissions, first those of the scope `detached`, then those of `destroyed`, each
//! in the order in which they were added, however the session ends: sessions are not resumed, so the two coincide.
//!
//! They are kept in memory: a broker that is killed takes them with it. What is to survive that is a `will` of a key.

use std::sync::Arc;

use super::call::CallRefused;
use super::open::Open;
use super::options::{Entry, WrongOption};
use super::publish::Options;
use super::{INVALID_ARGUMENT, INVALID_URI, NO_MEMORY, NOT_AUTHORIZED, QUOTA_EXCEEDED};
use crate::router::authorize::Action;
use crate::types::ids::RequestId;
use crate::types::payload::{Payload, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Raw;
use crate::wamp::message::{Dict, Message};

/// The procedures that are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    Add,
    Flush,
}

impl Procedure {
    pub fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            "wamp.session.add_testament" => Some(Self::Add),
            "wamp.session.flush_testaments" => Some(Self::Flush),
            _ => None,
        }
    }
}

/// When a testament is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    Detached,
    #[default]
    Destroyed,
}

struct Testament {
    topic: Arc<Topic>,
    payload: Payload,
    options: Options,
}

/// The testaments of a session.
#[derive(Default)]
pub(super) struct Testaments {
    detached: Vec<Testament>,
    destroyed: Vec<Testament>,
    bytes: usize,
}

impl Testaments {
    fn of(&mut self, scope: Scope) -> &mut Vec<Testament> {
        match scope {
            Scope::Detached => &mut self.detached,
            Scope::Destroyed => &mut self.destroyed,
        }
    }

    fn len(&self) -> usize {
        self.detached.len() + self.destroyed.len()
    }

    fn flush(&mut self, scope: Scope) {
        let gone: usize = self.of(scope).drain(..).map(|testament| testament.bytes()).sum();
        self.bytes -= gone;
    }
}

impl Testament {
    fn bytes(&self) -> usize {
        self.topic.name().len() + self.payload.len()
    }
}

/// The arguments of a call, still encoded.
struct Arguments<'a> {
    positional: Vec<Raw<'a>>,
    named: Option<Raw<'a>>,
}

impl<'a> Arguments<'a> {
    fn read(payload: PayloadRef<'a>) -> Self {
        let PayloadRef::Args { format, args, kwargs } = payload else {
            return Self { positional: Vec::new(), named: None };
        };
        let args = args.map(|args| Raw::checked(format, args)).filter(|args| args.is_list());
        let positional = args.into_iter().flat_map(Raw::items).collect();
        Self { positional, named: kwargs.map(|kwargs| Raw::checked(format, kwargs)) }
    }

    /// The argument at this place, or of this name. Null is none.
    fn get(&self, at: usize, name: &str) -> Option<Raw<'a>> {
        let positional = self.positional.get(at).copied();
        positional.or_else(|| self.named(name)).filter(|value| !value.is_null())
    }

    fn named(&self, name: &str) -> Option<Raw<'a>> {
        self.named?.get(name).filter(|value| !value.is_null())
    }

    fn scope(&self, at: usize) -> Result<Scope, WrongOption> {
        let Some(value) = self.get(at, "scope") else { return Ok(Scope::default()) };
        match value.as_text().as_deref() {
            Some("detached") => Ok(Scope::Detached),
            Some("destroyed") => Ok(Scope::Destroyed),
            _ => Entry { name: "scope", value }.wrong("one of detached, destroyed"),
        }
    }
}

fn wrong(error: WrongOption) -> CallRefused {
    (INVALID_ARGUMENT, error.to_string())
}

impl Open {
    /// Answers a call of one of the procedures.
    pub(super) fn call_testament(
        &mut self,
        request: RequestId,
        procedure: Procedure,
        payload: PayloadRef<'_>,
    ) -> Result<(), CallRefused> {
        let arguments = Arguments::read(payload);
        match procedure {
            Procedure::Add => self.add_testament(&arguments)?,
            Procedure::Flush => self.testaments.flush(arguments.scope(0).map_err(wrong)?),
        }
        let result = Message::Result { request, details: Dict::Empty, payload: PayloadRef::NONE };
        // Cannot be too large for any frame.
        let _ = self.wire.append(&result, &mut self.acknowledgements);
        Ok(())
    }

    fn add_testament(&mut self, arguments: &Arguments<'_>) -> Result<(), CallRefused> {
        let testament = self.read_testament(arguments)?;
        let scope = arguments.scope(4).map_err(wrong)?;
        if self.node.is_tight() {
            return Err((QUOTA_EXCEEDED, NO_MEMORY.to_owned()));
        }
        let limits = &self.node.limits;
        let bytes = self.testaments.bytes + testament.bytes();
        if self.testaments.len() >= limits.testaments_per_session_max || bytes > limits.testament_bytes_max {
            return Err((QUOTA_EXCEEDED, "the session has as many testaments as it may".to_owned()));
        }
        self.testaments.bytes = bytes;
        self.testaments.of(scope).push(testament);
        Ok(())
    }

    fn read_testament(&self, arguments: &Arguments<'_>) -> Result<Testament, CallRefused> {
        let missing = || (INVALID_ARGUMENT, "the topic must be a URI".to_owned());
        let uri = arguments.get(0, "topic").and_then(|topic| topic.as_text()).ok_or_else(missing)?;
        let topic = Topic::from_uri(&uri).map_err(|error| (INVALID_URI, format!("the topic {error}")))?;
        if !self.rights.allows(Action::Publish, &topic) {
            return Err((NOT_AUTHORIZED, "not authorized to publish to this topic".to_owned()));
        }
        let (args, kwargs) = (arguments.get(1, "args"), arguments.get(2, "kwargs"));
        if args.is_some_and(|args| !args.is_list()) || kwargs.is_some_and(|kwargs| !kwargs.is_map()) {
            return Err((INVALID_ARGUMENT, "args must be a list, and kwargs a dict".to_owned()));
        }
        let payload = match args.or(kwargs) {
            None => PayloadRef::NONE,
            Some(any) => {
                PayloadRef::Args { format: any.format(), args: args.map(Raw::bytes), kwargs: kwargs.map(Raw::bytes) }
            }
        };
        let options = arguments.get(3, "publish_options");
        if options.is_some_and(|options| !options.is_map()) {
            return Err((INVALID_ARGUMENT, "publish_options must be a dict".to_owned()));
        }
        let (options, outcome) = Options::read(&options.map(Dict::from_raw).unwrap_or_default());
        outcome.map_err(wrong)?;
        if options.needs_a_session() {
            return Err((INVALID_ARGUMENT, "watch and will need a session that goes on".to_owned()));
        }
        if options.passthru().is_some_and(|passthru| passthru.is_announced()) && !self.passthru.publisher {
            return Err((INVALID_ARGUMENT, "HELLO has not announced payload_passthru_mode".to_owned()));
        }
        Ok(Testament { topic: Arc::new(topic), payload: payload.to_owned(), options })
    }

    /// Publishes all testaments: the session is over.
    pub(super) fn publish_testaments(&mut self) {
        let Testaments { detached, destroyed, .. } = std::mem::take(&mut self.testaments);
        for Testament { topic, payload, options } in detached.into_iter().chain(destroyed) {
            let found = self.publisher.look_up(topic.uri().as_bytes(), |_| Ok::<_, ()>((*topic).clone()));
            let Ok(target) = found else { continue };
            let publication = options.publication(payload.as_ref(), &self.discloser, None);
            // Nobody is left to be told what becomes of it.
            if let Err(refused) = self.publisher.publish(target, &publication) {
                tracing::debug!(topic = topic.uri(), %refused, "a testament is not published");
            }
        }
    }
}
