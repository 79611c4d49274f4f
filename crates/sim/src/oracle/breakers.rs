//! Breakers, and corrections: what stands between a node and its tool, and between a failure and its end.

use super::around::Around;
use super::definition::{Breaker, Node};
use super::judge::{Happening, Judge, Told, read_time};
use super::run::{Limits, Phase, Verdict, Work, job_key, split};
use crate::wrong::{Wrong, check};
use serde_json::Value;

/// What is known of a tool.
#[derive(Debug, Default)]
pub(crate) struct Tool {
    /// `closed` where it is empty.
    state: String,
    /// Position of its last change: outcomes of requests from before it do not count.
    changed: u64,
    /// Failures in a row.
    failures: u64,
    passed: u64,
    succeeded: u64,
    due: i64,
    /// What it gave last, by input.
    outputs: Vec<(Value, Value)>,
}

impl Tool {
    fn is(&self, state: &str) -> bool {
        self.state == state || (self.state.is_empty() && state == "closed")
    }

    /// Whether a request of a node with these settings may go.
    fn lets_through(&self, settings: &Breaker) -> bool {
        match self.state.as_str() {
            "open" => false,
            "half_open" => self.passed < settings.probes,
            _ => self.failures < settings.threshold,
        }
    }

    /// It changes as an event says, by the settings of some node.
    pub(super) fn changes(&mut self, h: &Happening, position: u64, settings: &[Breaker]) -> Result<(), Wrong> {
        let due = h.payload["due"].as_str().and_then(read_time);
        let to = h.text("state");
        let is_time = h.time >= self.due;
        let fits = |settings: &Breaker| {
            let (may, due_wanted) = match to {
                "open" if self.is("closed") => {
                    (self.failures >= settings.threshold, Some(h.time + settings.timeout_ns))
                }
                "open" => (self.is("half_open") && self.failures > 0, Some(h.time + settings.timeout_ns)),
                "half_open" => (!self.is("closed") && is_time, Some(h.time + settings.timeout_ns)),
                _ => (self.is("half_open") && self.succeeded >= settings.probes, None),
            };
            may && due == due_wanted
        };
        check!(settings.iter().any(fits), "it may not become {to} until {due:?}: {self:?}");
        let outputs = std::mem::take(&mut self.outputs);
        *self = Tool { state: to.into(), changed: position, due: due.unwrap_or(0), outputs, ..Tool::default() };
        Ok(())
    }
}

impl Judge {
    /// The breaker that a request goes through.
    pub(super) fn watched(
        &self,
        h: &Happening,
        node: &Node,
        around: &mut Around<'_>,
    ) -> Result<Option<(String, u64)>, Wrong> {
        let name = h.text("breaker");
        let Some(settings) = &node.breaker else {
            check!(name.is_empty(), "it has no breaker");
            return Ok(None);
        };
        check!(node.config["name"] == name, "its breaker is that of {}", node.config["name"]);
        let tool = around.shared.tools.entry(name.into()).or_default();
        check!(tool.lets_through(settings), "invariant 10: the breaker lets nothing through: {tool:?}");
        tool.passed += u64::from(tool.is("half_open"));
        Ok(Some((name.into(), tool.changed)))
    }

    /// What its breaker counts of an outcome.
    pub(super) fn counted(
        &self,
        h: &Happening,
        node: &Node,
        told: &Told,
        watched: Option<&(String, u64)>,
        input: &Value,
        around: &mut Around<'_>,
    ) -> Result<(), Wrong> {
        let health = match (watched, told.status) {
            (None, _) => "",
            (Some(_), "ok") => "ok",
            _ if told.status == "cancelled" || !told.retryable || node.retry.is_final(&told.error) => "",
            _ => "failed",
        };
        check!(h.text("health") == health, "its breaker counts {health:?}");
        let Some((name, changed)) = watched.filter(|_| !health.is_empty()) else { return Ok(()) };
        let tool = around.shared.tools.entry(name.clone()).or_default();
        if health == "ok" && node.breaker.as_ref().is_some_and(|breaker| breaker.cached) {
            tool.outputs.retain(|(known, _)| known != input);
            tool.outputs.push((input.clone(), told.output.clone()));
        }
        if tool.changed == *changed {
            match health {
                "ok" => (tool.failures, tool.succeeded) = (0, tool.succeeded + 1),
                _ => tool.failures += 1,
            }
        }
        Ok(())
    }

    /// An attempt that its breaker did not let through: the fallback, or a failure that is tried again.
    pub(super) fn shut_out(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let node = &graph.nodes[id];
        let settings = node.breaker.as_ref().ok_or_else(|| Wrong("it has no breaker".into()))?;
        let is_first = self.run.work(&instance).is_none();
        let has_flight = matches!(self.run.work(&instance), Some(Work::Retry { .. } | Work::Again { .. }));
        let (attempt, input) = self.next_attempt(h, &instance, node)?;
        let made = self.made(prefix, node, &input)?;
        check!(h.number("attempt") == attempt, "it is attempt {attempt}");
        let name = node.config["name"].as_str().unwrap_or_default();
        let tool = around.shared.tools.entry(name.into()).or_default();
        let is_shut = !tool.lets_through(settings) && !tool.is("closed") && h.time < tool.due;
        check!(is_shut, "the breaker lets it through: {tool:?}");
        if is_first {
            self.run.begin(&instance)?;
        }
        let fallback = match (&settings.value, settings.cached) {
            (Some(value), _) => match self.run.render(prefix, value) {
                Ok(value) => Some(value),
                Err(error) => return self.expression_fails(h, error),
            },
            (None, true) => tool.outputs.iter().find(|(known, _)| *known == made).map(|(_, output)| output.clone()),
            (None, false) => None,
        };
        check!(h.flag("fallback") == fallback.is_some(), "it gives {fallback:?} instead");
        if let Some(output) = fallback {
            check!(h.text("status") == "ok" && self.says(h, "output", &output), "the output is to be {output}");
            return self.last_attempt(h, Verdict::ok(output));
        }
        check!(h.error_type() == "CircuitOpen", "it fails by CircuitOpen");
        let goes_on =
            self.run.phase == Phase::Running && !self.is_over(&instance) && node.retry.goes_on(attempt, "CircuitOpen");
        let close_by = self.run.close_by.get(&instance).copied().filter(|_| has_flight);
        let (early, late) = node.retry.delays(attempt, "CircuitOpen");
        let closes = |delay: i64| close_by.is_some_and(|by| h.time + delay >= by);
        let is_open = goes_on && !closes(early) && closes(late);
        let goes_on = goes_on && !closes(late);
        check!(h.flag("retry") == goes_on || is_open, "another attempt is to follow: {goes_on}");
        if h.flag("retry") {
            self.run.requested = true;
            self.run.last_result.insert(instance.clone(), h.offset);
            let again = Work::Scheduling { attempt, error: "CircuitOpen".into(), input, correct: false };
            self.run.scope_mut(&instance)?.work.insert(id.into(), again);
            return Ok(());
        }
        let message = h.payload["error"]["message"].as_str().unwrap_or_default().to_owned();
        self.last_attempt(h, Verdict::failed("CircuitOpen", &message))
    }

    /// Whether a model is asked for another input where a node would fail for good.
    pub(super) fn is_corrected(&self, h: &Happening, instance: &str, node: &Node, limits: &Limits) -> bool {
        let made = self.run.corrected.get(instance).copied().unwrap_or(0);
        node.correction.as_ref().is_some_and(|correction| made < correction.max_attempts)
            && matches!(h.text("status"), "error" | "timeout")
            && limits.all.is_none_or(|by| h.time < by)
            && self.run.phase == Phase::Running
            && !self.is_over(instance)
    }

    /// The model is asked.
    pub(super) fn correction_requested(&mut self, h: &Happening) -> Result<(), Wrong> {
        self.awake()?;
        let instance = h.text("node");
        let (graph, _) = self.run.place(instance)?;
        let (_, id) = split(instance);
        let Some(Work::Scheduling { attempt, error, input, correct: true }) = self.run.work(instance).cloned() else {
            return Err(Wrong(format!("{instance} is not to be corrected")));
        };
        check!(!self.is_over(instance), "{instance} was given up");
        let correction = graph.nodes[id].correction.as_ref().ok_or_else(|| Wrong("it has none".into()))?;
        check!(h.number("attempt") == attempt && h.text("name") == correction.model, "asked is {correction:?}");
        let asked = &h.payload["input"];
        check!(asked["input"] == input && asked["error"]["type"] == error, "the model is shown {input} and {error}");
        check!(asked["function"] == graph.nodes[id].config["name"], "the model is shown the function");
        let limits = Limits {
            attempt: Some(h.time + correction.timeout_ns),
            all: self.run.close_by.get(instance).copied(),
            beat: None,
            silence_ns: None,
        };
        let job = Work::Job { attempt, limits, input, watched: None, corrects: Some(error) };
        self.run.scope_mut(instance)?.work.insert(id.into(), job);
        Ok(())
    }

    /// It proposes an input: one more attempt has it.
    pub(super) fn corrected(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        let Some(Work::Job { attempt, corrects: Some(_), .. }) = self.run.work(instance).cloned() else {
            return Err(Wrong(format!("nobody is asked for {instance}")));
        };
        self.running()?;
        check!(!self.is_over(instance), "{instance} was given up");
        let key = job_key(instance, true);
        let is_mine = |told: &Told| told.instance == key && told.attempt == attempt && told.status == "ok";
        let at = self.offers.told.iter().position(is_mine);
        let told = at.and_then(|at| self.offers.told.remove(at));
        let told = told.ok_or_else(|| Wrong("invariant 4: nobody proposed this".into()))?;
        let input = told.output["input"].clone();
        check!(h.payload["input"] == input && input.is_object(), "the input is to be {input}");
        check!(h.number("attempt") == attempt + 1, "attempt {} is next", attempt + 1);
        *self.run.corrected.entry(instance.into()).or_default() += 1;
        let (_, id) = split(instance);
        self.run.scope_mut(instance)?.work.insert(id.into(), Work::Again { attempt, input });
        Ok(())
    }

    /// There was no correction: the node fails with its own error.
    pub(super) fn not_corrected(
        &mut self,
        h: &Happening,
        attempt: u64,
        limits: &Limits,
        error: &str,
    ) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        check!(h.text("status") == "error" && h.error_type() == error, "it fails by {error}");
        check!(!h.flag("retry"), "nothing follows");
        let key = job_key(&instance, true);
        let is_mine = |told: &Told| told.instance == key && told.attempt == attempt;
        let is_late = [limits.attempt, limits.all].into_iter().flatten().any(|due| h.time >= due);
        let is_over = self.run.phase != Phase::Running || self.is_over(&instance);
        match self.offers.told.iter().position(is_mine) {
            Some(at) => {
                let told = self.offers.told.remove(at).ok_or_else(|| Wrong("it is gone".into()))?;
                let proposes = told.status == "ok" && told.output["input"].is_object();
                check!(!proposes || is_over || is_late, "an input was proposed: {}", told.output);
            }
            None => check!(is_late, "invariant 4: nobody said so, and it is not out of time"),
        }
        let message = h.payload["error"]["message"].as_str().unwrap_or_default().to_owned();
        self.last_attempt(h, Verdict::failed(error, &message))
    }
}
