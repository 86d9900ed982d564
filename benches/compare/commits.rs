//! One message under way at a time, and beside it what a bare commit costs: one INSERT after the other through sqlx.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::cpu::Reading;
use crate::latency::add_percentiles;
use crate::load::{Measured, Source, Timing};
use crate::outcome::Outcome;
use crate::payload::{SIZE, Shape};

/// Longest wait for one acknowledgement.
const ACK: Duration = Duration::from_secs(10);

/// Publishes one message, waits for its PUBACK, publishes the next.
pub fn one_under_way(mut stream: TcpStream, mut source: Box<dyn Source>, timing: Timing) -> io::Result<Outcome> {
    stream.set_read_timeout(Some(ACK))?;
    let (mut input, mut replies) = ([0; 4], Vec::new());
    let mut outcome = repeat(timing, || {
        source.fill(1);
        stream.write_all(source.bytes())?;
        stream.read_exact(&mut input)?;
        source.feed(&input, &mut replies).map(|_| ())
    })?;
    outcome.faults.add(source.faults());
    Ok(outcome)
}

/// How a bare commit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// `begin`, INSERT, `commit`: as programs do that write more than one row.
    Transaction,
    /// The INSERT commits by itself: the least that can be.
    Single,
}

/// Commits rows of a message's size, as a program does that keeps messages in SQLite and nothing else.
pub fn bare_commits(commit: Commit, timing: Timing) -> io::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("commits.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection: SqliteConnection = runtime.block_on(options.connect()).map_err(io::Error::other)?;
    let create = connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL)");
    runtime.block_on(create).map_err(io::Error::other)?;
    let payload = Shape::Text.template(0);
    const { assert!(SIZE == 64) };
    repeat(timing, || {
        let insert = sqlx::query("INSERT INTO messages (body) VALUES (?)").bind(&payload[..]);
        let committed = runtime.block_on(async {
            if commit == Commit::Single {
                return connection.execute(insert).await.map(|_| ());
            }
            let mut transaction = connection.begin().await?;
            transaction.execute(insert).await?;
            transaction.commit().await
        });
        committed.map_err(io::Error::other)
    })
}

/// Does something again and again, and says how often and how long it took.
fn repeat(timing: Timing, mut once: impl FnMut() -> io::Result<()>) -> io::Result<Outcome> {
    let warm_up = Instant::now();
    while warm_up.elapsed() < timing.warm_up {
        once()?;
    }
    let before = Reading::now(timing.broker_pid)?;
    let (begin, mut latencies_ns) = (Instant::now(), Vec::with_capacity(1 << 16));
    let mut at = begin;
    while at - begin < timing.measured {
        once()?;
        let now = Instant::now();
        latencies_ns.push((now - at).as_nanos() as u64);
        at = now;
    }
    let spent = Reading::now(timing.broker_pid)?.since(&before);
    let counted = latencies_ns.len() as u64;
    let measured = Measured { spent, counted, faults: Default::default(), sent: vec![counted] };
    let mut outcome = Outcome::of(&measured);
    add_percentiles(&mut outcome, &latencies_ns, 0);
    Ok(outcome)
}
