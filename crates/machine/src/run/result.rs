//! The outcome of an attempt: decided, or tried again. One that is no longer current changes nothing.

use crate::action::Answer;
use crate::command::{JobResult, Outcome};
use crate::error::kind;
use crate::event::Event;
use crate::event::node::ToolResultReceived;
use crate::event::wire::{Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::verdict::Fails;
use crate::run::work::Work;
use crate::state::run::{Fault, Wait};
use apex_ir::value::{self, ValueLimits};

/// An outcome as it is recorded.
pub(crate) struct Ended {
    pub(crate) status: &'static str,
    pub(crate) result: Result<Vec<u8>, Fault>,
    /// May be tried again, as far as the executor knows.
    pub(crate) retryable: bool,
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
        let ended = self.read(result.outcome);
        self.jobs.remove(result.job);
        if job.compensation {
            self.end_compensation(job.run, ended);
        } else {
            self.end_attempt(job.run, job.scope, job.slot, ended);
        }
        let offset = self.state.run(job.run).map_or(0, |run| run.next_seq.saturating_sub(1));
        self.answer(token, Answer { run_id: Some(job.run_id), offset, ..Answer::default() });
        self.visit_now(job.run);
    }

    /// What an executor said, checked.
    fn read(&self, outcome: Outcome) -> Ended {
        let fault = |kind: &str, message: String| Fault { kind: kind.into(), message: message.into() };
        match outcome {
            Outcome::Ok(output) => {
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
    fn shortened(&self, mut text: String) -> String {
        let max = self.config.limits.name_bytes_max.saturating_mul(16);
        if text.len() > max {
            let mut end = max;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        text
    }

    /// An attempt of a node ended.
    pub(crate) fn end_attempt(&mut self, slot: u32, scope: u32, node_slot: u32, ended: Ended) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        if !matches!(node.wait, Wait::Job(_)) {
            return;
        }
        let Some(ix) = program.ix(node.sym) else { return };
        let (attempt, cause) = (node.attempt, node.requested_seq);
        let policy = &program.ir.nodes[ix as usize].retry;
        let unknown = node.write && matches!(ended.status, "timeout" | "cancelled");
        let gives_up = run.failing.is_some() || run.is_node_given_up(scope, node_slot);
        let retry = match &ended.result {
            Ok(_) => false,
            Err(fault) => {
                ended.retryable
                    && !gives_up
                    && attempt < policy.max_attempts
                    && !policy.non_retryable.contains(&fault.kind)
            }
        };
        let inner;
        let id = &program.ir.nodes[ix as usize].id;
        let path: &str = if scope == crate::state::run::ROOT {
            id
        } else {
            inner = run.path(scope, id).into_owned();
            &inner
        };
        let event = ToolResultReceived {
            node: path,
            attempt,
            status: ended.status,
            output: Json(ended.result.as_deref().unwrap_or_default()),
            error: ended.result.as_ref().err().map(Fault::event),
            retry: Flag(retry),
            unknown: Flag(unknown),
            ..ToolResultReceived::default()
        };
        if retry {
            self.emit(slot, &Event::ToolResultReceived(event), cause);
            if let Some(run) = self.state.run_mut(slot) {
                run.work.push_back(Work::Retry { scope, slot: node_slot });
            }
            return;
        }
        let verdict = self.judge(slot, &program, scope, ix, ended.result.as_deref());
        self.decide_attempt(&program, At { slot, scope, ix, cause }, event, verdict);
    }

    fn decide_attempt<'e>(
        &mut self,
        program: &Program,
        at: At,
        event: ToolResultReceived<'e>,
        verdict: crate::run::verdict::Verdict<'e>,
    ) {
        let fails = verdict.fails;
        let event = Event::ToolResultReceived(ToolResultReceived {
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            ..event
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }
}
