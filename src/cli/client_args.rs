//! What can be typed after the client commands.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::value_parser;

use crate::mqtt::codec::Level;
use crate::types::payload::Format;
use crate::types::time::parse_rfc3339;
use crate::types::topic::MatchPolicy;

/// Some thirty years: longer is a slip of the finger.
const SECONDS_MAX: f64 = 1e9;

/// Where to, and as whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectArgs {
    /// Speak MQTT: mqtt://user:password@host:port, mqtts://…, ws://host:port/mqtt, wss://…
    #[arg(long, value_name = "URL", conflicts_with = "wamp")]
    pub mqtt: Option<String>,
    /// Speak WAMP: ws://user:password@host:port/ws, wss://…, or RawSocket: rs://host:port, rss://…
    #[arg(long, value_name = "URL")]
    pub wamp: Option<String>,
    /// WAMP: realm to join [default: realm1]; MQTT: added to the user name
    #[arg(long)]
    pub realm: Option<String>,
    /// User name, if it is not in the URL
    #[arg(long, short, env = "FENNEC_CLIENT_USER", hide_env_values = true)]
    pub user: Option<String>,
    /// Password; others on this machine can see it unless it comes from the environment or a file
    #[arg(long, env = "FENNEC_CLIENT_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// MQTT: client id [default: a new one each time]
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// MQTT: 3 (3.1), 4 (3.1.1) or 5 [default: 5]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub mqtt_version: Option<Level>,
    /// MQTT: seconds the broker keeps the session after the connection; needs a client id [default: 0]
    #[arg(long, value_name = "SECONDS", requires = "client_id")]
    pub session_expiry: Option<u32>,
    /// WAMP: json, msgpack or cbor [default: json]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub serializer: Option<Format>,
    /// Seconds without a word before the broker is asked for a sign of life; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub keep_alive: u16,
    /// TLS: trust the authorities in this PEM file, not the system's
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// TLS: trust any certificate
    #[arg(long, conflicts_with = "cafile")]
    pub insecure: bool,
    /// Seconds for one try to connect and log in
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive_seconds)]
    pub connect_timeout: Duration,
    /// Seconds to go on trying if the broker cannot be reached at first [default: one try]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Tell on standard error what is done
    #[arg(long, short)]
    pub verbose: bool,
}

/// Properties that travel with a message (MQTT 5; in WAMP options and details).
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Properties")]
pub(super) struct PropertyArgs {
    /// Content type, such as application/json
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// User property; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub property: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PubArgs {
    /// Topic, as the protocol spells it: a/b (MQTT), a.b (WAMP)
    pub topic: String,
    /// Message; for WAMP, JSON becomes arguments
    #[arg(required_unless_present_any = ["file", "lines"], allow_negative_numbers = true)]
    pub message: Option<String>,
    /// Take the message from this file; "-" is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["message", "lines"])]
    pub file: Option<PathBuf>,
    /// Publish each line of standard input as a message
    #[arg(long, short, conflicts_with_all = ["message", "repeat"])]
    pub lines: bool,
    /// 0, 1 or 2; from 1 on the broker's acknowledgement is waited for (WAMP too)
    #[arg(long, short, default_value_t = 1, value_parser = value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Retain the message; an empty one clears
    #[arg(long, short)]
    pub retain: bool,
    /// Publish the message so many times; 0: until stopped
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub repeat: u64,
    /// Messages per second at most
    #[arg(long, value_name = "COUNT", value_parser = rate)]
    pub rate: Option<f64>,
    /// Seconds to wait for acknowledgements after the last message; 0: for ever
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Topic for answers
    #[arg(long, value_name = "TOPIC", help_heading = "Properties")]
    pub response_topic: Option<String>,
    /// What answers are to carry
    #[arg(long, value_name = "TEXT", help_heading = "Properties")]
    pub correlation_data: Option<String>,
    /// Seconds after which the message is not delivered any more
    #[arg(long, value_name = "SECONDS", help_heading = "Properties")]
    pub expiry: Option<u32>,
    #[command(flatten)]
    pub properties: PropertyArgs,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SubArgs {
    /// Topics or patterns, as the protocol spells them: a/+/# (MQTT), a.b (WAMP)
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// MQTT: highest QoS, 0, 1 or 2
    #[arg(long, short, default_value_t = 1, value_parser = value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// End after so many messages
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds; a failure if COUNT messages were wanted and did not come
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds)]
    pub timeout: Option<Duration>,
    /// Print only the payload
    #[arg(long)]
    pub raw: bool,
    /// No retained messages
    #[arg(long)]
    pub no_retained: bool,
    /// MQTT 5: tell live messages that are retained from others
    #[arg(long)]
    pub retain_as_published: bool,
    /// WAMP: exact, prefix, wildcard or fox
    #[arg(long = "match", value_name = "POLICY", default_value = "exact", value_parser = policy)]
    pub policy: MatchPolicy,
    /// End when the connection is lost
    #[arg(long)]
    pub no_reconnect: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// Procedure, as the protocol spells it: a.b (WAMP), a/b (MQTT, under $rpc/)
    pub procedure: String,
    /// Arguments: JSON, or else text
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub args: Vec<String>,
    /// Keyword argument; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub kwarg: Vec<(String, String)>,
    /// Seconds to wait for the result; 0: for ever
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// WAMP: print progressive results too
    #[arg(long)]
    pub progress: bool,
    /// Print only the result's payload
    #[arg(long)]
    pub raw: bool,
    /// MQTT: topic for the answer [default: reply/ and the client id]
    #[arg(long, value_name = "TOPIC")]
    pub response_topic: Option<String>,
    #[command(flatten)]
    pub properties: PropertyArgs,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RegisterArgs {
    /// Procedure, as the protocol spells it: a.b (WAMP), a/b (MQTT, under $rpc/)
    pub procedure: String,
    /// Shell command that answers: JSON arguments on its input, the result on its output
    #[arg(long, value_name = "COMMAND")]
    pub exec: String,
    /// Commands that may run at once; further calls wait
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = value_parser!(u32).range(1..=10_000))]
    pub concurrency: u32,
    /// End after so many calls
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Seconds a command may take
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds)]
    pub timeout: Option<Duration>,
    /// WAMP: exact, prefix or wildcard
    #[arg(long = "match", value_name = "POLICY", default_value = "exact", value_parser = policy)]
    pub policy: MatchPolicy,
    /// WAMP: how callees share the procedure: single, first, last, random or roundrobin
    #[arg(long, value_name = "POLICY")]
    pub invoke: Option<String>,
    /// End when the connection is lost
    #[arg(long)]
    pub no_reconnect: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Topic or pattern, as WAMP spells it: a.b, or a.# with --match fox
    pub topic: String,
    /// Only what is behind this event: an event id or a publication id
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "rewind"])]
    pub after: Option<String>,
    /// Only what is not older: 2026-11-22T06:18:00Z, or 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME", conflicts_with = "rewind", value_parser = point_in_time)]
    pub since: Option<PointInTime>,
    /// Only the last so many events
    #[arg(long, value_name = "COUNT")]
    pub rewind: Option<u64>,
    /// Go on with what is published from now on
    #[arg(long, short)]
    pub follow: bool,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print JSON objects with all that is known
    #[arg(long)]
    pub json: bool,
    /// How the pattern is matched: exact, prefix, wildcard or fox
    #[arg(long = "match", value_name = "POLICY", default_value = "exact", value_parser = policy)]
    pub policy: MatchPolicy,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// A time as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PointInTime {
    /// RFC 3339.
    At(String),
    Ago(Duration),
}

#[derive(Debug, clap::Args)]
pub(super) struct LockArgs {
    /// Lock, spelt as a topic of the protocol: a.b (WAMP), a/b (MQTT)
    pub name: String,
    /// Command to run while the lock is held; FENNEC_LOCK_TOKEN has the fencing token
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    /// Seconds to wait for the lock; 0: take it at once or not at all [default: as long as it takes]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// What others see of the holder: JSON, or else text [default: the session]
    #[arg(long)]
    pub value: Option<String>,
    /// Let the command go on if the lock is lost
    #[arg(long)]
    pub keep_running: bool,
    /// Seconds from SIGTERM to SIGKILL for a command whose lock is lost
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub kill_after: Duration,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    pub command: Option<KeysCommand>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeysCommand {
    /// List keys and their values; the same as no command
    List(ListArgs),
    /// Print the value of a key
    Get(KeyArgs),
    /// Set the value of a key
    Put(PutArgs),
    /// Remove a key
    Delete(KeyArgs),
    /// Print the value of a key now and whenever it changes
    Watch(WatchArgs),
}

impl KeysCommand {
    pub fn connect(&self) -> &ConnectArgs {
        match self {
            KeysCommand::List(args) => &args.connect,
            KeysCommand::Get(args) | KeysCommand::Delete(args) => &args.connect,
            KeysCommand::Put(args) => &args.connect,
            KeysCommand::Watch(args) => &args.connect,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Which keys, as the protocol spells patterns: a.# (WAMP, match fox), a/# (MQTT) [default: all]
    pub pattern: Option<String>,
    /// Print JSON objects with all that is known of each
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// Key, spelt as a topic of the protocol: a.b (WAMP), a/b (MQTT)
    pub key: String,
    /// Delete only if the value has these fields (a JSON object) or this token (a number)
    #[arg(long, value_name = "CONDITION")]
    pub when: Option<String>,
    /// Print a JSON object with all that is known
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct PutArgs {
    /// Key, spelt as a topic of the protocol: a.b (WAMP), a/b (MQTT)
    pub key: String,
    /// Value: JSON, or else text
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// Only if there is no value
    #[arg(long, conflicts_with = "when")]
    pub absent: bool,
    /// Only if the value has these fields (a JSON object) or this token (a number)
    #[arg(long, value_name = "CONDITION")]
    pub when: Option<String>,
    /// Wait until that is so, rather than fail
    #[arg(long)]
    pub watch: bool,
    /// Seconds to wait for it [default: as long as it takes]
    #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = positive_seconds)]
    pub timeout: Option<Duration>,
    /// Seconds after which the key goes
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds)]
    pub expires_in: Option<Duration>,
    /// Print a JSON object with the token and the event id
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Key, spelt as a topic of the protocol: a.b (WAMP), a/b (MQTT)
    pub key: String,
    /// The value of this token is known: begin with the next one
    #[arg(long)]
    pub token: Option<u64>,
    /// End after so many values
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print JSON objects with all that is known
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "3" | "3.1" => Ok(Level::V3),
        "4" | "3.1.1" => Ok(Level::V4),
        "5" | "5.0" => Ok(Level::V5),
        _ => Err("must be 3, 4 or 5".to_owned()),
    }
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "json" => Ok(Format::Json),
        "msgpack" => Ok(Format::MsgPack),
        "cbor" => Ok(Format::Cbor),
        _ => Err("must be json, msgpack or cbor".to_owned()),
    }
}

fn policy(text: &str) -> Result<MatchPolicy, String> {
    text.parse().map_err(|_| "must be exact, prefix, wildcard or fox".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "must be a number of seconds up to 1000000000".to_owned())
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    seconds(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "must be a number of seconds above 0, up to 1000000000".to_owned())
}

fn point_in_time(text: &str) -> Result<PointInTime, String> {
    if parse_rfc3339(text).is_some() {
        return Ok(PointInTime::At(text.to_owned()));
    }
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86_400.0)];
    let ago = units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(*unit)?.parse::<f64>().ok()? * factor));
    let ago = ago.filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    ago.map(|seconds| PointInTime::Ago(Duration::from_secs_f64(seconds)))
        .ok_or_else(|| "must be a time such as 2026-11-22T06:18:00Z, or 90s, 15m, 2h, 7d".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "must be a number from 0.001 to 1000000000".to_owned())
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_within_their_bounds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["", "x", "-1", "NaN", "inf", "1e300"] {
            assert!(seconds(wrong).is_err() && positive_seconds(wrong).is_err() && rate(wrong).is_err(), "{wrong}");
        }
        assert!(positive_seconds("0").is_err() && rate("0").is_err());
        assert_eq!(rate("0.5"), Ok(0.5));
    }

    #[test]
    fn a_point_in_time_is_a_date_or_how_long_ago() {
        let ago = |seconds| Ok(PointInTime::Ago(Duration::from_secs(seconds)));
        assert_eq!(point_in_time("90s"), ago(90));
        assert_eq!(point_in_time("1.5m"), ago(90));
        assert_eq!((point_in_time("2h"), point_in_time("7d")), (ago(7200), ago(604_800)));
        let at = "2026-11-22T06:18:00Z";
        assert_eq!(point_in_time(at), Ok(PointInTime::At(at.to_owned())));
        for wrong in ["", "s", "-1s", "5", "5w", "2026-11-22", "NaNs", "infd"] {
            assert!(point_in_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_may_contain_what_ends_a_name() {
        assert_eq!(name_and_value("k=a=b"), Ok(("k".to_owned(), "a=b".to_owned())));
        assert_eq!(name_and_value("k="), Ok(("k".to_owned(), String::new())));
        assert!(name_and_value("k").is_err());
    }
}
