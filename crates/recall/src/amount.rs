//! Numbers and money, from one place in the text.

use crate::lexicon::Class;
use crate::token::Doc;

/// Tokens that one number may have, so that a run of number words is not walked from each of its words.
const NUMBER_TOKENS_MAX: usize = 16;

/// The end of a number: digits with grouping commas and a decimal point, or number words.
pub(crate) fn cardinal_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if doc.is_digits(at) {
        let mut end = at + 1;
        while end - at < NUMBER_TOKENS_MAX
            && doc.is_mark(end, ',')
            && doc.is_glued(end)
            && doc.is_glued(end + 1)
            && doc.is_digits(end + 1)
            && doc.width(end + 1) == 3
        {
            end += 2;
        }
        if doc.is_mark(end, '.') && doc.is_glued(end) && doc.is_glued(end + 1) && doc.is_digits(end + 1) {
            end += 2;
        }
        return Some(if doc.is(end, Class::MAGNITUDE) { end + 1 } else { end });
    }
    let word = Class::CARDINAL.or(Class::MAGNITUDE);
    if !doc.is(at, Class::CARDINAL) {
        return None;
    }
    let mut end = at + 1;
    loop {
        let next = match doc.low(end) {
            "-" | "and" => end + 1,
            _ => end,
        };
        // `twenty and thirty` are two numbers; `hundred and five`, `twenty-five` are one.
        let joins = match doc.low(end) {
            "and" => matches!(doc.low(end - 1), "hundred" | "thousand"),
            "-" => doc.is_glued(end) && doc.is_glued(next),
            _ => true,
        };
        if end - at > NUMBER_TOKENS_MAX || !joins || !doc.is(next, word) || !extends(doc, end - 1, next) {
            return Some(end);
        }
        end = next + 1;
    }
}

/// Whether the number word `next` goes on with the number that ends in `last`: `twenty` + `five`, not `five` + `six`.
fn extends(doc: &Doc<'_>, last: usize, next: usize) -> bool {
    if doc.is(next, Class::MAGNITUDE) || doc.low(next) == "hundred" {
        return !doc.is(last, Class::MAGNITUDE) || doc.is(next, Class::MAGNITUDE);
    }
    if doc.is(last, Class::MAGNITUDE) || doc.low(last) == "hundred" {
        return true;
    }
    let tens = doc.value(last).unwrap_or(0);
    (20..100).contains(&tens) && doc.value(next).is_some_and(|unit| (1..10).contains(&unit))
}

fn symbol(doc: &Doc<'_>, at: usize) -> bool {
    matches!(doc.mark(at), Some('$' | '€' | '£' | '¥' | '₹'))
}

/// The end of an amount of money: a symbol or a code (ISO 4217) before or behind the number, or a word behind.
pub(crate) fn money_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    if symbol(doc, at) || doc.is(at, Class::CURRENCY_CODE) {
        let number = if doc.is(at, Class::CURRENCY_CODE) && symbol(doc, at + 1) { at + 2 } else { at + 1 };
        if !doc.is_digits(number) {
            return None;
        }
        let end = cardinal_at(doc, number)?;
        let is_short = matches!(doc.low(end), "k" | "m" | "bn" | "b") && doc.is_glued(end);
        let end = end + usize::from(is_short);
        return Some(if doc.is(end, Class::CURRENCY_CODE) { end + 1 } else { end });
    }
    if doc.is_glued(at) && at > 0 && !matches!(doc.mark(at - 1), Some('(' | '"' | '\'')) {
        return None;
    }
    let end = cardinal_at(doc, at)?;
    (symbol(doc, end) || doc.is(end, Class::CURRENCY.or(Class::CURRENCY_CODE))).then_some(end + 1)
}

/// The end of a number that stands by itself: not glued to letters, and `one` alone is a pronoun too often.
pub(crate) fn number_at(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let is_signed = doc.is_mark(at, '-') && !doc.is_glued(at) && doc.is_glued(at + 1) && doc.is_digits(at + 1);
    let start = at + usize::from(is_signed);
    let end = cardinal_at(doc, start)?;
    let follows = !is_signed
        && at > 0
        && doc.is_glued(at)
        && !matches!(doc.mark(at - 1), Some('(' | '"' | '\'' | '#' | '[' | ','));
    let is_cut = doc.is_glued(end) && (doc.is_word(end) || (doc.mark(end).is_some() && doc.is_inside_chunk(end)));
    let is_pronoun = end == start + 1 && matches!(doc.low(start), "one" | "hundred" | "dozen");
    (!follows && !is_cut && !is_pronoun).then(|| if doc.is_mark(end, '%') { end + 1 } else { end })
}
