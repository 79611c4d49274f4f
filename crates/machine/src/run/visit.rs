//! A visit: a run goes on, piece by piece, until it waits or its share of the turn is used up.

use crate::error::code;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::composite::Wanted;
use crate::run::node::At;
use crate::run::work::Work;
use crate::state::run::{ROOT, Run};
use std::sync::Arc;

/// What a piece of work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Did,
    Idle,
}

impl Machine {
    /// The run's program, with its counters made where they were not. `None`: the run has ended, was set aside, or
    /// has just been ended because its definition cannot be read.
    pub(crate) fn ready(&mut self, slot: u32) -> Option<Arc<Program>> {
        let run = self.state.run(slot)?;
        if !self.quarantined.is_empty() && self.quarantined.contains(&run.id) {
            return None;
        }
        if !run.started {
            // A goal was recorded and the process ended before its run started: nobody was told that it had.
            self.give_up(slot, code::START_INTERRUPTED, "the start was cut off");
            return None;
        }
        // Its counters may be there already: what a job is given was rendered from them. Its work is not.
        let is_new = run.program.is_none();
        let program = match &run.program {
            Some(program) => program.clone(),
            None => {
                let basis = run.basis();
                match self.program_of(&basis) {
                    Ok(program) => {
                        if let Some(run) = self.state.run_mut(slot) {
                            run.program = Some(program.clone());
                        }
                        program
                    }
                    Err(reason) => {
                        self.give_up(slot, code::DEFINITION_UNREADABLE, &reason);
                        return None;
                    }
                }
            }
        };
        let is_built = self.state.run(slot)?.scope(ROOT).is_some_and(|root| !root.cells.is_empty());
        if is_new || !is_built {
            self.rebuild(slot, &program);
            self.leave_sections(slot);
        }
        Some(program)
    }

    /// Goes on with a run after a command; what is left joins the backlog.
    pub(crate) fn visit_now(&mut self, slot: u32) {
        if self.visit(slot) {
            self.queue(slot);
        }
    }

    /// Goes on with a run. `true`: there is more to do.
    pub(crate) fn visit(&mut self, slot: u32) -> bool {
        let Some(program) = self.ready(slot) else { return false };
        let mut left = self.config.limits.events_per_visit_max;
        loop {
            if left == 0 || !self.has_room() {
                return true;
            }
            left -= 1;
            if self.go_on(slot, &program) == Progress::Idle {
                return false;
            }
        }
    }

    /// Does one piece of what is to be done.
    pub(crate) fn go_on(&mut self, slot: u32, program: &Program) -> Progress {
        if let Some(place) = self.state.run(slot).and_then(Run::next_letter) {
            self.write_letter(slot, program, place);
            // All of them before anything else: an item that closes takes its nodes with it.
            if self.state.run(slot).is_some_and(|run| run.next_letter().is_some()) {
                return Progress::Did;
            }
        }
        let Some(run) = self.state.run(slot) else { return Progress::Idle };
        if run.extra.is_some() {
            match self.wanted(run) {
                Wanted::Later => return Progress::Idle,
                Wanted::No { compensate } if run.failing.is_none() => {
                    self.cancel_unwanted(slot, compensate);
                    return Progress::Did;
                }
                _ => {}
            }
        }
        let Some(run) = self.state.run_mut(slot) else { return Progress::Idle };
        if run.is_paused() {
            return Progress::Idle;
        }
        if run.is_held() && run.failing.is_none() {
            return Progress::Idle;
        }
        if run.failing.is_some() {
            return self.fail_on(slot, program);
        }
        let Some(work) = run.work.pop_front() else {
            let Some(root) = run.scope(ROOT) else { return Progress::Idle };
            if root.undecided > 0 || run.has_ending() {
                return Progress::Idle;
            }
            self.complete(slot, program);
            return Progress::Did;
        };
        match work {
            Work::Start { scope, ix, cause } => self.start_node(program, At { slot, scope, ix, cause }),
            Work::Skip { scope, ix, cause } => self.skip_node(program, At { slot, scope, ix, cause }),
            Work::Unreachable { scope, ix, cause } => self.fail_quorum(program, At { slot, scope, ix, cause }),
            Work::Rest { scope, ix, at } => {
                let cause = run.next_seq - 1;
                self.cancel_rest(program, At { slot, scope, ix, cause }, at);
            }
            Work::Retry { scope, slot: node } => self.schedule_retry(program, slot, scope, node),
            Work::Again { scope, slot: node } => self.try_again(slot, scope, node),
            Work::Pump { scope, slot: node, ix } => self.pump(program, slot, scope, node, ix),
            Work::Close { scope } => self.close_item(program, slot, scope),
            Work::Abandon { scope, failed } => self.abandon(program, slot, scope, failed),
            Work::Recall { scope, slot: node } => self.recall_job(program, slot, scope, node),
            Work::Begin { scope, slot: node } => self.begin_child(slot, scope, node),
            Work::Stop { .. } => {}
        }
        Progress::Did
    }
}
