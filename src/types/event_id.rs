//! The permanent id of a durable event, a text that sorts.
//!
//! ```text
//! yyMMddHHmm (UTC) + key(generator) + key(offset)      2611220618a1a1
//! key(n): a letter for the count of base-36 digits ('a' = one), then the digits 0-9 a-z
//! ```
//!
//! Ids of one log compare as texts (bytewise) like the numbers of their events.

use std::fmt;
use std::str::FromStr;

use super::time::{civil, days};

/// See the module. Ordered like its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Minutes since 1970.
    pub minute: u32,
    /// Counts positions of the log within the minute, from 1 on.
    pub generator: u64,
    /// Place in its segment, from 1 on.
    pub offset: u32,
}

/// The text is no event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no event id")]
pub struct NotAnEventId;

/// Longest text: the date, and keys of a `u64` and a `u32`.
const TEXT_BYTES_MAX: usize = 10 + 14 + 8;

/// The text of an id, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct EventIdText {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl EventIdText {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_two(&mut self, number: u32) {
        self.push(b'0' + (number / 10 % 10) as u8);
        self.push(b'0' + (number % 10) as u8);
    }

    /// Appends `key(n)`.
    fn push_key(&mut self, mut n: u64) {
        let mut digits = [0; 13];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize];
            n /= 36;
            if n == 0 {
                break;
            }
        }
        let digits = &digits[at..];
        self.push(b'a' + digits.len() as u8 - 1);
        digits.iter().for_each(|digit| self.push(*digit));
    }

    pub fn as_str(&self) -> &str {
        // Nothing but digits and letters is pushed.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl EventId {
    pub fn text(&self) -> EventIdText {
        let (day, minute) = (i64::from(self.minute / 1440), self.minute % 1440);
        let (year, month, day) = civil(day);
        let mut text = EventIdText { bytes: [0; TEXT_BYTES_MAX], len: 0 };
        for two in [year.rem_euclid(100) as u32, month.into(), day.into(), minute / 60, minute % 60] {
            text.push_two(two);
        }
        text.push_key(self.generator);
        text.push_key(self.offset.into());
        text
    }
}

/// Reads `key(n)` at the front of `text`; the number and what follows.
fn read_key(text: &[u8]) -> Option<(u64, &[u8])> {
    let (letter, rest) = text.split_first()?;
    let count = usize::from(letter.checked_sub(b'a')?) + 1;
    if count > 13 || rest.len() < count {
        return None;
    }
    let (digits, rest) = rest.split_at(count);
    // One number, one text: no leading zeros.
    if digits[0] == b'0' && count > 1 {
        return None;
    }
    let mut n = 0_u64;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'z' => digit - b'a' + 10,
            _ => return None,
        };
        n = n.checked_mul(36)?.checked_add(u64::from(value))?;
    }
    Some((n, rest))
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl FromStr for EventId {
    type Err = NotAnEventId;

    /// Two-digit years are those from 2000 on.
    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let bytes = text.as_bytes();
        let date = bytes.get(..10).filter(|date| date.iter().all(u8::is_ascii_digit)).ok_or(NotAnEventId)?;
        let two = |at: usize| (date[at] - b'0') * 10 + date[at + 1] - b'0';
        let (year, month, day, hour, minute) = (2000 + i64::from(two(0)), two(2), two(4), two(6), two(8));
        let days = days(year, month, day).filter(|_| hour <= 23 && minute <= 59).ok_or(NotAnEventId)?;
        let minutes = days * 1440 + i64::from(hour) * 60 + i64::from(minute);
        let (generator, rest) = read_key(&bytes[10..]).ok_or(NotAnEventId)?;
        let (offset, rest) = read_key(rest).ok_or(NotAnEventId)?;
        let (Ok(minute), Ok(offset), []) = (u32::try_from(minutes), u32::try_from(offset), rest) else {
            return Err(NotAnEventId);
        };
        Ok(Self { minute, generator, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_date_and_two_counts() {
        let id = EventId { minute: 29_753_178, generator: 1, offset: 1 };
        assert_eq!(id.to_string(), "2607272218a1a1");
        let late = EventId { generator: 36, offset: 1296 * 36, ..id };
        assert_eq!(late.to_string(), "2607272218b10d1000");
        let longest = EventId { minute: u32::MAX, generator: u64::MAX, offset: u32::MAX };
        assert_eq!(longest.to_string().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn ids_sort_as_their_texts_do() {
        let counts = [1, 9, 10, 35, 36, 37, 1295, 1296, 46_655, 46_656, u32::MAX];
        let mut ids = Vec::new();
        for minute in [29_000_000, 29_000_001, 29_001_440, 31_000_000] {
            for generator in counts {
                ids.extend(counts.map(|offset| EventId { minute, generator: generator.into(), offset }));
            }
        }
        assert!(ids.is_sorted());
        let texts: Vec<String> = ids.iter().map(EventId::to_string).collect();
        assert!(texts.is_sorted());
        let read: Vec<EventId> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(read, ids);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "2607280618",
            "2607280618a1",
            "2607280618a1a1x",
            "2607280618a1b01",
            "2602300618a1a1",
            "2600000618a1a1",
            "2607282418a1a1",
            "26072806x8a1a1",
            "2607280618A1a1",
            "2607280618mzzzzzzzzzzzzza1",
            "2607280618a1gzzzzzzz",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnEventId), "{text}");
        }
    }
}
