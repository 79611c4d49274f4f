//! The types of entity and what one found in a text looks like.

use std::fmt;

/// The type of an entity, and of the slot that it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A mail address, `john@example.com`.
    Email,
    /// A web address with a scheme or starting in `www.`.
    Url,
    /// A telephone number of 7 to 15 digits (E.164).
    Phone,
    /// A day or a span of days: `tomorrow`, `4th of March`, `2026-03-04`, `1996`.
    Date,
    /// A time of day or a wait shorter than a day: `5 pm`, `half past 4 in the evening`, `in 2 hours`.
    Time,
    /// An amount with its currency.
    Money,
    /// A number, in digits or words.
    Number,
    /// A place.
    Location,
    /// The name of a person, without the title.
    Person,
    /// What stands between quotation marks, without the marks.
    Quoted,
}

impl Kind {
    /// All kinds, in the order of the contract.
    pub const ALL: [Kind; 10] = [
        Kind::Location,
        Kind::Date,
        Kind::Time,
        Kind::Email,
        Kind::Person,
        Kind::Money,
        Kind::Number,
        Kind::Url,
        Kind::Phone,
        Kind::Quoted,
    ];

    /// The name that slots carry, `LOCATION`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Email => "EMAIL",
            Kind::Url => "URL",
            Kind::Phone => "PHONE",
            Kind::Date => "DATE",
            Kind::Time => "TIME",
            Kind::Money => "MONEY",
            Kind::Number => "NUMBER",
            Kind::Location => "LOCATION",
            Kind::Person => "PERSON",
            Kind::Quoted => "QUOTED",
        }
    }

    /// The kind of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Kinds whose values are names, which no grammar can delimit.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Kind::Location | Kind::Person)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One entity in a text. `text == &goal[start..end]`, offsets in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its type.
    pub kind: Kind,
    /// As written.
    pub text: String,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset behind the last byte.
    pub end: usize,
}

/// The number of characters before the byte `offset` of `text`, for callers that count characters.
/// An offset behind the end counts as the end.
#[must_use]
pub fn char_offset(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < offset).count()
}
