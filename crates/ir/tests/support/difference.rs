//! What a run of a patched definition does that no run of the original does.

use crate::interpreter::{Outcome, World, depths, pure_call, run};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Where a run of `after` does something that no run of `before` does, in one world. Calls and guards that only `before`
/// has are taken to go well: leaving them out may spare a run a failure.
pub(crate) fn difference(before: &Json, after: &Json, seed: u64, failing: u64) -> Option<String> {
    let (homes, spared) = (BTreeMap::new(), BTreeSet::new());
    let is = run(after, &World { seed, failing, may_fail: None, homes, spared });
    let was = |homes, spared| run(before, &World { seed, failing, may_fail: Some(is.done.clone()), homes, spared });
    let plain = was(BTreeMap::new(), BTreeSet::new());
    let found = between(&plain, &is)?;
    // What moved out of a body may have failed in the body as it does outside, or have gone well there.
    let stood = depths(before);
    let mut moved: BTreeMap<String, usize> =
        depths(after).into_iter().filter(|(id, depth)| stood.get(id).is_some_and(|was| was > depth)).collect();
    moved.extend(moved_under_other_ids(&plain, &is));
    between(&was(moved.clone(), BTreeSet::new()), &is)?;
    // What is left out goes well, also where an equal call that stays fails.
    let stays = depths(after);
    let left_out = stood.into_keys().filter(|id| !stays.contains_key(id)).collect();
    between(&was(moved, left_out), &is).and(Some(found))
}

/// The pure calls of bodies that only `is` does outside them, by the nodes that make them in `was`; and in how many
/// bodies they are done now.
fn moved_under_other_ids(was: &Outcome, is: &Outcome) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (outside, term) in is.done.difference(&was.done).filter_map(|what| pure_call(what)) {
        let stood = was.callers.iter().filter(|(what, _)| {
            let is_it = |(body, other): (&str, &str)| other == term && body != outside && body.starts_with(outside);
            !is.done.contains(*what) && pure_call(what).is_some_and(is_it)
        });
        found.extend(stood.map(|(_, id)| (id.clone(), outside.matches('[').count())));
    }
    found
}

/// Where two runs differ.
fn between(was: &Outcome, is: &Outcome) -> Option<String> {
    let Outcome { output, writes, order, done, fatal, callers: _ } = is;
    if was.fatal.is_empty() != fatal.is_empty() {
        return Some(format!("fails by {fatal:?} instead of {:?}", was.fatal));
    }
    // In a run that fails anyway, calls without effect may be done that waited for what failed.
    if fatal.is_empty() && !done.is_subset(&was.done) {
        return Some(format!("added {:?}", done.difference(&was.done).next()));
    }
    // Where a run fails, what does not wait for the failure is done or not; nothing else may be.
    if let Some(other) = writes.iter().find(|(path, given)| was.writes.get(*path) != Some(given)) {
        return Some(format!("write {other:?}"));
    }
    let lost: Vec<_> = was
        .order
        .iter()
        .filter(|(a, b)| writes.contains_key(a) && writes.contains_key(b) && !order.contains(&(a.clone(), b.clone())))
        .collect();
    if !lost.is_empty() {
        return Some(format!("order {lost:?}"));
    }
    if fatal.is_empty() && (*output != was.output || *writes != was.writes) {
        return Some(format!("output {output:?} or writes {writes:?}"));
    }
    None
}
