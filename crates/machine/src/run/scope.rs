//! What an expression sees of a run.

use crate::event::wire::write_json_str;
use crate::partition::program::Program;
use crate::state::run::{Fault, Kept, NO_SLOT, Node, ROOT, Run, Scope, Status};
use apex_ir::expressions::{self, Member, NodeRef};
use apex_ir::ir::{Kind, NodeIx};
use apex_ir::value;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

/// A run as seen from one of its scopes. `pending` is the node that is being decided: its guards see its outcome
/// before it is recorded.
pub(crate) struct View<'a> {
    pub(crate) run: &'a Run,
    pub(crate) program: &'a Program,
    pub(crate) scope: u32,
    pub(crate) pending: Option<Pending<'a>>,
    pub(crate) ahead: Option<Ahead<'a>>,
    /// The payload of the signal that is looked at.
    pub(crate) signal: Option<&'a [u8]>,
    pub(crate) id: OnceCell<String>,
    /// Something was read of a node that is not decided: it may be another thing later.
    pub(crate) read_undecided: Cell<bool>,
}

/// An outcome that is not recorded yet.
#[derive(Clone, Copy)]
pub(crate) struct Pending<'a> {
    pub(crate) ix: NodeIx,
    pub(crate) output: Option<&'a [u8]>,
    pub(crate) error: Option<&'a Fault>,
}

/// The iteration that a loop may begin, as its condition sees it.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'a> {
    pub(crate) iteration: u32,
    /// Empty: there was none before.
    pub(crate) last: &'a [u8],
}

impl<'a> View<'a> {
    pub(crate) fn new(run: &'a Run, program: &'a Program, scope: u32) -> View<'a> {
        let (id, read_undecided) = (OnceCell::new(), Cell::new(false));
        View { run, program, scope, pending: None, ahead: None, signal: None, id, read_undecided }
    }

    /// The same, before an iteration of a loop that stands in this scope.
    pub(crate) fn before(&self, ahead: Ahead<'a>) -> View<'a> {
        View { ahead: Some(ahead), ..View::new(self.run, self.program, self.scope) }
    }

    /// The innermost body of a map (or of a loop) that this scope is or stands in.
    fn body(&self, of_map: bool) -> Option<&'a Scope> {
        let mut at = self.scope;
        while at != ROOT {
            let scope = self.run.scope(at)?;
            let owner = self.program.ir.graphs[scope.graph as usize].owner?;
            if matches!(self.program.ir.nodes[owner as usize].kind, Kind::Map { .. }) == of_map {
                return Some(scope);
            }
            at = scope.parent;
        }
        None
    }

    /// The node that an expression names.
    fn ix(&self, node: &NodeRef) -> Option<NodeIx> {
        self.program.ir.node(&node.id)
    }

    /// The state of a node, in this scope or in the one around it that holds its graph.
    fn node(&self, ix: NodeIx) -> Option<&'a Node> {
        let graph = self.program.ir.nodes.get(ix as usize)?.graph;
        let mut at = self.scope;
        loop {
            let scope = self.run.scope(at)?;
            if scope.graph == graph {
                let base = self.program.ir.graphs[graph as usize].nodes.start;
                return match scope.cells.get((ix - base) as usize) {
                    Some(cell) if cell.slot != NO_SLOT => scope.nodes.get(cell.slot as usize),
                    Some(_) => None,
                    // A closed scope has no cells any more; compensation looks into it.
                    None => scope.nodes.get(scope.find(self.program.syms[ix as usize])? as usize),
                };
            }
            if at == ROOT {
                return None;
            }
            at = scope.parent;
        }
    }

    /// The state of a node that was decided.
    fn decided(&self, ix: NodeIx) -> Option<&'a Node> {
        let node = self.node(ix).filter(|node| node.status != Status::Open);
        if node.is_none() {
            self.read_undecided.set(true);
        }
        node
    }

    fn pending(&self, ix: NodeIx) -> Option<&Pending<'a>> {
        self.pending.as_ref().filter(|pending| pending.ix == ix)
    }
}

/// How many names of a path a JSON Pointer spells, where it leads there.
fn leads_to(pointer: &str, path: &[Box<str>]) -> Option<usize> {
    let mut names = path.iter();
    let mut length = 0;
    for token in pointer.split('/').skip(1) {
        let name = names.next()?;
        let is_it =
            if token.contains('~') { token.replace("~1", "/").replace("~0", "~") == **name } else { token == &**name };
        if !is_it {
            return None;
        }
        length += 1;
    }
    Some(length)
}

impl expressions::Scope for View<'_> {
    fn inputs(&self) -> &[u8] {
        &self.run.inputs
    }

    fn output(&self, node: &NodeRef, path: &[Box<str>]) -> Member<'_> {
        let below = |value, path: &[Box<str>]| match value::cut(value, path) {
            Some(raw) => Member::Raw(Cow::Borrowed(raw)),
            None => Member::Missing,
        };
        let Some(ix) = self.ix(node) else { return Member::NoOutput };
        if let Some(pending) = self.pending(ix) {
            return pending.output.map_or(Member::NoOutput, |output| below(output, path));
        }
        let Some(state) = self.decided(ix) else { return Member::NoOutput };
        if state.status != Status::Ok {
            return Member::NoOutput;
        }
        match &state.kept {
            Kept::Nothing => Member::Missing,
            Kept::All(output) => below(output, path),
            Kept::Parts(parts) => {
                let exact = self.program.ir.nodes[ix as usize].keeps.locate(path).and_then(|path| {
                    Some((path.names.len(), &parts.iter().find(|(kept, _)| *kept == path.pointer)?.1))
                });
                // A program that the run had before kept what stands above.
                match exact.or_else(|| parts.iter().find_map(|(kept, value)| Some((leads_to(kept, path)?, value)))) {
                    Some((length, value)) => below(value, &path[length..]),
                    None => Member::Missing,
                }
            }
        }
    }

    fn status(&self, node: &NodeRef) -> Option<&str> {
        let ix = self.ix(node)?;
        if let Some(pending) = self.pending(ix) {
            return Some(if pending.output.is_some() { "ok" } else { "failed" });
        }
        self.decided(ix)?.status.as_str()
    }

    fn error(&self, node: &NodeRef) -> Option<Cow<'_, [u8]>> {
        let ix = self.ix(node)?;
        let fault = match self.pending(ix) {
            Some(pending) => pending.error?,
            None => self.decided(ix)?.error.as_deref()?,
        };
        let mut out = b"{\"type\":".to_vec();
        write_json_str(&fault.kind, &mut out);
        out.extend_from_slice(b",\"message\":");
        write_json_str(&fault.message, &mut out);
        out.push(b'}');
        Some(Cow::Owned(out))
    }

    fn item(&self) -> Option<Cow<'_, [u8]>> {
        self.body(true).map(|scope| Cow::Borrowed(&*scope.item))
    }

    fn index(&self) -> Option<i64> {
        self.body(true).map(|scope| i64::from(scope.index))
    }

    fn iteration(&self) -> Option<i64> {
        let iteration = self.ahead.map(|ahead| ahead.iteration);
        iteration.or_else(|| self.body(false).map(|scope| scope.index)).map(i64::from)
    }

    fn last(&self) -> Option<Cow<'_, [u8]>> {
        let last = self.ahead.map(|ahead| ahead.last).or_else(|| self.body(false).map(|scope| &*scope.item));
        last.filter(|last| !last.is_empty()).map(Cow::Borrowed)
    }

    fn signal(&self) -> Option<Cow<'_, [u8]>> {
        self.signal.map(Cow::Borrowed)
    }

    fn run_id(&self) -> &str {
        self.id.get_or_init(|| self.run.id.to_string())
    }

    fn run_started_ns(&self) -> i64 {
        self.run.started_ns
    }
}
