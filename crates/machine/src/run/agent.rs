//! A patch in the result of an agent: decided before the result is recorded, so that the result is routed by what the
//! patch makes. Refused, it is recorded as that, and the result stands.

use crate::action::{JobKind, Patching, Refusal};
use crate::command::ResultPatch;
use crate::error::code;
use crate::event::Event;
use crate::event::patch::PatchRejected;
use crate::event::wire::{Json, write_json_str};
use crate::machine::Machine;
use crate::partition::jobs::InFlight;
use crate::partition::turn::refusal;
use crate::run::patch::{Wanted, gate_of, id_of};
use crate::state::run::{Run, Wait};
use apex_ir::ir::Kind;
use apex_ir::value::{self, ValueLimits};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Places of a refusal are recorded up to this size: they are for people, and the message says the first.
const DETAILS_BYTES: usize = 16 << 10;

/// The places of a refusal, where they are not too many to be recorded.
pub(crate) fn recorded(details: &[u8]) -> Json<'_> {
    Json(if details.len() > DETAILS_BYTES { &[] } else { details })
}

/// The last patches of agents that a run refused, as a JSON list.
fn refusals(run: &Run) -> Vec<u8> {
    let mut out = b"[".to_vec();
    let told = run.extra.as_ref().map_or(&[][..], |extra| &extra.refusals);
    for (n, refusal) in told.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b",{\"patch_id\":" } else { b"{\"patch_id\":" });
        write_json_str(&id_of(&run.id, refusal.number), &mut out);
        let texts = [
            ("author", &refusal.author),
            ("reason", &refusal.reason),
            ("code", &refusal.code),
            ("message", &refusal.message),
        ];
        for (name, text) in texts {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            write_json_str(text, &mut out);
        }
        out.extend_from_slice(b",\"details\":");
        out.extend_from_slice(if refusal.details.is_empty() { b"null" } else { &refusal.details });
        out.push(b'}');
    }
    out.push(b']');
    out
}

impl Machine {
    /// What an agent is shown of its run, where it may patch it.
    pub(crate) fn patching(&mut self, job: &InFlight) -> Option<Patching> {
        let run = self.state.run(job.run).filter(|run| run.id == job.run_id && !job.compensation)?;
        let (sym, epoch, basis) = (run.node(job.scope, job.slot)?.sym, run.epoch, run.basis());
        let program = self.program_of(&basis).ok()?;
        let node = &program.ir.nodes[program.ix(sym)? as usize];
        let may_patch = matches!(node.kind, Kind::Agent { may_patch: true, .. });
        let definition = may_patch.then(|| Arc::from(&*program.ir.canonical))?;
        let refused = self.state.run(job.run).map_or_else(Vec::new, refusals);
        Some(Patching { definition, epoch, refused })
    }

    /// Takes the patch of a result that is current. One of the same attempt was taken before where a crash came between
    /// the record of the patch and that of the result: that one stands.
    pub(crate) fn take_agents_patch(&mut self, job: InFlight, patch: &ResultPatch) {
        let Some(program) = self.ready(job.run) else { return };
        let Some(run) = self.state.run(job.run) else { return };
        let Some(node) = run.node(job.scope, job.slot) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        let definition = &program.ir.nodes[ix as usize];
        let author = format!("agent:{}", run.path(job.scope, &definition.id));
        let (key, cause) = (job.attempt.to_string(), node.requested_seq);
        if run.patch_of(&author, &key).is_some() {
            return;
        }
        let is_asked = matches!(&node.wait, Wait::Job(flight) if flight.kind == JobKind::Agent);
        let may_patch = is_asked && matches!(definition.kind, Kind::Agent { may_patch: true, .. });
        let reason = self.shortened(patch.reason.clone());
        let wanted = Wanted {
            operations: &patch.operations,
            reason: &reason,
            author: &author,
            base_epoch: patch.base_epoch,
            exact: false,
            key: &key,
            request_hash: Sha256::digest(&patch.operations).into(),
            cause,
        };
        let outcome = if run.is_node_given_up(job.scope, job.slot) {
            Err(refusal(code::WRONG_STATE, "the result of the node is not needed any more"))
        } else if may_patch {
            self.decide_patch(job.run, &wanted, &patch.rules).map(|_| ())
        } else {
            let message = format!("{} may not patch: its config does not say may_patch", definition.id);
            Err(refusal(code::PATCH_SECURITY_REFUSED, message))
        };
        if let Err(refusal) = outcome {
            self.reject_agents_patch(job.run, &wanted, &refusal);
        }
    }

    fn reject_agents_patch(&mut self, slot: u32, wanted: &Wanted<'_>, refusal: &Refusal) {
        let Some(run) = self.state.run(slot) else { return };
        let number = run.next_patch();
        // What is too large, or no value, is not kept.
        let limits = ValueLimits { bytes_max: self.config.limits.patch_bytes_max, ..ValueLimits::default() };
        let patch = value::canonical(wanted.operations, &limits).unwrap_or_default();
        let gate = gate_of(refusal.code);
        let event = PatchRejected {
            number,
            patch: Json(&patch),
            author: wanted.author,
            reason: wanted.reason,
            base_epoch: wanted.base_epoch,
            gate,
            code: refusal.code,
            message: &refusal.message,
            details: recorded(&refusal.details),
            kept_max: self.config.limits.patches_per_run_max as u64,
            ..PatchRejected::default()
        };
        self.emit(slot, &Event::PatchRejected(event), wanted.cause);
        self.tally.patch("agent", "refused", gate);
    }
}
