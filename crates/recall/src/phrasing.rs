//! One way to say what a plan does: literal words and typed slots.

use std::fmt;

use crate::entity::Kind;

/// Slots that one phrasing may have.
pub(crate) const SLOTS_MAX: usize = 12;
/// Words that a phrasing needs beside its slots, so that it does not fit everything.
pub(crate) const WORDS_MIN: usize = 2;

/// Why a phrasing is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhrasingError {
    /// A `{` without `}`, or a `}` without `{`.
    Unbalanced,
    /// A slot whose type is none of the contract, or whose number is not 2 to 99.
    UnknownSlot(String),
    /// The same slot twice.
    RepeatedSlot(String),
    /// More than 12 slots.
    TooManySlots,
    /// Fewer than two words beside the slots.
    TooFewWords,
    /// Two names (places, people) or two slots of one type side by side: no rule can tell them apart.
    AdjacentSlots(String, String),
    /// The same phrasing already belongs to another template.
    Taken {
        /// The number of that template.
        template: u32,
    },
}

impl fmt::Display for PhrasingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhrasingError::Unbalanced => write!(f, "a brace is not closed or not opened"),
            PhrasingError::UnknownSlot(name) => write!(
                f,
                "{{{name}}} is no slot; types are LOCATION, DATE, TIME, EMAIL, PERSON, MONEY, NUMBER, URL, PHONE, QUOTED, a second one is LOCATION_2"
            ),
            PhrasingError::RepeatedSlot(name) => write!(f, "{{{name}}} stands twice"),
            PhrasingError::TooManySlots => write!(f, "more than {SLOTS_MAX} slots"),
            PhrasingError::TooFewWords => write!(f, "fewer than {WORDS_MIN} words beside the slots"),
            PhrasingError::AdjacentSlots(one, two) => {
                write!(
                    f,
                    "{{{one}}} and {{{two}}} stand side by side and cannot be told apart; put a word between them"
                )
            }
            PhrasingError::Taken { template } => write!(f, "the phrasing already belongs to template {template}"),
        }
    }
}

impl std::error::Error for PhrasingError {}

/// A slot as a phrasing names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotName {
    pub(crate) kind: Kind,
    /// 1 for `{DATE}`, 2 for `{DATE_2}`.
    pub(crate) number: u32,
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.number == 1 { write!(f, "{}", self.kind) } else { write!(f, "{}_{}", self.kind, self.number) }
    }
}

impl SlotName {
    fn parse(name: &str) -> Result<SlotName, PhrasingError> {
        let unknown = || PhrasingError::UnknownSlot(name.to_owned());
        let (kind, number) = match name.split_once('_') {
            None => (name, 1),
            Some((kind, number)) => {
                let is_plain = !number.starts_with(['0', '+']) && number.len() <= 2;
                let number = number.parse::<u32>().ok().filter(|number| is_plain && *number >= 2);
                (kind, number.ok_or_else(unknown)?)
            }
        };
        Ok(SlotName { kind: Kind::from_name(kind).ok_or_else(unknown)?, number })
    }
}

/// A slot and the text behind it.
pub(crate) type SlotAndText<'a> = (SlotName, &'a str);

/// A phrasing cut at its slots: the text before the first slot, then each slot with the text behind it.
pub(crate) fn cut(phrasing: &str) -> Result<(&str, Vec<SlotAndText<'_>>), PhrasingError> {
    let mut parts = phrasing.split('{');
    let head = parts.next().unwrap_or("");
    let mut rest: Vec<SlotAndText<'_>> = Vec::new();
    if head.contains('}') {
        return Err(PhrasingError::Unbalanced);
    }
    for part in parts {
        let (name, literal) = part.split_once('}').ok_or(PhrasingError::Unbalanced)?;
        if literal.contains('}') {
            return Err(PhrasingError::Unbalanced);
        }
        let slot = SlotName::parse(name)?;
        if rest.iter().any(|(other, _)| *other == slot) {
            return Err(PhrasingError::RepeatedSlot(name.to_owned()));
        }
        if rest.len() == SLOTS_MAX {
            return Err(PhrasingError::TooManySlots);
        }
        if let Some((before, between)) = rest.last() {
            let is_adjacent = !between.contains(char::is_alphanumeric);
            let is_alike = before.kind == slot.kind || (before.kind.is_open() && slot.kind.is_open());
            if is_adjacent && is_alike {
                return Err(PhrasingError::AdjacentSlots(before.to_string(), slot.to_string()));
            }
        }
        rest.push((slot, literal));
    }
    Ok((head, rest))
}
