//! Ids to indexes, edges between them, and an order of each graph in which every node stands after those before it.

use super::read::Draft;
use crate::document::{Reader, clip};
use crate::id::{HashMap, Id, table};
use crate::ir::Join;
use crate::value::Value;

/// Nodes of a cycle that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// Node drafts by id. Looked up only, never walked, so its order cannot matter.
pub(crate) type Ids = HashMap<Id, u32>;

/// The order of all nodes and the edges out of each.
pub(crate) struct Order {
    /// Drafts in their final order: a node's place here is its index in the IR.
    pub(crate) drafts: Vec<u32>,
    /// The place of each draft.
    pub(crate) place: Vec<u32>,
    /// The edges out of each draft: `edges[starts[d]..starts[d + 1]]`.
    pub(crate) starts: Vec<u32>,
    pub(crate) edges: Vec<u32>,
    /// Graphs that have a cycle: what is upstream in them has no meaning.
    pub(crate) cyclic: Vec<bool>,
}

/// Indexes the ids; ids are unique in the whole definition.
pub(crate) fn index(reader: &mut Reader<'_, '_>, draft: &Draft<'_>) -> Ids {
    let mut ids: Ids = table(draft.nodes.len());
    for (ix, node) in draft.nodes.iter().enumerate() {
        let id = &node.step.id;
        if id.is_empty() {
            continue;
        }
        if let Some(before) = ids.insert(id.clone(), ix as u32) {
            ids.insert(id.clone(), before);
            let hint = "ids are unique in the whole definition, bodies included".to_owned();
            let message = format!("the id {id:?} is taken already");
            reader.note_hint(node.id_at, "DUPLICATE_ID", message, Some(hint));
        }
    }
    ids
}

/// Finds the ends of the edges.
pub(crate) fn connect(reader: &mut Reader<'_, '_>, draft: &mut Draft<'_>, ids: &Ids) {
    let nodes = &draft.nodes;
    // Those of a definition before know their ends already.
    for edge in draft.edges.iter_mut().filter(|edge| edge.ends.is_none()) {
        let mut end = |(at, id): &(u32, std::borrow::Cow<'_, str>)| {
            let Some(&ix) = ids.get(&**id) else {
                let near = reader.near(id, nodes.iter().map(|node| &*node.step.id));
                reader.note_hint(*at, "UNKNOWN_REFERENCE", format!("there is no node {:?}", clip(id)), near);
                return None;
            };
            if nodes[ix as usize].graph != edge.graph {
                let message = format!("the node {:?} stands in another graph", clip(id));
                let hint = Some("an edge joins nodes of one body".to_owned());
                reader.note_hint(*at, "UNKNOWN_REFERENCE", message, hint);
                return None;
            }
            Some(ix)
        };
        let (from, to) = (end(&edge.from), end(&edge.to));
        edge.ends = from.zip(to);
    }
}

/// Sorts every graph: Kahn's algorithm, nodes of one level in the order written.
pub(crate) fn sort(reader: &mut Reader<'_, '_>, draft: &Draft<'_>) -> Order {
    let count = draft.nodes.len();
    let mut starts = vec![0_u32; count + 1];
    let mut waiting = vec![0_u32; count];
    for edge in &draft.edges {
        if let Some((from, to)) = edge.ends {
            starts[from as usize + 1] += 1;
            waiting[to as usize] += 1;
        }
    }
    for i in 0..count {
        starts[i + 1] += starts[i];
    }
    let mut edges = vec![0_u32; starts[count] as usize];
    let mut next = starts.clone();
    for (ix, edge) in draft.edges.iter().enumerate() {
        if let Some((from, _)) = edge.ends {
            edges[next[from as usize] as usize] = ix as u32;
            next[from as usize] += 1;
        }
    }
    for (ix, node) in draft.nodes.iter().enumerate() {
        if let Join::Quorum { n, .. } = node.step.join
            && n > waiting[ix]
        {
            let message = format!("a quorum of {n} cannot be reached with {} incoming edges", waiting[ix]);
            reader.note(node.join_at, "BAD_VALUE", message);
        }
    }
    let mut order = Order {
        drafts: Vec::with_capacity(count),
        place: vec![u32::MAX; count],
        starts,
        edges,
        cyclic: vec![false; draft.graphs.len()],
    };
    for (graph, of_graph) in draft.graphs.iter().enumerate() {
        let first = order.drafts.len();
        order.drafts.extend(of_graph.nodes.clone().filter(|&ix| waiting[ix as usize] == 0));
        let mut at = first;
        while let Some(&ix) = order.drafts.get(at) {
            order.place[ix as usize] = at as u32;
            at += 1;
            for &edge in &order.edges[order.starts[ix as usize] as usize..order.starts[ix as usize + 1] as usize] {
                if let Some((_, to)) = draft.edges[edge as usize].ends {
                    waiting[to as usize] -= 1;
                    if waiting[to as usize] == 0 {
                        order.drafts.push(to);
                    }
                }
            }
        }
        if order.drafts.len() - first < of_graph.nodes.len() {
            order.cyclic[graph] = true;
            name_cycles(reader, draft, &order, graph);
            // So that places stay places: what is left goes to the end.
            let left: Vec<u32> = of_graph.nodes.clone().filter(|&ix| order.place[ix as usize] == u32::MAX).collect();
            for ix in left {
                order.place[ix as usize] = order.drafts.len() as u32;
                order.drafts.push(ix);
            }
        } else {
            find_unreachable(reader, draft, &order, graph);
        }
    }
    find_twice(reader, draft, &order);
    order
}

impl Order {
    /// The edges out of a draft.
    pub(crate) fn out(&self, ix: u32) -> &[u32] {
        &self.edges[self.starts[ix as usize] as usize..self.starts[ix as usize + 1] as usize]
    }
}

/// Two edges of one kind between two nodes would settle twice under one name.
fn find_twice(reader: &mut Reader<'_, '_>, draft: &Draft<'_>, order: &Order) {
    let mut seen: Vec<(u32, bool, u32)> = Vec::new();
    for ix in 0..draft.nodes.len() as u32 {
        let out = order.out(ix);
        if out.len() < 2 {
            continue;
        }
        seen.clear();
        seen.extend(out.iter().filter_map(|&edge| {
            let edge_draft = &draft.edges[edge as usize];
            edge_draft.ends.map(|(_, to)| (to, edge_draft.on_error, edge))
        }));
        seen.sort_unstable();
        for pair in seen.windows(2) {
            if (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) {
                let edge = &draft.edges[pair[1].2 as usize];
                let message = format!("a second edge from {:?} to {:?}", edge.from.1, edge.to.1);
                reader.note_hint(edge.at, "BAD_VALUE", message, Some("join the guards with `||`".to_owned()));
            }
        }
    }
}

fn is_never(draft: &Draft<'_>, edge: u32) -> bool {
    let guard = draft.edges[edge as usize].when.as_ref();
    matches!(guard.and_then(|(_, guard)| guard.literal()), Some(Value::Bool(false) | Value::Null))
}

/// Nodes that only edges lead to which are never taken.
fn find_unreachable(reader: &mut Reader<'_, '_>, draft: &Draft<'_>, order: &Order, graph: usize) {
    let nodes = draft.graphs[graph].nodes.clone();
    if !(draft.graphs[graph].edges.clone()).any(|edge| is_never(draft, edge)) {
        return;
    }
    let local = |ix: u32| (ix - nodes.start) as usize;
    let mut has_edges = vec![false; nodes.len()];
    let mut reached = vec![false; nodes.len()];
    for edge in &draft.edges[draft.graphs[graph].edges.start as usize..draft.graphs[graph].edges.end as usize] {
        if let Some((_, to)) = edge.ends {
            has_edges[local(to)] = true;
        }
    }
    let first = nodes.clone().map(|ix| order.place[ix as usize]).min().unwrap_or(0) as usize;
    for &ix in &order.drafts[first..first + nodes.len()] {
        if !has_edges[local(ix)] {
            reached[local(ix)] = true;
        }
        if reached[local(ix)] {
            for &edge in order.out(ix) {
                if let (false, Some((_, to))) = (is_never(draft, edge), draft.edges[edge as usize].ends) {
                    reached[local(to)] = true;
                }
            }
        }
    }
    for ix in nodes.clone().filter(|&ix| !reached[local(ix)]) {
        let node = &draft.nodes[ix as usize];
        let message = format!("the node {:?} is never reached: every edge to it is never taken", node.step.id);
        reader.note(node.at, "UNREACHABLE", message);
    }
}

/// Names one cycle of each knot that Kahn's algorithm left, and what only a cycle leads to.
fn name_cycles(reader: &mut Reader<'_, '_>, draft: &Draft<'_>, order: &Order, graph: usize) {
    let nodes = draft.graphs[graph].nodes.clone();
    let base = nodes.start;
    let count = nodes.len();
    let left = |ix: u32| order.place[ix as usize] == u32::MAX;
    let targets =
        |ix: u32| order.out(ix).iter().filter_map(|&edge| draft.edges[edge as usize].ends.map(|(_, to)| (to, edge)));
    let knots = knots(nodes.clone().filter(|&ix| left(ix)), base, count, &|ix, step| {
        order.out(ix).get(step).map(|&edge| draft.edges[edge as usize].ends.map_or(ix, |(_, to)| to))
    });
    let mut knot_of = vec![u32::MAX; count];
    for (number, knot) in knots.iter().enumerate() {
        let alone = knot.len() == 1 && !targets(knot[0]).any(|(to, _)| to == knot[0]);
        if !alone {
            knot.iter().for_each(|&ix| knot_of[(ix - base) as usize] = number as u32);
        }
    }
    for (number, knot) in knots.iter().enumerate() {
        let number = number as u32;
        let Some(&start) = knot.iter().filter(|&&ix| knot_of[(ix - base) as usize] == number).min() else { continue };
        // The shortest way from the first node of the knot back to it.
        let mut came: HashMap<u32, (u32, u32)> = HashMap::default();
        let mut queue = std::collections::VecDeque::from([start]);
        let mut closing = None;
        'search: while let Some(ix) = queue.pop_front() {
            for (to, edge) in targets(ix).filter(|&(to, _)| knot_of[(to - base) as usize] == number) {
                if to == start {
                    closing = Some((ix, edge));
                    break 'search;
                }
                came.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    (ix, edge)
                });
            }
        }
        let Some((mut ix, edge)) = closing else { continue };
        let mut path = vec![start];
        while ix != start {
            path.push(ix);
            ix = came.get(&ix).map_or(start, |(before, _)| *before);
        }
        path.push(start);
        path.reverse();
        let mut names: Vec<&str> = path.iter().map(|&ix| &*draft.nodes[ix as usize].step.id).collect();
        let skipped = names.len().saturating_sub(NAMED_MAX);
        let more = format!("({skipped} more)");
        if skipped > 0 {
            let tail = names.split_off(names.len() - NAMED_MAX / 2);
            names.truncate(NAMED_MAX / 2);
            names.push(&more);
            names.extend(tail);
        }
        let message = format!("a cycle: {}", names.join(" → "));
        let hint = "a graph has no cycles; to repeat steps, put them into the body of a loop".to_owned();
        reader.note_hint(draft.edges[edge as usize].at, "CYCLE", message, Some(hint));
    }
    let mut reached: Vec<bool> = nodes.clone().map(|ix| !left(ix)).collect();
    let mut queue: Vec<u32> = nodes.clone().filter(|&ix| !left(ix)).collect();
    while let Some(ix) = queue.pop() {
        for (to, _) in targets(ix) {
            if !std::mem::replace(&mut reached[(to - base) as usize], true) {
                queue.push(to);
            }
        }
    }
    for ix in nodes.filter(|&ix| !reached[(ix - base) as usize] && knot_of[(ix - base) as usize] == u32::MAX) {
        let node = &draft.nodes[ix as usize];
        reader.note(node.at, "UNREACHABLE", format!("only a cycle leads to the node {:?}", node.step.id));
    }
}

/// Strongly connected components (Tarjan 1972), without recursion. `step(ix, n)` is the nth target of a node.
fn knots(
    starts: impl Iterator<Item = u32>,
    base: u32,
    count: usize,
    step: &dyn Fn(u32, usize) -> Option<u32>,
) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let local = |ix: u32| (ix - base) as usize;
    let mut number = vec![NEW; count];
    let mut low = vec![0_u32; count];
    let mut on_stack = vec![false; count];
    let (mut stack, mut found, mut counter) = (Vec::new(), Vec::new(), 0_u32);
    let mut calls: Vec<(u32, usize)> = Vec::new();
    for start in starts {
        if number[local(start)] != NEW {
            continue;
        }
        calls.push((start, 0));
        while let Some((ix, taken)) = calls.pop() {
            let here = local(ix);
            if taken == 0 {
                number[here] = counter;
                low[here] = counter;
                counter += 1;
                stack.push(ix);
                on_stack[here] = true;
            }
            match step(ix, taken) {
                Some(to) => {
                    calls.push((ix, taken + 1));
                    let there = local(to);
                    if number[there] == NEW {
                        calls.push((to, 0));
                    } else if on_stack[there] {
                        low[here] = low[here].min(number[there]);
                    }
                }
                None => {
                    if let Some(&(above, _)) = calls.last() {
                        low[local(above)] = low[local(above)].min(low[here]);
                    }
                    if low[here] == number[here] {
                        let mut knot = Vec::new();
                        while let Some(member) = stack.pop() {
                            on_stack[local(member)] = false;
                            knot.push(member);
                            if member == ix {
                                break;
                            }
                        }
                        found.push(knot);
                    }
                }
            }
        }
    }
    found
}
