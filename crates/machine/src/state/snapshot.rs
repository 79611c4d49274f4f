//! A snapshot: the state as bytes, equal for equal states. Version 7: the magic, the version, the names in the order of
//! their places, then the state, each open run behind its length. A version that is not known is refused: the log is
//! replayed instead, it is the truth.

use super::breaker::Breaker;
use super::codec::{Codec, Source, Writer, codec, put_bytes};
use super::letter::Letter;
use super::pages::{Place, at};
use super::patch_set::{Derived, Fate, PatchSet, Patching, Refused, Taken, WorkflowPatch};
use super::run::{
    Asked, Awaited, Care, Child, Completed, Corrected, EndedPatches, EndedRun, Ending, Extra, Failing, Fault, Flight,
    Items, Iterations, Kept, KeptSignal, Layer, Node, Origin, Parent, PatchRecord, PatchRefusal, Proposal, Queued, Run,
    RunError, Scope, Status, Step, StepPhase, Throttled, Wait,
};
use super::schedule::{Firing, Overlap, Schedule};
use super::trial::{Arm, Drawn, Outcomes, Trial};
use super::{Key, Registry, State, Tenant, Version, Workflow};
use crate::action::JobKind;
use crate::error::RestoreError;
use crate::id::RunId;
use apex_ir::ir::Priority;
use std::collections::BTreeMap;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"APEXSNAP";
const VERSION: u8 = 7;

codec!(Registry { next_seq, head, hash, versions });
codec!(Version { version, hash, definition, registered_ns, derived });
codec!(Derived { set, generation });
codec!(Patching { patches, last, batch, sets } with { waiting: Default::default(), indexed: 0 });
codec!(PatchSet { base, generation, head, moving });
codec!(WorkflowPatch { set, tag, patch, author, reason, key, request_hash, proposed_ns, due, grant, fate });
codec!(Taken { operations, generation, dropped, without, dropped_reason });
codec!(Refused { gate, code, message, details, decided_ns });
codec!(Trial { number, began_ns, arms, control });
codec!(Arm { version, set, share, outcomes });
codec!(Outcomes { started, completed, failed, cancelled, duration_ns, steps });
codec!(Drawn { tag, arm, test });
codec!(Key { run_id, request_hash, offset, expires });
codec!(Schedule {
    workflow,
    version,
    tag,
    inputs,
    cron,
    time_zone,
    every_ns,
    jitter_ns,
    overlap,
    catch_up_ns,
    priority,
    labels,
    time_input,
    changed_ns,
    paused,
    next,
    due,
    buffered,
    last
} with { indexed: 0 });
codec!(Firing { time, decided_ns, action, run, error });
codec!(Overlap as Skip = 0, BufferOne = 1, Allow = 2);
codec!(RunError { code, kind, message, node });
codec!(Fault { kind, message });
codec!(Asked { prompt, requested_ns, due, escalate_due, escalated_to });
codec!(Flight { kind, name, input, config, timeout_ns, due, max_attempts, priority, care, omitted } with { rendered: None, job: 0 });
codec!(Care {
    close_by,
    heartbeat_ns,
    beat_by,
    beat_ns,
    progress,
    breaker,
    generation,
    correction,
    corrections,
    corrects
} with { pending: None });
codec!(Corrected as No = 0, Wanted = 1, Proposed = 2);
codec!(JobKind as Function = 0, Http = 1, Agent = 2, Correction = 3);
codec!(Child { run, version, flight });
codec!(Items { list, count, next, open, outputs, error } with { ranges: Vec::new(), bytes: None });
codec!(Iterations { next, open, last, error });
codec!(Step { scope, slot, within, phase, attempt, flight, due, error });
codec!(Parent { run, node, depth });
codec!(Origin { run, from, freeze });
codec!(Ending { seq, keeps, taken_back });
codec!(Completed { seq, run });
codec!(KeptSignal { seq, name, payload });
codec!(Extra {
    parent,
    ending,
    completed,
    paused,
    origin,
    letters,
    signals,
    signal_keys,
    locks,
    schedule,
    layers,
    proposals,
    patches,
    patch_records,
    refusals,
    migrated,
    drawn
});
codec!(Layer { number, operations, epoch, dropped, author, key, request_hash });
codec!(Proposal { number, operations, epoch, base_epoch, author, reason, key, request_hash, rejected });
codec!(PatchRecord { number, offset, position, refused });
codec!(PatchRefusal { number, author, reason, code, message, details });
codec!(EndedPatches { count, records });
codec!(Awaited { name, due });
codec!(Queued { key, at });
codec!(Throttled { due, flight });
codec!(Failing { error, compensate, steps, settled, due, expired });
codec!(Node {
    sym,
    status,
    attempt,
    unknown,
    write,
    compensation,
    requested_seq,
    decided_seq,
    kept,
    error,
    dead,
    wait,
    children
} with { doomed: false });
codec!(EndedRun {
    fast,
    tenant,
    workflow,
    version,
    ir_hash,
    epoch,
    correlation,
    labels,
    priority,
    goal,
    started_ns,
    ended_ns,
    offset,
    head,
    nodes_total,
    nodes_done,
    error,
    parent,
    drawn,
    patches
});
codec!(Run {
    id, tenant, workflow, version, ir_hash, epoch, correlation, inputs, labels, priority, goal, key, started, fast, requested,
    started_ns, due, next_seq, head, hash, nodes_total, nodes_done, in_flight, waiting, failing,
    extra, scopes
} with {
    program: None, work: Default::default(), frozen: None, queued: false, cancels_sent: false, undo_bytes: 0
});
codec!(Status as Open = 0, Ok = 1, Failed = 2, Skipped = 3);
codec!(StepPhase as Ahead = 0, InFlight = 1, Retrying = 2, Done = 3, Failed = 4);

impl Codec for Priority {
    fn put(&self, w: &mut Writer<'_>) {
        w.out.push(match self {
            Priority::Low => 0,
            Priority::Medium => 1,
            Priority::High => 2,
        });
    }
    fn get(r: &mut Source<'_>) -> Result<Priority, RestoreError> {
        Ok(match u8::get(r)? {
            0 => Priority::Low,
            2 => Priority::High,
            _ => Priority::Medium,
        })
    }
}

impl Codec for Fate {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Fate::Waiting => 0u8.put(w),
            Fate::Taken(taken) => {
                1u8.put(w);
                taken.put(w);
            }
            Fate::Refused(refused) => {
                2u8.put(w);
                refused.put(w);
            }
        }
    }
    fn get(r: &mut Source<'_>) -> Result<Fate, RestoreError> {
        match u8::get(r)? {
            0 => Ok(Fate::Waiting),
            1 => Codec::get(r).map(Fate::Taken),
            2 => Codec::get(r).map(Fate::Refused),
            _ => Err(RestoreError("a kind is not known")),
        }
    }
}

impl Codec for Kept {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Kept::Nothing => 0u8.put(w),
            Kept::All(value) => {
                1u8.put(w);
                value.put(w);
            }
            Kept::Parts(parts) => {
                2u8.put(w);
                parts.put(w);
            }
        }
    }
    fn get(r: &mut Source<'_>) -> Result<Kept, RestoreError> {
        match u8::get(r)? {
            0 => Ok(Kept::Nothing),
            1 => Codec::get(r).map(Kept::All),
            2 => Codec::get(r).map(Kept::Parts),
            _ => Err(RestoreError("a kind is not known")),
        }
    }
}

impl Codec for Wait {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Wait::Nothing => 0u8.put(w),
            Wait::Job(flight) => {
                1u8.put(w);
                flight.put(w);
            }
            Wait::Retry { flight, due } => {
                2u8.put(w);
                flight.put(w);
                due.put(w);
            }
            Wait::Timer { due } => {
                3u8.put(w);
                due.put(w);
            }
            Wait::Approval(asked) => {
                4u8.put(w);
                asked.put(w);
            }
            Wait::Map(items) => {
                5u8.put(w);
                items.put(w);
            }
            Wait::Loop(iterations) => {
                6u8.put(w);
                iterations.put(w);
            }
            Wait::Child(child) => {
                7u8.put(w);
                child.put(w);
            }
            Wait::Signal(awaited) => {
                20u8.put(w);
                awaited.put(w);
            }
            Wait::Lock(queued) => {
                21u8.put(w);
                queued.put(w);
            }
            Wait::Rate(throttled) => {
                22u8.put(w);
                throttled.put(w);
            }
        }
    }
    fn get(r: &mut Source<'_>) -> Result<Wait, RestoreError> {
        match u8::get(r)? {
            0 => Ok(Wait::Nothing),
            1 => Codec::get(r).map(Wait::Job),
            2 => Ok(Wait::Retry { flight: Codec::get(r)?, due: Codec::get(r)? }),
            3 => Ok(Wait::Timer { due: Codec::get(r)? }),
            4 => Codec::get(r).map(Wait::Approval),
            5 => Codec::get(r).map(Wait::Map),
            6 => Codec::get(r).map(Wait::Loop),
            7 => Codec::get(r).map(Wait::Child),
            20 => Codec::get(r).map(Wait::Signal),
            21 => Codec::get(r).map(Wait::Lock),
            22 => Codec::get(r).map(Wait::Rate),
            _ => Err(RestoreError("a kind is not known")),
        }
    }
}

impl Codec for Scope {
    fn put(&self, w: &mut Writer<'_>) {
        self.parent.put(w);
        self.owner.put(w);
        self.index.put(w);
        self.item.put(w);
        self.path.put(w);
        self.nodes.put(w);
        self.failing.put(w);
        self.closed.put(w);
        self.undo.put(w);
        self.opened_seq.put(w);
    }
    fn get(r: &mut Source<'_>) -> Result<Scope, RestoreError> {
        let mut scope = Scope::new(Codec::get(r)?, Codec::get(r)?, Codec::get(r)?, Codec::get(r)?, Codec::get(r)?);
        for node in Vec::<Node>::get(r)? {
            let slot = scope.touch(node.sym);
            scope.nodes[slot as usize] = node;
        }
        scope.failing = Codec::get(r)?;
        scope.closed = Codec::get(r)?;
        scope.undo = Codec::get(r)?;
        scope.opened_seq = Codec::get(r)?;
        Ok(scope)
    }
}

/// The state at one moment, not written yet: what is at rest and what has ended is shared with the machine, so taking it
/// is quick, and writing it needs no machine.
#[derive(Debug)]
pub struct Capture {
    position: u64,
    head: Vec<u8>,
    pages: Vec<Arc<Vec<u8>>>,
    runs: Vec<Place>,
    ended: Vec<(RunId, Arc<EndedRun>)>,
    places: Vec<u32>,
}

impl Capture {
    /// Number of records that led to this state.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The state as bytes: equal for equal states, whatever way they came about.
    #[must_use]
    pub fn bytes(mut self) -> Vec<u8> {
        // A run begins with its id.
        let pages = &self.pages;
        self.runs.sort_by_cached_key(|&run| <[u8; 16]>::try_from(&at(pages, run)[..16]).unwrap_or_default());
        let size = self.runs.iter().map(|&run| at(pages, run).len() + 2).sum::<usize>() + 128 * self.ended.len();
        self.head.reserve(size);
        let mut w = Writer::new(&self.places, self.head);
        (self.runs.len() as u32).put(&mut w);
        for &run in &self.runs {
            put_bytes(at(pages, run), &mut w);
        }
        (self.ended.len() as u32).put(&mut w);
        for (id, run) in &self.ended {
            id.put(&mut w);
            run.put(&mut w);
        }
        w.out
    }
}

impl State {
    /// The state as it stands.
    pub(crate) fn capture(&self) -> Capture {
        let mut w = Writer::new(self.symbols.places(), MAGIC.to_vec());
        w.out.push(VERSION);
        (self.symbols.placed().len() as u32).put(&mut w);
        for &sym in self.symbols.placed() {
            put_bytes(self.symbols.name(sym).as_bytes(), &mut w);
        }
        self.position.put(&mut w);
        self.time_ns.put(&mut w);
        self.sequences.put(&mut w);
        self.registry.put(&mut w);
        let mut tenants: Vec<_> =
            self.tenants.iter().map(|(&sym, tenant)| (self.symbols.name(sym), sym, tenant)).collect();
        tenants.sort_unstable_by_key(|&(name, ..)| name);
        (tenants.len() as u32).put(&mut w);
        for (_, sym, tenant) in tenants {
            sym.put(&mut w);
            let mut workflows: Vec<_> =
                tenant.workflows.iter().map(|(&sym, workflow)| (self.symbols.name(sym), sym, workflow)).collect();
            workflows.sort_unstable_by_key(|&(name, ..)| name);
            (workflows.len() as u32).put(&mut w);
            for (_, sym, workflow) in workflows {
                sym.put(&mut w);
                workflow.versions.put(&mut w);
                workflow.tags.put(&mut w);
                workflow.trials.put(&mut w);
                workflow.patching.put(&mut w);
            }
            tenant.keys.put(&mut w);
            tenant.schedules.put(&mut w);
        }
        self.put_troubles(&mut w);
        let ended = self.ended_order.iter().filter_map(|id| Some((*id, self.ended.get(id)?.clone()))).collect();
        let (pages, runs) = self.open_bytes();
        Capture { position: self.position, head: w.out, pages, runs, ended, places: self.symbols.places().to_vec() }
    }

    /// Breakers, dead letters and rates.
    fn put_troubles(&self, w: &mut Writer) {
        let mut rates: Vec<_> =
            self.rates.iter().map(|((tenant, tool), due)| (self.symbols.name(*tenant), tool, *tenant, due)).collect();
        rates.sort_unstable();
        (rates.len() as u32).put(w);
        for (_, tool, tenant, due) in rates {
            tenant.put(w);
            tool.put(w);
            due.put(w);
        }
        let mut tenants: Vec<_> = self.breakers.by_tenant.iter().collect();
        tenants.sort_unstable_by_key(|&(sym, _)| self.symbols.name(*sym));
        (tenants.len() as u32).put(w);
        for (sym, breakers) in tenants {
            sym.put(w);
            breakers.put(w);
        }
        self.letters.pushed_out.put(w);
        (self.letters.order.len() as u32).put(w);
        for (position, tenant) in &self.letters.order {
            if let Some(letter) = self.letters.by_tenant.get(tenant).and_then(|letters| letters.get(position)) {
                position.put(w);
                tenant.put(w);
                letter.put(w);
            }
        }
    }

    fn get_troubles(&mut self, r: &mut Source<'_>) -> Result<(), RestoreError> {
        for _ in 0..u32::get(r)? {
            let tool = (Codec::get(r)?, Codec::get(r)?);
            self.rates.set(tool, Codec::get(r)?);
        }
        for _ in 0..u32::get(r)? {
            let tenant = Codec::get(r)?;
            let breakers: BTreeMap<Box<str>, Breaker> = Codec::get(r)?;
            self.breakers.count += breakers.len();
            self.breakers.by_tenant.insert(tenant, breakers);
        }
        self.letters.pushed_out = Codec::get(r)?;
        for _ in 0..u32::get(r)? {
            let (position, tenant) = (Codec::get(r)?, Codec::get(r)?);
            self.letters.put(tenant, position, Letter::get(r)?);
        }
        Ok(())
    }

    /// The state from bytes.
    pub(crate) fn restore(bytes: &[u8], partitions: u16) -> Result<State, RestoreError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(RestoreError("it is none"))?;
        let (&version, rest) = rest.split_first().ok_or(RestoreError("it is cut short"))?;
        if version != VERSION {
            return Err(RestoreError("its version is not known"));
        }
        let mut state = State::new(partitions);
        let r = &mut Source { bytes: rest, names: &[] };
        for name in Vec::<Box<str>>::get(r)? {
            state.symbols.intern(&name);
        }
        let names = state.symbols.placed().to_vec();
        r.names = &names;
        state.position = Codec::get(r)?;
        state.time_ns = Codec::get(r)?;
        let sequences = Vec::<u64>::get(r)?;
        if sequences.len() != state.sequences.len() {
            return Err(RestoreError("it has another number of partitions"));
        }
        state.sequences = sequences;
        state.registry = Codec::get(r)?;
        for _ in 0..u32::get(r)? {
            let sym = Codec::get(r)?;
            let mut tenant = Tenant::default();
            for _ in 0..u32::get(r)? {
                let name = Codec::get(r)?;
                let (versions, tags) = (Codec::get(r)?, Codec::get(r)?);
                let workflow = Workflow { versions, tags, trials: Codec::get(r)?, patching: Codec::get(r)? };
                tenant.workflows.insert(name, workflow);
            }
            tenant.keys = Codec::get(r)?;
            tenant.schedules = Codec::get(r)?;
            state.keys += tenant.keys.len();
            for (name, key) in &tenant.keys {
                if key.expires != i64::MAX {
                    state.expiring.insert((key.expires, key.run_id), (sym, name.clone()));
                }
            }
            state.tenants.insert(sym, tenant);
        }
        state.get_troubles(r)?;
        for _ in 0..u32::get(r)? {
            let length = r.count()?;
            let bytes = r.take(length)?;
            let source = &mut Source { bytes, names: &names };
            let mut run = Box::new(Run::get(source)?);
            if !source.bytes.is_empty() {
                return Err(RestoreError("bytes of a run are left over"));
            }
            run.recount_undo(&state.symbols);
            run.index_waits(&mut state.index);
            let tenant = state.tenants.entry(run.tenant).or_default();
            tenant.runs.insert(run.id);
            tenant.open += 1;
            if let Some(extra) = run.extra.as_ref().filter(|extra| !extra.schedule.is_empty()) {
                *tenant.scheduled.entry(extra.schedule.clone()).or_default() += 1;
            }
            state.place_read(run, bytes);
        }
        for _ in 0..u32::get(r)? {
            let id = RunId::get(r)?;
            let run = EndedRun::get(r)?;
            state.tenants.entry(run.tenant).or_default().runs.insert(id);
            state.ended_order.push_back(id);
            state.ended.insert(id, Arc::new(run));
        }
        state.index_schedules();
        state.index_patches();
        if r.bytes.is_empty() { Ok(state) } else { Err(RestoreError("bytes are left over")) }
    }
}
