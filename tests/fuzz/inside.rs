//! What is kept, and how topics and values are written on both sides.

use std::sync::Arc;

use fennec::queue::command::Command;
use fennec::queue::message::{Batch, Posting, Run, Runs, read_command, without};
use fennec::queue::state::rows::{RowKey, SessionRow, decode, read_pattern};
use fennec::types::event::{Event, Qos};
use fennec::types::event_id::EventId;
use fennec::types::ids::PublicationId;
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::time::parse_rfc3339;
use fennec::types::topic::{MatchPolicy, Topic, TopicPattern};
use fennec::types::value::Value;

use crate::fuzz;

const ROUNDS: usize = 5000;

fn batch() -> Batch {
    let topic = Arc::new(Topic::from_name("a/b").unwrap());
    let mut batch = Batch::default();
    let posting = Posting { realm: "realm1", ..Posting::default() };
    let args = PayloadRef::Args { format: Format::Json, args: Some(b"[1]"), kwargs: Some(b"{}") };
    for payload in [PayloadRef::Bytes(b"one"), PayloadRef::Bytes(b"two"), args] {
        let event = Event {
            topic: &topic,
            payload,
            codec: Codec::Auto,
            qos: Qos::AtLeastOnce,
            retain: true,
            publication: PublicationId(7),
            place: None,
            properties: None,
            publisher: None,
            expires_at_ms: Some(9),
            expires_in_s: None,
        };
        batch.event(&event, &posting);
    }
    batch.gap(3);
    batch.command(&Command::Forget { realm: "r".into(), name: "n".into() });
    batch
}

#[test]
fn messages_of_the_log() {
    fuzz(ROUNDS, &[batch().as_bytes().to_vec()], |input| {
        for run in Runs::new(input) {
            let Ok(run) = run else { break };
            match run {
                Run::Events(_, events) => {
                    for message in events.iter() {
                        let Ok(message) = message else { break };
                        let _ = (message.payload.len(), message.extras());
                    }
                }
                Run::Command(command) => drop(read_command(command)),
                Run::Gap(_) => {}
            }
        }
        let _ = without(input, |_| true);
    });
}

#[test]
fn rows_of_the_store() {
    let seeds = [
        fennec::queue::state::rows::session("realm1", "client"),
        fennec::queue::state::rows::subscription("realm1", "client", "a/+"),
        fennec::queue::state::rows::packet("realm1", "client", 7),
        fennec::queue::state::rows::key("realm1", "a/b"),
    ];
    fuzz(ROUNDS, &seeds, |input| {
        let _ = RowKey::parse(input);
        let _ = decode::<SessionRow>(b"s", input);
        if let Ok(text) = std::str::from_utf8(input) {
            let _ = read_pattern(text);
        }
    });
}

#[test]
fn topics_mean_the_same_on_both_sides() {
    let seeds = ["a/b/c", "a.b.c", "/", "//a", "$SYS/x", "a%2Eb/c", "%/%25", "+/#", "$share/g/a/+", "ä/ö"];
    let seeds: Vec<_> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    fuzz(ROUNDS, &seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(topic) = Topic::from_name(text) {
            assert_eq!(Topic::from_uri(topic.uri()).expect("its URI is one").name(), text);
        }
        if let Ok(topic) = Topic::from_uri(text) {
            assert_eq!(Topic::from_name(topic.name()).expect("its name is one").uri(), text);
        }
        if let Ok(pattern) = TopicPattern::from_filter(text) {
            assert_eq!(pattern.filter(), Some(text));
        }
        for policy in [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard, MatchPolicy::Fox] {
            let _ = TopicPattern::from_uri(text, policy);
        }
        let _ = text.parse::<EventId>();
        let _ = parse_rfc3339(text);
    });
}

#[test]
fn values_survive_other_formats() {
    let document = br#"{"a":[1,-2,3.5,null,true,"\u0000eA==","text"],"b":{"c":{}}}"#;
    let value = Value::decode(Format::Json, document).unwrap();
    for format in [Format::Json, Format::MsgPack, Format::Cbor] {
        fuzz(ROUNDS, &[value.to_bytes(format)], |input| {
            let Ok(value) = Value::decode(format, input) else { return };
            let again = Value::decode(format, &value.to_bytes(format)).expect("what came in can go out");
            // NaN is not itself.
            assert_eq!(format!("{again:?}"), format!("{value:?}"));
            for codec in [Codec::Auto, Codec::Raw, Codec::Json, Codec::Cbor, Codec::MsgPack] {
                let _ = PayloadRef::Bytes(input).as_args(codec, format);
            }
        });
    }
}
