//! Corrections: before a node fails for good, a model is asked for another input, and one more attempt has it. What the
//! model writes is a value; nothing in it is ever evaluated.

use crate::action::JobKind;
use crate::error::kind;
use crate::event::Event;
use crate::event::node::ToolCallRequested;
use crate::event::saga::CorrectionProposed;
use crate::event::wire::{Json, Time, write_json_str};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::{At, effect_name};
use crate::run::result::{Closed, Ended};
use crate::run::work::Work;
use crate::state::run::{Care, Fault, Node, Wait};
use apex_ir::ir::Kind;
use apex_ir::value;

/// What stands between an error and the reason why it was not corrected.
pub(crate) const NO_CORRECTION: &str = " (no correction: ";
/// Reasons are for people; a longer one is cut.
const REASON_CHARS_MAX: usize = 2_000;

impl Machine {
    /// Whether another input is asked for after this failure, which is to be the last one.
    pub(crate) fn may_correct(&self, program: &Program, at: At, wait: Option<&Wait>, ended: &Ended) -> bool {
        let Some(correction) = &program.ir.nodes[at.ix as usize].correction else { return false };
        let Some(Wait::Job(flight)) = wait else { return false };
        let made = flight.care.as_ref().map_or(0, |care| care.corrections);
        let is_over = flight.care.as_ref().is_some_and(|care| care.close_by != 0 && self.now >= care.close_by);
        made < correction.max_attempts && !is_over && matches!(ended.status, "error" | "timeout")
    }

    /// Records that the model is asked, and makes the job.
    pub(crate) fn request_correction(&mut self, program: &Program, at: At, node_slot: u32) {
        let node = &program.ir.nodes[at.ix as usize];
        let Some(run) = self.state.run(at.slot) else { return };
        let Some(state) = run.node(at.scope, node_slot) else { return };
        let (Some(correction), Kind::Function { name, .. }) = (&node.correction, &node.kind) else {
            // The run was moved to a version in which nobody is asked.
            let (attempt, fault) = (state.attempt, uncorrected(state, "its version has none any more"));
            return self.fail_attempt(program, at, attempt, fault);
        };
        let Wait::Retry { flight, .. } = &state.wait else { return };
        let mut input = b"{\"function\":".to_vec();
        write_json_str(name, &mut input);
        input.extend_from_slice(b",\"input\":");
        input.extend_from_slice(&flight.input);
        input.extend_from_slice(b",\"error\":{\"type\":");
        write_json_str(state.error.as_ref().map_or("", |error| &error.kind), &mut input);
        input.extend_from_slice(b",\"message\":");
        write_json_str(state.error.as_ref().map_or("", |error| &error.message), &mut input);
        input.extend_from_slice(b"},\"instructions\":");
        write_json_str(&correction.instructions, &mut input);
        input.push(b'}');
        let attempt = state.attempt;
        let close_by = flight.care.as_ref().map_or(0, |care| care.close_by);
        let path = run.path(at.scope, &node.id);
        let event = Event::ToolCallRequested(ToolCallRequested {
            node: &path,
            attempt,
            max_attempts: 1,
            kind: JobKind::Correction.as_str(),
            name: &correction.model,
            input: Json(&input),
            timeout_ns: correction.timeout_ns,
            effect: effect_name(node.effect),
            compensation: node.compensation.as_ref().map_or("", |compensation| &compensation.name),
            close_by: Time(close_by),
            ..ToolCallRequested::default()
        });
        self.emit(at.slot, &event, at.cause);
        self.make_job(at.slot, at.scope, node_slot, attempt);
    }

    /// The model answered, or did not: the next attempt, or the end of the node.
    pub(crate) fn end_correction(&mut self, program: &Program, at: At, node_slot: u32, ended: Ended) {
        let Some(run) = self.state.run(at.slot) else { return };
        let Some(state) = run.node(at.scope, node_slot) else { return };
        let gives_up = run.failing.is_some() || run.is_node_given_up(at.scope, node_slot);
        let attempt = state.attempt;
        let proposal = ended.result.and_then(|answer| self.read_proposal(&answer));
        let why = match proposal {
            Ok((input, reason)) if !gives_up => {
                let path = run.path(at.scope, &program.ir.nodes[at.ix as usize].id);
                let event = Event::CorrectionProposed(CorrectionProposed {
                    node: &path,
                    attempt: attempt + 1,
                    input: Json(&input),
                    reason: &reason,
                });
                self.emit(at.slot, &event, at.cause);
                if let Some(run) = self.state.run_mut(at.slot) {
                    run.work.push_back(Work::Retry { scope: at.scope, slot: node_slot });
                }
                return;
            }
            Ok(_) => "it came too late".into(),
            Err(fault) => fault.message,
        };
        let fault = uncorrected(state, &why);
        self.fail_attempt(program, at, attempt, fault);
    }

    /// The input that a model proposes: an object that fits.
    fn read_proposal(&self, answer: &[u8]) -> Result<(Vec<u8>, String), Fault> {
        let bad = |message: String| Fault { kind: kind::RESULT_INVALID.into(), message: message.into() };
        let input = value::cut(answer, &["input"]).ok_or_else(|| bad("the model gave no input".into()))?;
        let max = self.config.limits.rendered_bytes_max;
        if input.len() > max {
            return Err(bad(format!("the input has {} bytes, over rendered_bytes_max ({max})", input.len())));
        }
        if input.first() != Some(&b'{') {
            return Err(bad("the input that the model proposes is no object".into()));
        }
        let reason = value::cut(answer, &["reason"]).unwrap_or_default();
        let reason: String = serde_json::from_slice(reason).unwrap_or_default();
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        Ok((input.to_vec(), reason))
    }

    /// A job that nobody tries again: its node failed.
    pub(crate) fn fail_attempt(&mut self, program: &Program, at: At, attempt: u32, fault: Fault) {
        let ended = Ended { status: "error", result: Err(fault), retryable: false };
        self.decide_attempt(program, at, Closed { attempt, ..Closed::default() }, &ended);
    }
}

/// The error of a node, and why it was not corrected.
fn uncorrected(node: &Node, why: &str) -> Fault {
    let failed = node.error.as_deref().cloned();
    let failed = failed.unwrap_or_else(|| Fault { kind: kind::CANCELLED.into(), message: "".into() });
    Fault { kind: failed.kind, message: format!("{}{NO_CORRECTION}{why})", failed.message).into() }
}

impl Care {
    /// Nothing but the time of all attempts.
    pub(crate) fn closes_before(&self, time: i64) -> bool {
        self.close_by != 0 && time >= self.close_by
    }
}
