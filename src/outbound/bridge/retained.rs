//! The retained values that go out, one after the other.

use std::sync::Arc;

use super::outward::Outgoing;
use super::rules::Rules;
use crate::node::realm::Realm;
use crate::types::event::Event;
use crate::types::topic::Topic;

/// A walk over the retained values of all rules. It holds nothing of the store.
#[derive(Debug, Default)]
pub(super) struct RetainedWalk {
    /// Which of the outward rules.
    rule: usize,
    /// The topic that was visited last.
    after: Option<Arc<Topic>>,
}

impl RetainedWalk {
    /// The next value that goes out; those of events behind number `base` do not. `None`: those were all.
    pub fn next(
        &mut self,
        realm: &Realm,
        rules: &Rules,
        base: u64,
        now_ms: u64,
        translate: impl Fn(&Event<'_>) -> Option<Outgoing>,
    ) -> Option<Outgoing> {
        while let Some(rule) = rules.outwards().nth(self.rule) {
            let mut found = None;
            let mut last = None;
            realm.walk_retained(rule.local_pattern(), self.after.as_deref(), now_ms, &mut |event| {
                last = Some(event.topic.clone());
                // What is for some here is for nobody there.
                if event.filter.is_none() && event.place.is_none_or(|place| place.number <= base) {
                    found = translate(&Event { retain: true, ..event.as_event(now_ms) });
                }
                found.is_none()
            });
            if found.is_some() {
                self.after = last;
                return found;
            }
            (self.rule, self.after) = (self.rule + 1, None);
        }
        None
    }
}
