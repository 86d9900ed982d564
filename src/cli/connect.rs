//! What the client commands share: a connection that comes back, waiting that is shown, and what errors mean for the exit code.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write, stderr};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::Failure;
use super::client_args::{ConnectArgs, PropertyArgs};
use super::lines::Output;
use super::stop::Stop;
use crate::client::backoff::Backoff;
use crate::client::machine::{Event, Machine, Opened};
use crate::client::tls::Trust;
use crate::client::transport::Speech;
use crate::client::url::{Protocol, Url};
use crate::client::{Client, Error, Target, mqtt, wamp};
use crate::mqtt::codec::Level;
use crate::types::event::{Properties, Qos};
use crate::types::payload::Format;

/// Where nothing was said: where fennec listens by default.
const DEFAULT_MQTT: &str = "mqtt://127.0.0.1:1883";
const DEFAULT_WAMP: &str = "ws://127.0.0.1:9000/ws";
const DEFAULT_REALM: &str = "realm1";
/// A connection that stood so long was no failure: the next wait is short again.
const STEADY: Duration = Duration::from_secs(10);
/// Longest password that MQTT can carry (MQTT 5, 1.5.6).
const PASSWORD_BYTES_MAX: u64 = 65_535;

/// A connection to the broker, and how patient to be with it.
pub(super) struct Link {
    pub client: Client,
    backoff: Backoff,
    connected_at: Instant,
    verbose: bool,
}

/// Says on standard error what is waited for, if that is a terminal; gone when dropped.
pub(super) struct Waiting(bool);

impl Link {
    /// Connects as `args` say.
    pub async fn open(args: &ConnectArgs, default: Protocol, response_topic: Option<String>) -> Result<Link, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Failure::Run(format!("no random numbers: {error}")))?;
        let seed = u64::from_ne_bytes(seed);
        let client = client(args, default, response_topic, seed)?;
        let backoff = Backoff::new(seed);
        let mut link = Link { client, backoff, connected_at: Instant::now(), verbose: args.verbose };
        let opened = link.connect_first(args.wait).await?;
        link.tell(format_args!("connected to {} as {}", link.client.url(), opened.id));
        Ok(link)
    }

    /// Says what was done, if that is wanted.
    pub fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.verbose {
            notice(&what.to_string());
        }
    }

    /// The next event. Asking for it acknowledges those before it, so what was printed of them goes out first.
    ///
    /// `None`: nobody reads the output any more.
    pub async fn next(&mut self, output: &mut Output) -> Result<Option<Result<Event, Error>>, Failure> {
        if let Some(event) = self.client.waiting_event() {
            return Ok(Some(Ok(event)));
        }
        output.flush()?;
        if output.is_reader_gone() {
            return Ok(None);
        }
        Ok(Some(self.client.event().await))
    }

    async fn connect_first(&mut self, wait: Option<Duration>) -> Result<Opened, Failure> {
        let _waiting = Waiting::new(format_args!("connecting to {}", self.client.url()));
        let until = Instant::now() + wait.unwrap_or_default();
        loop {
            let error = match self.client.connect().await {
                Ok(opened) => {
                    self.connected_at = Instant::now();
                    return Ok(opened);
                }
                Err(error) => error,
            };
            let pause = self.backoff.after_failure().min(until.saturating_duration_since(Instant::now()));
            if !error.may_pass() || pause.is_zero() {
                return Err(error.into());
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The connection is lost: connects again, however long that takes.
    ///
    /// # Errors
    /// One that does not pass.
    pub async fn again(&mut self, mut error: Error) -> Result<Opened, Failure> {
        if self.connected_at.elapsed() >= STEADY {
            self.backoff.reset();
        }
        while error.may_pass() {
            let pause = self.backoff.after_failure();
            notice(&format!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
            tokio::time::sleep(pause).await;
            let waiting = Waiting::new(format_args!("connecting to {}", self.client.url()));
            let connected = self.client.connect().await;
            drop(waiting);
            match connected {
                Ok(opened) => {
                    self.connected_at = Instant::now();
                    notice(&format!("connected to {} again", self.client.url()));
                    return Ok(opened);
                }
                Err(next) => error = next,
            }
        }
        Err(error.into())
    }
}

impl Waiting {
    pub fn new(what: std::fmt::Arguments<'_>) -> Self {
        let shown = stderr().is_terminal();
        if shown {
            // Nobody needs to see it.
            let _ = write!(stderr(), "\r\x1b[K{what} …");
        }
        Waiting(shown)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0 {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let line = error.to_string();
        match error {
            Error::Unreachable { .. } | Error::Lost(_) => Failure::Unreachable(line),
            Error::NotAuthorized(_) => Failure::NotAuthorized(line),
            Error::Refused(_) | Error::Violation(_) => Failure::Broker(line),
            Error::Invalid(_) => Failure::Refused(vec![line]),
        }
    }
}

/// Tells something that is no failure.
pub(super) fn notice(line: &str) {
    // Where nobody reads, nobody misses it.
    let _ = writeln!(stderr(), "fennec: {line}");
}

/// Runs a command to its end, on one thread.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Run(format!("cannot start a runtime: {error}")))?;
    let done = runtime.block_on(command);
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    done
}

/// Connects, does what is to be done, and says goodbye. A signal ends it.
pub(super) fn visit(
    args: &ConnectArgs,
    act: impl AsyncFnOnce(&mut Link) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let mut stop = Stop::new()?;
        let visit = async {
            let mut link = Link::open(args, Protocol::Wamp, None).await?;
            let done = act(&mut link).await;
            link.client.close().await;
            done
        };
        tokio::select! {
            done = visit => done,
            () = stop.asked() => Ok(()),
        }
    })
}

pub(super) fn qos(number: u8) -> Qos {
    match number {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

impl PropertyArgs {
    pub fn properties(self) -> Properties {
        Properties { content_type: self.content_type, user_properties: self.property, ..Properties::default() }
    }
}

fn client(args: &ConnectArgs, default: Protocol, response_topic: Option<String>, seed: u64) -> Result<Client, Failure> {
    let url = url(args, default)?;
    check_flags(args, url.protocol)?;
    let trust = match &args.cafile {
        _ if args.insecure => Trust::Anybody,
        Some(path) => Trust::File(path.clone()),
        None => Trust::System,
    };
    let login = login(args, &url)?;
    let target = Target { trust, timeout: args.connect_timeout, url };
    let (speech, machine) = match target.url.protocol {
        Protocol::Mqtt => mqtt_machine(args, login, response_topic, seed)?,
        Protocol::Wamp => wamp_machine(args, login),
    };
    Ok(Client::new(target, speech, machine))
}

fn url(args: &ConnectArgs, default: Protocol) -> Result<Url, Failure> {
    let (flag, text, protocol) = match (&args.mqtt, &args.wamp, default) {
        (Some(url), _, _) => ("--mqtt", url.as_str(), Protocol::Mqtt),
        (_, Some(url), _) => ("--wamp", url.as_str(), Protocol::Wamp),
        (_, _, Protocol::Mqtt) => ("--mqtt", DEFAULT_MQTT, Protocol::Mqtt),
        (_, _, Protocol::Wamp) => ("--wamp", DEFAULT_WAMP, Protocol::Wamp),
    };
    Url::parse(text, protocol).map_err(|error| Failure::Refused(vec![format!("{flag}: {error}")]))
}

/// What only the other protocol has is not passed over in silence.
fn check_flags(args: &ConnectArgs, protocol: Protocol) -> Result<(), Failure> {
    let of_mqtt = [
        ("--client-id", args.client_id.is_some()),
        ("--mqtt-version", args.mqtt_version.is_some()),
        ("--session-expiry", args.session_expiry.is_some()),
    ];
    let of_wamp = [("--serializer", args.serializer.is_some())];
    let (others, its) = match protocol {
        Protocol::Mqtt => (&of_wamp[..], "--wamp"),
        Protocol::Wamp => (&of_mqtt[..], "--mqtt"),
    };
    match others.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::Refused(vec![format!("{flag} goes with {its}")])),
        None => Ok(()),
    }
}

type Login = (Option<String>, Option<String>);

/// What the URL says comes first: of the rest nobody can tell whether it was typed or stood in the environment.
fn login(args: &ConnectArgs, url: &Url) -> Result<Login, Failure> {
    let user = url.user.clone().or_else(|| args.user.clone());
    let password = match (&url.password, &args.password_file) {
        (Some(password), _) => Some(password.clone()),
        (None, Some(path)) => Some(read_password(path)?),
        (None, None) => args.password.clone(),
    };
    Ok((user, password))
}

fn read_password(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Refused(vec![format!("--password-file: cannot read {}: {error}", path.display())])
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut line = String::new();
    BufReader::new(file.take(PASSWORD_BYTES_MAX + 2)).read_line(&mut line).map_err(|error| failed(&error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

type Spoken = (Speech, Box<dyn Machine>);

fn mqtt_machine(
    args: &ConnectArgs,
    (user, password): Login,
    response_topic: Option<String>,
    seed: u64,
) -> Result<Spoken, Failure> {
    let user = match (user, &args.realm) {
        (Some(user), Some(realm)) => Some(format!("{user}@{realm}")),
        (None, Some(_)) => {
            return Err(Failure::Refused(vec!["--realm goes with a user, or with --wamp".to_owned()]));
        }
        (user, None) => user,
    };
    // Short enough for MQTT 3.1, which allows 23 characters.
    let client_id = args.client_id.clone().unwrap_or_else(|| format!("fennec-{seed:016x}"));
    let machine = mqtt::Mqtt::new(mqtt::Options {
        level: args.mqtt_version.unwrap_or(Level::V5),
        user,
        password,
        keep_alive_s: args.keep_alive,
        session_expiry_s: args.session_expiry.unwrap_or(0),
        response_topic: response_topic.unwrap_or_else(|| format!("reply/{client_id}")),
        client_id,
    })?;
    Ok((mqtt::SPEECH, Box::new(machine)))
}

fn wamp_machine(args: &ConnectArgs, (user, password): Login) -> Spoken {
    let format = args.serializer.unwrap_or(Format::Json);
    let machine = wamp::Wamp::new(wamp::Options {
        realm: args.realm.clone().unwrap_or_else(|| DEFAULT_REALM.to_owned()),
        user,
        password,
        format,
        keep_alive: Duration::from_secs(args.keep_alive.into()),
    });
    (wamp::speech(format), Box::new(machine))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    fn parse(typed: &[&str]) -> ConnectArgs {
        Typed::parse_from(["fennec"].iter().chain(typed)).connect
    }

    fn check(typed: &[&str], default: Protocol, expected: Result<&str, &str>) {
        let client = client(&parse(typed), default, None, 7).map(|client| client.url().to_string());
        let expected = expected.map(str::to_owned).map_err(|line| Failure::Refused(vec![line.to_owned()]));
        assert_eq!(client, expected, "{typed:?}");
    }

    #[test]
    fn without_a_url_it_is_where_fennec_listens() {
        check(&[], Protocol::Mqtt, Ok("mqtt://127.0.0.1:1883"));
        check(&[], Protocol::Wamp, Ok("ws://127.0.0.1:9000/ws"));
        check(&["--mqtt", "mqtt://h"], Protocol::Wamp, Ok("mqtt://h:1883"));
        check(&["--wamp", "rs://h"], Protocol::Mqtt, Ok("rs://h:9001"));
    }

    #[test]
    fn what_goes_with_the_other_protocol_is_named() {
        check(&["--serializer", "cbor"], Protocol::Mqtt, Err("--serializer goes with --wamp"));
        check(&["--client-id", "x"], Protocol::Wamp, Err("--client-id goes with --mqtt"));
        check(&["--mqtt-version", "4", "--wamp", "h"], Protocol::Mqtt, Err("--mqtt-version goes with --mqtt"));
        check(&["--realm", "r"], Protocol::Mqtt, Err("--realm goes with a user, or with --wamp"));
        check(&["--realm", "r", "-u", "alice"], Protocol::Mqtt, Ok("mqtt://127.0.0.1:1883"));
        let line = "--mqtt: the URL begins with rs://, expected mqtt://, mqtts://, ws:// or wss://";
        check(&["--mqtt", "rs://h"], Protocol::Wamp, Err(line));
        check(
            &["--mqtt-version", "4", "--password", "x"],
            Protocol::Mqtt,
            Err("before MQTT 5, a password needs a user name"),
        );
    }

    #[test]
    fn the_login_in_the_url_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "from file\r\nmore\n").unwrap();
        let check = |typed: &[&str], user: Option<&str>, password: Option<&str>| {
            let args = parse(typed);
            let login = login(&args, &url(&args, Protocol::Mqtt).unwrap()).unwrap();
            assert_eq!((login.0.as_deref(), login.1.as_deref()), (user, password), "{typed:?}");
        };
        let flags = ["-u", "bob", "--password", "flag"];
        check(&flags, Some("bob"), Some("flag"));
        check(&["--mqtt", "alice:url@h"], Some("alice"), Some("url"));
        check(&[&["--mqtt", "mqtt://alice:url@h"], &flags[..]].concat(), Some("alice"), Some("url"));
        check(&[&["--mqtt", "mqtt://alice@h"], &flags[..]].concat(), Some("alice"), Some("flag"));
        check(&["--password-file", path.to_str().unwrap()], None, Some("from file"));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_the_rest_has_its_exit_code() {
        let failure = |error: Error| Failure::from(error).code();
        let unreachable = Error::Unreachable { url: String::new(), what: String::new() };
        assert!(unreachable.may_pass() && Error::Lost(String::new()).may_pass());
        assert_eq!((failure(unreachable), failure(Error::Lost(String::new()))), (3, 3));
        let lasting = [Error::NotAuthorized, Error::Refused, Error::Violation, Error::Invalid];
        assert!(!lasting.iter().any(|error| error(String::new()).may_pass()));
        assert_eq!(lasting.map(|error| failure(error(String::new()))), [4, 7, 7, 2]);
    }
}
