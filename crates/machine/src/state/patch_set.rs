//! Patches on workflows: those that wait, and the sets that the others are in (docs/decisions/0019).

use super::symbols::Sym;
use super::{State, Tenant, Workflow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens at once.
const NOW: i64 = 1;

/// What a version was derived from.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    /// Key of the set.
    pub(crate) set: Box<str>,
    pub(crate) generation: u32,
}

/// The patches on one workflow.
#[derive(Debug, Default)]
pub(crate) struct Patching {
    /// By number, from 1, in the order in which they were proposed.
    pub(crate) patches: BTreeMap<u32, WorkflowPatch>,
    /// The last number that was given.
    pub(crate) last: u32,
    /// The last number of the last batch.
    pub(crate) batch: u32,
    /// By `<base version>+<name>`.
    pub(crate) sets: BTreeMap<Box<str>, PatchSet>,
    /// Cache: those that wait.
    pub(crate) waiting: BTreeSet<u32>,
    /// Cache: the time under which it stands in the index; 0: it does not.
    pub(crate) indexed: i64,
}

/// An ordered list of patches on a version.
#[derive(Debug)]
pub(crate) struct PatchSet {
    pub(crate) base: Sym,
    /// Of the last version that was derived; 0: none was.
    pub(crate) generation: u32,
    /// That version; the base where there is none.
    pub(crate) head: Sym,
    /// Tags that are to point at the next version, then at this one.
    pub(crate) moving: BTreeSet<Box<str>>,
}

/// A patch on a workflow.
#[derive(Debug)]
pub(crate) struct WorkflowPatch {
    /// Key of its set.
    pub(crate) set: Box<str>,
    /// Empty: none moves.
    pub(crate) tag: Box<str>,
    /// RFC 6902, as sent.
    pub(crate) patch: Arc<[u8]>,
    pub(crate) author: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) request_hash: [u8; 32],
    pub(crate) proposed_ns: i64,
    /// When its batch begins, at the latest.
    pub(crate) due: i64,
    /// While it waits.
    pub(crate) grant: Arc<[u8]>,
    pub(crate) fate: Fate,
}

/// What became of a patch.
#[derive(Debug)]
pub(crate) enum Fate {
    Waiting,
    Taken(Taken),
    Refused(Box<Refused>),
}

/// In a set.
#[derive(Debug)]
pub(crate) struct Taken {
    /// On ids.
    pub(crate) operations: Arc<[u8]>,
    /// The first with it; 0: there is none yet.
    pub(crate) generation: u32,
    /// The next generation goes without it.
    pub(crate) dropped: bool,
    /// The first without it; 0: there is none yet.
    pub(crate) without: u32,
    pub(crate) dropped_reason: Box<str>,
}

impl Taken {
    /// The next generation has it.
    pub(crate) fn is_in_force(&self) -> bool {
        !self.dropped
    }

    /// No generation shows yet what became of it.
    fn is_new(&self) -> bool {
        (self.generation == 0 && !self.dropped) || (self.dropped && self.without == 0)
    }
}

/// Why a patch is in no set.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) gate: Box<str>,
    pub(crate) code: Box<str>,
    pub(crate) message: Box<str>,
    pub(crate) details: Arc<[u8]>,
    pub(crate) decided_ns: i64,
}

impl WorkflowPatch {
    pub(crate) fn taken(&self) -> Option<&Taken> {
        match &self.fate {
            Fate::Taken(taken) => Some(taken),
            Fate::Waiting | Fate::Refused(_) => None,
        }
    }

    fn taken_mut(&mut self) -> Option<&mut Taken> {
        match &mut self.fate {
            Fate::Taken(taken) => Some(taken),
            Fate::Waiting | Fate::Refused(_) => None,
        }
    }
}

impl Patching {
    /// The patches of a set, in their order.
    pub(crate) fn taken<'p>(&'p self, set: &'p str) -> impl Iterator<Item = (u32, &'p WorkflowPatch, &'p Taken)> {
        let of_set = self.patches.iter().filter(move |(_, patch)| *patch.set == *set);
        of_set.filter_map(|(&number, patch)| Some((number, patch, patch.taken()?)))
    }

    /// A set whose patches are other ones than those of its last version.
    pub(crate) fn changed(&self) -> Option<&str> {
        let mut changed = self.patches.values().filter(|patch| patch.taken().is_some_and(Taken::is_new));
        changed.next().map(|patch| &*patch.set)
    }

    /// The last version of a set shows all of its patches.
    pub(crate) fn is_settled(&self, set: &str) -> bool {
        !self.taken(set).any(|(_, _, taken)| taken.is_new())
    }

    /// A tag that is to point at the last version of a set, where that one shows all patches.
    pub(crate) fn moving(&self) -> Option<(&str, Sym)> {
        let mut sets = self.sets.iter().filter(|(_, set)| !set.moving.is_empty());
        sets.find_map(|(key, set)| Some((&**set.moving.first().filter(|_| self.is_settled(key))?, set.head)))
    }

    /// The patch that is judged next, where a batch is open.
    pub(crate) fn next_of_batch(&self) -> Option<u32> {
        self.waiting.first().copied().filter(|&number| number <= self.batch)
    }

    /// The version of a set shows what became of its patches.
    pub(crate) fn settle(&mut self, set: &str, generation: u32) {
        for patch in self.patches.values_mut().filter(|patch| *patch.set == *set) {
            let Some(taken) = patch.taken_mut() else { continue };
            if taken.dropped {
                taken.without = if taken.without == 0 { generation } else { taken.without };
            } else if taken.generation == 0 {
                taken.generation = generation;
            }
        }
    }

    /// Changes a patch that is in a set.
    pub(crate) fn take_back(&mut self, number: u32) -> Option<&mut Taken> {
        self.patches.get_mut(&number)?.taken_mut()
    }

    /// When something happens; 0: never.
    fn wakes(&self) -> i64 {
        if self.next_of_batch().is_some() || self.changed().is_some() || self.moving().is_some() {
            return NOW;
        }
        let due = |number| self.patches.get(number).map(|patch| patch.due);
        self.waiting.iter().filter_map(due).min().unwrap_or(0)
    }
}

impl Workflow {
    /// A version by its name.
    pub(crate) fn version(&self, version: Sym) -> Option<&super::Version> {
        self.versions.iter().find(|v| v.version == version)
    }
}

impl State {
    /// Patches on workflows that wait for their batch.
    pub(crate) fn workflow_patches_waiting(&self) -> u64 {
        let waiting = |&(_, tenant, name): &(i64, Sym, Sym)| self.patching(tenant, name).map_or(0, |p| p.waiting.len());
        self.index.patching.iter().map(waiting).sum::<usize>() as u64
    }

    /// Brings the index up to date with the patches on a workflow.
    pub(crate) fn index_patching(&mut self, tenant: Sym, name: Sym) {
        let workflow = self.tenants.get_mut(&tenant).and_then(|held| held.workflows.get_mut(&name));
        let Some(patching) = workflow.and_then(|workflow| workflow.patching.as_mut()) else { return };
        let (was, now) = (patching.indexed, patching.wakes());
        patching.indexed = now;
        if was != 0 {
            self.index.patching.remove(&(was, tenant, name));
        }
        if now != 0 {
            self.index.patching.insert((now, tenant, name));
        }
    }

    /// Makes the caches of patches, and the index, anew.
    pub(crate) fn index_patches(&mut self) {
        let mut all = Vec::new();
        for (&tenant, held) in &mut self.tenants {
            let Tenant { workflows, waiting_bytes, .. } = held;
            for (&name, workflow) in workflows {
                let Some(patching) = &mut workflow.patching else { continue };
                let waits = |(_, patch): &(&u32, &WorkflowPatch)| matches!(patch.fate, Fate::Waiting);
                *waiting_bytes += patching.patches.iter().filter(waits).map(|(_, p)| p.patch.len()).sum::<usize>();
                patching.waiting = patching.patches.iter().filter(waits).map(|(&number, _)| number).collect();
                all.push((tenant, name));
            }
        }
        for (tenant, name) in all {
            self.index_patching(tenant, name);
        }
    }
}
