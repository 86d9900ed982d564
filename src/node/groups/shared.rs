//! Shared subscriptions of MQTT (`$share/…`, MQTT 5, 4.8.2) that are groups: those to which a session is subscribed that outlives
//! its connection, and in a cluster those of topics that are durable. All members of the shared subscription are members of the
//! group then, kept sessions or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Begin, Group, MEMBER_WINDOW};
use crate::node::Node;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::reader::Reading;
use crate::node::reader::wants::Want;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::queue::command::{Command, DurableRow};
use crate::queue::message::Batch;
use crate::queue::outcome::Outcome;
use crate::queue::state::rows::pattern_text;
use crate::router::broker::{GroupKey, Options};
use crate::types::ids::SubscriptionId;
use crate::types::topic::TopicPattern;

/// How long a group stays that nobody keeps any more: sessions may be on their way from the log.
const ABANDONED_MS: u64 = 10_000;

/// The name of the share, if this is the name of such a group: the topic filter, `$share/name/…`.
pub fn share_of(name: &str) -> Option<&str> {
    name.strip_prefix("$share/")?.split_once('/').map(|(share, _)| share)
}

impl Realm {
    /// The command that makes a shared subscription a group, or changes what is said of it. `said`: what the subscriber asks for.
    pub fn share_command(&self, filter: &str, pattern: &TopicPattern, said: DurableRow) -> Command {
        let row = DurableRow {
            pattern: pattern_text(pattern),
            // It is everybody's who may subscribe.
            authid: String::new(),
            group: true,
            acknowledged: true,
            since: None,
            ..said
        };
        Command::Durable { realm: self.name.to_string(), name: filter.to_owned(), durable: Box::new(row) }
    }

    /// The log has the command of a shared subscription: whoever is subscribed to it is a member from now on.
    pub fn open_share(self: &Arc<Self>, node: &Arc<Node>, filter: &str, row: &DurableRow, pattern: &TopicPattern) {
        let Some(share) = share_of(filter) else { return };
        self.note_durable(node, filter, row.clone());
        // What is being routed was given to a member directly, or is read.
        let begin = Begin::After(node.log.history.routed());
        let group = self.open_group(node, filter, pattern, row, begin);
        let key = GroupKey { name: share.into(), pattern: pattern.clone() };
        // Sessions whose connection is at another entry are members there.
        let here =
            self.share_members(&key).into_iter().filter(|(session, _)| !session.mirrored.load(Ordering::Acquire));
        for (session, options) in here {
            self.make_member(node, &session, filter, &group, options);
        }
    }

    /// A session has subscribed to a shared subscription: it is a member if that is a group.
    pub fn join_share(self: &Arc<Self>, node: &Arc<Node>, session: &Arc<Session>, filter: &str, options: Options) {
        if let Some(group) = self.groups.get(filter) {
            self.make_member(node, session, filter, &group, options);
        }
    }

    fn make_member(
        self: &Arc<Self>,
        node: &Arc<Node>,
        session: &Arc<Session>,
        filter: &str,
        group: &Arc<Group>,
        options: Options,
    ) {
        let want =
            Want { pattern: group.pattern.clone(), options, subscription: SubscriptionId(0), since: 0, follows: false };
        let mut mailbox = session.mailbox();
        if mailbox.groups().any(|(_, known)| known.id == group.id) {
            return;
        }
        if !mailbox.reads_log() {
            let (node, realm) = (Arc::downgrade(node), Arc::downgrade(self));
            let session = Arc::downgrade(session);
            // Whether it may subscribe to all that matches was asked when it did.
            mailbox.read_log(Reading { node, realm, session, rights: None, recorded: false });
        }
        mailbox.join_group(filter, group.clone(), want, MEMBER_WINDOW);
    }
}

impl Node {
    /// Gives up groups to which no session is subscribed any more that is kept; where nobody need be kept, those without members.
    pub(super) fn forget_shares(self: &Arc<Self>, realm: &Arc<Realm>, groups: &[Arc<Group>], now_ms: u64) {
        for group in groups {
            let Some(share) = share_of(&group.name).filter(|_| group.is_own()) else { continue };
            let key = GroupKey { name: share.into(), pattern: group.pattern.clone() };
            let kept = realm.share_members(&key).iter().any(|(session, _)| session.is_persistent())
                || (self.has_peers() && realm.are_all_durable(&group.pattern) && group.members_len() > 0);
            let since = group.abandoned(!kept, now_ms);
            if since.is_none_or(|since| now_ms < since + ABANDONED_MS) {
                continue;
            }
            let mut batch = Batch::default();
            batch.command(&Command::Forget { realm: realm.name.to_string(), name: group.name.to_string() });
            let (realm, name) = (Arc::downgrade(realm), group.name.clone());
            let owner = Owner::Function(Arc::new(move |outcome| {
                if let (Outcome::Done(_), Some(realm)) = (outcome, realm.upgrade()) {
                    realm.remove_durable(&name);
                }
            }));
            // Should it be refused, it is tried again when it is abandoned for so long again.
            group.abandoned(false, now_ms);
            self.submit(Submission { batch, owner });
        }
    }
}
