//! The exact template of a text: what is left when its entities are slots and its spelling is normal.

use crate::entity::{Entity, Kind};
use crate::lexicon::Class;
use crate::recognizer::{Found, Recognizer};
use crate::token::Doc;

impl Recognizer {
    /// The template of `text` for the given entities, as a key: each entity is `{KIND}`, the second of a kind
    /// `{KIND_2}`; the rest is lower case, single-spaced, without commas, without end marks, and without the
    /// politeness at both ends (`please`, `can you`, `thanks`). Entities in order and not overlapping.
    #[must_use]
    pub fn template(&self, text: &str, entities: &[Entity]) -> String {
        let doc = Doc::new(text, &self.lexicon);
        let found: Vec<Found> = entities
            .iter()
            .filter_map(|entity| {
                let from = doc.tokens.iter().position(|token| token.end > entity.start)?;
                let to = doc.tokens.iter().rposition(|token| token.start < entity.end)? + 1;
                let has_marks = entity.kind != Kind::Quoted || (from > 0 && to < doc.len());
                (from < to && has_marks).then(|| Found::at(entity.kind, from, to))
            })
            .collect();
        key(&doc, &found)
    }
}

/// The tokens that say what is wanted: no end marks and no politeness.
pub(crate) fn body(doc: &Doc<'_>) -> (usize, usize) {
    let mut to = doc.len();
    while to > 0
        && !is_abbreviation(doc, to - 1)
        && (doc.mark(to - 1).is_some_and(is_end_mark) || matches!(doc.low(to - 1), "please" | "thanks"))
    {
        to -= 1;
    }
    if to >= 2 && doc.low(to - 1) == "you" && doc.low(to - 2) == "thank" {
        to -= 2;
        while to > 0 && doc.mark(to - 1).is_some_and(is_end_mark) {
            to -= 1;
        }
    }
    let mut from = 0;
    if matches!(doc.low(from), "hi" | "hello" | "hey") && doc.is_mark(from + 1, ',') {
        from += 2;
    }
    if matches!(doc.low(from), "can" | "could" | "would" | "will") && doc.low(from + 1) == "you" {
        from += 2;
    }
    while doc.low(from) == "please" || doc.is_mark(from, ',') {
        from += 1;
    }
    if from < to { (from, to) } else { (0, doc.len()) }
}

/// The dot of `p.m.`, `Tues.`, `Jr.`, which belongs to a value and not to the sentence.
fn is_abbreviation(doc: &Doc<'_>, dot: usize) -> bool {
    if dot == 0 || !doc.is_mark(dot, '.') || !doc.is_glued(dot) {
        return false;
    }
    let before = dot - 1;
    (doc.width(before) == 1 && doc.is_word(before) && before > 0 && doc.is_mark(before - 1, '.'))
        || (doc.width(before) <= 4
            && doc.is(before, Class::MONTH.or(Class::WEEKDAY))
            && !matches!(doc.low(before), "may" | "june" | "july"))
        || matches!(doc.low(before), "jr" | "sr")
}

fn is_end_mark(mark: char) -> bool {
    matches!(mark, '.' | '!' | '?' | ',' | ';' | '…')
}

/// The key of the text with these entities.
pub(crate) fn key(doc: &Doc<'_>, found: &[Found]) -> String {
    let (mut at, to) = body(doc);
    let mut key = String::with_capacity(doc.text.len() + 16);
    let mut seen: Vec<Kind> = Vec::with_capacity(found.len());
    let mut entities = found.iter().peekable();
    while at < to {
        while entities.next_if(|one| one.outer().1 <= at).is_some() {}
        let entity = entities.next_if(|one| one.outer().0 <= at);
        if entity.is_none() && doc.is_mark(at, ',') {
            at += 1;
            continue;
        }
        if !key.is_empty() {
            key.push(' ');
        }
        match entity {
            Some(one) => {
                seen.push(one.kind);
                push_slot(&mut key, one.kind, seen.iter().filter(|kind| **kind == one.kind).count());
                at = one.outer().1;
            }
            None => {
                key.push_str(doc.low(at));
                at += 1;
            }
        }
    }
    key
}

/// Writes `{KIND}` or `{KIND_n}`.
pub(crate) fn push_slot(key: &mut String, kind: Kind, number: usize) {
    key.push('{');
    key.push_str(kind.name());
    if number > 1 {
        key.push('_');
        key.push_str(&number.to_string());
    }
    key.push('}');
}
