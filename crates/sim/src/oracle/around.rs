//! What a run meets that is not its own: other runs, the registry, the tools that all runs share.

use super::breakers::Tool;
use super::definition::{Breaker, Graph};
use super::judge::Judge;
use super::registry::Registry;
use super::run::Run;
use apex_machine::Limits;
use apex_machine::RunId;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An event for all runs that wait for it.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) payload: Value,
    pub(crate) key: String,
    /// Runs that took it.
    pub(crate) taken: BTreeSet<RunId>,
}

/// What all runs share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// When the next call of a tool is in time, at its full rate.
    pub(crate) rates: BTreeMap<String, i64>,
    /// What breakers know of tools.
    pub(crate) tools: BTreeMap<String, Tool>,
    pub(crate) published: Vec<Published>,
    /// Settings of breakers, by the tool that they watch.
    breakers: BTreeMap<String, Vec<Breaker>>,
}

impl Shared {
    /// The breakers of a definition that is there now.
    pub(crate) fn watch(&mut self, graph: &Graph) {
        graph.each_node(&mut |node| {
            if let (Some(breaker), Some(name)) = (&node.breaker, node.config["name"].as_str()) {
                self.breakers.entry(name.into()).or_default().push(breaker.clone());
            }
        });
    }

    /// The breaker of a tool, and the settings that it may have.
    pub(crate) fn tool(&mut self, name: &str) -> (&mut Tool, &[Breaker]) {
        let settings = self.breakers.get(name).map_or(&[][..], Vec::as_slice);
        (self.tools.entry(name.into()).or_default(), settings)
    }
}

/// All of it, while one event of one run is followed.
pub(crate) struct Around<'a> {
    /// All other runs.
    pub(crate) judges: &'a BTreeMap<RunId, Judge>,
    pub(crate) registry: &'a Registry,
    pub(crate) shared: &'a mut Shared,
    pub(crate) limits: &'a Limits,
    /// Of the event, in the log.
    pub(crate) position: u64,
}

impl Around<'_> {
    pub(crate) fn run(&self, id: &RunId) -> Option<&Run> {
        self.judges.get(id).map(|judge| &judge.run)
    }

    /// All runs, with the one that is followed.
    fn runs<'s>(&'s self, own: &'s Run) -> impl Iterator<Item = &'s Run> {
        self.judges.values().map(|judge| &judge.run).chain([own])
    }

    /// Who holds a key.
    pub(crate) fn holder(&self, own: &Run, key: &str) -> Option<(RunId, String)> {
        holder(self.runs(own), key)
    }

    /// Who stands in line for it, first come first.
    pub(crate) fn line(&self, own: &Run, key: &str) -> Vec<(u64, RunId, String)> {
        line(self.runs(own), key)
    }
}

/// Who holds a key.
pub(crate) fn holder<'r>(mut runs: impl Iterator<Item = &'r Run>, key: &str) -> Option<(RunId, String)> {
    runs.find_map(|run| {
        let node = run.held.iter().find(|(_, held)| *held == key)?.0;
        Some((run.id, node.clone()))
    })
}

/// Who stands in line for a key, first come first.
pub(crate) fn line<'r>(runs: impl Iterator<Item = &'r Run>, key: &str) -> Vec<(u64, RunId, String)> {
    let mut line: Vec<_> =
        runs.flat_map(|run| run.lines(key).map(|(at, node)| (at, run.id, node)).collect::<Vec<_>>()).collect();
    line.sort();
    line
}
