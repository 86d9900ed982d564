//! Commands of callees: register, unregister; and what happens when a session leaves.

use super::Dealer;
use super::command::Register;
use super::endpoints::Endpoint;
use super::registration::is_reserved;
use super::session::{Place, Session};
use crate::router::output::{Command, Failure, InvocationPolicy, Output, Refusal, RegistrationEvent, Sink};
use crate::types::ids::{ID_MAX, RegistrationId, RequestId, SessionId};

impl<S: Clone> Dealer<S> {
    /// Offers a procedure. Answers REGISTERED, after the revocations it brings about (`force_reregister`), or ERROR.
    pub fn register(
        &mut self,
        session: SessionId,
        handle: &S,
        command: &Register<'_>,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) {
        let request = command.request;
        let replaced = match self.check_register(session, command) {
            Ok(replaced) => replaced,
            Err(refusal) => {
                let failure = Failure::Refused(refusal);
                return out(Output::Error { to: handle, command: Command::Register, request, failure });
            }
        };
        if let Some(authid) = command.authid.filter(|_| command.force_reregister || !replaced.is_empty()) {
            let client_id = command.client_id.filter(|_| !command.force_reregister);
            self.ask_to_take_over(command.pattern, authid, client_id, out);
        }
        for (registration, callee) in replaced {
            self.revoke(registration, callee, out);
        }
        let (registration, created) = self.registrations.add(session, command, now_ms);
        let callee = self.session(session, handle);
        callee.features = command.features;
        callee.authid = command.authid.map(Into::into);
        callee.client_id = command.client_id.map(Into::into);
        callee.registrations.insert(registration);
        out(Output::Registered { to: handle, request, registration });
        if let Some(info) = self.registration(registration).filter(|_| created) {
            out(Output::Registration(RegistrationEvent::Created { session, registration: info }));
        }
        out(Output::Registration(RegistrationEvent::CalleeAdded { session, registration }));
    }

    /// Offers a procedure of the broker's own, which nobody else can. It is called by its exact name, and told nobody.
    pub fn provide(&mut self, session: SessionId, handle: &S, command: &Register<'_>, now_ms: u64) -> RegistrationId {
        // Counted downwards from the highest.
        let registration = RegistrationId(ID_MAX - self.provided as u64);
        self.registrations.provide(registration, session, command, now_ms);
        self.provided += 1;
        self.session(session, handle).features = command.features;
        registration
    }

    /// Whether the registration may be, and whom it replaces.
    fn check_register(
        &self,
        session: SessionId,
        command: &Register<'_>,
    ) -> Result<Vec<(RegistrationId, SessionId)>, Refusal> {
        if is_reserved(command.pattern) {
            return Err(Refusal::ReservedProcedure);
        }
        let known = self.registrations.find(command.pattern);
        let known = known.and_then(|id| Some((id, self.registrations.get(id)?)));
        let mut replaced = Vec::new();
        if let Some((id, registration)) = known {
            let is_replaced = |endpoint: &&Endpoint| self.is_replaced(endpoint, session, command);
            let endpoints = registration.endpoints();
            replaced.extend(endpoints.iter().filter(is_replaced).map(|endpoint| (id, endpoint.callee)));
            if !command.force_reregister && registration.has_callee(session) {
                return Err(Refusal::ProcedureAlreadyExists);
            }
            // The first of those that stay decides.
            if let Some(first) = endpoints.iter().find(|endpoint| !is_replaced(endpoint)) {
                match first.policy {
                    InvocationPolicy::Single => return Err(Refusal::ProcedureAlreadyExists),
                    policy if policy != command.policy => return Err(Refusal::PolicyConflict),
                    _ => {}
                }
            }
        }
        let registered = self.sessions.get(&session).map_or(0, |session| session.registrations.len());
        let given_up = usize::from(replaced.iter().any(|(_, callee)| *callee == session));
        if registered - given_up >= self.limits.registrations_per_session_max {
            return Err(Refusal::TooManyRegistrations);
        }
        Ok(replaced)
    }

    /// Whether the callee gives way to this one.
    fn is_replaced(&self, endpoint: &Endpoint, session: SessionId, command: &Register<'_>) -> bool {
        let Register { authid, client_id, force_reregister: force, .. } = *command;
        match &endpoint.offer {
            None => force && (endpoint.callee == session || self.has_authid(endpoint.callee, authid)),
            Some(offer) => {
                let is_own = client_id.is_some() && offer.client_id.as_deref() == client_id;
                authid.is_some() && offer.authid.as_deref() == authid && (force || is_own)
            }
        }
    }

    pub(super) fn has_authid(&self, callee: SessionId, authid: Option<&str>) -> bool {
        authid.is_some() && self.sessions.get(&callee).is_some_and(|callee| callee.authid.as_deref() == authid)
    }

    /// Takes back an offer. Answers UNREGISTERED or ERROR. Calls under way are still to be answered.
    pub fn unregister(
        &mut self,
        session: SessionId,
        handle: &S,
        request: RequestId,
        registration: RegistrationId,
        out: &mut Sink<'_, S>,
    ) {
        let Some(deleted) = self.registrations.remove(registration, session) else {
            let failure = Failure::Refused(Refusal::NoSuchRegistration);
            return out(Output::Error { to: handle, command: Command::Unregister, request, failure });
        };
        if let Some(callee) = self.sessions.get_mut(&session) {
            callee.registrations.remove(&registration);
        }
        out(Output::Unregistered { to: handle, request });
        removed(session, registration, deleted, out);
    }

    pub(super) fn revoke(&mut self, registration: RegistrationId, session: SessionId, out: &mut Sink<'_, S>) {
        let Some(deleted) = self.registrations.remove(registration, session) else { return };
        if let Some(callee) = self.sessions.get_mut(&session) {
            callee.registrations.remove(&registration);
            if callee.features.registration_revocation {
                out(Output::Revoked { to: &callee.handle, registration });
            }
        }
        removed(session, registration, deleted, out);
    }

    /// Forgets a session: its registrations are removed, the calls it made end without an answer and their callees are
    /// interrupted (WAMP, Caller Leaving), the calls it was to answer fail (WAMP, Callee Leaving).
    pub fn leave(&mut self, session: SessionId, out: &mut Sink<'_, S>) {
        let Some(mut gone) = self.sessions.remove(&session) else { return };
        let mut registrations: Vec<_> = gone.registrations.drain().collect();
        registrations.sort_unstable();
        for registration in registrations {
            if let Some(deleted) = self.registrations.remove(registration, session) {
                removed(session, registration, deleted, out);
            }
        }
        let mut calls: Vec<_> = gone.calls.drain().collect();
        calls.sort_unstable();
        for (_, place) in calls {
            self.abandon(place, Refusal::CallerLeft, true, out);
        }
        self.fail_all(session, gone, out);
    }

    /// Ends everything that was pending at a callee that is gone.
    fn fail_all(&mut self, callee: SessionId, mut gone: Session<S>, out: &mut Sink<'_, S>) {
        let mut pending: Vec<_> = gone.pending.drain().collect();
        pending.sort_unstable_by_key(|(invocation, _)| *invocation);
        for (invocation, pending) in pending {
            self.forget(Place { callee, invocation }, &pending);
            self.refuse_call(pending.caller, pending.request, Refusal::CalleeLeft, out);
        }
    }
}

fn removed<S>(session: SessionId, registration: RegistrationId, deleted: bool, out: &mut Sink<'_, S>) {
    out(Output::Registration(RegistrationEvent::CalleeRemoved { session, registration }));
    if deleted {
        out(Output::Registration(RegistrationEvent::Deleted { session, registration }));
    }
}
