use super::*;

fn plain(topic: &'static str) -> Publish<'static> {
    Publish { retain: false, ..text(topic, "x") }
}

#[test]
fn every_message_takes_a_number_commands_and_void_ones_too() {
    let mut world = World::new();
    let absent = Condition { when: Some(When::Absent), ..Condition::default() };
    let mut batch = batch([plain("a"), plain("a"), text("k", "1"), text("k", "2").asking(&absent)]);
    batch.command(&leave(9));
    batch.gap(3);
    let applied = world.apply(batch);
    assert_eq!((applied.segment.first, applied.segment.count, applied.segment.voids), (1, 8, vec![3]));
    let next = world.apply(super::batch([plain("b")]));
    assert_eq!((next.segment.first, next.segment.last(), world.state.last_number()), (9, 9, 9));
}

#[test]
fn set_off_messages_are_numbered_behind_the_body() {
    let mut world = World::new();
    let lock = lock();
    world.publish(text("k", "1").asking(&lock));
    let mut batch = batch([plain("a")]);
    batch.command(&leave(1));
    plain("b").add_to(&mut batch);
    let applied = world.apply(batch);
    assert_eq!((applied.segment.first, applied.segment.count), (2, 4));
    assert_eq!(lines(&applied), ["1: Done(Yes)", "5 k = ", "k is free"]);
}

/// The generator counts positions with messages within the minute of log time, which never goes back.
#[test]
fn event_ids_grow_with_positions_whatever_clocks_do() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for (at_us, messages) in [(120, 2), (121, 0), (122, 1), (180, 1), (100, 1), (240, 1)] {
        world.now_us = at_us * SECOND_US;
        let segment = world.apply(batch((0..messages).map(|_| plain("a")))).segment;
        assert_eq!(segment.count, messages);
        if messages > 0 {
            ids.extend([segment.event_id(segment.first), segment.event_id(segment.last())]);
        }
    }
    let ids: Vec<_> = ids.iter().map(|id| (id.minute, id.generator, id.offset)).collect();
    let expected = [(2, 1, 1), (2, 1, 2), (2, 2, 1), (2, 2, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1)];
    assert_eq!(ids, [&expected[..], &[(4, 1, 1), (4, 1, 1)]].concat());
}

#[test]
fn a_segment_says_what_it_holds_of_each_topic_void_messages_aside() {
    let mut world = World::new();
    let lock = lock();
    world.publish(text("k", "held").asking(&lock));
    let failing = Condition { watch: false, ..lock.clone() };
    let mut batch = batch([plain("b"), plain("a"), plain("b"), text("k", "no").by(2).asking(&failing)]);
    batch.command(&leave(1));
    let topics = world.apply(batch).segment.topics;
    let shares: Vec<_> = topics.iter().map(|share| (&*share.realm, &*share.topic, share.messages)).collect();
    assert_eq!(shares, [(REALM, "a", 1), (REALM, "b", 2), (REALM, "k", 1)]);
    assert!(topics.iter().all(|share| share.bytes > 0));
}

#[test]
fn what_is_no_segment_is_refused() {
    let good = batch([plain("a"), text("k", "v").asking(&lock())]);
    for (body, count) in [
        (good.as_bytes().to_vec(), 1),
        (good.as_bytes().to_vec(), 3),
        (good.as_bytes()[..good.len() - 1].to_vec(), 2),
        (vec![2, 1, 0, 0, 0, 0xC1], 1),
        (vec![3, 255, 255, 255, 255, 3, 255, 255, 255, 255], u32::MAX),
    ] {
        let body = Bytes::from(body);
        let sealed = Sealed { position: 1, at_us: 0, entry: ENTRY, body: &body, count };
        let refused = State::default().apply(sealed, &mut Memory::default());
        assert_eq!(refused.err(), Some(StateError::Malformed(Malformed)), "{count} in {body:?}");
    }
}

#[test]
fn plain_messages_are_not_looked_into() {
    let mut body = batch([plain("a"), plain("a")]).as_bytes().to_vec();
    let end = body.len();
    // The length of the last message would lead beyond the end.
    body[end - 5] = 0xFF;
    let body = Bytes::from(body);
    let sealed = Sealed { position: 1, at_us: 0, entry: ENTRY, body: &body, count: 2 };
    assert_eq!(State::default().apply(sealed, &mut Memory::default()).unwrap().segment.count, 2);
}
