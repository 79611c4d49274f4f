//! A failing run: jobs in flight end, then what completed is undone, newest first, one at a time; then it has failed.

use crate::error::kind;
use crate::event::Event;
use crate::event::failure::NodeError;
use crate::event::node::{NodeRetryScheduled, ToolResultReceived};
use crate::event::run::{StepResult, WorkflowFailed};
use crate::event::saga::{CompensationCompleted, CompensationPlanned, CompensationRequested};
use crate::event::wire::{Flag, Json, List, Time};
use crate::id::RunId;
use crate::machine::{Action, Machine};
use crate::partition::jobs::InFlight;
use crate::partition::program::Program;
use crate::run::result::Ended;
use crate::run::retry::delay_ns;
use crate::run::routing::lay;
use crate::run::scope::View;
use crate::run::timer::timed_out;
use crate::run::visit::Progress;
use crate::run::work::Work;
use crate::state::run::{Fault, Node, ROOT, Run, RunError, Status, Step, StepPhase, Wait};
use crate::state::symbols::{Sym, Symbols};
use std::borrow::Cow;
use std::sync::Arc;

/// Why a job that nobody executes is ended in a failing run.
pub(crate) const FAILING: &str = "the run is failing";
/// Why what is left of a compensation is given up.
pub(crate) const OUT_OF_TIME: &str = "compensation took longer than its workflow allows";

/// How the undoing of one node went.
pub(crate) struct Undone {
    pub(crate) step: String,
    pub(crate) error: Option<Fault>,
}

impl Machine {
    /// The next thing that a failing run does.
    pub(crate) fn fail_on(&mut self, slot: u32, program: &Program) -> Progress {
        let Some(run) = self.state.run_mut(slot) else { return Progress::Idle };
        if !run.cancels_sent {
            run.cancels_sent = true;
            run.work.clear();
            for at in 0..run.scopes.len() {
                let Some(scope) = &run.scopes[at] else { continue };
                let is_flying = |node: &Node| matches!(node.wait, Wait::Job(_) | Wait::Child(_));
                let flying = scope.nodes.iter().enumerate().filter(|(_, node)| is_flying(node));
                let stops = flying.map(|(node, _)| Work::Stop { scope: at as u32, slot: node as u32 });
                run.work.extend(stops);
            }
            return Progress::Did;
        }
        if let Some(work) = run.work.pop_front() {
            if let Work::Stop { scope, slot: node_slot } = work {
                self.stop(slot, program, scope, node_slot);
            }
            return Progress::Did;
        }
        let Some(run) = self.state.run(slot) else { return Progress::Idle };
        let Some(failing) = &run.failing else { return Progress::Idle };
        let Some(steps) = &failing.steps else {
            if run.in_flight > 0 || run.has_ending() {
                return Progress::Idle;
            }
            self.propose(slot, program, None);
            return Progress::Did;
        };
        let Some(step) = steps.get(failing.settled as usize) else {
            let undone: Vec<Undone> = steps
                .iter()
                .map(|step| Undone {
                    step: run.step_path(&self.state.symbols, step),
                    error: (step.phase != StepPhase::Done).then(|| match &step.error {
                        Some(error) => (**error).clone(),
                        None => Fault { kind: kind::CANCELLED.into(), message: "it was given up".into() },
                    }),
                })
                .collect();
            let error = failing.error.clone();
            self.fail_run(slot, error, &undone);
            return Progress::Did;
        };
        if failing.expired {
            let job = step.flight.as_ref().map_or(0, |flight| flight.job);
            self.drop_job(job);
            let fault = Fault { kind: kind::TIMEOUT.into(), message: OUT_OF_TIME.into() };
            self.settle_step(slot, Some(&fault));
            return Progress::Did;
        }
        match step.phase {
            StepPhase::Ahead => {
                self.undo(slot, program);
                Progress::Did
            }
            _ => Progress::Idle,
        }
    }

    /// One job or child of a failing run: it is asked to end, and waited for. One that nobody executes is ended here.
    fn stop(&mut self, slot: u32, program: &Program, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let Wait::Job(flight) = &node.wait else { return self.stop_child(slot, scope, node_slot) };
        let job = flight.job;
        if self.jobs.get(job).is_some_and(|job| job.released) {
            self.actions.push_back((self.decided(), Action::Cancel(job)));
            return;
        }
        // Job 0: it was in flight when the process ended, so it may have happened. Else it was never handed out.
        let unknown = node.is_writing() && job == 0;
        let Some(ix) = program.ix(node.sym) else { return };
        let path = run.path(scope, &program.ir.nodes[ix as usize].id);
        let (attempt, cause) = (node.attempt, node.requested_seq);
        self.jobs.remove(job);
        let fault = Fault { kind: kind::CANCELLED.into(), message: FAILING.into() };
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            attempt,
            status: "cancelled",
            error: Some(fault.event()),
            unknown: Flag(unknown),
            ..ToolResultReceived::default()
        });
        self.emit(slot, &event, cause);
        self.leave_section(slot, scope, node_slot);
    }

    /// Says what will be undone, in which order; a run with nothing to undo has failed. `error`: the run was not failing
    /// until now.
    pub(crate) fn propose(&mut self, slot: u32, program: &Program, error: Option<RunError>) {
        let Some(run) = self.state.run(slot) else { return };
        let compensate = run.failing.as_ref().is_none_or(|failing| failing.compensate);
        let steps = if compensate { run.to_undo(&self.state.symbols) } else { Vec::new() };
        if steps.is_empty() {
            let error = error.or_else(|| run.failing.as_ref().map(|failing| failing.error.clone()));
            if let Some(error) = error {
                self.fail_run(slot, error, &[]);
            }
            return;
        }
        let due = program.ir.compensation_timeout_ns.map_or(0, |timeout| self.now.saturating_add(timeout));
        let cause = run.next_seq.wrapping_sub(1);
        let event = Event::CompensationPlanned(CompensationPlanned {
            error: error.as_ref().map(RunError::event),
            steps: steps.iter().map(String::as_str).collect(),
            due: Time(due),
        });
        self.emit(slot, &event, cause);
        if let Some(run) = self.state.run_mut(slot) {
            run.cancels_sent = true;
            run.work.clear();
        }
    }

    /// Requests the undoing of the step it is at.
    fn undo(&mut self, slot: u32, program: &Program) {
        // Out of time, what is left is given up: a retry that falls due before that is said asks for nothing.
        if self.state.run(slot).is_none_or(Run::is_out_of_time) {
            return;
        }
        let of_child = match self.program_of_step(slot) {
            Ok(program) => program,
            Err(reason) => {
                let message = format!("the definition no longer compiles: {reason}").into();
                let fault = Fault { kind: kind::WORKFLOW_NOT_FOUND.into(), message };
                self.settle_step(slot, Some(&fault));
                return;
            }
        };
        let program = of_child.as_deref().unwrap_or(program);
        let Some(run) = self.state.run(slot) else { return };
        let Some(step) = run.step() else { return };
        let cause = run.next_seq.wrapping_sub(1);
        let Some(inner) = run.within(&step.within) else { return };
        let Some(node) = inner.node(step.scope, step.slot) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        let definition = &program.ir.nodes[ix as usize];
        let Some(compensation) = &definition.compensation else {
            let message = "the definition has no compensation for it any more";
            let fault = Fault { kind: kind::CANCELLED.into(), message: message.into() };
            self.settle_step(slot, Some(&fault));
            return;
        };
        let rendered = match &step.flight {
            Some(flight) => Ok(Cow::Owned(flight.input.to_vec())),
            None => {
                let view = View::new(inner, program, step.scope);
                let rendered = compensation.input.render(&view, &mut self.budget());
                rendered.and_then(|input| self.bounded(input)).map(Cow::<[u8]>::Owned)
            }
        };
        let input = match rendered {
            Ok(input) => input,
            Err(error) => {
                let fault = Fault { kind: kind::EXPRESSION_FAILED.into(), message: error.message.into() };
                self.settle_step(slot, Some(&fault));
                return;
            }
        };
        let path = run.step_path(&self.state.symbols, step);
        let attempt = step.attempt + 1;
        let cause = if step.within.is_empty() { node.decided_seq } else { cause };
        let event = Event::CompensationRequested(CompensationRequested {
            node: &path,
            attempt,
            max_attempts: compensation.retry.attempts_max(),
            name: &compensation.name,
            input: Json(&input),
            timeout_ns: compensation.timeout_ns.unwrap_or(0),
        });
        self.emit(slot, &event, cause);
        if attempt == 1 {
            self.tally.compensations += 1;
        }
        self.make_step_job(slot);
    }

    /// Puts the job of the step it is at into the table, and its release behind the record.
    fn make_step_job(&mut self, slot: u32) {
        let position = self.decided();
        let Some(run) = self.state.run_mut(slot) else { return };
        let run_id = run.id;
        let Some((step, number)) = run.step_mut() else { return };
        let attempt = step.attempt;
        let Some(flight) = &mut step.flight else { return };
        flight.job = self.jobs.add(InFlight {
            run: slot,
            run_id,
            scope: ROOT,
            slot: number,
            attempt,
            compensation: true,
            released: false,
        });
        self.actions.push_back((position, Action::Job(flight.job)));
    }

    /// An attempt to undo ended: done, tried again, or given up.
    pub(crate) fn end_compensation(&mut self, slot: u32, ended: Ended) {
        let Some(program) = self.ready(slot) else { return };
        let program = self.program_of_step(slot).ok().flatten().unwrap_or(program);
        let Some(run) = self.state.run(slot) else { return };
        let Some(step) = run.step().filter(|step| step.phase == StepPhase::InFlight) else { return };
        let Err(fault) = ended.result else {
            self.settle_step(slot, None);
            return;
        };
        let policy = run
            .within(&step.within)
            .and_then(|inner| inner.node(step.scope, step.slot))
            .and_then(|node| program.ix(node.sym))
            .and_then(|ix| program.ir.nodes[ix as usize].compensation.as_ref())
            .map(|compensation| &compensation.retry);
        let attempt = step.attempt;
        let again =
            policy.filter(|policy| ended.retryable && !run.is_out_of_time() && policy.goes_on(&fault.kind, attempt));
        let Some(policy) = again else {
            self.settle_step(slot, Some(&fault));
            return;
        };
        let path = run.step_path(&self.state.symbols, step);
        let delay = delay_ns(policy.of(&fault.kind), &run.id, &format!("{path}/undo"), attempt);
        let cause = run.next_seq.wrapping_sub(1);
        let event = Event::NodeRetryScheduled(NodeRetryScheduled {
            node: &path,
            attempt: attempt + 1,
            due: Time(self.now.saturating_add(delay).max(1)),
            compensation: Flag(true),
            error: Some(fault.event()),
        });
        self.emit(slot, &event, cause);
        self.tally.retries += 1;
    }

    /// An attempt to undo took too long.
    pub(crate) fn compensation_times_out(&mut self, slot: u32, number: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let is_current = run.failing.as_ref().is_some_and(|failing| failing.settled == number);
        let Some(flight) = run.step().filter(|_| is_current).and_then(|step| step.flight.as_ref()) else { return };
        let (job, after) = (flight.job, flight.timeout_ns);
        self.drop_job(job);
        self.end_compensation(slot, timed_out(after));
    }

    /// It is time to try again.
    pub(crate) fn compensate_again(&mut self, slot: u32) {
        if let Some(program) = self.ready(slot) {
            self.undo(slot, &program);
        }
    }

    fn settle_step(&mut self, slot: u32, fault: Option<&Fault>) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(step) = run.step() else { return };
        let path = run.step_path(&self.state.symbols, step);
        let (attempt, cause) = (step.attempt, run.next_seq.wrapping_sub(1));
        let event = Event::CompensationCompleted(CompensationCompleted {
            node: &path,
            attempt,
            success: fault.is_none(),
            error: fault.map(Fault::event),
        });
        self.emit(slot, &event, cause);
    }

    /// The program of the step that it is at, where that is of a child.
    fn program_of_step(&mut self, slot: u32) -> Result<Option<Arc<Program>>, String> {
        let Some(run) = self.state.run(slot) else { return Ok(None) };
        let Some(within) = run.step().map(|step| step.within.clone()).filter(|within| !within.is_empty()) else {
            return Ok(None);
        };
        let Some(child) = run.within(&within) else { return Ok(None) };
        if let Some(program) = &child.program {
            return Ok(Some(program.clone()));
        }
        let basis = child.basis();
        let program = self.program_of(&basis)?;
        if let Some(child) = self.state.run_mut(slot).and_then(|run| run.within_mut(&within)) {
            lay(&mut child.scopes, &program);
            child.program = Some(program.clone());
        }
        Ok(Some(program))
    }

    /// Records the end of a run that failed.
    pub(crate) fn fail_run(&mut self, slot: u32, error: RunError, undone: &[Undone]) {
        self.tell_parent(slot, Err(&error));
        let Some(run) = self.state.run(slot) else { return };
        let (run_id, cause) = (run.id, run.next_seq.wrapping_sub(1));
        // All results stand in one record: where they are many, each may say only so much (their own events say all).
        let share = (self.config.limits.record_bytes_max / 8 / undone.len().max(1)).max(8);
        let results = undone.iter().map(|undone| StepResult {
            step_id: &undone.step,
            success: undone.error.is_none(),
            error: undone
                .error
                .as_ref()
                .map(|fault| NodeError { r#type: head(&fault.kind, share), message: head(&fault.message, share) }),
        });
        let event = Event::WorkflowFailed(WorkflowFailed {
            error: Some(error.event()),
            compensation_executed: !undone.is_empty(),
            compensation_results: List(results.collect()),
            key_expires: Time(self.key_expires()),
            ended_max: self.config.limits.runs_ended_max,
        });
        self.emit(slot, &event, cause);
        self.note_end(run_id);
    }
}

/// As much of a text as fits.
fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// What one step takes of the records that name all of them, beside its path.
const STEP_BYTES: usize = 40;

impl Machine {
    /// One more node to undo would make the records that name all of them larger than a record may be.
    pub(crate) fn over_undo_bytes(&self, slot: u32, path: &str) -> Option<Fault> {
        let max = self.config.limits.record_bytes_max / 2;
        let bytes = self.state.run(slot).map_or(0, |run| run.undo_bytes);
        (bytes + path.len() + STEP_BYTES > max).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("the run has more to undo than one record can name (record_bytes_max / 2 is {max})")
                .into(),
        })
    }
}

impl Run {
    /// A node that may have to be undone was requested for the first time.
    pub(crate) fn count_undo(&mut self, path: &str) {
        self.undo_bytes += path.len() + STEP_BYTES;
    }

    /// Counts all of them, where the state was read and not folded.
    pub(crate) fn recount_undo(&mut self, symbols: &Symbols) {
        let mut bytes = 0;
        for (at, scope) in self.scopes.iter().enumerate() {
            for node in scope.iter().flat_map(|scope| &scope.nodes) {
                if node.compensation != Sym::EMPTY {
                    bytes += self.path(at as u32, symbols.name(node.sym)).len() + STEP_BYTES;
                }
            }
        }
        for (path, child) in self.extra.iter().flat_map(|extra| &extra.completed) {
            bytes += child.run.bytes_to_undo(symbols, path.len());
        }
        self.undo_bytes = bytes;
    }

    /// What its steps take of the records of the run above it, whose node has a path of so many bytes.
    pub(crate) fn bytes_to_undo(&self, symbols: &Symbols, prefix: usize) -> usize {
        self.to_undo(symbols).iter().map(|step| prefix + 1 + step.len() + STEP_BYTES).sum()
    }

    /// Paths of what is to be undone, newest first; what a child did stands where the child ended.
    pub(crate) fn to_undo(&self, symbols: &Symbols) -> Vec<String> {
        let mut found: Vec<(u64, String, Option<&Run>)> = Vec::new();
        for (scope_ix, scope) in self.scopes.iter().enumerate() {
            for (slot, node) in scope.iter().flat_map(|scope| scope.nodes.iter().enumerate()) {
                if node.to_undo() {
                    found.push((node.decided_seq, self.node_path(symbols, scope_ix as u32, slot as u32), None));
                }
            }
        }
        for (path, child) in self.extra.iter().flat_map(|extra| &extra.completed) {
            found.push((child.seq, path.to_string(), Some(&child.run)));
        }
        found.sort_unstable_by_key(|&(seq, ..)| std::cmp::Reverse(seq));
        let mut steps = Vec::with_capacity(found.len());
        for (_, path, child) in found {
            match child {
                None => steps.push(path),
                // Runs stand in each other `depth_max` deep at most.
                Some(child) => steps.extend(child.to_undo(symbols).iter().map(|step| format!("{path}/{step}"))),
            }
        }
        steps
    }

    /// Itself, or a child that completed: see `Step::within`.
    pub(crate) fn within(&self, path: &str) -> Option<&Run> {
        let mut run = self;
        for node in path.split('/').filter(|node| !node.is_empty()) {
            run = &run.extra.as_ref()?.completed.get(node)?.run;
        }
        Some(run)
    }

    fn within_mut(&mut self, path: &str) -> Option<&mut Run> {
        let mut run = self;
        for node in path.split('/').filter(|node| !node.is_empty()) {
            run = &mut run.extra.as_mut()?.completed.get_mut(node)?.run;
        }
        Some(run)
    }

    /// The path of a step, as records have it.
    pub(crate) fn step_path(&self, symbols: &Symbols, step: &Step) -> String {
        let Some(inner) = self.within(&step.within) else { return String::new() };
        let path = inner.node_path(symbols, step.scope, step.slot);
        if step.within.is_empty() { path } else { format!("{}/{path}", step.within) }
    }

    /// Children that are waited for, or about to end.
    pub(crate) fn children(&self) -> Vec<RunId> {
        let nodes = self.scopes.iter().flatten().flat_map(|scope| &scope.nodes);
        let awaited = nodes.filter_map(|node| match &node.wait {
            Wait::Child(child) => Some(child.run),
            _ => None,
        });
        awaited.chain(self.extra.iter().flat_map(|extra| extra.ending.keys().copied())).collect()
    }

    /// Its compensation took longer than it may.
    fn is_out_of_time(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| failing.expired)
    }

    /// The step of the compensation that it is at.
    fn step(&self) -> Option<&crate::state::run::Step> {
        let failing = self.failing.as_ref()?;
        failing.steps.as_ref()?.get(failing.settled as usize)
    }

    fn step_mut(&mut self) -> Option<(&mut crate::state::run::Step, u32)> {
        let failing = self.failing.as_mut()?;
        let number = failing.settled;
        failing.steps.as_mut()?.get_mut(number as usize).map(|step| (step, number))
    }

    /// The instance path of a node that was touched.
    pub(crate) fn node_path(&self, symbols: &crate::state::symbols::Symbols, scope: u32, slot: u32) -> String {
        match self.node(scope, slot) {
            Some(node) => self.path(scope, symbols.name(node.sym)).into_owned(),
            None => String::new(),
        }
    }

    /// Ids of its jobs in flight.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = u64> {
        let nodes = self.scopes.iter().flatten().flat_map(|scope| &scope.nodes);
        let flights = nodes.filter_map(|node| match &node.wait {
            Wait::Job(flight) if node.status == Status::Open => Some(flight.job),
            _ => None,
        });
        flights.chain(self.step().and_then(|step| step.flight.as_ref()).map(|flight| flight.job))
    }
}
