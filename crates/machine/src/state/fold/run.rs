//! What records of a run as a whole change, while it is open.

use super::{Folding, Unfit, forget_wait, run_error};
use crate::error::code;
use crate::event::run::{RunCancelled, RunMigrated, RunPaused};
use crate::event::waiting::TimerFired;
use crate::state::run::{Failing, NO_SLOT, ROOT, RunError, Wait};

impl Folding<'_> {
    pub(super) fn run_out_of_time(&mut self, e: &TimerFired<'_>) -> Result<(u32, u32), Unfit> {
        let failure = e.fails.as_ref().ok_or("a run is out of time without an error")?;
        self.fail(run_error(failure), true);
        self.run_resumed()
    }

    pub(super) fn run_paused(&mut self, e: &RunPaused<'_>) -> Result<(u32, u32), Unfit> {
        self.run.extra_mut().paused = Some(e.checkpoint.into());
        self.lines(false);
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn run_resumed(&mut self) -> Result<(u32, u32), Unfit> {
        if self.run.is_paused() {
            self.run.extra_mut().paused = None;
            self.lines(true);
        }
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn run_migrated(&mut self, e: &RunMigrated<'_>) -> Result<(u32, u32), Unfit> {
        self.run.version = self.symbols.intern(e.version);
        self.run.extra_mut().migrated = e.epoch;
        self.goes_on_under(e.epoch, e.ir_hash.0, e.nodes_total, e.due.0)
    }

    /// Another program: what was made of the one before is forgotten, and made anew.
    pub(super) fn goes_on_under(
        &mut self,
        epoch: u32,
        ir_hash: [u8; 32],
        nodes_total: u32,
        due: i64,
    ) -> Result<(u32, u32), Unfit> {
        if self.run.failing.is_some() {
            return Err("a run that fails goes on under another program".into());
        }
        self.run.ir_hash = ir_hash;
        self.run.epoch = epoch;
        self.run.nodes_total = nodes_total;
        if self.run.due != 0 {
            self.index.timers.remove(&self.run.run_timer());
        }
        self.run.due = due;
        if self.run.due != 0 {
            self.index.timers.insert(self.run.run_timer());
        }
        self.run.forget_program();
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn run_cancelled(&mut self, e: &RunCancelled<'_>) -> Result<(u32, u32), Unfit> {
        let error = RunError {
            code: code::CANCELLED.into(),
            kind: "Cancelled".into(),
            message: e.reason.into(),
            node: "".into(),
        };
        self.fail(error, e.compensate);
        self.run_resumed()
    }

    /// The run begins to fail: nothing is waited for any more but what is in flight.
    pub(super) fn fail(&mut self, error: RunError, compensate: bool) {
        if self.run.failing.is_some() {
            return;
        }
        if self.run.due != 0 {
            self.index.timers.remove(&self.run.run_timer());
            self.run.due = 0;
        }
        self.run.failing =
            Some(Box::new(Failing { error, compensate, steps: None, settled: 0, due: 0, expired: false }));
        let (id, tenant) = (self.run.id, self.run.tenant);
        for (scope, state) in self.run.scopes.iter_mut().enumerate() {
            let Some(state) = state else { continue };
            for (slot, node) in state.nodes.iter_mut().enumerate() {
                if node.wait.is_for_outside() {
                    let since = node.requested_seq;
                    forget_wait(&node.wait, since, (id, tenant), scope as u32, slot as u32, self.index);
                    node.wait = Wait::Nothing;
                }
            }
        }
        self.run.waiting = 0;
        self.release_all(|run, scope, slot| {
            run.node(scope, slot).is_none_or(|node| !matches!(node.wait, Wait::Job(_)))
        });
    }
}
