//! Requests that wait until somebody has decided whether they may be answered (`node::authorize`).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::task::AtomicWaker;

use super::Server;
use super::route::Guest;
use crate::node::authorize::Asker;
use crate::router::authorize::Action;
use crate::types::topic::TopicPattern;

impl Server {
    /// Has all decided that a guest wants; what was decided is part of its rights then.
    pub(super) async fn decide(&self, guest: &Guest, about: &[(Action, TopicPattern)]) {
        if guest.rights.asks().is_none() {
            return;
        }
        let waker = Arc::new(AtomicWaker::new());
        let woken = waker.clone();
        // What asks has no session yet, and may never have one.
        let session = self.node.new_session_id();
        let asker = Asker { realm: &guest.realm, rights: &guest.rights, session, identity: &guest.identity };
        self.node.recall(&asker, about, self.clock.now_ms());
        let asking = self.node.ask(&asker, about, self.clock.now_ms(), Arc::new(move || woken.wake()));
        let Some(asking) = asking else { return };
        poll_fn(|cx| {
            waker.register(cx.waker());
            if asking.is_done() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.node.remember(&asker, about, self.clock.now_ms());
    }
}
