//! Packets as bytes and as words, which tests compare.

use super::*;

pub fn encode(packet: &Packet<'_>, level: Level, out: &mut Vec<u8>) {
    match packet {
        Packet::Publish(publish) => publish.encode(level, out).map(|_| ()),
        Packet::Puback(ack) => ack.encode(AckType::Puback, level, out),
        Packet::Pubrec(ack) => ack.encode(AckType::Pubrec, level, out),
        Packet::Pubrel(ack) => ack.encode(AckType::Pubrel, level, out),
        Packet::Pubcomp(ack) => ack.encode(AckType::Pubcomp, level, out),
        Packet::Subscribe(subscribe) => subscribe.encode(level, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(level, out),
        Packet::Disconnect(disconnect) => disconnect.encode(level, out),
        Packet::Auth(auth) => auth.encode(level, out),
        other => panic!("no client sends {other:?}"),
    }
    .unwrap();
}

/// The frames that bytes consist of.
pub fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = frame_length(bytes, usize::MAX).unwrap().expect("a whole packet");
        let (frame, rest) = bytes.split_at(length);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Packets in words: `publish TOPIC PAYLOAD`, then what is out of the ordinary (`q1 #5 dup retain` …).
pub fn words(bytes: &[u8], level: Level) -> Vec<String> {
    frames(bytes).into_iter().map(|frame| describe(&decode(frame, level, Side::Client).unwrap())).collect()
}

fn describe(packet: &Packet<'_>) -> String {
    let acknowledged = |kind: &str, ack: &Ack<'_>| {
        let mut line = format!("{kind} #{}", ack.packet_id);
        if ack.reason != ReasonCode::Success {
            line += &format!(" {:?}", ack.reason);
        }
        line + &explained(ack.diagnostics.reason_string)
    };
    let reasons = |list: Vec<ReasonCode>| list.iter().map(|code| format!(" {code:?}")).collect::<String>();
    match packet {
        Packet::Connack(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            format!("connack {:?}{present}{}", connack.reason, explained(connack.properties.reason_string))
        }
        Packet::Publish(publish) => describe_publish(publish),
        Packet::Puback(ack) => acknowledged("puback", ack),
        Packet::Pubrec(ack) => acknowledged("pubrec", ack),
        Packet::Pubrel(ack) => acknowledged("pubrel", ack),
        Packet::Pubcomp(ack) => acknowledged("pubcomp", ack),
        Packet::Suback(suback) => {
            let mut line = format!("suback #{}{}", suback.packet_id, reasons(suback.reasons.iter().collect()));
            line += &explained(suback.diagnostics.reason_string);
            for (name, value) in suback.diagnostics.user_properties {
                // An id is another one in each run.
                line += &if name == "first_available" { format!(" {name}") } else { format!(" {name}={value}") };
            }
            line
        }
        Packet::Unsuback(unsuback) => {
            format!("unsuback #{}{}", unsuback.packet_id, reasons(unsuback.reasons.iter().collect()))
        }
        Packet::Disconnect(disconnect) => {
            format!("disconnect {:?}{}", disconnect.reason, explained(disconnect.diagnostics.reason_string))
        }
        Packet::Pingresp => "pingresp".to_owned(),
        other => format!("{other:?}"),
    }
}

fn explained(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

fn describe_publish(publish: &Publish<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut line = format!("publish {} {}", text(publish.topic), text(publish.payload));
    if let Some(id) = publish.packet_id {
        line += &format!(" q{} #{id}", publish.qos as u8);
    }
    let mut add = |word: String| line += &format!(" {word}");
    if publish.dup {
        add("dup".to_owned());
    }
    if publish.retain {
        add("retain".to_owned());
    }
    let properties = publish.properties().unwrap();
    if let Some(alias) = properties.topic_alias {
        add(format!("alias={alias}"));
    }
    let mut identifiers: Vec<u32> = properties.subscription_identifiers.iter().collect();
    identifiers.sort_unstable();
    identifiers.into_iter().for_each(|id| add(format!("id={id}")));
    let named = [
        ("text", properties.payload_is_text.map(|text| text.to_string())),
        ("expires", properties.expiry_s.map(|s| s.to_string())),
        ("type", properties.content_type.map(str::to_owned)),
        ("reply", properties.response_topic.map(str::to_owned)),
        ("correlation", properties.correlation_data.map(text)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            add(format!("{name}={value}"));
        }
    }
    // Where an event is in the log is another test's business.
    let passed = properties.user_properties.iter().filter(|(name, _)| *name != EVENT_ID);
    passed.for_each(|(name, value)| add(format!("{name}:{value}")));
    line
}
