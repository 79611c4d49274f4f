//! What records of the undoing change.

use super::{Folding, Unfit, fault, find_scope, run_error};
use crate::event::node::NodeRetryScheduled;
use crate::event::saga::{CompensationCompleted, CompensationPlanned, CompensationRequested};
use crate::record::Header;
use crate::state::run::{Flight, NO_SLOT, ROOT, Run, Step, StepPhase, split_path};
use crate::state::{Timer, TimerKind};
use std::sync::Arc;

impl Folding<'_> {
    pub(super) fn compensation_retry_scheduled(&mut self, e: &NodeRetryScheduled<'_>) -> Result<(u32, u32), Unfit> {
        self.clear_step()?;
        let run = self.run.id;
        let (step, number) = self.step()?;
        step.phase = StepPhase::Retrying;
        step.due = e.due.0;
        step.error = e.error.as_ref().map(fault);
        let place = (step.scope, step.slot);
        let timer = Timer { due: e.due.0, run, kind: TimerKind::StepRetry, scope: ROOT, slot: number };
        self.index.timers.insert(timer);
        self.run.waiting += 1;
        Ok(place)
    }

    pub(super) fn compensation_out_of_time(&mut self) -> Result<(u32, u32), Unfit> {
        let id = self.run.id;
        let failing = self.run.failing.as_mut().ok_or("a run that is not compensating is out of time for it")?;
        if let Some(timer) = failing.timer(id) {
            self.index.timers.remove(&timer);
        }
        failing.due = 0;
        failing.expired = true;
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn compensation_planned(&mut self, e: &CompensationPlanned<'_>) -> Result<(u32, u32), Unfit> {
        if let Some(failure) = &e.error {
            self.fail(run_error(failure), true);
        }
        let mut steps = Vec::with_capacity(e.steps.len());
        for path in &e.steps {
            let (within, inner) = path.rsplit_once('/').unwrap_or(("", path));
            let (scope, slot) = match within {
                "" => self.touch(path)?,
                _ => self.find_within(within, inner).ok_or_else(|| format!("there is no {path} to undo"))?,
            };
            let within = within.into();
            let phase = StepPhase::Ahead;
            steps.push(Step { scope, slot, within, phase, attempt: 0, flight: None, due: 0, error: None });
        }
        let id = self.run.id;
        let failing = self.run.failing.as_mut().ok_or("compensation is planned for a run that is not failing")?;
        failing.steps = Some(steps);
        failing.due = e.due.0;
        if let Some(timer) = failing.timer(id) {
            self.index.timers.insert(timer);
        }
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn compensation_requested(
        &mut self,
        header: &Header<'_>,
        e: &CompensationRequested<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let now = header.time_ns;
        let name = self.symbols.intern(e.name);
        self.clear_step()?;
        let run = self.run.id;
        let (step, number) = self.step()?;
        let due = if e.timeout_ns > 0 { now.saturating_add(e.timeout_ns) } else { 0 };
        step.phase = StepPhase::InFlight;
        step.attempt = e.attempt;
        step.due = due;
        step.flight = Some(Box::new(Flight {
            kind: crate::action::JobKind::Function,
            name,
            input: e.input.0.into(),
            config: Arc::default(),
            timeout_ns: e.timeout_ns,
            due,
            max_attempts: e.max_attempts,
            care: None,
            omitted: false,
            rendered: None,
            priority: None,
            job: 0,
        }));
        let place = (step.scope, step.slot);
        if due != 0 {
            let timer = Timer { due, run, kind: TimerKind::StepAttempt, scope: ROOT, slot: number };
            self.index.timers.insert(timer);
        }
        self.run.in_flight += 1;
        Ok(place)
    }

    pub(super) fn compensation_completed(&mut self, e: &CompensationCompleted<'_>) -> Result<(u32, u32), Unfit> {
        self.clear_step()?;
        let (step, _) = self.step()?;
        step.phase = if e.success { StepPhase::Done } else { StepPhase::Failed };
        step.error = e.error.as_ref().map(fault);
        let place = (step.scope, step.slot);
        if let Some(failing) = &mut self.run.failing {
            failing.settled += 1;
        }
        Ok(place)
    }

    /// A node of a child that completed.
    fn find_within(&self, within: &str, path: &str) -> Option<(u32, u32)> {
        let run = self.run.within(within)?;
        let (scope_path, id) = split_path(path);
        let scope = find_scope(run, self.symbols, scope_path)?;
        Some((scope, run.scope(scope)?.find(self.symbols.find(id)?)?))
    }

    /// The step of the compensation that it is at.
    pub(super) fn step(&mut self) -> Result<(&mut Step, u32), Unfit> {
        let failing = self.run.failing.as_mut().ok_or("nothing is being undone")?;
        let number = failing.settled;
        let steps = failing.steps.as_mut().ok_or("what is undone was not said")?;
        steps.get_mut(number as usize).map(|step| (step, number)).ok_or_else(|| "everything is undone already".into())
    }

    /// Ends what that step is at.
    pub(super) fn clear_step(&mut self) -> Result<(), Unfit> {
        let Run { id, failing, in_flight, waiting, .. } = &mut *self.run;
        let failing = failing.as_mut().ok_or("nothing is being undone")?;
        let number = failing.settled;
        if let Some(step) = failing.steps.iter_mut().flatten().nth(number as usize) {
            step.clear(number, *id, self.index, in_flight, waiting);
        }
        Ok(())
    }
}
