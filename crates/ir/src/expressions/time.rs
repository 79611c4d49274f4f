//! Instants and spans in text: RFC 3339 and CEL durations. Proleptic Gregorian calendar, no leap seconds, no clock.

const NS: i128 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// Days since 1970-01-01 of a civil date (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads RFC 3339 (years 1 to 9999, up to nine digits of a second): ns since 1970.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let at = |place: usize, allowed: &[u8]| bytes.get(place).is_some_and(|byte| allowed.contains(byte));
    let separators = at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":");
    if !separators {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let valid = (1..=12).contains(&month)
        && year >= 1
        && day >= 1
        && day <= month_days(year, month)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let mut pos = 19;
    let mut fraction: i128 = 0;
    if at(pos, b".") {
        let digits = bytes[pos + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        fraction = i128::from(number(pos + 1, pos + 1 + digits)?) * 10_i128.pow(9 - digits as u32);
        pos += 1 + digits;
    }
    let offset_s = match bytes.get(pos)? {
        b'Z' | b'z' if bytes.len() == pos + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == pos + 6 && at(pos + 3, b":") => {
            let (hours, minutes) = (number(pos + 1, pos + 3)?, number(pos + 4, pos + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * DAY_S + hour * 3_600 + minute * 60 + second - offset_s;
    in_range(i128::from(seconds) * NS + fraction)
}

/// An instant within the years 1 to 9999.
pub(crate) fn in_range(ns: i128) -> Option<i128> {
    // 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z.
    (-62_135_596_800 * NS..=253_402_300_800 * NS - 1).contains(&ns).then_some(ns)
}

/// Writes an instant as RFC 3339 in UTC, with as many digits of a second as it has (none, 3, 6 or 9).
#[must_use]
pub fn write_timestamp(ns: i128) -> String {
    let seconds = ns.div_euclid(NS) as i64;
    let fraction = ns.rem_euclid(NS) as u32;
    let (days, of_day) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    match fraction {
        0 => {}
        f if f % 1_000_000 == 0 => text.push_str(&format!(".{:03}", f / 1_000_000)),
        f if f % 1_000 == 0 => text.push_str(&format!(".{:06}", f / 1_000)),
        f => text.push_str(&format!(".{f:09}")),
    }
    text.push('Z');
    text
}

/// Reads a CEL duration: a sign and numbers with the units `h m s ms us ns`. Gives ns.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut fraction = "";
        let mut used = whole_len;
        if rest.as_bytes().get(used) == Some(&b'.') {
            let digits = rest[used + 1..].bytes().take_while(u8::is_ascii_digit).count();
            fraction = &rest[used + 1..used + 1 + digits];
            used += 1 + digits;
        }
        if (whole_len == 0 && fraction.is_empty()) || whole_len > 18 || fraction.len() > 18 {
            return None;
        }
        let whole: i128 = if whole_len == 0 { 0 } else { rest[..whole_len].parse().ok()? };
        rest = &rest[used..];
        let unit_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit: i128 = match &rest[..unit_len] {
            "h" => 3_600 * NS,
            "m" => 60 * NS,
            "s" => NS,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        rest = &rest[unit_len..];
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        total = total.checked_add(part * unit / 10_i128.pow(fraction.len() as u32))?;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Writes a span in seconds with the unit, `1.5s` (as protobuf JSON).
#[must_use]
pub fn write_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let (whole, fraction) = (ns.unsigned_abs() / 1_000_000_000, ns.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}
