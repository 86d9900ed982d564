//! Meshes over real sockets: each process of a test has a runtime of its own, which is dropped to kill it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::cluster::ask::{self, Answer, Question};
use crate::cluster::config::{Cluster, TlsFiles};
use crate::cluster::status::Status;
use crate::cluster::testing::{self, KEY, node};
use crate::queue::envelope::{RoleMessage, SegmentId};

mod change;
mod tls;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that runs.
struct Running {
    mesh: Mesh,
    inboxes: Vec<(NodeId, Arc<Inbox>)>,
    /// What was taken and not looked at.
    rest: HashMap<NodeId, std::collections::VecDeque<Event>>,
    runtime: Option<Runtime>,
}

/// Addresses of this machine that nobody listens at.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    // All are held until all are known, so that they differ.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap())
}

fn start(cluster: &Arc<Cluster>, names: &str) -> Running {
    start_with(cluster, names, None)
}

fn start_with(cluster: &Arc<Cluster>, names: &str, tls: Option<LinkTls>) -> Running {
    let plan = testing::plan(cluster, names);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inboxes: Vec<_> = plan.own.nodes.iter().map(|node| (node.clone(), Inbox::new(1 << 20))).collect();
    let within = runtime.enter();
    let listener = Listener::bind(plan.own.bind).unwrap();
    let limits = LinkLimits::with_silence(cluster.silence);
    let mesh = Mesh::start(&plan, listener, tls, &limits, inboxes.clone()).unwrap();
    drop(within);
    Running { mesh, inboxes, rest: HashMap::new(), runtime: Some(runtime) }
}

impl Running {
    /// As a power cut of this process alone: its sockets are closed, nothing is written any more.
    fn kill(mut self) {
        drop(self.runtime.take());
    }

    /// The next thing that a node hears.
    #[track_caller]
    fn next(&mut self, name: &str) -> Event {
        let node = node(name);
        let inbox = self.inboxes.iter().find(|(known, _)| *known == node).unwrap().1.clone();
        let rest = self.rest.entry(node).or_default();
        let until = Instant::now() + PATIENCE;
        while rest.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{name} hears nothing; {:?}", self.mesh.stats());
            *rest = inbox.take(Some(left)).unwrap();
        }
        rest.pop_front().unwrap()
    }

    #[track_caller]
    fn check_connected(&mut self, name: &str, process: &str) {
        let event = self.next(name);
        let Event::Connected { process: found, nodes } = &event else { panic!("{event:?}") };
        assert_eq!((found.to_string().as_str(), &**nodes), (process, &*testing::nodes(process)));
    }

    #[track_caller]
    fn check_disconnected(&mut self, name: &str, process: &str) {
        let event = self.next(name);
        assert!(matches!(&event, Event::Disconnected { process: found, .. } if *found == process.into()), "{event:?}");
    }

    /// The number that [`said`] put in.
    #[track_caller]
    fn check_said(&mut self, name: &str, from: &str, number: u32) {
        let event = self.next(name);
        let Event::Envelope(envelope) = &event else { panic!("{event:?}") };
        assert_eq!(*envelope, said(from, name, number));
    }

    /// Waits until the links are as `wanted` says.
    #[track_caller]
    fn wait_for(&self, wanted: impl Fn(&Mesh) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.mesh) {
            assert!(Instant::now() < until, "{:?} {:?}", self.mesh.stats(), self.mesh.refused());
            std::thread::yield_now();
        }
    }

    fn trouble(&self, process: &str) -> Option<String> {
        self.mesh.stats().into_iter().find(|link| link.process == process.into()).unwrap().trouble
    }

    /// Waits until this process knows why it has no link to another.
    #[track_caller]
    fn check_trouble(&self, process: &str, expected: &str) {
        self.wait_for(|_| self.trouble(process).is_some_and(|trouble| trouble.contains(expected)));
    }

    /// Waits until this process has refused somebody for that.
    #[track_caller]
    fn check_refused(&self, expected: &str) {
        self.wait_for(|mesh| mesh.refused().last.is_some_and(|last| last.contains(expected)));
    }
}

fn said(from: &str, to: &str, number: u32) -> Envelope {
    let id = SegmentId { segment: 1, entry: NodeId::entry("E1"), incarnation: 1 };
    let body = Bytes::from(vec![number as u8; number as usize % 300]);
    let message = RoleMessage::KeepAdvanceHistory { id, offset: number, count: 1, body };
    Envelope { from: node(from), to: node(to), message }
}

fn two() -> (Arc<Cluster>, Running, Running) {
    let [a, b] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let (e1, n1) = (start(&cluster, "E1"), start(&cluster, "N1"));
    (cluster, e1, n1)
}

#[test]
fn what_is_said_arrives_in_order_in_both_directions() {
    let (_, mut e1, mut n1) = two();
    e1.check_connected("E1", "N1");
    n1.check_connected("N1", "E1");
    for number in 1..2000 {
        e1.mesh.send(said("E1", "N1", number)).unwrap();
        n1.mesh.send(said("N1", "E1", number)).unwrap();
    }
    (1..2000).for_each(|number| n1.check_said("N1", "E1", number));
    (1..2000).for_each(|number| e1.check_said("E1", "N1", number));
    assert_eq!(e1.mesh.send(said("E1", "N7", 1)), Err(NotSent::Unknown(node("N7"))));
}

#[test]
fn roles_of_one_process_speak_without_a_socket_and_share_one_link() {
    let [a, b, c] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1,N1", a), ("N2,S1", b), ("S2", c)]);
    let mut first = start(&cluster, "E1,N1");
    let event = first.next("E1");
    assert!(matches!(&event, Event::Connected { nodes, .. } if **nodes == [node("N1")]), "{event:?}");
    let event = first.next("N1");
    assert!(matches!(&event, Event::Connected { nodes, .. } if **nodes == [node("E1")]), "{event:?}");
    first.mesh.send(said("E1", "N1", 1)).unwrap();
    first.check_said("N1", "E1", 1);
    let mut second = start(&cluster, "N2,S1");
    ["E1", "N1"].iter().for_each(|name| first.check_connected(name, "N2,S1"));
    second.next("N2");
    second.next("S1");
    ["N2", "S1"].iter().for_each(|name| second.check_connected(name, "E1,N1"));
    first.mesh.send(said("N1", "S1", 2)).unwrap();
    first.mesh.send(said("E1", "N2", 3)).unwrap();
    second.check_said("S1", "N1", 2);
    second.check_said("N2", "E1", 3);
    let mut third = start(&cluster, "S2");
    let mut seen = [third.next("S2"), third.next("S2")].map(|event| match event {
        Event::Connected { process, .. } => process.to_string(),
        other => panic!("{other:?}"),
    });
    seen.sort();
    assert_eq!(seen, ["E1,N1", "N2,S1"]);
    second.check_connected("N2", "S2");
    third.mesh.send(said("S2", "S1", 4)).unwrap();
    second.check_connected("S1", "S2");
    second.check_said("S1", "S2", 4);
    let connected = |link: &LinkStats| link.connected && link.reconnects == 0 && link.trouble.is_none();
    // The accepting side knows first.
    first.wait_for(|mesh| mesh.stats().iter().all(connected));
}

#[test]
fn a_killed_process_is_missed_and_linked_again_when_it_returns() {
    for dies in ["E1", "N1"] {
        let (cluster, mut e1, mut n1) = two();
        e1.check_connected("E1", "N1");
        n1.check_connected("N1", "E1");
        let (dying, mut stays, other) = if dies == "E1" { (e1, n1, "N1") } else { (n1, e1, "E1") };
        dying.kill();
        stays.check_disconnected(other, dies);
        assert_eq!(stays.mesh.send(said(other, dies, 1)), Err(NotSent::NotConnected));
        let mut again = start(&cluster, dies);
        stays.check_connected(other, dies);
        again.check_connected(dies, other);
        stays.mesh.send(said(other, dies, 2)).unwrap();
        again.check_said(dies, other, 2);
        assert_eq!(stays.mesh.stats()[0].reconnects, 1);
    }
}

#[test]
fn a_link_that_breaks_is_made_anew_and_nothing_of_the_old_one_comes_after() {
    for cuts in ["E1", "N1"] {
        let (_, mut e1, mut n1) = two();
        e1.check_connected("E1", "N1");
        n1.check_connected("N1", "E1");
        (1..=100).for_each(|number| e1.mesh.send(said("E1", "N1", number)).unwrap());
        match cuts {
            "E1" => e1.mesh.cut(&"N1".into()),
            _ => n1.mesh.cut(&"E1".into()),
        }
        e1.check_disconnected("E1", "N1");
        e1.check_connected("E1", "N1");
        (101..=200).for_each(|number| e1.mesh.send(said("E1", "N1", number)).unwrap());
        // Of the first life a beginning, of the second all.
        let mut expected = 1;
        loop {
            match n1.next("N1") {
                Event::Envelope(envelope) => assert_eq!(envelope, said("E1", "N1", expected)),
                Event::Disconnected { .. } => break,
                other => panic!("{other:?}"),
            }
            expected += 1;
        }
        assert!(expected <= 101);
        n1.check_connected("N1", "E1");
        (101..=200).for_each(|number| n1.check_said("N1", "E1", number));
    }
}

#[test]
fn a_stopped_process_writes_what_waits_first() {
    let (_, mut e1, mut n1) = two();
    e1.check_connected("E1", "N1");
    n1.check_connected("N1", "E1");
    (1..500).for_each(|number| e1.mesh.send(said("E1", "N1", number)).unwrap());
    e1.runtime.as_ref().unwrap().block_on(e1.mesh.stop());
    (1..500).for_each(|number| n1.check_said("N1", "E1", number));
    n1.check_disconnected("N1", "E1");
    e1.check_disconnected("E1", "N1");
}

#[test]
fn a_node_of_any_process_can_be_asked() {
    let [a, b] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1,S1", a), ("N1", b)]);
    let (mut e1, mut n1) = (start(&cluster, "E1,S1"), start(&cluster, "N1"));
    n1.check_connected("N1", "E1,S1");
    e1.wait_for(|mesh| mesh.stats()[0].connected);
    let answer_next = |running: &mut Running, name: &str| loop {
        if let Event::Request { body, answer, .. } = running.next(name) {
            break answer.reply([&body[..], b"!"].concat().into());
        }
    };
    let there = e1.mesh.ask(node("E1"), node("N1"), Bytes::from_static(b"there")).unwrap();
    answer_next(&mut n1, "N1");
    assert_eq!(there.wait().unwrap(), "there!");
    let here = e1.mesh.ask(node("E1"), node("S1"), Bytes::from_static(b"here")).unwrap();
    answer_next(&mut e1, "S1");
    assert_eq!(here.wait().unwrap(), "here!");
    let lost = e1.mesh.ask(node("E1"), node("N1"), Bytes::new()).unwrap();
    n1.kill();
    assert_eq!(lost.wait(), None);
}

#[test]
fn whoever_has_the_key_is_answered_and_takes_nobodys_seat() {
    let (cluster, mut e1, mut n1) = two();
    n1.check_connected("N1", "E1");
    e1.check_connected("E1", "N1");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask_n1 = |cluster: &Arc<Cluster>| {
        runtime.block_on(ask::ask(cluster, None, &cluster.processes[1], Question::Status, PATIENCE))
    };
    assert_eq!(ask_n1(&cluster).unwrap(), Answer::None, "it has just been started");
    n1.mesh.answer_with(Arc::new(|_, links| Answer::Status(Box::new(Status::of_this(PATIENCE, links, Vec::new())))));
    let Answer::Status(status) = ask_n1(&cluster).unwrap() else { panic!("no status") };
    assert_eq!((status.uptime_ms, status.links.len(), &*status.links[0].process), (20_000, 1, "E1"));
    assert!(status.links[0].up);
    e1.mesh.send(said("E1", "N1", 1)).unwrap();
    n1.check_said("N1", "E1", 1);
    let addresses = cluster.processes.iter().map(|process| (&*process.nodes[0].name, process.bind));
    let stranger = testing::cluster("test", "some other key of thirty-two chars", &addresses.collect::<Vec<_>>());
    let refused = ask_n1(&stranger).unwrap_err();
    assert!(refused.to_string().contains("the cluster keys differ"), "{refused}");
    assert_eq!(n1.mesh.stats()[0].reconnects, 0);
}

#[test]
fn whoever_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = testing::cluster("test", KEY, &[("N1", silent.local_addr().unwrap())]);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let patience = Duration::from_millis(50);
    let asked = runtime.block_on(ask::ask(&cluster, None, &cluster.processes[0], Question::Status, patience));
    assert_eq!(asked.unwrap_err().to_string(), "does not answer within 50ms");
}

#[test]
fn another_key_or_cluster_is_refused_and_both_sides_know_why() {
    let [a, b] = addresses();
    let processes = [("E1", a), ("N1", b)];
    let n1 = start(&testing::cluster("test", KEY, &processes), "N1");
    let stranger = start(&testing::cluster("test", "some other key of thirty-two chars", &processes), "E1");
    stranger.check_trouble("N1", "refused by the other side: the cluster keys differ");
    n1.check_refused("the cluster keys differ");
    assert!(!n1.mesh.stats()[0].connected && !stranger.mesh.stats()[0].connected);
    stranger.kill();
    let stranger = start(&testing::cluster("other", KEY, &processes), "E1");
    stranger.check_trouble("N1", "refused by the other side: it belongs to cluster \"other\", not \"test\"");
    n1.check_refused("it belongs to cluster \"other\", not \"test\"");
}

#[test]
fn a_second_process_of_the_same_name_is_refused_while_the_first_lives() {
    let [a, b, elsewhere] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let (mut e1, mut n1) = (start(&cluster, "E1"), start(&cluster, "N1"));
    e1.check_connected("E1", "N1");
    n1.check_connected("N1", "E1");
    let twin = start(&testing::cluster("test", KEY, &[("E1", elsewhere), ("N1", b)]), "E1");
    twin.check_trouble("N1", "a second process calls itself \"E1\"");
    n1.check_refused("a second process calls itself \"E1\"");
    assert!(e1.mesh.stats()[0].connected);
    e1.kill();
    n1.check_disconnected("N1", "E1");
    n1.check_connected("N1", "E1");
    twin.wait_for(|mesh| mesh.stats()[0].connected);
}

#[test]
fn whoever_speaks_something_else_is_sent_away() {
    let [a, b] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let n1 = start(&cluster, "N1");
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[5, 0, 0, 0, 1, 2, 3, 4, 5], &u32::MAX.to_le_bytes()] {
        let mut socket = TcpStream::connect(b).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(garbage).unwrap();
        let mut told = Vec::new();
        // A reset, for what was not read, is as good as an end.
        let _ = socket.read_to_end(&mut told);
        n1.check_refused("what came is no handshake");
    }
    let socket = TcpStream::connect(b).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    n1.check_refused("handshake: ");
    n1.wait_for(|mesh| mesh.refused().count == 4);
    let mut e1 = start(&cluster, "E1");
    e1.check_connected("E1", "N1");
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let [a, b] = addresses();
    let n1 = start(&testing::cluster("test", KEY, &[("E1", a), ("N1", b)]), "N1");
    let _socket = TcpStream::connect(b).unwrap();
    n1.check_refused("the handshake took longer than 5s");
}
