//! Someone wants a run to end.

use crate::action::{Answer, Refusal};
use crate::command::CancelRun;
use crate::error::code;
use crate::event::Event;
use crate::event::run::RunCancelled;
use crate::machine::Machine;
use crate::partition::turn::refusal;
use crate::record::NONE;
use crate::run::pause::unknown_run;
use crate::view::RunState;

impl Machine {
    /// Takes a cancel. A run that is ending, or was cancelled, gives the same answer again.
    pub(crate) fn cancel_run(&mut self, token: u64, command: &CancelRun) {
        let outcome = self.try_cancel(command);
        self.reply_and_visit(token, outcome);
    }

    fn try_cancel(&mut self, command: &CancelRun) -> Result<(Option<u32>, Answer), Refusal> {
        let not_found = || unknown_run(&command.run_id);
        let tenant = self.state.symbols.find(&command.tenant).ok_or_else(not_found)?;
        if let Some(ended) = self.state.ended.get(&command.run_id).filter(|run| run.tenant == tenant) {
            let state = ended.state();
            if state != RunState::Cancelled {
                return Err(refusal(code::RUN_ENDED, format!("run {} has ended: {}", command.run_id, state.as_str())));
            }
            let run_id = Some(command.run_id);
            let answer =
                Answer { run_id, offset: ended.offset, existing: true, state: Some(state), details: Vec::new() };
            return Ok((None, answer));
        }
        let slot = self.state.find(&command.run_id).ok_or_else(not_found)?;
        let run = self.state.run(slot).filter(|run| run.tenant == tenant).ok_or_else(not_found)?;
        self.refuse_quarantined(&command.run_id)?;
        // A run that is paused is let go by a cancel, also where it has failed.
        let existing = run.failing.is_some() && !run.is_paused();
        self.check_name("by", &command.by)?;
        self.check_text("reason", &command.reason)?;
        self.hand(command.run_id);
        if !existing {
            let event = Event::RunCancelled(RunCancelled {
                reason: &command.reason,
                by: &command.by,
                compensate: command.compensate,
            });
            self.emit(slot, &event, NONE);
        }
        let offset = self.state.run(slot).map_or(0, |run| run.next_seq - 1);
        let run_id = Some(command.run_id);
        let state = Some(RunState::Compensating);
        Ok((Some(slot), Answer { run_id, offset, existing, state, details: Vec::new() }))
    }
}
