//! Asks before it calls: a guard behind a call that does not look at what the call gave moves before it.
//!
//! The call has no effect, one plain edge into it, and the same guard on every edge out of it; so where the guard is
//! false, nothing behind it ran, and now the call does not either. Nothing reads the call but what those edges lead to
//! and nothing else does. The guard asks only about what is decided before the call, and is evaluated in no new case.

use apex_pass::graph::{NodeIx, Reader};
use apex_pass::input::Input;
use apex_pass::{Expected, Graph, Patch};
use std::collections::HashSet;

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    let mut graph = Graph::new(input);
    for ix in graph.nodes() {
        if let Some(guard) = guard_behind(&graph, ix)
            && may_wait(&graph, ix)
        {
            let (source, targets): (Vec<_>, Vec<_>) = (graph.sources(ix).collect(), graph.targets(ix).collect());
            let (into, out) = (graph.ways_in(ix)[0], graph.ways_out(ix).to_vec());
            graph.set_guard(into, Some(guard));
            out.into_iter().for_each(|edge| graph.set_guard(edge, None));
            let saved = saved(&graph, ix, &targets);
            source.into_iter().chain(targets).for_each(|other| graph.touch(other));
            let id = &graph.node(ix).id;
            graph.found(&[ix], format!("{id} is needed only where `{guard}`, and that is known before it"), saved);
        }
    }
    graph.finish()
}

/// The guard that stands on every edge out of a call, and on none into it.
fn guard_behind<'i>(graph: &Graph<'i>, ix: NodeIx) -> Option<&'i str> {
    let [into] = graph.ways_in(ix) else { return None };
    let (&first, rest) = graph.ways_out(ix).split_first()?;
    let guard = graph.guard(first)?;
    let plain = graph.guard(*into).is_none() && !graph.edge(*into).on_error;
    (plain && rest.iter().all(|&edge| graph.guard(edge) == Some(guard))).then_some(guard)
}

fn may_wait(graph: &Graph<'_>, ix: NodeIx) -> bool {
    let around = || graph.sources(ix).chain(graph.targets(ix));
    let free = graph.is_free(ix) && around().all(|other| graph.is_free(other));
    let known = graph.before(graph.sources(ix).collect());
    let asked = &graph.edge(graph.ways_out(ix)[0]).reads;
    let knows = |ix: &NodeIx| known.contains(ix);
    let early = graph.nodes().filter(|&other| graph.is_among(other, asked)).all(|other| {
        // A body is asked from inside: what stands outside of it is decided.
        knows(&other) || graph.node(other).body_of != graph.node(ix).body_of
    });
    let inside = behind(graph, ix);
    let alone = graph.readers(ix).iter().all(|reader| match *reader {
        Reader::Node(node) => inside.contains(&node),
        Reader::Edge(edge) => graph.nodes().any(|node| inside.contains(&node) && graph.ways_out(node).contains(&edge)),
        Reader::Output(_) => false,
    });
    free && early && alone && graph.is_call(ix) && graph.is_strict(ix)
}

/// All to which a way leads only over this node.
fn behind(graph: &Graph<'_>, ix: NodeIx) -> HashSet<NodeIx> {
    let mut found = HashSet::new();
    for at in graph.nodes() {
        let mut sources = graph.sources(at).peekable();
        if sources.peek().is_some() && sources.all(|source| source == ix || found.contains(&source)) {
            found.insert(at);
        }
    }
    found
}

/// How often it started where what comes behind did not.
fn saved(graph: &Graph<'_>, ix: NodeIx, targets: &[NodeIx]) -> Expected {
    let Some(seen) = graph.observed(ix) else { return Expected::default() };
    let needed = targets.iter().filter_map(|&target| graph.observed(target)).map(|seen| seen.starts_per_run);
    let calls = (seen.starts_per_run - needed.fold(0.0, f64::max)).max(0.0);
    Expected { calls, work_s: calls * seen.mean_s, latency_s: 0.0 }
}

apex_pass::export!(crate::pass);
