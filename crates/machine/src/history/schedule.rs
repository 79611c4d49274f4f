//! Which piece of work a record came from. Several pieces may be pending, and which of them goes first depends on how
//! full the turns were: that is no decision, so the piece that is about the record's node is done first.

use crate::event::Event;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::visit::Progress;
use crate::run::work::Work;
use crate::state::fold::find_scope;
use crate::state::run::{Run, Status, Wait, split_path};
use crate::state::symbols::{Sym, Symbols};

/// Pieces that may be done for one record. Each does something or nothing and is gone; far more than there can be do
/// nothing only where the engine is at fault.
const PIECES_MAX: u32 = 1_000_000;

/// What a record is about.
#[derive(Debug, Clone, Copy)]
enum Subject {
    /// A node itself.
    Node(u32, Sym),
    /// It opens a scope of this node.
    Opens(u32, Sym),
    /// It closes this scope of the node.
    Closes(u32, Sym, u32),
}

impl Machine {
    /// Goes on with a run, by the piece that this record must come from, until something is recorded.
    pub(super) fn go_on_to(&mut self, slot: u32, event: &Event<'_>) {
        for _ in 0..PIECES_MAX {
            let Some(program) = self.ready(slot) else { return };
            let Some(run) = self.state.run(slot) else { return };
            if let Some(place) = run.next_letter() {
                self.write_letter(slot, &program, place);
                return;
            }
            let first = run.work.front().is_some_and(|work| only_unfolds(run, &program, work)).then_some(0);
            let next = first
                .or_else(|| {
                    let subject = subject(run, &self.state.symbols, event)?;
                    run.work.iter().position(|work| is_about(run, &program, work, subject))
                })
                .or_else(|| {
                    run.work
                        .iter()
                        .position(|work| only_unfolds(run, &program, work) && !matches!(work, Work::Rest { .. }))
                });
            if let (Some(at), Some(run)) = (next, self.state.run_mut(slot))
                && let Some(work) = run.work.remove(at)
            {
                run.work.push_front(work);
            }
            if self.go_on(slot, &program) == Progress::Idle || self.count > 0 {
                return;
            }
        }
    }
}

fn subject(run: &Run, symbols: &Symbols, event: &Event<'_>) -> Option<Subject> {
    let place = |path: &str| {
        let (scope, id) = split_path(path);
        Some((find_scope(run, symbols, scope)?, symbols.find(id)?))
    };
    Some(match event {
        Event::ScopeOpened(e) => place(e.node).map(|(scope, sym)| Subject::Opens(scope, sym))?,
        Event::ScopeClosed(e) => place(e.node).map(|(scope, sym)| Subject::Closes(scope, sym, e.index))?,
        event => place(node_of(event)?).map(|(scope, sym)| Subject::Node(scope, sym))?,
    })
}

/// The instance that a record of a node is about.
fn node_of<'a>(event: &Event<'a>) -> Option<&'a str> {
    match event {
        Event::ToolCallRequested(e) => Some(e.node),
        Event::ToolResultReceived(e) => Some(e.node),
        Event::NodeSkipped(e) => Some(e.node),
        Event::NodeRetryScheduled(e) => Some(e.node),
        Event::TimerStarted(e) => Some(e.node),
        Event::ApprovalRequested(e) => Some(e.node),
        _ => None,
    }
}

fn is_about(run: &Run, program: &Program, work: &Work, subject: Subject) -> bool {
    let named = |ix: u32| program.syms.get(ix as usize).copied();
    let touched = |scope: u32, slot: u32| run.node(scope, slot).map(|node| node.sym);
    let owner =
        |scope: u32| run.scope(scope).map(|inner| (inner.parent, touched(inner.parent, inner.owner), inner.index));
    match (*work, subject) {
        (
            Work::Start { scope, ix, .. } | Work::Skip { scope, ix, .. } | Work::Unreachable { scope, ix, .. },
            Subject::Node(at, sym) | Subject::Opens(at, sym),
        ) => scope == at && named(ix) == Some(sym),
        (Work::Pump { scope, slot, .. }, Subject::Node(at, sym) | Subject::Opens(at, sym)) => {
            scope == at && touched(scope, slot) == Some(sym)
        }
        (
            Work::Retry { scope, slot }
            | Work::Again { scope, slot }
            | Work::Recall { scope, slot }
            | Work::Stop { scope, slot },
            Subject::Node(at, sym),
        ) => scope == at && touched(scope, slot) == Some(sym),
        (Work::Rest { scope, ix, at: place }, Subject::Node(at, sym)) => {
            let rest = &program.ir.nodes[ix as usize].cancel_rest;
            scope == at && rest.get(place as usize).and_then(|&ix| named(ix)) == Some(sym)
        }
        (Work::Close { scope }, Subject::Node(at, sym)) => {
            owner(scope).is_some_and(|(parent, name, _)| parent == at && name == Some(sym))
        }
        (Work::Close { scope } | Work::Abandon { scope, .. }, Subject::Closes(at, sym, index)) => {
            owner(scope).is_some_and(|(parent, name, own)| parent == at && name == Some(sym) && own == index)
        }
        _ => false,
    }
}

/// It records nothing and only makes other pieces.
fn only_unfolds(run: &Run, program: &Program, work: &Work) -> bool {
    match *work {
        Work::Pump { scope, slot, .. } => matches!(
            run.node(scope, slot).map(|node| &node.wait),
            Some(Wait::Map(items)) if items.error.is_some() && items.open > 0
        ),
        Work::Abandon { scope, .. } => run.has_in_flight(scope),
        Work::Rest { scope, ix, at } => {
            let Some(&target) = program.ir.nodes[ix as usize].cancel_rest.get(at as usize) else { return true };
            let found = run
                .scope(scope)
                .and_then(|inner| Some(&inner.nodes[inner.find(program.syms[target as usize])? as usize]));
            found.is_some_and(|node| node.status != Status::Open || node.wait.has_open_scopes())
        }
        _ => false,
    }
}
