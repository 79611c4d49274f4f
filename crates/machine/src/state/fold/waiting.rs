//! What records of waits change: timers and approvals.

use super::{Decision, Folding, Unfit};
use crate::event::waiting::{ApprovalEscalated, ApprovalRequested, ApprovalResolved, TimerFired, TimerStarted};
use crate::record::Header;
use crate::state::run::{Asked, Status, Wait};
use crate::state::{Ticket, Timer, TimerKind};

impl Folding<'_> {
    pub(super) fn timer_started(&mut self, header: &Header<'_>, e: &TimerStarted<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        let id = self.run.id;
        let node = self.node(scope, slot)?;
        node.requested_seq = seq;
        node.wait = Wait::Timer { due: e.due.0 };
        self.index.timers.insert(Timer { due: e.due.0, run: id, kind: TimerKind::Node, scope, slot });
        self.run.waiting += 1;
        self.run.requested = true;
        Ok((scope, slot))
    }

    pub(super) fn timer_fired(&mut self, header: &Header<'_>, e: &TimerFired<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        self.decide(scope, slot, seq, &decision!(e, Status::Ok))
    }

    pub(super) fn approval_requested(
        &mut self,
        header: &Header<'_>,
        e: &ApprovalRequested<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let (seq, now) = (header.run_seq, header.time_ns);
        let (scope, slot) = self.touch(e.node)?;
        let (id, tenant, due) = (self.run.id, self.run.tenant, e.due.0);
        let node = self.node(scope, slot)?;
        node.requested_seq = seq;
        let escalate_due = e.escalate_due.0;
        node.wait = Wait::Approval(Box::new(Asked {
            prompt: e.prompt.into(),
            requested_ns: now,
            due,
            escalate_due,
            escalated_to: Vec::new(),
        }));
        if escalate_due != 0 {
            let kind = TimerKind::Escalation;
            self.index.timers.insert(Timer { due: escalate_due, run: id, kind, scope, slot });
        }
        if due != 0 {
            self.index.timers.insert(Timer { due, run: id, kind: TimerKind::Approval, scope, slot });
        }
        self.index.approvals.insert(Ticket { tenant, requested_ns: now, run: id, scope, slot });
        self.run.waiting += 1;
        self.run.requested = true;
        Ok((scope, slot))
    }

    pub(super) fn approval_escalated(&mut self, e: &ApprovalEscalated<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let run = self.run.id;
        let Wait::Approval(asked) = &mut self.node(scope, slot)?.wait else {
            return Err(format!("{} asks nobody", e.node));
        };
        let due = std::mem::take(&mut asked.escalate_due);
        asked.escalated_to = e.to.iter().map(|&to| to.into()).collect();
        self.index.timers.remove(&Timer { due, run, kind: TimerKind::Escalation, scope, slot });
        Ok((scope, slot))
    }

    pub(super) fn approval_resolved(
        &mut self,
        header: &Header<'_>,
        e: &ApprovalResolved<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        // The decision stands in `attempt` (1 approve, 2 reject, 3 by time), so that the same one again is
        // answered alike.
        self.node(scope, slot)?.attempt = match (e.timed_out, e.decision) {
            (true, _) => 3,
            (false, "approve") => 1,
            _ => 2,
        };
        self.decide(scope, slot, seq, &decision!(e, Status::Ok))
    }
}
