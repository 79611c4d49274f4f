//! What records of schedules change.

use super::{Unfit, fault, priority};
use crate::event::registry::{ScheduleChanged, ScheduleFired};
use crate::record::Header;
use crate::state::State;
use crate::state::schedule::{Firing, Overlap, Schedule};
use crate::state::symbols::Sym;

impl State {
    pub(super) fn schedule_changed(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &ScheduleChanged<'_>,
    ) -> Result<(), Unfit> {
        let schedules = &mut self.tenants.entry(tenant).or_default().schedules;
        let mut was = 0;
        match e.change {
            "put" => {
                let standing = schedules.remove(e.name);
                let paused = standing.as_ref().is_some_and(|standing| standing.paused);
                let indexed = standing.as_ref().map_or(0, |standing| standing.indexed);
                let schedule = Schedule {
                    workflow: e.workflow.into(),
                    version: e.version.into(),
                    tag: e.tag.into(),
                    inputs: e.inputs.0.into(),
                    cron: e.cron.into(),
                    time_zone: e.time_zone.into(),
                    every_ns: e.every_ns,
                    jitter_ns: e.jitter_ns,
                    overlap: Overlap::parse(e.overlap).ok_or("a schedule with an unknown overlap")?,
                    catch_up_ns: e.catch_up_ns,
                    priority: priority(e.priority),
                    labels: e.labels.0.iter().map(|&(key, value)| (key.into(), value.into())).collect(),
                    time_input: e.time_input.into(),
                    changed_ns: header.time_ns,
                    paused,
                    next: e.next.0,
                    due: e.due.0,
                    buffered: 0,
                    last: standing.and_then(|standing| standing.last),
                    indexed,
                };
                schedules.insert(e.name.into(), Box::new(schedule));
            }
            "removed" => {
                let removed = schedules.remove(e.name).ok_or("an unknown schedule is removed")?;
                was = removed.indexed;
            }
            change => {
                let schedule = schedules.get_mut(e.name).ok_or("an unknown schedule changes")?;
                schedule.paused = change == "paused";
                schedule.buffered = 0;
                schedule.next = e.next.0;
                schedule.due = e.due.0;
            }
        }
        self.index_schedule(tenant, e.name, was);
        Ok(())
    }

    pub(super) fn schedule_fired(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &ScheduleFired<'_>,
    ) -> Result<(), Unfit> {
        let schedules = &mut self.tenants.entry(tenant).or_default().schedules;
        let schedule = schedules.get_mut(e.name).ok_or("an unknown schedule fires")?;
        if e.action == "buffered" {
            schedule.buffered = e.time.0;
        } else if schedule.buffered == e.time.0 {
            schedule.buffered = 0;
        }
        schedule.next = e.next.0;
        schedule.due = e.due.0;
        schedule.last = Some(Box::new(Firing {
            time: e.time.0,
            decided_ns: header.time_ns,
            action: e.action.into(),
            run: e.run.into(),
            error: e.error.as_ref().map(fault),
        }));
        self.index_schedule(tenant, e.name, 0);
        Ok(())
    }
}
