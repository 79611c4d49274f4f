//! All recognisers over one text, and the rule for overlaps.

use crate::amount::{money_at, number_at};
use crate::calendar::{bare_year_at, date_at, numeric_date_at, time_at};
use crate::contact::{email_around, phone_at, quotations, url_at};
use crate::entity::{Entity, Kind};
use crate::lexicon::Lexicon;
use crate::names::{Evidence, Names};
use crate::template::key;
use crate::token::{Doc, Shape};

/// The vocabulary and the lists. Built once (about 10 ms), shared by all threads.
#[derive(Debug)]
pub struct Recognizer {
    pub(crate) lexicon: Lexicon,
    pub(crate) names: Names,
}

/// A text, its tokens and the entities found in it.
#[derive(Debug)]
pub struct Reading<'a> {
    pub(crate) doc: Doc<'a>,
    pub(crate) found: Vec<Found>,
}

/// An entity by tokens: `from..to` is its text, `outer` includes the quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) from: usize,
    pub(crate) to: usize,
    rank: u8,
}

impl Found {
    pub(crate) fn at(kind: Kind, from: usize, to: usize) -> Found {
        Found { kind, from, to, rank: rank::QUOTED }
    }

    pub(crate) fn outer(&self) -> (usize, usize) {
        if self.kind == Kind::Quoted { (self.from - 1, self.to + 1) } else { (self.from, self.to) }
    }
}

/// Which of two overlapping entities stays: the one named first here; of equals the longer, then the earlier.
mod rank {
    pub(super) const QUOTED: u8 = 0;
    pub(super) const URL: u8 = 1;
    pub(super) const EMAIL: u8 = 2;
    pub(super) const NUMERIC_DATE: u8 = 3;
    pub(super) const MONEY: u8 = 4;
    pub(super) const PHONE: u8 = 5;
    pub(super) const DATE: u8 = 6;
    pub(super) const TIME: u8 = 7;
    pub(super) const LISTED_PERSON: u8 = 8;
    pub(super) const LISTED_PLACE: u8 = 9;
    pub(super) const SINGLE_PERSON: u8 = 10;
    pub(super) const GUESSED_PERSON: u8 = 11;
    pub(super) const GUESSED_PLACE: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NUMBER: u8 = 14;
}

impl Default for Recognizer {
    fn default() -> Self {
        Recognizer::new()
    }
}

impl Recognizer {
    /// Builds the vocabulary and loads the embedded lists.
    #[must_use]
    pub fn new() -> Recognizer {
        let lexicon = Lexicon::new();
        let names = Names::new(&lexicon);
        Recognizer { lexicon, names }
    }

    /// Reads a text: its tokens and its entities, which do not overlap and stand in order. Linear in the text
    /// but for a sort of the candidates.
    #[must_use]
    pub fn read<'a>(&'a self, text: &'a str) -> Reading<'a> {
        let doc = Doc::new(text, &self.lexicon);
        let found = resolve(self.candidates(&doc), doc.len());
        Reading { doc, found }
    }

    /// The entities of a text, in order.
    #[must_use]
    pub fn extract(&self, text: &str) -> Vec<Entity> {
        self.read(text).entities()
    }

    fn candidates(&self, doc: &Doc<'_>) -> Vec<Found> {
        let mut found = Vec::with_capacity(16);
        let mut push = |kind, from, to, rank| found.push(Found { kind, from, to, rank });
        for (from, to) in quotations(doc) {
            push(Kind::Quoted, from, to, rank::QUOTED);
        }
        // An address takes its tokens, so that long runs of glued tokens are walked once.
        let mut taken = 0;
        for at in 0..doc.len() {
            if at >= taken
                && let Some(end) = url_at(doc, at)
            {
                push(Kind::Url, at, end, rank::URL);
                taken = end;
            }
            if at >= taken
                && let Some((from, end)) = email_around(doc, at)
                && from >= taken
            {
                push(Kind::Email, from, end, rank::EMAIL);
                taken = end;
            }
            if let Some(end) = money_at(doc, at) {
                push(Kind::Money, at, end, rank::MONEY);
            }
            if let Some(end) = phone_at(doc, at) {
                push(Kind::Phone, at, end, rank::PHONE);
            }
            if let Some(end) = date_at(doc, at) {
                let is_numeric = numeric_date_at(doc, at) == Some(end);
                push(Kind::Date, at, end, if is_numeric { rank::NUMERIC_DATE } else { rank::DATE });
            }
            if let Some(end) = time_at(doc, at) {
                push(Kind::Time, at, end, rank::TIME);
            }
            if doc.tokens[at].shape == Shape::Word {
                if let Some((from, end, evidence)) = self.names.person_at(doc, at) {
                    let rank = match evidence {
                        Evidence::Listed => rank::LISTED_PERSON,
                        Evidence::Single => rank::SINGLE_PERSON,
                        Evidence::Guess => rank::GUESSED_PERSON,
                    };
                    push(Kind::Person, from, end, rank);
                }
                if let Some((end, evidence)) = self.names.place_at(doc, at) {
                    let rank = if evidence == Evidence::Guess { rank::GUESSED_PLACE } else { rank::LISTED_PLACE };
                    push(Kind::Location, at, end, rank);
                }
            }
            if let Some(end) = bare_year_at(doc, at) {
                push(Kind::Date, at, end, rank::YEAR);
            }
            if let Some(end) = number_at(doc, at) {
                push(Kind::Number, at, end, rank::NUMBER);
            }
        }
        found
    }
}

fn resolve(mut candidates: Vec<Found>, tokens: usize) -> Vec<Found> {
    let order = |one: &Found| (one.rank, usize::MAX - (one.to - one.from), one.from);
    candidates.sort_unstable_by_key(order);
    let mut is_taken = vec![false; tokens];
    candidates.retain(|one| {
        let (from, to) = one.outer();
        let is_free = !is_taken[from..to].contains(&true);
        if is_free {
            is_taken[from..to].fill(true);
        }
        is_free
    });
    candidates.sort_unstable_by_key(|one| one.from);
    candidates
}

impl Reading<'_> {
    /// The entities in order, with byte offsets.
    #[must_use]
    pub fn entities(&self) -> Vec<Entity> {
        self.found
            .iter()
            .map(|one| {
                let (start, end) = self.doc.span(one.from, one.to);
                Entity { kind: one.kind, text: self.doc.text[start..end].to_owned(), start, end }
            })
            .collect()
    }

    /// The exact template of the text: see [`Recognizer::template`].
    #[must_use]
    pub fn template(&self) -> String {
        key(&self.doc, &self.found)
    }
}
