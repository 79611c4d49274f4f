//! A composite: a run of another workflow, in the same partition. The composite node and its child are two runs that
//! know each other's id: what becomes of the child is recorded at the node's run first, and the child looks there what
//! is wanted of it. So after a crash between any two records each of them goes on by what it finds.

use crate::command::{Fidelity, Selector};
use crate::error::{code, kind};
use crate::event::Event;
use crate::event::child::{ChildEnded, ChildStarted};
use crate::event::run::{RunCancelled, RunStarted};
use crate::event::wire::{Amount, Flag, Hash, Json, Time};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::record::NONE;
use crate::run::node::At;
use crate::run::result::Ended;
use crate::run::verdict::{Fails, Verdict};
use crate::run::work::Work;
use crate::state::fold::{find_scope, priority_name};
use crate::state::run::{Fault, Parent, Run, RunError, Wait, split_path};
use crate::state::symbols::Sym;
use apex_ir::expressions::{ExprError, Template};
use apex_ir::ir::Kind;
use sha2::{Digest, Sha256};

/// What is wanted of a child run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It goes on.
    Yes,
    /// Nobody needs its result any more: it ends.
    No { compensate: bool },
    /// The run that started it is set aside: it waits.
    Later,
}

impl Machine {
    /// Starts the child of a composite node, or fails the node.
    pub(crate) fn start_composite(&mut self, program: &Program, at: At, inputs: &Template) -> Result<(), ExprError> {
        let inputs = self.view(program, at, |machine, view| inputs.render(view, &mut machine.budget()))?;
        let inputs = self.bounded(inputs)?;
        self.request_child(program, at, 1, &inputs);
        Ok(())
    }

    /// Records an attempt of a composite node; its child begins as work.
    pub(crate) fn request_child(&mut self, program: &Program, at: At, attempt: u32, inputs: &[u8]) {
        let node = &program.ir.nodes[at.ix as usize];
        let version = match self.check_child(program, at, inputs) {
            Ok(version) => self.state.symbols.name(version).clone(),
            Err(fault) => return self.end_node(program, at, attempt - 1, Err(fault)),
        };
        let Kind::Composite { workflow, .. } = &node.kind else { return };
        let Some(run) = self.state.run(at.slot) else { return };
        let path = run.path(at.scope, &node.id);
        let child = child_id(&run.id, &path, attempt).to_string();
        let event = Event::ChildStarted(ChildStarted {
            node: &path,
            attempt,
            max_attempts: node.retry.max_attempts,
            child: &child,
            workflow,
            version: &version,
            inputs: Json(inputs),
            timeout_ns: node.timeout_ns.unwrap_or(0),
            compensation: node.compensation.as_ref().map_or("", |compensation| &compensation.name),
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        if let Some(run) = self.state.run_mut(at.slot) {
            run.work.push_back(Work::Begin { scope: at.scope, slot: touched.slot });
        }
    }

    /// The version that a child would run, or why it cannot.
    fn check_child(&mut self, program: &Program, at: At, inputs: &[u8]) -> Result<Sym, Fault> {
        let fault = |kind: &str, message: String| Fault { kind: kind.into(), message: message.into() };
        let over = |limit: &str, max: usize| fault(kind::LIMIT_EXCEEDED, format!("over {limit} ({max})"));
        let gone = || fault(kind::CANCELLED, "the run has ended".into());
        let Kind::Composite { workflow, version, tag, .. } = &program.ir.nodes[at.ix as usize].kind else {
            return Err(gone());
        };
        let limits = &self.config.limits;
        let run = self.state.run(at.slot).ok_or_else(gone)?;
        if run.depth() + 1 >= limits.depth_max {
            let message = format!("runs would stand in runs deeper than depth_max ({})", limits.depth_max);
            return Err(fault(kind::LIMIT_EXCEEDED, message));
        }
        if self.state.open_count() >= limits.runs_open_max {
            return Err(over("runs_open_max", limits.runs_open_max));
        }
        if self.state.tenants.get(&run.tenant).is_some_and(|tenant| tenant.open >= limits.runs_open_per_tenant_max) {
            return Err(over("runs_open_per_tenant_max", limits.runs_open_per_tenant_max));
        }
        if inputs.len() > limits.inputs_bytes_max {
            return Err(over("inputs_bytes_max", limits.inputs_bytes_max));
        }
        let selector = match (version, tag) {
            (Some(version), _) => Selector::Version(version.to_string()),
            (None, Some(tag)) => Selector::Tag(tag.to_string()),
            (None, None) => Selector::Latest,
        };
        let tenant = run.tenant;
        let found = self.state.select(self.state.symbols.name(tenant), workflow, &selector);
        let not_there =
            || fault(kind::WORKFLOW_NOT_FOUND, crate::partition::registry::unknown(workflow, &selector).message);
        let version = found.ok_or_else(not_there)?.version;
        let workflow = self.state.symbols.find(workflow).ok_or_else(not_there)?;
        let child = self.program(tenant, workflow, version).map_err(|reason| {
            fault(kind::WORKFLOW_NOT_FOUND, format!("the definition no longer compiles: {reason}"))
        })?;
        child.ir.check_inputs(inputs).map_err(|found| {
            let first = found.first().map_or_else(String::new, |first| format!("{} {}", first.pointer, first.message));
            fault(kind::INPUTS_INVALID, first.trim_start().to_owned())
        })?;
        Ok(version)
    }

    /// The first record of a child that was said to start, unless it is there.
    pub(crate) fn begin_child(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(Wait::Child(child)) = run.node(scope, node_slot).map(|node| &node.wait) else { return };
        if self.state.is_open(&child.run) {
            return;
        }
        let (id, workflow, version, inputs) = (child.run, child.flight.name, child.version, child.flight.input.clone());
        if self.state.ended.contains_key(&id) {
            // Only where the run of the node could not be told, and was set aside until the process started again.
            let fault = Fault { kind: kind::CANCELLED.into(), message: "its child ended unseen".into() };
            self.end_child(slot, scope, node_slot, failed(fault, false), false);
            return;
        }
        let program = match self.program(run.tenant, workflow, version) {
            Ok(program) => program,
            Err(reason) => {
                let message = format!("the definition no longer compiles: {reason}").into();
                let fault = Fault { kind: kind::WORKFLOW_NOT_FOUND.into(), message };
                self.end_child(slot, scope, node_slot, failed(fault, false), false);
                return;
            }
        };
        let Some(run) = self.state.run(slot) else { return };
        let hash = self.state.version(run.tenant, workflow, version).map_or([0; 32], |version| version.hash);
        let parent_run = run.id.to_string();
        let correlation = if run.correlation.is_empty() { parent_run.clone() } else { run.correlation.to_string() };
        let parent_node = run.node_path(&self.state.symbols, scope, node_slot);
        let (tenant, depth, priority, fast) = (run.tenant, run.depth() + 1, run.priority, run.fast);
        let names = |sym| self.state.symbols.name(sym).clone();
        let (tenant, workflow, version) = (names(tenant), names(workflow), names(version));
        let event = Event::RunStarted(RunStarted {
            workflow: &workflow,
            version: &version,
            ir_hash: Hash(hash),
            inputs: Json(&inputs),
            priority: priority_name(priority),
            nodes_total: program.ir.graphs[0].nodes.len() as u32,
            due: Time(program.ir.timeout_ns.map_or(0, |timeout| self.now.saturating_add(timeout).max(1))),
            parent_run: &parent_run,
            parent_node: &parent_node,
            depth: Amount(i64::from(depth)),
            fidelity: if fast { Fidelity::Fast.as_str() } else { "" },
            ..RunStarted::default()
        });
        let child = self.emit_first(id, &tenant, &correlation, &event).run;
        if let Some(run) = self.state.run_mut(child) {
            run.program = Some(program);
        }
        self.tally.starts += 1;
        self.queue(child);
    }

    /// What is wanted of a run: of one that no composite node started, that it goes on.
    pub(crate) fn wanted(&self, run: &Run) -> Wanted {
        let Some(parent) = run.parent() else { return Wanted::Yes };
        if self.quarantined.contains(&parent.run) {
            return Wanted::Later;
        }
        let Some(above) = self.state.look(&parent.run) else { return Wanted::No { compensate: true } };
        match above.extra.as_ref().and_then(|extra| extra.ending.get(&run.id)) {
            Some(ending) if ending.taken_back => Wanted::No { compensate: true },
            // Its end is recorded above; what is missing is its own record.
            Some(_) => Wanted::Yes,
            None => above.failing.as_ref().map_or(Wanted::Yes, |failing| Wanted::No { compensate: failing.compensate }),
        }
    }

    /// The run that a run ran for has recorded its end: what is missing is its own record.
    pub(crate) fn is_told(&self, run: &Run) -> bool {
        let above = run.parent().and_then(|parent| self.state.look(&parent.run));
        above.is_some_and(|above| above.extra.as_ref().is_some_and(|extra| extra.ending.contains_key(&run.id)))
    }

    /// A child that nobody needs any more ends.
    pub(crate) fn cancel_unwanted(&mut self, slot: u32, compensate: bool) {
        let reason = "the run that started it goes on without it";
        self.emit(slot, &Event::RunCancelled(RunCancelled { reason, by: "", compensate }), NONE);
    }

    /// A run is about to end: where a composite node waits for it, that is decided first.
    pub(crate) fn tell_parent(&mut self, slot: u32, outcome: Result<&[u8], &RunError>) {
        let Some((id, parent)) = self.state.run(slot).and_then(|run| Some((run.id, run.parent()?.clone()))) else {
            return;
        };
        let Some((above, scope, node_slot)) = self.waiting_for(&id, &parent) else {
            // It may be the last that the run above waits for before it ends.
            self.wake(&parent.run);
            return;
        };
        let ended = match outcome {
            Ok(output) => Ended { status: "ok", result: Ok(output.to_vec()), retryable: false },
            Err(error) if &*error.code == code::CANCELLED => {
                let message = format!("run {id} was cancelled: {}", error.message).into();
                let fault = Fault { kind: kind::CANCELLED.into(), message };
                Ended { status: "cancelled", result: Err(fault), retryable: false }
            }
            Err(error) => {
                let fault = Fault { kind: error.kind.clone(), message: error.message.clone() };
                // A limit stays one; and a workflow that holds itself would be tried again on each level.
                let retryable = *fault.kind != *kind::LIMIT_EXCEEDED;
                failed(fault, retryable)
            }
        };
        self.hand(parent.run);
        self.end_child(above, scope, node_slot, ended, false);
        self.queue(above);
        self.hand(id);
    }

    /// The composite node that waits for a run.
    fn waiting_for(&mut self, id: &RunId, parent: &Parent) -> Option<(u32, u32, u32)> {
        if self.quarantined.contains(&parent.run) {
            return None;
        }
        let slot = self.state.find(&parent.run)?;
        let above = self.state.run(slot)?;
        let (scope_path, name) = split_path(&parent.node);
        let scope = find_scope(above, &self.state.symbols, scope_path)?;
        let node_slot = above.scope(scope)?.find(self.state.symbols.find(name)?)?;
        match &above.node(scope, node_slot)?.wait {
            Wait::Child(child) if child.run == *id => Some((slot, scope, node_slot)),
            _ => None,
        }
    }

    /// An attempt of a composite node ended. `taken_back`: before its child did.
    pub(crate) fn end_child(&mut self, slot: u32, scope: u32, node_slot: u32, ended: Ended, taken_back: bool) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let Wait::Child(child) = &node.wait else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        let (attempt, cause, child) = (node.attempt, node.requested_seq, child.run);
        let at = At { slot, scope, ix, cause };
        let path = run.path(scope, &program.ir.nodes[ix as usize].id);
        let gives_up = run.failing.is_some() || self.is_over(run, &program, scope, ix);
        let policy = &program.ir.nodes[ix as usize].retry;
        let goes_on = |fault: &Fault| ended.retryable && policy.goes_on(&fault.kind, attempt);
        let retry = !gives_up && ended.result.as_ref().is_err_and(goes_on);
        // As for a job: what is cancelled because it is not needed any more fails nobody.
        let is_given_up = taken_back && ended.status == "cancelled";
        let verdict = match retry || is_given_up {
            true => Verdict::default(),
            false => self.judge(slot, &program, scope, ix, ended.result.as_deref()),
        };
        let fails = verdict.fails;
        let child_text = child.to_string();
        let event = Event::ChildEnded(ChildEnded {
            node: &path,
            attempt,
            child: &child_text,
            status: ended.status,
            output: Json(ended.result.as_deref().unwrap_or_default()),
            error: ended.result.as_ref().err().map(Fault::event),
            retry: Flag(retry),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            taken_back: Flag(taken_back),
        });
        let touched = self.emit(slot, &event, cause);
        if retry {
            if let Some(run) = self.state.run_mut(slot) {
                run.work.push_back(Work::Retry { scope, slot: node_slot });
            }
        } else {
            self.settle(at.slot, &program, scope, touched.slot, ix);
        }
        if taken_back {
            self.wake(&child);
        }
    }

    /// A run looks what is wanted of it.
    pub(crate) fn wake(&mut self, run: &RunId) {
        if let Some(slot) = self.state.find(run) {
            self.queue(slot);
        }
    }

    /// A failing run stops a child: it is woken and waited for. One that never began is ended here.
    pub(crate) fn stop_child(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let wait = self.state.run(slot).and_then(|run| run.node(scope, node_slot)).map(|node| &node.wait);
        let Some(Wait::Child(child)) = wait else { return };
        let child = child.run;
        if self.state.is_open(&child) {
            self.wake(&child);
            return;
        }
        let fault = Fault { kind: kind::CANCELLED.into(), message: "the run is failing".into() };
        self.end_child(slot, scope, node_slot, cancelled(fault), false);
    }

    /// With what a child did, its parent would have more to undo than one record can name.
    pub(crate) fn over_parents_undo_bytes(&self, slot: u32) -> Option<Fault> {
        let run = self.state.run(slot)?;
        let parent = run.parent()?;
        let above = self.state.look(&parent.run)?;
        let max = self.config.limits.record_bytes_max / 2;
        (above.undo_bytes + run.bytes_to_undo(&self.state.symbols, parent.node.len()) > max).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("run {} would have more to undo than one record can name", parent.run).into(),
        })
    }
}

/// The id of a child: the same whenever it is asked for. In the parent's partition, and listed beside it.
fn child_id(parent: &RunId, instance: &str, attempt: u32) -> RunId {
    let mut sha = Sha256::new();
    sha.update(parent.0);
    sha.update(instance.as_bytes());
    sha.update(attempt.to_le_bytes());
    let digest = sha.finalize();
    let mut random = [0; 8];
    random.copy_from_slice(&digest[..8]);
    RunId::new_v7(parent.unix_ms(), parent.partition(), u64::from_le_bytes(random))
}

fn failed(fault: Fault, retryable: bool) -> Ended {
    Ended { status: "error", result: Err(fault), retryable }
}

/// The end of an attempt that nobody waits for any more.
pub(crate) fn cancelled(fault: Fault) -> Ended {
    Ended { status: "cancelled", result: Err(fault), retryable: false }
}
