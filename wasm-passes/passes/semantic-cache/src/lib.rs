//! Marks what may be answered from a cache: functions and agents that say they are `pure`, and do not depend on which
//! run asks. It changes nothing in the definition.
//!
//! With a profile, what takes less than a millisecond is left out: asking a cache takes as long.

use apex_pass::input::{Effect, Input};
use apex_pass::{Expected, Graph, Patch};

/// What is worth asking a cache for, in seconds.
const WORTH_S: f64 = 0.001;

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    let mut graph = Graph::new(input);
    let mut cacheable = Vec::new();
    for ix in graph.nodes() {
        let node = graph.node(ix);
        let asks_who = node.reads.iter().any(|read| read.what.starts_with("run_"));
        let is_one = node.effect == Effect::Pure && (graph.is_call(ix) || node.kind == "agent");
        let worth = graph.observed(ix).is_none_or(|seen| seen.mean_s >= WORTH_S);
        if is_one && worth && !asks_who {
            cacheable.push(node.id.clone());
            let reason = format!("{} gives the same for the same input, in every run", node.id);
            graph.found(&[ix], reason, Expected::default());
        }
    }
    graph.finish().map(|patch| Patch { cacheable, ..patch })
}

apex_pass::export!(crate::pass);
