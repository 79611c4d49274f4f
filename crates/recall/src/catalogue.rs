//! The phrasings of all templates, and the one that a text fits.
//!
//! Two tiers, both exact. First the recognised template of the text, one look-up in a map. Then, because
//! recognisers miss odd names, the literal words of the phrasings: each phrasing is filed under its rarest word, so the
//! words of a text give the few phrasings that can fit, and each is bound by dynamic programming over its slots.
//! When two bindings or two templates are equally good, there is no match: no plan is better than a wrong one.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::entity::Kind;
use crate::phrasing::{PhrasingError, SlotName, WORDS_MIN, cut};
use crate::recognizer::{Reading, Recognizer};
use crate::slot;
use crate::template::{body, push_slot};
use crate::token::Doc;

/// A word of no phrasing.
const UNKNOWN: u32 = u32::MAX;

/// Where a match came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The recognised template of the text is that of a phrasing.
    Template,
    /// The words of a phrasing stand in the text, and what is between them fits the slots.
    Words,
}

/// A slot with the text that fills it: `text[start..end]`, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `LOCATION`, `LOCATION_2`.
    pub name: String,
    /// The type.
    pub kind: Kind,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset behind the last byte.
    pub end: usize,
}

/// The phrasing that a text fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The number that was given to `add`.
    pub template: u32,
    /// How it was found.
    pub tier: Tier,
    /// All slots of the phrasing, in the order of the text.
    pub slots: Vec<Slot>,
}

#[derive(Debug)]
struct Phrasing {
    template: u32,
    /// The words before the first slot.
    head: Vec<u32>,
    /// Each slot with the words behind it.
    slots: Vec<(SlotName, Vec<u32>)>,
    words: usize,
}

/// The phrasings of many templates.
#[derive(Debug, Default)]
pub struct Catalogue {
    words: HashMap<String, u32>,
    phrasings: Vec<Phrasing>,
    by_key: HashMap<String, u32>,
    /// Word → the phrasings filed under it, each under the one of its words that had the fewest when it came.
    by_word: Vec<Vec<u32>>,
}

/// A way to fill the first slots of a phrasing.
#[derive(Clone, Copy)]
struct State {
    score: u32,
    from: usize,
    to: usize,
    /// The position in the layer before.
    before: usize,
    is_tied: bool,
}

struct Bound {
    score: u32,
    is_tied: bool,
    spans: Vec<(usize, usize)>,
}

impl Catalogue {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// The number of phrasings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.phrasings.len()
    }

    /// True without phrasings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.phrasings.is_empty()
    }

    /// Adds phrasings such as `Book flight to {LOCATION} {DATE}` for the template `template`, all or none, and gives
    /// the number of new ones.
    ///
    /// # Errors
    /// [`PhrasingError`] with the position of the first one that is no phrasing or belongs to another template.
    pub fn add(
        &mut self,
        recognizer: &Recognizer,
        template: u32,
        phrasings: &[&str],
    ) -> Result<usize, (usize, PhrasingError)> {
        let mut parsed = Vec::with_capacity(phrasings.len());
        for (place, phrasing) in phrasings.iter().enumerate() {
            let one = Parsed::new(recognizer, phrasing).map_err(|error| (place, error))?;
            match self.by_key.get(&one.key) {
                None => parsed.push(one),
                Some(&known) => {
                    let owner = self.phrasings[known as usize].template;
                    if owner != template {
                        return Err((place, PhrasingError::Taken { template: owner }));
                    }
                }
            }
        }
        Ok(parsed.into_iter().map(|one| usize::from(self.insert(template, one))).sum())
    }

    /// False when the template has the phrasing already.
    fn insert(&mut self, template: u32, parsed: Parsed) -> bool {
        if self.by_key.contains_key(&parsed.key) {
            return false;
        }
        let mut literals = parsed
            .literals
            .iter()
            .map(|words| words.iter().map(|word| intern(&mut self.words, word)).collect::<Vec<u32>>());
        let head = literals.next().unwrap_or_default();
        let slots: Vec<(SlotName, Vec<u32>)> = parsed.slots.into_iter().zip(literals).collect();
        let id = self.phrasings.len() as u32;
        self.by_word.resize(self.words.len(), Vec::new());
        let rarest = head.iter().chain(slots.iter().flat_map(|(_, literal)| literal)).copied();
        if let Some(word) = rarest.min_by_key(|&word| self.by_word[word as usize].len()) {
            self.by_word[word as usize].push(id);
        }
        self.by_key.insert(parsed.key, id);
        self.phrasings.push(Phrasing { template, head, slots, words: parsed.words });
        true
    }

    /// The phrasing that the text fits as a whole, if exactly one does.
    #[must_use]
    pub fn find(&self, recognizer: &Recognizer, reading: &Reading<'_>) -> Option<Match> {
        self.by_template(reading).or_else(|| self.by_words(recognizer, &reading.doc))
    }

    fn by_template(&self, reading: &Reading<'_>) -> Option<Match> {
        let phrasing = &self.phrasings[*self.by_key.get(&reading.template())? as usize];
        let (from, to) = body(&reading.doc);
        let spans: Vec<(usize, usize)> = reading
            .found
            .iter()
            .filter(|one| one.outer().0 >= from && one.outer().1 <= to)
            .map(|one| (one.from, one.to))
            .collect();
        (spans.len() == phrasing.slots.len()).then(|| phrasing.matched(&reading.doc, Tier::Template, &spans))
    }

    fn by_words(&self, recognizer: &Recognizer, doc: &Doc<'_>) -> Option<Match> {
        let (from, to) = body(doc);
        if from == to {
            return None;
        }
        let ids: Vec<u32> = (0..doc.len()).map(|at| self.words.get(doc.low(at)).copied().unwrap_or(UNKNOWN)).collect();
        let mut distinct: Vec<u32> = ids[from..to].iter().copied().filter(|&id| id != UNKNOWN).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut best: Option<(&Phrasing, Bound)> = None;
        let mut is_ambiguous = false;
        for id in distinct.into_iter().flat_map(|word| &self.by_word[word as usize]) {
            let phrasing = &self.phrasings[*id as usize];
            let Some(bound) = phrasing.bind(recognizer, doc, &ids, from, to) else { continue };
            match best.as_ref().map_or(Ordering::Greater, |held| phrasing.order(&bound, held)) {
                Ordering::Less => {}
                Ordering::Equal => {
                    is_ambiguous |= best.as_ref().is_some_and(|(other, held)| {
                        other.template != phrasing.template || held.spans != bound.spans || !other.names_like(phrasing)
                    });
                }
                Ordering::Greater => {
                    is_ambiguous = false;
                    best = Some((phrasing, bound));
                }
            }
        }
        let (phrasing, bound) = best.filter(|(_, bound)| !is_ambiguous && !bound.is_tied)?;
        Some(phrasing.matched(doc, Tier::Words, &bound.spans))
    }
}

fn intern(words: &mut HashMap<String, u32>, word: &str) -> u32 {
    if let Some(&id) = words.get(word) {
        return id;
    }
    let id = words.len() as u32;
    words.insert(word.to_owned(), id);
    id
}

/// A phrasing cut into its words, before they get numbers.
struct Parsed {
    key: String,
    slots: Vec<SlotName>,
    /// The words before the first slot, then those behind each slot.
    literals: Vec<Vec<String>>,
    words: usize,
}

impl Parsed {
    /// The same normal form as a text has: no politeness in front, no end marks, no commas.
    fn new(recognizer: &Recognizer, phrasing: &str) -> Result<Parsed, PhrasingError> {
        let (head, rest) = cut(phrasing)?;
        let last = rest.len();
        let mut words = 0;
        let mut literals = Vec::with_capacity(rest.len() + 1);
        for (i, text) in std::iter::once(head).chain(rest.iter().map(|(_, text)| *text)).enumerate() {
            let doc = Doc::new(text, &recognizer.lexicon);
            let (start, end) = body(&doc);
            let from = if i == 0 && end > start { start } else { 0 };
            let mut to = if i == last && end > start { end } else { doc.len() };
            while i == last && to > from && matches!(doc.mark(to - 1), Some('.' | '!' | '?' | ';')) {
                to -= 1;
            }
            words += (from..to).filter(|&at| doc.is_word(at)).count();
            literals.push((from..to).filter(|&at| !doc.is_mark(at, ',')).map(|at| doc.low(at).to_owned()).collect());
        }
        if words < WORDS_MIN {
            return Err(PhrasingError::TooFewWords);
        }
        let slots: Vec<SlotName> = rest.iter().map(|(slot, _)| *slot).collect();
        Ok(Parsed { key: phrasing_key(&literals, &slots), slots, literals, words })
    }
}

/// The key of a phrasing: that of a text in which the recognisers find exactly its slots, numbered in order.
fn phrasing_key(literals: &[Vec<String>], slots: &[SlotName]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (i, literal) in literals.iter().enumerate() {
        if i > 0 {
            let kind = slots[i - 1].kind;
            let number = slots[..i].iter().filter(|slot| slot.kind == kind).count();
            let mut slot = String::new();
            push_slot(&mut slot, kind, number);
            parts.push(slot);
        }
        parts.extend(literal.iter().cloned());
    }
    parts.join(" ")
}

impl Phrasing {
    fn names_like(&self, other: &Phrasing) -> bool {
        self.slots.iter().map(|(slot, _)| slot).eq(other.slots.iter().map(|(slot, _)| slot))
    }

    /// Which of two bindings is better: more literal words, then the better mean score of the slots.
    fn order(&self, bound: &Bound, (other, held): &(&Phrasing, Bound)) -> Ordering {
        let mean = |score: u32, slots: usize| u64::from(score) * slots.max(1) as u64;
        let ours = mean(bound.score, other.slots.len());
        self.words.cmp(&other.words).then_with(|| ours.cmp(&mean(held.score, self.slots.len())))
    }

    fn matched(&self, doc: &Doc<'_>, tier: Tier, spans: &[(usize, usize)]) -> Match {
        let slots = self
            .slots
            .iter()
            .zip(spans)
            .map(|((slot, _), &(from, to))| {
                let (start, end) = doc.span(from, to);
                Slot { name: slot.to_string(), kind: slot.kind, start, end }
            })
            .collect();
        Match { template: self.template, tier, slots }
    }

    /// The best way to fit the tokens `from..to`: the first words stand at `from`, the words behind each slot follow
    /// it, and the last ones end at `to`. One layer of states for each slot, a state for each position: linear in the text.
    fn bind(&self, recognizer: &Recognizer, doc: &Doc<'_>, ids: &[u32], from: usize, to: usize) -> Option<Bound> {
        let at = match_words(doc, ids, &self.head, from, to)?;
        let last = self.slots.last().and_then(|(_, literal)| literal.last());
        if last.is_some_and(|word| ids[to - 1] != *word) {
            return None;
        }
        if self.slots.is_empty() {
            return (skip_commas(doc, at, to) == to).then(|| Bound { score: 0, is_tied: false, spans: Vec::new() });
        }
        let mut layers: Vec<Vec<Option<State>>> = Vec::with_capacity(self.slots.len());
        let mut starts = vec![at];
        for (i, (slot, literal)) in self.slots.iter().enumerate() {
            let is_last = i + 1 == self.slots.len();
            let mut layer: Vec<Option<State>> = vec![None; to + 1];
            let mut next = Vec::new();
            for &before in &starts {
                let held = layers.last().and_then(|layer| layer[before]);
                let from = skip_commas(doc, before, to);
                if from >= to {
                    continue;
                }
                let (first, last) = slot::ends(doc, slot.kind, from, to);
                for end in first..=last {
                    if doc.is_mark(end - 1, ',') {
                        continue;
                    }
                    let Some(behind) = match_words(doc, ids, literal, end, to) else { continue };
                    if is_last && behind != to {
                        continue;
                    }
                    let Some(score) = slot::score(doc, &recognizer.names, slot.kind, from, end) else { continue };
                    let marks = usize::from(slot.kind == Kind::Quoted);
                    let state = State {
                        score: score + held.map_or(0, |held| held.score),
                        from: from + marks,
                        to: end - marks,
                        before,
                        is_tied: held.is_some_and(|held| held.is_tied),
                    };
                    match &mut layer[behind] {
                        Some(other) if other.score > state.score => {}
                        Some(other) if other.score == state.score => other.is_tied = true,
                        place => {
                            if place.is_none() {
                                next.push(behind);
                            }
                            *place = Some(state);
                        }
                    }
                }
            }
            layers.push(layer);
            starts = next;
        }
        let end = layers.last()?[to]?;
        let mut spans = Vec::with_capacity(layers.len());
        let mut place = to;
        for layer in layers.iter().rev() {
            let state = layer[place]?;
            spans.push((state.from, state.to));
            place = state.before;
        }
        spans.reverse();
        Some(Bound { score: end.score, is_tied: end.is_tied, spans })
    }
}

fn skip_commas(doc: &Doc<'_>, mut at: usize, to: usize) -> usize {
    while at < to && doc.is_mark(at, ',') {
        at += 1;
    }
    at
}

/// The position behind the words of a literal, if they stand at `at`. Commas in the text are passed over.
fn match_words(doc: &Doc<'_>, ids: &[u32], literal: &[u32], mut at: usize, to: usize) -> Option<usize> {
    for &word in literal {
        at = skip_commas(doc, at, to);
        if at >= to || ids[at] != word {
            return None;
        }
        at += 1;
    }
    Some(at)
}
