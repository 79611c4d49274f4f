//! The page of transitions: what the histories saw runs, nodes and compensations do, as tables.

use crate::coverage::{Coverage, Move};
use std::collections::{BTreeMap, BTreeSet};

const HEAD: &str = "\
# Transitions

Every transition that the simulation has seen a run, a node or a compensation make, over the first 3,000 seeds. The page is
made from those histories by `make transitions`, and a test of `crates/sim` says that it is what they give today. What the
states mean stands in [the state machine of a run](state-machine.md).
";

/// The page, of what these histories met.
#[must_use]
pub fn page(coverage: &Coverage) -> String {
    let mut page = String::from(HEAD);
    for (title, before, moves) in [
        ("A run", "A run begins with its first event.", &coverage.runs),
        (
            "A node",
            "A node is known by its instance path; `untouched` is one that nothing was recorded of. In brackets: the status \
             that the event carries.",
            &coverage.nodes,
        ),
        ("A compensation", "One step of what a failing run undoes.", &coverage.steps),
    ] {
        page.push_str(&format!("\n## {title}\n\n{before}\n\n{}", table(moves.keys())));
    }
    page
}

/// A row for each pair of states, with the events that lead from one to the other.
fn table<'a>(moves: impl Iterator<Item = &'a Move>) -> String {
    let mut rows: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (from, event, to) in moves {
        rows.entry((from, to)).or_default().insert(event);
    }
    let mut table = String::from("| from | to | by |\n|---|---|---|\n");
    for ((from, to), events) in rows {
        let events: Vec<String> = events
            .into_iter()
            .map(|event| match event.split_once(' ') {
                Some((name, status)) => format!("`{name}` {status}"),
                None => format!("`{event}`"),
            })
            .collect();
        let from = if from.is_empty() { "(nothing)" } else { from };
        table.push_str(&format!("| {from} | {to} | {} |\n", events.join(", ")));
    }
    table
}
