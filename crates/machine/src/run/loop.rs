//! A loop: its condition before each iteration, one iteration (a scope) at a time, its end.

use crate::event::Event;
use crate::event::node::ScopeOpened;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::scope::Ahead;
use crate::run::verdict::expression_failed;
use crate::state::run::{Iterations, Status, Wait};
use apex_ir::expressions::ExprError;
use apex_ir::ir::{Kind, NodeIx};

impl Machine {
    /// Begins the first iteration, or is done without one.
    pub(crate) fn start_loop(&mut self, program: &Program, at: At) -> Result<(), ExprError> {
        self.iterate(program, at, &Iterations::default())
    }

    /// Goes on with a loop whose iteration closed: begins the next one, or ends it.
    pub(crate) fn pump_loop(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32, ix: NodeIx) {
        let Some(run) = self.state.run(slot).filter(|run| !run.is_given_up(scope)) else { return };
        let Some(node) = run.node(scope, node_slot).filter(|node| node.status == Status::Open) else { return };
        let Wait::Loop(iterations) = &node.wait else { return };
        if iterations.open {
            return;
        }
        let at = At { slot, scope, ix, cause: node.requested_seq };
        let iterations = Iterations::clone(iterations);
        if let Err(error) = self.iterate(program, at, &iterations) {
            let path = self.path(slot, scope, &program.ir.nodes[ix as usize].id);
            self.fail_node(program, at, &expression_failed(&error, &path));
        }
    }

    /// Decides what comes after the iterations so far.
    fn iterate(&mut self, program: &Program, at: At, so_far: &Iterations) -> Result<(), ExprError> {
        let node = &program.ir.nodes[at.ix as usize];
        let Kind::Loop { condition, body, max_iterations } = &node.kind else { return Ok(()) };
        let attempt = u32::from(so_far.next > 0);
        if let Some(fault) = &so_far.error {
            self.end_node(program, at, attempt, Err((**fault).clone()));
            return Ok(());
        }
        let ahead = Ahead { iteration: so_far.next, last: &so_far.last };
        let goes_on = so_far.next < *max_iterations
            && self.view(program, at, |machine, view| condition.is_true(&view.before(ahead), &mut machine.budget()))?;
        if !goes_on {
            let output = if so_far.last.is_empty() { b"null".to_vec() } else { so_far.last.to_vec() };
            self.end_node(program, at, attempt, Ok(output));
            return Ok(());
        }
        if let Some(fault) = self.over_scopes(at.slot, 1) {
            self.end_node(program, at, attempt, Err(fault));
            return Ok(());
        }
        let path = self.path(at.slot, at.scope, &node.id);
        let event = Event::ScopeOpened(ScopeOpened { node: &path, index: so_far.next, ..ScopeOpened::default() });
        let child = self.emit(at.slot, &event, at.cause).scope;
        if let Some(owner) = self.state.run(at.slot).and_then(|run| run.scope(child)).map(|scope| scope.owner) {
            self.note_slot(at.slot, program, at.scope, owner, at.ix);
        }
        self.open_scope(at.slot, program, child, *body);
        Ok(())
    }
}
