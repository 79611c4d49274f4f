//! Does at the same time what waits for no reason: a call that reads nothing of the only call before it.
//!
//! Both have no effect, and a failure of either ends the run. The second gets the edges of the first, so it starts in
//! the same cases; what waited for the second waits for both, so nothing that changes the world starts earlier or
//! although one of them failed.

use apex_pass::graph::NodeIx;
use apex_pass::input::Input;
use apex_pass::{Expected, Graph, Patch};

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    let mut graph = Graph::new(input);
    // From the end of a row of calls: the host asks again, and the next one follows.
    for second in graph.nodes().rev() {
        let Some(first) = waits_for(&graph, second) else { continue };
        let (sources, targets): (Vec<_>, Vec<_>) = (graph.sources(first).collect(), graph.targets(second).collect());
        let ways: Vec<_> = graph.ways_in(first).iter().copied().zip(sources.clone()).collect();
        let known: Vec<NodeIx> = graph.targets(first).collect();
        graph.remove_edge(graph.ways_in(second)[0]);
        ways.into_iter().for_each(|(edge, source)| graph.copy_edge(edge, source, second));
        for &target in targets.iter().filter(|target| !known.contains(target)) {
            graph.add_edge(first, target);
        }
        let saved = saved(&graph, first, second);
        sources.into_iter().chain(targets).for_each(|ix| graph.touch(ix));
        let reason = format!("{} does not need what {} gives", graph.node(second).id, graph.node(first).id);
        graph.found(&[first, second], reason, saved);
    }
    graph.finish()
}

/// The only node before one, where the wait is for nothing.
fn waits_for(graph: &Graph<'_>, second: NodeIx) -> Option<NodeIx> {
    let [edge] = graph.ways_in(second) else { return None };
    let first = graph.sources(second).next()?;
    let plain = |edge: &usize| graph.guard(*edge).is_none() && !graph.edge(*edge).on_error;
    let calls = [first, second].into_iter().all(|ix| graph.is_call(ix) && graph.is_strict(ix));
    let around = graph.sources(first).chain([first, second]).chain(graph.targets(second));
    // Where an edge goes from the first to what follows already, it must ask nothing.
    let both = graph
        .ways_out(first)
        .iter()
        .zip(graph.targets(first))
        .filter(|(_, to)| graph.targets(second).any(|other| other == *to));
    let meets = both.map(|(edge, _)| edge).all(plain);
    let reads = graph.is_among(first, &graph.node(second).reads);
    let ends = graph.has_output(second) || !graph.ways_out(second).is_empty();
    let may = calls && plain(edge) && graph.ways_out(second).iter().all(plain) && meets && !reads && ends;
    (may && around.into_iter().all(|ix| graph.is_free(ix))).then_some(first)
}

/// The shorter of the two waits.
fn saved(graph: &Graph<'_>, first: NodeIx, second: NodeIx) -> Expected {
    let latency_s = match (graph.observed(first), graph.observed(second)) {
        (Some(one), Some(other)) => one.mean_s.min(other.mean_s) * other.starts_per_run,
        _ => 0.0,
    };
    Expected { latency_s, ..Expected::default() }
}

apex_pass::export!(crate::pass);
