//! What a run goes on under: a version, and the patches in force. What has begun stays as it is; all else follows from
//! what has happened and from the definition in force (docs/decisions/0009, Migration; 0015; 0017).

use super::around::Around;
use super::definition::Graph;
use super::judge::{Happening, Judge};
use super::parts::{Change, Parts};
use super::patches::{Held, Patch, node_of};
use super::registry::Registry;
use super::run::{Phase, Verdict};
use crate::coverage::Coverage;
use crate::wrong::{Wrong, check};
use apex_machine::command::{Grant, Selector};
use apex_machine::{Limits, RunId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Members of a node that say how it is to be tried from now on, and nothing about what it did.
const POLICIES: [&str; 7] =
    ["retry", "timeout_s", "schedule_to_close_s", "heartbeat_timeout_s", "priority", "breaker", "correction"];

/// An output up to this size is kept whole where any of it is read.
const WHOLE_BYTES: usize = 256;

/// A compiler: whether it takes a definition.
pub(crate) type Compiles<'c> = &'c dyn Fn(&Value) -> bool;

/// What decides beside the run itself.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) judges: &'a BTreeMap<RunId, Judge>,
    pub(crate) registry: &'a Registry,
    pub(crate) limits: &'a Limits,
    pub(crate) compiles: Compiles<'a>,
}

/// A patch that a run took.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) number: u64,
    pub(super) changes: Rc<Vec<Change>>,
    pub(crate) epoch: u64,
    /// In which epoch it was dropped.
    pub(crate) dropped: Option<u64>,
    pub(super) asked: Rc<Patch>,
}

/// A change of the definition that was offered to a run.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Patch(Patch),
    /// About one that was held for a person. With what its author may by then.
    Decide {
        number: u64,
        approve: bool,
        grant: Grant,
    },
    RollBack {
        number: u64,
    },
    Migrate {
        selector: Selector,
    },
}

/// What a wish makes of a run.
#[derive(Debug)]
pub(crate) struct Made {
    pub(super) document: Value,
    pub(super) layers: Vec<Layer>,
    /// The version and its definition, where the run moves.
    pub(super) version: Option<(String, Rc<Value>)>,
}

/// What comes of a wish: another definition, a patch that waits for a person or that one has rejected, nothing (it holds
/// already), or the codes that it may be refused with.
#[derive(Debug)]
pub(crate) enum Fate {
    Made(Box<Made>),
    Held(Box<Held>),
    Rejected,
    Stands,
    Refused(BTreeSet<&'static str>),
}

/// The definitions of a run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) version: String,
    /// Of the version.
    pub(super) base: Rc<Value>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) held: Vec<Held>,
    /// Of a patch of this run; those that were refused in a result have one, too.
    pub(crate) last_number: u64,
    /// By epoch.
    documents: Vec<Rc<Value>>,
    /// The epoch of the last migration.
    pub(super) migrated: u64,
    /// In which epoch each node of the workflow's own graph was decided.
    decided_in: BTreeMap<String, u64>,
}

impl Programs {
    /// Those of a run that starts, with the patches of the run that it replays.
    pub(crate) fn new(version: &str, base: Rc<Value>, overlay: &[Layer]) -> Option<Programs> {
        let layers = overlay.iter().filter(|layer| layer.dropped.is_none()).cloned();
        let layers: Vec<Layer> = layers.map(|layer| Layer { number: 0, epoch: 0, ..layer }).collect();
        let document = Rc::new(materialized(&base, &layers)?);
        let (version, documents) = (version.to_owned(), vec![document]);
        let (held, decided_in) = (Vec::new(), BTreeMap::new());
        Some(Programs { version, base, layers, held, last_number: 0, documents, migrated: 0, decided_in })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.documents.len() as u64 - 1
    }

    /// The definition in force.
    pub(crate) fn document(&self) -> &Rc<Value> {
        &self.documents[self.documents.len() - 1]
    }

    /// The definition of an epoch, or of the last one before.
    pub(crate) fn at(&self, epoch: u64) -> &Value {
        &self.documents[epoch.min(self.epoch()) as usize]
    }

    pub(crate) fn graph(&self) -> Graph {
        Graph::of(self.document())
    }
}

/// What layers in force make of a version.
pub(super) fn materialized(base: &Value, layers: &[Layer]) -> Option<Value> {
    let mut parts = Parts::of(base);
    layers.iter().filter(|layer| layer.dropped.is_none()).try_for_each(|layer| parts.apply(&layer.changes))?;
    Some(parts.document())
}

pub(super) fn refused(code: &'static str) -> Fate {
    Fate::Refused(BTreeSet::from([code]))
}

impl Judge {
    /// What comes of a wish now.
    pub(crate) fn fate(&self, wish: &Wish, beside: Beside<'_>) -> Fate {
        if self.run.phase == Phase::Ended {
            return Fate::Refused(BTreeSet::from(["RUN_ENDED", "RUN_NOT_FOUND"]));
        }
        match wish {
            Wish::Patch(patch) => self.fate_of_patch(patch, beside),
            Wish::Decide { number, approve, grant } => self.fate_of_decision(*number, *approve, grant, beside),
            Wish::RollBack { number } => self.fate_of_rollback(*number, beside),
            Wish::Migrate { selector } => self.fate_of_migration(selector, beside),
        }
    }

    /// Whether the definition of a run is fixed, whatever is asked for.
    pub(super) fn is_fixed(&self, beside: Beside<'_>) -> bool {
        let above = self.parent.as_ref().and_then(|parent| beside.judges.get(&parent.run)).map(|above| &above.run);
        let is_told = above.is_some_and(|above| above.phase != Phase::Ended && above.ending.contains_key(&self.run.id));
        self.run.phase != Phase::Running || self.kept.is_some() || is_told
    }

    fn fate_of_migration(&self, selector: &Selector, beside: Beside<'_>) -> Fate {
        let workflow = self.history[0].text("workflow");
        let Some(found) = beside.registry.select(workflow, selector) else { return refused("WORKFLOW_NOT_FOUND") };
        if found.version == self.programs.version {
            return Fate::Stands;
        }
        if self.parent.is_some() || self.is_fixed(beside) {
            return refused("WRONG_STATE");
        }
        let layers = self.programs.layers.clone();
        match materialized(&found.document, &layers).filter(|document| (beside.compiles)(document)) {
            Some(document) => {
                let version = Some((found.version.clone(), Rc::clone(&found.document)));
                self.if_it_fits(document, layers, version, "VERSION_INCOMPATIBLE")
            }
            None => refused("VERSION_INCOMPATIBLE"),
        }
    }

    /// Another definition, where the run can go on under it; else the code.
    pub(super) fn if_it_fits(
        &self,
        document: Value,
        layers: Vec<Layer>,
        version: Option<(String, Rc<Value>)>,
        code: &'static str,
    ) -> Fate {
        match self.misfit(&document) {
            Some(_) => refused(code),
            None => Fate::Made(Box::new(Made { document, layers, version })),
        }
    }

    /// Nodes of the workflow's own graph that something was heard of.
    pub(crate) fn begun(&self) -> BTreeSet<String> {
        let root = self.run.root();
        let held = self.run.held.keys().filter(|node| !node.contains('['));
        root.decided.keys().chain(root.work.keys()).chain(held).cloned().collect()
    }

    /// Why the run cannot go on under a definition.
    pub(super) fn misfit(&self, document: &Value) -> Option<String> {
        let (old, new) = (&**self.programs.document(), document);
        let (old_graph, new_graph) = (Graph::of(old), Graph::of(new));
        let root = self.run.root();
        for id in self.begun() {
            let (Some(before), Some(after)) = (root_node(old, &id), root_node(new, &id)) else {
                return Some(format!("{id} has begun, and is gone"));
            };
            if said(before) != said(after) || edges_into(old, &id) != edges_into(new, &id) {
                return Some(format!("{id} has begun, and is another one"));
            }
            let takes_back = |of: &Graph, other: &Graph| -> BTreeSet<String> {
                let rest = of.nodes.keys().filter(|rest| **rest != id && of.only_leads_to(rest, &id));
                rest.filter(|rest| other.nodes.contains_key(*rest)).cloned().collect()
            };
            if new_graph.nodes[&id].cancel_rest
                && takes_back(&old_graph, &new_graph) != takes_back(&new_graph, &old_graph)
            {
                return Some(format!("{id} has begun, and would take back others"));
            }
            let Some(verdict) = root.decided.get(&id).filter(|verdict| verdict.status != "skipped") else { continue };
            let has_failed = verdict.status == "failed";
            if guards(old, &id, has_failed) != guards(new, &id, has_failed) {
                return Some(format!("{id} is decided, and guards of edges out of it are others"));
            }
            if !has_failed && !self.is_kept(&id, verdict, new) {
                return Some(format!("{id} is decided, and more of its output is read"));
            }
        }
        None
    }

    /// Whether what a definition reads of the output of a node was kept.
    fn is_kept(&self, id: &str, verdict: &Verdict, new: &Value) -> bool {
        let then = reads(self.programs.at(self.programs.decided_in.get(id).copied().unwrap_or(0)), id);
        let bytes = verdict.output.as_ref().map_or(0, |output| output.to_string().len());
        if then.contains(&Vec::new()) || (!then.is_empty() && bytes <= WHOLE_BYTES) {
            return true;
        }
        let kept = reads(self.programs.document(), id);
        reads(new, id).iter().all(|path| kept.iter().any(|kept| path.starts_with(kept)))
    }

    /// A node of the workflow's own graph is decided now.
    pub(super) fn note_decided(&mut self) {
        let epoch = self.programs.epoch();
        for id in self.run.scopes[""].decided.keys() {
            if !self.programs.decided_in.contains_key(id) {
                self.programs.decided_in.insert(id.clone(), epoch);
            }
        }
    }

    /// The wish that an event grants, which is one less.
    fn wish_of(&mut self, h: &Happening, registry: &Registry) -> Result<Wish, Wrong> {
        // Of a patch that was held a person says so; one in a result is refused with a code.
        let by_person = h.flag("approved") || (h.name == "PatchRejected" && h.text("code").is_empty());
        let author = h.text("author");
        if let (Some(instance), false) = (node_of(author), by_person) {
            return self.patch_told(h, instance);
        }
        let is_it = |wish: &Wish| match (h.name, wish) {
            ("PatchApplied" | "PatchRejected", Wish::Decide { number, approve, .. }) => {
                by_person && *number == h.number("number") && *approve == (h.name == "PatchApplied")
            }
            ("PatchApplied" | "PatchProposed", Wish::Patch(patch)) => {
                let is_mine = patch.author == author && patch.key == h.text("idempotency_key");
                !by_person && is_mine && patch.operations == h.payload["patch"]
            }
            ("PatchRolledBack", Wish::RollBack { number }) => *number == h.number("number"),
            ("RunMigrated", Wish::Migrate { selector }) => {
                let found = registry.select(self.history[0].text("workflow"), selector);
                found.is_some_and(|found| found.version == h.text("version"))
            }
            _ => false,
        };
        let wish = self.offers.wish.take_if(|wish| is_it(wish));
        wish.ok_or_else(|| Wrong("nobody asked for it".into()))
    }

    /// Something is decided about the definition of the run: what a wish makes of it.
    pub(super) fn decides(
        &mut self,
        h: &Happening,
        around: &mut Around<'_>,
        compiles: Compiles<'_>,
        coverage: &mut Coverage,
    ) -> Result<(), Wrong> {
        let wish = self.wish_of(h, around.registry)?;
        self.note_patch(h, &wish, coverage);
        let Around { judges, registry, limits, .. } = around;
        let fate = self.fate(&wish, Beside { judges, registry, limits, compiles });
        match fate {
            Fate::Made(made) if !matches!(h.name, "PatchProposed" | "PatchRejected") => {
                self.goes_on_under(h, around, &wish, *made)
            }
            Fate::Refused(codes) if h.name != "PatchRejected" => {
                let wanted = self.wanted(&wish).and_then(|document| self.misfit(&document));
                Err(Wrong(format!("invariant 7: it is to be refused by {codes:?}: {wanted:?}")))
            }
            fate => self.patch_decided(h, around, &wish, fate),
        }
    }

    fn goes_on_under(&mut self, h: &Happening, around: &mut Around<'_>, wish: &Wish, made: Made) -> Result<(), Wrong> {
        let epoch = self.programs.epoch() + 1;
        check!(h.number("epoch") == epoch, "the epoch is to be {epoch}");
        let last = made.layers.last();
        if let (Some(layer), Wish::Patch(_) | Wish::Decide { .. }) = (last, wish) {
            let (number, asked) = (layer.number, &layer.asked);
            check!(h.number("number") == number, "it is patch {number}");
            check!(h.text("author") == asked.author, "it is by {}", asked.author);
            // One that was held was made on an epoch at the latest that it was held in.
            let held = self.programs.held.iter().find(|held| held.number == number);
            let base_epoch = asked.base_epoch.unwrap_or_else(|| held.map_or(epoch - 1, |held| held.epoch));
            check!(h.payload["base_epoch"] == json!(base_epoch), "it was made on epoch {base_epoch}");
            self.programs.held.retain(|held| held.number != number);
            self.programs.last_number = self.programs.last_number.max(number);
        }
        let graph = Rc::new(Graph::of(&made.document));
        check!(h.payload["nodes_total"] == json!(graph.nodes.len()), "it has {} nodes", graph.nodes.len());
        self.run.due = graph.timeout_ns.map(|timeout| self.history[0].time + timeout);
        check!(h.due() == self.run.due, "the run is due at {:?}, to be {:?}", h.due(), self.run.due);
        if let Some((version, base)) = made.version {
            check!(h.text("previous_version") == self.programs.version, "it ran {}", self.programs.version);
            (self.programs.version, self.programs.base, self.programs.migrated) = (version, base, epoch);
        }
        self.programs.layers = made.layers;
        self.programs.documents.push(Rc::new(made.document));
        around.shared.watch(&graph);
        self.relay(graph);
        Ok(())
    }

    /// What a patch wants, for messages.
    fn wanted(&self, wish: &Wish) -> Option<Value> {
        match wish {
            Wish::Patch(patch) => patch.document.clone(),
            _ => None,
        }
    }

    /// Tokens and what is taken back, of what has happened and of another graph.
    fn relay(&mut self, graph: Rc<Graph>) {
        let Some(root) = self.run.scopes.get_mut("") else { return };
        let old = std::mem::replace(&mut root.graph, Rc::clone(&graph));
        let settled = |edge: &super::definition::Edge| -> Option<bool> {
            let verdict = root.decided.get(&edge.from)?;
            let is_same = |before: &&super::definition::Edge| **before == *edge;
            match old.edges.iter().position(|before| is_same(&before)) {
                Some(at) => root.tokens[at],
                None => Some(verdict.status == if edge.on_error { "failed" } else { "ok" }),
            }
        };
        let tokens = graph.edges.iter().map(settled).collect();
        root.tokens = tokens;
        let mut doomed = BTreeSet::new();
        for (id, _) in graph.nodes.iter().filter(|(_, node)| node.cancel_rest) {
            let has_begun = root.work.contains_key(id)
                || self.run.held.contains_key(id)
                || root.decided.get(id).is_some_and(|verdict| verdict.status != "skipped");
            let rest = graph.nodes.keys().filter(|rest| has_begun && *rest != id && graph.only_leads_to(rest, id));
            doomed
                .extend(rest.filter(|rest| !root.decided.contains_key(*rest) || root.doomed.contains(*rest)).cloned());
        }
        root.doomed = doomed;
        self.graph = graph;
    }
}

fn list<'d>(document: &'d Value, name: &str) -> impl Iterator<Item = &'d Value> {
    document[name].as_array().into_iter().flatten()
}

/// A node of the workflow's own graph.
fn root_node<'d>(document: &'d Value, id: &str) -> Option<&'d Value> {
    list(document, "nodes").find(|node| node["id"] == id)
}

/// What a node says but for how it is tried. Of a body the order of its lists does not matter.
fn said(node: &Value) -> (Value, Parts) {
    let mut said = node.clone();
    let mut body = Value::Null;
    if let Some(members) = said.as_object_mut() {
        members.retain(|name, _| !POLICIES.contains(&name.as_str()));
        body = members.get_mut("config").and_then(|config| config.get_mut("body")).map(Value::take).unwrap_or_default();
    }
    (said, Parts::of(&body))
}

fn edges_into(document: &Value, id: &str) -> Vec<String> {
    let mut edges: Vec<String> =
        list(document, "edges").filter(|edge| edge["to"] == id).map(Value::to_string).collect();
    edges.sort();
    edges
}

/// Edges with a guard that a node with this outcome takes.
fn guards(document: &Value, from: &str, has_failed: bool) -> BTreeSet<String> {
    let takes =
        |edge: &&Value| edge["from"] == from && (edge["on"] == "error") == has_failed && edge.get("when").is_some();
    list(document, "edges").filter(takes).map(Value::to_string).collect()
}

/// Paths of the output of a node that a definition reads; an empty one is all of it.
fn reads(document: &Value, id: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let is_leaf = list(document, "edges").all(|edge| edge["from"] != id);
    if is_leaf && document.get("output").is_none() {
        found.insert(Vec::new());
    }
    read_in(document, &format!("nodes.{id}.output"), &mut found);
    found
}

fn read_in(value: &Value, name: &str, found: &mut BTreeSet<Vec<String>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| read_in(item, name, found)),
        Value::Object(members) => members.values().for_each(|member| read_in(member, name, found)),
        Value::String(text) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            for (at, _) in text.match_indices(name) {
                let rest = &text[at + name.len()..];
                let path = rest.split(|c: char| !is_name(c) && c != '.').next().unwrap_or_default();
                found.insert(path.split('.').skip(1).map(Into::into).collect());
            }
        }
        _ => {}
    }
}
