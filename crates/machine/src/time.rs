//! Times as text: RFC 3339 in UTC, from and to nanoseconds since 1970. Days by the civil-calendar formulas of
//! H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// Appends `2026-11-21T13:36:23.000000001Z` (nine digits, always).
pub(crate) fn write_rfc3339(time_ns: i64, out: &mut Vec<u8>) {
    let seconds = time_ns.div_euclid(SECOND);
    let nanos = time_ns.rem_euclid(SECOND);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let mut put = |mut value: i64, width: usize, after: u8| {
        let mut digits = [b'0'; 9];
        for place in digits[..width].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
        out.extend_from_slice(&digits[..width]);
        out.push(after);
    };
    // An i64 of nanoseconds ends in the year 2262, so four digits are enough.
    put(year, 4, b'-');
    put(month, 2, b'-');
    put(day, 2, b'T');
    put(of_day / 3_600, 2, b':');
    put(of_day / 60 % 60, 2, b':');
    put(of_day % 60, 2, b'.');
    put(nanos, 9, b'Z');
}

/// Reads RFC 3339 with any offset. `None`: it is none, or outside of what nanoseconds can say.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = bytes.get(range)?;
        digits.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        at += 1;
        let start = at;
        let mut scale = SECOND / 10;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            nanos += i64::from(bytes[at] - b'0') * scale;
            scale /= 10;
            at += 1;
        }
        if at == start {
            return None;
        }
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if at + 1 == bytes.len() => 0,
        sign @ (b'+' | b'-') if at + 6 == bytes.len() && is(at + 3, b":") => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text(time_ns: i64) -> String {
        let mut out = Vec::new();
        write_rfc3339(time_ns, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(parse_rfc3339("2026-11-21T15:36:23.5+02:00"), parse_rfc3339("2026-11-21T13:36:23.500Z"));
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "9999-01-01T00:00:00Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00Zx",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_date_has_its_months_and_its_leap_days() {
        let is_read = |text: &str| parse_rfc3339(text).is_some();
        for (month, days) in (1..=12).zip([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
            assert!(is_read(&format!("2026-{month:02}-{days}T00:00:00Z")), "{month}");
            assert!(!is_read(&format!("2026-{month:02}-{}T00:00:00Z", days + 1)), "{month}");
            assert!(!is_read(&format!("2026-{month:02}-00T00:00:00Z")), "{month}");
        }
        for (year, is_leap) in [(2000, true), (2024, true), (2100, false), (2200, false), (2023, false)] {
            assert_eq!(is_read(&format!("{year}-02-29T00:00:00Z")), is_leap, "{year}");
        }
        assert!(is_read("2026-01-01t23:59:60z"), "a leap second");
        let whole = "2026-01-01T00:00:00Z";
        for at in [4, 7, 10, 13, 16, 19] {
            assert!(!is_read(&format!("{}_{}", &whole[..at], &whole[at + 1..])), "byte {at}");
        }
        for bad in ["2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z"] {
            assert!(!is_read(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time_ns in any::<i64>()) {
            prop_assert_eq!(parse_rfc3339(&text(time_ns)), Some(time_ns));
        }
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
