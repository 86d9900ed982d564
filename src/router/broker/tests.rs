//! Sessions are numbers with a letter for their wire. A route is compared as lines, one for each lane and group, sorted:
//! `a q1: 1 2` is a lane of wire `a` with QoS 1 for the sessions 1 and 2.

use super::*;
use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use crate::types::event::{Identifiers, Terms};
use crate::types::topic::MatchPolicy;

#[derive(Clone, Debug, PartialEq)]
struct Client {
    id: u64,
    wire: char,
    apart: bool,
    away: bool,
}

impl Subscriber for Client {
    type Wire = char;

    fn id(&self) -> SessionId {
        SessionId(self.id)
    }

    fn wire(&self) -> char {
        self.wire
    }

    fn apart(&self) -> bool {
        self.apart
    }

    fn persistent(&self) -> bool {
        false
    }

    fn away(&self) -> bool {
        self.away
    }
}

fn client(id: u64, wire: char) -> Client {
    Client { id, wire, apart: false, away: false }
}

fn filter(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap()
}

fn uri(text: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(text, policy).unwrap()
}

fn mqtt(qos: Qos) -> Options {
    Options::Merged { qos, no_local: false, retain_as_published: false, identifier: None }
}

fn identified(qos: Qos, identifier: u32) -> Options {
    Options::Merged { qos, no_local: false, retain_as_published: false, identifier: Some(identifier) }
}

impl Broker<Client> {
    fn add(&mut self, text: &str, client: Client, options: Options) -> Subscribed {
        self.subscribe(&filter(text), None, client, options)
    }

    fn share(&mut self, text: &str, group: &str, client: Client, options: Options) -> Subscribed {
        self.subscribe(&filter(text), Some(group), client, options)
    }

    fn lines(&self, topic: &str) -> Vec<String> {
        let route = self.route(&Topic::from_name(topic).unwrap());
        let mut lines: Vec<_> = route.lanes.iter().map(lane_line).chain(route.groups.iter().map(group_line)).collect();
        lines.sort();
        lines
    }
}

fn lane_line(lane: &Lane<Client>) -> String {
    let mut members: Vec<_> = lane.members.iter().collect();
    members.sort_by_key(|member| member.session.id);
    let own = |member: &Member<Client>| if member.no_local { " no-local" } else { "" };
    let members: String = members.iter().map(|member| format!(" {}{}", member.session.id, own(member))).collect();
    format!("{}{} {}:{members}", lane.wire, if lane.apart { " apart" } else { "" }, form_text(&lane.form))
}

fn group_line(group: &Group<Client>) -> String {
    let members: String =
        group.members.iter().map(|(client, form)| format!(" {}({})", client.id, form_text(form))).collect();
    format!("one of{members}")
}

fn form_text(form: &Form) -> String {
    match form {
        Form::Each { subscription, with_topic } => {
            format!("#{subscription}{}", if *with_topic { " topic" } else { "" })
        }
        Form::Merged { qos, retain_as_published, identifiers } => {
            let mut identifiers = identifiers.to_vec();
            identifiers.sort_unstable();
            let identifiers: String = identifiers.iter().map(|identifier| format!(" id{identifier}")).collect();
            format!("q{}{identifiers}{}", *qos as u8, if *retain_as_published { " retain" } else { "" })
        }
    }
}

#[test]
fn subscribers_whose_copies_are_the_same_bytes_share_a_lane() {
    let mut broker = Broker::default();
    for (id, wire, qos) in [(1, 'a', AtLeastOnce), (2, 'a', AtMostOnce), (3, 'b', AtMostOnce), (4, 'a', AtLeastOnce)] {
        broker.add("t", client(id, wire), mqtt(qos));
    }
    broker.add("#", client(5, 'a'), mqtt(AtMostOnce));
    broker.add("+", client(6, 'a'), identified(AtMostOnce, 7));
    broker.add("t", Client { apart: true, ..client(7, 'a') }, mqtt(AtMostOnce));
    let expected = ["a apart q0: 7", "a q0 id7: 6", "a q0: 2 5", "a q1: 1 4", "b q0: 3"];
    assert_eq!(broker.lines("t"), expected);
}

#[test]
fn a_topic_that_nobody_wants_has_an_empty_route() {
    let mut broker = Broker::default();
    broker.add("t", client(1, 'a'), mqtt(AtMostOnce));
    assert_eq!(broker.lines("u"), [""; 0]);
}

#[test]
fn overlapping_subscriptions_of_mqtt_make_one_copy_of_the_highest_qos_with_all_identifiers() {
    let mut broker = Broker::default();
    broker.add("t/1", client(1, 'a'), identified(AtMostOnce, 3));
    broker.add("t/+", client(1, 'a'), identified(ExactlyOnce, 4));
    broker.add("t/#", client(1, 'a'), mqtt(AtLeastOnce));
    assert_eq!(broker.lines("t/1"), ["a q2 id3 id4: 1"]);
    assert_eq!(broker.lines("t/2"), ["a q2 id4: 1"]);
    assert_eq!(broker.lines("t"), ["a q1: 1"]);
}

#[test]
fn the_retain_flag_is_kept_if_one_of_the_overlapping_subscriptions_wants_it() {
    let mut broker = Broker::default();
    let wants = Options::Merged { qos: AtMostOnce, no_local: false, retain_as_published: true, identifier: None };
    broker.add("t", client(1, 'a'), mqtt(AtLeastOnce));
    broker.add("#", client(1, 'a'), wants);
    assert_eq!(broker.lines("t"), ["a q1 retain: 1"]);
    let form = Form::Merged { qos: AtLeastOnce, retain_as_published: true, identifiers: Identifiers::new() };
    assert!(form.terms(ExactlyOnce, true).retain && !form.terms(ExactlyOnce, false).retain);
}

#[test]
fn own_publications_are_kept_away_only_if_all_overlapping_subscriptions_say_so() {
    let no_local = || Options::Merged { qos: AtMostOnce, no_local: true, retain_as_published: false, identifier: None };
    let mut broker = Broker::default();
    broker.add("t", client(1, 'a'), no_local());
    broker.add("#", client(1, 'a'), no_local());
    assert_eq!(broker.lines("t"), ["a q0: 1 no-local"]);
    broker.add("+", client(1, 'a'), mqtt(AtMostOnce));
    assert_eq!(broker.lines("t"), ["a q0: 1"]);
}

#[test]
fn wamp_gets_a_copy_for_each_subscription_and_the_topic_where_a_pattern_matched() {
    let mut broker = Broker::default();
    for (pattern, id, wire) in [
        (uri("a.b", MatchPolicy::Exact), 1, 'j'),
        (uri("a.b", MatchPolicy::Exact), 2, 'j'),
        (uri("a.b", MatchPolicy::Exact), 3, 'm'),
        (uri("a", MatchPolicy::Prefix), 1, 'j'),
        (uri("a.", MatchPolicy::Wildcard), 1, 'j'),
    ] {
        broker.subscribe(&pattern, None, client(id, wire), Options::Each);
    }
    assert_eq!(broker.lines("a/b"), ["j #1: 1 2", "j #2 topic: 1", "j #3 topic: 1", "m #1: 3"]);
}

#[test]
fn a_wamp_event_says_its_subscription_and_is_never_acknowledged() {
    let terms = Form::Each { subscription: SubscriptionId(7), with_topic: true }.terms(ExactlyOnce, true);
    let expected = Terms { subscription: Some(SubscriptionId(7)), with_topic: true, ..Terms::default() };
    assert_eq!(terms, expected);
}

#[test]
fn the_qos_of_a_copy_is_the_lower_of_published_and_granted() {
    for published in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        for granted in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            let form = Form::Merged { qos: granted, retain_as_published: false, identifiers: Identifiers::new() };
            assert_eq!(form.terms(published, false).qos, published.min(granted));
        }
    }
}

#[test]
fn wamp_and_mqtt_may_share_a_pattern() {
    let mut broker = Broker::default();
    let first = broker.add("a/b", client(1, 'a'), mqtt(AtMostOnce));
    let second = broker.subscribe(&uri("a.b", MatchPolicy::Exact), None, client(2, 'j'), Options::Each);
    assert_eq!(first.id, second.id);
    assert_eq!(broker.lines("a/b"), ["a q0: 1", "j #1: 2"]);
}

#[test]
fn a_shared_subscription_is_one_group_for_each_name_and_filter() {
    let mut broker = Broker::default();
    broker.share("t", "g", client(2, 'a'), mqtt(AtLeastOnce));
    broker.share("t", "g", client(1, 'b'), mqtt(AtMostOnce));
    broker.share("t", "h", client(1, 'b'), identified(AtMostOnce, 5));
    broker.share("+", "g", client(3, 'a'), mqtt(AtMostOnce));
    broker.add("t", client(1, 'b'), mqtt(ExactlyOnce));
    let expected = ["b q2: 1", "one of 1(q0 id5)", "one of 1(q0) 2(q1)", "one of 3(q0)"];
    assert_eq!(broker.lines("t"), expected);
}

#[test]
fn all_routes_through_a_group_share_its_turn() {
    let mut broker = Broker::default();
    broker.share("t/+", "g", client(1, 'a'), mqtt(AtMostOnce));
    let turns = ["t/1", "t/2"].map(|name| broker.route(&Topic::from_name(name).unwrap()).groups.remove(0).turn);
    assert!(Arc::ptr_eq(&turns[0], &turns[1]));
    broker.share("t/+", "g", client(2, 'a'), mqtt(AtMostOnce));
    let after = broker.route(&Topic::from_name("t/1").unwrap()).groups.remove(0).turn;
    assert!(Arc::ptr_eq(&turns[0], &after), "who joins does not begin it anew");
}

#[test]
fn a_repeated_subscription_replaces_the_options() {
    let mut broker = Broker::default();
    let first = broker.add("t", client(1, 'a'), identified(AtMostOnce, 1));
    assert_eq!((first.existed, first.created), (false, true));
    let other = broker.add("t", client(2, 'a'), identified(AtMostOnce, 1));
    assert_eq!((other.id, other.existed, other.created), (first.id, false, false));
    let again = broker.add("t", client(1, 'b'), identified(AtLeastOnce, 2));
    assert_eq!((again.id, again.existed, again.created), (first.id, true, false));
    assert_eq!(broker.lines("t"), ["a q0 id1: 2", "b q1 id2: 1"]);
    broker.share("t", "g", client(1, 'a'), mqtt(AtMostOnce));
    assert!(broker.share("t", "g", client(1, 'a'), mqtt(AtLeastOnce)).existed);
    assert_eq!(broker.lines("t"), ["a q0 id1: 2", "b q1 id2: 1", "one of 1(q1)"]);
}

#[test]
fn unsubscribing_takes_away_that_subscription_of_that_session_alone() {
    let mut broker = Broker::default();
    let id = broker.add("t", client(1, 'a'), mqtt(AtMostOnce)).id;
    broker.add("t", client(2, 'a'), mqtt(AtMostOnce));
    broker.add("#", client(1, 'a'), mqtt(AtLeastOnce));
    broker.share("t", "g", client(1, 'a'), mqtt(AtMostOnce));
    let mut unsubscribe = |text, group, session| broker.unsubscribe(&filter(text), group, SessionId(session));
    assert_eq!(unsubscribe("t", None, 1), Some(Unsubscribed { id, deleted: false }));
    assert_eq!(unsubscribe("t", None, 1), None, "it is gone");
    assert_eq!(unsubscribe("u", None, 1), None, "there is none");
    assert_eq!(unsubscribe("t", Some("h"), 1), None, "there is no such group");
    assert_eq!(unsubscribe("t", Some("g"), 2), None, "it is no member");
    assert_eq!(broker.lines("t"), ["a q0: 2", "a q1: 1", "one of 1(q0)"]);
}

#[test]
fn a_subscription_lasts_until_its_last_subscriber_or_member_is_gone() {
    let mut broker = Broker::default();
    let id = broker.add("t", client(1, 'a'), mqtt(AtMostOnce)).id;
    broker.share("t", "g", client(2, 'a'), mqtt(AtMostOnce));
    assert_eq!(broker.pattern(id), Some(&filter("t")));
    let first = broker.unsubscribe(&filter("t"), None, SessionId(1));
    assert_eq!(first, Some(Unsubscribed { id, deleted: false }));
    assert_eq!((broker.len(), broker.lines("t")), (1, vec!["one of 2(q0)".to_owned()]));
    let last = broker.unsubscribe(&filter("t"), Some("g"), SessionId(2));
    assert_eq!(last, Some(Unsubscribed { id, deleted: true }));
    assert_eq!(broker.lines("t"), [""; 0]);
    assert!(broker.is_empty() && broker.pattern(id).is_none());
    assert_ne!(broker.add("t", client(1, 'a'), mqtt(AtMostOnce)).id, id, "ids are not used again");
}

#[test]
fn the_version_counts_what_changes_routes() {
    let mut broker = Broker::default();
    let mut last = broker.version();
    let mut changed = |broker: &Broker<Client>| std::mem::replace(&mut last, broker.version()) != broker.version();
    broker.add("t", client(1, 'a'), mqtt(AtMostOnce));
    assert!(changed(&broker));
    broker.add("t", client(1, 'a'), mqtt(AtLeastOnce));
    assert!(changed(&broker), "other options");
    broker.unsubscribe(&filter("t"), None, SessionId(2));
    assert!(!changed(&broker), "nothing was there to be removed");
    broker.unsubscribe(&filter("t"), None, SessionId(1));
    assert!(changed(&broker));
    broker.touch();
    assert!(changed(&broker));
    broker.route(&Topic::from_name("t").unwrap());
    assert!(!changed(&broker));
}

#[test]
fn many_subscribers_of_one_topic_come_and_go() {
    let mut broker = Broker::default();
    let ids = || (0..1000_u64).map(|n| n * 7919 % 1000);
    ids().for_each(|id| {
        broker.add("t", client(id, 'a'), mqtt(AtMostOnce));
    });
    let route = broker.route(&Topic::from_name("t").unwrap());
    assert_eq!((route.lanes.len(), route.lanes[0].members.len()), (1, 1000));
    for id in ids() {
        assert!(broker.unsubscribe(&filter("t"), None, SessionId(id)).is_some());
    }
    assert!(broker.is_empty());
}
