//! The rate of a tool: a call that comes too early gets its turn, and waits for it.

use crate::event::Event;
use crate::event::waiting::{TimerFired, TimerStarted};
use crate::event::wire::{Amount, Time};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::work::Work;
use crate::state::run::Wait;
use apex_ir::ir::{Kind, Node, RateLimit};

/// What a node calls, as its rate knows it: the name of the function, or the host.
pub(crate) fn tool_of(node: &Node) -> String {
    match &node.kind {
        Kind::Function { name, .. } => name.to_string(),
        Kind::Http(http) => http.host(),
        kind => kind.node_type().name().to_owned(),
    }
}

impl Machine {
    /// Whether the node may call its tool now. Else it waits for its turn.
    pub(crate) fn take_turn(&mut self, program: &Program, at: At, limit: RateLimit) -> bool {
        let node = &program.ir.nodes[at.ix as usize];
        let Some(run) = self.state.run(at.slot) else { return false };
        let (tool, interval) = (tool_of(node), limit.interval_ns());
        let ahead = interval.saturating_mul(i64::from(limit.burst.max(1) - 1));
        let due = self.state.rates.due(run.tenant, &tool).saturating_sub(ahead);
        if due <= self.now {
            return true;
        }
        let path = run.path(at.scope, &node.id);
        let event = Event::TimerStarted(TimerStarted {
            node: &path,
            due: Time(due),
            timer: "rate",
            name: &tool,
            interval_ns: Amount(interval),
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        false
    }

    /// The turn of a node has come.
    pub(crate) fn turn_comes(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let (Wait::Rate(throttled), Some(ix)) = (&node.wait, program.ix(node.sym)) else { return };
        let (is_first, cause) = (throttled.flight.is_none(), node.requested_seq);
        if run.is_paused() {
            let path = run.node_path(&self.state.symbols, scope, node_slot);
            let event = Event::TimerFired(TimerFired { node: &path, timer: "rate", ..TimerFired::default() });
            self.emit(slot, &event, cause);
            if is_first {
                self.start_again(slot, scope, node_slot);
            } else if let Some(run) = self.state.run_mut(slot) {
                run.work.push_back(Work::Again { scope, slot: node_slot });
            }
        } else if !is_first {
            self.try_again(slot, scope, node_slot);
        } else if !run.is_node_given_up(scope, node_slot) {
            self.begin_node(&program, At { slot, scope, ix, cause });
        }
    }
}
