//! Names that occur again and again (node ids, functions, tenants, workflows, versions) stand once and are named by a
//! number. The numbers never leave the process; bounded by what is registered.

use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A map whose hasher starts the same everywhere. Its order is never used.
pub(crate) type TextMap<K, V> = HashMap<K, V, FixedState>;
/// A map for keys that are numbers or random already. Its order is never used.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// A hasher for numbers: a multiplication and a rotation a word.
#[derive(Default, Clone, Copy)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// Number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sym(pub(crate) u32);

impl Sym {
    /// The empty name.
    pub(crate) const EMPTY: Sym = Sym(0);
}

/// A name that no record has named.
const NO_PLACE: u32 = u32::MAX;

/// All names. A name that a record named has a place as well, in the order in which records named them: places are the
/// same in every machine that folded the same records, so bytes that name a place can be shared between them.
#[derive(Debug)]
pub(crate) struct Symbols {
    numbers: TextMap<Arc<str>, Sym>,
    names: Vec<Arc<str>>,
    /// By number.
    places: Vec<u32>,
    /// By place.
    placed: Vec<Sym>,
}

impl Default for Symbols {
    fn default() -> Symbols {
        let mut symbols =
            Symbols { numbers: TextMap::default(), names: Vec::new(), places: Vec::new(), placed: Vec::new() };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The number of a name that a record names. For the fold; what only a definition names is noted.
    pub(crate) fn intern(&mut self, name: &str) -> Sym {
        let sym = self.note(name);
        let place = &mut self.places[sym.0 as usize];
        if *place == NO_PLACE {
            *place = self.placed.len() as u32;
            self.placed.push(sym);
        }
        sym
    }

    /// Places by number.
    pub(crate) fn places(&self) -> &[u32] {
        &self.places
    }

    /// Numbers by place.
    pub(crate) fn placed(&self) -> &[Sym] {
        &self.placed
    }

    /// The number of a name, new or not.
    pub(crate) fn note(&mut self, name: &str) -> Sym {
        if let Some(&sym) = self.numbers.get(name) {
            return sym;
        }
        let sym = Sym(self.names.len() as u32);
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.places.push(NO_PLACE);
        self.numbers.insert(name, sym);
        sym
    }

    /// The number of a name that has one.
    pub(crate) fn find(&self, name: &str) -> Option<Sym> {
        self.numbers.get(name).copied()
    }

    /// The name of a number.
    pub(crate) fn name(&self, sym: Sym) -> &Arc<str> {
        &self.names[sym.0 as usize]
    }
}
