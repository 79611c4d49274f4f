//! Mail addresses, web addresses, telephone numbers, quotations. Each function looks at the tokens from one
//! place and gives the tokens that the entity covers.

use crate::calendar::numeric_date_at;
use crate::token::{Doc, Shape};

/// The tokens of the address around the `@` at `at`: local part, `@`, a domain with at least one dot.
/// RFC 5321 without quoted local parts and address literals.
pub(crate) fn email_around(doc: &Doc<'_>, at: usize) -> Option<(usize, usize)> {
    if !doc.is_mark(at, '@') || at == 0 || !doc.is_glued(at) {
        return None;
    }
    let mut from = at;
    while from > 0 && (from == at || doc.is_glued(from)) && is_local(doc, from - 1) {
        from -= 1;
    }
    while from < at && matches!(doc.mark(from), Some('.' | '-' | '%' | '+')) {
        from += 1;
    }
    if from == at || doc.mark(at - 1) == Some('.') {
        return None;
    }
    let mut to = at + 1;
    let mut labels = 0;
    while doc.is_glued(to) && doc.mark(to).is_none() && doc.low(to) != "'s" {
        to += 1;
        labels += 1;
        while doc.is_glued(to) && (doc.mark(to).is_none_or(|mark| mark == '-')) && doc.low(to) != "'s" {
            to += 1;
        }
        if !(doc.is_mark(to, '.') && doc.is_glued(to) && doc.is_glued(to + 1) && doc.mark(to + 1).is_none()) {
            break;
        }
        to += 1;
    }
    while doc.is_mark(to - 1, '-') {
        to -= 1;
    }
    (labels >= 2).then_some((from, to))
}

fn is_local(doc: &Doc<'_>, at: usize) -> bool {
    doc.mark(at).is_none_or(|mark| matches!(mark, '.' | '%' | '+' | '-'))
}

/// The end of the web address that starts at `at` (RFC 3986): `scheme://…` or `www.…`, without trailing marks.
pub(crate) fn url_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let has_scheme = matches!(doc.low(at), "http" | "https" | "ftp" | "ws" | "wss" | "s3")
        && doc.is_mark(at + 1, ':')
        && doc.is_mark(at + 2, '/')
        && doc.is_mark(at + 3, '/')
        && doc.is_glued(at + 4);
    let is_www = doc.low(at) == "www" && doc.is_mark(at + 1, '.') && doc.is_glued(at + 1) && doc.is_glued(at + 2);
    if !(has_scheme || is_www) {
        return None;
    }
    let head = if has_scheme { at + 4 } else { at + 2 };
    let mut to = head;
    while to < doc.len()
        && (to == head || doc.is_glued(to))
        && !matches!(doc.mark(to), Some('"' | '<' | '>' | '“' | '”' | '`' | '|' | '^' | '{' | '}'))
    {
        to += 1;
    }
    while to > head && matches!(doc.mark(to - 1), Some('.' | ',' | ';' | ':' | '!' | '?' | '\'' | ')' | ']')) {
        if doc.is_mark(to - 1, ')') && (head..to).any(|i| doc.is_mark(i, '(')) {
            break;
        }
        to -= 1;
    }
    (to > head).then_some(to)
}

/// Tokens that one telephone number may have: 15 digits, each with a mark.
const PHONE_TOKENS_MAX: usize = 32;

/// The end of the telephone number that starts at `at`: 7 to 15 digits (E.164) in groups, an optional `+`,
/// brackets, an extension `x123`. Bare digits need 9 to 11, so that card and order numbers are left alone.
pub(crate) fn phone_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let starts = match doc.mark(at) {
        Some('+') => doc.is_digits(at + 1) && doc.is_glued(at + 1),
        Some('(') => doc.is_digits(at + 1) && doc.is_mark(at + 2, ')'),
        Some(_) => false,
        None => doc.is_digits(at),
    };
    let follows_number = at > 0
        && doc.is_glued(at)
        && (doc.mark(at - 1).is_none() || matches!(doc.mark(at - 1), Some('$' | '€' | '£' | '.' | '-' | '/' | '#')));
    if !starts || follows_number {
        return None;
    }
    let (mut to, mut end, mut digits, mut groups, mut dots) = (at, at, 0, 0, 0);
    let (mut is_international, mut has_bracket, mut short_groups) = (false, false, 0);
    while to < doc.len() && to - at < PHONE_TOKENS_MAX && (to == at || !doc.starts_line(to)) {
        match doc.tokens[to].shape {
            Shape::Digits => {
                if digits + doc.width(to) > 15 || (to > at && !doc.is_glued(to) && numeric_date_at(doc, to).is_some()) {
                    break;
                }
                digits += doc.width(to);
                groups += 1;
                short_groups += usize::from(doc.width(to) == 1);
                end = to + 1;
            }
            Shape::Mark('+') if to == at => is_international = true,
            Shape::Mark('(') => has_bracket = true,
            Shape::Mark(')') if has_bracket => {}
            Shape::Mark('-' | '.') if doc.is_glued(to) && doc.is_glued(to + 1) => {
                dots += usize::from(doc.is_mark(to, '.'));
            }
            Shape::Word if doc.low(to) == "x" && doc.is_glued(to) && doc.is_digits(to + 1) && doc.width(to + 1) < 6 => {
                end = to + 2;
                break;
            }
            Shape::Mark(_) | Shape::Word => break,
        }
        to += 1;
    }
    // A letter, or a colon of a clock, directly behind: the digits are part of something else.
    let next_is_glued = doc.is_glued(end) && (doc.is_word(end) || (doc.is_mark(end, ':') && doc.is_glued(end + 1)));
    let fits = if is_international || has_bracket {
        (7..=15).contains(&digits)
    } else if groups == 1 {
        (9..=11).contains(&digits)
    } else {
        (7..=15).contains(&digits) && short_groups <= 1
    };
    // `3378 217 Lovers Lane`: the house and the street of an address.
    let is_address = groups == 2
        && !is_international
        && !has_bracket
        && doc.is_capital(end)
        && !doc.starts_line(end)
        && !doc.is_glued(at + 1);
    let is_ip = dots == 3 && groups == 4 && (at..end).all(|i| doc.mark(i).is_some() || doc.width(i) <= 3);
    let is_decimal = dots == 1 && groups == 2;
    let is_social_security = groups == 3
        && !is_international
        && doc.is_mark(at + 1, '-')
        && (doc.width(at), doc.width(at + 2), doc.width(at + 4)) == (3, 2, 4);
    (fits && !next_is_glued && !is_address && !is_ip && !is_decimal && !is_social_security).then_some(end)
}

/// All quotations: (tokens of the content, with the marks one further on each side). An opening mark stands at the
/// start of a word, a closing one at its end; an unclosed one is no quotation. One pass for each kind of mark.
pub(crate) fn quotations(doc: &Doc<'_>) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut unclosed: Vec<char> = Vec::new();
    let mut at = 0;
    while at < doc.len() {
        let close = match doc.mark(at) {
            Some('"') => '"',
            Some('\'') => '\'',
            Some('`') => '`',
            Some('“' | '„') => '”',
            Some('‘') => '\'',
            Some('«') => '»',
            _ => {
                at += 1;
                continue;
            }
        };
        let opens = (!doc.is_glued(at) || matches!(doc.mark(at.wrapping_sub(1)), Some('(' | ':' | '=' | '[')))
            && doc.tokens.get(at + 1).is_some()
            && (doc.is_glued(at + 1) || close == '"');
        if !opens || unclosed.contains(&close) {
            at += 1;
            continue;
        }
        let closing = (at + 2..doc.len()).find(|&i| {
            doc.is_mark(i, close)
                && (i + 1 == doc.len() || !doc.is_glued(i + 1) || doc.mark(i + 1).is_some() || close != '\'')
        });
        match closing {
            Some(end) => {
                found.push((at + 1, end));
                at = end + 1;
            }
            None => {
                unclosed.push(close);
                at += 1;
            }
        }
    }
    found
}
