//! Where each node of a run stands, told from its records.

use super::HistoryError;
use super::fold::{empty, fold, read};
use crate::id::RunId;
use crate::state::State;
use crate::state::run::{Node, Status, Wait};
use std::collections::BTreeMap;

/// Where a node stands. Of one in a body, which has many instances, the one that says most is told: the later variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum NodeState {
    Skipped,
    Done,
    /// For a time, a person, a signal, or its turn.
    Waiting,
    Running,
    Failed,
}

impl NodeState {
    /// As it is written: `skipped`, ….
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Skipped => "skipped",
            NodeState::Done => "done",
            NodeState::Waiting => "waiting",
            NodeState::Running => "running",
            NodeState::Failed => "failed",
        }
    }

    /// `None`: nothing happened to it yet.
    fn of(node: &Node) -> Option<NodeState> {
        Some(match (node.status, &node.wait) {
            (Status::Ok, _) => NodeState::Done,
            (Status::Failed, _) => NodeState::Failed,
            (Status::Skipped, _) => NodeState::Skipped,
            (Status::Open, Wait::Nothing) => return None,
            (Status::Open, wait) if wait.is_for_outside() => NodeState::Waiting,
            (Status::Open, _) => NodeState::Running,
        })
    }
}

/// Where the nodes of a run stand after these records, which are its first ones, by id; of a run that has ended, where
/// they stood at its end. Nodes to which nothing happened are not there, nor are those of bodies that are over.
///
/// # Errors
/// Records that cannot be read, are not of one run from offset 0, or were changed.
pub fn node_states(records: &[&[u8]]) -> Result<BTreeMap<String, NodeState>, HistoryError> {
    let records = read(records)?;
    let mut machine = empty(&records);
    let mut found = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        // The last one may end the run, and nothing is known of it then.
        if place + 1 == records.len() {
            found = of(&mut machine.state, record.header.run_id).unwrap_or(found);
        }
        fold(&mut machine.state, record)?;
    }
    let id = records.first().map(|first| first.header.run_id);
    Ok(id.and_then(|id| of(&mut machine.state, id)).unwrap_or(found))
}

fn of(state: &mut State, id: RunId) -> Option<BTreeMap<String, NodeState>> {
    let slot = state.find(&id)?;
    let run = state.run(slot)?;
    let mut found: BTreeMap<String, NodeState> = BTreeMap::new();
    for node in run.scopes.iter().flatten().flat_map(|scope| &scope.nodes) {
        if let Some(now) = NodeState::of(node) {
            let name = state.symbols.name(node.sym).to_string();
            found.entry(name).and_modify(|state| *state = now.max(*state)).or_insert(now);
        }
    }
    Some(found)
}
