//! Names of places and people: lists, and the words that stand before a name.

use std::collections::HashSet;

use crate::lexicon::{Class, Lexicon, phrases};
use crate::token::Doc;

/// Tokens of the longest listed name that is looked for.
const NAME_TOKENS_MAX: usize = 6;
/// Tokens of a name that only its capital letters give away.
const GUESS_TOKENS_MAX: usize = 4;

/// The lists, in the lower-case single-spaced form of [`Doc::phrase`]. Sources and licences head each file in `data/`.
#[derive(Debug)]
pub(crate) struct Names {
    places_major: HashSet<String>,
    places: HashSet<String>,
    place_heads: HashSet<String>,
    given: HashSet<String>,
    given_common: HashSet<String>,
    surnames: HashSet<String>,
}

/// How sure a name is; the overlap rule uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// In a list, or a person with two names or a title.
    Listed,
    /// A given name alone.
    Single,
    /// A capital letter behind a word such as `in` or `call`.
    Guess,
}

impl Names {
    pub(crate) fn new(lexicon: &Lexicon) -> Names {
        let places_major = phrases(include_str!("../data/places_major.txt"), lexicon);
        let places = phrases(include_str!("../data/places.txt"), lexicon);
        let place_heads = places_major
            .iter()
            .chain(&places)
            .filter_map(|name| name.split_once(' ').map(|(head, _)| head.to_owned()))
            .collect();
        Names {
            places_major,
            places,
            place_heads,
            given: phrases(include_str!("../data/given_names.txt"), lexicon),
            given_common: phrases(include_str!("../data/given_names_common.txt"), lexicon),
            surnames: phrases(include_str!("../data/surnames.txt"), lexicon),
        }
    }

    fn is_given(&self, doc: &Doc<'_>, at: usize) -> bool {
        let low = doc.low(at);
        self.given_common.contains(low) || (doc.is_capital(at) && self.given.contains(low))
    }

    /// True when the tokens are a listed place or person, whatever their case.
    pub(crate) fn is_listed_place(&self, doc: &Doc<'_>, from: usize, to: usize) -> bool {
        let name = doc.phrase(from, to);
        self.places_major.contains(name) || self.places.contains(name)
    }

    pub(crate) fn is_listed_person(&self, doc: &Doc<'_>, from: usize, to: usize) -> bool {
        let low = doc.low(from);
        (self.given_common.contains(low) || self.given.contains(low))
            && (from + 1..to).all(|at| {
                let low = doc.low(at);
                self.surnames.contains(low) || self.given.contains(low) || self.given_common.contains(low)
            })
    }

    fn listed_place_at(&self, doc: &Doc<'_>, at: usize) -> Option<usize> {
        if at >= doc.len() {
            return None;
        }
        let is_capital = doc.is_capital(at);
        let longest = if self.place_heads.contains(doc.low(at)) { NAME_TOKENS_MAX.min(doc.len() - at) } else { 1 };
        (1..=longest).rev().map(|tokens| at + tokens).find(|&end| {
            if doc.is_inside_chunk(end) {
                return false;
            }
            let name = doc.phrase(at, end);
            self.places_major.contains(name) || (is_capital && self.places.contains(name))
        })
    }

    /// The end of the place at `at`, with a region behind a comma: `London, England`, `Sacramento, Ca`.
    pub(crate) fn place_at(&self, doc: &Doc<'_>, at: usize) -> Option<(usize, Evidence)> {
        if !doc.is_word(at) || doc.is_inside_chunk(at) {
            return None;
        }
        let behind_cue = at > 0 && doc.is(at - 1, Class::PLACE_CUE);
        // `East Pasadena` is another place than Pasadena.
        let has_head = doc.is(at, Class::PLACE_HEAD) && doc.is_capital(at) && is_name_word(doc, at + 1);
        let listed = self.listed_place_at(doc, at);
        if let Some(end) = listed.or_else(|| has_head.then(|| self.listed_place_at(doc, at + 1)).flatten()) {
            if doc.is_mark(end, ',') && !doc.starts_line(end) && !doc.starts_line(end + 1) {
                let region =
                    if is_state_code(doc, end + 1) { Some(end + 2) } else { self.listed_place_at(doc, end + 1) };
                if let Some(region) = region {
                    return Some((region, Evidence::Listed));
                }
            }
            // Many given names are also small towns (Logan, Mary): there the name of a person is likelier.
            let is_small = end == at + 1 && !self.places_major.contains(doc.low(at));
            let evidence = if is_small && self.is_given(doc, at) { Evidence::Guess } else { Evidence::Listed };
            return Some((end, evidence));
        }
        if behind_cue
            && is_state_code(doc, at)
            && doc.text[doc.tokens[at].start..doc.tokens[at].end].chars().all(char::is_uppercase)
        {
            return Some((at + 1, Evidence::Listed));
        }
        if !behind_cue || !is_name_word(doc, at) || self.is_given(doc, at) {
            return None;
        }
        // `Pembine Montana` is a town and its state.
        let end = name_end(doc, at);
        let end = (at + 1..end).find(|&i| self.listed_place_at(doc, i) == Some(end)).unwrap_or(end);
        let end = if doc.is_mark(end, ',') && is_state_code(doc, end + 1) { end + 2 } else { end };
        Some((end, Evidence::Guess))
    }

    /// The tokens of the person at `at`; a title before the name is not part of it.
    pub(crate) fn person_at(&self, doc: &Doc<'_>, at: usize) -> Option<(usize, usize, Evidence)> {
        if !doc.is_word(at) || doc.is_inside_chunk(at) {
            return None;
        }
        if doc.is(at, Class::TITLE) {
            let name = at + 1 + usize::from(doc.is_mark(at + 1, '.'));
            return is_name_word(doc, name).then(|| (name, name_end(doc, name), Evidence::Listed));
        }
        if (doc.is_capital(at) || !doc.is(at, Class::COMMON)) && self.is_given(doc, at) {
            let end = self.rest_of_person(doc, at + 1);
            return Some((at, end, if end > at + 1 { Evidence::Listed } else { Evidence::Single }));
        }
        let behind_name_is = at >= 2 && doc.low(at - 1) == "is" && doc.low(at - 2) == "name";
        let behind_cue = at > 0 && (doc.is(at - 1, Class::PERSON_CUE) || behind_name_is);
        if behind_cue && is_name_word(doc, at) {
            let end = name_end(doc, at);
            return (!(at..end).any(|i| doc.is(i, Class::FIRM))).then_some((at, end, Evidence::Guess));
        }
        self.two_names_at(doc, at).map(|end| (at, end, Evidence::Guess))
    }

    /// The end of two unknown words with capital letters, with an initial between them perhaps: `Satu K. Elomo`.
    fn two_names_at(&self, doc: &Doc<'_>, at: usize) -> Option<usize> {
        let is_plain = |i: usize| {
            is_name_word(doc, i)
                && doc.width(i) > 1
                && !doc.is(i, Class::FIRM.or(Class::PLACE_HEAD))
                && self.listed_place_at(doc, i).is_none()
        };
        let behind = at > 0
            && !doc.starts_line(at)
            && (is_name_word(doc, at - 1)
                || doc.is(at - 1, Class::PLACE_CUE.or(Class::ARTICLE).or(Class::TITLE))
                || doc.low(at - 1) == "at");
        if behind || !is_plain(at) {
            return None;
        }
        let mut last = at + 1;
        if doc.is_word(last) && doc.width(last) == 1 && doc.is_capital(last) && !doc.starts_line(last) {
            last += 1 + usize::from(doc.is_mark(last + 1, '.'));
        }
        let goes_on = is_name_word(doc, last + 1) && !doc.starts_line(last + 1);
        (is_plain(last) && !doc.starts_line(last) && !goes_on).then_some(last + 1)
    }

    /// Initials and surnames behind a given name.
    fn rest_of_person(&self, doc: &Doc<'_>, mut end: usize) -> usize {
        let limit = end + GUESS_TOKENS_MAX;
        while end < limit && !doc.is_inside_chunk(end) && !doc.starts_line(end) {
            let is_initial =
                doc.is_word(end) && doc.width(end) == 1 && doc.is_mark(end + 1, '.') && doc.is_glued(end + 1);
            let follows = doc.is_word(end)
                && !doc.is(end, Class::COMMON.or(Class::CALENDAR).or(Class::FIRM))
                && (is_name_word(doc, end) || self.surnames.contains(doc.low(end)));
            if is_initial && is_name_word(doc, end + 2) {
                end += 2;
            } else if follows {
                end += 1;
            } else {
                break;
            }
        }
        end
    }
}

/// A word with a capital letter that is no word of the vocabulary.
fn is_name_word(doc: &Doc<'_>, at: usize) -> bool {
    doc.is_word(at)
        && doc.is_capital(at)
        && !doc.is(at, Class::COMMON.or(Class::CALENDAR).or(Class::NO_NAME).or(Class::TITLE))
}

/// The end of a run of name words, joined by `de`, `of`, hyphens and the like.
fn name_end(doc: &Doc<'_>, at: usize) -> usize {
    let mut end = at + 1;
    while end - at < GUESS_TOKENS_MAX {
        let joint = usize::from(
            (matches!(doc.low(end), "de" | "del" | "di" | "la" | "von" | "van" | "of" | "upon" | "en"))
                || (doc.is_mark(end, '-') && doc.is_glued(end) && doc.is_glued(end + 1)),
        );
        if !is_name_word(doc, end + joint) || doc.starts_line(end) {
            break;
        }
        end += joint + 1;
    }
    end
}

/// Postal codes of US states and Canadian provinces, and the usual codes of a few countries.
fn is_state_code(doc: &Doc<'_>, at: usize) -> bool {
    doc.is_word(at)
        && doc.width(at) == 2
        && matches!(
            doc.low(at),
            "al" | "ak"
                | "az"
                | "ar"
                | "ca"
                | "co"
                | "ct"
                | "de"
                | "fl"
                | "ga"
                | "hi"
                | "id"
                | "il"
                | "in"
                | "ia"
                | "ks"
                | "ky"
                | "la"
                | "me"
                | "md"
                | "ma"
                | "mi"
                | "mn"
                | "ms"
                | "mo"
                | "mt"
                | "ne"
                | "nv"
                | "nh"
                | "nj"
                | "nm"
                | "ny"
                | "nc"
                | "nd"
                | "oh"
                | "ok"
                | "or"
                | "pa"
                | "ri"
                | "sc"
                | "sd"
                | "tn"
                | "tx"
                | "ut"
                | "vt"
                | "va"
                | "wa"
                | "wv"
                | "wi"
                | "wy"
                | "dc"
                | "bc"
                | "ab"
                | "sk"
                | "mb"
                | "on"
                | "qc"
                | "nb"
                | "ns"
                | "pe"
                | "nl"
                | "uk"
                | "us"
        )
}
