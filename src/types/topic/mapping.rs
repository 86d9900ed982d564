//! The two spellings of a level, and how one becomes the other.
//!
//! A level is any text without NUL. Each protocol forbids some characters in it, and writes those as `%` and two upper-case
//! hexadecimal digits for each of their UTF-8 bytes:
//!
//! ```text
//! MQTT   /  +  #
//! WAMP   .  #  white space        and the empty level as a lone %
//! ```
//!
//! Any other `%` is itself, except where it would be taken for such an escape: there it is written `%25`. "There" is a `%`
//! followed by any number of `25` and then by what makes an escape, so that `%2E`, `%252E`, `%25252E` stay apart. Whatever
//! else looks like an escape (`%2e`, `%41`, in MQTT `%2E`) is plain text. So each level has exactly one spelling in each
//! protocol, each spelling that a protocol allows is that of exactly one level, and both directions are total.

use std::borrow::Cow;

use super::TopicError;
use crate::types::limits::TOPIC_BYTES_MAX;

/// Longest WAMP spelling that can have an MQTT spelling of allowed length: an escape is at most three times as long.
pub(super) const URI_BYTES_MAX: usize = 3 * TOPIC_BYTES_MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Mqtt,
    Wamp,
}

/// Something that begins with `%` and is not just text.
enum Escape {
    /// A forbidden character; the escape is `bytes` long.
    Char { char: char, bytes: usize },
    /// WAMP's lone `%`.
    Empty,
    /// `%25` where it stands for a `%` that would else begin an escape.
    Percent,
}

impl Spelling {
    fn forbids(self, c: char) -> bool {
        match self {
            Self::Mqtt => matches!(c, '/' | '+' | '#'),
            Self::Wamp => matches!(c, '.' | '#') || is_white_space(c),
        }
    }

    /// The escape at `at`, where `level` has a `%`.
    fn escape_at(self, level: &str, at: usize) -> Option<Escape> {
        let rest = &level[at + 1..];
        let tail = rest.trim_start_matches("25");
        let plain = tail.len() == rest.len();
        if let Some((char, bytes)) = self.escaped_char(tail) {
            return Some(if plain { Escape::Char { char, bytes: bytes + 1 } } else { Escape::Percent });
        }
        if self == Self::Wamp && at == 0 && tail.is_empty() {
            return Some(if plain { Escape::Empty } else { Escape::Percent });
        }
        None
    }

    /// The forbidden character whose escape continues, after its first `%`, at the beginning of `text`; and for how many bytes.
    fn escaped_char(self, text: &str) -> Option<(char, usize)> {
        let bytes = text.as_bytes();
        let first = hex_byte(bytes)?;
        let count = match first {
            0x00..=0x7F => 1,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            _ => return None,
        };
        let mut utf8 = [first, 0, 0];
        for (i, byte) in utf8.iter_mut().enumerate().take(count).skip(1) {
            let at = 3 * i - 1;
            if bytes.get(at) != Some(&b'%') {
                return None;
            }
            *byte = hex_byte(&bytes[at + 1..])?;
        }
        let char = std::str::from_utf8(&utf8[..count]).ok()?.chars().next()?;
        self.forbids(char).then_some((char, 3 * count - 1))
    }

    /// The level that `spelt` is the spelling of.
    fn read(self, spelt: &str) -> Cow<'_, str> {
        if !spelt.contains('%') {
            return Cow::Borrowed(spelt);
        }
        let mut level = String::with_capacity(spelt.len());
        let mut at = 0;
        while let Some(found) = spelt[at..].find('%') {
            level.push_str(&spelt[at..at + found]);
            at += found;
            at += match self.escape_at(spelt, at) {
                Some(Escape::Char { char, bytes }) => {
                    level.push(char);
                    bytes
                }
                Some(Escape::Empty) => 1,
                Some(Escape::Percent) => {
                    level.push('%');
                    3
                }
                None => {
                    level.push('%');
                    1
                }
            };
        }
        level.push_str(&spelt[at..]);
        Cow::Owned(level)
    }

    /// Appends the spelling of `level`.
    fn write(self, level: &str, out: &mut String) {
        if level.is_empty() && self == Self::Wamp {
            return out.push('%');
        }
        for (at, c) in level.char_indices() {
            if c == '%' {
                out.push_str(if self.escape_at(level, at).is_some() { "%25" } else { "%" });
            } else if self.forbids(c) {
                push_escaped(c, out);
            } else {
                out.push(c);
            }
        }
    }
}

/// White space to any WAMP peer that checks URIs by the specification's regular expression: Unicode's, and what Python
/// (U+001C to U+001F) and JavaScript (U+FEFF) add to it. A client library may end the session over one in an EVENT.
pub(super) fn is_white_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}' | '\u{FEFF}')
}

/// What every topic and filter keeps in its MQTT spelling (MQTT 5, 4.7.3).
pub(super) fn check_bytes(spelt: &str) -> Result<(), TopicError> {
    if spelt.is_empty() {
        Err(TopicError::Empty)
    } else if spelt.len() > TOPIC_BYTES_MAX {
        Err(TopicError::TooLong)
    } else if spelt.as_bytes().contains(&0) {
        Err(TopicError::Nul)
    } else {
        Ok(())
    }
}

/// What every URI and URI pattern keeps, whatever its components (WAMP, URIs).
pub(super) fn check_uri_chars(uri: &str) -> Result<(), TopicError> {
    if uri.len() > URI_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    for c in uri.chars() {
        match c {
            '\0' => return Err(TopicError::Nul),
            '#' => return Err(TopicError::Hash),
            c if is_white_space(c) => return Err(TopicError::WhiteSpace),
            _ => {}
        }
    }
    Ok(())
}

/// The WAMP spelling of a valid topic name.
pub(super) fn uri_of_name(name: &str) -> String {
    let mut uri = String::with_capacity(name.len() + 8);
    for (i, level) in name.split('/').enumerate() {
        if i > 0 {
            uri.push('.');
        }
        push_component(level, &mut uri);
    }
    uri
}

/// The MQTT spelling of a URI, if it is a valid one.
pub(super) fn name_of_uri(uri: &str) -> Result<String, TopicError> {
    if uri.is_empty() {
        return Err(TopicError::Empty);
    }
    check_uri_chars(uri)?;
    let mut name = String::with_capacity(uri.len());
    for (i, component) in uri.split('.').enumerate() {
        if component.is_empty() {
            return Err(TopicError::EmptyComponent);
        }
        if i > 0 {
            name.push('/');
        }
        push_level(component, &mut name);
    }
    match name.len() {
        0 => Err(TopicError::EmptyTopic),
        1..=TOPIC_BYTES_MAX => Ok(name),
        _ => Err(TopicError::TooLong),
    }
}

/// Appends the WAMP spelling of a level in MQTT spelling.
pub(super) fn push_component(level: &str, uri: &mut String) {
    if !level.is_empty() && level.bytes().all(is_same_in_both) {
        uri.push_str(level);
    } else {
        Spelling::Wamp.write(&Spelling::Mqtt.read(level), uri);
    }
}

/// Appends the MQTT spelling of a component in WAMP spelling; it has no character that WAMP forbids.
pub(super) fn push_level(component: &str, name: &mut String) {
    if component.bytes().all(is_same_in_both) {
        name.push_str(component);
    } else {
        Spelling::Mqtt.write(&Spelling::Wamp.read(component), name);
    }
}

/// A byte that both protocols write as it is, whatever stands beside it.
pub(super) fn is_same_in_both(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b'.' | b'/' | b'+' | b'#')
}

fn push_escaped(c: char, out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The byte that the first two characters write, in upper-case hexadecimal.
fn hex_byte(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(*text.first()?)? << 4 | digit(*text.get(1)?)?)
}
