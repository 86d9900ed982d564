//! Subscriptions and registrations, a page at a time.

use super::{Page, listed};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::arguments::Arguments;
use crate::node::house::callee::Call;
use crate::node::house::meta;
use crate::node::session::Session;
use crate::router::broker::SubscriptionInfo;
use crate::router::dealer::{is_reserved, peer_rank};
use crate::router::output::RegistrationInfo;
use crate::types::value::Value;

impl Room<'_> {
    pub fn admin_subscriptions(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut options = Arguments::read(call)?.options(&["limit", "after"])?;
        let page = Page::read(&mut options)?;
        let realm = self.realm(call)?;
        let (all, next) = page.of(realm.subscriptions(), |info| info.id.0);
        // Those that have no connection are known at all entries.
        let counts = |session: &Session| match call.of_entry {
            true => session.is_present() || !session.is_clients(),
            false => session.is_present() || !session.is_elsewhere(),
        };
        let count = |info: &SubscriptionInfo| match self.node.has_peers() {
            true => realm.count_subscribers(info.id, counts),
            false => info.subscribers,
        };
        let entry = |info| with(meta::subscription(info), "subscribers", count(info));
        let entries = all.iter().map(entry).collect();
        Ok(Answer::one(listed("subscriptions", entries, next.map(Value::from))).into())
    }

    pub fn admin_registrations(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut options = Arguments::read(call)?.options(&["limit", "after"])?;
        let page = Page::read(&mut options)?;
        let realm = self.realm(call)?;
        let dealer = realm.dealer.lock();
        let all = dealer.registrations().filter(|info| !is_reserved(info.pattern)).collect();
        let (all, next) = page.of(all, |info| info.registration.0);
        let callees = |info: &RegistrationInfo<'_>| {
            let here =
                dealer.callees(info.registration).into_iter().flatten().filter(|callee| peer_rank(*callee).is_none());
            here.count() + dealer.callees_elsewhere(info.registration)
        };
        let entries = all.iter().map(|info| with(meta::registration(info), "callees", callees(info))).collect();
        Ok(Answer::one(listed("registrations", entries, next.map(Value::from))).into())
    }
}

/// An entry with a number more.
fn with(entry: Value, name: &str, count: usize) -> Value {
    match entry {
        Value::Map(mut entry) => {
            entry.push((name.to_owned(), Value::from(count as u64)));
            Value::Map(entry)
        }
        other => other,
    }
}
