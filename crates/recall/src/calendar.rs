//! Days and times of day. Each function looks at the tokens from one place and gives the end of the longest
//! expression that starts there, or nothing.

use crate::amount::cardinal_at;
use crate::lexicon::Class;
use crate::token::Doc;

/// Years that stand for a year without any other word beside them.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2099;

fn day_number(doc: &Doc<'_>, at: usize) -> bool {
    doc.is_digits(at) && doc.width(at) <= 2 && doc.value(at).is_some_and(|day| (1..=31).contains(&day))
}

/// `5th`, `fifth`, `twenty-eighth`, `twenty eighth`.
fn ordinal_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if day_number(doc, at) {
        return (doc.is(at + 1, Class::ORDINAL_END) && doc.is_glued(at + 1)).then_some(at + 2);
    }
    if doc.is(at, Class::CARDINAL) && doc.value(at).is_some_and(|tens| tens == 20 || tens == 30) {
        let unit = if doc.is_mark(at + 1, '-') { at + 2 } else { at + 1 };
        return (doc.is(unit, Class::ORDINAL) && doc.value(unit).is_some_and(|value| value < 10)).then_some(unit + 1);
    }
    doc.is(at, Class::ORDINAL).then_some(at + 1)
}

fn year_at(doc: &Doc<'_>, at: usize) -> bool {
    doc.is_digits(at)
        && doc.width(at) == 4
        && doc.value(at).is_some_and(|year| YEARS.contains(&year))
        && !(doc.is_glued(at + 1) && (doc.is_word(at + 1) || (doc.is_mark(at + 1, '-') && doc.is_glued(at + 2))))
}

/// The end behind an optional `, 2030`, `of 2030` or `2030`.
fn with_year(doc: &Doc<'_>, end: usize) -> usize {
    let year = if doc.is_mark(end, ',') || doc.low(end) == "of" { end + 1 } else { end };
    if year_at(doc, year) { year + 1 } else { end }
}

fn month_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if !doc.is(at, Class::MONTH) || doc.is_glued(at) && at > 0 && doc.is_mark(at - 1, '.') {
        return None;
    }
    let is_short = doc.width(at) <= 4 && !matches!(doc.low(at), "may" | "june" | "july");
    Some(if is_short && doc.is_mark(at + 1, '.') && doc.is_glued(at + 1) { at + 2 } else { at + 1 })
}

/// `March 7th`, `Oct. 16, 2036`, `may the twenty-fourth, 2020`, `March 2027`.
fn month_first(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let month = month_at(doc, at)?;
    let day = if doc.low(month) == "the" { month + 1 } else { month };
    if let Some(end) = ordinal_at(doc, day) {
        return Some(with_year(doc, end));
    }
    if day_number(doc, day) && !doc.is_mark(day + 1, ':') && !doc.is(day + 1, Class::MERIDIEM) {
        return Some(with_year(doc, day + 1));
    }
    let year = with_year(doc, month);
    (year > month).then_some(year)
}

/// `4th of March`, `12 March 2027`, `the 5th`, `6th of this month`.
fn day_first(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let has_article = doc.low(at) == "the";
    let start = at + usize::from(has_article);
    let ordinal = ordinal_at(doc, start);
    let day = ordinal.or_else(|| day_number(doc, start).then_some(start + 1))?;
    let month = if doc.low(day) == "of" { day + 1 } else { day };
    if let Some(end) = month_at(doc, month) {
        // `5 may …`: a verb more often than the month.
        if doc.low(month) == "may" && ordinal.is_none() && !doc.is_capital(month) {
            return None;
        }
        return Some(with_year(doc, end));
    }
    ordinal?;
    if doc.low(day) == "of" {
        let next = if doc.low(day + 1) == "the" { day + 2 } else { day + 1 };
        if doc.is(next, Class::NEXT) && doc.low(next + 1) == "month" {
            return Some(next + 2);
        }
        if doc.low(next) == "month" {
            return Some(next + 1);
        }
    }
    // `the 5th` is a day, `the first` alone is not.
    (has_article && doc.is_digits(start) && day_ends_here(doc, day)).then_some(day)
}

/// False where an ordinal counts something: `the 5th floor`.
fn day_ends_here(doc: &Doc<'_>, at: usize) -> bool {
    at >= doc.len()
        || doc.mark(at).is_some()
        || doc.is(at, Class::JOIN)
        || doc.is(at, Class::NO_NAME)
        || !doc.is_word(at)
        || doc.is(at, Class::CALENDAR)
}

/// `2026-03-04`, `3/4/2026`, `04.03.2026`, `2026/03/04`.
pub(crate) fn numeric_date_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let mark = doc.mark(at + 1).filter(|mark| matches!(mark, '-' | '/' | '.'))?;
    let is_shape = doc.is_digits(at)
        && !(doc.is_glued(at) && at > 0 && !matches!(doc.mark(at - 1), Some('(' | '"' | '\'' | ',')))
        && doc.is_mark(at + 3, mark)
        && doc.is_digits(at + 2)
        && doc.is_digits(at + 4)
        && (at + 1..at + 5).all(|i| doc.is_glued(i));
    if !is_shape || (doc.is_glued(at + 5) && doc.is_digits(at + 6) && doc.mark(at + 5).is_some()) {
        return None;
    }
    let value = |i: usize| doc.value(i).unwrap_or(0);
    let is_day = |i: usize| doc.width(i) <= 2 && (1..=31).contains(&value(i));
    let year_first = doc.width(at) == 4 && value(at) >= 1000 && is_day(at + 2) && is_day(at + 4);
    let year_last = is_day(at)
        && is_day(at + 2)
        && (value(at) <= 12 || value(at + 2) <= 12)
        && (doc.width(at + 4) == 4 || (doc.width(at + 4) == 2 && mark == '/'));
    (year_first || year_last).then_some(at + 5)
}

/// The end of a count of things such as `2 and a half`, `a few`, `four`, `two hundred fourteen`.
fn count_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let mut end = if matches!(doc.low(at), "a" | "an") {
        if matches!(doc.low(at + 1), "few" | "couple") { at + 2 } else { at + 1 }
    } else {
        cardinal_at(doc, at)?
    };
    if doc.low(end) == "of" {
        end += 1;
    }
    if doc.low(end) == "and" && doc.low(end + 1) == "a" && doc.low(end + 2) == "half" {
        end += 3;
    }
    Some(end)
}

/// `in 2 weeks`, `four months from now`, `3 days ago`, for units of one class.
fn wait_at(doc: &Doc<'_>, at: usize, unit: Class) -> Option<usize> {
    let has_in = matches!(doc.low(at), "in" | "within");
    let mut count = count_at(doc, at + usize::from(has_in))?;
    if !doc.is(count, unit) {
        return None;
    }
    // `two hours, ten minutes and five seconds`: at most one of each unit.
    for _ in 0..3 {
        let mut next = count + 1 + usize::from(doc.is_mark(count + 1, ','));
        next += usize::from(doc.low(next) == "and");
        match count_at(doc, next) {
            Some(unit_at) if doc.is(unit_at, unit) => count = unit_at,
            _ => break,
        }
    }
    let end = count + 1;
    match (doc.low(end), doc.low(end + 1)) {
        ("from", "now" | "today") => Some(end + 2),
        ("ago" | "later", _) => Some(end + 1),
        _ => has_in.then_some(end),
    }
}

/// `Tues.`, not the end of a sentence.
fn has_short_dot(doc: &Doc<'_>, at: usize) -> bool {
    doc.width(at) <= 5 && doc.is_mark(at + 1, '.') && doc.is_glued(at + 1)
}

fn weekday_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if doc.is(at, Class::WEEKDAY) && has_short_dot(doc, at) {
        return Some(at + 2);
    }
    if !doc.is(at, Class::WEEKDAY) || (doc.low(at) == "wed" && !doc.is_capital(at)) {
        return None;
    }
    let mut end = at + 1;
    if doc.is(end, Class::NEXT) && doc.low(end + 1) == "week" {
        return Some(end + 2);
    }
    if doc.is_mark(end, ',') || doc.low(end) == "the" {
        end += 1;
    }
    if let Some(day) = month_first(doc, end).or_else(|| day_first(doc, end)) {
        return Some(day);
    }
    if doc.low(end - 1) == "the" && day_first(doc, end - 1).is_some() {
        return day_first(doc, end - 1);
    }
    Some(at + 1)
}

/// The end of the day that starts at `at`, years without month left out (see [`bare_year_at`]).
pub(crate) fn date_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if doc.tokens.get(at).is_none_or(|token| !can_start(doc, at, token.class)) {
        return None;
    }
    let alternatives = [
        numeric_date_at(doc, at),
        month_first(doc, at),
        day_first(doc, at),
        weekday_at(doc, at),
        relative_at(doc, at),
        wait_at(doc, at, Class::DAY_UNIT),
        lone_month_at(doc, at),
        (doc.is(at, Class::DECADE) && doc.low(at) != "second").then_some(at + 1),
        holiday_at(doc, at),
        doc.is(at, Class::HOLIDAY).then_some(at + 1),
    ];
    alternatives.into_iter().flatten().max()
}

/// A cheap look at the first token: most words of a sentence start no day and no time.
fn can_start(doc: &Doc<'_>, at: usize, class: Class) -> bool {
    class.has(Class::CALENDAR.or(Class::CALENDAR_JOIN).or(Class::CARDINAL).or(Class::HOLIDAY_HEAD))
        || doc.is_digits(at)
        || matches!(doc.low(at), "within" | "day")
}

fn relative_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if doc.is(at, Class::RELATIVE_DAY) {
        return Some(at + 1);
    }
    let start = at + usize::from(doc.low(at) == "the");
    if doc.low(start) == "day" {
        return match (doc.low(start + 1), doc.low(start + 2)) {
            ("after", "tomorrow") | ("before", "yesterday") => Some(start + 3),
            _ => None,
        };
    }
    if !doc.is(start, Class::NEXT) {
        return None;
    }
    if matches!(doc.low(start), "later" | "earlier") {
        let rest = start + 1;
        if doc.low(rest) == "today" {
            return Some(rest + 1);
        }
        return (doc.low(rest) == "this" && doc.is(rest + 1, Class::DAY_UNIT)).then_some(rest + 2);
    }
    if doc.is(start + 1, Class::WEEKDAY) {
        return Some(start + 2 + usize::from(has_short_dot(doc, start + 1)));
    }
    if doc.is(start + 1, Class::DAY_UNIT.or(Class::SEASON).or(Class::HOLIDAY)) {
        return Some(start + 2);
    }
    if doc.is(start + 1, Class::MONTH) {
        return month_first(doc, start + 1).or_else(|| month_at(doc, start + 1));
    }
    let count = cardinal_at(doc, start + 1)?;
    doc.is(count, Class::DAY_UNIT).then_some(count + 1)
}

fn lone_month_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let end = month_at(doc, at)?;
    let is_word_too =
        matches!(doc.low(at), "may" | "march" | "mar" | "jan" | "jun" | "sep" | "dec" | "august" | "april" | "june");
    let after_cue =
        at > 0 && matches!(doc.low(at - 1), "in" | "by" | "until" | "since" | "during" | "of" | "early" | "late");
    (!is_word_too || after_cue).then_some(end)
}

/// Tokens of the longest listed holiday: `martin luther king jr . day`.
const HOLIDAY_TOKENS_MAX: usize = 7;

/// Listed holidays that are everyday words in lower case, or names of something else.
const NEEDS_CAPITAL: [&str; 7] = ["holi", "advent", "carnival", "epiphany", "new year", "eid", "state holiday"];

fn holiday_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if !doc.is(at, Class::HOLIDAY_HEAD) {
        return None;
    }
    let longest = HOLIDAY_TOKENS_MAX.min(doc.len() - at);
    (1..=longest).rev().map(|tokens| at + tokens).find(|&end| {
        let name = doc.phrase(at, end);
        doc.lexicon.is_holiday(name) && (doc.is_capital(at) || !NEEDS_CAPITAL.contains(&name))
    })
}

/// A year that stands alone.
pub(crate) fn bare_year_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let follows_mark = at > 0 && doc.is_glued(at) && !matches!(doc.mark(at - 1), Some('(' | '"' | '\''));
    (year_at(doc, at) && !follows_mark && !(doc.is_glued(at + 1) && doc.is_digits(at + 2) && doc.is_glued(at + 2)))
        .then_some(at + 1)
}

/// `am`, `p.m.`, `A.m`, behind an hour.
fn meridiem_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if doc.is(at, Class::MERIDIEM) {
        return Some(at + 1);
    }
    let is_dotted = matches!(doc.low(at), "a" | "p")
        && doc.is_mark(at + 1, '.')
        && doc.low(at + 2) == "m"
        && doc.is_glued(at + 1)
        && doc.is_glued(at + 2);
    is_dotted.then(|| {
        // The last dot belongs to the abbreviation, unless it ends the sentence.
        let has_dot = doc.is_mark(at + 3, '.') && doc.is_glued(at + 3);
        at + 3 + usize::from(has_dot)
    })
}

/// `in the morning`, `at night`.
fn part_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    match doc.low(at) {
        "in" if doc.low(at + 1) == "the" && doc.is(at + 2, Class::DAY_PART) => Some(at + 3),
        "at" if doc.low(at + 1) == "night" => Some(at + 2),
        _ => None,
    }
}

/// An hour, with minutes and seconds where written: (end, has minutes).
fn hour_at(doc: &Doc<'_>, at: usize) -> Option<(usize, bool)> {
    let is_hour = doc.value(at).is_some_and(|hour| hour <= 24)
        && ((doc.is_digits(at) && doc.width(at) <= 2) || doc.is(at, Class::CARDINAL));
    if !is_hour {
        return None;
    }
    let minutes = |i: usize| {
        doc.is_mark(i, ':') && doc.is_glued(i) && doc.is_digits(i + 1) && doc.is_glued(i + 1) && doc.width(i + 1) == 2
    };
    if doc.is_digits(at) && minutes(at + 1) {
        return Some((if minutes(at + 3) { at + 5 } else { at + 3 }, true));
    }
    Some((at + 1, false))
}

/// What may follow an hour: (end, whether the hour is one because of it).
fn hour_tail(doc: &Doc<'_>, at: usize) -> (usize, bool) {
    let clock = usize::from(matches!(doc.low(at), "o'clock" | "o\"clock" | "oclock"));
    let end = at + clock;
    match meridiem_at(doc, end).or_else(|| part_at(doc, end)) {
        Some(end) => (end, true),
        None => (end, clock == 1),
    }
}

/// The end of the time of day that starts at `at`. A part of the day alone counts only in `this morning`,
/// or behind `the`, `at` or a day.
pub(crate) fn time_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let token = doc.tokens.get(at)?;
    if !can_start(doc, at, token.class) {
        return None;
    }
    if doc.is_digits(at) && at > 0 && doc.is_glued(at) && matches!(doc.mark(at - 1), Some(':' | '.' | '-' | '/' | '$'))
    {
        return None;
    }
    let clock = hour_at(doc, at).and_then(|(end, has_minutes)| {
        let (end, is_certain) = hour_tail(doc, end);
        (has_minutes || is_certain).then_some(end)
    });
    let day_part = doc.is(at, Class::DAY_PART).then(|| {
        let behind_cue = at > 0
            && (matches!(doc.low(at - 1), "the" | "at") || doc.is(at - 1, Class::RELATIVE_DAY.or(Class::WEEKDAY)));
        hour_at(doc, at + 1).map(|(end, _)| end).or(behind_cue.then_some(at + 1))
    });
    let this_part = (doc.is(at, Class::NEXT) && doc.is(at + 1, Class::DAY_PART)).then_some(at + 2);
    let word = doc.is(at, Class::CLOCK_WORD).then_some(at + 1);
    let alternatives =
        [clock, day_part.flatten(), this_part, word, past_at(doc, at), wait_at(doc, at, Class::CLOCK_UNIT)];
    alternatives.into_iter().flatten().max()
}

/// `half past 4 in the evening`, `quarter to five`, `20 minutes past 3`.
fn past_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let start = at + usize::from(doc.low(at) == "a" && doc.low(at + 1) == "quarter");
    let link = if matches!(doc.low(start), "half" | "quarter") {
        start + 1
    } else {
        let minutes = cardinal_at(doc, start)?;
        minutes + usize::from(matches!(doc.low(minutes), "minutes" | "min"))
    };
    if !matches!(doc.low(link), "past" | "to" | "after" | "till") {
        return None;
    }
    // `5 to 6` is a range; the minutes of a clock are named or multiples of five before `past`.
    let is_named = matches!(doc.low(start), "half" | "quarter") || matches!(doc.low(link - 1), "minutes" | "min");
    if !is_named && doc.low(link) != "past" {
        return None;
    }
    let (end, _) = hour_at(doc, link + 1)?;
    Some(hour_tail(doc, end).0)
}

/// True when every token of `from..to` can stand in a day or a time and one of them says when.
pub(crate) fn is_calendar(doc: &Doc<'_>, from: usize, to: usize) -> bool {
    if to - from == 1 && doc.is(from, Class::DAY_UNIT.or(Class::CLOCK_UNIT).or(Class::NEXT)) {
        return false;
    }
    // `2 1993` is two numbers, `2/1993` may be a month.
    let has_more = (from..to)
        .any(|at| doc.mark(at).is_some() || doc.is(at, Class::CALENDAR.or(Class::CARDINAL).or(Class::ORDINAL_END)));
    if to - from > 1 && !has_more {
        return false;
    }
    let mut says_when = false;
    for at in from..to {
        let says = doc.is_digits(at) || doc.is(at, Class::CALENDAR.or(Class::CARDINAL));
        let joins = doc.is(at, Class::CALENDAR_JOIN.or(Class::ORDINAL_END))
            || matches!(doc.mark(at), Some(',' | '.' | ':' | '/' | '-'))
            || matches!(doc.low(at), "a" | "p" | "m" | "t" | "z" | "s" | "eve" | "hundred");
        if !says && !joins {
            return false;
        }
        says_when |= says;
    }
    says_when
}
