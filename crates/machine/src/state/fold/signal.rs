//! What records of signals change, and of turns at a tool.

use super::{Decision, Folding, Unfit};
use crate::event::waiting::{SignalReceived, TimerFired, TimerStarted};
use crate::id::RunId;
use crate::record::Header;
use crate::state::run::{Awaited, KeptSignal, NO_SLOT, READY, ROOT, Status, Throttled, Wait};
use crate::state::{Listener, Timer, TimerKind};
use std::sync::Arc;

impl Folding<'_> {
    pub(super) fn signal_awaited(&mut self, header: &Header<'_>, e: &TimerStarted<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        self.clear_wait(scope, slot);
        let (run, tenant, since, due) = (self.run.id, self.run.tenant, header.run_seq, e.due.0);
        // Runs that wait for the same name share its text.
        let name: Arc<str> = e.name.into();
        let name =
            self.index.signals.get_key_value(&(tenant, name.clone())).map_or(name, |((_, name), _)| name.clone());
        self.index.listen(tenant, &name, Listener { run, since, scope, slot });
        if due != 0 {
            self.index.timers.insert(Timer { due, run, kind: TimerKind::Signal, scope, slot });
        }
        let node = self.node(scope, slot)?;
        node.requested_seq = since;
        node.wait = Wait::Signal(Box::new(Awaited { name, due }));
        self.run.waiting += 1;
        self.run.requested = true;
        Ok((scope, slot))
    }

    pub(super) fn signal_received(&mut self, header: &Header<'_>, e: &SignalReceived<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        if !e.idempotency_key.is_empty() {
            self.run.extra_mut().signal_keys.insert(e.idempotency_key.into(), seq);
            // A node sends under its run and path.
            self.index.sender = e.idempotency_key.split_once('/').and_then(|(run_id, _)| RunId::parse(run_id));
        }
        if e.node.is_empty() {
            let signal = KeptSignal { seq, name: e.name.into(), payload: e.payload.0.into() };
            self.run.extra_mut().signals.push(signal);
            return Ok((ROOT, NO_SLOT));
        }
        let (scope, slot) = self.touch(e.node)?;
        self.decide(scope, slot, seq, &decision!(e, Status::Ok))
    }

    /// A node took a signal that had come before.
    pub(super) fn take_signal(&mut self, seq: u64) {
        if let Some(extra) = &mut self.run.extra {
            extra.signals.retain(|signal| signal.seq != seq);
        }
    }

    pub(super) fn turn_awaited(&mut self, header: &Header<'_>, e: &TimerStarted<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let flight = match self.clear_wait(scope, slot) {
            Wait::Retry { flight, .. } => Some(flight),
            _ => None,
        };
        let (run, due) = (self.run.id, e.due.0);
        self.rates.count(header.time_ns, self.run.tenant, e.name, e.interval_ns.0);
        self.index.timers.insert(Timer { due, run, kind: TimerKind::Rate, scope, slot });
        self.node(scope, slot)?.wait = Wait::Rate(Box::new(Throttled { due, flight }));
        self.run.waiting += 1;
        self.run.requested = true;
        Ok((scope, slot))
    }

    /// A turn has come while the run is paused: it is asked for again once the run goes on.
    pub(super) fn turn_has_come(&mut self, e: &TimerFired<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let Wait::Rate(throttled) = self.clear_wait(scope, slot) else {
            return Err(format!("{} waits for no turn", e.node));
        };
        if let Some(flight) = throttled.flight {
            self.node(scope, slot)?.wait = Wait::Retry { flight, due: READY };
        }
        Ok((scope, slot))
    }
}
