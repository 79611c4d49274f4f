//! All durable records, in order: their numbers and hashes, the registry, the keys, and a judge for each run.

use super::around::{Around, Shared, holder, line};
use super::judge::{Happening, Judge, Offers, Parent};
use super::programs::{Beside, Compiles, Fate, Programs, Wish};
use super::registry::{Registry, Version};
use super::replays::Replay;
use super::run::Phase;
use super::schedules::Schedules;
use super::sets::Sets;
use crate::coverage::Coverage;
use crate::wrong::{Wrong, check};
use apex_machine::command::{Selector, StartRun};
use apex_machine::record::{NONE, verify_chain};
use apex_machine::render::{payload_json, type_name};
use apex_machine::{Fidelity, Header, Limits, RunId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Where the records of a run (or of the registry) stand.
#[derive(Debug, Clone, Default)]
struct Chain {
    next: u64,
    head: u64,
    hash: [u8; 32],
}

/// A key, and the run that has it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) run_id: RunId,
    pub(crate) key: String,
    pub(crate) expires: i64,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) position: u64,
    term: u64,
    time: i64,
    sequences: BTreeMap<u16, u64>,
    chains: BTreeMap<RunId, Chain>,
    pub(crate) registry: Registry,
    pub(crate) sets: Sets,
    pub(crate) shared: Shared,
    pub(crate) limits: Limits,
    pub(crate) judges: BTreeMap<RunId, Judge>,
    /// In the order of their runs; a key may be taken again when its time is over.
    pub(crate) keys: Vec<Key>,
    /// What was offered to runs whose start is not durable yet.
    early: BTreeMap<RunId, Offers>,
    /// Starts that were asked for.
    pub(crate) starts: BTreeMap<RunId, StartRun>,
    pub(crate) replays: BTreeMap<RunId, Replay>,
    pub(crate) schedules: Schedules,
}

impl Ledger {
    pub(crate) fn new(limits: Limits) -> Ledger {
        Ledger { limits, ..Ledger::default() }
    }

    /// Follows one durable record.
    pub(crate) fn follow(&mut self, body: &[u8], compiles: Compiles<'_>, coverage: &mut Coverage) -> Result<(), Wrong> {
        let position = self.position;
        self.read(body, compiles, coverage).map_err(|wrong| Wrong(format!("record {position}: {wrong}")))?;
        self.position += 1;
        Ok(())
    }

    fn read(&mut self, body: &[u8], compiles: Compiles<'_>, coverage: &mut Coverage) -> Result<(), Wrong> {
        let unreadable = |error: apex_machine::BadRecord| Wrong(format!("invariant 3: it cannot be read: {error}"));
        let header = Header::parse(body).map_err(unreadable)?;
        let name = type_name(header.event_type).ok_or_else(|| Wrong("its type has no name".into()))?;
        coverage.event(name);
        let sequence = self.sequences.entry(header.partition).or_default();
        check!(header.sequence == *sequence, "invariant 3: sequence {} after {sequence}", header.sequence);
        *sequence += 1;
        check!(header.time_ns >= self.time, "time runs backwards, {} after {}", header.time_ns, self.time);
        self.time = header.time_ns;
        check!(header.term >= self.term, "a record of term {} after one of {}", header.term, self.term);
        self.term = header.term;
        let chain = self.chains.entry(header.run_id).or_default();
        let previous = if chain.next == 0 { NONE } else { chain.head };
        check!(header.run_seq == chain.next, "invariant 3: offset {} after {} events", header.run_seq, chain.next);
        check!(header.run_prev == previous, "it names {} as the record before, that is {previous}", header.run_prev);
        chain.hash = verify_chain(&chain.hash, body).map_err(unreadable)?;
        chain.head = self.position;
        chain.next += 1;
        let payload = payload_json(body).map_err(unreadable)?;
        let payload = serde_json::from_slice(&payload).map_err(|error| Wrong(format!("its payload: {error}")))?;
        let happening =
            |name, payload, in_turn| Happening { offset: header.run_seq, name, time: header.time_ns, payload, in_turn };
        if header.run_id == RunId::REGISTRY {
            return self.register(&happening(name, payload, false), compiles);
        }
        let epoch = self.judges.get(&header.run_id).map_or(0, |judge| judge.programs.epoch());
        check!(u64::from(header.epoch) == epoch, "it is of epoch {}, to be {epoch}", header.epoch);
        if name != "TurnRecorded" {
            return self.happens(header.run_id, &happening(name, payload, false), compiles, coverage);
        }
        let is_fast = self.judges.get(&header.run_id).is_some_and(|judge| judge.is_fast);
        check!(is_fast, "a turn in one record, of a run that records every change");
        for decision in payload["decisions"].as_array().into_iter().flatten() {
            let name = decision["type"].as_str().and_then(event_name);
            let name = name.ok_or_else(|| Wrong(format!("a decision without a name: {decision}")))?;
            self.happens(header.run_id, &happening(name, decision["payload"].clone(), true), compiles, coverage)?;
        }
        Ok(())
    }

    /// Something happens to a run.
    fn happens(
        &mut self,
        run_id: RunId,
        h: &Happening,
        compiles: Compiles<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), Wrong> {
        match h.name {
            "GoalReceived" | "PlanGenerated" => {
                check!(self.starts.contains_key(&run_id), "nobody asked for it");
                coverage.run_moved("", h.name, "PENDING");
                return Ok(());
            }
            "RunStarted" => {
                coverage.run_moved("", h.name, "PENDING");
                return self.start(run_id, h);
            }
            _ => {}
        }
        let judge = self.judges.remove(&run_id);
        let mut judge = judge.ok_or_else(|| Wrong(format!("{} of a run that did not start", h.name)))?;
        let mut around = Around {
            judges: &self.judges,
            registry: &self.registry,
            shared: &mut self.shared,
            limits: &self.limits,
            position: self.position,
        };
        let followed = judge.follow(h, &mut around, compiles, coverage);
        followed.map_err(|wrong| Wrong(format!("run {run_id}: {wrong}")))?;
        if judge.run.phase == Phase::Ended {
            judge.run.end();
            if let Some(parent) = &judge.parent
                && let Some(above) = self.judges.get_mut(&parent.run)
            {
                above.child_is_done(&judge.run);
            }
            if let Some(expires) = h.payload["key_expires"].as_str().and_then(super::judge::read_time)
                && let Some(key) = self.keys.iter_mut().find(|key| key.run_id == run_id)
            {
                key.expires = expires;
            }
        }
        self.judges.insert(run_id, judge);
        Ok(())
    }

    fn register(&mut self, h: &Happening, compiles: Compiles<'_>) -> Result<(), Wrong> {
        match h.name {
            "WorkflowRegistered" => {
                self.shared.watch(&self.registry.registered(h)?);
                self.sets.registered(h, &self.registry)
            }
            "WorkflowTagged" => {
                self.sets.tagged(h);
                self.registry.tagged(h)
            }
            "WorkflowPatchProposed" => self.sets.proposed(h, &self.registry),
            "WorkflowPatchAccepted" => self.sets.accepted(h, compiles),
            "WorkflowPatchRejected" => self.sets.rejected(h, compiles),
            "WorkflowPatchRolledBack" => self.sets.rolled_back(h, &self.registry, compiles),
            "BreakerChanged" => {
                let (tool, settings) = self.shared.tool(h.text("name"));
                tool.changes(h, self.position, settings)
            }
            "ScheduleChanged" => self.schedules.changed(h),
            "ScheduleFired" => self.schedules.fired(h, &self.judges, self.limits.runs_open_max < 10),
            "Erased" => {
                let run = h.text("run_id");
                let is_open = |(id, _): &(&RunId, &Judge)| run.is_empty() || id.to_string() == run;
                check!(!self.open().any(|judge| is_open(&judge)), "a run that goes on is forgotten");
                Ok(())
            }
            // Which letters are listed is compared when all rests.
            "DeadLetterDropped" => Ok(()),
            _ => Err(Wrong("the oracle does not know this event".into())),
        }
    }

    fn start(&mut self, run_id: RunId, h: &Happening) -> Result<(), Wrong> {
        check!(!self.judges.contains_key(&run_id), "run {run_id} starts twice");
        if let Some(parent) = h.payload["parent_run"].as_str().and_then(RunId::parse) {
            return self.start_child(run_id, parent, h);
        }
        let scheduled;
        let asked = if h.text("schedule").is_empty() {
            self.starts.get(&run_id).ok_or_else(|| Wrong(format!("nobody asked for run {run_id}")))?
        } else {
            scheduled = self.schedules.start(run_id, h)?;
            &scheduled
        };
        let selected = self.drawn(h, &asked.workflow, &asked.selector)?;
        let selected = selected.ok_or_else(|| Wrong(format!("{} is not registered", asked.workflow)))?;
        check!(h.text("workflow") == asked.workflow, "another workflow than {}", asked.workflow);
        check!(h.text("version") == selected.version, "another version than {}", selected.version);
        let replay = self.replays.get(&run_id);
        let overlay = replay.map_or(&[][..], |replay| replay.overlay.as_slice());
        let programs = Programs::new(&selected.version, Rc::clone(&selected.document), overlay);
        let programs = programs.ok_or_else(|| Wrong("its patches do not fit this version".into()))?;
        let said = h.payload["overlay"].as_array().map_or(0, Vec::len);
        check!(said == programs.layers.len(), "it begins with {} patches", programs.layers.len());
        let inputs: Value = serde_json::from_slice(&asked.inputs).map_err(|error| Wrong(error.to_string()))?;
        check!(h.payload["inputs"] == inputs, "other inputs than {inputs}");
        let key = h.text("idempotency_key");
        check!(key == asked.idempotency_key, "another key than {}", asked.idempotency_key);
        if !key.is_empty() {
            let standing = self.keys.iter().find(|other| other.key == key && other.expires > h.time);
            check!(standing.is_none(), "invariant 4: key {key} belongs to run {:?}", standing.map(|key| key.run_id));
            self.keys.push(Key { run_id, key: key.into(), expires: i64::MAX });
        }
        let fidelity = asked.fidelity.map_or("", |fidelity| if fidelity == Fidelity::Fast { "fast" } else { "" });
        check!(h.text("fidelity") == fidelity, "its fidelity is to be {fidelity:?}");
        let offers = self.early.remove(&run_id).unwrap_or_default();
        let mut judge = Judge::new(run_id, programs, inputs, h, offers)?;
        let origin = replay.map_or_else(String::new, |replay| replay.origin.to_string());
        check!(h.text("origin_run") == origin, "it replays {origin}");
        if let Some(replay) = replay {
            check!(h.text("origin_from") == replay.from, "it runs again from {}", replay.from);
            let mode = if replay.kept.is_some() { "freeze" } else { "live" };
            check!(h.text("mode") == mode, "its mode is {mode}");
            judge.kept = replay.kept.clone();
        }
        self.judges.insert(run_id, judge);
        Ok(())
    }

    /// The version that a start comes to: that of its selector, or that of the arm that it names.
    fn drawn(&self, h: &Happening, workflow: &str, selector: &Selector) -> Result<Option<&Version>, Wrong> {
        let arm = h.text("arm");
        let Some((tag, arms, test)) = self.registry.test(workflow, selector) else {
            check!(arm.is_empty(), "the tag has no arms");
            return Ok(self.registry.select(workflow, selector));
        };
        check!(h.text("tag") == tag && h.number("test") == test, "it is of test {test} of the tag {tag}");
        if arm == "control" {
            return Ok(self.registry.select(workflow, selector));
        }
        let text = |arm: &Value, name: &str| arm[name].as_str().unwrap_or_default().to_owned();
        let version = arms.iter().find_map(|part| match (text(part, "version"), text(part, "set")) {
            (version, set) if set.is_empty() => (version == arm).then_some(version),
            (_, set) => {
                let base = text(part, "base_version");
                let head = self.sets.head(workflow, &base, &set).map(Into::into);
                head.filter(|_| format!("{base}+{set}") == arm)
            }
        });
        let version = version.ok_or_else(|| Wrong(format!("there is no arm {arm}")))?;
        Ok(self.registry.version(workflow, &version))
    }

    /// The child of a composite node: as the event of that node said it would be.
    fn start_child(&mut self, run_id: RunId, parent: RunId, h: &Happening) -> Result<(), Wrong> {
        let above = self.judges.get_mut(&parent);
        let above = above.ok_or_else(|| Wrong(format!("{run_id} is of a run that did not start: {parent}")))?;
        let node = h.text("parent_node").to_owned();
        let (workflow, child, inputs) = above.child_begins(&node, &run_id)?;
        check!(h.text("workflow") == workflow && h.text("version") == child, "it is to be {workflow} {child}");
        check!(h.payload["inputs"] == inputs, "its inputs are to be {inputs}");
        let depth = above.depth + 1;
        check!(h.payload["depth"] == depth, "it stands {depth} deep");
        check!((h.text("fidelity") == "fast") == above.is_fast, "it is recorded as its parent");
        let version = self.registry.version(&workflow, &child);
        let programs = version.and_then(|found| Programs::new(&child, Rc::clone(&found.document), &[]));
        let programs = programs.ok_or_else(|| Wrong("a run of a version that is not registered".into()))?;
        let offers = self.early.remove(&run_id).unwrap_or_default();
        let mut judge = Judge::new(run_id, programs, inputs, h, offers)?;
        judge.parent = Some(Parent { run: parent, node });
        judge.depth = depth;
        self.judges.insert(run_id, judge);
        Ok(())
    }

    /// What comes of a change that is wished for now.
    pub(crate) fn fate(&self, run_id: &RunId, wish: &Wish, compiles: Compiles<'_>) -> Option<Fate> {
        let beside = Beside { judges: &self.judges, registry: &self.registry, limits: &self.limits, compiles };
        Some(self.judges.get(run_id)?.fate(wish, beside))
    }

    /// What runs that rest must do together: who is first in line for a free key gets it, a child that nobody needs ends.
    pub(crate) fn moves(&self) -> Vec<String> {
        let mut moves = Vec::new();
        let runs = || self.judges.values().map(|judge| &judge.run).filter(|run| run.phase != Phase::Ended);
        let keys: BTreeSet<&str> = runs().flat_map(|run| run.awaited_keys()).collect();
        for key in keys {
            if holder(runs(), key).is_none()
                && let Some((_, run, node)) = line(runs(), key).first()
            {
                moves.push(format!("{node} of run {run} gets the key {key}"));
            }
        }
        for (run_id, judge) in self.judges.iter().filter(|(_, judge)| judge.run.phase == Phase::Running) {
            let above = judge.parent.as_ref().and_then(|parent| self.judges.get(&parent.run));
            // One that is paused asks its children to end once it goes on.
            let above = above.filter(|above| !above.run.paused && above.gave_up(run_id).is_some());
            if let Some(above) = above {
                let (below, above) = (judge.tail(), above.tail());
                moves.push(format!("run {run_id} ends: nobody needs it\n{below}\nits parent:\n{above}"));
            }
        }
        moves
    }

    /// What is offered to a run.
    pub(crate) fn offers(&mut self, run_id: RunId) -> &mut Offers {
        match self.judges.get_mut(&run_id) {
            Some(judge) => &mut judge.offers,
            None => self.early.entry(run_id).or_default(),
        }
    }

    /// What was offered was taken, or has changed nothing.
    pub(crate) fn forget_offers(&mut self) {
        self.early.clear();
        self.shared.published.clear();
        self.sets.wanted.clear();
        for judge in self.judges.values_mut() {
            // A sign of life may be recorded later: where a second has passed, or the attempt ends.
            let beats = std::mem::take(&mut judge.offers.beats);
            judge.offers = Offers { beats, ..Offers::default() };
        }
    }

    /// A new owner: what nobody recorded was never told, jobs will be handed out again.
    pub(crate) fn change_owner(&mut self) {
        self.forget_offers();
        for judge in self.judges.values_mut() {
            judge.offers.beats.clear();
            judge.handed_out.clear();
            judge.answering = None;
            if judge.run.phase == Phase::Failing {
                judge.lost.extend(judge.run.in_flight());
            }
        }
    }

    /// Runs that have not ended.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&RunId, &Judge)> {
        self.judges.iter().filter(|(_, judge)| judge.run.phase != Phase::Ended)
    }
}

fn event_name(name: &str) -> Option<&'static str> {
    (0..=u8::MAX).filter_map(type_name).find(|known| *known == name)
}
