//! Calls between entries, as clients see them.

use std::collections::HashMap;

use super::*;
use crate::node::peers::calls::cut;
use crate::node::rpc::{Answer, ReplyTo};
use crate::router::dealer::{Call, CalleeFeatures, CancelMode, Notes as CallNotes, Register};
use crate::router::output::{Failure, InvocationPolicy};
use crate::types::ids::{InvocationId, RequestId};
use crate::types::payload::Codec;
use crate::types::topic::{MatchPolicy, TopicPattern};

/// An encoding that notes what it is to say of calls: to whom, by address, for the ids of sessions of two nodes may be the same.
struct Notes(WireId, Mutex<HashMap<usize, Vec<String>>>);

impl Wire for Notes {
    fn id(&self) -> WireId {
        self.0
    }

    fn event(&self, _: &Event<'_>, _: &Terms, _: bool, _: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        Ok(Encoded::default())
    }

    fn rpc(&self, to: &Arc<Session>, output: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        let line = match output {
            Output::Registered { .. } => "REGISTERED".to_owned(),
            Output::Invocation(invocation) => {
                let caller = invocation.caller.map(|caller| format!(" by {caller:?}")).unwrap_or_default();
                format!("INVOCATION {} {}{caller}", invocation.invocation, text(invocation.payload))
            }
            Output::Result { request, progress, payload, .. } => {
                format!("RESULT {request} {}{}", text(*payload), if *progress { " progress" } else { "" })
            }
            Output::Error { request, failure: Failure::Refused(why), .. } => format!("ERROR {request} {}", why.uri()),
            Output::Error { request, failure: Failure::Callee { uri, payload, .. }, .. } => {
                format!("ERROR {request} {uri} {}", text(*payload))
            }
            Output::Interrupt { invocation, reason, .. } => format!("INTERRUPT {invocation} {}", reason.uri()),
            _ => return Ok(()),
        };
        self.1.lock().entry(Arc::as_ptr(to).addr()).or_default().push(line);
        Ok(())
    }
}

fn text(payload: PayloadRef<'_>) -> String {
    let part = |part: Option<&[u8]>| part.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    match payload {
        PayloadRef::Bytes(bytes) => format!("bytes {}", String::from_utf8_lossy(bytes)),
        PayloadRef::Args { format, args, kwargs } => format!("{format} {}{}", part(args), part(kwargs)),
    }
}

fn notes() -> &'static Notes {
    Box::leak(Box::new(Notes(WireId(98), Mutex::default())))
}

const ARGS: PayloadRef<'_> = PayloadRef::Args { format: Format::Json, args: Some(b"[1]"), kwargs: Some(b"{}") };

/// A client of an entry that calls and answers.
struct Person {
    at: usize,
    session: Arc<Session>,
    notes: &'static Notes,
}

impl Person {
    fn join(world: &World, at: usize, notes: &'static Notes) -> Self {
        let client = world.client(at, "person");
        world.entries[at].realm.set_wire(&client.session, WireRef(notes), false);
        Self { at, session: client.session, notes }
    }

    fn take(&self) -> Vec<String> {
        self.notes.1.lock().remove(&Arc::as_ptr(&self.session).addr()).unwrap_or_default()
    }

    fn command<R>(
        &self,
        world: &World,
        run: impl FnOnce(
            &mut crate::router::dealer::Dealer<Arc<Session>>,
            &mut crate::router::output::Sink<'_, Arc<Session>>,
        ) -> R,
    ) -> R {
        let Entry { node, realm, .. } = &world.entries[self.at];
        realm.command(node, &mut Touched::default(), run)
    }

    fn register(&self, world: &mut World, uri: &str, policy: InvocationPolicy) {
        let pattern = TopicPattern::from_uri(uri, MatchPolicy::Exact).unwrap();
        let register = Register {
            request: RequestId(1),
            pattern: &pattern,
            policy,
            concurrency: None,
            disclose_caller: false,
            forward_timeout: false,
            force_reregister: false,
            authid: None,
            client_id: None,
            node_key: None,
            features: CalleeFeatures {
                call_canceling: true,
                progressive_call_results: true,
                ..CalleeFeatures::default()
            },
        };
        self.command(world, |dealer, out| dealer.register(self.session.id, &self.session, &register, NOW_MS, out));
        assert_eq!(self.take(), ["REGISTERED"]);
        world.settle();
    }

    fn call(
        &self,
        world: &mut World,
        request: u64,
        uri: &str,
        payload: PayloadRef<'_>,
        options: impl FnOnce(&mut Call<'_>),
    ) {
        self.begin_call(world, request, uri, payload, options);
        world.settle();
    }

    fn begin_call(
        &self,
        world: &World,
        request: u64,
        uri: &str,
        payload: PayloadRef<'_>,
        options: impl FnOnce(&mut Call<'_>),
    ) {
        let procedure = Topic::from_uri(uri).unwrap();
        let authid = Some("joe".to_owned());
        let caller = Discloser { session: self.session.id, authid, authrole: Some("user".to_owned()) };
        let mut call = Call {
            request: RequestId(request),
            procedure: &procedure,
            payload,
            codec: Codec::Auto,
            timeout_ms: 0,
            receive_progress: false,
            progress: false,
            disclose_me: false,
            caller: &caller,
            notes: CallNotes::default(),
        };
        options(&mut call);
        self.command(world, |dealer, out| dealer.call(self.session.id, &self.session, &call, NOW_MS, out)).unwrap();
    }

    fn answer(&self, world: &mut World, invocation: u64, progress: bool, payload: PayloadRef<'_>) {
        let invocation = InvocationId(invocation);
        let yielded = self.command(world, |dealer, out| {
            dealer.yield_result(self.session.id, invocation, progress, payload, NOW_MS, out)
        });
        yielded.unwrap();
        world.settle();
    }
}

/// A callee of `app.add` at entry 1, a caller at entry 0.
fn pair() -> (World, Person, Person) {
    let (mut world, notes) = (world(), notes());
    let (callee, caller) = (Person::join(&world, 1, notes), Person::join(&world, 0, notes));
    callee.register(&mut world, "app.add", InvocationPolicy::Single);
    (world, callee, caller)
}

#[test]
fn arguments_and_results_cross_as_they_were_said() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 7, "app.add", ARGS, |call| call.receive_progress = true);
    assert_eq!(callee.take(), ["INVOCATION 1 JSON [1]{}"]);
    callee.answer(&mut world, 1, true, PayloadRef::Args { format: Format::Cbor, args: Some(b"c"), kwargs: None });
    callee.answer(&mut world, 1, false, PayloadRef::Bytes(b"done"));
    assert_eq!(caller.take(), ["RESULT 7 CBOR c progress", "RESULT 7 bytes done"]);
    let counts: Vec<_> = world.entries.iter().map(|entry| entry.node.peers.call_counts()).collect();
    assert_eq!(counts, [(1, 0), (0, 1), (0, 0)]);
}

#[test]
fn the_callees_error_crosses_as_it_was_said() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 7, "app.add", ARGS, |_| {});
    let id = callee.session.id;
    callee.command(&world, |dealer, out| dealer.invocation_error(id, InvocationId(1), "app.error", ARGS, out)).unwrap();
    world.settle();
    assert_eq!(caller.take(), ["ERROR 7 app.error JSON [1]{}"]);
}

#[test]
fn who_calls_is_told_as_the_callers_entry_knows_it() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 7, "app.add", ARGS, |call| call.disclose_me = true);
    let [invocation] = &callee.take()[..] else { panic!("no call") };
    let who =
        Discloser { session: caller.session.id, authid: Some("joe".to_owned()), authrole: Some("user".to_owned()) };
    assert!(invocation.ends_with(&format!(" by {who:?}")), "{invocation}");
}

#[test]
fn a_call_from_http_or_mqtt_is_answered_where_it_wants_it() {
    let (mut world, callee, caller) = pair();
    let (told, answers) = std::sync::mpsc::channel::<Answer>();
    let reply = ReplyTo::Function(Box::new(move |answer| drop(told.send(answer))));
    caller.session.replies.lock().insert(RequestId(1), reply);
    let there = world.subscriber(0, "replies", None);
    let topic = Arc::new(Topic::from_name("replies").unwrap());
    let reply = ReplyTo::Topic { topic, correlation: None, qos: Qos::AtMostOnce };
    caller.session.replies.lock().insert(RequestId(2), reply);
    for (request, invocation) in [(1, 1), (2, 2)] {
        caller.call(&mut world, request, "app.add", PayloadRef::Bytes(b"x"), |_| {});
        callee.answer(&mut world, invocation, false, PayloadRef::Bytes(b"y"));
    }
    let answer = answers.try_recv().unwrap();
    assert_eq!((text(answer.payload.as_ref()), answer.error), ("bytes y".to_owned(), None));
    assert_eq!(there.take(), ["replies=y"]);
}

#[test]
fn a_cancel_and_a_timeout_reach_the_callee() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 7, "app.add", ARGS, |_| {});
    caller.command(&world, |dealer, out| dealer.cancel(caller.session.id, RequestId(7), CancelMode::Kill, out));
    world.settle();
    assert_eq!(callee.take()[1..], ["INTERRUPT 1 wamp.error.canceled"]);
    caller.call(&mut world, 8, "app.add", ARGS, |call| call.timeout_ms = 50);
    callee.command(&world, |dealer, out| dealer.tick(NOW_MS + 50, out));
    world.settle();
    assert_eq!(callee.take()[1..], ["INTERRUPT 2 wamp.error.timeout"]);
    assert_eq!(caller.take(), ["ERROR 8 wamp.error.timeout"]);
}

#[test]
fn a_lost_link_fails_the_call_and_later_ones_find_who_is_left() {
    let (mut world, notes) = (world(), notes());
    let callees: Vec<_> = (1..3).map(|at| Person::join(&world, at, notes)).collect();
    callees.iter().for_each(|callee| callee.register(&mut world, "app.add", InvocationPolicy::First));
    let caller = Person::join(&world, 0, notes);
    caller.call(&mut world, 1, "app.add", ARGS, |_| {});
    world.disconnect(0, 1);
    assert_eq!(caller.take(), ["ERROR 1 wamp.error.canceled"]);
    assert_eq!(callees[0].take(), ["INVOCATION 1 JSON [1]{}", "INTERRUPT 1 wamp.error.canceled"]);
    caller.call(&mut world, 2, "app.add", ARGS, |_| {});
    callees[1].answer(&mut world, 1, false, ARGS);
    assert_eq!(caller.take(), ["RESULT 2 JSON [1]{}"]);
    world.connect(0, 1);
    world.settle();
    caller.call(&mut world, 3, "app.add", ARGS, |_| {});
    callees[0].answer(&mut world, 2, false, ARGS);
    assert_eq!(caller.take(), ["RESULT 3 JSON [1]{}"]);
}

#[test]
fn a_new_life_of_an_entry_ends_the_calls_of_the_old_one_though_the_link_stands() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 1, "app.add", ARGS, |_| {});
    // The caller's entry begins anew: nobody waits for the callee any more.
    world.entries[0] = entry(0, |_| true);
    world.settle();
    assert_eq!(callee.take(), ["INVOCATION 1 JSON [1]{}", "INTERRUPT 1 wamp.error.canceled"]);
    let later = Person::join(&world, 0, caller.notes);
    later.call(&mut world, 1, "app.add", ARGS, |_| {});
    // The callee's does: the caller is told.
    world.entries[1] = entry(1, |_| true);
    world.settle();
    assert_eq!(later.take(), ["ERROR 1 wamp.error.canceled"]);
    later.call(&mut world, 2, "app.add", ARGS, |_| {});
    assert_eq!(later.take(), ["ERROR 2 wamp.error.no_such_procedure"]);
}

#[test]
fn an_answer_from_before_the_link_broke_answers_no_later_call() {
    let (mut world, callee, caller) = pair();
    caller.call(&mut world, 1, "app.add", ARGS, |_| {});
    let id = callee.session.id;
    callee.command(&world, |dealer, out| dealer.yield_result(id, InvocationId(1), false, ARGS, NOW_MS, out)).unwrap();
    let (_, old) = world.entries[1].frames.lock().pop_front().unwrap();
    world.disconnect(0, 1);
    world.connect(0, 1);
    world.settle();
    caller.take();
    caller.call(&mut world, 2, "app.add", ARGS, |_| {});
    let from = world.entries[1].id.clone();
    world.entries[0].exchange.receive_call(&from, &old, NOW_MS);
    assert!(caller.take().is_empty());
    callee.answer(&mut world, 2, false, ARGS);
    assert_eq!(caller.take(), ["RESULT 2 JSON [1]{}"]);
}

#[test]
fn a_link_without_room_fails_the_call_with_an_error() {
    let (mut world, callee, caller) = pair();
    for (unsaid, uri) in
        [(Unsaid::Full, "wamp.error.unavailable"), (Unsaid::TooLong, "wamp.error.payload_size_exceeded")]
    {
        *world.entries[0].unsaid.lock() = Some(unsaid);
        caller.call(&mut world, 1, "app.add", ARGS, |_| {});
        assert_eq!(caller.take(), [format!("ERROR 1 {uri}")]);
        assert!(callee.take().is_empty());
    }
    *world.entries[0].unsaid.lock() = None;
    caller.call(&mut world, 2, "app.add", ARGS, |_| {});
    *world.entries[1].unsaid.lock() = Some(Unsaid::Full);
    callee.answer(&mut world, 1, false, ARGS);
    assert_eq!(caller.take(), ["ERROR 2 wamp.error.unavailable"]);
}

#[test]
fn an_entry_in_which_too_much_waits_fails_the_call_with_an_error() {
    let (mut world, callee, caller) = pair();
    let ids: Vec<NodeId> = world.entries.iter().map(|entry| entry.id.clone()).collect();
    caller.begin_call(&world, 1, "app.add", ARGS, |_| {});
    let (_, frame) = world.entries[0].frames.lock().pop_front().unwrap();
    world.entries[1].exchange.receive_call(&ids[0], &cut(&frame), NOW_MS);
    world.settle();
    assert_eq!((caller.take(), callee.take()), (vec!["ERROR 1 wamp.error.unavailable".to_owned()], vec![]));
    for (request, progress) in [(2, false), (3, true)] {
        caller.call(&mut world, request, "app.add", ARGS, |call| call.receive_progress = true);
        let (id, invocation) = (callee.session.id, InvocationId(request - 1));
        callee.command(&world, |dealer, out| dealer.yield_result(id, invocation, progress, ARGS, NOW_MS, out)).unwrap();
        let (_, frame) = world.entries[1].frames.lock().pop_front().unwrap();
        world.entries[0].exchange.receive_call(&ids[1], &cut(&frame), NOW_MS);
        world.settle();
        assert_eq!(caller.take(), [format!("ERROR {request} wamp.error.unavailable")]);
    }
    assert_eq!(callee.take().last().unwrap(), "INTERRUPT 2 wamp.error.unavailable");
}

#[test]
fn realms_are_apart_for_calls_too() {
    let (mut world, callee, _) = pair();
    let Entry { node, .. } = &world.entries[0];
    let realm = node.realm("realm2").unwrap();
    let other = Person::join(&world, 0, callee.notes);
    let (procedure, who) = (Topic::from_uri("app.add").unwrap(), other.session.id);
    let call = Call {
        request: RequestId(1),
        procedure: &procedure,
        payload: ARGS,
        codec: Codec::Auto,
        timeout_ms: 0,
        receive_progress: false,
        progress: false,
        disclose_me: false,
        caller: &Discloser { session: who, authid: None, authrole: None },
        notes: CallNotes::default(),
    };
    let called = realm
        .command(node, &mut Touched::default(), |dealer, out| dealer.call(who, &other.session, &call, NOW_MS, out));
    called.unwrap();
    world.settle();
    assert_eq!(other.take(), ["ERROR 1 wamp.error.no_such_procedure"]);
    assert!(callee.take().is_empty());
}

#[test]
fn calls_go_on_without_the_log() {
    let (mut world, callee, caller) = pair();
    for entry in &world.entries {
        entry.node.log.set_trouble(Some("too few storages of the cluster are linked".to_owned()));
    }
    caller.call(&mut world, 1, "app.add", ARGS, |_| {});
    callee.answer(&mut world, 1, false, ARGS);
    assert_eq!(caller.take(), ["RESULT 1 JSON [1]{}"]);
}

#[test]
fn bytes_that_say_nothing_of_calls_change_nothing() {
    let (mut world, callee, caller) = pair();
    let ids: Vec<NodeId> = world.entries.iter().map(|entry| entry.id.clone()).collect();
    for body in [&b""[..], b"\xff", &[0; 40], &[0xdd, 0xff, 0xff, 0xff, 0xff]] {
        world.entries[0].exchange.receive_call(&ids[1], body, NOW_MS);
        world.entries[0].exchange.hear_callees(&ids[1], body, NOW_MS);
    }
    caller.call(&mut world, 1, "app.add", ARGS, |_| {});
    callee.answer(&mut world, 1, false, ARGS);
    assert_eq!(caller.take(), ["RESULT 1 JSON [1]{}"]);
}

#[test]
fn a_word_that_was_missed_is_asked_for() {
    let (mut world, callee, caller) = pair();
    world.cut.insert((0, 1));
    let more = Person::join(&world, 1, callee.notes);
    more.register(&mut world, "app.sub", InvocationPolicy::Single);
    world.cut.remove(&(0, 1));
    more.register(&mut world, "app.mul", InvocationPolicy::Single);
    caller.call(&mut world, 1, "app.sub", ARGS, |_| {});
    assert_eq!(more.take(), ["INVOCATION 1 JSON [1]{}"]);
}
