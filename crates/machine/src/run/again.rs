//! What runs again when a run is replayed from an instance: it, what comes after it in its graph, and after each node
//! that holds it. Other items of a map keep what they gave; later iterations of a loop do not.

use crate::partition::program::Program;
use apex_ir::ir::{Kind, NodeIx};

/// An instance and what follows it.
#[derive(Debug)]
pub(crate) struct Again {
    /// From the outside in: a node, and the body of it that the next one stands in. Empty: everything.
    from: Vec<(NodeIx, Option<u32>)>,
    /// By node: it comes after one of those, in the same graph.
    after: Vec<bool>,
    all: bool,
}

impl Again {
    /// `None`: the workflow has no such instance.
    pub(crate) fn new(program: &Program, from: &str, all: bool) -> Option<Again> {
        let from = if from.is_empty() { Vec::new() } else { steps(program, from)? };
        let mut after = vec![false; program.ir.nodes.len()];
        let mut next: Vec<NodeIx> = from.iter().map(|&(ix, _)| ix).collect();
        while let Some(ix) = next.pop() {
            for edge in program.ir.outgoing(ix) {
                if !std::mem::replace(&mut after[edge.to as usize], true) {
                    next.push(edge.to);
                }
            }
        }
        Some(Again { all: all || from.is_empty(), from, after })
    }

    /// Whether an instance runs again. One that this version does not have is not kept.
    pub(crate) fn runs(&self, program: &Program, path: &str) -> bool {
        if self.all {
            return true;
        }
        let Some(path) = steps(program, path) else { return true };
        for (&(from, body), &(ix, own)) in self.from.iter().zip(&path) {
            if ix != from {
                return self.after[ix as usize];
            }
            match (body, own) {
                (Some(body), Some(own)) if body == own => {}
                (Some(body), Some(own)) => return is_loop(program, ix) && own > body,
                _ => return true,
            }
        }
        true
    }

    /// Whether some instance of a node may run again.
    pub(crate) fn may_run(&self, program: &Program, ix: NodeIx) -> bool {
        if self.all {
            return true;
        }
        let chain = chain(program, ix);
        for (&(from, body), &at) in self.from.iter().zip(&chain) {
            if at != from {
                return self.after[at as usize];
            }
            if body.is_none() || at == ix || is_loop(program, at) {
                return true;
            }
        }
        true
    }
}

fn is_loop(program: &Program, ix: NodeIx) -> bool {
    matches!(program.ir.nodes[ix as usize].kind, Kind::Loop { .. })
}

/// The nodes that hold a node, from the outside in, and it.
fn chain(program: &Program, ix: NodeIx) -> Vec<NodeIx> {
    let mut chain = vec![ix];
    let mut at = ix;
    while let Some(owner) = program.ir.graphs[program.ir.nodes[at as usize].graph as usize].owner {
        chain.push(owner);
        at = owner;
    }
    chain.reverse();
    chain
}

/// `m[3].fetch` as nodes and bodies; each node must stand in the body of the one before.
fn steps(program: &Program, path: &str) -> Option<Vec<(NodeIx, Option<u32>)>> {
    let mut found = Vec::new();
    let mut rest = path;
    loop {
        let (id, body, inner) = match rest.split_once("].") {
            Some((step, inner)) => {
                let (id, body) = step.split_once('[')?;
                (id, Some(body.parse().ok()?), inner)
            }
            None => (rest, None, ""),
        };
        let ix = program.ir.node(id)?;
        found.push((ix, body));
        if body.is_none() {
            let is_path = chain(program, ix).into_iter().eq(found.iter().map(|&(ix, _)| ix));
            return is_path.then_some(found);
        }
        rest = inner;
    }
}

impl Program {
    /// The node of the workflow's own graph that a node is, or stands in.
    pub(crate) fn root_of(&self, ix: NodeIx) -> NodeIx {
        chain(self, ix).first().copied().unwrap_or(ix)
    }
}
