//! Open runs, awake or at rest. A run that only waits (for a time, a person, a signal) needs none of what makes it
//! quick to go on with: it is kept as the bytes that a snapshot has of it, and made anew from them when something
//! happens to it. A run is never read at rest by accident: slots come from `find`, which wakes it, and readers `look`.

use super::State;
use super::codec::{Codec, Source, Writer};
use super::pages::{Beside, Place};
use super::run::Run;
use super::symbols::Symbols;
use crate::id::RunId;
use std::ops::Deref;
use std::sync::Arc;

/// A place for an open run.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    Awake(Box<Run>),
    /// Where its bytes stand in the pages.
    AtRest(Place),
}

/// A run to look at.
#[derive(Debug)]
pub(crate) enum Look<'s> {
    Awake(&'s Run),
    Read(Box<Run>),
}

impl Deref for Look<'_> {
    type Target = Run;
    fn deref(&self) -> &Run {
        match self {
            Look::Awake(run) => run,
            Look::Read(run) => run,
        }
    }
}

impl Run {
    /// Nothing of it is in flight and nothing is left to do before something happens to it. All that is lost at rest
    /// is a cache.
    fn may_rest(&self) -> bool {
        self.started && !self.keeps_results() && self.in_flight == 0 && self.work.is_empty() && !self.queued
    }
}

/// Appends the bytes of a run.
fn write(run: &Run, symbols: &Symbols, out: &mut Vec<u8>) {
    let mut w = Writer::new(symbols.places(), std::mem::take(out));
    run.put(&mut w);
    *out = w.out;
}

/// A run from its bytes. They were written by this process, or checked when a snapshot was read.
fn read(bytes: &[u8], symbols: &Symbols) -> Box<Run> {
    let mut source = Source { bytes, names: symbols.placed() };
    match Run::get(&mut source) {
        Ok(mut run) => {
            run.recount_undo(symbols);
            Box::new(run)
        }
        Err(error) => panic!("a run at rest cannot be read: {error}"),
    }
}

impl State {
    /// The slot of an open run, which is awake from now on.
    pub(crate) fn find(&mut self, id: &RunId) -> Option<u32> {
        let slot = *self.open.get(id)?;
        if let Slot::AtRest(place) = self.runs[slot as usize] {
            let run = read(self.pages.get(place), &self.symbols);
            self.pages.remove(place);
            self.runs[slot as usize] = Slot::Awake(run);
            self.awake += 1;
            self.note_awake(slot);
        }
        Some(slot)
    }

    fn note_awake(&mut self, slot: u32) {
        let is_drowsy = &mut self.is_drowsy[slot as usize];
        if !*is_drowsy {
            *is_drowsy = true;
            self.drowsy.push_back(slot);
        }
    }

    /// An open run as it stands; one at rest stays there.
    pub(crate) fn look(&self, id: &RunId) -> Option<Look<'_>> {
        match &self.runs[*self.open.get(id)? as usize] {
            Slot::Free => None,
            Slot::Awake(run) => Some(Look::Awake(run)),
            Slot::AtRest(place) => Some(Look::Read(read(self.pages.get(*place), &self.symbols))),
        }
    }

    /// Ids of the open runs, in any order.
    pub(crate) fn open_ids(&self) -> Vec<RunId> {
        self.open.keys().copied().collect()
    }

    /// Whether a run is open.
    pub(crate) fn is_open(&self, id: &RunId) -> bool {
        self.open.contains_key(id)
    }

    /// Number of open runs, and of those at rest.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Number of open runs that are at rest.
    pub(crate) fn resting_count(&self) -> usize {
        self.open.len() - self.awake
    }

    /// The run in a slot that `find` gave.
    pub(crate) fn run(&self, slot: u32) -> Option<&Run> {
        match self.runs.get(slot as usize)? {
            Slot::Awake(run) => Some(run),
            Slot::Free | Slot::AtRest(_) => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn run_mut(&mut self, slot: u32) -> Option<&mut Run> {
        match self.runs.get_mut(slot as usize)? {
            Slot::Awake(run) => Some(run),
            Slot::Free | Slot::AtRest(_) => None,
        }
    }

    /// Ids and slots of the runs that are awake, and ids of those at rest; by id.
    pub(crate) fn open_runs(&self) -> (Vec<(RunId, u32)>, Vec<RunId>) {
        let (mut awake, mut at_rest) = (Vec::with_capacity(self.awake), Vec::new());
        for (&id, &slot) in &self.open {
            match &self.runs[slot as usize] {
                Slot::AtRest(_) => at_rest.push(id),
                Slot::Awake(_) | Slot::Free => awake.push((id, slot)),
            }
        }
        awake.sort_unstable();
        at_rest.sort_unstable();
        (awake, at_rest)
    }

    /// Gives a run a slot.
    pub(super) fn place(&mut self, run: Box<Run>) -> u32 {
        let id = run.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.runs[slot as usize] = Slot::Awake(run);
                slot
            }
            None => {
                self.runs.push(Slot::Awake(run));
                self.is_drowsy.push(false);
                (self.runs.len() - 1) as u32
            }
        };
        self.awake += 1;
        self.note_awake(slot);
        self.open.insert(id, slot);
        slot
    }

    /// Takes an awake run out of its slot.
    pub(super) fn take(&mut self, slot: u32) -> Option<Box<Run>> {
        match std::mem::replace(self.runs.get_mut(slot as usize)?, Slot::Free) {
            Slot::Awake(run) => {
                self.awake -= 1;
                self.free.push(slot);
                self.open.remove(&run.id);
                Some(run)
            }
            other => {
                self.runs[slot as usize] = other;
                None
            }
        }
    }

    /// Gives a run that was read from a snapshot a slot: at rest where it may, its bytes being at hand.
    pub(super) fn place_read(&mut self, run: Box<Run>, bytes: &[u8]) {
        let rests = run.may_rest();
        let slot = self.place(run);
        if rests {
            self.runs[slot as usize] = Slot::AtRest(self.pages.put(slot, bytes));
            self.awake -= 1;
        }
    }

    /// Lays runs that only wait to rest, longest awake first, until `awake_max` are awake or `looks` slots were looked
    /// at. What this costs is bounded by the caller, and nothing where few runs are open.
    pub(crate) fn rest_some(&mut self, awake_max: usize, looks: usize) {
        if self.awake <= awake_max {
            return;
        }
        let mut scratch = Vec::new();
        for _ in 0..looks.min(self.drowsy.len()) {
            let Some(slot) = self.drowsy.pop_front() else { return };
            match &self.runs[slot as usize] {
                Slot::Awake(run) if run.may_rest() => {
                    scratch.clear();
                    write(run, &self.symbols, &mut scratch);
                    self.runs[slot as usize] = Slot::AtRest(self.pages.put(slot, &scratch));
                    self.awake -= 1;
                    self.is_drowsy[slot as usize] = false;
                }
                Slot::Awake(_) => self.drowsy.push_back(slot),
                Slot::Free | Slot::AtRest(_) => self.is_drowsy[slot as usize] = false,
            }
            if self.awake <= awake_max {
                break;
            }
        }
        self.thin_out();
    }

    /// Moves what is left in a page where most is dead.
    fn thin_out(&mut self) {
        let Some((bytes, stood)) = self.pages.next_thin() else { return };
        for (slot, place) in stood {
            if matches!(self.runs[slot as usize], Slot::AtRest(at) if at == place) {
                self.runs[slot as usize] = Slot::AtRest(self.pages.put(slot, place.of(&bytes)));
                self.pages.remove(place);
            }
        }
    }

    /// The bytes of every open run and where they stand; pages of those at rest are shared, not copied.
    pub(super) fn open_bytes(&self) -> (Vec<Arc<Vec<u8>>>, Vec<Place>) {
        let mut pages = self.pages.share();
        let mut beside = Beside::new(pages.len());
        let mut places = Vec::with_capacity(self.open.len());
        for slot in &self.runs {
            match slot {
                Slot::Free => {}
                Slot::Awake(run) => {
                    let from = beside.bytes.len();
                    write(run, &self.symbols, &mut beside.bytes);
                    places.push(beside.place(from));
                }
                Slot::AtRest(place) => places.push(*place),
            }
        }
        pages.push(Arc::new(beside.bytes));
        (pages, places)
    }
}
