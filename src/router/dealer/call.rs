//! The life of a call: from CALL to its one final answer.

use super::Dealer;
use super::command::{Call, CancelMode, Said, Violation};
use super::parts::{Parts, Told};
use super::peers::{CALLS_PER_PEER_MAX, Elsewhere};
use super::registration::{Chosen, Registrations};
use super::session::{Pending, Place, Session};
use crate::router::output::{Command, Failure, InterruptMode, Invocation, Output, Refusal, Sink};
use crate::types::ids::{InvocationId, RequestId, SessionId};
use crate::types::passthru::Passthru;
use crate::types::payload::PayloadRef;

/// By this a callee says that another is to answer (WAMP, Call Re-Routing).
const UNAVAILABLE: &str = "wamp.error.unavailable";

impl<S: Clone> Dealer<S> {
    /// Calls a procedure. Outputs INVOCATION to a callee, or ERROR to the caller.
    ///
    /// # Errors
    /// [`Violation::RequestInUse`]: the request id belongs to a call under way. Nothing was changed.
    pub fn call(
        &mut self,
        session: SessionId,
        handle: &S,
        call: &Call<'_>,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let most = (self.limits.calls_per_session_max, Refusal::TooManyCalls);
        let choose = |registrations: &mut Registrations, full: &[SessionId]| {
            registrations.choose(call.procedure, call.notes.resource_key, full)
        };
        if let Some(refusal) = self.begin(session, handle, call, most, now_ms, out, choose)? {
            if call.progress {
                self.drop_parts(session, handle, call.request);
            }
            out(call_error(handle, call.request, Failure::Refused(refusal)));
        }
        Ok(())
    }

    /// Answers a call with this ERROR, and asks no callee.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn refuse(
        &mut self,
        session: SessionId,
        handle: &S,
        call: &Call<'_>,
        why: Refusal,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        if self.has_call(session, call.request) {
            return Err(Violation::RequestInUse(call.request));
        }
        if call.progress {
            self.drop_parts(session, handle, call.request);
        }
        out(call_error(handle, call.request, Failure::Refused(why)));
        Ok(())
    }

    /// Begins a call of a session that may have `most` under way, at the callee that `choose` gives, which passes over some. Returns
    /// why not, if it was not begun.
    #[expect(clippy::too_many_arguments)] // each of its own kind
    pub(super) fn begin(
        &mut self,
        session: SessionId,
        handle: &S,
        call: &Call<'_>,
        most: (usize, Refusal),
        now_ms: u64,
        out: &mut Sink<'_, S>,
        choose: impl Fn(&mut Registrations, &[SessionId]) -> Result<Chosen, Refusal>,
    ) -> Result<Option<Refusal>, Violation> {
        let calls_total = self.calls;
        let limits = self.limits;
        let caller = self.session(session, handle);
        if caller.calls.contains_key(&call.request) {
            return Err(Violation::RequestInUse(call.request));
        }
        let chosen = if caller.calls.len() >= most.0 {
            Err(most.1)
        } else if calls_total >= limits.calls_max {
            Err(Refusal::RealmTooBusy)
        } else {
            self.choose_linked(&mut Vec::new(), choose)
        };
        Ok(match chosen.and_then(|chosen| self.check_features(call, chosen)) {
            Ok(chosen) => {
                self.invoke(session, call, chosen, Vec::new(), now_ms, out);
                None
            }
            Err(refusal) => Some(refusal),
        })
    }

    /// The callee that `choose` gives, which passes over the entries that were tried. Another entry takes only so many calls: one that
    /// has them is tried hereby.
    pub(super) fn choose_linked(
        &mut self,
        tried: &mut Vec<SessionId>,
        choose: impl Fn(&mut Registrations, &[SessionId]) -> Result<Chosen, Refusal>,
    ) -> Result<Chosen, Refusal> {
        let is_full = |callee: &Session<S>| callee.pending.len() >= CALLS_PER_PEER_MAX;
        let mut full = None;
        loop {
            let chosen = choose(&mut self.registrations, tried).map_err(|refusal| full.unwrap_or(refusal))?;
            if !(chosen.is_elsewhere && self.sessions.get(&chosen.callee).is_some_and(is_full)) {
                return Ok(chosen);
            }
            full = Some(Refusal::TooManyCallsBetweenEntries);
            tried.push(chosen.callee);
        }
    }

    pub(super) fn invoke(
        &mut self,
        caller: SessionId,
        call: &Call<'_>,
        chosen: Chosen,
        tried: Vec<SessionId>,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) {
        let kept = self.keep(caller, call, &chosen, now_ms);
        let Some(callee) = self.sessions.get_mut(&chosen.callee) else {
            debug_assert!(false, "a callee is a session");
            return;
        };
        // They do not wrap: at a million a second 2^53 takes 285 years.
        callee.last_invocation.0 += 1;
        let place = Place { callee: chosen.callee, invocation: callee.last_invocation };
        let forward_timeout = chosen.forward_timeout && callee.features.call_timeout;
        let receive_progress = call.receive_progress && callee.features.progressive_call_results;
        let timeout_ms = if forward_timeout { 0 } else { call.timeout_ms };
        let deadline_ms = (timeout_ms > 0).then(|| now_ms.saturating_add(timeout_ms));
        // Another entry has to know in any case.
        let tells_caller =
            chosen.is_elsewhere || call.notes.disclosure.discloses(call.disclose_me, chosen.disclose_caller);
        let told = Told {
            registration: chosen.registration,
            procedure: chosen.is_pattern.then_some(call.procedure),
            caller: tells_caller.then_some(call.caller),
            receive_progress,
            timeout_ms: (forward_timeout && call.timeout_ms > 0).then_some(call.timeout_ms),
            trust: call.notes.trust,
        };
        let pending = Pending {
            caller,
            request: call.request,
            slot: chosen.slot,
            interrupted: false,
            receive_progress: call.receive_progress,
            codec: call.codec,
            timeout_ms,
            deadline_ms,
            tried,
            parts: call.progress.then(|| Box::new(Parts::new(call.procedure, &told))),
            takes_passthru: call.notes.takes_passthru,
            kept,
        };
        callee.pending.insert(place.invocation, pending);
        self.calls += 1;
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, place));
        }
        if let Some(caller) = self.sessions.get_mut(&caller) {
            caller.calls.insert(call.request, place);
            caller.ended_early.remove(call.request);
        }
        let registration = chosen.is_elsewhere.then(|| self.registrations.get(chosen.registration));
        let elsewhere = registration.flatten().map(|registration| Elsewhere {
            procedure: call.procedure,
            pattern: &registration.pattern,
            policy: chosen.policy,
            disclose_me: call.disclose_me,
            notes: call.notes,
        });
        if let Some(callee) = self.sessions.get(&place.callee) {
            let said = Said { payload: call.payload, passthru: call.notes.passthru };
            let invocation = told.invocation(&callee.handle, place.invocation, (call.codec, said), call.progress);
            out(Output::Invocation(Invocation { elsewhere, ..invocation }));
        }
    }

    /// The callee has a result, with more to follow if `progress`. Progress that the caller did not ask for is dropped.
    ///
    /// # Errors
    /// [`Violation::NoSuchInvocation`]: the callee never got that invocation. An answer that comes after the call was
    /// canceled, timed out or its caller left is dropped; so is a second one, for Wampy.js answers with what a handler
    /// returns even if that has sent its error or result itself.
    pub fn yield_result<'a>(
        &mut self,
        callee: SessionId,
        invocation: InvocationId,
        progress: bool,
        said: impl Into<Said<'a>>,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let (place, Said { payload, passthru }) = (Place { callee, invocation }, said.into());
        if passthru.is_some_and(Passthru::is_announced) && self.refuse_passthru(place, out) {
            return Ok(());
        }
        let pending = if progress { self.rearm(place, now_ms) } else { self.take(place) };
        let Some(pending) = pending else { return self.late_answer(place, !progress) };
        if !progress {
            self.registrations.release(pending.slot);
        } else if !pending.receive_progress {
            return Ok(());
        }
        if let Some(caller) = self.sessions.get(&pending.caller) {
            let (to, codec) = (&caller.handle, pending.codec);
            out(Output::Result { to, request: pending.request, progress, codec, payload, passthru });
        }
        Ok(())
    }

    /// The callee failed; its error is passed on, unless it is not available and another is.
    ///
    /// # Errors
    /// As [`yield_result`](Self::yield_result).
    pub fn invocation_error<'a>(
        &mut self,
        callee: SessionId,
        invocation: InvocationId,
        uri: &str,
        said: impl Into<Said<'a>>,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let (place, Said { mut payload, mut passthru }) = (Place { callee, invocation }, said.into());
        if uri == UNAVAILABLE && self.reroute(place, out) {
            return Ok(());
        }
        let Some(pending) = self.take(place) else { return self.late_answer(place, true) };
        self.registrations.release(pending.slot);
        if passthru.is_some_and(Passthru::is_announced) && !pending.takes_passthru {
            // It could not read why.
            (payload, passthru) = (PayloadRef::NONE, None);
        }
        if let Some(caller) = self.sessions.get(&pending.caller) {
            let failure = Failure::Callee { uri, codec: pending.codec, payload, passthru };
            out(call_error(&caller.handle, pending.request, failure));
        }
        Ok(())
    }

    /// The caller wants no answer any more. Does nothing if the call has its final answer already, for the two cross.
    pub fn cancel(&mut self, caller: SessionId, request: RequestId, mode: CancelMode, out: &mut Sink<'_, S>) {
        let Some(place) = self.place(caller, request) else { return };
        let Some(callee) = self.sessions.get_mut(&place.callee) else { return };
        if mode != CancelMode::Kill || !callee.features.call_canceling {
            self.abandon(place, Refusal::Canceled, mode != CancelMode::Skip, out);
            return self.refuse_call(caller, request, Refusal::Canceled, out);
        }
        let Some(pending) = callee.pending.get_mut(&place.invocation) else { return };
        if !pending.interrupted {
            pending.interrupted = true;
            let (to, invocation, reason) = (&callee.handle, place.invocation, Refusal::Canceled);
            out(Output::Interrupt { to, invocation, mode: InterruptMode::Kill, reason });
        }
    }

    /// When [`tick`](Self::tick) has something to do, if ever.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Ends the calls whose time is up (WAMP, Call Timeouts).
    pub fn tick(&mut self, now_ms: u64, out: &mut Sink<'_, S>) {
        while let Some((deadline_ms, place)) = self.deadlines.first().copied() {
            if deadline_ms > now_ms {
                return;
            }
            self.deadlines.pop_first();
            if let Some(pending) = self.abandon(place, Refusal::Timeout, true, out) {
                self.refuse_call(pending.caller, pending.request, Refusal::Timeout, out);
            }
        }
    }

    /// The callee could not be given its INVOCATION. The caller is told why; the callee knows nothing of it, unless it had parts of it
    /// before. To be reported before the next call is made.
    pub fn invocation_undeliverable(
        &mut self,
        callee: SessionId,
        invocation: InvocationId,
        reason: Refusal,
        out: &mut Sink<'_, S>,
    ) {
        let place = Place { callee, invocation };
        if self.is_continued(place) {
            // The callee has some of it.
            if let Some(pending) = self.abandon(place, reason, true, out) {
                self.refuse_call(pending.caller, pending.request, reason, out);
            }
            return;
        }
        let Some(pending) = self.take(place) else { return };
        self.registrations.release(pending.slot);
        // The callee must not see a gap in its invocation ids.
        if let Some(callee) = self.sessions.get_mut(&callee).filter(|callee| callee.last_invocation == invocation) {
            callee.last_invocation.0 -= 1;
        }
        self.refuse_call(pending.caller, pending.request, reason, out);
    }

    /// The caller could not be given a RESULT, or the callee's ERROR. The caller gets an error that says why; if that was a
    /// progressive result, the call ends and its callee is interrupted.
    pub fn result_undeliverable(
        &mut self,
        caller: SessionId,
        request: RequestId,
        reason: Refusal,
        out: &mut Sink<'_, S>,
    ) {
        if let Some(place) = self.place(caller, request) {
            self.abandon(place, reason, true, out);
        }
        self.refuse_call(caller, request, reason, out);
    }

    pub(super) fn place(&self, caller: SessionId, request: RequestId) -> Option<Place> {
        self.sessions.get(&caller)?.calls.get(&request).copied()
    }

    /// Takes a call out of every list. Its slot stays occupied.
    pub(super) fn take(&mut self, place: Place) -> Option<Pending> {
        let pending = self.sessions.get_mut(&place.callee)?.pending.remove(&place.invocation)?;
        self.forget(place, &pending);
        Some(pending)
    }

    /// Takes a call that is not pending at its callee any more out of the other lists.
    pub(super) fn forget(&mut self, place: Place, pending: &Pending) {
        self.calls -= 1;
        self.kept_bytes -= pending.kept.as_ref().map_or(0, |kept| kept.bytes());
        if let Some(deadline_ms) = pending.deadline_ms {
            self.deadlines.remove(&(deadline_ms, place));
        }
        if let Some(caller) = self.sessions.get_mut(&pending.caller) {
            caller.calls.remove(&pending.request);
            if pending.parts.as_ref().is_some_and(|parts| parts.open) {
                caller.ended_early.insert(pending.request);
            }
        }
    }

    /// Whether the callee was given more than the first part of a call.
    fn is_continued(&self, place: Place) -> bool {
        let pending = self.sessions.get(&place.callee).and_then(|callee| callee.pending.get(&place.invocation));
        pending.and_then(|pending| pending.parts.as_ref()).is_some_and(|parts| parts.continued)
    }

    /// A progressive result came: the time until the next one begins anew.
    fn rearm(&mut self, place: Place, now_ms: u64) -> Option<Pending> {
        let pending = self.sessions.get_mut(&place.callee)?.pending.get_mut(&place.invocation)?;
        if let Some(kept) = pending.kept.take() {
            // What has begun is not begun anew by another.
            self.kept_bytes -= kept.bytes();
        }
        if let Some(deadline_ms) = pending.deadline_ms.filter(|_| pending.receive_progress) {
            let later_ms = now_ms.saturating_add(pending.timeout_ms);
            pending.deadline_ms = Some(later_ms);
            self.deadlines.remove(&(deadline_ms, place));
            self.deadlines.insert((later_ms, place));
        }
        Some(pending.clone())
    }

    /// Ends a call whose callee has not answered, and interrupts the callee if it understands that. A callee that was
    /// not interrupted works on, and its slot stays occupied until it answers.
    pub(super) fn abandon(
        &mut self,
        place: Place,
        reason: Refusal,
        interrupt: bool,
        out: &mut Sink<'_, S>,
    ) -> Option<Pending> {
        let pending = self.take(place)?;
        let callee = self.sessions.get_mut(&place.callee)?;
        if interrupt && callee.features.call_canceling && !pending.interrupted {
            let (to, invocation, mode) = (&callee.handle, place.invocation, InterruptMode::KillNoWait);
            out(Output::Interrupt { to, invocation, mode, reason });
        }
        let stops = pending.interrupted || (interrupt && callee.features.call_canceling);
        let (freed, occupied) = if stops { (pending.slot, None) } else { (None, pending.slot) };
        let forgotten = occupied.and_then(|slot| callee.abandoned.insert(place.invocation, slot));
        self.registrations.release(freed);
        self.registrations.release(forgotten);
        Some(pending)
    }

    /// The callee answered an invocation that is not pending: too late, again, or out of the blue.
    pub(super) fn late_answer(&mut self, place: Place, is_final: bool) -> Result<(), Violation> {
        let known = self.sessions.get_mut(&place.callee);
        let known = known.filter(|callee| (InvocationId(1)..=callee.last_invocation).contains(&place.invocation));
        let callee = known.ok_or(Violation::NoSuchInvocation(place.invocation))?;
        let freed = if is_final { callee.abandoned.answer(place.invocation) } else { None };
        self.registrations.release(freed);
        Ok(())
    }

    pub(super) fn refuse_call(&self, caller: SessionId, request: RequestId, refusal: Refusal, out: &mut Sink<'_, S>) {
        if let Some(caller) = self.sessions.get(&caller) {
            out(call_error(&caller.handle, request, Failure::Refused(refusal)));
        }
    }
}

fn call_error<'a, S>(to: &'a S, request: RequestId, failure: Failure<'a>) -> Output<'a, S> {
    Output::Error { to, command: Command::Call, request, failure }
}
