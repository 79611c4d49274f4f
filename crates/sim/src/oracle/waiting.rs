//! What nodes wait for beside time and people: signals, keys of critical sections, turns at a tool.

use super::around::Around;
use super::expression::NoValue;
use super::judge::{Happening, Judge};
use super::run::{Kept, Phase, Readiness, Verdict, Work, split};
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use serde_json::{Value, json};

/// A signal that was sent to a run.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) payload: Value,
    pub(crate) key: String,
}

/// A rendered value as text.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

fn output_of(payload: &Value, timed_out: bool) -> Value {
    json!({"payload": payload, "timed_out": timed_out})
}

impl Judge {
    // --- signals ------------------------------------------------------------------------------------------------

    pub(super) fn signal_received(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        self.running()?;
        let (name, payload, key) = (h.text("name").to_owned(), h.payload["payload"].clone(), h.text("idempotency_key"));
        let instance = h.text("node").to_owned();
        self.is_sent(&name, &payload, key, &instance, around)?;
        if !key.is_empty() {
            let before = self.run.signal_keys.insert(key.into(), h.offset);
            check!(before.is_none(), "invariant 4: a signal with the key {key} was taken at {before:?}");
        }
        let mut listening: Vec<(u64, String)> = self
            .run
            .listening()
            .filter(|(node, wanted, _)| *wanted == name && !self.is_over(node) && self.run.wants(node, &payload))
            .map(|(node, _, since)| (since, node))
            .collect();
        listening.sort();
        let first = listening.first().map(|(since, _)| *since);
        if instance.is_empty() {
            check!(first.is_none(), "{listening:?} wait for it");
            let max = around.limits.signals_buffered_max;
            check!(self.run.kept.len() < max, "invariant 10: {max} signals are kept");
            self.run.kept.push(Kept { offset: h.offset, name, payload });
            return Ok(());
        }
        // In a fast run several may have begun to wait with one record.
        let is_first = listening.iter().any(|(since, node)| Some(*since) == first && *node == instance);
        check!(is_first, "{listening:?} wait for it, in this order");
        let output = output_of(&payload, false);
        check!(self.says(h, "output", &output), "the output is to be {output}");
        self.settle(h, Verdict::ok(output))
    }

    /// Somebody sent it: a client to this run, a client to all that wait, or a node of some run.
    fn is_sent(
        &mut self,
        name: &str,
        payload: &Value,
        key: &str,
        instance: &str,
        around: &mut Around<'_>,
    ) -> Result<(), Wrong> {
        let is_it = |sent: &Sent| sent.name == name && sent.payload == *payload && sent.key == key;
        if let Some(at) = self.offers.signals.iter().position(is_it) {
            self.offers.signals.remove(at);
            return Ok(());
        }
        let run_id = self.run.id;
        let published = around.shared.published.iter_mut().find(|sent| {
            sent.name == name && sent.payload == *payload && sent.key == key && !sent.taken.contains(&run_id)
        });
        if let Some(published) = published {
            check!(!instance.is_empty(), "an event is kept by a run that does not wait for it");
            published.taken.insert(run_id);
            return Ok(());
        }
        let (sender, node) = key.split_once('/').ok_or_else(|| Wrong("nobody sent it".into()))?;
        let judge = if sender == run_id.to_string() {
            &*self
        } else {
            let judge = RunId::parse(sender).and_then(|sender| around.judges.get(&sender));
            judge.ok_or_else(|| Wrong(format!("no run {sender} sends it")))?
        };
        judge.may_begin(node, Readiness::Start)?;
        let sends = judge.sends(node).map_err(|error| Wrong(format!("it sends nothing: {}", error.0)))?;
        check!(sends == (name.into(), run_id.to_string(), payload.clone()), "{node} of run {sender} sends {sends:?}");
        Ok(())
    }

    /// What a node that signals another run sends: name, run, payload.
    fn sends(&self, instance: &str) -> Result<(String, String, Value), NoValue> {
        let (prefix, id) = split(instance);
        let config = &self.run.scopes[prefix].graph.nodes[id].config;
        let name = text_of(&self.run.render(prefix, &config["name"])?);
        let run = text_of(&self.run.render(prefix, &config["send"]["run_id"])?);
        Ok((name, run, self.run.render(prefix, &config["send"]["payload"])?))
    }

    pub(super) fn signal_awaited(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        self.ready(&instance, Readiness::Start)?;
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let config = &graph.nodes[id].config;
        let name = self.run.render(prefix, &config["name"]).map_err(super::judge::same_error)?;
        let name = text_of(&name);
        check!(h.text("name") == name && config["send"].is_null(), "it waits for {name}");
        let taken = self.run.kept.iter().find(|kept| kept.name == name && self.run.wants(&instance, &kept.payload));
        check!(taken.is_none(), "it is to take {taken:?}, which came before");
        let due = super::definition::nanoseconds(&config["timeout_s"]).map(|after| h.time + after);
        check!(h.due() == due, "due is to be {due:?}");
        self.run.requested = true;
        self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Signal { name, due, since: h.offset });
        self.run.begin(&instance)
    }

    /// A node that asks for a signal takes one that came before; one that sends a signal has sent it, or was refused.
    pub(super) fn signal_began_and_ended(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let (graph, _) = self.run.place(&instance)?;
        let (prefix, id) = split(&instance);
        let config = &graph.nodes[id].config;
        if config["send"].is_object() {
            return match self.sends(&instance) {
                Ok((_, run, _)) => self.has_sent(h, &instance, &run, around),
                Err(error) => self.expression_fails(h, error),
            };
        }
        let name = match self.run.render(prefix, &config["name"]) {
            Ok(name) => text_of(&name),
            Err(error) => return self.expression_fails(h, error),
        };
        let fits = |kept: &Kept| kept.name == name && self.run.wants(&instance, &kept.payload);
        let at = self.run.kept.iter().position(fits).ok_or_else(|| Wrong("no signal has come before".into()))?;
        let kept = self.run.kept.remove(at);
        check!(h.number("signal") == kept.offset, "it is to take the one of offset {}", kept.offset);
        let output = output_of(&kept.payload, false);
        check!(h.text("status") == "ok" && self.says(h, "output", &output), "the output is to be {output}");
        self.settle(h, Verdict::ok(output))
    }

    fn has_sent(&mut self, h: &Happening, instance: &str, run: &str, around: &Around<'_>) -> Result<(), Wrong> {
        self.is_asked_again(instance)?;
        let key = format!("{}/{instance}", self.run.id);
        let target = if run == self.run.id.to_string() {
            Some(&self.run)
        } else {
            RunId::parse(run).and_then(|run| around.run(&run))
        };
        let taken = target.and_then(|target| target.signal_keys.get(&key)).copied();
        if h.text("status") == "ok" {
            let offset = taken.ok_or_else(|| Wrong(format!("invariant 1: run {run} has no signal of it")))?;
            let output = &h.payload["output"];
            let says = output["offset"].as_u64();
            check!(h.in_turn || says >= Some(offset), "the signal stands at {offset}");
            let output = if output.is_null() { json!({"offset": offset}) } else { output.clone() };
            return self.settle(h, Verdict::ok(output));
        }
        check!(h.error_type() == "SignalRefused", "it fails by SignalRefused");
        let limits = around.limits;
        let refuses = target.is_none_or(|target| {
            target.phase != Phase::Running
                || target.kept.len() >= limits.signals_buffered_max
                || target.signal_keys.len() >= limits.signal_keys_max
        });
        check!(refuses, "run {run} takes signals");
        let message = h.payload["error"]["message"].as_str().unwrap_or_default();
        self.settle(h, Verdict::failed("SignalRefused", message))
    }

    /// No signal came in time; `continues`: which is no failure.
    pub(super) fn signal_is_late(&mut self, h: &Happening, due: Option<i64>, continues: bool) -> Result<(), Wrong> {
        check!(due.is_some_and(|due| h.time >= due), "it is not out of time");
        let (graph, _) = self.run.place(h.text("node"))?;
        let (_, id) = split(h.text("node"));
        let wanted = graph.nodes[id].config["on_timeout"] == "continue";
        check!(wanted == continues, "whether it goes on without one is to be {wanted}");
        if continues {
            let output = output_of(&Value::Null, true);
            check!(self.says(h, "output", &output), "the output is to be {output}");
            return self.settle(h, Verdict::ok(output));
        }
        check!(h.error_type() == "SignalTimeout", "it fails by SignalTimeout");
        let message = h.payload["error"]["message"].as_str().unwrap_or_default();
        self.settle(h, Verdict::failed("SignalTimeout", message))
    }

    // --- critical sections --------------------------------------------------------------------------------------

    /// The key of a node's critical section; `None`: it has none.
    pub(super) fn key_of(&self, instance: &str) -> Result<Option<String>, NoValue> {
        let (prefix, id) = split(instance);
        let Some(key) = &self.run.scopes[prefix].graph.nodes[id].key else { return Ok(None) };
        Ok(match self.run.render(prefix, key)? {
            Value::Null => None,
            key => Some(text_of(&key)),
        })
    }

    pub(super) fn lock_acquired(&mut self, h: &Happening, around: &Around<'_>) -> Result<(), Wrong> {
        let (instance, key) = (h.text("node").to_owned(), h.text("key").to_owned());
        let holder = around.holder(&self.run, &key);
        let mut line = around.line(&self.run, &key);
        if let Some(Work::Line { key: wanted, .. }) = self.run.work(&instance) {
            self.awake()?;
            check!(h.flag("granted") && *wanted == key, "it stands in line for {wanted} already");
            check!(holder.is_none(), "two hold the key {key}: {holder:?} does");
            let first = line.drain(..).next().map(|(_, run, node)| (run, node));
            let other = first.as_ref().and_then(|(run, _)| around.judges.get(run)).map(Judge::tail).unwrap_or_default();
            let is_mine = first == Some((self.run.id, instance.clone()));
            check!(is_mine, "{first:?} is first in line for {key}:\n{other}\n");
            let (_, id) = split(&instance);
            self.run.scope_mut(&instance)?.work.remove(id);
            self.run.held.insert(instance, key);
            return Ok(());
        }
        self.may_begin(&instance, Readiness::Start)?;
        check!(!self.run.held.contains_key(&instance), "it holds a key already");
        let wanted = self.key_of(&instance).map_err(super::judge::same_error)?;
        check!(wanted.as_ref() == Some(&key), "its key is to be {wanted:?}");
        let is_free = holder.is_none() && line.is_empty();
        check!(h.flag("granted") == is_free, "the key {key} is free: {is_free}; {holder:?} holds it, in line {line:?}");
        self.run.requested = true;
        if is_free {
            self.run.held.insert(instance.clone(), key);
        } else {
            let (_, id) = split(&instance);
            let work = Work::Line { key, at: around.position };
            self.run.scope_mut(&instance)?.work.insert(id.into(), work);
        }
        self.run.begin(&instance)
    }

    pub(super) fn lock_released(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        let held = self.run.held.remove(instance);
        check!(held.as_deref() == Some(h.text("key")), "it holds {held:?}");
        let (prefix, id) = split(instance);
        let is_decided = self.run.scopes.get(prefix).is_some_and(|scope| scope.decided.contains_key(id));
        check!(is_decided, "{instance} is not decided");
        Ok(())
    }

    // --- turns at a tool ----------------------------------------------------------------------------------------

    /// A call is made in time, or (`due`) waits for its turn.
    pub(super) fn counts(
        &mut self,
        h: &Happening,
        instance: &str,
        tool: &str,
        due: Option<i64>,
        around: &mut Around<'_>,
    ) -> Result<(), Wrong> {
        let (graph, _) = self.run.place(instance)?;
        let (_, id) = split(instance);
        let node = &graph.nodes[id];
        let rate = node.rate.ok_or_else(|| Wrong(format!("{instance} has no rate")))?;
        check!(node.config["name"] == tool, "it calls {}", node.config["name"]);
        let arrival = around.shared.rates.get(tool).copied().unwrap_or(i64::MIN);
        let in_time = arrival.saturating_sub(rate.ahead_ns);
        match due {
            None => check!(in_time <= h.time, "invariant 10: the next call of {tool} may come at {in_time}"),
            Some(due) => check!(due == in_time && in_time > h.time, "its turn is to come at {in_time}"),
        }
        around.shared.rates.insert(tool.into(), arrival.max(h.time) + rate.interval_ns);
        Ok(())
    }

    pub(super) fn turn_awaited(&mut self, h: &Happening, around: &mut Around<'_>) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        let before = self.again(h, &instance)?.map(|(attempt, input)| (attempt - 1, input));
        if before.is_none() {
            self.ready(&instance, Readiness::Start)?;
        }
        let due = h.due().ok_or_else(|| Wrong("without a time".into()))?;
        self.counts(h, &instance, h.text("name"), Some(due), around)?;
        let is_first = before.is_none();
        let (_, id) = split(&instance);
        self.run.requested = true;
        self.run.scope_mut(&instance)?.work.insert(id.into(), Work::Turn { due, before });
        if is_first { self.run.begin(&instance) } else { Ok(()) }
    }

    /// A turn comes while the run is paused: it is asked for again when it goes on.
    pub(super) fn turn_is_missed(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        check!(self.run.paused, "the run is not paused: the call is to be made");
        let Some(Work::Turn { due, before }) = self.run.work(&instance).cloned() else {
            return Err(Wrong(format!("{instance} waits for no turn")));
        };
        check!(h.time >= due, "its turn comes at {due}");
        let (_, id) = split(&instance);
        let work = &mut self.run.scope_mut(&instance)?.work;
        match before {
            Some((attempt, input)) => work.insert(id.into(), Work::Again { attempt, input }),
            None => work.remove(id),
        };
        Ok(())
    }

    /// Whether nobody waits for the verdict of a node any more.
    pub(super) fn is_over(&self, instance: &str) -> bool {
        self.run.is_given_up(split(instance).0) || self.run.is_doomed(instance)
    }

    pub(super) fn escalated(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node");
        let (graph, _) = self.run.place(instance)?;
        let (_, id) = split(instance);
        let to = &graph.nodes[id].config["escalate_to"];
        check!(h.payload["to"] == *to, "asked are to be {to}");
        match self.run.scope_mut(instance)?.work.get_mut(id) {
            Some(Work::Approval { escalates, .. }) if escalates.is_some_and(|due| h.time >= due) => {
                *escalates = None;
                Ok(())
            }
            other => Err(Wrong(format!("it is not the time to ask others: {other:?}"))),
        }
    }
}

/// A scope ends: what its nodes hold is free.
pub(super) fn free_within(held: &mut std::collections::BTreeMap<String, String>, prefix: &str) {
    held.retain(|node, _| !node.starts_with(prefix));
}
