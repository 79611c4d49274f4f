//! What records of scopes (items of a map, iterations of a loop) change.

use super::{Folding, Unfit, fault};
use crate::event::node::{ScopeClosed, ScopeOpened};
use crate::record::Header;
use crate::state::run::{Items, NO_SLOT, Scope, Wait};

impl Folding<'_> {
    pub(super) fn scope_opened(&mut self, header: &Header<'_>, e: &ScopeOpened<'_>) -> Result<(u32, u32), Unfit> {
        let seq = header.run_seq;
        let (scope, slot) = self.touch(e.node)?;
        let child = self.run.scopes.len() as u32;
        let node = self.node(scope, slot)?;
        if !matches!(node.wait, Wait::Map(_) | Wait::Loop(_)) {
            node.requested_seq = seq;
            // A map says with its first item how many there are; a loop does not know.
            node.wait = if e.items == 0 {
                Wait::Loop(Box::default())
            } else {
                Wait::Map(Box::new(Items {
                    list: e.over.0.into(),
                    count: e.items,
                    next: 0,
                    open: 0,
                    outputs: Vec::new(),
                    error: None,
                    ranges: Vec::new(),
                    bytes: Some(0),
                }))
            };
        }
        let item = match &mut node.wait {
            Wait::Map(items) => {
                items.next = e.index + 1;
                items.open += 1;
                e.item.0.into()
            }
            Wait::Loop(iterations) => {
                iterations.next = e.index + 1;
                iterations.open = true;
                iterations.last.clone()
            }
            _ => return Err(format!("{} has no scopes", e.node)),
        };
        node.children.insert(e.index, child);
        let path = format!("{}[{}]", e.node, e.index);
        let mut scope_state = Scope::new(scope, slot, e.index, item, path.into());
        scope_state.opened_seq = seq;
        self.run.scopes.push(Some(Box::new(scope_state)));
        self.run.requested = true;
        Ok((child, NO_SLOT))
    }

    pub(super) fn scope_closed(&mut self, e: &ScopeClosed<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        let node = self.node(scope, slot)?;
        let child = *node.children.get(&e.index).ok_or_else(|| format!("{}[{}] is not open", e.node, e.index))?;
        let error = match &mut node.wait {
            Wait::Map(items) => {
                items.open = items.open.saturating_sub(1);
                if e.status == "ok" {
                    let index = e.index as usize;
                    if items.outputs.len() <= index {
                        items.outputs.resize(index + 1, None);
                    }
                    items.outputs[index] = Some(e.output.0.into());
                    if let Some(bytes) = &mut items.bytes {
                        *bytes += e.output.0.len();
                    }
                }
                &mut items.error
            }
            Wait::Loop(iterations) => {
                iterations.open = false;
                if e.status == "ok" {
                    iterations.last = e.output.0.into();
                }
                &mut iterations.error
            }
            _ => return Err(format!("{} has no scopes", e.node)),
        };
        if e.fails.0 && error.is_none() {
            *error = e.error.as_ref().map(fault);
        }
        self.close(child);
        Ok((scope, slot))
    }

    /// A scope ends. What may have to be undone stays.
    pub(super) fn close(&mut self, scope: u32) {
        let Some(state) = self.run.scope(scope) else { return };
        let (parent, owner, index, undo) = (state.parent, state.owner, state.index, state.undo);
        let slots = state.nodes.len() as u32;
        let children: Vec<u32> = state.nodes.iter().flat_map(|node| node.children.values().copied()).collect();
        for slot in 0..slots {
            self.clear_wait(scope, slot);
        }
        self.release_all(|_, of, _| of == scope);
        for child in children {
            if self.run.scope(child).is_some_and(|child| !child.closed) {
                self.close(child);
            }
        }
        if undo {
            if let Some(state) = self.run.scope_mut(scope) {
                state.closed = true;
                state.cells = Vec::new();
            }
        } else {
            self.run.scopes[scope as usize] = None;
            if let Some(node) = self.run.node_mut(parent, owner) {
                node.children.remove(&index);
            }
        }
    }
}
