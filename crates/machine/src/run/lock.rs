//! Critical sections: a node with a `concurrency_key` holds its key from before its first request until it is decided.
//! It stands in line for one key while it holds none, so no two can wait for each other.

use crate::error::kind;
use crate::event::Event;
use crate::event::waiting::{LockAcquired, LockReleased};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::{At, text_of};
use crate::run::work::Work;
use crate::state::locks::{Key, Place};
use crate::state::run::{Fault, ROOT, Status};
use apex_ir::expressions::{ExprError, Template};

impl Machine {
    /// Whether the node holds its key: it may go on. Else it stands in line now, or has failed.
    pub(crate) fn enter_section(&mut self, program: &Program, at: At, key: &Template) -> Result<bool, ExprError> {
        if self.holds_key(program, at) {
            return Ok(true);
        }
        let rendered = self.view(program, at, |machine, view| key.render(view, &mut machine.budget()))?;
        if rendered == b"null" {
            return Ok(true);
        }
        let key = text_of(&self.bounded(rendered)?);
        let Some(tenant) = self.state.run(at.slot).map(|run| run.tenant) else { return Ok(false) };
        let (bytes_max, line_max) = (self.config.limits.name_bytes_max, self.config.limits.lock_waiters_max);
        let locks = &self.state.index.locks;
        let granted = locks.is_free(tenant, &key);
        let over = if key.len() > bytes_max {
            Some(format!("the concurrency key is longer than name_bytes_max ({bytes_max} bytes)"))
        } else if !granted && locks.waiting(tenant, &key) >= line_max {
            Some(format!("over lock_waiters_max ({line_max}) nodes wait for this concurrency key"))
        } else {
            None
        };
        if let Some(message) = over {
            let fault = Fault { kind: kind::LIMIT_EXCEEDED.into(), message: message.into() };
            self.end_node(program, at, 0, Err(fault));
            return Ok(false);
        }
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let event = Event::LockAcquired(LockAcquired { node: &path, key: &key, granted });
        let touched = self.emit(at.slot, &event, at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        Ok(granted)
    }

    pub(crate) fn holds_key(&self, program: &Program, at: At) -> bool {
        let Some(run) = self.state.run(at.slot) else { return false };
        let Some(extra) = run.extra.as_ref().filter(|extra| !extra.locks.is_empty()) else { return false };
        let Some(scope) = run.scope(at.scope) else { return false };
        let base = program.ir.graphs[scope.graph as usize].nodes.start;
        let cell = scope.cells.get((at.ix - base) as usize);
        cell.is_some_and(|cell| extra.locks.contains_key(&(at.scope, cell.slot)))
    }

    /// A node is decided: its key is free.
    pub(crate) fn leave_section(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(key) = run.extra.as_ref().and_then(|extra| extra.locks.get(&(scope, node_slot))).cloned() else {
            return;
        };
        let path = run.node_path(&self.state.symbols, scope, node_slot);
        let cause = run.next_seq - 1;
        self.emit(slot, &Event::LockReleased(LockReleased { node: &path, key: &key }), cause);
    }

    /// After a crash right behind what decided a node: its key is free.
    pub(crate) fn leave_sections(&mut self, slot: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let held = run.extra.iter().flat_map(|extra| extra.locks.keys());
        let is_decided =
            |&(scope, slot): &(u32, u32)| run.node(scope, slot).is_none_or(|node| node.status != Status::Open);
        let decided: Vec<(u32, u32)> = held.copied().filter(is_decided).collect();
        for (scope, node_slot) in decided {
            self.leave_section(slot, scope, node_slot);
        }
    }

    /// Somebody stands in line for a key that nobody holds.
    pub(crate) fn has_grant(&self) -> bool {
        self.next_grant().is_some()
    }

    fn next_grant(&self) -> Option<(Key, Place)> {
        // The line of a run that was set aside waits with it.
        self.state.index.locks.next_free(|run| !self.quarantined.contains(run))
    }

    /// Gives one free key to who is first in line for it. `false`: there is none.
    pub(crate) fn grant_next(&mut self) -> bool {
        let Some(((_, key), place)) = self.next_grant() else { return false };
        let Some(slot) = self.state.find(&place.run) else { return false };
        self.hand(place.run);
        let Some(run) = self.state.run(slot) else { return false };
        let path = run.node_path(&self.state.symbols, place.scope, place.slot);
        let cause = run.next_seq - 1;
        let event = Event::LockAcquired(LockAcquired { node: &path, key: &key, granted: true });
        self.emit(slot, &event, cause);
        self.start_again(slot, place.scope, place.slot);
        self.queue(slot);
        true
    }

    /// A node that waited before its request goes on as if it began; where the run is not in memory yet, its work is made
    /// from its state.
    pub(crate) fn start_again(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run_mut(slot) else { return };
        let ix = run.node(scope, node_slot).and_then(|node| run.program.as_ref()?.ix(node.sym));
        let is_built = run.scope(ROOT).is_some_and(|root| !root.cells.is_empty());
        if let Some(ix) = ix.filter(|_| is_built) {
            let cause = run.next_seq - 1;
            run.work.push_back(Work::Start { scope, ix, cause });
        }
    }
}
