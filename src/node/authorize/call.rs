//! The procedure that decides, called as Crossbar's are: `(session details, uri, action, options)`.

use std::sync::Arc;

use super::{Done, Question, Said};
use crate::node::Node;
use crate::node::house::internal_wire;
use crate::node::realm::Realm;
use crate::node::rpc::{Answer, ReplyTo};
use crate::node::session::{Identity, Touched};
use crate::router::dealer::{Call, Notes};
use crate::types::event::Discloser;
use crate::types::ids::RequestId;
use crate::types::payload::{Codec, Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Each caller makes one call.
const REQUEST: RequestId = RequestId(1);

impl Node {
    /// Calls a procedure in the broker's own name. `done` is called once: with the answer, or the error that came in its place, at
    /// the latest when the time is over.
    pub fn call_in_own_name(
        self: &Arc<Self>,
        realm: &Arc<Realm>,
        procedure: &Topic,
        args: Vec<Value>,
        timeout_ms: u64,
        now_ms: u64,
        done: Box<dyn FnOnce(Answer) + Send>,
    ) {
        let caller = self.new_session(Identity::new("fennec", "fennec", "internal"), internal_wire(), false);
        let end = {
            let (node, realm, caller) = (self.clone(), realm.clone(), Arc::downgrade(&caller));
            move |answer: Answer| {
                done(answer);
                if let Some(caller) = caller.upgrade() {
                    realm.leave_calls(&node, &caller);
                }
            }
        };
        caller.replies.lock().insert(REQUEST, ReplyTo::Function(Box::new(end)));
        let discloser =
            Discloser { session: caller.id, authid: Some("fennec".to_owned()), authrole: Some("fennec".to_owned()) };
        let args = Value::List(args).to_bytes(Format::MsgPack);
        let call = Call {
            request: REQUEST,
            procedure,
            payload: PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None },
            codec: Codec::Auto,
            // 0 would be for ever.
            timeout_ms: timeout_ms.max(1),
            receive_progress: false,
            progress: false,
            disclose_me: false,
            caller: &discloser,
            notes: Notes::default(),
        };
        let mut touched = Touched::default();
        let called =
            realm.command(self, &mut touched, |dealer, out| dealer.call(caller.id, &caller, &call, now_ms, out));
        debug_assert!(called.is_ok(), "a new session has no call under way");
        touched.wake();
    }

    pub(super) fn ask_procedure(
        self: &Arc<Self>,
        realm: &Arc<Realm>,
        procedure: &Topic,
        question: &Question,
        now_ms: u64,
        done: Done,
    ) {
        let (uri, policy) = question.pattern.uri();
        let args = vec![
            details(question),
            uri.into(),
            question.action.name().into(),
            Value::map([("match", Value::from(policy.as_str()))]),
        ];
        let heard = move |answer: Answer| match answer.error {
            Some(_) => done(Said::NO),
            None => done(Said::read(&answer.payload.as_ref().document(answer.codec))),
        };
        self.call_in_own_name(realm, procedure, args, question.timeout_ms, now_ms, Box::new(heard));
    }
}

/// Who it is about, in the words of `wamp.session.get`.
pub fn details(question: &Question) -> Value {
    let Question { realm, session, identity, .. } = question;
    let Identity { authid, authrole, authmethod, authprovider, authextra, client_id, .. } = identity;
    let mut details = vec![
        ("session", Value::from(session.0)),
        ("realm", Value::from(&**realm)),
        ("authid", Value::from(authid.as_str())),
        ("authrole", Value::from(authrole.as_str())),
        ("authmethod", Value::from(*authmethod)),
        ("authprovider", Value::from(*authprovider)),
    ];
    details.extend(authextra.as_deref().map(|extra| ("authextra", extra.clone())));
    details.extend(client_id.as_deref().map(|client_id| ("client_id", Value::from(client_id))));
    Value::map(details)
}
