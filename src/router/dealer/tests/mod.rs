//! Each test tells the dealer what sessions do and compares what the dealer says then, a line for each output. Sessions
//! are numbers; by convention 1 to 4 are callees, 5 and up are callers.

mod calling;
mod ending;
mod limits;
mod parts;
mod peers;
mod random;
mod registering;
mod rerouting;

use std::num::NonZeroU32;

use super::*;
use crate::router::output::{Failure, InterruptMode, InvocationPolicy, Output, Refusal, RegistrationEvent};
use crate::types::event::Discloser;
use crate::types::ids::{InvocationId, RequestId};
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::MatchPolicy;

const CANCELING: CalleeFeatures = CalleeFeatures {
    call_canceling: true,
    progressive_call_results: true,
    call_timeout: false,
    progressive_call_invocations: true,
    registration_revocation: false,
    payload_passthru_mode: false,
    call_reroute: false,
};

/// As autobahn-js announces itself.
const PROGRESS_ONLY: CalleeFeatures = CalleeFeatures { call_canceling: false, ..CANCELING };

/// A dealer and its clock.
struct Desk {
    dealer: Dealer<u64>,
    now_ms: u64,
    /// Whether meta events are among the lines.
    meta: bool,
}

/// The pattern `app.add`, `prefix app.` or `wildcard app..add`.
fn pattern(text: &str) -> TopicPattern {
    let (policy, uri) = text.split_once(' ').unwrap_or(("exact", text));
    TopicPattern::from_uri(uri, policy.parse::<MatchPolicy>().unwrap()).unwrap()
}

fn topic(uri: &str) -> Topic {
    Topic::from_uri(uri).unwrap()
}

fn desk() -> Desk {
    with_limits(CallLimits::default())
}

fn with_limits(limits: CallLimits) -> Desk {
    Desk { dealer: Dealer::new(limits, 7), now_ms: 0, meta: false }
}

/// A desk at which session 1 with these features is registered for `app.add`.
fn with_callee(features: CalleeFeatures) -> Desk {
    let mut desk = desk();
    assert_eq!(desk.register(1, "app.add", |register| register.features = features), ["1 REGISTERED 0: 1"]);
    desk
}

impl Desk {
    /// Runs a command and writes down what it says, a violation last.
    fn run(
        &mut self,
        command: impl FnOnce(&mut Dealer<u64>, u64, &mut dyn FnMut(Output<'_, u64>)) -> Result<(), Violation>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let meta = self.meta;
        let result = command(&mut self.dealer, self.now_ms, &mut |output| {
            if meta || !matches!(output, Output::Registration(_)) {
                lines.push(line(&output));
            }
        });
        lines.extend(result.err().map(|violation| format!("VIOLATION {violation}")));
        check_consistency(&self.dealer);
        lines
    }

    fn offer(&mut self, session: u64, text: &str) -> Vec<String> {
        self.register(session, text, |_| {})
    }

    fn register(&mut self, session: u64, text: &str, options: impl FnOnce(&mut Register<'_>)) -> Vec<String> {
        let pattern = pattern(text);
        let mut register = Register {
            request: RequestId(0),
            pattern: &pattern,
            policy: InvocationPolicy::Single,
            concurrency: None,
            disclose_caller: false,
            forward_timeout: false,
            force_reregister: false,
            authid: None,
            client_id: None,
            node_key: None,
            features: CalleeFeatures::default(),
        };
        options(&mut register);
        self.run(|dealer, now_ms, out| {
            dealer.register(SessionId(session), &session, &register, now_ms, out);
            Ok(())
        })
    }

    fn unregister(&mut self, session: u64, registration: u64) -> Vec<String> {
        self.run(|dealer, _, out| {
            dealer.unregister(SessionId(session), &session, RequestId(0), RegistrationId(registration), out);
            Ok(())
        })
    }

    fn ask(&mut self, session: u64, request: u64, uri: &str) -> Vec<String> {
        self.call(session, request, uri, |_| {})
    }

    fn call(&mut self, session: u64, request: u64, uri: &str, options: impl FnOnce(&mut Call<'_>)) -> Vec<String> {
        let procedure = topic(uri);
        let caller = Discloser { session: SessionId(session), authid: None, authrole: None };
        let mut call = Call {
            request: RequestId(request),
            procedure: &procedure,
            payload: PayloadRef::Bytes(b""),
            codec: Codec::Auto,
            timeout_ms: 0,
            receive_progress: false,
            progress: false,
            disclose_me: false,
            caller: &caller,
            notes: Notes::default(),
        };
        options(&mut call);
        self.run(|dealer, now_ms, out| dealer.call(SessionId(session), &session, &call, now_ms, out))
    }

    /// The final YIELD.
    fn answer(&mut self, callee: u64, invocation: u64) -> Vec<String> {
        self.yield_result(callee, invocation, false)
    }

    fn progress(&mut self, callee: u64, invocation: u64) -> Vec<String> {
        self.yield_result(callee, invocation, true)
    }

    fn yield_result(&mut self, callee: u64, invocation: u64, progress: bool) -> Vec<String> {
        let (callee, invocation, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        self.run(|dealer, now_ms, out| dealer.yield_result(callee, invocation, progress, payload, now_ms, out))
    }

    fn fail(&mut self, callee: u64, invocation: u64) -> Vec<String> {
        let (callee, invocation, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        self.run(|dealer, _, out| dealer.invocation_error(callee, invocation, "app.error", payload, out))
    }

    fn cancel(&mut self, caller: u64, request: u64, mode: CancelMode) -> Vec<String> {
        self.run(|dealer, _, out| {
            dealer.cancel(SessionId(caller), RequestId(request), mode, out);
            Ok(())
        })
    }

    fn tick(&mut self, now_ms: u64) -> Vec<String> {
        self.now_ms = now_ms;
        self.run(|dealer, now_ms, out| {
            dealer.tick(now_ms, out);
            Ok(())
        })
    }

    fn leave(&mut self, session: u64) -> Vec<String> {
        self.run(|dealer, _, out| {
            dealer.leave(SessionId(session), out);
            Ok(())
        })
    }

    fn invocation_undeliverable(&mut self, callee: u64, invocation: u64) -> Vec<String> {
        self.run(|dealer, _, out| {
            dealer.invocation_undeliverable(
                SessionId(callee),
                InvocationId(invocation),
                Refusal::PayloadSizeExceeded,
                out,
            );
            Ok(())
        })
    }

    fn result_undeliverable(&mut self, caller: u64, request: u64) -> Vec<String> {
        self.run(|dealer, _, out| {
            dealer.result_undeliverable(SessionId(caller), RequestId(request), Refusal::PayloadSizeExceeded, out);
            Ok(())
        })
    }

    fn is_idle(&self) -> bool {
        self.dealer.calls == 0 && self.dealer.kept_bytes == 0 && self.dealer.deadlines.is_empty()
    }
}

/// An output as a line: receiver, kind, id, details.
fn line(output: &Output<'_, u64>) -> String {
    match output {
        Output::Registered { to, request, registration } => format!("{to} REGISTERED {request}: {registration}"),
        Output::Unregistered { to, request } => format!("{to} UNREGISTERED {request}"),
        Output::Revoked { to, registration } => format!("{to} REVOKED {registration}"),
        Output::Invocation(invocation) => {
            let mut line = format!("{} INVOCATION {}", invocation.to, invocation.invocation);
            line.extend(invocation.procedure.map(|procedure| format!(" procedure={}", procedure.uri())));
            line.extend(invocation.caller.map(|caller| format!(" caller={}", caller.session)));
            line.extend(invocation.progress.then_some(" progress"));
            line.extend(invocation.continues.then_some(" continues"));
            line.extend(invocation.receive_progress.then_some(" receive_progress"));
            line.extend(invocation.trust.map(|trust| format!(" trust={trust}")));
            line.extend(invocation.timeout_ms.map(|timeout_ms| format!(" timeout={timeout_ms}")));
            line
        }
        Output::Result { to, request, progress: true, .. } => format!("{to} RESULT {request} progress"),
        Output::Result { to, request, .. } => format!("{to} RESULT {request}"),
        Output::Error { to, command, request, failure } => {
            let uri = match failure {
                Failure::Refused(refusal) => refusal.uri(),
                Failure::Callee { uri, .. } => uri,
            };
            format!("{to} ERROR {command:?} {request}: {uri}")
        }
        Output::Interrupt { to, invocation, mode, reason } => {
            let mode = if *mode == InterruptMode::Kill { "kill" } else { "killnowait" };
            format!("{to} INTERRUPT {invocation} {mode} {}", reason.uri())
        }
        Output::Returned { to, call, why } => format!("{to} RETURNED {}: {}", call.request.0, why.uri()),
        Output::TakeOver { to, pattern, authid, .. } => format!("{to} TAKE_OVER {} of {authid}", pattern.uri().0),
        Output::Registration(event) => match event {
            RegistrationEvent::Created { session, registration } => {
                let (uri, policy) = registration.pattern.uri();
                let (id, created_ms) = (registration.registration, registration.created_ms);
                format!("on_create {session} {id} {} {uri} {:?} {created_ms}", policy.as_str(), registration.policy)
            }
            RegistrationEvent::CalleeAdded { session, registration } => format!("on_register {session} {registration}"),
            RegistrationEvent::CalleeRemoved { session, registration } => {
                format!("on_unregister {session} {registration}")
            }
            RegistrationEvent::Deleted { session, registration } => format!("on_delete {session} {registration}"),
        },
    }
}

/// What holds between commands: each call is in every list it belongs to, and no list has anything else.
fn check_consistency(dealer: &Dealer<u64>) {
    let pending: usize = dealer.sessions.values().map(|session| session.pending.len()).sum();
    let calls: usize = dealer.sessions.values().map(|session| session.calls.len()).sum();
    assert_eq!((dealer.calls, dealer.calls), (pending, calls), "pending at callees, listed at callers");
    let mut timed = 0;
    let mut occupied = Vec::new();
    for (callee, session) in &dealer.sessions {
        for (invocation, pending) in &session.pending {
            let place = Place { callee: *callee, invocation: *invocation };
            assert_eq!(dealer.sessions[&pending.caller].calls[&pending.request], place);
            timed += usize::from(pending.deadline_ms.is_some_and(|at| dealer.deadlines.contains(&(at, place))));
            occupied.extend(pending.slot);
        }
        occupied.extend(session.abandoned.slots());
        let registered = session.registrations.iter().map(|id| dealer.registrations.get(*id).unwrap());
        assert!(registered.into_iter().all(|registration| registration.has_callee(*callee)));
    }
    assert_eq!(dealer.deadlines.len(), timed);
    for info in dealer.registrations() {
        let id = info.registration;
        assert_eq!(dealer.lookup(info.pattern), Some(id));
        let registration = dealer.registrations.get(id).unwrap();
        assert!(!registration.endpoints().is_empty());
        for endpoint in registration.endpoints() {
            assert!(dealer.sessions[&endpoint.callee].registrations.contains(&id));
            let running = occupied.iter().filter(|slot| slot.endpoint == endpoint.number).count();
            assert_eq!(endpoint.running as usize, running, "slots of a callee");
        }
    }
}
