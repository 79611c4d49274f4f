//! The pieces of archives that were read last, unpacked: a timeline is read backwards, a record at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::queue::unpoisoned;

/// Of about 128 KiB each.
const PIECES_MAX: usize = 32;

/// A piece of a segment, unpacked.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    /// Where the frame of each record starts.
    pub(crate) starts: Vec<u32>,
}

/// The base of a segment, and the number of a piece of it.
type Key = (u64, usize);

/// Newest last.
#[derive(Default)]
pub(crate) struct Cache(Mutex<VecDeque<(Key, Arc<Piece>)>>);

impl Cache {
    pub(super) fn get(&self, base: u64, number: usize) -> Option<Arc<Piece>> {
        let mut pieces = unpoisoned(self.0.lock());
        let at = pieces.iter().position(|(key, _)| *key == (base, number))?;
        let found = pieces.remove(at)?;
        let piece = Arc::clone(&found.1);
        pieces.push_back(found);
        Some(piece)
    }

    pub(super) fn put(&self, base: u64, number: usize, piece: &Arc<Piece>) {
        let mut pieces = unpoisoned(self.0.lock());
        pieces.retain(|(key, _)| *key != (base, number));
        pieces.push_back(((base, number), Arc::clone(piece)));
        if pieces.len() > PIECES_MAX {
            pieces.pop_front();
        }
    }
}
