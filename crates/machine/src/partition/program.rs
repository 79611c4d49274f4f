//! A compiled definition as runs use it: the IR, and what is looked up in it again and again. A cache over the
//! registered bytes, not state.

use crate::state::symbols::{IdMap, Sym, Symbols};
use apex_ir::Ir;
use apex_ir::ir::{Keeps, Kind, NodeIx};
use std::sync::Arc;

/// A compiled definition.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) ir: Ir,
    /// Number of the id of each node.
    pub(crate) syms: Vec<Sym>,
    ixs: IdMap<Sym, NodeIx>,
    /// JSON Pointers of what is kept of each node's output, in the order of [`Keeps::Paths`].
    pub(crate) pointers: Vec<Box<[Box<str>]>>,
    /// The whole output is kept: everything of it is read, or it is part of the output of its graph.
    pub(crate) keeps_all: Vec<bool>,
}

impl Program {
    pub(crate) fn new(ir: Ir, symbols: &mut Symbols) -> Program {
        let syms: Vec<Sym> = ir.nodes.iter().map(|node| symbols.note(&node.id)).collect();
        let ixs = syms.iter().enumerate().map(|(ix, &sym)| (sym, ix as NodeIx)).collect();
        let pointers = ir.nodes.iter().map(|node| pointers(&node.keeps)).collect();
        let mut keeps_all: Vec<bool> = ir.nodes.iter().map(|node| node.keeps == Keeps::All).collect();
        for graph in ir.graphs.iter().filter(|graph| graph.output.is_none()) {
            for &leaf in &graph.leaves {
                keeps_all[leaf as usize] = true;
            }
        }
        Program { ir, syms, ixs, pointers, keeps_all }
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

fn pointers(keeps: &Keeps) -> Box<[Box<str>]> {
    let Keeps::Paths(paths) = keeps else { return Box::default() };
    let pointer = |path: &[Box<str>]| -> Box<str> {
        path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect::<String>().into()
    };
    paths.iter().map(|path| pointer(path)).collect()
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
