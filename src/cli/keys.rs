//! `fennec keys`: retained values as a key-value store.

use std::time::Duration;

use super::Failure;
use super::ask::{json, result, uri, value};
use super::call::failure;
use super::client_args::{KeyArgs, KeysArgs, KeysCommand, ListArgs, PutArgs, WatchArgs};
use super::connect::{Link, visit};
use super::lines::Output;
use crate::client::machine::CallError;
use crate::client::url::Protocol;
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};
use crate::types::value::Value;

/// Keys that are asked for at once.
const PAGE: u64 = 1000;

pub(super) fn run(args: KeysArgs) -> Result<(), Failure> {
    let command = args.command.unwrap_or(KeysCommand::List(args.list));
    visit(command.connect(), async |link| match &command {
        KeysCommand::List(args) => list(link, args).await,
        KeysCommand::Get(args) => get(link, args).await,
        KeysCommand::Put(args) => put(link, args).await,
        KeysCommand::Delete(args) => delete(link, args).await,
        KeysCommand::Watch(args) => watch(link, args).await,
    })
}

async fn list(link: &mut Link, args: &ListArgs) -> Result<(), Failure> {
    let pattern = pattern(link, args)?;
    let mut output = Output::new(false);
    let mut after = None;
    loop {
        let mut options = vec![("limit", Value::from(PAGE))];
        options.extend(after.map(|key: String| ("after", Value::from(key))));
        let page = call(link, "fennec.key.list", vec![pattern.as_str().into(), Value::map(options)]).await?;
        for entry in page.get("keys").and_then(Value::as_list).unwrap_or_default() {
            output.line(&shown(link, entry, args.json))?;
        }
        output.flush()?;
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || output.is_reader_gone() {
            return Ok(());
        }
    }
}

/// The pattern as the broker takes it; without one, all keys.
fn pattern(link: &Link, args: &ListArgs) -> Result<String, Failure> {
    let Some(typed) = args.pattern.as_deref() else { return Ok("#".to_owned()) };
    let read = match link.client.url().protocol {
        Protocol::Wamp => TopicPattern::from_uri(typed, MatchPolicy::Fox),
        Protocol::Mqtt => TopicPattern::from_filter(typed),
    };
    let pattern = read.map_err(|error| Failure::Refused(vec![format!("{typed:?} {error}")]))?;
    Ok(if link.client.url().protocol == Protocol::Wamp { typed.to_owned() } else { pattern.uri().0 })
}

async fn get(link: &mut Link, args: &KeyArgs) -> Result<(), Failure> {
    let key = uri(link, &args.key)?;
    let entry = call(link, "fennec.key.get", vec![key.into()]).await?;
    if entry.is_null() {
        return Err(Failure::CallFailed(format!("there is no key {}", args.key)));
    }
    print(&value_or_entry(&entry, args.json))
}

async fn put(link: &mut Link, args: &PutArgs) -> Result<(), Failure> {
    let key = uri(link, &args.key)?;
    let mut options = conditions(args.absent, args.when.as_deref(), args.watch, args.timeout);
    options.extend(args.expires_in.map(|time| ("expires_in", milliseconds(time))));
    let place = call(link, "fennec.key.put", vec![key.into(), value(&args.value), Value::map(options)]).await?;
    told(link, args.json, &place)
}

async fn delete(link: &mut Link, args: &KeyArgs) -> Result<(), Failure> {
    let key = uri(link, &args.key)?;
    let options = conditions(false, args.when.as_deref(), false, None);
    let place = call(link, "fennec.key.delete", vec![key.into(), Value::map(options)]).await?;
    told(link, args.json, &place)
}

/// Prints the value now and whenever it is another one.
async fn watch(link: &mut Link, args: &WatchArgs) -> Result<(), Failure> {
    let key = uri(link, &args.key)?;
    let mut output = Output::new(false);
    // 0: any value is news.
    let mut known = args.token.unwrap_or(0);
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let options = Value::map([("token", Value::from(known))]);
        match result(&mut link.client, "fennec.key.watch", vec![key.as_str().into(), options]).await {
            Ok(entry) => {
                // Without a value there is nothing newer than no value.
                known = entry.get("token").and_then(Value::as_u64).unwrap_or(0);
                seen += 1;
                let none = || Value::map([("key", Value::from(key.as_str())), ("value", Value::Null)]);
                let entry = if entry.is_null() { none() } else { entry };
                output.line(&shown(link, &entry, args.json))?;
                output.flush()?;
                if output.is_reader_gone() {
                    return Ok(());
                }
            }
            Err(CallError::Refused(error)) if error.may_pass() => drop(link.again(error).await?),
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(())
}

/// The options that ask something of a key.
fn conditions(absent: bool, when: Option<&str>, wait: bool, timeout: Option<Duration>) -> Vec<(&'static str, Value)> {
    let mut options = Vec::new();
    if absent {
        options.push(("when", Value::Null));
    }
    options.extend(when.map(|typed| ("when", value(typed))));
    if wait {
        options.push(("watch", Value::Bool(true)));
    }
    options.extend(timeout.map(|time| ("timeout", milliseconds(time))));
    options
}

fn milliseconds(time: Duration) -> Value {
    Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

async fn call(link: &mut Link, procedure: &str, args: Vec<Value>) -> Result<Value, Failure> {
    result(&mut link.client, procedure, args).await.map_err(|error| match error {
        CallError::Answered { uri, .. } if uri == "wamp.error.timeout" => {
            Failure::TimedOut("the condition did not come to hold in time".to_owned())
        }
        error => failure(error),
    })
}

/// What a change came to, for those who want it.
fn told(link: &Link, as_json: bool, place: &Value) -> Result<(), Failure> {
    if as_json {
        return print(&json(place));
    }
    let part = |name: &str| place.get(name).map(json).unwrap_or_default();
    link.tell(format_args!("token {}, event {}", part("token"), part("event_id")));
    Ok(())
}

fn value_or_entry(entry: &Value, as_json: bool) -> String {
    if as_json { json(entry) } else { entry.get("value").map(json).unwrap_or_default() }
}

/// An entry as a line: all of it as JSON, or key and value with a tabulator between. The key is spelt as the protocol spells it.
fn shown(link: &Link, entry: &Value, as_json: bool) -> String {
    if as_json {
        return json(entry);
    }
    let key = entry.get("key").and_then(Value::as_str).unwrap_or_default();
    let key = match link.client.url().protocol {
        Protocol::Wamp => key.to_owned(),
        Protocol::Mqtt => Topic::from_uri(key).map_or_else(|_| key.to_owned(), |topic| topic.name().to_owned()),
    };
    format!("{key}\t{}", entry.get("value").map(json).unwrap_or_default())
}

fn print(line: &str) -> Result<(), Failure> {
    super::print(&format!("{line}\n"))
}
