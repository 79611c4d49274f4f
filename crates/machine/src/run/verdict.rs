//! What follows from an outcome: which edges are dead although the status would let them live, what is kept of the
//! output, and whether the run (or the item of a map) fails.

use crate::error::{code, kind};
use crate::event::failure::Failure;
use crate::event::node::Kept as KeptPart;
use crate::event::wire::{Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::scope::{Pending, View};
use crate::state::run::{Fault, NO_SLOT, ROOT, Run, RunError};
use apex_ir::expressions::{Budget, ExprError};
use apex_ir::ir::{Keeps, NodeIx, OnError};
use apex_ir::value;

/// An output up to this size is kept whole where any of it is read: cutting costs more than the bytes.
const KEEP_WHOLE_BYTES: usize = 256;

/// What follows from an outcome.
#[derive(Debug, Default)]
pub(crate) struct Verdict<'p> {
    pub(crate) dead: Vec<&'p str>,
    pub(crate) kept_all: bool,
    pub(crate) kept: Vec<KeptPart<'p>>,
    pub(crate) fails: Option<Fails>,
    /// An error edge takes the failure.
    pub(crate) handled: bool,
}

/// Who fails, and why.
#[derive(Debug)]
pub(crate) struct Fails {
    pub(crate) error: RunError,
    /// Only the item of a map.
    pub(crate) item: bool,
}

impl Fails {
    pub(crate) fn event(&self) -> Failure<'_> {
        Failure { item: Flag(self.item), ..self.error.event() }
    }
}

impl RunError {
    pub(crate) fn event(&self) -> Failure<'_> {
        Failure { code: &self.code, r#type: &self.kind, message: &self.message, node: &self.node, item: Flag(false) }
    }
}

/// An expression failed: the run fails, wherever it stood.
pub(crate) fn expression_failed(error: &ExprError, node: &str) -> Fails {
    let message = match error.cost_exceeded_at {
        Some(unit) => format!("{} (over the cost limit at unit {unit})", error.message),
        None => error.message.clone(),
    };
    Fails {
        error: RunError {
            code: code::EXPRESSION_FAILED.into(),
            kind: kind::EXPRESSION_FAILED.into(),
            message: message.into(),
            node: node.into(),
        },
        item: false,
    }
}

impl Machine {
    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.config.limits.expression_cost_max)
    }

    /// A node was given up, or what it stands in.
    pub(crate) fn is_over(&self, run: &Run, program: &Program, scope: u32, ix: NodeIx) -> bool {
        let slot = run.scope(scope).and_then(|scope| {
            let base = program.ir.graphs[scope.graph as usize].nodes.start;
            scope.cells.get((ix - base) as usize).map(|cell| cell.slot)
        });
        run.is_node_given_up(scope, slot.unwrap_or(NO_SLOT))
    }

    /// Judges the outcome of a node: its output, or its error.
    pub(crate) fn judge<'p>(
        &self,
        slot: u32,
        program: &'p Program,
        scope: u32,
        ix: NodeIx,
        outcome: Result<&'p [u8], &Fault>,
    ) -> Verdict<'p> {
        let mut verdict = Verdict::default();
        let Some(run) = self.state.run(slot) else { return verdict };
        let node = &program.ir.nodes[ix as usize];
        if let Ok(output) = outcome {
            keep(program, ix, output, &mut verdict);
        }
        if run.failing.is_some() || self.is_over(run, program, scope, ix) {
            return verdict;
        }
        let mut view = View::new(run, program, scope);
        view.pending = Some(Pending { ix, output: outcome.ok(), error: outcome.err() });
        for edge in program.ir.outgoing(ix) {
            if edge.on_error != outcome.is_err() {
                continue;
            }
            let is_live = match &edge.when {
                None => true,
                Some(guard) => match guard.is_true(&view, &mut self.budget()) {
                    Ok(is_live) => is_live,
                    Err(error) => {
                        verdict.fails = Some(expression_failed(&error, &run.path(scope, &node.id)));
                        return verdict;
                    }
                },
            };
            verdict.handled |= is_live && outcome.is_err();
            if !is_live {
                verdict.dead.push(&program.ir.nodes[edge.to as usize].id);
            }
        }
        if let Err(fault) = outcome
            && !verdict.handled
            && node.on_error == OnError::Fail
        {
            verdict.fails = Some(Fails {
                error: RunError {
                    code: code::NODE_FAILED.into(),
                    kind: fault.kind.clone(),
                    message: fault.message.clone(),
                    node: run.path(scope, &node.id).into(),
                },
                item: scope != ROOT,
            });
        }
        verdict
    }
}

fn keep<'p>(program: &'p Program, ix: NodeIx, output: &'p [u8], verdict: &mut Verdict<'p>) {
    let paths = match &program.ir.nodes[ix as usize].keeps {
        Keeps::Nothing => return,
        Keeps::Paths(paths) if output.len() > KEEP_WHOLE_BYTES => paths,
        Keeps::Paths(_) | Keeps::All => {
            verdict.kept_all = true;
            return;
        }
    };
    for path in paths.iter() {
        if let Some(raw) = value::cut(output, &path.names) {
            verdict.kept.push(KeptPart { path: &path.pointer, value: Json(raw) });
        }
    }
}
