//! Takes out ways that are never taken, and calls whose result nobody wants.
//!
//! - An edge whose guard says `false` never lives. It goes where its source is before its target by another way, too, so that
//!   nothing starts earlier. (A node to which only such edges lead is refused by the compiler.)
//! - A call without effect that leads nowhere, and that no expression reads, is left out. That it no longer fails the
//!   run is the one difference (decision 0016).
//!
//! Nothing at a race, and nothing in a graph that gives the outputs of its leaves: there is no other leaf afterwards.

use apex_pass::graph::{EdgeIx, NodeIx};
use apex_pass::input::Input;
use apex_pass::{Expected, Graph, Patch};

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    let mut graph = Graph::new(input);
    drop_dead(&mut graph);
    drop_unread(&mut graph);
    graph.finish()
}

fn drop_dead(graph: &mut Graph<'_>) {
    let free = |ix: &NodeIx| graph.is_free(*ix) && graph.has_output(*ix);
    let ways = graph.nodes().filter(free).flat_map(|to| {
        let ways = graph.ways_in(to).iter().zip(graph.sources(to));
        ways.map(move |(&edge, from)| (edge, from, to))
    });
    let says_no = |edge| graph.guard(edge).is_some_and(|guard| guard.trim() == "false");
    let never: Vec<(EdgeIx, NodeIx)> = ways
        .filter(|&(edge, from, to)| says_no(edge) && graph.leads(from, to, edge))
        .map(|(edge, _, to)| (edge, to))
        .collect();
    for (edge, target) in never {
        let known = graph.edge(edge);
        graph.remove_edge(edge);
        let reason = format!("the way from {} to {} is never taken: its guard is false", known.from, known.to);
        graph.found(&[target], reason, Expected::default());
    }
}

fn drop_unread(graph: &mut Graph<'_>) {
    for ix in graph.nodes() {
        let unread = graph.readers(ix).is_empty() && graph.ways_out(ix).is_empty() && graph.has_output(ix);
        // The run goes on after a failure because there is a way for it.
        let handles = graph.ways_in(ix).iter().any(|&edge| graph.edge(edge).on_error);
        if unread
            && !handles
            && !graph.is_alone(ix)
            && graph.is_call(ix)
            && graph.is_free(ix)
            && graph.sources(ix).all(|source| graph.is_free(source))
        {
            graph.remove_node(ix);
            let saved = Expected::saved(graph.observed(ix));
            graph.sources(ix).collect::<Vec<_>>().into_iter().for_each(|source| graph.touch(source));
            graph.found(&[ix], format!("nobody reads what {} gives, and it changes nothing", graph.node(ix).id), saved);
        }
    }
}

apex_pass::export!(crate::pass);
