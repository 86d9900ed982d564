//! Nodes come, go and move by the steps of `docs/cluster/operating.md`, while clients work: nothing is lost or comes twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use fennec::client::machine::Event;
use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use fennec::types::payload::Format;
use tokio::time::timeout;

use crate::broker::{Cluster, Ports, SYNCS, ended};
use crate::clients::publish;
use crate::dice::Dice;
use crate::people::{acquire, join};
use crate::publishers::{Publisher, Speaks};
use crate::subscribers::{Resumes, Subscriber};
use crate::{LIMIT, Part, Test, rounds_and_seed};

/// Seconds that `fennec cluster apply` may take that must succeed.
const APPLY_S: u64 = 60;
/// Links are not to break because a machine has too much to do.
const SILENCE: Duration = Duration::from_secs(15);
/// An entry that drains has sent its clients away by then, and stored what they left.
const DRAIN: Duration = Duration::from_secs(30);

/// A cluster at whose entries people work.
fn at_work() -> Test {
    let (_, seed) = rounds_and_seed(1);
    let mut test = Test::new(seed, Cluster::start_with(LIMIT, SILENCE));
    let (recorder, not_subscribed) = (test.recorder.clone(), test.not_subscribed.clone());
    for (name, resumes) in [
        ("session", Resumes::Session(Level::V5, Qos::ExactlyOnce)),
        ("after", Resumes::After(Format::Json)),
        ("named", Resumes::Named(Format::MsgPack, "by-client", true)),
    ] {
        let dice = Dice(test.dice.roll());
        test.join(Subscriber::new(name, resumes, &recorder, dice, &not_subscribed), Part::Subscribes, true);
    }
    for (name, speaks) in [
        ("one", Speaks::Mqtt(Level::V4, Qos::AtLeastOnce)),
        ("two", Speaks::Mqtt(Level::V5, Qos::ExactlyOnce)),
        ("wamp", Speaks::Wamp(Format::Json)),
    ] {
        let dice = Dice(test.dice.roll());
        test.join(Publisher::new(name, speaks, &recorder, dice), Part::Works, true);
    }
    test.begin_work();
    test.work("before anything");
    test
}

/// The file with these slots.
fn with_slots(file: &str, slots: &str) -> String {
    let rest: Vec<&str> = file.lines().filter(|line| !line.starts_with("slots = ")).collect();
    format!("slots = {slots}\n{}\n", rest.join("\n"))
}

/// The file without a process.
fn without(file: &str, id: &str) -> String {
    let is_other = |table: &&str| !table.contains(&format!(" = '{id}'"));
    file.split("[[process]]").filter(is_other).collect::<Vec<_>>().join("[[process]]")
}

/// The file with a process somewhere else.
fn moved(file: &str, id: &str, process: &str) -> String {
    without(file, id) + process
}

#[track_caller]
fn applies(cluster: &Cluster) -> String {
    let until = Instant::now() + LIMIT;
    let (code, printed) = loop {
        let (code, printed) = cluster.apply(APPLY_S);
        if code == Some(0) || Instant::now() > until || !is_of_the_moment(&printed) {
            break (code, printed);
        }
    };
    assert_eq!(code, Some(0), "{printed}\n{}", cluster.all_said());
    assert!(printed.contains("the cluster is as the file says"), "{printed}");
    printed
}

/// Whether the command was refused for what may be otherwise a moment later: one that was started just now may not be known to be
/// up, and who has too much to do answers late.
fn is_of_the_moment(printed: &str) -> bool {
    ["that are up", "would be up", "that answers", "syncs answer"].iter().any(|why| printed.contains(why))
}

/// The command is refused, or gives up: with this code, for this reason.
#[track_caller]
fn refuses(cluster: &Cluster, code: i32, why: &str) {
    let until = Instant::now() + LIMIT;
    let (found, printed) = loop {
        let (found, printed) = cluster.apply(0);
        if printed.contains(why) || Instant::now() > until || !is_of_the_moment(&printed) {
            break (found, printed);
        }
    };
    assert!(found == Some(code) && printed.contains(why), "{found:?} {printed}");
}

/// Begins what cannot come to its end yet.
#[track_caller]
fn begin_to_wait(cluster: &Cluster) -> Child {
    let until = Instant::now() + LIMIT;
    loop {
        let mut waits = cluster.begin_apply(APPLY_S);
        let mut said = [0; 5];
        if waits.stdout.as_mut().expect("its output").read_exact(&mut said).is_ok() {
            assert_eq!(&said, b"waits");
            return waits;
        }
        let (code, printed) = ended(waits);
        assert!(is_of_the_moment(&printed) && Instant::now() < until, "{code:?} {printed}");
    }
}

fn until_it_says(test: &Test, id: &'static str, what: &str) {
    test.cluster.until(&format!("{id}: {what}"), LIMIT, |cluster| cluster.said(id).contains(what));
}

#[test]
fn storages_come_go_and_move_under_load() {
    let mut test = at_work();
    // One comes, and makes a second slot with two of the others.
    let n4 = test.cluster.add("N4");
    test.cluster.edit(|file| with_slots(file, "[['N1', 'N2', 'N3'], ['N2', 'N3', 'N4']]") + &n4);
    test.cluster.reread();
    refuses(&test.cluster, 5, "N4 is not linked");
    test.cluster.begin_and_link("N4", LIMIT);
    applies(&test.cluster);
    test.work("with N4");
    // One goes: its slot, too.
    test.cluster.edit(|file| without(&with_slots(file, "[['N2', 'N3', 'N4']]"), "N1"));
    let printed = applies(&test.cluster);
    assert!(printed.contains("may be stopped: N1"), "{printed}");
    test.cluster.end("N1", DRAIN);
    test.cluster.reread();
    test.work("without N1");
    // One is dead for good, and another takes its place elsewhere.
    test.cluster.kill("N2");
    test.cluster.wipe("N2");
    let n2 = test.cluster.add("N2");
    test.cluster.edit(|file| moved(file, "N2", &n2));
    test.cluster.reread();
    test.cluster.begin_and_link("N2", LIMIT);
    until_it_says(&test, "N2", "this disk counts now");
    // What came is needed now.
    test.cluster.kill("N3");
    test.work("without N3");
    test.cluster.begin_and_link("N3", LIMIT);
    applies(&test.cluster);
    test.finish();
}

#[test]
fn syncs_come_go_and_move_under_load() {
    let mut test = at_work();
    test.cluster.kill("S1");
    test.cluster.wipe("S1");
    let s1 = test.cluster.add("S1");
    test.cluster.edit(|file| moved(file, "S1", &s1));
    test.cluster.reread();
    test.cluster.begin_and_link("S1", LIMIT);
    until_it_says(&test, "S1", "this disk has a vote now");
    test.work("with S1 elsewhere");
    let (s4, s5) = (test.cluster.add("S4"), test.cluster.add("S5"));
    test.cluster.edit(|file| format!("{file}{s4}{s5}"));
    refuses(&test.cluster, 2, "one sync may come or go at a time: S4 S5 would come, none go");
    test.cluster.edit(|file| without(file, "S5"));
    for (id, process) in [("S4", None), ("S5", Some(s5))] {
        test.cluster.edit(|file| file.to_owned() + process.as_deref().unwrap_or_default());
        test.cluster.reread();
        test.cluster.begin_and_link(id, LIMIT);
        applies(&test.cluster);
        test.work(&format!("with {id}"));
    }
    // Five survive two.
    test.cluster.kill("S2");
    test.cluster.kill("S3");
    test.work("without S2 and S3");
    test.cluster.begin_and_link("S2", LIMIT);
    test.cluster.begin_and_link("S3", LIMIT);
    for id in ["S1", "S2"] {
        test.cluster.edit(|file| without(file, id));
        let printed = applies(&test.cluster);
        assert!(printed.contains(&format!("may be stopped: {id}")), "{printed}");
        test.cluster.end(id, DRAIN);
        test.cluster.reread();
        test.work(&format!("without {id}"));
    }
    test.cluster.kill("S3");
    test.work("with S4 and S5");
    test.cluster.begin_and_link("S3", LIMIT);
    test.finish();
}

#[test]
fn an_entry_comes_and_goes_under_load() {
    let mut test = at_work();
    let e4 = test.cluster.add("E4");
    test.cluster.edit(|file| format!("{file}{e4}"));
    test.cluster.reread();
    test.cluster.begin_and_link("E4", LIMIT);
    let ports = test.cluster.ports(3);
    test.cluster.until("E4 takes clients", LIMIT, |_| TcpStream::connect(("127.0.0.1", ports.mqtt)).is_ok());
    // Some go there.
    for person in test.people.iter_mut().step_by(2) {
        person.entry = 3;
        person.stage.send_modify(|stage| {
            stage.ports = Some(ports);
            stage.life += 1;
        });
    }
    test.work("with E4");
    let mut mortal = connect_with_will(ports);
    let (mut holder, mut heir) = test.runtime.block_on(async {
        let mut holder = join(ports).await;
        acquire(&mut holder, "locks.drained").await;
        (holder, join(test.cluster.ports(0)).await)
    });
    test.runtime.block_on(async {
        let early = timeout(Duration::from_millis(200), acquire(&mut heir, "locks.drained")).await;
        assert!(early.is_err(), "the lock is held");
    });
    // Those whom it sends away go elsewhere.
    let elsewhere = test.cluster.ports(1);
    for person in test.people.iter_mut().filter(|person| person.entry == 3) {
        person.entry = 1;
        person.stage.send_modify(|stage| stage.ports = Some(elsewhere));
    }
    test.cluster.end("E4", DRAIN);
    test.cluster.edit(|file| without(file, "E4"));
    test.cluster.reread();
    let mut last_words = Vec::new();
    mortal.read_to_end(&mut last_words).expect("the connection is closed");
    assert!(last_words.len() >= 3 && last_words[0] == 0xE0 && last_words[2] == 0x9C, "{last_words:?}");
    let granted = test.runtime.block_on(async {
        assert!(holder.event().await.is_err(), "its connection is closed");
        // The first call still waits.
        timeout(LIMIT, async { while !matches!(heir.event().await.expect("it stands"), Event::Returned { .. }) {} })
            .await
    });
    assert!(granted.is_ok(), "the lock did not come\n{}", test.cluster.all_said());
    test.work("without E4");
    let said = test.cluster.said("E4");
    assert!(!said.contains("is over"), "its life has not been ended by others: {said}");
    test.finish();
}

#[test]
fn a_change_that_would_lose_something_or_meets_another_is_refused() {
    let mut cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let mut client = runtime.block_on(join(cluster.ports(0)));
    let mut published = |cluster: &Cluster| {
        let published = runtime.block_on(async { timeout(LIMIT, publish(&mut client, "crash.a", "a 1")).await });
        assert!(matches!(published, Ok(Ok(_))), "{published:?}\n{}", cluster.all_said());
    };
    published(&cluster);
    // The file as it was at first is what there is.
    applies(&cluster);
    let first = cluster.file();
    let file = |cluster: &Cluster, change: &dyn Fn(&str) -> String| cluster.edit(|_| change(&first));
    file(&cluster, &|file| format!("storage_quorum = 2\n{}", without(&without(file, "N1"), "N2")));
    refuses(&cluster, 2, "storage_quorum: is 2, and a message has 1 copies");
    file(&cluster, &|file| without(&without(&without(file, "N1"), "N2"), "N3"));
    refuses(&cluster, 2, "none has an ndb");
    cluster.kill("N2");
    let knows = |said: String| said.lines().any(|line| line.contains("link lost") && line.contains("process=N2"));
    cluster.until("all syncs know", LIMIT, |cluster| SYNCS.iter().all(|sync| knows(cluster.said(sync))));
    file(&cluster, &|file| without(file, "N1"));
    refuses(&cluster, 2, "slot 0 would have 1 storages that are up, and 2 are needed: N2 not");
    cluster.edit(|_| first.clone());
    cluster.begin_and_link("N2", LIMIT);
    cluster.kill("S1");
    file(&cluster, &|file| without(file, "S2"));
    refuses(&cluster, 2, "1 of 3 syncs answer");
    cluster.edit(|_| first.clone());
    cluster.begin_and_link("S1", LIMIT);
    // One waits for a storage that never comes; meanwhile another is done.
    let n4 = cluster.add("N4");
    file(&cluster, &|file| format!("copies = 4\n{file}{n4}"));
    let waits = begin_to_wait(&cluster);
    file(&cluster, &|file| without(file, "N3"));
    applies(&cluster);
    let (code, printed) = ended(waits);
    assert!(code == Some(2) && printed.contains("another change was made meanwhile"), "{printed}");
    published(&cluster);
    // A file that cannot be followed changes nothing.
    cluster.edit(|_| "name = 3".to_owned());
    cluster.reread();
    cluster.until("it is logged", LIMIT, |cluster| cluster.said("E1").contains("the links are left as they are"));
    published(&cluster);
}

/// CONNECT of MQTT 5 with a will: QoS 1, of the text "gone".
fn connect_with_will(ports: Ports) -> TcpStream {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut body = [text("MQTT"), vec![5, 0b0000_1110, 0, 0, 0]].concat();
    body.extend([text("mortal"), vec![0], text("elsewhere/will"), text("gone")].concat());
    let mut socket = TcpStream::connect(("127.0.0.1", ports.mqtt)).expect("the entry listens");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    socket.write_all(&[&[0x10, body.len() as u8], &body[..]].concat()).expect("a CONNECT");
    let mut head = [0; 2];
    socket.read_exact(&mut head).expect("a CONNACK");
    let mut rest = vec![0; head[1].into()];
    socket.read_exact(&mut rest).expect("all of it");
    assert_eq!((head[0], rest[1]), (0x20, 0));
    socket
}
