//! Where a JSON value ends, checked to the last byte, as fast as may be: arguments are forwarded unparsed, so that every
//! message is scanned once and most of them never looked into.

/// The high bits of eight bytes: set in those that are not ASCII.
pub const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;

/// The end of the value that begins at `at` and has no more than `depth_max` levels.
pub fn value(bytes: &[u8], mut at: usize, depth_max: usize) -> Option<usize> {
    let mut depth = 0;
    // A bit for each open container, set for objects; the innermost is the lowest.
    let mut objects = 0u128;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string(bytes, at)?,
            b'-' | b'0'..=b'9' => at = number(bytes, at)?,
            opening @ (b'[' | b'{') => {
                if depth == depth_max {
                    return None;
                }
                let object = opening == b'{';
                depth += 1;
                objects = objects << 1 | u128::from(object);
                at = space(bytes, at + 1);
                // ASCII has `]` and `}` two behind their opening brackets.
                if *bytes.get(at)? != opening + 2 {
                    if object {
                        at = key(bytes, at)?;
                    }
                    continue;
                }
            }
            b't' => at = literal(bytes, at, b"true")?,
            b'f' => at = literal(bytes, at, b"false")?,
            b'n' => at = literal(bytes, at, b"null")?,
            _ => return None,
        }
        // Behind a value, or before the end of an empty container.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = space(bytes, at);
            match (*bytes.get(at)?, objects & 1) {
                (b',', 0) => {
                    at = space(bytes, at + 1);
                    break;
                }
                (b',', _) => {
                    at = key(bytes, space(bytes, at + 1))?;
                    break;
                }
                (b']', 0) | (b'}', 1) => {
                    at += 1;
                    depth -= 1;
                    objects >>= 1;
                }
                _ => return None,
            }
        }
    }
}

#[inline]
fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

/// From a key's opening quote to its value.
#[inline]
fn key(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let at = space(bytes, string(bytes, at)?);
    if *bytes.get(at)? != b':' {
        return None;
    }
    Some(space(bytes, at + 1))
}

#[inline]
pub fn number(bytes: &[u8], mut at: usize) -> Option<usize> {
    at += usize::from(bytes[at] == b'-');
    at = match *bytes.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => digits(bytes, at + 1),
        _ => return None,
    };
    if bytes.get(at) == Some(&b'.') {
        at = some_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = some_digits(bytes, at)?;
    }
    Some(at)
}

#[inline]
fn digits(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    at
}

#[inline]
fn some_digits(bytes: &[u8], at: usize) -> Option<usize> {
    let end = digits(bytes, at);
    (end > at).then_some(end)
}

/// From a string's opening quote to behind its closing one.
#[inline]
fn string(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at + 1;
    let (mut at, mut seen) = plain(bytes, start);
    while *bytes.get(at)? != b'"' {
        let (next, more) = plain(bytes, escape(bytes, at)?);
        at = next;
        seen |= more;
    }
    if seen & HIGH_BITS != 0 {
        std::str::from_utf8(&bytes[start..at]).ok()?;
    }
    Some(at + 1)
}

/// Passes bytes up to a quote, a backslash or a control character, eight at a time. Also returns bytes seen, or'ed: their
/// high bits tell whether UTF-8 must be checked.
#[inline]
pub fn plain(bytes: &[u8], mut at: usize) -> (usize, u64) {
    let mut seen = 0;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        seen |= word;
        let special = special_bytes(word);
        if special != 0 {
            return (at + special.trailing_zeros() as usize / 8, seen);
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            break;
        }
        seen |= u64::from(*byte);
        at += 1;
    }
    (at, seen)
}

/// Sets the high bit of the first byte (in memory order) that is a quote, a backslash or below 0x20. Bits above the first
/// set one mean nothing.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(LOW_BITS) & !word;
    let quote = zero(word ^ (LOW_BITS * u64::from(b'"')));
    let backslash = zero(word ^ (LOW_BITS * u64::from(b'\\')));
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    (quote | backslash | control) & HIGH_BITS
}

/// From a backslash to behind its escape.
pub fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..at + 2)? {
        [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'] => Some(at + 2),
        [b'\\', b'u'] => match unit(bytes, at)? {
            0xd800..=0xdbff => matches!(unit(bytes, at + 6)?, 0xdc00..=0xdfff).then_some(at + 12),
            0xdc00..=0xdfff => None,
            _ => Some(at + 6),
        },
        _ => None,
    }
}

/// The UTF-16 code unit of a `\u` escape.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    match bytes.get(at..at + 6)? {
        [b'\\', b'u', digits @ ..] => {
            digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
        }
        _ => None,
    }
}
