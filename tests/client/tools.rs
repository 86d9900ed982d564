//! `fennec lock`, `fennec keys` and `fennec log`.

use super::*;

/// The URL of WAMP, and of MQTT.
fn urls(broker: &Broker) -> (String, String) {
    (format!("ws://127.0.0.1:{}/ws", broker.port("http")), mqtt_url(broker))
}

/// Starts a command under a lock, and waits until it has it.
fn hold<'a>(lock: &'a str, wamp: &'a str, more: &[&'a str], command: &[&'a str]) -> Running {
    let arguments = [&["lock", lock, "-v", "--wamp", wamp], more, &["--"], command].concat();
    let mut holder = Running::start(&arguments);
    holder.says("holds");
    holder
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[test]
fn a_lock_is_held_while_the_command_runs_and_then_the_next_has_it() {
    let broker = Broker::start();
    let (wamp, mqtt) = urls(&broker);
    let told = r#"echo $FENNEC_LOCK_TOKEN; echo $FENNEC_LOCK_NAME; read line; exit 7"#;
    let mut holder = hold("the.lock", &wamp, &["--value", "me"], &["sh", "-c", told]);
    let (token, name) = (number(&holder.line()), holder.line());
    assert_eq!(name, "the.lock\n");
    let busy = (5, "fennec: the lock the.lock is held by another\n".to_owned());
    for timeout in ["0", "0.2"] {
        assert_eq!(fail(&["lock", "the.lock", "--timeout", timeout, "--wamp", &wamp, "--", "true"]), busy);
    }
    let entry = run(&["keys", "get", "the.lock", "--json", "--wamp", &wamp]);
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    assert_eq!((entry["value"].as_str(), entry["token"].as_u64()), (Some("me"), Some(token)));
    // Over MQTT it is the same lock.
    let mut next = Running::start(&["lock", "the/lock", "-v", "--mqtt", &mqtt, "--", "sh", "-c", told]);
    next.says("connected");
    holder.write("\n");
    assert_eq!(holder.end(), (7, String::new()));
    next.says("holds");
    assert!(number(&next.line()) > token, "a later holder has a higher token");
    assert_eq!(next.line(), "the/lock\n");
    assert_eq!(next.end().0, 7);
    assert_eq!(
        fail(&["keys", "get", "the.lock", "--wamp", &wamp]),
        (6, "fennec: there is no key the.lock\n".to_owned())
    );
}

#[test]
fn a_lost_lock_ends_the_command_unless_it_may_go_on() {
    let broker = Broker::start();
    let (wamp, _) = urls(&broker);
    let mut holder = hold("a.lock", &wamp, &[], &["sh", "-c", "trap 'echo told; exit 0' TERM; echo runs; read line"]);
    assert_eq!(holder.line(), "runs\n");
    run(&["keys", "delete", "a.lock", "--wamp", &wamp]);
    holder.says("the lock a.lock is lost: it was taken away");
    assert_eq!(holder.line(), "told\n");
    assert_eq!(holder.end().0, 8);
    // One that does not want to end is killed.
    let deaf = "trap '' TERM; echo runs; sleep 600; sleep 600";
    let mut holder = hold("b.lock", &wamp, &["--kill-after", "0.1"], &["sh", "-c", deaf]);
    assert_eq!(holder.line(), "runs\n");
    run(&["keys", "delete", "b.lock", "--wamp", &wamp]);
    assert_eq!(holder.end().0, 8);
    let mut holder = hold("c.lock", &wamp, &["--keep-running"], &["sh", "-c", "read line; exit 3"]);
    run(&["keys", "delete", "c.lock", "--wamp", &wamp]);
    holder.says("the command goes on");
    holder.write("\n");
    assert_eq!(holder.end().0, 3);
    let holder = hold("d.lock", &wamp, &[], &["sleep", "600"]);
    drop(broker);
    assert_eq!(holder.end().0, 8);
}

#[test]
fn signals_reach_the_command_and_what_cannot_be_run_is_told_as_by_a_shell() {
    let broker = Broker::start();
    let (wamp, _) = urls(&broker);
    let holder = hold("a.lock", &wamp, &[], &["sleep", "600"]);
    holder.terminate();
    assert_eq!(holder.end().0, 128 + 15);
    let (code, line) = fail(&["lock", "a.lock", "--wamp", &wamp, "--", "/no/such/program"]);
    assert!(code == 127 && line.starts_with("fennec: cannot run /no/such/program: "), "{code} {line}");
    let (code, _) = fail(&["lock", "a.lock", "--wamp", &wamp, "--", "/"]);
    assert_eq!(code, 126);
    assert_eq!(run(&["lock", "a.lock", "--timeout", "0", "--wamp", &wamp, "--", "echo", "free"]), "free\n");
    // Who is told to end while it waits does not run anything.
    let holder = hold("a.lock", &wamp, &[], &["sleep", "600"]);
    let mut waiting = Running::start(&["lock", "a.lock", "-v", "--wamp", &wamp, "--", "echo", "never"]);
    waiting.says("connected");
    waiting.terminate();
    assert_eq!(waiting.end(), (1, String::new()));
    holder.terminate();
    holder.end();
}

#[test]
fn keys_are_listed_read_changed_and_watched_over_both_protocols() {
    let broker = Broker::start();
    let (wamp, mqtt) = urls(&broker);
    run(&["keys", "put", "app.mode", "{\"mode\":\"night\"}", "--wamp", &wamp]);
    run(&["keys", "put", "app/name", "hall", "--mqtt", &mqtt]);
    run(&["keys", "put", "other", "1", "--wamp", &wamp]);
    let listed = "app.mode\t{\"mode\":\"night\"}\napp.name\t\"hall\"\n";
    assert_eq!(run(&["keys", "app.#", "--wamp", &wamp]), listed);
    assert_eq!(run(&["keys", "list", "app/#", "--mqtt", &mqtt]), listed.replace("app.", "app/"));
    assert_eq!(run(&["keys", "--wamp", &wamp]).lines().count(), 3);
    assert_eq!(run(&["keys", "get", "app/name", "--mqtt", &mqtt]), "\"hall\"\n");
    let failed = (6, "fennec: fennec.error.condition_failed: the condition does not hold\n".to_owned());
    assert_eq!(fail(&["keys", "put", "app.mode", "1", "--absent", "--wamp", &wamp]), failed);
    let day = ["keys", "put", "app.mode", "{\"mode\":\"day\"}", "--when", "{\"mode\":\"night\"}", "--wamp", &wamp];
    run(&day);
    assert_eq!(fail(&day), failed);
    let late = ["keys", "put", "app.mode", "1", "--absent", "--watch", "--timeout", "0.1", "--wamp", &wamp];
    assert_eq!(fail(&late), (5, "fennec: the condition did not come to hold in time\n".to_owned()));
    let mut watcher = Running::start(&["keys", "watch", "app.mode", "--wamp", &wamp]);
    assert_eq!(watcher.line(), "app.mode\t{\"mode\":\"day\"}\n");
    let mut next = Running::start(&["keys", "put", "app.mode", "2", "--absent", "--watch", "--json", "--wamp", &wamp]);
    let entry = run(&["keys", "get", "app.mode", "--json", "--wamp", &wamp]);
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let token = entry["token"].to_string();
    run(&["keys", "delete", "app.mode", "--when", &token, "--wamp", &wamp]);
    let place: serde_json::Value = serde_json::from_str(&next.line()).unwrap();
    assert!(place["token"].as_u64() > entry["token"].as_u64(), "{place} {entry}");
    assert_eq!(next.end().0, 0);
    // Of changes that come at once only the last is certain to be seen.
    let mut seen = watcher.line();
    if seen == "app.mode\tnull\n" {
        seen = watcher.line();
    }
    assert_eq!(seen, "app.mode\t2\n");
    watcher.terminate();
    assert_eq!(watcher.end().0, 0);
}

#[test]
fn the_log_of_a_durable_topic_is_read_from_any_place_and_followed() {
    let broker = Broker::start_with("[[durable]]\ntopic = 'orders/#'\n");
    let (wamp, mqtt) = urls(&broker);
    for message in ["1", "2", "3"] {
        run(&["pub", "orders/new", message, "--mqtt", &mqtt]);
    }
    let all = run(&["log", "orders.new", "--wamp", &wamp]);
    let lines: Vec<Vec<&str>> = all.lines().map(|line| line.split('\t').collect()).collect();
    let read: Vec<(&str, &str)> = lines.iter().map(|line| (line[1], line[2])).collect();
    assert_eq!(read, [("orders.new", "1"), ("orders.new", "2"), ("orders.new", "3")]);
    assert!(lines.windows(2).all(|pair| pair[0][0] < pair[1][0]), "event ids ascend: {all}");
    let from = |more: &[&str]| run(&[&["log", "orders.new", "--wamp", &wamp], more].concat());
    assert_eq!(from(&["--after", lines[1][0]]), all.split_inclusive('\n').nth(2).unwrap());
    assert_eq!(from(&["--rewind", "1"]), all.split_inclusive('\n').nth(2).unwrap());
    assert_eq!((from(&["--since", "1h"]), from(&["--since", "2100-01-01T00:00:00Z"])), (all.clone(), String::new()));
    assert_eq!(from(&["-n", "1"]), all.split_inclusive('\n').next().unwrap());
    let entry: serde_json::Value = serde_json::from_str(&from(&["--rewind", "1", "--json"])).unwrap();
    assert_eq!((entry["args"][0].as_u64(), entry["details"]["event_id"].as_str()), (Some(3), Some(lines[2][0])));
    let follow = ["log", "orders.#", "--match", "fox", "--rewind", "1", "--follow", "-n", "2", "--wamp", &wamp];
    let mut follower = Running::start(&follow);
    assert!(follower.line().ends_with("\torders.new\t3\n"));
    run(&["pub", "orders/old", "x", "--mqtt", &mqtt]);
    assert!(follower.line().ends_with("\torders.old\t\"x\"\n"));
    assert_eq!(follower.end().0, 0);
    let stderr_of = |topic: &str| {
        let output = fennec(&["log", topic, "--wamp", &wamp]).output().unwrap();
        assert_eq!(succeed(&output), "");
        text(&output.stderr)
    };
    assert_eq!(stderr_of("nothing.here"), "fennec: nothing is kept of nothing.here\n");
    let hint = "fennec: nothing is kept of orders/new; topics are spelt as WAMP spells them: orders.new\n";
    assert_eq!(stderr_of("orders/new"), hint);
    let (code, line) = fail(&["log", "orders.new", "--after", "yesterday", "--wamp", &wamp]);
    assert_eq!((code, line.starts_with("fennec: --after must be")), (2, true), "{line}");
    assert_eq!(fail(&["log", "a/b", "--mqtt", &mqtt]), (2, "fennec: the log is read over WAMP: --wamp\n".to_owned()));
}
