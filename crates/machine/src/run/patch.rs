//! A patch changes the definition of a run: three gates, then the run goes on under what it makes
//! (docs/decisions/0017).

use crate::action::{Answer, Refusal};
use crate::command::{ApplyPatch, PatchPolicy, PatchRules, author_kind};
use crate::error::code;
use crate::event::Event;
use crate::event::patch::PatchApplied;
use crate::event::wire::{Hash, Json, Time, write_json_str};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::registry::over;
use crate::partition::turn::{listed, places, refusal, refused};
use crate::record::NONE;
use crate::run::conflict::{Other, against, compare, key_reused};
use crate::run::migrate::due_under;
use crate::run::pause::{answer_of, unknown_run};
use crate::state::run::{Layer, Run};
use apex_ir::overlay::{
    self, Operation, PatchError, PatchLimits, Resolved, check_security, read_operations, resolve, write_operations,
};
use apex_ir::value::{self, ValueLimits};
use apex_ir::{Diagnostic, Ir};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A patch that somebody wants.
pub(crate) struct Wanted<'w> {
    pub(crate) operations: &'w [u8],
    pub(crate) reason: &'w str,
    pub(crate) author: &'w str,
    pub(crate) base_epoch: u32,
    /// For that epoch only.
    pub(crate) exact: bool,
    /// Empty: none.
    pub(crate) key: &'w str,
    pub(crate) request_hash: [u8; 32],
    /// Offset of the record that led here.
    pub(crate) cause: u64,
}

/// What the gates let through.
pub(crate) struct Passed {
    pub(crate) program: Arc<Program>,
    pub(crate) ir: Ir,
    pub(crate) operations: Vec<u8>,
    /// As sent, in canonical form.
    pub(crate) patch: Vec<u8>,
}

/// What became of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Applied,
    Proposed,
    Rejected,
    RolledBack,
}

impl Fate {
    /// As readers see it.
    fn as_str(self) -> &'static str {
        match self {
            Fate::Applied => "APPLIED",
            Fate::Proposed => "PROPOSED",
            Fate::Rejected => "REJECTED",
            Fate::RolledBack => "ROLLED_BACK",
        }
    }
}

impl Machine {
    /// Takes a patch. One of a key that the run took before gives the same answer again.
    pub(crate) fn apply_patch(&mut self, token: u64, command: &ApplyPatch) {
        match self.try_patch(command) {
            Ok((slot, answer)) => {
                self.answer(token, answer);
                self.visit_now(slot);
            }
            Err(refusal) => {
                self.tally.patch(author_kind(&command.author), "refused", gate_of(refusal.code));
                self.refuse(token, refusal);
            }
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
        let (key, author, request_hash) = (&*command.idempotency_key, &*command.author, request_hash(command));
        if let Some(known) = run.patch_of(author, key) {
            if known.request_hash != request_hash {
                return Err(key_reused(key, run.epoch, &known.standing(&run.id)));
            }
            return Ok((slot, patched(run, known.number, known.fate, known.epoch, true)));
        }
        let wanted = Wanted {
            operations: &command.operations,
            reason: &command.reason,
            author,
            base_epoch: command.base_epoch.unwrap_or(run.epoch),
            exact: command.exact,
            key,
            request_hash,
            cause: NONE,
        };
        self.decide_patch(slot, &wanted, &command.rules).map(|answer| (slot, answer))
    }

    /// Passes a patch through the gates; records it as applied, or as proposed where its author needs a person.
    pub(crate) fn decide_patch(
        &mut self,
        slot: u32,
        wanted: &Wanted<'_>,
        rules: &PatchRules,
    ) -> Result<Answer, Refusal> {
        let policy = rules.of(wanted.author).policy;
        if policy == PatchPolicy::Refuse {
            return Err(policy_refuses(wanted.author));
        }
        let passed = self.pass_gates(slot, wanted, rules)?;
        if policy == PatchPolicy::Approve {
            return self.propose_patch(slot, wanted, passed);
        }
        let event = PatchApplied {
            operations: Json(&passed.operations),
            patch: Json(&passed.patch),
            author: wanted.author,
            reason: wanted.reason,
            base_epoch: wanted.base_epoch,
            idempotency_key: wanted.key,
            request_hash: Hash(wanted.request_hash),
            ..PatchApplied::default()
        };
        self.record_patch(slot, &passed.program, passed.ir, event, wanted.cause)
    }

    /// The three gates, as the run stands.
    fn pass_gates(&mut self, slot: u32, wanted: &Wanted<'_>, rules: &PatchRules) -> Result<Passed, Refusal> {
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let run = self.state.run(slot).ok_or_else(gone)?;
        self.refuse_fixed(run)?;
        let base_epoch = wanted.base_epoch;
        if base_epoch > run.epoch {
            let message = format!("the run is in epoch {}, not in {base_epoch} yet", run.epoch);
            return Err(against(&message, &[], run.epoch, &[]));
        }
        if wanted.exact && base_epoch < run.epoch {
            let message = format!("the run is in epoch {}, and the patch is for epoch {base_epoch} only", run.epoch);
            return Err(against(&message, &[], run.epoch, &run.changed_since(base_epoch)));
        }
        let program = self.ready(slot).ok_or_else(gone)?;
        let older = self.ir_before(slot, base_epoch)?;
        let mut resolved = self.resolve_patch(wanted, rules, older.as_ref().unwrap_or(&program.ir))?;
        if older.is_some() {
            resolved.ir = self.rebased_ir(slot, base_epoch, &resolved.operations)?;
        }
        // What it reaches anew is told from what is in force, which may be less than its author saw.
        let grant = &rules.of(wanted.author).grant;
        let found = check_security(&program.ir, &resolved, rules.functions.as_deref(), grant);
        if !found.is_empty() {
            return Err(refused(code::PATCH_SECURITY_REFUSED, found));
        }
        let operations = write_operations(&resolved.operations);
        let patch = value::canonical(wanted.operations, &ValueLimits::default()).unwrap_or_default();
        self.check_bounds(slot, wanted.author, &resolved.operations, operations.len())?;
        if cfg!(debug_assertions) {
            // What a patch makes of what is in force is what base and all patches make. To see that is no work of the turn.
            let compiled = self.compiled;
            let made = self.patched_ir(slot, &resolved.operations);
            assert!(made.is_ok_and(|ir| ir.hash == resolved.ir.hash));
            self.compiled = compiled;
        }
        Ok(Passed { program, ir: resolved.ir, operations, patch })
    }

    /// What of the gates is about definitions.
    fn resolve_patch(&self, wanted: &Wanted<'_>, rules: &PatchRules, before: &Ir) -> Result<Resolved, Refusal> {
        let shape = PatchLimits { bytes_max: self.config.limits.patch_bytes_max, ..PatchLimits::default() };
        let functions = rules.functions.as_deref();
        let limits = apex_ir::Limits::default();
        let resolved = resolve(before, wanted.operations, functions, &shape, &limits).map_err(unresolved)?;
        if resolved.operations.is_empty() {
            return Err(refusal(code::PATCH_MEANING_REFUSED, "the patch changes nothing"));
        }
        Ok(resolved)
    }

    /// What operations make of what is in force.
    pub(crate) fn patched_ir(&mut self, slot: u32, operations: &[Operation]) -> Result<Ir, Vec<Diagnostic>> {
        self.materialized(slot, |layer| layer.dropped == 0, operations)
    }

    /// What operations that were made in an epoch make of what is in force by now, where nothing that came since stands
    /// against them.
    pub(crate) fn rebased_ir(&mut self, slot: u32, epoch: u32, operations: &[Operation]) -> Result<Ir, Refusal> {
        let run = self.state.run(slot).ok_or_else(|| refusal(code::RUN_ENDED, "the run has ended"))?;
        let now = run.epoch;
        if now == epoch {
            return self.patched_ir(slot, operations).map_err(|found| refused(code::PATCH_MEANING_REFUSED, found));
        }
        let since = run.changed_since(epoch);
        let message = format!("the run was patched since epoch {epoch} where this patch changes it");
        let why = |other: &Other, what: &str| format!("{what} was changed since by {}", other.id);
        compare(&message, why, now, operations, &since)?;
        self.patched_ir(slot, operations).map_err(|found| {
            let (message, errors) = places(found);
            against(&message, &errors, now, &since)
        })
    }

    /// The definition of a run at an epoch before the one in force; `None`: it is that one.
    fn ir_before(&mut self, slot: u32, epoch: u32) -> Result<Option<Ir>, Refusal> {
        let Some(run) = self.state.run(slot).filter(|run| epoch < run.epoch) else { return Ok(None) };
        let migrated = run.extra.as_ref().map_or(0, |extra| extra.migrated);
        if epoch < migrated {
            let message = format!("the run moved to another version in epoch {migrated}: make the patch for that one");
            return Err(against(&message, &[], run.epoch, &[]));
        }
        let made = self.materialized(slot, |layer| layer.is_in_force(epoch), &[]);
        made.map(Some).map_err(|found| refused(code::DEFINITION_UNREADABLE, found))
    }

    /// What some layers, and operations after them, make of the version of a run.
    fn materialized(
        &mut self,
        slot: u32,
        is_meant: impl Fn(&Layer) -> bool,
        more: &[Operation],
    ) -> Result<Ir, Vec<Diagnostic>> {
        let run = self.state.run(slot).ok_or_else(|| fault("the run has ended".into()))?;
        let layers = run.layers().iter().filter(|layer| is_meant(layer));
        let layers: Result<Vec<_>, String> = layers.map(|layer| read_operations(&layer.operations)).collect();
        let layers = layers.map_err(fault)?;
        let mut all: Vec<&[Operation]> = layers.iter().map(Vec::as_slice).collect();
        all.push(more);
        let (tenant, workflow, version) = (run.tenant, run.workflow, run.version);
        let base = self.program(tenant, workflow, version).map_err(fault)?;
        overlay::materialize(&base.ir, &all, &apex_ir::Limits::default()).map_err(|found| match found {
            overlay::Refusal::Meaning(found) => found,
            overlay::Refusal::Shape(error) => fault(error.message),
        })
    }

    /// Records a patch that makes `ir`, where the run can go on under that; one that was proposed under its number.
    pub(crate) fn record_patch(
        &mut self,
        slot: u32,
        old: &Program,
        ir: Ir,
        event: PatchApplied<'_>,
        cause: u64,
    ) -> Result<Answer, Refusal> {
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let new = self.accept_program(slot, old, ir, code::PATCH_MEANING_REFUSED)?;
        let run = self.state.run(slot).ok_or_else(gone)?;
        let number = if event.approved.0 { event.number } else { run.next_patch() };
        let event = PatchApplied {
            number,
            epoch: run.epoch + 1,
            definition_hash: Hash(new.ir.hash),
            nodes_total: new.ir.graphs[0].nodes.len() as u32,
            due: Time(due_under(run, &new)),
            ..event
        };
        let kind = author_kind(event.author);
        self.emit(slot, &Event::PatchApplied(event), cause);
        self.tally.patch(kind, "applied", "");
        let run = self.state.run(slot).ok_or_else(gone)?;
        Ok(patched(run, number, Fate::Applied, run.epoch, false))
    }

    /// The program that a run goes on under from here, once it may; else each reason, under a code.
    pub(crate) fn accept_program(
        &mut self,
        slot: u32,
        old: &Program,
        ir: Ir,
        code: &'static str,
    ) -> Result<Arc<Program>, Refusal> {
        let new = self.fitting_program(slot, old, ir, code)?;
        // What a patch made is of this run, mostly: nobody needs it any more.
        if self.state.run(slot).is_some_and(|run| run.layers().iter().any(|layer| layer.dropped == 0)) {
            self.programs.remove(&old.ir.hash);
        }
        self.programs.put(new.ir.hash, new.clone(), self.config.limits.programs_max);
        Ok(new)
    }

    /// A program that a run could go on under; else each reason, under a code.
    pub(crate) fn fitting_program(
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
        let misfits = self.misfits(slot, old, &new);
        if !misfits.is_empty() {
            return Err(listed(code, "it changes what the run has begun".into(), &misfits));
        }
        Ok(new)
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

fn fault(message: String) -> Vec<Diagnostic> {
    vec![Diagnostic { code: "DEFINITION_UNREADABLE", pointer: String::new(), message, hint: None }]
}

/// Why a patch is none that a compiler takes.
pub(crate) fn unresolved(found: overlay::Refusal) -> Refusal {
    match found {
        overlay::Refusal::Shape(error) => shape_refused(error),
        overlay::Refusal::Meaning(found) => refused(code::PATCH_MEANING_REFUSED, found),
    }
}

/// Why operations are no patch.
pub(crate) fn shape_refused(error: PatchError) -> Refusal {
    let PatchError { code, pointer, message, .. } = error;
    refused(code::PATCH_SHAPE_REFUSED, vec![Diagnostic { code, pointer, message, hint: None }])
}

/// The refusal of a policy for the kind of an author.
pub(crate) fn policy_refuses(author: &str) -> Refusal {
    let kind = author_kind(author);
    let message = format!("patches by an author of the kind {kind} are refused here (patches.{kind}_policy)");
    refusal(code::PATCH_SECURITY_REFUSED, message)
}

/// The id of a patch.
pub(crate) fn id_of(run: &RunId, number: u32) -> String {
    format!("{run}~p{number}")
}

/// The gate that a code belongs to; empty: none, it is as the run stands.
pub(crate) fn gate_of(code: &str) -> &'static str {
    match code {
        code::PATCH_SHAPE_REFUSED => "shape",
        code::PATCH_MEANING_REFUSED | code::PATCH_CONFLICT | code::PATCH_STARTED | code::LIMIT_EXCEEDED => "meaning",
        code::PATCH_SECURITY_REFUSED => "security",
        _ => "",
    }
}

/// A patch that an author sent under a key.
pub(crate) struct Known {
    pub(crate) number: u32,
    pub(crate) fate: Fate,
    /// That it made; 0: none.
    pub(crate) epoch: u32,
    dropped: u32,
    pub(crate) request_hash: [u8; 32],
}

impl Known {
    fn standing(&self, run: &RunId) -> Other {
        Other { id: id_of(run, self.number), epoch: self.epoch, dropped: self.dropped, operations: Vec::new() }
    }
}

impl Run {
    /// What an author sent under a key.
    pub(crate) fn patch_of(&self, author: &str, key: &str) -> Option<Known> {
        if key.is_empty() {
            return None;
        }
        let applied = self.layers().iter().find(|layer| *layer.key == *key && *layer.author == *author);
        if let Some(&Layer { number, epoch, dropped, request_hash, .. }) = applied {
            let fate = if dropped == 0 { Fate::Applied } else { Fate::RolledBack };
            return Some(Known { number, fate, epoch, dropped, request_hash });
        }
        let proposal = self.proposals().iter().find(|one| *one.key == *key && *one.author == *author)?;
        let fate = if proposal.rejected { Fate::Rejected } else { Fate::Proposed };
        let (number, request_hash) = (proposal.number, proposal.request_hash);
        Some(Known { number, fate, epoch: 0, dropped: 0, request_hash })
    }
}

/// The answer: which patch, what became of it, the epoch that it made (0: none), and where the run stands.
pub(crate) fn patched(run: &Run, number: u32, fate: Fate, epoch: u32, existing: bool) -> Answer {
    let mut details = b"{\"patch_id\":".to_vec();
    write_json_str(&id_of(&run.id, number), &mut details);
    details.extend_from_slice(format!(",\"state\":\"{}\",\"epoch\":{epoch}}}", fate.as_str()).as_bytes());
    Answer { existing, details, ..answer_of(run) }
}
