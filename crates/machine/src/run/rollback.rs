//! A patch of a run is dropped: the run goes on under what the others make of its version.

use crate::action::{Answer, Refusal};
use crate::command::RollbackPatch;
use crate::error::code;
use crate::event::Event;
use crate::event::patch::PatchRolledBack;
use crate::event::wire::{Hash, Time};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::turn::{refusal, refused};
use crate::record::NONE;
use crate::run::conflict::{Other, against, compare};
use crate::run::migrate::due_under;
use crate::run::patch::{Fate, patched};
use apex_ir::Ir;
use apex_ir::overlay::{Operation, Standing, check_approvals, read_operations, rollback};

impl Machine {
    /// Takes a rollback. A patch that was dropped gives the same answer again.
    pub(crate) fn roll_back_patch(&mut self, token: u64, command: &RollbackPatch) {
        let outcome = self.try_roll_back(command);
        self.reply_and_visit(token, outcome);
    }

    pub(crate) fn try_roll_back(&mut self, command: &RollbackPatch) -> Result<(u32, Answer), Refusal> {
        let RollbackPatch { tenant, patch_id, by, reason, .. } = command;
        let (slot, number) = self.hand_patch(tenant, patch_id, by, reason)?;
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        let layer = run.layers().iter().find(|layer| layer.number == number).ok_or_else(|| unknown_patch(patch_id))?;
        if layer.dropped != 0 {
            return Ok((slot, patched(run, number, Fate::RolledBack, layer.dropped, true)));
        }
        self.refuse_fixed(run)?;
        let program = self.ready(slot).ok_or_else(gone)?;
        let ir = self.without_patch(slot, number)?;
        let found = check_approvals(&program.ir, &ir, &command.rules.of(&command.by).grant);
        if !found.is_empty() {
            return Err(refused(code::PATCH_SECURITY_REFUSED, found));
        }
        let new = self.accept_program(slot, &program, ir, code::PATCH_STARTED)?;
        let run = self.state.run(slot).ok_or_else(gone)?;
        let epoch = run.epoch + 1;
        let event = Event::PatchRolledBack(PatchRolledBack {
            number,
            epoch,
            definition_hash: Hash(new.ir.hash),
            nodes_total: new.ir.graphs[0].nodes.len() as u32,
            due: Time(due_under(run, &new)),
            reason: &command.reason,
            by: &command.by,
        });
        self.emit(slot, &event, NONE);
        self.tally.rollbacks += 1;
        let run = self.state.run(slot).ok_or_else(gone)?;
        Ok((slot, patched(run, number, Fate::RolledBack, epoch, false)))
    }

    /// The open run that a patch is for and the number that it may have there, for somebody who decides about it.
    pub(crate) fn hand_patch(
        &mut self,
        tenant: &str,
        patch_id: &str,
        by: &str,
        reason: &str,
    ) -> Result<(u32, u32), Refusal> {
        let (run_id, number) = parse_id(patch_id).ok_or_else(|| unknown_patch(patch_id))?;
        let slot = self.open_run(tenant, &run_id)?;
        self.check_name("by", by)?;
        self.check_text("reason", reason)?;
        self.hand(run_id);
        Ok((slot, number))
    }

    /// What the other patches in force make of the version of a run.
    fn without_patch(&mut self, slot: u32, number: u32) -> Result<Ir, Refusal> {
        let unreadable = |reason: String| refusal(code::DEFINITION_UNREADABLE, reason);
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        let (tenant, workflow, version) = (run.tenant, run.workflow, run.version);
        let base = self.program(tenant, workflow, version).map_err(unreadable)?;
        let run = self.state.run(slot).ok_or_else(gone)?;
        let in_force: Vec<_> = run.layers().iter().filter(|layer| layer.dropped == 0).collect();
        let place = in_force.iter().position(|layer| layer.number == number).ok_or_else(gone)?;
        let layers: Result<Vec<_>, String> = in_force.iter().map(|layer| read_operations(&layer.operations)).collect();
        let layers = layers.map_err(unreadable)?;
        rollback(&base.ir, &layers, place, &apex_ir::Limits::default()).map_err(|standing| match standing {
            Standing::Unknown => gone(),
            Standing::Stands { patch, what } => {
                let later: Vec<Other> = in_force[place + 1..].iter().map(|layer| Other::of(run, layer)).collect();
                stands(run.epoch, &layers[place], &later, patch - place - 1, &what)
            }
            Standing::Base(found) => unreadable(found.reason()),
        })
    }
}

/// The refusal about a patch that is not there.
pub(crate) fn unknown_patch(patch_id: &str) -> Refusal {
    refusal(code::PATCH_NOT_FOUND, format!("there is no patch {patch_id}"))
}

/// Refuses to drop `own`: with each later patch that touches the same, else with the one (`first` of them) that makes no
/// definition without it, for the reason `what`.
pub(crate) fn stands(epoch: u32, own: &[Operation], later: &[Other], first: usize, what: &str) -> Refusal {
    let why = |other: &Other, what: &str| format!("{} stands on this patch: {what}", other.id);
    let Some(other) = later.get(first) else { return refusal(code::PATCH_CONFLICT, what) };
    let message = why(other, what);
    match compare(&message, why, epoch, own, later) {
        Err(refusal) => refusal,
        Ok(()) => against(&message, &[(String::new(), message.clone())], epoch, &later[first..=first]),
    }
}

/// The run and the number in the id of a patch.
fn parse_id(id: &str) -> Option<(RunId, u32)> {
    let (run, number) = id.split_once("~p")?;
    Some((RunId::parse(run)?, number.parse().ok().filter(|number| *number > 0)?))
}
