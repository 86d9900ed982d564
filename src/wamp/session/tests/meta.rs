//! The meta API: sessions, registrations and subscriptions, asked for and heard of.

use super::*;
use crate::node::clients::{Connecting, Leaving};
use crate::node::session::Identity;
use crate::node::testing::wire;
use crate::types::event::Qos;

/// A world whose anonymous clients may end sessions, too.
pub fn world() -> World {
    let all = [Action::Publish, Action::Subscribe, Action::Call, Action::Register].map(|action| (action, "#", true));
    let named = [(Action::Call, "wamp/#", true), (Action::Call, "fennec/#", true)];
    Setup { roles: vec![role("anonymous", &[&all[..], &named].concat())], ..Setup::default() }.build()
}

/// A client of MQTT that is connected until the link is given back.
pub fn mqtt(world: &World, client_id: &str, expiry_s: u32) -> (Arc<crate::node::clients::Client>, Arc<Link>) {
    let realm = world.node.realm("realm1").unwrap();
    let link = Arc::new(Link::default());
    let identity = Identity { client_id: Some(client_id.to_owned()), ..crate::node::testing::identity("dev") };
    let connecting = Connecting {
        rights: realm.rights_of(&identity),
        identity,
        clean_start: true,
        expiry_s,
        will: None,
        link: link.clone(),
        wire: wire(0).as_ref(),
        receive_max: 10,
        frame_bytes_max: 1000,
        alias_max: 0,
    };
    let connected = realm.clients.connect(&world.node, &realm, connecting, |_, _| {}).unwrap();
    (connected.client, link)
}

pub fn leave(world: &World, client: &Arc<crate::node::clients::Client>, link: &Arc<Link>) {
    let realm = world.node.realm("realm1").unwrap();
    realm.clients.disconnect(&world.node, &realm, client, link, Leaving::Orderly);
}

impl Client {
    /// Calls, and compares the RESULT or ERROR behind its request.
    #[track_caller]
    pub fn asks(&mut self, procedure: &str, arguments: &str, expected: &str) {
        self.send(&format!(r#"[48,9,{{}},"{procedure}"{arguments}]"#));
        let answer = self.received_answer();
        let begins = if expected.starts_with('"') { "[8,48,9,{}," } else { "[50,9,{}" };
        let answer = answer.strip_prefix(begins).unwrap_or_else(|| panic!("{answer}"));
        let comma = if expected.is_empty() || expected.starts_with('"') { "" } else { "," };
        assert!(is_like(answer, &format!("{comma}{expected}]")), "{procedure}{arguments}: {answer}");
    }

    /// Calls, and compares the URI of the ERROR.
    #[track_caller]
    pub fn is_refused(&mut self, procedure: &str, arguments: &str, uri: &str) {
        self.send(&format!(r#"[48,9,{{}},"{procedure}"{arguments}]"#));
        let answer = self.received_answer();
        assert!(answer.starts_with(&format!(r#"[8,48,9,{{}},"{uri}","#)), "{procedure}{arguments}: {answer}");
    }
}

#[test]
fn sessions_are_counted_listed_and_told_about_whatever_they_speak() {
    let world = world();
    let (mut one, other) = (world.join(), world.join());
    let (device, _link) = mqtt(&world, "lamp", 0);
    let mut all = [one.session, other.session, device.session.id.0];
    one.asks("wamp.session.count", "", "[3]");
    one.asks("wamp.session.count", r#",[["anonymous"]]"#, "[2]");
    one.asks("wamp.session.count", r#",[null]"#, "[3]");
    one.asks("wamp.session.count", r#",[["nobody"]]"#, "[0]");
    one.asks("wamp.session.list", r#",[["anyone"]]"#, &format!("[[{}]]", device.session.id));
    one.send(r#"[48,9,{},"wamp.session.list"]"#);
    let listed = one.received_answer();
    all.sort_unstable();
    let mut ids: Vec<u64> = listed.split(['[', ']', ',']).filter_map(|id| id.parse().ok()).skip(2).collect();
    ids.sort_unstable();
    assert_eq!(ids, all, "{listed}");
    let details = format!(
        r#"[{{"session":{},"authid":"dev","authrole":"anyone","authmethod":"anonymous","authprovider":"static""#,
        device.session.id
    );
    one.send(&format!(r#"[48,9,{{}},"wamp.session.get",[{}]]"#, device.session.id));
    let told = one.received_answer();
    assert!(told.starts_with(&format!("[50,9,{{}},{details}")), "{told}");
    assert!(told.contains(r#""protocol":"mqtt","#) && told.contains(r#""client_id":"lamp""#), "{told}");
    one.is_refused("wamp.session.get", ",[17]", "wamp.error.no_such_session");
    for wrong in ["", r#",["a"]"#, ",[-1]", ",[1,2]", ",[null]", r#",[],{"session":{}}"#] {
        one.is_refused("wamp.session.get", wrong, "wamp.error.invalid_argument");
    }
    for wrong in [r#",["a"]"#, ",[[1]]", ",[[],1]", r#",[],{"what":1}"#] {
        one.is_refused("wamp.session.list", wrong, "wamp.error.invalid_argument");
        one.is_refused("wamp.session.count", wrong, "wamp.error.invalid_argument");
    }
}

#[test]
fn joining_and_leaving_is_heard_by_those_who_subscribe_and_by_nobody_else() {
    let world = world();
    let (mut everything, mut one) = (world.join(), world.join());
    everything.check(r##"[32,1,{},"#"]"##, &["[33,1,1]"]);
    one.check(r#"[32,1,{},"wamp.session.on_join"]"#, &["[33,1,2]"]);
    one.check(r#"[32,2,{"match":"prefix"},"wamp.session."]"#, &["[33,2,3]"]);
    let mut other = world.join();
    let joined = format!(
        r#"[{{"session":{},"authid":"anonymous","authrole":"anonymous","authmethod":"anonymous""#,
        other.session
    );
    let heard = one.received();
    assert!(heard.len() == 2 && heard.iter().all(|event| event.contains(&joined)), "{heard:?}");
    assert!(heard[1].contains(r#"{"topic":"wamp.session.on_join"}"#) || heard[0].contains("on_join"), "{heard:?}");
    let left = |session: u64, who: &str, role: &str| {
        vec![format!(r#"[36,3,*,{{"topic":"wamp.session.on_leave"}},[{session},"{who}","{role}"]]"#)]
    };
    let check = |one: &mut Client, expected: Vec<String>| {
        one.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    other.check(r#"[6,{},"wamp.close.close_realm"]"#, &[r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
    check(&mut one, left(other.session, "anonymous", "anonymous"));
    // A connection that is lost, and one that breaks the protocol.
    let lost = world.join();
    one.received();
    let session = lost.session;
    drop(lost);
    check(&mut one, left(session, "anonymous", "anonymous"));
    let mut wrong = world.join();
    one.received();
    wrong.send("[48]");
    wrong.received();
    check(&mut one, left(wrong.session, "anonymous", "anonymous"));
    // MQTT clients are heard of by their connections, not by what is kept of them.
    let (device, link) = mqtt(&world, "lamp", 0);
    let joined = one.received();
    assert!(joined.len() == 2 && joined[0].contains(r#""client_id":"lamp""#), "{joined:?}");
    leave(&world, &device, &link);
    check(&mut one, left(device.session.id.0, "dev", "anyone"));
    assert_eq!(everything.received(), Vec::<String>::new());
    // Nothing is said any more when nobody listens.
    one.check("[34,3,2]", &["[35,3]"]);
    one.check("[34,4,3]", &["[35,4]"]);
    drop(world.join());
    assert_eq!(one.received(), Vec::<String>::new());
}

#[test]
fn a_client_that_takes_its_session_over_leaves_and_joins() {
    let world = world();
    let mut one = world.join();
    one.check(r#"[32,1,{"match":"prefix"},"wamp.session."]"#, &["[33,1,1]"]);
    let (_first, _link) = mqtt(&world, "lamp", 0);
    let joined = one.received();
    assert_eq!(joined.len(), 1, "{joined:?}");
    let (_second, _other) = mqtt(&world, "lamp", 0);
    let heard = one.received();
    let topics: Vec<bool> = heard.iter().map(|event| event.contains("on_leave")).collect();
    assert_eq!(topics, [true, false], "{heard:?}");
    one.asks("wamp.session.count", "", "[2]");
}

#[test]
fn a_session_is_killed_with_the_reason_and_message_of_who_kills_it() {
    let world = world();
    let (mut one, mut other) = (world.join(), world.join());
    let kill = |arguments: &str| format!(",[{}]{arguments}", other.session);
    one.asks("wamp.session.kill", &kill(r#",{"reason":"app.close.bored","message":"go away"}"#), "");
    assert_eq!(other.gate.link().asked_to_end(), Some(crate::node::link::End::Kicked));
    other.gate.end(crate::node::link::End::Kicked, world.now_ms);
    other.expect(&[r#"[6,{"message":"go away"},"app.close.bored"]"#]);
    one.is_refused("wamp.session.kill", &format!(",[{}]", other.session), "wamp.error.no_such_session");
    one.is_refused("wamp.session.kill", &format!(",[{}]", one.session), "wamp.error.no_such_session");
    let mut third = world.join();
    let third_id = third.session;
    for wrong in [r#"{"reason":"no uri #"}"#, r#"{"reason":""}"#] {
        one.is_refused("wamp.session.kill", &format!(",[{third_id}],{wrong}"), "wamp.error.invalid_uri");
    }
    for wrong in [r#"{"reason":1}"#, r#"{"message":1}"#, r#"{"message":"a\nb"}"#, r#"{"why":"x"}"#] {
        one.is_refused("wamp.session.kill", &format!(",[{third_id}],{wrong}"), "wamp.error.invalid_argument");
    }
    for wrong in ["", r#",["x"]"#, ",[1.5]"] {
        one.is_refused("wamp.session.kill", wrong, "wamp.error.invalid_argument");
    }
    // Unless said: killed, and nothing else.
    one.asks("wamp.session.kill", &format!(",[{third_id}]"), "");
    third.gate.end(crate::node::link::End::Kicked, world.now_ms);
    third.expect(&[r#"[6,{},"wamp.close.killed"]"#]);
}

#[test]
fn sessions_are_killed_by_user_and_by_role_and_all_but_the_caller() {
    let world = world();
    let mut one = world.join();
    let (device, link) = mqtt(&world, "lamp", 0);
    let (_others, other_link) = mqtt(&world, "door", 0);
    one.asks("wamp.session.kill_by_authid", r#",["nobody"]"#, "[[]]");
    one.send(r#"[48,9,{},"wamp.session.kill_by_authid",["dev"],{"message":"by id"}]"#);
    let killed = one.received_answer();
    assert!(killed.contains(&device.session.id.0.to_string()), "{killed}");
    for link in [&link, &other_link] {
        assert_eq!(
            link.kicked().map(|kick| (kick.reason.as_str(), kick.message.as_deref())),
            Some(("wamp.close.killed", Some("by id")))
        );
    }
    // They are going already.
    one.asks("wamp.session.kill_by_authrole", r#",["anyone"]"#, "[0]");
    let third = world.join();
    one.asks("wamp.session.kill_by_authrole", r#",["anonymous"]"#, "[1]");
    assert!(third.gate.link().kicked().is_some() && one.gate.link().kicked().is_none());
    let (_fourth, _fifth) = (world.join(), world.join());
    one.asks("wamp.session.kill_all", r#",[],{"reason":"app.over"}"#, "[2]");
    for procedure in ["wamp.session.kill_by_authid", "wamp.session.kill_by_authrole"] {
        one.is_refused(procedure, ",[1]", "wamp.error.invalid_argument");
        one.is_refused(procedure, "", "wamp.error.invalid_argument");
        one.is_refused(procedure, r#",["a"],{"reason":"x y"}"#, "wamp.error.invalid_uri");
    }
    one.is_refused("wamp.session.kill_all", r#",[1]"#, "wamp.error.invalid_argument");
}

#[test]
fn details_of_a_session_are_added_changed_and_removed_but_not_the_brokers_own() {
    let world = world();
    let mut one = world.join();
    let me = one.session;
    one.asks("wamp.session.modify_details", &format!(r#",[{me},{{"place":"attic","floor":3}}]"#), "");
    let get = |one: &mut Client| {
        one.send(&format!(r#"[48,9,{{}},"wamp.session.get",[{me}]]"#));
        one.received_answer()
    };
    assert!(get(&mut one).contains(r#""place":"attic","floor":3"#));
    one.asks("wamp.session.modify_details", &format!(r#",[{me},{{"place":null,"floor":4}}]"#), "");
    let told = get(&mut one);
    assert!(told.contains(r#""floor":4"#) && !told.contains("place"), "{told}");
    let refused = format!(r#",[{me},{{"authid":"root"}}]"#);
    one.is_refused("wamp.session.modify_details", &refused, "wamp.error.invalid_argument");
    one.is_refused("wamp.session.modify_details", &format!(",[{me},7]"), "wamp.error.invalid_argument");
    one.is_refused("wamp.session.modify_details", r#",[5,{"a":1}]"#, "wamp.error.no_such_session");
    let long = "x".repeat(5000);
    one.is_refused(
        "wamp.session.modify_details",
        &format!(r#",[{me},{{"a":"{long}"}}]"#),
        "fennec.error.quota_exceeded",
    );
}

#[test]
fn who_may_do_everything_may_not_end_sessions_unless_that_is_said() {
    let world = World::new();
    let (mut one, other) = (world.join(), world.join());
    one.asks("wamp.session.count", "", "[2]");
    for (procedure, arguments) in [
        ("wamp.session.kill", format!(",[{}]", other.session)),
        ("wamp.session.kill_by_authid", r#",["anonymous"]"#.to_owned()),
        ("wamp.session.kill_by_authrole", r#",["anonymous"]"#.to_owned()),
        ("wamp.session.kill_all", String::new()),
        ("wamp.session.modify_details", format!(",[{},{{}}]", one.session)),
        ("fennec.admin.sessions", String::new()),
        ("fennec.admin.retained_delete", r#",["a"]"#.to_owned()),
    ] {
        one.is_refused(procedure, &arguments, "wamp.error.not_authorized");
    }
    assert!(other.gate.link().kicked().is_none());
}

#[test]
fn registrations_are_listed_looked_up_matched_and_told_about() {
    let world = world();
    let (mut callee, mut one) = (world.join(), world.join());
    callee.check(r#"[64,1,{"invoke":"roundrobin"},"app.add"]"#, &["[65,1,1]"]);
    callee.check(r#"[64,2,{"match":"prefix"},"app"]"#, &["[65,2,2]"]);
    callee.check(r#"[64,3,{"match":"wildcard"},"app..x"]"#, &["[65,3,3]"]);
    one.asks("wamp.registration.list", "", r#"[{"exact":[1],"prefix":[2],"wildcard":[3]}]"#);
    one.asks("wamp.registration.lookup", r#",["app.add"]"#, "[1]");
    one.asks("wamp.registration.lookup", r#",["app",{"match":"prefix"}]"#, "[2]");
    one.asks("wamp.registration.lookup", r#",["app..x",{"match":"wildcard","invoke":"first"}]"#, "[3]");
    one.asks("wamp.registration.lookup", r#",["app"]"#, "[null]");
    one.asks("wamp.registration.match", r#",["app.add"]"#, "[1]");
    one.asks("wamp.registration.match", r#",["app.sub"]"#, "[2]");
    one.asks("wamp.registration.match", r#",["other"]"#, "[null]");
    one.asks(
        "wamp.registration.get",
        ",[1]",
        r#"[{"id":1,"created":"2023-11-14T22:13:20.000Z","uri":"app.add","match":"exact","invoke":"roundrobin"}]"#,
    );
    one.asks("wamp.registration.list_callees", ",[1]", &format!("[[{}]]", callee.session));
    one.asks("wamp.registration.count_callees", ",[1]", "[1]");
    for procedure in ["get", "list_callees", "count_callees"] {
        let procedure = format!("wamp.registration.{procedure}");
        one.is_refused(&procedure, ",[99]", "wamp.error.no_such_registration");
        one.is_refused(&procedure, r#",["1"]"#, "wamp.error.invalid_argument");
        one.is_refused(&procedure, "", "wamp.error.invalid_argument");
    }
    for procedure in ["lookup", "match"] {
        let procedure = format!("wamp.registration.{procedure}");
        one.is_refused(&procedure, ",[1]", "wamp.error.invalid_argument");
        one.is_refused(&procedure, r##",["a#b"]"##, "wamp.error.invalid_uri");
    }
    one.is_refused("wamp.registration.lookup", r#",["a",{"match":"most"}]"#, "wamp.error.invalid_argument");
    one.is_refused("wamp.registration.list", ",[1]", "wamp.error.invalid_argument");
}

#[test]
fn registrations_are_heard_of_from_the_first_callee_to_the_last() {
    let world = world();
    let (mut one, mut callee, mut other) = (world.join(), world.join(), world.join());
    one.check(r#"[32,1,{"match":"prefix"},"wamp.registration."]"#, &["[33,1,1]"]);
    let event = |what: &str, args: &str| format!(r#"[36,1,*,{{"topic":"wamp.registration.{what}"}},{args}]"#);
    let check = |one: &mut Client, expected: &[String]| {
        one.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    callee.check(r#"[64,1,{"invoke":"first"},"app.add"]"#, &["[65,1,1]"]);
    let details = r#"{"id":1,"created":"2023-11-14T22:13:20.000Z","uri":"app.add","match":"exact","invoke":"first"}"#;
    let (first, second) = (callee.session, other.session);
    check(
        &mut one,
        &[event("on_create", &format!("[{first},{details}]")), event("on_register", &format!("[{first},1]"))],
    );
    other.check(r#"[64,1,{"invoke":"first"},"app.add"]"#, &["[65,1,1]"]);
    check(&mut one, &[event("on_register", &format!("[{second},1]"))]);
    callee.check("[66,2,1]", &["[67,2]"]);
    check(&mut one, &[event("on_unregister", &format!("[{first},1]"))]);
    drop(other);
    check(&mut one, &[event("on_unregister", &format!("[{second},1]")), event("on_delete", &format!("[{second},1]"))]);
}

#[test]
fn subscriptions_are_listed_looked_up_matched_and_told_about_whatever_their_sessions_speak() {
    let world = world();
    let (mut one, mut other) = (world.join(), world.join());
    one.check(r#"[32,1,{},"app.a"]"#, &["[33,1,1]"]);
    other.check(r#"[32,1,{},"app.a"]"#, &["[33,1,1]"]);
    one.check(r#"[32,2,{"match":"prefix"},"app"]"#, &["[33,2,2]"]);
    one.check(r#"[32,3,{"match":"wildcard"},"app..b"]"#, &["[33,3,3]"]);
    let realm = world.node.realm("realm1").unwrap();
    let (device, link) = mqtt(&world, "lamp", 0);
    let pattern = TopicPattern::from_filter("app/#").unwrap();
    let options = crate::node::testing::merged(Qos::AtLeastOnce);
    let held = crate::node::clients::Held { pattern, group: None, options, fields: None, since: 0 };
    device.record.lock().subscriptions.insert("app/#".into(), held.clone());
    device.subscribe(&realm, "app/#", held, None);
    one.asks("wamp.subscription.list", "", r#"[{"exact":[1],"prefix":[2],"wildcard":[3],"fox":[4]}]"#);
    one.asks("wamp.subscription.lookup", r#",["app.a"]"#, "[1]");
    one.asks("wamp.subscription.lookup", r#",["app",{"match":"prefix"}]"#, "[2]");
    one.asks("wamp.subscription.lookup", r##",["app.#"]"##, "[4]");
    one.asks("wamp.subscription.lookup", r#",["app.b"]"#, "[null]");
    one.asks("wamp.subscription.match", r#",["app.a"]"#, "[[1,2,4]]");
    one.asks("wamp.subscription.match", r#",["app.x.b"]"#, "[[2,3,4]]");
    one.asks("wamp.subscription.match", r#",["other"]"#, "[null]");
    one.asks(
        "wamp.subscription.get",
        ",[2]",
        r#"[{"id":2,"created":"2023-11-14T22:13:20.000Z","uri":"app","match":"prefix"}]"#,
    );
    one.asks("wamp.subscription.list_subscribers", ",[4]", &format!("[[{}]]", device.session.id));
    one.asks("wamp.subscription.count_subscribers", ",[1]", "[2]");
    leave(&world, &device, &link);
    one.is_refused("wamp.subscription.get", ",[4]", "wamp.error.no_such_subscription");
    for procedure in ["get", "list_subscribers", "count_subscribers"] {
        let procedure = format!("wamp.subscription.{procedure}");
        one.is_refused(&procedure, ",[99]", "wamp.error.no_such_subscription");
        one.is_refused(&procedure, r#",[{}]"#, "wamp.error.invalid_argument");
        one.is_refused(&procedure, "", "wamp.error.invalid_argument");
    }
    for procedure in ["lookup", "match"] {
        let procedure = format!("wamp.subscription.{procedure}");
        one.is_refused(&procedure, ",[null]", "wamp.error.invalid_argument");
        one.is_refused(&procedure, r#",["a b"]"#, "wamp.error.invalid_uri");
    }
    one.is_refused("wamp.subscription.list", ",[1]", "wamp.error.invalid_argument");
}

#[test]
fn subscriptions_are_heard_of_from_the_first_subscriber_to_the_last() {
    let world = world();
    let (mut one, mut other, mut third) = (world.join(), world.join(), world.join());
    one.check(r#"[32,1,{"match":"wildcard"},"wamp.subscription."]"#, &["[33,1,1]"]);
    let session = one.session;
    let own = |one: &Client| {
        assert_eq!(one.session, session);
        one.session
    };
    let event = |what: &str, args: &str| format!(r#"[36,1,*,{{"topic":"wamp.subscription.{what}"}},{args}]"#);
    let check = |one: &mut Client, expected: &[String]| {
        one.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    own(&one);
    other.check(r#"[32,1,{},"app.a"]"#, &["[33,1,2]"]);
    let (first, second) = (other.session, third.session);
    let details = r#"{"id":2,"created":"2023-11-14T22:13:20.000Z","uri":"app.a","match":"exact"}"#;
    check(
        &mut one,
        &[event("on_create", &format!("[{first},{details}]")), event("on_subscribe", &format!("[{first},2]"))],
    );
    third.check(r#"[32,1,{},"app.a"]"#, &["[33,1,2]"]);
    check(&mut one, &[event("on_subscribe", &format!("[{second},2]"))]);
    // Once more is nothing new.
    third.check(r#"[32,2,{},"app.a"]"#, &["[33,2,2]"]);
    assert_eq!(one.received(), Vec::<String>::new());
    other.check("[34,2,2]", &["[35,2]"]);
    check(&mut one, &[event("on_unsubscribe", &format!("[{first},2]"))]);
    drop(third);
    check(&mut one, &[event("on_unsubscribe", &format!("[{second},2]")), event("on_delete", &format!("[{second},2]"))]);
}
