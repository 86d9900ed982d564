use super::*;
use crate::queue::message::FilterRow;

fn absent() -> Condition {
    Condition { when: Some(When::Absent), ..Condition::default() }
}

fn expire(topic: &str, number: u64) -> Command {
    Command::Expire { realm: REALM.into(), topic: topic.into(), number }
}

#[test]
fn a_key_has_the_last_value_and_none_when_that_is_empty() {
    let mut world = World::new();
    let applied = world.apply(batch([text("a/b", "1"), text("a/b", "2"), text("a", "3"), text("a/b", "4")]));
    assert_eq!(applied.rows.len(), 3, "one row for each key, and one for the numbers");
    assert_eq!(world.value("a/b"), Some(("4".into(), 4)));
    assert_eq!(world.value("a"), Some(("3".into(), 3)));
    world.publish(text("a/b", ""));
    assert_eq!(world.value("a/b"), None);
    let no_args = PayloadRef::Args { format: Format::Json, args: Some(b"[]"), kwargs: None };
    world.publish(Publish { payload: no_args, ..text("a", "") });
    assert_eq!(world.value("a"), None);
    assert_eq!(world.rows.rows.len(), 1);
}

#[test]
fn setting_keys_reads_nothing() {
    let mut world = World::new();
    world.apply(batch([text("a", "1"), text("b", "2")]));
    world.apply(batch([text("a", ""), text("b", "3")]));
    assert!(world.rows.asked.is_empty());
}

#[test]
fn a_row_has_all_of_the_event() {
    let mut world = World::new();
    let mut batch = Batch::default();
    let head = Head {
        realm: REALM,
        topic: "a/b",
        publisher: Some(SessionId(7)),
        exclude_publisher: false,
        qos: Qos::AtLeastOnce,
        retain: true,
        format: Some(Format::Cbor),
        judged: false,
    };
    let filter = FilterRow { exclude: vec![3], ..FilterRow::default() };
    let extras = Extras { expires_at_ms: Some(1 << 50), filter: Some(filter), ..Extras::default() };
    let payload = PayloadRef::Args { format: Format::Cbor, args: Some(&[0x81, 1]), kwargs: None };
    batch.message(&head, payload, Some(&extras));
    let segment = world.apply(batch).segment;
    let (key, value) = world.rows.rows.iter().next().unwrap();
    assert_eq!(rows::RowKey::parse(key), Some(rows::RowKey::Key { realm: REALM.into(), topic: "a/b".into() }));
    let row = rows::KeyRow::decode(value).unwrap();
    assert_eq!((row.number, row.id, row.publisher, row.qos), (1, segment.event_id(1), 7, Qos::AtLeastOnce));
    assert_eq!(row.extras().unwrap(), Some(extras));
    assert!(matches!(row.payload, PayloadRef::Args { format: Format::Cbor, args: Some([0x81, 1]), kwargs: None }));
}

#[test]
fn a_value_that_has_expired_is_none() {
    let mut world = World::new();
    let absent = absent();
    let until_ms = world.now_us / 1000 + 5;
    world.publish(Publish { expires_at_ms: Some(until_ms), ..text("k", "old") });
    world.pass(4_999);
    assert_eq!(world.publish(text("k", "new").asking(&absent)), ["0: Void(ConditionFailed)"]);
    world.pass(1);
    assert!(world.publish(text("k", "new").asking(&absent)).is_empty());
    assert_eq!(world.value("k"), Some(("new".into(), 3)));
}

#[test]
fn an_expired_value_is_dropped_if_it_is_still_the_one_that_was_meant() {
    let mut world = World::new();
    let until_ms = world.now_us / 1000 + 5;
    world.publish(Publish { expires_at_ms: Some(until_ms), ..text("k", "old") });
    assert_eq!(world.command(expire("k", 1)), ["0: Done(NotFound)"], "too early");
    world.pass(5_000);
    assert_eq!(world.command(expire("k", 2)), ["0: Done(NotFound)"], "another event's");
    assert_eq!(world.command(expire("k", 1)), ["0: Done(Yes)"]);
    assert_eq!(world.value("k"), None);
    assert_eq!(world.command(expire("k", 1)), ["0: Done(NotFound)"], "gone");
}

/// Nothing may be committed of what could not be judged.
#[test]
fn a_store_that_cannot_be_read_stops_the_position() {
    let mut world = World::new();
    world.rows.fails = true;
    let body = batch([text("k", "1").asking(&absent())]).into_bytes();
    let sealed = Sealed { position: 1, at_us: 0, entry: ENTRY, body: &body, count: 1 };
    assert_eq!(world.state.apply(sealed, &mut world.rows).err(), Some(StateError::Rows(RowsFailed("told to".into()))));
}

#[test]
fn a_damaged_row_is_named() {
    let mut world = World::new();
    world.rows.rows.insert(rows::key(REALM, "k"), vec![1, 2, 3]);
    let body = batch([text("k", "1").asking(&absent())]).into_bytes();
    let sealed = Sealed { position: 1, at_us: 0, entry: ENTRY, body: &body, count: 1 };
    assert_eq!(world.state.apply(sealed, &mut world.rows).err(), Some(StateError::Damaged("kr\\x00k".into())));
}
