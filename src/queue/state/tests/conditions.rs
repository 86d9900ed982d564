use super::*;
use crate::types::payload::Format;

fn when(when: When) -> Condition {
    Condition { when: Some(when), ..Condition::default() }
}

fn fields(text: &str) -> Condition {
    when(When::Fields(text.into()))
}

const FAILED: [&str; 1] = ["0: Void(ConditionFailed)"];

#[test]
fn absent_holds_only_without_a_value() {
    let mut world = World::new();
    let absent = when(When::Absent);
    assert!(world.publish(text("k", "1").asking(&absent)).is_empty());
    assert_eq!(world.publish(text("k", "2").asking(&absent)), FAILED);
    assert_eq!(world.value("k"), Some(("1".into(), 1)));
    world.publish(text("k", ""));
    assert!(world.publish(text("k", "3").asking(&absent)).is_empty());
}

#[test]
fn number_holds_only_for_the_event_that_set_the_value() {
    let mut world = World::new();
    world.publish(text("k", "1"));
    assert_eq!(world.publish(text("k", "2").asking(&when(When::Number(2)))), FAILED);
    assert!(world.publish(text("k", "3").asking(&when(When::Number(1)))).is_empty());
    assert_eq!(world.publish(text("k", "4").asking(&when(When::Number(1)))), FAILED);
    world.publish(text("k", ""));
    assert_eq!(world.publish(text("k", "5").asking(&when(When::Number(5)))), FAILED, "a cleared key has no number");
}

#[test]
fn fields_hold_for_values_that_have_them() {
    let mut world = World::new();
    assert_eq!(world.publish(text("k", "x").asking(&fields("{}"))), FAILED, "there is no value");
    let kwargs = PayloadRef::Args { format: Format::Json, args: None, kwargs: Some(br#"{"state":"free","n":1}"#) };
    world.publish(Publish { payload: kwargs, ..text("k", "") });
    assert_eq!(world.publish(text("k", "x").asking(&fields(r#"{"state":"taken"}"#))), FAILED);
    assert!(world.publish(text("k", r#"{"state":"taken"}"#).asking(&fields(r#"{"state":"free"}"#))).is_empty());
    assert_eq!(world.publish(text("k", "x").asking(&fields(r#"{"state":"free"}"#))), FAILED);
    assert!(world.publish(text("k", "x").asking(&fields(r#"{"state":"taken"}"#))).is_empty());
}

#[test]
fn conditions_see_what_came_before_in_the_same_segment() {
    let mut world = World::new();
    let absent = when(When::Absent);
    let lines = world.send(batch([
        text("k", "1").asking(&absent),
        text("k", "2").asking(&absent),
        text("k", ""),
        text("k", "3").asking(&absent),
        text("k", "4").asking(&when(When::Number(4))),
    ]));
    assert_eq!(lines, ["1: Void(ConditionFailed)"]);
    assert_eq!(world.value("k"), Some(("4".into(), 5)));
    assert_eq!(world.log[0].voids, [1]);
}

#[test]
fn a_condition_that_cannot_be_read_never_holds_and_never_waits() {
    let mut world = World::new();
    world.publish(text("k", "[1]"));
    for text_of_fields in ["", "[1]", "null", "{", "7"] {
        let watching = Condition { watch: true, ..fields(text_of_fields) };
        assert_eq!(world.publish(text("k", "x").asking(&watching)), FAILED, "{text_of_fields}");
    }
}

#[test]
fn an_event_that_is_not_retained_is_judged_by_the_key_and_leaves_it() {
    let mut world = World::new();
    let absent = when(When::Absent);
    let event = Publish { retain: false, ..text("k", "1") };
    assert!(world.publish(event.asking(&absent)).is_empty());
    assert_eq!(world.value("k"), None);
    world.publish(text("k", "2"));
    assert_eq!(world.publish(event.asking(&absent)), FAILED);
}
