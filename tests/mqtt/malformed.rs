//! Every packet that breaks a rule, sent to a broker: it ends that connection in the right way, and nobody else's.

use std::net::TcpStream;

use fennec::mqtt::codec::{
    Connack, Connect, DecodeError, Disconnect, Level, Packet, ReasonCode, Role, answer_level, decode,
};

use crate::counterexamples::{MALFORMED, MALFORMED_FRAMES};
use crate::notation::{frame, raw};
use crate::support::{Client, Running};

/// What the broker says last.
#[derive(Debug, PartialEq)]
enum LastWord {
    Connack(ReasonCode),
    Disconnect(ReasonCode),
    None,
}

/// Reads up to the end of the connection.
fn last_word(client: &mut Client<TcpStream>, level: Level) -> LastWord {
    let Some(found) = client.read_frame() else { return LastWord::None };
    let word = match decode(&found, level, Role::Client) {
        Ok(Packet::Connack(connack)) => {
            let Connack { session_present, reason, .. } = *connack;
            assert!(!session_present, "{found:02x?}");
            LastWord::Connack(reason)
        }
        Ok(Packet::Disconnect(Disconnect { reason, .. })) => LastWord::Disconnect(reason),
        other => panic!("{other:?}"),
    };
    client.expect_end();
    word
}

/// What a first packet that breaks a rule is answered with: at level 5 the reason, before that the nearest return code, if
/// there is one.
fn expected_connack(packet: &[u8], rule: DecodeError) -> LastWord {
    let level = answer_level(packet);
    let code = rule.reason().to_return_code().and_then(ReasonCode::from_return_code);
    let reason = if level == Level::V5 { Some(rule.reason()) } else { code };
    reason.map_or(LastWord::None, LastWord::Connack)
}

/// Sends a packet that breaks a rule, as the first if it is a CONNECT, else behind one.
fn check(running: &Running, rule: DecodeError, level: Level, packet: &[u8], what: &str) {
    let mut client = running.open();
    let first = packet.first().is_some_and(|first| first >> 4 == 1);
    if first {
        client.write(packet);
        let level = answer_level(packet);
        assert_eq!(last_word(&mut client, level), expected_connack(packet, rule), "{level:?} {rule:?}: {what}");
    } else {
        client.join(level, "bad");
        client.write(packet);
        let expected = if level == Level::V5 { LastWord::Disconnect(rule.reason()) } else { LastWord::None };
        assert_eq!(last_word(&mut client, level), expected, "{level:?} {rule:?}: {what}");
    }
}

/// What breaks a rule towards a server, with all its bytes.
fn counterexamples() -> impl Iterator<Item = (DecodeError, Level, Vec<u8>, &'static str)> {
    let packets = MALFORMED.iter().filter(|(_, _, role, _)| *role == Role::Server);
    let packets = packets.map(|(rule, level, _, notation)| (*rule, *level, frame(notation), *notation));
    // A packet that is not complete breaks no rule on a stream.
    let frames = MALFORMED_FRAMES.iter().filter(|(rule, ..)| *rule != DecodeError::FRAME_INCOMPLETE);
    packets.chain(frames.map(|(rule, level, notation)| (*rule, *level, raw(notation), *notation)))
}

#[test]
fn packet_that_breaks_a_rule_ends_its_connection_and_no_other() {
    let running = Running::start();
    let mut witness = running.join(Level::V4, "witness");
    witness.send("82 0001 s'#' 00");
    witness.expect("90 0001 00");
    let mut bystander = running.join(Level::V5, "bystander");
    for (rule, level, packet, what) in counterexamples() {
        check(&running, rule, level, &packet, what);
        bystander.send("30 s'hello' {} 'x'");
        witness.expect("30 s'hello' 'x'");
    }
    witness.expect_silence();
    bystander.expect_silence();
}

#[test]
fn first_packet_that_breaks_a_rule_is_refused_unless_it_is_none() {
    let running = Running::start();
    for (_, level, packet, what) in counterexamples() {
        let mut client = running.open();
        client.write(&packet);
        if Connect::decode(&packet) == Err(DecodeError::NOT_CONNECT)
            || packet.first().is_some_and(|first| first >> 4 != 1)
        {
            assert_eq!(client.read_frame(), None, "{level:?}: {what}");
        } else {
            last_word(&mut client, answer_level(&packet));
        }
    }
}

/// What was in order before the fault takes effect, and is answered.
#[test]
fn packets_before_the_fault_are_handled() {
    let running = Running::start();
    let mut witness = running.join(Level::V4, "witness");
    witness.send("82 0001 s'#' 00");
    witness.expect("90 0001 00");
    let mut client = running.join(Level::V5, "bad");
    let mut bytes = frame("32 s'a' 0007 {} 'before'");
    bytes.extend(frame("36 s'a' 0008 {} 'fault'"));
    bytes.extend(frame("32 s'a' 0009 {} 'behind'"));
    client.write(&bytes);
    client.expect("40 0007");
    assert_eq!(last_word(&mut client, Level::V5), LastWord::Disconnect(ReasonCode::MalformedPacket));
    witness.expect("30 s'a' 'before'");
    witness.expect_silence();
}

/// Every packet cut at every place, and every bit of it flipped, on connections that then end.
#[test]
fn torn_and_garbled_packets_hurt_nobody() {
    let running = Running::start();
    let mut witness = running.join(Level::V5, "witness");
    let packets = ["32 s'a' 0001 { 26 s'k' s'v' 02 00000001 } 'x'", "82 0001 { 0B 01 } s'a' 01", "62 0001", "E0 00 {}"];
    for packet in packets.map(frame) {
        for end in 1..packet.len() {
            let mut client = running.join(Level::V5, "torn");
            client.write(&packet[..end]);
        }
        for bit in 0..packet.len() * 8 {
            let mut garbled = packet.clone();
            garbled[bit / 8] ^= 1 << (bit % 8);
            let mut client = running.join(Level::V5, "garbled");
            client.write(&garbled);
        }
        witness.expect_silence();
    }
    let mut after = running.join(Level::V5, "garbled");
    after.expect_silence();
}
