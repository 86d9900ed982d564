//! MQTT 5, 4.3.3: a QoS 2 message counts once.

use super::*;

fn connect(connection: u64, clean_start: bool) -> Command {
    Command::Connect(Box::new(Connect {
        realm: REALM.into(),
        client_id: "c".into(),
        session: 5,
        connection,
        clean_start,
        expiry_s: 100,
        ..Connect::default()
    }))
}

fn packet(connection: u64, packet_id: u16) -> Publish<'static> {
    Publish { retain: false, packet: Some(("c", connection, packet_id)), ..text("a", "x") }
}

fn release(packet_id: u16) -> Command {
    Command::Release { realm: REALM.into(), client_id: "c".into(), packet_id }
}

#[test]
fn a_packet_identifier_counts_once_until_it_is_released() {
    let mut world = World::new();
    world.command(connect(1, true));
    assert!(world.send(batch([packet(1, 7), packet(1, 8)])).is_empty());
    assert_eq!(
        world.send(batch([packet(1, 8), packet(1, 9), packet(1, 7)])),
        ["0: Void(Repeated)", "2: Void(Repeated)"]
    );
    assert_eq!(world.command(release(7)), ["0: Done(Yes)"]);
    assert_eq!(world.command(release(7)), ["0: Done(NotFound)"]);
    assert!(world.publish(packet(1, 7)).is_empty());
}

#[test]
fn identifiers_are_remembered_over_connections() {
    let mut world = World::new();
    world.command(connect(1, true));
    world.publish(packet(1, 7));
    assert_eq!(world.command(connect(2, false)), ["0: Done(Connected { present: true })"]);
    assert_eq!(world.publish(packet(2, 7)), ["0: Void(Repeated)"]);
    assert_eq!(world.command(connect(3, true))[0], "0: Done(Connected { present: false })");
    assert!(world.publish(packet(3, 7)).is_empty(), "a clean start forgets them");
}

#[test]
fn what_an_older_connection_sent_is_void() {
    let mut world = World::new();
    assert_eq!(world.publish(packet(1, 1)), ["0: Void(Stale)"], "there is no session");
    world.command(connect(1, true));
    let mut batch = batch([packet(1, 1)]);
    batch.command(&connect(2, false));
    packet(1, 2).add_to(&mut batch);
    packet(2, 3).add_to(&mut batch);
    assert_eq!(world.send(batch), ["1: Done(Connected { present: true })", "2: Void(Stale)"]);
}

/// PUBREC with an error frees the identifier.
#[test]
fn a_message_whose_condition_fails_leaves_its_identifier_free() {
    let mut world = World::new();
    world.command(connect(1, true));
    world.publish(text("a", "there"));
    let absent = Condition { when: Some(When::Absent), ..Condition::default() };
    assert_eq!(world.publish(packet(1, 7).asking(&absent)), ["0: Void(ConditionFailed)"]);
    assert!(world.publish(packet(1, 7)).is_empty());
    assert_eq!(world.publish(packet(1, 7).asking(&absent)), ["0: Void(Repeated)"]);
}

#[test]
fn a_repeated_message_does_not_set_its_key_again() {
    let mut world = World::new();
    world.command(connect(1, true));
    let retained =
        |text: &'static str| Publish { payload: PayloadRef::Bytes(text.as_bytes()), retain: true, ..packet(1, 7) };
    world.publish(retained("1"));
    world.publish(retained("2"));
    assert_eq!(world.value("a"), Some(("1".into(), 2)));
}

#[test]
fn what_an_older_connection_at_another_entry_said_of_the_session_is_void() {
    let mut world = World::new();
    world.command(connect(1, true));
    world.publish(packet(1, 7));
    let first = world.entry;
    world.entry = first + 1;
    world.command(connect(2, false));
    world.entry = first;
    assert_eq!(world.command(release(7)), ["0: Done(Stale)"]);
    world.entry = first + 1;
    assert_eq!(world.publish(packet(2, 7)), ["0: Void(Repeated)"], "it was not released");
    assert_eq!(world.command(release(7)), ["0: Done(Yes)"]);
}
