//! The outcome of an attempt: decided, or tried again. One that is no longer current changes nothing.

use crate::action::{Answer, JobKind};
use crate::command::{JobResult, Outcome};
use crate::error::kind;
use crate::event::Event;
use crate::event::node::ToolResultReceived;
use crate::event::wire::{Amount, Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::retry::delay_ns;
use crate::run::verdict::Fails;
use crate::run::work::Work;
use crate::state::run::{Fault, Node, Run, Wait};
use apex_ir::ir::Effect;
use apex_ir::value::{self, ValueLimits};

/// An outcome as it is recorded.
pub(crate) struct Ended {
    pub(crate) status: &'static str,
    pub(crate) result: Result<Vec<u8>, Fault>,
    /// May be tried again, as far as the executor knows.
    pub(crate) retryable: bool,
}

/// What the end of an attempt says beside its result.
#[derive(Default)]
pub(crate) struct Closed {
    pub(crate) attempt: u32,
    /// It wrote, and nobody knows whether it did.
    pub(crate) unknown: bool,
    /// Its breaker answered in its place.
    pub(crate) fallback: bool,
    /// What its breaker counts: `ok`, `failed`, or nothing.
    pub(crate) health: &'static str,
}

/// What follows the end of an attempt.
enum Next {
    Retry,
    Correction,
    Decision,
}

impl Machine {
    /// Takes the outcome of a job.
    pub(crate) fn take_result(&mut self, token: u64, result: JobResult) {
        let current = self.jobs.get(result.job).copied().filter(|job| job.attempt == result.attempt);
        let Some(job) = current else {
            self.answer(token, Answer { existing: true, ..Answer::default() });
            return;
        };
        if let Err(refusal) = self.refuse_quarantined(&job.run_id) {
            self.refuse(token, refusal);
            return;
        }
        self.hand(job.run_id);
        let (outcome, patch) = match result.outcome {
            Outcome::Patched(output, patch) => (Outcome::Ok(output), Some(patch)),
            outcome => (outcome, None),
        };
        let ended = self.read(outcome);
        if let Some(patch) = patch.filter(|_| ended.result.is_ok() && !job.compensation) {
            self.take_agents_patch(job, &patch);
        }
        self.jobs.remove(result.job);
        if job.compensation {
            self.end_compensation(job.run, ended);
        } else {
            self.end_attempt(job.run, job.scope, job.slot, ended);
        }
        let offset = self.offset(job.run);
        self.answer(token, Answer { run_id: Some(job.run_id), offset, ..Answer::default() });
        self.visit_now(job.run);
    }

    /// What an executor said, checked.
    fn read(&self, outcome: Outcome) -> Ended {
        let fault = |kind: &str, message: String| Fault { kind: kind.into(), message: message.into() };
        match outcome {
            Outcome::Ok(output) | Outcome::Patched(output, _) => {
                if let Some(fault) = self.over_result_bytes(output.len()) {
                    return Ended { status: "error", result: Err(fault), retryable: false };
                }
                let limits = ValueLimits { bytes_max: self.config.limits.result_bytes_max, ..ValueLimits::default() };
                match value::check(&output, &limits) {
                    Ok(()) => Ended { status: "ok", result: Ok(output), retryable: false },
                    Err(error) => {
                        let message = format!("the result is no value: {} (byte {})", error.message, error.offset);
                        Ended { status: "error", result: Err(fault(kind::RESULT_INVALID, message)), retryable: false }
                    }
                }
            }
            Outcome::Failed { kind, message, retryable } => Ended {
                status: "error",
                result: Err(fault(&self.shortened(kind), self.shortened(message))),
                retryable: retryable != Some(false),
            },
            Outcome::TimedOut { message } => {
                Ended { status: "timeout", result: Err(fault(kind::TIMEOUT, self.shortened(message))), retryable: true }
            }
            Outcome::Cancelled { message } => Ended {
                status: "cancelled",
                result: Err(fault(kind::CANCELLED, self.shortened(message))),
                retryable: false,
            },
        }
    }

    /// A message is for people; one that is longer than 16 names is cut.
    pub(crate) fn shortened(&self, mut text: String) -> String {
        let max = self.config.limits.name_bytes_max.saturating_mul(16);
        if text.len() > max {
            text.truncate(text.floor_char_boundary(max));
            text.push('…');
        }
        text
    }

    /// An attempt of a node ended.
    pub(crate) fn end_attempt(&mut self, slot: u32, scope: u32, node_slot: u32, ended: Ended) {
        let Some(program) = self.ready(slot) else { return };
        if ended.result.is_err() {
            self.record_last_beat(slot, scope, node_slot);
        }
        let Some(node) = self.state.run(slot).and_then(|run| run.node(scope, node_slot)) else { return };
        let Wait::Job(flight) = &node.wait else { return };
        let is_correction = flight.kind == JobKind::Correction;
        let Some(ix) = program.ix(node.sym) else { return };
        let at = At { slot, scope, ix, cause: node.requested_seq };
        let attempt = node.attempt;
        if is_correction {
            self.end_correction(&program, at, node_slot, ended);
        } else {
            self.close_attempt(&program, at, attempt, ended, false);
        }
    }

    /// An attempt ended, or was shut out by its breaker: it is tried again, corrected, or decides its node.
    pub(crate) fn close_attempt(&mut self, program: &Program, at: At, attempt: u32, ended: Ended, fallback: bool) {
        let node = &program.ir.nodes[at.ix as usize];
        let Some(run) = self.state.run(at.slot) else { return };
        let place = run.scope(at.scope).and_then(|scope| scope.find(program.syms[at.ix as usize]));
        let state = place.and_then(|place| run.node(at.scope, place));
        let wait = state.map(|state| &state.wait);
        let health = self.health(program, at, wait, &ended);
        let breaker = match wait {
            Some(Wait::Job(flight)) if !health.is_empty() => {
                flight.care.as_ref().map(|care| (run.tenant, care.breaker))
            }
            _ => None,
        };
        let unknown = matches!(ended.status, "timeout" | "cancelled") && state.is_some_and(Node::is_writing);
        let closed = Closed { attempt, unknown, fallback, health };
        let next = match &ended.result {
            Err(fault) if run.failing.is_none() && !self.is_over(run, program, at.scope, at.ix) => {
                let path = run.path(at.scope, &node.id);
                let retry = ended.retryable
                    && node.retry.goes_on(&fault.kind, attempt)
                    && !self.closes_before_retry(program, at, wait, &fault.kind, &path, attempt);
                if retry {
                    Next::Retry
                } else if self.may_correct(program, at, wait, &ended) {
                    Next::Correction
                } else {
                    Next::Decision
                }
            }
            _ => Next::Decision,
        };
        match next {
            Next::Decision => self.decide_attempt(program, at, closed, &ended),
            Next::Retry | Next::Correction => {
                let path = run.path(at.scope, &node.id);
                let event = Event::ToolResultReceived(ToolResultReceived {
                    node: &path,
                    attempt,
                    status: ended.status,
                    error: ended.result.as_ref().err().map(Fault::event),
                    retry: Flag(true),
                    unknown: Flag(unknown),
                    fallback: Flag(fallback),
                    health,
                    correct: Flag(matches!(next, Next::Correction)),
                    ..ToolResultReceived::default()
                });
                let touched = self.emit(at.slot, &event, at.cause);
                self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
                if let Some(run) = self.state.run_mut(at.slot) {
                    run.work.push_back(Work::Retry { scope: at.scope, slot: touched.slot });
                }
            }
        }
        if let Some((tenant, breaker)) = breaker {
            let name = self.state.symbols.name(breaker).clone();
            self.after_outcome(program, at, tenant, &name);
        }
    }

    /// The time of all attempts is over before the next one would begin.
    fn closes_before_retry(
        &self,
        program: &Program,
        at: At,
        wait: Option<&Wait>,
        kind: &str,
        path: &str,
        attempt: u32,
    ) -> bool {
        let Some(Wait::Job(flight) | Wait::Retry { flight, .. }) = wait else { return false };
        let Some(care) = flight.care.as_ref().filter(|care| care.close_by != 0) else { return false };
        let Some(run) = self.state.run(at.slot) else { return false };
        let delay = delay_ns(program.ir.nodes[at.ix as usize].retry.of(kind), &run.id, path, attempt);
        care.closes_before(self.now.saturating_add(delay))
    }

    /// The last attempt of a node: it is decided.
    pub(crate) fn decide_attempt(&mut self, program: &Program, at: At, closed: Closed, ended: &Ended) {
        let node = &program.ir.nodes[at.ix as usize];
        let path = self.path(at.slot, at.scope, &node.id);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, ended.result.as_deref());
        let is_given_up = |run: &Run| run.failing.is_some() || self.is_over(run, program, at.scope, at.ix);
        let dead_letter = ended.result.is_err()
            && ended.status != "cancelled"
            && !verdict.handled
            && (node.retry.attempts_max() > 1 || node.effect == Effect::Write)
            && !self.state.run(at.slot).is_none_or(is_given_up);
        let fails = verdict.fails;
        let output = ended.result.as_deref().unwrap_or_default();
        let Closed { attempt, unknown, fallback, health } = closed;
        let cached_max = if health == "ok" { self.outputs_kept(program, at, output) } else { 0 };
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            output: Json(output),
            error: ended.result.as_ref().err().map(Fault::event),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            cached_max: Amount(cached_max),
            dead_letter: Flag(dead_letter),
            attempt,
            status: ended.status,
            unknown: Flag(unknown),
            fallback: Flag(fallback),
            health,
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }
}
