//! What the plan cache stands on: entities in a sentence, and the phrasing of a plan that a sentence fits.
//!
//! Holds: the tokens of a text, the closed vocabulary and the lists of names, the recognisers, the phrasings.
//! May know: nothing outside this crate. Never does I/O, reads no clock, keeps nothing that a call can change.
//! In: UTF-8 text. Out: spans in bytes (`char_offset` turns them into characters) and the phrasing that matched.
//! Everything is linear in the length of the text: no backtracking, and every look-ahead has a fixed limit.

mod amount;
mod calendar;
mod catalogue;
mod contact;
mod entity;
mod lexicon;
mod names;
mod phrasing;
mod recognizer;
mod slot;
mod template;
mod token;

pub use catalogue::{Catalogue, Match, Slot, Tier};
pub use entity::{Entity, Kind, char_offset};
pub use phrasing::PhrasingError;
pub use recognizer::{Reading, Recognizer};
