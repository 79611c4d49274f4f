//! A history decided anew. What came from outside (the start, results, decisions of people, time) is taken from the
//! records; everything else must be decided again, record by record, with the same payload, cause and time.
//!
//! A new term in the header means that the process had started again: then the state is folded anew from the records
//! before, and goes on as it does after a crash.

use super::fold::{self, Record};
use super::{Difference, History, HistoryError};
use crate::action::JobKind;
use crate::command::{MigrateRun, PatchRules, RollbackPatch, Selector};
use crate::error::{code, kind};
use crate::event::node::ToolResultReceived;
use crate::event::run::RunStarted;
use crate::event::saga::CorrectionProposed;
use crate::event::wire::write_json_str;
use crate::event::{self, Event};
use crate::id::RunId;
use crate::machine::{Action, Machine};
use crate::partition::registry::Basis;
use crate::record::{Header, split_records};
use crate::run::approval::Resolution;
use crate::run::correction::NO_CORRECTION;
use crate::run::node::{At, NOT_NEEDED};
use crate::run::patch::id_of;
use crate::run::result::Ended;
use crate::run::saga::{FAILING, OUT_OF_TIME};
use crate::run::signal::Signal;
use crate::run::work::Work;
use crate::state::fold::find_scope;
use crate::state::run::{Fault, NO_SLOT, ROOT, Status, StepPhase, Wait, split_path};
use crate::state::{Timer, TimerKind, Version};
use apex_ir::ir::Kind;
use apex_ir::overlay::read_operations;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// As operations on ids write the type of a node.
const COMPOSITE: &[u8] = b"\"composite\"";

/// What the engine itself says of a job that was never handed out.
const NEVER_HANDED_OUT: [&str; 2] = [FAILING, NOT_NEEDED];

/// A history that this engine reads and decides as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Of which run.
    pub run_id: RunId,
    /// How many records.
    pub records: u64,
    /// How many of them were decided anew; the others came from outside. None of a run that a composite node started
    /// or that has one, of one that has a critical section or a rate, and of a fast one: what becomes of it does not
    /// stand in its own records alone.
    pub decided: u64,
}

/// Reads a history, folds it and decides it anew.
///
/// # Errors
/// Bytes that are no history, a record that was changed, or the first one that is decided otherwise.
pub fn check(file: &[u8]) -> Result<Checked, HistoryError> {
    let history = History::read(file)?;
    let records = fold::read(&history.records)?;
    let first = records.first().ok_or_else(|| HistoryError::Format("the history holds no records".into()))?;
    let run_id = first.header.run_id;
    let mut driver =
        Driver { machine: begun(&history, &records, 0)?, history: &history, records: &records, decided: 0 };
    if driver.is_alone()? {
        driver.all()?;
    }
    Ok(Checked { run_id, records: records.len() as u64, decided: driver.decided })
}

/// A machine with the definitions and the first records of the run.
pub(super) fn begun(history: &History<'_>, records: &[Record<'_>], count: usize) -> Result<Machine, HistoryError> {
    let mut machine = fold::empty(records);
    // What is decided is compared, however much it is.
    machine.config.limits.events_per_turn_max = u32::MAX;
    machine.config.limits.bytes_per_turn_max = usize::MAX;
    // What was accepted once was within the limits of then.
    machine.config.limits.definition_bytes_max = usize::MAX;
    machine.config.limits.signals_buffered_max = usize::MAX;
    machine.config.limits.signal_keys_max = usize::MAX;
    let tenant = machine.state.symbols.intern(records.first().map_or("", |first| first.header.tenant));
    for definition in &history.definitions {
        let symbols = &mut machine.state.symbols;
        let (name, version) = (symbols.intern(&definition.name), symbols.intern(&definition.version));
        let hash = hash_of(&definition.hash)
            .ok_or_else(|| HistoryError::Format(format!("{} is no address of a definition", definition.hash)))?;
        let workflows = &mut machine.state.tenants.entry(tenant).or_default().workflows;
        let definition: Arc<[u8]> = definition.definition.into();
        let version = Version { version, hash, definition, registered_ns: 0, derived: None };
        workflows.entry(name).or_default().versions.push(version);
    }
    for record in records.iter().take(count) {
        fold::fold(&mut machine.state, record)?;
    }
    if let Some(slot) = records.first().and_then(|first| machine.state.find(&first.header.run_id)) {
        keeps_nothing(&mut machine, slot);
    }
    machine.recovered();
    machine.actions.clear();
    Ok(machine)
}

/// What a run keeps of the one that it replays stands in its own records: it waits for no others.
fn keeps_nothing(machine: &mut Machine, slot: u32) {
    if let Some(run) = machine.state.run_mut(slot).filter(|run| run.keeps_results()) {
        run.frozen = Some(Box::default());
    }
}

fn hash_of(address: &str) -> Option<[u8; 32]> {
    let digits = address.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn has_composite(definition: &[u8]) -> bool {
    let compiled = apex_ir::compile(definition, None, &apex_ir::Limits::default());
    compiled.is_ok_and(|ir| ir.nodes.iter().any(|node| matches!(node.kind, Kind::Composite { .. })))
}

struct Driver<'h> {
    machine: Machine,
    history: &'h History<'h>,
    records: &'h [Record<'h>],
    decided: u64,
}

impl<'h> Driver<'h> {
    /// No composite node started the run, and it has none; no key and no turn at a tool was wanted: what those decide,
    /// other runs and the registry decide, too. And it is recorded in full: a fast run does not say what was decided on.
    /// Reads every record.
    fn is_alone(&self) -> Result<bool, HistoryError> {
        let (mut is_alone, mut workflow) = (true, "");
        for at in 0..self.records.len() {
            is_alone &= match self.event(at)? {
                Event::RunStarted(e) => {
                    workflow = e.workflow;
                    e.parent_run.is_empty() && e.fidelity != "fast" && !self.has_composite(workflow, e.version)
                }
                Event::RunMigrated(e) => !self.has_composite(workflow, e.version),
                // The word may stand for something else; then less is decided anew than could be.
                Event::PatchApplied(e) => !e.operations.0.windows(COMPOSITE.len()).any(|part| part == COMPOSITE),
                Event::LockAcquired(_) => false,
                // For a turn at a tool.
                Event::TimerStarted(e) => e.timer != "rate",
                Event::ToolCallRequested(e) => e.rate_interval_ns.0 == 0,
                _ => true,
            };
        }
        Ok(is_alone)
    }

    fn has_composite(&self, workflow: &str, version: &str) -> bool {
        let mut definitions = self.history.definitions.iter();
        let its = definitions.find(|one| one.name == workflow && one.version == version);
        its.is_some_and(|its| has_composite(its.definition))
    }

    fn all(&mut self) -> Result<(), HistoryError> {
        let never_handed_out = self.never_handed_out()?;
        let mut at = 0;
        while let Some(record) = self.records.get(at) {
            if at > 0 && record.header.term != self.records[at - 1].header.term {
                self.machine = begun(self.history, self.records, at)?;
            }
            let machine = &mut self.machine;
            (machine.now, machine.count, machine.sealed) = (record.header.time_ns, 0, 0);
            machine.out.clear();
            // What other runs did to a breaker stands in their records; what came of it stands in this run's.
            machine.state.breakers = Default::default();
            let event = self.event(at)?;
            let from_outside = self.answer(record, &event);
            if let (false, Some(slot)) = (from_outside, self.machine.state.find(&record.header.run_id)) {
                self.machine.go_on_to(slot, &event);
            }
            let made = std::mem::take(&mut self.machine.out);
            let mut bodies = split_records(&made).unwrap_or_default();
            bodies.retain(|body| Header::parse(body).is_ok_and(|made| made.run_id == record.header.run_id));
            if bodies.is_empty() {
                return Err(self.differs(at, "nothing".into()));
            }
            for (n, body) in bodies.iter().enumerate() {
                // A crash may have kept only the first of them; the process then went on from there.
                let is_kept = n == 0 || self.records.get(at).is_some_and(|next| next.header.term == record.header.term);
                if !is_kept {
                    break;
                }
                self.compare(at, body)?;
                self.decided += u64::from(n > 0 || !from_outside);
                at += 1;
            }
            self.hand_out(&never_handed_out);
        }
        Ok(())
    }

    fn event(&self, at: usize) -> Result<Event<'h>, HistoryError> {
        let Record { header, payload, .. } = self.records[at];
        Event::decode(header.event_type, header.event_version, payload)
            .map_err(|error| HistoryError::Record { offset: header.run_seq, reason: error.to_string() })
    }

    /// Jobs (instance and attempt) that were taken back before any executor saw them. One that was in flight when the
    /// process ended was seen.
    fn never_handed_out(&self) -> Result<BTreeSet<(&'h str, u32)>, HistoryError> {
        let mut found = BTreeSet::new();
        let mut requested = BTreeMap::new();
        for (at, record) in self.records.iter().enumerate() {
            match self.event(at)? {
                Event::ToolCallRequested(e) => {
                    requested.insert((e.node, e.attempt), record.header.term);
                }
                Event::ToolResultReceived(e) if is_taken_back(&e) && !e.unknown.0 => {
                    let job = (e.node, e.attempt);
                    if requested.get(&job) == Some(&record.header.term) {
                        found.insert(job);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The jobs just recorded go to executors, but for those that were taken back before.
    fn hand_out(&mut self, never: &BTreeSet<(&str, u32)>) {
        while let Some((_, action)) = self.machine.actions.pop_front() {
            let Action::Job(id) = action else { continue };
            let Some(job) = self.machine.jobs.get(id).copied() else { continue };
            let Some(run) = self.machine.state.run(job.run) else { continue };
            let path = run.node_path(&self.machine.state.symbols, job.scope, job.slot);
            let is_seen = job.compensation || !never.contains(&(path.as_str(), job.attempt));
            if let Some(job) = self.machine.jobs.get_mut(id) {
                job.released = is_seen;
            }
        }
    }

    /// Does what came from outside. `false`: the record is none of that, the run must decide it by itself.
    fn answer(&mut self, record: &Record<'h>, event: &Event<'h>) -> bool {
        let machine = &mut self.machine;
        let Some(slot) = machine.state.find(&record.header.run_id) else {
            return match event {
                Event::RunStarted(e) => {
                    self.start(record, e);
                    true
                }
                Event::GoalReceived(_) => {
                    let Header { run_id, tenant, correlation, .. } = record.header;
                    machine.emit_first(run_id, tenant, correlation, event);
                    true
                }
                _ => false,
            };
        };
        match event {
            Event::RunStarted(e) => self.start(record, e),
            // What was taken over from another run is not decided here.
            Event::ToolResultReceived(e) if e.copied.0 => self.accept(slot, event, e.node, record.header.causation),
            Event::TimerFired(e) if e.copied.0 => self.accept(slot, event, e.node, record.header.causation),
            Event::ApprovalResolved(e) if e.copied.0 => self.accept(slot, event, e.node, record.header.causation),
            Event::PlanGenerated(_)
            | Event::RunCancelled(_)
            | Event::RunPaused(_)
            | Event::RunResumed(_)
            | Event::HeartbeatRecorded(_)
            | Event::PatchProposed(_)
            | Event::PatchRejected(_)
            | Event::CheckpointCreated(_) => {
                machine.emit(slot, event, record.header.causation);
            }
            Event::RunMigrated(e) => {
                // Decided anew: what it is refused for today is another decision.
                let command = MigrateRun {
                    tenant: record.header.tenant.to_owned(),
                    run_id: record.header.run_id,
                    selector: Selector::Version(e.version.to_owned()),
                    by: e.by.to_owned(),
                };
                return machine.try_migrate(&command).is_ok();
            }
            Event::PatchApplied(e) => {
                let (Some(program), Ok(operations)) = (machine.ready(slot), read_operations(e.operations.0)) else {
                    return false;
                };
                let Ok(ir) = machine.patched_ir(slot, &operations) else { return false };
                return machine.record_patch(slot, &program, ir, e.clone(), record.header.causation).is_ok();
            }
            Event::PatchRolledBack(e) => {
                let command = RollbackPatch {
                    tenant: record.header.tenant.to_owned(),
                    patch_id: id_of(&record.header.run_id, e.number),
                    reason: e.reason.to_owned(),
                    by: e.by.to_owned(),
                    rules: Arc::new(PatchRules::open()),
                };
                return machine.try_roll_back(&command).is_ok();
            }
            Event::SignalReceived(e) => {
                let signal = Signal { name: e.name, payload: e.payload.0, key: e.idempotency_key, by: e.by };
                return machine.signal(slot, &signal).is_ok();
            }
            Event::ApprovalEscalated(e) => return self.escalated(slot, e.node),
            Event::ToolCallRequested(e) => return self.waited(slot, e.node),
            Event::TimerFired(e) if e.timer == "retry" => return self.waited(slot, e.node),
            Event::ToolResultReceived(e) => return self.result(slot, event, e, record.header.causation),
            Event::CorrectionProposed(e) => return self.proposal(slot, e),
            Event::TimerFired(e) => return self.timer(slot, e.node, e.timer),
            Event::ApprovalResolved(e) => {
                let Some((scope, node_slot)) = self.place(slot, e.node) else { return false };
                let resolution = Resolution {
                    approve: e.decision == "approve",
                    reason: e.reason,
                    by: e.by,
                    edits: (!e.edits.0.is_empty()).then_some(e.edits.0),
                    timed_out: e.timed_out,
                };
                match e.timed_out {
                    true => self.machine.approval_times_out(slot, scope, node_slot),
                    false => self.machine.resolve(slot, scope, node_slot, &resolution),
                }
            }
            Event::NodeRetryScheduled(e) if e.compensation.0 => {
                let fault = e.error.as_ref().map_or_else(
                    || Fault { kind: "".into(), message: "".into() },
                    |error| Fault { kind: error.r#type.into(), message: error.message.into() },
                );
                machine.end_compensation(slot, Ended { status: "error", result: Err(fault), retryable: true });
            }
            Event::CompensationRequested(e) if e.attempt > 1 => machine.compensate_again(slot),
            Event::CompensationCompleted(e) => {
                let Some(failing) = machine.state.run(slot).and_then(|run| run.failing.as_ref()) else { return false };
                let step = failing.steps.as_ref().and_then(|steps| steps.get(failing.settled as usize));
                let is_expired = e.error.as_ref().is_some_and(|error| error.message == OUT_OF_TIME);
                if is_expired || step.is_none_or(|step| step.phase != StepPhase::InFlight) {
                    return false;
                }
                let result = match &e.error {
                    Some(error) => Err(Fault { kind: error.r#type.into(), message: error.message.into() }),
                    None => Ok(Vec::new()),
                };
                machine.end_compensation(slot, Ended { status: "", result, retryable: false });
            }
            Event::WorkflowFailed(e)
                if e.error.as_ref().is_some_and(|error| {
                    // Said of a run whose definition could not be read, or whose start was cut off.
                    [code::DEFINITION_UNREADABLE, code::START_INTERRUPTED].contains(&error.code)
                }) =>
            {
                machine.emit(slot, event, record.header.causation);
            }
            _ => return false,
        }
        true
    }

    /// A start is a command: what follows from the definition alone is looked at again.
    fn start(&mut self, record: &Record<'h>, e: &RunStarted<'h>) {
        let machine = &mut self.machine;
        let Header { run_id, tenant, correlation, causation, .. } = record.header;
        let symbols = &mut machine.state.symbols;
        let (tenant_sym, workflow, version) =
            (symbols.intern(tenant), symbols.intern(e.workflow), symbols.intern(e.version));
        let layers = e.overlay.iter().map(|layer| layer.operations.0.into()).collect();
        let basis = Basis { tenant: tenant_sym, workflow, version, ir_hash: e.ir_hash.0, layers };
        let Ok(program) = machine.program_of(&basis) else { return };
        let due = program.ir.timeout_ns.map_or(0, |timeout| machine.now.saturating_add(timeout).max(1));
        let event = Event::RunStarted(RunStarted {
            nodes_total: program.ir.graphs[0].nodes.len() as u32,
            due: crate::event::wire::Time(due),
            ..e.clone()
        });
        let touched = match machine.state.find(&run_id) {
            Some(slot) => machine.emit(slot, &event, causation),
            None => machine.emit_first(run_id, tenant, correlation, &event),
        };
        keeps_nothing(machine, touched.run);
    }

    /// The outcome of a job, or the end of the time for an approval or a signal that then fails.
    fn result(&mut self, slot: u32, event: &Event<'h>, e: &ToolResultReceived<'h>, causation: u64) -> bool {
        if self.was_sent(slot, e) {
            self.accept(slot, event, e.node, causation);
            return true;
        }
        let Some((scope, node_slot)) = self.place(slot, e.node) else {
            if is_shut_out(e) {
                self.accept(slot, event, e.node, causation);
            }
            return is_shut_out(e);
        };
        let machine = &mut self.machine;
        let Some(node) = machine.state.run(slot).and_then(|run| run.node(scope, node_slot)) else { return false };
        match &node.wait {
            Wait::Approval(_) if e.status == "timeout" => machine.approval_times_out(slot, scope, node_slot),
            Wait::Signal(awaited) if e.status == "timeout" && awaited.due <= machine.now => {
                machine.signal_times_out(slot, scope, node_slot);
            }
            Wait::Job(flight) if node.attempt == e.attempt && !is_taken_back(e) => {
                let (job, is_correction) = (flight.job, flight.kind == JobKind::Correction);
                let status = ["ok", "error", "timeout", "cancelled"].into_iter().find(|status| *status == e.status);
                let result = match &e.error {
                    Some(error) => Err(Fault { kind: error.r#type.into(), message: error.message.into() }),
                    None => Ok(e.output.0.to_vec()),
                };
                // The reason stands behind the error that the model was asked about.
                let result = result.map_err(|fault: Fault| match fault.message.rsplit_once(NO_CORRECTION) {
                    Some((_, why)) if is_correction => {
                        Fault { message: why.strip_suffix(')').unwrap_or(why).into(), ..fault }
                    }
                    _ => fault,
                });
                machine.jobs.remove(job);
                let retryable = (e.retry.0 && !e.correct.0) || e.health == "failed";
                let ended = Ended { status: status.unwrap_or_default(), result, retryable };
                machine.end_attempt(slot, scope, node_slot, ended);
            }
            Wait::Nothing | Wait::Retry { .. } if is_shut_out(e) => self.accept(slot, event, e.node, causation),
            // The time of all attempts was over when the next one was to begin.
            Wait::Retry { .. } if e.status == "timeout" => machine.try_again(slot, scope, node_slot),
            _ => return false,
        }
        true
    }

    /// A node signalled another run: what that said stands there.
    fn was_sent(&mut self, slot: u32, e: &ToolResultReceived<'h>) -> bool {
        let is_answer = e.error.as_ref().map_or(e.status == "ok", |error| error.r#type == kind::SIGNAL_REFUSED);
        let Some(program) = self.machine.ready(slot) else { return false };
        let symbol = self.machine.state.symbols.find(split_path(e.node).1);
        let node = symbol.and_then(|symbol| program.ix(symbol)).map(|ix| &program.ir.nodes[ix as usize].kind);
        is_answer && matches!(node, Some(Kind::Signal { send: Some(_), .. }))
    }

    /// A record that follows from other runs: it is folded as it is, and what comes of it is decided.
    fn accept(&mut self, slot: u32, event: &Event<'h>, node: &str, causation: u64) {
        let Some(program) = self.machine.ready(slot) else { return };
        let begins = self.place(slot, node).is_none();
        let machine = &mut self.machine;
        let touched = machine.emit(slot, event, causation);
        let Some(node) = machine.state.run(slot).and_then(|run| run.node(touched.scope, touched.slot)) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        if node.status != Status::Open {
            machine.settle(slot, &program, touched.scope, touched.slot, ix);
        } else {
            machine.note_slot(slot, &program, touched.scope, touched.slot, ix);
            if let Some(run) = machine.state.run_mut(slot) {
                run.work.push_back(Work::Retry { scope: touched.scope, slot: touched.slot });
            }
        }
        if begins {
            machine.take_back_rest(&program, At { slot, scope: touched.scope, ix, cause: causation });
        }
    }

    /// The model proposed another input.
    fn proposal(&mut self, slot: u32, e: &CorrectionProposed<'h>) -> bool {
        let Some((scope, node_slot)) = self.place(slot, e.node) else { return false };
        let machine = &mut self.machine;
        let wait = machine.state.run(slot).and_then(|run| run.node(scope, node_slot)).map(|node| &node.wait);
        let Some(Wait::Job(flight)) = wait else { return false };
        let job = flight.job;
        let mut answer = b"{\"input\":".to_vec();
        answer.extend_from_slice(e.input.0);
        answer.extend_from_slice(b",\"reason\":");
        write_json_str(e.reason, &mut answer);
        answer.push(b'}');
        machine.jobs.remove(job);
        machine.end_attempt(slot, scope, node_slot, Ended { status: "ok", result: Ok(answer), retryable: false });
        true
    }

    /// Time is up for a retry of this node. `false`: it waits for none.
    fn waited(&mut self, slot: u32, node: &str) -> bool {
        let Some((scope, node_slot)) = self.place(slot, node) else { return false };
        let Some(run) = self.machine.state.run(slot) else { return false };
        match run.node(scope, node_slot).map(|node| &node.wait) {
            Some(&Wait::Retry { due, .. }) if due > 0 && due <= self.machine.now => {
                let timer = Timer { due, run: run.id, kind: TimerKind::Retry, scope, slot: node_slot };
                self.machine.elapse(slot, &timer);
                true
            }
            _ => false,
        }
    }

    /// It is time to ask others as well. `false`: it is not.
    fn escalated(&mut self, slot: u32, node: &str) -> bool {
        let Some((scope, node_slot)) = self.place(slot, node) else { return false };
        let machine = &mut self.machine;
        let wait = machine.state.run(slot).and_then(|run| run.node(scope, node_slot)).map(|node| &node.wait);
        let is_due = |due: i64| due > 0 && due <= machine.now;
        if !matches!(wait, Some(Wait::Approval(asked)) if is_due(asked.escalate_due)) {
            return false;
        }
        machine.escalate(slot, scope, node_slot);
        true
    }

    /// Time is up for a timer node or a signal, for the run or for its compensation.
    fn timer(&mut self, slot: u32, node: &str, timer: &str) -> bool {
        let Some(run) = self.machine.state.run(slot) else { return false };
        let (due, kind, scope, node_slot) = match timer {
            "run" => (run.due, TimerKind::Run, ROOT, NO_SLOT),
            "compensation" => {
                let due = run.failing.as_ref().map_or(0, |failing| failing.due);
                (due, TimerKind::Compensation, ROOT, NO_SLOT)
            }
            _ => {
                let Some((scope, node_slot)) = self.place(slot, node) else { return false };
                match run.node(scope, node_slot).map(|node| &node.wait) {
                    Some(Wait::Timer { due }) => (*due, TimerKind::Node, scope, node_slot),
                    Some(Wait::Signal(awaited)) => (awaited.due, TimerKind::Signal, scope, node_slot),
                    _ => return false,
                }
            }
        };
        if due > self.machine.now {
            return false;
        }
        self.machine.elapse(slot, &Timer { due, run: run.id, kind, scope, slot: node_slot });
        true
    }

    /// Where a node that was touched stands.
    fn place(&self, slot: u32, path: &str) -> Option<(u32, u32)> {
        let state = &self.machine.state;
        let run = state.run(slot)?;
        let (scope_path, id) = split_path(path);
        let scope = find_scope(run, &state.symbols, scope_path)?;
        Some((scope, run.scope(scope)?.find(state.symbols.find(id)?)?))
    }

    fn compare(&self, at: usize, body: &[u8]) -> Result<(), HistoryError> {
        let Some(record) = self.records.get(at) else { return Ok(()) };
        let wrong = |error: crate::error::BadRecord| HistoryError::Record {
            offset: record.header.run_seq,
            reason: error.to_string(),
        };
        let (header, payload) = Header::split(body).map_err(wrong)?;
        let decided = Event::decode(header.event_type, header.event_version, payload).map_err(wrong)?;
        let is_same = header.epoch == record.header.epoch
            && header.causation == record.header.causation
            && header.flags == record.header.flags
            && of_no_limit(decided.clone()) == of_no_limit(self.event(at)?);
        if is_same { Ok(()) } else { Err(self.differs(at, shown(&header, &decided))) }
    }

    fn differs(&self, at: usize, decided: String) -> HistoryError {
        let header = &self.records[at].header;
        let recorded = match self.event(at) {
            Ok(event) => shown(header, &event),
            Err(error) => error.to_string(),
        };
        HistoryError::Differs(Box::new(Difference { offset: header.run_seq, recorded, decided }))
    }
}

/// The engine itself ended this attempt.
fn is_taken_back(e: &ToolResultReceived<'_>) -> bool {
    e.status == "cancelled" && e.error.as_ref().is_some_and(|error| NEVER_HANDED_OUT.contains(&error.message))
}

/// An open breaker answered instead of the tool.
fn is_shut_out(e: &ToolResultReceived<'_>) -> bool {
    e.fallback.0 || e.error.as_ref().is_some_and(|error| error.r#type == kind::CIRCUIT_OPEN)
}

/// The event without what limits of the process made of it.
fn of_no_limit(mut event: Event<'_>) -> Event<'_> {
    match &mut event {
        Event::WorkflowCompleted(e) => (e.key_expires.0, e.ended_max) = (0, 0),
        Event::WorkflowFailed(e) => (e.key_expires.0, e.ended_max) = (0, 0),
        Event::DeadLettered(e) => e.letters_max = Default::default(),
        Event::ToolResultReceived(e) => e.cached_max = Default::default(),
        _ => {}
    }
    event
}

/// Type, payload and cause, for people.
fn shown(header: &Header<'_>, event: &Event<'_>) -> String {
    let mut payload = Vec::new();
    event.render(&mut payload);
    let payload = String::from_utf8_lossy(&payload);
    let cause = match header.causation {
        crate::record::NONE => String::new(),
        offset => format!(" because of record {offset}"),
    };
    format!("{} {payload}{cause}", event::name(header.event_type).unwrap_or("an event"))
}
