//! All durable records, in order: their numbers and hashes, the registry, the keys, and a judge for each run.

use super::definition::Graph;
use super::judge::{Happening, Judge, Offers};
use super::run::Phase;
use crate::coverage::Coverage;
use crate::wrong::{Wrong, check};
use apex_machine::command::{Selector, StartRun};
use apex_machine::record::{NONE, verify_chain};
use apex_machine::render::{payload_json, type_name};
use apex_machine::{Header, RunId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where the records of a run (or of the registry) stand.
#[derive(Debug, Clone, Default)]
struct Chain {
    next: u64,
    head: u64,
    hash: [u8; 32],
}

/// A version of a workflow.
struct Version {
    version: String,
    graph: Rc<Graph>,
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
    versions: BTreeMap<String, Vec<Version>>,
    tags: BTreeMap<(String, String), String>,
    pub(crate) judges: BTreeMap<RunId, Judge>,
    /// In the order of their runs; a key may be taken again when its time is over.
    pub(crate) keys: Vec<Key>,
    /// What was offered to runs whose start is not durable yet.
    early: BTreeMap<RunId, Offers>,
    /// Starts that were asked for.
    pub(crate) starts: BTreeMap<RunId, StartRun>,
}

impl Ledger {
    /// Follows one durable record.
    pub(crate) fn follow(&mut self, body: &[u8], coverage: &mut Coverage) -> Result<(), Wrong> {
        let position = self.position;
        self.read(body, coverage).map_err(|wrong| Wrong(format!("record {position}: {wrong}")))?;
        self.position += 1;
        Ok(())
    }

    fn read(&mut self, body: &[u8], coverage: &mut Coverage) -> Result<(), Wrong> {
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
        let happening = Happening { offset: header.run_seq, name, time: header.time_ns, payload };
        if header.run_id == RunId::REGISTRY {
            return self.register(&happening);
        }
        match name {
            "GoalReceived" | "PlanGenerated" => {
                check!(self.starts.contains_key(&header.run_id), "nobody asked for it");
                coverage.run_moved("", name, "PENDING");
                Ok(())
            }
            "RunStarted" => {
                coverage.run_moved("", name, "PENDING");
                self.start(header.run_id, &happening)
            }
            _ => {
                let judge = self.judges.get_mut(&header.run_id);
                let judge = judge.ok_or_else(|| Wrong(format!("{name} of a run that did not start")))?;
                if judge.is_beyond {
                    judge.history.push(happening.clone());
                    if matches!(name, "WorkflowCompleted" | "WorkflowFailed") {
                        judge.run.phase = Phase::Ended;
                    }
                } else {
                    judge
                        .follow(&happening, coverage)
                        .map_err(|wrong| Wrong(format!("run {}: {wrong}", header.run_id)))?;
                }
                if judge.run.phase == Phase::Ended
                    && let Some(expires) = happening.payload["key_expires"].as_str().and_then(super::judge::read_time)
                    && let Some(key) = self.keys.iter_mut().find(|key| key.run_id == header.run_id)
                {
                    key.expires = expires;
                }
                Ok(())
            }
        }
    }

    fn register(&mut self, h: &Happening) -> Result<(), Wrong> {
        let (name, version) = (h.text("name").to_owned(), h.text("version").to_owned());
        match h.name {
            "WorkflowRegistered" => {
                let versions = self.versions.entry(name).or_default();
                check!(versions.iter().all(|other| other.version != version), "version {version} is there already");
                versions.push(Version { version, graph: Rc::new(Graph::of(&h.payload["definition"])) });
            }
            "WorkflowTagged" => {
                let is_there = self.version(&name, &version).is_some();
                check!(is_there, "a tag of version {version}, which is not there");
                let before = self.tags.insert((name, h.text("tag").to_owned()), version).unwrap_or_default();
                check!(before == h.text("previous_version"), "it pointed at {before}");
            }
            _ => {}
        }
        Ok(())
    }

    fn version(&self, name: &str, version: &str) -> Option<&Version> {
        self.versions.get(name)?.iter().find(|known| known.version == version)
    }

    /// The version that a selector names now.
    fn select(&self, name: &str, selector: &Selector) -> Option<&Version> {
        let tagged = |tag: &str| self.tags.get(&(name.to_owned(), tag.to_owned()));
        match selector {
            Selector::Version(version) => self.version(name, version),
            Selector::Tag(tag) => self.version(name, tagged(tag)?),
            Selector::Latest => match tagged("main") {
                Some(version) => self.version(name, version),
                None => self.versions.get(name)?.last(),
            },
        }
    }

    fn start(&mut self, run_id: RunId, h: &Happening) -> Result<(), Wrong> {
        check!(!self.judges.contains_key(&run_id), "run {run_id} starts twice");
        if let Some(parent) = h.payload["parent_run"].as_str().and_then(RunId::parse) {
            return self.start_child(run_id, parent, h);
        }
        let asked = self.starts.get(&run_id).ok_or_else(|| Wrong(format!("nobody asked for run {run_id}")))?;
        let selected = self.select(&asked.workflow, &asked.selector);
        let selected = selected.ok_or_else(|| Wrong(format!("{} is not registered", asked.workflow)))?;
        check!(h.text("workflow") == asked.workflow, "another workflow than {}", asked.workflow);
        check!(h.text("version") == selected.version, "another version than {}", selected.version);
        let graph = Rc::clone(&selected.graph);
        let inputs: Value = serde_json::from_slice(&asked.inputs).map_err(|error| Wrong(error.to_string()))?;
        check!(h.payload["inputs"] == inputs, "other inputs than {inputs}");
        let key = h.text("idempotency_key");
        check!(key == asked.idempotency_key, "another key than {}", asked.idempotency_key);
        if !key.is_empty() {
            let standing = self.keys.iter().find(|other| other.key == key && other.expires > h.time);
            check!(standing.is_none(), "invariant 4: key {key} belongs to run {:?}", standing.map(|key| key.run_id));
            self.keys.push(Key { run_id, key: key.into(), expires: i64::MAX });
        }
        let judge = Judge::new(graph, inputs, h, self.early.remove(&run_id).unwrap_or_default())?;
        self.judges.insert(run_id, judge);
        Ok(())
    }

    /// A run of a run. What goes between the two is beyond the oracle: of a child, and of a run that has one, it checks
    /// what holds for all records, that nothing acts or answers too early, and that it ends.
    fn start_child(&mut self, run_id: RunId, parent: RunId, h: &Happening) -> Result<(), Wrong> {
        let known = self.judges.get(&parent);
        check!(known.is_some_and(|judge| judge.is_beyond), "{parent} did not say that it starts {run_id}");
        let version = self.version(h.text("workflow"), h.text("version"));
        let graph = version.map(|version| Rc::clone(&version.graph));
        let graph = graph.ok_or_else(|| Wrong("a run of a version that is not registered".into()))?;
        let mut judge = Judge::new(graph, h.payload["inputs"].clone(), h, Offers::default())?;
        judge.is_beyond = true;
        self.judges.insert(run_id, judge);
        Ok(())
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
