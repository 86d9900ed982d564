//! How long nobody is acknowledged when a node is killed or paused: `cargo bench --bench compare -- --case cluster-kill cluster-stop`
//! measures it. Here nobody must wait for the dead to be missed.

use std::time::{Duration, Instant};

use fennec::types::payload::Format;
use tokio::time::timeout;

use crate::LIMIT;
use crate::broker::{Cluster, ENTRIES, everybody};
use crate::clients::publish;
use crate::clients::wamp_client;

/// Of one publication while a node is away. A machine that is busy with other tests takes most of it.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Publications at each entry while a node is away.
const PUBLICATIONS: u32 = 5;

#[test]
fn the_death_of_a_node_is_not_waited_for() {
    // A link is missed much later than that.
    let mut cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    for id in everybody().filter(|id| !id.starts_with('E')) {
        let mut clients: Vec<_> =
            (0..ENTRIES.len()).map(|entry| wamp_client(Format::Json, cluster.ports(entry))).collect();
        for client in &mut clients {
            runtime.block_on(client.connect()).expect("the entry takes a client");
        }
        let kills = id.ends_with('1');
        if kills {
            cluster.kill(id);
        } else {
            cluster.pause(id, false);
        }
        let mut longest = Duration::ZERO;
        for number in 0..PUBLICATIONS {
            for client in &mut clients {
                let begin = Instant::now();
                let text = format!("pause {number}");
                let published = runtime.block_on(async { timeout(LIMIT, publish(client, "crash.pause", &text)).await });
                assert!(matches!(published, Ok(Ok(_))), "{published:?}\n{}", cluster.all_said());
                longest = longest.max(begin.elapsed());
            }
        }
        println!("{} {id}: {longest:?}", if kills { "kill" } else { "pause" });
        assert!(longest < PAUSE_MAX, "{id} was waited for, {longest:?}\n{}", cluster.all_said());
        if kills {
            cluster.begin_and_link(id, LIMIT);
        } else {
            cluster.pause(id, true);
        }
    }
}
