//! A node starts: what it is decides what is requested.

use crate::action::JobKind;
use crate::error::kind;
use crate::event::Event;
use crate::event::failure::NodeError;
use crate::event::node::{NodeSkipped, ToolCallRequested, ToolResultReceived};
use crate::event::waiting::{ApprovalRequested, TimerStarted};
use crate::event::wire::{Amount, Flag, Json, Time};
use crate::machine::{Action, Machine};
use crate::partition::jobs::InFlight;
use crate::partition::program::Program;
use crate::run::breaker::Passage;
use crate::run::composite::cancelled;
use crate::run::rate::tool_of;
use crate::run::routing::{recalled_tokens, take_back};
use crate::run::scope::View;
use crate::run::verdict::{Fails, expression_failed};
use crate::run::work::Work;
use crate::state::fold::priority_name;
use crate::state::run::{Fault, ROOT, Rendered, Run, RunError, Status, Wait};
use crate::time::{SECOND, parse_rfc3339};
use apex_ir::expressions::{Budget, ExprError};
use apex_ir::ir::{Approval, Effect, Kind, NodeIx, Priority, Timer};
use apex_ir::value::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Why a node that began is taken back.
pub(crate) const NOT_NEEDED: &str = "its result is not needed any more";

/// Where a node stands and why it moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) slot: u32,
    pub(crate) scope: u32,
    pub(crate) ix: NodeIx,
    pub(crate) cause: u64,
}

impl Machine {
    /// Starts a node whose join fired.
    pub(crate) fn start_node(&mut self, program: &Program, at: At) {
        if !self.may_begin(program, at) {
            return;
        }
        let goes_on = self.may_request(program, at);
        // The record of its key is the one that it begins with: what it does next does not reach what it takes back.
        let begun = self.holds_key(program, at);
        if begun {
            self.take_back_rest(program, at);
        }
        if goes_on {
            self.begin_node(program, at);
        }
        if !begun {
            self.take_back_rest(program, at);
        }
    }

    /// Gives up what a node with `cancel_rest` that has just begun needs no more.
    pub(crate) fn take_back_rest(&mut self, program: &Program, at: At) {
        let Some(Run { scopes, work, .. }) = self.state.run_mut(at.slot) else { return };
        if let Some(scope) = scopes.get_mut(at.scope as usize).and_then(Option::as_deref_mut) {
            take_back(program, at.scope, scope, at.ix, work);
        }
    }

    /// Whether the node has the key of its critical section and its turn at its tool; else it waits for them, or failed.
    fn may_request(&mut self, program: &Program, at: At) -> bool {
        let node = &program.ir.nodes[at.ix as usize];
        if let Some(key) = &node.concurrency_key {
            match self.enter_section(program, at, key) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    self.fail_expression(program, at, &error);
                    return false;
                }
            }
        }
        node.rate_limit.is_none_or(|limit| self.take_turn(program, at, limit))
    }

    /// Requests what the node is.
    pub(crate) fn begin_node(&mut self, program: &Program, at: At) {
        let node = &program.ir.nodes[at.ix as usize];
        if node.compensation.is_some() {
            let path = self.path(at.slot, at.scope, &node.id);
            if let Some(fault) = self.over_undo_bytes(at.slot, &path) {
                self.end_node(program, at, 0, Err(fault));
                return;
            }
        }
        let frozen = self.frozen_answer(program, at);
        let began = match &node.kind {
            _ if frozen.is_some() => {
                self.repeat(program, at, frozen.as_deref().unwrap_or_default());
                Ok(())
            }
            Kind::Function { .. } | Kind::Http(_) | Kind::Agent { .. } => self.begin_job(program, at, 1),
            Kind::Join => {
                self.start_join(program, at);
                Ok(())
            }
            Kind::Timer(timer) => self.start_timer(program, at, timer),
            Kind::Approval(approval) => {
                let prompt =
                    self.view(program, at, |machine, view| approval.prompt.render(view, &mut machine.budget()));
                prompt.and_then(|prompt| self.bounded(prompt)).map(|prompt| {
                    self.start_approval(program, at, &text_of(&prompt), approval);
                })
            }
            Kind::Signal { .. } => self.start_signal(program, at),
            Kind::Map { over, .. } => self.start_map(program, at, over),
            Kind::Loop { .. } => self.start_loop(program, at),
            Kind::Composite { inputs, .. } => self.start_composite(program, at, inputs),
        };
        if let Err(error) = began {
            self.fail_expression(program, at, &error);
        }
    }

    fn fail_expression(&mut self, program: &Program, at: At, error: &ExprError) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let fails = expression_failed(error, &path);
        self.fail_node(program, at, &fails);
    }

    /// No token will reach a node.
    pub(crate) fn skip_node(&mut self, program: &Program, at: At) {
        if !self.may_begin(program, at) {
            return;
        }
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let touched = self.emit(at.slot, &Event::NodeSkipped(NodeSkipped { node: &path }), at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// A required quorum is out of reach.
    pub(crate) fn fail_quorum(&mut self, program: &Program, at: At) {
        if !self.may_begin(program, at) {
            return;
        }
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let fails = Fails {
            error: RunError {
                code: crate::error::code::QUORUM_UNREACHABLE.into(),
                kind: kind::QUORUM_UNREACHABLE.into(),
                message: "fewer branches than the quorum asks for can still arrive".into(),
                node: path.as_ref().into(),
            },
            item: false,
        };
        self.fail_node(program, at, &fails);
    }

    /// Nothing has happened to the node yet, and nothing forbids it to begin.
    fn may_begin(&self, program: &Program, at: At) -> bool {
        let Some(run) = self.state.run(at.slot) else { return false };
        let Some(scope) = run.scope(at.scope) else { return false };
        let base = program.ir.graphs[scope.graph as usize].nodes.start;
        let Some(cell) = scope.cells.get((at.ix - base) as usize) else { return false };
        let touched = scope.nodes.get(cell.slot as usize);
        !run.is_given_up(at.scope)
            && touched.is_none_or(|node| node.status == Status::Open && matches!(node.wait, Wait::Nothing))
    }

    /// Evaluates something from where the node stands.
    pub(crate) fn view<T>(
        &self,
        program: &Program,
        at: At,
        evaluate: impl FnOnce(&Machine, &View<'_>) -> Result<T, ExprError>,
    ) -> Result<T, ExprError> {
        match self.state.run(at.slot) {
            Some(run) => evaluate(self, &View::new(run, program, at.scope)),
            None => Err(ExprError { message: "the run has ended".into(), cost_exceeded_at: None }),
        }
    }

    /// Refuses what an expression made too large.
    pub(crate) fn bounded(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ExprError> {
        let max = self.config.limits.rendered_bytes_max;
        if bytes.len() > max {
            let message = format!("it yields {} bytes, over rendered_bytes_max ({max})", bytes.len());
            return Err(ExprError { message, cost_exceeded_at: None });
        }
        Ok(bytes)
    }

    /// The instance path of a node of an open run; its id alone, borrowed, in the graph of the workflow.
    pub(crate) fn path<'a>(&self, slot: u32, scope: u32, id: &'a str) -> Cow<'a, str> {
        self.state.run(slot).map_or(Cow::Borrowed(""), |run| run.path(scope, id))
    }

    /// Renders what the job of a node is given, and requests the attempt. A fast run omits what can be rendered again.
    pub(crate) fn begin_job(&mut self, program: &Program, at: At, attempt: u32) -> Result<(), ExprError> {
        let (job, name): (JobKind, &str) = match &program.ir.nodes[at.ix as usize].kind {
            Kind::Function { name, .. } => (JobKind::Function, name),
            Kind::Agent { model, .. } => (JobKind::Agent, model),
            _ => (JobKind::Http, ""),
        };
        let (input, config, is_settled) = self.rendered(program, at, self.config.limits.expression_cost_max)?;
        let (input, config) = (self.bounded(input)?, self.bounded(config)?);
        self.request_attempt(program, at, attempt, job, name, (&input, &config), is_settled);
        Ok(())
    }

    /// What the job of a node is given, and whether it will be the same at any later time: nothing was read of a node
    /// that is not decided.
    fn rendered(&self, program: &Program, at: At, cost_max: u64) -> Result<(Vec<u8>, Vec<u8>, bool), ExprError> {
        let budget = || Budget::new(cost_max);
        self.view(program, at, |_, view| {
            let (input, config) = match &program.ir.nodes[at.ix as usize].kind {
                Kind::Function { input, config, .. } => {
                    let input = input.render(view, &mut budget())?;
                    let config = config.as_ref().map(|config| config.render(view, &mut budget())).transpose()?;
                    (input, config.unwrap_or_default())
                }
                Kind::Http(http) => (http.render(view, &mut budget())?, Vec::new()),
                Kind::Agent { config, .. } => (config.render(view, &mut budget())?, Vec::new()),
                _ => return Err(ExprError { message: "it gives no job".into(), cost_exceeded_at: None }),
            };
            Ok((input, config, !view.read_undecided.get()))
        })
    }

    /// What the job of a node that began is given, rendered again where it was omitted. `None`: its definition cannot be
    /// read, and the run will be given up.
    pub(crate) fn given(&mut self, slot: u32, scope: u32, node_slot: u32) -> Option<Rendered> {
        let run = self.state.run(slot)?;
        let flight = run.node(scope, node_slot)?.wait.flight()?;
        if let Some(rendered) = &flight.rendered {
            return Some((**rendered).clone());
        }
        if !flight.omitted {
            return Some(Rendered { input: flight.input.clone(), config: flight.config.clone() });
        }
        let sym = run.node(scope, node_slot)?.sym;
        let is_built = run.scope(ROOT).is_some_and(|root| !root.cells.is_empty());
        let program = match &run.program {
            Some(program) => program.clone(),
            None => {
                let basis = run.basis();
                self.program_of(&basis).ok()?
            }
        };
        if !is_built {
            self.rebuild(slot, &program);
        }
        let at = At { slot, scope, ix: program.ix(sym)?, cause: 0 };
        // It was within the limits when it was requested.
        let (input, config, _) = self.rendered(&program, at, u64::MAX).ok()?;
        Some(Rendered { input: input.into(), config: config.into() })
    }

    /// Records an attempt and makes its job, where its breaker lets it through.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn request_attempt(
        &mut self,
        program: &Program,
        at: At,
        attempt: u32,
        job: JobKind,
        name: &str,
        (input, config): (&[u8], &[u8]),
        is_settled: bool,
    ) {
        let node = &program.ir.nodes[at.ix as usize];
        let breaker = match self.passage(program, at, name, input) {
            Passage::Unwatched => String::new(),
            Passage::Watched(breaker) => breaker,
            Passage::Shut(breaker) => {
                self.shut_out(program, at, attempt, &breaker, input);
                return;
            }
        };
        // A breaker may keep the input beside the result, a correction shows it to a model: there it is recorded.
        let follows = is_settled && node.correction.is_none() && breaker.is_empty();
        let is_omitted = follows && self.state.run(at.slot).is_some_and(|run| run.fast);
        let close_by = node.schedule_to_close_ns.map_or(0, |limit| self.close_by(program, at, limit));
        let path = self.path(at.slot, at.scope, &node.id);
        // A call that has waited for its turn was counted then.
        let limit = node.rate_limit.filter(|_| job != JobKind::Correction && !self.has_turn(program, at));
        let (tool, interval) = limit.map_or_else(Default::default, |limit| (tool_of(node), limit.interval_ns()));
        let event = Event::ToolCallRequested(ToolCallRequested {
            node: &path,
            attempt,
            max_attempts: node.retry.attempts_max(),
            kind: job.as_str(),
            name,
            input: Json(if is_omitted { &[] } else { input }),
            config: Json(if is_omitted { &[] } else { config }),
            omitted: Flag(is_omitted),
            timeout_ns: node.timeout_ns.unwrap_or(0),
            effect: effect_name(node.effect),
            compensation: node.compensation.as_ref().map_or("", |compensation| &compensation.name),
            close_by: Time(close_by),
            heartbeat_ns: Amount(node.heartbeat_timeout_ns.unwrap_or(0)),
            breaker: &breaker,
            rate_name: &tool,
            rate_interval_ns: Amount(interval),
            priority: if node.priority == Priority::Medium { "" } else { priority_name(node.priority) },
        });
        let touched = self.emit(at.slot, &event, at.cause);
        if is_omitted
            && let Some(node) = self.state.run_mut(at.slot).and_then(|run| run.node_mut(at.scope, touched.slot))
            && let Wait::Job(flight) = &mut node.wait
        {
            flight.rendered = Some(Box::new(Rendered { input: input.into(), config: config.into() }));
        }
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        self.make_job(at.slot, at.scope, touched.slot, attempt);
    }

    /// When the time of all attempts of a node is over: as its first request said, or from now on.
    fn close_by(&self, program: &Program, at: At, limit: i64) -> i64 {
        let sym = program.syms[at.ix as usize];
        let scope = self.state.run(at.slot).and_then(|run| run.scope(at.scope));
        let wait = scope.and_then(|scope| scope.nodes.get(scope.find(sym)? as usize)).map(|node| &node.wait);
        let stated = match wait {
            Some(wait) => wait.flight().and_then(|flight| flight.care.as_ref()).map_or(0, |care| care.close_by),
            None => 0,
        };
        if stated == 0 { self.now.saturating_add(limit) } else { stated }
    }

    fn has_turn(&self, program: &Program, at: At) -> bool {
        let run = self.state.run(at.slot);
        let node = run.and_then(|run| run.scope(at.scope)).and_then(|scope| {
            let base = program.ir.graphs[scope.graph as usize].nodes.start;
            scope.nodes.get(scope.cells.get((at.ix - base) as usize)?.slot as usize)
        });
        node.is_some_and(|node| matches!(node.wait, Wait::Rate(_)))
    }

    /// Puts a job that was just recorded into the table, and its release behind the record.
    pub(crate) fn make_job(&mut self, slot: u32, scope: u32, node_slot: u32, attempt: u32) {
        let Some(run) = self.state.run_mut(slot) else { return };
        let run_id = run.id;
        let Some(Wait::Job(flight)) = run.node_mut(scope, node_slot).map(|node| &mut node.wait) else { return };
        flight.job = self.jobs.add(InFlight {
            run: slot,
            run_id,
            scope,
            slot: node_slot,
            attempt,
            compensation: false,
            released: false,
        });
        let job = flight.job;
        self.actions.push_back((self.decided(), Action::Job(job)));
    }

    fn start_join(&mut self, program: &Program, at: At) {
        let live = self.state.run(at.slot).and_then(|run| run.scope(at.scope)).map_or(0, |scope| {
            let base = program.ir.graphs[scope.graph as usize].nodes.start;
            scope.cells[(at.ix - base) as usize].live - recalled_tokens(program, scope, at.ix)
        });
        let output = format!("{{\"live\":{live}}}");
        self.end_node(program, at, 0, Ok(output.into_bytes()));
    }

    fn start_timer(&mut self, program: &Program, at: At, timer: &Timer) -> Result<(), ExprError> {
        let due = self.view(program, at, |machine, view| match timer {
            Timer::Duration(template) => {
                let value = template.evaluate(view, &mut machine.budget())?;
                duration_ns(&value).map(|duration| machine.now.saturating_add(duration)).ok_or_else(|| {
                    let message = "duration_s is not a number of seconds, zero or more".into();
                    ExprError { message, cost_exceeded_at: None }
                })
            }
            Timer::Until(template) => {
                let value = template.evaluate(view, &mut machine.budget())?;
                let time = match &value {
                    Value::String(text) => parse_rfc3339(text),
                    Value::Timestamp(time) => i64::try_from(*time).ok(),
                    _ => None,
                };
                time.ok_or_else(|| ExprError {
                    message: "until is not a time (RFC 3339)".into(),
                    cost_exceeded_at: None,
                })
            }
        })?;
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        // Time 0 on the wire means none; a timer of 1970 is due a nanosecond later.
        let due = Time(if due == 0 { 1 } else { due });
        let started = TimerStarted { node: &path, due, ..TimerStarted::default() };
        let touched = self.emit(at.slot, &Event::TimerStarted(started), at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        Ok(())
    }

    fn start_approval(&mut self, program: &Program, at: At, prompt: &str, approval: &Approval) {
        let after = |delay: Option<i64>| Time(delay.map_or(0, |delay| self.now.saturating_add(delay)));
        let (due, escalate_due) = (after(approval.timeout_ns), after(approval.escalate_after_ns));
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let Some(run) = self.state.run(at.slot) else { return };
        let ticket = format!("{}~{path}", run.id);
        let ticket = &*ticket;
        let event = Event::ApprovalRequested(ApprovalRequested { node: &path, ticket, prompt, due, escalate_due });
        let touched = self.emit(at.slot, &event, at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// A node fails before it began.
    pub(crate) fn fail_node(&mut self, program: &Program, at: At, fails: &Fails) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            status: "error",
            error: Some(NodeError { r#type: &fails.error.kind, message: &fails.error.message }),
            fails: Some(fails.event()),
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// The next node that a join with `cancel_rest` takes back; the rest of the list stays as work.
    pub(crate) fn cancel_rest(&mut self, program: &Program, at: At, place: u32) {
        let rest = &program.ir.nodes[at.ix as usize].cancel_rest;
        let Some(&ix) = rest.get(place as usize) else { return };
        let Some(run) = self.state.run_mut(at.slot) else { return };
        run.work.push_front(Work::Rest { scope: at.scope, ix: at.ix, at: place + 1 });
        let Some(scope) = run.scope(at.scope) else { return };
        let base = program.ir.graphs[scope.graph as usize].nodes.start;
        let Some(cell) = scope.cells.get((ix - base) as usize) else { return };
        let (node_slot, touched) = (cell.slot, scope.nodes.get(cell.slot as usize));
        let Some(node) = touched.filter(|node| node.status != Status::Open || !matches!(node.wait, Wait::Nothing))
        else {
            self.skip_node(program, At { ix, ..at });
            return;
        };
        if node.status != Status::Open {
            return;
        }
        if node.wait.has_open_scopes() {
            // Its bodies first; the node itself when this place of the list comes again.
            let children: Vec<u32> = node.children.values().copied().collect();
            let Some(run) = self.state.run_mut(at.slot) else { return };
            run.work.pop_front();
            run.work.push_front(Work::Rest { scope: at.scope, ix: at.ix, at: place });
            for child in children {
                if run.scope(child).is_some_and(|child| !child.closed) {
                    run.work.push_front(Work::Abandon { scope: child, failed: false });
                }
            }
            return;
        }
        self.recall(program, At { ix, ..at }, node_slot);
    }

    /// Takes a node back that began: it is decided as cancelled, and nobody waits for it any more.
    pub(crate) fn recall(&mut self, program: &Program, at: At, node_slot: u32) {
        let Some(run) = self.state.run(at.slot) else { return };
        let Some(node) = run.node(at.scope, node_slot).filter(|node| node.status == Status::Open) else { return };
        if let Wait::Child(_) = &node.wait {
            let message = "its result is not needed any more".into();
            let fault = Fault { kind: kind::CANCELLED.into(), message };
            self.end_child(at.slot, at.scope, node_slot, cancelled(fault), true);
            return;
        }
        let (attempt, cause, is_writing) = (node.attempt, node.requested_seq, node.is_writing());
        let job = if let Wait::Job(flight) = &node.wait { flight.job } else { 0 };
        let was_released = self.jobs.get(job).is_none_or(|job| job.released);
        let path = run.path(at.scope, &program.ir.nodes[at.ix as usize].id);
        self.drop_job(job);
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            attempt,
            status: "cancelled",
            error: Some(NodeError { r#type: kind::CANCELLED, message: NOT_NEEDED }),
            unknown: Flag(is_writing && was_released),
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// Forgets a job, before the record that says so is made; one that was handed out is asked to end once that record
    /// is durable.
    pub(crate) fn drop_job(&mut self, job: u64) {
        if let Some(dropped) = self.jobs.remove(job).filter(|job| job.released) {
            self.seal_others(dropped.run);
            self.actions.push_back((self.state.position + 1, Action::Cancel(job)));
        }
    }

    /// The fault of an outcome over a limit.
    pub(crate) fn over_result_bytes(&self, bytes: usize) -> Option<Fault> {
        let max = self.config.limits.result_bytes_max;
        (bytes > max).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("the result has {bytes} bytes, over result_bytes_max ({max})").into(),
        })
    }
}

/// As written in events.
pub(crate) fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Write => "write",
    }
}

/// A JSON string as text; any other value as it stands.
pub(crate) fn text_of(json: &[u8]) -> Arc<str> {
    match serde_json::from_slice::<String>(json) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(json).into(),
    }
}

fn duration_ns(value: &Value) -> Option<i64> {
    let duration = match value {
        Value::Int(seconds) => seconds.saturating_mul(SECOND),
        // `as` saturates, and a NaN is refused by the comparison below.
        Value::Double(seconds) if seconds.is_finite() => (seconds * SECOND as f64) as i64,
        Value::Duration(ns) => *ns,
        _ => return None,
    };
    (duration >= 0).then_some(duration)
}
