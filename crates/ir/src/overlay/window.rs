//! The part of two definitions in which they differ, so that what a patch costs grows with the patch.

use super::parts::{Misfit, Parts};
use crate::compile::unchanged;
use crate::value::Value;
use std::sync::Arc;

/// Two definitions without the nodes and edges of the workflow's own graph that are the very same at the beginning and
/// at the end of both lists; but with one of those on each side, so that it is known where the rest stands.
pub(crate) struct Window<'w> {
    before: Value,
    after: Value,
    whole: &'w Value,
    /// How many were left out at the beginning and at the end, of each list.
    left_out: [(usize, usize); 2],
}

const LISTS: [&str; 2] = ["nodes", "edges"];

impl<'w> Window<'w> {
    pub(crate) fn of(before: &'w Value, after: &Value) -> Self {
        let left_out = LISTS.map(|name| {
            let (before, after) = (before.member(name), after.member(name));
            let (start, end) = unchanged(before.map_or(&[], Value::items), after.map_or(&[], Value::items));
            (start.saturating_sub(1), end.saturating_sub(1))
        });
        let cut = |of: &Value| {
            with_lists(of, |at, items| {
                let (start, end) = left_out[at];
                items[start..items.len() - end].to_vec()
            })
        };
        Self { before: cut(before), after: cut(after), whole: before, left_out }
    }

    /// Both taken apart.
    pub(crate) fn parts(&self) -> Result<(Parts, Parts), Misfit> {
        let of = |part| Parts::of(part).map(|parts| Parts { is_window: true, ..parts });
        Ok((of(&self.before)?, of(&self.after)?))
    }

    /// The whole definition of which this is the window.
    pub(crate) fn fill(&self, window: &Value) -> Value {
        with_lists(window, |at, items| {
            let (start, end) = self.left_out[at];
            let around = self.whole.member(LISTS[at]).map_or(&[][..], Value::items);
            [&around[..start], items, &around[around.len() - end..]].concat()
        })
    }
}

/// The workflow with other lists, where it has them.
fn with_lists(workflow: &Value, make: impl Fn(usize, &[Value]) -> Vec<Value>) -> Value {
    let mut workflow = workflow.clone();
    if let Value::Map(members) = &mut workflow {
        let members = Arc::make_mut(members);
        for (at, name) in LISTS.into_iter().enumerate() {
            if let Some(Value::List(list)) = members.member(name) {
                let made = Value::list(make(at, list));
                members.set(name, made);
            }
        }
    }
    workflow
}
