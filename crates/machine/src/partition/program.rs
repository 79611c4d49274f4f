//! A compiled definition as runs use it: the IR, and what is looked up in it again and again. A cache over the
//! registered bytes, not state.

use crate::state::symbols::{IdMap, Sym, Symbols};
use apex_ir::Ir;
use apex_ir::ir::{Kind, NodeIx};
use std::sync::Arc;

/// A compiled definition.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) ir: Ir,
    /// Number of the id of each node.
    pub(crate) syms: Vec<Sym>,
    ixs: IdMap<Sym, NodeIx>,
}

impl Program {
    pub(crate) fn new(ir: Ir, symbols: &mut Symbols) -> Program {
        let syms: Vec<Sym> = ir.nodes.iter().map(|node| symbols.note(&node.id)).collect();
        let ixs = syms.iter().enumerate().map(|(ix, &sym)| (sym, ix as NodeIx)).collect();
        Program { ir, syms, ixs }
    }

    /// The node with an id.
    pub(crate) fn ix(&self, sym: Sym) -> Option<NodeIx> {
        self.ixs.get(&sym).copied()
    }

    /// The graph that a map runs for each item, a loop for each iteration.
    pub(crate) fn body(&self, ix: NodeIx) -> Option<u32> {
        match self.ir.nodes[ix as usize].kind {
            Kind::Map { body, .. } | Kind::Loop { body, .. } => Some(body),
            _ => None,
        }
    }
}

/// Compiled definitions by the hash that they were registered with; the one that was compiled first leaves first.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    by_hash: IdMap<[u8; 32], Arc<Program>>,
    order: std::collections::VecDeque<[u8; 32]>,
}

impl Programs {
    pub(crate) fn get(&self, hash: &[u8; 32]) -> Option<Arc<Program>> {
        self.by_hash.get(hash).cloned()
    }

    pub(crate) fn put(&mut self, hash: [u8; 32], program: Arc<Program>, count_max: usize) {
        if self.by_hash.insert(hash, program).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > count_max.max(1) {
            if let Some(oldest) = self.order.pop_front() {
                self.by_hash.remove(&oldest);
            }
        }
    }

    pub(crate) fn remove(&mut self, hash: &[u8; 32]) {
        if self.by_hash.remove(hash).is_some() {
            self.order.retain(|other| other != hash);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }
}
