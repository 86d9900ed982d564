//! `fennec lock`: runs a command while it holds a lock.
//!
//! ```text
//! acquire (waits) -> command runs -> command ends          -> release, its exit code
//!                                 -> lock or broker is gone -> SIGTERM, SIGKILL, exit code 8
//! ```

use std::io::{ErrorKind, IsTerminal, stdin};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, timeout};

use super::Failure;
use super::ask::{ask, result, uri, value};
use super::call::failure;
use super::client_args::LockArgs;
use super::connect::{Link, Waiting, block_on, notice};
use super::stop::Stop;
use crate::client::machine::{CallError, Event, Token};
use crate::client::url::Protocol;
use crate::client::{Client, Error};
use crate::types::value::Value;

/// How long giving the lock back may take; then the end of the connection does it.
const FAREWELL: Duration = Duration::from_secs(2);
/// What the broker may take longer than it was told to.
const GRACE: Duration = Duration::from_secs(1);
/// Added to the number of a signal that ended a command, as shells do.
const BY_SIGNAL: i32 = 128;

pub(super) fn run(args: LockArgs) -> Result<(), Failure> {
    block_on(lock(args))
}

async fn lock(args: LockArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut stop = Stop::new()?;
    let interrupted = || Failure::Run("interrupted before the lock was held".to_owned());
    let mut link = tokio::select! {
        link = Link::open(&args.connect, Protocol::Wamp, None) => link?,
        () = stop.asked() => return Err(interrupted()),
    };
    let name = uri(&link, &args.name)?;
    let waiting = Waiting::new(format_args!("waiting for the lock {}", args.name));
    let acquired = tokio::select! {
        acquired = acquire_in_time(&mut link, &name, &args) => acquired,
        () = stop.asked() => Err(interrupted()),
    };
    drop(waiting);
    let ended = match acquired {
        Ok(token) => {
            link.tell(format_args!("holds {} with the token {token}", args.name));
            let ended = hold(&mut link.client, &name, token, &args, &mut signals).await;
            let release =
                result(&mut link.client, "fennec.lock.release", vec![name.as_str().into(), with("token", token)]);
            // If it is not given back in time, it goes with the session.
            let _ = timeout(FAREWELL, release).await;
            ended
        }
        Err(failure) => Err(failure),
    };
    link.client.close().await;
    ended
}

/// A dict of one option.
fn with(name: &str, number: u64) -> Value {
    Value::map([(name, Value::from(number))])
}

/// The broker minds the time, but it may be away.
async fn acquire_in_time(link: &mut Link, name: &str, args: &LockArgs) -> Result<u64, Failure> {
    let not_in_time = || Failure::TimedOut(format!("the lock {} was not free in time", args.name));
    let Some(limit) = args.timeout else { return acquire(link, name, args, None).await };
    let acquired = timeout(limit + GRACE, acquire(link, name, args, Some(Instant::now() + limit))).await;
    acquired.unwrap_or_else(|_| Err(not_in_time()))
}

/// Waits for the lock; gives its fencing token.
async fn acquire(link: &mut Link, name: &str, args: &LockArgs, until: Option<Instant>) -> Result<u64, Failure> {
    loop {
        let mut options = Vec::new();
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            options.push(("timeout", Value::from(u64::try_from(left).unwrap_or(u64::MAX))));
        }
        options.extend(args.value.as_deref().map(|typed| ("value", value(typed))));
        match result(&mut link.client, "fennec.lock.acquire", vec![name.into(), Value::map(options)]).await {
            Ok(place) => {
                let token = place.get("token").and_then(Value::as_u64);
                return token.ok_or_else(|| Failure::Broker("the broker grants a lock without a token".to_owned()));
            }
            Err(CallError::Refused(error)) if error.may_pass() => drop(link.again(error).await?),
            Err(CallError::Answered { uri, .. }) if is_held(&uri) => {
                return Err(Failure::TimedOut(format!("the lock {} is held by another", args.name)));
            }
            Err(error) => return Err(failure(error)),
        }
    }
}

/// Whether this is how the broker says that somebody else has the lock.
fn is_held(uri: &str) -> bool {
    matches!(uri, "wamp.error.timeout" | "fennec.error.condition_failed")
}

/// Runs the command to its end, or to that of the lock.
async fn hold(
    client: &mut Client,
    name: &str,
    token: u64,
    args: &LockArgs,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut running = Running::start(args, token)?;
    // Answered when the lock is somebody else's, or nobody's.
    let watch = ask(client, "fennec.key.watch", vec![name.into(), with("token", token)])?;
    let mut is_held = true;
    loop {
        tokio::select! {
            status = running.child.wait() => {
                return status.map_err(|error| Failure::Run(error.to_string())).and_then(outcome);
            }
            signal = signals.next() => running.forward(signal),
            lost = lost(client, watch), if is_held => {
                let what = format!("the lock {} is lost: {lost}", args.name);
                if !args.keep_running {
                    running.stop(args.kill_after).await;
                    return Err(Failure::LockLost(what));
                }
                notice(&format!("{what}; the command goes on"));
                is_held = false;
            }
        }
    }
}

/// Ready when the lock is not held any more; says why. Dropped early, nothing is lost.
async fn lost(client: &mut Client, watch: Token) -> Error {
    loop {
        match client.event().await {
            Ok(Event::Returned { token, .. }) if token == watch => return Error::Lost("it was taken away".to_owned()),
            // Who may not read the key learns of it from the connection alone.
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// A command under way.
struct Running {
    child: Child,
    /// It leads a process group of its own.
    leads: bool,
}

impl Running {
    /// At a terminal the command stays in this program's process group, so that it can read from there; else it gets its own,
    /// so that signals reach what it starts, too.
    fn start(args: &LockArgs, token: u64) -> Result<Self, Failure> {
        let leads = !stdin().is_terminal();
        // Clap has seen that there is a command.
        let (program, arguments) = args.command.split_first().ok_or_else(|| Failure::Refused(Vec::new()))?;
        let mut command = Command::new(program);
        command.args(arguments).env("FENNEC_LOCK_NAME", &args.name).env("FENNEC_LOCK_TOKEN", token.to_string());
        if leads {
            command.process_group(0);
        }
        let child = command.kill_on_drop(true).spawn().map_err(|error| {
            let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            Failure::Command { code, line: Some(format!("cannot run {}: {error}", program.to_string_lossy())) }
        })?;
        Ok(Self { child, leads })
    }

    /// Hands a signal on that this program got. Those that a terminal sends, it sends to the command itself.
    fn forward(&self, signal: Signal) {
        if self.leads || !matches!(signal, Signal::INT | Signal::QUIT) {
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        // It may have ended by itself.
        let _ = if self.leads { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }

    async fn stop(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        if timeout(patience, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // What was killed ends.
            let _ = self.child.wait().await;
        }
    }
}

fn outcome(status: ExitStatus) -> Result<(), Failure> {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal)).unwrap_or(1);
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Command { code, line: None }),
        Err(_) => Err(Failure::Command { code: 1, line: None }),
    }
}

/// The signals that are handed on to the command.
struct Signals([(Signal, unix::Signal); 6]);

impl Signals {
    /// From now on they do not end this program.
    fn new() -> Result<Self, Failure> {
        let catch = |signal: Signal| match unix::signal(SignalKind::from_raw(signal.as_raw())) {
            Ok(caught) => Ok((signal, caught)),
            Err(error) => Err(Failure::Run(format!("cannot catch signals: {error}"))),
        };
        Ok(Self([
            catch(Signal::TERM)?,
            catch(Signal::INT)?,
            catch(Signal::HUP)?,
            catch(Signal::QUIT)?,
            catch(Signal::USR1)?,
            catch(Signal::USR2)?,
        ]))
    }

    async fn next(&mut self) -> Signal {
        let [a, b, c, d, e, f] = &mut self.0;
        tokio::select! {
            _ = a.1.recv() => a.0,
            _ = b.1.recv() => b.0,
            _ = c.1.recv() => c.0,
            _ = d.1.recv() => d.0,
            _ = e.1.recv() => e.0,
            _ = f.1.recv() => f.0,
        }
    }
}
