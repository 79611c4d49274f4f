//! Time is up for something of a run.

use crate::error::{code, kind};
use crate::event::Event;
use crate::event::failure::Failure;
use crate::event::waiting::TimerFired;
use crate::event::wire::{Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::record::NONE;
use crate::run::heartbeat::Deadline;
use crate::run::node::At;
use crate::run::result::Ended;
use crate::run::verdict::Fails;
use crate::state::run::{Fault, Run, Wait};
use crate::state::{Timer, TimerKind};
use crate::time::write_rfc3339;

impl Machine {
    /// One timer that is due. It leaves the index with the event that follows.
    pub(crate) fn fire(&mut self, timer: &Timer) {
        if self.quarantined.contains(&timer.run) {
            return;
        }
        let Some(slot) = self.state.find(&timer.run) else { return };
        self.hand(timer.run);
        self.elapse(slot, timer);
        self.visit_now(slot);
    }

    /// What follows from one timer at once; the rest is left as work.
    pub(crate) fn elapse(&mut self, slot: u32, timer: &Timer) {
        match timer.kind {
            TimerKind::Run => {
                let event = Event::TimerFired(TimerFired {
                    timer: "run",
                    fails: Some(Failure {
                        code: code::RUN_TIMEOUT,
                        r#type: kind::TIMEOUT,
                        message: "the run took longer than its workflow allows",
                        ..Failure::default()
                    }),
                    ..TimerFired::default()
                });
                self.emit(slot, &event, NONE);
            }
            TimerKind::Compensation => {
                let event = Event::TimerFired(TimerFired { timer: "compensation", ..TimerFired::default() });
                self.emit(slot, &event, NONE);
            }
            TimerKind::Attempt => {
                let wait =
                    self.state.run(slot).and_then(|run| run.node(timer.scope, timer.slot)).map(|node| &node.wait);
                if let Some(Wait::Child(child)) = wait {
                    let after = child.flight.timeout_ns;
                    self.end_child(slot, timer.scope, timer.slot, timed_out(after), true);
                    self.visit_now(slot);
                    return;
                }
                let job = if let Some(Wait::Job(flight)) = wait { flight.job } else { 0 };
                if let Some(Deadline::Over(ended)) = self.deadline(slot, timer.scope, timer.slot) {
                    self.drop_job(job);
                    self.end_attempt(slot, timer.scope, timer.slot, ended);
                }
            }
            TimerKind::Retry if self.state.run(slot).is_some_and(Run::is_paused) => {
                self.hold_retry(slot, timer.scope, timer.slot);
            }
            TimerKind::Retry => self.try_again(slot, timer.scope, timer.slot),
            TimerKind::Node => self.fire_node(slot, timer),
            TimerKind::Escalation => self.escalate(slot, timer.scope, timer.slot),
            TimerKind::Signal => self.signal_times_out(slot, timer.scope, timer.slot),
            TimerKind::Rate => self.turn_comes(slot, timer.scope, timer.slot),
            TimerKind::Approval => self.approval_times_out(slot, timer.scope, timer.slot),
            TimerKind::StepAttempt => self.compensation_times_out(slot, timer.slot),
            TimerKind::StepRetry => self.compensate_again(slot),
        }
    }

    fn fire_node(&mut self, slot: u32, timer: &Timer) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(timer.scope, timer.slot) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        let at = At { slot, scope: timer.scope, ix, cause: node.requested_seq };
        let mut output = b"{\"fired_at\":\"".to_vec();
        write_rfc3339(self.now, &mut output);
        output.extend_from_slice(b"\"}");
        self.decide_by_time(&program, at, "", &output);
    }

    /// Time decides a node with an output. `timer`: what it was waiting for; empty for a timer node.
    pub(crate) fn decide_by_time(&mut self, program: &Program, at: At, timer: &str, output: &[u8]) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, Ok(output));
        let fails = verdict.fails;
        let event = Event::TimerFired(TimerFired {
            node: &path,
            timer,
            output: Json(output),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            copied: Flag(false),
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }
}

/// The end of an attempt that took too long.
pub(crate) fn timed_out(after_ns: i64) -> Ended {
    let message = format!("no result within {} s", after_ns as f64 / 1e9);
    Ended {
        status: "timeout",
        result: Err(Fault { kind: kind::TIMEOUT.into(), message: message.into() }),
        retryable: true,
    }
}

/// The end of a node whose attempts took too long together.
pub(crate) fn out_of_time() -> Ended {
    let message = "no result within schedule_to_close_s, all attempts together";
    let fault = Fault { kind: kind::TIMEOUT.into(), message: message.into() };
    Ended { status: "timeout", result: Err(fault), retryable: false }
}
