//! Erasure: a tenant or a run leaves the state. What stands in the log is for who owns it to erase.

use crate::action::{Answer, Refusal};
use crate::command::Erase;
use crate::error::code;
use crate::event::Event;
use crate::event::registry::Erased;
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::turn::refusal;

impl Machine {
    pub(crate) fn erase(&mut self, token: u64, command: &Erase) {
        let outcome = self.try_erase(command);
        self.reply(token, outcome);
    }

    fn try_erase(&mut self, command: &Erase) -> Result<Answer, Refusal> {
        self.check_name("tenant", &command.tenant)?;
        self.check_name("by", &command.by)?;
        match &command.run_id {
            Some(run) => self.check_run_may_go(&command.tenant, run)?,
            None => self.check_tenant_may_go(&command.tenant)?,
        }
        let run_id = command.run_id.map(|run| run.to_string()).unwrap_or_default();
        self.emit_registry(&command.tenant, &Event::Erased(Erased { run_id: &run_id, by: &command.by }));
        Ok(Answer { run_id: command.run_id, ..Answer::default() })
    }

    fn check_tenant_may_go(&self, tenant: &str) -> Result<(), Refusal> {
        let held = self.state.symbols.find(tenant).and_then(|sym| self.state.tenants.get(&sym));
        match held.map_or(0, |held| held.open) {
            0 => Ok(()),
            open => Err(refusal(
                code::WRONG_STATE,
                format!("{open} runs of tenant {tenant} are open: cancel them, and erase it when they have ended"),
            )),
        }
    }

    fn check_run_may_go(&self, tenant: &str, run: &RunId) -> Result<(), Refusal> {
        let view = self.run(tenant, run);
        let view = view.ok_or_else(|| refusal(code::RUN_NOT_FOUND, format!("there is no run {run}")))?;
        if view.ended_ns.is_none() {
            let message = format!("run {run} is open: cancel it, and erase it when it has ended");
            return Err(refusal(code::WRONG_STATE, message));
        }
        // It would end where it stands, and nothing that it did be undone.
        if let Some(replay) = self.replay_of(run) {
            let message = format!("run {replay} is open and goes on from results of run {run}: cancel it first");
            return Err(refusal(code::WRONG_STATE, message));
        }
        match view.parent_run.filter(|parent| self.run(tenant, parent).is_some()) {
            None => Ok(()),
            Some(parent) => {
                let message = format!("run {run} ran for run {parent}, whose records tell of it: erase that one");
                Err(refusal(code::WRONG_STATE, message))
            }
        }
    }

    /// An open run that keeps results of a run, or of one that ran for it.
    fn replay_of(&self, run: &RunId) -> Option<RunId> {
        let family = self.state.family(run);
        let open = self.state.open_ids().into_iter();
        let mut replays = open.filter(|id| {
            let open = self.state.look(id);
            let origin = open.as_ref().and_then(|open| open.extra.as_ref()?.origin.as_ref());
            origin.is_some_and(|origin| origin.freeze && family.contains(&origin.run))
        });
        replays.next()
    }
}
