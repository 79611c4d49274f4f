//! A map: its list, its items (a scope each, at most `max_concurrency` open), its end.

use crate::error::kind;
use crate::event::Event;
use crate::event::node::ScopeOpened;
use crate::event::wire::Json;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::work::Work;
use crate::state::run::{Fault, Status, Wait};
use apex_ir::expressions::{ExprError, Template};
use apex_ir::ir::{Kind, NodeIx};
use serde_json::value::RawValue;

impl Machine {
    /// Evaluates the list; opens the first item, or is done with none.
    pub(crate) fn start_map(&mut self, program: &Program, at: At, over: &Template) -> Result<(), ExprError> {
        let list = self.view(program, at, |machine, view| over.render(view, &mut machine.budget()))?;
        let list = self.bounded(list)?;
        let list = if list == b"null" { b"[]".to_vec() } else { list };
        let Ok(ranges) = item_ranges(&list) else {
            return Err(ExprError { message: "over is not a list".into(), cost_exceeded_at: None });
        };
        let Kind::Map { items_max, .. } = program.ir.nodes[at.ix as usize].kind else { return Ok(()) };
        let items_max = items_max.min(self.config.limits.items_max);
        let over = (ranges.len() > items_max as usize).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("{} items, over items_max ({items_max})", ranges.len()).into(),
        });
        if let Some(fault) = over.or_else(|| self.over_scopes(at.slot, ranges.len())) {
            self.end_node(program, at, 0, Err(fault));
            return Ok(());
        }
        if ranges.is_empty() {
            self.end_node(program, at, 0, Ok(b"[]".to_vec()));
            return Ok(());
        }
        let touched = self.open_item(program, at, 0, &list, &ranges, true);
        self.note_slot(at.slot, program, at.scope, touched, at.ix);
        if let Some(run) = self.state.run_mut(at.slot) {
            if let Some(Wait::Map(items)) = run.node_mut(at.scope, touched).map(|node| &mut node.wait) {
                items.ranges = ranges;
            }
            run.work.push_back(Work::Pump { scope: at.scope, slot: touched, ix: at.ix });
        }
        Ok(())
    }

    /// Records one item and begins its body; gives the slot of the map.
    fn open_item(
        &mut self,
        program: &Program,
        at: At,
        index: u32,
        list: &[u8],
        ranges: &[(u32, u32)],
        first: bool,
    ) -> u32 {
        let id = &program.ir.nodes[at.ix as usize].id;
        let path = self.path(at.slot, at.scope, id);
        let (start, end) = ranges[index as usize];
        let event = Event::ScopeOpened(ScopeOpened {
            node: &path,
            index,
            item: Json(&list[start as usize..end as usize]),
            over: Json(if first { list } else { b"" }),
            items: if first { ranges.len() as u32 } else { 0 },
        });
        let child = self.emit(at.slot, &event, at.cause).scope;
        if let Some(body) = program.body(at.ix) {
            self.open_scope(at.slot, program, child, body);
        }
        self.state.run(at.slot).and_then(|run| run.scope(child)).map_or(0, |scope| scope.owner)
    }

    /// Goes on with a map: opens one more item, or ends it.
    pub(crate) fn pump_map(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32, ix: NodeIx) {
        let full = self.over_scopes(slot, 1);
        let Some(run) = self.state.run_mut(slot).filter(|run| !run.is_given_up(scope)) else { return };
        let Some(node) = run.node_mut(scope, node_slot).filter(|node| node.status == Status::Open) else { return };
        let cause = node.requested_seq;
        let at = At { slot, scope, ix, cause };
        let Wait::Map(items) = &mut node.wait else { return };
        // Several maps may have begun while there was room for each of them alone.
        let fault = items.error.as_deref().cloned().or_else(|| (items.next < items.count).then_some(full).flatten());
        if let Some(fault) = fault {
            if items.open == 0 {
                self.end_node(program, at, 1, Err(fault));
                return;
            }
            let children: Vec<u32> = node.children.values().copied().collect();
            for child in children {
                if run.scope(child).is_some_and(|child| !child.closed) {
                    run.work.push_back(Work::Abandon { scope: child, failed: false });
                }
            }
            return;
        }
        if items.next < items.count {
            let Kind::Map { max_concurrency, .. } = program.ir.nodes[ix as usize].kind else { return };
            if max_concurrency != 0 && items.open >= max_concurrency {
                return;
            }
            if items.ranges.is_empty() {
                items.ranges = item_ranges(&items.list).unwrap_or_default();
            }
            let (index, list, ranges) = (items.next, items.list.clone(), std::mem::take(&mut items.ranges));
            self.open_item(program, at, index, &list, &ranges, false);
            if let Some(run) = self.state.run_mut(slot) {
                if let Some(Wait::Map(items)) = run.node_mut(scope, node_slot).map(|node| &mut node.wait) {
                    items.ranges = ranges;
                }
                run.work.push_back(Work::Pump { scope, slot: node_slot, ix });
            }
        } else if items.open == 0 {
            let mut output = b"[".to_vec();
            for index in 0..items.count as usize {
                if index > 0 {
                    output.push(b',');
                }
                match items.outputs.get(index).and_then(Option::as_ref) {
                    Some(value) => output.extend_from_slice(value),
                    None => output.extend_from_slice(b"null"),
                }
            }
            output.push(b']');
            let outcome = match self.over_result_bytes(output.len()) {
                Some(fault) => Err(fault),
                None => Ok(output),
            };
            self.end_node(program, at, 1, outcome);
        }
    }
}

/// Where each element of a JSON list stands.
fn item_ranges(list: &[u8]) -> Result<Vec<(u32, u32)>, serde_json::Error> {
    let items: Vec<&RawValue> = serde_json::from_slice(list)?;
    let base = list.as_ptr() as usize;
    Ok(items
        .into_iter()
        .map(|item| {
            let start = item.get().as_ptr() as usize - base;
            (start as u32, (start + item.get().len()) as u32)
        })
        .collect())
}
