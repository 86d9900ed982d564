//! PUBLISH to EVENT.

use super::*;
use crate::node::metrics::{Drop, Protocol};

/// A publisher, and a subscriber of `com.topic` with subscription 1.
fn pair(world: &World) -> (Client, Client) {
    let (publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    (publisher, subscriber)
}

/// Sends a PUBLISH with these options, and compares the details of the event.
#[track_caller]
fn check_details(options: &str, details: &str) {
    let world = World::new();
    let (mut publisher, mut subscriber) = pair(&world);
    publisher.check(&format!(r#"[16,1,{{{options}}},"com.topic",[1]]"#), &[]);
    let details = details.replace("PUBLISHER", &publisher.session.to_string());
    subscriber.expect(&[&format!("[36,1,*,{{{details}}},[1]]")]);
}

#[track_caller]
fn check_wrong(option: &str, expected: &str) {
    let world = World::new();
    let (mut publisher, mut subscriber) = pair(&world);
    let name = option[1..].split('"').next().unwrap().trim_start_matches('_');
    let error = format!(r#"[8,16,1,{{}},"wamp.error.invalid_argument",["option {name} must be {expected}"]]"#);
    publisher.check(&format!(r#"[16,1,{{{option},"acknowledge":true}},"com.topic"]"#), &[&error]);
    publisher.check(&format!(r#"[16,1,{{"acknowledge":true,{option}}},"com.topic"]"#), &[&error]);
    publisher.check(&format!(r#"[16,1,{{{option}}},"com.topic"]"#), &[]);
    subscriber.expect(&[]);
    assert!(!publisher.closed);
}

#[test]
fn arguments_arrive_as_they_were() {
    let world = World::new();
    let (mut publisher, mut subscriber) = pair(&world);
    for (sent, got) in [
        ("", ""),
        (r#",["a",1.50,null,{"x":[]}]"#, r#",["a",1.50,null,{"x":[]}]"#),
        (r#",["a"],{"k":null}"#, r#",["a"],{"k":null}"#),
        (r#",[],{"k":1}"#, r#",[],{"k":1}"#),
        (",[]", ""),
        (",[],{}", ""),
        (",null,null", ""),
        (r#",null,{"k":1}"#, r#",[],{"k":1}"#),
    ] {
        publisher.check(&format!(r#"[16,1,{{}},"com.topic"{sent}]"#), &[]);
        subscriber.expect(&[&format!("[36,1,*,{{}}{got}]")]);
    }
}

#[test]
fn every_serializer_hears_every_other() {
    let world = World::new();
    let names = ["json", "msgpack", "cbor", "json.batched", "msgpack.batched", "cbor.batched"];
    let mut clients: Vec<Client> = names.iter().map(|name| world.connect_by(&format!("wamp.2.{name}"))).collect();
    for client in &mut clients {
        client.join(HELLO);
        client.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    }
    for from in 0..clients.len() {
        clients[from].check(r#"[16,2,{"disclose_me":true},"com.topic",["a",-1,{"b":[true]}],{"k":1.5}]"#, &[]);
        let publisher = clients[from].session;
        for (to, client) in clients.iter_mut().enumerate().filter(|(to, _)| *to != from) {
            let details = format!(
                r#"{{"publisher":{publisher},"publisher_authid":"anonymous","publisher_authrole":"anonymous"}}"#
            );
            client.expect(&[&format!(r#"[36,1,*,{details},["a",-1,{{"b":[true]}}],{{"k":1.5}}]"#)]);
            assert!(to != from);
        }
    }
}

#[test]
fn binary_survives_json() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.connect_by("wamp.2.msgpack"));
    subscriber.join(HELLO);
    subscriber.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    publisher.check(r#"[16,1,{},"com.topic",["\u0000AQID"]]"#, &[]);
    let frame = subscriber.written();
    assert!(frame.ends_with(&[0x91, 0xc4, 3, 1, 2, 3]), "{frame:x?}");
}

#[test]
fn a_publish_is_acknowledged_when_asked() {
    let world = World::new();
    let mut publisher = world.join();
    publisher.check(r#"[16,5,{"acknowledge":true},"com.topic"]"#, &["[17,5,*]"]);
    publisher.check(r#"[16,6,{"acknowledge":false},"com.topic"]"#, &[]);
    publisher.check(r#"[16,7,{"acknowledge":null},"com.topic"]"#, &[]);
    publisher.check(r#"[16,7,{},"com.topic"]"#, &[]);
}

#[test]
fn the_event_has_the_publication_id_of_published() {
    let world = World::new();
    let (mut publisher, mut subscriber) = pair(&world);
    publisher.send(r#"[16,5,{"acknowledge":true},"com.topic"]"#);
    let published = publisher.received().remove(0);
    let id = published.trim_end_matches(']').rsplit(',').next().unwrap();
    subscriber.expect(&[&format!("[36,1,{id},{{}}]")]);
}

#[test]
fn a_publisher_hears_itself_only_if_it_asks() {
    let world = World::new();
    let mut client = world.join();
    client.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    client.check(r#"[16,1,{},"com.topic"]"#, &[]);
    client.check(r#"[16,1,{"exclude_me":true},"com.topic"]"#, &[]);
    client.check(r#"[16,1,{"exclude_me":null},"com.topic"]"#, &[]);
    client.check(r#"[16,1,{"exclude_me":false},"com.topic"]"#, &["[36,1,*,{}]"]);
}

#[test]
fn events_of_one_publisher_keep_their_order() {
    let world = World::new();
    let (mut publisher, mut subscriber) = pair(&world);
    subscriber.check(r#"[32,2,{},"com.other"]"#, &["[33,2,2]"]);
    for (sent, topic) in [(1, "com.topic"), (2, "com.other"), (3, "com.topic")] {
        publisher.check(&format!(r#"[16,1,{{}},"{topic}",[{sent}]]"#), &[]);
    }
    subscriber.expect(&["[36,1,*,{},[1]]", "[36,2,*,{},[2]]", "[36,1,*,{},[3]]"]);
}

#[test]
fn lists_say_who_gets_an_event() {
    let world = World::new();
    let mut publisher = world.join();
    let mut subscribers: Vec<Client> = (0..3).map(|_| world.join()).collect();
    for subscriber in &mut subscribers {
        subscriber.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    }
    let ids: Vec<u64> = subscribers.iter().map(|subscriber| subscriber.session).collect();
    let (a, b) = (ids[0], ids[1]);
    for (options, get) in [
        (format!(r#""exclude":[{a}]"#), [false, true, true]),
        (format!(r#""exclude":[{a},{b}]"#), [false, false, true]),
        (r#""exclude":[]"#.to_owned(), [true; 3]),
        (format!(r#""eligible":[{a},{b},7]"#), [true, true, false]),
        (r#""eligible":[]"#.to_owned(), [false; 3]),
        (format!(r#""eligible":[{a},{b}],"exclude":[{b}]"#), [true, false, false]),
        (r#""eligible":null"#.to_owned(), [true; 3]),
        (r#""exclude_authid":["anonymous"]"#.to_owned(), [false; 3]),
        (r#""exclude_authid":["joe"]"#.to_owned(), [true; 3]),
        (r#""exclude_authrole":["anonymous"]"#.to_owned(), [false; 3]),
        (r#""eligible_authid":["anonymous"]"#.to_owned(), [true; 3]),
        (r#""eligible_authid":["joe"]"#.to_owned(), [false; 3]),
        (r#""eligible_authrole":["anonymous","x"]"#.to_owned(), [true; 3]),
        (r#""eligible_authrole":["x"]"#.to_owned(), [false; 3]),
    ] {
        publisher.check(&format!(r#"[16,1,{{{options}}},"com.topic"]"#), &[]);
        let got: Vec<bool> = subscribers.iter_mut().map(|subscriber| !subscriber.received().is_empty()).collect();
        assert_eq!(got, get, "{options}");
    }
}

#[test]
fn a_publisher_is_disclosed_when_it_asks() {
    check_details("", "");
    check_details(r#""disclose_me":false"#, "");
    check_details(
        r#""disclose_me":true"#,
        r#""publisher":PUBLISHER,"publisher_authid":"anonymous","publisher_authrole":"anonymous""#,
    );
}

#[test]
fn properties_travel_with_an_event() {
    check_details(r#""content_type":"text/plain""#, r#""content_type":"text/plain""#);
    check_details(r#""response_topic":"a.b%2Ec""#, r#""response_topic":"a.b%2Ec""#);
    check_details(r#""correlation_data":"x7""#, r#""correlation_data":"\u0000eDc=""#);
    check_details(r#""correlation_data":"\u0000/w==""#, r#""correlation_data":"\u0000/w==""#);
    check_details(r#""user_properties":{"b":"1","a":"2"}"#, r#""user_properties":[["b","1"],["a","2"]]"#);
    let pairs = r#""user_properties":[["b","1"],["a","2"],["b","3"]]"#;
    check_details(pairs, pairs);
    check_details(r#""user_properties":{},"content_type":"""#, r#""content_type":"""#);
    check_details(r#""user_properties":[]"#, "");
    check_details(r#""user_properties":{"a":null}"#, "");
    check_details(r#""payload_format_indicator":1"#, r#""payload_format_indicator":1"#);
    check_details(r#""payload_format_indicator":0"#, r#""payload_format_indicator":0"#);
    check_details(r#""message_expiry_interval":60"#, r#""message_expiry_interval":60"#);
    check_details(r#""content_type":null,"response_topic":null,"user_properties":null"#, "");
}

#[test]
fn options_may_begin_with_an_underscore() {
    check_details(r#""_content_type":"x","_response_topic":"y""#, r#""content_type":"x","response_topic":"y""#);
    let world = World::new();
    let mut publisher = world.join();
    publisher.check(r#"[16,1,{"_retain":true},"com.topic",[1]]"#, &[]);
    publisher.check(
        r#"[32,2,{"_get_retained":true},"com.topic"]"#,
        &["[33,2,1]", r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#],
    );
}

#[test]
fn unknown_options_are_ignored() {
    check_details(r#""x":1,"_y":[{"z":null}],"ppt_mode":"a","":{}"#, "");
}

#[test]
fn options_have_their_types() {
    check_wrong(r#""exclude_me":1"#, "a boolean");
    check_wrong(r#""disclose_me":"true""#, "a boolean");
    check_wrong(r#""retain":{}"#, "a boolean");
    check_wrong(r#""_retain":0"#, "a boolean");
    check_wrong(r#""exclude":5"#, "a list of session ids");
    check_wrong(r#""exclude":["a"]"#, "a list of session ids");
    check_wrong(r#""eligible":[0]"#, "a list of session ids");
    check_wrong(r#""eligible":[1.0]"#, "a list of session ids");
    check_wrong(r#""exclude_authid":"joe""#, "a list of strings");
    check_wrong(r#""exclude_authrole":[null]"#, "a list of strings");
    check_wrong(r#""eligible_authid":{"a":1}"#, "a list of strings");
    check_wrong(r#""eligible_authrole":[["a"]]"#, "a list of strings");
    check_wrong(r#""content_type":1"#, "a string");
    check_wrong(r#""response_topic":1"#, "a string");
    check_wrong(r#""response_topic":"a..b""#, "a URI");
    check_wrong(r#""correlation_data":[1]"#, "a string or binary");
    for wrong in ["1", "[1]", r#"[["a"]]"#, r#"[["a","b","c"]]"#, r#"[["a",1]]"#, r#"{"a":1}"#, r#"{"a":["b"]}"#] {
        check_wrong(&format!(r#""user_properties":{wrong}"#), "a list of [name, value] or a dict, all of strings");
    }
    check_wrong(r#""payload_format_indicator":true"#, "0 or 1");
    check_wrong(r#""payload_format_indicator":2"#, "0 or 1");
    check_wrong(r#""message_expiry_interval":-1"#, "a number of seconds below 2^32");
    check_wrong(r#""message_expiry_interval":4294967296"#, "a number of seconds below 2^32");
}

#[test]
fn who_is_wrong_about_acknowledge_is_told() {
    let mut publisher = World::new().join();
    publisher.check(
        r#"[16,1,{"acknowledge":1},"com.topic"]"#,
        &[r#"[8,16,1,{},"wamp.error.invalid_argument",["option acknowledge must be a boolean"]]"#],
    );
}

#[test]
fn topics_are_uris() {
    let mut publisher = World::new().join();
    for topic in ["", "a..b", ".a", "a b", "a.#", "#", "%", "a\\u0000"] {
        publisher.check_error(&format!(r#"[16,9,{{"acknowledge":true}},"{topic}"]"#), 16, 9, "wamp.error.invalid_uri");
        publisher.check(&format!(r#"[16,9,{{}},"{topic}"]"#), &[]);
    }
}

#[test]
fn topics_of_the_broker_are_not_published_to() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    for topic in ["wamp.session.on_join", "wamp", "fennec.x", "$SYS.broker"] {
        subscriber.check(&format!(r#"[32,1,{{"match":"exact"}},"{topic}"]"#), &["[33,1,*]"]);
        let publish = format!(r#"[16,9,{{"acknowledge":true}},"{topic}"]"#);
        publisher.check_error(&publish, 16, 9, "wamp.error.not_authorized");
        publisher.check(&format!(r#"[16,9,{{}},"{topic}"]"#), &[]);
    }
    subscriber.expect(&[]);
    publisher.check(r#"[16,9,{"acknowledge":true},"wampo.x"]"#, &["[17,9,*]"]);
}

#[test]
fn roles_say_what_may_be_published() {
    let roles = vec![role(
        "anonymous",
        &[(Action::Publish, "a/#", true), (Action::Publish, "a/secret", false), (Action::Subscribe, "#", true)],
    )];
    let world = Setup { roles, ..Setup::default() }.build();
    let mut publisher = world.join();
    publisher.check(r#"[16,1,{"acknowledge":true},"a.b"]"#, &["[17,1,*]"]);
    for topic in ["a.secret", "b"] {
        let publish = format!(r#"[16,9,{{"acknowledge":true}},"{topic}"]"#);
        publisher.check_error(&publish, 16, 9, "wamp.error.not_authorized");
    }
}

#[test]
fn an_event_too_large_for_one_receiver_reaches_the_others() {
    let world = World::new();
    let encoding = Encoding::from_subprotocol("wamp.2.json").unwrap();
    let (mut publisher, mut small, mut large) = (world.join(), world.connect_with(encoding, 1000), world.join());
    small.join(HELLO);
    for client in [&mut small, &mut large] {
        client.check(r#"[32,1,{},"com.topic"]"#, &["[33,1,1]"]);
    }
    for bytes in [2_000, 100_000] {
        let text = "x".repeat(bytes);
        publisher.check(&format!(r#"[16,1,{{}},"com.topic",["{text}"]]"#), &[]);
        large.expect(&[&format!(r#"[36,1,*,{{}},["{text}"]]"#)]);
        small.expect(&[]);
    }
    publisher.check(r#"[16,1,{},"com.topic",["small"]]"#, &[]);
    small.expect(&[r#"[36,1,*,{},["small"]]"#]);
    let dropped = &world.node.metrics.of(Protocol::Wamp).dropped[Drop::TooLarge as usize];
    assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn a_codec_says_how_bytes_become_arguments() {
    use crate::node::publish::Publication;
    use crate::types::payload::PayloadRef;
    use crate::types::topic::Topic;

    let codecs = vec![
        (TopicPattern::from_filter("raw/#").unwrap(), Codec::Raw),
        (TopicPattern::from_filter("json/#").unwrap(), Codec::Json),
    ];
    let world = Setup { codecs, ..Setup::default() }.build();
    let mut subscriber = world.join();
    subscriber.check("[32,1,{},\"#\"]", &["[33,1,1]"]);
    let realm = world.node.realm("realm1").unwrap();
    for (topic, payload, args) in [
        ("a", &b"17"[..], Some("[17]")),
        ("a", b"[1,2]", Some("[1,2]")),
        ("a", br#"{"args":[1],"kwargs":{"a":2}}"#, Some(r#"[1],{"a":2}"#)),
        ("a", br#"{"a":"\u00e9\n"}"#, Some(r#"[{"a":"\u00e9\n"}]"#)),
        ("a", b"plain \"text\"", Some(r#"["plain \"text\""]"#)),
        ("a", b"\xff", Some(r#"["\u0000/w=="]"#)),
        ("raw/a", b"17", Some(r#"["\u0000MTc="]"#)),
        ("json/a", b"no", None),
    ] {
        let publication = Publication::plain(PayloadRef::Bytes(payload), Node::UNSAID_QOS);
        let topic = Arc::new(Topic::from_name(topic).unwrap());
        world.node.publish_as_broker(&realm, &topic, &publication, Protocol::Mqtt, NOW_MS);
        let expected = args.map(|args| format!(r#"[36,1,*,{{"topic":"{}"}},{args}]"#, topic.uri()));
        subscriber.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
