//! Does a patch keep what a workflow means? Translation validation (Pnueli, Siegel, Singerman 1998): each patch of an
//! optimizer is checked by itself, so that the passes need not be trusted. See decision 0016.
//!
//! In go two compiled definitions, out comes nothing, or each reason why it is not proved. What is not proved may be
//! right all the same. Knows definitions only: no run, no values, no times.

mod bits;
mod compare;
mod conditions;
mod entry;
mod meaning;

use crate::{Diagnostic, Ir};
use compare::Comparison;
use meaning::{Meaning, Names};

/// Nodes of a definition up to which a patch is looked at: the work grows with their square.
const NODES_MAX: usize = 5_000;

/// Checks that runs of `after` do what runs of `before` do: the same output and the same calls that change the world,
/// given the same, in the same cases and the same order; no other call, nothing that waits, no guard and no failure is
/// added. Calls without effect may be left out, done once instead of twice, or done in another order among themselves;
/// what a body computes alike each time may be computed once before it, where there is a first time.
///
/// # Errors
/// What is not proved, with places in `after` where there are such. Codes: `CALL_DROPPED`, `CALL_ADDED`,
/// `CALL_CHANGED`, `CONDITION_CHANGED`, `ORDER_CHANGED`, `GUARD_ADDED`, `FAILURE_CHANGED`, `OUTPUT_CHANGED`,
/// `RACE_TOUCHED`, `FIXED_MEMBER`, `TOO_COMPLEX`.
pub fn check_equivalence(before: &Ir, after: &Ir) -> Result<(), Vec<Diagnostic>> {
    let doubt = |code, pointer: &str, message: &str| {
        vec![Diagnostic { code, pointer: pointer.to_owned(), message: message.to_owned(), hint: None }]
    };
    if before.hash == after.hash {
        return Ok(());
    }
    if before.nodes.len().max(after.nodes.len()) > NODES_MAX {
        return Err(doubt("TOO_COMPLEX", "", "the definition has too many nodes for a proof"));
    }
    let of = |ir: &Ir| {
        (ir.name.clone(), ir.version.clone(), ir.inputs_schema.clone(), ir.timeout_ns, ir.compensation_timeout_ns)
    };
    if of(before) != of(after) {
        return Err(doubt("FIXED_MEMBER", "", "name, version, inputs and time limits of a workflow are kept"));
    }
    let mut names = Names::new();
    let (old, new) = (Meaning::of(before, &mut names), Meaning::of(after, &mut names));
    let mut comparison = Comparison { names: &mut names, before: &old, after: &new, doubts: Vec::new() };
    comparison.graphs(0, 0);
    let doubts = comparison.doubts;
    if names.conditions.overflowed {
        return Err(doubt("TOO_COMPLEX", "", "the conditions under which nodes start are too many for a proof"));
    }
    if doubts.is_empty() { Ok(()) } else { Err(doubts) }
}
