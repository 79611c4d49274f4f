//! Tokens: a decided node settles its edges, an edge counts at its target, and a join that fires (or cannot) becomes
//! work. The counters are a cache: `rebuild` makes them from the state and the IR.

use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::NOT_NEEDED;
use crate::run::work::Work;
use crate::state::run::{Cell, NO_SLOT, Node, READY, ROOT, Run, Scope, Status, Wait};
use crate::state::symbols::{IdMap, Sym};
use apex_ir::ir::{Edge, Join, NodeIx};
use std::collections::VecDeque;

/// What the counters of a node say.
enum Fires {
    NotYet,
    Start,
    Skip,
    Unreachable,
}

fn fires(program: &Program, ix: NodeIx, cell: Cell) -> Fires {
    let node = &program.ir.nodes[ix as usize];
    let count = node.into.end - node.into.start;
    if count == 0 {
        return Fires::Start;
    }
    let settled = cell.live + cell.dead == count;
    match node.join {
        Join::All if settled => {
            if cell.live > 0 {
                Fires::Start
            } else {
                Fires::Skip
            }
        }
        Join::Any if cell.live > 0 => Fires::Start,
        Join::Any if settled => Fires::Skip,
        Join::Quorum { n, .. } if cell.live >= n => Fires::Start,
        Join::Quorum { n, required } if count - cell.dead < n => {
            if required {
                Fires::Unreachable
            } else {
                Fires::Skip
            }
        }
        Join::All | Join::Any | Join::Quorum { .. } => Fires::NotYet,
    }
}

/// Is an edge out of a decided node live? A target that is in `dead` k times has k dead edges from here; which of
/// them makes no difference to it.
fn settle_edges<'p>(
    program: &'p Program,
    ix: NodeIx,
    status: Status,
    dead: &[Sym],
) -> impl Iterator<Item = (&'p Edge, bool)> {
    let mut counts: IdMap<Sym, u32> = IdMap::default();
    for &sym in dead {
        *counts.entry(sym).or_default() += 1;
    }
    program.ir.outgoing(ix).iter().map(move |edge| {
        let lets = match status {
            Status::Ok => !edge.on_error,
            Status::Failed => edge.on_error,
            Status::Skipped | Status::Open => false,
        };
        let left = if lets && !counts.is_empty() { counts.get_mut(&program.syms[edge.to as usize]) } else { None };
        match left.filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                (edge, false)
            }
            None => (edge, lets),
        }
    })
}

/// Counts the edges of a decided node in its scope and notes what fires.
fn spread(program: &Program, scope_ix: u32, scope: &mut Scope, ix: NodeIx, work: &mut VecDeque<Work>) {
    let base = program.ir.graphs[scope.graph as usize].nodes.start;
    let Some(cell) = scope.cells.get((ix - base) as usize) else { return };
    let Some(node) = scope.nodes.get(cell.slot as usize) else { return };
    let cause = node.decided_seq;
    for (edge, is_live) in settle_edges(program, ix, node.status, &node.dead) {
        let cell = &mut scope.cells[(edge.to - base) as usize];
        if is_live {
            cell.live += 1;
        } else {
            cell.dead += 1;
        }
        if !cell.fired {
            let next = match fires(program, edge.to, *cell) {
                Fires::NotYet => continue,
                Fires::Start => Work::Start { scope: scope_ix, ix: edge.to, cause },
                Fires::Skip => Work::Skip { scope: scope_ix, ix: edge.to, cause },
                Fires::Unreachable => Work::Unreachable { scope: scope_ix, ix: edge.to, cause },
            };
            cell.fired = true;
            work.push_back(next);
        }
    }
}

impl Machine {
    /// A node was decided (and recorded): its tokens go on.
    pub(crate) fn settle(&mut self, slot: u32, program: &Program, scope_ix: u32, node_slot: u32, ix: NodeIx) {
        let Some(run) = self.state.run(slot) else { return };
        if run.extra.is_some() {
            self.leave_section(slot, scope_ix, node_slot);
        }
        let Some(run) = self.state.run_mut(slot) else { return };
        if run.failing.is_some() {
            return;
        }
        let Run { scopes, work, .. } = run;
        let Some(scope) = scopes.get_mut(scope_ix as usize).and_then(Option::as_deref_mut) else { return };
        if scope.cells.is_empty() || scope.closed {
            return;
        }
        let base = program.ir.graphs[scope.graph as usize].nodes.start;
        let cell = &mut scope.cells[(ix - base) as usize];
        cell.slot = node_slot;
        cell.fired = true;
        scope.undecided -= 1;
        if scope.failing.is_some() {
            work.push_back(Work::Abandon { scope: scope_ix, failed: true });
            return;
        }
        spread(program, scope_ix, scope, ix, work);
        if scope_ix != ROOT && scope.undecided == 0 {
            work.push_back(Work::Close { scope: scope_ix });
        }
    }

    /// Notes the slot of a node that was touched and is open.
    pub(crate) fn note_slot(&mut self, slot: u32, program: &Program, scope_ix: u32, node_slot: u32, ix: NodeIx) {
        let Some(scope) = self.state.run_mut(slot).and_then(|run| run.scope_mut(scope_ix)) else { return };
        let base = program.ir.graphs[scope.graph as usize].nodes.start;
        if let Some(cell) = scope.cells.get_mut((ix - base) as usize) {
            cell.slot = node_slot;
            cell.fired = true;
        }
    }

    /// Makes counters and work of a run from its state.
    pub(crate) fn rebuild(&mut self, slot: u32, program: &Program) {
        let Some(run) = self.state.run_mut(slot) else { return };
        lay(&mut run.scopes, program);
        let Run { scopes, work, extra, .. } = run;
        work.clear();
        for (at, scope) in scopes.iter_mut().enumerate() {
            if let Some(scope) = scope.as_deref_mut().filter(|scope| !scope.closed) {
                fill(program, scope);
                resume(program, at as u32, scope, work);
            }
        }
        // Of a node that has its key and no more, that is all that says that it has begun.
        for &(at, slot) in extra.iter().flat_map(|extra| extra.locks.keys()) {
            let scope = scopes.get_mut(at as usize).and_then(Option::as_deref_mut);
            let Some(scope) = scope.filter(|scope| !scope.closed && scope.failing.is_none()) else { continue };
            let Some(node) = scope.nodes.get(slot as usize).filter(|node| !has_begun(node)) else { continue };
            if let Some(ix) = program.ix(node.sym) {
                take_back(program, at, scope, ix, work);
            }
        }
    }

    /// Begins a body: its roots are ready.
    pub(crate) fn open_scope(&mut self, slot: u32, program: &Program, scope_ix: u32, graph: u32) {
        let Some(run) = self.state.run_mut(slot) else { return };
        let Run { scopes, work, .. } = run;
        let Some(scope) = scopes.get_mut(scope_ix as usize).and_then(Option::as_deref_mut) else { return };
        scope.graph = graph;
        fill(program, scope);
        begin(program, scope_ix, scope, work);
    }
}

/// Finds the graph of each scope.
pub(crate) fn lay(scopes: &mut [Option<Box<Scope>>], program: &Program) {
    for at in 1..scopes.len() {
        let Some(scope) = &scopes[at] else { continue };
        let owner = scopes[scope.parent as usize].as_ref().map(|parent| &parent.nodes[scope.owner as usize]);
        let body = owner.and_then(|owner| program.ix(owner.sym)).and_then(|ix| program.body(ix));
        if let Some(scope) = scopes[at].as_deref_mut() {
            scope.graph = body.unwrap_or(0);
        }
    }
}

/// Marks the roots of a graph as ready.
fn begin(program: &Program, scope_ix: u32, scope: &mut Scope, work: &mut VecDeque<Work>) {
    let graph = &program.ir.graphs[scope.graph as usize];
    for &root in &graph.roots {
        let cell = &mut scope.cells[(root - graph.nodes.start) as usize];
        if !cell.fired {
            cell.fired = true;
            work.push_back(Work::Start { scope: scope_ix, ix: root, cause: scope.opened_seq });
        }
    }
    if scope_ix != ROOT && scope.undecided == 0 {
        work.push_back(Work::Close { scope: scope_ix });
    }
}

/// Fresh cells, with the slots of nodes that were touched.
fn fill(program: &Program, scope: &mut Scope) {
    let nodes = program.ir.graphs[scope.graph as usize].nodes.clone();
    scope.cells.clear();
    scope.cells.resize(nodes.len(), Cell { live: 0, dead: 0, slot: NO_SLOT, fired: false });
    scope.undecided = nodes.len() as u32;
    for (slot, node) in scope.nodes.iter_mut().enumerate() {
        // `resume` says it again of what is still taken back.
        node.doomed = false;
        if let Some(ix) = program.ix(node.sym).filter(|ix| nodes.contains(ix)) {
            let cell = &mut scope.cells[(ix - nodes.start) as usize];
            cell.slot = slot as u32;
            // Touched means that it started or was decided, except where only a name was noted.
            cell.fired = has_begun(node);
            if node.status != Status::Open {
                scope.undecided -= 1;
            }
        }
    }
}

/// Live tokens that came to a join because it took their nodes back, while it stood in line for its key: they do not count.
pub(crate) fn recalled_tokens(program: &Program, scope: &Scope, ix: NodeIx) -> u32 {
    let base = program.ir.graphs[scope.graph as usize].nodes.start;
    let recalled = program.ir.nodes[ix as usize].cancel_rest.iter().filter_map(|&from| {
        let node = scope.nodes.get(scope.cells.get((from - base) as usize)?.slot as usize)?;
        let was_recalled = node.error.as_ref().is_some_and(|error| &*error.message == NOT_NEEDED);
        was_recalled.then(|| settle_edges(program, from, node.status, &node.dead))
    });
    recalled.flatten().filter(|(edge, is_live)| *is_live && edge.to == ix).count() as u32
}

/// A node has begun. Where it has `cancel_rest`: marks what it takes back, and has `Work::Rest` do so piece by piece. That
/// comes before anything else of the run: what has not begun yet is skipped, not begun and taken back.
pub(crate) fn take_back(program: &Program, scope_ix: u32, scope: &mut Scope, ix: NodeIx, work: &mut VecDeque<Work>) {
    if program.ir.nodes[ix as usize].cancel_rest.is_empty() {
        return;
    }
    work.push_front(Work::Rest { scope: scope_ix, ix, at: 0 });
    let base = program.ir.graphs[scope.graph as usize].nodes.start;
    for &ix in &program.ir.nodes[ix as usize].cancel_rest {
        let slot = scope.cells.get((ix - base) as usize).map_or(NO_SLOT, |cell| cell.slot);
        if let Some(node) = scope.nodes.get_mut(slot as usize) {
            node.doomed = true;
        }
    }
}

/// Something happened to it: it is decided, or waits for something.
pub(crate) fn has_begun(node: &Node) -> bool {
    node.status != Status::Open || !matches!(node.wait, Wait::Nothing)
}

/// The work that the state of a scope asks for.
fn resume(program: &Program, scope_ix: u32, scope: &mut Scope, work: &mut VecDeque<Work>) {
    if scope.failing.is_some() {
        work.push_back(Work::Abandon { scope: scope_ix, failed: true });
        return;
    }
    let nodes = program.ir.graphs[scope.graph as usize].nodes.clone();
    for ix in nodes.clone() {
        let cell = scope.cells[(ix - nodes.start) as usize];
        let slot = cell.slot;
        let Some(node) = scope.nodes.get(slot as usize) else { continue };
        let status = node.status;
        match &node.wait {
            Wait::Retry { due: 0, .. } => work.push_back(Work::Retry { scope: scope_ix, slot }),
            Wait::Retry { due: READY, .. } => work.push_back(Work::Again { scope: scope_ix, slot }),
            Wait::Child(_) => work.push_back(Work::Begin { scope: scope_ix, slot }),
            Wait::Map(_) | Wait::Loop(_) => work.push_back(Work::Pump { scope: scope_ix, slot, ix }),
            _ => {}
        }
        if cell.fired && status != Status::Skipped {
            take_back(program, scope_ix, scope, ix, work);
        }
        if status != Status::Open {
            spread(program, scope_ix, scope, ix, work);
        }
    }
    begin(program, scope_ix, scope, work);
}
