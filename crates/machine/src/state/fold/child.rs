//! What records between a composite node and its child run change, at the run of the node.

use super::{Decision, Folding, Unfit, fault};
use crate::action::JobKind;
use crate::event::child::{ChildEnded, ChildStarted};
use crate::id::RunId;
use crate::record::Header;
use crate::state::run::{Child, Completed, Ending, Flight, Run, Status, Wait};
use crate::state::symbols::{Sym, Symbols};
use crate::state::{Timer, TimerKind};
use std::sync::Arc;

impl Folding<'_> {
    pub(super) fn child_started(&mut self, header: &Header<'_>, e: &ChildStarted<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        self.clear_wait(scope, slot);
        let (name, version) = (self.symbols.intern(e.workflow), self.symbols.intern(e.version));
        let compensation = self.symbols.intern(e.compensation);
        let due = if e.timeout_ns > 0 { header.time_ns.saturating_add(e.timeout_ns) } else { 0 };
        let child = child_id(e.child)?;
        let id = self.run.id;
        let node = self.node(scope, slot)?;
        let is_new_to_undo = node.compensation == Sym::EMPTY && compensation != Sym::EMPTY;
        node.attempt = e.attempt;
        node.compensation = compensation;
        node.requested_seq = header.run_seq;
        let flight = Flight {
            kind: JobKind::Function,
            name,
            input: e.inputs.0.into(),
            config: Arc::default(),
            timeout_ns: e.timeout_ns,
            due,
            max_attempts: e.max_attempts,
            care: None,
            omitted: false,
            rendered: None,
            priority: None,
            job: 0,
        };
        node.wait = Wait::Child(Box::new(Child { run: child, version, flight: Box::new(flight) }));
        if due != 0 {
            self.index.timers.insert(Timer { due, run: id, kind: TimerKind::Attempt, scope, slot });
        }
        self.run.requested = true;
        self.run.in_flight += 1;
        if is_new_to_undo {
            self.note_undo(scope, e.node);
        }
        Ok((scope, slot))
    }

    /// `is_open`: the child began, and has not recorded its own end.
    pub(super) fn child_ended(
        &mut self,
        header: &Header<'_>,
        e: &ChildEnded<'_>,
        is_open: bool,
    ) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        let child = child_id(e.child)?;
        let is_ok = e.status == "ok";
        if is_open {
            // A composite with a compensation of its own is undone by that, not by undoing what its child did.
            let keeps = is_ok && self.node(scope, slot)?.compensation == Sym::EMPTY;
            let ending = Ending { seq, keeps, taken_back: e.taken_back.0 };
            self.run.extra_mut().ending.insert(child, ending);
        }
        if e.retry.0 {
            let Wait::Child(child) = self.clear_wait(scope, slot) else {
                return Err(format!("{} waits for no child", e.node));
            };
            let node = self.node(scope, slot)?;
            node.error = e.error.as_ref().map(fault);
            node.wait = Wait::Retry { flight: child.flight, due: 0 };
            node.decided_seq = seq;
            return Ok((scope, slot));
        }
        let status = if is_ok { Status::Ok } else { Status::Failed };
        self.decide(scope, slot, seq, &Decision { error: e.error.as_ref(), ..decision!(e, status) })
    }
}

pub(super) fn child_id(text: &str) -> Result<RunId, Unfit> {
    RunId::parse(text).ok_or_else(|| format!("{text} is no id of a run"))
}

impl Run {
    /// A child has ended. One that completed and has something to undo is kept until this run ends.
    pub(super) fn child_is_done(&mut self, child: Box<Run>, completed: bool, symbols: &Symbols) {
        let Some(extra) = &mut self.extra else { return };
        let Some(ending) = extra.ending.remove(&child.id) else { return };
        let path = child.extra.as_ref().and_then(|extra| extra.parent.as_ref()).map(|parent| parent.node.clone());
        let Some(path) = path.filter(|_| completed && ending.keeps) else { return };
        let bytes = child.bytes_to_undo(symbols, path.len());
        if bytes > 0 {
            extra.completed.insert(path, Completed { seq: ending.seq, run: child });
            self.undo_bytes += bytes;
        }
    }
}
