//! The fold: one record changes the state. The same for a decision just made and for one read from a log. Evaluates
//! no expression, compiles nothing, reads no limit.

/// The decision of a node that an event holds, with this status: such events name its parts alike.
macro_rules! decision {
    ($event:ident, $status:expr) => {
        Decision {
            status: $status,
            output: $event.output.0,
            dead: &$event.dead,
            kept_all: $event.kept_all.0,
            kept: &$event.kept,
            fails: $event.fails.as_ref(),
            ..Decision::default()
        }
    };
}

mod child;
mod erase;
mod letter;
mod lock;
mod node;
mod patch;
pub(crate) mod patch_set;
mod run;
mod saga;
mod schedule;
mod scope;
mod signal;
mod waiting;

use crate::event::Event;
use crate::event::failure::{Failure, NodeError};
use crate::event::node::Kept as KeptPart;
use crate::event::run::RunStarted;
use crate::event::turn::TurnRecorded;
use crate::id::RunId;
use crate::record::{Header, NONE};
use crate::state::breaker::{Breakers, Gate};
use crate::state::locks::Place;
use crate::state::rates::Rates;
use crate::state::rest::Slot;
use crate::state::run::{
    EndedRun, Failing, Fault, Kept, NO_SLOT, Node, Origin, Parent, READY, ROOT, Run, RunError, Scope, Status, Step,
    StepPhase, Wait, split_path,
};
use crate::state::symbols::{Sym, Symbols};
use crate::state::trial::Drawn;
use crate::state::{Index, Key, Listener, State, Ticket, Timer, TimerKind};
use apex_ir::ir::Priority;
use std::sync::Arc;

/// What a record was about. A slot is `NO_SLOT` where it was about no node, or about a run that is no longer open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) run: u32,
    pub(crate) scope: u32,
    pub(crate) slot: u32,
}

/// A record that does not follow from those before it.
pub(super) type Unfit = String;

/// How a node was decided.
#[derive(Default)]
pub(super) struct Decision<'e> {
    pub(super) status: Status,
    pub(super) output: &'e [u8],
    pub(super) error: Option<&'e NodeError<'e>>,
    pub(super) dead: &'e [&'e str],
    pub(super) kept_all: bool,
    pub(super) kept: &'e [KeptPart<'e>],
    pub(super) fails: Option<&'e Failure<'e>>,
}

impl State {
    /// Folds one record in. On an error nothing after this record can be trusted: the partition stops.
    pub(crate) fn fold(&mut self, header: &Header<'_>, hash: &[u8; 32], event: &Event<'_>) -> Result<Touched, Unfit> {
        let sequence = self
            .sequences
            .get_mut(usize::from(header.partition))
            .ok_or_else(|| format!("partition {} is not of this store", header.partition))?;
        if *sequence != header.sequence {
            return Err(format!("sequence {} where {} was expected", header.sequence, *sequence));
        }
        let touched = if header.run_id == RunId::REGISTRY {
            self.fold_registry(header, hash, event)?;
            Touched { run: NO_SLOT, scope: ROOT, slot: NO_SLOT }
        } else {
            self.fold_run(header, hash, event)?
        };
        self.sequences[usize::from(header.partition)] += 1;
        self.time_ns = self.time_ns.max(header.time_ns);
        self.position += 1;
        Ok(touched)
    }

    fn fold_registry(&mut self, header: &Header<'_>, hash: &[u8; 32], event: &Event<'_>) -> Result<(), Unfit> {
        follows(header, self.registry.next_seq, self.registry.head)?;
        let tenant = self.symbols.intern(header.tenant);
        match event {
            Event::WorkflowRegistered(e) => self.workflow_registered(tenant, header, e)?,
            Event::WorkflowTagged(e) => self.workflow_tagged(tenant, header, e)?,
            Event::WorkflowPatchProposed(e) => self.workflow_patch_proposed(tenant, header, e)?,
            Event::WorkflowPatchAccepted(e) => self.workflow_patch_accepted(tenant, e)?,
            Event::WorkflowPatchRejected(e) => self.workflow_patch_rejected(tenant, header, e)?,
            Event::WorkflowPatchRolledBack(e) => self.workflow_patch_rolled_back(tenant, e)?,
            Event::BreakerChanged(e) => {
                let gate = Gate::parse(e.state).ok_or("a breaker in an unknown state")?;
                self.breakers.change(tenant, e.name, gate, e.due.0, self.position, header.time_ns);
            }
            Event::DeadLetterDropped(e) => {
                let run = RunId::parse(e.run_id).ok_or("a dead letter of no run")?;
                let position = self.letters.find(tenant, run, e.node).ok_or("a dead letter that is not listed")?;
                self.letters.take(position);
            }
            Event::Erased(e) => self.erased(tenant, e)?,
            Event::ScheduleChanged(e) => self.schedule_changed(tenant, header, e)?,
            Event::ScheduleFired(e) => self.schedule_fired(tenant, header, e)?,
            _ => return Err("an event of a run without a run".into()),
        }
        self.registry.next_seq += 1;
        self.registry.head = self.position;
        self.registry.hash = *hash;
        Ok(())
    }

    fn fold_run(&mut self, header: &Header<'_>, hash: &[u8; 32], event: &Event<'_>) -> Result<Touched, Unfit> {
        let slot = match self.find(&header.run_id) {
            Some(slot) => slot,
            None if matches!(event, Event::GoalReceived(_) | Event::RunStarted(_)) => {
                if self.ended.contains_key(&header.run_id) {
                    return Err("a run that has ended starts again".into());
                }
                self.open_run(header)
            }
            None => return Err(format!("run {} is not open", header.run_id)),
        };
        let position = self.position;
        self.index.sender = self.index.sender.filter(|sender| *sender != header.run_id);
        let Slot::Awake(run) = &mut self.runs[slot as usize] else { return Err("a run without a state".into()) };
        follows(header, run.next_seq, run.head)?;
        run.next_seq += 1;
        run.head = position;
        run.hash = *hash;
        run.epoch = header.epoch;
        let mut touched = Touched { run: slot, scope: ROOT, slot: NO_SLOT };
        match event {
            Event::GoalReceived(e) => run.goal = Some(e.goal.into()),
            Event::PlanGenerated(_) => {}
            Event::RunStarted(e) => self.run_started(slot, header, e)?,
            Event::WorkflowCompleted(e) => {
                self.run_ended(slot, header.time_ns, None, e.key_expires.0, e.ended_max);
                touched.run = NO_SLOT;
            }
            Event::WorkflowFailed(e) => {
                let error = e.error.as_ref().map(run_error).ok_or("a failed run without an error")?;
                self.run_ended(slot, header.time_ns, Some(error), e.key_expires.0, e.ended_max);
                touched.run = NO_SLOT;
            }
            Event::DeadLettered(e) => {
                let (index, symbols) = (&mut self.index, &mut self.symbols);
                let (breakers, rates) = (&mut self.breakers, &mut self.rates);
                let mut folding = Folding { run, index, symbols, breakers, rates };
                let (tenant, letter) = folding.dead_lettered(header, e)?;
                self.letters.add(tenant, position, letter, e.letters_max);
            }
            Event::ChildEnded(e) => {
                let is_open = self.open.contains_key(&child::child_id(e.child)?);
                let (index, symbols) = (&mut self.index, &mut self.symbols);
                let (breakers, rates) = (&mut self.breakers, &mut self.rates);
                let mut folding = Folding { run, index, symbols, breakers, rates };
                (touched.scope, touched.slot) = folding.child_ended(header, e, is_open)?;
            }
            Event::TurnRecorded(e) => {
                let (index, symbols) = (&mut self.index, &mut self.symbols);
                let (breakers, rates) = (&mut self.breakers, &mut self.rates);
                let mut folding = Folding { run, index, symbols, breakers, rates };
                for event in &e.decisions {
                    folding.fold(header, event)?;
                }
            }
            _ => {
                let (index, symbols) = (&mut self.index, &mut self.symbols);
                let (breakers, rates) = (&mut self.breakers, &mut self.rates);
                let mut folding = Folding { run, index, symbols, breakers, rates };
                (touched.scope, touched.slot) = folding.fold(header, event)?;
            }
        }
        Ok(touched)
    }

    /// Folds a decision of a turn whose record is not made yet. `record_turn` makes up for it.
    pub(crate) fn fold_decision(
        &mut self,
        slot: u32,
        header: &Header<'_>,
        event: &Event<'_>,
    ) -> Result<Touched, Unfit> {
        let Some(Slot::Awake(run)) = self.runs.get_mut(slot as usize) else {
            return Err("a run without a state".into());
        };
        let (index, symbols) = (&mut self.index, &mut self.symbols);
        let (breakers, rates) = (&mut self.breakers, &mut self.rates);
        let mut folding = Folding { run, index, symbols, breakers, rates };
        let (scope, slot_in) = folding.fold(header, event)?;
        Ok(Touched { run: slot, scope, slot: slot_in })
    }

    /// The record of a turn whose decisions are folded.
    pub(crate) fn record_turn(&mut self, header: &Header<'_>, hash: &[u8; 32]) -> Result<(), Unfit> {
        let nothing = Event::TurnRecorded(TurnRecorded::default());
        self.fold(header, hash, &nothing).map(|_| ())
    }

    fn open_run(&mut self, header: &Header<'_>) -> u32 {
        let tenant = self.symbols.intern(header.tenant);
        let run = Box::new(Run {
            id: header.run_id,
            tenant,
            workflow: Sym::EMPTY,
            version: Sym::EMPTY,
            ir_hash: [0; 32],
            epoch: header.epoch,
            correlation: header.correlation.into(),
            inputs: Arc::from(&b"{}"[..]),
            labels: Vec::new(),
            priority: Priority::Medium,
            goal: None,
            key: "".into(),
            started: false,
            fast: false,
            requested: false,
            started_ns: header.time_ns,
            due: 0,
            next_seq: 0,
            head: NONE,
            hash: [0; 32],
            nodes_total: 0,
            nodes_done: 0,
            in_flight: 0,
            waiting: 0,
            failing: None,
            extra: None,
            scopes: vec![Some(Box::new(Scope::new(ROOT, NO_SLOT, 0, Arc::default(), "".into())))],
            program: None,
            work: Default::default(),
            frozen: None,
            queued: false,
            cancels_sent: false,
            undo_bytes: 0,
        });
        let slot = self.place(run);
        let tenant = self.tenants.entry(tenant).or_default();
        tenant.runs.insert(header.run_id);
        tenant.open += 1;
        slot
    }

    fn run_started(&mut self, slot: u32, header: &Header<'_>, e: &RunStarted<'_>) -> Result<(), Unfit> {
        let (workflow, version) = (self.symbols.intern(e.workflow), self.symbols.intern(e.version));
        let Slot::Awake(run) = &mut self.runs[slot as usize] else { return Err("a run without a state".into()) };
        if run.started {
            return Err("a run that has started starts again".into());
        }
        run.workflow = workflow;
        run.version = version;
        run.ir_hash = e.ir_hash.0;
        run.inputs = e.inputs.0.into();
        run.labels = e.labels.0.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        run.priority = priority(e.priority);
        run.key = e.idempotency_key.into();
        run.started = true;
        run.fast = e.fidelity == "fast";
        if let Some(origin) = RunId::parse(e.origin_run) {
            run.extra_mut().origin =
                Some(Origin { run: origin, from: e.origin_from.into(), freeze: e.mode == "freeze" });
        }
        for layer in &e.overlay {
            run.extra_mut().layers.push(patch::layer(0, layer.operations.0, 0));
        }
        run.nodes_total = e.nodes_total;
        run.due = e.due.0;
        if !e.parent_run.is_empty() {
            let node = e.parent_node.into();
            run.extra_mut().parent =
                Some(Parent { run: child::child_id(e.parent_run)?, node, depth: e.depth.0 as u32 });
        }
        if run.due != 0 {
            self.index.timers.insert(run.run_timer());
        }
        if !e.idempotency_key.is_empty() {
            let key = Key { run_id: header.run_id, request_hash: e.request_hash.0, offset: 0, expires: i64::MAX };
            let tenant = self.tenants.entry(run.tenant).or_default();
            match tenant.keys.insert(e.idempotency_key.into(), key) {
                Some(old) => {
                    self.expiring.remove(&(old.expires, old.run_id));
                }
                None => self.keys += 1,
            }
        }
        if !e.schedule.is_empty() {
            let tenant = run.tenant;
            run.extra_mut().schedule = e.schedule.into();
            self.count_scheduled(tenant, e.schedule, true);
        }
        if !e.arm.is_empty()
            && let Slot::Awake(run) = &mut self.runs[slot as usize]
        {
            let drawn = Drawn { tag: e.tag.into(), arm: e.arm.into(), test: e.test.0 as u64 };
            let (tenant, workflow) = (run.tenant, run.workflow);
            run.extra_mut().drawn = Some(drawn.clone());
            self.count_drawn(tenant, workflow, &drawn, None);
        }
        self.forget_keys(header.time_ns);
        Ok(())
    }

    fn run_ended(&mut self, slot: u32, now: i64, error: Option<RunError>, key_expires: i64, ended_max: u64) {
        let completed = error.is_none();
        let Some(mut run) = self.take(slot) else { return };
        if run.due != 0 {
            self.index.timers.remove(&run.run_timer());
        }
        if let Some(timer) = run.failing.as_ref().and_then(|failing| failing.timer(run.id)) {
            self.index.timers.remove(&timer);
        }
        run.drop_waits(&mut self.index);
        let tenant = self.tenants.entry(run.tenant).or_default();
        tenant.open -= 1;
        if !run.key.is_empty()
            && let Some(key) = tenant.keys.get_mut(&run.key)
            && key.run_id == run.id
        {
            key.offset = run.next_seq - 1;
            key.expires = key_expires;
            self.expiring.insert((key_expires, run.id), (run.tenant, run.key.clone()));
        }
        if let Some(extra) = run.extra.as_ref().filter(|extra| !extra.schedule.is_empty()) {
            self.count_scheduled(run.tenant, &extra.schedule, false);
        }
        self.forget_keys(now);
        let drawn = run.extra.as_mut().and_then(|extra| extra.drawn.take());
        let (tenant, workflow) = (run.tenant, run.workflow);
        self.ended_order.push_back(run.id);
        let ended = Arc::new(EndedRun {
            fast: run.fast,
            tenant: run.tenant,
            workflow: run.workflow,
            version: run.version,
            ir_hash: run.ir_hash,
            epoch: run.epoch,
            correlation: std::mem::take(&mut run.correlation),
            labels: std::mem::take(&mut run.labels),
            priority: run.priority,
            goal: run.goal.take(),
            started_ns: run.started_ns,
            ended_ns: now,
            offset: run.next_seq - 1,
            head: run.head,
            nodes_total: run.nodes_total,
            nodes_done: run.nodes_done,
            error: error.map(Box::new),
            parent: run.parent().cloned().map(Box::new),
            drawn: drawn.map(Box::new),
            patches: patch::ended_patches(&mut run),
        });
        self.ended.insert(run.id, ended.clone());
        if let Some(drawn) = &ended.drawn {
            let duration_ns = now.saturating_sub(ended.started_ns);
            self.count_drawn(tenant, workflow, drawn, Some((ended.state(), duration_ns)));
        }
        self.leave_parent(run, completed);
        while self.ended_order.len() as u64 > ended_max {
            let Some(oldest) = self.ended_order.pop_front() else { break };
            if let Some(gone) = self.ended.remove(&oldest)
                && let Some(tenant) = self.tenants.get_mut(&gone.tenant)
            {
                tenant.runs.remove(&oldest);
            }
        }
    }

    /// A run has ended: the one whose composite node it ran for is free of it, or keeps it to undo it.
    fn leave_parent(&mut self, run: Box<Run>, completed: bool) {
        let above = run.parent().map(|parent| parent.run).and_then(|above| self.find(&above));
        if let Some(above) = above
            && let Slot::Awake(above) = &mut self.runs[above as usize]
        {
            above.child_is_done(run, completed, &self.symbols);
        }
    }

    /// Forgets the keys whose time is over. The time is that of a record, so replay forgets the same ones.
    fn forget_keys(&mut self, now: i64) {
        while let Some(entry) = self.expiring.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (tenant, key) = entry.remove();
            if let Some(tenant) = self.tenants.get_mut(&tenant)
                && tenant.keys.remove(&key).is_some()
            {
                self.keys -= 1;
            }
        }
    }
}

fn follows(header: &Header<'_>, next_seq: u64, head: u64) -> Result<(), Unfit> {
    let previous = if next_seq == 0 { NONE } else { head };
    if header.run_seq != next_seq {
        return Err(format!("offset {} of run {} where {next_seq} was expected", header.run_seq, header.run_id));
    }
    if header.run_prev != previous {
        return Err(format!(
            "run {} names record {} as the one before, it was {previous}",
            header.run_id, header.run_prev
        ));
    }
    Ok(())
}

pub(super) fn fault(error: &NodeError<'_>) -> Box<Fault> {
    Box::new(Fault { kind: error.r#type.into(), message: error.message.into() })
}

pub(super) fn run_error(failure: &Failure<'_>) -> RunError {
    RunError {
        code: failure.code.into(),
        kind: failure.r#type.into(),
        message: failure.message.into(),
        node: failure.node.into(),
    }
}

/// As written in events.
pub(crate) fn priority(text: &str) -> Priority {
    match text {
        "high" => Priority::High,
        "low" => Priority::Low,
        _ => Priority::Medium,
    }
}

/// As written in events.
pub(crate) fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
    }
}

/// The open run a record is about, and what must change with it.
pub(super) struct Folding<'s> {
    pub(super) run: &'s mut Run,
    pub(super) index: &'s mut Index,
    pub(super) symbols: &'s mut Symbols,
    pub(super) breakers: &'s mut Breakers,
    pub(super) rates: &'s mut Rates,
}
impl Folding<'_> {
    fn fold(&mut self, header: &Header<'_>, event: &Event<'_>) -> Result<(u32, u32), Unfit> {
        match event {
            Event::ToolCallRequested(e) => self.tool_call_requested(header, e),
            Event::ToolResultReceived(e) => self.tool_result_received(header, e),
            Event::NodeSkipped(e) => self.node_skipped(header, e),
            Event::NodeRetryScheduled(e) if e.compensation.0 => self.compensation_retry_scheduled(e),
            Event::NodeRetryScheduled(e) => self.node_retry_scheduled(e),
            Event::ChildStarted(e) => self.child_started(header, e),
            Event::HeartbeatRecorded(e) => self.heartbeat_recorded(header, e),
            Event::CorrectionProposed(e) => self.correction_proposed(e),
            Event::ScopeOpened(e) => self.scope_opened(header, e),
            Event::ScopeClosed(e) => self.scope_closed(e),
            Event::TimerStarted(e) if e.timer == "signal" => self.signal_awaited(header, e),
            Event::TimerStarted(e) if e.timer == "rate" => self.turn_awaited(header, e),
            Event::TimerStarted(e) => self.timer_started(header, e),
            Event::TimerFired(e) if e.timer == "compensation" => self.compensation_out_of_time(),
            Event::TimerFired(e) if e.timer == "retry" => self.retry_is_ready(e),
            Event::TimerFired(e) if e.timer == "rate" => self.turn_has_come(e),
            Event::TimerFired(e) if e.timer == "signal" => self.timer_fired(header, e),
            Event::TimerFired(e) if !e.timer.is_empty() => self.run_out_of_time(e),
            Event::TimerFired(e) => self.timer_fired(header, e),
            Event::ApprovalRequested(e) => self.approval_requested(header, e),
            Event::ApprovalEscalated(e) => self.approval_escalated(e),
            Event::ApprovalResolved(e) => self.approval_resolved(header, e),
            Event::SignalReceived(e) => self.signal_received(header, e),
            Event::LockAcquired(e) => self.lock_acquired(e),
            Event::LockReleased(e) => self.lock_released(e),
            Event::RunPaused(e) => self.run_paused(e),
            Event::RunResumed(_) => self.run_resumed(),
            Event::CheckpointCreated(_) => Ok((ROOT, NO_SLOT)),
            Event::RunCancelled(e) => self.run_cancelled(e),
            Event::RunMigrated(e) => self.run_migrated(e),
            Event::PatchProposed(e) => self.patch_proposed(header, e),
            Event::PatchRejected(e) => self.patch_rejected(header, e),
            Event::PatchApplied(e) => self.patch_applied(header, e),
            Event::PatchRolledBack(e) => self.patch_rolled_back(header, e),
            Event::CompensationPlanned(e) => self.compensation_planned(e),
            Event::CompensationRequested(e) => self.compensation_requested(header, e),
            Event::CompensationCompleted(e) => self.compensation_completed(e),
            Event::WorkflowRegistered(_)
            | Event::WorkflowTagged(_)
            | Event::WorkflowPatchProposed(_)
            | Event::WorkflowPatchAccepted(_)
            | Event::WorkflowPatchRejected(_)
            | Event::WorkflowPatchRolledBack(_)
            | Event::BreakerChanged(_)
            | Event::DeadLetterDropped(_)
            | Event::Erased(_)
            | Event::DeadLettered(_)
            | Event::ScheduleChanged(_)
            | Event::ScheduleFired(_)
            | Event::GoalReceived(_)
            | Event::PlanGenerated(_)
            | Event::RunStarted(_)
            | Event::ChildEnded(_)
            | Event::TurnRecorded(_)
            | Event::WorkflowCompleted(_)
            | Event::WorkflowFailed(_) => Err("an event of the registry with a run".into()),
        }
    }

    /// The node with an instance path; made where it was not touched before.
    pub(super) fn touch(&mut self, path: &str) -> Result<(u32, u32), Unfit> {
        let (scope_path, id) = split_path(path);
        let scope = self.find_scope(scope_path)?;
        let sym = self.symbols.intern(id);
        let slot = self.run.scope_mut(scope).ok_or_else(|| format!("{path} is in no scope"))?.touch(sym);
        Ok((scope, slot))
    }

    pub(super) fn find_scope(&self, path: &str) -> Result<u32, Unfit> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        find_scope(self.run, self.symbols, path).ok_or_else(|| format!("no scope {path} is open"))
    }

    pub(super) fn node(&mut self, scope: u32, slot: u32) -> Result<&mut Node, Unfit> {
        self.run.node_mut(scope, slot).ok_or_else(|| "a node without a state".into())
    }

    /// A node that may have to be undone was requested for the first time: its scopes stay when they close.
    pub(super) fn note_undo(&mut self, scope: u32, path: &str) {
        self.run.count_undo(path);
        let mut at = scope;
        while at != ROOT {
            let Some(scope) = self.run.scope_mut(at) else { break };
            scope.undo = true;
            at = scope.parent;
        }
    }

    pub(super) fn clear_wait(&mut self, scope: u32, slot: u32) -> Wait {
        let (id, tenant) = (self.run.id, self.run.tenant);
        let Some(node) = self.run.node_mut(scope, slot) else { return Wait::Nothing };
        let since = node.requested_seq;
        let wait = std::mem::replace(&mut node.wait, Wait::Nothing);
        match forget_wait(&wait, since, (id, tenant), scope, slot, self.index) {
            Counted::InFlight => self.run.in_flight -= 1,
            Counted::Waiting => self.run.waiting -= 1,
            Counted::No => {}
        }
        wait
    }

    /// Decides a node; gives its place back.
    pub(super) fn decide(
        &mut self,
        scope: u32,
        slot: u32,
        seq: u64,
        decision: &Decision<'_>,
    ) -> Result<(u32, u32), Unfit> {
        let place = (scope, slot);
        self.clear_wait(scope, slot);
        let dead: Vec<Sym> = decision.dead.iter().map(|id| self.symbols.intern(id)).collect();
        let node = self.node(scope, slot)?;
        if node.status != Status::Open {
            return Err("a node is decided twice".into());
        }
        node.status = decision.status;
        node.decided_seq = seq;
        node.dead = dead;
        node.error = decision.error.map(fault);
        node.kept = if decision.kept_all {
            Kept::All(decision.output.into())
        } else if decision.kept.is_empty() {
            Kept::Nothing
        } else {
            Kept::Parts(decision.kept.iter().map(|part| (part.path.into(), part.value.0.into())).collect())
        };
        if scope == ROOT {
            self.run.nodes_done += 1;
        }
        match decision.fails {
            Some(failure) if failure.item.0 => {
                let scope = self.run.scope_mut(scope).ok_or("a node without a scope")?;
                scope.failing.get_or_insert_with(|| {
                    Box::new(Fault { kind: failure.r#type.into(), message: failure.message.into() })
                });
            }
            Some(failure) => self.fail(run_error(failure), true),
            None => {}
        }
        Ok(place)
    }
}

/// The scope with a path.
pub(crate) fn find_scope(run: &Run, symbols: &Symbols, path: &str) -> Option<u32> {
    // From the outside in, not by recursion: a path may come from a client, and be as deep as it likes.
    let mut at = ROOT;
    let mut rest = path;
    while !rest.is_empty() {
        let (step, inner) = rest.split_once("].").unwrap_or((rest.strip_suffix(']')?, ""));
        let (id, index) = step.split_once('[')?;
        let scope = run.scope(at)?;
        let node = &scope.nodes[scope.find(symbols.find(id)?)? as usize];
        at = *node.children.get(&index.parse().ok()?)?;
        rest = inner;
    }
    Some(at)
}

enum Counted {
    No,
    InFlight,
    Waiting,
}

/// Takes a wait that began at offset `since` out of the index; says which counter of the run held it.
fn forget_wait(wait: &Wait, since: u64, whose: (RunId, Sym), scope: u32, slot: u32, index: &mut Index) -> Counted {
    let (run, tenant) = whose;
    match wait {
        Wait::Nothing | Wait::Map(_) | Wait::Loop(_) | Wait::Retry { due: 0 | READY, .. } => Counted::No,
        Wait::Job(flight) => {
            let due = flight.wakes();
            if due != 0 {
                index.timers.remove(&Timer { due, run, kind: TimerKind::Attempt, scope, slot });
            }
            Counted::InFlight
        }
        Wait::Child(child) => {
            let due = child.flight.due;
            if due != 0 {
                index.timers.remove(&Timer { due, run, kind: TimerKind::Attempt, scope, slot });
            }
            Counted::InFlight
        }
        Wait::Retry { due, .. } => {
            index.timers.remove(&Timer { due: *due, run, kind: TimerKind::Retry, scope, slot });
            Counted::Waiting
        }
        Wait::Timer { due } => {
            index.timers.remove(&Timer { due: *due, run, kind: TimerKind::Node, scope, slot });
            Counted::Waiting
        }
        Wait::Approval(asked) => {
            if asked.due != 0 {
                index.timers.remove(&Timer { due: asked.due, run, kind: TimerKind::Approval, scope, slot });
            }
            if asked.escalate_due != 0 {
                let due = asked.escalate_due;
                index.timers.remove(&Timer { due, run, kind: TimerKind::Escalation, scope, slot });
            }
            index.approvals.remove(&Ticket { tenant, requested_ns: asked.requested_ns, run, scope, slot });
            Counted::Waiting
        }
        Wait::Signal(awaited) => {
            if awaited.due != 0 {
                index.timers.remove(&Timer { due: awaited.due, run, kind: TimerKind::Signal, scope, slot });
            }
            index.ignore_signals(tenant, &awaited.name, &Listener { run, since, scope, slot });
            Counted::Waiting
        }
        Wait::Lock(queued) => {
            index.locks.leave(&(tenant, queued.key.clone()), queued.at);
            Counted::Waiting
        }
        Wait::Rate(throttled) => {
            index.timers.remove(&Timer { due: throttled.due, run, kind: TimerKind::Rate, scope, slot });
            Counted::Waiting
        }
    }
}

impl Index {
    /// A node waits for a signal.
    pub(crate) fn listen(&mut self, tenant: Sym, name: &Arc<str>, listener: Listener) {
        self.signals.entry((tenant, name.clone())).or_default().insert(listener);
    }

    fn ignore_signals(&mut self, tenant: Sym, name: &Arc<str>, listener: &Listener) {
        let key = (tenant, name.clone());
        if let Some(listeners) = self.signals.get_mut(&key) {
            listeners.remove(listener);
            if listeners.is_empty() {
                self.signals.remove(&key);
            }
        }
    }
}

impl Run {
    /// The timer of the whole run.
    pub(crate) fn run_timer(&self) -> Timer {
        Timer { due: self.due, run: self.id, kind: TimerKind::Run, scope: ROOT, slot: NO_SLOT }
    }

    /// Takes all that it waits for out of the index.
    fn drop_waits(&mut self, index: &mut Index) {
        for (scope, state) in self.scopes.iter().enumerate() {
            let Some(state) = state else { continue };
            for (slot, node) in state.nodes.iter().enumerate() {
                let whose = (self.id, self.tenant);
                forget_wait(&node.wait, node.requested_seq, whose, scope as u32, slot as u32, index);
            }
        }
        for key in self.extra.iter().flat_map(|extra| extra.locks.values()) {
            index.locks.release(&(self.tenant, Arc::from(&**key)));
        }
    }

    /// Puts all that it waits for into the index.
    pub(crate) fn index_waits(&self, index: &mut Index) {
        if self.due != 0 {
            index.timers.insert(self.run_timer());
        }
        for (scope, state) in self.scopes.iter().enumerate() {
            let Some(state) = state else { continue };
            for (slot, node) in state.nodes.iter().enumerate() {
                let (scope, slot) = (scope as u32, slot as u32);
                let (kind, due) = match &node.wait {
                    Wait::Nothing | Wait::Map(_) | Wait::Loop(_) => continue,
                    Wait::Job(flight) => (TimerKind::Attempt, flight.wakes()),
                    Wait::Child(child) => (TimerKind::Attempt, child.flight.due),
                    Wait::Retry { due, .. } => (TimerKind::Retry, *due),
                    Wait::Timer { due } => (TimerKind::Node, *due),
                    Wait::Approval(asked) => {
                        let (tenant, requested_ns) = (self.tenant, asked.requested_ns);
                        index.approvals.insert(Ticket { tenant, requested_ns, run: self.id, scope, slot });
                        if asked.escalate_due != 0 {
                            let (due, kind) = (asked.escalate_due, TimerKind::Escalation);
                            index.timers.insert(Timer { due, run: self.id, kind, scope, slot });
                        }
                        (TimerKind::Approval, asked.due)
                    }
                    Wait::Signal(awaited) => {
                        let listener = Listener { run: self.id, since: node.requested_seq, scope, slot };
                        index.listen(self.tenant, &awaited.name, listener);
                        (TimerKind::Signal, awaited.due)
                    }
                    Wait::Lock(queued) => {
                        if !self.is_paused() {
                            let place = Place { run: self.id, scope, slot };
                            index.locks.stand((self.tenant, queued.key.clone()), queued.at, place);
                        }
                        continue;
                    }
                    Wait::Rate(throttled) => (TimerKind::Rate, throttled.due),
                };
                // A timer node may be due in 1970, at 0; the other kinds have no time there.
                if (due != 0 && due != READY) || kind == TimerKind::Node {
                    index.timers.insert(Timer { due, run: self.id, kind, scope, slot });
                }
            }
        }
        for (&(scope, slot), key) in self.extra.iter().flat_map(|extra| &extra.locks) {
            index.locks.hold((self.tenant, Arc::from(&**key)), Place { run: self.id, scope, slot });
        }
        let Some(failing) = &self.failing else { return };
        if let Some(timer) = failing.timer(self.id) {
            index.timers.insert(timer);
        }
        for (number, step) in failing.steps.iter().flatten().enumerate() {
            if let Some(timer) = step.timer(number as u32, self.id) {
                index.timers.insert(timer);
            }
        }
    }
}

impl Failing {
    fn timer(&self, run: RunId) -> Option<Timer> {
        let due = self.due;
        (due != 0).then_some(Timer { due, run, kind: TimerKind::Compensation, scope: ROOT, slot: NO_SLOT })
    }
}

impl Step {
    fn timer(&self, number: u32, run: RunId) -> Option<Timer> {
        let kind = match self.phase {
            StepPhase::InFlight if self.due != 0 => TimerKind::StepAttempt,
            StepPhase::Retrying => TimerKind::StepRetry,
            _ => return None,
        };
        Some(Timer { due: self.due, run, kind, scope: ROOT, slot: number })
    }

    /// Ends what it is at.
    fn clear(&mut self, number: u32, run: RunId, index: &mut Index, in_flight: &mut u32, waiting: &mut u32) {
        if let Some(timer) = self.timer(number, run) {
            index.timers.remove(&timer);
        }
        match self.phase {
            StepPhase::InFlight => *in_flight -= 1,
            StepPhase::Retrying => *waiting -= 1,
            StepPhase::Ahead | StepPhase::Done | StepPhase::Failed => {}
        }
        self.phase = StepPhase::Ahead;
        self.due = 0;
        self.flight = None;
    }
}
