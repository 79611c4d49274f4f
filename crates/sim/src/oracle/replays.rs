//! Replays. A run that keeps what another one gave is judged like any other; what it says that it copied must be what the
//! other one gave, and what it is to keep must not be asked for again.

use super::definition::Graph;
use super::judge::{Happening, Judge};
use super::programs::Layer;
use super::run::{Readiness, Verdict, Work, split};
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use std::collections::{BTreeMap, BTreeSet};

/// A replay that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    pub(crate) origin: RunId,
    pub(crate) from: String,
    /// What nodes gave that do not run again; `None`: everything runs.
    pub(crate) kept: Option<BTreeMap<String, Verdict>>,
    /// Its patches.
    pub(crate) overlay: Vec<Layer>,
}

/// A node and what comes after it.
fn after<'g>(graph: &'g Graph, from: &'g str) -> BTreeSet<&'g str> {
    let mut found = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for edge in graph.edges.iter().filter(|edge| edge.from == node) {
            if found.insert(&edge.to) {
                next.push(&edge.to);
            }
        }
    }
    found
}

/// The node of the workflow's own graph that an instance is, or stands in.
fn root_of(instance: &str) -> &str {
    instance.split('[').next().unwrap_or_default()
}

impl Judge {
    /// What a replay under a graph keeps, from a node of the workflow's own graph.
    pub(crate) fn kept_from(&self, from: &str, graph: &Graph) -> BTreeMap<String, Verdict> {
        let again = if from.is_empty() { graph.nodes.keys().map(String::as_str).collect() } else { after(graph, from) };
        let mut kept = BTreeMap::new();
        for (prefix, scope) in &self.run.scopes {
            for (id, verdict) in &scope.decided {
                let instance = format!("{prefix}{id}");
                let comes_from_outside = !matches!(scope.graph.nodes[id].kind.as_str(), "join" | "map" | "loop");
                if comes_from_outside && verdict.status != "skipped" && !again.contains(root_of(&instance)) {
                    kept.insert(instance, verdict.clone());
                }
            }
        }
        kept
    }

    /// A node gives what it gave in the origin.
    pub(super) fn copied(&mut self, h: &Happening) -> Result<(), Wrong> {
        let instance = h.text("node").to_owned();
        match self.run.work(&instance) {
            Some(Work::Turn { due, before: None }) => {
                check!(h.time >= *due && !self.is_over(&instance), "its turn has not come");
                self.awake()?;
            }
            _ => self.ready(&instance, Readiness::Start)?,
        }
        let kept = self.kept.as_ref().and_then(|kept| kept.get(&instance)).cloned();
        let kept = kept.ok_or_else(|| {
            let kept = self.kept.as_ref().map(|kept| kept.keys().collect::<Vec<_>>());
            Wrong(format!("{instance} runs again; kept are {kept:?}"))
        })?;
        let error = kept.error.as_ref().map_or("", |(kind, _)| kind.as_str());
        let status = if h.name == "ToolResultReceived" { h.text("status") } else { "ok" };
        check!((status == "ok") == (kept.status == "ok") && h.error_type() == error, "it gave {kept:?}");
        if let Some(output) = &kept.output {
            check!(h.payload["output"] == *output, "it gave {output}");
        }
        self.run.begin(&instance)?;
        self.settle(h, kept)
    }

    /// What is kept is not asked for again.
    pub(super) fn is_asked_again(&self, instance: &str) -> Result<(), Wrong> {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(instance));
        let is_kept = kept.is_some_and(|kept| kept.status == "ok");
        let (_, id) = split(instance);
        check!(!is_kept, "{id} gave {kept:?} in the run that this one replays, and is to keep it");
        Ok(())
    }
}
