//! The end: everything is answered, and every run must end.

use super::clients::failed;
use super::{ENDING_MAX, TENANT, World};
use crate::wrong::{Wrong, check};
use apex_machine::Command;
use apex_machine::command::{Erase, JobResult, ScheduleChange};
use serde_json::json;
use std::collections::BTreeSet;

impl World<'_> {
    /// Everything is answered and all time passes: every run must end.
    pub(super) fn end(&mut self) -> Result<(), Wrong> {
        let mut chance = self.chance("end", 0);
        self.rest()?;
        for name in self.ledger.schedules.names() {
            self.change_schedule(name, ScheduleChange::Remove);
        }
        for _ in 0..ENDING_MAX {
            self.rest()?;
            self.resume_all();
            if !self.batch.is_empty() {
                continue;
            }
            let held: Vec<u64> = self.house.jobs.keys().copied().collect();
            if !held.is_empty() {
                for id in held {
                    let outcome = self.outcome_of(id, &mut chance);
                    self.tell(id, outcome, false);
                }
                continue;
            }
            let tickets = self.house.machine.approvals(TENANT, None, 100, "").items;
            if !tickets.is_empty() {
                tickets.iter().for_each(|view| self.resolve(&view.ticket, true, false));
                continue;
            }
            match self.house.machine.next_due() {
                Some(due) => self.now = self.now.max(due),
                None if self.ledger.open().any(|(_, judge)| judge.run.listening().next().is_some()) => self.tell_all(),
                None => return self.ended(),
            }
        }
        let open = self.ledger.open().map(|(_, judge)| judge.tail()).next().unwrap_or_default();
        Err(Wrong(format!("it never ends:\n{open}\n  {}", self.last_records())))
    }

    /// Every signal that somebody waits for, with every value that a condition may want.
    fn tell_all(&mut self) {
        let open = self.ledger.open();
        let listening = open.flat_map(|(_, judge)| judge.run.listening().map(|(_, name, _)| name.to_owned()));
        let names: BTreeSet<String> = listening.collect();
        for name in names {
            (0..5).for_each(|v| self.publish(name.clone(), json!({"v": v}), String::new()));
        }
    }

    pub(super) fn ended(&mut self) -> Result<(), Wrong> {
        if let Some((run_id, judge)) = self.ledger.open().next() {
            return Err(Wrong(format!("invariant 5: run {run_id} never ends\n{}", judge.tail())));
        }
        let before = self.house.machine.snapshot();
        for (job, attempt) in std::mem::take(&mut self.house.told) {
            let outcome = failed("Late", None);
            self.batch.push((0, Command::JobResult(JobResult { job, attempt, outcome })));
        }
        self.rest()?;
        check!(before == self.house.machine.snapshot(), "invariant 4: late results change something");
        let counts = self.house.machine.counts();
        let left = (counts.runs_open, counts.jobs_in_flight, counts.timers, counts.approvals, counts.replies_waiting);
        check!(left == (0, 0, 0, 0, 0), "runs, jobs, timers, approvals, replies are left: {left:?}");
        self.erase()
    }

    /// Everything is forgotten, and nothing of it is left.
    fn erase(&mut self) -> Result<(), Wrong> {
        let command = Command::Erase(Erase { tenant: TENANT.into(), run_id: None, by: String::new() });
        self.coverage.command(&command);
        self.batch.push((0, command));
        self.rest()?;
        let counts = self.house.machine.counts();
        let left = (counts.runs_ended, counts.workflows, counts.idempotency_keys, counts.dead_letters);
        check!(left == (0, 0, 0, 0), "runs, versions, keys, letters are left of what is erased: {left:?}");
        Ok(())
    }
}
