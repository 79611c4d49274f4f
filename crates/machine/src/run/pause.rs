//! Someone holds a run, or lets it go on.

use crate::action::{Answer, Refusal};
use crate::command::{PauseRun, ResumeRun};
use crate::error::code;
use crate::event::Event;
use crate::event::run::{CheckpointCreated, RunPaused, RunResumed};
use crate::event::waiting::TimerFired;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::turn::refusal;
use crate::record::NONE;
use crate::run::work::Work;
use crate::state::run::Run;

impl Machine {
    /// Takes a pause. A run that is paused gives the same answer again.
    pub(crate) fn pause_run(&mut self, token: u64, command: &PauseRun) {
        let outcome = self.try_pause(command);
        self.reply(token, outcome);
    }

    fn try_pause(&mut self, command: &PauseRun) -> Result<Answer, Refusal> {
        let slot = self.open_run(&command.tenant, &command.run_id)?;
        self.check_name("by", &command.by)?;
        self.check_text("reason", &command.reason)?;
        // What a fast run has decided in this turn has no offset before it is recorded.
        self.seal();
        let Some(run) = self.state.run(slot) else { return Err(unknown_run(&command.run_id)) };
        let (existing, offset) = (run.is_paused(), run.next_seq);
        if run.failing.is_some() && !existing {
            let message = format!("run {} is being undone, which cannot be paused", command.run_id);
            return Err(refusal(code::WRONG_STATE, message));
        }
        self.hand(command.run_id);
        if !existing {
            let checkpoint = format!("{}@{offset}", command.run_id);
            let created = Event::CheckpointCreated(CheckpointCreated { checkpoint_id: &checkpoint, offset });
            self.emit(slot, &created, NONE);
            let paused = RunPaused { reason: &command.reason, by: &command.by, checkpoint: &checkpoint };
            self.emit(slot, &Event::RunPaused(paused), NONE);
        }
        let Some(run) = self.state.run(slot) else { return Err(unknown_run(&command.run_id)) };
        let mut details = b"{\"checkpoint_id\":".to_vec();
        write_json_str(run.extra.as_ref().and_then(|extra| extra.paused.as_deref()).unwrap_or_default(), &mut details);
        details.push(b'}');
        Ok(Answer { existing, details, ..answer_of(run) })
    }

    /// Takes a resume. A run that is not paused gives the same answer again.
    pub(crate) fn resume_run(&mut self, token: u64, command: &ResumeRun) {
        let outcome = self.try_resume(command);
        self.reply_and_visit(token, outcome);
    }

    fn try_resume(&mut self, command: &ResumeRun) -> Result<(u32, Answer), Refusal> {
        let slot = self.open_run(&command.tenant, &command.run_id)?;
        self.check_name("by", &command.by)?;
        self.hand(command.run_id);
        let existing = self.state.run(slot).is_none_or(|run| !run.is_paused());
        if !existing {
            self.emit(slot, &Event::RunResumed(RunResumed { by: &command.by }), NONE);
        }
        let run = self.state.run(slot).ok_or_else(|| unknown_run(&command.run_id))?;
        Ok((slot, Answer { existing, ..answer_of(run) }))
    }

    /// The time of a retry has come in a run that is paused: said now, done once the run goes on.
    pub(crate) fn hold_retry(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let path = run.node_path(&self.state.symbols, scope, node_slot);
        let cause = node.decided_seq;
        self.emit(slot, &Event::TimerFired(TimerFired { node: &path, timer: "retry", ..Default::default() }), cause);
        if let Some(run) = self.state.run_mut(slot) {
            run.work.push_back(Work::Again { scope, slot: node_slot });
        }
    }

    /// The slot of an open run of a tenant that commands may change.
    pub(crate) fn open_run(&mut self, tenant: &str, run_id: &RunId) -> Result<u32, Refusal> {
        let tenant = self.state.symbols.find(tenant).ok_or_else(|| unknown_run(run_id))?;
        if let Some(ended) = self.state.ended.get(run_id).filter(|run| run.tenant == tenant) {
            return Err(refusal(code::RUN_ENDED, format!("run {run_id} has ended: {}", ended.state().as_str())));
        }
        let slot = self.state.find(run_id).ok_or_else(|| unknown_run(run_id))?;
        self.state.run(slot).filter(|run| run.tenant == tenant).ok_or_else(|| unknown_run(run_id))?;
        self.refuse_quarantined(run_id)?;
        Ok(slot)
    }

    /// Refuses a text for people that is longer than 16 names.
    pub(crate) fn check_text(&self, what: &str, text: &str) -> Result<(), Refusal> {
        let max = self.config.limits.name_bytes_max.saturating_mul(16);
        if text.len() > max {
            return Err(refusal(code::LIMIT_EXCEEDED, format!("the {what} is longer than {max} bytes")));
        }
        Ok(())
    }
}

/// No such run.
pub(crate) fn unknown_run(run_id: &RunId) -> Refusal {
    refusal(code::RUN_NOT_FOUND, format!("there is no run {run_id}"))
}

/// Where an open run stands.
pub(crate) fn answer_of(run: &Run) -> Answer {
    Answer { run_id: Some(run.id), offset: run.next_seq - 1, state: Some(run.state()), ..Answer::default() }
}
