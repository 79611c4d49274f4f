//! Bodies: what the items of a map and the iterations of a loop have in common. A body closes with its output, or is
//! abandoned; then the node that it belongs to goes on.

use crate::error::kind;
use crate::event::Event;
use crate::event::failure::NodeError;
use crate::event::node::{ScopeClosed, ToolResultReceived};
use crate::event::wire::{Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::verdict::{Fails, expression_failed};
use crate::run::work::Work;
use crate::state::run::{Fault, ROOT, Wait};
use apex_ir::ir::{Kind, NodeIx};

impl Machine {
    /// A body closed, or the state was made anew: its node opens the next one, or ends.
    pub(crate) fn pump(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32, ix: NodeIx) {
        match program.ir.nodes[ix as usize].kind {
            Kind::Loop { .. } => self.pump_loop(program, slot, scope, node_slot, ix),
            _ => self.pump_map(program, slot, scope, node_slot, ix),
        }
    }

    /// So many more scopes would be more than a run may open.
    pub(crate) fn over_scopes(&self, slot: u32, more: usize) -> Option<Fault> {
        let max = self.config.limits.scopes_per_run_max;
        let scopes = self.state.run(slot).map_or(0, |run| run.scopes.len());
        (scopes + more > max as usize).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("the run would open more scopes than scopes_per_run_max ({max})").into(),
        })
    }

    /// Decides a map or a loop, or a node that cannot begin.
    pub(crate) fn end_node(&mut self, program: &Program, at: At, attempt: u32, outcome: Result<Vec<u8>, Fault>) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, outcome.as_deref());
        let fails = verdict.fails;
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            attempt,
            status: if outcome.is_ok() { "ok" } else { "error" },
            output: Json(outcome.as_deref().unwrap_or_default()),
            error: outcome.as_ref().err().map(Fault::event),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// All nodes of a body are decided: its output is evaluated, and it closes.
    pub(crate) fn close_item(&mut self, program: &Program, slot: u32, scope_ix: u32) {
        let Some(run) = self.state.run(slot) else { return };
        if run.is_given_up(scope_ix) {
            return;
        }
        let Some(scope) = run.scope(scope_ix).filter(|scope| scope.undecided == 0) else { return };
        let graph = scope.graph;
        match self.graph_output(slot, program, scope_ix, graph) {
            Ok(output) => match self.over_output_bytes(slot, scope_ix, output.len()) {
                // A map has failed whatever the other items give: their outputs must not pile up until it says so.
                Some(fault) => self.record_close(program, slot, scope_ix, "failed", b"", Some(&fault), Some(true)),
                None => self.record_close(program, slot, scope_ix, "ok", &output, None, None),
            },
            Err(error) => {
                let Some((at, _)) = self.owner(program, slot, scope_ix) else { return };
                let path = self.path(slot, at.scope, &program.ir.nodes[at.ix as usize].id);
                let fails = expression_failed(&error, &path);
                // The run fails, whatever a map would do about a failed item: recorded as the end of the node.
                self.fail_node(program, at, &fails);
            }
        }
    }

    /// A body failed, or its node did: the jobs in flight in it are taken back, then it closes.
    pub(crate) fn abandon(&mut self, program: &Program, slot: u32, scope_ix: u32, failed: bool) {
        let Some(run) = self.state.run_mut(slot) else { return };
        if run.scope(scope_ix).is_none_or(|scope| scope.closed) || scope_ix == ROOT {
            return;
        }
        let mut flying = Vec::new();
        in_flight(run, scope_ix, &mut flying);
        if !flying.is_empty() {
            run.work.push_front(Work::Abandon { scope: scope_ix, failed });
            for (scope, slot) in flying.into_iter().rev() {
                run.work.push_front(Work::Recall { scope, slot });
            }
            return;
        }
        let fault = run.scope(scope_ix).and_then(|scope| scope.failing.as_deref().cloned());
        match fault.filter(|_| failed) {
            Some(fault) => {
                let Some((at, _)) = self.owner(program, slot, scope_ix) else { return };
                let skip = matches!(program.ir.nodes[at.ix as usize].kind, Kind::Map { skip_item_errors: true, .. });
                self.record_close(program, slot, scope_ix, "failed", b"", Some(&fault), Some(!skip));
            }
            None => self.record_close(program, slot, scope_ix, "cancelled", b"", None, None),
        }
    }

    /// One job of a body that is abandoned is taken back, if it is still in flight.
    pub(crate) fn recall_job(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32) {
        let node = self.state.run(slot).and_then(|run| run.node(scope, node_slot));
        let Some(node) = node.filter(|node| matches!(node.wait, Wait::Job(_) | Wait::Child(_))) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        self.recall(program, At { slot, scope, ix, cause: 0 }, node_slot);
    }

    /// With one more output the list of a map, or what a loop gives, would be larger than a result may be.
    fn over_output_bytes(&mut self, slot: u32, scope_ix: u32, bytes: usize) -> Option<Fault> {
        let run = self.state.run_mut(slot)?;
        let scope = run.scope(scope_ix)?;
        let (parent, owner) = (scope.parent, scope.owner);
        let before = match &mut run.node_mut(parent, owner)?.wait {
            Wait::Map(items) => items.output_bytes(),
            _ => 0,
        };
        self.over_result_bytes(before + bytes)
    }

    /// The map or loop that a scope belongs to.
    fn owner(&self, program: &Program, slot: u32, scope_ix: u32) -> Option<(At, u32)> {
        let run = self.state.run(slot)?;
        let scope = run.scope(scope_ix)?;
        let owner = run.node(scope.parent, scope.owner)?;
        let ix = program.ix(owner.sym)?;
        Some((At { slot, scope: scope.parent, ix, cause: run.next_seq - 1 }, scope.owner))
    }

    #[allow(clippy::too_many_arguments)]
    fn record_close(
        &mut self,
        program: &Program,
        slot: u32,
        scope_ix: u32,
        status: &str,
        output: &[u8],
        error: Option<&Fault>,
        fails: Option<bool>,
    ) {
        let Some((at, owner)) = self.owner(program, slot, scope_ix) else { return };
        let path = self.path(slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let index = self.state.run(slot).and_then(|run| run.scope(scope_ix)).map_or(0, |scope| scope.index);
        let event = Event::ScopeClosed(ScopeClosed {
            node: &path,
            index,
            status,
            output: Json(output),
            error: error.map(Fault::event),
            fails: Flag(fails.unwrap_or(false)),
        });
        self.emit(slot, &event, at.cause);
        if let Some(run) = self.state.run_mut(slot) {
            run.work.push_back(Work::Pump { scope: at.scope, slot: owner, ix: at.ix });
        }
    }
}

impl crate::state::run::Run {
    /// A job is in flight in a scope or below it.
    pub(crate) fn has_in_flight(&self, scope: u32) -> bool {
        let mut found = Vec::new();
        in_flight(self, scope, &mut found);
        !found.is_empty()
    }
}

/// The jobs in flight in a scope and below it; bodies nest `bodies_max` deep at most.
fn in_flight(run: &crate::state::run::Run, scope_ix: u32, found: &mut Vec<(u32, u32)>) {
    let Some(scope) = run.scope(scope_ix) else { return };
    for (slot, node) in scope.nodes.iter().enumerate() {
        if matches!(node.wait, Wait::Job(_) | Wait::Child(_)) {
            found.push((scope_ix, slot as u32));
        }
        // Of closed ones there may be many (kept to be undone), and nothing is in flight there.
        for &child in node.children.values().filter(|_| node.wait.has_open_scopes()) {
            in_flight(run, child, found);
        }
    }
}

impl Fault {
    pub(crate) fn event(&self) -> NodeError<'_> {
        NodeError { r#type: &self.kind, message: &self.message }
    }
}
