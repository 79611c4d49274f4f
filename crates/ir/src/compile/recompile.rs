//! A definition of which a part changed: only that is read anew.
//!
//! What is read of the rest is shared with the definition before; how a whole is made of it (order, references, what is
//! kept of outputs, layout) is the compiler's one way, so both give the same IR. Anything out of the ordinary, faults
//! above all, is left to [`whole`].

use super::lower::{Text, lower};
use super::read::{Draft, EdgeDraft, GraphDraft, read_edge};
use super::{json_limits, link, whole};
use crate::document::Reader;
use crate::id::{HashMap, table};
use crate::ir::{Edge, EdgeIx, GraphIx, Node, NodeIx};
use crate::nodes::{NodeDraft, Shared, holds_body, read_node};
use crate::value::canonical::{Span, write_with};
use crate::value::scan::{At, check as check_json, read as read_json};
use crate::value::{Value, ValueLimits};
use crate::{Diagnostic, FunctionTable, Ir, Limits};

/// What is not there.
const NONE: u32 = u32::MAX;

/// Compiles a definition that was made of another one by changing it in place. With a function table, what calls that
/// come do not state is filled in. The limits are those of the definition before.
///
/// # Errors
/// All faults of the whole.
pub(crate) fn recompile(
    before: &Ir,
    after: &Value,
    functions: Option<&FunctionTable>,
    limits: &Limits,
) -> Result<Ir, Vec<Diagnostic>> {
    in_part(before, after, functions, limits).map_or_else(
        || {
            let mut text = Vec::new();
            after.write_canonical(&mut text);
            whole(&text, Some(before), functions, limits)
        },
        Ok,
    )
}

/// Reads only the nodes and edges of the workflow's own graph that are not the very values of [`Ir::tree`]. `None`:
/// compile it whole. So it is where there is a fault, where anything but these two lists is another one, and where nodes
/// with a body come, go, change or change places.
fn in_part(before: &Ir, after: &Value, functions: Option<&FunctionTable>, limits: &Limits) -> Option<Ir> {
    let (old_nodes, old_edges) = lists(before.tree())?;
    let (new_nodes, new_edges) = lists(after)?;
    if !is_rest_same(before.tree(), after) {
        return None;
    }
    let known = Known::of(before);
    let mut nodes: Vec<Option<NodeIx>> = matched(old_nodes, new_nodes, &known.nodes[0]);
    for (known, value) in nodes.iter_mut().zip(new_nodes).filter(|(known, _)| known.is_none()) {
        // One that was put together anew, with its body, may say the same.
        let ix = value.member("id").and_then(Value::as_text).and_then(|id| before.node(id));
        *known = ix.filter(|&ix| {
            let node = &before.nodes[ix as usize];
            node.graph == 0 && old_nodes[node.place as usize].is_same_json(value)
        });
    }
    let edges: Vec<Option<EdgeIx>> = matched(old_edges, new_edges, &known.edges[0]);
    if !have_same_bodies(before, &nodes) {
        return None;
    }
    let text = changed(before, (new_nodes, &nodes), (new_edges, &edges));
    let mut reader = Reader::new(read_json(&text, &json_limits(limits)).ok()?, limits);
    let mut shared = Shared::new(functions, Some(before), before.graphs.len() as GraphIx);
    let mut draft = drafted(before, &known, &mut reader, &mut shared, (&nodes, &edges))?;
    if draft.nodes.len() > limits.nodes_max || draft.edges.len() > limits.edges_max || !shared.bodies.is_empty() {
        return None;
    }
    draft.fill(shared.extras);
    let (ids, order) = link(&mut reader, &mut draft)?;
    let text = spliced(before, &known, &reader, &draft, (&nodes, &edges));
    if text.canonical.len() > limits.bytes_max || !has_room(&text, &nodes, &draft, limits) {
        return None;
    }
    lower(&mut reader, draft, order, ids, text, Some(before))
}

/// The nodes and the edges of the workflow's own graph, where there are both.
fn lists(definition: &Value) -> Option<(&[Value], &[Value])> {
    let of = |name| definition.member(name).map(Value::items).filter(|items| !items.is_empty());
    Some((of("nodes")?, of("edges")?))
}

/// Whether two workflows say the same but for their nodes and edges.
fn is_rest_same(before: &Value, after: &Value) -> bool {
    let is_same = |(name, value): (&str, &Value)| {
        matches!(name, "nodes" | "edges") || before.member(name).is_some_and(|was| was.is_same_json(value))
    };
    before.members().count() == after.members().count() && after.members().all(is_same)
}

/// The nodes and edges of each graph, as written.
struct Known {
    nodes: Vec<Vec<NodeIx>>,
    edges: Vec<Vec<EdgeIx>>,
}

impl Known {
    fn of(ir: &Ir) -> Self {
        let mut nodes: Vec<Vec<NodeIx>> = ir.graphs.iter().map(|graph| vec![NONE; graph.nodes.len()]).collect();
        for (ix, node) in (0..).zip(&ir.nodes) {
            nodes[node.graph as usize][node.place as usize] = ix;
        }
        let graph = |edge: &Edge| ir.nodes[edge.from as usize].graph as usize;
        let mut counts = vec![0; ir.graphs.len()];
        ir.edges.iter().for_each(|edge| counts[graph(edge)] += 1);
        let mut edges: Vec<Vec<EdgeIx>> = counts.into_iter().map(|count| vec![NONE; count]).collect();
        for (ix, edge) in (0..).zip(&ir.edges) {
            edges[graph(edge)][edge.place as usize] = ix;
        }
        Self { nodes, edges }
    }
}

/// Of each value of a list, what it was in the list before (`ixs`, by place), where it is the very same value.
fn matched(before: &[Value], after: &[Value], ixs: &[u32]) -> Vec<Option<u32>> {
    let (start, end) = unchanged(before, after);
    let mut places: HashMap<usize, u32> = table(before.len() - start - end);
    for (value, &ix) in before.iter().zip(ixs).take(before.len() - end).skip(start) {
        places.extend(value.address().map(|address| (address, ix)));
    }
    let last = after.len() - end;
    let ix = |(place, value): (usize, &Value)| match place {
        _ if place < start => ixs.get(place).copied(),
        _ if place < last => value.address().and_then(|address| places.get(&address).copied()),
        _ => ixs.get(place - last + before.len() - end).copied(),
    };
    after.iter().enumerate().map(ix).collect()
}

/// How many values at the beginning and at the end of two lists are the very same.
pub(crate) fn unchanged(before: &[Value], after: &[Value]) -> (usize, usize) {
    let is_same = |(a, b): &(&Value, &Value)| a.address().is_some() && a.address() == b.address();
    let start = before.iter().zip(after).take_while(is_same).count();
    let (before, after) = (&before[start..], &after[start..]);
    (start, before.iter().rev().zip(after.iter().rev()).take_while(is_same).count())
}

/// Whether the nodes with a body are those of before, in the same order: graphs have numbers.
fn have_same_bodies(before: &Ir, nodes: &[Option<NodeIx>]) -> bool {
    let holders = before.graphs.iter().filter_map(|graph| graph.owner);
    let holders = holders.filter(|&ix| before.nodes[ix as usize].graph == 0);
    holders.eq(nodes.iter().flatten().copied().filter(|&ix| holds_body(&before.nodes[ix as usize].kind)))
}

/// A document of what has to be read: edges, nodes, and the schema of the inputs, which tells which there are.
fn changed<'v>(
    before: &Ir,
    (nodes, known_nodes): (&'v [Value], &[Option<NodeIx>]),
    (edges, known_edges): (&'v [Value], &[Option<EdgeIx>]),
) -> Vec<u8> {
    let mut text = b"{\"edges\":".to_vec();
    let list = |values: &'v [Value], known: &[Option<u32>], text: &mut Vec<u8>| {
        let mut next = b'[';
        for (value, _) in values.iter().zip(known).filter(|(_, known)| known.is_none()) {
            text.push(std::mem::replace(&mut next, b','));
            value.write_canonical(text);
        }
        text.extend_from_slice(if next == b'[' { b"[]" } else { b"]" });
    };
    list(edges, known_edges, &mut text);
    text.extend_from_slice(b",\"nodes\":");
    list(nodes, known_nodes, &mut text);
    if let Some(schema) = &before.inputs_schema {
        text.extend_from_slice(b",\"inputs\":");
        text.extend_from_slice(schema);
    }
    text.push(b'}');
    text
}

/// The drafts of the whole definition: of what is known as it was read, else as it is read now.
fn drafted<'a>(
    before: &'a Ir,
    known: &Known,
    reader: &mut Reader<'a, '_>,
    shared: &mut Shared<'_>,
    (nodes, edges): (&[Option<NodeIx>], &[Option<EdgeIx>]),
) -> Option<Draft<'a>> {
    let member = |name: &str| {
        let mut members = reader.document.members(0);
        members.find_map(|(key, value)| (reader.document.string(key) == name).then_some(value))
    };
    let inputs = member("inputs");
    let new_nodes: Vec<At> = reader.document.elements(member("nodes")?).collect();
    let new_edges: Vec<At> = reader.document.elements(member("edges")?).collect();
    let (mut new_nodes, mut new_edges) = (new_nodes.into_iter(), new_edges.into_iter());
    let mut draft = Draft {
        name: before.name.clone(),
        version: before.version.clone(),
        inputs,
        timeout_ns: before.timeout_ns,
        compensation_timeout_ns: before.compensation_timeout_ns,
        graphs: Vec::with_capacity(before.graphs.len()),
        nodes: Vec::with_capacity(before.nodes.len() + new_nodes.len()),
        edges: Vec::with_capacity(before.edges.len() + new_edges.len()),
        extras: Vec::new(),
    };
    // The draft of each node that was there.
    let mut drafts = vec![NONE; before.nodes.len()];
    for (graph, was) in (0..).zip(&before.graphs) {
        let first = draft.nodes.len() as u32;
        let bodied: Vec<Option<NodeIx>>;
        let of_graph = if graph == 0 {
            nodes
        } else {
            bodied = known.nodes[graph as usize].iter().copied().map(Some).collect();
            &bodied
        };
        for (place, &was) in (0..).zip(of_graph) {
            let number = draft.nodes.len() as u32;
            let node = match was {
                Some(ix) => unread(&before.nodes[ix as usize], place),
                None => read_node(reader, shared, new_nodes.next()?, graph, number, place),
            };
            // One that changed has its edges still.
            if let Some(ix) = was.or_else(|| before.node(&node.step.id)) {
                drafts[ix as usize] = number;
            }
            draft.nodes.push(node);
        }
        draft.graphs.push(GraphDraft {
            owner: was.owner.map(|ix| drafts[ix as usize]),
            nodes: first..draft.nodes.len() as u32,
            edges: 0..0,
            output: was.output.clone().map(|output| (0, output)),
            depth: 0,
        });
    }
    let unread = |edge: &Edge, graph: GraphIx, place: u32| {
        let ends = (drafts[edge.from as usize], drafts[edge.to as usize]);
        let id = |ix: NodeIx| (0, (&*before.nodes[ix as usize].step.id).into());
        // An end that is gone is a fault.
        (ends.0 != NONE && ends.1 != NONE).then(|| EdgeDraft {
            at: 0,
            place,
            graph,
            from: id(edge.from),
            to: id(edge.to),
            ends: Some(ends),
            when: edge.when.clone().map(|guard| (0, guard)),
            on_error: edge.on_error,
        })
    };
    for graph in 0..before.graphs.len() as GraphIx {
        let first = draft.edges.len() as u32;
        if graph == 0 {
            for (place, was) in (0..).zip(edges) {
                draft.edges.push(match was {
                    Some(ix) => unread(&before.edges[*ix as usize], graph, place)?,
                    None => read_edge(reader, new_edges.next()?, graph, place)?,
                });
            }
        } else {
            for (place, &ix) in (0..).zip(&known.edges[graph as usize]) {
                draft.edges.push(unread(&before.edges[ix as usize], graph, place)?);
            }
        }
        draft.graphs[graph as usize].edges = first..draft.edges.len() as u32;
    }
    Some(draft)
}

/// Whether nodes are not nested too deep with what was filled in.
fn has_room(text: &Text, nodes: &[Option<NodeIx>], draft: &Draft<'_>, limits: &Limits) -> bool {
    // They stand in the list of nodes of the workflow.
    let limits = ValueLimits { depth_max: limits.depth_max.saturating_sub(2), ..json_limits(limits) };
    let mut read = nodes.iter().zip(&text.nodes).filter(|(known, _)| known.is_none());
    draft.extras.is_empty()
        || read.all(|(_, &(start, end))| check_json(&text.canonical[start as usize..end as usize], &limits).is_ok())
}

/// A node that stays as it was read.
fn unread(node: &Node, place: u32) -> NodeDraft {
    NodeDraft {
        step: node.step.clone(),
        graph: node.graph,
        place,
        at: 0,
        id_at: 0,
        join_at: 0,
        breaker_at: 0,
        compensation_at: 0,
        concurrency_key_at: 0,
    }
}

/// The canonical form: what it was, with the two lists put together anew.
fn spliced(
    before: &Ir,
    known: &Known,
    reader: &Reader<'_, '_>,
    draft: &Draft<'_>,
    (nodes, edges): (&[Option<NodeIx>], &[Option<EdgeIx>]),
) -> Text {
    let was = &before.canonical;
    let extra = |at: At| draft.extra(at);
    let list = |known: &[Option<u32>], written: &dyn Fn(u32) -> Span, at: &dyn Fn(usize) -> At, out: &mut Vec<u8>| {
        let mut spans = Vec::with_capacity(known.len());
        for (place, known) in known.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            let start = out.len() as u32;
            match known {
                Some(ix) => {
                    let (start, end) = written(*ix);
                    out.extend_from_slice(&was[start as usize..end as usize]);
                }
                None => write_with(&reader.document, at(place), &extra, &mut [], out),
            }
            spans.push((start, out.len() as u32));
        }
        out.push(b']');
        spans
    };
    let node_span = |ix: u32| span(&before.nodes[ix as usize].written);
    let edge_span = |ix: u32| span(&before.edges[ix as usize].written);
    let (node_list, edge_list) = (around(&known.nodes[0], &node_span), around(&known.edges[0], &edge_span));
    let mut canonical = Vec::with_capacity(was.len() + 4_096);
    canonical.extend_from_slice(&was[..edge_list.0]);
    let mut edge_spans = list(edges, &edge_span, &|place| draft.edges[place].at, &mut canonical);
    canonical.extend_from_slice(&was[edge_list.1..node_list.0]);
    let mut node_spans = list(nodes, &node_span, &|place| draft.nodes[place].at, &mut canonical);
    canonical.extend_from_slice(&was[node_list.1..]);
    // What stands in a body moved with the node of the workflow's own graph that holds it.
    let mut moved: Vec<u32> = vec![0; before.graphs.len()];
    for (graph, drafted) in draft.graphs.iter().enumerate().skip(1) {
        let (Some(owner), Some(owner_was)) = (drafted.owner, before.graphs[graph].owner) else { continue };
        let outer = before.nodes[owner_was as usize].graph as usize;
        moved[graph] = match outer {
            0 => node_spans[owner as usize].0.wrapping_sub(node_span(owner_was).0),
            outer => moved[outer],
        };
        let shift = |(start, end): Span| (start.wrapping_add(moved[graph]), end.wrapping_add(moved[graph]));
        node_spans.extend(known.nodes[graph].iter().map(|&ix| shift(node_span(ix))));
        edge_spans.extend(known.edges[graph].iter().map(|&ix| shift(edge_span(ix))));
    }
    Text { canonical, nodes: node_spans, edges: edge_spans, inputs_schema: before.inputs_schema.clone() }
}

fn span(written: &std::ops::Range<u32>) -> Span {
    (written.start, written.end)
}

/// From the bracket before the first of a list to the one after its last.
fn around(ixs: &[u32], span: &dyn Fn(u32) -> Span) -> (usize, usize) {
    let first = ixs.first().map_or(1, |&ix| span(ix).0);
    let last = ixs.last().map_or(0, |&ix| span(ix).1);
    (first as usize - 1, last as usize + 1)
}
