//! Composite nodes: what goes between a run and its children.

use super::around::Around;
use super::judge::{Happening, Judge, same_error};
use super::run::{Child, ChildEnding, Phase, Readiness, Run, Verdict, Work, split};
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use apex_machine::command::Selector;
use serde_json::{Value, json};

/// Whose child a run is.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) run: RunId,
    pub(crate) node: String,
}

/// Which version a composite node names.
fn selector(config: &Value) -> Selector {
    match (config["version"].as_str(), config["tag"].as_str()) {
        (Some(version), _) => Selector::Version(version.into()),
        (None, Some(tag)) => Selector::Tag(tag.into()),
        (None, None) => Selector::Latest,
    }
}

fn run_id(h: &Happening) -> Result<RunId, Wrong> {
    RunId::parse(h.text("child")).ok_or_else(|| Wrong(format!("{} is no run", h.text("child"))))
}

impl Judge {
    pub(super) fn child_started(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (attempt, inputs) = self.next_child(h, instance)?;
        let (graph, _) = self.run.place(instance)?;
        let (_, id) = split(instance);
        let node = &graph.nodes[id];
        check!(h.number("attempt") == attempt, "it is attempt {attempt}");
        check!(h.payload["inputs"] == inputs, "the inputs are to be {inputs}");
        let workflow = node.config["workflow"].as_str().unwrap_or_default();
        let version = around.registry.select(workflow, &selector(&node.config));
        let version = version.map(|version| version.version.as_str()).unwrap_or_default();
        check!(h.text("workflow") == workflow && h.text("version") == version, "it is to be {workflow} {version}");
        check!(self.depth + 1 < u64::from(around.limits.depth_max), "invariant 10: runs stand too deep in each other");
        let run = run_id(h)?;
        check!(run.partition() == self.run.id.partition(), "a child in another partition");
        check!(!around.judges.contains_key(&run), "there is a run {run} already");
        let due = (node.timeout_ns > 0).then_some(h.time + node.timeout_ns);
        let child = Child { run, attempt, due, version: version.into(), inputs, begun: false };
        self.run.requested = true;
        self.run.asked.insert(instance.into());
        self.run.scope_mut(instance)?.work.insert(id.into(), Work::Child(child));
        if attempt == 1 { self.run.begin(instance) } else { Ok(()) }
    }

    /// The attempt of a composite node that may begin now, with its inputs.
    fn next_child(&self, h: &Happening, instance: &str) -> Result<(u64, Value), Wrong> {
        if let Some(again) = self.again(h, instance)? {
            return Ok(again);
        }
        self.ready(instance, Readiness::Start)?;
        let (graph, _) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let inputs = graph.nodes[id].config.get("inputs").cloned().unwrap_or(json!({}));
        Ok((1, self.run.render(prefix, &inputs).map_err(same_error)?))
    }

    /// Why a composite node fails instead of starting its child: `None`, if it may.
    pub(super) fn no_child(&self, instance: &str, around: &Around<'_>) -> Result<Vec<&'static str>, Wrong> {
        let (graph, _) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let node = &graph.nodes[id];
        let workflow = node.config["workflow"].as_str().unwrap_or_default();
        let mut reasons = Vec::new();
        if self.depth + 1 >= u64::from(around.limits.depth_max) || around.limits.runs_open_max < 10 {
            reasons.push("LimitExceeded");
        }
        if around.registry.select(workflow, &selector(&node.config)).is_none() {
            reasons.push("WorkflowNotFound");
        }
        let inputs = match self.run.work(instance) {
            Some(Work::Retry { input, .. } | Work::Again { input, .. }) => Some(input.clone()),
            _ => self.run.render(prefix, node.config.get("inputs").unwrap_or(&json!({}))).ok(),
        };
        if inputs.is_some_and(|inputs| inputs.get("x").is_some_and(|x| !x.is_i64())) {
            reasons.push("InputsInvalid");
        }
        Ok(reasons)
    }

    /// A child records its first event: gives its workflow, version and inputs.
    pub(super) fn child_begins(&mut self, instance: &str, run: &RunId) -> Result<(String, String, Value), Wrong> {
        self.awake()?;
        let (graph, _) = self.run.place(instance)?;
        let (_, id) = split(instance);
        let workflow = graph.nodes[id].config["workflow"].as_str().unwrap_or_default().to_owned();
        match self.run.scope_mut(instance)?.work.get_mut(id) {
            Some(Work::Child(child)) if child.run == *run && !child.begun => {
                child.begun = true;
                Ok((workflow, child.version.clone(), child.inputs.clone()))
            }
            other => Err(Wrong(format!("{instance} did not start {run}: {other:?}"))),
        }
    }

    /// Nobody needs this child any more: then whether what it did is undone.
    pub(super) fn gave_up(&self, child: &RunId) -> Option<bool> {
        match (self.run.phase, self.run.ending.get(child)) {
            (Phase::Ended, _) => Some(true),
            (_, Some(ending)) => ending.taken_back.then_some(true),
            (Phase::Running, None) => None,
            (_, None) => Some(self.run.compensate),
        }
    }

    pub(super) fn child_ended(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (graph, scope) = self.run.place(instance)?;
        let (prefix, id) = split(instance);
        let Some(Work::Child(child)) = scope.work.get(id).cloned() else {
            return Err(Wrong(format!("{instance} waits for no child")));
        };
        let run = run_id(h)?;
        check!(run == child.run && h.number("attempt") == child.attempt, "its child is {child:?}");
        let node = &graph.nodes[id];
        let is_over = self.run.is_given_up(prefix) || self.run.is_doomed(instance);
        let (status, error) = (h.text("status"), h.error_type());
        let taken_back = h.flag("taken_back");
        let mut retryable = false;
        match (taken_back, around.judges.get(&run)) {
            (true, _) if status == "timeout" => {
                check!(child.due.is_some_and(|due| h.time >= due), "it is not out of time");
                retryable = true;
            }
            (true, _) => check!(status == "cancelled" && is_over, "nobody takes {instance} back"),
            (false, None) => {
                let is_failing = self.run.phase == Phase::Failing;
                check!(is_failing && status == "cancelled" && !child.begun, "its child has not begun");
            }
            (false, Some(judge)) => {
                let outcome = judge.outcome_at_end().ok_or_else(|| Wrong(format!("run {run} goes on")))?;
                match outcome {
                    Ok(output) => {
                        let fits = status == "ok" && self.says(h, "output", &output);
                        check!(fits, "its child gives {output}");
                    }
                    Err((code, kind)) => {
                        let wanted = if code == "CANCELLED" { "cancelled" } else { "error" };
                        check!(status == wanted && error == kind, "its child ends by {code} {kind}");
                        retryable = code != "CANCELLED" && kind != "LimitExceeded";
                    }
                }
            }
        }
        let goes_on = status != "ok"
            && retryable
            && self.run.phase == Phase::Running
            && !is_over
            && node.retry.goes_on(child.attempt, error);
        check!(h.flag("retry") == goes_on, "another attempt is to follow: {goes_on}");
        if child.begun {
            let keeps = status == "ok" && node.compensation.is_none();
            let ending = ChildEnding { node: instance.into(), taken_back, keeps };
            self.run.ending.insert(run, ending);
        }
        if goes_on {
            let again =
                Work::Scheduling { attempt: child.attempt, error: error.into(), input: child.inputs, correct: false };
            self.run.last_result.insert(instance.into(), h.offset);
            self.run.scope_mut(instance)?.work.insert(id.into(), again);
            return Ok(());
        }
        let message = h.payload["error"]["message"].as_str().unwrap_or_default();
        let output = around.judges.get(&run).and_then(|judge| judge.outcome_at_end()).and_then(Result::ok);
        let verdict = match status {
            "ok" => Verdict::ok(output.unwrap_or(Value::Null)),
            _ => Verdict::failed(error, message),
        };
        self.settle(h, verdict)
    }

    /// How a run is about to end: its output, or code and type of its failure. `None`: it goes on.
    fn outcome_at_end(&self) -> Option<Result<Value, (&'static str, String)>> {
        let run = &self.run;
        let failure = || run.failure.as_ref().map(|failure| Err((failure.code, failure.kind.clone())));
        if run.paused {
            return None;
        }
        match run.phase {
            Phase::Running if run.root().decided.len() == run.root().graph.nodes.len() && run.ending.is_empty() => {
                match run.output_of("") {
                    Ok(output) => Some(Ok(output)),
                    Err(_) if run.to_undo().is_empty() => {
                        Some(Err(("EXPRESSION_FAILED", "ExpressionFailed".to_owned())))
                    }
                    Err(_) => None,
                }
            }
            Phase::Failing if !run.is_busy() && run.to_undo().is_empty() => failure(),
            Phase::Undoing if run.plan.is_empty() => failure(),
            _ => None,
        }
    }

    /// Before a child ends, the node that waits for it is decided.
    pub(super) fn parent_knows(&self, around: &Around<'_>) -> Result<(), Wrong> {
        let Some(parent) = &self.parent else { return Ok(()) };
        let above = around.run(&parent.run).filter(|above| above.phase != Phase::Ended);
        let waits = above.and_then(|above| above.work(&parent.node));
        let waits = matches!(waits, Some(Work::Child(child)) if child.run == self.run.id);
        check!(!waits, "{} of run {} waits for it", parent.node, parent.run);
        Ok(())
    }

    /// A child has recorded its end.
    pub(super) fn child_is_done(&mut self, child: &Run) {
        let Some(ending) = self.run.ending.remove(&child.id) else { return };
        if ending.keeps && child.failure.is_none() && !child.to_undo().is_empty() {
            self.run.completed.insert(ending.node, child.clone());
        }
    }
}
