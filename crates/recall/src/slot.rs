//! Whether a stretch of text can fill a slot, and how well. The recognisers decide where they can; names, which no
//! list holds completely, are also taken on their shape.

use crate::amount::{cardinal_at, money_at};
use crate::calendar::{bare_year_at, date_at, is_calendar, time_at};
use crate::contact::{email_around, phone_at, url_at};
use crate::entity::Kind;
use crate::lexicon::Class;
use crate::names::Names;
use crate::token::Doc;

/// The best score of one slot: a recogniser covers exactly this stretch.
pub(crate) const EXACT: u32 = 6;
/// A name written with capital letters.
const CAPITAL: u32 = 5;
/// A stretch of the right words that no recogniser covers as one.
const LOOSE: u32 = 3;
/// Tokens of the longest value of a slot that is not an address or a quotation.
const VALUE_TOKENS_MAX: usize = 16;
/// Telephone numbers have a mark between any two digits at worst.
const PHONE_TOKENS_MAX: usize = 32;

/// The ends to try for a slot of this kind that starts at `from`, and the tokens that belong to it but not to its
/// value (quotation marks): `first..=last`.
pub(crate) fn ends(doc: &Doc<'_>, kind: Kind, from: usize, to: usize) -> (usize, usize) {
    let one = |end: Option<usize>| end.filter(|end| *end <= to).map_or((1, 0), |end| (end, end));
    match kind {
        Kind::Email => {
            let at = (from..to).take_while(|&i| i == from || doc.is_glued(i)).find(|&i| doc.is_mark(i, '@'));
            one(at.and_then(|at| email_around(doc, at)).filter(|(start, _)| *start == from).map(|(_, end)| end))
        }
        Kind::Url => one(url_at(doc, from)),
        Kind::Quoted => one(quotation_end(doc, from, to)),
        Kind::Phone => (from + 1, to.min(from + PHONE_TOKENS_MAX)),
        Kind::Date | Kind::Time | Kind::Money | Kind::Number | Kind::Location | Kind::Person => {
            (from + 1, to.min(from + VALUE_TOKENS_MAX))
        }
    }
}

/// The end, behind the closing mark, of the quotation that opens at `from`.
fn quotation_end(doc: &Doc<'_>, from: usize, to: usize) -> Option<usize> {
    let close = match doc.mark(from)? {
        '"' => '"',
        '\'' | '‘' => '\'',
        '`' => '`',
        '“' | '„' => '”',
        '«' => '»',
        _ => return None,
    };
    let is_close = |i: &usize| doc.is_mark(*i, close) && !(close == '\'' && doc.is_glued(i + 1) && doc.is_word(i + 1));
    (from + 2..to).find(is_close).map(|i| i + 1)
}

/// How well the tokens `from..to` fill a slot, [`EXACT`] at best; nothing when they do not.
pub(crate) fn score(doc: &Doc<'_>, names: &Names, kind: Kind, from: usize, to: usize) -> Option<u32> {
    if doc.is_inside_chunk(from) || doc.is_inside_chunk(to) {
        return None;
    }
    match kind {
        Kind::Email | Kind::Url | Kind::Quoted => Some(EXACT),
        Kind::Phone => phone(doc, from, to),
        Kind::Date => {
            if date_at(doc, from) == Some(to) || bare_year_at(doc, from) == Some(to) {
                return Some(EXACT);
            }
            if date_and_time(doc, from, to) {
                return Some(EXACT - 1);
            }
            when(doc, from, to, time_at(doc, from))
        }
        Kind::Time => {
            if time_at(doc, from) == Some(to) {
                return Some(EXACT);
            }
            if to == from + 1 && doc.is(from, Class::SLOT_TIME) {
                return Some(LOOSE);
            }
            when(doc, from, to, date_at(doc, from))
        }
        Kind::Money => {
            if money_at(doc, from) == Some(to) {
                return Some(EXACT);
            }
            (cardinal_at(doc, from) == Some(to)).then_some(LOOSE)
        }
        Kind::Number => {
            let start = from + usize::from(doc.is_mark(from, '-'));
            let end = cardinal_at(doc, start)?;
            let end = if doc.is_mark(end, '%') { end + 1 } else { end };
            (end == to).then_some(EXACT)
        }
        Kind::Location | Kind::Person => name(doc, names, kind, from, to),
    }
}

/// A day with a time of day behind it: `2000-04-16 11:34:35`, `Sunday at noon`.
fn date_and_time(doc: &Doc<'_>, from: usize, to: usize) -> bool {
    let Some(end) = date_at(doc, from) else { return false };
    let time = if doc.low(end) == "at" || doc.is_mark(end, ',') { end + 1 } else { end };
    time < to && time_at(doc, time) == Some(to)
}

/// Words of the calendar that the grammar does not take as one expression; less likely when they end with `other`,
/// an expression of the other type.
fn when(doc: &Doc<'_>, from: usize, to: usize, other: Option<usize>) -> Option<u32> {
    let ends_open = doc.mark(to - 1).is_some_and(|mark| mark != '.') || doc.is(to - 1, Class::JOIN);
    let starts_open = doc.mark(from).is_some()
        || matches!(doc.low(from), "and" | "of" | "to" | "from" | "on" | "at")
        || (doc.is(from, Class::DAY_UNIT)
            && !(to == from + 2 && doc.is_digits(from + 1) && matches!(doc.low(from), "year" | "week")))
        || (doc.is_digits(from) && doc.is(from + 1, Class::NEXT.or(Class::WEEKDAY).or(Class::RELATIVE_DAY)));
    (!ends_open && !starts_open && is_calendar(doc, from, to))
        .then(|| if other == Some(to) { LOOSE - 1 } else { LOOSE })
}

fn phone(doc: &Doc<'_>, from: usize, to: usize) -> Option<u32> {
    if phone_at(doc, from) == Some(to) {
        return Some(EXACT);
    }
    let is_part = |at: usize| {
        doc.is_digits(at)
            || matches!(doc.mark(at), Some('+' | '-' | '.' | '(' | ')' | '/'))
            || matches!(doc.low(at), "x" | "ext" | "extension")
    };
    let digits: usize = (from..to).filter(|&at| doc.is_digits(at)).map(|at| doc.width(at)).sum();
    let starts = doc.is_digits(from) || matches!(doc.mark(from), Some('+' | '('));
    (starts && doc.is_digits(to - 1) && (3..=20).contains(&digits) && (from..to).all(is_part)).then_some(LOOSE)
}

/// A name: listed, or capital letters, or at least no word that names do not have.
fn name(doc: &Doc<'_>, names: &Names, kind: Kind, from: usize, to: usize) -> Option<u32> {
    let is_listed = match kind {
        Kind::Person => names.is_listed_person(doc, from, to),
        _ => names.is_listed_place(doc, from, to),
    };
    if is_listed {
        return Some(EXACT);
    }
    let ends_open = doc.mark(to - 1).is_some_and(|mark| !matches!(mark, ')' | '.')) || is_dangling(doc, to - 1);
    let starts_open = doc.mark(from).is_some()
        || (doc.is(from, Class::JOIN) && !doc.is(from, Class::ARTICLE) && !doc.is_capital(from));
    if ends_open || starts_open {
        return None;
    }
    let (mut has_capital, mut has_word, mut penalty) = (false, false, 0);
    for at in from..to {
        match doc.mark(at) {
            Some('.') => {
                let ends_sentence = at + 1 < to && !doc.is_glued(at + 1) && doc.width(at - 1) > 4;
                if ends_sentence {
                    return None;
                }
            }
            Some(',' | '-' | '\'' | '(' | ')' | '&' | '/') => {}
            Some(mark) if mark.is_ascii() || is_quote(mark) => return None,
            Some(_) => {}
            None => {
                if doc.is(at, Class::NO_NAME) && !is_initial(doc, at, from, to) {
                    return None;
                }
                has_word |= doc.is_word(at);
                has_capital |= doc.is_capital(at);
                if says_when(doc, at, to) || joins_two(doc, names, kind, (from, at, to)) {
                    return None;
                }
                if doc.is_digits(at) || doc.is(at, Class::CALENDAR.or(Class::CARDINAL)) {
                    penalty = penalty.max(3);
                } else if doc.is(at, Class::JOIN) && !matches!(doc.low(at), "of" | "the" | "'s") {
                    penalty = penalty.max(2);
                }
            }
        }
    }
    let comma_penalty = u32::from((from..to).any(|at| doc.is_mark(at, ',')));
    let best = if has_capital { CAPITAL } else { CAPITAL - 1 };
    has_word.then(|| best - penalty - comma_penalty)
}

/// A word that stands between two values rather than inside one name: `Paris or Rome`, `Paris with a stop in Rome`,
/// and `and` between two listed names. `and` in any other place may belong to the name (Trinidad and Tobago).
fn joins_two(doc: &Doc<'_>, names: &Names, kind: Kind, (from, at, to): (usize, usize, usize)) -> bool {
    if doc.is(at, Class::RELATIVE_DAY) {
        return true;
    }
    if doc.is_capital(at) || at == from {
        return false;
    }
    match doc.low(at) {
        "or" | "but" | "with" | "via" | "per" | "as" | "from" | "to" | "than" | "between" | "into" => true,
        "and" if at + 1 < to => {
            let is_listed = |from: usize, to: usize| match kind {
                Kind::Person => names.is_listed_person(doc, from, to),
                _ => names.is_listed_place(doc, from, to),
            };
            is_listed(at + 1, to) && (from..at).any(|start| is_listed(start, at))
        }
        _ => false,
    }
}

/// A day of several words, or `on` with a day: no part of a name, `austin on the 16th and returning`.
fn says_when(doc: &Doc<'_>, at: usize, to: usize) -> bool {
    let is_day = |from: usize| date_at(doc, from).is_some_and(|end| end <= to && end > from + 1);
    is_day(at) || (matches!(doc.low(at), "on" | "at" | "by") && doc.is(at + 1, Class::CALENDAR) && at + 1 < to)
}

/// `I` as an initial inside a name, `NO` as the code of a region.
fn is_initial(doc: &Doc<'_>, at: usize, from: usize, to: usize) -> bool {
    let is_inside = at > from && at + 1 < to && doc.is_capital(at - 1);
    let token = &doc.tokens[at];
    let is_code = to == from + 1 && doc.text[token.start..token.end].chars().all(char::is_uppercase);
    match doc.width(at) {
        1 => doc.is_capital(at) && is_inside,
        2 => is_code,
        _ => false,
    }
}

fn is_quote(mark: char) -> bool {
    matches!(mark, '“' | '”' | '„' | '«' | '»' | '‘' | '…' | '€' | '£' | '¥' | '₹')
}

/// Small words that do not end a name, in lower case (`OR` and `IN` are states).
fn is_dangling(doc: &Doc<'_>, at: usize) -> bool {
    doc.is(at, Class::JOIN) && !doc.is_capital(at)
}
