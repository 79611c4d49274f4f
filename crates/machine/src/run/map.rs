//! A map: its list, its items (a scope each, at most `max_concurrency` open), its end.

use crate::error::kind;
use crate::event::Event;
use crate::event::failure::NodeError;
use crate::event::node::{ScopeClosed, ScopeOpened, ToolResultReceived};
use crate::event::wire::{Flag, Json};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::verdict::{Fails, expression_failed};
use crate::run::work::Work;
use crate::state::run::{Fault, ROOT, Status, Wait};
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
            self.end_map(program, at, 0, Err(fault));
            return Ok(());
        }
        if ranges.is_empty() {
            self.end_map(program, at, 0, Ok(b"[]".to_vec()));
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

    /// So many more scopes would be more than a run may open.
    fn over_scopes(&self, slot: u32, more: usize) -> Option<Fault> {
        let max = self.config.limits.scopes_per_run_max;
        let scopes = self.state.run(slot).map_or(0, |run| run.scopes.len());
        (scopes + more > max as usize).then(|| Fault {
            kind: kind::LIMIT_EXCEEDED.into(),
            message: format!("the run would open more scopes than scopes_per_run_max ({max})").into(),
        })
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
        let cause = self.state.run(at.slot).map_or(0, |run| run.next_seq - 1);
        if let Some(body) = program.body(at.ix) {
            self.open_scope(at.slot, program, child, body, cause);
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
        let Wait::Map(items) = &node.wait else { return };
        // Several maps may have begun while there was room for each of them alone.
        let fault = items.error.as_deref().cloned().or_else(|| (items.next < items.count).then_some(full).flatten());
        let children: Vec<u32> = match &node.wait {
            Wait::Map(items) if fault.is_some() && items.open > 0 => node.children.values().copied().collect(),
            _ => Vec::new(),
        };
        let Wait::Map(items) = &mut node.wait else { return };
        if let Some(fault) = fault {
            if items.open == 0 {
                self.end_map(program, at, 1, Err(fault));
                return;
            }
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
            self.end_map(program, at, 1, outcome);
        }
    }

    /// Decides a map, or a node that was over a limit before it began.
    pub(crate) fn end_map(&mut self, program: &Program, at: At, attempt: u32, outcome: Result<Vec<u8>, Fault>) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, outcome.as_deref());
        let fails = verdict.fails;
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            attempt,
            status: if outcome.is_ok() { "ok" } else { "error" },
            output: Json(outcome.as_deref().unwrap_or_default()),
            error: outcome.as_ref().err().map(Fault::event),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// All nodes of an item are decided: its output is evaluated, and it closes.
    pub(crate) fn close_item(&mut self, program: &Program, slot: u32, scope_ix: u32) {
        let Some(run) = self.state.run(slot) else { return };
        if run.is_given_up(scope_ix) {
            return;
        }
        let Some(scope) = run.scope(scope_ix).filter(|scope| scope.undecided == 0) else { return };
        let graph = scope.graph;
        match self.graph_output(slot, program, scope_ix, graph) {
            Ok(output) => match self.over_output_bytes(slot, scope_ix, output.len()) {
                // The map has failed whatever the other items give: their outputs must not pile up until it says so.
                Some(fault) => self.record_close(program, slot, scope_ix, "failed", b"", Some(&fault), Some(true)),
                None => self.record_close(program, slot, scope_ix, "ok", &output, None, None),
            },
            Err(error) => {
                let Some((at, _)) = self.owner(program, slot, scope_ix) else { return };
                let path = self.path(slot, at.scope, &program.ir.nodes[at.ix as usize].id);
                let fails = expression_failed(&error, &path);
                // The run fails, whatever the map would do about a failed item: recorded as the end of the map.
                self.fail_node(program, at, &fails);
            }
        }
    }

    /// An item failed, or its map did: the jobs in flight in it are taken back, then it closes.
    pub(crate) fn abandon(&mut self, program: &Program, slot: u32, scope_ix: u32, failed: bool) {
        let Some(run) = self.state.run_mut(slot) else { return };
        if run.scope(scope_ix).is_none_or(|scope| scope.closed) || scope_ix == ROOT {
            return;
        }
        let mut flying = Vec::new();
        in_flight(run, scope_ix, &mut flying);
        if !flying.is_empty() {
            run.work.push_front(Work::Abandon { scope: scope_ix, failed });
            for (scope, slot) in flying.into_iter().rev() {
                run.work.push_front(Work::Recall { scope, slot });
            }
            return;
        }
        let fault = run.scope(scope_ix).and_then(|scope| scope.failing.as_deref().cloned());
        match fault.filter(|_| failed) {
            Some(fault) => {
                let Some((at, _)) = self.owner(program, slot, scope_ix) else { return };
                let skip = matches!(program.ir.nodes[at.ix as usize].kind, Kind::Map { skip_item_errors: true, .. });
                self.record_close(program, slot, scope_ix, "failed", b"", Some(&fault), Some(!skip));
            }
            None => self.record_close(program, slot, scope_ix, "cancelled", b"", None, None),
        }
    }

    /// One job of an item that is abandoned is taken back, if it is still in flight.
    pub(crate) fn recall_job(&mut self, program: &Program, slot: u32, scope: u32, node_slot: u32) {
        let node = self.state.run(slot).and_then(|run| run.node(scope, node_slot));
        let Some(node) = node.filter(|node| matches!(node.wait, Wait::Job(_))) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        self.recall(program, At { slot, scope, ix, cause: 0 }, node_slot);
    }

    /// With one more output the list of a map would be larger than a result may be.
    fn over_output_bytes(&mut self, slot: u32, scope_ix: u32, bytes: usize) -> Option<Fault> {
        let run = self.state.run_mut(slot)?;
        let scope = run.scope(scope_ix)?;
        let (parent, owner) = (scope.parent, scope.owner);
        let Wait::Map(items) = &mut run.node_mut(parent, owner)?.wait else { return None };
        let sum = items.output_bytes() + bytes;
        self.over_result_bytes(sum)
    }

    /// The map that a scope belongs to.
    fn owner(&self, program: &Program, slot: u32, scope_ix: u32) -> Option<(At, u32)> {
        let run = self.state.run(slot)?;
        let scope = run.scope(scope_ix)?;
        let owner = run.node(scope.parent, scope.owner)?;
        let ix = program.ix(owner.sym)?;
        Some((At { slot, scope: scope.parent, ix, cause: run.next_seq - 1 }, scope.owner))
    }

    #[allow(clippy::too_many_arguments)]
    fn record_close(
        &mut self,
        program: &Program,
        slot: u32,
        scope_ix: u32,
        status: &str,
        output: &[u8],
        error: Option<&Fault>,
        fails: Option<bool>,
    ) {
        let Some((at, owner)) = self.owner(program, slot, scope_ix) else { return };
        let path = self.path(slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let index = self.state.run(slot).and_then(|run| run.scope(scope_ix)).map_or(0, |scope| scope.index);
        let event = Event::ScopeClosed(ScopeClosed {
            node: &path,
            index,
            status,
            output: Json(output),
            error: error.map(Fault::event),
            fails: Flag(fails.unwrap_or(false)),
        });
        self.emit(slot, &event, at.cause);
        if let Some(run) = self.state.run_mut(slot) {
            run.work.push_back(Work::Pump { scope: at.scope, slot: owner, ix: at.ix });
        }
    }
}

/// The jobs in flight in a scope and below it; bodies nest `bodies_max` deep at most.
fn in_flight(run: &crate::state::run::Run, scope_ix: u32, found: &mut Vec<(u32, u32)>) {
    let Some(scope) = run.scope(scope_ix) else { return };
    for (slot, node) in scope.nodes.iter().enumerate() {
        if matches!(node.wait, Wait::Job(_)) {
            found.push((scope_ix, slot as u32));
        }
        for &child in node.children.values() {
            in_flight(run, child, found);
        }
    }
}

impl Fault {
    pub(crate) fn event(&self) -> NodeError<'_> {
        NodeError { r#type: &self.kind, message: &self.message }
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
