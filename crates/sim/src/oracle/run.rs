//! A run, simply: what is decided, what is waited for, what may happen next. Says nothing of the order of what may happen.

use super::definition::{Graph, Join, Node};
use super::expression::{Names, NoValue, is_true, render};
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How a node was decided.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// `ok`, `failed`, `skipped`.
    pub(crate) status: &'static str,
    pub(crate) output: Option<Value>,
    /// Type and message.
    pub(crate) error: Option<(String, String)>,
}

impl Verdict {
    pub(crate) fn ok(output: Value) -> Verdict {
        Verdict { status: "ok", output: Some(output), error: None }
    }
    pub(crate) fn failed(error: &str, message: &str) -> Verdict {
        Verdict { status: "failed", output: None, error: Some((error.into(), message.into())) }
    }
    pub(crate) fn skipped() -> Verdict {
        Verdict { status: "skipped", output: None, error: None }
    }
}

/// When an attempt is out of time: by its own limit, by that of all attempts, by silence.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) attempt: Option<i64>,
    pub(crate) all: Option<i64>,
    pub(crate) beat: Option<i64>,
    /// How long it may be silent, ns.
    pub(crate) silence_ns: Option<i64>,
}

impl Limits {
    fn due(&self) -> Option<i64> {
        [self.attempt, self.all, self.beat].into_iter().flatten().min()
    }
}

/// What a node that began is at. `due`: when its time is over.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Job {
        attempt: u64,
        limits: Limits,
        input: Value,
        /// The breaker that counts its outcome, and the position of its last change.
        watched: Option<(String, u64)>,
        /// A model is asked for another input, after an error of this type.
        corrects: Option<String>,
    },
    /// An attempt failed by this type of error, and the next one is not scheduled yet.
    Scheduling {
        attempt: u64,
        error: String,
        input: Value,
        /// A model is asked for another input first.
        correct: bool,
    },
    Retry {
        attempt: u64,
        due: i64,
        input: Value,
    },
    /// The time of the next attempt came while the run was paused.
    Again {
        attempt: u64,
        input: Value,
    },
    Timer {
        due: i64,
    },
    Approval {
        due: Option<i64>,
        /// When others are asked as well; none: nobody is, or they were.
        escalates: Option<i64>,
    },
    /// Waits for a signal.
    Signal {
        name: String,
        due: Option<i64>,
        /// Offset of the event that says so.
        since: u64,
    },
    /// Stands in line for the key of a critical section.
    Line {
        key: String,
        /// Position of the event that says so.
        at: u64,
    },
    /// Waits for its turn at its tool. With the attempt before and its input where it is tried again.
    Turn {
        due: i64,
        before: Option<(u64, Value)>,
    },
    /// A composite node waits for its child.
    Child(Child),
    Items(Items),
    Iterations(Iterations),
}

/// An attempt of a composite node.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) run: RunId,
    pub(crate) attempt: u64,
    pub(crate) due: Option<i64>,
    pub(crate) version: String,
    pub(crate) inputs: Value,
    /// Its own first event is there.
    pub(crate) begun: bool,
}

/// A signal that no node has taken yet.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) offset: u64,
    pub(crate) name: String,
    pub(crate) payload: Value,
}

/// The end of a child was recorded, and its own last event is to follow.
#[derive(Debug, Clone)]
pub(crate) struct ChildEnding {
    pub(crate) node: String,
    pub(crate) taken_back: bool,
    /// What it did is to be undone with the run, if it completes.
    pub(crate) keeps: bool,
}

impl Work {
    /// For the table of transitions.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Work::Job { corrects: Some(_), .. } => "being corrected",
            Work::Job { .. } => "job in flight",
            Work::Scheduling { .. } => "to be tried again",
            Work::Retry { .. } => "waits for the next attempt",
            Work::Again { .. } => "to be requested again",
            Work::Timer { .. } => "waits for its time",
            Work::Approval { .. } => "waits for a decision",
            Work::Signal { .. } => "waits for a signal",
            Work::Line { .. } => "stands in line",
            Work::Turn { .. } => "waits for its turn",
            Work::Child(_) => "child open",
            Work::Items(_) => "items open",
            Work::Iterations(_) => "iterates",
        }
    }

    /// Times at which something of it is due.
    fn dues(&self) -> impl Iterator<Item = i64> {
        let [first, second] = match self {
            Work::Job { limits, .. } => [limits.due(), None],
            Work::Approval { due, escalates } => [*due, *escalates],
            Work::Signal { due, .. } | Work::Child(Child { due, .. }) => [*due, None],
            Work::Retry { due, .. } | Work::Timer { due } | Work::Turn { due, .. } => [Some(*due), None],
            Work::Scheduling { .. } | Work::Again { .. } | Work::Line { .. } => [None, None],
            Work::Items(_) | Work::Iterations(_) => [None, None],
        };
        first.into_iter().chain(second)
    }

    /// It goes on by itself: a failing run waits for it.
    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self, Work::Job { .. } | Work::Child(_))
    }

    /// Nobody but the world outside can end it.
    fn waits(&self) -> bool {
        use Work::{Approval, Line, Retry, Signal, Timer, Turn};
        matches!(self, Retry { .. } | Timer { .. } | Approval { .. } | Signal { .. } | Line { .. } | Turn { .. })
    }
}

/// A map on its way.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    pub(crate) over: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
    pub(crate) opened: usize,
    /// Type of the error it fails with.
    pub(crate) failure: Option<String>,
}

/// A loop on its way.
#[derive(Debug, Clone)]
pub(crate) struct Iterations {
    pub(crate) next: usize,
    /// The output of the iteration before.
    pub(crate) last: Value,
    pub(crate) failure: Option<String>,
}

/// Nothing begins in a scope any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// A node of it failed, with this type.
    Failed(String),
    /// Its map failed.
    Cancelled,
}

/// One instance of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) graph: Rc<Graph>,
    /// Prefix of the scope around it, and the node in that.
    pub(crate) parent: Option<(String, String)>,
    pub(crate) index: usize,
    /// The item of a map; for a loop the output of the iteration before.
    pub(crate) item: Value,
    pub(crate) tokens: Vec<Option<bool>>,
    pub(crate) decided: BTreeMap<String, Verdict>,
    pub(crate) work: BTreeMap<String, Work>,
    /// Given up by a join with `cancel_rest`.
    pub(crate) doomed: BTreeSet<String>,
    pub(crate) ending: Ending,
    pub(crate) closed: bool,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// It fails; jobs in flight are waited for.
    Failing,
    Undoing,
    Ended,
}

/// Why a run fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) kind: String,
    pub(crate) node: String,
}

/// The step that is being undone.
#[derive(Debug, Clone)]
pub(crate) struct Undoing {
    pub(crate) attempt: u64,
    pub(crate) in_flight: bool,
    /// Of the attempt, or when the next one comes.
    pub(crate) due: Option<i64>,
    pub(crate) input: Value,
}

/// What a node without work and without a verdict may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    NotYet,
    Start,
    Skip,
    Unreachable,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) inputs: Value,
    /// By the prefix of the instances in it: "" or `m[3].`.
    pub(crate) scopes: BTreeMap<String, Scope>,
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    pub(crate) due: Option<i64>,
    pub(crate) failure: Option<Failure>,
    pub(crate) compensate: bool,
    /// Something was requested.
    pub(crate) requested: bool,
    /// Offset of the last result of a node.
    pub(crate) last_result: BTreeMap<String, u64>,
    /// Writes that may or may not have happened.
    pub(crate) unknown: BTreeSet<String>,
    /// Nodes that failed for good, whose dead letter is to follow.
    pub(crate) letters: BTreeSet<String>,
    /// When all attempts of a node are out of time.
    pub(crate) close_by: BTreeMap<String, i64>,
    /// What was last heard of a node on its way.
    pub(crate) progress: BTreeMap<String, Value>,
    pub(crate) plan: Vec<String>,
    pub(crate) undoing: Option<Undoing>,
    pub(crate) undone: Vec<(String, bool)>,
    pub(crate) undo_due: Option<i64>,
    pub(crate) undo_expired: bool,
    /// Keys of critical sections, by the instance that holds each.
    pub(crate) held: BTreeMap<String, String>,
    /// Nodes that somebody was asked for. What gave a fallback, or what another run gave, did nothing.
    pub(crate) asked: BTreeSet<String>,
    /// Inputs that were proposed, by node.
    pub(crate) corrected: BTreeMap<String, u64>,
    /// Signals that came before a node asked for them.
    pub(crate) kept: Vec<Kept>,
    /// Idempotency keys of signals, with their offsets.
    pub(crate) signal_keys: BTreeMap<String, u64>,
    /// Children whose end is recorded here and not by themselves yet.
    pub(crate) ending: BTreeMap<RunId, ChildEnding>,
    /// Children that completed and have something to undo, by the node that started them.
    pub(crate) completed: BTreeMap<String, Run>,
}

/// What an expression sees from within a scope.
struct From<'a> {
    run: &'a Run,
    prefix: &'a str,
    /// The iteration that may begin, for the condition of a loop.
    ahead: Option<&'a Iterations>,
    /// What a signal carries, for the condition of a node that waits for it.
    signal: Option<&'a Value>,
}

impl From<'_> {
    /// The innermost scope that is a body of such a node.
    fn innermost(&self, kind: &str) -> Option<&Scope> {
        let is_of = |scope: &&Scope| {
            let parent = scope.parent.as_ref();
            parent.is_some_and(|(around, owner)| self.run.scopes[around].graph.nodes[owner].kind == kind)
        };
        self.run.around(self.prefix).find(is_of)
    }
}

impl Names for From<'_> {
    fn look(&self, path: &[&str]) -> Result<Option<Value>, NoValue> {
        let unknown = || NoValue(format!("{} is not known", path.join(".")));
        let below = |value: &Value, path: &[&str]| {
            let found = path.iter().try_fold(value, |value, name| value.as_object()?.get(*name));
            found.cloned().map(Some).ok_or_else(unknown)
        };
        match path {
            ["inputs", rest @ ..] => below(&self.run.inputs, rest),
            ["run", "id"] => Ok(Some(json!(self.run.id.to_string()))),
            ["signal", "payload", rest @ ..] => below(self.signal.ok_or_else(unknown)?, rest),
            ["item", rest @ ..] => below(&self.innermost("map").ok_or_else(unknown)?.item, rest),
            ["index"] => Ok(Some(json!(self.innermost("map").ok_or_else(unknown)?.index))),
            ["iteration"] => Ok(Some(json!(match self.ahead {
                Some(ahead) => ahead.next,
                None => self.innermost("loop").ok_or_else(unknown)?.index,
            }))),
            ["last", rest @ ..] => match self.ahead {
                Some(ahead) => below(&ahead.last, rest),
                None => below(&self.innermost("loop").ok_or_else(unknown)?.item, rest),
            },
            ["nodes", id, field, rest @ ..] => {
                let around = self.run.around(self.prefix).find(|scope| scope.graph.nodes.contains_key(*id));
                let verdict = around.ok_or_else(unknown)?.decided.get(*id);
                match *field {
                    "status" => Ok(verdict.map(|verdict| json!(verdict.status))),
                    "output" => match verdict.and_then(|verdict| verdict.output.as_ref()) {
                        Some(output) => below(output, rest),
                        None => Ok(None),
                    },
                    "error" => match verdict.and_then(|verdict| verdict.error.as_ref()) {
                        Some((kind, message)) => below(&json!({"type": kind, "message": message}), rest),
                        None => Ok(None),
                    },
                    _ => Err(unknown()),
                }
            }
            _ => Err(unknown()),
        }
    }
}

/// What an executor's job is told by: an attempt of a node, or the question for another input after it.
pub(crate) fn job_key(instance: &str, is_correction: bool) -> String {
    if is_correction { format!("{instance}?") } else { instance.into() }
}

/// The prefix and the id of an instance path.
pub(crate) fn split(instance: &str) -> (&str, &str) {
    instance.split_at(instance.rfind("].").map_or(0, |at| at + 2))
}

impl Run {
    /// A run that has just started.
    pub(crate) fn new(id: RunId, graph: Rc<Graph>, inputs: Value, now: i64) -> Run {
        let due = graph.timeout_ns.map(|timeout| now + timeout);
        let mut run = Run {
            id,
            inputs,
            scopes: BTreeMap::new(),
            phase: Phase::Running,
            paused: false,
            due,
            failure: None,
            compensate: true,
            requested: false,
            last_result: BTreeMap::new(),
            unknown: BTreeSet::new(),
            letters: BTreeSet::new(),
            close_by: BTreeMap::new(),
            progress: BTreeMap::new(),
            plan: Vec::new(),
            undoing: None,
            undone: Vec::new(),
            undo_due: None,
            undo_expired: false,
            held: BTreeMap::new(),
            asked: BTreeSet::new(),
            corrected: BTreeMap::new(),
            kept: Vec::new(),
            signal_keys: BTreeMap::new(),
            ending: BTreeMap::new(),
            completed: BTreeMap::new(),
        };
        run.open("", graph, None, 0, Value::Null);
        run
    }

    /// A scope begins.
    pub(crate) fn open(
        &mut self,
        prefix: &str,
        graph: Rc<Graph>,
        parent: Option<(String, String)>,
        index: usize,
        item: Value,
    ) {
        let scope = Scope {
            tokens: vec![None; graph.edges.len()],
            graph,
            parent,
            index,
            item,
            decided: BTreeMap::new(),
            work: BTreeMap::new(),
            doomed: BTreeSet::new(),
            ending: Ending::No,
            closed: false,
        };
        self.scopes.insert(prefix.into(), scope);
    }

    // --- where things are ---------------------------------------------------------------------------------------

    pub(crate) fn root(&self) -> &Scope {
        &self.scopes[""]
    }

    /// A scope and those around it, innermost first.
    pub(crate) fn around(&self, prefix: &str) -> impl Iterator<Item = &Scope> {
        let mut at = self.scopes.get(prefix);
        std::iter::from_fn(move || {
            let scope = at?;
            at = scope.parent.as_ref().and_then(|(prefix, _)| self.scopes.get(prefix));
            Some(scope)
        })
    }

    /// The graph of an instance path and its node; its scope is open.
    pub(crate) fn place(&self, instance: &str) -> Result<(Rc<Graph>, &Scope), Wrong> {
        let (prefix, id) = split(instance);
        let scope = self.scopes.get(prefix).filter(|scope| !scope.closed);
        let scope = scope.ok_or_else(|| Wrong(format!("{instance} is in no open scope")))?;
        check!(scope.graph.nodes.contains_key(id), "there is no node {instance}");
        Ok((Rc::clone(&scope.graph), scope))
    }

    pub(crate) fn scope_mut(&mut self, instance: &str) -> Result<&mut Scope, Wrong> {
        let (prefix, _) = split(instance);
        self.scopes.get_mut(prefix).ok_or_else(|| Wrong(format!("{instance} is in no scope")))
    }

    /// The node of an instance path, whether or not its scope is still open.
    pub(crate) fn node(&self, instance: &str) -> Option<(Rc<Graph>, &str)> {
        let (prefix, _) = split(instance);
        let scope = self.scopes.get(prefix)?;
        let id = &instance[prefix.len()..];
        let (id, _) = scope.graph.nodes.get_key_value(id)?;
        Some((Rc::clone(&scope.graph), id))
    }

    pub(crate) fn work(&self, instance: &str) -> Option<&Work> {
        let (prefix, id) = split(instance);
        self.scopes.get(prefix)?.work.get(id)
    }

    /// A scope, one around it, or what it belongs to was given up.
    pub(crate) fn is_given_up(&self, prefix: &str) -> bool {
        self.around(prefix).any(|scope| {
            scope.ending != Ending::No
                || scope.parent.as_ref().is_some_and(|(around, owner)| self.scopes[around].doomed.contains(owner))
        })
    }

    pub(crate) fn is_doomed(&self, instance: &str) -> bool {
        let (prefix, id) = split(instance);
        self.scopes.get(prefix).is_some_and(|scope| scope.doomed.contains(id))
    }

    /// Open scopes of a node.
    pub(crate) fn open_items(&self, instance: &str) -> usize {
        let is_mine = |scope: &&Scope| {
            let parent = scope.parent.as_ref();
            !scope.closed && parent.is_some_and(|(prefix, id)| split(instance) == (prefix.as_str(), id.as_str()))
        };
        self.scopes.values().filter(is_mine).count()
    }

    /// Open scopes within one, and itself.
    pub(crate) fn within(&self, prefix: &str) -> Vec<String> {
        self.scopes
            .range(prefix.to_owned()..)
            .take_while(|(inner, _)| inner.starts_with(prefix))
            .filter(|(_, scope)| !scope.closed)
            .map(|(inner, _)| inner.clone())
            .collect()
    }

    /// Instances with a job in flight, with the attempt.
    pub(crate) fn in_flight(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for (prefix, scope) in self.scopes.iter().filter(|(_, scope)| !scope.closed) {
            for (id, work) in &scope.work {
                if let Work::Job { attempt, corrects, .. } = work {
                    found.push((job_key(&format!("{prefix}{id}"), corrects.is_some()), *attempt));
                }
            }
        }
        found
    }

    /// The instance and attempt of a compensation in flight.
    pub(crate) fn undoing_in_flight(&self) -> Option<(&str, u64)> {
        let undoing = self.undoing.as_ref().filter(|undoing| undoing.in_flight)?;
        Some((self.plan.first()?, undoing.attempt))
    }

    /// When something of it is due; as many times as there are things.
    pub(crate) fn dues(&self) -> Vec<i64> {
        let mut dues: Vec<i64> = Vec::new();
        if self.phase == Phase::Ended {
            return dues;
        }
        let works = self.scopes.values().filter(|scope| !scope.closed).flat_map(|scope| scope.work.values());
        dues.extend(works.flat_map(Work::dues));
        dues.extend(self.due.filter(|_| self.phase == Phase::Running));
        dues.extend(self.undoing.as_ref().and_then(|undoing| undoing.due));
        dues.extend(self.undo_due.filter(|_| self.phase == Phase::Undoing));
        dues
    }

    pub(crate) fn approvals(&self) -> usize {
        let works = self.scopes.values().flat_map(|scope| scope.work.values());
        works.filter(|work| matches!(work, Work::Approval { .. })).count()
    }

    /// As on the wire.
    pub(crate) fn state(&self) -> &'static str {
        if self.paused {
            return "PAUSED";
        }
        match (self.phase, &self.failure) {
            (Phase::Ended, None) => "COMPLETED",
            (Phase::Ended, Some(failure)) if failure.code == "CANCELLED" => "CANCELLED",
            (Phase::Ended, Some(_)) => "FAILED",
            (Phase::Failing | Phase::Undoing, _) => "COMPENSATING",
            (Phase::Running, _) => {
                let works: Vec<&Work> = self.scopes.values().flat_map(|scope| scope.work.values()).collect();
                if !self.requested {
                    "PENDING"
                } else if works.iter().any(|work| work.is_in_flight()) {
                    "RUNNING"
                } else if works.iter().any(|work| work.waits()) {
                    "WAITING"
                } else {
                    "RUNNING"
                }
            }
        }
    }

    /// What an instance stands at, for the table of transitions.
    pub(crate) fn standing(&self, instance: &str) -> &'static str {
        let (prefix, id) = split(instance);
        let Some(scope) = self.scopes.get(prefix) else { return "untouched" };
        match (scope.work.get(id), scope.decided.get(id)) {
            (Some(work), _) => work.name(),
            (None, Some(verdict)) => verdict.status,
            (None, None) => "untouched",
        }
    }

    // --- what may happen ----------------------------------------------------------------------------------------

    pub(crate) fn readiness(&self, prefix: &str, node: &Node) -> Readiness {
        let scope = &self.scopes[prefix];
        let count = node.into.len() as u64;
        if count == 0 {
            return Readiness::Start;
        }
        let live = node.into.iter().filter(|&&edge| scope.tokens[edge] == Some(true)).count() as u64;
        let open = node.into.iter().filter(|&&edge| scope.tokens[edge].is_none()).count() as u64;
        let (wanted, required) = match node.join {
            Join::All if open > 0 => return Readiness::NotYet,
            Join::All | Join::Any => (1, false),
            Join::Quorum { n, required } => (n, required),
        };
        if live >= wanted {
            Readiness::Start
        } else if live + open >= wanted {
            Readiness::NotYet
        } else if required {
            Readiness::Unreachable
        } else {
            Readiness::Skip
        }
    }

    /// Tokens that have arrived alive.
    pub(crate) fn live(&self, instance: &str) -> u64 {
        let (prefix, id) = split(instance);
        let scope = &self.scopes[prefix];
        scope.graph.nodes[id].into.iter().filter(|&&edge| scope.tokens[edge] == Some(true)).count() as u64
    }

    pub(crate) fn render(&self, prefix: &str, template: &Value) -> Result<Value, NoValue> {
        render(template, &From { run: self, prefix, ahead: None, signal: None })
    }

    /// Whether a loop goes on.
    pub(crate) fn goes_on(&self, prefix: &str, node: &Node, ahead: &Iterations) -> Result<bool, NoValue> {
        let max = node.config["max_iterations"].as_u64().unwrap_or(0) as usize;
        let condition = node.config["while"].as_str().unwrap_or_default();
        Ok(ahead.next < max && is_true(condition, &From { run: self, prefix, ahead: Some(ahead), signal: None })?)
    }

    /// The output of a scope whose nodes are all decided.
    pub(crate) fn output_of(&self, prefix: &str) -> Result<Value, NoValue> {
        let scope = &self.scopes[prefix];
        if let Some(template) = &scope.graph.output {
            return self.render(prefix, template);
        }
        let mut output = serde_json::Map::new();
        for leaf in scope.graph.leaves() {
            if let Some(Verdict { status: "ok", output: Some(value), .. }) = scope.decided.get(&leaf.id) {
                output.insert(leaf.id.clone(), value.clone());
            }
        }
        Ok(Value::Object(output))
    }

    /// What must happen without anything from outside. A run that rests has none.
    pub(crate) fn moves(&self) -> Vec<String> {
        match self.phase {
            Phase::Ended => Vec::new(),
            _ if !self.letters.is_empty() => vec![format!("the dead letters of {:?} are written", self.letters)],
            _ if self.left().next().is_some() => self.left().map(|node| format!("{node} gives its key back")).collect(),
            _ if self.paused => Vec::new(),
            Phase::Running => {
                let mut moves = Vec::new();
                for (prefix, scope) in self.scopes.iter().filter(|(_, scope)| !scope.closed) {
                    self.moves_in(prefix, scope, &mut moves);
                }
                if self.root().decided.len() == self.root().graph.nodes.len() && self.ending.is_empty() {
                    moves.push("the run ends".into());
                }
                moves
            }
            Phase::Failing if self.is_busy() => {
                let children = self.children().filter(|(_, child)| !child.begun);
                children.map(|(node, _)| format!("the child of {node} never begins")).collect()
            }
            Phase::Failing => vec!["what is undone is said, or the run ends".into()],
            Phase::Undoing if self.plan.is_empty() => vec!["the run ends".into()],
            Phase::Undoing if self.undo_expired => vec!["the rest is given up".into()],
            Phase::Undoing if self.undoing.is_none() => vec![format!("{} is undone", self.plan[0])],
            Phase::Undoing => Vec::new(),
        }
    }

    fn moves_in(&self, prefix: &str, scope: &Scope, moves: &mut Vec<String>) {
        let is_given_up = self.is_given_up(prefix);
        for node in scope.graph.nodes.values().filter(|node| !scope.decided.contains_key(&node.id)) {
            let instance = format!("{prefix}{}", node.id);
            let work = scope.work.get(&node.id);
            if is_given_up || scope.doomed.contains(&node.id) {
                if work.is_some_and(Work::is_in_flight) || scope.doomed.contains(&node.id) {
                    moves.push(format!("{instance} is taken back"));
                }
                continue;
            }
            match work {
                None if self.readiness(prefix, node) != Readiness::NotYet => moves.push(format!("{instance} begins")),
                Some(Work::Child(child)) if !child.begun => moves.push(format!("the child of {instance} begins")),
                Some(Work::Scheduling { correct: true, .. }) => moves.push(format!("a model is asked for {instance}")),
                Some(Work::Scheduling { .. }) => moves.push(format!("{instance} is scheduled again")),
                Some(Work::Again { .. }) => moves.push(format!("{instance} is requested again")),
                Some(Work::Iterations(_)) if self.open_items(&instance) == 0 => {
                    moves.push(format!("{instance} goes on or ends"));
                }
                Some(Work::Items(items)) => {
                    let open = self.open_items(&instance);
                    if items.failure.is_none() && items.opened < items.over.len() {
                        if open < node.concurrency() {
                            moves.push(format!("an item of {instance} opens"));
                        }
                    } else if open == 0 {
                        moves.push(format!("{instance} ends"));
                    }
                }
                _ => {}
            }
        }
        let is_done = if is_given_up { self.is_idle(prefix) } else { scope.decided.len() == scope.graph.nodes.len() };
        if scope.parent.is_some() && is_done {
            moves.push(format!("{prefix} closes"));
        }
    }

    /// No job is in flight in a scope or within it.
    pub(crate) fn is_idle(&self, prefix: &str) -> bool {
        let works = self.within(prefix).into_iter().flat_map(|inner| self.scopes[&inner].work.values());
        !works.into_iter().any(Work::is_in_flight)
    }

    /// Something goes on that a failing run waits for: jobs, children, children that are about to end.
    pub(crate) fn is_busy(&self) -> bool {
        let mut works = self.scopes.values().filter(|scope| !scope.closed).flat_map(|scope| scope.work.values());
        works.any(Work::is_in_flight) || !self.ending.is_empty()
    }

    /// Steps to undo, newest result first. Those of a child stand where the child ended.
    pub(crate) fn to_undo(&self) -> Vec<String> {
        let mut found: Vec<(u64, String, Vec<String>)> = Vec::new();
        let at = |instance: &str| self.last_result.get(instance).copied().unwrap_or(0);
        for (prefix, scope) in self.scopes.iter().filter(|_| self.compensate) {
            for node in scope.graph.nodes.values().filter(|node| node.compensation.is_some()) {
                let instance = format!("{prefix}{}", node.id);
                let is_ok = scope.decided.get(&node.id).is_some_and(|verdict| verdict.status == "ok");
                if is_ok && self.did(&instance, node) || self.unknown.contains(&instance) {
                    found.push((at(&instance), instance.clone(), vec![instance]));
                }
            }
        }
        for (node, child) in self.completed.iter().filter(|_| self.compensate) {
            let steps = child.to_undo().into_iter().map(|step| format!("{node}/{step}")).collect();
            found.push((at(node), node.clone(), steps));
        }
        found.sort();
        found.into_iter().rev().flat_map(|(.., steps)| steps).collect()
    }

    fn did(&self, instance: &str, node: &Node) -> bool {
        let asks = matches!(node.kind.as_str(), "function" | "http" | "agent" | "composite");
        !asks || self.asked.contains(instance)
    }

    /// The run that a step is of (itself, or a child that completed), and the instance in it.
    pub(crate) fn step<'s>(&self, step: &'s str) -> Option<(&Run, &'s str)> {
        match step.split_once('/') {
            None => Some((self, step)),
            Some((node, rest)) => self.completed.get(node)?.step(rest),
        }
    }

    /// Composite nodes with their children.
    pub(crate) fn children(&self) -> impl Iterator<Item = (String, &Child)> {
        self.scopes.iter().filter(|(_, scope)| !scope.closed).flat_map(|(prefix, scope)| {
            scope.work.iter().filter_map(move |(id, work)| match work {
                Work::Child(child) => Some((format!("{prefix}{id}"), child)),
                _ => None,
            })
        })
    }

    /// Nodes that are decided and hold a key.
    fn left(&self) -> impl Iterator<Item = &String> {
        self.held.keys().filter(|node| {
            let (prefix, id) = split(node);
            self.scopes.get(prefix).is_some_and(|scope| scope.decided.contains_key(id))
        })
    }

    /// Whether a node that waits for signals wants one. One that its condition fails for is not wanted.
    pub(crate) fn wants(&self, instance: &str, payload: &Value) -> bool {
        let (prefix, id) = split(instance);
        let Some(node) = self.scopes.get(prefix).and_then(|scope| scope.graph.nodes.get(id)) else { return false };
        let from = From { run: self, prefix, ahead: None, signal: Some(payload) };
        node.config["match"].as_str().is_none_or(|condition| is_true(condition, &from).unwrap_or(false))
    }

    /// Nodes that wait for a signal, with its name and since when.
    pub(crate) fn listening(&self) -> impl Iterator<Item = (String, &str, u64)> {
        self.scopes.iter().filter(|(_, scope)| !scope.closed).flat_map(|(prefix, scope)| {
            scope.work.iter().filter_map(move |(id, work)| match work {
                Work::Signal { name, since, .. } => Some((format!("{prefix}{id}"), name.as_str(), *since)),
                _ => None,
            })
        })
    }

    /// Keys that somebody stands in line for.
    pub(crate) fn awaited_keys(&self) -> impl Iterator<Item = &str> {
        self.scopes.values().filter(|scope| !scope.closed).flat_map(|scope| {
            scope.work.values().filter_map(|work| match work {
                Work::Line { key, .. } => Some(key.as_str()),
                _ => None,
            })
        })
    }

    /// Nodes that stand in line for a key, with the position of the event that says so. Those of a run that is paused
    /// have left their lines for a while.
    pub(crate) fn lines<'r>(&'r self, key: &'r str) -> impl Iterator<Item = (u64, String)> {
        let scopes = self.scopes.iter().filter(|(_, scope)| !self.paused && !scope.closed);
        scopes.flat_map(move |(prefix, scope)| {
            scope.work.iter().filter_map(move |(id, work)| match work {
                Work::Line { key: wanted, at } if wanted == key => Some((*at, format!("{prefix}{id}"))),
                _ => None,
            })
        })
    }

    // --- what happens -------------------------------------------------------------------------------------------

    /// A node begins; a join with `cancel_rest` gives up what only leads to it.
    pub(crate) fn begin(&mut self, instance: &str) -> Result<(), Wrong> {
        let (graph, _) = self.place(instance)?;
        let (_, id) = split(instance);
        if graph.nodes[id].cancel_rest {
            let scope = self.scope_mut(instance)?;
            for other in graph.nodes.keys().filter(|other| *other != id && graph.only_leads_to(other, id)) {
                if !scope.decided.contains_key(other) {
                    scope.doomed.insert(other.clone());
                }
            }
        }
        Ok(())
    }

    /// A node has its status; tokens come with `settle`.
    pub(crate) fn decide(&mut self, instance: &str, verdict: Verdict, offset: u64) -> Result<(), Wrong> {
        let (_, id) = split(instance);
        if verdict.status != "skipped" {
            self.last_result.insert(instance.into(), offset);
        }
        let scope = self.scope_mut(instance)?;
        scope.work.remove(id);
        let before = scope.decided.insert(id.into(), verdict);
        check!(before.is_none(), "invariant 5: {instance} is decided twice");
        Ok(())
    }

    /// Decides a node, then the edges out of it. Gives the targets whose guard was false, sorted; `None` where nobody
    /// looks at guards any more.
    pub(crate) fn settle(
        &mut self,
        instance: &str,
        verdict: Verdict,
        offset: u64,
    ) -> Result<Option<Vec<String>>, Wrong> {
        let (prefix, id) = split(instance);
        let (graph, _) = self.place(instance)?;
        let status = verdict.status;
        let is_over = self.phase != Phase::Running || self.is_given_up(prefix) || self.is_doomed(instance);
        let error = verdict.error.clone();
        self.decide(instance, verdict, offset)?;
        if is_over {
            return Ok(None);
        }
        let mut dead = Vec::new();
        let mut handled = false;
        for &at in &graph.nodes[id].out {
            let edge = &graph.edges[at];
            let mut live = status == if edge.on_error { "failed" } else { "ok" };
            if live && let Some(when) = &edge.when {
                match is_true(when, &From { run: self, prefix, ahead: None, signal: None }) {
                    Ok(is_live) => live = is_live,
                    Err(_) => {
                        self.fail("EXPRESSION_FAILED", "ExpressionFailed", instance);
                        return Ok(None);
                    }
                }
                if !live {
                    dead.push(edge.to.clone());
                }
            }
            handled |= live;
            self.scope_mut(instance)?.tokens[at] = Some(live);
        }
        if let (Some((kind, _)), false) = (error, handled || graph.nodes[id].continues) {
            if prefix.is_empty() {
                self.fail("NODE_FAILED", &kind, instance);
            } else {
                self.scope_mut(instance)?.ending = Ending::Failed(kind);
            }
        }
        dead.sort();
        Ok(Some(dead))
    }

    /// It waits for nothing and holds nothing any more.
    pub(crate) fn end(&mut self) {
        self.scopes.values_mut().for_each(|scope| scope.work.clear());
        self.held.clear();
    }

    /// The run begins to fail: only jobs in flight are waited for.
    pub(crate) fn fail(&mut self, code: &'static str, kind: &str, node: &str) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Failing;
        self.failure = Some(Failure { code, kind: kind.into(), node: node.into() });
        for scope in self.scopes.values_mut() {
            scope.work.retain(|_, work| work.is_in_flight());
        }
        let held = std::mem::take(&mut self.held);
        self.held = held.into_iter().filter(|(node, _)| matches!(self.work(node), Some(Work::Job { .. }))).collect();
    }
}

impl Node {
    /// Items that may be open at a time.
    pub(crate) fn concurrency(&self) -> usize {
        match self.config["max_concurrency"].as_u64() {
            None => 64,
            Some(n) => n as usize,
        }
    }
}
