//! A definition as a graph that can be asked, and a copy of it that can be changed.
//!
//! What is asked is the definition as it was given. After a change around some nodes those are *touched*, and a pass
//! leaves them alone: the host asks again with what came out, until there is nothing more to find.

use crate::input::{Edge, Effect, Input, Node, Observed, Read};
use crate::patch::{Expected, Finding, Patch, operations};
use crate::rename::{in_expression, in_templates};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Index of a node in [`crate::input::Facts::nodes`].
pub type NodeIx = usize;
/// Index of an edge in [`crate::input::Facts::edges`].
pub type EdgeIx = usize;

/// Who reads a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A node.
    Node(NodeIx),
    /// The guard of an edge.
    Edge(EdgeIx),
    /// The output of the workflow or of a body.
    Output(usize),
}

/// A node or an edge that was not there.
#[derive(Debug)]
struct Added<'i> {
    owner: Option<&'i str>,
    list: &'static str,
    value: Value,
}

/// A definition under change.
#[derive(Debug)]
pub struct Graph<'i> {
    input: &'i Input,
    by_id: HashMap<&'i str, NodeIx>,
    into: Vec<Vec<EdgeIx>>,
    out: Vec<Vec<EdgeIx>>,
    readers: Vec<Vec<Reader>>,
    /// Takes part in a race: which of two comes first decides something, so nothing about it may change.
    raced: Vec<bool>,
    touched: HashSet<NodeIx>,
    /// The nodes of each graph, by the map or loop whose body it is.
    members: HashMap<Option<&'i str>, Vec<NodeIx>>,
    /// The graphs that state what they give.
    stated: HashSet<Option<&'i str>>,
    /// The definition with what was changed in its place; `added`, `gone_nodes` and `gone_edges` come on top.
    after: Value,
    added: Vec<Added<'i>>,
    /// Where the copies of an edge stand in `added`.
    copies: HashMap<EdgeIx, Vec<usize>>,
    gone_nodes: HashSet<NodeIx>,
    /// How many of the nodes of a graph.
    gone_of: HashMap<Option<&'i str>, usize>,
    gone_edges: HashSet<EdgeIx>,
    findings: Vec<Finding>,
    expected: Expected,
}

impl<'i> Graph<'i> {
    /// The graph of an input.
    #[must_use]
    pub fn new(input: &'i Input) -> Self {
        let facts = &input.facts;
        let count = facts.nodes.len();
        let by_id: HashMap<&str, NodeIx> = facts.nodes.iter().enumerate().map(|(ix, node)| (&*node.id, ix)).collect();
        let (mut into, mut out) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (ix, edge) in facts.edges.iter().enumerate() {
            if let (Some(&from), Some(&to)) = (by_id.get(&*edge.from), by_id.get(&*edge.to)) {
                out[from].push(ix);
                into[to].push(ix);
            }
        }
        let mut readers = vec![Vec::new(); count];
        let mut note = |reads: &[Read], reader: Reader| {
            for node in reads.iter().filter_map(|read| by_id.get(read.node.as_deref()?)) {
                readers[*node].push(reader);
            }
        };
        facts.nodes.iter().enumerate().for_each(|(ix, node)| note(&node.reads, Reader::Node(ix)));
        facts.edges.iter().enumerate().for_each(|(ix, edge)| note(&edge.reads, Reader::Edge(ix)));
        facts.outputs.iter().enumerate().for_each(|(ix, output)| note(&output.reads, Reader::Output(ix)));
        let mut members: HashMap<_, Vec<NodeIx>> = HashMap::new();
        for (ix, node) in facts.nodes.iter().enumerate() {
            members.entry(node.body_of.as_deref()).or_default().push(ix);
        }
        let mut graph = Self {
            input,
            by_id,
            into,
            out,
            readers,
            raced: vec![false; count],
            touched: HashSet::new(),
            members,
            stated: facts.outputs.iter().filter(|one| one.stated).map(|one| one.of.as_deref()).collect(),
            added: Vec::new(),
            copies: HashMap::new(),
            gone_nodes: HashSet::new(),
            gone_of: HashMap::new(),
            gone_edges: HashSet::new(),
            after: input.definition.clone(),
            findings: Vec::new(),
            expected: Expected::default(),
        };
        graph.find_races();
        graph
    }

    /// A join of another rule than `all` fires at a token, not at all of them: what leads to it stays as it is.
    fn find_races(&mut self) {
        let mut open: Vec<NodeIx> = (0..self.raced.len()).filter(|&ix| !self.waits_for_all(ix)).collect();
        while let Some(ix) = open.pop() {
            if !std::mem::replace(&mut self.raced[ix], true) {
                open.extend(self.sources(ix));
            }
        }
    }

    fn waits_for_all(&self, ix: NodeIx) -> bool {
        let node = self.body(ix);
        node.get("join").is_none_or(|rule| rule == "all") && node.get("cancel_rest").is_none()
    }

    /// The number of nodes.
    pub fn nodes(&self) -> std::ops::Range<NodeIx> {
        0..self.input.facts.nodes.len()
    }

    /// What the compiler knows of a node.
    #[must_use]
    pub fn node(&self, ix: NodeIx) -> &'i Node {
        &self.input.facts.nodes[ix]
    }

    /// A node as written.
    #[must_use]
    pub fn body(&self, ix: NodeIx) -> &'i Value {
        self.input.definition.pointer(&self.node(ix).at).unwrap_or(&Value::Null)
    }

    /// The nodes of the body of a map or loop; of other nodes nothing.
    #[must_use]
    pub fn inside(&self, ix: NodeIx) -> &[NodeIx] {
        self.members.get(&Some(&*self.node(ix).id)).map_or(&[], Vec::as_slice)
    }

    /// An id that no node has: this one, or this one with a number behind it.
    #[must_use]
    pub fn fresh(&self, id: &str) -> String {
        let taken = |id: &str| self.by_id.contains_key(id) || self.added.iter().any(|one| one.value["id"] == *id);
        let mut names = std::iter::once(id.to_owned()).chain((2..).map(|number| format!("{id}_{number}")));
        names.find(|name| !taken(name)).unwrap_or_default()
    }

    /// An edge as it is now.
    #[must_use]
    pub fn way(&self, ix: EdgeIx) -> Value {
        self.after.pointer(&self.edge(ix).at).cloned().unwrap_or_default()
    }

    /// An edge as the compiler knows it.
    #[must_use]
    pub fn edge(&self, ix: EdgeIx) -> &'i Edge {
        &self.input.facts.edges[ix]
    }

    /// The guard of an edge.
    #[must_use]
    pub fn guard(&self, ix: EdgeIx) -> Option<&'i str> {
        self.input.definition.pointer(&self.edge(ix).at)?.get("when")?.as_str()
    }

    /// The edges into a node.
    #[must_use]
    pub fn ways_in(&self, ix: NodeIx) -> &[EdgeIx] {
        &self.into[ix]
    }

    /// The edges out of a node.
    #[must_use]
    pub fn ways_out(&self, ix: NodeIx) -> &[EdgeIx] {
        &self.out[ix]
    }

    /// The nodes with an edge to this one.
    pub fn sources(&self, ix: NodeIx) -> impl Iterator<Item = NodeIx> + '_ {
        self.into[ix].iter().map(|&edge| self.by_id[&*self.edge(edge).from])
    }

    /// The nodes with an edge from this one.
    pub fn targets(&self, ix: NodeIx) -> impl Iterator<Item = NodeIx> + '_ {
        self.out[ix].iter().map(|&edge| self.by_id[&*self.edge(edge).to])
    }

    /// Whether a way leads from one node to another one, or to itself, without one of the edges. Nodes stand in
    /// topological order, so nothing is looked at that stands before the first.
    #[must_use]
    pub fn leads(&self, first: NodeIx, last: NodeIx, without: EdgeIx) -> bool {
        let mut seen = HashSet::from([last]);
        let mut open = vec![last];
        while let Some(at) = open.pop() {
            if at == first {
                return true;
            }
            let ways = self.into[at].iter().zip(self.sources(at)).filter(|(edge, _)| **edge != without);
            open.extend(ways.map(|(_, source)| source).filter(|&source| source >= first && seen.insert(source)));
        }
        false
    }

    /// These nodes and all that are decided before them, in their graph.
    #[must_use]
    pub fn before(&self, mut open: Vec<NodeIx>) -> HashSet<NodeIx> {
        let mut found = HashSet::new();
        while let Some(at) = open.pop() {
            if found.insert(at) {
                open.extend(self.sources(at));
            }
        }
        found
    }

    /// Who reads a node.
    #[must_use]
    pub fn readers(&self, ix: NodeIx) -> &[Reader] {
        &self.readers[ix]
    }

    /// The nodes that read a node themselves, or in the guard of an edge at them.
    #[must_use]
    pub fn reading_nodes(&self, ix: NodeIx) -> Vec<NodeIx> {
        let of = |reader: &Reader| match *reader {
            Reader::Node(ix) => vec![ix],
            Reader::Edge(edge) => [&self.edge(edge).from, &self.edge(edge).to].map(|id| self.by_id[&**id]).to_vec(),
            Reader::Output(_) => Vec::new(),
        };
        self.readers[ix].iter().flat_map(of).collect()
    }

    /// Whether these reads name the node.
    #[must_use]
    pub fn is_among(&self, ix: NodeIx, reads: &[Read]) -> bool {
        reads.iter().any(|read| read.node.as_deref() == Some(&self.node(ix).id))
    }

    /// Whether a change may be made around a node: no race, and nothing changed there in this call.
    #[must_use]
    pub fn is_free(&self, ix: NodeIx) -> bool {
        !self.raced[ix] && !self.touched.contains(&ix)
    }

    /// Whether a node is a call without effect, and nothing else: nothing undoes it, nobody else waits for it, no
    /// other value may stand in for its result.
    #[must_use]
    pub fn is_call(&self, ix: NodeIx) -> bool {
        const MORE: [&str; 4] = ["compensation", "concurrency_key", "correction", "breaker"];
        let node = self.node(ix);
        let body = self.body(ix);
        matches!(&*node.kind, "function" | "http")
            && node.effect != Effect::Write
            && MORE.iter().all(|member| body.get(*member).is_none())
    }

    /// Whether a failure of a node always ends the run (or item): it never decides where a run goes on.
    #[must_use]
    pub fn is_strict(&self, ix: NodeIx) -> bool {
        let fails = self.body(ix).get("on_error").is_none_or(|rule| rule == "fail");
        fails && self.out[ix].iter().all(|&edge| !self.edge(edge).on_error)
    }

    /// Whether the graph that a node stands in says what it gives; without it the leaves do, and stay the leaves.
    #[must_use]
    pub fn has_output(&self, ix: NodeIx) -> bool {
        self.stated.contains(&self.node(ix).body_of.as_deref())
    }

    /// Whether a node is all that is left in its graph: a graph without nodes is none.
    #[must_use]
    pub fn is_alone(&self, ix: NodeIx) -> bool {
        let graph = self.node(ix).body_of.as_deref();
        let gone = self.gone_of.get(&graph).copied().unwrap_or_default();
        self.members.get(&graph).is_some_and(|members| members.len() - gone == 1)
    }

    /// What was observed of a node.
    #[must_use]
    pub fn observed(&self, ix: NodeIx) -> Option<Observed> {
        self.input.profile.as_ref()?.nodes.get(&self.node(ix).id).copied()
    }

    /// Says why something was changed (or marked), and what that saves; the nodes are touched.
    pub fn found(&mut self, nodes: &[NodeIx], reason: String, saved: Expected) {
        self.touched.extend(nodes);
        self.expected.add(saved);
        let nodes = nodes.iter().map(|&ix| self.node(ix).id.clone()).collect();
        self.findings.push(Finding { nodes, reason });
    }

    /// No change is made around this node any more.
    pub fn touch(&mut self, ix: NodeIx) {
        self.touched.insert(ix);
    }

    /// Takes a node out, with all edges at it and what stands in it.
    pub fn remove_node(&mut self, ix: NodeIx) {
        if self.gone_nodes.insert(ix) {
            *self.gone_of.entry(self.node(ix).body_of.as_deref()).or_default() += 1;
        }
        self.gone_edges.extend(self.into[ix].iter().chain(&self.out[ix]));
        let inside = format!("{}/", self.node(ix).at);
        // Only bodies hold nodes.
        if !self.inside(ix).is_empty() {
            let standing: Vec<NodeIx> =
                self.nodes().filter(|&other| self.node(other).at.starts_with(&inside)).collect();
            self.touched.extend(standing);
        }
    }

    /// Takes an edge out.
    pub fn remove_edge(&mut self, edge: EdgeIx) {
        self.gone_edges.insert(edge);
    }

    /// Adds an edge that is taken on success.
    pub fn add_edge(&mut self, from: NodeIx, to: NodeIx) {
        let edge = json!({"from": self.node(from).id, "to": self.node(to).id});
        self.add(from, "edges", edge);
    }

    /// Adds a copy of an edge, with its guard, between other nodes.
    pub fn copy_edge(&mut self, edge: EdgeIx, from: NodeIx, to: NodeIx) {
        let mut copy = self.way(edge);
        copy["from"] = self.node(from).id.clone().into();
        copy["to"] = self.node(to).id.clone().into();
        self.copies.entry(edge).or_default().push(self.added.len());
        self.add(from, "edges", copy);
    }

    /// Adds what stands in no definition yet to the nodes or edges of the graph in which `beside` stands.
    pub fn add(&mut self, beside: NodeIx, list: &'static str, value: Value) {
        self.added.push(Added { owner: self.node(beside).body_of.as_deref(), list, value });
    }

    /// Sets the guard of an edge, or takes it away.
    pub fn set_guard(&mut self, edge: EdgeIx, guard: Option<&str>) {
        if let Some(members) = self.after.pointer_mut(&self.input.facts.edges[edge].at).and_then(Value::as_object_mut) {
            match guard {
                Some(guard) => members.insert("when".to_owned(), guard.into()),
                None => members.remove("when"),
            };
        }
    }

    /// Lets all who read one node read another one instead.
    pub fn read_instead(&mut self, from: NodeIx, to: NodeIx) {
        let (old, new) = (&*self.node(from).id, &*self.node(to).id);
        for reader in self.readers[from].clone() {
            match reader {
                Reader::Node(ix) => {
                    let Some(node) = self.after.pointer_mut(&self.input.facts.nodes[ix].at) else { continue };
                    in_templates(node, old, new);
                    for member in ["/config/while", "/config/match"] {
                        if let Some(Value::String(text)) = node.pointer_mut(member) {
                            *text = in_expression(text, old, new);
                        }
                    }
                }
                Reader::Edge(edge) => {
                    let copies = self.copies.get(&edge).into_iter().flatten();
                    copies.for_each(|&copy| in_guard(&mut self.added[copy].value, old, new));
                    if let Some(edge) = self.after.pointer_mut(&self.input.facts.edges[edge].at) {
                        in_guard(edge, old, new);
                    }
                }
                Reader::Output(ix) => {
                    let owner = self.input.facts.outputs[ix].of.as_deref();
                    let place = format!("{}/output", self.place(owner));
                    if let Some(output) = self.after.pointer_mut(&place) {
                        in_templates(output, old, new);
                    }
                }
            }
        }
    }

    /// Where the graph of a workflow or of a body stands.
    fn place(&self, owner: Option<&str>) -> String {
        owner.map_or_else(String::new, |id| format!("{}/config/body", self.node(self.by_id[id]).at))
    }

    /// Adds what was added and takes out what was taken out. Pointers hold until then: what stands deeper goes first.
    fn change_lists(&mut self) {
        for Added { owner, list, value } in std::mem::take(&mut self.added) {
            let place = self.place(owner);
            let graph = self.after.pointer_mut(&place).and_then(Value::as_object_mut);
            if let Some(Value::Array(elements)) = graph.map(|graph| graph.entry(list).or_insert_with(|| json!([]))) {
                elements.push(value);
            }
        }
        let mut gone: BTreeMap<&str, HashSet<usize>> = BTreeMap::new();
        let nodes = self.gone_nodes.iter().map(|&ix| &*self.input.facts.nodes[ix].at);
        let edges = self.gone_edges.iter().map(|&edge| &*self.input.facts.edges[edge].at);
        for at in nodes.chain(edges) {
            if let Some((list, place)) = at.rsplit_once('/') {
                gone.entry(list).or_default().extend(place.parse::<usize>());
            }
        }
        let mut lists: Vec<(&str, HashSet<usize>)> = gone.into_iter().collect();
        lists.sort_by_key(|(list, _)| std::cmp::Reverse(list.len()));
        for (list, places) in lists {
            if let Some(Value::Array(elements)) = self.after.pointer_mut(list) {
                let mut place = 0..;
                elements.retain(|_| place.next().is_some_and(|place| !places.contains(&place)));
            }
        }
    }

    /// The patch, where anything was found.
    #[must_use]
    pub fn finish(mut self) -> Option<Patch> {
        if self.findings.is_empty() {
            return None;
        }
        self.change_lists();
        let operations = operations(&self.input.definition, &self.after);
        Some(Patch { operations, findings: self.findings, expected: self.expected, cacheable: Vec::new() })
    }
}

fn in_guard(edge: &mut Value, old: &str, new: &str) {
    if let Some(Value::String(text)) = edge.get_mut("when") {
        *text = in_expression(text, old, new);
    }
}
