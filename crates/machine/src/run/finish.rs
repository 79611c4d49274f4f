//! A run or a graph is done: its output.

use crate::action::Ended;
use crate::error::{code, kind};
use crate::event::Event;
use crate::event::run::WorkflowCompleted;
use crate::event::wire::{Json, Time, write_json_str};
use crate::id::RunId;
use crate::machine::{Action, Machine};
use crate::partition::program::Program;
use crate::record::NONE;
use crate::run::scope::View;
use crate::run::verdict::expression_failed;
use crate::state::run::{Kept, ROOT, Run, RunError, Status};
use apex_ir::expressions::ExprError;
use std::collections::BTreeMap;

impl Machine {
    /// What a graph gives: its output expression, or an object of the outputs of its leaves that ended ok, by id.
    pub(crate) fn graph_output(
        &self,
        slot: u32,
        program: &Program,
        scope_ix: u32,
        graph: u32,
    ) -> Result<Vec<u8>, ExprError> {
        let gone = || ExprError { message: "the run has ended".into(), cost_exceeded_at: None };
        let run = self.state.run(slot).ok_or_else(gone)?;
        let graph = &program.ir.graphs[graph as usize];
        if let Some(template) = &graph.output {
            let output = template.render(&View::new(run, program, scope_ix), &mut self.budget())?;
            return self.bounded(output);
        }
        let scope = run.scope(scope_ix).ok_or_else(gone)?;
        let mut outputs: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for &leaf in &graph.leaves {
            let cell = scope.cells.get((leaf - graph.nodes.start) as usize);
            let node = cell.and_then(|cell| scope.nodes.get(cell.slot as usize));
            if let Some(node) = node.filter(|node| node.status == Status::Ok)
                && let Kept::All(output) = &node.kept
            {
                outputs.insert(&program.ir.nodes[leaf as usize].id, output);
            }
        }
        let mut out = b"{".to_vec();
        for (n, (id, output)) in outputs.into_iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_json_str(id, &mut out);
            out.push(b':');
            out.extend_from_slice(output);
        }
        out.push(b'}');
        self.bounded(out)
    }

    /// No node of graph 0 is undecided: the run completes.
    pub(crate) fn complete(&mut self, slot: u32, program: &Program) {
        match self.graph_output(slot, program, ROOT, 0) {
            Ok(output) => {
                if let Some(fault) = self.over_parents_undo_bytes(slot) {
                    let (code, node) = (code::LIMIT_EXCEEDED.into(), "".into());
                    let error = RunError { code, kind: fault.kind, message: fault.message, node };
                    self.propose(slot, program, Some(error));
                    return;
                }
                self.tell_parent(slot, Ok(&output));
                let Some(run_id) = self.state.run(slot).map(|run| run.id) else { return };
                let event = Event::WorkflowCompleted(WorkflowCompleted {
                    output: Json(&output),
                    key_expires: Time(self.key_expires()),
                    ended_max: self.config.limits.runs_ended_max,
                });
                let cause = self.state.run(slot).map_or(NONE, |run| run.next_seq.wrapping_sub(1));
                self.emit(slot, &event, cause);
                self.note_end(run_id);
            }
            Err(error) => {
                let error = expression_failed(&error, "").error;
                self.propose(slot, program, Some(error));
            }
        }
    }

    /// Until when the key of a run that ends now is kept.
    pub(crate) fn key_expires(&self) -> i64 {
        self.now.saturating_add(self.config.limits.idempotency_ttl_ns).min(i64::MAX - 1)
    }

    /// A run has ended: says so once that is durable.
    pub(crate) fn note_end(&mut self, run_id: RunId) {
        self.quarantined.remove(&run_id);
        let Some(run) = self.state.ended.get(&run_id) else { return };
        let ended = Ended {
            run_id,
            tenant: self.state.symbols.name(run.tenant).clone(),
            workflow: self.state.symbols.name(run.workflow).clone(),
            state: run.state(),
            started_ns: run.started_ns,
            ended_ns: run.ended_ns,
        };
        self.actions.push_back((self.decided(), Action::Ended(Box::new(ended))));
    }

    /// A run that cannot go on at all.
    pub(crate) fn give_up(&mut self, slot: u32, code: &'static str, message: &str) {
        let error =
            RunError { code: code.into(), kind: kind::CANCELLED.into(), message: message.into(), node: "".into() };
        self.seal();
        let jobs: Vec<u64> = self.state.run(slot).map_or_else(Vec::new, |run| run.jobs().collect());
        for job in jobs {
            self.drop_job(job);
        }
        let children = self.state.run(slot).map_or_else(Vec::new, Run::children);
        self.fail_run(slot, error, &[]);
        // Nobody waits for them any more; each looks and cancels itself.
        children.iter().for_each(|child| self.wake(child));
    }
}
