//! Equal calls, made once.

use crate::graph::{EdgeIx, Graph, NodeIx};
use crate::input::Node;
use crate::{Expected, Patch};
use serde_json::Value;
use std::collections::BTreeMap;

/// Merges calls of a kind that say the same and start in the same cases: they have the same edges into them, so they
/// are ready at the same time. The first stays; who read another one reads it, and what the other led to it leads to.
///
/// `why` ends the sentence `A and B …`.
pub fn merge(mut graph: Graph<'_>, is_one: impl Fn(&Node, &Value) -> bool, why: &str) -> Option<Patch> {
    let mut groups: BTreeMap<String, Vec<NodeIx>> = BTreeMap::new();
    for ix in graph.nodes() {
        if is_one(graph.node(ix), graph.body(ix)) && graph.is_call(ix) && graph.is_free(ix) {
            groups.entry(key(&graph, ix)).or_default().push(ix);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_unstable();
    for group in groups {
        let [first, rest @ ..] = group.as_slice() else { continue };
        for &other in rest {
            let around = |ix| graph.targets(ix).chain(graph.sources(ix));
            let free = around(*first).chain(around(other)).all(|ix| graph.is_free(ix));
            if graph.is_free(*first) && graph.is_free(other) && free && may_end(&graph, *first, other) {
                one_for_two(&mut graph, *first, other, why);
                break;
            }
        }
    }
    graph.finish()
}

/// All that a call says but its id, with the edges into it.
fn key(graph: &Graph<'_>, ix: NodeIx) -> String {
    let mut said = graph.body(ix).clone();
    if let Some(members) = said.as_object_mut() {
        members.remove("id");
    }
    let mut into: Vec<String> = graph.ways_in(ix).iter().map(|&edge| source(graph, edge)).collect();
    into.sort_unstable();
    format!("{:?} {said} {into:?}", graph.node(ix).body_of)
}

fn source(graph: &Graph<'_>, edge: EdgeIx) -> String {
    let known = graph.edge(edge);
    format!("{} {} {:?}", known.from, known.on_error, graph.guard(edge))
}

/// Leaves stay leaves where they are what a graph gives, and both ways to one node ask nothing.
fn may_end(graph: &Graph<'_>, first: NodeIx, other: NodeIx) -> bool {
    let leaves = graph.ways_out(first).is_empty() || graph.ways_out(other).is_empty();
    let meets = graph.ways_out(other).iter().zip(graph.targets(other)).all(|(&edge, target)| {
        let twin = graph
            .ways_out(first)
            .iter()
            .zip(graph.targets(first))
            .find(|(twin, known)| *known == target && graph.edge(**twin).on_error == graph.edge(edge).on_error);
        twin.is_none_or(|(&twin, _)| graph.guard(edge).is_none() && graph.guard(twin).is_none())
    });
    (graph.has_output(first) || !leaves) && meets && graph.is_strict(first) && graph.is_strict(other)
}

fn one_for_two(graph: &mut Graph<'_>, first: NodeIx, other: NodeIx, why: &str) {
    let around: Vec<NodeIx> = graph.targets(first).chain(graph.targets(other)).collect();
    let known: Vec<NodeIx> = graph.targets(first).collect();
    let ways: Vec<(EdgeIx, NodeIx)> = graph.ways_out(other).iter().copied().zip(graph.targets(other)).collect();
    graph.remove_node(other);
    for (edge, target) in ways {
        if !known.contains(&target) {
            graph.copy_edge(edge, first, target);
        }
    }
    graph.read_instead(other, first);
    let saved = Expected::saved(graph.observed(other));
    let readers: Vec<NodeIx> = graph.reading_nodes(other);
    around.into_iter().chain(readers).for_each(|ix| graph.touch(ix));
    let reason = format!("{} and {} {why}", graph.node(first).id, graph.node(other).id);
    graph.found(&[first, other], reason, saved);
}
