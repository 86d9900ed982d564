//! A budget of memory that clients try to use up.

use std::io::Write;
use std::net::TcpStream;

use crate::broker::{Broker, wait_until};
use crate::mqtt::{Client, QUOTA_EXCEEDED, SUCCESS, publish};

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 160 * MIB;

#[test]
fn a_broker_under_attack_refuses_in_time_and_recovers() {
    let config = format!(
        "[listen]\nmqtt = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\n[limits]\nmemory_max = {BUDGET}\n"
    );
    let broker = Broker::start(&config, |_| ());
    let join = |name: &str| {
        let mut client = Client::new(broker.connect("mqtt"));
        assert_eq!(client.join(name, None).unwrap(), SUCCESS);
        client
    };
    // They subscribe to all, and read nothing.
    let mut slow: Vec<_> = (0..6).map(|at| join(&format!("slow-{at}"))).collect();
    slow.iter_mut().for_each(|client| assert_eq!(client.subscribe("flood/#"), SUCCESS));
    let (mut flood, mut keeper) = (join("flood"), join("keeper"));
    let payload = vec![b'x'; 64 * 1024];
    let mut kept = Vec::new();
    // Full queues, and a large set of retained values, until no more is taken.
    let mut fill = |keeper: &mut Client<TcpStream>| {
        for _ in 0..4000 {
            flood.socket.write_all(&publish("flood/x", &payload, false, 0)).unwrap();
            kept.push(format!("kept/{}", kept.len()));
            if keeper.publish(kept.last().unwrap(), &payload, true) == QUOTA_EXCEEDED {
                return;
            }
        }
        panic!("256 MB of retained values were taken");
    };
    // Those that do not read are disconnected meanwhile, and then there is memory for a moment.
    let mut refuses = |what: &str, is: &dyn Fn(&mut Client<TcpStream>) -> bool| {
        wait_until(what, || {
            fill(&mut keeper);
            is(&mut keeper)
        });
    };
    refuses("it is not ready", &|_| broker.get("/readyz").0 == 503);
    assert_eq!(broker.get("/healthz").0, 200, "it is no reason to be killed");
    refuses("subscriptions are refused", &|keeper| keeper.subscribe("more") == QUOTA_EXCEEDED);
    refuses("connections are refused", &|_| Client::new(broker.connect("mqtt")).join("late", None).is_err());
    let body = "{\"topic\":\"a\",\"payload\":1}";
    let post = format!(
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    refuses("requests are refused", &|_| broker.request(&post).0 == 503);
    assert!(broker.limited("memory_requests") >= 3.0 && broker.limited("memory_connections") >= 1.0);
    // What makes room is possible.
    for topic in &kept {
        assert_eq!(keeper.publish(topic, b"", true), SUCCESS);
    }
    wait_until("there is memory again", || broker.get("/readyz").0 == 200);
    assert_eq!(keeper.publish("kept/again", b"x", true), SUCCESS);
    assert_eq!(join("new").subscribe("more"), SUCCESS);
    let most = broker.memory("VmHWM");
    assert!(most < 2 * BUDGET, "it used {} MiB", most / MIB);
}
