//! Base and patches to a definition and its IR; a patch document to operations on ids; a patch dropped again.

use super::operation::Operation;
use super::parts::Parts;
use super::patch::{Patch, PatchError, PatchLimits};
use super::pointer::Pointer;
use super::resolve::between;
use super::touch::{added_nodes, conflicts};
use super::window::Window;
use crate::compile::recompile;
use crate::id::Id;
use crate::nodes::own_output;
use crate::value::{Value, ValueLimits, parse};
use crate::{Diagnostic, FunctionSpec, FunctionTable, Ir, Limits};
use std::borrow::Cow;
use std::sync::Arc;

/// Why a patch is refused before anything is looked at that is the run's or the author's.
#[derive(Debug)]
pub enum Refusal {
    /// It is no patch, or does not apply to the document.
    Shape(PatchError),
    /// What it makes is no definition. Pointers are into the definition as it would be.
    Meaning(Vec<Diagnostic>),
}

/// A patch that can be applied.
#[derive(Debug)]
pub struct Resolved {
    /// What it does, by ids. The order is that of a canonical list: the same patch resolves to the same bytes.
    pub operations: Vec<Operation>,
    /// The definition that it makes of the one that it was resolved against, compiled.
    pub ir: Ir,
}

/// Resolves a patch document (RFC 6902, as JSON bytes) against a definition. With a function table, what the nodes that
/// it adds or that call another function do not state is filled in, as at registration; others stay as they are.
///
/// # Errors
/// [`Refusal`]. Name, version and the schema of the inputs are no part of what a patch may change.
pub fn resolve(
    definition: &Ir,
    patch: &[u8],
    functions: Option<&FunctionTable>,
    patch_limits: &PatchLimits,
    limits: &Limits,
) -> Result<Resolved, Refusal> {
    let before = definition.tree();
    let patch = Patch::parse(patch, patch_limits).map_err(Refusal::Shape)?;
    let after = patch.apply(before, patch_limits).map_err(Refusal::Shape)?;
    let fixed =
        ["name", "version", "inputs"].into_iter().filter(|name| match (before.member(name), after.member(name)) {
            (Some(before), Some(after)) => !before.is_same_json(after),
            (before, after) => before.is_some() != after.is_some(),
        });
    let fixed: Vec<Diagnostic> = fixed
        .map(|name| meaning("FIXED_MEMBER", format!("/{name}"), format!("a patch cannot change {name:?}")))
        .collect();
    if !fixed.is_empty() {
        return Err(Refusal::Meaning(fixed));
    }
    let table = functions.map(|functions| knowing(functions, definition));
    let ir = recompile(definition, &after, table.as_deref(), limits).map_err(Refusal::Meaning)?;
    let window = Window::of(before, &after);
    let (mut old, mut new) = window.parts().map_err(misfit)?;
    let mut operations = between(&old, &new);
    let is_filled = table.is_some() && fill_in(&mut new, &ir, &calling_anew(&operations))?;
    let is_undone_anew = undo_what_is_done(&old, &mut new, &operations);
    if is_filled || is_undone_anew {
        operations = between(&old, &new);
    }
    // What is logged is the operations, so what counts is what they make.
    apply(&mut old, &operations)?;
    let is_same = old.is_same(&new);
    let tree = if is_same && !is_filled && !is_undone_anew { after } else { window.fill(&old.whole()) };
    let is_compiled = is_same && !is_undone_anew;
    let ir = if is_compiled { ir } else { recompile(definition, &tree, None, limits).map_err(Refusal::Meaning)? };
    debug_assert_eq!(*ir.canonical, *written(&tree));
    // The next patch is most likely one of this definition.
    let _ = ir.tree.set(tree);
    Ok(Resolved { operations, ir })
}

/// Takes over from a compiled definition what functions filled in to these nodes; whether there is anything.
fn fill_in(parts: &mut Parts, ir: &Ir, ids: &[Id]) -> Result<bool, Refusal> {
    let mut is_filled = false;
    for id in ids {
        let Some(ix) = ir.node(id) else { continue };
        let text = ir.text_of(&ir.nodes[ix as usize].written);
        let limits = ValueLimits { bytes_max: text.len(), ..ValueLimits::default() };
        let value = parse(text, &limits).map_err(|error| Refusal::Meaning(vec![error.into()]))?;
        let mut filled = Parts::empty();
        filled.put_node(None, &value).map_err(misfit)?;
        if let (Some(node), Some(filled)) = (parts.nodes.get_mut(id), filled.nodes.remove(id))
            && !node.value.is_same_json(&filled.value)
        {
            node.value = filled.value;
            is_filled = true;
        }
    }
    Ok(is_filled)
}

/// Where a compensation is given the input of its node and what it gave, as one is that does not say, it is given the
/// new input; whether there is any.
fn undo_what_is_done(old: &Parts, new: &mut Parts, operations: &[Operation]) -> bool {
    let of_input = |operation: &Operation| match operation {
        Operation::Set { node: Some(id), at, .. } | Operation::Unset { node: Some(id), at } => {
            at.tokens().first().is_some_and(|member| &**member == "input").then(|| id.clone())
        }
        _ => None,
    };
    let mut is_changed = false;
    for id in operations.iter().filter_map(of_input) {
        let (Some(was), Some(node)) = (old.nodes.get(&id), new.nodes.get_mut(&id)) else { continue };
        let given = was.value.member("compensation").and_then(|compensation| compensation.member("input"));
        let Some(given) = given.filter(|given| given.is_same_json(&undone_with(&was.value, &id))) else { continue };
        let now = undone_with(&node.value, &id);
        let Value::Map(members) = &mut node.value else { continue };
        let Some(Value::Map(compensation)) = Arc::make_mut(members).member_mut("compensation") else { continue };
        if compensation.member("input").is_some_and(|stated| stated.is_same_json(given)) && !given.is_same_json(&now) {
            Arc::make_mut(compensation).set("input", now);
            is_changed = true;
        }
    }
    is_changed
}

/// What the compensation of a node is given that does not say so.
fn undone_with(node: &Value, id: &Id) -> Value {
    let input = node.member("input").cloned().unwrap_or_else(|| Value::object([]));
    Value::object([("input", input), ("output", Value::text(&own_output(id)))])
}

/// The table, and in it what the definition names already: that was looked up when it was registered.
fn knowing<'f>(functions: &'f FunctionTable, definition: &Ir) -> Cow<'f, FunctionTable> {
    let mut table = Cow::Borrowed(functions);
    for name in definition.functions.iter().filter(|name| !functions.contains_key(&***name)) {
        table.to_mut().insert(name.to_string(), FunctionSpec::default());
    }
    table
}

/// The nodes that call a function which they did not call before.
fn calling_anew(operations: &[Operation]) -> Vec<Id> {
    let of = |operation: &Operation| match operation {
        Operation::Set { node: Some(id), at, .. } if at.holds(&Pointer::new(["config", "name"])) => vec![id.clone()],
        operation => added_nodes(operation),
    };
    operations.iter().flat_map(of).collect()
}

/// The definition that patches make of a base, in order, compiled: the same bytes and the same hash everywhere. What they
/// leave alone is shared with the base.
///
/// # Errors
/// [`Refusal::Meaning`] where an operation does not fit, or the definition does not compile.
pub fn materialize(base: &Ir, patches: &[impl AsRef<[Operation]>], limits: &Limits) -> Result<Ir, Refusal> {
    let mut parts = Parts::of(base.tree()).map_err(misfit)?;
    patches.iter().try_for_each(|operations| apply(&mut parts, operations.as_ref()))?;
    let made = parts.whole();
    let ir = recompile(base, &made, None, limits).map_err(Refusal::Meaning)?;
    let _ = ir.tree.set(made);
    Ok(ir)
}

/// Why a patch cannot be dropped.
#[derive(Debug)]
pub enum Standing {
    /// There are not so many patches.
    Unknown,
    /// A later patch (its place in the list) touches what this one did, or does not go without it.
    Stands {
        /// The first that does.
        patch: usize,
        /// What both touch, or why the rest does not go without it.
        what: String,
    },
    /// The base does not compile any more.
    Base(Refusal),
}

/// The definition without one of its patches, compiled.
///
/// # Errors
/// The first later patch that stands on it.
pub fn rollback(base: &Ir, patches: &[impl AsRef<[Operation]>], which: usize, limits: &Limits) -> Result<Ir, Standing> {
    let mut rest: Vec<&[Operation]> = patches.iter().map(AsRef::as_ref).collect();
    if which >= rest.len() {
        return Err(Standing::Unknown);
    }
    let dropped = rest.remove(which);
    let found = conflicts(dropped, &rest[which..]);
    if let Some(first) = found.iter().min_by_key(|conflict| conflict.patch) {
        return Err(Standing::Stands { patch: which + 1 + first.patch, what: first.what.clone() });
    }
    let refusal = match materialize(base, &rest, limits) {
        Ok(ir) => return Ok(ir),
        Err(refusal) => refusal,
    };
    // A reference, a join or a limit: the first patch that does not go is the one to name.
    for end in which..=rest.len() {
        if let Err(refusal) = materialize(base, &rest[..end], limits) {
            return Err(match end == which {
                true => Standing::Base(refusal),
                false => Standing::Stands { patch: end, what: refusal.reason() },
            });
        }
    }
    Err(Standing::Base(refusal))
}

impl Refusal {
    /// One sentence for people.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Refusal::Shape(error) => error.message.clone(),
            Refusal::Meaning(faults) => faults.first().map_or_else(String::new, |fault| fault.message.clone()),
        }
    }
}

fn meaning(code: &'static str, pointer: String, message: String) -> Diagnostic {
    Diagnostic { code, pointer, message, hint: None }
}

fn misfit(message: String) -> Refusal {
    Refusal::Meaning(vec![meaning("MISFIT", String::new(), message)])
}

fn apply(parts: &mut Parts, operations: &[Operation]) -> Result<(), Refusal> {
    operations.iter().try_for_each(|operation| operation.apply(parts)).map_err(misfit)
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.write_canonical(&mut out);
    out
}
