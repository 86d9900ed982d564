//! Messages to bytes.

use super::{Dict, Kind, Message};
use crate::types::payload::{Args, Codec, Format, PayloadRef};
use crate::types::value::Raw;
use crate::types::value::read::Container;
use crate::types::value::write::{Writer, with_writer};

/// Appends `message` in `format`.
///
/// Arguments, options and details that are in that format already are copied, others transcoded; no [`Value`] is built.
/// Null args or kwargs are never written: kwargs without args get `[]` before them, and an empty list or dict at the end is
/// left out (WAMP, Empty Arguments and Keyword Arguments).
///
/// [`Value`]: crate::types::value::Value
pub fn encode(message: &Message<'_>, format: Format, out: &mut Vec<u8>) {
    with_writer!(format, out, writer => Encoder { writer: &mut writer, format }.message(message));
}

struct Encoder<'w, W> {
    writer: &'w mut W,
    format: Format,
}

impl<W: Writer> Encoder<'_, W> {
    fn message(&mut self, message: &Message<'_>) {
        match message {
            Message::Published { request, publication } => self.ids(Kind::Published, &[request.0, publication.0]),
            Message::Subscribed { request, subscription } => self.ids(Kind::Subscribed, &[request.0, subscription.0]),
            Message::Unsubscribe { request, subscription } => self.ids(Kind::Unsubscribe, &[request.0, subscription.0]),
            Message::Registered { request, registration } => self.ids(Kind::Registered, &[request.0, registration.0]),
            Message::Unregister { request, registration } => self.ids(Kind::Unregister, &[request.0, registration.0]),
            Message::Event { subscription, publication, details, payload } => {
                self.with_payload(Kind::Event, &[subscription.0, publication.0], details, None, *payload);
            }
            Message::Result { request, details, payload } => {
                self.with_payload(Kind::Result, &[request.0], details, None, *payload);
            }
            Message::Invocation { request, registration, details, payload } => {
                self.with_payload(Kind::Invocation, &[request.0, registration.0], details, None, *payload);
            }
            Message::Yield { request, options, payload } => {
                self.with_payload(Kind::Yield, &[request.0], options, None, *payload);
            }
            Message::Error { request_kind, request, details, error, payload } => {
                self.with_payload(Kind::Error, &[request_kind.code(), request.0], details, Some(error), *payload);
            }
            Message::Publish { request, options, topic, payload } => {
                self.with_payload(Kind::Publish, &[request.0], options, Some(topic), *payload);
            }
            Message::Call { request, options, procedure, payload } => {
                self.with_payload(Kind::Call, &[request.0], options, Some(procedure), *payload);
            }
            Message::Abort { details, reason, payload } => {
                self.with_payload(Kind::Abort, &[], details, Some(reason), *payload);
            }
            Message::Goodbye { details, reason } => {
                self.with_payload(Kind::Goodbye, &[], details, Some(reason), PayloadRef::NONE);
            }
            Message::Subscribe { request, options, topic } => {
                self.with_payload(Kind::Subscribe, &[request.0], options, Some(topic), PayloadRef::NONE);
            }
            Message::Register { request, options, procedure } => {
                self.with_payload(Kind::Register, &[request.0], options, Some(procedure), PayloadRef::NONE);
            }
            Message::Cancel { request, options } => {
                self.with_payload(Kind::Cancel, &[request.0], options, None, PayloadRef::NONE);
            }
            Message::Interrupt { request, options } => {
                self.with_payload(Kind::Interrupt, &[request.0], options, None, PayloadRef::NONE);
            }
            Message::Welcome { session, details } => {
                self.with_payload(Kind::Welcome, &[session.0], details, None, PayloadRef::NONE);
            }
            Message::Unsubscribed { request, details } => self.revocable(Kind::Unsubscribed, request.0, details),
            Message::Unregistered { request, details } => self.revocable(Kind::Unregistered, request.0, details),
            Message::Hello { realm, details } => self.text_and_dict(Kind::Hello, realm, details),
            Message::Challenge { method, extra } => self.text_and_dict(Kind::Challenge, method, extra),
            Message::Authenticate { signature, extra } => self.text_and_dict(Kind::Authenticate, signature, extra),
        }
    }

    #[inline]
    fn begin(&mut self, kind: Kind, len: usize) {
        self.writer.open(Container::List, Some(len));
        self.writer.uint(kind.code());
    }

    #[inline]
    fn end(&mut self, len: usize) {
        self.writer.close(Container::List, len);
    }

    fn ids(&mut self, kind: Kind, ids: &[u64]) {
        let len = 1 + ids.len();
        self.begin(kind, len);
        for id in ids {
            self.writer.uint(*id);
        }
        self.end(len);
    }

    fn text_and_dict(&mut self, kind: Kind, text: &str, dict: &Dict<'_>) {
        self.begin(kind, 3);
        self.writer.text(text);
        dict.write(self.writer, self.format);
        self.end(3);
    }

    /// UNSUBSCRIBED and UNREGISTERED have details only when the router revokes.
    fn revocable(&mut self, kind: Kind, request: u64, details: &Dict<'_>) {
        if details.is_empty() && request != 0 {
            return self.ids(kind, &[request]);
        }
        self.begin(kind, 3);
        self.writer.uint(request);
        details.write(self.writer, self.format);
        self.end(3);
    }

    /// `[kind, ids…, dict, uri, args, kwargs]`, of which the last three may be missing.
    fn with_payload(&mut self, kind: Kind, ids: &[u64], dict: &Dict<'_>, uri: Option<&str>, payload: PayloadRef<'_>) {
        // The codec `Auto` takes any bytes, and arguments always are.
        let args = payload.as_args(Codec::Auto, self.format).unwrap_or(Args::NONE);
        let tail = Tail::new(&args, self.format);
        let len = 1 + ids.len() + 1 + usize::from(uri.is_some()) + tail.elements();
        self.begin(kind, len);
        for id in ids {
            self.writer.uint(*id);
        }
        dict.write(self.writer, self.format);
        if let Some(uri) = uri {
            self.writer.text(uri);
        }
        tail.write(self.writer);
        self.end(len);
    }
}

/// Args and kwargs at the end of a message: what is empty is left out, but kwargs have args before them.
#[derive(Clone, Copy)]
pub struct Tail<'a> {
    args: Option<&'a [u8]>,
    kwargs: Option<&'a [u8]>,
}

impl<'a> Tail<'a> {
    /// `args` are encoded in `format`.
    #[inline]
    pub fn new(args: &'a Args<'_>, format: Format) -> Self {
        let not_empty = |part: &&[u8]| !Raw::checked(format, part).is_empty_container();
        Self { args: args.args.as_deref().filter(not_empty), kwargs: args.kwargs.as_deref().filter(not_empty) }
    }

    /// How many elements of the message it is.
    pub fn elements(&self) -> usize {
        if self.kwargs.is_some() { 2 } else { usize::from(self.args.is_some()) }
    }

    #[inline]
    pub fn write(&self, writer: &mut impl Writer) {
        match (self.args, self.kwargs) {
            (Some(args), _) => writer.raw(args),
            (None, Some(_)) => {
                writer.open(Container::List, Some(0));
                writer.close(Container::List, 0);
            }
            (None, None) => {}
        }
        if let Some(kwargs) = self.kwargs {
            writer.raw(kwargs);
        }
    }
}
