//! The same permissions, asked over every protocol: what is allowed, and how a no is said.

use super::broker::{Broker, folder};

const CONFIG: &str = r##"
anonymous = true

[[role]]
name = "anonymous"
[[role.permissions]]
action = ["publish", "subscribe"]
topic = "open/#"
[[role.permissions]]
action = "subscribe"
topic = "open/secret/+"
allow = false
[[role.permissions]]
action = "publish"
topic = "own/%c/up"
[[role.permissions]]
action = ["call", "register"]
uri = "com.open."
match = "prefix"
[[role.permissions]]
action = "call"
uri = "fennec.key."
match = "prefix"
"##;

const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";

#[test]
fn mqtt_5_says_0x87_for_each_thing_that_is_not_allowed() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    let mut client = broker.mqtt_joined(5, "d1", None);
    for (topic, reason) in [
        ("open/a", 0x10),
        ("open/secret/a", 0x10),
        ("other", 0x87),
        ("own/d1/up", 0x10),
        ("own/d2/up", 0x87),
        ("own/d1/down", 0x87),
        ("$SYS/x", 0x87),
        ("wamp/x", 0x87),
    ] {
        assert_eq!(client.publish(topic, false), reason, "PUBLISH {topic}");
        let retained = client.publish(topic, true);
        assert_eq!(retained == 0x87, reason == 0x87, "retained PUBLISH {topic}: {retained:#x}");
    }
    for (filter, reason) in [
        ("open/a", 0),
        ("open/+", 0),
        ("open/#", 0x87),
        ("open/secret/a", 0x87),
        ("other", 0x87),
        ("#", 0x87),
        ("$share/g/open/a", 0),
        ("$share/g/other", 0x87),
        ("$rpc/com/open/add", 0),
        ("$rpc/com/other", 0x87),
    ] {
        let mut client = broker.mqtt_joined(5, "s", None);
        assert_eq!(client.subscribe(filter), reason, "SUBSCRIBE {filter}");
    }
    // Response topic `open/r`, or `other`.
    for (procedure, response, reason) in
        [("$rpc/com/open/none", "open/r", 0), ("$rpc/com/other", "open/r", 0x87), ("$rpc/com/open/none", "other", 0x87)]
    {
        let properties = [&[8, 0, response.len() as u8][..], response.as_bytes()].concat();
        assert_eq!(client.publish_with(procedure, false, &properties), reason, "{procedure} to {response}");
    }
}

#[test]
fn mqtt_3_fails_a_subscription_with_0x80_and_drops_what_may_not_be_published() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    let mut reader = broker.mqtt_joined(4, "r", None);
    assert_eq!([reader.subscribe("open/+"), reader.subscribe("other"), reader.subscribe("#")], [0, 0x80, 0x80]);
    let mut writer = broker.mqtt_joined(4, "w", None);
    // 3.1.1 has no negative acknowledgement (3.3.5): it is acknowledged, and dropped.
    assert_eq!(
        [writer.publish("other", false), writer.publish("own/x/up", false), writer.publish("open/a", false)],
        [0; 3]
    );
    assert_eq!(reader.topics_until_pong(), ["open/a"]);
}

#[test]
fn what_is_retained_is_not_sent_to_who_may_not_have_it() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    let mut writer = broker.mqtt_joined(5, "w", None);
    writer.publish("open/a", true);
    writer.publish("open/secret/a", true);
    // No subscription that is allowed matches a topic that is not: the wider one is refused as a whole.
    let mut reader = broker.mqtt_joined(5, "r", None);
    assert_eq!(reader.subscribe("open/+/a"), 0x87);
    assert_eq!(reader.subscribe("open/+"), 0);
    assert_eq!(reader.topics_until_pong(), ["open/a"]);
    let mut wamp = broker.wamp(None);
    assert_eq!(wamp.ask(r#"[48,1,{},"fennec.key.get",["open.a"]]"#), "ok");
    assert_eq!(wamp.ask(r#"[48,2,{},"fennec.key.get",["open.secret.a"]]"#), NOT_AUTHORIZED);
    wamp.send(r#"[48,3,{},"fennec.key.list",["open"],{"match":"prefix"}]"#);
    let listed = wamp.receive().unwrap_or_default();
    assert!(!listed.contains("secret"), "{listed}");
    assert_eq!(wamp.ask(r#"[48,4,{},"fennec.key.put",["other",1]]"#), NOT_AUTHORIZED);
}

#[test]
fn will_and_connect_are_refused_with_0x87() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    for (topic, reason) in [("open/gone", 0), ("other", 0x87), ("own/w/up", 0), ("own/x/up", 0x87)] {
        let mut client = broker.mqtt_with_will("w", topic);
        let (_, connack) = client.receive().expect("CONNACK");
        assert_eq!(connack[1], reason, "will to {topic}");
    }
}

#[test]
fn wamp_says_not_authorized() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    let mut client = broker.wamp(None);
    for (message, answer) in [
        (r#"[16,1,{"acknowledge":true},"open.a"]"#, "ok"),
        (r#"[16,2,{"acknowledge":true},"other"]"#, NOT_AUTHORIZED),
        // It has no client id.
        (r#"[16,3,{"acknowledge":true},"own.d1.up"]"#, NOT_AUTHORIZED),
        (r#"[32,4,{},"open.a"]"#, "ok"),
        (r#"[32,5,{"match":"wildcard"},"open."]"#, "ok"),
        (r#"[32,6,{"match":"prefix"},"open."]"#, NOT_AUTHORIZED),
        (r#"[32,7,{},"open.secret.a"]"#, NOT_AUTHORIZED),
        (r#"[32,8,{"match":"prefix"},"o"]"#, NOT_AUTHORIZED),
        (r#"[64,9,{},"com.open.add"]"#, "ok"),
        (r#"[64,10,{"match":"prefix"},"com.open.more."]"#, "ok"),
        (r#"[64,11,{},"com.other"]"#, NOT_AUTHORIZED),
        (r#"[64,12,{"match":"prefix"},"com."]"#, NOT_AUTHORIZED),
        (r#"[48,13,{},"com.other"]"#, NOT_AUTHORIZED),
        (r#"[48,14,{},"fennec.admin.user.list"]"#, NOT_AUTHORIZED),
    ] {
        assert_eq!(client.ask(message), answer, "{message}");
    }
}

#[test]
fn http_says_403() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG)]);
    let broker = Broker::start(&path);
    for (method, path, body, status) in [
        ("POST", "/publish", r#"{"topic":"open.a","args":[1]}"#, 200),
        ("POST", "/publish", r#"{"topic":"other","args":[1]}"#, 403),
        ("POST", "/publish", r#"{"mqtt_topic":"own/d1/up","args":[1]}"#, 403),
        ("POST", "/publish", r#"{"topic":"open.a","args":[1],"retain":true}"#, 200),
        ("POST", "/publish", r#"{"topic":"other","args":[1],"retain":true}"#, 403),
        ("POST", "/call", r#"{"procedure":"com.open.none"}"#, 404),
        ("POST", "/call", r#"{"procedure":"com.other"}"#, 403),
        ("GET", "/subscribe?topic=open.a", "", 200),
        ("GET", "/subscribe?topic=other", "", 403),
        ("GET", "/subscribe?topic=open.secret.a", "", 403),
        ("GET", "/subscribe?topic=open.a&topic=other", "", 403),
    ] {
        assert_eq!(broker.http(method, path, None, body).0, status, "{method} {path} {body}");
    }
}
