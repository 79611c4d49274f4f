//! A run goes on under another version of its workflow.

use crate::action::{Answer, Refusal};
use crate::command::MigrateRun;
use crate::error::code;
use crate::event::Event;
use crate::event::run::RunMigrated;
use crate::event::wire::{Hash, Time, write_json_str};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::registry::{Basis, unknown};
use crate::partition::turn::{listed, refusal};
use crate::record::NONE;
use crate::run::pause::{answer_of, unknown_run};
use crate::state::run::Run;

impl Machine {
    /// Takes a migration. A run that has this version already gives the same answer again.
    pub(crate) fn migrate_run(&mut self, token: u64, command: &MigrateRun) {
        let outcome = self.try_migrate(command);
        self.reply_and_visit(token, outcome);
    }

    pub(crate) fn try_migrate(&mut self, command: &MigrateRun) -> Result<(u32, Answer), Refusal> {
        let slot = self.open_run(&command.tenant, &command.run_id)?;
        self.check_name("by", &command.by)?;
        self.hand(command.run_id);
        let gone = || unknown_run(&command.run_id);
        let run = self.state.run(slot).ok_or_else(gone)?;
        let workflow = self.state.symbols.name(run.workflow).clone();
        let not_there = || unknown(&workflow, &command.selector);
        let found = self.state.select(&command.tenant, &workflow, &command.selector).ok_or_else(not_there)?;
        let (version, ir_hash) = (found.version, found.hash);
        if version == run.version {
            return Ok((slot, self.migrated(slot, true)));
        }
        self.refuse_fixed(run)?;
        if run.parent().is_some() {
            let message = format!("run {} runs for a composite node, whose workflow names its version", run.id);
            return Err(refusal(code::WRONG_STATE, message));
        }
        let mut basis = Basis { version, ir_hash, ..run.basis() };
        let old = self.ready(slot).ok_or_else(gone)?;
        let new = if basis.layers.is_empty() {
            self.program_of(&basis).map_err(|reason| {
                refusal(code::DEFINITION_UNREADABLE, format!("the definition no longer compiles: {reason}"))
            })?
        } else {
            // Its patches go along.
            let made = self.overlay(&basis).map_err(|reason| {
                let message = "the version is another one where the run was patched".into();
                listed(code::VERSION_INCOMPATIBLE, message, &[(String::new(), reason)])
            })?;
            basis.ir_hash = made.ir.hash;
            made
        };
        let misfits = self.misfits(slot, &old, &new);
        let (to, from) = (self.state.symbols.name(version).clone(), old.ir.version.clone());
        if !misfits.is_empty() {
            let message = format!("version {to} is another one where the run has begun");
            return Err(listed(code::VERSION_INCOMPATIBLE, message, &misfits));
        }
        let run = self.state.run(slot).ok_or_else(gone)?;
        let event = Event::RunMigrated(RunMigrated {
            version: &to,
            ir_hash: Hash(basis.ir_hash),
            epoch: run.epoch + 1,
            nodes_total: new.ir.graphs[0].nodes.len() as u32,
            due: Time(due_under(run, &new)),
            previous_version: &from,
            by: &command.by,
        });
        self.emit(slot, &event, NONE);
        self.tally.migrations += 1;
        Ok((slot, self.migrated(slot, false)))
    }

    /// Refuses another program where none can be right, whatever it says.
    pub(crate) fn refuse_fixed(&self, run: &Run) -> Result<(), Refusal> {
        let why = if run.failing.is_some() {
            "is being undone by the definition that it has"
        } else if run.keeps_results() {
            "keeps results of the run that it replays"
        } else if self.is_told(run) {
            "ends: the run that it ran for has recorded that"
        } else {
            return Ok(());
        };
        Err(refusal(code::WRONG_STATE, format!("run {} {why}", run.id)))
    }

    /// The answer: where the run stands, and under what.
    fn migrated(&self, slot: u32, existing: bool) -> Answer {
        let Some(run) = self.state.run(slot) else { return Answer::default() };
        let mut details = b"{\"version\":".to_vec();
        write_json_str(self.state.symbols.name(run.version), &mut details);
        details.extend_from_slice(format!(",\"epoch\":{}}}", run.epoch).as_bytes());
        Answer { existing, details, ..answer_of(run) }
    }
}

/// When a run is out of time under a program; 0: never.
pub(crate) fn due_under(run: &Run, program: &Program) -> i64 {
    program.ir.timeout_ns.map_or(0, |timeout| run.started_ns.saturating_add(timeout).max(1))
}
