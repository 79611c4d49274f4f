//! The state: a fold of records, and nothing else. Knows no IR, no limit and no clock; `fold` is the only way in.

pub(crate) mod breaker;
pub(crate) mod codec;
pub(crate) mod fold;
pub(crate) mod letter;
pub(crate) mod locks;
pub(crate) mod logged;
mod pages;
pub(crate) mod patch_set;
pub(crate) mod rates;
pub(crate) mod rest;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod snapshot;
pub(crate) mod symbols;
pub(crate) mod trial;

use crate::id::RunId;
use breaker::Breakers;
use letter::Letters;
use locks::Locks;
use pages::Pages;
use patch_set::{Derived, Patching};
use rest::Slot;
use run::EndedRun;
use schedule::{Due, Schedule};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use symbols::{IdMap, Sym, Symbols};
use trial::Trial;

/// Everything that is true.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Records so far.
    pub(crate) position: u64,
    /// Time of the last record.
    pub(crate) time_ns: i64,
    /// Next sequence of each partition.
    pub(crate) sequences: Vec<u64>,
    pub(crate) symbols: Symbols,
    pub(crate) registry: Registry,
    /// Open runs. A slot is reused; its number never leaves the process. Reached through `find` (to go on with a run)
    /// and `look` (to see it), because a run that waits may be at rest (`rest.rs`).
    runs: Vec<Slot>,
    /// Bytes of those at rest.
    pages: Pages,
    free: Vec<u32>,
    open: IdMap<RunId, u32>,
    /// Runs that are not at rest.
    awake: usize,
    /// Slots to look at for one that may rest, oldest first, and which of them stand there. A slot that became free
    /// stays: nothing is done for a run that ends soon.
    drowsy: VecDeque<u32>,
    is_drowsy: Vec<bool>,
    pub(crate) ended: IdMap<RunId, Arc<EndedRun>>,
    /// In the order in which they ended.
    pub(crate) ended_order: VecDeque<RunId>,
    pub(crate) tenants: IdMap<Sym, Tenant>,
    /// Keys whose run has ended, by the time at which they are forgotten.
    pub(crate) expiring: BTreeMap<(i64, RunId), (Sym, Box<str>)>,
    pub(crate) keys: usize,
    pub(crate) breakers: Breakers,
    pub(crate) letters: Letters,
    pub(crate) index: Index,
    /// How far ahead the calls of each tool are, where it has a rate.
    pub(crate) rates: rates::Rates,
}

/// What is found without looking through the runs. Follows from them; made anew when a snapshot is read.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Everything that happens at a time.
    pub(crate) timers: BTreeSet<Timer>,
    /// Open approvals.
    pub(crate) approvals: BTreeSet<Ticket>,
    /// Whose signal was heard last, until that run records something: it may not know yet. Said of a log that ends there;
    /// no snapshot is made between the two.
    pub(crate) sender: Option<RunId>,
    /// Nodes that wait for a signal, by tenant and name.
    pub(crate) signals: BTreeMap<(Sym, Arc<str>), BTreeSet<Listener>>,
    /// Keys of critical sections that are held or wanted.
    pub(crate) locks: Locks,
    /// Schedules that are not paused.
    pub(crate) schedules: BTreeSet<Due>,
    /// Workflows with patches that wait, by the time at which something happens to them.
    pub(crate) patching: BTreeSet<(i64, Sym, Sym)>,
}

/// A node that waits for a signal; within a run the one that began first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) run: RunId,
    pub(crate) since: u64,
    pub(crate) scope: u32,
    pub(crate) slot: u32,
}

/// The definitions, and the chain of the registry's records.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) next_seq: u64,
    pub(crate) head: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) versions: usize,
}

/// What belongs to a tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) workflows: BTreeMap<Sym, Workflow>,
    pub(crate) keys: BTreeMap<Box<str>, Key>,
    pub(crate) schedules: BTreeMap<Box<str>, Box<Schedule>>,
    /// Open runs by the schedule that started them. Follows from the runs.
    pub(crate) scheduled: BTreeMap<Box<str>, u32>,
    /// Open and ended runs; the ids begin with the time.
    pub(crate) runs: BTreeSet<RunId>,
    pub(crate) open: usize,
    /// Bytes of the patches on workflows that wait. Follows from the workflows.
    pub(crate) waiting_bytes: usize,
}

/// All versions of a workflow.
#[derive(Debug, Default)]
pub(crate) struct Workflow {
    /// In the order of registration.
    pub(crate) versions: Vec<Version>,
    pub(crate) tags: BTreeMap<Box<str>, Sym>,
    /// By tag, where it has arms.
    pub(crate) trials: BTreeMap<Box<str>, Box<Trial>>,
    /// Where it was patched.
    pub(crate) patching: Option<Box<Patching>>,
}

/// A version of a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) version: Sym,
    pub(crate) hash: [u8; 32],
    pub(crate) definition: Arc<[u8]>,
    pub(crate) registered_ns: i64,
    /// Of a patch set.
    pub(crate) derived: Option<Box<Derived>>,
}

/// An idempotency key of a start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) run_id: RunId,
    pub(crate) request_hash: [u8; 32],
    /// Offset of the run's last event, once it has ended.
    pub(crate) offset: u64,
    /// When it is forgotten; `i64::MAX` while the run is open.
    pub(crate) expires: i64,
}

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) due: i64,
    pub(crate) run: RunId,
    pub(crate) kind: TimerKind,
    pub(crate) scope: u32,
    /// Of the node; of the step of a compensation.
    pub(crate) slot: u32,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    Run,
    Compensation,
    Attempt,
    Retry,
    Node,
    Approval,
    StepAttempt,
    StepRetry,
    Escalation,
    Signal,
    Rate,
}

/// An open approval, in the order of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) tenant: Sym,
    pub(crate) requested_ns: i64,
    pub(crate) run: RunId,
    pub(crate) scope: u32,
    pub(crate) slot: u32,
}

impl State {
    /// Nothing happened yet.
    pub(crate) fn new(partitions: u16) -> State {
        State { sequences: vec![0; usize::from(partitions.max(1))], ..State::default() }
    }

    /// A schedule of a tenant.
    pub(crate) fn schedule(&self, tenant: &str, name: &str) -> Option<&Schedule> {
        self.tenants.get(&self.symbols.find(tenant)?)?.schedules.get(name).map(Box::as_ref)
    }

    /// A version of a workflow of a tenant.
    pub(crate) fn version(&self, tenant: Sym, workflow: Sym, version: Sym) -> Option<&Version> {
        let workflow = self.tenants.get(&tenant)?.workflows.get(&workflow)?;
        workflow.versions.iter().find(|v| v.version == version)
    }
}
