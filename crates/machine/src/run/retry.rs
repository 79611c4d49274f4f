//! Trying again: when, and the attempt itself.

use crate::action::JobKind;
use crate::event::Event;
use crate::event::node::NodeRetryScheduled;
use crate::event::wire::{Flag, Time};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::timer::out_of_time;
use crate::run::verdict::expression_failed;
use crate::state::run::{Corrected, Wait};
use apex_ir::ir::{Kind, Retry};
use sha2::{Digest, Sha256};

/// The delay before the attempt after `attempt`: `min(initial · factor^(attempt-1), max)`, times 1 ± jitter. Chance is
/// a hash of run, instance and attempt, so it is the same wherever it is asked.
pub(crate) fn delay_ns(policy: &Retry, run: &RunId, instance: &str, attempt: u32) -> i64 {
    let growth = policy.factor.powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX));
    let delay = (policy.initial_ns as f64 * growth).min(policy.max_ns as f64);
    let mut sha = Sha256::new();
    sha.update(run.0);
    sha.update(instance.as_bytes());
    sha.update(attempt.to_le_bytes());
    let digest = sha.finalize();
    let draw = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let swing = f64::from(draw) / f64::from(u32::MAX) * 2.0 - 1.0;
    // `as` saturates; a factor that is no number gives 0.
    ((delay * (1.0 + policy.jitter * swing)) as i64).max(0)
}

impl Machine {
    /// An attempt failed and may be tried again: says when.
    pub(crate) fn schedule_retry(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run(slot).filter(|run| !run.is_node_given_up(scope, node_slot)) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        if !matches!(node.wait, Wait::Retry { due: 0, .. }) {
            return;
        }
        let Some(ix) = program.ix(node.sym) else { return };
        let definition = &program.ir.nodes[ix as usize];
        let path = run.path(scope, &definition.id);
        let care = match &node.wait {
            Wait::Retry { flight, .. } => flight.care.as_deref(),
            _ => None,
        };
        let at = At { slot, scope, ix, cause: node.decided_seq };
        match care.map_or(Corrected::No, |care| care.correction) {
            Corrected::No => {}
            Corrected::Wanted => return self.request_correction(program, at, node_slot),
            Corrected::Proposed => return self.try_again(slot, scope, node_slot),
        }
        let kind = node.error.as_ref().map_or("", |error| &error.kind);
        let delay = delay_ns(definition.retry.of(kind), &run.id, &path, node.attempt);
        let event = Event::NodeRetryScheduled(NodeRetryScheduled {
            node: &path,
            attempt: node.attempt + 1,
            due: Time(self.now.saturating_add(delay).max(1)),
            compensation: Flag(false),
            error: None,
        });
        self.emit(slot, &event, at.cause);
        self.tally.retries += 1;
    }

    /// It is time for the next attempt: the same key, and the same input where no other was proposed.
    pub(crate) fn try_again(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(program) = self.ready(slot) else { return };
        // What waits in an item that is given up ends with it.
        let Some(run) = self.state.run(slot).filter(|run| !run.is_node_given_up(scope, node_slot)) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        if !matches!(node.wait, Wait::Retry { .. } | Wait::Rate(_)) {
            return;
        }
        let Some(flight) = node.wait.flight() else { return };
        let has_turn = matches!(node.wait, Wait::Rate(_));
        let Some(ix) = program.ix(node.sym) else { return };
        let at = At { slot, scope, ix, cause: node.decided_seq };
        let attempt = node.attempt + 1;
        if let Kind::Composite { .. } = program.ir.nodes[ix as usize].kind {
            let inputs = flight.input.clone();
            self.request_child(&program, at, attempt, &inputs);
            return;
        }
        if flight.care.as_ref().is_some_and(|care| care.closes_before(self.now)) {
            self.close_attempt(&program, at, node.attempt, out_of_time(), false);
            return;
        }
        let (job, has_input) = (flight.kind, !flight.input.is_empty() || flight.omitted);
        let (name, is_settled) = (self.state.symbols.name(flight.name).clone(), flight.omitted);
        let limit = program.ir.nodes[ix as usize].rate_limit.filter(|_| !has_turn && job != JobKind::Correction);
        if let Some(limit) = limit
            && !self.take_turn(&program, at, limit)
        {
            return;
        }
        if !has_input {
            // The breaker was open before its input was made.
            if let Err(error) = self.begin_job(&program, at, attempt) {
                let path = self.path(slot, scope, &program.ir.nodes[ix as usize].id);
                self.fail_node(&program, at, &expression_failed(&error, &path));
            }
            return;
        }
        let Some(given) = self.given(slot, scope, node_slot) else { return };
        self.request_attempt(&program, at, attempt, job, &name, (&given.input, &given.config), is_settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_swing_by_the_jitter() {
        let mut policy = Retry {
            max_attempts: 10,
            initial_ns: 200,
            factor: 2.0,
            max_ns: 1_000,
            jitter: 0.0,
            non_retryable: Box::default(),
            by_error: Box::default(),
        };
        let run = RunId::new_v7(1, 2, 3);
        let delays: Vec<i64> = (1..6).map(|attempt| delay_ns(&policy, &run, "a", attempt)).collect();
        assert_eq!(delays, [200, 400, 800, 1_000, 1_000]);
        policy.jitter = 0.5;
        let jittered: Vec<i64> = (1..200).map(|attempt| delay_ns(&policy, &run, "a", attempt + 3)).collect();
        assert!(jittered.iter().all(|delay| (500..=1_500).contains(delay)));
        assert!(jittered.iter().any(|delay| *delay < 700) && jittered.iter().any(|delay| *delay > 1_300));
        assert_eq!(delay_ns(&policy, &run, "a", 5), delay_ns(&policy, &run, "a", 5));
        assert_ne!(delay_ns(&policy, &run, "a", 5), delay_ns(&policy, &run, "b", 5));
    }
}
