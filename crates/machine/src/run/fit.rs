//! Whether a run can go on under another program: what it has done must stand there as it was done, and what was settled
//! by the program before must hold by the new one (docs/decisions/0009, Migration).

use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::changes::{Change, Versions};
use crate::run::routing::has_begun;
use crate::state::run::{Kept, Node, ROOT, Status};
use apex_ir::ir::{Keeps, NodeIx};
use apex_ir::overlay::Id;
use std::collections::BTreeSet;

impl Machine {
    /// Each reason why a run cannot go on under another program; none: it can. A body is part of what its map or loop
    /// says, so only the workflow's own graph is looked at.
    pub(crate) fn misfits(&self, slot: u32, old: &Program, new: &Program) -> Vec<Change> {
        let Some(run) = self.state.run(slot) else { return Vec::new() };
        let Some(root) = run.scope(ROOT) else { return Vec::new() };
        let name = |sym| &**self.state.symbols.name(sym);
        let locks = run.extra.as_ref().map(|extra| &extra.locks);
        let holds_key = |slot: u32| locks.is_some_and(|locks| locks.contains_key(&(ROOT, slot)));
        // One that was given its key and has not been requested yet would hold it for good if it went.
        let is_begun = |(slot, node): &(u32, &Node)| has_begun(node) || holds_key(*slot);
        let begun: Vec<&Node> = (0..).zip(&root.nodes).filter(is_begun).map(|(_, node)| node).collect();
        let ids: BTreeSet<&str> = begun.iter().map(|node| name(node.sym)).collect();
        let versions = Versions { old: &old.ir, new: &new.ir };
        let mut found: Vec<Change> = ids.into_iter().flat_map(|id| versions.changes(id)).collect();
        for node in begun {
            let (Some(before), Some(after)) = (old.ix(node.sym), new.ix(node.sym)) else { continue };
            let moved = &new.ir.nodes[after as usize];
            if moved.graph != 0 {
                found.push((new.ir.pointer_of(moved), format!("{} has begun, and would stand in a body", moved.id)));
                continue;
            }
            if let Some(detail) = taken_back_otherwise(old, before, new, after) {
                found.push((new.ir.pointer_of(moved), detail));
            }
            if matches!(node.status, Status::Ok | Status::Failed) {
                found.extend(versions.guards(before, after, node.status == Status::Failed));
            }
            if node.status == Status::Ok && !matches!(node.kept, Kept::All(_)) {
                found.extend(not_kept(old, before, new, after));
            }
        }
        if let Err(faults) = new.ir.check_inputs(&run.inputs) {
            let fault = |fault: apex_ir::Diagnostic| {
                let at = if fault.pointer.is_empty() { String::new() } else { format!(" at {}", fault.pointer) };
                ("/inputs".to_owned(), format!("the inputs of the run do not fit{at}: {}", fault.message))
            };
            found.extend(faults.into_iter().map(fault));
        }
        found
    }
}

/// A join that has fired takes back what only leads to it: of the nodes that both programs have, the same ones.
fn taken_back_otherwise(old: &Program, before: NodeIx, new: &Program, after: NodeIx) -> Option<String> {
    let names = |of: &Program, ix: NodeIx, in_other: &Program| -> BTreeSet<Id> {
        let rest = of.ir.nodes[ix as usize].cancel_rest.iter().map(|&ix| &of.ir.nodes[ix as usize].id);
        rest.filter(|id| in_other.ir.node(id).is_some()).cloned().collect()
    };
    let (before, after) = (names(old, before, new), names(new, after, old));
    let other = before.symmetric_difference(&after).next()?;
    Some(format!("it has begun, and with cancel_rest it would treat {other} otherwise"))
}

/// What the new program reads of an output of which parts were kept, and that is none of them.
fn not_kept(old: &Program, before: NodeIx, new: &Program, after: NodeIx) -> Vec<Change> {
    let node = &new.ir.nodes[after as usize];
    let unknown = |path: &str| {
        let what = if path.is_empty() { "the whole output".to_owned() } else { format!("{path} of the output") };
        (new.ir.pointer_of(node), format!("{what} of {} is read, which the run did not keep", node.id))
    };
    let paths = match &node.keeps {
        Keeps::Nothing => return Vec::new(),
        Keeps::All => return vec![unknown("")],
        Keeps::Paths(paths) => paths,
    };
    let keeps = &old.ir.nodes[before as usize].keeps;
    let missing = paths.iter().filter(|path| keeps.locate(&path.names).is_none());
    missing.map(|path| unknown(&path.pointer)).collect()
}
