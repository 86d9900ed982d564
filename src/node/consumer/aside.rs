//! Reading the log beside a consumer, from a place of its own that is recorded nowhere.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::read::{Place, Stopped};
use super::{Batch, Bounds};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::log::ClockFn;
use crate::node::realm::Realm;

/// See the module.
pub struct Aside {
    node: Arc<Node>,
    realm: Arc<Realm>,
    link: Arc<Link>,
    clock: ClockFn,
    place: Place,
    /// Read, and not enough yet.
    partial: Batch,
}

impl Aside {
    pub(super) fn new(node: Arc<Node>, realm: Arc<Realm>, clock: ClockFn, place: Place) -> Self {
        Self { node, realm, link: Arc::default(), clock, place, partial: Batch::default() }
    }

    /// The last number that it has read or passed by.
    pub fn read_to(&self) -> u64 {
        self.place.next() - 1
    }

    /// Reads on, as much as there is at once and `bounds` let; perhaps nothing. It waits for the store, never for what is to come.
    /// May be dropped and called again: nothing is lost by it.
    pub async fn read(&mut self, bounds: Bounds) -> Batch {
        std::future::poll_fn(|context| self.poll_read(context, bounds)).await
    }

    fn poll_read(&mut self, context: &mut Context<'_>, bounds: Bounds) -> Poll<Batch> {
        self.link.waker.register(context.waker());
        let now_ms = (self.clock)();
        match self.place.read(&self.node, &self.realm, &self.link, now_ms, bounds, &mut self.partial) {
            Stopped::Full | Stopped::Met => {
                let mut batch = std::mem::take(&mut self.partial);
                batch.up_to = self.read_to();
                Poll::Ready(batch)
            }
            _ if bounds.until.is_some_and(|until| self.place.next() > until) => {
                let mut batch = std::mem::take(&mut self.partial);
                batch.up_to = self.read_to();
                Poll::Ready(batch)
            }
            Stopped::Waits => Poll::Pending,
            Stopped::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
