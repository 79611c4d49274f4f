//! A patch that a policy holds for a person: proposed, then applied as if it were asked for at that moment, or rejected.

use crate::action::{Answer, Refusal};
use crate::command::{ApprovePatch, author_kind};
use crate::error::code;
use crate::event::Event;
use crate::event::patch::{PatchApplied, PatchProposed, PatchRejected};
use crate::event::wire::{Flag, Hash, Json};
use crate::machine::Machine;
use crate::partition::registry::over;
use crate::partition::turn::{refusal, refused};
use crate::record::NONE;
use crate::run::conflict::against;
use crate::run::patch::{Fate, Passed, Wanted, gate_of, id_of, patched};
use crate::run::rollback::unknown_patch;
use crate::state::run::Run;
use apex_ir::overlay::{Resolved, check_security, read_operations};

impl Machine {
    /// Records a patch that waits for a person.
    pub(crate) fn propose_patch(&mut self, slot: u32, wanted: &Wanted<'_>, passed: Passed) -> Result<Answer, Refusal> {
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        let max = self.config.limits.proposals_per_run_max;
        if run.proposals().iter().filter(|proposal| !proposal.rejected).count() >= max {
            return Err(over("proposals_per_run_max", max));
        }
        let number = run.next_patch();
        // What it makes must fit now, so that a person is asked about something that can be.
        self.fitting_program(slot, &passed.program, passed.ir, code::PATCH_MEANING_REFUSED)?;
        let event = Event::PatchProposed(PatchProposed {
            number,
            operations: Json(&passed.operations),
            patch: Json(&passed.patch),
            author: wanted.author,
            reason: wanted.reason,
            base_epoch: wanted.base_epoch,
            idempotency_key: wanted.key,
            request_hash: Hash(wanted.request_hash),
        });
        self.emit(slot, &event, wanted.cause);
        self.tally.patch(author_kind(wanted.author), "proposed", "");
        let run = self.state.run(slot).ok_or_else(gone)?;
        Ok(patched(run, number, Fate::Proposed, 0, false))
    }

    /// Takes the decision of a person. The same one again gives the same answer.
    pub(crate) fn approve_patch(&mut self, token: u64, command: &ApprovePatch) {
        let outcome = self.try_approve(command);
        self.reply_and_visit(token, outcome);
    }

    pub(crate) fn try_approve(&mut self, command: &ApprovePatch) -> Result<(u32, Answer), Refusal> {
        let ApprovePatch { tenant, patch_id, by, reason, .. } = command;
        let (slot, number) = self.hand_patch(tenant, patch_id, by, reason)?;
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        let Some(place) = run.proposals().iter().position(|proposal| proposal.number == number) else {
            return decided(run, number, command.approve)
                .ok_or_else(|| unknown_patch(patch_id))?
                .map(|answer| (slot, answer));
        };
        let proposal = &run.proposals()[place];
        if proposal.rejected {
            if command.approve {
                let message = format!("patch {patch_id} was rejected");
                return Err(refusal(code::WRONG_STATE, message));
            }
            return Ok((slot, patched(run, number, Fate::Rejected, 0, true)));
        }
        if !command.approve {
            let kind = author_kind(&proposal.author);
            let event = PatchRejected { number, by, decision_reason: reason, ..PatchRejected::default() };
            self.emit(slot, &Event::PatchRejected(event), NONE);
            self.tally.patch(kind, "rejected", "");
            let run = self.state.run(slot).ok_or_else(gone)?;
            return Ok((slot, patched(run, number, Fate::Rejected, 0, false)));
        }
        let kind = author_kind(&proposal.author);
        self.apply_proposal(slot, place, command).map(|answer| (slot, answer)).inspect_err(|refusal| {
            self.tally.patch(kind, "refused", gate_of(refusal.code));
        })
    }

    /// The gates once more, as the run stands now; refused, the patch stays proposed.
    fn apply_proposal(&mut self, slot: u32, place: usize, command: &ApprovePatch) -> Result<Answer, Refusal> {
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        self.refuse_fixed(run)?;
        let proposal = &run.proposals()[place];
        let (number, epoch, base_epoch) = (proposal.number, proposal.epoch, proposal.base_epoch);
        let (author, reason, key) = (proposal.author.clone(), proposal.reason.clone(), proposal.key.clone());
        let (request_hash, bytes) = (proposal.request_hash, proposal.operations.clone());
        let migrated = run.extra.as_ref().map_or(0, |extra| extra.migrated);
        if epoch < migrated {
            let message =
                format!("the run moved to another version in epoch {migrated}: reject it, and patch that one");
            return Err(against(&message, &[], run.epoch, &[]));
        }
        // What a pass proved, it proved of one definition (docs/decisions/0018).
        if epoch < run.epoch && author_kind(&author) == "optimizer" {
            let message =
                format!("it was proved of epoch {epoch} only, and the run is in epoch {}: reject it", run.epoch);
            return Err(against(&message, &[], run.epoch, &run.changed_since(epoch)));
        }
        let unreadable = |reason: String| refusal(code::DEFINITION_UNREADABLE, reason);
        let operations = read_operations(&bytes).map_err(unreadable)?;
        let program = self.ready(slot).ok_or_else(gone)?;
        let ir = self.rebased_ir(slot, epoch, &operations)?;
        let resolved = Resolved { operations, ir };
        let grant = &command.rules.of(&author).grant;
        let found = check_security(&program.ir, &resolved, command.rules.functions.as_deref(), grant);
        if !found.is_empty() {
            return Err(refused(code::PATCH_SECURITY_REFUSED, found));
        }
        let event = PatchApplied {
            number,
            operations: Json(&bytes),
            author: &author,
            reason: &reason,
            base_epoch,
            idempotency_key: &key,
            request_hash: Hash(request_hash),
            approved: Flag(true),
            approved_by: &command.by,
            approval_reason: &command.reason,
            ..PatchApplied::default()
        };
        self.record_patch(slot, &program, resolved.ir, event, NONE)
    }
}

/// The answer to a decision about a patch that waits for none any more; `None`: there is no such patch.
fn decided(run: &Run, number: u32, approve: bool) -> Option<Result<Answer, Refusal>> {
    let layer = run.layers().iter().find(|layer| layer.number == number);
    let patch = id_of(&run.id, number);
    match layer {
        Some(layer) if approve => Some(Ok(patched(run, number, Fate::Applied, layer.epoch, true))),
        Some(_) => Some(Err(refusal(code::WRONG_STATE, format!("patch {patch} was applied: roll it back")))),
        None if (1..run.next_patch()).contains(&number) => {
            Some(Err(refusal(code::WRONG_STATE, format!("patch {patch} was refused when it was given"))))
        }
        None => None,
    }
}
