//! A disk that cannot be written, for a while.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use fennec::mqtt::codec::ReasonCode;
use fennec::types::event::Qos;
use rustix::process::{Resource, Rlimit, prlimit};
use sqlx::{Connection, PgConnection};

use crate::broker::{Broker, text};
use crate::client::Client;
use crate::{SERVER, postgres};

/// What a durable publish is answered with while the store cannot be written.
const UNAVAILABLE: ReasonCode = ReasonCode::ImplementationSpecificError;

/// Publishers, a subscriber that is away, and what was acknowledged.
struct Story {
    publisher: Client,
    acknowledged: Vec<Vec<u8>>,
    said: u32,
}

impl Story {
    fn begin(broker: &Broker) -> Self {
        let mut reader = broker.connect("reader", 3600);
        reader.subscribe("d/#", Qos::AtLeastOnce);
        drop(reader);
        Self { publisher: broker.connect("publisher", 0), acknowledged: Vec::new(), said: 0 }
    }

    /// Publishes something durable that is like nothing else.
    fn publish(&mut self) -> ReasonCode {
        self.said += 1;
        let payload = [self.said.to_string().as_bytes(), &[b'.'; 16 * 1024]].concat();
        let reason = self.publisher.publish("d/x", &payload);
        if reason == ReasonCode::Success {
            self.acknowledged.push(payload);
        }
        reason
    }

    fn publish_until(&mut self, wanted: ReasonCode) {
        for _ in 0..2000 {
            if self.publish() == wanted {
                return;
            }
        }
        panic!("never {wanted:?}");
    }

    /// Only what must be stored suffers.
    fn check_stopped(&mut self, broker: &Broker) {
        assert_eq!(self.publish(), UNAVAILABLE);
        let (status, why) = broker.get("/readyz");
        assert_eq!(status, 503);
        assert!(why.contains("durable publishing has stopped") && why.contains("the store"), "{why}");
        assert_eq!(broker.get("/healthz").0, 200);
        assert_eq!(broker.metric("fennec_log_stopped"), 1.0);
        let (code, said) = broker.publish_by_wamp("d.x", "never");
        assert!(code == Some(7) && said.contains("fennec.error.store_unavailable"), "{code:?} {said}");

        let mut subscriber = broker.connect("subscriber", 0);
        subscriber.subscribe("plain/#", Qos::AtLeastOnce);
        assert_eq!(self.publisher.publish("plain/a", b"1"), ReasonCode::Success);
        self.publisher.publish_plain("plain/a", b"2");
        assert_eq!(broker.publish_by_wamp("plain.a", "3"), (Some(0), String::new()));
        let heard = [subscriber.event(), subscriber.event(), subscriber.event()];
        assert_eq!(heard.map(|(_, payload)| payload), [b"1", b"2", b"3"]);
    }

    /// Everything that was acknowledged is there, once, in order; and nothing that was refused.
    fn check_nothing_lost(mut self, broker: &Broker) {
        assert_eq!(self.publisher.publish("d/end", b"end"), ReasonCode::Success);
        self.acknowledged.push(b"end".to_vec());
        let heard = broker.connect("reader", 3600).events_until(b"end");
        let numbers = |all: &[Vec<u8>]| -> Vec<String> {
            all.iter().map(|payload| String::from_utf8_lossy(payload).trim_end_matches('.').to_owned()).collect()
        };
        assert_eq!(numbers(&heard), numbers(&self.acknowledged));
    }
}

/// A command that runs another in a file system of its own of so many MiB. `None`: the system does not let us, which has been said.
fn small_disk(folder: &Path, mib: usize) -> Option<[std::ffi::OsString; 5]> {
    let script = format!("mount -t tmpfs -o size={mib}m none '{}' && exec \"$0\" \"$@\"", text(folder));
    let within = ["unshare", "-Urm", "sh", "-c", &script].map(Into::into);
    let mut attempt = Command::new(&within[0]);
    let attempt = attempt.args(&within[1..]).arg("true").stdin(Stdio::null()).output();
    if attempt.is_ok_and(|output| output.status.success()) {
        return Some(within);
    }
    eprintln!("NOT TESTED: a full disk, for this system does not let users mount");
    None
}

/// Has the database server end all connections of brokers.
fn hang_up(url: &str) {
    let (address, _) = url.split_once("&schema=").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(address).await.expect("a connection");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fennec'";
        sqlx::query(end).execute(&mut connection).await.expect("they are ended");
    });
}

#[test]
fn a_full_disk_stops_durable_publishing_alone_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(within) = small_disk(folder.path(), 8) else { return };
    let within: Vec<&OsStr> = within.iter().map(|part| part.as_os_str()).collect();
    let broker = Broker::start_within(&within, text(&folder.path().join("data")));
    let mut story = Story::begin(&broker);
    assert_eq!(story.publish(), ReasonCode::Success);

    // What is mounted there only the broker sees.
    let seen = Path::new("/proc").join(broker.pid().to_string()).join("root");
    let ballast = seen.join(folder.path().strip_prefix("/").unwrap()).join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    story.publish_until(UNAVAILABLE);
    let line = broker.says("durable publishing stops");
    assert!(line.contains("full"), "{line}");
    story.check_stopped(&broker);

    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    broker.says("the store works again");
    assert_eq!(broker.get("/readyz"), (200, "ready\n".to_owned()));
    story.publish_until(ReasonCode::Success);
    assert_eq!(broker.metric("fennec_log_stopped"), 0.0);
    assert!(broker.metric("fennec_log_failures_total") >= 1.0);
    story.check_nothing_lost(&broker);
}

#[test]
fn a_disk_with_errors_stops_durable_publishing_alone_and_a_crash_then_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Writing beyond the limit is an error, rather than the end.
    let within = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(OsStr::new);
    let broker = Broker::start_within(&within, text(folder.path()));
    let mut story = Story::begin(&broker);
    assert_eq!(story.publish(), ReasonCode::Success);

    let limit = |bytes| {
        let whole = prlimit(Some(broker.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None });
        whole.expect("the limit is changed")
    };
    limit(Some(1));
    story.publish_until(UNAVAILABLE);
    broker.says("durable publishing stops");
    story.check_stopped(&broker);
    limit(None);
    broker.says("the store works again");
    story.publish_until(ReasonCode::Success);

    limit(Some(512 * 1024));
    story.publish_until(UNAVAILABLE);
    broker.kill();
    let broker = Broker::start(text(folder.path()));
    assert_eq!(broker.get("/readyz"), (200, "ready\n".to_owned()));
    story.publisher = broker.connect("publisher", 0);
    story.check_nothing_lost(&broker);
}

#[test]
fn a_database_server_that_hangs_up_costs_an_answer_and_nothing_that_was_acknowledged() {
    let _alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(url) = postgres::store_url() else { return };
    let broker = Broker::start(&url);
    let mut story = Story::begin(&broker);
    for _ in 0..3 {
        assert_eq!(story.publish(), ReasonCode::Success);
        hang_up(&url);
        story.publish_until(UNAVAILABLE);
        broker.says("the store works again");
        story.publish_until(ReasonCode::Success);
    }
    story.check_nothing_lost(&broker);
}
