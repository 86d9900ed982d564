//! `fennec register`: offers a procedure, and lets a shell command answer its calls.

use std::collections::{HashMap, VecDeque};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::{AbortHandle, JoinSet};

use super::Failure;
use super::client_args::RegisterArgs;
use super::connect::{Link, Waiting, block_on};
use super::lines::invocation_document;
use super::stop::Stop;
use crate::client::Error;
use crate::client::machine::{Answer, Event, Invocation, InvocationNumber, Registration};
use crate::client::url::Protocol;
use crate::types::payload::PayloadRef;

/// Calls that wait for a command to end before they are refused.
const WAITING_MAX: usize = 1000;
/// Longest result.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

const FAILED: &str = "fennec.error.command_failed";
const BUSY: &str = "fennec.error.busy";
const TIMED_OUT: &str = "wamp.error.timeout";
const CANCELED: &str = "wamp.error.canceled";
const TOO_LARGE: &str = "wamp.error.payload_size_exceeded";

pub(super) fn run(args: RegisterArgs) -> Result<(), Failure> {
    block_on(register(args))
}

async fn register(args: RegisterArgs) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let link = tokio::select! {
        link = Link::open(&args.connect, Protocol::Wamp, None) => link?,
        () = stop.asked() => return Ok(()),
    };
    let mut answering = Answering {
        link,
        args,
        running: JoinSet::new(),
        by_number: HashMap::new(),
        waiting: VecDeque::new(),
        answered: 0,
    };
    let ended = tokio::select! {
        ended = answering.run() => ended,
        () = stop.asked() => Ok(()),
    };
    answering.running.shutdown().await;
    answering.link.client.close().await;
    ended
}

/// A command under way.
struct Answering {
    link: Link,
    args: RegisterArgs,
    /// Dropped, they are killed.
    running: JoinSet<(InvocationNumber, Outcome)>,
    by_number: HashMap<InvocationNumber, AbortHandle>,
    waiting: VecDeque<Invocation>,
    answered: u64,
}

/// What a shell command came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Result(Bytes),
    Error { uri: &'static str, payload: Bytes },
}

impl Answering {
    async fn run(&mut self) -> Result<(), Failure> {
        self.register()?;
        let mut waiting = None;
        while self.args.count.is_none_or(|count| self.answered < count) {
            tokio::select! {
                event = self.link.client.event() => match event {
                    Ok(Event::Invoked(invocation)) => {
                        waiting = None;
                        self.invoked(invocation)?;
                    }
                    Ok(Event::Cancelled(number)) => self.cancelled(number)?,
                    Ok(Event::Registered { outcome, .. }) => {
                        outcome?;
                        self.link.tell(format_args!("registered {}", self.args.procedure));
                        waiting = Some(Waiting::new(format_args!("waiting for calls of {}", self.args.procedure)));
                    }
                    Ok(_) => {}
                    Err(error) if !self.args.no_reconnect && error.may_pass() => {
                        waiting = None;
                        self.reconnect(error).await?;
                    }
                    Err(error) => return Err(error.into()),
                },
                Some(done) = self.running.join_next() => {
                    // One that was cancelled has been answered.
                    if let Ok((number, outcome)) = done {
                        self.by_number.remove(&number);
                        self.answer(number, &outcome)?;
                    }
                    self.start_waiting();
                }
            }
        }
        drop(waiting);
        // The last answer must leave before the goodbye. If it cannot, nobody waits for it.
        let _ = self.link.client.flush().await;
        Ok(())
    }

    fn register(&mut self) -> Result<(), Failure> {
        let registration = Registration {
            procedure: &self.args.procedure,
            policy: self.args.policy,
            invoke: self.args.invoke.as_deref(),
            concurrency: None,
        };
        self.link.client.machine().register(&registration)?;
        Ok(())
    }

    /// Who called has been told that this callee is gone.
    async fn reconnect(&mut self, error: Error) -> Result<(), Failure> {
        self.running.shutdown().await;
        self.by_number.clear();
        self.waiting.clear();
        if !self.link.again(error).await?.resumed {
            self.register()?;
        }
        Ok(())
    }

    fn invoked(&mut self, invocation: Invocation) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING_MAX {
            let payload = Bytes::from_static(b"too many calls wait already");
            return self.answer(invocation.number, &Outcome::Error { uri: BUSY, payload });
        }
        self.waiting.push_back(invocation);
        self.start_waiting();
        Ok(())
    }

    fn start_waiting(&mut self) {
        while self.by_number.len() < self.args.concurrency as usize
            && let Some(invocation) = self.waiting.pop_front()
        {
            let number = invocation.number;
            let execution = execute(self.args.exec.clone(), invocation_document(&invocation), self.args.timeout);
            let handle = self.running.spawn(async move { (number, execution.await) });
            self.by_number.insert(number, handle);
        }
    }

    fn cancelled(&mut self, number: InvocationNumber) -> Result<(), Failure> {
        self.waiting.retain(|invocation| invocation.number != number);
        if let Some(handle) = self.by_number.remove(&number) {
            handle.abort();
        }
        self.answer(number, &Outcome::Error { uri: CANCELED, payload: Bytes::new() })
    }

    fn answer(&mut self, number: InvocationNumber, outcome: &Outcome) -> Result<(), Failure> {
        let answer = match outcome {
            Outcome::Result(payload) => Answer::Result(PayloadRef::Bytes(payload)),
            Outcome::Error { uri, payload } => Answer::Error { uri, payload: PayloadRef::Bytes(payload) },
        };
        self.answered += 1;
        let machine = self.link.client.machine();
        if let Err(error) = machine.answer(number, &answer) {
            let text = error.to_string();
            let payload = PayloadRef::Bytes(text.as_bytes());
            machine.answer(number, &Answer::Error { uri: TOO_LARGE, payload })?;
        }
        Ok(())
    }
}

/// Runs the command. Its standard error goes where this program's goes.
async fn execute(command: String, input: Vec<u8>, timeout: Option<Duration>) -> Outcome {
    let error = |uri, text: String| Outcome::Error { uri, payload: text.into() };
    let run = run_shell(&command, &input);
    let ended = match timeout {
        Some(limit) => match tokio::time::timeout(limit, run).await {
            Ok(ended) => ended,
            Err(_) => return error(TIMED_OUT, format!("the command was stopped after {limit:?}")),
        },
        None => run.await,
    };
    match ended {
        Ok((_, output)) if output.len() as u64 > OUTPUT_BYTES_MAX => {
            error(TOO_LARGE, format!("the command wrote more than {OUTPUT_BYTES_MAX} bytes"))
        }
        Ok((status, output)) if status.success() => Outcome::Result(output.into()),
        Ok((status, output)) if output.is_empty() => error(FAILED, status.to_string()),
        Ok((_, output)) => Outcome::Error { uri: FAILED, payload: output.into() },
        Err(failed) => error(FAILED, format!("the command cannot be run: {failed}")),
    }
}

/// The process group of a shell, killed when dropped, so that what the shell started ends with it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Exit status and output without its last line end. Dropped early, the shell is killed.
async fn run_shell(command: &str, input: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = shell.kill_on_drop(true).spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(pid.and_then(Pid::from_raw));
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command need not read its input.
            let _ = stdin.write_all(input).await;
        }
    };
    let mut output = Vec::new();
    let read = async {
        match stdout {
            Some(stdout) => stdout.take(OUTPUT_BYTES_MAX + 2).read_to_end(&mut output).await.map(drop),
            None => Ok(()),
        }
    };
    let ((), read) = tokio::join!(write, read);
    read?;
    let status = child.wait().await?;
    // From now on the number may be another's.
    group.0 = None;
    if output.last() == Some(&b'\n') {
        output.pop();
    }
    Ok((status, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str, input: &str, expected: Outcome) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let timeout = Some(Duration::from_millis(100)).filter(|_| command.starts_with("exec sleep"));
        let outcome = runtime.block_on(execute(command.to_owned(), input.into(), timeout));
        assert_eq!(outcome, expected, "{command}");
    }

    fn failed(uri: &'static str, text: &'static str) -> Outcome {
        Outcome::Error { uri, payload: text.into() }
    }

    #[test]
    fn what_the_command_writes_is_the_result() {
        check("cat", r#"{"args":[1]}"#, Outcome::Result(r#"{"args":[1]}"#.into()));
        check("printf 'a\\n\\n'", "", Outcome::Result("a\n".into()));
        check("true", "unread", Outcome::Result(Bytes::new()));
    }

    #[test]
    fn an_exit_code_other_than_0_is_an_error() {
        check("exit 3", "", failed(FAILED, "exit status: 3"));
        check("echo no such thing; exit 1", "", failed(FAILED, "no such thing"));
        check("exec sleep 60", "", failed(TIMED_OUT, "the command was stopped after 100ms"));
    }

    #[test]
    fn a_result_that_is_too_large_is_not_sent() {
        let text = "the command wrote more than 16777216 bytes";
        check("head -c 16777217 /dev/zero", "", failed(TOO_LARGE, text));
        // The shell is told that nobody reads any more.
        check("head -c 99999999 /dev/zero", "", failed(TOO_LARGE, text));
    }
}
