//! How much the patches of a run may add: in one patch, by one agent, in all, and how deep agents may stand below each
//! other.

use crate::action::Refusal;
use crate::error::code;
use crate::machine::Machine;
use crate::partition::registry::over;
use crate::partition::turn::refusal;
use crate::state::run::{Run, split_path};
use apex_ir::overlay::{Id, Operation, adds_agent, nodes_added};
use std::collections::BTreeMap;

/// The agent node that an author is; `None`: it is somebody else.
fn agent_of(author: &str) -> Option<&str> {
    author.strip_prefix("agent:").map(|path| split_path(path).1)
}

/// A patch in force, or one that may come into force.
struct Counted<'r> {
    author: &'r str,
    in_force: bool,
    /// The nodes that it adds.
    added: &'r [Id],
}

impl Run {
    /// The patches that count: those in force, and those that wait for a person.
    fn counted(&self) -> Vec<Counted<'_>> {
        let in_force = self.layers().iter().filter(|layer| layer.dropped == 0);
        let held = self.proposals().iter().filter(|proposal| !proposal.rejected);
        let counted = in_force
            .map(|layer| (&*layer.author, &layer.operations, true))
            .chain(held.map(|proposal| (&*proposal.author, &proposal.operations, false)));
        counted.map(|(author, operations, in_force)| Counted { author, in_force, added: operations.added() }).collect()
    }

    /// Bytes of the operations of all its patches.
    fn patched_bytes(&self) -> usize {
        let applied = self.layers().iter().map(|layer| layer.operations.len());
        applied.chain(self.proposals().iter().map(|proposal| proposal.operations.len())).sum()
    }
}

impl Machine {
    /// Refuses operations (and their bytes) that are more than a run may be patched with.
    pub(crate) fn check_bounds(
        &self,
        slot: u32,
        author: &str,
        operations: &[Operation],
        bytes: usize,
    ) -> Result<(), Refusal> {
        let Some(run) = self.state.run(slot) else { return Ok(()) };
        let limits = &self.config.limits;
        if run.layers().len() + run.proposals().len() >= limits.patches_per_run_max {
            return Err(over("patches_per_run_max", limits.patches_per_run_max));
        }
        if run.patched_bytes() + bytes > limits.patched_bytes_max {
            return Err(over("patched_bytes_max", limits.patched_bytes_max));
        }
        let added = nodes_added(operations);
        if added > limits.patch_nodes_max {
            return Err(too_many("patch_nodes_max", limits.patch_nodes_max, 0, added, "this patch"));
        }
        let counted = run.counted();
        let sum = |is_meant: &dyn Fn(&Counted<'_>) -> bool| -> usize {
            counted.iter().filter(|patch| is_meant(patch)).map(|patch| patch.added.len()).sum()
        };
        let before = sum(&|_| true);
        if before + added > limits.patched_nodes_max {
            return Err(too_many("patched_nodes_max", limits.patched_nodes_max, before, added, "the run"));
        }
        let Some(agent) = agent_of(author) else { return Ok(()) };
        let before = sum(&|patch| agent_of(patch.author) == Some(agent));
        if before + added > limits.agent_nodes_max {
            return Err(too_many("agent_nodes_max", limits.agent_nodes_max, before, added, agent));
        }
        let depth = depth_of(agent, &counted) + 1;
        match operations.iter().find_map(adds_agent) {
            Some(added) if depth > limits.agent_depth_max => {
                let max = limits.agent_depth_max;
                let message = format!("over agent_depth_max ({max}): {added} would stand {depth} agents deep");
                Err(refusal(code::LIMIT_EXCEEDED, message))
            }
            _ => Ok(()),
        }
    }
}

/// How many agents stand above one: it was added by a patch of one of them.
fn depth_of(agent: &str, counted: &[Counted<'_>]) -> usize {
    let mut added_by: BTreeMap<&str, &str> = BTreeMap::new();
    // A patch that waits for a person may name what another one has added since.
    for patch in counted.iter().filter(|patch| patch.in_force) {
        let Some(author) = agent_of(patch.author) else { continue };
        added_by.extend(patch.added.iter().map(|id| (&**id, author)));
    }
    let (mut depth, mut at) = (0, agent);
    // An author has begun and stays, so there is no circle; the bound is for what nobody thought of.
    while let Some(&above) = added_by.get(at).filter(|_| depth <= counted.len()) {
        (depth, at) = (depth + 1, above);
    }
    depth
}

fn too_many(limit: &str, max: usize, before: usize, added: usize, whose: &str) -> Refusal {
    let message = match before {
        0 => format!("over {limit} ({max}): the patch adds {added} nodes"),
        _ => format!("over {limit} ({max}): patches of {whose} have added {before} nodes, and this one adds {added}"),
    };
    refusal(code::LIMIT_EXCEEDED, message)
}
