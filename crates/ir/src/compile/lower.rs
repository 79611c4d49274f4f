//! Drafts to the IR: final indexes, flat arrays, what is kept of each output, canonical bytes and hash.

use super::order::{Ids, Order};
use super::read::Draft;
use crate::digest::ir_hash;
use crate::document::Reader;
use crate::expressions::{Expression, Root, Template};
use crate::ir::{Edge, Graph, Ir, Keeps, KeptPath, Kind, Node, NodeIx};
use crate::nodes::NodeDraft;
use crate::value::canonical::{Span, write, write_with};
use crate::value::scan::{Document, push_token};
use std::sync::{Arc, OnceLock};

/// Nodes that joins with `cancel_rest` may name in all, for each node of the definition (and 1,000 more): a chain
/// of such joins would name all before it again and again.
const CANCELLED_PER_NODE: usize = 8;

/// A definition in canonical form with what was filled in, and where each draft stands in it.
pub(crate) struct Text {
    pub(crate) canonical: Vec<u8>,
    pub(crate) nodes: Vec<Span>,
    pub(crate) edges: Vec<Span>,
    /// JSON Schema of the inputs, canonical.
    pub(crate) inputs_schema: Option<Arc<[u8]>>,
}

impl Text {
    /// Writes a document that was read whole.
    pub(crate) fn of(document: &Document<'_>, draft: &Draft<'_>) -> Self {
        let mut canonical = Vec::with_capacity(document.text.len());
        let mut spans = vec![(0, 0); document.slots.len()];
        write_with(document, 0, &|at| draft.extra(at), &mut spans, &mut canonical);
        let inputs_schema = draft.inputs.map(|at| {
            let mut out = Vec::new();
            write(document, at, &mut out);
            out.into()
        });
        Self {
            canonical,
            nodes: draft.nodes.iter().map(|node| spans[node.at as usize]).collect(),
            edges: draft.edges.iter().map(|edge| spans[edge.at as usize]).collect(),
            inputs_schema,
        }
    }
}

/// Lays a faultless draft out. `None` where a limit that only shows here is exceeded: the reader has it. `before`: a
/// definition with which it shares what is the same.
pub(crate) fn lower(
    reader: &mut Reader<'_, '_>,
    draft: Draft<'_>,
    order: Order,
    ids: Ids,
    text: Text,
    before: Option<&Ir>,
) -> Option<Ir> {
    let count = draft.nodes.len();
    // Each number changes by itself, so the order of the walk does not matter.
    let mut by_id = ids;
    by_id.values_mut().for_each(|ix| *ix = order.place[*ix as usize]);
    let Draft { name, version, graphs, nodes, edges, timeout_ns, compensation_timeout_ns, .. } = draft;

    // Edges, sorted by source and target.
    let place = |ix: u32| order.place[ix as usize];
    let mut sorted: Vec<(u32, u32, bool, u32)> = edges
        .iter()
        .enumerate()
        .filter_map(|(ix, edge)| edge.ends.map(|(from, to)| (place(from), place(to), edge.on_error, ix as u32)))
        .collect();
    sorted.sort_unstable();
    let (mut out, mut into) = (vec![0_u32; count + 1], vec![0_u32; count + 1]);
    let mut flat = Vec::with_capacity(sorted.len());
    for &(from, to, on_error, ix) in &sorted {
        let edge = &edges[ix as usize];
        out[from as usize + 1] += 1;
        into[to as usize + 1] += 1;
        let when = edge.when.as_ref().map(|(_, guard)| guard.clone());
        let (start, end) = text.edges[ix as usize];
        flat.push(Edge { from, to, when, on_error, place: edge.place, written: start..end });
    }
    for i in 0..count {
        out[i + 1] += out[i];
        into[i + 1] += into[i];
    }
    let mut in_edges = vec![0_u32; flat.len()];
    let mut next = into.clone();
    for (ix, edge) in flat.iter().enumerate() {
        in_edges[next[edge.to as usize] as usize] = ix as u32;
        next[edge.to as usize] += 1;
    }

    // Graphs; those without an output give the outputs of their leaves.
    let mut first = 0_u32;
    let mut flat_graphs = Vec::with_capacity(graphs.len());
    let mut is_output = vec![false; count];
    for graph in &graphs {
        let range = first..first + graph.nodes.len() as u32;
        first = range.end;
        // In the order written: drafts of a graph stand together in that order.
        let written = || graph.nodes.clone().map(place);
        let roots = written().filter(|&ix| into[ix as usize] == into[ix as usize + 1]).collect();
        let leaves: Box<[NodeIx]> = written().filter(|&ix| out[ix as usize] == out[ix as usize + 1]).collect();
        let output = graph.output.as_ref().map(|(_, output)| output.clone());
        if output.is_none() {
            leaves.iter().for_each(|&leaf| is_output[leaf as usize] = true);
        }
        flat_graphs.push(Graph { owner: graph.owner.map(place), nodes: range, roots, output, leaves });
    }

    // Nodes.
    let kept_before = |ix: NodeIx| {
        let (before, id) = (before?, &nodes[order.drafts[ix as usize] as usize].step.id);
        before.node(id).map(|ix| &before.nodes[ix as usize].keeps)
    };
    let mut keeps = keeps(&by_id, &nodes, &flat, &flat_graphs, is_output, &kept_before).into_iter();
    let mut flat_nodes = Vec::with_capacity(count);
    let mut cancelled = Cancelled::new(count, reader.limits.nodes_max);
    for &from in &order.drafts {
        let (ix, node) = (flat_nodes.len() as NodeIx, &nodes[from as usize]);
        let cancel_rest = match node.step.cancels_rest {
            true => cancelled.of(ix, &flat, &in_edges, &out, &into),
            false => Some(Box::default()),
        };
        let Some(cancel_rest) = cancel_rest else {
            let message = "the joins with `cancel_rest` name too many nodes in all";
            reader.note(node.at, "LIMIT_EXCEEDED", message);
            return None;
        };
        let (start, end) = text.nodes[from as usize];
        flat_nodes.push(Node {
            step: node.step.clone(),
            graph: node.graph,
            place: node.place,
            cancel_rest,
            out: out[ix as usize]..out[ix as usize + 1],
            into: into[ix as usize]..into[ix as usize + 1],
            keeps: keeps.next().unwrap_or(Keeps::Nothing),
            written: start..end,
        });
    }
    Some(Ir {
        hash: ir_hash(&text.canonical),
        name,
        version,
        canonical: text.canonical.into(),
        functions: functions(&flat_nodes),
        inputs_schema: text.inputs_schema,
        inputs_check: before.map_or_else(Arc::default, |before| before.inputs_check.clone()),
        nodes: flat_nodes.into(),
        edges: flat.into(),
        in_edges: in_edges.into(),
        graphs: flat_graphs.into(),
        timeout_ns,
        compensation_timeout_ns,
        by_id,
        tree: OnceLock::new(),
    })
}

/// The functions that nodes and their compensations call.
fn functions(nodes: &[Node]) -> Box<[Box<str>]> {
    let called = nodes.iter().flat_map(|node| {
        let name = match &node.kind {
            Kind::Function { name, .. } => Some(name),
            _ => None,
        };
        name.into_iter().chain(node.compensation.as_ref().map(|undo| &undo.name))
    });
    let mut names: Vec<&Box<str>> = called.collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().cloned().collect()
}

/// What is kept of the output of each node: the paths that are read of it, sorted, none a prefix of another; all of it
/// where it is part of the output of its graph.
fn keeps<'k>(
    by_id: &Ids,
    nodes: &'k [NodeDraft],
    edges: &'k [Edge],
    graphs: &'k [Graph],
    is_output: Vec<bool>,
    before: &dyn Fn(NodeIx) -> Option<&'k Keeps>,
) -> Vec<Keeps> {
    let mut read: Vec<(NodeIx, &'k [Box<str>])> = Vec::with_capacity(nodes.len() + edges.len());
    let mut visit = |expression: &'k Expression| {
        for reference in expression.references() {
            if let Root::Output(node) = &reference.root
                && let Some(&ix) = by_id.get(&*node.id)
            {
                read.push((ix, &*reference.path));
            }
        }
    };
    nodes.iter().for_each(|node| node.step.each_expression(&mut visit));
    edges.iter().filter_map(|edge| edge.when.as_deref()).for_each(&mut visit);
    graphs.iter().filter_map(|graph| graph.output.as_deref()).flat_map(Template::expressions).for_each(&mut visit);
    let mut read = grouped(read, is_output.len());
    read.chunk_by_mut(|a, b| a.0 == b.0).for_each(<[_]>::sort_unstable);
    let mut keeps: Vec<Keeps> =
        is_output.into_iter().map(|all| if all { Keeps::All } else { Keeps::Nothing }).collect();
    for of_node in read.chunk_by(|a, b| a.0 == b.0) {
        let ix = of_node[0].0 as usize;
        if keeps[ix] == Keeps::All {
            continue;
        }
        // Sorted, so a prefix stands right before what goes on below it.
        let mut paths: Vec<&[Box<str>]> = Vec::with_capacity(of_node.len());
        for &(_, path) in of_node {
            if !paths.last().is_some_and(|last| path.starts_with(last)) {
                paths.push(path);
            }
        }
        keeps[ix] = match before(of_node[0].0) {
            _ if paths[0].is_empty() => Keeps::All,
            Some(Keeps::Paths(same)) if same.iter().map(|path| &*path.names).eq(paths.iter().copied()) => {
                Keeps::Paths(same.clone())
            }
            _ => Keeps::Paths(paths.into_iter().map(kept_path).collect()),
        };
    }
    keeps
}

/// By index, in linear time: there are few pairs to each, and many indexes.
fn grouped<T: Copy>(pairs: Vec<(NodeIx, T)>, count: usize) -> Vec<(NodeIx, T)> {
    let mut next = vec![0_u32; count + 1];
    pairs.iter().for_each(|(ix, _)| next[*ix as usize + 1] += 1);
    for ix in 0..count {
        next[ix + 1] += next[ix];
    }
    let mut out = pairs.clone();
    for pair in pairs {
        let at = &mut next[pair.0 as usize];
        out[*at as usize] = pair;
        *at += 1;
    }
    out
}

fn kept_path(names: &[Box<str>]) -> KeptPath {
    let mut pointer = String::new();
    names.iter().for_each(|name| push_token(&mut pointer, name));
    KeptPath { names: names.into(), pointer: pointer.into() }
}

/// Finds what only leads to a join: every edge out of such a node leads to the join or to another such node.
struct Cancelled {
    left: usize,
    /// Edges out of each node that were found to lead there.
    leading: Vec<u32>,
}

impl Cancelled {
    fn new(count: usize, nodes_max: usize) -> Self {
        Self { left: count.min(nodes_max) * CANCELLED_PER_NODE + 1_000, leading: vec![0; count] }
    }

    fn of(
        &mut self,
        join: NodeIx,
        edges: &[Edge],
        in_edges: &[u32],
        out: &[u32],
        into: &[u32],
    ) -> Option<Box<[NodeIx]>> {
        let (mut found, mut touched, mut queue) = (Vec::new(), Vec::new(), vec![join]);
        while let Some(node) = queue.pop() {
            for &edge in &in_edges[into[node as usize] as usize..into[node as usize + 1] as usize] {
                let from = edges[edge as usize].from;
                let leading = &mut self.leading[from as usize];
                *leading += 1;
                touched.push(from);
                if *leading == out[from as usize + 1] - out[from as usize] {
                    found.push(from);
                    queue.push(from);
                }
            }
        }
        touched.iter().for_each(|&node| self.leading[node as usize] = 0);
        self.left = self.left.checked_sub(touched.len())?;
        found.sort_unstable();
        Some(found.into())
    }
}
