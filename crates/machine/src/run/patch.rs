//! A patch changes the definition of a run: three gates, then the run goes on under what it makes
//! (docs/decisions/0017).

use crate::action::{Answer, Refusal};
use crate::command::ApplyPatch;
use crate::error::code;
use crate::event::Event;
use crate::event::patch::PatchApplied;
use crate::event::wire::{Hash, Json, Time, write_json_str};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::registry::over;
use crate::partition::turn::refusal;
use crate::record::NONE;
use crate::run::migrate::due_under;
use crate::run::pause::{answer_of, unknown_run};
use crate::run::replay::listed;
use crate::run::start::refuse_unsupported;
use crate::state::run::{Layer, Run};
use apex_ir::overlay::{
    self, Operation, PatchLimits, Resolved, check_security, conflicts, nodes_added, read_operations, resolve,
    write_operations,
};
use apex_ir::value::{self, ValueLimits};
use apex_ir::{Diagnostic, Ir};
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Machine {
    /// Takes a patch. One of a key that the run took before gives the same answer again.
    pub(crate) fn apply_patch(&mut self, token: u64, command: &ApplyPatch) {
        match self.try_patch(command) {
            Ok((slot, answer)) => {
                self.answer(token, answer);
                self.visit_now(slot);
            }
            Err(refusal) => self.refuse(token, refusal),
        }
    }

    fn try_patch(&mut self, command: &ApplyPatch) -> Result<(u32, Answer), Refusal> {
        let slot = self.open_run(&command.tenant, &command.run_id)?;
        self.check_name("author", &command.author)?;
        self.check_name("idempotency_key", &command.idempotency_key)?;
        self.check_text("reason", &command.reason)?;
        self.hand(command.run_id);
        let gone = || unknown_run(&command.run_id);
        let run = self.state.run(slot).ok_or_else(gone)?;
        let (key, request_hash) = (&*command.idempotency_key, request_hash(command));
        if let Some(layer) = run.layers().iter().find(|layer| !key.is_empty() && *layer.key == *key) {
            if layer.request_hash != request_hash {
                let message = format!("the key {key} was used for another patch");
                return Err(refusal(code::IDEMPOTENCY_KEY_REUSED, message));
            }
            return Ok((slot, patched(run, layer.number, layer.epoch, true)));
        }
        self.refuse_fixed(run)?;
        let base_epoch = command.base_epoch.unwrap_or(run.epoch);
        if base_epoch > run.epoch {
            let message = format!("the run is in epoch {}, not in {base_epoch} yet", run.epoch);
            return Err(refusal(code::PATCH_CONFLICT, message));
        }
        if command.exact && base_epoch < run.epoch {
            let message = format!("the run is in epoch {}, and the patch is for epoch {base_epoch} only", run.epoch);
            return Err(refusal(code::PATCH_CONFLICT, message));
        }
        let program = self.ready(slot).ok_or_else(gone)?;
        let older = self.ir_before(slot, base_epoch)?;
        let mut resolved = self.resolve_patch(command, older.as_ref().unwrap_or(&program.ir))?;
        let code = if older.is_some() { code::PATCH_CONFLICT } else { code::PATCH_MEANING_REFUSED };
        if older.is_some() {
            self.refuse_conflicts(slot, base_epoch, &resolved.operations)?;
            resolved.ir = self.patched_ir(slot, &resolved.operations, code)?;
        }
        // What it reaches anew is told from what is in force, which may be less than its author saw.
        let found = check_security(&program.ir, &resolved, command.functions.as_deref(), &command.grant);
        if !found.is_empty() {
            return Err(refused(code::PATCH_SECURITY_REFUSED, found));
        }
        let operations = write_operations(&resolved.operations);
        let patch = value::canonical(&command.operations, &ValueLimits::default()).unwrap_or_default();
        let event = PatchApplied {
            operations: Json(&operations),
            patch: Json(&patch),
            author: &command.author,
            reason: &command.reason,
            base_epoch,
            idempotency_key: key,
            request_hash: Hash(request_hash),
            ..PatchApplied::default()
        };
        self.check_bounds(slot, &resolved.operations, operations.len())?;
        // What a patch makes of what is in force is what base and all patches make.
        debug_assert!(self.patched_ir(slot, &resolved.operations, code).is_ok_and(|ir| ir.hash == resolved.ir.hash));
        self.record_patch(slot, &program, resolved.ir, event)?;
        let run = self.state.run(slot).ok_or_else(gone)?;
        let number = run.layers().last().map_or(0, |layer| layer.number);
        Ok((slot, patched(run, number, run.epoch, false)))
    }

    /// What of the gates is about definitions.
    fn resolve_patch(&self, command: &ApplyPatch, before: &Ir) -> Result<Resolved, Refusal> {
        let shape = PatchLimits { bytes_max: self.config.limits.patch_bytes_max, ..PatchLimits::default() };
        let functions = command.functions.as_deref();
        let resolved =
            resolve(before, &command.operations, functions, &shape, &apex_ir::Limits::default()).map_err(|found| {
                match found {
                    overlay::Refusal::Shape(error) => {
                        let detail = format!("{} [{}]", error.message, error.code);
                        listed(code::PATCH_SHAPE_REFUSED, error.message, &[(error.pointer, detail)])
                    }
                    overlay::Refusal::Meaning(found) => refused(code::PATCH_MEANING_REFUSED, found),
                }
            })?;
        if resolved.operations.is_empty() {
            return Err(refusal(code::PATCH_MEANING_REFUSED, "the patch changes nothing"));
        }
        Ok(resolved)
    }

    /// What operations make of what is in force.
    pub(crate) fn patched_ir(&self, slot: u32, operations: &[Operation], misfit: &'static str) -> Result<Ir, Refusal> {
        let Some(run) = self.state.run(slot) else { return Err(refusal(code::RUN_ENDED, "the run has ended")) };
        let in_force = run.layers().iter().filter(|layer| layer.dropped == 0);
        self.materialized(run, in_force, operations).map_err(|found| refused(misfit, found))
    }

    /// The definition of a run at an epoch before the one in force; `None`: it is that one.
    fn ir_before(&self, slot: u32, epoch: u32) -> Result<Option<Ir>, Refusal> {
        let Some(run) = self.state.run(slot).filter(|run| epoch < run.epoch) else { return Ok(None) };
        let migrated = run.extra.as_ref().map_or(0, |extra| extra.migrated);
        if epoch < migrated {
            let message = format!("the run moved to another version in epoch {migrated}: make the patch for that one");
            return Err(refusal(code::PATCH_CONFLICT, message));
        }
        let layers = run.layers().iter().filter(|layer| layer.is_in_force(epoch));
        self.materialized(run, layers, &[]).map(Some).map_err(|found| refused(code::DEFINITION_UNREADABLE, found))
    }

    /// What layers, and operations after them, make of the version of a run.
    fn materialized<'l>(
        &self,
        run: &Run,
        layers: impl Iterator<Item = &'l Layer>,
        more: &[Operation],
    ) -> Result<Ir, Vec<Diagnostic>> {
        let fault = |message: String| {
            vec![Diagnostic { code: "DEFINITION_UNREADABLE", pointer: String::new(), message, hint: None }]
        };
        let version = self.state.version(run.tenant, run.workflow, run.version);
        let version = version.ok_or_else(|| fault("the version of the run is not registered".into()))?;
        let layers: Result<Vec<_>, String> = layers.map(|layer| read_operations(&layer.operations)).collect();
        let layers = layers.map_err(fault)?;
        let mut all: Vec<&[Operation]> = layers.iter().map(Vec::as_slice).collect();
        all.push(more);
        overlay::materialize(&version.definition, &all, &apex_ir::Limits::default()).map_err(|found| match found {
            overlay::Refusal::Meaning(found) => found,
            overlay::Refusal::Shape(error) => fault(error.message),
        })
    }

    /// Refuses operations that touch what was changed after an epoch.
    fn refuse_conflicts(&self, slot: u32, epoch: u32, operations: &[Operation]) -> Result<(), Refusal> {
        let Some(run) = self.state.run(slot) else { return Ok(()) };
        let is_since = |layer: &&Layer| layer.epoch > epoch || layer.dropped > epoch;
        let since: Vec<&Layer> = run.layers().iter().filter(is_since).collect();
        let others: Vec<Vec<Operation>> =
            since.iter().map(|layer| read_operations(&layer.operations).unwrap_or_default()).collect();
        let others: Vec<&[Operation]> = others.iter().map(Vec::as_slice).collect();
        let found = conflicts(operations, &others);
        if found.is_empty() {
            return Ok(());
        }
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|conflict| {
                let mut operation = Vec::new();
                operations[conflict.operation].to_value().write_canonical(&mut operation);
                let operation = String::from_utf8_lossy(&operation);
                let patch = id_of(&run.id, since[conflict.patch].number);
                (String::new(), format!("{} was changed since by {patch}: {operation}", conflict.what))
            })
            .collect();
        let message = format!("the run was patched since epoch {epoch} where this patch changes it");
        Err(listed(code::PATCH_CONFLICT, message, &found))
    }

    /// Records a patch that makes `ir`, where the run can go on under that.
    pub(crate) fn record_patch(
        &mut self,
        slot: u32,
        old: &Program,
        ir: Ir,
        event: PatchApplied<'_>,
    ) -> Result<(), Refusal> {
        let new = self.accept_program(slot, old, ir, code::PATCH_MEANING_REFUSED)?;
        let Some(run) = self.state.run(slot) else { return Ok(()) };
        let event = Event::PatchApplied(PatchApplied {
            number: run.layers().last().map_or(0, |layer| layer.number) + 1,
            epoch: run.epoch + 1,
            definition_hash: Hash(new.ir.hash),
            nodes_total: new.ir.graphs[0].nodes.len() as u32,
            due: Time(due_under(run, &new)),
            ..event
        });
        self.emit(slot, &event, NONE);
        self.tally.patches += 1;
        Ok(())
    }

    /// The program that a run goes on under, once it may; else each reason, under a code.
    pub(crate) fn accept_program(
        &mut self,
        slot: u32,
        old: &Program,
        ir: Ir,
        code: &'static str,
    ) -> Result<Arc<Program>, Refusal> {
        let max = self.config.limits.definition_bytes_max;
        if ir.canonical.len() > max {
            return Err(over("definition_bytes_max", max));
        }
        let new = self.programmed(ir);
        refuse_unsupported(&new)?;
        let misfits = self.misfits(slot, old, &new);
        if !misfits.is_empty() {
            return Err(listed(code, "it changes what the run has begun".into(), &misfits));
        }
        // What a patch made is of this run, mostly: nobody needs it any more.
        if self.state.run(slot).is_some_and(|run| run.layers().iter().any(|layer| layer.dropped == 0)) {
            self.programs.remove(&old.ir.hash);
        }
        self.programs.put(new.ir.hash, new.clone(), self.config.limits.programs_max);
        Ok(new)
    }

    /// Refuses operations (and their bytes) that are more than a run may be patched with.
    pub(crate) fn check_bounds(&self, slot: u32, operations: &[Operation], bytes: usize) -> Result<(), Refusal> {
        let Some(run) = self.state.run(slot) else { return Ok(()) };
        let limits = &self.config.limits;
        if run.layers().len() >= limits.patches_per_run_max {
            return Err(over("patches_per_run_max", limits.patches_per_run_max));
        }
        let held: usize = run.layers().iter().map(|layer| layer.operations.len()).sum();
        if held + bytes > limits.patched_bytes_max {
            return Err(over("patched_bytes_max", limits.patched_bytes_max));
        }
        let added = nodes_added(operations);
        if added > limits.patch_nodes_max {
            return Err(over("patch_nodes_max", limits.patch_nodes_max));
        }
        let in_force = run.layers().iter().filter(|layer| layer.dropped == 0);
        let before = in_force.map(|layer| nodes_added(&read_operations(&layer.operations).unwrap_or_default()));
        if before.sum::<usize>() + added > limits.patched_nodes_max {
            return Err(over("patched_nodes_max", limits.patched_nodes_max));
        }
        Ok(())
    }

    /// The definition that an open run of this tenant goes on under (canonical bytes), and its epoch.
    ///
    /// # Errors
    /// An unknown or ended run, and one whose definition cannot be read any more.
    pub fn definition_of(&mut self, tenant: &str, run_id: &RunId) -> Result<(Box<[u8]>, u32), Refusal> {
        let view = self.run(tenant, run_id).ok_or_else(|| unknown_run(run_id))?;
        let ended = || refusal(code::RUN_ENDED, format!("run {run_id} has ended: {}", view.state.as_str()));
        // A run at rest stays there.
        let run = self.state.look(run_id).ok_or_else(ended)?;
        let (basis, epoch) = (run.basis(), run.epoch);
        drop(run);
        let program = self.program_of(&basis).map_err(|reason| refusal(code::DEFINITION_UNREADABLE, reason))?;
        Ok((program.ir.canonical.clone(), epoch))
    }
}

/// What makes two patches the same request.
fn request_hash(command: &ApplyPatch) -> [u8; 32] {
    let epoch = command.base_epoch.map_or_else(Vec::new, |epoch| epoch.to_le_bytes().to_vec());
    let mut sha = Sha256::new();
    for part in [&*command.operations, command.reason.as_bytes(), command.author.as_bytes(), &epoch] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

/// What a compiler found, as the reason of a refusal.
fn refused(code: &'static str, found: Vec<Diagnostic>) -> Refusal {
    let message = found.first().map_or_else(String::new, |first| first.message.clone());
    let named = |fault: Diagnostic| (fault.pointer, format!("{} [{}]", fault.message, fault.code));
    let found: Vec<(String, String)> = found.into_iter().map(named).collect();
    listed(code, message, &found)
}

/// The id of a patch.
pub(crate) fn id_of(run: &RunId, number: u32) -> String {
    format!("{run}~p{number}")
}

/// The answer: which patch, the epoch that it made, and where the run stands.
pub(crate) fn patched(run: &Run, number: u32, epoch: u32, existing: bool) -> Answer {
    let mut details = b"{\"patch_id\":".to_vec();
    write_json_str(&id_of(&run.id, number), &mut details);
    details.extend_from_slice(format!(",\"epoch\":{epoch}}}").as_bytes());
    Answer { existing, details, ..answer_of(run) }
}
