//! Who holds the key of a critical section, and who stands in line for it. An index: it follows from the runs, and is made
//! anew from them when a snapshot is read.

use super::symbols::Sym;
use crate::id::RunId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A tenant's key.
pub(crate) type Key = (Sym, Arc<str>);

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) run: RunId,
    pub(crate) scope: u32,
    pub(crate) slot: u32,
}

/// One key.
#[derive(Debug, Default)]
struct Lock {
    holder: Option<Place>,
    /// By the position of the record that put them there: first come, first served.
    line: BTreeMap<u64, Place>,
}

/// All keys that are held or wanted.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    locks: BTreeMap<Key, Lock>,
    /// Nobody holds them and somebody wants them.
    free: BTreeSet<Key>,
}

impl Locks {
    /// A key may be taken at once: nobody holds it or stands in line for it.
    pub(crate) fn is_free(&self, tenant: Sym, key: &str) -> bool {
        !self.locks.contains_key(&(tenant, Arc::from(key)))
    }

    /// How many stand in line.
    pub(crate) fn waiting(&self, tenant: Sym, key: &str) -> usize {
        self.locks.get(&(tenant, Arc::from(key))).map_or(0, |lock| lock.line.len())
    }

    /// A node holds a key from now on.
    pub(crate) fn hold(&mut self, key: Key, place: Place) {
        self.free.remove(&key);
        self.locks.entry(key).or_default().holder = Some(place);
    }

    /// A node stands in line.
    pub(crate) fn stand(&mut self, key: Key, at: u64, place: Place) {
        let lock = self.locks.entry(key.clone()).or_default();
        lock.line.insert(at, place);
        if lock.holder.is_none() {
            self.free.insert(key);
        }
    }

    /// A node leaves the line.
    pub(crate) fn leave(&mut self, key: &Key, at: u64) {
        let Some(lock) = self.locks.get_mut(key) else { return };
        lock.line.remove(&at);
        self.tidy(key);
    }

    /// Nobody holds a key any more.
    pub(crate) fn release(&mut self, key: &Key) {
        let Some(lock) = self.locks.get_mut(key) else { return };
        lock.holder = None;
        self.tidy(key);
    }

    fn tidy(&mut self, key: &Key) {
        let Some(lock) = self.locks.get(key) else { return };
        match (lock.holder, lock.line.is_empty()) {
            (Some(_), _) => {}
            (None, false) => {
                self.free.insert(key.clone());
            }
            (None, true) => {
                self.free.remove(key);
                self.locks.remove(key);
            }
        }
    }

    /// A key that nobody holds, and who is first in line for it among the runs that are wanted.
    pub(crate) fn next_free(&self, is_wanted: impl Fn(&RunId) -> bool) -> Option<(Key, Place)> {
        self.free.iter().find_map(|key| {
            let place = self.locks.get(key)?.line.values().find(|place| is_wanted(&place.run))?;
            Some((key.clone(), *place))
        })
    }
}
