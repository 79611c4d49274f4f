//! What records of nodes change.

use super::{Decision, Folding, Unfit, fault, priority};
use crate::action::JobKind;
use crate::event::node::{HeartbeatRecorded, NodeRetryScheduled, NodeSkipped, ToolCallRequested, ToolResultReceived};
use crate::event::saga::CorrectionProposed;
use crate::event::waiting::TimerFired;
use crate::record::Header;
use crate::state::run::{Care, Corrected, Flight, READY, Status, Wait};
use crate::state::symbols::Sym;
use crate::state::{Timer, TimerKind};

impl Folding<'_> {
    pub(super) fn tool_call_requested(
        &mut self,
        header: &Header<'_>,
        e: &ToolCallRequested<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let (seq, now) = (header.run_seq, header.time_ns);
        let (scope, slot) = self.touch(e.node)?;
        let before = self.clear_wait(scope, slot);
        let kind = JobKind::parse(e.kind).ok_or("a job of an unknown kind")?;
        let care = self.care(kind, before, header, e);
        let name = self.symbols.intern(e.name);
        let compensation = self.symbols.intern(e.compensation);
        let due = if e.timeout_ns > 0 { now.saturating_add(e.timeout_ns) } else { 0 };
        let id = self.run.id;
        let node = self.node(scope, slot)?;
        let is_new_to_undo = node.compensation == Sym::EMPTY && compensation != Sym::EMPTY;
        node.attempt = e.attempt;
        node.write = e.effect == "write";
        node.compensation = compensation;
        node.requested_seq = seq;
        let flight = Flight {
            kind,
            name,
            input: e.input.0.into(),
            config: e.config.0.into(),
            timeout_ns: e.timeout_ns,
            due,
            max_attempts: e.max_attempts,
            care,
            omitted: e.omitted.0,
            rendered: None,
            priority: (!e.priority.is_empty()).then(|| priority(e.priority)),
            job: 0,
        };
        let wakes = flight.wakes();
        node.wait = Wait::Job(Box::new(flight));
        if wakes != 0 {
            self.index.timers.insert(Timer { due: wakes, run: id, kind: TimerKind::Attempt, scope, slot });
        }
        if e.rate_interval_ns.0 != 0 {
            self.rates.count(now, self.run.tenant, e.rate_name, e.rate_interval_ns.0);
        }
        self.run.requested = true;
        self.run.in_flight += 1;
        if is_new_to_undo {
            self.note_undo(scope, e.node);
        }
        Ok((scope, slot))
    }

    pub(super) fn tool_result_received(
        &mut self,
        header: &Header<'_>,
        e: &ToolResultReceived<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        self.node(scope, slot)?.unknown |= e.unknown.0;
        if !e.health.is_empty() {
            self.count_health(scope, slot, e);
        }
        if e.signal.0 != 0 {
            self.take_signal(e.signal.0 as u64);
        }
        if e.retry.0 {
            let mut flight = match self.clear_wait(scope, slot) {
                Wait::Job(flight) | Wait::Retry { flight, .. } => flight,
                Wait::Rate(throttled) => throttled.flight.unwrap_or_else(|| Box::new(Flight::unrequested())),
                Wait::Nothing => Box::new(Flight::unrequested()),
                _ => return Err(format!("{} is no job", e.node)),
            };
            if e.correct.0 {
                flight.care_mut().correction = Corrected::Wanted;
            } else if let Some(care) = &mut flight.care {
                // Its breaker shut the attempt out that had the proposed input: the next one waits like any other.
                care.correction = Corrected::No;
            }
            let error = e.error.as_ref().map(fault);
            let node = self.node(scope, slot)?;
            node.attempt = e.attempt;
            node.error = error;
            node.wait = Wait::Retry { flight, due: 0 };
            // A write of unknown outcome may have to be undone although it is tried again.
            node.decided_seq = seq;
            return Ok((scope, slot));
        }
        if e.dead_letter.0 {
            self.run.extra.get_or_insert_default().letters.push((scope, slot));
            self.node(scope, slot)?.attempt = e.attempt;
        }
        let status = if e.status == "ok" { Status::Ok } else { Status::Failed };
        self.decide(scope, slot, seq, &Decision { error: e.error.as_ref(), ..decision!(e, status) })
    }

    pub(super) fn node_skipped(&mut self, header: &Header<'_>, e: &NodeSkipped<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        self.decide(scope, slot, seq, &Decision { status: Status::Skipped, ..Decision::default() })
    }

    pub(super) fn node_retry_scheduled(&mut self, e: &NodeRetryScheduled<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let id = self.run.id;
        let Wait::Retry { due, .. } = &mut self.node(scope, slot)?.wait else {
            return Err(format!("{} has nothing to try again", e.node));
        };
        *due = e.due.0;
        self.index.timers.insert(Timer { due: e.due.0, run: id, kind: TimerKind::Retry, scope, slot });
        self.run.waiting += 1;
        Ok((scope, slot))
    }

    /// The time of a retry has come while the run is paused: it follows once the run goes on.
    pub(super) fn retry_is_ready(&mut self, e: &TimerFired<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let Wait::Retry { flight, .. } = self.clear_wait(scope, slot) else {
            return Err(format!("{} has nothing to try again", e.node));
        };
        self.node(scope, slot)?.wait = Wait::Retry { flight, due: READY };
        Ok((scope, slot))
    }

    pub(super) fn heartbeat_recorded(
        &mut self,
        header: &Header<'_>,
        e: &HeartbeatRecorded<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let run = self.run.id;
        let node = self.run.node_mut(scope, slot).ok_or("a node without a state")?;
        let Wait::Job(flight) = &mut node.wait else { return Err(format!("{} is not in flight", e.node)) };
        let before = flight.wakes();
        let care = flight.care_mut();
        care.beat_ns = header.time_ns;
        if !e.progress.0.is_empty() {
            care.progress = e.progress.0.into();
        }
        if care.heartbeat_ns > 0 {
            care.beat_by = e.time.0.saturating_add(care.heartbeat_ns);
        }
        let after = flight.wakes();
        if before != after {
            let timer = |due| Timer { due, run, kind: TimerKind::Attempt, scope, slot };
            self.index.timers.remove(&timer(before));
            self.index.timers.insert(timer(after));
        }
        Ok((scope, slot))
    }

    pub(super) fn correction_proposed(&mut self, e: &CorrectionProposed<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let Wait::Job(asked) = self.clear_wait(scope, slot) else {
            return Err(format!("{} is not being corrected", e.node));
        };
        let mut flight = asked.care.and_then(|care| care.corrects).ok_or("a correction of nothing")?;
        flight.input = e.input.0.into();
        let care = flight.care_mut();
        care.corrections += 1;
        care.correction = Corrected::Proposed;
        self.node(scope, slot)?.wait = Wait::Retry { flight, due: 0 };
        Ok((scope, slot))
    }

    /// What stands beside a job that is requested: of the attempt before, and of the record.
    fn care(
        &mut self,
        kind: JobKind,
        before: Wait,
        header: &Header<'_>,
        e: &ToolCallRequested<'_>,
    ) -> Option<Box<Care>> {
        let before = match before {
            Wait::Retry { flight, .. } => Some(flight),
            Wait::Rate(throttled) => throttled.flight,
            _ => None,
        };
        let is_plain = e.close_by.0 == 0 && e.heartbeat_ns.0 == 0 && e.breaker.is_empty();
        if kind == JobKind::Correction {
            return Some(Box::new(Care { close_by: e.close_by.0, corrects: before, ..Care::default() }));
        }
        let kept = before.and_then(|flight| flight.care);
        if is_plain && kept.is_none() {
            return None;
        }
        let mut care = kept.unwrap_or_default();
        care.close_by = e.close_by.0;
        care.heartbeat_ns = e.heartbeat_ns.0;
        care.beat_by = if e.heartbeat_ns.0 > 0 { header.time_ns.saturating_add(e.heartbeat_ns.0) } else { 0 };
        care.correction = Corrected::No;
        care.pending = None;
        care.breaker = self.symbols.intern(e.breaker);
        care.generation = if e.breaker.is_empty() { 0 } else { self.breakers.pass(self.run.tenant, e.breaker) };
        Some(care)
    }

    /// A breaker counts the outcome of a job that is in flight.
    fn count_health(&mut self, scope: u32, slot: u32, e: &ToolResultReceived<'_>) {
        let tenant = self.run.tenant;
        let Some(Wait::Job(flight)) = self.run.node(scope, slot).map(|node| &node.wait) else { return };
        let Some(care) = &flight.care else { return };
        let name = self.symbols.name(care.breaker);
        self.breakers.count(tenant, name, care.generation, e.health == "ok");
        if e.cached_max.0 > 0 {
            self.breakers.keep(tenant, name, &flight.input, e.output.0, e.cached_max.0 as usize);
        }
    }
}
