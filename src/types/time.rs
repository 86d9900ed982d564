//! Points in time as clients write them (RFC 3339), and as they are counted: microseconds since 1970, in UTC.

/// The time that a text says, if it is from 1970 on: `2026-11-22T06:18:00.5+01:00`. Fractions finer than a microsecond are cut off.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let date = bytes.get(..19)?;
    let is_form = |at: usize, byte: u8| match at {
        4 | 7 => byte == b'-',
        10 => matches!(byte, b'T' | b't' | b' '),
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    if !date.iter().enumerate().all(|(at, byte)| is_form(at, *byte)) {
        return None;
    }
    let number =
        |from: usize, to: usize| date[from..to].iter().fold(0_u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    let days = days(year as i64, month as u8, day as u8)?;
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, zone) = read_fraction(&bytes[19..])?;
    let offset_s = read_zone(zone)?;
    let seconds = days * 86_400 + (hour * 3600 + minute * 60 + second) as i64 - offset_s;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(fraction_us)
}

/// Microseconds of a fraction, and what stands behind it.
fn read_fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 {
        return None;
    }
    let digit = |at: usize| rest[..len].get(at).map_or(0, |digit| u64::from(digit - b'0'));
    Some(((0..6).fold(0, |us, at| us * 10 + digit(at)), &rest[len..]))
}

/// Seconds that a zone is ahead of UTC.
fn read_zone(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Days since 1970 of a date, if there is such a day (H. Hinnant, days algorithms).
pub(super) fn days(year: i64, month: u8, day: u8) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Year, month and day (from 1) of a day since 1970.
pub fn civil(days: i64) -> (i64, u8, u8) {
    // The civil calendar counted from 1 March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u8, day as u8)
}

/// A time with milliseconds: `2026-11-22T05:18:00.500Z`.
pub fn rfc3339(us: u64) -> String {
    let ms = us / 1000;
    let (days, ms) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_calendar() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_403_455_901_643, "2014-06-22T16:51:41.643Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
        ];
        for (ms, text) in table {
            assert_eq!(rfc3339(ms * 1000), text);
            assert_eq!(parse_rfc3339(text), Some(ms * 1000), "{text}");
        }
    }

    #[test]
    fn zones_and_fractions_are_read() {
        for (text, us) in [
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1970-01-01t00:00:01.5z", 1_500_000),
            ("1970-01-01 00:00:00.1234567Z", 123_456),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(us), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T06:18:00",
            "2026-11-22T06:18Z",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "1969-12-31T23:59:59Z",
            "2611220618a1a1",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
