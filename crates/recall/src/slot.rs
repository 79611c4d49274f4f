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
            when(doc, from, to)
        }
        Kind::Time => {
            if time_at(doc, from) == Some(to) {
                return Some(EXACT);
            }
            when(doc, from, to)
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

/// Words of the calendar that the grammar does not take as one expression, `2000-04-16 11:34:35` among them.
fn when(doc: &Doc<'_>, from: usize, to: usize) -> Option<u32> {
    let ends_open = doc.mark(to - 1).is_some_and(|mark| mark != '.') || doc.is(to - 1, Class::JOIN);
    let starts_open = doc.mark(from).is_some() || matches!(doc.low(from), "and" | "of" | "to" | "from");
    (!ends_open && !starts_open && is_calendar(doc, from, to)).then_some(LOOSE)
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
                if doc.is(at, Class::NO_NAME) {
                    return None;
                }
                has_word |= doc.is_word(at);
                has_capital |= doc.is_capital(at);
                if doc.is_digits(at) || doc.is(at, Class::CALENDAR) {
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

fn is_quote(mark: char) -> bool {
    matches!(mark, '“' | '”' | '„' | '«' | '»' | '‘' | '…' | '€' | '£' | '¥' | '₹')
}

/// Small words that do not end a name, in lower case (`OR` and `IN` are states).
fn is_dangling(doc: &Doc<'_>, at: usize) -> bool {
    doc.is(at, Class::JOIN) && !doc.is_capital(at)
}
