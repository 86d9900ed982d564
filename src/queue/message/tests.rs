use std::sync::Arc;

use super::*;
use crate::types::event::Properties;
use crate::types::ids::PublicationId;
use crate::types::payload::Codec;
use crate::types::topic::Topic;

fn event<'a>(topic: &'a Arc<Topic>, payload: PayloadRef<'a>, retain: bool) -> Event<'a> {
    Event {
        topic,
        payload,
        codec: Codec::Auto,
        qos: Qos::AtLeastOnce,
        retain,
        publication: PublicationId(0),
        place: None,
        properties: None,
        publisher: None,
        expires_at_ms: None,
        expires_in_s: None,
    }
}

/// One line for each run: its head and its payloads.
fn lines(bytes: &[u8]) -> Vec<String> {
    let runs = Runs::new(bytes).map(|run| match run.unwrap() {
        Run::Events(head, events) => {
            let payloads: Vec<_> = events.iter().map(|message| format!("{:?}", message.unwrap().payload)).collect();
            assert_eq!(payloads.len(), events.count as usize);
            format!("{} {} {}", head.realm, head.topic, payloads.join(" "))
        }
        Run::Command(command) => format!("{:?}", read_command(command).unwrap()),
        Run::Gap(count) => format!("gap {count}"),
    });
    runs.collect()
}

#[test]
fn consecutive_events_of_one_kind_share_a_run() {
    let (a, b) = (Arc::new(Topic::from_name("a").unwrap()), Arc::new(Topic::from_name("b").unwrap()));
    let posting = Posting { realm: "r", publisher: Some(SessionId(7)), ..Posting::default() };
    let mut batch = Batch::default();
    let args = PayloadRef::Args { format: Format::Json, args: Some(b"[1]"), kwargs: None };
    for (topic, payload) in [(&a, b"1"), (&a, b"2"), (&b, b"3"), (&a, b"4")] {
        batch.event(&event(topic, PayloadRef::Bytes(payload), false), &posting);
    }
    batch.event(&event(&a, args, false), &posting);
    batch.gap(3);
    let forget = Command::Forget { realm: "r".into(), name: "n".into() };
    batch.command(&forget);
    assert_eq!(batch.count, 9);
    let expected = [
        "r a Bytes([49]) Bytes([50])".to_owned(),
        "r b Bytes([51])".to_owned(),
        "r a Bytes([52])".to_owned(),
        format!("r a {args:?}"),
        "gap 3".to_owned(),
        format!("{forget:?}"),
    ];
    assert_eq!(lines(batch.as_bytes()), expected);
}

#[test]
fn extras_and_heads_come_back_as_they_were() {
    let topic = Arc::new(Topic::from_name("t").unwrap());
    let properties = Arc::new(Properties { content_type: Some("x".into()), ..Properties::default() });
    let filter = Filter { eligible: Some([SessionId(3)].into()), ..Filter::default() };
    let condition = Condition { watch: true, ..Condition::default() };
    let own = Event { properties: Some(&properties), expires_at_ms: Some(5), ..event(&topic, PayloadRef::NONE, true) };
    let posting = Posting {
        realm: "r",
        exclude_publisher: true,
        filter: Some(&filter),
        condition: Some(&condition),
        packet: Some(("c", 9, 4)),
        ..Posting::default()
    };
    let mut batch = Batch::default();
    batch.event(&own, &posting);
    let Some(Ok(Run::Events(head, events))) = Runs::new(batch.as_bytes()).next() else { panic!("no events") };
    assert!(head.retain && head.judged && head.exclude_publisher && head.publisher.is_none());
    let extras = events.iter().next().unwrap().unwrap().extras().unwrap().unwrap();
    assert_eq!(Properties::from(extras.properties.unwrap()), *properties);
    assert_eq!(Filter::from(extras.filter.unwrap()), filter);
    assert_eq!((extras.condition.unwrap(), extras.expires_at_ms), (condition, Some(5)));
    assert_eq!(extras.packet.unwrap(), PacketRow { client_id: "c".into(), connection: 9, packet_id: 4 });
}

#[test]
fn damaged_bytes_are_refused_wherever_they_are_cut() {
    let topic = Arc::new(Topic::from_name("topic").unwrap());
    let posting = Posting { realm: "realm", publisher: Some(SessionId(1)), ..Posting::default() };
    let mut batch = Batch::default();
    let args = PayloadRef::Args { format: Format::Cbor, args: Some(&[0x80]), kwargs: Some(&[0xA0]) };
    batch.event(&event(&topic, args, true), &posting);
    for len in 1..batch.len() {
        let cut = Runs::new(&batch.as_bytes()[..len]).any(|run| run.is_err());
        assert!(cut, "{len} bytes of {} pass", batch.len());
    }
    assert!(Runs::new(&[9]).any(|run| run.is_err()), "an unknown tag");
}

#[test]
fn topics_are_taken_out_and_leave_gaps() {
    let (a, b) = (Arc::new(Topic::from_name("a").unwrap()), Arc::new(Topic::from_name("b").unwrap()));
    let posting = Posting { realm: "r", ..Posting::default() };
    let mut batch = Batch::default();
    for (topic, payload) in [(&a, b"1"), (&b, b"2"), (&b, b"3"), (&a, b"4")] {
        batch.event(&event(topic, PayloadRef::Bytes(payload), false), &posting);
    }
    let kept = without(batch.as_bytes(), |head| head.topic == "b").unwrap();
    assert_eq!(lines(&kept), ["r a Bytes([49])", "gap 2", "r a Bytes([52])"]);
}

#[test]
fn counts_that_cannot_be_are_damage() {
    let topic = Arc::new(Topic::from_name("a").unwrap());
    let mut batch = Batch::default();
    batch.event(&event(&topic, PayloadRef::Bytes(b"1"), false), &Posting { realm: "r", ..Posting::default() });
    let one = batch.into_bytes();
    // The count stands behind the head of the run, before the length of what follows.
    let at = one.windows(4).position(|four| four == 1_u32.to_le_bytes()).unwrap();
    let mut many = one.to_vec();
    many[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(without(&[&one[..], &many].concat(), |_| true), Err(Malformed));
}
