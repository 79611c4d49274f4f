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
    let (stood, stays) = (depths(before), depths(after));
    let is_out = |(id, depth): (&String, &usize)| stood.get(id).is_some_and(|was| was > depth);
    let by_id: BTreeMap<String, usize> =
        stays.iter().filter(|&(id, depth)| is_out((id, depth))).map(|(id, depth)| (id.clone(), *depth)).collect();
    let with = |more: Vec<(String, usize)>| by_id.clone().into_iter().chain(more).collect::<BTreeMap<_, _>>();
    // What is left out goes well, also where an equal call that stays fails.
    let left_out: BTreeSet<String> = stood.keys().filter(|id| !stays.contains_key(*id)).cloned().collect();
    for moved in [with(equal_outside(&plain, &is, false)), with(equal_outside(&plain, &is, true))] {
        for spared in [BTreeSet::new(), left_out.clone()] {
            between(&was(moved.clone(), spared), &is)?;
        }
    }
    Some(found)
}

/// The nodes that make, in bodies of `was`, pure calls that only `is` makes outside them; and in how many bodies those are.
/// With or without calls that `is` makes in the body as well.
fn equal_outside(was: &Outcome, is: &Outcome, also_inside: bool) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (outside, term) in is.done.difference(&was.done).filter_map(|what| pure_call(what)) {
        let inside = was.callers.iter().filter(|(what, _)| {
            let is_it = |(body, other): (&str, &str)| other == term && body != outside && body.starts_with(outside);
            (also_inside || !is.done.contains(*what)) && pure_call(what).is_some_and(is_it)
        });
        found.extend(inside.map(|(_, id)| (id.clone(), outside.matches('[').count())));
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
