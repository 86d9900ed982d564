//! `fennec.key.*` and `fennec.lock.*`, called.

use super::*;

/// Calls `procedure` with these arguments, and gives back what comes.
fn call(client: &mut Client, procedure: &str, arguments: &str) -> Vec<String> {
    client.send(&format!(r#"[48,9,{{}},"fennec.{procedure}"{arguments}]"#));
    client.received()
}

#[track_caller]
fn check(client: &mut Client, procedure: &str, arguments: &str, expected: &str) {
    let got = call(client, procedure, arguments);
    assert!(got.len() == 1 && is_like(&got[0], expected), "received {got:#?}\nexpected {expected:#?}");
}

#[track_caller]
fn check_fails(client: &mut Client, procedure: &str, arguments: &str, uri: &str) {
    let got = call(client, procedure, arguments);
    let begins = format!(r#"[8,48,9,{{}},"{uri}",["#);
    assert!(got.len() == 1 && got[0].starts_with(&begins), "{procedure}{arguments}: {got:?}");
}

const PLACED: &str = r#"[50,9,{},[{"token":*,"publication":*,"event_id":"EVENT"}]]"#;

/// A value as `get` and the like tell it.
fn entry(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{value},"publication":*,"token":*,"event_id":"EVENT"}}"#)
}

#[test]
fn what_is_put_can_be_got() {
    let world = World::new();
    let mut client = world.join();
    check(&mut client, "key.get", r#",["a.b"]"#, "[50,9,{},[null]]");
    for value in ["1", "\"x\"", "[1,[2]]", r#"{"x":{"y":null}}"#, "true", r#"{"args":[1],"kwargs":{"k":2}}"#] {
        check(&mut client, "key.put", &format!(r#",["a.b",{value}]"#), PLACED);
        let got = format!("[50,9,{{}},[{}]]", entry("a.b", value));
        check(&mut client, "key.get", r#",["a.b"]"#, &got);
        check(&mut client, "key.get", r#",[],{"key":"a.b"}"#, &got);
    }
    check(&mut client, "key.delete", r#",["a.b"]"#, PLACED);
    check(&mut client, "key.get", r#",["a.b"]"#, "[50,9,{},[null]]");
}

#[test]
fn what_is_put_is_published_and_retained() {
    let world = World::new();
    let (mut client, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"a.b"]"#, &["[33,1,1]"]);
    let details = r#"{"event_id":"EVENT"}"#;
    for (value, args) in [("1", ",[1]"), ("[1,2]", ",[1,2]"), (r#"{"kwargs":{"k":2}}"#, r#",[],{"k":2}"#), ("null", "")]
    {
        check(&mut client, "key.put", &format!(r#",["a.b",{value}]"#), PLACED);
        subscriber.expect(&[&format!("[36,1,*,{details}{args}]")]);
    }
    client.check(r#"[16,1,{"retain":true},"a.b",["p"],{"k":1}]"#, &[]);
    let value = entry("a.b", r#"{"args":["p"],"kwargs":{"k":1}}"#);
    check(&mut client, "key.get", r#",["a.b"]"#, &format!("[50,9,{{}},[{value}]]"));
}

#[test]
fn a_value_expires() {
    let mut world = World::new();
    let mut client = world.join();
    check(&mut client, "key.put", r#",["a.b",1,{"expires_in":1500}]"#, PLACED);
    world.tick(1499);
    client.now_ms = world.now_ms;
    let expected = r#"[50,9,{},[{"key":"a.b","value":1,"publication":*,"token":*,"event_id":"EVENT","expires_in":1}]]"#;
    check(&mut client, "key.get", r#",["a.b"]"#, expected);
    world.tick(1);
    client.now_ms = world.now_ms;
    check(&mut client, "key.get", r#",["a.b"]"#, "[50,9,{},[null]]");
}

#[test]
fn who_reads_keys_waits_until_they_are_read_from_the_store() {
    let world = World::new();
    let (mut client, mut other) = (world.join(), world.join());
    check(&mut client, "key.put", r#",["a",1]"#, PLACED);
    crate::node::testing::begin_loading_keys(&world.node);
    for client in [&mut client, &mut other] {
        assert_eq!(call(client, "key.get", r#",["a"]"#), [""; 0]);
    }
    // It need not wait if it does not want to.
    other.check("[49,9,{}]", &[r#"[8,48,9,{},"wamp.error.canceled",["the call was canceled"]]"#]);
    crate::node::testing::keys_are_loaded(&world.node);
    client.expect(&[&format!("[50,9,{{}},[{}]]", entry("a", "1"))]);
    other.expect(&[]);
}

#[test]
fn keys_are_listed_by_pattern_page_by_page() {
    let world = World::new();
    let mut client = world.join();
    for key in ["a.b", "a.b.c", "a.d", "b", "a"] {
        check(&mut client, "key.put", &format!(r#",["{key}",1]"#), PLACED);
    }
    let list = |keys: &[&str], next: &str| {
        let keys: Vec<String> = keys.iter().map(|key| entry(key, "1")).collect();
        format!(r#"[50,9,{{}},[{{"keys":[{}]{next}}}]]"#, keys.join(","))
    };
    check(&mut client, "key.list", "", &list(&["a", "a.b", "a.b.c", "a.d", "b"], ""));
    check(&mut client, "key.list", r##",["a.#"]"##, &list(&["a", "a.b", "a.b.c", "a.d"], ""));
    check(&mut client, "key.list", r#",["a.*"]"#, &list(&["a.b", "a.d"], ""));
    check(&mut client, "key.list", r#",["a.b",{"match":"prefix"}]"#, &list(&["a.b", "a.b.c"], ""));
    check(&mut client, "key.list", r##",["a.#",{"limit":2}]"##, &list(&["a", "a.b"], r#","next":"a.b""#));
    check(
        &mut client,
        "key.list",
        r##",["a.#",{"limit":2,"after":"a.b"}]"##,
        &list(&["a.b.c", "a.d"], r#","next":"a.d""#),
    );
    check(&mut client, "key.list", r##",["a.#"],{"after":"a.d"}"##, &list(&[], ""));
    check(&mut client, "key.list", r#",["a.*",{"after":"a"}]"#, &list(&["a.b", "a.d"], ""));
}

#[test]
fn arguments_of_the_wrong_type_are_named() {
    let world = World::new();
    let mut client = world.join();
    for (procedure, arguments) in [
        ("key.get", ""),
        ("key.get", ",[7]"),
        ("key.get", r#",["a",{"x":1}]"#),
        ("key.get", r#",["a",{},1]"#),
        ("key.get", r#",["a",5]"#),
        ("key.put", r#",["a"]"#),
        ("key.put", r#",["a",1,{"when":"x"}]"#),
        ("key.put", r#",["a",1,{"watch":true}]"#),
        ("key.put", r#",["a",1,{"timeout":"x"}]"#),
        ("key.put", r#",["a",1],{"stays":1}"#),
        ("key.list", r#",[7]"#),
        ("key.list", r#",["a",{"limit":"x"}]"#),
        ("key.list", r#",["a",{"match":"x"}]"#),
        ("key.watch", r#",["a",{"when":[]}]"#),
        ("lock.acquire", r#",["a",{"timeout":-1}]"#),
        ("lock.release", r#",["a",{"token":"x"}]"#),
    ] {
        check_fails(&mut client, procedure, arguments, "wamp.error.invalid_argument");
    }
    for (procedure, arguments) in
        [("key.get", r#",["a..b"]"#), ("key.list", r##",["#.a"]"##), ("lock.acquire", r#",["a b"]"#)]
    {
        check_fails(&mut client, procedure, arguments, "wamp.error.invalid_uri");
    }
    check_fails(&mut client, "key.nothing", "", "wamp.error.no_such_procedure");
}

#[test]
fn keys_have_the_permissions_of_their_topics() {
    use Action::{Call, Publish, Subscribe};
    let permissions =
        [(Call, "#", true), (Publish, "w/#", true), (Subscribe, "r/#", true), (Call, "fennec/lock/list", false)];
    let world = Setup { roles: vec![role("anonymous", &permissions)], ..Setup::default() }.build();
    let mut client = world.join();
    const NO: &str = "wamp.error.not_authorized";
    check(&mut client, "key.put", r#",["w.a",1]"#, PLACED);
    check(&mut client, "key.get", r#",["r.a"]"#, "[50,9,{},[null]]");
    check_fails(&mut client, "key.put", r#",["r.a",1]"#, NO);
    check_fails(&mut client, "key.delete", r#",["r.a"]"#, NO);
    check_fails(&mut client, "key.get", r#",["w.a"]"#, NO);
    check_fails(&mut client, "key.watch", r#",["w.a"]"#, NO);
    check_fails(&mut client, "lock.acquire", r#",["r.a"]"#, NO);
    check_fails(&mut client, "lock.release", r#",["r.a"]"#, NO);
    check_fails(&mut client, "lock.list", "", NO);
    check_fails(&mut client, "key.put", r#",["fennec.a",1]"#, NO);
    check(&mut client, "key.list", "", r#"[50,9,{},[{"keys":[]}]]"#);
}

#[test]
fn conditions_of_put_are_those_of_publish() {
    let world = World::new();
    let mut client = world.join();
    let failed = "fennec.error.condition_failed";
    check(&mut client, "key.put", r#",["a",1,{"when":null}]"#, PLACED);
    check_fails(&mut client, "key.put", r#",["a",2,{"when":null}]"#, failed);
    let got = call(&mut client, "key.put", r#",["a",{"x":1}]"#).remove(0);
    let token = got.split(r#""token":"#).nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    check_fails(&mut client, "key.put", r#",["a",3,{"when":1}]"#, failed);
    check(&mut client, "key.put", &format!(r#",["a",{{"x":2}},{{"when":{token}}}]"#), PLACED);
    check(&mut client, "key.delete", r#",["a",{"when":{"x":2}}]"#, PLACED);
    check_fails(&mut client, "key.delete", r#",["a",{"when":{"x":2}}]"#, failed);
}

#[test]
fn a_put_may_wait() {
    let mut world = World::new();
    let (mut client, mut other) = (world.join(), world.join());
    check(&mut client, "key.put", r#",["a","taken"]"#, PLACED);
    other.check(r#"[48,8,{},"fennec.key.put",["a",2,{"when":null,"watch":true}]]"#, &[]);
    check(&mut client, "key.delete", r#",["a"]"#, PLACED);
    other.expect(&[&PLACED.replace("[50,9", "[50,8")]);
    other.check(r#"[48,8,{},"fennec.key.put",["a",2,{"when":null,"watch":true,"timeout":100}]]"#, &[]);
    world.tick(101);
    let received = other.received();
    assert!(received.len() == 1 && received[0].contains("wamp.error.timeout"), "{received:?}");
}

#[test]
fn a_watch_ends_with_the_next_value() {
    let world = World::new();
    let (mut client, mut watcher) = (world.join(), world.join());
    watcher.check(r#"[48,8,{},"fennec.key.watch",["a"]]"#, &[]);
    check(&mut client, "key.put", r#",["other",1]"#, PLACED);
    watcher.expect(&[]);
    check(&mut client, "key.put", r#",["a",1]"#, PLACED);
    watcher.expect(&[&format!("[50,8,{{}},[{}]]", entry("a", "1"))]);
    watcher.check(r#"[48,8,{},"fennec.key.watch",["a"]]"#, &[]);
    check(&mut client, "key.delete", r#",["a"]"#, PLACED);
    watcher.expect(&["[50,8,{},[null]]"]);
}

#[test]
fn a_watch_ends_when_the_value_is_as_wanted() {
    let mut world = World::new();
    let (mut client, mut watcher) = (world.join(), world.join());
    // At once, if it is that already.
    check(&mut watcher, "key.watch", r#",["a",{"when":null}]"#, "[50,9,{},[null]]");
    watcher.check(r#"[48,8,{},"fennec.key.watch",["a",{"when":{"on":true}}]]"#, &[]);
    check(&mut client, "key.put", r#",["a",{"on":false}]"#, PLACED);
    watcher.expect(&[]);
    check(&mut client, "key.put", r#",["a",{"on":true,"x":1}]"#, PLACED);
    watcher.expect(&[&format!("[50,8,{{}},[{}]]", entry("a", r#"{"on":true,"x":1}"#))]);
    watcher.check(r#"[48,8,{},"fennec.key.watch",["a",{"when":null,"timeout":50}]]"#, &[]);
    world.tick(50);
    let received = watcher.received();
    assert!(received.len() == 1 && received[0].contains("wamp.error.timeout"), "{received:?}");
}

#[test]
fn a_watch_with_progress_follows_the_key() {
    let world = World::new();
    let (mut client, mut watcher) = (world.join(), world.join());
    check(&mut client, "key.put", r#",["a",1]"#, PLACED);
    let progress = |value: &str| format!(r#"[50,8,{{"progress":true}},[{}]]"#, entry("a", value));
    watcher.check(r#"[48,8,{"receive_progress":true},"fennec.key.watch",["a"]]"#, &[&progress("1")]);
    for value in ["2", "3"] {
        check(&mut client, "key.put", &format!(r#",["a",{value}]"#), PLACED);
        watcher.expect(&[&progress(value)]);
    }
    watcher.check(r#"[49,8,{"mode":"kill"}]"#, &[r#"[8,48,8,{},"wamp.error.canceled",["the wait was canceled"]]"#]);
    check(&mut client, "key.put", r#",["a",4]"#, PLACED);
    watcher.expect(&[]);
}

#[test]
fn a_lock_goes_from_hand_to_hand() {
    let world = World::new();
    let (mut one, mut two, mut three) = (world.join(), world.join(), world.join());
    check(&mut one, "lock.acquire", r#",["app.lock"]"#, PLACED);
    check_fails(&mut two, "lock.acquire", r#",["app.lock",{"timeout":0}]"#, "fennec.error.condition_failed");
    two.check(r#"[48,8,{},"fennec.lock.acquire",["app.lock"]]"#, &[]);
    three.check(r#"[48,8,{},"fennec.lock.acquire",["app.lock"]]"#, &[]);
    check_fails(&mut three, "lock.release", r#",["app.lock"]"#, "fennec.error.not_held");
    one.check(r#"[48,10,{},"fennec.lock.release",["app.lock"]]"#, &["[50,10,{},[true]]"]);
    three.expect(&[]);
    two.expect(&[&PLACED.replace("[50,9", "[50,8")]);
    // Who dies gives it back.
    drop(two);
    three.expect(&[&PLACED.replace("[50,9", "[50,8")]);
    let holder = format!(r#"{{"session":{},"authid":"anonymous"}}"#, three.session);
    let lock = entry("app.lock", &holder).replace("\"key\"", "\"name\"");
    let session = three.session;
    let lock = format!(r#"{},"session":{session}}}"#, lock.trim_end_matches('}'));
    check(&mut one, "lock.list", "", &format!(r#"[50,9,{{}},[{{"locks":[{lock}]}}]]"#));
    check_fails(&mut one, "lock.release", r#",["nothing"]"#, "fennec.error.not_held");
}

#[test]
fn tokens_of_a_lock_rise() {
    let world = World::new();
    let mut client = world.join();
    let mut last = 0_u64;
    for _ in 0..3 {
        let got = call(&mut client, "lock.acquire", r#",["a"]"#).remove(0);
        let token: u64 =
            got.split(r#""token":"#).nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
        assert!(token > last);
        check_fails(&mut client, "lock.release", r#",["a",{"token":99}]"#, "fennec.error.not_held");
        check(&mut client, "lock.release", &format!(r#",["a",{{"token":{token}}}]"#), "[50,9,{},[true]]");
        last = token;
    }
}

#[test]
fn who_gives_up_waiting_does_not_get_the_lock() {
    let world = World::new();
    for cancel in [r#"[49,8,{"mode":"kill"}]"#, r#"[49,8,{"mode":"killnowait"}]"#, r#"[49,8,{"mode":"skip"}]"#] {
        let (mut one, mut two, mut three) = (world.join(), world.join(), world.join());
        check(&mut one, "lock.acquire", r#",["a"]"#, PLACED);
        two.check(r#"[48,8,{},"fennec.lock.acquire",["a"]]"#, &[]);
        three.check(r#"[48,8,{},"fennec.lock.acquire",["a"]]"#, &[]);
        two.send(cancel);
        let received = two.received();
        assert!(received.len() == 1 && received[0].contains("wamp.error.canceled"), "{received:?}");
        drop(one);
        if cancel.contains("skip") {
            // Nobody told the broker to stop waiting: the lock is the session's, whether or not it knows.
            three.expect(&[]);
            drop(two);
        }
        three.expect(&[&PLACED.replace("[50,9", "[50,8")]);
    }
}

#[test]
fn the_broker_goes_on_telling_the_log_that_a_holder_is_gone() {
    let mut world = World::new();
    let (mut one, mut two) = (world.join(), world.join());
    check(&mut one, "lock.acquire", r#",["a"]"#, PLACED);
    two.check(r#"[48,8,{},"fennec.lock.acquire",["a"]]"#, &[]);
    world.broken.store(true, Ordering::Relaxed);
    drop(one);
    check_fails(&mut two, "key.put", r#",["b",1]"#, "fennec.error.store_unavailable");
    world.broken.store(false, Ordering::Relaxed);
    recover(&world.node);
    world.tick(1000);
    two.expect(&[&PLACED.replace("[50,9", "[50,8")]);
}
