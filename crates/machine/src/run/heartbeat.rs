//! Signs of life of jobs. Each moves the deadline; at most one a second of a job is recorded, and the newest where an
//! attempt ends or its deadline comes.

use crate::action::{Answer, JobKind, Refusal};
use crate::command::Heartbeat;
use crate::error::{code, kind};
use crate::event::Event;
use crate::event::node::HeartbeatRecorded;
use crate::event::wire::{Json, Time};
use crate::machine::Machine;
use crate::partition::turn::refusal;
use crate::run::result::Ended;
use crate::run::timer::{out_of_time, timed_out};
use crate::state::run::{Beat, Fault, Flight, Wait};
use crate::time::SECOND;
use apex_ir::value::{self, ValueLimits};

/// What a deadline of a job came to.
pub(crate) enum Deadline {
    /// It was moved by a heartbeat.
    Moved,
    /// The attempt is over.
    Over(Ended),
}

impl Machine {
    /// Takes a heartbeat.
    pub(crate) fn take_heartbeat(&mut self, token: u64, heartbeat: &Heartbeat) {
        let outcome = self.beat(heartbeat);
        self.reply(token, outcome);
    }

    fn beat(&mut self, heartbeat: &Heartbeat) -> Result<Answer, Refusal> {
        let stale = Answer { existing: true, ..Answer::default() };
        let current = self.jobs.get(heartbeat.job).copied().filter(|job| job.attempt == heartbeat.attempt);
        let Some(job) = current.filter(|job| !job.compensation) else { return Ok(stale) };
        self.refuse_quarantined(&job.run_id)?;
        let max = self.config.limits.progress_bytes_max;
        if heartbeat.progress.len() > max {
            let message =
                format!("the progress has {} bytes, over progress_bytes_max ({max})", heartbeat.progress.len());
            return Err(refusal(code::LIMIT_EXCEEDED, message));
        }
        if !heartbeat.progress.is_empty() {
            let limits = ValueLimits { bytes_max: max, ..ValueLimits::default() };
            value::check(&heartbeat.progress, &limits).map_err(|error| {
                refusal(code::VALUE_INVALID, format!("the progress is no value: {}", error.message))
            })?;
        }
        self.hand(job.run_id);
        let now = self.now;
        let Some(flight) = self.flight_mut(job.run, job.scope, job.slot) else { return Ok(stale) };
        if flight.kind == JobKind::Correction {
            // The attempt that failed is over; how far the model is belongs to nobody.
            return Ok(stale);
        }
        let mut progress = heartbeat.progress.clone();
        if progress.is_empty()
            && let Some(pending) = flight.care.as_mut().and_then(|care| care.pending.take())
        {
            progress = pending.progress;
        }
        let beat = Beat { ns: now, progress };
        match &mut flight.care {
            Some(care) if care.beat_ns != 0 && now.saturating_sub(care.beat_ns) < SECOND => {
                care.pending = Some(Box::new(beat));
            }
            _ => self.record_beat(job.run, job.scope, job.slot, &beat),
        }
        let offset = self.state.run(job.run).map_or(0, |run| run.next_seq.saturating_sub(1));
        Ok(Answer { run_id: Some(job.run_id), offset, ..Answer::default() })
    }

    fn flight_mut(&mut self, slot: u32, scope: u32, node_slot: u32) -> Option<&mut Flight> {
        match &mut self.state.run_mut(slot)?.node_mut(scope, node_slot)?.wait {
            Wait::Job(flight) => Some(flight),
            _ => None,
        }
    }

    fn record_beat(&mut self, slot: u32, scope: u32, node_slot: u32, beat: &Beat) {
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let path = run.node_path(&self.state.symbols, scope, node_slot);
        let (attempt, cause) = (node.attempt, node.requested_seq);
        let event = Event::HeartbeatRecorded(HeartbeatRecorded {
            node: &path,
            attempt,
            progress: Json(&beat.progress),
            time: Time(beat.ns),
        });
        self.emit(slot, &event, cause);
        if let Some(care) = self.flight_mut(slot, scope, node_slot).and_then(|flight| flight.care.as_mut()) {
            care.pending = None;
        }
    }

    /// Records the newest heartbeat of a job where that was not done yet.
    pub(crate) fn record_last_beat(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let care = self.flight_mut(slot, scope, node_slot).and_then(|flight| flight.care.as_mut());
        if let Some(beat) = care.and_then(|care| care.pending.take()) {
            self.record_beat(slot, scope, node_slot, &beat);
        }
    }

    /// A deadline of a job has come: which, and what of it.
    pub(crate) fn deadline(&mut self, slot: u32, scope: u32, node_slot: u32) -> Option<Deadline> {
        let now = self.now;
        let flight = self.flight_mut(slot, scope, node_slot)?;
        let (due, after) = (flight.due, flight.timeout_ns);
        let is_over = |due: i64| due != 0 && now >= due;
        if is_over(due) {
            return Some(Deadline::Over(timed_out(after)));
        }
        let care = flight.care.as_ref()?;
        if is_over(care.close_by) {
            return Some(Deadline::Over(out_of_time()));
        }
        let (beat_by, silence) = (care.beat_by, care.heartbeat_ns);
        let moved = care.pending.as_ref().is_some_and(|beat| beat.ns.saturating_add(silence) > now);
        self.record_last_beat(slot, scope, node_slot);
        if moved || !is_over(beat_by) {
            return Some(Deadline::Moved);
        }
        let message = format!("no heartbeat for {} s", silence as f64 / 1e9);
        let fault = Fault { kind: kind::HEARTBEAT_TIMEOUT.into(), message: message.into() };
        Some(Deadline::Over(Ended { status: "timeout", result: Err(fault), retryable: true }))
    }
}
