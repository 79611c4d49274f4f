//! What records of nodes change.

use super::{Decision, Folding, Unfit};
use crate::event::node::{NodeRetryScheduled, NodeSkipped, ToolCallRequested, ToolResultReceived};
use crate::event::waiting::TimerFired;
use crate::record::Header;
use crate::state::run::{Flight, READY, ROOT, Status, Wait};
use crate::state::symbols::Sym;
use crate::state::{Timer, TimerKind};

impl Folding<'_> {
    pub(super) fn tool_call_requested(
        &mut self,
        header: &Header<'_>,
        e: &ToolCallRequested<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let (seq, now) = (header.run_seq, header.time_ns);
        let (scope, slot) = self.touch(e.node)?;
        self.clear_wait(scope, slot);
        let name = self.symbols.intern(e.name);
        let compensation = self.symbols.intern(e.compensation);
        let due = if e.timeout_ns > 0 { now.saturating_add(e.timeout_ns) } else { 0 };
        let id = self.run.id;
        let node = self.node(scope, slot)?;
        let is_new_to_undo = node.compensation == Sym::EMPTY && compensation != Sym::EMPTY;
        node.attempt = e.attempt;
        node.write = e.effect == "write";
        node.compensation = compensation;
        node.requested_seq = seq;
        node.wait = Wait::Job(Box::new(Flight {
            http: e.kind == "http",
            name,
            input: e.input.0.into(),
            config: e.config.0.into(),
            timeout_ns: e.timeout_ns,
            due,
            max_attempts: e.max_attempts,
            job: 0,
        }));
        if due != 0 {
            self.index.timers.insert(Timer { due, run: id, kind: TimerKind::Attempt, scope, slot });
        }
        self.run.requested = true;
        self.run.in_flight += 1;
        if is_new_to_undo {
            self.run.count_undo(e.node);
            let mut at = scope;
            while at != ROOT {
                let Some(scope) = self.run.scope_mut(at) else { break };
                scope.undo = true;
                at = scope.parent;
            }
        }
        Ok((scope, slot))
    }

    pub(super) fn tool_result_received(
        &mut self,
        header: &Header<'_>,
        e: &ToolResultReceived<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        self.node(scope, slot)?.unknown |= e.unknown.0;
        if e.retry.0 {
            let wait = self.clear_wait(scope, slot);
            let Wait::Job(flight) = wait else { return Err(format!("{} is not in flight", e.node)) };
            let node = self.node(scope, slot)?;
            node.wait = Wait::Retry { flight, due: 0 };
            // A write of unknown outcome may have to be undone although it is tried again.
            node.decided_seq = seq;
            return Ok((scope, slot));
        }
        let status = if e.status == "ok" { Status::Ok } else { Status::Failed };
        self.decide(
            scope,
            slot,
            seq,
            &Decision {
                status,
                output: e.output.0,
                error: e.error.as_ref(),
                dead: &e.dead,
                kept_all: e.kept_all.0,
                kept: &e.kept,
                fails: e.fails.as_ref(),
            },
        )?;
        Ok((scope, slot))
    }

    pub(super) fn node_skipped(&mut self, header: &Header<'_>, e: &NodeSkipped<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        self.decide(
            scope,
            slot,
            seq,
            &Decision {
                status: Status::Skipped,
                output: &[],
                error: None,
                dead: &[],
                kept_all: false,
                kept: &[],
                fails: None,
            },
        )?;
        Ok((scope, slot))
    }

    pub(super) fn node_retry_scheduled(&mut self, e: &NodeRetryScheduled<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let id = self.run.id;
        let Wait::Retry { due, .. } = &mut self.node(scope, slot)?.wait else {
            return Err(format!("{} has nothing to try again", e.node));
        };
        *due = e.due.0;
        self.index.timers.insert(Timer { due: e.due.0, run: id, kind: TimerKind::Retry, scope, slot });
        self.run.waiting += 1;
        Ok((scope, slot))
    }

    /// The time of a retry has come while the run is paused: it follows once the run goes on.
    pub(super) fn retry_is_ready(&mut self, e: &TimerFired<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let Wait::Retry { flight, .. } = self.clear_wait(scope, slot) else {
            return Err(format!("{} has nothing to try again", e.node));
        };
        self.node(scope, slot)?.wait = Wait::Retry { flight, due: READY };
        Ok((scope, slot))
    }
}
