//! One run, followed event by event. Every event must be something that the run may do now, or that was really offered
//! from outside, or whose time has come; and it must say what the run computes.

use super::around::Around;
pub(crate) use super::children::Parent;
use super::definition::{Graph, SECOND, nanoseconds};
use super::expression::NoValue;
use super::patches::Patch;
use super::programs::{Compiles, Programs, Wish};
use super::run::{
    Ending, Failure, Items, Iterations, Limits, Phase, Readiness, Run, Undoing, Verdict, Work, job_key, split,
};
use super::waiting::{Sent, free_within};
use crate::coverage::Coverage;
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// A durable event.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    pub(crate) offset: u64,
    pub(crate) name: &'static str,
    pub(crate) time: i64,
    pub(crate) payload: Value,
    /// It stands in the record of a whole turn, which leaves out what the run does not read itself.
    pub(crate) in_turn: bool,
}

impl Happening {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.payload[field].as_str().unwrap_or_default()
    }
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.payload[field].as_u64().unwrap_or(0)
    }
    pub(crate) fn flag(&self, field: &str) -> bool {
        self.payload[field] == true
    }
    pub(crate) fn due(&self) -> Option<i64> {
        self.payload["due"].as_str().and_then(read_time)
    }
    pub(crate) fn error_type(&self) -> &str {
        self.payload["error"]["type"].as_str().unwrap_or_default()
    }
}

/// What an executor said of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) instance: String,
    pub(crate) attempt: u64,
    pub(crate) compensation: bool,
    /// As it is to be recorded: `ok`, `error`, `timeout`, `cancelled`.
    pub(crate) status: &'static str,
    pub(crate) output: Value,
    pub(crate) error: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    /// Of an agent: how it would change its run.
    pub(crate) patch: Option<Box<Patch>>,
}

/// A decision of a person.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) instance: String,
    pub(crate) approve: bool,
    pub(crate) reason: String,
    pub(crate) edits: Value,
}

/// What was offered to a run from outside and not recorded yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    pub(crate) told: VecDeque<Told>,
    pub(crate) decisions: VecDeque<Decision>,
    /// Whether each cancel wants compensation.
    pub(crate) cancels: VecDeque<bool>,
    /// Signs of life: instance, attempt, how far it is.
    pub(crate) beats: Vec<(String, u64, Value)>,
    /// In any order: each has a payload of its own.
    pub(crate) signals: Vec<Sent>,
    pub(crate) pauses: u64,
    pub(crate) resumes: u64,
    /// Another definition: the last that was asked for, for the one before was answered by then.
    pub(crate) wish: Option<Wish>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) run: Run,
    pub(crate) programs: Programs,
    /// Of the definition in force.
    pub(crate) graph: Rc<Graph>,
    pub(crate) history: Vec<Happening>,
    pub(crate) offers: Offers,
    /// Attempts that an executor of this ownership has seen.
    pub(crate) handed_out: BTreeSet<(String, u64)>,
    /// Attempts in flight when the ownership began, of a run that was failing: nobody executes them.
    pub(crate) lost: BTreeSet<(String, u64)>,
    /// Of the child of a composite node.
    pub(crate) parent: Option<Parent>,
    /// Runs that it stands in.
    pub(crate) depth: u64,
    /// Its turns are recorded, not its events.
    pub(crate) is_fast: bool,
    /// What it keeps of the run that it replays.
    pub(crate) kept: Option<BTreeMap<String, Verdict>>,
    /// The records of that run are gone, it was told.
    pub(crate) is_cut_off: bool,
    /// The node whose patch was decided, and whose result follows.
    pub(crate) answering: Option<String>,
}

pub(super) fn same_error(error: NoValue) -> Wrong {
    Wrong(format!("an expression is to fail: {}", error.0))
}

impl Judge {
    pub(crate) fn new(
        id: RunId,
        programs: Programs,
        inputs: Value,
        start: &Happening,
        offers: Offers,
    ) -> Result<Judge, Wrong> {
        let graph = Rc::new(programs.graph());
        let run = Run::new(id, Rc::clone(&graph), inputs, start.time);
        check!(start.payload["nodes_total"] == json!(graph.nodes.len()), "a wrong number of nodes");
        check!(start.due() == run.due, "the run is due at {:?}, to be {:?}", start.due(), run.due);
        Ok(Judge {
            run,
            programs,
            graph,
            history: vec![start.clone()],
            offers,
            handed_out: BTreeSet::new(),
            lost: BTreeSet::new(),
            parent: None,
            depth: 0,
            is_fast: start.text("fidelity") == "fast",
            kept: None,
            is_cut_off: false,
            answering: None,
        })
    }

    /// The last events, for messages.
    pub(crate) fn tail(&self) -> String {
        let from = self.history.len().saturating_sub(40);
        let lines = self.history[from..].iter().map(|h| format!("  {} {} {} {}", h.offset, h.time, h.name, h.payload));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Follows one event.
    pub(crate) fn follow(
        &mut self,
        h: &Happening,
        around: &mut Around<'_>,
        compiles: Compiles<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), Wrong> {
        check!(self.run.phase != Phase::Ended, "{} follows the end of the run", h.name);
        let node = h.text("node").to_owned();
        let (from, at) = (self.run.state(), self.run.standing(&node));
        let number =
            self.run.undoing.as_ref().map_or("not yet", |undoing| {
                if undoing.in_flight { "being undone" } else { "waits to be undone again" }
            });
        self.history.push(h.clone());
        if let Some(answering) = self.answering.take() {
            let is_it = h.name == "ToolResultReceived" && h.text("node") == answering;
            check!(is_it, "{} stands between a patch of {answering} and the result that it came with", h.name);
        }
        let asks = match h.name {
            "ToolCallRequested" | "ChildStarted" => h.number("attempt") == 1 && h.text("kind") != "correction",
            "ApprovalRequested" => true,
            "TimerStarted" => h.text("timer") != "rate",
            _ => false,
        };
        let followed = match h.name {
            "PatchApplied" | "PatchProposed" | "PatchRejected" | "PatchRolledBack" | "RunMigrated" => {
                self.decides(h, around, compiles, coverage)
            }
            _ if asks => self.is_asked_again(&node).and_then(|()| self.apply(h, around)),
            _ => self.apply(h, around),
        };
        followed.map_err(|wrong| Wrong(format!("{} {}: {wrong}\n{}", h.name, h.payload, self.tail())))?;
        self.note_decided();
        if self.run.phase == Phase::Ended && self.programs.held.iter().any(|held| !held.is_rejected) {
            coverage.patch("lapsed");
        }
        coverage.run_moved(from, h.name, self.run.state());
        if h.name.starts_with("Compensation") && h.name != "CompensationPlanned" || h.flag("compensation") {
            let to = match h.name {
                "CompensationRequested" => "being undone",
                "CompensationCompleted" if h.flag("success") => "undone",
                "CompensationCompleted" => "given up",
                _ => "waits to be undone again",
            };
            coverage.step_moved(number, h.name, to);
        } else if !node.is_empty() {
            let event = match h.text("status") {
                "" => h.name.to_owned(),
                status => format!("{} ({status})", h.name),
            };
            coverage.node_moved(at, &event, self.run.standing(&node));
        }
        Ok(())
    }

    fn apply(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        match h.name {
            _ if h.flag("copied") => self.copied(h),
            "RunCancelled" => self.cancelled(h, around),
            "CheckpointCreated" => self.checkpoint(h),
            "RunPaused" => self.paused(h),
            "RunResumed" => self.resumed(),
            "WorkflowCompleted" => self.completed(h, around),
            "WorkflowFailed" => self.failed(h, around),
            "ToolCallRequested" => self.requested(h, around),
            "ToolResultReceived" => self.result(h, around),
            "DeadLettered" => self.dead_lettered(h),
            "HeartbeatRecorded" => self.beat(h),
            "NodeSkipped" => self.skipped(h),
            "NodeRetryScheduled" if h.flag("compensation") => self.undo_retry(h),
            "NodeRetryScheduled" => self.retry(h),
            "ScopeOpened" => self.opened(h),
            "ScopeClosed" => self.closed(h),
            "ChildStarted" => self.child_started(h, around),
            "ChildEnded" => self.child_ended(h, around),
            "TimerStarted" => match h.text("timer") {
                "signal" => self.signal_awaited(h),
                "rate" => self.turn_awaited(h, around),
                _ => self.timer_started(h),
            },
            "TimerFired" => self.timer_fired(h),
            "SignalReceived" => self.signal_received(h, around),
            "LockAcquired" => self.lock_acquired(h, around),
            "LockReleased" => self.lock_released(h),
            "ApprovalRequested" => self.approval_requested(h),
            "ApprovalEscalated" => self.escalated(h),
            "ApprovalResolved" => self.approval_resolved(h),
            "CorrectionProposed" => self.corrected(h),
            "CompensationPlanned" => self.planned(h),
            "CompensationRequested" => self.undo_requested(h),
            "CompensationCompleted" => self.undo_completed(h),
            _ => Err(Wrong("the oracle does not know this event".into())),
        }
    }

    // --- what is compared ---------------------------------------------------------------------------------------

    /// Whether an event says this; what a turn leaves out it need not say.
    pub(super) fn says(&self, h: &Happening, field: &str, value: &Value) -> bool {
        let have = &h.payload[field];
        have == value || (h.in_turn && have.is_null())
    }

    pub(super) fn running(&self) -> Result<(), Wrong> {
        check!(self.run.phase == Phase::Running, "the run is {:?}: nothing new begins", self.run.phase);
        Ok(())
    }

    /// The run goes on, and nobody holds it.
    pub(super) fn awake(&self) -> Result<(), Wrong> {
        check!(!self.run.paused, "the run is paused: nothing new begins");
        self.running()
    }

    /// Nothing was heard of the node, its edges let it begin, and it holds the key of its critical section.
    pub(super) fn ready(&self, instance: &str, wanted: Readiness) -> Result<(), Wrong> {
        self.may_begin(instance, wanted)?;
        if wanted == Readiness::Start
            && let Some(key) = self.key_of(instance).map_err(same_error)?
        {
            check!(self.run.held.get(instance) == Some(&key), "{instance} does not hold the key {key}");
        }
        Ok(())
    }

    /// Nothing was heard of the node, and its edges let it begin.
    pub(super) fn may_begin(&self, instance: &str, wanted: Readiness) -> Result<(), Wrong> {
        self.awake()?;
        let (graph, scope) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        check!(!scope.decided.contains_key(id), "invariant 5: {instance} is decided already");
        check!(!scope.work.contains_key(id), "invariant 5: {instance} has begun already");
        check!(!self.run.is_given_up(prefix) && !scope.doomed.contains(id), "{instance} was given up");
        let readiness = self.run.readiness(prefix, &graph.nodes[id]);
        check!(readiness == wanted, "{instance} is {readiness:?}, to be {wanted:?}");
        Ok(())
    }

    /// The `fails` of an event, given how things stood before it.
    fn expect_fails(&self, h: &Happening, was_running: bool, before: &Ending) -> Result<(), Wrong> {
        let have = &h.payload["fails"];
        let instance = h.text("node");
        let ending = self.run.scopes.get(split(instance).0).map(|scope| &scope.ending);
        let (code, kind, node, item) = match (&self.run.failure, ending) {
            (Some(failure), _) if was_running => (failure.code, failure.kind.as_str(), failure.node.as_str(), false),
            (None, Some(Ending::Failed(kind))) if ending != Some(before) => {
                ("NODE_FAILED", kind.as_str(), instance, true)
            }
            _ => {
                check!(have.is_null(), "it makes nothing fail, but says {have}");
                return Ok(());
            }
        };
        let (has_item, has_node) = (have["item"] == true, have["node"].as_str().unwrap_or_default());
        let fits = have["code"] == code && has_node == node && has_item == item && have["type"] == kind;
        check!(fits, "it says that {have} fails, to be {code} {kind} {node} {item}");
        Ok(())
    }

    fn expect_error(&self, have: &Value) -> Result<(), Wrong> {
        let failure = self.run.failure.as_ref().ok_or_else(|| Wrong("a failure without a reason".into()))?;
        let fits = have["code"] == failure.code && have["node"].as_str().unwrap_or_default() == failure.node;
        check!(fits, "the run fails by {have}, to be {failure:?}");
        Ok(())
    }

    fn expect_dead(&self, h: &Happening, dead: Option<Vec<String>>) -> Result<(), Wrong> {
        let Some(dead) = dead else { return Ok(()) };
        let have = h.payload["dead"].as_array().cloned().unwrap_or_default();
        let mut have: Vec<&str> = have.iter().filter_map(Value::as_str).collect();
        have.sort_unstable();
        check!(have == dead, "dead are {have:?}, to be {dead:?}");
        Ok(())
    }

    /// Decides a node as an event says, and compares what follows.
    pub(super) fn settle(&mut self, h: &Happening, verdict: Verdict) -> Result<(), Wrong> {
        let instance = h.text("node");
        let was_running = self.run.phase == Phase::Running;
        let before = self.run.scopes.get(split(instance).0).map_or(Ending::No, |scope| scope.ending.clone());
        let dead = self.run.settle(instance, verdict, h.offset)?;
        self.expect_dead(h, dead)?;
        self.expect_fails(h, was_running, &before)
    }

    /// A node whose expression cannot be evaluated ends the run.
    pub(super) fn expression_fails(&mut self, h: &Happening, error: NoValue) -> Result<(), Wrong> {
        let instance = h.text("node");
        self.run.decide(instance, Verdict::failed("ExpressionFailed", &error.0), h.offset)?;
        self.run.fail("EXPRESSION_FAILED", "ExpressionFailed", instance);
        self.expect_fails(h, true, &Ending::No)
    }

    // --- the run ------------------------------------------------------------------------------------------------

    fn cancelled(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let above = self.parent.as_ref().and_then(|parent| around.judges.get(&parent.run));
        let cancel = match above.and_then(|above| above.gave_up(&self.run.id)) {
            Some(compensate) if h.text("by").is_empty() => {
                Some(compensate).filter(|_| self.run.phase == Phase::Running)
            }
            _ => self.offers.cancels.pop_front(),
        };
        let cancel = cancel.ok_or_else(|| Wrong("nobody cancelled".into()))?;
        check!(h.flag("compensate") == cancel, "another cancel than was asked for");
        if std::mem::take(&mut self.run.paused) && self.run.phase == Phase::Failing {
            // It fails already; the cancel only ends the pause.
            return Ok(());
        }
        self.running()?;
        self.run.compensate = cancel;
        self.run.fail("CANCELLED", "Cancelled", "");
        Ok(())
    }

    /// The name of the state right before a pause.
    fn checkpoint(&mut self, h: &Happening) -> Result<(), Wrong> {
        self.awake()?;
        check!(h.payload["offset"] == h.offset, "the checkpoint is of offset {}", h.offset);
        Ok(())
    }

    fn paused(&mut self, h: &Happening) -> Result<(), Wrong> {
        self.awake()?;
        check!(self.offers.pauses > 0, "nobody paused");
        self.offers.pauses -= 1;
        let before = self.history.len().checked_sub(2).and_then(|at| self.history.get(at));
        let checkpoint = before.filter(|before| before.name == "CheckpointCreated").map(|h| h.text("checkpoint_id"));
        check!(checkpoint == Some(h.text("checkpoint")), "it names no checkpoint");
        self.run.paused = true;
        Ok(())
    }

    fn resumed(&mut self) -> Result<(), Wrong> {
        check!(self.run.paused && self.offers.resumes > 0, "nobody let it go on");
        self.offers.resumes -= 1;
        self.run.paused = false;
        Ok(())
    }

    fn no_moves(&self) -> Result<(), Wrong> {
        check!(self.run.letters.is_empty(), "dead letters are not written: {:?}", self.run.letters);
        let root = self.run.root();
        check!(root.decided.len() == root.graph.nodes.len(), "invariant 5: tokens are left");
        let moves = self.run.moves();
        check!(moves.len() == 1, "invariant 5: it completes, and there is left to do: {moves:?}");
        Ok(())
    }

    fn completed(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        self.awake()?;
        self.parent_knows(around)?;
        self.no_moves()?;
        let output = self.run.output_of("").map_err(same_error)?;
        check!(h.payload["output"] == output, "the output is to be {output}");
        self.run.phase = Phase::Ended;
        Ok(())
    }

    /// The output of the run may be what fails it; no event of its own says so.
    fn output_fails(&mut self) -> Result<(), Wrong> {
        check!(!self.run.paused, "the run is paused: nothing is undone");
        if self.run.phase == Phase::Running {
            self.no_moves()?;
            check!(self.run.output_of("").is_err(), "the run is to complete");
            self.run.fail("EXPRESSION_FAILED", "ExpressionFailed", "");
        }
        Ok(())
    }

    fn failed(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        self.parent_knows(around)?;
        if h.payload["error"]["code"] == "HISTORY_TRIMMED" {
            check!(self.is_cut_off && self.kept.is_some(), "nobody said that its origin is gone");
            let failure = Failure { code: "HISTORY_TRIMMED", kind: "Cancelled".into(), node: String::new() };
            (self.run.phase, self.run.failure, self.run.paused) = (Phase::Ended, Some(failure), false);
            return Ok(());
        }
        self.output_fails()?;
        check!(!self.run.is_busy(), "invariant 6: jobs or children are in flight");
        check!(self.run.letters.is_empty(), "dead letters are not written: {:?}", self.run.letters);
        if self.run.phase == Phase::Failing {
            let steps = self.run.to_undo();
            check!(steps.is_empty(), "invariant 6: {steps:?} are to be undone");
        } else {
            check!(self.run.plan.is_empty(), "invariant 6: {:?} are not undone yet", self.run.plan);
        }
        self.expect_error(&h.payload["error"])?;
        check!(h.flag("compensation_executed") != self.run.undone.is_empty(), "compensation_executed is wrong");
        let results = h.payload["compensation_results"].as_array().cloned().unwrap_or_default();
        let results: Vec<(String, bool)> = results
            .iter()
            .map(|result| (result["step_id"].as_str().unwrap_or_default().to_owned(), result["success"] == true))
            .collect();
        check!(results == self.run.undone, "undone were {:?}", self.run.undone);
        self.run.phase = Phase::Ended;
        Ok(())
    }

    // --- nodes --------------------------------------------------------------------------------------------------

    /// An attempt after the first one that may begin now: its number, and the input it has. `None`: none waits.
    pub(super) fn again(&self, h: &Happening, instance: &str) -> Result<Option<(u64, Value)>, Wrong> {
        let (due, attempt, input) = match self.run.work(instance) {
            Some(Work::Retry { attempt, due, input }) => (*due, *attempt, input),
            Some(Work::Turn { due, before: Some((attempt, input)) }) => (*due, *attempt, input),
            Some(Work::Again { attempt, input }) => (i64::MIN, *attempt, input),
            _ => return Ok(None),
        };
        self.awake()?;
        check!(h.time >= due, "it is too early for the next attempt: {due}");
        check!(!self.is_over(instance), "{instance} was given up");
        Ok(Some((attempt + 1, input.clone())))
    }

    /// The attempt of a job that may begin now, and its input; null, where it was never made.
    pub(super) fn next_attempt(
        &self,
        h: &Happening,
        instance: &str,
        node: &super::definition::Node,
    ) -> Result<(u64, Value), Wrong> {
        if let Some(again) = self.again(h, instance)? {
            return Ok(again);
        }
        match self.run.work(instance) {
            Some(Work::Turn { due, .. }) => {
                check!(h.time >= *due && !self.is_over(instance), "its turn has not come");
                self.awake()?;
            }
            _ => self.ready(instance, Readiness::Start)?,
        }
        let is_made = node.breaker.is_none();
        Ok((1, if is_made { self.made(split(instance).0, node, &Value::Null)? } else { Value::Null }))
    }

    /// An input: as it was made before, or made now.
    pub(super) fn made(&self, prefix: &str, node: &super::definition::Node, input: &Value) -> Result<Value, Wrong> {
        if node.kind != "function" || !input.is_null() {
            return Ok(input.clone());
        }
        self.run.render(prefix, &node.input).map_err(same_error)
    }

    fn requested(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        if h.text("kind") == "correction" {
            return self.correction_requested(h);
        }
        let instance = h.text("node");
        self.awake()?;
        let (graph, _) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let node = &graph.nodes[id];
        let has_turn = matches!(self.run.work(instance), Some(Work::Turn { .. }));
        let (attempt, input) = self.next_attempt(h, instance, node)?;
        let input = self.made(prefix, node, &input)?;
        let tool = h.text("rate_name");
        check!(tool.is_empty() == (node.rate.is_none() || has_turn), "whether it counts for a rate is wrong");
        if !tool.is_empty() {
            self.counts(h, instance, tool, None, around)?;
        }
        let watched = self.watched(h, node, around)?;
        self.run.asked.insert(instance.into());
        check!(h.number("attempt") == attempt, "it is attempt {attempt}");
        check!(h.text("kind") == node.kind, "it is a node of type {}", node.kind);
        let says_input = h.payload["input"] == input || (h.in_turn && h.flag("omitted"));
        check!(node.kind != "function" || says_input, "the input is to be {input}");
        let attempts = node.retry.attempts_max();
        check!(h.number("max_attempts") == attempts, "it has {attempts} attempts");
        check!(h.payload["timeout_ns"] == node.timeout_ns, "its time limit is {} ns", node.timeout_ns);
        if let Some(after) = node.close_ns {
            self.run.close_by.entry(instance.into()).or_insert(h.time + after);
        }
        let limits = Limits {
            attempt: (node.timeout_ns > 0).then_some(h.time + node.timeout_ns),
            all: self.run.close_by.get(instance).copied(),
            beat: node.heartbeat_ns.map(|silence| h.time + silence),
            silence_ns: node.heartbeat_ns,
        };
        self.run.requested = true;
        self.run
            .scope_mut(instance)?
            .work
            .insert(id.into(), Work::Job { attempt, limits, input, watched, corrects: None });
        if attempt == 1 { self.run.begin(instance) } else { Ok(()) }
    }

    fn result(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (graph, scope) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        check!(!scope.decided.contains_key(id), "invariant 5: {instance} is decided already");
        let work = scope.work.get(id).cloned();
        let is_doomed = scope.doomed.contains(id);
        let is_taken_back = h.text("status") == "cancelled" && is_doomed;
        let is_shut_out = h.error_type() == "CircuitOpen" || h.flag("fallback");
        let is_unmade = |input: &Value| {
            h.error_type() == "ExpressionFailed" && input.is_null() && graph.nodes[id].kind == "function"
        };
        match work {
            None | Some(Work::Retry { .. } | Work::Again { .. } | Work::Turn { .. }) if is_shut_out => {
                self.shut_out(h, around)
            }
            None => self.began_and_ended(h, around),
            Some(
                Work::Retry { input, .. } | Work::Again { input, .. } | Work::Turn { before: Some((_, input)), .. },
            ) if is_unmade(&input) => {
                self.again(h, instance)?;
                let rendered = self.run.render(prefix, &graph.nodes[id].input);
                let error = rendered.err().ok_or_else(|| Wrong("its input can be evaluated".into()))?;
                self.expression_fails(h, error)
            }
            Some(Work::Job { attempt, limits, corrects: Some(error), .. }) if h.text("status") != "cancelled" => {
                check!(h.number("attempt") == attempt, "invariant 4: attempt {attempt} is the current one");
                self.not_corrected(h, attempt, &limits, &error)
            }
            Some(Work::Turn { due, before: None }) if !is_taken_back => {
                check!(h.time >= due, "its turn has not come");
                let rendered = self.run.render(prefix, &graph.nodes[id].input);
                let error = rendered.err().ok_or_else(|| Wrong("its input can be evaluated".into()))?;
                self.expression_fails(h, error)
            }
            Some(Work::Signal { due, .. }) if !is_taken_back => self.signal_is_late(h, due, false),
            Some(Work::Retry { .. } | Work::Again { .. }) if graph.nodes[id].kind == "composite" && !is_taken_back => {
                self.again(h, instance)?;
                self.child_cannot_begin(h, around)
            }
            Some(Work::Job { attempt, limits, input, watched, corrects }) => {
                check!(h.number("attempt") == attempt, "invariant 4: attempt {attempt} is the current one");
                let node = &graph.nodes[id];
                let key = job_key(instance, corrects.is_some());
                let may_write = node.write && corrects.is_none();
                let (told, unknown) = self.outcome(h, &key, instance, attempt, &limits, may_write)?;
                self.is_passed_over(told.patch.as_deref())?;
                self.counted(h, node, &told, watched.as_ref(), &input, around)?;
                check!(h.flag("unknown") == unknown, "whether it happened is to be unknown: {unknown}");
                if unknown {
                    self.run.unknown.insert(instance.into());
                }
                let goes_on = told.status != "ok"
                    && told.retryable
                    && self.run.phase == Phase::Running
                    && !self.run.is_given_up(prefix)
                    && !is_doomed
                    && node.retry.goes_on(attempt, &told.error);
                let (early, late) = node.retry.delays(attempt, &told.error);
                let closes = |delay: i64| limits.all.is_some_and(|by| h.time + delay > by);
                // The wait has chance in it: near the end of all attempts either may be right.
                let is_open = goes_on && !closes(early) && closes(late);
                let goes_on = goes_on && !closes(late);
                let corrects = !goes_on && self.is_corrected(h, instance, node, &limits);
                let fits = h.flag("retry") == (goes_on || corrects) && h.flag("correct") == corrects;
                let is_open = is_open && h.flag("retry") && !h.flag("correct");
                check!(fits || is_open, "another attempt is to follow: {goes_on}, with another input: {corrects}");
                if h.flag("retry") {
                    self.run.last_result.insert(instance.into(), h.offset);
                    let scope = self.run.scope_mut(instance)?;
                    let correct = h.flag("correct");
                    let again = Work::Scheduling { attempt, error: told.error, input, correct };
                    scope.work.insert(id.into(), again);
                    return Ok(());
                }
                let message = h.payload["error"]["message"].as_str().unwrap_or_default();
                let verdict = match told.status {
                    "ok" => Verdict::ok(told.output),
                    _ => Verdict::failed(&told.error, message),
                };
                self.last_attempt(h, verdict)
            }
            Some(Work::Retry { due, .. } | Work::Turn { due, .. }) if h.text("status") == "timeout" => {
                let is_over = self.run.close_by.get(instance).is_some_and(|by| h.time >= *by) && h.time >= due;
                check!(is_over, "the time of all attempts is not over");
                self.last_attempt(h, Verdict::failed("Timeout", ""))
            }
            Some(Work::Again { .. }) if h.text("status") == "timeout" => {
                let is_over = self.run.close_by.get(instance).is_some_and(|by| h.time >= *by);
                check!(is_over, "the time of all attempts is not over");
                self.last_attempt(h, Verdict::failed("Timeout", ""))
            }
            Some(Work::Items(_)) if !is_taken_back => self.map_ends(h),
            Some(Work::Iterations(_)) if !is_taken_back => self.loop_ends(h),
            Some(Work::Approval { due, .. }) if !is_taken_back => {
                check!(graph.nodes[id].config["on_timeout"] == "fail", "its time limit does not fail it");
                check!(h.error_type() == "ApprovalTimeout" && due.is_some_and(|due| h.time >= due), "it is not over");
                self.settle(h, Verdict::failed("ApprovalTimeout", ""))
            }
            Some(_) => {
                check!(is_taken_back, "nobody takes {instance} back");
                check!(self.run.open_items(instance) == 0, "items of {instance} are open");
                self.awake()?;
                check!(!matches!(self.run.work(instance), Some(Work::Child(_))), "its child is told first");
                self.run.decide(instance, Verdict::failed("Cancelled", ""), h.offset)
            }
        }
    }

    /// A node that was handed out has its verdict: where it failed for good a dead letter follows.
    pub(super) fn last_attempt(&mut self, h: &Happening, verdict: Verdict) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (graph, _) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let node = &graph.nodes[id];
        let may_die = self.run.phase == Phase::Running
            && !self.run.is_given_up(prefix)
            && !self.run.is_doomed(instance)
            && matches!(h.text("status"), "error" | "timeout")
            && (node.write || node.retry.attempts_max() > 1);
        self.settle(h, verdict)?;
        let is_dead = may_die && !self.is_handled(instance);
        check!(h.flag("dead_letter") == is_dead, "a dead letter is to follow: {is_dead}");
        if is_dead {
            self.run.letters.insert(instance.into());
        }
        Ok(())
    }

    /// An edge took the failure of a node.
    fn is_handled(&self, instance: &str) -> bool {
        let (prefix, id) = split(instance);
        let scope = &self.run.scopes[prefix];
        scope.graph.nodes[id].out.iter().any(|&edge| scope.tokens[edge] == Some(true))
    }

    fn dead_lettered(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        check!(self.run.letters.remove(instance), "{instance} did not fail for good");
        let (prefix, id) = split(instance);
        let error = self.run.scopes[prefix].decided.get(id).and_then(|verdict| verdict.error.as_ref());
        check!(error.is_some_and(|(kind, _)| kind == h.error_type()), "it failed by {error:?}");
        Ok(())
    }

    fn beat(&mut self, h: &Happening) -> Result<(), Wrong> {
        let (instance, attempt) = (h.text("node").to_owned(), h.number("attempt"));
        let is_current =
            matches!(self.run.work(&instance), Some(Work::Job { attempt: current, .. }) if *current == attempt);
        check!(is_current, "invariant 4: a sign of life of an attempt that is over");
        let progress = h.payload["progress"].clone();
        let beat = (instance.clone(), attempt, progress.clone());
        check!(self.offers.beats.contains(&beat), "nobody said so: {:?}", self.offers.beats);
        let (_, id) = split(&instance);
        let heard = h.payload["time"].as_str().and_then(read_time).unwrap_or(h.time);
        if let Some(Work::Job { limits, .. }) = self.run.scope_mut(&instance)?.work.get_mut(id) {
            limits.beat = limits.silence_ns.map(|silence| heard + silence);
        }
        self.run.progress.insert(instance, progress);
        Ok(())
    }

    /// What a result is of: an executor told it, time did it, or the machine took the job back. And whether a write of
    /// it may have happened.
    fn outcome(
        &mut self,
        h: &Happening,
        key: &str,
        instance: &str,
        attempt: u64,
        limits: &Limits,
        write: bool,
    ) -> Result<(Told, bool), Wrong> {
        let status = h.text("status");
        let is_mine = |told: &Told| told.instance == key && told.attempt == attempt && !told.compensation;
        if let Some(at) = self.offers.told.iter().position(is_mine) {
            let told = &self.offers.told[at];
            // Its time may be over before it says so itself.
            let says_so = status != "timeout" || h.payload["error"]["message"] == told.message;
            let fits = told.status == status
                && says_so
                && if status == "ok" { self.says(h, "output", &told.output) } else { h.error_type() == told.error };
            if fits {
                let told = self.offers.told.remove(at).ok_or_else(|| Wrong("it is gone".into()))?;
                let unknown = write && matches!(told.status, "timeout" | "cancelled");
                return Ok((told, unknown));
            }
        }
        let told = |status, error: &str, retryable| Told {
            instance: instance.into(),
            attempt,
            compensation: false,
            status,
            output: Value::Null,
            error: error.into(),
            message: String::new(),
            retryable,
            patch: None,
        };
        if status == "timeout" {
            let is_over = |due: Option<i64>| due.is_some_and(|due| h.time >= due);
            if h.error_type() == "HeartbeatTimeout" {
                check!(is_over(limits.beat), "invariant 4: it was heard of");
                return Ok((told("timeout", "HeartbeatTimeout", true), write));
            }
            let (is_over, are_over) = (is_over(limits.attempt), is_over(limits.all));
            check!(is_over || are_over, "invariant 4: it is not out of time, and nobody said so");
            return Ok((told("timeout", "Timeout", is_over), write));
        }
        check!(status == "cancelled", "invariant 4: nobody told this of attempt {attempt}: {:?}", self.offers.told);
        let key = (key.to_owned(), attempt);
        let unknown = if self.run.phase == Phase::Failing {
            check!(!self.handed_out.contains(&key), "invariant 6: an executor is at it: its result is waited for");
            write && self.lost.contains(&key)
        } else {
            let (prefix, _) = split(instance);
            let is_given_up = self.run.is_given_up(prefix) || self.run.is_doomed(instance);
            check!(is_given_up, "nobody takes {instance} back");
            write && self.handed_out.contains(&key)
        };
        Ok((told("cancelled", "Cancelled", false), unknown))
    }

    /// A node that is decided by beginning: a join, a map of nothing, one that cannot begin.
    fn began_and_ended(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let node = &graph.nodes[id];
        if self.run.readiness(prefix, node) == Readiness::Unreachable {
            self.ready(&instance, Readiness::Unreachable)?;
            self.run.decide(&instance, Verdict::failed("QuorumUnreachable", ""), h.offset)?;
            self.run.fail("QUORUM_UNREACHABLE", "QuorumUnreachable", &instance);
            return self.expect_fails(h, true, &Ending::No);
        }
        self.may_begin(&instance, Readiness::Start)?;
        self.run.begin(&instance)?;
        if let Err(error) = self.key_of(&instance) {
            return self.expression_fails(h, error);
        }
        self.ready(&instance, Readiness::Start)?;
        match node.kind.as_str() {
            "join" => {
                let output = json!({"live": self.run.live(&instance)});
                check!(h.text("status") == "ok" && self.says(h, "output", &output), "the output is to be {output}");
                self.settle(h, Verdict::ok(output))
            }
            "map" => match self.list_of(prefix, &node.config["over"]) {
                Ok(over) => {
                    check!(over.is_empty() && h.text("status") == "ok", "it has {} items", over.len());
                    check!(self.says(h, "output", &json!([])), "the output is to be an empty list");
                    self.settle(h, Verdict::ok(json!([])))
                }
                Err(error) => self.expression_fails(h, error),
            },
            "loop" => {
                let none = Iterations { next: 0, last: Value::Null, failure: None };
                match self.run.goes_on(prefix, node, &none) {
                    Ok(goes_on) => {
                        let is_null = h.text("status") == "ok" && h.payload["output"].is_null();
                        check!(!goes_on && is_null, "an iteration is to begin: {goes_on}");
                        self.settle(h, Verdict::ok(Value::Null))
                    }
                    Err(error) => self.expression_fails(h, error),
                }
            }
            "composite" => self.child_cannot_begin(h, around),
            "signal" => self.signal_began_and_ended(h, around),
            "function" => match self.run.render(prefix, &node.input) {
                Ok(_) => Err(Wrong("its input can be evaluated".into())),
                Err(error) => self.expression_fails(h, error),
            },
            other => Err(Wrong(format!("a node of type {other} does not end like this"))),
        }
    }

    /// A composite node fails instead of starting its child.
    fn child_cannot_begin(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (graph, _) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let config = &graph.nodes[id].config;
        let is_first = self.run.work(instance).is_none();
        if let Some(Err(error)) =
            config.get("inputs").filter(|_| is_first).map(|inputs| self.run.render(prefix, inputs))
        {
            return self.expression_fails(h, error);
        }
        let reasons = self.no_child(instance, around)?;
        let kind = h.error_type();
        check!(h.text("status") == "error" && reasons.contains(&kind), "its child may not begin by {reasons:?}");
        let message = h.payload["error"]["message"].as_str().unwrap_or_default();
        self.settle(h, Verdict::failed(kind, message))
    }

    fn list_of(&self, prefix: &str, over: &Value) -> Result<Vec<Value>, NoValue> {
        match self.run.render(prefix, over)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items),
            other => Err(NoValue(format!("{other} is no list"))),
        }
    }

    fn map_ends(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.awake()?;
        check!(!self.run.is_given_up(split(&instance).0), "{instance} was given up");
        let Some(Work::Items(items)) = self.run.work(&instance).cloned() else {
            return Err(Wrong(format!("{instance} is no map")));
        };
        if h.error_type() == "ExpressionFailed" && items.failure.is_none() {
            check!(self.output_of_body_fails(&instance, items.opened), "the output of no item fails");
            return self.expression_fails(h, NoValue(String::new()));
        }
        check!(self.run.open_items(&instance) == 0, "invariant 5: items of {instance} are open");
        if let Some(failure) = &items.failure {
            check!(h.text("status") == "error" && h.error_type() == failure, "it fails by {failure}");
            let failure = failure.clone();
            return self.settle(h, Verdict::failed(&failure, ""));
        }
        check!(items.opened == items.over.len(), "invariant 5: {} items were opened", items.opened);
        let output = Value::Array(items.outputs);
        check!(h.text("status") == "ok" && self.says(h, "output", &output), "the output is to be {output}");
        self.settle(h, Verdict::ok(output))
    }

    /// The output of a body that is done cannot be evaluated: that ends the run, in the name of its node.
    fn output_of_body_fails(&self, instance: &str, opened: usize) -> bool {
        (0..opened).any(|index| {
            let prefix = format!("{instance}[{index}].");
            let scope = &self.run.scopes[&prefix];
            let is_done = !scope.closed && scope.decided.len() == scope.graph.nodes.len();
            is_done && self.run.output_of(&prefix).is_err()
        })
    }

    fn loop_ends(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.awake()?;
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        check!(!self.run.is_given_up(prefix), "{instance} was given up");
        let Some(Work::Iterations(iterations)) = self.run.work(&instance).cloned() else {
            return Err(Wrong(format!("{instance} is no loop")));
        };
        if h.error_type() == "ExpressionFailed" && iterations.failure.is_none() {
            let is_done = self.run.open_items(&instance) == 0 && iterations.failure.is_none();
            let fails = is_done && self.run.goes_on(prefix, &graph.nodes[id], &iterations).is_err();
            check!(fails || self.output_of_body_fails(&instance, iterations.next), "no expression of it fails");
            return self.expression_fails(h, NoValue(String::new()));
        }
        check!(self.run.open_items(&instance) == 0, "invariant 5: an iteration of {instance} is open");
        if let Some(failure) = &iterations.failure {
            check!(h.text("status") == "error" && h.error_type() == failure, "it fails by {failure}");
            let failure = failure.clone();
            return self.settle(h, Verdict::failed(&failure, ""));
        }
        let goes_on = self.run.goes_on(prefix, &graph.nodes[id], &iterations).map_err(same_error)?;
        check!(!goes_on, "iteration {} is to begin", iterations.next);
        let output = iterations.last;
        check!(h.text("status") == "ok" && self.says(h, "output", &output), "the output is to be {output}");
        self.settle(h, Verdict::ok(output))
    }

    /// The next iteration of a loop.
    fn iteration(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, scope) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let node = &graph.nodes[id];
        if !scope.work.contains_key(id) {
            self.ready(&instance, Readiness::Start)?;
            let none = Iterations { next: 0, last: Value::Null, failure: None };
            self.run.requested = true;
            self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Iterations(none));
            self.run.begin(&instance)?;
        }
        self.awake()?;
        let is_given_up = self.run.is_given_up(prefix) || self.run.is_doomed(&instance);
        check!(!is_given_up, "{instance} was given up");
        check!(self.run.open_items(&instance) == 0, "one iteration at a time");
        let Some(Work::Iterations(iterations)) = self.run.work(&instance).cloned() else {
            return Err(Wrong(format!("{instance} is no loop")));
        };
        check!(iterations.failure.is_none(), "{instance} fails");
        let index = h.number("index") as usize;
        check!(iterations.next == index, "iteration {} is next", iterations.next);
        let goes_on = self.run.goes_on(prefix, node, &iterations).map_err(same_error)?;
        check!(goes_on, "it is to end");
        let body = node.body.clone().ok_or_else(|| Wrong(format!("{instance} has no body")))?;
        let parent = Some((prefix.to_owned(), id.to_owned()));
        self.run.open(&format!("{instance}[{index}]."), body, parent, index, iterations.last);
        if let Some(Work::Iterations(iterations)) = self.run.scope_mut(&instance)?.work.get_mut(id) {
            iterations.next += 1;
        }
        Ok(())
    }

    fn skipped(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        if self.run.is_doomed(instance) {
            self.awake()?;
            check!(self.run.work(instance).is_none(), "{instance} has begun");
            check!(!self.run.is_given_up(split(instance).0), "{instance} was given up");
        } else {
            self.ready(instance, Readiness::Skip)?;
        }
        self.run.settle(instance, Verdict::skipped(), h.offset).map(drop)
    }

    fn retry(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        self.awake()?;
        let (graph, scope) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let Some(Work::Scheduling { attempt, error, input, correct: false }) = scope.work.get(id).cloned() else {
            return Err(Wrong(format!("{instance} is not to be tried again")));
        };
        check!(!self.run.is_given_up(prefix), "{instance} was given up");
        check!(h.number("attempt") == attempt + 1, "attempt {} is next", attempt + 1);
        let (early, late) = graph.nodes[id].retry.delays(attempt, &error);
        let due = h.due().unwrap_or(0);
        check!((h.time + early..=h.time + late).contains(&due), "due is {due}, to be {early} to {late} later");
        self.run.scope_mut(instance)?.work.insert(id.into(), Work::Retry { attempt, due, input });
        Ok(())
    }

    fn opened(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, scope) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let node = &graph.nodes[id];
        if node.kind == "loop" {
            return self.iteration(h);
        }
        let index = h.number("index") as usize;
        if !scope.work.contains_key(id) {
            self.ready(&instance, Readiness::Start)?;
            let over = self.list_of(prefix, &node.config["over"]).map_err(same_error)?;
            check!(h.payload["over"] == json!(over), "the list is to be {over:?}");
            check!(h.number("items") == over.len() as u64, "the list has {} items", over.len());
            let outputs = vec![Value::Null; over.len()];
            let items = Items { over, outputs, opened: 0, failure: None };
            self.run.requested = true;
            self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Items(items));
            self.run.begin(&instance)?;
        }
        self.awake()?;
        let is_given_up = self.run.is_given_up(prefix) || self.run.is_doomed(&instance);
        check!(!is_given_up, "{instance} was given up");
        let open = self.run.open_items(&instance);
        check!(open < node.concurrency(), "invariant 10: {open} items are open");
        let Some(Work::Items(items)) = self.run.scope_mut(&instance)?.work.get_mut(id) else {
            return Err(Wrong(format!("{instance} is no map")));
        };
        check!(items.failure.is_none(), "{instance} fails");
        check!(items.opened == index && index < items.over.len(), "item {} is next", items.opened);
        items.opened += 1;
        let item = items.over[index].clone();
        check!(h.payload["item"] == item, "the item is to be {item}");
        let body = node.body.clone().ok_or_else(|| Wrong(format!("{instance} has no body")))?;
        let parent = Some((prefix.to_owned(), id.to_owned()));
        self.run.open(&format!("{instance}[{index}]."), body, parent, index, item);
        Ok(())
    }

    fn closed(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.awake()?;
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let index = h.number("index") as usize;
        let inner = format!("{instance}[{index}].");
        let scope = self.run.scopes.get(&inner).filter(|scope| !scope.closed);
        let scope = scope.ok_or_else(|| Wrong(format!("{inner} is not open")))?;
        let is_given_up = self.run.is_given_up(&inner) || self.run.is_doomed(&instance);
        let is_skip = graph.nodes[id].config["on_item_error"] == "skip";
        let mut output = Value::Null;
        let mut failure = None;
        match h.text("status") {
            "ok" => {
                check!(!is_given_up, "{inner} was given up");
                check!(scope.decided.len() == scope.graph.nodes.len(), "invariant 5: nodes of {inner} are not decided");
                output = self.run.output_of(&inner).map_err(same_error)?;
                check!(h.payload["output"] == output, "the output is to be {output}");
            }
            "failed" => {
                let Ending::Failed(kind) = &scope.ending else { return Err(Wrong(format!("{inner} did not fail"))) };
                check!(h.error_type() == kind, "it failed by {kind}");
                failure = Some(kind.clone()).filter(|_| !is_skip);
            }
            _ => check!(is_given_up, "nobody gave {inner} up"),
        }
        check!(h.text("status") == "ok" || self.run.is_idle(&inner), "jobs of {inner} are in flight");
        check!(h.flag("fails") == failure.is_some(), "whether the map fails is wrong");
        for within in self.run.within(&inner) {
            if let Some(scope) = self.run.scopes.get_mut(&within) {
                scope.closed = true;
                scope.work.clear();
            }
        }
        free_within(&mut self.run.held, &inner);
        let items = match self.run.scope_mut(&instance)?.work.get_mut(id) {
            Some(Work::Items(items)) => items,
            Some(Work::Iterations(iterations)) => {
                (iterations.last, iterations.failure) = (output, failure);
                return Ok(());
            }
            _ => return Err(Wrong(format!("{instance} is no map and no loop"))),
        };
        items.outputs[index] = output;
        if failure.is_some() {
            items.failure = items.failure.take().or(failure);
            let mine = (prefix.to_owned(), id.to_owned());
            for other in self.run.scopes.values_mut() {
                if other.parent.as_ref() == Some(&mine) && !other.closed && other.ending == Ending::No {
                    other.ending = Ending::Cancelled;
                }
            }
        }
        Ok(())
    }

    // --- waiting ------------------------------------------------------------------------------------------------

    fn timer_started(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.ready(&instance, Readiness::Start)?;
        let (graph, _) = self.run.place(&instance)?;
        let (_, id) = split(&instance);
        let seconds = graph.nodes[id].config["duration_s"].as_i64().unwrap_or(0);
        let due = h.time + seconds * SECOND;
        check!(h.due() == Some(due), "due is to be {due}");
        self.run.requested = true;
        self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Timer { due });
        self.run.begin(&instance)
    }

    fn timer_fired(&mut self, h: &Happening) -> Result<(), Wrong> {
        match h.text("timer") {
            "run" => {
                self.running()?;
                check!(self.run.due.is_some_and(|due| h.time >= due), "the run is not out of time");
                self.run.fail("RUN_TIMEOUT", "Timeout", "");
                self.run.paused = false;
                return self.expect_fails(h, true, &Ending::No);
            }
            "compensation" => {
                let is_over = self.run.undo_due.take().is_some_and(|due| h.time >= due);
                check!(self.run.phase == Phase::Undoing && is_over, "compensation is not out of time");
                self.run.undo_expired = true;
                return Ok(());
            }
            "retry" => {
                let instance = h.text("node").to_owned();
                check!(self.run.paused, "the run is not paused: the next attempt is to be requested");
                let Some(Work::Retry { attempt, due, input }) = self.run.work(&instance).cloned() else {
                    return Err(Wrong(format!("{instance} waits for no attempt")));
                };
                check!(h.time >= due, "it is too early for the next attempt: {due}");
                let (_, id) = split(&instance);
                self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Again { attempt, input });
                return Ok(());
            }
            "rate" => return self.turn_is_missed(h),
            "signal" => {
                let Some(Work::Signal { due, .. }) = self.run.work(h.text("node")) else {
                    return Err(Wrong("it waits for no signal".into()));
                };
                return self.signal_is_late(h, *due, true);
            }
            _ => {}
        }
        let instance = h.text("node");
        let Some(Work::Timer { due }) = self.run.work(instance) else {
            return Err(Wrong(format!("{instance} waits for no time")));
        };
        check!(h.time >= *due, "it is not the time: {due}");
        let output = json!({"fired_at": apex_machine::render::time(h.time)});
        check!(self.says(h, "output", &output), "it fires now");
        self.settle(h, Verdict::ok(output))
    }

    fn approval_requested(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.ready(&instance, Readiness::Start)?;
        let (graph, _) = self.run.place(&instance)?;
        let (_, id) = split(&instance);
        let after = |name: &str| nanoseconds(&graph.nodes[id].config[name]).map(|after| h.time + after);
        let (due, escalates) = (after("timeout_s"), after("escalate_after_s"));
        check!(h.due() == due, "due is to be {due:?}");
        check!(
            h.payload["escalate_due"].as_str().and_then(read_time) == escalates,
            "others are asked at {escalates:?}"
        );
        self.run.requested = true;
        self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Approval { due, escalates });
        self.run.begin(&instance)
    }

    fn approval_resolved(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, scope) = self.run.place(&instance)?;
        let (_, id) = split(&instance);
        let Some(Work::Approval { due, .. }) = scope.work.get(id) else {
            return Err(Wrong(format!("invariant 4: {instance} waits for no decision")));
        };
        let (approve, reason, edits) = if h.flag("timed_out") {
            check!(due.is_some_and(|due| h.time >= due), "it is not out of time");
            let approves = graph.nodes[id].config["on_timeout"] == "approve";
            (approves, h.text("reason").to_owned(), Value::Null)
        } else {
            // One that came too early was refused.
            let is_it = |decision: &Decision| {
                let edits = &h.payload["output"]["edits"];
                decision.instance == instance
                    && decision.approve == (h.text("decision") == "approve")
                    && decision.edits == *edits
            };
            let at = self.offers.decisions.iter().position(is_it);
            let decision = at.and_then(|at| self.offers.decisions.remove(at));
            let decision = decision.ok_or_else(|| Wrong("nobody decided".into()))?;
            (decision.approve, decision.reason, decision.edits)
        };
        let output = &h.payload["output"];
        check!(
            output["approved"] == approve && h.text("decision") == if approve { "approve" } else { "reject" },
            "it is to be approved: {approve}"
        );
        check!(output["reason"] == reason && output["edits"] == edits, "the reason is {reason}, edits are {edits}");
        check!(output["timed_out"] == h.payload["timed_out"], "whether it is out of time is said twice");
        self.settle(h, Verdict::ok(output.clone()))
    }

    // --- undoing ------------------------------------------------------------------------------------------------

    fn planned(&mut self, h: &Happening) -> Result<(), Wrong> {
        self.output_fails()?;
        check!(self.run.phase == Phase::Failing, "invariant 6: what is undone is said once, of a failing run");
        check!(!self.run.is_busy(), "invariant 6: jobs or children are in flight");
        let steps = self.run.to_undo();
        check!(h.payload["steps"] == json!(steps) && !steps.is_empty(), "invariant 6: to undo are {steps:?}");
        if !h.payload["error"].is_null() {
            self.expect_error(&h.payload["error"])?;
        }
        let due = self.graph.compensation_timeout_ns.map(|after| h.time + after);
        check!(h.due() == due, "due is to be {due:?}");
        self.run.phase = Phase::Undoing;
        self.run.plan = steps;
        self.run.undo_due = due;
        Ok(())
    }

    /// The step that is next.
    fn step(&self, h: &Happening) -> Result<super::definition::Compensation, Wrong> {
        check!(self.run.phase == Phase::Undoing && !self.run.paused, "invariant 6: nothing is undone yet");
        let next = self.run.plan.first().map(String::as_str).unwrap_or_default();
        check!(next == h.text("node"), "invariant 6: {next} is next");
        let (run, node) = self.run.step(next).ok_or_else(|| Wrong(format!("there is no {next}")))?;
        let (graph, id) = run.node(node).ok_or_else(|| Wrong(format!("there is no {next}")))?;
        graph.nodes[id].compensation.clone().ok_or_else(|| Wrong(format!("{next} is not undone")))
    }

    fn undo_input(&self, step: &str, compensation: &super::definition::Compensation) -> Result<Value, NoValue> {
        let (run, node) = self.run.step(step).ok_or_else(|| NoValue(format!("there is no {step}")))?;
        run.render(split(node).0, &compensation.input)
    }

    fn undo_requested(&mut self, h: &Happening) -> Result<(), Wrong> {
        let compensation = self.step(h)?;
        check!(!self.run.undo_expired, "the time of the compensation is over");
        let attempt = match &self.run.undoing {
            None => 1,
            Some(undoing) => {
                let is_time = !undoing.in_flight && undoing.due.is_some_and(|due| h.time >= due);
                check!(is_time, "invariant 6: one attempt at a time, in its time: {undoing:?}");
                undoing.attempt + 1
            }
        };
        let input = match &self.run.undoing {
            Some(undoing) => undoing.input.clone(),
            None => self.undo_input(h.text("node"), &compensation).map_err(same_error)?,
        };
        check!(h.number("attempt") == attempt, "it is attempt {attempt}");
        check!(h.text("name") == compensation.name, "it is undone by {}", compensation.name);
        check!(h.payload["input"] == input, "the input is to be {input}");
        let due = (compensation.timeout_ns > 0).then_some(h.time + compensation.timeout_ns);
        self.run.undoing = Some(Undoing { attempt, in_flight: true, due, input });
        Ok(())
    }

    /// The outcome of an attempt to undo: `Ok` or the type of its error, and whether it may be tried again.
    fn undo_outcome(&mut self, h: &Happening, success: bool) -> Result<(String, bool), Wrong> {
        let undoing = self.run.undoing.clone().filter(|undoing| undoing.in_flight);
        let undoing = undoing.ok_or_else(|| Wrong("invariant 4: no attempt to undo is in flight".into()))?;
        let (instance, error) = (h.text("node"), h.error_type());
        let is_mine = |told: &Told| told.instance == instance && told.attempt == undoing.attempt && told.compensation;
        if let Some(at) = self.offers.told.iter().position(is_mine) {
            let told = &self.offers.told[at];
            if (told.status == "ok") == success && (success || told.error == error) {
                let told = self.offers.told.remove(at).ok_or_else(|| Wrong("it is gone".into()))?;
                return Ok((told.error, told.retryable));
            }
        }
        let is_time = !success && error == "Timeout" && undoing.due.is_some_and(|due| h.time >= due);
        check!(is_time, "invariant 4: nobody told this of attempt {}: {:?}", undoing.attempt, self.offers.told);
        Ok(("Timeout".into(), true))
    }

    fn undo_retry(&mut self, h: &Happening) -> Result<(), Wrong> {
        let compensation = self.step(h)?;
        let (error, retryable) = self.undo_outcome(h, false)?;
        let Some(undoing) = &mut self.run.undoing else { return Err(Wrong("nothing is undone".into())) };
        let goes_on = retryable && compensation.retry.goes_on(undoing.attempt, &error);
        check!(goes_on, "no attempt is left");
        check!(h.number("attempt") == undoing.attempt + 1, "attempt {} is next", undoing.attempt + 1);
        let (early, late) = compensation.retry.delays(undoing.attempt, &error);
        let due = h.due().unwrap_or(0);
        check!((h.time + early..=h.time + late).contains(&due), "due is {due}, to be {early} to {late} later");
        undoing.in_flight = false;
        undoing.due = Some(due);
        Ok(())
    }

    fn undo_completed(&mut self, h: &Happening) -> Result<(), Wrong> {
        let compensation = self.step(h)?;
        let success = h.flag("success");
        if self.run.undo_expired {
            // An outcome that comes before it is given up counts; nothing is tried again.
            let is_given_up = !success && h.error_type() == "Timeout";
            check!(is_given_up || self.undo_outcome(h, success).is_ok(), "the time of the compensation is over");
        } else if self.run.undoing.is_none() {
            let rendered = self.undo_input(h.text("node"), &compensation);
            check!(!success && rendered.is_err(), "it was never requested");
        } else {
            let (error, retryable) = self.undo_outcome(h, success)?;
            let attempt = self.run.undoing.as_ref().map_or(0, |undoing| undoing.attempt);
            let goes_on = !success && retryable && compensation.retry.goes_on(attempt, &error);
            check!(!goes_on, "another attempt is to follow");
        }
        self.run.undone.push((self.run.plan.remove(0), success));
        self.run.undoing = None;
        Ok(())
    }
}

/// RFC 3339 in UTC with nine digits → ns since 1970.
pub(crate) fn read_time(text: &str) -> Option<i64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    // Days since 1970 by counting years and months: slow and plain.
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths.iter().take(month as usize - 1).sum();
    let seconds = (years + months + day - 1) * 86_400 + part(11, 13)? * 3_600 + part(14, 16)? * 60 + part(17, 19)?;
    Some(seconds * SECOND + part(20, 29)?)
}
