//! Whether the body of a map or loop is done at least once: a guard before it that says the same.

use crate::Ir;
use crate::expressions::{Budget, Expression, Member, NodeRef, Root, Scope};
use crate::ir::Kind;
use crate::limits::ExpressionLimits;
use std::borrow::Cow;

/// When a body is done at least once, given that its owner starts.
pub(super) enum Entry {
    Always,
    Never,
    /// Where this is true. It fails where the owner fails the run, and reads the same.
    Asks(Box<Expression>),
    /// In cases that no guard is known for.
    Unknown,
}

/// Of a map, `LIST != null && size(LIST) > 0`: null is an empty list to it. Of a loop its condition, where that is not
/// about iterations; else what it says before the first one, where it is about nothing else.
pub(super) fn entry(ir: &Ir, kind: &Kind) -> Entry {
    match kind {
        Kind::Map { over, .. } => match (over.lists_items(), over.single_reference()) {
            (Some(true), _) => Entry::Always,
            (Some(false), _) => Entry::Never,
            (None, Some(list)) => compiled(ir, &has_items(list.text())),
            (None, None) => Entry::Unknown,
        },
        Kind::Loop { condition, .. } => {
            let about: Vec<bool> = condition.references().iter().map(|one| is_iteration(&one.root)).collect();
            match (about.contains(&true), about.contains(&false)) {
                (false, true) => compiled(ir, condition.text()),
                (true, true) => Entry::Unknown,
                (_, false) => match condition.is_true(&First, &mut Budget::default()) {
                    Ok(true) => Entry::Always,
                    Ok(false) => Entry::Never,
                    Err(_) => Entry::Unknown,
                },
            }
        }
        _ => Entry::Unknown,
    }
}

fn has_items(list: &str) -> String {
    // What is remarked in the list ends with its line.
    format!("{list}\n != null && size({list}\n) > 0")
}

fn is_iteration(root: &Root) -> bool {
    matches!(root, Root::Iteration | Root::Last)
}

fn compiled(ir: &Ir, text: &str) -> Entry {
    let expression = Expression::compile(text, &ExpressionLimits::default()).ok();
    let known = expression.filter(|one| one.nodes().all(|id| ir.node(id).is_some()));
    known.map_or(Entry::Unknown, |one| Entry::Asks(Box::new(one)))
}

/// What a loop's condition sees before the first iteration, where it looks at iterations only.
struct First;

impl Scope for First {
    fn inputs(&self) -> &[u8] {
        b"null"
    }
    fn output(&self, _: &NodeRef, _: &[Box<str>]) -> Member<'_> {
        Member::Missing
    }
    fn status(&self, _: &NodeRef) -> Option<&str> {
        None
    }
    fn error(&self, _: &NodeRef) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn item(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn index(&self) -> Option<i64> {
        None
    }
    fn iteration(&self) -> Option<i64> {
        Some(0)
    }
    fn last(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn run_id(&self) -> &str {
        ""
    }
    fn run_started_ns(&self) -> i64 {
        0
    }
}
